"""What a run's settings leave open: each choice that depends on the machine and what is there."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from itertools import chain

from omegaconf import DictConfig, OmegaConf

from asyrepro.data import STAND_IN, catalogue
from asyrepro.runs import config, schema
from asyrepro.runs.run import Run
from asyrepro.system import devices
from asyrepro.system.errors import DataError, note
from asyrepro.training import checkpoint, foreign

INTERVALS = ("log_every", "validate_every")  # of a recipe, in steps
KEPT = ("border", "noise")  # of a task: runs of a row have one border and one test noise


def resolve(cfg: DictConfig, run: Run | None = None) -> DictConfig:
    """The configuration as it will be run: shortened, and with data sets that can be had.

    The folder and row of ``run`` are looked at. With ``amp=auto`` what was begun there, on whatever
    device, keeps its precision; in a new row the device decides. With ``fallback`` what was begun
    there keeps its training set. A finished run needs no data.

    Raises:
        ConfigError: see :func:`asyrepro.runs.schema.check`; or there is no such device.
        DataError: a data set can neither be found nor downloaded, and ``fallback`` is false or has
            nothing to offer; or the stand-in was taken before, and the real one can be had now.
    """
    cfg = config.checked(cfg)
    schema.check(cfg)
    return resolved(cfg, run)


def resolved(cfg: DictConfig, run: Run | None = None) -> DictConfig:
    """:func:`resolve` of a configuration that is checked already: ``cfg`` is changed, and returned.

    Raises:
        ConfigError: there is no such device.
        DataError: see :func:`resolve`.
    """
    device = devices.choose(cfg.runtime.device)
    done, begun = run is not None and run.finished, begun_with(run)
    if not done:
        for name in filter(catalogue.is_folder, data_sets(cfg)):
            catalogue.provide(name)  # nothing stands in for images of your own
    if begun:
        _take_over(cfg, begun)
    set_steps(cfg.recipe, min(cfg.recipe.steps, cfg.max_steps or cfg.recipe.steps))
    if cfg.get("from"):
        cfg.from_sha256 = checkpoint.digest(foreign.state_dict(cfg["from"]))
    if cfg.amp == "auto":
        cfg.amp = devices.fast_bfloat16(device)
    if cfg.fallback:
        cfg.dataset = _training_set(cfg, run, begun and begun["dataset"]["name"], done)
    if cfg.dataset.name == "bundled":
        cfg.validation = "bundled_validation"
        if cfg.table is not None and cfg.testset:  # no table mixes real and stand-in images
            cfg.testset, cfg.benchmarks = "bundled", []
    return cfg


def _take_over(cfg: DictConfig, begun: dict) -> None:
    """Set what ``cfg`` leaves open to what the row was ``begun`` with.

    So the same command has the same identity: the steps that ``minutes`` chose then, what older
    runs did before there was a choice, the precision, and how numbers are written (25.0 is 25).
    """
    if cfg.get("minutes"):
        for name in INTERVALS:
            cfg.recipe[name] = begun["recipe"][name]
        set_steps(cfg.recipe, begun["recipe"]["steps"])
    for name in KEPT:
        if name in cfg.task and name not in begun["task"]:
            cfg.task[name] = config.ADDED[name]
    if cfg.amp == "auto" and isinstance(begun.get("amp"), bool):
        cfg.amp = begun["amp"]
    values = OmegaConf.to_container(cfg)
    for name in config.IDENTITY:
        if name != "loss" or cfg.loss.name == begun["loss"]["name"]:
            cfg[name] = config.as_written(values[name], begun[name])


def set_steps(recipe: DictConfig, steps: int) -> None:
    """Fit a recipe, and its schedule with it, to so many steps."""
    if steps != recipe.steps and "total_steps" in recipe.scheduler:
        recipe.scheduler.total_steps = steps
    recipe.steps = steps
    if (recipe.scheduler.get("pct_start") or 0) * recipe.steps == 1:
        # OneCycleLR divides by the length of the warm-up less one step.
        recipe.scheduler.pct_start = 2 / recipe.steps


def begun_with(run: Run | None) -> dict | None:
    """What the run, or another one of its row, was begun with."""
    if run is None:
        return None
    for begun in chain([run], run.mates()):
        with suppress(DataError):  # of which checks.check_folder tells
            if begun.settings is not None:
                return begun.settings
    return None


def _training_set(cfg: DictConfig, run: Run | None, begun: str | None, done: bool) -> DictConfig:
    """The training set of the name ``begun``, which the row has; else the first that can be had.

    To choose from are the one asked for, the one ``instead`` of it, and so on.

    Raises:
        NotAvailable: none can be had.
        DataError: the row was begun with the stand-in, and real images can be had now.
    """
    options = [cfg.dataset]
    while options[-1].instead is not None:
        options.append(config.option("dataset", options[-1].instead))
    by_name = {option.name: option for option in options}
    if done and begun in by_name:
        return by_name[begun]
    if begun in by_name and begun != "bundled":
        _have_all(cfg, by_name[begun])
        return by_name[begun]
    chosen = _first_available(cfg, options)
    if not done and begun == "bundled" and chosen.name != "bundled":
        raise DataError(
            f"{run.study} was begun with {STAND_IN}, and {chosen.name} can be had "
            "now: choose another study, or delete that folder"
        )
    return chosen


def _first_available(cfg: DictConfig, options: list[DictConfig]) -> DictConfig:
    """The first training set that can be had; NotAvailable, of the last one, if there is none."""
    for option in options[:-1]:
        try:
            _have_all(cfg, option)
            return option
        except catalogue.NotAvailable as error:
            note(f"{option.instead} is trained on instead of {option.name}, as {error.reason}")
    _have_all(cfg, options[-1])
    return options[-1]


def _have_all(cfg: DictConfig, dataset: DictConfig) -> None:
    """Download what training on ``dataset`` needs; NotAvailable if that fails."""
    if dataset.name == "bundled":  # its validation and test images are bundled, too
        return
    # Test images matter as much: a table is either made from real images, or labelled.
    for name in [dataset.name, *_measured_on(cfg)]:
        have(name, cfg.runtime)


def data_sets(cfg: DictConfig) -> list[str]:
    """The names of all data sets of a run, the training set first."""
    return [cfg.dataset.name, *_measured_on(cfg), *cfg.benchmarks]


def _measured_on(cfg: DictConfig) -> list[str]:
    """The names of the validation and test sets without which there is no run and no table."""
    validation = [cfg.validation] if cfg.recipe.validate_every else []
    tests = [cfg.testset] if cfg.testset else []
    return [*validation, *tests]


@contextmanager
def or_give(advice: str):
    """Within this, the message about a missing data set ends in what to give instead."""
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
