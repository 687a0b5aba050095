"""Image files to uint8 tensors, or one clear error.

What becomes of the less common kinds of file:

- 16-bit grey is rounded to 8 bits, ``round(v / 257)``; of 16-bit colour Pillow keeps the high byte;
- palette, CMYK, YCbCr, LAB and black-and-white files become RGB (or grey) as Pillow converts them,
  colour profiles are not applied;
- transparent pixels are laid over white; an opaque alpha channel is dropped;
- the EXIF orientation is applied, so that the tensor is the picture as a viewer shows it;
- of an animated or multi-page file the first frame is read.

Floating-point and 32-bit files have no agreed range and are refused, as are files of more than
``MAX_PIXELS`` pixels. Only ``FORMATS`` are tried, none of which runs another program.

PyTorch is imported where a tensor is made: processes that only look at files start faster without.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image, ImageOps

from asyrepro.system.errors import ConfigError, DataError, shown

if TYPE_CHECKING:
    from torch import Tensor

MODES = ("rgb", "grey", "luma")
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP", "PPM")
ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # how such files begin
MAX_PIXELS = 89_000_000  # a little less than Pillow's own limit, from which on it warns


def read_image(path: str | os.PathLike, mode: str = "rgb") -> Tensor:
    """Read an image file.

    Args:
        path: the file.
        mode: ``"rgb"`` (a grey file is replicated), ``"grey"`` (ITU-R 601 luma, Pillow's
            ``convert("L")``) or ``"luma"`` (the Y of MATLAB's ``rgb2ycbcr``, 16 ... 235, rounded).

    Returns:
        uint8 tensor (C, H, W), C = 3 for ``"rgb"`` and 1 otherwise.

    Raises:
        DataError: the file is missing, unreadable, damaged, too large, or no image.
    """
    return decode(read_bytes(path), path, mode)


def read_hashed(path: str | os.PathLike, mode: str) -> tuple[Tensor, str]:
    """:func:`read_image`, and the SHA-256 of the file, which is read once."""
    data = read_bytes(path)
    return decode(data, path, mode), hashlib.sha256(data).hexdigest()


def decode(data: bytes, path: str | os.PathLike, mode: str = "rgb") -> Tensor:
    """:func:`read_image` for a file's bytes; `path` is named in errors only."""
    check_mode(mode)
    with verified(data, path) as image:
        pixels = _pixels(image, path, "L" if mode == "grey" else "RGB")
    if mode == "luma":
        pixels = _luma(pixels)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    import torch

    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def count_pixels(path: str | os.PathLike) -> int:
    """Height times width, from the file's header alone."""
    read_bytes(path, 1)
    with open(path, "rb") as file, opened(file, path) as image:
        return image.height * image.width


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
    try:
        entries = folder.rglob("*") if recursive else folder.iterdir()
        found = sorted(
            entry
            for entry in entries
            if entry.suffix.lower() in ENDINGS
            and not any(part.startswith(".") for part in entry.relative_to(folder).parts)
            and (entry.is_file() or (entry.is_symlink() and not entry.exists()))
        )
    except OSError as error:
        raise DataError(f"{shown(folder)} cannot be read: {error.strerror}") from error
    if not found:
        raise DataError(f"{shown(folder)} holds no image (one of {', '.join(ENDINGS)})")
    return found


def check_mode(mode: str) -> None:
    """Raise ConfigError unless `mode` is one of MODES."""
    if mode not in MODES:
        raise ConfigError(f"unknown image mode {mode!r}: use one of {', '.join(MODES)}")


def read_bytes(path: str | os.PathLike, limit: int = -1) -> bytes:
    """A file's bytes (at most `limit`), or a DataError that says why not."""
    try:
        with open(path, "rb") as file:
            data = file.read(limit)
    except FileNotFoundError as error:
        if os.path.islink(path):
            raise DataError(f"{shown(path)} is a broken link: restore the file it names") from error
        raise DataError(f"{shown(path)} does not exist: check the path") from error
    except PermissionError as error:
        raise DataError(f"{shown(path)} may not be read: change its permissions") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{shown(path)} cannot be read: {reason}") from error
    if not data:
        raise DataError(f"{shown(path)} is empty: fetch or copy the file again")
    return data


@contextmanager
def opened(file: BinaryIO, path: str | os.PathLike) -> Iterator[Image.Image]:
    """A Pillow image, not yet decoded; whatever goes wrong until the end becomes a DataError."""
    too_large = DataError(
        f"{shown(path)} has more than {MAX_PIXELS // 10**6} million pixels: cut or shrink it first"
    )
    try:
        image = Image.open(file, formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise too_large
        check_depth(image, path)
        yield image
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise too_large from error
    except Image.UnidentifiedImageError as error:
        file.seek(0)
        if file.read(4) in TIFF:
            raise DataError(
                f"{shown(path)} is a TIFF of a kind that is not read (such as floating-point or "
                "32-bit colours, or 16-bit grey with alpha): save it as PNG, or with 8 bits"
            ) from error
        raise DataError(
            f"{shown(path)} is not an image that can be read: use one of {', '.join(FORMATS)}"
        ) from error
    except MemoryError as error:
        raise DataError(
            f"{shown(path)} does not fit into memory: cut or shrink it first"
        ) from error
    # Pillow's decoders raise a dozen kinds of exception on damaged files (OSError, SyntaxError,
    # ValueError, struct.error, zlib.error, IndexError, ...): all mean the same to a user.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{shown(path)} is damaged or cut short ({reason}): fetch or copy it again"
        ) from error


@contextmanager
def verified(data: bytes, path: str | os.PathLike) -> Iterator[Image.Image]:
    """:func:`opened` for a file's bytes, of which a PNG's checksums are checked first."""
    with opened(io.BytesIO(data), path) as image:
        if image.format == "PNG":  # Pillow skips the checksums of pixel data unless asked
            image.verify()
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        yield image


def check_depth(image: Image.Image, path: str | os.PathLike) -> None:
    """DataError if a file holds 32-bit grey values, which Pillow gives like 16-bit ones."""
    if image.format == "TIFF" and image.mode == "I" and image.tag_v2.get(258, (16,))[0] > 16:
        raise _unknown_range(path, "32-bit")


def _unknown_range(path: str | os.PathLike, pixels: str) -> DataError:
    return DataError(
        f"{shown(path)} holds {pixels} pixels, whose range is not known: save it with 8 or 16 bits "
        "a channel"
    )


def white_is_zero(image: Image.Image) -> bool:
    """Whether a file's grey values count from white, which Pillow undoes for 8 bits only."""
    return image.format == "TIFF" and image.tag_v2.get(262) == 0  # PhotometricInterpretation


def deep_grey(image: Image.Image, path: str | os.PathLike, negative: bool = False) -> np.ndarray:
    """The uint16 (H, W) pixels of an image of mode I, I;16 or F; DataError if they are not such.

    ``negative``: white is 0 in the file (:func:`white_is_zero`).
    """
    values = np.asarray(image)
    floating = image.mode == "F"
    if floating or values.min() < 0 or values.max() > 65535:
        kind = "floating-point" if floating else "negative" if values.min() < 0 else "32-bit"
        raise _unknown_range(path, kind)
    return 65535 - values.astype(np.uint16) if negative else values.astype(np.uint16)


def eight_bits(pixels: np.ndarray) -> np.ndarray:
    """uint16 pixels as uint8, rounded."""
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _pixels(image: Image.Image, path: str | os.PathLike, kind: str) -> np.ndarray:
    """Decode into a uint8 array, (H, W) for kind "L" or (H, W, 3) for kind "RGB"."""
    image.load()
    negative = white_is_zero(image)
    image = ImageOps.exif_transpose(image)
    if image.mode[0] in "IF":
        image = Image.fromarray(eight_bits(deep_grey(image, path, negative)))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] < 255:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if kind == "L" and image.mode not in ("L", "1"):
        image = image.convert("RGB")  # first, so that every file's grey is that of its RGB pixels
    return np.asarray(image.convert(kind), dtype=np.uint8)


def _luma(rgb: np.ndarray) -> np.ndarray:
    """Y of MATLAB's rgb2ycbcr for uint8 (H, W, 3), in integers: exact, ties rounded up."""
    weighted = np.full(rgb.shape[:2], 16 * 255000 + 127500, dtype=np.int32)
    for channel, weight in enumerate((65481, 128553, 24966)):
        weighted += np.multiply(rgb[..., channel], weight, dtype=np.int32)
    weighted //= 255000
    return weighted.astype(np.uint8)
