"""The settings of a run: from a command line to a configuration that can be run.

Hydra composes the YAML files of configs/ (:func:`compose`); :mod:`asyrepro.runs.schema` refuses
wrong values; :mod:`asyrepro.runs.resolve` chooses what depends on the machine. Two configurations
with one :func:`identity` are the same run.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import traceback
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import NoReturn

import hydra
import yaml
from hydra import initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException, InstantiationException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from asyrepro.system.errors import ConfigError, first_line
from asyrepro.system.options import no_such_choice

PLACES = (Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs")
CONFIGS = next((path for path in PLACES if path.is_dir()), PLACES[-1])  # of a wheel, of a checkout

ADDED = {  # settings of a task or data set that older configurations lack, and what that means
    "border": "renormalise", "noise": "name", "normalize": None, "test_sigma": None, "white": None,
}  # fmt: skip
INPUT = {"enlarged": True, "noise_map": False}  # what a network is given, unless it says otherwise
IDENTITY = (  # the settings that make a run what it is: two runs that agree in them are the same
    "model", "dataset", "task", "loss", "recipe", "seed", "testset", "validation", "amp",
    "channels_last",
)  # fmt: skip
CLOSED = ("loss", "dataset", "model", "recipe", "runtime")  # groups that have no options of a class


# -------------------------------------------------------------------------------- from Hydra to us


def recipe_of(budget: str, model: str) -> str:
    """The recipe that train.yaml's list of defaults takes for a network.

    The network's for the budget where there is one, recipe/edsr_quick.yaml; else the network's,
    recipe/edsr.yaml; else recipe/adam.yaml. Files of a folder given with --config-dir count, too.
    """
    there = GlobalHydra.instance().config_loader().get_group_options("recipe")
    return next((name for name in (f"{model}_{budget}", model) if name in there), "adam")


OmegaConf.register_new_resolver("recipe_of", recipe_of, replace=True)


def composing() -> initialize_config_dir:
    """Within this, many calls of :func:`compose` read each file once."""
    return initialize_config_dir(str(CONFIGS), version_base="1.3")


def compose(overrides: Sequence[str]) -> DictConfig:
    """The configuration of one run as the command line ``overrides`` ask for it.

    It has Hydra's own node, which names what was chosen of each group. Configurations of your own
    are found where Hydra has been started with ``--config-dir``, or where ``hydra.searchpath``
    is among the overrides.

    Raises:
        hydra.errors.HydraException: see :func:`explained`.
    """
    with nullcontext() if GlobalHydra.instance().is_initialized() else composing():
        return hydra.compose("train", list(overrides), return_hydra_config=True)


def options_first(arguments: Sequence[str]) -> list[str]:
    """A command line whose ``--options`` stand before its overrides, where Hydra looks for them."""
    overrides = _parsed(arguments).overrides
    return [*(item for item in arguments if item not in overrides), *overrides]


def search_path(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overrides of a command line, and the one that stands for its ``--config-dir``."""
    given = _parsed(arguments)
    if given.config_dir is None:
        return given.overrides, []
    return given.overrides, [searching([f"file://{Path(given.config_dir).absolute()}"])]


def _parsed(arguments: Sequence[str]) -> Namespace:
    """A command line as Hydra's parser takes it.

    Raises:
        ConfigError: there is no such option, or see :func:`_check_own`.
    """

    def refuse(reason: str) -> NoReturn:
        raise ConfigError(reason)

    parser = get_args_parser()
    parser.error = refuse
    given = parser.parse_intermixed_args(list(arguments))
    if given.config_dir:
        _check_own(Path(given.config_dir))
    return given


def _check_own(folder: Path) -> None:
    """ConfigError if a file of your own has the name of one here, which Hydra finds first."""
    for path in CONFIGS.rglob("*.yaml"):
        own = folder / path.relative_to(CONFIGS)
        if own.is_file() and own.read_text() != path.read_text():
            raise ConfigError(f"{own} would not be read, as {path} is: give it another name")


def searching(places: Sequence[str]) -> str:
    """The override that has Hydra look for configurations in ``places``, as "file:///home/me"."""
    return f"hydra.searchpath=[{','.join(map(quoted, places))}]"


def quoted(text: str) -> str:
    """A text as it is written on a command line of Hydra's, whatever characters it has."""
    return QuotedString(text, Quote.single).with_quotes()


def check_named(cfg: DictConfig) -> None:
    """ConfigError unless model and loss have a name, which a run's folder and rows have."""
    for group in ("model", "loss"):
        if not cfg[group].get("name"):
            raise ConfigError(f"{group}.name is null: give it one in its file, as name: mine")


