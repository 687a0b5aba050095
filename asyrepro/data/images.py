"""Image files to uint8 arrays, and the image files in a folder.

What becomes of the less common kinds of file is in :mod:`asyrepro.data.decoding`; beyond that

- 16 bits are rounded to 8;
- transparent pixels are laid over white; an opaque alpha channel is dropped;
- colour profiles are not applied;
- of an animated or multi-page file the first frame is read.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from asyrepro.data import decoding
from asyrepro.data.decoding import Picture
from asyrepro.system.errors import ConfigError, DataError, shown, some
from asyrepro.system.options import no_such_choice

if TYPE_CHECKING:
    from torch import Tensor

MODES = ("rgb", "grey", "luma")
ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".gif", ".webp"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)


class Read(NamedTuple):
    """An image as it was read: uint8 array (C, H, W), the SHA-256 of its file, and notes."""

    pixels: np.ndarray
    sha256: str
    notes: tuple[str, ...]


def read_image(path: str | os.PathLike, mode: str = "rgb") -> Tensor:
    """Read an image file.

    Args:
        mode: ``"rgb"`` (a grey file is replicated), ``"grey"`` (ITU-R 601 luma, Pillow's
            ``convert("L")``) or ``"luma"`` (the Y of MATLAB's ``rgb2ycbcr``, 16 ... 235, rounded).

    Returns:
        uint8 tensor (C, H, W), C = 3 for ``"rgb"`` and 1 otherwise.

    Raises:
        DataError: the file is missing, unreadable, damaged, too large, or no image.
    """
    import torch  # here, as what only looks at images starts faster without

    return torch.from_numpy(read(path, mode).pixels)


def read(path: str | os.PathLike, mode: str, white: int | None = None) -> Read:
    """:func:`read_image` with what else a data set keeps of an image.

    ``white`` is the value of white in files whose values do not use their type's range.
    """
    data = decoding.read_bytes(path)
    [picture] = decoding.decode(data, path)
    if white is not None:
        check_white(picture, white, path)
    notes = (*picture.notes, *decoding.unused_range(picture.pixels, white))
    return Read(as_array(picture, mode, white), hashlib.sha256(data).hexdigest(), notes)


def as_array(picture: Picture, mode: str, white: int | None = None) -> np.ndarray:
    """A picture as a uint8 array (C, H, W); see :func:`read_image`. ConfigError: no such mode."""
    check_mode(mode)
    channels = picture.pixels.shape[2]
    colours = decoding.colours(channels)
    pixels = decoding.eight_bits(picture.pixels[..., :colours], white)
    if colours < channels:
        alpha = decoding.eight_bits(picture.pixels[..., colours:])
        pixels = _over_white(pixels, alpha)
    if mode == "grey" and pixels.shape[2] == 3:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    elif mode != "grey":
        pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    if mode == "luma":
        pixels = luma(pixels)[..., None]
    return pixels.transpose(2, 0, 1).copy()


def check_white(picture: Picture, white: int, path: str | os.PathLike) -> None:
    """DataError unless the values of a picture lie between black and ``white``."""
    colours = decoding.colours(picture.pixels.shape[2])
    highest = int(picture.pixels[..., :colours].max())
    if highest > white:
        raise DataError(f"{shown(path)} holds values up to {highest}, above white={white}")
    if white > np.iinfo(picture.pixels.dtype).max:
        raise DataError(f"{shown(path)} has 8 bits, which white={white} does not fit")


def list_images(folder: str | os.PathLike, recursive: bool = False) -> list[Path]:
    """The image files in a folder, by their endings, sorted by path; hidden ones are left out.

    Links that are broken are among them, so that reading tells of them.

    Raises:
        DataError: the folder is missing, is no folder, cannot be read, or holds no image.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):  # False, too, where pathlib raises: a name that is too long
        what = "is a file, not a folder" if os.path.isfile(folder) else "does not exist"
        raise DataError(f"{shown(folder)} {what}: name a folder that holds images")
    found = [path for path in _files(folder, recursive) if is_image(path)]
    if found:
        return found
    inner = {path.relative_to(folder).parts[0] for path in _files(folder, True) if is_image(path)}
    if inner:
        raise DataError(
            f"{shown(folder)} holds no image itself, but its folders do "
            f"({some(sorted(map(shown, inner)))}): name one of them"
        )
    raise DataError(f"{shown(folder)} holds no image (one of {', '.join(ENDINGS)})")


def left_out(folder: str | os.PathLike, recursive: bool = False) -> str:
    """What :func:`list_images` leaves out of a folder, counted and named; "" if nothing."""
    folder = Path(folder)
    others = Counter(
        path.suffix.lower() or path.name for path in _files(folder, recursive) if not is_image(path)
    )
    inner = [path for path in _files(folder, True) if is_image(path) and path.parent != folder]
    parts = []
    if others:
        kinds = some(sorted(f"{count} {shown(kind)}" for kind, count in others.items()))
        parts.append(f"{counted(others.total(), 'file')} of other kinds ({kinds})")
    if inner and not recursive:
        folders = sorted({shown(path.relative_to(folder).parts[0]) for path in inner})
        parts.append(f"{counted(len(inner), 'image')} in folders inside ({some(folders)})")
    return " and ".join(parts)


def _files(folder: Path, recursive: bool) -> list[Path]:
    """The files in a folder, sorted by path, without hidden ones."""
    try:
        return sorted(
            path
            for path in (folder.rglob("*") if recursive else folder.iterdir())
            if not any(part.startswith(".") for part in path.relative_to(folder).parts)
            and (path.is_file() or (path.is_symlink() and not path.exists()))
        )
    except OSError as error:
        raise DataError(f"{shown(folder)} cannot be read: {error.strerror}") from error


def is_image(path: Path) -> bool:
    """Whether a file is taken for an image, by its ending."""
    return path.suffix.lower() in ENDINGS


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


def check_mode(mode: str) -> None:
    """Raise ConfigError unless `mode` is one of MODES."""
    if mode not in MODES:
        raise ConfigError(no_such_choice("image mode", mode, MODES))


def _over_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 1 or 3) and its alpha channel (H, W, 1), laid over white."""
    if alpha.min() == 255:
        return pixels
    shape = (*pixels.shape[:2], 3)
    image = Image.fromarray(np.concatenate([np.broadcast_to(pixels, shape), alpha], axis=-1))
    laid = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(laid)[..., : pixels.shape[2]]


def luma(rgb: np.ndarray) -> np.ndarray:
    """Y of MATLAB's rgb2ycbcr for uint8 (H, W, 3), in integers: exact, ties rounded up."""
    weighted = np.full(rgb.shape[:2], 16 * 255000 + 127500, dtype=np.int32)
    for channel, weight in enumerate((65481, 128553, 24966)):
        weighted += np.multiply(rgb[..., channel], weight, dtype=np.int32)
    weighted //= 255000
    return weighted.astype(np.uint8)
