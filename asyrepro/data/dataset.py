"""What a data set is: decoded images with their names and a fingerprint."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

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
        pixels: the images as uint8 arrays (C, H, W), not to be written to.
        bundled: whether these are the stand-in photographs.
        fingerprint: SHA-256 over the files' names and bytes: over the lines "name NUL SHA-256".
    """

    name: str
    title: str
    names: list[str]
    pixels: list[np.ndarray]
    bundled: bool = False
    fingerprint: str = ""

    def __len__(self) -> int:
        return len(self.pixels)

    @cached_property
    def images(self) -> list[Tensor]:
        """The images as tensors in the same memory; views of one array are views of one tensor."""
        import torch  # here, as what only looks at images starts faster without

        whole = self.pixels[0].base if self.pixels else None  # of a mapped file, all of its images
        if whole is None or any(image.base is not whole for image in self.pixels):
            return [torch.from_numpy(image) for image in self.pixels]
        flat, start = torch.from_numpy(whole).flatten(), whole.ctypes.data
        places = [image.ctypes.data - start for image in self.pixels]
        return [
            flat[place : place + image.size].view(image.shape)
            for place, image in zip(places, self.pixels, strict=True)
        ]


def read_all(paths: Sequence[Path], mode: str, white: int | None = None) -> Iterator[images.Read]:
    """The images of files, decoded in several threads; see :func:`asyrepro.data.images.read`.

    No more than a few are ahead of what is taken, so that a set may be larger than the memory.
    """
    threads, ahead = min(8, os.cpu_count() or 1), deque[Future[images.Read]]()
    with ThreadPoolExecutor(threads) as pool:
        for path in paths:
            ahead.append(pool.submit(images.read, path, mode, white))
            if len(ahead) > 2 * threads:
                yield ahead.popleft().result()
        yield from (each.result() for each in ahead)


def fingerprint_of(digests: Iterable[tuple[str, str]]) -> str:
    """:attr:`DataSet.fingerprint` of (file name, SHA-256) pairs."""
    lines = "".join(f"{name}\0{digest}\n" for name, digest in digests)
    return hashlib.sha256(lines.encode()).hexdigest()
