"""What is looked at before a run begins, so that it is refused in seconds and not after hours.

Its folder, the runs that it will be averaged with, its network and loss with black patches, and the
images that it will be tested on.
"""

from __future__ import annotations

import torch
from omegaconf import DictConfig
from torch import nn

from asyrepro.data import catalogue
from asyrepro.runs import config, evaluation, parts, provenance
from asyrepro.runs.resolve import have, or_give
from asyrepro.runs.run import Run, of_study
from asyrepro.system.errors import ConfigError, DataError
from asyrepro.tasks import Task


def check_folder(cfg: DictConfig | dict, run: Run) -> bool:
    """Whether a run's folder holds it already; ConfigError if it holds another one."""
    if run.settings is None:
        return False
    if run.identity != config.identity(cfg):
        found = config.difference(config.decisive(run.settings), config.decisive(cfg))
        raise ConfigError(
            f"{run} holds a run with another configuration ({found}); "
            "choose another study=..., or delete the folder"
        )
    return True


def check_row(cfg: DictConfig | dict, run: Run) -> None:
    """ConfigError unless a new run has all but its loss and seed in common with its row.

    The report averages the runs of a row, and takes differences between its losses. It also makes
    the study's tables anew, so a study that is kept without its runs' folders takes no new run.
    """
    if (run.study / "metrics.csv").is_file() and not any(of_study(run.study)):
        raise ConfigError(
            f"{run.study} holds the tables of a study without its runs' folders, and a new run "
            "would replace them: choose another study=..., or delete its metrics.csv"
        )
    ours = what_is_shared(cfg)
    for mate in run.mates():
        if not (mate.finished or mate.checkpoint.is_file()):
            continue  # it failed, or is about to begin
        if found := config.difference(what_is_shared(mate.settings), ours):
            raise ConfigError(
                f"{run} would be averaged or compared with {mate}, and may differ from it in loss "
                f"and seed alone ({found}); choose another study=..., or delete that folder"
            )


def what_is_shared(cfg: DictConfig | dict) -> dict:
    """The settings that all runs of a row must have in common."""
    return {k: v for k, v in config.decisive(cfg).items() if k not in ("loss", "seed")}


def check_fit(cfg: DictConfig, network: nn.Module, task: Task, device: torch.device) -> None:
    """ConfigError if network, loss or optimiser refuse black patches, or do not fit together."""
    inputs, label = parts.black_patches(task, cfg.recipe.patch, device)
    try:
        with torch.inference_mode():
            output = network.eval()(inputs)
    except ValueError as error:
        raise ConfigError(f"{error}; or check model.input") from error
    if output.shape != label.shape:
        raise ConfigError(
            f"the network returns {tuple(output.shape)} where the label is {tuple(label.shape)}, "
            "and no loss compares these; check model.network and model.input"
        )
    criterion = config.make(cfg.loss.criterion).to(device)
    try:
        with torch.inference_mode():
            loss = criterion(output.float(), label)
    except ValueError as error:
        raise ConfigError(
            f"the loss {cfg.loss.name} refuses patches of {cfg.recipe.patch} pixels: {error}"
        ) from error
    if loss.ndim:
        raise ConfigError(
            f"the loss {cfg.loss.name} returns {tuple(loss.shape)} where training needs one "
            "number; check loss.criterion (its reduction?)"
        )
    parts.optimization(cfg.recipe, network)


def check_tests(cfg: DictConfig, run: Run, task: Task) -> None:
    """DataError, before training, if benchmarks are not available, or test images of your own are
    damaged, too small or new."""
    with or_give("benchmarks=[] to do without"):
        for name in cfg.benchmarks:
            have(name, cfg.runtime)
    tests = [cfg.testset, *cfg.benchmarks] if cfg.testset else cfg.benchmarks
    for name in filter(catalogue.is_folder, tests):
        testset = catalogue.test_set(name, **task.reading(), **parts.where(cfg))
        evaluation.check_sizes(testset, task, cfg.metrics)
        check_same_images(run, name, f"test {testset.name}", testset.fingerprint)


def check_same_images(run: Run, name: str, key: str, fingerprint: str) -> None:
    """DataError if another run of the row was carried out with other images of that name."""
    for mate in [run, *run.mates()]:
        if provenance.fingerprints(mate).get(key) not in (None, fingerprint):
            raise DataError(
                f"the images of {name} are not those that {mate} was run with, and the "
                "rows would not be comparable: choose another study, or put the images back"
            )
