"""The asymmetric loss: a per-pixel weight from the label's grey value, times MAE or MSE.

Source: section 2 of "Asymmetric Loss Based on Image Properties for Deep Learning-Based Image
Restoration", eq. (1)-(5) and Table 1. This file needs nothing but torch and can be copied alone::

    criterion = AsymmetricLoss(base="mae")
    loss = criterion(output, label)          # both (N, C, H, W), label in [0, 1]

The paper leaves several points open. The defaults are the equations; other readings are options:

- *equation or pseudo-code* (``variant``). Eq. (5) multiplies the per-pixel loss by the mask once.
  Table 1 computes the mask from ``Q1 / (label + 1e-10)`` and multiplies output and label by it
  before the criterion, so that MSE receives the mask squared.
- *which quartile* (``quartile``). Table 1: "the smaller quartile, which is equal to the 25th
  percentile ... in descending order": 0.25 counts from the darkest pixel, 0.75 from the brightest.
- *TH() of Table 1* (``squash``), "a function to judge and process according to the value of
  weight_mask". "tanh" is eq. (2)'s remedy for large reciprocals; "threshold" sets what is above 1,
  the pixels darker than the quartile, to 1.
- *one mask for three channels* (``grey``). The paper's mask is H x W x 1 for an H x W x 3 image.
- *the direction* (``invert``). Smaller grey value, larger weight, by eq. (2) and most of the text;
  one sentence of section 2 says the opposite.

Eq. (1), min-max normalisation, stretches the network's input and the label: it belongs to the task
(:mod:`asyrepro.tasks`). ``mask_minmax`` stretches the label for the mask only.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BASES = ("mae", "mse")
REDUCTIONS = ("none", "mean", "sum")
VARIANTS = ("equation", "table1")
QUARTILES = (0.25, 0.75)
SQUASHES = ("tanh", "threshold")

EPSILON = 1e-10  # eq. (2) and Table 1, line 1
GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601
LOWEST, HIGHEST = -0.125, 1.125  # bicubic resampling leaves [0, 1] by no more along one axis


def asymmetric_weight(
    label: Tensor,
    *,
    variant: str = "equation",
    grey: bool = True,
    mask_minmax: bool = False,
    invert: bool = False,
    normalize: bool = False,
    shuffle: bool = False,
    quartile: float = 0.25,
    squash: str = "tanh",
    validate: bool = True,
) -> Tensor:
    """Weight mask of a batch of label images: ``M = 0.5 tanh(1 / (I + 1e-10)) + 0.5``, eq. (2).

    I is the label's grey value, clipped to [0, 1]. M falls from 1 (black) to 0.8808 (white).

    Args:
        label: high-quality images (N, C, H, W) in [0, 1], floating point. C = 3 is RGB.
        variant: "equation" for eq. (2); "table1" for ``0.5 tanh(Q / (I + 1e-10)) + 0.5`` with Q a
            quartile of the image's own grey values (Table 1, lines 1-2).
        grey: one mask for all channels, from the luma of ITU-R BT.601 (C = 3) or the mean of the
            channels (any other C, such as spectral bands). If False, one mask per channel.
        mask_minmax: for the mask, stretch each image (all its channels together) to [0, 1] first.
            An image of a single value becomes 0.
        invert: the mask of 1 - I, so that brighter pixels weigh more.
        normalize: control; rescale each image's mask to a mean of 1.
        shuffle: control; permute each image's mask over its pixels (the same permutation for all
            channels), drawn from torch's global generator of the label's device.
        quartile: 0.25 or 0.75, for "table1" only: the quantile of the image's grey values, in
            ascending order and linearly interpolated, that is Q.
        squash: Table 1's TH(): "tanh", or "threshold", ``min(Q / (I + 1e-10), 1)``, for "table1"
            only. Where Q is 0, as where a quarter of an image is black, the one makes all its
            weights 0.5, the other 0.
        validate: check the label's values. On a GPU this makes the host wait for the result. They
            cannot be checked under ``torch.compile``, ``torch.vmap`` and on the meta device.

    Returns:
        Mask (N, 1, H, W), or (N, C, H, W) if ``grey`` is False; float64 for a float64 label, else
        float32. It carries no gradient and does not depend on autocast.

    Raises:
        TypeError: the label is not a floating-point tensor.
        ValueError: the label is not a non-empty (N, C, H, W), holds NaN or values further outside
            [0, 1] than rounding and bicubic resampling lead, or an option has an unknown value.
    """
    _check_options(variant, quartile, squash)
    _check_images("label", label)
    if validate:
        _check_values(label)
    with torch.no_grad():
        image = label.to(_precision(label))
        if mask_minmax:
            lowest = image.amin(dim=(1, 2, 3), keepdim=True)
            highest = image.amax(dim=(1, 2, 3), keepdim=True)
            image = (image - lowest) / (highest - lowest).clamp(min=EPSILON)
        image = (_grey(image) if grey else image).clamp(0, 1)
        if invert:
            image = 1 - image
        numerator = _quantile(image, quartile) if variant == "table1" else 1
        mask = image.add_(EPSILON).reciprocal_()
        if squash == "tanh":
            mask.mul_(2 * numerator).sigmoid_()  # 0.5 tanh(x) + 0.5 at an eighth of the time
        else:
            mask.mul_(numerator).clamp_(max=1)
        if normalize:
            mask = mask / mask.mean(dim=(1, 2, 3), keepdim=True).clamp(min=EPSILON)
        return _shuffle(mask) if shuffle else mask


class AsymmetricLoss(nn.Module):
    """MAE or MSE with each pixel weighted by the label's grey value, eq. (3)-(5).

    ``variant="equation"``: ``M * |output - label|`` or ``M * (output - label)^2``.
    ``variant="table1"``: the criterion of ``M * output`` and ``M * label`` (Table 1, lines 3-5), so
    that MSE becomes ``M^2 * (output - label)^2``. With ``normalize`` it is M, not its square, whose
    mean is 1.

    The mean is over all N * C * H * W values, not divided by the sum of the weights. The loss is
    float32, under autocast too, but float64 if output or label is. No gradient flows through the
    mask.

    Args:
        base: "mae" (eq. 4) or "mse" (eq. 3).
        reduction: "none", "mean" or "sum", as in torch's own losses.
        loss_weight: the loss is multiplied by it; the share of this loss in a sum of several.
        variant, grey, mask_minmax, invert, normalize, shuffle, quartile, squash: see
            :func:`asymmetric_weight`.
        validate: check the label for NaN and for values outside [0, 1]. On the CPU every call is
            checked. ON OTHER DEVICES ONLY THE FIRST CALL IS, since each check makes the host wait
            for the device: a later batch of another range goes unnoticed there, so call
            :func:`asymmetric_weight` on a batch whose range you doubt. Nothing is checked under
            ``torch.compile`` or ``torch.vmap``.

    Shape:
        output, label: (N, C, H, W). Loss: a scalar, or (N, C, H, W) with ``reduction="none"``.

    Raises:
        TypeError: output or label is not a floating-point tensor.
        ValueError: their shapes differ or are not (N, C, H, W), the label's values are not those of
            an image in [0, 1], or an option has an unknown value.
    """

    def __init__(
        self,
        base: str = "mae",
        *,
        reduction: str = "mean",
        loss_weight: float = 1.0,
        variant: str = "equation",
        grey: bool = True,
        mask_minmax: bool = False,
        invert: bool = False,
        normalize: bool = False,
        shuffle: bool = False,
        quartile: float = 0.25,
        squash: str = "tanh",
        validate: bool = True,
    ):
        super().__init__()
        _check_choice("base", base, BASES)
        _check_choice("reduction", reduction, REDUCTIONS)
        _check_options(variant, quartile, squash)
        self.base = base
        self.reduction = reduction
        self.loss_weight = loss_weight
        self.weight_options: dict[str, Any] = {
            "variant": variant,
            "grey": grey,
            "mask_minmax": mask_minmax,
            "invert": invert,
            "normalize": normalize,
            "shuffle": shuffle,
            "quartile": quartile,
            "squash": squash,
        }
        self.validate = validate
        self._validated_once = False

    def forward(self, output: Tensor, label: Tensor) -> Tensor:
        _check_pair(output, label)
        if self.validate and not torch.compiler.is_compiling():
            if label.device.type == "cpu" or not self._validated_once:
                _check_values(label)
            self._validated_once = True

        mask = asymmetric_weight(label, **self.weight_options, validate=False)
        if self.base == "mse" and self.weight_options["variant"] == "table1":
            mask = mask.square()  # of M * output - M * label
        mask *= self.loss_weight / (output.numel() if self.reduction == "mean" else 1)

        precision = torch.promote_types(_precision(output), _precision(label))
        output, label = output.to(precision), label.to(precision)
        if self.base == "mae":
            error = (output - label).abs()
        else:
            error = F.mse_loss(output, label, reduction="none")
        loss = error.mul_(mask)
        return loss if self.reduction == "none" else loss.sum()

    def extra_repr(self) -> str:
        options = {
            **{"base": self.base, "reduction": self.reduction, "loss_weight": self.loss_weight},
            **self.weight_options,
        }
        return ", ".join(f"{name}={value!r}" for name, value in options.items())


class CharbonnierLoss(nn.Module):
    """Mean of ``sqrt(error^2 + epsilon^2)``: MAE without its kink at 0.

    Charbonnier et al., ICIP 1994; for super-resolution Lai et al., "Deep Laplacian Pyramid
    Networks", CVPR 2017, with the same epsilon.

    Args:
        epsilon: in units of the images.

    Shape:
        output, label: (N, C, H, W), floating point; the loss: a float32 scalar.

    Raises:
        TypeError: output or label is not a floating-point tensor.
        ValueError: their shapes differ or are not (N, C, H, W).
    """

    def __init__(self, epsilon: float = 1e-3):
        super().__init__()
        self.epsilon = epsilon

    def forward(self, output: Tensor, label: Tensor) -> Tensor:
        _check_pair(output, label)
        error = output.float() - label.float()
        return torch.hypot(error, error.new_full((), self.epsilon)).mean()


class GradientLoss(nn.Module):
    """MAE of the differences of neighbouring pixels, along rows and along columns.

    Mathieu et al., "Deep Multi-Scale Video Prediction beyond Mean Square Error", ICLR 2016, with
    the difference taken of the error itself, so that an edge of the wrong sign counts.

    Shape:
        output, label: (N, C, H, W), floating point; the loss: a float32 scalar.

    Raises:
        TypeError: output or label is not a floating-point tensor.
        ValueError: their shapes differ or are not (N, C, H, W), or a side is a single pixel.
    """

    def forward(self, output: Tensor, label: Tensor) -> Tensor:
        _check_pair(output, label)
        if min(label.shape[-2:]) < 2:
            raise ValueError(f"a side of a single pixel has no gradient, got {tuple(label.shape)}")
        error = output.float() - label.float()
        return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


class FocalFrequencyLoss(nn.Module):
    """Squared error of the spectrum, each frequency weighted by its own share of the error.

    Jiang et al., "Focal Frequency Loss for Image Reconstruction and Synthesis", ICCV 2021, eq. (8)
    and (9): orthonormal 2-D Fourier transform of each channel, weights ``|error|^alpha`` divided by
    the largest of the channel, without a gradient.

    Args:
        alpha: exponent of the weights; 0 weighs all frequencies alike.

    Shape:
        output, label: (N, C, H, W), floating point; the loss: a float32 scalar.

    Raises:
        TypeError: output or label is not a floating-point tensor.
        ValueError: their shapes differ or are not (N, C, H, W).
    """

    def __init__(self, alpha: float = 1.0):
        super().__init__()
        self.alpha = alpha

    def forward(self, output: Tensor, label: Tensor) -> Tensor:
        _check_pair(output, label)
        with torch.autocast(output.device.type, enabled=False):
            spectrum = torch.fft.fft2(output.float() - label.float(), norm="ortho")
        power = spectrum.real.square() + spectrum.imag.square()
        weight = power.detach().sqrt() ** self.alpha
        weight = weight / weight.amax(dim=(-2, -1), keepdim=True).clamp(min=EPSILON)
        return (weight * power).mean()


class SumOfLosses(nn.Module):
    """``sum(weight * term(output, label))``.

    Losses of piq refuse values outside [0, 1], which a network returns now and then: a term beside
    them that is not clipped leads these back.

    Args:
        terms, weights: the losses, and what each is multiplied by.
        clamp: of each, whether both images are clipped to [0, 1] before.

    Shape:
        output, label: (N, C, H, W), floating point; the loss: a float32 scalar.

    Raises:
        TypeError: output or label is not a floating-point tensor.
        ValueError: the three lists differ in length, or the images are not of one shape
            (N, C, H, W).
    """

    def __init__(self, terms: list[nn.Module], weights: list[float], clamp: list[bool]):
        super().__init__()
        if not len(terms) == len(weights) == len(clamp):
            raise ValueError("terms, weights and clamp differ in length; each term needs one each")
        self.terms = nn.ModuleList(terms)
        self.weights, self.clamp = list(weights), list(clamp)

    def forward(self, output: Tensor, label: Tensor) -> Tensor:
        _check_pair(output, label)
        output, label = output.float(), label.float()
        pairs = {False: (output, label), True: (output.clamp(0, 1), label.clamp(0, 1))}
        terms = zip(self.weights, self.terms, self.clamp, strict=True)
        return sum(weight * term(*pairs[clamp]) for weight, term, clamp in terms)


def _grey(images: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, 1, H, W): the image itself, RGB's luma, or the mean of the bands."""
    channels = images.shape[1]
    if channels == 1:
        return images
    if channels == 3:
        red, green, blue = images.split(1, dim=1)
        return (GREY[0] * red).add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2])
    return images.mean(dim=1, keepdim=True)


