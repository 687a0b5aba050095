"""Folders of your own images, and of pairs of them; a note names what is left out."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np

from asyrepro.data import images
from asyrepro.data.dataset import DataSet, fingerprint_of, read_all
from asyrepro.system.errors import DataError, note, shown, some

PAIR = ("clean", "degraded")  # the folders of a folder of pairs


def load(name: str, called: str, mode: str, white: int | None, pairs: int | None) -> DataSet:
    """All images of a folder; those whose names differ in their endings only keep these.

    Args:
        called: the name that results have for it.
        mode, white, pairs: see :func:`asyrepro.data.catalogue.training_set`.
    """
    paths = files_of(name, pairs is not None)
    read = [*read_all(paths, mode, white)]
    if pairs is not None:
        return _paired(called, path_of(name), paths, read, pairs)
    _tell(path_of(name), paths, read)
    stems = Counter(path.stem for path in paths)
    names = [path.stem if stems[path.stem] == 1 else path.name for path in paths]
    found = fingerprint_of((p.name, each.sha256) for p, each in zip(paths, read, strict=True))
    pixels = [each.pixels for each in read]
    return DataSet(called, f"{called} ({len(paths)} images)", names, pixels, False, found)


def _paired(
    called: str, folder: Path, paths: list[Path], read: list[images.Read], scale: int
) -> DataSet:
    """Images (2C, H, W): a label, and below it its degraded image with each pixel repeated.

    Raises:
        DataError: an image has no partner of its name, or their sizes do not fit the scale.
    """
    half, names, pixels = len(paths) // 2, [], []
    for part, half_of in zip(PAIR, (slice(half), slice(half, None)), strict=True):
        _tell(folder / part, paths[half_of], read[half_of])
    for path, label, degraded in zip(paths, read[:half], read[half:], strict=False):
        large, small = label.pixels.shape, degraded.pixels.shape
        if tuple(scale * side for side in small[1:]) != tuple(large[1:]):
            raise DataError(
                f"{shown(path)} has {large[1]} x {large[2]} pixels and its degraded image "
                f"{small[1]} x {small[2]}: with task.scale={scale} they must be "
                f"{scale} to 1" + " (equal)" * (scale == 1)
            )
        repeated = degraded.pixels.repeat(scale, axis=1).repeat(scale, axis=2)
        pixels.append(np.concatenate([label.pixels, repeated]))
        names.append(path.stem)
    found = fingerprint_of(
        (named(p, folder), each.sha256) for p, each in zip(paths, read, strict=True)
    )
    return DataSet(called, f"{called} ({len(names)} pairs)", names, pixels, False, found)


def _tell(folder: Path, paths: list[Path], read: list[images.Read]) -> None:
    """Print what is left out of a folder and of its images, each kind once."""
    if left := images.left_out(folder):
        note(f"left out of {shown(folder)}: {left}")
    kinds: dict[str, list[str]] = {}
    for path, each in zip(paths, read, strict=True):
        for kind in each.notes:
            kinds.setdefault(kind, []).append(shown(path.name))
    for kind, files in kinds.items():
        note(f"{len(files)} of {len(paths)} files of {shown(folder)} ({some(files, 3)}): {kind}")


def files_of(name: str, pairs: bool | None = None) -> list[Path]:
    """The images of a folder, of pairs the clean ones and then their partners in this order.

    ``pairs``: whether it is to hold pairs; None: if it looks so.

    Raises:
        DataError: there are none, one has no partner, or a name could not stand in a table.
    """
    folder = path_of(name)
    paired = _has_pairs(folder) if pairs is None else pairs
    found = _pairs_of(folder) if paired else images.list_images(folder)
    for path in found:
        try:
            path.name.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"{shown(path)}: the file's name is not UTF-8, as the rows are: rename it"
            ) from None
    return found


def _has_pairs(folder: Path) -> bool:
    """Whether a folder holds the two folders of pairs, and no image itself."""
    if not all(os.path.isdir(folder / part) for part in PAIR):
        return False
    return not any(images.is_image(path) for path in folder.iterdir())


def _pairs_of(folder: Path) -> list[Path]:
    """The clean images, and then their partners; see :func:`files_of`."""
    parts = [folder / part for part in PAIR]
    if os.path.isdir(folder) and not all(map(os.path.isdir, parts)):
        raise DataError(f"{shown(folder)} must hold two folders, {PAIR[0]}/ and {PAIR[1]}/")
    listed = [images.list_images(part) for part in parts]
    clean, degraded = ({path.stem: path for path in paths} for paths in listed)
    if len(clean) < len(listed[0]) or len(degraded) < len(listed[1]):
        raise DataError(f"{shown(folder)} has images that differ in their endings only: keep one")
    if alone := sorted(clean.keys() ^ degraded.keys()):
        raise DataError(
            f"{len(alone)} images of {shown(folder)} have no partner of their name in the other "
            f"folder ({shown(alone[0])}, ...)"
        )
    return [*clean.values(), *(degraded[stem] for stem in clean)]


def named(file: Path, folder: str | Path) -> str:
    """A file's name in a fingerprint: its path in its folder."""
    return file.relative_to(path_of(folder)).as_posix()


def path_of(name: str | Path) -> Path:
    return Path(os.path.abspath(os.path.expanduser(name)))
