"""A data set too large for memory, decoded once into one file that is mapped instead of read.

The cache is two files: ``NAME.u8``, the uint8 pixels (C, H, W) of one image after the other, and
``NAME.json``, which names the source files with their sizes and gives the shapes. While it is being
built they are ``NAME.u8.part`` and ``NAME.jsonl.part``, one line for each image that is completely
written, so that a build that was killed goes on where it stopped.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from asyrepro.data import download, images
from asyrepro.system.errors import DataError, shown

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1
BATCH = 16  # images decoded between two writes to the disk


def cached_images(
    files: Sequence[Path], mode: str, folder: Path, name: str
) -> tuple[list[Tensor], list[str]]:
    """Images of `files`, mapped from a cache in `folder` that is built first if need be.

    Returns:
        uint8 tensors (C, H, W) that view a read-only memory map (writing to one ends the process),
        and the SHA-256 of each source file as it was when it was decoded.

    Raises:
        DataError: a file is damaged, or the cache cannot be written.
    """
    import torch

    pixels, index = folder / f"{name}.u8", folder / f"{name}.json"
    sources = [[file.name, file.stat().st_size] for file in files]
    with download.locked(pixels):
        entries = _read_index(index, pixels, mode, sources)
        if entries is None:
            try:
                entries = _build(files, sources, mode, pixels, index)
            except OSError as error:
                raise DataError(
                    f"the image cache {shown(pixels)} cannot be written "
                    f"({error.strerror}): make room or choose another folder"
                ) from error
    mapped = np.memmap(pixels, dtype=np.uint8, mode="r")
    tensors, start = [], 0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
        for entry in entries:
            size = math.prod(entry["shape"])
            tensors.append(torch.from_numpy(mapped[start : start + size]).view(entry["shape"]))
            start += size
    return tensors, [entry["sha256"] for entry in entries]


def _read_index(index: Path, pixels: Path, mode: str, sources: list) -> list[dict] | None:
    """The entries of a finished cache that is of these sources; None if there is none."""
    try:
        content = json.loads(index.read_text())
        if [content["version"], content["mode"], content["sources"]] != [VERSION, mode, sources]:
            return None
        entries = content["entries"]
        complete = len(entries) == len(sources)
        expected = sum(math.prod(entry["shape"]) for entry in entries)
        return entries if complete and pixels.stat().st_size == expected else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _build(
    files: Sequence[Path], sources: list, mode: str, pixels: Path, index: Path
) -> list[dict]:
    part, journal = pixels.with_suffix(".u8.part"), index.with_suffix(".jsonl.part")
    entries = _resume(part, journal, mode, sources)
    _check_space(files[len(entries) :], mode, part)
    done = sum(math.prod(entry["shape"]) for entry in entries)
    with (
        open(part, "ab") as out,
        open(journal, "w") as lines,
        ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
        tqdm(total=len(files), initial=len(entries), desc="decoding", disable=None) as bar,
    ):
        out.truncate(done)
        _note(lines, entries, mode)
        while len(entries) < len(files):
            batch = range(len(entries), min(len(entries) + BATCH, len(files)))
            fresh = []
            for i, (pixel, sha256) in zip(
                batch, pool.map(lambda i: read_hashed(files[i], mode), batch), strict=True
            ):
                out.write(pixel.numpy().tobytes())
                fresh.append({"source": sources[i], "shape": list(pixel.shape), "sha256": sha256})
            out.flush()
            os.fsync(out.fileno())  # pixels first, so that the journal never promises too much
            _note(lines, fresh, mode)
            entries += fresh
            bar.update(len(fresh))
    os.replace(part, pixels)
    content = {"version": VERSION, "mode": mode, "sources": sources, "entries": entries}
    unfinished = index.with_suffix(".json.part")
    unfinished.write_text(json.dumps(content))
    os.replace(unfinished, index)
    journal.unlink()
    return entries


def read_hashed(file: Path, mode: str) -> tuple[Tensor, str]:
    """An image and the SHA-256 of its file, reading the file once."""
    data = images.read_bytes(file)
    return images.decode(data, file, mode), download.bytes_digest(data)


def _resume(part: Path, journal: Path, mode: str, sources: list) -> list[dict]:
    """Entries of an unfinished cache that are of these sources and wholly on the disk."""
    entries, size = [], part.stat().st_size if part.exists() else 0
    try:
        for line, source in zip(journal.read_text().splitlines(), sources, strict=False):
            entry = json.loads(line)
            size -= math.prod(entry["shape"])
            if entry.pop("mode") != mode or entry["source"] != source or size < 0:
                break
            entries.append(entry)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # a torn last line: everything before it counts
    return entries


def _note(lines, entries: list[dict], mode: str) -> None:
    for entry in entries:
        lines.write(json.dumps({**entry, "mode": mode}) + "\n")
    lines.flush()
    os.fsync(lines.fileno())


def _check_space(files: Sequence[Path], mode: str, part: Path) -> None:
    channels = 3 if mode == "rgb" else 1
    needed = sum(channels * images.count_pixels(file) for file in files)
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise DataError(
            f"decoding into {shown(part.parent)} needs {needed / 1e9:.1f} GB and "
            f"{free / 1e9:.1f} GB are free: make room or choose another folder"
        )
