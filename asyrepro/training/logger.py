"""Where the history's lines go beside history.csv: TensorBoard or Weights & Biases.

Each is an option of the group configs/runtime/logger and writes with its library's own client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from asyrepro.system.errors import ConfigError
from asyrepro.system.files import storing
from asyrepro.system.options import no_such_choice

SCALARS = ("loss", "lr", "val_psnr", "patches_per_second")
Write = Callable[[list[dict]], None]


@contextmanager
def opened(name: str, folder: Path, options: dict | None = None) -> Iterator[Write | None]:
    """What takes new lines of the history, or None for "csv", which needs nothing more.

    A continued run sends the lines again that the run which was cut off has left after its last
    checkpoint: TensorBoard replaces them, and Weights & Biases keeps the first, which are equal.

    ``name`` is "csv", "tensorboard" or "wandb", and ``options`` are those of ``wandb.init``.

    Raises:
        ConfigError: there is no such logger, or its package is not installed.
    """
    if name == "csv":
        yield None
        return
    if name not in OPENERS:
        raise ConfigError(no_such_choice("logger", name, ["csv", *OPENERS]))
    try:
        send, close = OPENERS[name](folder, options or {})
    except ImportError:
        raise ConfigError(
            f"runtime/logger={name} needs a package that is not installed: pip install {name}"
        ) from None

    def write(rows: list[dict]) -> None:
        with storing(folder):
            if rows:
                send(rows)

    try:
        yield write
    finally:
        with storing(folder):
            close()


def _scalars(row: dict) -> dict[str, float]:
    return {key: row[key] for key in SCALARS if row[key] is not None}


def _tensorboard(folder: Path, options: dict):
    from torch.utils.tensorboard import SummaryWriter

    writers = []

    def send(rows: list[dict]) -> None:
        if not writers:
            writers.append(SummaryWriter(folder, purge_step=rows[0]["step"]))
        for row in rows:
            for key, value in _scalars(row).items():
                writers[0].add_scalar(key, value, row["step"])
        writers[0].flush()

    return send, lambda: [writer.close() for writer in writers]


def _wandb(folder: Path, options: dict):
    import wandb

    names = folder.absolute().parts[-4:]  # study, row, loss, seed
    run = wandb.init(
        dir=folder,
        id=wandb.util.make_artifact_name_safe("-".join(names)),
        name="/".join(names),
        resume="allow",
        **options,
    )

    def send(rows: list[dict]) -> None:
        for row in rows:
            run.log(_scalars(row), step=row["step"])

    return send, run.finish


OPENERS = {"tensorboard": _tensorboard, "wandb": _wandb}
