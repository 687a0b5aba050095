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
import os
import textwrap
import types
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field
from pathlib import Path
from typing import NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from asyrepro.system import files
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
    shown: str = "",
    at_least: float | None = None,
    above: float | None = None,
    choices: Sequence = (),
    given: str = "name",
) -> Field:
    """A field that the command line gives as ``name=value``.

    Args:
        default: a list or dict is copied; without one the setting must be given.
        about: what it is, for the help text.
        shown: what the help text has for the value.
        at_least, above, choices: the values allowed.
        given: "name"; "path" and "rest" are those of :func:`argument` and :func:`rest`.
    """
    metadata = {"about": about, "shown": shown, "given": given}
    metadata |= {"at_least": at_least, "above": above, "choices": choices}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def argument(about: str, *, shown: str = "", default: object = MISSING) -> Field:
    """A field that is given without a name: a path, or, of a list's type, any number of them."""
    return setting(default, about, shown=shown, given="path")


def rest(about: str, *, shown: str) -> Field:
    """A field, list[str], that takes every ``name=value`` that no other field does."""
    return setting([], about, shown=shown, given="rest")


class _Setting(NamedTuple):
    """A field of a command's dataclass: ``int`` and ``list`` of one that is a ``list[int]``."""

    name: str
    kind: type
    form: type | None  # list, dict, or None of a single value
    default: object
    required: bool
    about: str
    shown: str
    given: str
    at_least: float | None
    above: float | None
    choices: Sequence

    def value(self, text: str, before: object = None) -> object:
        """The value that a text stands for; those of a list follow what was given before."""
        if text == "":
            leave = "" if self.required else ", or leave it out"
            raise ConfigError(f"{self.name}= is empty; give it a value{leave}")
        if self.form is None:
            if before is not None:
                raise ConfigError(f"{self.name}= is given twice: give it once")
            return self._single(text)
        parts = [part.strip() for part in text.split(",")]
        if "" in parts:
            raise ConfigError(f"{self.name}={text}: a value between its commas is empty")
        return [*(before or []), *map(self._single, parts)]

    def _single(self, text: str) -> object:
        kind, least, above = self.kind, self.at_least, self.above
        try:
            value = TRUTH[text.lower()] if kind is bool else kind(text)
            right = kind not in (int, float) or math.isfinite(value)
            right = right and (least is None or value >= least) and (above is None or value > above)
        except (ValueError, KeyError, OverflowError):
            right = False
        if right and (not self.choices or value in self.choices):
            return value
        if self.choices:
            raise ConfigError(no_such_choice(self.name, text, [*map(str, self.choices)]))
        limit = f" from {least:g} up" if least is not None else ""
        limit += f" above {above:g}" if above is not None else ""
        raise ConfigError(f"{self.name}={text}: it must be {WORDS[kind]}{limit}")

    @property
    def sign(self) -> str:
        """How the help text writes it: scale=N, recursive=true, or FOLDER."""
        value = self.shown or "|".join(map(str, self.choices))
        if self.given == "path":
            return value or self.name.upper()
        if self.given == "rest" or value.startswith(f"{self.name}."):
            return value
        if not value:
            value = str(not self.default).lower() if self.kind is bool else SIGNS[self.kind]
        return f"{self.name}={value}"


def _settings(options: type) -> dict[str, _Setting]:
    """The fields of a command's dataclass by name."""
    found, hints = {}, get_type_hints(options)
    for field in dataclasses.fields(options):
        hint = hints[field.name]
        origin = get_origin(hint)  # of list[int], dict[str, str] and int | None, but not of int
        if origin:
            hint = next(part for part in get_args(hint) if part is not types.NoneType)
        form = origin if origin in (list, dict) else None
        needed = field.default is MISSING and field.default_factory is MISSING
        found[field.name] = _Setting(
            field.name, hint, form, field.default, needed, **field.metadata
        )
    return found


