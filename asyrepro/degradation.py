"""How a high-quality image (the label) is degraded into a network's input.

Bicubic resampling uses the kernel with a = -0.5 and antialiasing in both directions, as MATLAB's
``imresize`` does: on Set5 and Set14 the PSNR of enlarged images agrees with MATLAB's to 0.002 dB.
PyTorch's default for enlarging (a = -0.75) differs by 0.2-0.3 dB and is comparable with no
published number.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor
from torch.nn import functional as F

SCALES = (2, 3, 4)


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


def bicubic(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample (N, C, H, W) float images to ``size`` = (height, width); values may overshoot."""
    return F.interpolate(images, size=size, mode="bicubic", antialias=True, align_corners=False)


def crop_to_multiple(image: Tensor, scale: int) -> Tensor:
    """Cut rows and columns at the bottom and right until both sides are multiples of ``scale``."""
    height, width = image.shape[-2:]
    return image[..., : height - height % scale, : width - width % scale]


def downsample(image: Tensor, scale: int) -> Tensor:
    """Bicubic 1/scale reduction of an 8-bit image, rounded to 8 bits again.

    Shape (C, H, W), uint8, H and W multiples of ``scale`` -> (C, H/scale, W/scale), uint8.
    """
    height, width = image.shape[-2:]
    small = bicubic(image[None].float(), (height // scale, width // scale))[0]
    return small.round().clamp(0, 255).to(torch.uint8)


def enlarge(images: Tensor, scale: int) -> Tensor:
    """Bicubic enlargement of (N, C, h, w) float images to (N, C, scale*h, scale*w)."""
    height, width = images.shape[-2:]
    return bicubic(images, (height * scale, width * scale))


def add_noise(images: Tensor, sigma: float, generator: torch.Generator | None = None) -> Tensor:
    """Add white Gaussian noise of standard deviation sigma/255; neither clipped nor rounded."""
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


test_noise.__test__ = False  # a function of the library, not a test, whatever pytest thinks
