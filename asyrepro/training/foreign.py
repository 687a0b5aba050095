"""Weights of other programs: found in their files, and given to a network of this one.

Other implementations of a network name its layers otherwise and are otherwise equal. Their weights
are taken by name if the names agree, else by place: the layers in the order in which the network
applies them, which is the order in which files list them.
"""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor, nn

from asyrepro.system.errors import CheckpointError, shown
from asyrepro.training import checkpoint

WRAPPERS = ("params_ema", "params", "state_dict", "model", "network")  # keys of a state dict
COUNTER = "num_batches_tracked"  # of batch normalisation; old files have none, and nothing needs it


def state_dict(path: Path | str) -> dict[str, Tensor]:
    """The weights in a file of torch, bare or in one of the usual wrappers, old format or new.

    ``module.``, which torch's parallel wrappers put before each name, is taken away.

    Raises:
        CheckpointError: the file is missing, damaged, holds something other than tensors and
            plain values, or no weights.
    """
    found = checkpoint.read(path)
    while inside := [key for key in WRAPPERS if isinstance(found, dict) and found.get(key)]:
        found = found[inside[0]]
    weights = found if isinstance(found, dict) else {}
    right = [isinstance(k, str) and isinstance(v, Tensor) for k, v in weights.items()]
    if not right or not all(right):
        raise CheckpointError(f"{shown(path)} holds no weights of a network")
    if all(name.startswith("module.") for name in weights):
        weights = {name.removeprefix("module."): value for name, value in weights.items()}
    return weights


def load_into(network: nn.Module, example: Tensor, path: Path | str) -> None:
    """Give ``network`` the weights in a file of this program or another.

    Args:
        network: receives the weights.
        example: any input of the network, which shows the order of its layers.
        path: the file.

    Raises:
        CheckpointError: see :func:`state_dict`; or the weights are not those of such a network,
            and the first difference is named on both sides.
    """
    theirs = state_dict(path)
    own = network.state_dict()
    if theirs.keys() != own.keys():
        counters = {name: value for name, value in own.items() if name.endswith(COUNTER)}
        theirs = {name: value for name, value in theirs.items() if not name.endswith(COUNTER)}
        names = [name for name in _in_order(network, example) if name not in counters]
        _check_alike(type(network).__name__, [(name, own[name]) for name in names], theirs, path)
        theirs = dict(zip(names, theirs.values(), strict=True)) | counters
    checkpoint.load_weights(network, theirs, path)


def _in_order(network: nn.Module, example: Tensor) -> list[str]:
    """The names of a network's weights, those of the layers that are applied first in front."""
    names = {id(module): name for name, module in network.named_modules()}
    applied: dict[str, None] = {}
    hooks = [
        module.register_forward_pre_hook(lambda this, _: applied.setdefault(names[id(this)]))
        for module in network.modules()
    ]
    training = network.training
    with torch.inference_mode():
        network.eval()(example)
    network.train(training)
    for hook in hooks:
        hook.remove()
    place = {name: number for number, name in enumerate(applied)}
    state = network.state_dict()
    return sorted(state, key=lambda name: place.get(name.rpartition(".")[0], len(place)))


def _check_alike(
    kind: str, own: list[tuple[str, Tensor]], theirs: dict[str, Tensor], path: Path | str
) -> None:
    """CheckpointError at the first pair of weights whose shapes differ."""
    for here, there in zip_longest(own, theirs.items()):
        if here is None or there is None or here[1].shape != there[1].shape:
            raise CheckpointError(
                f"{shown(path)} holds the weights of another network: {_told(there)} there, "
                f"{_told(here)} in {kind} as it is configured"
            )


def _told(weight: tuple[str, Tensor] | None) -> str:
    return f"{shown(weight[0][:100])} {tuple(weight[1].shape)}" if weight else "nothing more"