def _quantile(images: Tensor, fraction: float) -> Tensor:
    """Each image's quantile over all its values, (N, 1, 1, 1)."""
    return torch.quantile(images.flatten(1), fraction, dim=1).view(-1, 1, 1, 1)


def _shuffle(mask: Tensor) -> Tensor:
    """Permute the pixels of each image's mask, independently of the other images."""
    pixels = mask.flatten(2)
    keys = torch.rand(pixels.shape[0], 1, pixels.shape[2], device=mask.device)
    return pixels.gather(2, keys.argsort(dim=2).expand_as(pixels)).view(mask.shape)


def _precision(images: Tensor) -> torch.dtype:
    return torch.promote_types(images.dtype, torch.float32)


def _check_options(variant: str, quartile: float, squash: str) -> None:
    _check_choice("variant", variant, VARIANTS)
    _check_choice("quartile", quartile, QUARTILES)
    _check_choice("squash", squash, SQUASHES)
    if variant != "table1" and (quartile, squash) != (QUARTILES[0], SQUASHES[0]):
        raise ValueError('quartile and squash are options of variant="table1" alone')


def _check_choice(option: str, value: object, allowed: tuple) -> None:
    if value not in allowed:
        raise ValueError(
            f"{option} is {value!r}, but must be one of {', '.join(map(repr, allowed))}"
        )


