"""A data set too large for memory, decoded once into one file that is mapped instead of read.

``NAME.npy`` holds the uint8 pixels (C, H, W) of one image behind the other, ``NAME.json``, written
last, their shapes and the source files that they are of.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from tqdm import tqdm

from asyrepro.data import decoding, download
from asyrepro.data.dataset import read_all
from asyrepro.system.errors import DataError, shown


def cached_images(
    files: Sequence[Path], mode: str, folder: Path, name: str
) -> tuple[list[np.ndarray], list[str]]:
    """Images of ``files``, mapped from a cache in ``folder`` that is built first if need be.

    Returns:
        uint8 arrays (C, H, W) that are views of one mapped array, one behind the other; and the
        SHA-256 of each source file as it was when it was decoded.

    Raises:
        DataError: a file is damaged, or the cache cannot be written.
    """
    pixels = folder / f"{name}.npy"
    sources = [[mode, file.name, file.stat().st_size] for file in files]
    with download.locked(pixels):
        try:
            known = json.loads(pixels.with_suffix(".json").read_text())
            mapped = np.load(pixels, mmap_mode="c")  # written to, it changes in memory alone
            complete = known["sources"] == sources and mapped.nbytes == known["bytes"]
        except (OSError, ValueError, KeyError, TypeError):
            complete = False
        if not complete:
            known = _build(files, sources, mode, pixels)
            mapped = np.load(pixels, mmap_mode="c")
    ends = np.cumsum([math.prod(shape) for shape in known["shapes"]])
    views = zip(np.split(mapped, ends[:-1]), known["shapes"], strict=True)
    return [flat.reshape(shape) for flat, shape in views], known["sha256"]


def _build(files: Sequence[Path], sources: list, mode: str, pixels: Path) -> dict:
    channels = 3 if mode == "rgb" else 1
    size = sum(channels * decoding.count_pixels(file) for file in files)
    free = shutil.disk_usage(pixels.parent).free
    if size > free:
        raise DataError(
            f"decoding into {shown(pixels.parent)} needs {size / 1e9:.1f} GB and "
            f"{free / 1e9:.1f} GB are free: make room or choose another folder"
        )
    part, shapes, digests, end = pixels.with_suffix(".npy.part"), [], [], 0
    out = open_memmap(part, mode="w+", dtype=np.uint8, shape=(size,))
    decoded = read_all(files, mode)
    for image, digest, _ in tqdm(decoded, total=len(files), desc="decoding", disable=None):
        out[end : end + image.size] = image.flatten()
        end += image.size
        shapes.append(list(image.shape))
        digests.append(digest)
    out.flush()
    os.replace(part, pixels)
    known = {"sources": sources, "bytes": size, "shapes": shapes, "sha256": digests}
    pixels.with_suffix(".json").write_text(json.dumps(known))
    return known
