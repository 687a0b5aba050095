"""GRUNet: the denoiser of DPHSIR, a 3-D quasi-recurrent U-Net.

Lai, Wei, Fu, "Deep plug-and-play prior for hyperspectral image restoration", Neurocomputing 481,
2022 (arXiv 2209.08240), the "gated recurrent convolutional U-Net"; quasi-recurrent pooling from
Wei, Fu, Huang, "3-D Quasi-Recurrent Neural Network for Hyperspectral Image Denoising", IEEE TNNLS
32(1), 2021.

An image of D spectral bands is a volume: D = 1 for grey, 3 for RGB, tens for hyperspectral. 3-D
convolutions look across space and neighbouring bands; quasi-recurrent pooling then carries a
state along all bands, one way or the other in alternating layers and both ways in the first and
last. Channels 16, 32, 64, 128, 256 on five levels; 14,278,451 parameters in 35 tensors (34 kernels
and the last layer's bias). The authors' decoder uses transposed convolutions of stride 1, which
are ordinary convolutions with the kernel mirrored: the same network, written here as convolutions.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Place = tuple[int, int, int, int]  # (top, left) of a window, (height, width) of the whole image


class SlicedConv3d(nn.Module):
    """nn.Conv3d, its kernel kept as one parameter (out, in, kernel, kernel) for each slice.

    A volume of one band, given as (N, C, H, W), meets the middle slice only, the others meet
    padding. That slice is then read where it lies, and the others, without a gradient, cost the
    optimiser nothing. State dictionaries are those of nn.Conv3d: ``weight`` and ``bias``.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, bias: bool):
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, kernel // 2
        shape = (out_channels, in_channels, kernel, kernel)
        for index in range(kernel):
            setattr(self, f"slice{index}", nn.Parameter(torch.empty(shape)))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None

    @property
    def slices(self) -> list[nn.Parameter]:
        return [getattr(self, f"slice{index}") for index in range(self.kernel)]

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4:
            middle = self.slices[self.padding]
            return F.conv2d(x, middle, self.bias, self.stride, self.padding)
        kernel, stride = torch.stack(self.slices, dim=2), (1, self.stride, self.stride)
        return F.conv3d(x, kernel, self.bias, stride, self.padding)

    def extra_repr(self) -> str:
        out_channels, in_channels = self.slice0.shape[:2]
        return f"{in_channels}, {out_channels}, kernel={self.kernel}, stride={self.stride}"

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        weight = torch.stack(self.slices, dim=2)
        destination[f"{prefix}weight"] = weight if keep_vars else weight.detach()
        if self.bias is not None:
            destination[f"{prefix}bias"] = self.bias if keep_vars else self.bias.detach()

    def _load_from_state_dict(self, state_dict, prefix, *args):
        weight = state_dict.get(f"{prefix}weight")
        if weight is not None and weight.shape[2:3] == (self.kernel,):
            del state_dict[f"{prefix}weight"]
            slices = zip(self._parameters, weight.unbind(2), strict=False)  # the bias comes last
            state_dict.update((f"{prefix}{name}", part) for name, part in slices)
        super()._load_from_state_dict(state_dict, prefix, *args)


