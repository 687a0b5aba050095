"""One cell of a study: a network trained with one loss and one seed, and its rows of metrics.

A cell's folder holds

    config.yaml      what was asked for, resolved
    history.csv      the training's course
    rows.csv         the metrics, written last: a folder that has it is finished
    profiles.csv     squared and absolute error by grey value and gradient of the label
    provenance.json  versions, device, flags and commit; hashes of data, weights and rows
    weights.pt       the trained weights
    checkpoint.pt    while the training is under way
"""

from __future__ import annotations

import csv
import io
import math
import platform
from collections.abc import Collection
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch
from omegaconf import DictConfig
from torch import nn

from asyrepro import whitening
from asyrepro.data import catalogue
from asyrepro.data.sampler import PatchSampler
from asyrepro.runs import configuration, evaluation, profiles, provenance, results
from asyrepro.runs.settings import make
from asyrepro.system import devices, files, locks
from asyrepro.system.errors import CheckpointError, ConfigError, DataError
from asyrepro.tasks import Task
from asyrepro.training import checkpoint, distributed, foreign, logger
from asyrepro.training.loop import CHECKPOINT, Diverged, Trainer, parameter_groups

PATCHES_WHITENED = 120  # patches that a layer's input is whitened on
VALIDATION_SIDE = 160  # pixels of the centre crops that validation while training looks at
COLUMNS = list(results.COLUMNS)


def run(cfg: DictConfig, folder: Path | str) -> list[dict]:
    """Train and evaluate one cell; continue it, or return its rows if it is finished.

    As :func:`complete`, without saying which.
    """
    return complete(cfg, folder)[0]


def complete(cfg: DictConfig, folder: Path | str) -> tuple[list[dict], bool]:
    """The rows of one cell, and whether it was finished already; else it is trained or continued.

    A training that is finished but lacks its rows (somebody removed rows.csv, to evaluate it again)
    is not repeated: its weights.pt is evaluated.

    Args:
        cfg: a configuration that :func:`asyrepro.runs.configuration.resolve` has gone over.
        folder: the cell's own folder.

    Raises:
        ConfigError: the folder belongs to another configuration.
        locks.InUse: another process is working in the folder.
        CheckpointError: weights.pt or the checkpoint is damaged, or of another configuration.
        DataError: images of one's own are damaged, or not those that the cell's other losses and
            seeds were trained or tested on.
        Diverged: the loss, or the trained network's output, is not finite.
        devices.OutOfMemory: the network, the training set or a batch does not fit into the memory.
    """
    folder = Path(folder)
    with ExitStack() as held:
        rows = distributed.on_main(lambda: _open(cfg, folder, held))
        if rows is not None:
            return rows, True
        device = _prepare(cfg)
        with devices.memory(
            f"the network does not fit into the free memory of {devices.name_of(device)}: make "
            "room there (end what else uses it), or choose another runtime.device"
        ):
            network, task = build(cfg, device)
            _check_fit(cfg, network, task, device)
        if cfg.get("from"):
            foreign.load_into(network, black_input(task, cfg.recipe.patch, device), cfg["from"])
        _check_tests(cfg, folder, task)
        data = {}  # fingerprints of the data sets used
        kept = _load_kept(cfg, folder, network, data)
        distributed.on_main(lambda: _note_beginning(cfg, folder, device, kept))
        trained = network if kept else _train(cfg, folder, network, task, device, data)
        rows = distributed.on_main(lambda: _finish(cfg, folder, trained, task, device, data))
        return rows, False


def _open(cfg: DictConfig, folder: Path, held: ExitStack) -> list[dict] | None:
    """Hold the folder for this run; returns its rows if it is finished."""
    held.enter_context(locks.locked(folder))
    files.remove_leftovers(folder)
    begun = configuration.check_folder(cfg, folder)
    if not begun or results.declared_base(folder) != cfg.loss.get("base", ""):
        files.write_text(folder / "config.yaml", configuration.to_yaml(cfg))
    if not configuration.finished(folder):
        return None
    files.remove(folder / CHECKPOINT)
    return read_rows(folder / "rows.csv")


