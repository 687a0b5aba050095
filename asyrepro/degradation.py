"""How a high-quality image (the label) is degraded into a network's input.

Bicubic resampling is that of MATLAB's ``imresize``: the kernel with a = -0.5, antialiasing, and the
image continued by its mirror image. PyTorch's default for upsampling (a = -0.75) differs by
0.2-0.3 dB and is comparable with no published number.
"""

from __future__ import annotations

import hashlib
import io
import math
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

SCALES = (2, 3, 4)
BORDERS = ("mirror", "renormalise")  # what bicubic resampling takes pixels beyond the image for
Choice = TypeVar("Choice", bound="str | None")


def check_scale(scale: int) -> int:
    """Return ``scale`` if it is one of 2, 3, 4; raise ValueError otherwise."""
    if not isinstance(scale, int) or scale not in SCALES:
        raise ValueError(f"scale is {scale}; it must be one of {', '.join(map(str, SCALES))}")
    return scale


def check_sigma(sigma: float) -> float:
    """Return a noise level in 8-bit grey levels if it lies in [0, 255]; ValueError otherwise."""
    if not isinstance(sigma, int | float) or not 0 <= sigma <= 255:  # also refuses NaN
        raise ValueError(
            f"sigma is {sigma}; it must lie in [0, 255], as it is given in 8-bit grey levels"
        )
    return float(sigma)


def check_choice(option: str, value: Choice, choices: tuple[Choice, ...]) -> Choice:
    """Return an option's value if it is one of its choices; raise ValueError otherwise."""
    if value not in choices:
        raise ValueError(f"{option} is {value!r}; it must be one of {', '.join(map(str, choices))}")
    return value