def command(
    about: str, kind: type[Options], run: Callable[[Options], int | None], arguments: list[str]
) -> int:
    """Read a command line, and run it; returns the exit status.

    With --help, or with no arguments where some are needed, the help text is printed instead.
    """
    needed = any(each.required for each in _settings(kind).values())
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
    settings = _settings(kind)
    named = {name: each for name, each in settings.items() if each.given == "name"}
    others = next((name for name, each in settings.items() if each.given == "rest"), None)
    given: dict[str, object] = {}
    paths: list[str] = []
    for item in arguments:
        name, equals, text = item.partition("=")
        first, dot, key = name.partition(".")
        if equals and name in named and named[name].form is not dict:
            given[name] = named[name].value(text, given.get(name))
        elif equals and dot and first in named and named[first].form is dict:
            given.setdefault(first, {})[key] = text
        elif not (equals or item.startswith("-")) or Path(item).exists():
            paths.append(item)
        elif equals and others:
            given.setdefault(others, []).append(item)
        else:
            raise ConfigError(_not_understood(item, settings))
    given |= _paths(paths, [each for each in settings.values() if each.given == "path"])
    for name, each in named.items():
        if each.required and name not in given:
            raise ConfigError(f"{name}= is missing; --help tells what it is")
    return kind(**given)


def _not_understood(item: str, settings: dict[str, _Setting]) -> str:
    """The sentence about an argument that is neither a setting nor a path that exists."""
    name, equals, _ = item.partition("=")
    names = [each.name for each in settings.values() if each.given != "path"]
    if not equals or item.startswith("-"):
        plain = name.lstrip("-").replace("-", "_")
        sign = settings[plain].sign if plain in settings else "name=value"
        return f"{item!r} is not understood: write {sign}"
    if name in names:  # a dict
        return f"{name}= takes one entry at a time, as {name}.KEY=VALUE"
    for each in settings.values():
        if f"{each.name}.{name}=" in each.shown:  # task.sigma, given as sigma
            return f"there is no setting {name!r}; did you mean '{each.name}.{name}'?"
    also = f"; nor is there a file {item!r}" if len(names) < len(settings) else ""
    return no_such_choice("setting", name, names) + also


def _paths(paths: list[str], settings: list[_Setting]) -> dict[str, object]:
    """The fields that have no name on the command line, by name."""
    if "" in paths:
        raise ConfigError("a path is empty; give it a name")
    if len(settings) == 1 and settings[0].form is list:
        return {settings[0].name: [*map(settings[0].kind, paths)]} if paths else {}
    least = sum(each.required for each in settings)
    if not least <= len(paths) <= len(settings):
        if not settings:
            raise ConfigError(f"{paths[0]!r} is not understood: settings are given as name=value")
        wanted = " ".join(each.sign for each in settings)
        raise ConfigError(f"give {wanted}, not {len(paths)} paths; --help tells what is meant")
    pairs = zip(settings, paths, strict=False)
    return {each.name: each.kind(text) for each, text in pairs}


def check_output(path: Path | str | None, endings: Sequence[str], *inputs: Path | str) -> None:
    """Refuse a file that is to be written, before the work for it begins.

    Raises:
        ConfigError: its name has none of the endings, or it is one of the inputs.
        StorageError: its name is too long.
    """
    if path is None:
        return
    if Path(path).suffix not in endings:
        raise ConfigError(f"output={path}: the name must end in {' or '.join(endings)}")
    if any(os.path.realpath(path) == os.path.realpath(read) for read in inputs):
        raise ConfigError(f"output={path} would replace what is read: give it another name")
    files.check_name(path)


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
    for each in _settings(kind).values():
        known = each.default in (MISSING, None, False, True) or "default" in each.about
        rows.append((each.sign, each.about + ("" if known else f" (default: {each.default})")))
    width = max(len(sign) for sign, _ in rows) + 3
    lines = [
        textwrap.fill(
            text, WIDTH, initial_indent=f"    {sign:{width}}", subsequent_indent=" " * (width + 4)
        )
        for sign, text in rows
    ]
    return "\n".join([about.strip(), "", *lines])
