"""One cell of a study: a network trained with one loss and one seed, and its rows of metrics.

A cell's folder holds

    config.yaml    what was asked for, resolved
    history.csv    the training's course
    rows.csv       the metrics, written last: a folder that has it is finished
    profiles.csv   squared and absolute error by grey value and gradient of the label
    weights.pt     the trained weights
    checkpoint.pt  while the training is under way
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import platform
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import hydra
import pandas as pd
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from torch import nn

from asyrepro import checkpoint, evaluation, files
from asyrepro.data import catalogue
from asyrepro.data.sampler import PatchSampler
from asyrepro.errors import CheckpointError, ConfigError
from asyrepro.report import mechanism, results
from asyrepro.tasks import Task
from asyrepro.training import CHECKPOINT, Trainer, parameter_groups

CONFIGS = Path(__file__).parents[1] / "configs"
IDENTITY = (  # the settings that make a run what it is: two runs that agree in them are the same
    "model", "dataset", "task", "loss", "recipe", "seed", "testset", "validation", "amp",
    "channels_last",
)  # fmt: skip
VALIDATION_SIDE = 160  # pixels of the centre crops that validation while training looks at
COLUMNS = list(results.COLUMNS)


def resolve(cfg: DictConfig) -> DictConfig:
    """The configuration as it will be run: shortened, and with data sets that can be had.

    Raises:
        DataError: a data set can neither be found nor downloaded, and ``fallback`` is false.
    """
    cfg = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    if cfg.max_steps is not None:
        if cfg.max_steps < 1:
            raise ConfigError(f"max_steps is {cfg.max_steps}; it must be at least 1")
        steps = min(cfg.recipe.steps, cfg.max_steps)
        if "total_steps" in cfg.recipe.scheduler:
            cfg.recipe.scheduler.total_steps = steps
        cfg.recipe.steps = steps
    if cfg.amp == "auto":
        cfg.amp = fast_bfloat16(choose_device(cfg.runtime.device))
    names = [cfg.testset] if cfg.testset else []
    while cfg.fallback and cfg.dataset.name != "bundled":
        try:
            # Test images matter as much: a table is either made from real images, or labelled.
            for name in [cfg.dataset.name, cfg.validation, *names]:
                _have(name, cfg.runtime)
            break
        except catalogue.NotAvailable:
            cfg.dataset = OmegaConf.load(CONFIGS / "dataset" / f"{cfg.dataset.instead}.yaml")
    if cfg.dataset.name == "bundled":
        cfg.validation = "bundled_validation"
        if cfg.table is not None and cfg.testset:  # no table mixes real and stand-in images
            cfg.testset, cfg.benchmarks = "bundled", []
    return cfg


def _have(name: str, runtime: DictConfig) -> None:
    if catalogue.available(name, runtime.data) is None:
        if not runtime.download:
            raise catalogue.NotAvailable(f"{name} is not here, and runtime.download is false")
        catalogue.provide(name, runtime.data)


def identity(cfg: DictConfig) -> str:
    """A short hash of the settings that determine a run's weights and rows."""
    plain = {key: OmegaConf.to_container(cfg, resolve=True)[key] for key in IDENTITY}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]


def run(cfg: DictConfig, folder: Path | str) -> list[dict]:
    """Train and evaluate one cell; continue it, or return its rows if it is finished.

    Args:
        cfg: a configuration that :func:`resolve` has gone over.
        folder: the cell's own folder.

    Raises:
        ConfigError: the folder belongs to another configuration, or is in use.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        _claim(cfg, folder)
        if finished(folder):
            files.remove(folder / CHECKPOINT)
            return read_rows(folder / "rows.csv")
        device = _prepare(cfg)
        network, task = build(cfg, device)
        trained = _train(cfg, folder, network, task, device)
        rows, profile = _evaluate(cfg, folder, trained, task, device)
        weights = {k: v.cpu() for k, v in trained.state_dict().items()}
        checkpoint.save(folder / "weights.pt", {"network": weights, "config": _yaml(cfg)})
        if profile is not None:
            mechanism.save(profile, folder / "profiles.csv")
        write_rows(folder / "rows.csv", rows)
        files.remove(folder / CHECKPOINT)
        return rows


def variant_of(folder: Path | str) -> str:
    """The settings of a sweep that are part of a cell's folder name, as "task.scale=2"; or ""."""
    return Path(folder).parents[1].name.partition(",")[2]


