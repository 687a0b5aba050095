"""The dialect of the commands: ``name=value``, and a path where a path is natural.

A command declares its settings once, as the fields of a dataclass. How they are read, what is said
of a wrong one, and the help text all follow from it:

    @dataclass(kw_only=True)
    class Options:
        reference: Path = argument("an image or a folder")
        scale: int | None = setting(None, "pixels to cut", at_least=1)

The settings of training are Hydra's: :mod:`asyrepro.runs.config`.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import textwrap
import types
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field
from pathlib import Path
from typing import TypeVar, Union, get_args, get_origin, get_type_hints

from asyrepro.system.errors import ConfigError, exit_status, say

Options = TypeVar("Options")
TRUST = "also make networks and tasks of these packages of your own, which weights name"
WIDTH = 96
TRUTH = {"true": True, "false": False}
WORDS = {bool: "true or false", int: "a whole number", float: "a number"}
SIGNS = {bool: "true", int: "N", float: "X", Path: "PATH", str: "NAME"}


def setting(
    default: object = MISSING,
    about: str = "",
    *,
    shown: str | None = None,
    at_least: float | None = None,
    above: float | None = None,
    choices: Sequence = (),
) -> Field:
    """A field that the command line gives as ``name=value``.

    Args:
        default: a list or dict is copied; without one the setting must be given.
        about: what it is, for the help text.
        shown: what the help text has for the value.
        at_least, above, choices: the values allowed.
    """
    about = {
        "about": about,
        "shown": shown,
        "choices": choices,
        "at_least": at_least,
        "above": above,
    }
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=about)
    return dataclasses.field(default=default, metadata=about)


def argument(about: str, *, shown: str | None = None, default: object = MISSING) -> Field:
    """A field that is given without a name: a path, or, of a list's type, any number of them."""
    plain = setting(default, about, shown=shown)
    return dataclasses.field(
        default=plain.default,
        default_factory=plain.default_factory,
        metadata={**plain.metadata, "path": True},
    )


def rest(about: str, *, shown: str) -> Field:
    """A field, list[str], that takes every ``name=value`` that no other field does."""
    metadata = {"about": about, "shown": shown, "rest": True}
    return dataclasses.field(default_factory=list, metadata=metadata)


def command(
    about: str, kind: type[Options], run: Callable[[Options], int | None], arguments: list[str]
) -> int:
    """Read a command line, and run it; returns the exit status.

    With --help, or with no arguments where some are needed, the help text is printed instead.
    """
    needed = any(map(_required, dataclasses.fields(kind)))
    if {"-h", "--help"} & set(arguments) or (needed and not arguments):
        say(help_text(about, kind))
        return 0 if arguments else 2
    return exit_status(lambda: run(parse(kind, arguments)))


def parse(kind: type[Options], arguments: Sequence[str]) -> Options:
    """The settings of a command line as an object of the dataclass ``kind``.

    A list may be given with commas or several times, an entry of a dict as ``field.key=value``.

    Raises:
        ConfigError: a setting is unknown, missing, given twice, or its value is of another kind.
    """
    named = {field.name: field for field in dataclasses.fields(kind) if not _is_path(field)}
    others = [name for name, field in named.items() if field.metadata.get("rest")]
    kinds = get_type_hints(kind)
    given: dict[str, object] = {}
    paths: list[str] = []
    for item in arguments:
        name, equals, text = item.partition("=")
        first, dot, key = name.partition(".")
        if equals and name in named and name not in others and get_origin(kinds[name]) is not dict:
            if text == "":
                raise ConfigError(_empty(named[name]))
            value = _value(named[name], kinds[name], text)
            if name in given and not isinstance(value, list):
                raise ConfigError(f"{name}= is given twice: give it once")
            given[name] = [*given.get(name, []), *value] if isinstance(value, list) else value
        elif equals and dot and first in named and get_origin(kinds[first]) is dict:
            given.setdefault(first, {})[key] = text
        elif equals and others and not Path(item).exists():
            given.setdefault(others[0], []).append(item)
        elif _looks_like_a_setting(item) and not Path(item).exists():
            raise ConfigError(_not_understood(item, kind))
        else:
            paths.append(item)
    given |= _paths(kind, paths, kinds)
    for name, field in named.items():
        if _required(field) and name not in given:
            raise ConfigError(f"{name}= is missing; --help tells what it is")
    return kind(**given)


def _looks_like_a_setting(item: str) -> bool:
    return "=" in item or item.startswith("-")


