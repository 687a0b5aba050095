"""RMS brightness of one image under every reading that a paper's authors might have given it.

One decoding per image. Sums of squares are exact wherever the reading is 8-bit. Nothing here
imports PyTorch: a worker process that does would start slower than it measures.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from asyrepro.data.decoding import deep_grey, eight_bits, read_bytes, verified
from asyrepro.data.images import luma
from asyrepro.system.errors import DataError

#: How the pixels were read. "grey" is ITU-R 601 luma rounded to 8 bits (Pillow's ``convert("L")``),
#: "luma" MATLAB's rgb2ycbcr Y in [16, 235] rounded to 8 bits, "grey709" scikit-image's
#: ``rgb2gray`` (not rounded), "rgba" three colours and a fourth channel: the file's own alpha, or
#: a constant 1 where it has none, as screen captures saved as PNG do.
READINGS = {
    "grey": "grey (ITU-R 601)",
    "rgb": "RGB",
    "luma": "luma (Y in 16 ... 235)",
    "grey709": "grey (ITU-R 709)",
    "rgba": "RGB and alpha",
}
VARIANTS = tuple(READINGS)
MODULI = (2, 3, 4)
CENTRES = (96, 128, 180, 192, 224, 256, 320, 384, 512)
#: Which part was used: all of it, height and width cut down to a multiple of the scale factor
#: (from the top left), or the central square of a common size.
CROP_WORDS = {
    "whole": "whole image",
    **{f"mod{m}": f"cut to a multiple of {m}" for m in MODULI},
    **{f"centre{c}": f"centre {c} x {c}" for c in CENTRES},
}
CROPS = tuple(CROP_WORDS)


def crops(height: int, width: int) -> list[tuple[slice, slice] | None]:
    """Rows and columns of every crop of :data:`CROPS`; None where it does not fit."""
    found: list[tuple[slice, slice] | None] = [np.s_[:, :]]
    for m in MODULI:
        h, w = height - height % m, width - width % m
        found.append(np.s_[:h, :w] if h and w else None)
    for c in CENTRES:
        top, left = (height - c) // 2, (width - c) // 2
        fits = top >= 0 and left >= 0
        found.append(np.s_[top : top + c, left : left + c] if fits else None)
    return found


def to_rgb(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """An image of any common mode as 8-bit RGB, and its alpha channel if it has one.

    16-bit grey images are scaled by 1/257. Raises DataError for other depths (32-bit, float).
    """
    if image.mode[0] in "IF":
        grey = deep_grey(image, "the image")
        image = Image.fromarray(eight_bits(grey))
    transparent = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    if transparent:
        image = image.convert("RGBA")
        return image.convert("RGB"), image.getchannel("A")
    return image.convert("RGB"), None


def measure(image: Image.Image) -> np.ndarray:
    """RMS in [0, 1] of every variant and crop of a decoded image.

    Returns:
        float64 array (len(VARIANTS), len(CROPS)); NaN where the crop is larger than the image.
    """
    rgb, alpha = to_rgb(image)
    pixels = np.asarray(rgb)
    red, green, blue = (pixels[..., channel].astype(np.int32) for channel in range(3))
    grey709 = (2125 * red + 7154 * green + 721 * blue) / 10000
    colours = _squares(pixels).sum(axis=2, dtype=np.uint32)
    opacity = 255**2 if alpha is None else _squares(np.asarray(alpha))
    squares = {  # of each variant, and of how many channels
        "grey": (_squares(np.asarray(rgb.convert("L"))), 1),
        "rgb": (colours, 3),
        "luma": (_squares(luma(pixels)), 1),
        "grey709": (grey709 * grey709, 1),
        "rgba": (colours + opacity, 4),
    }
    inside = crops(*pixels.shape[:2])
    return np.array([[_rms(*squares[variant], crop) for crop in inside] for variant in VARIANTS])


def _rms(squares: np.ndarray, channels: int, crop: tuple[slice, slice] | None) -> float:
    """RMS in [0, 1] of a crop, from squared 8-bit values, those of all channels added up."""
    if crop is None:
        return float("nan")
    part = squares[crop]
    return float(np.sqrt(part.sum(dtype=np.float64) / channels / part.size) / 255)


def picture(array: np.ndarray) -> Image.Image:
    """A uint8 array (H, W), (1, H, W) or (3, H, W) as a decoded image."""
    if array.ndim == 3:
        array = array[0] if array.shape[0] == 1 else np.moveaxis(array, 0, -1)
    return Image.fromarray(np.ascontiguousarray(array))


def measure_file(path: Path) -> tuple[np.ndarray | None, str]:
    """As :func:`measure`, of a file: (values, "") or (None, why it could not be read)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata
            with verified(read_bytes(path), path) as image:
                image.load()
                return measure(image), ""
    except DataError as error:
        return None, str(error)


def _squares(pixels: np.ndarray) -> np.ndarray:
    wide = pixels.astype(np.uint16)
    return wide * wide  # 255 squared still fits
