"""The restoration tasks: what a network is given, and what it must return.

A task turns labels (8-bit images) into pairs (input, label) for training and for testing, and
knows the baseline that a network must beat. Networks know nothing of it: they map the input
tensor to an image tensor of the label's shape.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from asyrepro import degradation
from asyrepro.degradation import BORDERS, check_choice, check_scale, check_sigma
from asyrepro.metrics import WINDOW
from asyrepro.system.errors import DataError

MODES = ("rgb", "grey", "luma")
NORMALIZATIONS = (None, "minmax")
NOISES = ("name", "kair")
KAIR_SETS = ("set12", "bsd68")  # on which denoisers are compared with published numbers
MARGIN = 2  # low-resolution pixels that bicubic upsampling looks beyond a patch's border


def to_float(images: Tensor) -> Tensor:
    """uint8 in [0, 255] -> float32 in [0, 1]."""
    return images.float() / 255


class Task:
    """What training and evaluation ask of a task.

    To write another one, give ``mode`` and ``baseline`` a value and say in :meth:`stored` how a
    label is degraded; see :class:`Jpeg`. What draws its degradation anew for each patch, as noise,
    overrides :meth:`inputs` and :meth:`test_pair`; see :class:`Denoising`.

    Attributes:
        mode: how images are read, one of "rgb", "grey" (ITU-R 601) and "luma" (MATLAB's
            rgb2ycbcr).
        scale: label pixels per pixel of the stored degraded image (1 for denoising).
        enlarged: whether the network takes the stored image bicubically upsampled to the label's
            size; else it takes it as it is.
        border: what that upsampling takes pixels beyond the image for, see
            :func:`asyrepro.degradation.reduce`.
        margin: pixels of the stored degraded image that ``inputs`` needs around a patch, to cut
            them off once it is upsampled.
        draws: whether ``inputs`` draws random numbers (noise).
        baseline: the name that the tables give to the degraded image itself.
        normalize: "minmax" for eq. (1): input and label of each training pair are stretched by the
            label's minimum and maximum, and the network is trained on these. Test images are not,
            as the paper's printed numbers show. None: pixels are grey values / 255.
        pairs: whether images come with their degraded image, as :class:`Pairs` has it.
    """

    mode: str
    scale: int = 1
    enlarged: bool = False
    border: str = "mirror"
    margin: int = 0
    draws: bool = False
    baseline: str
    normalize: str | None = None
    pairs: bool = False

    def reading(self) -> dict:
        """How a data set is read for this task, as arguments of data.catalogue's functions."""
        return {"mode": self.mode, "pairs": self.scale if self.pairs else None}

    def split(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """A decoded image -> its label, and what is stored beside it (see :meth:`stored`)."""
        label = self.label(image)
        return label, self.stored(label)

    def label(self, image: Tensor) -> Tensor:
        """The 8-bit label (C, H, W) that belongs to a decoded image."""
        return image

    def stored(self, label: Tensor) -> Tensor | None:
        """What is computed once per training image, 8 bits; None if it is the label itself."""
        return None

    def inputs(self, stored: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A batch of patches (N, C, h, w), float32 in [0, 1] -> the network's input."""
        if not self.margin:
            return self.prepared(stored)
        inputs = degradation.upsample(stored, self.scale, "renormalise")  # whose border is cut off
        margin = self.margin * self.scale
        return inputs[..., margin:-margin, margin:-margin]

    def training_pair(
        self, stored: Tensor, label: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Patches as stored and their labels (N, C, H, W), in [0, 1] -> (input, label)."""
        inputs = self.inputs(stored, generator)
        if self.normalize is None:
            return inputs, label
        lowest = label.amin(dim=(1, 2, 3), keepdim=True)
        span = (label.amax(dim=(1, 2, 3), keepdim=True) - lowest).clamp(min=1 / 255)  # if even
        return self._stretched(inputs, lowest, span), (label - lowest) / span

    def _stretched(self, inputs: Tensor, lowest: Tensor, span: Tensor) -> Tensor:
        """The network's input if grey values are counted from ``lowest``, in units of ``span``."""
        return (inputs - lowest) / span

    def test_pair(self, image: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """A decoded image (C, H, W) -> (input, label), float32, each with N = 1 in front."""
        check_size(self.label(image), name)
        label, stored = self.split(image)
        degraded = label if stored is None else stored
        return self.prepared(to_float(degraded)[None]), to_float(label)[None]

    def on(self, testset: str) -> Task:
        """The task as it is posed on a test set, which may have a protocol of its own."""
        return self

    def protocol(self, testset: str) -> str:
        """Which test noise an image of a test set has ("name", "kair"); "" where none is added."""
        return ""

    def prepared(self, degraded: Tensor) -> Tensor:
        """A batch as stored and degraded (N, C, h, w), float32 in [0, 1] -> the network's input."""
        return self.upsampled(degraded) if self.enlarged else degraded

    def degraded(self, inputs: Tensor) -> Tensor:
        """The baseline image (N, C, H, W): what a network that does nothing would return."""
        return inputs if self.enlarged else self.upsampled(inputs)

    def upsampled(self, images: Tensor) -> Tensor:
        """Images (N, C, h, w) bicubically upsampled to the label's size (N, C, H, W)."""
        if self.scale == 1:
            return images
        return degradation.upsample(images, self.scale, self.border)


class SuperResolution(Task):
    """Single-image super-resolution from a bicubically reduced, 8-bit image.

    Args:
        scale: 2, 3 or 4. The paper names none.
        mode: "luma" for SRCNN, "rgb" for EDSR.
        enlarged: True if the network takes the bicubically upsampled image (SRCNN), False if it
            takes the small one and upsamples it itself (EDSR).
        border: "mirror" as MATLAB's imresize and the published numbers have it; "renormalise" as
            runs made before this option existed, whose stored configurations do not name it.
        normalize: None or "minmax", see :class:`Task`.
    """

    baseline = "bicubic"

    def __init__(
        self,
        scale: int = 3,
        mode: str = "luma",
        enlarged: bool = True,
        border: str = "renormalise",
        normalize: str | None = None,
    ):
        self.scale = check_scale(scale)
        self.mode = check_choice("mode", mode, MODES)
        self.enlarged = enlarged
        self.border = check_choice("border", border, BORDERS)
        self.normalize = check_choice("normalize", normalize, NORMALIZATIONS)
        self.margin = MARGIN if enlarged else 0

    def label(self, image: Tensor) -> Tensor:
        return degradation.crop_to_multiple(image, self.scale)

    def stored(self, label: Tensor) -> Tensor:
        return degradation.downsample(label, self.scale, self.border)


class Denoising(Task):
    """Removal of additive white Gaussian noise. Colour denoising is ``mode="rgb"``.

    Args:
        sigma: standard deviation in 8-bit grey levels (25 in the paper's Tables 4 and 5, as its
            printed numbers show); or [lowest, highest], from which each training patch draws its
            own (blind denoising).
        mode: "grey" or "rgb".
        noise_map: True if the network is told the noise level: its input is then (N, 2, C, H, W),
            the image's C channels as spectral bands and a constant map of sigma/255 (GRUNet).
        noise: the test noise on Set12 and BSD68. "kair": as in the code that published numbers
            come from, see :func:`asyrepro.degradation.kair_noise`. "name": as on all other images,
            a function of the image's name; stored configurations that do not name it mean this.
        normalize: None or "minmax", see :class:`Task`.
        test_sigma: the noise level of test images; None: ``sigma``, or the middle of its range.
    """

    draws = True
    baseline = "noisy"

    def __init__(
        self,
        sigma: float | Sequence[float] = 25,
        mode: str = "grey",
        noise_map: bool = False,
        noise: str = "name",
        normalize: str | None = None,
        test_sigma: float | None = None,
    ):
        bounds = (sigma, sigma) if isinstance(sigma, int | float) else tuple(sigma)
        if len(bounds) != 2 or not check_sigma(bounds[0]) <= check_sigma(bounds[1]):
            raise ValueError(f"sigma is {sigma}; give one level in [0, 255], or [lowest, highest]")
        self.lowest, self.highest = map(float, bounds)
        if test_sigma is None:
            test_sigma = (self.lowest + self.highest) / 2
        self.sigma = check_sigma(test_sigma)
        self.mode = check_choice("mode", mode, MODES)
        self.noise_map = noise_map
        self.noise = check_choice("noise", noise, NOISES)
        self.normalize = check_choice("normalize", normalize, NORMALIZATIONS)
        self._test_noise = degradation.test_noise

    def protocol(self, testset: str) -> str:
        return "kair" if self.noise == "kair" and testset in KAIR_SETS else "name"

    def on(self, testset: str) -> Denoising:
        if self.protocol(testset) != "kair":
            return self
        posed = copy.copy(self)
        posed._test_noise = degradation.kair_noise
        return posed

    def inputs(self, stored: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if self.lowest == self.highest:
            noisy = degradation.add_noise(stored, self.lowest, generator)
            return self._with_map(noisy, self.lowest)
        size = (len(stored), 1, 1, 1)
        sigma = torch.rand(size, generator=generator, device=stored.device)
        sigma = self.lowest + (self.highest - self.lowest) * sigma
        return self._with_map(degradation.add_noise(stored, sigma, generator), sigma)

    def test_pair(self, image: Tensor, name: str) -> tuple[Tensor, Tensor]:
        label = to_float(check_size(image, name))[None]
        noise = self._test_noise(name, self.sigma, tuple(label.shape))
        return self.prepared((label + noise).float()), label

    def prepared(self, degraded: Tensor) -> Tensor:
        return self._with_map(degraded, self.sigma)

    def degraded(self, inputs: Tensor) -> Tensor:
        return inputs[:, 0] if self.noise_map else inputs

    def _with_map(self, noisy: Tensor, sigma: float | Tensor) -> Tensor:
        if not self.noise_map:
            return noisy
        return torch.stack([noisy, torch.zeros_like(noisy) + sigma / 255], dim=1)

    def _stretched(self, inputs: Tensor, lowest: Tensor, span: Tensor) -> Tensor:
        if not self.noise_map:
            return super()._stretched(inputs, lowest, span)
        image, level = inputs.unbind(1)
        return torch.stack([(image - lowest) / span, level / span], dim=1)


class Deblurring(Task):
    """Removal of a known blur, the same on every image; 8-bit input, no noise.

    Args:
        kernel: "gaussian" or "motion" (a straight line).
        size: standard deviation of the Gaussian, or length of the line, in pixels.
        angle: of the line, in degrees, anticlockwise from the horizontal.
        mode: "grey", "rgb" or "luma".
    """

    baseline = "blurred"

    def __init__(
        self, kernel: str = "gaussian", size: float = 1.6, angle: float = 0, mode: str = "grey"
    ):
        check_choice("kernel", kernel, ("gaussian", "motion"))
        if not 0 < size <= 50:
            raise ValueError(f"size is {size}; it must be above 0 and at most 50 pixels")
        line = kernel == "motion"
        self.kernel = (
            degradation.motion_kernel(size, angle) if line else degradation.gaussian_kernel(size)
        )
        self.mode = check_choice("mode", mode, MODES)

    def stored(self, label: Tensor) -> Tensor:
        return degradation.blur(label, self.kernel)


class Jpeg(Task):
    """Removal of JPEG's artefacts: a model for a task of your own.

    All that it says is what the degraded image is called and how it is made. A class like this one
    in a file of yours is chosen by ``task._target_=file.Class`` or by a file in ``configs/task``.

    Args:
        quality: of libjpeg, 1 to 100.
        mode: "grey", "rgb" or "luma"; "rgb" is compressed with half the resolution of colour.
    """

    baseline = "jpeg"

    def __init__(self, quality: int = 20, mode: str = "grey"):
        if not isinstance(quality, int) or not 1 <= quality <= 100:
            raise ValueError(f"quality is {quality}; it must be a whole number from 1 to 100")
        self.quality = quality
        self.mode = check_choice("mode", mode, MODES)

    def stored(self, label: Tensor) -> Tensor:
        return degradation.jpeg(label, self.quality)


class Pairs(Task):
    """Pairs of a clean and a degraded image, as a camera or a scanner makes them.

    Nothing is degraded here. A decoded image is (2C, H, W): the label, and below it the degraded
    image, each of whose pixels is repeated ``scale`` x ``scale`` times.

    Args:
        scale: label pixels per pixel of the degraded image, a side.
        mode: "grey", "rgb" or "luma".
        enlarged: True if the network takes the degraded image bicubically upsampled to the label's
            size, False if it upsamples it itself; with ``scale=1`` it makes no difference.
    """

    pairs = True
    baseline = "degraded"

    def __init__(self, scale: int = 1, mode: str = "grey", enlarged: bool = False):
        self.scale = 1 if scale == 1 else check_scale(scale)
        self.mode = check_choice("mode", mode, MODES)
        self.enlarged = enlarged and scale > 1
        self.margin = MARGIN if self.enlarged else 0

    def label(self, image: Tensor) -> Tensor:
        return image[: len(image) // 2]

    def split(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return self.label(image), image[len(image) // 2 :, :: self.scale, :: self.scale]


def check_size(label: Tensor, name: str) -> Tensor:
    """Return a test label (C, H, W); raise DataError if it is too small to be measured."""
    height, width = label.shape[-2:]
    if min(height, width) < WINDOW:
        raise DataError(
            f"the test image {name!r} gives a label of {height} x {width} pixels; it must have "
            f"{WINDOW} x {WINDOW} at least, the window of SSIM: use a larger one"
        )
    return label