class QuasiRecurrent(nn.Module):
    """3-D convolution followed by quasi-recurrent ("f-") pooling along the bands.

    The convolution gives a candidate z = tanh(.) and a forget gate f = sigmoid(.); band after band
    the state is h_d = f_d h_(d-1) + (1 - f_d) z_d, from h_0 = 0. ``reverse`` goes from the last
    band to the first. A bidirectional layer has one gate for each way and adds the two states.

    Input and output are (N, C, D, H, W); or (N, C, H, W), a single band: then the kernel acts
    through its middle slice only (its other slices meet padding) and the state is (1 - f) z, so a
    2-D convolution gives the same result.

    Weights start random in the middle slice and zero in the others: each band is first treated as
    a grey image, and the pooling alone couples bands. The spread, 2.5 / sqrt(inputs), makes up for
    the gate, which starts near 1/2, and for some of the tanh. Torch's default would shrink a grey
    image sixfold in every layer; 10/3 (2 for the gate, 5/3 for tanh) amplifies rounding errors.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        stride: int = 1,
        bias: bool = False,
        bidirectional: bool = False,
    ):
        super().__init__()
        self.parts = 3 if bidirectional else 2  # the candidate and one or two gates
        self.conv = SlicedConv3d(in_channels, out_channels * self.parts, kernel, stride, bias)
        for parameter in self.conv.slices:
            nn.init.zeros_(parameter)
        nn.init.normal_(self.conv.slices[kernel // 2], std=2.5 / (in_channels * kernel**2) ** 0.5)
        if bias:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor, reverse: bool = False) -> Tensor:
        candidate, *gates = self.conv(x).chunk(self.parts, dim=1)
        candidate = torch.tanh(candidate)
        if x.ndim == 4:
            first, *other = [torch.sigmoid(-gate) for gate in gates]  # 1 - f, of each way
            return candidate * sum(other, start=first)
        if len(gates) == 2:
            return self._pool(candidate, gates[0], False) + self._pool(candidate, gates[1], True)
        return self._pool(candidate, gates[0], reverse)

    @staticmethod
    def _pool(candidate: Tensor, gate: Tensor, reverse: bool) -> Tensor:
        forget = torch.sigmoid(gate)
        bands = list(zip(forget.unbind(2), candidate.unbind(2), strict=True))
        state, states = torch.zeros_like(bands[0][1]), []
        for f, z in reversed(bands) if reverse else bands:
            state = f * state + (1 - f) * z
            states.append(state)
        return torch.stack(states[::-1] if reverse else states, dim=2)


class Block(nn.Module):
    """Two 3x3x3 layers and, beside them, a 1x1x1 layer, added."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.layer1 = QuasiRecurrent(in_channels, out_channels)
        self.layer2 = QuasiRecurrent(out_channels, out_channels)
        self.shortcut = QuasiRecurrent(in_channels, out_channels, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer2(self.layer1(x)) + self.shortcut(x)


def upsample(x: Tensor, place: Place | None = None) -> Tensor:
    """Twice the height and width: trilinear (bilinear for one band), corners aligned.

    Aligned corners make a pixel's value depend on where it lies in the whole image. If ``x`` is a
    window of a larger one, ``place`` says which, and the result is the window of the upsampled
    whole.

    On CUDA it is computed in float32: the gradient is summed by atomic additions, which are slow
    and lossy in bfloat16. (CPU, one thread, bfloat16, (16, 32..256, 32..4, 32..4): as it is 0.2 to
    2.3 ms forward and backward, in float32 1.2 to 1.5 times that, as two matrix products 2.8 to
    9.5 times; the error is the rounding of the result but for bfloat16 products, which double it.)
    """
    if x.is_cuda and x.dtype != torch.float32:
        return upsample(x.float(), place).to(x.dtype)
    if place is not None:
        top, left, height, width = place
        return _upsample_axis(_upsample_axis(x, -2, top, height), -1, left, width)
    if x.ndim == 4:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
    return F.interpolate(x, scale_factor=(1, 2, 2), mode="trilinear", align_corners=True)


def _upsample_axis(x: Tensor, axis: int, start: int, length: int) -> Tensor:
    """:func:`upsample` along one axis, of a window from ``start`` of an axis of ``length``."""
    size = x.shape[axis]
    step = (length - 1) / (2 * length - 1)
    exact = torch.promote_types(x.dtype, torch.float32)  # bfloat16 has eight bits for a place
    source = torch.arange(2 * start, 2 * (start + size), dtype=exact, device=x.device) * step
    low = source.floor()
    weight = (source - low).to(x.dtype).unflatten(0, (-1,) + (1,) * (-1 - axis))
    first = low.long() - start  # -1 just before the window: wrong there, where windows overlap
    before = x.index_select(axis, first.clamp(0, size - 1))
    after = x.index_select(axis, (first + 1).clamp(0, size - 1))
    return torch.lerp(before, after, weight)


def _mirrored(x: Tensor, axis: int) -> Tensor:
    """Continued by its mirror image, without its last line, to a multiple of 16 along an axis."""
    size = x.shape[axis]
    period = torch.sym_max(2 * size - 2, 1)
    index = torch.arange(_whole(size), device=x.device) % period
    return x.index_select(axis, torch.minimum(index, period - index))


def _whole(size: int) -> int:
    """The next multiple of 16; written so that torch.export can halve it four times."""
    return (size + 15) // 16 * 16


class GRUNet(nn.Module):
    """Denoise an image of any number of bands, given the noise level at every pixel.

    Args:
        width: channels of the first level; each of the four levels below doubles them.
        zero_last: start the last layer at zero, so that the untrained network returns its input.

    Shapes: (N, 2, D, H, W), the image and its noise-level map (the standard deviation, in the
    image's units), -> (N, D, H, W), the bands as channels. Any H and W: the image is continued
    inside to multiples of 16 by its mirror image, and the result cropped. (Repeating the border
    instead draws noise out into streaks, which are then kept as structure: of the cpu recipe's
    network under MAE 27.39 dB on the ten validation images of 321 x 481, mirrored 27.43.)

    A window of a larger image gives what the whole would (but ``reach`` pixels from the cut) if it
    starts, and unless at the image's end also ends, at a multiple of ``grid`` = 16, and ``forward``
    is told its :data:`Place`.
    """

    grid = 16
    partly_used = True  # grey images have no use for the kernels' outer slices
    reach = 141  # counted from the last layer back to the first, for outputs from the grid on

    def __init__(self, width: int = 16, zero_last: bool = True):
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        pairs = list(pairwise(widths))
        self.first = QuasiRecurrent(2, width, bidirectional=True)
        self.down = nn.ModuleList(QuasiRecurrent(a, a, stride=2) for a, _ in pairs)
        self.encoder = nn.ModuleList(Block(a, b) for a, b in pairs)
        self.up = nn.ModuleList(QuasiRecurrent(b, a) for a, b in reversed(pairs))
        self.decoder = nn.ModuleList(Block(b, a) for a, b in reversed(pairs))
        self.last = QuasiRecurrent(width, 1, bias=True, bidirectional=True)
        if zero_last:
            nn.init.zeros_(self.last.conv.slices[1])

    def forward(self, x: Tensor, plain: bool = False, place: Place | None = None) -> Tensor:
        """Denoised image (N, D, H, W); ``plain`` keeps to the 3-D path when D = 1 as well."""
        if x.ndim != 5 or x.shape[1] != 2:
            raise ValueError(
                f"GRUNet expects (N, 2, D, H, W), the image and its noise-level map, got "
                f"{tuple(x.shape)}"
            )
        image, (bands, height, width) = x[:, 0], x.shape[2:]
        x = _mirrored(_mirrored(x, axis=-1), axis=-2)
        if bands == 1 and not plain:  # layers take a volume without its third axis as one band
            x = x.squeeze(2).contiguous(memory_format=torch.channels_last)
        noise = self._noise(x, place).flatten(1, -3)  # the one channel of each band: (N, D, ...)
        return image + _cropped(noise, height, width)

    def _noise(self, x: Tensor, place: Place | None) -> Tensor:
        """The U-Net itself, on sides that are multiples of 16; one channel."""
        x = self.first(x)
        skips = []
        for down, block in zip(self.down, self.encoder, strict=True):
            skips.append(x)
            x = block(down(x, reverse=True))
        for level, up, block in zip((4, 3, 2, 1), self.up, self.decoder, strict=True):
            x = up(upsample(x, place and _reduced(place, level)), reverse=True)
            x = block(torch.cat((skips.pop(), x), dim=1))
        return self.last(x)


def _reduced(place: Place, level: int) -> Place:
    """A place as it is ``level`` levels further down, where pixels are 2^level times as large."""
    top, left, height, width = place
    return top >> level, left >> level, _whole(height) >> level, _whole(width) >> level


def _cropped(x: Tensor, height: int, width: int) -> Tensor:
    """The first rows and columns."""
    if torch.compiler.is_exporting():  # a slice asks whether it is all, and fixes the answer
        rows, columns = (torch.arange(size, device=x.device) for size in (height, width))
        return x.index_select(-2, rows).index_select(-1, columns)
    return x[..., :height, :width]
