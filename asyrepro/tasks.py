"""The two restoration tasks: what a network is given, and what it must return.

A task turns labels (8-bit images) into pairs (input, label) for training and for testing, and
knows the baseline that a network must beat. Networks know nothing of it: they map the input
tensor to an image tensor of the label's shape.
"""

from __future__ import annotations

import torch
from torch import Tensor

from asyrepro import degradation
from asyrepro.degradation import check_border, check_scale, check_sigma
from asyrepro.metrics import WINDOW
from asyrepro.system.errors import DataError

MODES = ("rgb", "grey", "luma")
MARGIN = 2  # low-resolution pixels that bicubic enlargement looks beyond a patch's border


def to_float(images: Tensor) -> Tensor:
    """uint8 in [0, 255] -> float32 in [0, 1]."""
    return images.float() / 255


class Task:
    """What training and evaluation ask of a task.

    Attributes:
        mode: how images are read, one of "rgb", "grey" (ITU-R 601) and "luma" (MATLAB's
            rgb2ycbcr).
        scale: label pixels per pixel of the stored degraded image (1 for denoising).
        margin: pixels of the stored degraded image that ``inputs`` needs around a patch.
        draws: whether ``inputs`` draws random numbers (noise).
        baseline: the name that the tables give to the degraded image itself.
    """

    mode: str
    scale: int = 1
    margin: int = 0
    draws: bool = False
    baseline: str

    def label(self, image: Tensor) -> Tensor:
        """The 8-bit label (C, H, W) that belongs to a decoded image."""
        return image

    def stored(self, label: Tensor) -> Tensor | None:
        """What is computed once per training image, 8 bits; None if it is the label itself."""
        return None

    def inputs(self, stored: Tensor, generator: torch.Generator | None) -> Tensor:
        """A batch of patches (N, C, h, w), float32 in [0, 1] -> the network's input."""
        raise NotImplementedError

    def test_pair(self, image: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """A decoded image (C, H, W) -> (input, label), float32, each with N = 1 in front."""
        raise NotImplementedError

    def prepared(self, degraded: Tensor) -> Tensor:
        """A batch as stored and degraded (N, C, h, w), float32 in [0, 1] -> the network's input."""
        raise NotImplementedError

    def degraded(self, inputs: Tensor) -> Tensor:
        """The baseline image (N, C, H, W): what a network that does nothing would return."""
        raise NotImplementedError


class SuperResolution(Task):
    """Single-image super-resolution from a bicubically reduced, 8-bit image.

    Args:
        scale: 2, 3 or 4. The paper names none.
        mode: "luma" for SRCNN, "rgb" for EDSR.
        enlarged: True if the network takes the bicubically enlarged image (SRCNN), False if it
            takes the small one and enlarges it itself (EDSR).
        border: "mirror" as MATLAB's imresize and the published numbers have it; "renormalise" as
            runs made before this option existed, whose stored configurations do not name it.
    """

    baseline = "bicubic"

    def __init__(
        self,
        scale: int = 3,
        mode: str = "luma",
        enlarged: bool = True,
        border: str = "renormalise",
    ):
        self.scale = check_scale(scale)
        self.mode = check_mode(mode)
        self.enlarged = enlarged
        self.border = check_border(border)
        self.margin = MARGIN if enlarged else 0

    def label(self, image: Tensor) -> Tensor:
        return degradation.crop_to_multiple(image, self.scale)

    def stored(self, label: Tensor) -> Tensor:
        return degradation.downsample(label, self.scale, self.border)

    def inputs(self, stored: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if not self.enlarged:
            return stored
        inputs = degradation.enlarge(stored, self.scale, "renormalise")  # whose border is cut off
        margin = self.margin * self.scale
        return inputs[..., margin:-margin, margin:-margin]

    def test_pair(self, image: Tensor, name: str) -> tuple[Tensor, Tensor]:
        label = check_size(self.label(image), name)
        return self.prepared(to_float(self.stored(label))[None]), to_float(label)[None]

    def prepared(self, degraded: Tensor) -> Tensor:
        return self._bicubic(degraded) if self.enlarged else degraded

    def degraded(self, inputs: Tensor) -> Tensor:
        return inputs if self.enlarged else self._bicubic(inputs)

    def _bicubic(self, small: Tensor) -> Tensor:
        return degradation.enlarge(small, self.scale, self.border)


class Denoising(Task):
    """Removal of additive white Gaussian noise of known level.

    Args:
        sigma: standard deviation in 8-bit grey levels (25 in the paper's Tables 4 and 5, as its
            printed numbers show).
        mode: "grey" or "rgb".
        noise_map: True if the network is told the noise level: its input is then (N, 2, C, H, W),
            the image's C channels as spectral bands and a constant map of sigma/255 (GRUNet).
    """

    draws = True
    baseline = "noisy"

    def __init__(self, sigma: float = 25, mode: str = "grey", noise_map: bool = False):
        self.sigma = check_sigma(sigma)
        self.mode = check_mode(mode)
        self.noise_map = noise_map

    def inputs(self, stored: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self.prepared(degradation.add_noise(stored, self.sigma, generator))

    def test_pair(self, image: Tensor, name: str) -> tuple[Tensor, Tensor]:
        label = to_float(check_size(image, name))[None]
        noise = degradation.test_noise(name, self.sigma, tuple(label.shape))
        return self.prepared(label + noise), label

    def prepared(self, degraded: Tensor) -> Tensor:
        if not self.noise_map:
            return degraded
        return torch.stack([degraded, torch.full_like(degraded, self.sigma / 255)], dim=1)

    def degraded(self, inputs: Tensor) -> Tensor:
        return inputs[:, 0] if self.noise_map else inputs


def check_size(label: Tensor, name: str) -> Tensor:
    """Return a test label (C, H, W); raise DataError if it is too small to be measured."""
    height, width = label.shape[-2:]
    if min(height, width) < WINDOW:
        raise DataError(
            f"the test image {name!r} gives a label of {height} x {width} pixels; it must have "
            f"{WINDOW} x {WINDOW} at least, the window of SSIM: use a larger one"
        )
    return label


def check_mode(mode: str) -> str:
    """Return ``mode`` if images can be read so; raise ValueError otherwise."""
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; it must be one of {', '.join(MODES)}")
    return mode