def _load_kept(cfg: DictConfig, folder: Path, network: nn.Module, data: dict[str, str]) -> bool:
    """Whether the training is finished already; then its weights and fingerprints are taken over.

    Args:
        network: receives the weights.
        data: receives the fingerprints of what was trained and validated on.
    """
    path, record = folder / "weights.pt", provenance.read(folder / provenance.CELL) or {}
    if (folder / CHECKPOINT).is_file() or not path.is_file() or "data" not in record:
        return False
    state = checkpoint.load(path)
    named = [node["_target_"] for node in (cfg.model.network, cfg.task)]  # by this very command
    if configuration.identity(checkpoint.configuration(state, path, named)) != (
        configuration.identity(cfg)
    ):
        raise CheckpointError(f"{path} is of another configuration; delete it to train anew")
    checkpoint.load_weights(network, state.get("network"), path)
    validated = f"test {cfg.validation and catalogue.short(cfg.validation)}"
    for name, fingerprint in record["data"].items():
        if name.startswith("training ") or name == validated:
            data[name] = fingerprint
    return True


def _note_beginning(cfg: DictConfig, folder: Path, device: torch.device, kept: bool) -> None:
    continued = kept or (folder / CHECKPOINT).is_file()
    with devices.measured_convolutions():  # as in training
        provenance.begin(folder, _environment(cfg, device), continued=continued)


def _finish(cfg, folder, trained, task, device, data) -> list[dict]:
    """Evaluate the trained network, and write what the cell's folder is to hold."""
    with devices.memory(
        f"a test image does not fit into the free memory of {devices.name_of(device)}; the "
        "training is done and kept: make room there (end what else uses it), and run the same "
        "command again"
    ):
        rows, profile = _evaluate(cfg, folder, trained, task, device, data)
    weights = {k: v.cpu() for k, v in trained.state_dict().items()}
    checkpoint.save(
        folder / "weights.pt", {"network": weights, "config": configuration.to_yaml(cfg)}
    )
    if profile is not None:
        profiles.save(profile, folder / "profiles.csv")
    text = to_csv(rows, COLUMNS)
    provenance.finish(
        folder, config=configuration.identity(cfg), data=data, weights=weights, rows=text
    )
    files.write_text(folder / "rows.csv", text)
    files.remove(folder / CHECKPOINT)
    return rows


def variant_of(folder: Path | str) -> str:
    """The settings of a sweep that are part of a cell's folder name, as "task.scale=2"; or ""."""
    return Path(folder).parents[1].name.partition(",")[2]


def build(cfg: DictConfig, device: torch.device | str) -> tuple[nn.Module, Task]:
    """The network with the initial weights of ``cfg.seed``, and its task."""
    task = make(cfg.task)
    torch.manual_seed(cfg.seed)
    network = make(cfg.model.network).to(device)
    if cfg.channels_last:
        network = network.to(memory_format=torch.channels_last)
    return network, task


def _check_fit(cfg, network, task, device) -> None:
    """Refuse, before any data is read, a network that does not fit its task, and what else of the
    settings the network or the optimiser refuses; with a black patch."""
    try:
        with torch.inference_mode():
            output = network.eval()(black_input(task, cfg.recipe.patch, device))
    except ValueError as error:
        raise ConfigError(f"{error}; or check model.input") from error
    label = (1, 3 if task.mode == "rgb" else 1, cfg.recipe.patch, cfg.recipe.patch)
    if output.shape != label:
        raise ConfigError(
            f"the network returns {tuple(output.shape)} where the label is {label}, and no loss "
            "compares these; check model.network and model.input"
        )
    with torch.inference_mode():
        black = torch.zeros(label, device=device)
        loss = make(cfg.loss.criterion).to(device)(output.float(), black)
    if loss.ndim:
        raise ConfigError(
            f"the loss {cfg.loss.name} returns {tuple(loss.shape)} where a training needs one "
            "number; check loss.criterion (its reduction?)"
        )
    _optimization(cfg.recipe, network)


