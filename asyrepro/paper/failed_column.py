"""What kind of error Table 3's MSE column can have had, from its PSNR and SSIM.

The test images are unknown. But an error of one kind on top of bicubic enlargement, made so
strong that the mean PSNR over other images is the paper's, has a spread of PSNR over the images
and an SSIM that belong to its kind.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter
from scipy.optimize import brentq

from asyrepro import metrics
from asyrepro.degradation import crop_to_multiple, downsample, enlarge
from asyrepro.paper.tables import tables

SCALE = 3
COLUMNS = ("kind", "strength", "psnr_mean", "psnr_min", "psnr_max", "psnr_range")
COLUMNS += ("ssim_mean", "ssim_min", "ssim_max")

Change = Callable[[np.ndarray, float], np.ndarray]


def _pattern(pixels: float) -> Change:
    """Adds one pattern of Gaussian noise, blurred over so many pixels, of a given RMS."""

    @cache
    def pattern(height: int, width: int) -> np.ndarray:
        noise = np.random.default_rng(20231226).normal(size=(height, width, 3))
        noise = gaussian_filter(noise, (pixels, pixels, 0)) if pixels else noise
        return (noise / np.sqrt((noise**2).mean())).transpose(2, 0, 1)

    def change(image: np.ndarray, strength: float) -> np.ndarray:
        return image + strength * pattern(*image.shape[1:])

    return change


STRENGTHS = (0.01, 1.0)  # between which each is looked for
KINDS: dict[str, Change] = {
    "a constant added": lambda image, c: image + c,
    "a constant taken away": lambda image, c: image - c,
    "a constant added to a blurred image (2 pixels)": (
        lambda image, c: gaussian_filter(image, (0, 2, 2)) + c
    ),
    "a pattern added, 15 pixels wide": _pattern(15),
    "a pattern added, 3 pixels wide": _pattern(3),
    "noise added, pixel by pixel": _pattern(0),
    "all values times a factor": lambda image, f: image * f,
}


def failed_column(images: dict[str, np.ndarray]) -> pd.DataFrame:
    """Kinds of error with the mean PSNR of Table 3's MSE column, RGB, neither clipped nor rounded.

    Args:
        images: uint8 (3, H, W) by name.

    Returns:
        The paper's column first, then bicubic enlargement without further error, then one row a
        kind: ``kind``, ``strength`` (in grey values / 255, or the factor), mean, least, largest
        and range of ``psnr`` (dB), mean, least and largest of ``ssim`` over the images.
    """
    paper = tables()
    paper = paper[(paper["table"].astype(int) == 3) & (paper["loss"] == "mse")]
    target = float(paper["psnr"].mean())
    pairs = [
        tuple(image.double().numpy() for image in enlarged(array, SCALE))
        for array in images.values()
    ]
    rows = [
        _row("the paper's MSE column", np.nan, paper["psnr"], paper["ssim"]),
        _measured("bicubic enlargement", np.nan, lambda image, _: image, pairs),
    ]
    for kind, change in KINDS.items():

        def excess(strength: float, change: Change = change) -> float:
            return float(np.mean([metrics.psnr(x, change(y, strength)) for x, y in pairs])) - target

        rows.append(_measured(kind, brentq(excess, *STRENGTHS, xtol=1e-4), change, pairs))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def enlarged(array: np.ndarray, scale: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(label, its bicubic enlargement) in [0, 1], float32 (3, H, W), of a uint8 image (3, H, W)."""
    label = crop_to_multiple(torch.from_numpy(array), scale)
    return label / 255, enlarge(downsample(label, scale)[None].float() / 255, scale)[0]


def _measured(kind: str, strength: float, change: Change, pairs) -> tuple:
    changed = [(label, change(image, strength)) for label, image in pairs]
    psnr, ssim = ([of(*pair) for pair in changed] for of in (metrics.psnr, metrics.ssim))
    return _row(kind, strength, np.array(psnr), np.array(ssim))


def _row(kind: str, strength: float, psnr, ssim) -> tuple:
    ends = (psnr.min(), psnr.max(), psnr.max() - psnr.min())
    return kind, strength, psnr.mean(), *ends, ssim.mean(), ssim.min(), ssim.max()
