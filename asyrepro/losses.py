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
- *TH() of Table 1*, "a function to judge and process", is read as the tanh of eq. (2), which
  section 2 introduces as its remedy for large reciprocals.
- *one mask for three channels* (``grey``). The paper's mask is H x W x 1 for an H x W x 3 image.
- *min-max normalisation* (``minmax``), eq. (1). Off by default: the images behind the paper's
  Table 4 were scaled by 255 only.
- *the direction* (``invert``). Smaller grey value, larger weight, by eq. (2) and most of the text;
  one sentence of section 2 says the opposite.
"""

from typing import Any

import torch
from torch import Tensor, nn

BASES = ("mae", "mse")
REDUCTIONS = ("none", "mean", "sum")
VARIANTS = ("equation", "table1")
QUARTILES = (0.25, 0.75)

EPSILON = 1e-10  # eq. (2) and Table 1, line 1
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
LOWEST, HIGHEST = -0.5, 1.5  # a label beyond these is not an image in [0, 1]


def asymmetric_weight(
    label: Tensor,
    *,
    variant: str = "equation",
    grey: bool = True,
    minmax: bool = False,
    invert: bool = False,
    normalize: bool = False,
    shuffle: bool = False,
    quartile: float = 0.25,
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
        minmax: stretch each image (all its channels together) to [0, 1] first, eq. (1). An image
            of a single value, where eq. (1) is 0 / 0, becomes 0.
        invert: the mask of 1 - I, so that brighter pixels weigh more.
        normalize: control; rescale each image's mask to a mean of 1.
        shuffle: control; permute each image's mask over its pixels (the same permutation for all
            channels), drawn from torch's global generator of the label's device.
        quartile: 0.25 or 0.75, for "table1" only: the quantile of the image's grey values, in
            ascending order and linearly interpolated, that is Q.
        validate: check the label's values. On a GPU this makes the host wait for the result. Under
            ``torch.compile`` values are never checked.

    Returns:
        float32 mask (N, 1, H, W), or (N, C, H, W) if ``grey`` is False. It carries no gradient and
        does not depend on autocast.

    Raises:
        TypeError: the label is not a floating-point tensor.
        ValueError: the label is not a non-empty (N, C, H, W), holds NaN or values far outside
            [0, 1] (beyond -0.5 or 1.5), or an option has an unknown value.
    """
    _check_choice("variant", variant, VARIANTS)
    _check_choice("quartile", quartile, QUARTILES)
    _check_images("label", label)
    if validate:
        _check_values(label)

    label = label.detach().float()
    if minmax:
        lowest = label.amin(dim=(1, 2, 3), keepdim=True)
        highest = label.amax(dim=(1, 2, 3), keepdim=True)
        label = (label - lowest) / (highest - lowest).clamp(min=EPSILON)
    if grey:
        label = _grey(label)
    label = label.clamp(0, 1)
    if invert:
        label = 1 - label

    numerator = _quantile(label, quartile) if variant == "table1" else 1
    mask = (numerator / (label + EPSILON)).tanh_().mul_(0.5).add_(0.5)
    if normalize:
        mask = mask / mask.mean(dim=(1, 2, 3), keepdim=True)
    if shuffle:
        mask = _shuffle(mask)
    return mask


class AsymmetricLoss(nn.Module):
    """MAE or MSE with each pixel weighted by the label's grey value, eq. (3)-(5).

    ``variant="equation"``: ``M * |output - label|`` or ``M * (output - label)^2``.
    ``variant="table1"``: the criterion of ``M * output`` and ``M * label`` (Table 1, lines 3-5), so
    that MSE becomes ``M^2 * (output - label)^2``. With ``normalize`` it is M, not its square, whose
    mean is 1.

    The mean is over all N * C * H * W values, not divided by the sum of the weights. The loss is
    float32, under autocast too. No gradient flows through the mask.

    Args:
        base: "mae" (eq. 4) or "mse" (eq. 3).
        reduction: "none", "mean" or "sum", as in torch's own losses.
        variant, grey, minmax, invert, normalize, shuffle, quartile: see :func:`asymmetric_weight`.
        validate: check the label for NaN and for values far outside [0, 1]: on every call on the
            CPU, on the first call only on other devices (there, each check would make the host wait
            for the device), never under ``torch.compile``.

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
        variant: str = "equation",
        grey: bool = True,
        minmax: bool = False,
        invert: bool = False,
        normalize: bool = False,
        shuffle: bool = False,
        quartile: float = 0.25,
        validate: bool = True,
    ):
        super().__init__()
        _check_choice("base", base, BASES)
        _check_choice("reduction", reduction, REDUCTIONS)
        _check_choice("variant", variant, VARIANTS)
        _check_choice("quartile", quartile, QUARTILES)
        self.base = base
        self.reduction = reduction
        self.weight_options: dict[str, Any] = {
            "variant": variant,
            "grey": grey,
            "minmax": minmax,
            "invert": invert,
            "normalize": normalize,
            "shuffle": shuffle,
            "quartile": quartile,
        }
        self.validate = validate
        self._validated_once = False

    def forward(self, output: Tensor, label: Tensor) -> Tensor:
        _check_images("output", output)
        _check_images("label", label)
        if output.shape != label.shape:
            raise ValueError(
                f"output {tuple(output.shape)} and label {tuple(label.shape)} differ in shape: "
                "crop or resize one of them"
            )
        if self.validate and not torch.compiler.is_compiling():
            if label.device.type == "cpu" or not self._validated_once:
                _check_values(label)
            self._validated_once = True

        mask = asymmetric_weight(label, **self.weight_options, validate=False)
        error = output.float() - label.float()
        if self.weight_options["variant"] == "table1":
            error = mask * error  # M * output - M * label
        loss = error.abs() if self.base == "mae" else error.square()
        if self.weight_options["variant"] == "equation":
            loss = mask * loss
        if self.reduction == "none":
            return loss
        return loss.mean() if self.reduction == "mean" else loss.sum()

    def extra_repr(self) -> str:
        options = {"base": self.base, "reduction": self.reduction, **self.weight_options}
        return ", ".join(f"{name}={value!r}" for name, value in options.items())


def _grey(images: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, 1, H, W): the image itself, RGB's luma, or the mean of the bands."""
    channels = images.shape[1]
    if channels == 1:
        return images
    if channels == 3:
        red, green, blue = images.split(1, dim=1)
        return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    return images.mean(dim=1, keepdim=True)


def _quantile(images: Tensor, fraction: float) -> Tensor:
    """Each image's quantile over all its values, (N, 1, 1, 1)."""
    return torch.quantile(images.flatten(1), fraction, dim=1).view(-1, 1, 1, 1)


def _shuffle(mask: Tensor) -> Tensor:
    """Permute the pixels of each image's mask, independently of the other images."""
    pixels = mask.flatten(2)
    keys = torch.rand(pixels.shape[0], 1, pixels.shape[2], device=mask.device)
    return pixels.gather(2, keys.argsort(dim=2).expand_as(pixels)).view(mask.shape)


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


def _check_values(label: Tensor) -> None:
    if torch.compiler.is_compiling():
        return
    lowest, highest = label.detach().aminmax()  # NaN if there is any NaN
    if bool((lowest >= LOWEST) & (highest <= HIGHEST)):
        return
    if bool(lowest.isnan()):
        raise ValueError("label holds NaN: check how it was read or normalised")
    raise ValueError(
        f"label has values from {lowest.item():.4g} to {highest.item():.4g}, far outside [0, 1]: "
        "scale it to [0, 1] (divide 8-bit images by 255)"
    )
