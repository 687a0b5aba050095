"""What a data set is: decoded images with their names and a fingerprint."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from asyrepro.data import images

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class DataSet:
    """Images in memory (or mapped from the disk), ready to be sampled or tested on.

    Attributes:
        name: as it was asked for; of your own folder, the last part of its path.
        title: for people; says "stand-in" where the images are.
        names: the images' names, which are their files' without ending.
        images: uint8 tensors (C, H, W), not to be written to.
        bundled: whether these are the stand-in photographs.
        fingerprint: SHA-256 over the files' names and bytes: over the lines "name NUL SHA-256".
    """

    name: str
    title: str
    names: list[str]
    images: list[Tensor]
    bundled: bool = False
    fingerprint: str = ""

    def __len__(self) -> int:
        return len(self.images)


def read_all(paths: Sequence[Path], mode: str, white: int | None = None) -> Iterator[images.Read]:
    """The images of files, decoded in several threads; see :func:`asyrepro.data.images.read`."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        yield from pool.map(lambda path: images.read(path, mode, white), paths)


def fingerprint_of(digests: Iterable[tuple[str, str]]) -> str:
    """:attr:`DataSet.fingerprint` of (file name, SHA-256) pairs."""
    lines = "".join(f"{name}\0{digest}\n" for name, digest in digests)
    return hashlib.sha256(lines.encode()).hexdigest()
