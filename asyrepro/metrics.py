"""Image quality of one whole image: PSNR, SSIM, RMSE, NRMSE, and the literature's luma variants.

The tables' metrics (:func:`psnr`, :func:`ssim`, :func:`rmse`, :func:`nrmse`) are scikit-image's
with ``data_range=1`` and otherwise its defaults, on the network's own channels, without clipping,
rounding or border cut. What the paper's tables call RMSE is not its eq. (9) but NRMSE, the RMSE
divided by the reference's root mean square: compare ``nrmse`` with that column, not ``rmse``.

:func:`literature` is what super-resolution papers report on Set5 and Set14, as MATLAB computes it;
:mod:`asyrepro.conventions` has the other ways in which papers count.

Images are NumPy arrays or torch tensors, (H, W) or (C, H, W), floating point in [0, 1]; the
arithmetic is float64. Errors shared by all functions here:

- TypeError: an image is not floating point.
- ValueError: shapes differ or are not (H, W) or (C, H, W), values are NaN or infinite, the
  reference is not an image in [0, 1], or an image is smaller than SSIM's window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, Union

import numpy as np

if TYPE_CHECKING:
    import torch  # not to load it where only files are compared

Image = Union[np.ndarray, "torch.Tensor"]
Same = TypeVar("Same", np.ndarray, "torch.Tensor")

WINDOW = 7  # scikit-image's default SSIM window, uniform
LITERATURE_WINDOW = 11  # Gaussian, sigma 1.5 (Wang et al., 2004)
# scikit-image's radius is int(3.5 * 1.5 + 0.5) = 5 px: 11 x 11
GAUSSIAN: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
HAAR_WINDOW = 16  # the largest of HaarPSI's wavelets
LOWEST, HIGHEST = -0.125, 1.125  # bicubic resampling leaves [0, 1] by no more along one axis
LUMA = (65.481, 128.553, 24.966)  # MATLAB's rgb2ycbcr, first row
LUMA_OFFSET = 16
GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601, of RGB in [0, 1]: the grey value that losses weigh by


@dataclass(frozen=True)
class Metric:
    """How a metric is called, printed and read.

    Attributes:
        name: its column in tables.
        title: in figures and text, without unit.
        unit: "dB", or "" where it has none.
        decimals: printed.
        larger_is_better: else smaller is.
    """

    name: str
    title: str
    unit: str
    decimals: int
    larger_is_better: bool = True

    @property
    def direction(self) -> int:
        """+1 if larger is better, -1 if smaller is."""
        return 1 if self.larger_is_better else -1

    @property
    def label(self) -> str:
        """Title and unit, as on an axis."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


METRICS = {
    metric.name: metric
    for metric in (
        Metric("psnr", "PSNR", "dB", 3),
        Metric("ssim", "SSIM", "", 5),
        Metric("rmse", "RMSE", "", 5, larger_is_better=False),
        Metric("nrmse", "NRMSE", "", 5, larger_is_better=False),  # printed as RMSE by the paper
        Metric("psnr_y", "PSNR of luma", "dB", 3),
        Metric("ssim_y", "SSIM of luma", "", 5),
        Metric("haarpsi", "HaarPSI", "", 5),
    )
}
PRINTED = ("psnr", "ssim", "nrmse")  # in the paper's tables
FURTHER = ("haarpsi",)  # measured where ``metrics=`` asks for them


def psnr(reference: Image, output: Image) -> float:
    """Peak signal-to-noise ratio in dB with MAX = 1, eq. (6). Identical images give inf."""
    return _psnr(_squared_error(*checked(reference, output)))


def ssim(reference: Image, output: Image) -> float:
    """Structural similarity, eq. (7)-(8): 7 x 7 uniform window, mean over the channels."""
    return _similarity(*checked(reference, output), WINDOW)


def gaussian_ssim(reference: Image, output: Image) -> float:
    """SSIM as Wang et al. (IEEE TIP 13(4), 2004) and with them nearly all papers compute it.

    Gaussian window of 11 x 11 px, sigma 1.5, population covariance, averaged over the windows that
    lie wholly inside the image, then over the channels. MATLAB's own ``ssim()`` also counts the
    5 px along the edges, where it repeats the outermost pixels.
    """
    return _similarity(*checked(reference, output), LITERATURE_WINDOW, **GAUSSIAN)


