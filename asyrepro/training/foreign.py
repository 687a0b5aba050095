"""Weights of other programs: found in their files, and given to a network of this one.

Other implementations of a network name its layers otherwise and are otherwise equal. Their weights
are taken by name if the names agree, else by place: the layers in the order in which the network
applies them, which is the order in which files list them.

Where white is 255 there, biases are divided by 255: of a network of convolutions and ReLU that
maps 255 x to 255 y, the same with smaller biases maps x to y. This is exact at borders, too.
"""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor, nn

from asyrepro.models import EDSR, SRCNN
from asyrepro.system.errors import CheckpointError, ConfigError, shown
from asyrepro.training import checkpoint

WRAPPERS = (  # keys that other programs keep a state dict under
    *("params_ema", "params", "state_dict", "model_state_dict", "model", "network", "net"),
    *("netG", "generator"),
)
HOMOGENEOUS = (EDSR, SRCNN)  # k times input and biases give k times the output, for k > 0
COUNTER = "num_batches_tracked"  # of batch normalisation; old files have none, and nothing needs it


def state_dict(path: Path | str) -> dict[str, Tensor]:
    """The weights in a file of torch, bare or in one of the usual wrappers, old format or new.

    ``module.``, which torch's parallel wrappers put before each name, is taken away.

    Raises:
        CheckpointError: the file is missing, damaged, holds something other than tensors and
            plain values, or no weights.
    """
    found = checkpoint.read(path)
    while inside := _wrapped(found):
        found = inside[0]
    weights = found if isinstance(found, dict) else {}
    right = [isinstance(k, str) and isinstance(v, Tensor) for k, v in weights.items()]
    if not right or not all(right):
        keys = ", ".join(shown(str(key)[:40]) for key in [*weights][:5]) or "nothing"
        raise CheckpointError(
            f"{shown(path)} holds no weights of a network, but {keys}; a state_dict is needed, "
            f"bare or under one of {', '.join(WRAPPERS)}"
        )
    if all(name.startswith("module.") for name in weights):
        weights = {name.removeprefix("module."): value for name, value in weights.items()}
    return weights


def _wrapped(found: object) -> list[dict]:
    """The dictionaries in ``found`` that may be the state dict."""
    inside = [found.get(key) for key in WRAPPERS] if isinstance(found, dict) else []
    return [value for value in inside if isinstance(value, dict) and value]


def load_into(
    network: nn.Module, example: Tensor, path: Path | str, white: float | None = None
) -> None:
    """Give ``network`` the weights in a file of this program or another.

    Args:
        example: any input of the network, which shows the order of its layers.
        white: what is white in the images that the other program gives the network; 1 if None.

    Raises:
        CheckpointError: see :func:`state_dict`; or the weights are not those of such a network,
            and the first difference is named on both sides.
        ConfigError: ``white`` is lacking for EDSR, of which there are both kinds, or not 1 for a
            network that it would change.
    """
    theirs = state_dict(path)
    own = network.state_dict()
    if theirs.keys() != own.keys():
        if isinstance(network, EDSR):
            theirs = _without_mean_shifts(network, theirs, white, path)
        counters = {name: value for name, value in own.items() if name.endswith(COUNTER)}
        theirs = {name: value for name, value in theirs.items() if not name.endswith(COUNTER)}
        names = [name for name in _in_order(network, example) if name not in counters]
        _check_alike(type(network).__name__, [(name, own[name]) for name in names], theirs, path)
        theirs = dict(zip(names, theirs.values(), strict=True)) | counters
    if white not in (None, 1):
        theirs = _for_white_1(network, theirs, white)
    checkpoint.load_weights(network, _cast(theirs, own), path)


def _cast(weights: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Floating-point weights in the type of the network's own."""
    floating = [k for k in weights.keys() & own.keys() if weights[k].is_floating_point()]
    return weights | {k: weights[k].to(own[k].dtype) for k in floating}


def _without_mean_shifts(
    network: EDSR, weights: dict[str, Tensor], white: float | None, path: Path | str
) -> dict[str, Tensor]:
    """EDSR's weights without the convolutions that, in EDSR-PyTorch, take the mean colour off and
    put it back. The network here does so itself, as BasicSR's does, and as there before it pads."""
    if white is None:
        raise ConfigError(
            f"in the images that other programs give EDSR, white is 1 or 255, which {shown(path)} "
            "does not tell: give asyrepro convert range=1 or range=255 (BasicSR's img_range, "
            "EDSR-PyTorch's rgb_range)"
        )
    rest, mean = dict(weights), network.mean.flatten().cpu()
    for name, bias in (("sub_mean", -white * mean), ("add_mean", white * mean)):
        right = {"weight": torch.eye(len(mean))[..., None, None], "bias": bias}
        for part, expected in right.items():
            found = rest.pop(f"{name}.{part}", expected).float()
            if found.shape != expected.shape or not torch.allclose(found, expected, rtol=1e-4):
                raise CheckpointError(
                    f"{name}.{part} in {shown(path)} is not that of DIV2K's mean colour and "
                    f"range={white:g}: give the range= that fits; with another mean the network "
                    "cannot be converted"
                )
    return rest


def _for_white_1(network: nn.Module, weights: dict[str, Tensor], white: float) -> dict[str, Tensor]:
    if not isinstance(network, HOMOGENEOUS):
        names = " and ".join(kind.__name__ for kind in HOMOGENEOUS)
        raise ConfigError(
            f"range={white:g} is for {names}: {type(network).__name__} cannot be converted to "
            "another range"
        )
    return {
        name: value / white if name.endswith("bias") else value for name, value in weights.items()
    }


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
