"""Devices: which one to compute on, what it is called, and what to say when its memory runs out."""

from __future__ import annotations

import ctypes
import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from asyrepro.system.errors import ConfigError, UserError, first_line


def choose(name: str) -> torch.device:
    """CUDA if there is one, else the CPU, for "auto"; anything else as PyTorch names devices.

    Raises:
        ConfigError: there is no such device here.
    """
    # float32 is float32, in training and evaluation. torch.compile still reads these two names, and
    # fails where the newer fp32_precision was set.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    # Intel's processors are slow with numbers below 1e-38, to which the momentum of a dead channel
    # (ReLU) falls within 2,000 steps. Threads that start later inherit this.
    torch.set_flush_denormal(True)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(str(name))
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ConfigError(f"there is no device {name!r}; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device is {name}, but PyTorch finds no CUDA here; use device=cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device is {name}, but there are only {torch.cuda.device_count()} CUDA devices here, "
            "counted from cuda:0"
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)  # where streams and compiled kernels go
    return device


@contextmanager
def measured_convolutions(on: bool = True):
    """Within this, CUDA tries its kernels for each new shape and takes the fastest, or does not.

    It pays where one shape comes again and again, as in training.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = on
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def fast_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself; a CPU without it emulates it slowly."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    if hasattr(torch.cpu, "get_capabilities"):
        return bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    # PyTorch 2.10 has no public name for it; a version with neither means float32.
    return getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()


def cpu_capability() -> str:
    """The instructions that decide on a CPU's bits and speed, as "AVX2" or "AVX512, bf16, AMX"."""
    found = getattr(torch.cpu, "get_capabilities", dict)()
    more = {"bf16": "avx512_bf16", "AMX": "amx_bf16"}
    names = [name for name, capability in more.items() if found.get(capability)]
    return ", ".join([torch.backends.cpu.get_cpu_capability(), *names])


def name_of(device: torch.device) -> str:
    """The GPU's name, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def give_back_memory() -> None:
    """Return what was freed to the system and to the GPU, so that other processes can have it.

    glibc keeps it where a smaller block lies above it, and joblib replaces a worker that has grown
    by 300 MB, with a warning; the new one imports anew.
    """
    gc.collect()  # networks that refer to themselves
    torch.cuda.empty_cache()  # nothing where CUDA was not used
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


class OutOfMemory(UserError):
    """The device's memory is too small."""


@contextmanager
def memory(advice: str):
    """Within this, memory that runs out becomes OutOfMemory(advice)."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_of_memory(error):
            raise
        raise OutOfMemory(advice) from error


def is_of_memory(error: Exception) -> bool:
    """Whether an exception says that memory has run out."""
    # A CPU's allocator, CUDA's context, cuDNN and cuBLAS have no exception of their own for it.
    words = ("allocate memory", "ALLOC_FAILED", "ALLOCATION_FAILED", "out of memory")
    kinds = (torch.cuda.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or any(word in str(error) for word in words)


@contextmanager
def explained(what: str, advice: str = "") -> Iterator[None]:
    """Within this, what a network, loss or task raises becomes a ConfigError of one sentence.

    Not the end of the memory, of which :func:`memory` tells. An error whose text alone says little,
    such as a KeyError's, or that code of the user's own raises, is named with its place.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if is_of_memory(error):
            raise
        reason = first_line(error)
        place = traceback.extract_tb(error.__traceback__)[-1]
        clear = isinstance(error, ValueError | TypeError | RuntimeError)
        if not (clear and _is_known(Path(place.filename))):
            reason = f"{type(error).__name__} in {place.filename}, line {place.lineno}: {reason}"
        raise ConfigError(f"{what}: {reason}{advice}") from error


def _is_known(source: Path) -> bool:
    """Whether a file of code is this program's or PyTorch's, whose errors speak for themselves."""
    packages = (Path(__file__).parents[1], Path(torch.__file__).parent)
    return any(map(source.is_relative_to, packages))