def finished(folder: Path | str) -> bool:
    """Whether a cell's folder holds its metrics."""
    return (Path(folder) / "rows.csv").is_file()


def build(cfg: DictConfig, device: torch.device | str) -> tuple[nn.Module, Task]:
    """The network with the initial weights of ``cfg.seed``, and its task."""
    task = make(cfg.task)
    torch.manual_seed(cfg.seed)
    network = make(cfg.model.network).to(device)
    if cfg.channels_last:
        network = network.to(memory_format=torch.channels_last)
    return network, task


def make(node: DictConfig):
    """The object that a node with ``_target_`` describes; ConfigError if it refuses its values."""
    try:
        return hydra.utils.instantiate(node)
    except InstantiationException as error:
        raise ConfigError(str(error.__cause__ or error).splitlines()[0]) from error


def load(path: Path | str, device: torch.device | str = "cpu"):
    """A trained network from its weights file.

    Returns:
        (network in evaluation mode, task, configuration).

    Raises:
        CheckpointError: see :func:`asyrepro.checkpoint.load`.
    """
    state = checkpoint.load(path, device)
    if "config" not in state:
        raise CheckpointError(
            f"{path} is a checkpoint of an unfinished training; give a weights.pt"
        )
    cfg = OmegaConf.create(state["config"])
    network, task = build(cfg, device)
    checkpoint.load_weights(network, state["network"], path)
    return network.eval(), task, cfg


