"""What kind of error Table 3 can have had: from the printed numbers, and by making such errors.

The test images were not available. But their brightness is known, and so is another network's
error on each of them (Table 2). And an error made on other images as bright as these, so strong
that the mean PSNR is the paper's, has a spread of PSNR over the images and an SSIM that belong to
its kind.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter
from scipy.optimize import brentq
from scipy.stats import linregress
from torch import Tensor

from asyrepro import metrics
from asyrepro.degradation import crop_to_multiple, downsample, upsample
from asyrepro.models import EDSR
from asyrepro.paper.tables import LOSSES, constants, tables

SCALE = 3
WEIGHTS = Path(__file__).parents[2] / "results/paper-cpu/weights/table3/mae/seed0.pt"
Pair = tuple[np.ndarray, np.ndarray]  # label and output, float64 (3, H, W) in [0, 1]
Change = Callable[[np.ndarray, float], np.ndarray]  # an image under an error of a strength

# ------------------------------------------------------------------- from the printed numbers alone


def column_spread() -> pd.DataFrame:
    """How far PSNR varies over the ten images, per table and loss (dB).

    Columns ``table``, ``model``, ``loss``, ``mean``, ``min``, ``max``, ``range`` and ``error``, the
    root-mean-square error that the mean PSNR stands for.
    """
    frame = tables().groupby(["table", "model", "loss"], sort=False)["psnr"]
    frame = frame.agg(["mean", "min", "max"]).reset_index()
    frame["range"] = frame["max"] - frame["min"]
    frame["error"] = 10 ** (-frame["mean"] / 20)
    return frame


def common_error() -> pd.DataFrame:
    """The part of EDSR's error (Table 3) that is the same on all ten images, whatever they show.

    Squared errors add up where two errors are unrelated. So EDSR's squared error on an image is
    fitted as ``common^2 + slope * (SRCNN's squared error on it, MAE column of Table 2)``.

    Returns:
        One row a loss: ``loss``, ``common`` (grey values of 255; negative where the fit's constant
        is), ``slope`` and its standard error ``slope_error``, ``correlation``, ``printed`` (mean
        PSNR, dB) and ``rest`` (mean PSNR of what is left when the common part is taken away, dB;
        NaN where that is not positive).
    """
    squared = tables().assign(error=lambda rows: 10 ** (-rows["psnr"] / 10))
    squared = squared.pivot(index=["table", "image"], columns="loss", values="error")
    rows = []
    for loss in LOSSES:
        errors = squared.loc[3, loss]
        fit = linregress(squared.loc[2, "mae"], errors)
        rest = errors - fit.intercept
        rows.append(
            {
                "loss": loss,
                "common": 255 * np.sign(fit.intercept) * np.sqrt(abs(fit.intercept)),
                "slope": fit.slope,
                "slope_error": fit.stderr,
                "correlation": fit.rvalue,
                "printed": _decibels(errors).mean(),
                "rest": _decibels(rest).mean() if (rest > 0).all() else np.nan,
            }
        )
    return pd.DataFrame(rows)


def _decibels(squared_errors: pd.Series) -> pd.Series:
    return -10 * np.log10(squared_errors)


# ---------------------------------------------------------------- with other images


def as_bright(images: dict[str, np.ndarray]) -> list[str]:
    """Names of ten images whose RMS brightness is nearest to that of the images of Tables 2 and 3.

    Args:
        images: uint8 (3, H, W) by name, at least ten.
    """
    left = {name: float(np.sqrt(((x / 255) ** 2).mean())) for name, x in images.items()}
    chosen = []
    for value in constants(2, 3)["value"]:
        chosen.append(min(left, key=lambda name: round(abs(left[name] - value), 9)))
        del left[chosen[-1]]
    return chosen


def bicubic(images: dict[str, np.ndarray]) -> pd.DataFrame:
    """PSNR of plain bicubic upsampling, RGB, whole image: the least that a network should reach.

    Args:
        images: uint8 (3, H, W) by name.

    Returns:
        One row an image and scale (the paper's 3, and 4, the hardest of the usual ones):
        ``image``, ``scale``, ``psnr`` (dB, to four digits).
    """
    rows = []
    for scale in (SCALE, 4):
        for name, array in images.items():
            label, small = _degraded(array, scale)
            psnr = metrics.psnr(label, upsample(small, scale)[0].numpy())
            rows.append({"image": name, "scale": scale, "psnr": round(psnr, 4)})
    return pd.DataFrame(rows)


def _degraded(array: np.ndarray, scale: int) -> tuple[np.ndarray, Tensor]:
    """Label (3, H, W) and input (1, 3, h, w) in [0, 1], float64, of a uint8 image (3, H, W)."""
    label = crop_to_multiple(torch.from_numpy(array), scale)
    return label.double().numpy() / 255, downsample(label, scale)[None].double() / 255


def edsr(log: Callable[[str], None] = lambda line: None) -> EDSR | None:
    """The trained EDSR (MAE) that the repository keeps; None, and ``log`` is told, without it."""
    from asyrepro.training import checkpoint

    if not WEIGHTS.is_file():
        log(f"{WEIGHTS} is not there: faults in the use of a trained EDSR are left out")
        return None
    network = EDSR(SCALE).eval()
    checkpoint.load_weights(network, checkpoint.load(WEIGHTS)["network"], WEIGHTS)
    return network


def _pattern(pixels: float) -> Change:
    """Adds one pattern of Gaussian noise, blurred over so many pixels, of a given RMS."""

    @cache
    def pattern(height: int, width: int) -> np.ndarray:
        noise = np.random.default_rng(20231226).normal(size=(height, width, 3))
        noise = gaussian_filter(noise, (pixels, pixels, 0)) if pixels else noise
        return (noise / np.sqrt((noise**2).mean())).transpose(2, 0, 1)

    return lambda image, strength: image + strength * pattern(*image.shape[1:])


#: Errors of a free strength, which is fitted to the paper's mean PSNR. Of the restored image.
ERRORS: dict[str, Change] = {
    "a constant added": lambda image, c: image + c,
    "a constant subtracted": lambda image, c: image - c,
    "a constant added to a blurred image (2 pixels)": (
        lambda image, c: gaussian_filter(image, (0, 2, 2)) + c
    ),
    "a pattern added, 15 pixels wide": _pattern(15),
    "a pattern added, 3 pixels wide": _pattern(3),
    "noise added, pixel by pixel": _pattern(0),
    "contrast lost towards white": lambda image, f: image + f * (1 - image),
    "contrast lost towards mid grey": lambda image, f: image + f * (0.5 - image),
    "darkened by a factor": lambda image, f: (1 - f) * image,
}
STRENGTHS = (0.01, 1.0)  # between which each is looked for


def readings(images: dict[str, np.ndarray], network: EDSR | None = None) -> pd.DataFrame:
    """Kinds of error and faults beside Table 3's MSE column, RGB.

    Args:
        images: uint8 (3, H, W) by name.
        network: a trained EDSR of scale 3, for the faults in its use; None leaves them out and
            makes the errors on bicubic upsampling instead.

    Returns:
        The paper's column, the restoration without an error, one row an error of a fitted strength
        (:data:`ERRORS`, not clipped), and one row a fault (:func:`_faults`), with another for its
        output clipped to [0, 1] where that changes the mean PSNR by more than 0.1 dB. ``kind``,
        ``strength`` (NaN for a fault), ``clipped``, and mean, least and largest over the images of
        ``psnr`` (dB) and ``ssim``, to four digits.
    """
    column = tables().query("table == 3 and loss == 'mse'")
    rows = [_row("the paper's MSE column", column["psnr"], column["ssim"])]
    faults: dict[str, list[Pair]] = {}
    for array in images.values():
        label, small = _degraded(array, SCALE)
        for kind, output in _faults(small, network).items():
            faults.setdefault(kind, []).append((label, output))
    best = "bicubic upsampling" if network is None else "EDSR as it should be used"
    right = faults.pop(best)
    rows.append(_measured(best, right))
    for kind, change in ERRORS.items():
        about = change, right, column["psnr"].mean()
        if _excess(STRENGTHS[1], *about) > 0:  # never as bad as the paper's column
            continue
        strength = brentq(_excess, *STRENGTHS, about, xtol=1e-4)
        wrong = [(label, change(output, strength)) for label, output in right]
        rows.append(_measured(kind, wrong, strength))
    for kind, wrong in faults.items():
        rows.append(_measured(kind, wrong))
        clipped = [(label, output.clip(0, 1)) for label, output in wrong]
        row = _measured(kind, clipped, clipped=True)
        if abs(row["psnr_mean"] - rows[-1]["psnr_mean"]) > 0.1:
            rows.append(row)
    return pd.DataFrame(rows)


def _excess(strength: float, change: Change, pairs: list[Pair], psnr: float) -> float:
    """By how many dB the mean PSNR under an error of a strength lies above another."""
    found = [metrics.psnr(label, change(output, strength)) for label, output in pairs]
    return float(np.mean(found) - psnr)


@torch.no_grad()
def _faults(small: Tensor, network: EDSR | None) -> dict[str, np.ndarray]:
    """Outputs (3, H, W) for one input (1, 3, h, w) under faults that need no strength, by kind."""
    raised = upsample(small, SCALE)
    own_mean = small.mean((2, 3), keepdim=True).expand_as(raised)
    made = {"bicubic upsampling": raised, "the image's own mean colour": own_mean}
    made["mid grey"] = torch.full_like(raised, 0.5)
    if network is not None:
        small, mean = small.float(), network.mean
        right, shifted = network(small), network(small + mean)
        made |= {
            "EDSR as it should be used": right,
            "mean colour not added back": right - mean,
            "mean colour not subtracted": shifted,
            "neither": shifted - mean,
            "output in [0, 255], label in [0, 1]": 255 * right,
            "output divided by 255 once too often": right / 255,
            "output in [-1, 1], label in [0, 1]": 2 * right - 1,
            "output taken from [-1, 1] to [0, 1] once too often": (right + 1) / 2,
            "red and blue exchanged": right.flip(1),
            "gamma removed (power 2.2)": right.clamp(min=0) ** 2.2,
            "gamma applied (power 1/2.2)": right.clamp(min=0) ** (1 / 2.2),
        }
    return {kind: output[0].double().numpy() for kind, output in made.items()}


def _measured(kind: str, pairs: list[Pair], strength: float = np.nan, clipped: bool = False):
    psnr, ssim = ([of(*pair) for pair in pairs] for of in (metrics.psnr, metrics.ssim))
    return _row(kind, np.array(psnr), np.array(ssim), strength, clipped)


def _row(kind: str, psnr, ssim, strength: float = np.nan, clipped: bool = False) -> dict:
    row = {"kind": kind, "strength": round(strength, 4), "clipped": clipped}
    for name, values in (("psnr", psnr), ("ssim", ssim)):
        for part in ("mean", "min", "max"):
            row[f"{name}_{part}"] = round(float(getattr(values, part)()), 4)
    return row
