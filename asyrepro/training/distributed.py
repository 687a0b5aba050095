"""One run over several processes, as torchrun starts them, and runs side by side on several GPUs.

One run (``torchrun --nproc-per-node N -m asyrepro train ...``): every process draws the same whole
batch and trains on its part of it, and DistributedDataParallel averages the gradients, so N
processes compute what one would. The first process alone reads and writes the run's folder; what it
finds there, errors included, all get from :func:`on_main`. With one process all this does nothing.

Side by side, as Hydra's launchers start them, each process takes a GPU of its own.
"""

from __future__ import annotations

import fcntl
import functools
import itertools
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from asyrepro.system import randomness
from asyrepro.system.errors import ConfigError, UserError
from asyrepro.training import stopping

TIMEOUT = timedelta(hours=12)  # the others wait while the first process evaluates
CPU = torch.device("cpu")
ASKED_EVERY = 10  # steps between two questions whether one of the processes has to end


def gpu() -> int:
    """The index of this process's GPU.

    Raises:
        ConfigError: torchrun has started more processes than there are GPUs.
    """
    if size() == 1:
        return _free_gpu()
    index, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if index >= count:
        raise ConfigError(
            f"there are more processes than GPUs: start torchrun with --nproc-per-node {count}, "
            "or set runtime.device=cpu"
        )
    return index


@functools.cache
def _free_gpu() -> int:
    """The visible GPU with the fewest processes of this program; it is ours until we end.

    A process holds a place on a GPU by a lock in the temporary folder. First places go first, so
    processes share a GPU only when there are more of them than GPUs.
    """
    count = torch.cuda.device_count()
    if count == 1:
        return 0
    folder = Path(tempfile.gettempdir()) / f"asyrepro-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    places = ((place, index) for place in itertools.count() for index in range(count))
    for place, index in places:
        name = getattr(torch.cuda.get_device_properties(index), "uuid", index)
        lock = os.open(folder / f"gpu-{name}.{place}.lock", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return index  # the lock stays open, and ours
        except BlockingIOError:
            os.close(lock)


@contextmanager
def started():
    """Within this, the processes that torchrun has started work together."""
    if not dist.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        yield
        return
    # Messages between the processes go over gloo, gradients on GPUs over NCCL.
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT
    )
    yield
    dist.destroy_process_group()  # not after an error: the others may be waiting for this process


def leave(status: int | None) -> None:
    """End a process that torchrun has started at once, without Python's cleaning up.

    The gloo threads outlive the process group. One that still has an object of Python to give back
    while Python cleans up aborts the process, and with it a run that is done.
    """
    if dist.is_torchelastic_launched():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status or 0)


def size() -> int:
    """The number of processes that train one network."""
    return dist.get_world_size() if dist.is_initialized() else 1


def main() -> bool:
    """Whether this is the process that reads and writes the run's folder."""
    return size() == 1 or dist.get_rank() == 0


def says(text: str) -> bool:
    """Whether this process is the one to print a message that others may have as well."""
    return size() == 1 or dist.distributed_c10d._get_default_store().add(text, 1) == 1


def on_main(function: Callable[[], Any]) -> Any:
    """Call ``function`` in the first process; all processes get its value, or raise its UserError.

    After any other exception the first process ends, and torchrun ends the others.
    """
    if size() == 1:
        return function()
    value, error = None, None
    if main():
        try:
            value = function()
        except UserError as caught:
            error = caught
    found = [value, error]
    dist.broadcast_object_list(found)
    if error := error or found[1]:
        raise error
    return found[0] if value is None else value


def part(batch: Tensor) -> Tensor:
    """This process's part of a batch (N, ...): N / size() of its images."""
    return batch if size() == 1 else batch.chunk(size())[dist.get_rank()]


def average(tensor: Tensor) -> None:
    """Replace a tensor by its mean over the processes, in place."""
    if size() > 1:
        dist.all_reduce(tensor)
        tensor /= size()


def anyone(flag: bool, step: int) -> bool:
    """Whether the flag is set in any process, which is asked every tenth step only."""
    if size() == 1:
        return flag
    return step % ASKED_EVERY == 0 and _largest(int(flag)) > 0


def check_stop(where: str) -> None:
    """Like :func:`.stopping.check`, and a signal to one process ends all of them."""
    if size() == 1:
        stopping.check(where)
    elif number := _largest(stopping.received()):
        raise stopping.Stopped(number, where)


def _largest(number: int) -> int:
    found = torch.tensor(number)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


def check(batch: int, loss: Callable[[], object]) -> None:
    """ConfigError if a batch size or a loss cannot be shared between the processes.

    ``loss`` computes the loss of any image once, which shows whether it draws random numbers.
    """
    if size() == 1:
        return
    if batch % size():
        good = ", ".join(str(n) for n in range(1, batch + 1) if batch % n == 0)
        raise ConfigError(
            f"{size()} processes cannot share a batch of {batch} equally; "
            f"start as many as divide it ({good}), or change recipe.batch"
        )
    kept, before = randomness.state(CPU), _random_states()
    with torch.random.fork_rng():
        try:
            loss()
            after = _random_states()
        finally:
            randomness.restore(kept, CPU)
    if after != before:
        raise ConfigError(
            "this loss draws random numbers for the whole batch, so several processes would not "
            "compute what one does: train it with one process"
        )


def _random_states() -> list:
    """The states of all generators, PyTorch's, Python's and NumPy's, as values to compare."""
    states = [*randomness.state(CPU).values(), *torch.cuda.get_rng_state_all()]
    return [state.tolist() if isinstance(state, Tensor) else state for state in states]


def parallel(network: nn.Module) -> nn.Module:
    """The network with its gradients averaged over the processes.

    Batch normalisation then takes its statistics over the whole batch, which PyTorch can do on
    GPUs only.

    Raises:
        ConfigError: a network with batch normalisation on the CPU.
    """
    if size() == 1:
        return network
    device = next(network.parameters()).device
    network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    normalises = any(isinstance(module, nn.SyncBatchNorm) for module in network.modules())
    if normalises and device.type != "cuda":
        raise ConfigError(
            "batch normalisation over several processes needs GPUs; on the CPU, train this "
            "network with one process"
        )
    # A first layer of one channel has no memory layout of its own; the copy this costs is small.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    ours = [device.index] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(
        network, device_ids=ours, find_unused_parameters=getattr(network, "partly_used", False)
    )
