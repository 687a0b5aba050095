"""Evaluate trained weights on a test set.

    asyrepro evaluate checkpoint=results/quick/table4/mse/seed0/weights.pt testset=set12
    asyrepro evaluate checkpoint='results/mine/table4/*/seed*/weights.pt' testset=set12 output=m.csv

Prints the metrics of each image, beside those of the degraded image itself (bicubic or noisy); of
several runs their means over the images. ``asyrepro judge`` compares the losses of such a table.
"""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyrepro.system import files
from asyrepro.system.errors import CheckpointError, ConfigError
from asyrepro.system.options import TRUST, check_output, no_such_choice, setting

if TYPE_CHECKING:
    import torch
    from omegaconf import DictConfig

    from asyrepro.data.dataset import DataSet
    from asyrepro.tasks import Task


@dataclass(kw_only=True)
class Options:
    checkpoint: str = setting(about="weights.pt of a run; with *, of several", shown="FILE")
    testset: str = setting(
        about="a test set, as asyrepro data lists them, or a folder of images (with a slash)"
    )
    task: dict[str, str] = setting(
        {},
        "evaluate under another degradation than in training; task.scale= is for networks that "
        "take an upsampled image, as SRCNN does",
        shown="task.sigma=X, task.scale=N",
    )
    output: str | None = setting(None, "save the rows of the table there", shown="FILE.csv")
    save: str | None = setting(
        None,
        "write input, output, label and error map of every image there, as PNG; in the map white "
        "is an error of 0.1 (25.5 grey levels) or more",
        shown="FOLDER",
    )
    metrics: list[str] = setting([], "further ones: haarpsi, a perceptual one", shown="haarpsi")
    ensemble: bool = setting(
        False, "mean of the results for the eight flips and rotations of each image"
    )
    white: int | None = setting(
        None,
        "value of white in the files of a folder, as 4095 for 12 bits that are stored in 16 "
        "(default: what the network was trained with)",
        at_least=1,
    )
    data: str | None = setting(
        None, "folder of data sets (default: ASYREPRO_DATA, then data/)", shown="FOLDER"
    )
    trust: list[str] = setting([], TRUST, shown="PACKAGE")
    download: bool = setting(True, "do not download a test set that is not here")
    device: str = setting("auto", "auto, cpu, cuda or cuda:N", shown="NAME")


@dataclass(frozen=True)
class Evaluated:
    """The rows of trained weights, one an image, and what they were made with."""

    path: str
    cfg: DictConfig
    task: Task
    testset: DataSet
    rows: list[dict]

    def about(self, variant: str) -> dict:
        """What all rows of these weights, and of the degraded images, have in common."""
        from asyrepro.data import catalogue

        dataset = catalogue.short(self.cfg.dataset.name)
        return {"model": self.cfg.model.name, "dataset": dataset, "variant": variant}


def run(options: Options) -> None:
    from asyrepro.metrics import FURTHER
    from asyrepro.runs import evaluation, parts, results
    from asyrepro.system import devices

    for name in options.metrics:
        if name not in FURTHER:
            raise ConfigError(no_such_choice("further metric", name, FURTHER))
    check_output(options.output, [".csv"])
    device = devices.choose(options.device)
    paths = _matching(options.checkpoint)
    if options.save and len(paths) > 1:
        raise ConfigError(f"save= takes the images of one file, and {len(paths)} match checkpoint=")
    typed = [f"task.{name}={value}" for name, value in options.task.items()]
    found: list[Evaluated] = []
    for path in paths:
        network, task, cfg = parts.load(path, device, options.trust)
        if found and (cfg.model, cfg.task) != (found[0].cfg.model, found[0].cfg.task):
            what = f"{path} and {found[0].path} have other networks or tasks"
            raise ConfigError(f"{what}: evaluate them apart")
        task = _another_task(typed, task, cfg) if typed else task
        found.append(_evaluated(path, network, task, cfg, options))
    first = found[0]
    baseline = evaluation.evaluate_baseline(first.testset, first.task, options.metrics)
    if options.output:
        variant = ",".join(typed)
        rows = [
            one.about(variant) | {"loss": one.cfg.loss.name, "seed": one.cfg.seed} | row
            for one in found
            for row in one.rows
        ]
        rows += [first.about(variant) | {"loss": first.task.baseline} | row for row in baseline]
        files.write_text(options.output, results.to_csv(rows))
    what, title = [first.cfg.model.name, *typed], first.testset.title
    if len(found) == 1:
        what[1:1] = [first.cfg.loss.name, f"seed {first.cfg.seed}"]
        table = _of_images({first.cfg.loss.name: first.rows, first.task.baseline: baseline})
    else:
        table = _of_runs(found, baseline)
    print(f"{', '.join(what)}, on {title}\n\n{table}")


