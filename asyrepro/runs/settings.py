"""The settings in configs/: the values they may have, and what is wrong with one in a sentence.

Hydra answers a misspelt setting with a screenful; :func:`explained` makes it one sentence with the
nearest name. What is well spelt and yet cannot be run, :func:`check` refuses before any data is
fetched or read.
"""

from __future__ import annotations

import difflib
import math
import re
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import hydra
from hydra.errors import (
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from asyrepro.data import catalogue
from asyrepro.system.errors import ConfigError
from asyrepro.system.options import no_such_choice

CONFIGS = Path(__file__).parents[2] / "configs"

# The smallest value of settings that are whole numbers, and the range of the others.
WHOLE = {
    "seed": 0, "max_steps": 1, "recipe.steps": 1, "recipe.batch": 1, "recipe.patch": 1,
    "recipe.log_every": 1, "recipe.validate_every": 0, "runtime.threads": 1,
}  # fmt: skip
LARGEST = {"seed": 2**32 - 1}
NUMBERS = {
    "recipe.optimizer.lr": ("above 0", lambda value: value > 0),
    "recipe.clip": ("above 0", lambda value: value > 0),
    "recipe.ema": ("in [0, 1)", lambda value: 0 <= value < 1),
    "runtime.checkpoint_seconds": ("at least 0", lambda value: value >= 0),
}
CHOICES = {
    "amp": ("auto", True, False),
    "table": (None, 2, 3, 4, 5),
    **dict.fromkeys(
        ("channels_last", "fallback", "runtime.compile", "runtime.progress", "runtime.download"),
        (True, False),
    ),
}
OF_A_SWEEP = ("results=", "study=", "profile=", "runtime.max_minutes=")  # one value for all cells
OPTIONAL = ("max_steps", "runtime.threads", "recipe.clip", "recipe.ema")  # may be null


@contextmanager
def explained(*others: str) -> Iterator[None]:
    """Within this, what Hydra raises for a wrong setting becomes a ConfigError of one sentence.

    ``others`` are names that the command line knows beside those in configs/.
    """
    _check_installed()
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, others)) from error
    except ValueError as error:
        raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        if not raised_in.is_relative_to(Path(hydra.__file__).parent):
            raise
        raise ConfigError(str(error)) from error


def _check_installed() -> None:
    if not CONFIGS.is_dir():
        raise ConfigError(
            f"there are no configurations in {CONFIGS}, as the package was installed without them: "
            "clone the repository, and run pip install -e . in it"
        )


def explain(error: Exception, others: Sequence[str] = ()) -> str:
    """What is wrong, and what was meant perhaps, in a sentence."""
    text = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _no_such_file(error.missing_cfg_file, error.options)
    if isinstance(error, OverrideParseException):
        name, _, value = str(error.override).partition("=")
        text = f"{error.override!r} is not understood: settings are given as name=value"
        if value and "," not in value:
            text += f"; other signs than letters and ._-/ may need quotes: \"{name}='...'\""
        return text
    if found := re.match(r"Could not (?:override|delete from config\.) '([^']+)'", text):
        return no_such_setting(found[1], others)
    if found := re.match(r"Could not append to config.* already at '([^']+)'", text):
        return f"there is a setting {found[1]!r} already: leave out the +"
    if found := re.match(r"Ambiguous value for argument '([^']+)'", text):
        if others or found[1].startswith(OF_A_SWEEP):
            return f"{found[1]} gives several values: give one, and run it again for the others"
        return f"{found[1]} gives several values: add -m to run them one after the other"
    where = re.search(r"full_key: (\S+)", text)
    if found := re.match(r"Interpolation key '([^']+)' not found", text):
        return f"{where[1] if where else 'a setting'} refers to {found[1]!r}, which is not set"
    return text.splitlines()[0] + (f" (in {where[1]})" if where else "")


def no_such_setting(name: str, others: Sequence[str] = ()) -> str:
    """The sentence about a setting that there is not, with the nearest one that there is."""
    if name in known():
        return (
            f"{name} is a setting of {', '.join(known()[name][:3])}, and not of what is chosen "
            f"here; to add it all the same, write +{name}=..."
        )
    names = [*others, *known()]
    meant = {key.rpartition(".")[2]: key for key in sorted(names, key=_depth, reverse=True)}
    meant |= {key: key for key in names}  # both "step" and "recipe.step" mean recipe.steps
    near = difflib.get_close_matches(name, meant, 1)
    if near:
        return f"there is no setting {name!r}; did you mean {meant[near[0]]!r}?"
    return f"there is no setting {name!r}; asyrepro train --cfg job shows them all"


@cache
def known() -> dict[str, list[str]]:
    """Every setting in configs/, as "task.sigma", and which choices have it, as task=denoising."""
    found: dict[str, list[str]] = {}
    for path in sorted(CONFIGS.rglob("*.yaml")):
        group, *rest = path.relative_to(CONFIGS).with_suffix("").parts
        if group == "hydra":
            continue
        start = f"{group}." if rest and group != "experiment" else ""
        if start:
            found.setdefault(group, [])
        for name in _names(OmegaConf.to_container(OmegaConf.load(path)), start):
            found.setdefault(name, []).append(f"{group}={'/'.join(rest)}")
    return {name: where for name, where in found.items() if name not in ("defaults", "hydra")}


def _names(node: object, start: str) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{start}{key}"
            if key != "hydra":
                yield from _names(value, f"{start}{key}.")


def _depth(name: str) -> int:
    return name.count(".")


