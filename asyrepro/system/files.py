"""Writing files that are either whole or not there.

Everything is written beside its place under a temporary name, flushed to the disk and renamed, so
a process that is killed at any moment leaves the old file or the new one.
"""

from __future__ import annotations

import csv
import errno
import gzip
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from asyrepro.system.errors import StorageError

if TYPE_CHECKING:
    import pandas as pd

ADVICE = {
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "make room in your quota",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.ENAMETOOLONG: "put some of the settings, which become part of the folder's name, in a "
    "YAML file of configs/ instead of the command line",
    errno.EEXIST: "a file is where a folder must be, choose another folder",
    errno.ENOTDIR: "a file is where a folder must be, choose another folder",
    errno.EROFS: "choose another folder",
    errno.EACCES: "choose another folder or put its permissions right",
    errno.EPERM: "choose another folder or put its permissions right",
}


@contextmanager
def storing(path: Path | str):
    """Within this, what the system refuses to write becomes a StorageError that names the file."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        advice = ADVICE.get(error.errno, "check the disk")
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}; {advice}, and "
            "run the command again"
        ) from error


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}.tmp")


def check_name(path: Path | str) -> None:
    """StorageError if a file that is to be written later has a name that its disk does not take."""
    path = Path(path).absolute()
    with storing(path):
        there = next(folder for folder in path.parents if folder.is_dir())
        if len(os.fsencode(_temporary(path).name)) > os.pathconf(there, "PC_NAME_MAX"):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))


def write_bytes(path: Path | str, content: bytes) -> Path:
    """Write a file atomically, in a folder that is created if need be. Returns the path.

    Raises:
        StorageError: the disk is full or read-only; what was there before is untouched.
    """
    path = Path(path)
    temporary = _temporary(path)
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def write_text(path: Path | str, content: str) -> Path:
    """Write a UTF-8 text file atomically. Returns the path."""
    return write_bytes(path, content.encode())


def read_csv(path: Path | str) -> list[dict[str, str]]:
    """The rows of a CSV file as they are written."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_csv(path: Path | str, frame: pd.DataFrame, numbers: str | None = "%.6g") -> Path:
    """Write a table as CSV atomically, without its index and with Unix line ends. Returns the path.

    If the file's name ends with ".gz" it is compressed. ``numbers`` is the format of floating-point
    numbers; None keeps all their digits.
    """
    text = frame.to_csv(index=False, float_format=numbers, lineterminator="\n").encode()
    return write_bytes(path, gzip.compress(text, mtime=0) if Path(path).suffix == ".gz" else text)


def remove_leftovers(folder: Path | str) -> None:
    """Delete what processes that were killed while writing into the folder have left there."""
    for path in Path(folder).glob(".*.tmp"):
        path.unlink(missing_ok=True)
