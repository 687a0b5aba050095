"""EDSR: residual blocks without batch normalisation, then sub-pixel upsampling.

Lim, Son, Kim, Nah, Lee, "Enhanced Deep Residual Networks for Single Image Super-Resolution",
CVPR Workshops 2017 (arXiv 1707.02921), section 3 and table 1; sub-pixel convolution from Shi et
al., CVPR 2016. Parameters of the baseline (16 blocks x 64 channels) and of the full network
(32 x 256, residual scaling 0.1), the fixed mean colour not counted:

    scale    baseline     full
    x2       1,369,859    40,729,603
    x3       1,554,499    43,680,003
    x4       1,517,571    43,089,923
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Mean colour of DIV2K's training images in [0, 1], as the paper's authors give it.
DIV2K_MEAN = (0.4488, 0.4371, 0.4040)


class ResidualBlock(nn.Module):
    """x + scaling * conv(ReLU(conv(x))), shape kept (the paper's figure 2c)."""

    def __init__(self, channels: int, scaling: float):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.scaling = scaling

    def forward(self, x: Tensor) -> Tensor:
        residual = self.conv2(F.relu(self.conv1(x)))
        return x + (residual if self.scaling == 1 else residual * self.scaling)


class EDSR(nn.Module):
    """Enlarge a small image ``scale`` times.

    head -> residual blocks -> convolution, added to the head's output -> pixel shuffle -> tail.
    The mean colour is taken off at the entrance and put back at the exit. There is no skip
    connection from the image itself.

    Args:
        scale: 2, 3 or 4 (x4 as two steps of x2).
        blocks: residual blocks; 16 is EDSR-baseline, 32 the full EDSR.
        channels: feature maps; 64 is EDSR-baseline, 256 the full EDSR.
        residual_scaling: factor on each block's residual; 0.1 keeps the full EDSR stable.
        image_channels: 3 for RGB; otherwise the mean over DIV2K's three colours is used.
        init: how the weights start.
            ``"nearest"``: as ``"torch"``, except that a few feature maps carry the colours past the
            blocks to the output, so that training starts at the image with its pixels repeated
            instead of first having to learn colours and places.
            ``"torch"``: torch's default for convolutions, as in the authors' own PyTorch code.

    Shapes: (N, image_channels, h, w) -> (N, image_channels, scale * h, scale * w), any h and w.
    """

    def __init__(
        self,
        scale: int = 3,
        blocks: int = 16,
        channels: int = 64,
        residual_scaling: float = 1.0,
        image_channels: int = 3,
        init: str = "nearest",
    ):
        super().__init__()
        if channels < image_channels:
            raise ValueError(f"EDSR needs at least {image_channels} channels, got {channels}")
        if init not in ("nearest", "torch"):
            raise ValueError(f"init is nearest or torch, not {init!r}")
        if scale not in (2, 3, 4):
            raise ValueError(f"EDSR upsamples 2, 3 or 4 times, not {scale}")
        self.scale = scale
        self.image_channels = image_channels
        self.reach = 2 * blocks + 4  # 3 convolutions besides the blocks, and 1 for the large ones
        mean = torch.tensor(DIV2K_MEAN)
        if image_channels != 3:
            mean = mean.mean().expand(image_channels).clone()
        self.register_buffer("mean", mean.view(1, -1, 1, 1), persistent=False)

        self.head = nn.Conv2d(image_channels, channels, 3, padding=1)
        self.blocks = nn.Sequential(
            *(ResidualBlock(channels, residual_scaling) for _ in range(blocks))
        )
        self.body_end = nn.Conv2d(channels, channels, 3, padding=1)
        steps = []
        for factor in {2: (2,), 3: (3,), 4: (2, 2)}[scale]:
            steps += [
                nn.Conv2d(channels, channels * factor**2, 3, padding=1),
                nn.PixelShuffle(factor),
            ]
        self.upsample = nn.Sequential(*steps)
        self.tail = nn.Conv2d(channels, image_channels, 3, padding=1)
        if init == "nearest":
            self._start_at_nearest()

    @torch.no_grad()
    def _start_at_nearest(self) -> None:
        """Let the first ``image_channels`` feature maps hold the image and repeat its pixels."""

        def copy(layer: nn.Conv2d, outputs: int, factor: int = 1) -> None:
            """The first ``outputs`` maps are copies of the inputs, each ``factor**2`` times."""
            layer.weight[:outputs] = 0
            layer.bias[:outputs] = 0
            for output in range(outputs):
                layer.weight[output, output // factor**2, 1, 1] = 1

        colours = self.image_channels
        copy(self.head, colours)
        self.body_end.weight[:colours] = 0
        self.body_end.bias[:colours] = 0
        for convolution, shuffle in zip(self.upsample[::2], self.upsample[1::2], strict=True):
            factor = shuffle.upscale_factor
            copy(convolution, colours * factor**2, factor)
        copy(self.tail, colours)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarged image (N, C, scale * h, scale * w) of a small image (N, C, h, w)."""
        if x.ndim != 4 or x.shape[1] != self.image_channels:
            raise ValueError(
                f"EDSR expects (N, {self.image_channels}, H, W), got {tuple(x.shape)}; "
                f"set image_channels to the number of channels of the images"
            )
        features = self.head(x - self.mean)
        features = features + self.body_end(self.blocks(features))
        return self.tail(self.upsample(features)) + self.mean
