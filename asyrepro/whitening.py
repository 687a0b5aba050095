"""A convolution that learns in decorrelated coordinates.

Grey values in a window of a photograph are nearly equal, the more so after bicubic upsampling: of
the 81 directions of a 9 x 9 window of BSD300's images, upsampled three times, one holds 91 % of the
variance, and 44 less than a ten-thousandth of the mean each. Gradient descent learns the small
directions last, and these are the edges and textures that super-resolution is about.
Here the weight W of a convolution is written as W = V M, where M whitens the layer's input, and V
is learnt. This changes neither what the layer can compute nor where it starts, only the path of
the training, and the product is multiplied out at its end (LeCun, Bottou, Orr, Müller, "Efficient
BackProp", 1998, section 4.3, recommend decorrelated inputs for the same reason).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize


def whiten(layer: nn.Conv2d, inputs: Tensor, floor: float = 1e-4) -> None:
    """Let ``layer`` learn V in W = V M, in place; its output stays as it is.

    Args:
        layer: a convolution without groups or dilation.
        inputs: what the layer is applied to, (N, C, H, W), at least as large as its kernel.
        floor: added to the variances, in units of their mean: directions of less variance are
            not amplified further.

    Raises:
        ValueError: the layer is not such a convolution, or takes other or larger inputs.
    """
    if not isinstance(layer, nn.Conv2d) or layer.groups != 1 or layer.dilation != (1, 1):
        raise ValueError("only convolutions without groups and dilation can be whitened")
    if layer.in_channels != inputs.shape[1]:
        raise ValueError(
            f"the layer takes {layer.in_channels} channels, but the network's input has "
            f"{inputs.shape[1]}: name the first layer"
        )
    if any(side < kernel for side, kernel in zip(inputs.shape[2:], layer.kernel_size, strict=True)):
        raise ValueError(
            f"its kernel of {' x '.join(map(str, layer.kernel_size))} is larger than the network's "
            f"input of {' x '.join(map(str, inputs.shape[2:]))}: choose a larger recipe.patch"
        )
    windows = F.unfold(inputs, layer.kernel_size).transpose(1, 2).flatten(0, 1)
    variances, directions = torch.linalg.eigh(torch.cov(windows.T.double()))
    gain = (variances.clamp(min=0) / variances.mean() + floor).rsqrt()
    matrix = (directions * gain) @ directions.T
    inverse = (directions / gain) @ directions.T
    layer.__class__ = type(type(layer).__name__, (_InFloat32, type(layer)), {})
    parametrize.register_parametrization(
        layer, "weight", _Product(matrix.to(layer.weight), inverse.to(layer.weight))
    )


def fold(network: nn.Module) -> nn.Module:
    """Multiply out all whitened weights of a network, in place; returns the network."""
    for layer in network.modules():
        if parametrize.is_parametrized(layer, "weight"):
            product = layer.weight.detach()
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
            if isinstance(layer, _InFloat32):
                layer.__class__ = type(layer).__bases__[1]
            layer.weight.data.copy_(product)  # into V's place, which has the layer's memory layout
    return network


class _InFloat32(nn.Module):
    """A layer that computes in float32 under autocast too.

    W takes differences of nearly equal inputs, and M multiplies their gradient a hundredfold: in
    bfloat16 both are mostly rounding. It costs SRCNN 0.08 dB on Table 2's images, after 4,000
    steps of MAE: 29.89 dB in bfloat16, 29.97 in float32, 29.96 with this layer alone in float32.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, enabled=False):
            return super().forward(inputs.float())


class _Product(nn.Module):
    """V -> V M, with the weight's shape (out, in, height, width)."""

    def __init__(self, matrix: Tensor, inverse: Tensor):
        super().__init__()
        self.register_buffer("matrix", matrix)
        self.register_buffer("inverse", inverse)

    def forward(self, coordinates: Tensor) -> Tensor:
        # In float32, also under autocast: the matrix amplifies a hundredfold what is rounded off.
        with torch.autocast(coordinates.device.type, enabled=False):
            return (coordinates.flatten(1) @ self.matrix).view_as(coordinates)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return torch.empty_like(weight).copy_((weight.flatten(1) @ self.inverse).view_as(weight))
