"""Evaluate trained weights on a test set.

    asyrepro evaluate checkpoint=results/quick/table4/mse/seed0/weights.pt testset=set12

Further settings: output=FILE.csv (save the rows), device=auto, data=FOLDER, download=true, and
task.scale= (of networks that take an enlarged image, as SRCNN), task.sigma= to evaluate under
another degradation than the training's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from omegaconf import OmegaConf
from yaml import YAMLError

from asyrepro.data import catalogue
from asyrepro.runs import cell, evaluation, settings
from asyrepro.system import devices, files
from asyrepro.system.errors import CheckpointError, ConfigError, command

OF_THE_TASK = {"scale", "sigma", "mode"}


@dataclass
class Options:
    """The settings of the command line; ``task`` holds those that begin with "task."."""

    checkpoint: str
    testset: str
    output: str | None = None
    device: str = "auto"
    data: str | None = None
    download: bool = True
    task: dict[str, Any] = field(default_factory=dict)


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    return command(__doc__, lambda given: _evaluate(_options(given)), arguments)


def _options(arguments: list[str]) -> Options:
    given, task = {}, []
    for item in arguments:
        name, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(f"{item!r} is not understood: settings are given as name=value")
        if name.startswith("task."):
            task.append(item)
        else:
            given[name] = value
    for name in OF_THE_TASK & set(given):
        raise ConfigError(f"there is no setting {name!r}; did you mean 'task.{name}'?")
    if "task" in given:
        raise ConfigError("task= takes one option at a time, as task.sigma=15")
    try:
        parsed = OmegaConf.from_dotlist(task).get("task", {})
    except YAMLError as error:
        raise ConfigError(
            f"{' '.join(task)} is not understood: give it as task.sigma=15"
        ) from error
    return settings.typed(Options, given | {"task": parsed})


def _evaluate(options: Options) -> None:
    device = devices.choose(options.device)
    network, task, cfg = cell.load(options.checkpoint, device)
    unknown = [key for key in options.task if key not in cfg.task]
    if unknown:
        raise ConfigError(settings.no_such_choice("setting of the task", unknown[0], [*cfg.task]))
    scale = options.task.get("scale", task.scale)
    if scale != task.scale and not getattr(task, "enlarged", True):
        raise ConfigError(
            f"task.scale={scale} cannot be: {cfg.model.name} itself enlarges, {task.scale} times"
        )
    if options.task:
        task = cell.make(OmegaConf.merge(cfg.task, options.task))
    where = {"root": options.data, "download": options.download}
    testset = catalogue.test_set(options.testset, mode=task.mode, **where)
    about = {"model": cfg.model.name, "dataset": catalogue.short(cfg.dataset.name)}
    trained = about | {"loss": cfg.loss.name, "seed": cfg.seed}
    full = f"an image does not fit into the free memory of {devices.name_of(device)}"
    try:
        with devices.memory(full):
            rows = evaluation.evaluate(network, testset, task, device=device, progress=True)
    except ValueError as error:  # of the network, or of the metrics if no image is finite
        raise CheckpointError(
            f"these weights cannot be evaluated on {options.testset} with this task: {error}"
        ) from error
    found = [trained | row for row in rows]
    found += [
        about | {"loss": task.baseline} | row for row in evaluation.evaluate_baseline(testset, task)
    ]
    if options.output:
        files.write_text(options.output, cell.to_csv(found, cell.COLUMNS))
    shown = pd.DataFrame(found).drop(columns=["model", "dataset", "seed"])
    print(f"{cfg.model.name}, {cfg.loss.name}, seed {cfg.seed}, on {testset.title}")
    print(shown.to_string(index=False, float_format="%.4f"))
    means = shown.groupby("loss", sort=False).mean(numeric_only=True)
    print(f"\nmean\n{means.to_string(float_format='%.4f')}")
