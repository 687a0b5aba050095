"""The history's lines in TensorBoard, which ``tensorboard --logdir results/<study>`` shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from asyrepro.system.errors import ConfigError
from asyrepro.system.files import storing

SCALARS = ("loss", "lr", "val_psnr", "patches_per_second")


@contextmanager
def opened(name: str | None, folder: Path) -> Iterator[Callable[[list[dict]], None] | None]:
    """What takes new lines of the history, or None without a logger.

    The lines of a continued run replace those of the same and later steps that the run which was
    cut off has left, so every step is there once.

    Raises:
        ConfigError: there is no such logger, or its package is not installed.
    """
    if name is None:
        yield None
        return
    if name != "tensorboard":
        raise ConfigError(f"runtime.logger is {name!r}; it must be tensorboard or null")
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError(
            "runtime.logger=tensorboard needs a package that is not here: pip install tensorboard"
        ) from None
    writer = None

    def write(rows: list[dict]) -> None:
        nonlocal writer
        if not rows:
            return
        with storing(folder / "events.out.tfevents"):
            if writer is None:
                writer = SummaryWriter(folder, purge_step=rows[0]["step"])
            for row in rows:
                for key in SCALARS:
                    if row[key] is not None:
                        writer.add_scalar(key, row[key], row["step"])
            writer.flush()

    try:
        yield write
    finally:
        if writer is not None:
            with storing(folder / "events.out.tfevents"):
                writer.close()
