"""How long a training step takes here."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from asyrepro.training import graphs


def measure(
    step: Callable[[], object], device: torch.device, seconds: float = 3.0, least: int = 2
) -> float:
    """Seconds a call of ``step`` takes on ``device``.

    Args:
        step: called again and again.
        device: which is waited for.
        seconds: the time to measure for, about.
        least: calls that are measured, however long they take.
    """
    for _ in range(graphs.EAGER + 2 if device.type == "cuda" else 1):  # kernels are chosen
        step()
    _wait(device)
    started, calls = time.perf_counter(), 0
    while calls < least or time.perf_counter() - started < seconds:
        step()
        calls += 1
        if calls & (calls - 1) == 0:  # now and then: a GPU runs behind the host
            _wait(device)
    _wait(device)
    return (time.perf_counter() - started) / calls


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
