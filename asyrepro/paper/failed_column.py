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
from skimage.metrics import structural_similarity

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
        return noise / np.sqrt((noise**2).mean())

    def change(image: np.ndarray, strength: float) -> np.ndarray:
        return image + strength * pattern(*image.shape[:2])

    return change


KINDS: dict[str, tuple[Change, float, float]] = {  # and between what strengths it is looked for
    "a constant added": (lambda image, c: image + c, 0.01, 1.0),
    "a constant taken away": (lambda image, c: image - c, 0.01, 1.0),
    "a constant added to a blurred image (2 pixels)": (
        lambda image, c: gaussian_filter(image, (2, 2, 0)) + c,
        *(0.01, 1.0),
    ),
    "a pattern added, 15 pixels wide": (_pattern(15), 0.01, 1.0),
    "a pattern added, 3 pixels wide": (_pattern(3), 0.01, 1.0),
    "noise added, pixel by pixel": (_pattern(0), 0.01, 1.0),
    "all values times a factor": (lambda image, f: image * f, 0.01, 1.0),
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
    pairs = [_pair(array) for array in images.values()]
    rows = [
        _row("the paper's MSE column", np.nan, paper["psnr"], paper["ssim"]),
        _measured("bicubic enlargement", np.nan, lambda image, _: image, pairs),
    ]
    for kind, (change, low, high) in KINDS.items():

        def excess(strength: float, change: Change = change) -> float:
            return float(np.mean([_psnr(x, change(y, strength)) for x, y in pairs])) - target

        rows.append(_measured(kind, brentq(excess, low, high, xtol=1e-4), change, pairs))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _pair(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(label, bicubic enlargement) as (H, W, 3) in [0, 1]."""
    label = crop_to_multiple(torch.from_numpy(array), SCALE)
    output = enlarge(downsample(label, SCALE)[None].float() / 255, SCALE)[0]
    return tuple(x.permute(1, 2, 0).numpy().astype(np.float64) for x in (label / 255, output))


def _psnr(label: np.ndarray, output: np.ndarray) -> float:
    return float(-10 * np.log10(((label - output) ** 2).mean()))


def _measured(kind: str, strength: float, change: Change, pairs) -> tuple:
    outputs = [change(image, strength) for _, image in pairs]
    labels = [label for label, _ in pairs]
    options = {"channel_axis": -1, "data_range": 1}
    ssim = [structural_similarity(x, y, **options) for x, y in zip(labels, outputs, strict=True)]
    psnr = [_psnr(x, y) for x, y in zip(labels, outputs, strict=True)]
    return _row(kind, strength, np.array(psnr), np.array(ssim))


def _row(kind: str, strength: float, psnr, ssim) -> tuple:
    ends = (psnr.min(), psnr.max(), psnr.max() - psnr.min())
    return kind, strength, psnr.mean(), *ends, ssim.mean(), ssim.min(), ssim.max()
