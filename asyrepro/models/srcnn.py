"""SRCNN: three convolutions from a bicubically upsampled image to a sharp one.

Dong, Loy, He, Tang, "Image Super-Resolution Using Deep Convolutional Networks", IEEE TPAMI
38(2), 2016 (arXiv 1501.00092). Section 3.1: patch extraction (9x9), non-linear mapping (1x1)
and reconstruction (5x5), ReLU after the first two; the luma channel alone by default.

    kernels    channels    parameters (one channel)
    9-1-5      64-32        8,129
    9-3-5      64-32       24,513
    9-5-5      64-32       57,281
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SRCNN(nn.Module):
    """Sharpen an image that has already been upsampled to its final size.

    The paper convolves without padding, so that its output is smaller than its input. Here the
    border is repeated outwards once, at the entrance, by what the three convolutions consume
    (6 pixels on each side for 9-1-5): the convolutions stay the paper's and the output has the
    input's size. Zero padding inside each layer would save a fifth of the time, but darkens the
    border, and the tables measure whole images.

    Args:
        kernels: sizes of the three kernels, odd. (9, 5, 5) is the paper's slower, better network.
        channels: feature maps after the first and the second convolution.
        image_channels: 1 for luma, 3 for RGB.
        init: how the weights start.
            ``"identity"``: He-initialised, except that one feature map carries the image through
            both ReLUs to the output and the last layer ignores the others, so that training
            starts at the upsampled image itself instead of first having to learn it.
            ``"kaiming"``: He-initialised, the last layer with a tenth of that spread.
            ``"paper"``: Gaussian of standard deviation 0.001, biases 0 (section 4.1); this needs
            the paper's 10^8 or so back-propagations.

    Shapes: (N, image_channels, H, W) -> (N, image_channels, H, W), any H and W.

    The paper trains the last layer ten times slower than the others: ``network.reconstruct``.
    """

    def __init__(
        self,
        kernels: tuple[int, int, int] = (9, 1, 5),
        channels: tuple[int, int] = (64, 32),
        image_channels: int = 1,
        init: str = "identity",
    ):
        super().__init__()
        if len(kernels) != 3 or any(k < 1 or k % 2 == 0 for k in kernels):
            raise ValueError(f"SRCNN needs three odd kernel sizes such as (9, 1, 5), got {kernels}")
        if len(channels) != 2 or min(channels) < image_channels:
            raise ValueError(
                f"SRCNN needs two channel counts, such as (64, 32), of at least image_channels = "
                f"{image_channels}, got {channels}"
            )
        if init not in ("identity", "kaiming", "paper"):
            raise ValueError(f"init is identity, kaiming or paper, not {init!r}")
        self.image_channels = image_channels
        self.border = sum(k // 2 for k in kernels)
        self.reach = self.border
        self.extract = nn.Conv2d(image_channels, channels[0], kernels[0])
        self.map = nn.Conv2d(channels[0], channels[1], kernels[1])
        self.reconstruct = nn.Conv2d(channels[1], image_channels, kernels[2])
        self._initialise(init)

    def _initialise(self, init: str) -> None:
        layers = (self.extract, self.map, self.reconstruct)
        for layer in layers:
            nn.init.zeros_(layer.bias)
            if init == "paper":
                nn.init.normal_(layer.weight, std=0.001)
            else:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        with torch.no_grad():
            if init == "kaiming":
                self.reconstruct.weight *= 0.1
            elif init == "identity":
                self.reconstruct.weight.zero_()
                for layer in layers:
                    middle = layer.kernel_size[0] // 2
                    for c in range(self.image_channels):
                        layer.weight[c] = 0
                        layer.weight[c, c, middle, middle] = 1

    def forward(self, x: Tensor) -> Tensor:
        """Sharpened image (N, C, H, W) of an upsampled image (N, C, H, W)."""
        if x.ndim != 4 or x.shape[1] != self.image_channels:
            raise ValueError(
                f"SRCNN expects (N, {self.image_channels}, H, W), got {tuple(x.shape)}; "
                f"set image_channels to the number of channels of the images"
            )
        x = F.pad(x, [self.border] * 4, mode="replicate")
        x = F.relu(self.extract(x))
        x = F.relu(self.map(x))
        return self.reconstruct(x)
