"""Restoring your own pictures: nothing is degraded, nothing is compared.

A network restores what it was trained on: three channels together ("rgb"), one channel ("grey":
each colour by itself), or luma alone ("luma": the other two components are upsampled bicubically,
as super-resolution papers do). Grey pictures stay grey, alpha is upsampled bicubically or, when
denoising, kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from skimage.restoration import estimate_sigma
from torch import Tensor, nn

from asyrepro import degradation, metrics
from asyrepro.data import decoding
from asyrepro.restoration import tiling
from asyrepro.tasks import Task

PREVIEW = 1024  # pixels of a preview's side
LUMA_RANGE = (235 - 16) / 255  # of MATLAB's luma: what white has more than black


def restore(
    pixels: np.ndarray,
    network: nn.Module,
    task: Task,
    *,
    white: int | None = None,
    tile: int | None = None,
    ensemble: bool = False,
    device: torch.device | str = "cpu",
    progress: str | None = None,
) -> np.ndarray:
    """Denoise or upsample a picture, tile by tile.

    Args:
        pixels: uint8 or uint16 (H, W, C): grey, grey and alpha, RGB or RGB and alpha.
        network: in evaluation mode, on ``device``.
        task: what it was trained for; a Denoising task's ``sigma`` is what a network with a
            noise-level map is told.
        white: the value of white in the colours; the type's largest if None.
        tile: see :func:`asyrepro.restoration.tiling.plan`.
        ensemble: take the mean of the results for all eight flips and rotations.
        progress: the title of a progress bar over tiles; None for no bar.

    Returns:
        The restored picture (s*H, s*W, C) of the same type, rounded and clipped; s is the task's
        scale.
    """
    peak, scale = _peak(pixels, white).to(device), task.scale
    side, overlap = tiling.plan(network, task, tile)

    def of_window(window: Tensor, place: tiling.Place) -> Tensor:
        image = window.float().to(device) / peak
        colours, alpha = image.tensor_split([decoding.colours(len(image))])
        output = restore_colours(colours, network, task, place)
        if len(alpha):
            output = torch.cat([output, task.upsampled(alpha[None])[0]])
        return (output.clamp(0, 1) * peak).cpu()

    def of_image(image: Tensor) -> Tensor:
        channels, height, width = image.shape
        output = torch.empty(channels, height * scale, width * scale)
        return tiling.apply(of_window, image, output, tile=side, overlap=overlap, progress=progress)

    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    restored = over_orientations(of_image, image) if ensemble else of_image(image)
    return restored.permute(1, 2, 0).round_().numpy().astype(pixels.dtype, order="C")


def over_orientations(function: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """The mean of a function's results for the eight flips and rotations of an image.

    Args:
        function: maps (..., h, w) to (..., s*h, s*w).
        image: (..., H, W).
    """
    total = 0.0
    for turn in range(4):
        for flip in ((), (-1,)):
            result = function(torch.rot90(image, turn, (-2, -1)).flip(flip))
            total = total + torch.rot90(result.flip(flip), -turn, (-2, -1))
    return total / 8


class Ensemble(nn.Module):
    """The mean of a network's outputs for the eight flips and rotations of its input."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        return over_orientations(self.network, inputs)


def restore_colours(image: Tensor, network: nn.Module, task: Task, place=None) -> Tensor:
    """Restore an image (1 or 3, h, w) in [0, 1], or the window of one that lies at ``place``.

    Returns:
        (1 or 3, s*h, s*w), neither clipped nor rounded.
    """
    place = place or (0, 0, *image.shape[-2:])
    planes = _planes(image, task.mode)
    # One by one: the colours together would need three times the memory.
    outputs = [tiling.run(network, task.prepared(plane), place) for plane in planes.split(1)]
    output = torch.cat(outputs)
    if task.mode == "rgb":
        return output[0] if len(image) == 3 else output[0].mean(dim=0, keepdim=True)
    if task.mode == "grey":
        return output[:, 0]
    # R, G and B change alike if luma alone changes.
    change = output - task.upsampled(planes)
    return task.upsampled(image[None])[0] + change[0] / LUMA_RANGE


def estimated_sigma(pixels: np.ndarray, white: int | None = None) -> float:
    """The noise level of a picture in 8-bit grey levels, estimated from its finest wavelets.

    The mean over the colours of :func:`skimage.restoration.estimate_sigma` (Donoho and Johnstone,
    Biometrika 81, 1994). Fine texture is taken for noise, noise on saturated pixels missed; of an
    even picture it is 0, and at most 255: of dithered black and white more would be estimated.
    """
    colours = pixels[..., : decoding.colours(pixels.shape[2])].astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an even picture it is NaN, of a narrow one unsure
        levels = estimate_sigma(colours / (white or np.iinfo(pixels.dtype).max), channel_axis=-1)
    return min(float(np.nan_to_num(levels).mean() * 255), 255.0)


def preview(pixels: np.ndarray, restored: np.ndarray, white: int | None = None) -> np.ndarray:
    """The input, upsampled bicubically, and to its right the result; alpha is laid over white.

    Of a larger result than :data:`PREVIEW` pixels the middle is shown, in full resolution.

    Returns:
        uint8 (h, 2*w + 8, 1 or 3).
    """
    scale = len(restored) // len(pixels)
    side = PREVIEW // scale
    top, left = (max(length - side, 0) // 2 for length in pixels.shape[:2])
    before = _over_white(pixels[top : top + side, left : left + side], white)
    before = degradation.upsample(before[None], scale)[0] if scale > 1 else before
    side, top, left = side * scale, top * scale, left * scale
    after = _over_white(restored[top : top + side, left : left + side], white)
    gap = torch.ones(len(after), after.shape[1], 8)
    joined = torch.cat([before, gap, after], dim=2).clamp(0, 1)
    return (joined * 255).round().byte().permute(1, 2, 0).numpy()


def _planes(image: Tensor, mode: str) -> Tensor:
    """The batch (N, C, h, w) that a network trained on images of ``mode`` sees of an image."""
    if mode == "grey":
        return image[:, None]
    rgb = image.expand(3, -1, -1)[None]
    return metrics.rgb_to_luma(rgb) if mode == "luma" else rgb


def _peak(pixels: np.ndarray, white: int | None) -> Tensor:
    """The values (C, 1, 1) that stand for 1 in pixels (H, W, C): ``white``, but not of alpha."""
    channels, full = pixels.shape[2], int(np.iinfo(pixels.dtype).max)
    colours = decoding.colours(channels)
    return torch.tensor([white or full] * colours + [full] * (channels - colours))[:, None, None]


def _over_white(pixels: np.ndarray, white: int | None) -> Tensor:
    """Pixels (h, w, C) as an image (1 or 3, h, w) in [0, 1] without alpha."""
    image = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1) / _peak(pixels, white)
    colour, alpha = image.tensor_split([decoding.colours(len(image))])
    return 1 + (colour - 1) * alpha if len(alpha) else colour