def rmse(reference: Image, output: Image) -> float:
    """Root mean square error, eq. (9)."""
    return float(np.sqrt(_squared_error(*checked(reference, output))))


def nrmse(reference: Image, output: Image) -> float:
    """RMSE divided by the reference's root mean square: the column "RMSE" of the paper's tables.

    Undefined for an all-black reference: returns NaN.
    """
    reference, output = checked(reference, output)
    return _nrmse(_squared_error(reference, output), reference)


def haarpsi(reference: Image, output: Image) -> float:
    """Haar wavelet-based perceptual similarity, 1 for identical images.

    Reisenhofer et al., Signal Processing: Image Communication 61, 2018, by piq with the authors'
    constants. The images are clipped to [0, 1].

    Raises:
        ValueError: also if the images have neither one nor three channels, or a side below 16 px.
    """
    from piq import haarpsi as measured  # not to load torch where only files are compared
    from torch import from_numpy

    first, second = (
        from_numpy(image.clip(0, 1)).reshape(1, -1, *image.shape[-2:])
        for image in checked(reference, output)
    )
    if first.shape[1] not in (1, 3):
        raise ValueError(f"HaarPSI needs an image of 1 or 3 channels, not {first.shape[1]}")
    if min(first.shape[-2:]) < HAAR_WINDOW:
        raise ValueError(f"HaarPSI needs images of {HAAR_WINDOW} x {HAAR_WINDOW} px at least")
    return float(measured(first, second))


def all_metrics(reference: Image, output: Image) -> dict[str, float]:
    """The four metrics of a table's row: psnr, ssim, rmse and nrmse."""
    reference, output = checked(reference, output)  # once, and the error once: images are large
    error = _squared_error(reference, output)
    return {
        "psnr": _psnr(error),
        "ssim": _similarity(reference, output, WINDOW),
        "rmse": float(np.sqrt(error)),
        "nrmse": _nrmse(error, reference),
    }


def rgb_to_luma(rgb: Same) -> Same:
    """ITU-R BT.601 luma of RGB in [0, 1], as MATLAB's rgb2ycbcr: from 16/255 to 235/255.

    (..., 3, H, W) becomes (..., 1, H, W), of the same kind and type, not rounded.
    """
    floating = rgb.dtype.kind == "f" if isinstance(rgb, np.ndarray) else rgb.is_floating_point()
    if not floating:
        raise TypeError(f"luma needs RGB in [0, 1], not {rgb.dtype}: divide 8-bit images by 255")
    if rgb.ndim < 3 or rgb.shape[-3] != 3:
        raise ValueError(f"luma needs RGB images (..., 3, H, W), not shape {tuple(rgb.shape)}")
    red, green, blue = (rgb[..., channel : channel + 1, :, :] for channel in range(3))
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue + LUMA_OFFSET) / 255


def literature(reference: Image, output: Image, border: int) -> dict[str, float]:
    """PSNR and SSIM of 8-bit luma in [16, 235], as published for Set5 and Set14.

    Both images are clipped to [0, 1] and rounded to 8 bits. RGB is then converted to luma and
    rounded again; an image of one channel is taken to be that luma already. (Set14's bridge is
    one of RGB here, as the program makes R = G = B of a grey file; papers take it as it is:
    :func:`asyrepro.analysis.summary.published_psnr`.) ``border`` pixels,
    usually the scale, are cut on each side. SSIM has a Gaussian window of 11 x 11 px, sigma 1.5,
    population covariance, and averages over windows that lie wholly inside the image.

    Returns:
        ``{"psnr_y": dB, "ssim_y": ...}``

    Raises:
        ValueError: also if the border is negative or leaves less than 11 x 11 px, or the images
            have neither one nor three channels.
    """
    reference, output = (_luma_8bit(image) for image in checked(reference, output))
    if border < 0:
        raise ValueError(f"border is {border} px, but must not be negative")
    height, width = (side - 2 * border for side in reference.shape)
    if min(height, width) < LITERATURE_WINDOW:
        raise ValueError(
            f"without its border of {border} px the image is {max(height, 0)} x {max(width, 0)} "
            f"px, smaller than SSIM's window of {LITERATURE_WINDOW} x {LITERATURE_WINDOW}: use a "
            "larger image or a smaller border"
        )
    inside = (slice(border, border + height), slice(border, border + width))
    reference, output = reference[inside], output[inside]
    return {
        "psnr_y": _psnr(_squared_error(reference, output)),
        "ssim_y": _similarity(reference, output, LITERATURE_WINDOW, **GAUSSIAN),
    }


