"""A training step as one CUDA graph: the GPU is given its hundreds of kernels at once.

Small networks, and optimisers of many small operations, are bound by launches: the GPU waits for
the host. A captured step is launched as a whole. What it reads stands at fixed places: a batch is
copied there, and learning rates, which are numbers on the host, are written into tensors.

What a network or a loss does on the host (counts its calls, draws from Python's random numbers) is
done once, at the capture, and what reads a value back cannot be captured. Modules of other programs
are therefore not captured unless ``runtime.graph=true`` says that they can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

KNOWN = ("asyrepro", "torch")  # packages whose modules can be captured
EAGER = 3  # steps before the capture, which choose convolutions and make the optimiser's state


def can_capture(
    optimizer: torch.optim.Optimizer, scheduler: torch.optim.lr_scheduler.LRScheduler
) -> bool:
    """Whether a graph of the step stays right.

    The optimiser's counts must be tensors on the GPU, and nothing of it may change but its rates: a
    momentum that the schedule changes would stay as captured.
    """
    counts = "capturable" in optimizer.defaults or getattr(optimizer, "capturable", False)
    return counts and not getattr(scheduler, "cycle_momentum", False)


def are_known(*modules: nn.Module) -> bool:
    """Whether all modules, and those within them, are this program's or PyTorch's."""
    parts = (part for module in modules for part in module.modules())
    return all(type(part).__module__.partition(".")[0] in KNOWN for part in parts)


def captured(
    step: Callable[[Tensor, Tensor], None], optimizer: torch.optim.Optimizer
) -> Callable[[Tensor, Tensor], None]:
    """``step`` as a CUDA graph. Its first calls are plain ones; every call is one step.

    Args:
        step: takes inputs and label, of the same shapes every time, reads no value back, and
            changes tensors in place.
        optimizer: whose step this is; its rates may change from step to step.
    """
    device = optimizer.param_groups[0]["params"][0].device
    for group in optimizer.param_groups:
        if "capturable" in group:
            group["capturable"] = True
    for state in optimizer.state.values():  # of a run begun without a graph
        if torch.is_tensor(count := state.get("step")):
            state["step"] = count.to(device, torch.float32)
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)
    rates: list[Tensor] = []
    places: list[Tensor] = []
    calls = 0

    def run(*batch: Tensor) -> None:
        nonlocal calls
        calls += 1
        if not rates:
            rates.extend(torch.empty((), device=device) for _ in optimizer.param_groups)
        with torch.cuda.device(device), _as_tensors(optimizer, rates):
            if calls <= EAGER:
                side.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(side):
                    step(*batch)
                torch.cuda.current_stream().wait_stream(side)
                return
            if not places:
                places.extend(map(torch.clone, batch))  # which keeps their layouts
                # Other threads, as a DataLoader's, may go on with what no capture allows.
                with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                    step(*places)  # is recorded, and not carried out
            for place, tensor in zip(places, batch, strict=True):
                place.copy_(tensor)
            graph.replay()

    return run


@contextmanager
def _as_tensors(optimizer: torch.optim.Optimizer, rates: list[Tensor]) -> Iterator[None]:
    """Within this, the groups' learning rates are ``rates``, which hold their values."""
    numbers = [group["lr"] for group in optimizer.param_groups]
    for group, rate, number in zip(optimizer.param_groups, rates, numbers, strict=True):
        rate.fill_(number)
        group["lr"] = rate
    try:
        yield
    finally:
        for group, number in zip(optimizer.param_groups, numbers, strict=True):
            group["lr"] = number
