"""DnCNN: a plain stack of 3x3 convolutions that predicts the noise.

Zhang, Zuo, Chen, Meng, Zhang, "Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image
Denoising", IEEE TIP 26(7), 2017 (arXiv 1608.03981), section III. DnCNN-S, for one known noise
level, has 17 layers of 64 channels; the blind DnCNN-B has 20.

    layers    parameters (one channel)
    3          38,144
    17        556,032
    20        667,008

Convolutions have no bias: batch normalisation makes one superfluous in the middle layers, and the
common PyTorch implementations leave it out elsewhere too (the authors' own keeps the first
layer's 64). Weights that are published today have batch normalisation multiplied into the
convolutions: ``batch_norm=False, bias=True``, 555,137 parameters with 17 layers.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class DnCNN(nn.Module):
    """Subtract the noise that a stack of convolutions sees in the image.

    conv + ReLU, then ``layers - 2`` times conv + batch normalisation + ReLU, then conv; the output
    is the input minus the last convolution (residual learning, equation 1).

    Args:
        layers: number of convolutions, at least 2.
        channels: feature maps.
        image_channels: 1 for grey, 3 for RGB.
        zero_last: start the last convolution at zero, so that the untrained network returns its
            input and early steps are not spent on unlearning a random output; otherwise it is
            He-initialised like the others, as the paper does.
        batch_norm: normalise after each middle convolution.
        bias: convolutions have biases, which start at zero.

    Shapes: (N, image_channels, H, W) -> (N, image_channels, H, W), any H and W.
    """

    def __init__(
        self,
        layers: int = 17,
        channels: int = 64,
        image_channels: int = 1,
        zero_last: bool = True,
        batch_norm: bool = True,
        bias: bool = False,
    ):
        super().__init__()
        if layers < 2:
            raise ValueError(f"DnCNN needs at least 2 layers, got {layers}")
        self.image_channels = image_channels
        self.reach = layers
        self.first = nn.Conv2d(image_channels, channels, 3, padding=1, bias=bias)
        self.middle = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1, bias=bias) for _ in range(layers - 2)
        )
        norm = nn.BatchNorm2d if batch_norm else nn.Identity
        self.norms = nn.ModuleList(norm(channels) for _ in range(layers - 2))
        self.last = nn.Conv2d(channels, image_channels, 3, padding=1, bias=bias)
        for conv in (self.first, *self.middle, self.last):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            if bias:
                nn.init.zeros_(conv.bias)
        if zero_last:
            nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Denoised image (N, C, H, W) of a noisy image (N, C, H, W)."""
        if x.ndim != 4 or x.shape[1] != self.image_channels:
            raise ValueError(
                f"DnCNN expects (N, {self.image_channels}, H, W), got {tuple(x.shape)}; "
                f"set image_channels to the number of channels of the images"
            )
        features = F.relu(self.first(x), inplace=True)
        for conv, norm in zip(self.middle, self.norms, strict=True):
            features = F.relu(norm(conv(features)), inplace=True)
        return x - self.last(features)
