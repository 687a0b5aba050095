"""Saving and loading checkpoints and weights.

They are written atomically, and read with ``weights_only=True``: a file from a stranger can hold
tensors and numbers, never code.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path

import torch

from asyrepro.errors import CheckpointError
from asyrepro.files import write_bytes

FORMAT = 1


def save(path: Path | str, state: dict) -> None:
    """Save a dictionary of tensors, numbers, strings, lists and dictionaries atomically."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    write_bytes(path, buffer.getvalue())


def load(path: Path | str, device: torch.device | str = "cpu") -> dict:
    """Read what :func:`save` wrote.

    Raises:
        CheckpointError: the file is missing, damaged, holds something other than tensors and
            plain values, or was written by a newer version of this program.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint at {path}")
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors and plain values, or is damaged; it was not loaded"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged or not a checkpoint: {error}") from error
    if not isinstance(state, dict) or "format" not in state:
        raise CheckpointError(f"{path} is not a checkpoint of this program")
    if state["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has format {state['format']}, this program reads {FORMAT}: update asyrepro"
        )
    return state


def load_weights(network: torch.nn.Module, weights: dict, source: Path | str) -> None:
    """Copy a state dictionary into ``network``; CheckpointError if it belongs to another one."""
    own = network.state_dict()
    missing, extra = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    other = [k for k in own.keys() & weights.keys() if own[k].shape != weights[k].shape]
    if missing or extra or other:
        name = (missing or extra or sorted(other))[0]
        raise CheckpointError(
            f"{source} holds the weights of another network than {type(network).__name__} as it "
            f"is configured (first difference: {name})"
        )
    broken = [k for k, v in weights.items() if v.is_floating_point() and not v.isfinite().all()]
    if broken:
        raise CheckpointError(f"{source} holds weights that are not finite ({broken[0]})")
    network.load_state_dict(weights)


def digest(weights: dict) -> str:
    """SHA-256 over names, shapes and bytes of a state dictionary: equal if and only if equal."""
    sha = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        sha.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