def checked(cfg: DictConfig) -> DictConfig:
    """:func:`plain` of what :func:`compose` returned, if it does what was meant.

    Raises:
        ConfigError: a loss has no name, or that of another one, whose runs its own would pass for;
            nothing reads a setting, as the name is another; or a reference has no value.
    """
    check_named(cfg)
    chosen, name = cfg.hydra.runtime.choices.get("loss"), cfg.loss.name
    if chosen != name and (CONFIGS / "loss" / f"{name}.yaml").is_file():
        raise ConfigError(f"loss={chosen} has the name of another loss, {name}: give it its own")
    cfg = without_hydra(cfg)
    names = [*cfg, *(f"{group}.{key}" for group in CLOSED for key in cfg[group])]
    for name in (name for name in names if name not in known()):
        referred = rf"\$\{{[^}}]*\b{re.escape(name.rpartition('.')[2])}\b"
        if not re.search(referred, OmegaConf.to_yaml(cfg)):
            meant = nearest(name, known()) or "take it out, or refer to it as ${" + name + "}"
            raise ConfigError(f"nothing reads the setting {name!r}; {meant}")
    return plain(cfg)


def plain(cfg: DictConfig) -> DictConfig:
    """A copy without Hydra's node, every reference replaced by its value.

    Raises:
        ConfigError: a reference has no value.
    """
    with explained():
        return OmegaConf.create(OmegaConf.to_container(without_hydra(cfg), resolve=True))


def without_hydra(cfg: DictConfig) -> DictConfig:
    """Our own settings."""
    return OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])


@contextmanager
def explained(*others: str) -> Iterator[None]:
    """Within this, what Hydra raises for a wrong setting becomes a ConfigError of one sentence.

    ``others`` are names that the command line knows beside those in configs/.
    """
    if not CONFIGS.is_dir():
        raise ConfigError(f"there are no configurations in {CONFIGS}: install the package again")
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, others)) from error
    except ValueError as error:
        raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        if not raised_in.is_relative_to(Path(hydra.__file__).parent):
            raise
        raise ConfigError(str(error)) from error


def explain(error: Exception, others: Sequence[str] = ()) -> str:
    """A sentence for what Hydra raised: its first line, and what was meant perhaps.

    ``others``: see :func:`explained`. A command that has some takes lists of them without -m.
    """
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _no_such_file(error.missing_cfg_file, error.options)
    text = str(error).splitlines()[0].rstrip(".")
    if override := getattr(error, "override", None):  # it cannot be parsed
        return (
            f"{override!r} is not understood ({text}); settings are given as name=value, a text "
            "with brackets, commas or spaces in quotes of its own: \"name='a, b'\""
        )
    if where := getattr(error, "full_key", None):
        text += f" (in {where})"
    name = text.partition("'")[2].partition("'")[0]
    if text.startswith("Ambiguous value"):
        sweep = "" if others else ", or add -m to run them one after the other"
        return f"{name} gives several values: give one{sweep}"
    meant = nearest(name, [*others, *known()]) if name else ""
    if not meant and text.startswith("Could not override") and _has_own_options(name):
        meant = f"+{name}= adds an option that its file does not have"
    return f"{text}; {meant}" if meant else text


def _has_own_options(name: str) -> bool:
    """Whether a setting is in a node with the options of a class, to which others can be added."""
    return name.rpartition(".")[0] not in ("", *CLOSED)


def nearest(name: str, names: Sequence[str]) -> str:
    """A question for the one of ``names``, such as "recipe.steps", that was meant; "" if none."""
    found = None if name in names else _meant(name, names)
    return f"did you mean {found!r}?" if found else ""


def _meant(name: str, names: Sequence[str]) -> str | None:
    """The same word in another group; else one written alike in the same group, or anywhere.

    Elsewhere is looked only if the group is none, or has no settings. Of the same word in several
    groups the one that lies highest is taken.
    """
    group, word = _split(name)
    deepest_first = sorted(names, key=lambda key: -key.count("."))
    anywhere = {_split(key)[1]: key for key in deepest_first}  # the last one of a word stays
    beside = {_split(key)[1]: key for key in names if _split(key)[0] == group}
    if word in anywhere:
        return anywhere[word]
    for known_words in [beside] if group and beside else [beside, anywhere]:
        for alike in difflib.get_close_matches(word, known_words, 1):
            return known_words[alike]
    return None


def _split(name: str) -> tuple[str, str]:
    """("recipe.optimizer", "lr") of "recipe.optimizer.lr"."""
    group, _, word = name.rpartition(".")
    return group, word


@cache
def known() -> tuple[str, ...]:
    """Every setting and group in configs/, as "task.sigma" and "task"."""
    found: dict[str, None] = {}
    for path in sorted(CONFIGS.rglob("*.yaml")):
        *groups, _ = path.relative_to(CONFIGS).with_suffix("").parts
        if groups[:1] == ["hydra"]:
            continue
        start = "".join(f"{group}." for group in groups if group != "experiment")
        for name in flat(read_yaml(path), start):
            words = name.split(".")
            found |= dict.fromkeys(".".join(words[:n]) for n in range(1, len(words) + 1))
    return tuple(name for name in found if not name.startswith(("defaults", "hydra.")))