def black_input(task: Task, patch: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """What the network is given for one black patch of so many label pixels."""
    side = patch // task.scale + 2 * task.margin
    stored = torch.zeros(1, 3 if task.mode == "rgb" else 1, side, side, device=device)
    return task.inputs(stored, torch.Generator(device).manual_seed(0))


def _check_tests(cfg: DictConfig, folder: Path, task: Task) -> None:
    """DataError, before the training, if benchmarks cannot be had, or test images of one's own are
    damaged, too small or new."""
    with configuration.or_give("benchmarks=[] to do without"):
        for name in cfg.benchmarks:
            configuration.have(name, cfg.runtime)
    tests = [cfg.testset, *cfg.benchmarks] if cfg.testset else cfg.benchmarks
    for name in filter(catalogue.is_folder, tests):
        testset = catalogue.test_set(name, mode=task.mode)
        evaluation.check_sizes(testset, task)
        _check_same(folder, name, f"test {testset.name}", testset.fingerprint)


def _check_same(folder: Path, name: str, key: str, fingerprint: str) -> None:
    """DataError if another loss or seed of the cell was run with other images of that name."""
    for path in sorted(folder.parents[1].glob(f"*/seed*/{provenance.CELL}")):
        before = (provenance.read(path) or {}).get("data", {}).get(key)
        if before not in (None, fingerprint):
            raise DataError(
                f"the images of {name} are not those that {path.parent} was run with, and the "
                "rows would not be comparable: choose another study, or put the images back"
            )


def load(path: Path | str, device: torch.device | str = "cpu", trusted: Collection[str] = ()):
    """A trained network from its weights file.

    Args:
        path: the file.
        device: where the network goes.
        trusted: see :func:`asyrepro.training.checkpoint.configuration`.

    Returns:
        (network in evaluation mode, task, configuration).

    Raises:
        CheckpointError: see :func:`asyrepro.training.checkpoint.load`.
    """
    state = checkpoint.load(path, device)
    cfg = checkpoint.configuration(state, path, trusted)
    weights = state.get("network")
    try:
        with torch.device("meta"):  # without memory, which a stranger's file may ask for at will
            checkpoint.check_weights(make(cfg.model.network), weights, path)
        network, task = build(cfg, device)
    except ConfigError as error:
        raise CheckpointError(f"{path} holds a configuration that cannot be: {error}") from error
    network.load_state_dict(weights)
    return network.eval(), task, cfg


def _train(cfg, folder, network, task, device, data) -> nn.Module:
    with devices.memory(
        f"the training set {cfg.dataset.name} does not fit into the memory, where it lies decoded "
        f"as a whole, here and on {devices.name_of(device)}: make room, or choose another dataset"
    ):
        sampler = _sampler(cfg, folder, task, device, data)
    with devices.memory(_smaller_batch(cfg, device)):
        trainer = _trainer(cfg, folder, network, task, device, data, sampler)
        with logger.opened(cfg.runtime.logger, folder) as trainer.logger:
            return whitening.fold(trainer.run())


def _sampler(cfg, folder, task, device, data) -> PatchSampler:
    images = catalogue.training_set(cfg.dataset.name, mode=task.mode, **_where(cfg))
    data[f"training {images.name}"] = images.fingerprint
    if catalogue.is_folder(cfg.dataset.name):
        _check_same(folder, cfg.dataset.name, f"training {images.name}", images.fingerprint)
    size = {"patch": cfg.recipe.patch, "batch": cfg.recipe.batch}
    return PatchSampler(images.images, task, **size, seed=cfg.seed, device=device)


def _where(cfg: DictConfig) -> dict:
    """Where data sets are looked for, and whether they may be downloaded."""
    return {"root": cfg.runtime.data, "download": cfg.runtime.download}


def _trainer(cfg, folder, network, task, device, data, sampler) -> Trainer:
    recipe = cfg.recipe
    if recipe.get("whiten"):
        _whiten(network, recipe.whiten, sampler)
    optimizer, scheduler = _optimization(recipe, network)
    validation = None
    if recipe.validate_every:
        without = "recipe.validate_every=0 to train without validation"
        with configuration.or_give(f"validation= a folder of your own, or {without}"):
            chosen = catalogue.test_set(cfg.validation, mode=task.mode, **_where(cfg))
        data[f"test {chosen.name}"] = chosen.fingerprint
        pairs = [
            tuple(part.to(device) for part in task.test_pair(_centre(image), name))
            for name, image in zip(chosen.names, chosen.images, strict=True)
        ]

        def validation(trained: nn.Module) -> float:
            return evaluation.mean_psnr(trained, pairs)

    torch.manual_seed(cfg.seed)  # for losses that draw (shuffled weights)
    criterion = make(cfg.loss.criterion).to(device)
    black = torch.zeros(
        1, 3 if task.mode == "rgb" else 1, recipe.patch, recipe.patch, device=device
    )
    distributed.check(recipe.batch, lambda: criterion(black, black))
    return Trainer(
        network,
        criterion,
        sampler,
        optimizer,
        scheduler,
        steps=recipe.steps,
        folder=folder,
        signature=_signature(cfg, data),
        device=device,
        amp=cfg.amp,
        channels_last=cfg.channels_last,
        compile=cfg.runtime.compile,
        clip=recipe.clip,
        ema=recipe.ema,
        log_every=recipe.log_every,
        validate=validation,
        validate_every=recipe.validate_every,
        checkpoint_seconds=cfg.runtime.checkpoint_seconds,
        label=f"{cfg.cell} {cfg.loss.name} seed {cfg.seed}" if cfg.runtime.progress else None,
    )


def _signature(cfg: DictConfig, data: dict[str, str]) -> str:
    """What must agree for a checkpoint to be continued; of one's own images their content, too."""
    name = cfg.dataset.name
    if not catalogue.is_folder(name):
        return configuration.identity(cfg)
    return f"{configuration.identity(cfg)} {data[f'training {catalogue.short(name)}']}"


def _optimization(recipe: DictConfig, network: nn.Module):
    """The recipe's optimiser and its schedule; ConfigError if they refuse their options."""
    optimizer_of, scheduler_of = make(recipe.optimizer), make(recipe.scheduler)
    name = "recipe.lr_scale"
    try:
        groups = parameter_groups(network, recipe.optimizer.lr, recipe.get("lr_scale"))
        peaks = {}
        if len(groups) > 1 and "max_lr" in recipe.scheduler:  # one number would be every group's
            shares = [group["lr"] / recipe.optimizer.lr for group in groups]
            peaks["max_lr"] = [recipe.scheduler.max_lr * share for share in shares]
        name = "recipe.optimizer"
        optimizer = optimizer_of(groups)
        name = "recipe.scheduler"
        scheduler = scheduler_of(optimizer, **peaks)
        steps = getattr(scheduler, "total_steps", recipe.steps)  # a OneCycleLR's
        if steps < recipe.steps:
            raise ValueError(f"it ends after {steps} of the {recipe.steps} steps")
        return optimizer, scheduler
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise ConfigError(f"{name} cannot be used: {error}") from error


def _whiten(network: nn.Module, name: str, sampler: PatchSampler) -> None:
    """Whiten the layer ``name``, which the network's input goes into, on the first patches."""
    before = sampler.state_dict()
    batches = math.ceil(PATCHES_WHITENED / sampler.batch)
    inputs = torch.cat([next(sampler)[0] for _ in range(batches)])
    sampler.load_state_dict(before)
    try:
        whitening.whiten(network.get_submodule(name), inputs)
    except (AttributeError, ValueError) as error:
        raise ConfigError(f"recipe.whiten is {name!r}: {error}") from error


def _evaluate(cfg, folder, network, task, device, data) -> tuple[list[dict], pd.DataFrame | None]:
    """Rows of the table's test set and the benchmarks, and the error profile of the first."""
    variant = variant_of(folder)
    wanted = [(cfg.testset, cfg.table)] if cfg.testset else []
    wanted += [(name, None) for name in cfg.benchmarks]
    wanted = {(catalogue.short(name), table): (name, table) for name, table in wanted}.values()
    common = {"model": cfg.model.name, "dataset": catalogue.short(cfg.dataset.name)}
    made_by = {
        "variant": variant,
        "config": configuration.identity(cfg),
        "iterations": cfg.recipe.steps,
        "device": devices.name_of(device),
        "versions": versions(),
    }
    rows, sums = [], []
    for name, table in wanted:
        testset = catalogue.test_set(name, mode=task.mode, **_where(cfg))
        data[f"test {testset.name}"] = testset.fingerprint
        about = {"table": table, **common, "loss": cfg.loss.name, "seed": cfg.seed}
        for image, _, output, label in evaluation.outputs(
            network, testset, task, device, cfg.runtime.progress
        ):
            if not output.isfinite().all():
                raise Diverged(
                    f"the trained network returns no finite image for {image} of {testset.name}: "
                    "its training diverged; choose a smaller learning rate or set recipe.clip, and "
                    f"delete {folder}"
                )
            found = evaluation.row(image, output, label, task, testset.name)
            rows.append(about | found | made_by)
            if name == cfg.testset:
                sums.append(profiles.profile_rows(label, output, **about, image=image))
        degraded = {"table": table, **common, "variant": variant}
        _write_baseline(folder, testset, task, degraded, again=catalogue.is_folder(name))
    return rows, pd.concat(sums) if sums else None


def _write_baseline(folder, testset, task, about, again: bool) -> None:
    """Once for all losses and seeds: results/<study>/baselines/<cell>_<test set>.csv.

    ``again``: also where the file is there, which may be of other images of one's own.
    """
    study, name = folder.parents[2], folder.parents[1].name
    path = study / "baselines" / f"{name}_{testset.name}.csv"
    if path.is_file() and not again:
        return
    about |= {"loss": task.baseline, "versions": versions()}
    rows = [about | row for row in evaluation.evaluate_baseline(testset, task)]
    write_rows(path, rows)


def _smaller_batch(cfg: DictConfig, device: torch.device) -> str:
    batch, patch = cfg.recipe.batch, cfg.recipe.patch
    if batch > 1:
        less = f"recipe.batch={batch // 2}"
        wrong = f"recipe.batch={batch}"
    else:
        less, wrong = f"a recipe.patch below {patch}", "a single patch"
    return (
        f"{wrong} does not fit into the memory of {devices.name_of(device)}; try {less} for all "
        "cells of the study (it is another recipe, so its results are not comparable with these)"
    )


def _prepare(cfg: DictConfig) -> torch.device:
    if cfg.runtime.threads:
        torch.set_num_threads(cfg.runtime.threads)
    device = devices.choose(cfg.runtime.device)
    if device.type == "cuda" and (device.index is None or distributed.size() > 1):
        device = torch.device("cuda", distributed.gpu())
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def _environment(cfg: DictConfig, device: torch.device) -> dict:
    chosen = {"amp": cfg.amp, "channels_last": cfg.channels_last, "compile": cfg.runtime.compile}
    return provenance.environment(device, devices.name_of(device), **chosen)


def versions() -> str:
    """The versions that numbers depend on, in one line."""
    names = ("torch", "scikit-image", "numpy")
    return "; ".join([f"python {platform.python_version()}", *(f"{n} {version(n)}" for n in names)])


def write_rows(path: Path, rows: list[dict]) -> None:
    """Write rows of the tidy table atomically."""
    files.write_text(path, to_csv(rows, COLUMNS))


def read_rows(path: Path) -> list[dict]:
    """Read what :func:`write_rows` wrote (values as text)."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def to_csv(rows: list[dict], columns: list[str]) -> str:
    """Rows as CSV text; floats with seven decimals, None and NaN as an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: _written(v) for k, v in row.items()})
    return text.getvalue()


def _written(value: object) -> object:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.7f}"


def _centre(image: torch.Tensor) -> torch.Tensor:
    height, width = (min(VALIDATION_SIDE, side) for side in image.shape[-2:])
    top, left = (image.shape[-2] - height) // 2, (image.shape[-1] - width) // 2
    return image[:, top : top + height, left : left + width]