def _not_understood(item: str, kind: type) -> str:
    """The sentence about an argument that is neither a setting nor a path that exists."""
    name, equals, _ = item.partition("=")
    fields = dataclasses.fields(kind)
    names = [field.name for field in fields if not _is_path(field)]
    takes_paths = any(map(_is_path, fields))
    if not equals or item.startswith("-"):
        plain = name.lstrip("-").replace("-", "_")
        signs = {field.name: _sign(field, get_type_hints(kind)[field.name]) for field in fields}
        return f"{item!r} is not understood: write {signs.get(plain, 'name=value')}"
    if name in names:  # a dict
        return f"{name}= takes one entry at a time, as {name}.KEY=VALUE"
    for field in fields:
        if name in (field.metadata.get("shown") or ""):  # task.sigma, given as sigma
            return f"there is no setting {name!r}; did you mean '{field.name}.{name}'?"
    also = f"; nor is there a file {item!r}" if takes_paths else ""
    return no_such_choice("setting", name, names) + also


def _paths(kind: type, paths: list[str], kinds: dict[str, type]) -> dict[str, object]:
    """The fields that have no name on the command line, by name."""
    fields = [field for field in dataclasses.fields(kind) if _is_path(field)]
    if "" in paths:
        raise ConfigError("a path is empty; give it a name")
    if len(fields) == 1 and get_origin(kinds[fields[0].name]) is list:
        [field] = fields
        [inner] = get_args(kinds[field.name])
        return {field.name: [inner(text) for text in paths]} if paths else {}
    least = sum(map(_required, fields))
    if not least <= len(paths) <= len(fields):
        if not fields:
            raise ConfigError(f"{paths[0]!r} is not understood: settings are given as name=value")
        wanted = " ".join(map(_sign, fields))
        raise ConfigError(f"give {wanted}, not {len(paths)} paths; --help tells what is meant")
    pairs = zip(fields, paths, strict=False)
    return {field.name: _inner(kinds[field.name])(text) for field, text in pairs}


def _value(field: Field, kind: type, text: str):
    """The value that a text stands for."""
    inner = _inner(kind)
    if get_origin(kind) is list:
        return [_single(field, inner, part.strip()) for part in text.split(",")]
    return _single(field, inner, text)


def _single(field: Field, kind: type, text: str):
    choices, least, above = (field.metadata[key] for key in ("choices", "at_least", "above"))
    try:
        value = TRUTH[text.lower()] if kind is bool else kind(text)
        right = kind not in (int, float) or math.isfinite(value)
        right = right and (least is None or value >= least) and (above is None or value > above)
    except (ValueError, KeyError, OverflowError):
        right = False
    if right and (not choices or value in choices):
        return value
    if choices:
        raise ConfigError(no_such_choice(field.name, text, [str(choice) for choice in choices]))
    limit = f" from {least:g} up" if least is not None else ""
    limit += f" above {above:g}" if above is not None else ""
    raise ConfigError(f"{field.name}={text}: it must be {WORDS[kind]}{limit}")


def no_such_choice(kind: str, name: str, choices: Sequence[str]) -> str:
    """The sentence about one of a group that there is not, with the nearest and with all."""
    near = difflib.get_close_matches(name, choices, 1)
    there = f"here are {', '.join(choices)}"
    if near:
        return f"there is no {kind} {name!r}; did you mean {near[0]!r}? T{there}"
    return f"there is no {kind} {name!r}; t{there}"


def help_text(about: str, kind: type) -> str:
    """A command's docstring with its settings below."""
    rows = []
    for field in dataclasses.fields(kind):
        default = field.default
        known = default in (MISSING, None, False, True) or "default" in field.metadata["about"]
        text = field.metadata["about"] + ("" if known else f" (default: {default})")
        rows.append((_sign(field, get_type_hints(kind)[field.name]), text))
    width = max(len(sign) for sign, _ in rows) + 3
    lines = [
        textwrap.fill(
            text, WIDTH, initial_indent=f"    {sign:{width}}", subsequent_indent=" " * (width + 4)
        )
        for sign, text in rows
    ]
    return "\n".join([about.strip(), "", *lines])


def _sign(field: Field, kind: type = Path) -> str:
    """How the help text writes a setting: scale=N, recursive=true, or FOLDER."""
    if _is_path(field):
        return field.metadata["shown"] or field.name.upper()
    if field.metadata.get("rest"):
        return field.metadata["shown"]
    value = field.metadata["shown"] or "|".join(map(str, field.metadata["choices"]))
    if value.startswith(f"{field.name}."):
        return value
    if not value:
        value = str(not field.default).lower() if kind is bool else SIGNS[_inner(kind)]
    return f"{field.name}={value}"


def _is_path(field: Field) -> bool:
    return field.metadata.get("path", False)


def _required(field: Field) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _empty(field: Field) -> str:
    return f"{field.name}= is empty; give it a value" + ", or leave it out" * (not _required(field))


def _inner(kind: type) -> type:
    """``int`` of ``int | None`` and of ``list[int]``."""
    if get_origin(kind) in (Union, types.UnionType, list):
        return next(part for part in get_args(kind) if part is not types.NoneType)
    return kind
