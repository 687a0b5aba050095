"""A cell's configuration: everything chosen that depends on the machine and on what is there.

And what makes two configurations the same run, which a cell's folder is held against.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from asyrepro.data import catalogue
from asyrepro.runs import results, settings
from asyrepro.system import devices
from asyrepro.system.errors import ConfigError, DataError
from asyrepro.training import checkpoint, foreign

IDENTITY = (  # the settings that make a run what it is: two runs that agree in them are the same
    "model", "dataset", "task", "loss", "recipe", "seed", "testset", "validation", "amp",
    "channels_last",
)  # fmt: skip


def resolve(cfg: DictConfig, folder: Path | str | None = None) -> DictConfig:
    """The configuration as it will be run: shortened, and with data sets that can be had.

    Args:
        cfg: as Hydra composes it.
        folder: the cell's own folder. With ``amp=auto`` what was begun there, on whatever device,
            keeps its precision; elsewhere, and in a new folder, the device decides. With
            ``fallback`` what was begun there, or with the table's other losses and seeds, keeps
            its training set. A finished cell needs no data.

    Raises:
        ConfigError: see :func:`asyrepro.runs.settings.check`; or there is no such device.
        DataError: a data set can neither be found nor downloaded, and ``fallback`` is false or has
            nothing to offer; or the stand-in was taken before, and the real one can be had now.
    """
    cfg = settings.resolved(cfg)
    _keep_border(cfg, folder)
    settings.check(cfg)
    device = devices.choose(cfg.runtime.device)
    if cfg.benchmarks is None:
        cfg.benchmarks = [name for name in cfg.literature if name in cfg.profile.benchmarks]
    done = folder is not None and finished(folder)
    if not done:
        for name in filter(catalogue.is_folder, data_sets(cfg)):
            catalogue.provide(name)  # nothing stands in for images of one's own
    if cfg.max_steps is not None:
        steps = min(cfg.recipe.steps, cfg.max_steps)
        if "total_steps" in cfg.recipe.scheduler:
            cfg.recipe.scheduler.total_steps = steps
        cfg.recipe.steps = steps
    if (cfg.recipe.scheduler.get("pct_start") or 0) * cfg.recipe.steps == 1:
        # OneCycleLR divides by the length of the warm-up less one step.
        cfg.recipe.scheduler.pct_start = 2 / cfg.recipe.steps
    if cfg.amp == "auto":
        begun = results.precision_of(folder) if folder is not None else ""
        cfg.amp = begun == "bfloat16" if begun else devices.fast_bfloat16(device)
    if cfg.get("from"):
        cfg.from_sha256 = checkpoint.digest(foreign.state_dict(cfg["from"]))
    if cfg.fallback:
        _choose_training_set(cfg, folder, done)
    if cfg.dataset.name == "bundled":
        cfg.validation = "bundled_validation"
        if cfg.table is not None and cfg.testset:  # no table mixes real and stand-in images
            cfg.testset, cfg.benchmarks = "bundled", []
    return cfg


def _choose_training_set(cfg: DictConfig, folder: Path | str | None, done: bool) -> None:
    """The one that the table was begun with; else the first that can be had, with its tests."""
    option, options = cfg.dataset, {cfg.dataset.name: cfg.dataset}
    while option.instead is not None:
        option = settings.option("dataset", option.instead)
        options[option.name] = option
    begun = _begun_with(folder)
    if begun in options and (done or begun != "bundled"):
        cfg.dataset = options[begun]
        if not done:
            _have_all(cfg)
        return
    for option in options.values():
        cfg.dataset = option
        if option.name == "bundled":
            return
        try:
            _have_all(cfg)
            break
        except catalogue.NotAvailable as error:
            if option.instead is None:
                raise
            _say_once(
                f"note     {option.instead} is trained on instead of {option.name}, as "
                f"{error.reason}"
            )
    if begun == "bundled" and not done:
        raise DataError(
            f"{Path(folder).parents[1]} was begun with {results.STAND_IN}, and {cfg.dataset.name} "
            "can be had now: choose another study, or delete that folder"
        )


def _have_all(cfg: DictConfig) -> None:
    # Test images matter as much: a table is either made from real images, or labelled.
    for name in _needed(cfg):
        have(name, cfg.runtime)


def _keep_border(cfg: DictConfig, folder: Path | str | None) -> None:
    """Runs are compared with runs: a cell's bicubic border is that of what was begun in it."""
    if cfg.task.get("border") != "mirror":
        return
    begun = _begun(folder)
    if begun is not None and begun.task.get("border", "renormalise") == "renormalise":
        cfg.task.border = "renormalise"


