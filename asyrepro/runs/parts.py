"""What the settings describe, made: device, network, task and optimiser; and trained networks."""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from asyrepro import whitening
from asyrepro.data.sampler import PatchSampler
from asyrepro.runs.config import make
from asyrepro.system import devices, randomness
from asyrepro.system.errors import CheckpointError, ConfigError
from asyrepro.tasks import Task
from asyrepro.training import checkpoint, distributed
from asyrepro.training.loop import parameter_groups

PATCHES_WHITENED = 120  # patches that a layer's input is whitened on


def build(cfg: DictConfig, device: torch.device | str) -> tuple[nn.Module, Task]:
    """The network with the initial weights of ``cfg.seed``, and its task."""
    task = make(cfg.task)
    randomness.seed(cfg.seed)
    return _network(cfg, device), task


def _network(cfg: DictConfig, device: torch.device | str) -> nn.Module:
    """The network; ConfigError if its state is not tensors alone, as files of weights hold it."""
    network = module(cfg.model.network)
    name = type(network).__name__
    for key, value in network.state_dict().items():
        if not isinstance(value, Tensor):
            raise ConfigError(
                f"{name} keeps {key!r}, a {type(value).__name__}, in its state_dict, of which a "
                "file of weights takes tensors only: keep it as a buffer (register_buffer)"
            )
        if is_lazy(value):
            raise ConfigError(
                f"{name}'s {key!r} has no size before the first image: write the layer with its "
                "number of input channels instead of a lazy one"
            )
    network = network.to(device)
    return network.to(memory_format=torch.channels_last) if cfg.channels_last else network


def module(node: DictConfig) -> nn.Module:
    """The network or loss that a node describes; ConfigError if it cannot be made or is none."""
    made = make(node)
    if not isinstance(made, nn.Module):
        raise ConfigError(f"{node['_target_']} makes no torch.nn.Module; check the _target_")
    return made


def black_patches(
    task: Task, patch: int, device: torch.device | str = "cpu", batch: int = 1
) -> tuple[Tensor, Tensor]:
    """What a network is given for black patches of so many label pixels a side, and the labels."""
    side, channels = patch // task.scale + 2 * task.margin, _channels(task)
    stored = torch.zeros(batch, channels, side, side, device=device)
    inputs = task.inputs(stored, torch.Generator(device).manual_seed(0))
    return inputs, torch.zeros(batch, channels, patch, patch, device=device)


def random_image(task: Task, patch: int) -> Tensor:
    """An image as it is decoded for a task, uint8 (C, H, W), of a photograph's size."""
    side = task.scale * max(patch // task.scale + 2 * task.margin, 256)
    size = (_channels(task) * (2 if task.pairs else 1), side, side)
    return torch.randint(256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _channels(task: Task) -> int:
    return 3 if task.mode == "rgb" else 1


def load(path: Path | str, device: torch.device | str = "cpu", trusted: Collection[str] = ()):
    """A trained network from its weights file: (network in evaluation mode, task, configuration).

    CheckpointError as of :func:`asyrepro.training.checkpoint.load`; ``trusted`` is that of
    :func:`asyrepro.training.checkpoint.configuration`.
    """
    state = checkpoint.load(path, device)
    cfg = checkpoint.configuration(state, path, trusted)
    weights = state.get("network")
    try:
        with torch.device("meta"):  # without memory, which a stranger's file may ask for at will
            checkpoint.check_weights(make(cfg.model.network), weights, path)
        network, task = _network(cfg, device), make(cfg.task)
    except ConfigError as error:
        raise CheckpointError(f"{path} holds a configuration that cannot be: {error}") from error
    network.load_state_dict(weights)
    return network.eval(), task, cfg


def device_of(cfg: DictConfig) -> torch.device:
    if cfg.runtime.threads:
        torch.set_num_threads(cfg.runtime.threads)
    device = devices.choose(cfg.runtime.device)
    if device.type == "cuda" and (device.index is None or distributed.size() > 1):
        device = torch.device("cuda", distributed.gpu())
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def reading(task: Task, cfg: DictConfig) -> dict:
    """How a run reads its images, wherever they lie, as arguments of data.catalogue's functions."""
    return {**task.reading(), "white": cfg.dataset.get("white")}


def reading_here(task: Task, cfg: DictConfig) -> dict:
    """:func:`reading`, where data sets are looked for, and whether they may be downloaded."""
    place = {"root": cfg.runtime.data, "download": cfg.runtime.download}
    return reading(task, cfg) | place


def optimization(recipe: DictConfig, network: nn.Module):
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
        _check_can(optimizer)
        name = "recipe.scheduler"
        scheduler = scheduler_of(optimizer, **peaks)
        _check_can(scheduler)
        steps = getattr(scheduler, "total_steps", recipe.steps)  # a OneCycleLR's
        if steps < recipe.steps:
            raise ValueError(f"it ends after {steps} of the {recipe.steps} steps")
        return optimizer, scheduler
    except (ValueError, TypeError, ZeroDivisionError) as error:
        others = isinstance(error, TypeError) and name == "recipe.optimizer"
        advice = "; ~recipe.optimizer.NAME removes an option, recipe=adam has Adam's own" * others
        raise ConfigError(f"{name} cannot be used: {error}{advice}") from error


def _check_can(made: object) -> None:
    """ValueError unless an optimiser or schedule can be stepped without arguments, and stored."""
    name = type(made).__name__
    for method in ("step", "state_dict", "load_state_dict"):
        if not callable(getattr(made, method, None)):
            raise ValueError(f"{name} has no {method}(), which training calls")
    try:
        inspect.signature(made.step).bind()
    except TypeError as error:  # which names a ReduceLROnPlateau's metrics, an LBFGS's closure
        raise ValueError(f"training gives {name}'s steps nothing: {error}") from None
    checkpoint.storable(made.state_dict(), f"{name}'s state")


def whiten(network: nn.Module, name: str, sampler: PatchSampler) -> None:
    """Whiten the layer ``name``, which the network's input goes into, on the first patches."""
    before = sampler.state_dict()
    batches = math.ceil(PATCHES_WHITENED / sampler.batch)
    inputs = torch.cat([next(sampler)[0] for _ in range(batches)])
    sampler.load_state_dict(before)
    try:
        whitening.whiten(network.get_submodule(name), inputs)
    except (AttributeError, ValueError) as error:
        raise ConfigError(f"recipe.whiten is {name!r}: {error}") from error