def _no_such_file(path: str, options: Sequence[str] | None) -> str:
    """A file of a group that there is not: "loss/asymae", "recipe/srcn"."""
    group, _, name = path.partition("/")
    if group == "dataset" and "/" in name:
        return f"there is no dataset {name!r}; of a folder: dataset=folder dataset.name={name}"
    if options:
        group, _, name = path.rpartition("/")
        return no_such_choice(group, name, options)
    files = sorted((CONFIGS / group).rglob("*.yaml"))
    choices = [file.relative_to(CONFIGS / group).with_suffix("").as_posix() for file in files]
    return no_such_choice(group, name, choices)


def option(group: str, name: str) -> DictConfig:
    """One option of a group, such as ("profile", "quick"), as its file has it.

    Raises:
        ConfigError: the group has no such option.
    """
    path = CONFIGS / group / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(_no_such_file(f"{group}/{name}", None))
    return OmegaConf.load(path)


def make(node: DictConfig):
    """The object that a node with ``_target_`` describes; ConfigError if it refuses its values."""
    if not (OmegaConf.is_dict(node) and "_target_" in node):
        raise ConfigError(f"{node} describes nothing; a _target_ and its options are needed")
    try:
        return hydra.utils.instantiate(node)
    except InstantiationException as error:
        raise ConfigError(_why_not_made(node["_target_"], error)) from error


def _why_not_made(target: str, error: InstantiationException) -> str:
    reason = first_line(error.__cause__ or error)
    if isinstance(error.__cause__, TypeError):  # as of a function of (output, label), no Module
        return f"{target} cannot be made of its options: {reason}"
    if not reason.startswith("Error loading"):
        return reason
    found = error.__cause__.__cause__  # by the import of the module, or of what it imports itself
    if isinstance(found, ModuleNotFoundError) and f"{target}.".startswith(f"{found.name}."):
        return f"there is no {target}; check the _target_"
    return f"{target} cannot be imported: {type(found).__name__}: {first_line(found)}"


# ------------------------------------------------------------------------------------- identity


def identity(cfg: DictConfig | dict) -> str:
    """A short hash of the settings that determine a run's weights and rows."""
    text = json.dumps(decisive(cfg), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def decisive(cfg: DictConfig | dict) -> dict:
    """The settings that make a run what it is, as plain values."""
    if isinstance(cfg, DictConfig):
        cfg = OmegaConf.to_container(cfg, resolve=True)
    found = {key: cfg[key] for key in IDENTITY}
    found["model"] = cfg["model"] | {"input": INPUT | (cfg["model"].get("input") or {})}
    # What the report compares the loss with belongs to the report.
    found["loss"] = {k: v for k, v in cfg["loss"].items() if k != "base"}
    added = ADDED.items()  # the same run as before there was a choice
    for group in ("task", "dataset"):
        found[group] = {k: v for k, v in cfg[group].items() if (k, v) not in added}
    return found | ({"from_sha256": cfg["from_sha256"]} if cfg.get("from_sha256") else {})


def flat(node: object, prefix: str = "") -> dict[str, object]:
    """{"recipe": {"steps": 3}} -> {"recipe.steps": 3}."""
    if not isinstance(node, dict) or not node:
        return {prefix.rstrip("."): node}
    return {k: v for key, value in node.items() for k, v in flat(value, f"{prefix}{key}.").items()}


def difference(old: dict, new: dict) -> str:
    """The first setting in which two plain configurations differ, with both values; "" if none."""
    old, new = flat(old), flat(new)
    for key in [*new, *old]:
        if old.get(key) != new.get(key) or (key in old) != (key in new):
            return f"{key} was {written(old.get(key))}, now {written(new.get(key))}"
    return ""


def as_written(new: object, old: object) -> object:
    """``new``, in which numbers that are equal to those of ``old`` are written as there."""
    if isinstance(new, dict) and isinstance(old, dict):
        return {key: as_written(value, old.get(key)) for key, value in new.items()}
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        return list(map(as_written, new, old))
    numbers = {type(new), type(old)} <= {int, float}
    return old if numbers and new == old else new


def written(value: object) -> str:
    """A value as it is written in a configuration."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def to_yaml(cfg: DictConfig) -> str:
    """The configuration without what belongs to this machine."""
    kept = OmegaConf.to_container(cfg, resolve=True)
    elsewhere = ("runtime", "results", "profile", "budget", "from", "minutes")
    kept = {k: v for k, v in kept.items() if k not in elsewhere}
    return OmegaConf.to_yaml(kept)


def read_yaml(path: Path) -> object:
    """The content of a YAML file that this program wrote, quickly (OmegaConf takes 50 times it)."""
    with open(path, encoding="utf-8") as file:
        return yaml.load(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
