"""All generators of random numbers that a network or a loss may draw from: seeded, kept, put back.

This program draws from PyTorch's alone; networks and losses of one's own may use Python's or
NumPy's.
"""

from __future__ import annotations

import random

import numpy as np
import torch


def seed(number: int) -> None:
    """Seed PyTorch's generators (of all devices), Python's and NumPy's."""
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number % 2**32)


def state(device: torch.device) -> dict:
    """The generators' states as tensors and plain values, for a checkpoint."""
    kind, keys, *rest = np.random.get_state()
    return {
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "random_python": random.getstate(),
        "random_numpy": (kind, keys.tolist(), *rest),
    }


def restore(kept: dict, device: torch.device) -> None:
    """Put back what :func:`state` returned."""
    torch.set_rng_state(kept["random"].cpu())
    if device.type == "cuda" and kept["random_cuda"] is not None:
        torch.cuda.set_rng_state(kept["random_cuda"].cpu(), device)
    random.setstate(kept["random_python"])
    np.random.set_state(kept["random_numpy"])
