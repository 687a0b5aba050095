"""Evaluate trained weights on a test set.

    asyrepro evaluate checkpoint=results/quick/table4/mse/seed0/weights.pt testset=set12

Prints the metrics of each image, beside those of the degraded image itself (bicubic or noisy).
"""

from __future__ import annotations

from dataclasses import dataclass

from asyrepro.system import files
from asyrepro.system.errors import CheckpointError, ConfigError
from asyrepro.system.options import TRUST, no_such_choice, setting


@dataclass(kw_only=True)
class Options:
    checkpoint: str = setting(about="weights.pt of a run", shown="FILE")
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


def run(options: Options) -> None:
    from asyrepro.data import catalogue
    from asyrepro.metrics import FURTHER
    from asyrepro.restoration import restoring
    from asyrepro.runs import evaluation, parts, results
    from asyrepro.system import devices

    for name in options.metrics:
        if name not in FURTHER:
            raise ConfigError(no_such_choice("further metric", name, FURTHER))
    device = devices.choose(options.device)
    network, task, cfg = parts.load(options.checkpoint, device, options.trust)
    other_task = [f"task.{name}={value}" for name, value in options.task.items()]
    if options.task:
        task = _another_task(other_task, task, cfg)
    white = options.white or cfg.dataset.get("white")
    where = {"root": options.data, "download": options.download, "white": white}
    testset = catalogue.test_set(options.testset, **task.reading(), **where)
    if options.ensemble:
        network = restoring.Ensemble(network)
    keep = options.save and (lambda *images: evaluation.save(options.save, *images))
    full = f"an image does not fit into the free memory of {devices.name_of(device)}"
    try:
        with devices.memory(full):
            rows = evaluation.evaluate(
                network,
                testset,
                task,
                device=device,
                progress=True,
                keep=keep,
                further=options.metrics,
            )
    except ValueError as error:  # of the network, or of the metrics if no image is finite
        raise CheckpointError(
            f"these weights cannot be evaluated on {options.testset} with this task: {error}"
        ) from error
    baseline = evaluation.evaluate_baseline(testset, task, options.metrics)
    if options.output:
        about = {"model": cfg.model.name, "dataset": catalogue.short(cfg.dataset.name)}
        about["variant"] = ",".join(other_task)
        trained = about | {"loss": cfg.loss.name, "seed": cfg.seed}
        found = [trained | row for row in rows]
        found += [about | {"loss": task.baseline} | row for row in baseline]
        files.write_text(options.output, results.to_csv(found))
    what = [cfg.model.name, cfg.loss.name, f"seed {cfg.seed}", *other_task]
    print(f"{', '.join(what)}, on {testset.title}\n")
    print(_table({cfg.loss.name: rows, task.baseline: baseline}))


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


def _table(scored: dict[str, list[dict]]) -> str:
    """The metrics of each image and their means, the losses side by side."""
    from statistics import fmean

    from tabulate import tabulate

    from asyrepro.metrics import METRICS

    some = next(iter(scored.values()))
    columns = {"image": [*(row["image"] for row in some), "mean"]}
    for metric in (name for name in METRICS if name in some[0]):
        for loss, rows in scored.items():
            values, spec = [row[metric] for row in rows], ".2f" if "psnr" in metric else ".4f"
            head = f"{metric.upper().replace('_', ' ')}\n{loss}"
            columns[head] = [f"{value:{spec}}" for value in (*values, fmean(values))]
    sides = ["left"] + ["right"] * (len(columns) - 1)
    return tabulate(columns, "keys", "simple", disable_numparse=True, colalign=sides)