def bicubic(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (N, C, H, W) float images to ``size`` = (height, width); values may overshoot.

    Beyond the image there is nothing: the kernel's weights inside are scaled to a sum of 1.
    """
    return F.interpolate(images, size=size, mode="bicubic", antialias=True, align_corners=False)


def crop_to_multiple(image: Tensor, scale: int) -> Tensor:
    """Cut rows and columns at the bottom and right until both sides are multiples of ``scale``."""
    height, width = image.shape[-2:]
    return image[..., : height - height % scale, : width - width % scale]


def reduce(images: Tensor, scale: int, border: str = "mirror") -> Tensor:
    """Bicubic reduction of (N, C, H, W) float images to (N, C, H/scale, W/scale).

    H and W are multiples of ``scale``. ``border`` is what the outermost 2 pixels of the result
    depend on: "mirror" as MATLAB's imresize, or "renormalise", see :func:`bicubic`.
    """
    height, width = images.shape[-2:]
    return _resize(images, (height // scale, width // scale), 2 * scale, border)


def downsample(image: Tensor, scale: int, border: str = "mirror") -> Tensor:
    """:func:`reduce` for an 8-bit image, rounded to 8 bits again.

    Shape (C, H, W), uint8, H and W multiples of ``scale`` -> (C, H/scale, W/scale), uint8.
    """
    small = reduce(image[None].float(), scale, border)[0]
    return small.round().clamp(0, 255).to(torch.uint8)


def upsample(images: Tensor, scale: int, border: str = "mirror") -> Tensor:
    """Bicubic upsampling of (N, C, h, w) float images to (N, C, scale*h, scale*w).

    ``border`` as in :func:`reduce`; the outermost 3/2 ``scale`` pixels depend on it.
    """
    height, width = images.shape[-2:]
    return _resize(images, (height * scale, width * scale), 2, border)


def _resize(images: Tensor, size: tuple[int, int], reach: int, border: str) -> Tensor:
    """:func:`bicubic` of the image itself, or of the image and ``reach`` mirrored pixels around it.

    ``reach`` is as far as the kernel sees, and a whole number of pixels of the result.
    """
    if check_choice("border", border, BORDERS) == "renormalise":
        return bicubic(images, size)
    height, (rows, columns) = images.shape[-2], size
    for axis in (-2, -1):
        images = _mirrored(images, axis, reach)
    cut = reach * rows // height
    wide = bicubic(images, (rows + 2 * cut, columns + 2 * cut))
    return wide[..., cut : cut + rows, cut : cut + columns]


def _mirrored(images: Tensor, axis: int, pixels: int) -> Tensor:
    """Continued on both ends of an axis by the mirror image, its outermost line repeated."""
    length = images.shape[axis]
    index = torch.arange(-pixels, length + pixels, device=images.device) % (2 * length)
    return images.index_select(axis, torch.minimum(index, 2 * length - 1 - index))


def add_noise(
    images: Tensor, sigma: float | Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Add white Gaussian noise of standard deviation sigma/255; neither clipped nor rounded.

    ``sigma`` is a number or, for (N, C, H, W) images, a tensor (N, 1, 1, 1).
    """
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return images + noise * (sigma / 255)


def test_noise(name: str, sigma: float, shape: tuple[int, ...]) -> Tensor:
    """The test noise of one image: a function of the image's name, sigma and shape only.

    Every network, loss and seed therefore sees the same noisy image. Drawn on the CPU, so that
    it is the same on every device. Returns float32 of ``shape`` with standard deviation sigma/255.
    """
    digest = hashlib.sha256(f"{name}|{float(sigma)}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.randn(shape, generator=generator) * (sigma / 255)


def kair_noise(name: str, sigma: float, shape: tuple[int, ...]) -> Tensor:
    """The test noise of KAIR, whose DnCNN scores the published 30.44 dB on Set12 at sigma 25.

    ``np.random.seed(0)`` before each image, then ``np.random.normal(0, sigma / 255, (H, W, C))``:
    main_test_dncnn.py and data/dataset_dncnn.py (cszn/KAIR). The image's name plays no part.
    Returns float64 of ``shape`` = (..., C, H, W).
    """
    *first, channels, height, width = shape
    random = np.random.RandomState(0)
    noise = random.normal(0, sigma / 255, (*first, height, width, channels))
    return torch.from_numpy(noise).movedim(-1, -3)


def gaussian_kernel(sigma: float) -> Tensor:
    """A Gaussian blur of standard deviation ``sigma`` pixels, cut at 4 sigma: (k, k), sum 1."""
    reach = math.ceil(4 * sigma)
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = torch.outer(line, line)
    return kernel / kernel.sum()


def motion_kernel(length: float, angle: float = 0) -> Tensor:
    """A straight motion by ``length`` pixels, ``angle`` degrees from the horizontal: (k, k), sum 1.

    Points on the line, ten a pixel, are shared among the four pixels around each.
    """
    reach = math.ceil(length / 2)
    along = torch.linspace(-1, 1, 10 * math.ceil(length) + 1, dtype=torch.float64) * (length / 2)
    turn = math.radians(angle)
    kernel = torch.zeros(2 * reach + 3, 2 * reach + 3, dtype=torch.float64)
    row, column = reach + 1 - along * math.sin(turn), reach + 1 + along * math.cos(turn)
    top, left = row.floor(), column.floor()
    for down in (0, 1):
        for right in (0, 1):
            share = (1 - (row - top - down).abs()) * (1 - (column - left - right).abs())
            where = (top.long() + down, left.long() + right)
            kernel.index_put_(where, share, accumulate=True)
    return (kernel / kernel.sum()).float()


def blur(image: Tensor, kernel: Tensor) -> Tensor:
    """Convolve an 8-bit image (C, H, W), continued by its mirror image; rounded to 8 bits."""
    planes, reach = image[:, None].float(), len(kernel) // 2
    for axis in (-2, -1):
        planes = _mirrored(planes, axis, reach)
    blurred = F.conv2d(planes, kernel.flip(0, 1)[None, None])[:, 0]
    return blurred.round().clamp(0, 255).to(torch.uint8)


def jpeg(image: Tensor, quality: int) -> Tensor:
    """An 8-bit image (1 or 3, H, W) compressed to JPEG and decoded again."""
    file, planes = io.BytesIO(), image.movedim(0, -1).numpy()
    Image.fromarray(planes[..., 0] if len(image) == 1 else planes).save(
        file, "JPEG", quality=quality
    )
    decoded = torch.from_numpy(np.array(Image.open(file)))
    return decoded[None] if len(image) == 1 else decoded.movedim(-1, 0)


test_noise.__test__ = False  # type: ignore[attr-defined] # not a test, whatever pytest thinks