def _train(cfg, folder, network, task, device) -> nn.Module:
    recipe = cfg.recipe
    where = {"root": cfg.runtime.data, "download": cfg.runtime.download}
    images = catalogue.training_set(cfg.dataset.name, mode=task.mode, **where)
    sampler = PatchSampler(
        images.images, task, patch=recipe.patch, batch=recipe.batch, seed=cfg.seed, device=device
    )
    optimizer = make(recipe.optimizer)(
        parameter_groups(network, recipe.optimizer.lr, recipe.get("lr_scale"))
    )
    scheduler = make(recipe.scheduler)(optimizer)
    validation = None
    if recipe.validate_every:
        chosen = catalogue.test_set(cfg.validation, mode=task.mode, **where)
        pairs = [
            tuple(part.to(device) for part in task.test_pair(_centre(image), name))
            for name, image in zip(chosen.names, chosen.images, strict=True)
        ]

        def validation(trained: nn.Module) -> float:
            return evaluation.mean_psnr(trained, pairs)

    torch.manual_seed(cfg.seed)  # for losses that draw (shuffled weights)
    trainer = Trainer(
        network,
        make(cfg.loss.criterion).to(device),
        sampler,
        optimizer,
        scheduler,
        steps=recipe.steps,
        folder=folder,
        signature=identity(cfg),
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
    return trainer.run()


def _evaluate(cfg, folder, network, task, device) -> tuple[list[dict], pd.DataFrame | None]:
    """Rows of the table's test set and the benchmarks, and the error profile of the first."""
    variant = variant_of(folder)
    where = {"root": cfg.runtime.data, "download": cfg.runtime.download}
    wanted = [(cfg.testset, cfg.table)] if cfg.testset else []
    wanted += [(name, None) for name in cfg.benchmarks if name in cfg.profile.benchmarks]
    common = {"model": cfg.model.name, "dataset": cfg.dataset.name}
    made_by = {
        "variant": variant,
        "config": identity(cfg),
        "iterations": cfg.recipe.steps,
        "device": device_name(device),
        "versions": versions(),
    }
    rows, profiles = [], []
    for name, table in wanted:
        testset = catalogue.test_set(name, mode=task.mode, **where)
        about = {"table": table, **common, "loss": cfg.loss.name, "seed": cfg.seed}
        for image, _, output, label in evaluation.outputs(
            network, testset, task, device, cfg.runtime.progress
        ):
            rows.append(about | evaluation.row(image, output, label, task, name) | made_by)
            if name == cfg.testset:
                profiles.append(mechanism.profile_rows(label, output, **about, image=image))
        _write_baseline(folder, testset, task, {"table": table, **common, "variant": variant})
    return rows, pd.concat(profiles) if profiles else None


def _write_baseline(folder, testset, task, about) -> None:
    """Once for all losses and seeds: results/<study>/baselines/<cell>_<test set>.csv."""
    study, name = folder.parents[2], folder.parents[1].name
    path = study / "baselines" / f"{name}_{testset.name}.csv"
    if path.is_file():
        return
    about |= {"loss": task.baseline, "versions": versions()}
    rows = [about | row for row in evaluation.evaluate_baseline(testset, task)]
    write_rows(path, rows)


def _claim(cfg: DictConfig, folder: Path) -> None:
    """Write the folder's config.yaml, or refuse the folder if it belongs to another run."""
    path = folder / "config.yaml"
    if path.is_file():
        try:
            other = identity(OmegaConf.load(path))
        except Exception as error:
            raise ConfigError(f"{path} is damaged; delete the folder to start again") from error
        if other != identity(cfg):
            raise ConfigError(
                f"{folder} holds a run with another configuration ({_difference(cfg, path)}); "
                "choose another study=..., or delete the folder"
            )
    else:
        files.write_text(path, _yaml(cfg))


def _difference(cfg: DictConfig, path: Path) -> str:
    """The first setting in which two configurations differ, in words."""
    here = _flat({k: OmegaConf.to_container(cfg, resolve=True)[k] for k in IDENTITY})
    there = _flat(OmegaConf.to_container(OmegaConf.load(path), resolve=True))
    for key in here:
        if here[key] != there.get(key):
            return f"{key} was {there.get(key)}, now {here[key]}"
    return "settings were removed"


def _flat(node, prefix="") -> dict:
    if not isinstance(node, dict):
        return {prefix.rstrip("."): node}
    return {k: v for key, value in node.items() for k, v in _flat(value, f"{prefix}{key}.").items()}


@contextmanager
def _locked(folder: Path):
    """Hold the folder for this process; ConfigError if another process works in it."""
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(f"another process is working in {folder}") from None
        yield


class InUse(ConfigError):
    """A cell that another process is working on."""


def _prepare(cfg: DictConfig) -> torch.device:
    if cfg.runtime.threads:
        torch.set_num_threads(cfg.runtime.threads)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False  # float32 metrics are float32
    return choose_device(cfg.runtime.device)


def choose_device(name: str) -> torch.device:
    """CUDA if there is one, else the CPU, for "auto"; anything else as PyTorch names devices."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"there is no device {name!r}; use auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device is {name}, but PyTorch finds no CUDA here; use device=cpu")
    return device


def fast_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself; a CPU without it emulates it slowly."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # PyTorch has no public name for this; a version without the private one means float32.
    return device.type == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()


def device_name(device: torch.device) -> str:
    """The GPU's name, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


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
    """Rows as CSV text; floats with seven decimals, None as an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.7f}" if isinstance(v, float) else v for k, v in row.items()})
    return text.getvalue()


def _centre(image: torch.Tensor) -> torch.Tensor:
    height, width = (min(VALIDATION_SIDE, side) for side in image.shape[-2:])
    top, left = (image.shape[-2] - height) // 2, (image.shape[-1] - width) // 2
    return image[:, top : top + height, left : left + width]


def _yaml(cfg: DictConfig) -> str:
    """The configuration without what belongs to this machine."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    plain = {k: v for k, v in plain.items() if k not in ("runtime", "results", "profile")}
    return OmegaConf.to_yaml(plain)