def _no_such_file(path: str, options: Sequence[str] | None) -> str:
    """A file of a group that there is not: "loss/asymae", "recipe/quick/srcn"."""
    if path.startswith("dataset/") and path.count("/") > 1:
        name = path.removeprefix("dataset/")
        return f"there is no dataset {name!r}; of a folder: dataset=folder dataset.name={name}"
    if options:
        group, _, name = path.rpartition("/")
        return no_such_choice(group, name, list(options))
    group, _, name = path.partition("/")
    files = sorted((CONFIGS / group).rglob("*.yaml"))
    choices = [file.relative_to(CONFIGS / group).with_suffix("").as_posix() for file in files]
    return no_such_choice(group, name, choices)


def option(group: str, name: str) -> DictConfig:
    """One option of a group, such as ("profile", "quick"), as its file has it.

    Raises:
        ConfigError: the group has no such option.
    """
    _check_installed()
    path = CONFIGS / group / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(_no_such_file(f"{group}/{name}", None))
    return OmegaConf.load(path)


def resolved(cfg: DictConfig) -> DictConfig:
    """A copy in which every reference is replaced by its value; ConfigError if one has none."""
    with explained():
        return OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))


def check(cfg: DictConfig) -> None:
    """Refuse what cannot be run; nothing is read or computed.

    Raises:
        ConfigError: a value is of the wrong kind or out of range, a data set is unknown, or the
            task or the loss refuses its options.
    """
    for name in (*WHOLE, *NUMBERS, *CHOICES):
        _check_value(name, OmegaConf.select(cfg, name))
    for name in ("study", "cell", "loss.name"):
        _check_name(name, OmegaConf.select(cfg, name))
    if "base" in cfg.loss:
        _check_name("loss.base", cfg.loss.base)
        if cfg.loss.base == cfg.loss.name or not re.fullmatch(r"[\w.-]+", cfg.loss.base):
            raise ConfigError(f"loss.base is {_shown(cfg.loss.base)}; name another loss, in a word")
    for name in ("recipe.optimizer", "recipe.scheduler"):
        if not is_described(node := OmegaConf.select(cfg, name)):
            raise ConfigError(f"{name} is {_shown(node)}; it needs a _target_ and its options")
    if not isinstance(cfg.recipe.get("whiten"), str | None):
        raise ConfigError(f"recipe.whiten is {_shown(cfg.recipe.whiten)}; it must name one layer")
    for name in ("benchmarks", "literature", "profile.benchmarks"):
        node = OmegaConf.select(cfg, name)
        if not OmegaConf.is_list(node) and (name, node) != ("benchmarks", None):
            raise ConfigError(f"{name} is {_shown(node)}; write a list, such as [set5]")
    if cfg.runtime.data is not None and not Path(str(cfg.runtime.data)).expanduser().is_dir():
        raise ConfigError(
            f"runtime.data is {_shown(cfg.runtime.data)}, which is no folder: name one that holds "
            "data sets, or make it"
        )
    if cfg.dataset.name is None:
        raise ConfigError("which folder of images? dataset=folder dataset.name=/path/to/images")
    tests = [cfg.testset, cfg.validation, *(cfg.benchmarks or [])]
    catalogue.check_names(cfg.dataset.name, [name for name in tests if name is not None])
    make(cfg.loss.criterion)
    task = make(cfg.task)
    if cfg.recipe.patch % task.scale:
        raise ConfigError(
            f"recipe.patch is {cfg.recipe.patch}; it must be a multiple of the scale {task.scale}"
        )


def _check_name(name: str, value: object) -> None:
    """What becomes the name of a folder; a study may be a folder in a folder, and a number."""
    if value in (None, ""):
        raise ConfigError(f"{name} is empty; give it a name")
    if name != "study" and (not isinstance(value, str) or "/" in value or value in (".", "..")):
        raise ConfigError(f"{name} is {_shown(value)}; it must be a word, without a slash")
    if name == "study" and not isinstance(value, str | int):
        raise ConfigError(
            f"study is read as {value}; write \"study='...'\" to have it as it stands"
        )
    if name == "study" and ".." in Path(str(value)).parts:
        raise ConfigError(f"study is {value!r}; to keep studies elsewhere give results=FOLDER")


def _check_value(name: str, value: object) -> None:
    if value is None and name in OPTIONAL:
        return
    kind = int if name in WHOLE else int | float
    if name in CHOICES:
        right = any(type(value) is type(choice) and value == choice for choice in CHOICES[name])
        words = "one of " + ", ".join(_shown(choice).strip("'") for choice in CHOICES[name])
    elif isinstance(value, bool) or not isinstance(value, kind) or not math.isfinite(value):
        right, words = False, "a whole number" if name in WHOLE else "a number"
    elif name in WHOLE:
        right, words = value >= WHOLE[name], f"at least {WHOLE[name]}"
        if name in LARGEST and value > LARGEST[name]:
            right, words = False, f"at most {LARGEST[name]}"
    else:
        words, within = NUMBERS[name]
        right = within(value)
    if not right:
        raise ConfigError(f"{name} is {_shown(value)}; it must be {words}")


def _shown(value: object) -> str:
    """A value as it is written in a configuration."""
    return (
        "null" if value is None else str(value).lower() if value in (True, False) else repr(value)
    )


def is_described(node: object) -> bool:
    """Whether a node says what object is to be made."""
    return OmegaConf.is_dict(node) and "_target_" in node


def make(node: DictConfig):
    """The object that a node with ``_target_`` describes; ConfigError if it refuses its values."""
    if not is_described(node):
        raise ConfigError(f"{node} describes nothing; a _target_ and its options are needed")
    try:
        return hydra.utils.instantiate(node)
    except InstantiationException as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        if reason.startswith(("Error loading", "Error locating")):
            reason = f"there is no {node['_target_']}; check the _target_"
        raise ConfigError(reason) from error
