"""Tables 2-5 as numbers, and the image constants hidden in them.

For one test image the ratio ``10^(-PSNR/20) / RMSE`` of the printed values is the same for all
four losses. With MAX = 1 the numerator is the root-mean-square error of eq. (9), so the printed
"RMSE" is that error divided by something that depends on the image alone: the ratio itself. It is
the root mean square of the reference image in [0, 1], which is what
``skimage.metrics.normalized_root_mse`` divides by unless told otherwise. It identifies the image.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

TABLES = (2, 3, 4, 5)
MODELS = {2: "srcnn", 3: "edsr", 4: "dncnn", 5: "dphsir"}
MODEL_TITLES = {"srcnn": "SRCNN", "edsr": "EDSR", "dncnn": "DnCNN", "dphsir": "DPHSIR"}
DATASETS = {2: "bsd300", 3: "bsd300", 4: "div2k", 5: "div2k"}  # trained on
LOSSES = ("mae", "mse", "asy_mae", "asy_mse")


def tables() -> pd.DataFrame:
    """Tables 2-5 of the paper, one row a printed entry: 160 rows.

    Returns:
        A frame with columns ``table`` (2-5), ``model``, ``image`` (1-10, the paper's "No."),
        ``loss`` (mae, mse, asy_mae, asy_mse), ``psnr`` (dB), ``ssim`` and ``rmse``. ``rmse`` is
        the printed column, which is not eq. (9) but the error divided by the reference's RMS.
    """
    frame = pd.read_csv(Path(__file__).with_name("tables.csv"))
    return frame[["table", "model", "image", "loss", "psnr", "ssim", "rmse"]]


@cache
def known_images() -> dict[int, tuple[str, ...]]:
    """File names (without ending) of the ten test images of Tables 4 and 5, in the paper's order.

    Tables 2 and 3 share ten images that are not known; ``asyrepro identify FOLDER`` looks for them.
    """
    from asyrepro.data.catalogue import TABLE4, TABLE5  # slow to import

    return {4: tuple(TABLE4), 5: tuple(TABLE5)}


def ratios() -> pd.DataFrame:
    """The ratio 1/k of every printed entry, with the interval that rounding leaves it.

    All printed values have five decimals, but for three RMSE of Table 2 that have six.

    Returns:
        The rows of :func:`tables` with columns ``rmse_eq9`` (= 10^(-PSNR/20)), ``k`` (= rmse /
        rmse_eq9), ``rms`` (= 1/k), ``low`` and ``high``: the bounds of 1/k if both
        numbers were rounded correctly.
    """
    frame = tables()
    six_decimals = (frame["rmse"] * 1e5 - (frame["rmse"] * 1e5).round()).abs() > 1e-3
    half = np.where(six_decimals, 0.5e-6, 0.5e-5)
    frame["rmse_eq9"] = 10 ** (-frame["psnr"] / 20)
    frame["k"] = frame["rmse"] / frame["rmse_eq9"]
    frame["rms"] = 1 / frame["k"]
    frame["low"] = 10 ** (-(frame["psnr"] + 0.5e-5) / 20) / (frame["rmse"] + half)
    frame["high"] = 10 ** (-(frame["psnr"] - 0.5e-5) / 20) / (frame["rmse"] - half)
    return frame


@cache
def constants(*numbers: int) -> pd.DataFrame:
    """The ten image constants 1/k of a table: the RMS brightness of its test images in [0, 1].

    Args:
        numbers: a table's, or those of several that share their images: ``constants(2, 3)``.

    Returns:
        A frame indexed by ``image`` (1-10) with ``value`` (the mean over the losses) and the
        interval ``low`` ... ``high`` that the rounding of all printed values leaves in common.
        Where none is left (one image of Tables 2 and 3 together misses by 1e-6, the precision
        of float32 metrics) the two bounds change places, so that ``low <= high`` always holds.
        Not to be changed: every call gives the same frame.
    """
    rows = ratios()
    groups = rows[rows["table"].isin(numbers)].groupby("image")
    low, high = groups["low"].max(), groups["high"].min()
    return pd.DataFrame(
        {
            "value": groups["rms"].mean(),
            "low": np.minimum(low, high),
            "high": np.maximum(low, high),
        }
    )
