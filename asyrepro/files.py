"""Writing files that are either whole or not there.

Everything is written beside its place under a temporary name, flushed to the disk and renamed, so
a process that is killed at any moment leaves the old file or the new one.
"""

from __future__ import annotations

import os
from pathlib import Path


def write_bytes(path: Path | str, content: bytes) -> Path:
    """Write a file atomically and durably; the folder is created if need be. Returns the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
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


def remove(path: Path | str) -> None:
    """Delete a file if it is there."""
    Path(path).unlink(missing_ok=True)
