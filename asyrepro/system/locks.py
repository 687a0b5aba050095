"""Locks: one process at a time works in a run's folder, or chooses for a row."""

from __future__ import annotations

import fcntl
import time
from contextlib import contextmanager
from pathlib import Path

from asyrepro.system import files
from asyrepro.system.errors import ConfigError


@contextmanager
def locked(folder: Path, wait: bool = False):
    """Hold the folder, made if need be, for this process.

    Where another one works in it: InUse, or with ``wait`` a wait until it has done.
    """
    with files.storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".lock").touch()
    with open(folder / ".lock", "a") as file:
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:  # perhaps a process that only looked, in in_use
                time.sleep(0.05)
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(f"another process is working in {folder}") from None
        except OSError as error:
            raise ConfigError(
                f"{folder} is on a file system without locks ({error.strerror}), where two "
                "processes could train the same run; choose another folder (results=...)"
            ) from error
        yield


def in_use(folder: Path | str) -> bool:
    """Whether a process, this one included, is working in a run's folder."""
    try:
        with open(Path(folder) / ".lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


class InUse(ConfigError):
    """A run that another process is working on."""