def round_8bit(image: np.ndarray) -> np.ndarray:
    """To the nearest of 0/255 ... 255/255, halves up as in MATLAB's uint8; clips to [0, 1]."""
    return np.floor(np.clip(image, 0, 1) * 255 + 0.5) / 255


def _squared_error(reference: np.ndarray, output: np.ndarray) -> np.float64:
    return np.mean((reference - output) ** 2)


def _psnr(error: np.float64) -> float:
    with np.errstate(divide="ignore"):  # identical images: 1 / 0 = inf
        return float(10 * np.log10(1 / error))


def _nrmse(error: np.float64, reference: np.ndarray) -> float:
    return float(np.sqrt(error) / np.sqrt(np.mean(reference**2))) if reference.any() else math.nan


def _similarity(reference: np.ndarray, output: np.ndarray, window: int, **options) -> float:
    """scikit-image's SSIM with a window of this side, the mean over the channels."""
    height, width = reference.shape[-2:]
    if min(height, width) < window:
        raise ValueError(
            f"the images are {height} x {width} px, smaller than SSIM's window of {window} x "
            f"{window}: use larger images, or psnr, rmse and nrmse alone"
        )
    from skimage.metrics import structural_similarity  # slow to load, and a report can spare it

    channels = 0 if reference.ndim == 3 else None
    return float(
        structural_similarity(reference, output, data_range=1, channel_axis=channels, **options)
    )


def checked(reference: Image, output: Image) -> tuple[np.ndarray, np.ndarray]:
    """Both images as float64 arrays; raises the errors that all metrics share."""
    reference, output = _array("reference", reference), _array("output", output)
    if reference.shape != output.shape:
        raise ValueError(
            f"reference {reference.shape} and output {output.shape} differ in shape: crop or "
            "resize one of them"
        )
    lowest, highest = reference.min(), reference.max()
    if lowest < LOWEST or highest > HIGHEST:
        raise ValueError(
            f"reference has values from {lowest:.4g} to {highest:.4g}, but must lie in [0, 1]: add "
            "a mean that was subtracted, turn [-1, 1] into [0, 1], or divide 8-bit images by 255"
        )
    return reference, output


def _array(name: str, image: Image) -> np.ndarray:
    if hasattr(image, "detach"):  # a tensor
        image = image.detach().cpu()
        image = image.double().numpy() if image.is_floating_point() else image.numpy()
    image = np.asarray(image)
    if not np.issubdtype(image.dtype, np.floating):
        raise TypeError(
            f"{name} has type {image.dtype}, but must be floating point with values in [0, 1]: "
            "divide 8-bit images by 255"
        )
    if image.ndim not in (2, 3) or image.size == 0:
        raise ValueError(
            f"{name} has shape {image.shape}, but must be one image (H, W) or (C, H, W): pass the "
            "images of a batch one by one"
        )
    if not np.isfinite(image).all():
        raise ValueError(
            f"{name} holds NaN or infinite values: it cannot be scored; if it is a network's "
            "output, its training has diverged"
        )
    return image.astype(np.float64)


def _luma_8bit(image: np.ndarray) -> np.ndarray:
    """8-bit luma in [16, 235] / 255, (H, W), of an RGB image or one that is luma already."""
    if image.ndim == 2:
        image = image[None]
    if len(image) not in (1, 3):
        raise ValueError(f"luma needs an image of 1 or 3 channels, not {len(image)}")
    image = round_8bit(image)
    if len(image) == 3:
        image = round_8bit(rgb_to_luma(image))
    return image[0]