def _begun_with(folder: Path | str | None) -> str | None:
    """The training set in the cell's folder, else in that of another loss or seed; None if new."""
    begun = _begun(folder)
    return None if begun is None else str(begun.dataset.name)


def _begun(folder: Path | str | None) -> DictConfig | None:
    """The configuration in the cell's folder, else in that of another loss or seed."""
    if folder is None:
        return None
    folder = Path(folder)
    others = folder.parents[1].glob("*/seed*/config.yaml")
    for path in [folder / "config.yaml", *sorted(others)]:
        try:
            begun = OmegaConf.load(path)
            if begun.dataset.name and begun.task:
                return begun
        except (OSError, YAMLError, AttributeError, OmegaConfBaseException):  # of check_folder
            continue
    return None


@cache
def _say_once(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def data_sets(cfg: DictConfig) -> list[str]:
    """The names of all data sets of a run, the training set first."""
    return [*_needed(cfg), *cfg.benchmarks]


def _needed(cfg: DictConfig) -> list[str]:
    """The names of the data sets without which there is no training and no table."""
    validation = [cfg.validation] if cfg.recipe.validate_every else []
    tests = [cfg.testset] if cfg.testset else []
    return [cfg.dataset.name, *validation, *tests]


@contextmanager
def or_give(advice: str):
    """Within this, the message about a data set that cannot be had ends in what to give instead."""
    try:
        yield
    except catalogue.NotAvailable as error:
        raise catalogue.NotAvailable(f"{error}, or give {advice}") from error


def have(name: str, runtime: DictConfig) -> None:
    """Download a data set that is not here; NotAvailable if that fails or is not wished for."""
    if catalogue.available(name, runtime.data) is None:
        if not runtime.download:
            raise catalogue.NotAvailable(f"{name} is not here, and runtime.download is false")
        catalogue.provide(name, runtime.data)


def identity(cfg: DictConfig) -> str:
    """A short hash of the settings that determine a run's weights and rows."""
    text = json.dumps(_decisive(cfg), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _decisive(cfg: DictConfig) -> dict:
    plain = OmegaConf.to_container(cfg, resolve=True)
    plain["loss"].pop("base", None)  # what the report compares the loss with
    if plain["task"].get("border") == "renormalise":
        del plain["task"]["border"]  # the same run as before this setting existed
    begun = {"from_sha256": plain["from_sha256"]} if plain.get("from_sha256") else {}
    return {key: plain[key] for key in IDENTITY} | begun


def finished(folder: Path | str) -> bool:
    """Whether a cell's folder holds its metrics."""
    return os.path.isfile(Path(folder) / "rows.csv")  # False, too, for a name that is too long


def check_folder(cfg: DictConfig, folder: Path | str) -> bool:
    """Whether a cell's folder holds this run already; ConfigError if it holds another one."""
    path = Path(folder) / "config.yaml"
    if not path.is_file():
        return False
    try:
        other = identity(OmegaConf.load(path))
    except Exception as error:
        raise ConfigError(f"{path} is damaged; delete the folder to start again") from error
    if other != identity(cfg):
        raise ConfigError(
            f"{folder} holds a run with another configuration ({_difference(cfg, path)}); "
            "choose another study=..., or delete the folder"
        )
    return True


def _difference(cfg: DictConfig, path: Path) -> str:
    """The first setting in which two configurations differ, in words."""
    here = _flat(_decisive(cfg))
    there = _flat(OmegaConf.to_container(OmegaConf.load(path), resolve=True))
    for key in here:
        if here[key] != there.get(key):
            return f"{key} was {there.get(key)}, now {here[key]}"
    return "settings were removed"


def _flat(node, prefix="") -> dict:
    if not isinstance(node, dict):
        return {prefix.rstrip("."): node}
    return {k: v for key, value in node.items() for k, v in _flat(value, f"{prefix}{key}.").items()}


def to_yaml(cfg: DictConfig) -> str:
    """The configuration without what belongs to this machine."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    plain = {k: v for k, v in plain.items() if k not in ("runtime", "results", "profile", "from")}
    return OmegaConf.to_yaml(plain)
