"""RMS brightness of one image under every reading that a paper's authors might have given it.

One decoding per image. The borders of all crops cut it into small rectangles; every reading is
squared and summed over each rectangle once, and a crop is then the sum of a few of them. Sums are
exact integers wherever the reading is 8-bit. Nothing here imports PyTorch: a worker process that
does would start slower than it measures.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from asyrepro.data.decoding import deep_grey, eight_bits, read_bytes, verified
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


def boxes(height: int, width: int) -> list[tuple[int, int, int, int] | None]:
    """(top, left, height, width) of every crop of :data:`CROPS`; None where it does not fit."""
    found: list[tuple[int, int, int, int] | None] = [(0, 0, height, width)]
    for m in MODULI:
        h, w = height - height % m, width - width % m
        found.append((0, 0, h, w) if h and w else None)
    for c in CENTRES:
        fits = c <= height and c <= width
        found.append(((height - c) // 2, (width - c) // 2, c, c) if fits else None)
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
    weighted = 65481 * red + 128553 * green + 24966 * blue
    luma = (16 + (weighted + 127500) // 255000).astype(np.uint8)  # rounded, exactly
    grey709 = (2125 * red + 7154 * green + 721 * blue) / 10000
    blocks = _Blocks(*pixels.shape[:2])
    colours = blocks.sums(_squares(pixels)).sum(axis=2)
    opacity = 255**2 * blocks.areas() if alpha is None else blocks.sums(_squares(np.asarray(alpha)))
    sums = {
        "grey": blocks.sums(_squares(np.asarray(rgb.convert("L")))),
        "rgb": colours / 3,
        "luma": blocks.sums(_squares(luma)),
        "grey709": blocks.sums(grey709 * grey709),
        "rgba": (colours + opacity) / 4,
    }
    return np.array([blocks.crop_rms(sums[variant]) for variant in VARIANTS])


def measure_array(array: np.ndarray) -> np.ndarray:
    """As :func:`measure`, of what :func:`picture` takes."""
    return measure(picture(array))


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


class _Blocks:
    """The rectangles that the borders of all crops cut an image into."""

    def __init__(self, height: int, width: int):
        self.shape = (height, width)
        self.boxes = boxes(height, width)
        fits = [box for box in self.boxes if box is not None]
        self.rows = sorted({y for t, _, h, _ in fits for y in (t, t + h)} - {height})
        self.columns = sorted({x for _, left, _, w in fits for x in (left, left + w)} - {width})

    def sums(self, plane: np.ndarray) -> np.ndarray:
        """Sum of (H, W) or (H, W, C) over each rectangle; exact for integers."""
        exact = np.float64 if plane.dtype.kind == "f" else np.int64
        borders = zip(self.rows, [*self.rows[1:], self.shape[0]], strict=True)
        rows = np.stack([plane[a:b].sum(axis=0, dtype=exact) for a, b in borders])
        return np.add.reduceat(rows, self.columns, axis=1)

    def areas(self) -> np.ndarray:
        """Pixels in each rectangle."""
        height, width = self.shape
        return np.outer(np.diff([*self.rows, height]), np.diff([*self.columns, width]))

    def crop_rms(self, sums: np.ndarray) -> list[float]:
        """RMS in [0, 1] of each crop, from sums of squared 8-bit values; NaN if it does not fit."""
        rows, columns = np.array(self.rows), np.array(self.columns)
        result = []
        for box in self.boxes:
            if box is None:
                result.append(float("nan"))
                continue
            top, left, h, w = box
            inside_rows = (rows >= top) & (rows < top + h)
            inside_columns = (columns >= left) & (columns < left + w)
            total = sums[inside_rows][:, inside_columns].sum()
            result.append(float(np.sqrt(total / (h * w)) / 255))
        return result