def _matching(checkpoint: str) -> list[str]:
    """The files that ``checkpoint=`` names; CheckpointError if it is a pattern of none."""
    if "*" not in checkpoint or os.path.exists(checkpoint):
        return [checkpoint]
    if not (paths := sorted(glob.glob(os.path.expanduser(checkpoint)))):
        raise CheckpointError(f"no file is called {checkpoint}: check the pattern, and quote it")
    return paths


def _evaluated(
    path: str, network: torch.nn.Module, task: Task, cfg: DictConfig, options: Options
) -> Evaluated:
    from asyrepro.data import catalogue
    from asyrepro.restoration import restoring
    from asyrepro.runs import evaluation
    from asyrepro.system import devices

    device = next(network.parameters()).device
    white = options.white or cfg.dataset.get("white")
    where = {"root": options.data, "download": options.download, "white": white}
    testset = catalogue.test_set(options.testset, **task.reading(), **where)
    if options.ensemble:
        network = restoring.Ensemble(network)
    keep = options.save and (lambda *images: evaluation.save(options.save, *images))
    full = f"an image does not fit into the free memory of {devices.name_of(device)}"
    how = {"device": device, "progress": True, "keep": keep, "further": options.metrics}
    try:
        with devices.memory(full):
            rows = evaluation.evaluate(network, testset, task, **how)
    except ValueError as error:  # of the network, or of the metrics if no image is finite
        raise CheckpointError(
            f"{path} cannot be evaluated on {options.testset} with this task: {error}"
        ) from error
    return Evaluated(path, cfg, task, testset, rows)


def _another_task(typed: list[str], task, cfg):
    """The network's task with other options; ConfigError if there is none such or it cannot be."""
    from inspect import signature

    from omegaconf import OmegaConf
    from yaml import YAMLError

    from asyrepro.runs import config

    try:
        changes = OmegaConf.from_dotlist(typed).task
    except YAMLError as error:
        raise ConfigError(
            f"{' '.join(typed)} is not understood: give it as task.sigma=15"
        ) from error
    settings = {**cfg.task, **signature(type(task)).parameters}  # of which older weights lack some
    if unknown := [name for name in changes if name not in settings]:
        raise ConfigError(no_such_choice("setting of the task", unknown[0], [*settings]))
    changes = config.plain(changes)
    if "sigma" in changes and "test_sigma" in cfg.task:  # the level that is asked for is tested
        changes = OmegaConf.merge({"test_sigma": None}, changes)
    scale = changes.get("scale", task.scale)
    if scale != task.scale and not task.enlarged:
        raise ConfigError(
            f"task.scale={scale} cannot be: {cfg.model.name} itself upsamples, {task.scale} times"
        )
    return config.make(OmegaConf.merge(cfg.task, changes))


def _of_images(scored: dict[str, list[dict]]) -> str:
    """The metrics of each image and their means, the losses side by side."""
    from statistics import fmean

    from asyrepro.metrics import METRICS

    some = next(iter(scored.values()))
    columns = {"image": [*(row["image"] for row in some), "mean"]}
    for metric in (name for name in METRICS if name in some[0]):
        for loss, rows in scored.items():
            values = [row[metric] for row in rows]
            head = f"{metric.upper().replace('_', ' ')}\n{loss}"
            columns[head] = [_written(metric, value) for value in (*values, fmean(values))]
    return _aligned(columns, 1)


def _of_runs(found: list[Evaluated], baseline: list[dict]) -> str:
    """The metrics' means over the images, a row for each file of weights."""
    from statistics import fmean

    from asyrepro.metrics import METRICS

    scored = [(one.cfg.loss.name, str(one.cfg.seed), one.rows) for one in found]
    scored.append((found[0].task.baseline, "", baseline))
    columns = {"loss": [loss for loss, *_ in scored], "seed": [seed for _, seed, _ in scored]}
    for metric in (name for name in METRICS if name in baseline[0]):
        means = [fmean(row[metric] for row in rows) for *_, rows in scored]
        columns[metric.upper().replace("_", " ")] = [_written(metric, mean) for mean in means]
    return _aligned(columns, 2)


def _written(metric: str, value: float) -> str:
    return f"{value:{'.2f' if 'psnr' in metric else '.4f'}}"


def _aligned(columns: dict[str, list], names: int) -> str:
    """A table of so many columns of names, the others of numbers."""
    from tabulate import tabulate

    sides = ["left"] * names + ["right"] * (len(columns) - names)
    return tabulate(columns, "keys", "simple", disable_numparse=True, colalign=sides)