def _check_images(name: str, images: Tensor) -> None:
    if not isinstance(images, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, not {type(images).__name__}")
    if not images.is_floating_point():
        raise TypeError(
            f"{name} has type {images.dtype}, but must be floating point with values in [0, 1]: "
            "divide 8-bit images by 255"
        )
    if images.dim() != 4 or images.numel() == 0:
        raise ValueError(
            f"{name} has shape {tuple(images.shape)}, but must be a non-empty batch (N, C, H, W)"
        )


def _check_pair(output: Tensor, label: Tensor) -> None:
    """Two batches of images, whose difference is not broadcast."""
    _check_images("output", output)
    _check_images("label", label)
    if output.shape != label.shape:
        raise ValueError(
            f"output {tuple(output.shape)} and label {tuple(label.shape)} differ in shape: "
            "crop or resize one of them"
        )


def _check_values(label: Tensor) -> None:
    if torch.compiler.is_compiling():
        return
    try:
        lowest, highest = (bound.item() for bound in label.detach().aminmax())
    except RuntimeError:  # there are no values to read: torch.vmap, meta and fake tensors
        return
    if lowest >= LOWEST and highest <= HIGHEST:
        return
    if math.isnan(lowest):
        raise ValueError("label holds NaN: check how it was read or normalised")
    raise ValueError(
        f"label has values from {lowest:.4g} to {highest:.4g}, but a grey value lies in [0, 1], "
        "and the weights depend on it: add a mean that was subtracted, turn [-1, 1] into [0, 1], "
        "or divide 8-bit images by 255"
    )
