"""What the paper's printed numbers show by themselves, without any image.

Every function returns a DataFrame of :func:`asyrepro.paper.tables`' numbers.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from asyrepro.paper.claims import CLAIMS
from asyrepro.paper.tables import LOSSES, constants, ratios, tables

METRICS = ("psnr", "ssim", "rmse")
BASES = ("mae", "mse")
#: What the abstract says of SRCNN: "up to about", per cent. NRMSE is printed as RMSE.
ABSTRACT = {x.metric.removeprefix("n"): x.figure for x in CLAIMS if x.rule == "up_to"}


def rmse_column() -> pd.DataFrame:
    """The printed RMSE against eq. (9), entry by entry.

    The columns of :func:`asyrepro.paper.tables.ratios`, and ``agrees``: whether eq. (9), worked
    from the printed PSNR with MAX = 1, gives the printed RMSE within rounding (k = 1).
    """
    frame = ratios()
    frame["agrees"] = (frame["low"] <= 1) & (frame["high"] >= 1)
    return frame


def image_constants() -> pd.DataFrame:
    """k of each image under each loss, and what they have in common.

    Returns:
        One row an image: ``table``, ``no``, ``k_mae`` ... ``k_asy_mse``, ``k`` (their mean),
        ``spread`` (largest over smallest, less 1), ``rms`` (mean 1/k), ``low``, ``high`` (the
        values of 1/k that the rounding of all eight numbers allows) and ``constant``: whether
        there are such values, so that one and the same k stands behind all four losses.
    """
    cells = ratios()
    wide = cells.pivot(index=["table", "image"], columns="loss", values="k")[list(LOSSES)]
    groups = cells.groupby(["table", "image"])
    frame = wide.add_prefix("k_").assign(
        k=wide.mean(axis=1),
        spread=wide.max(axis=1) / wide.min(axis=1) - 1,
        rms=groups["rms"].mean(),
        low=groups["low"].max(),
        high=groups["high"].min(),
    )
    frame["constant"] = frame["low"] <= frame["high"]
    return frame.rename_axis(["table", "no"]).rename_axis(columns=None).reset_index()


def shared_images() -> pd.DataFrame:
    """Whether Tables 2 and 3 were measured on the same ten images: 1/k of both, and the gap.

    ``gap`` is the distance between the two tables' intervals of 1/k, 0 where they overlap.
    """
    two, three = constants(2), constants(3)
    gap = np.maximum(two["low"] - three["high"], three["low"] - two["high"]).clip(lower=0)
    together = constants(2, 3)["value"]
    frame = pd.DataFrame({"table2": two["value"], "table3": three["value"], "both": together})
    frame["gap"] = gap
    return frame.reset_index().rename(columns={"image": "no"})


def changes() -> pd.DataFrame:
    """Asymmetric minus base, image by image.

    Returns:
        One row an image and base loss: ``table``, ``model``, ``no``, ``base``, and for each metric
        ``<metric>_base``, ``<metric>_asy``, ``<metric>_change`` and ``<metric>_percent``.
    """
    wide = tables().pivot(index=["table", "model", "image"], columns="loss", values=list(METRICS))
    parts = []
    for base in BASES:
        part = pd.DataFrame(index=wide.index)
        part["base"] = base
        for metric in METRICS:
            before, after = wide[metric][base], wide[metric][f"asy_{base}"]
            part[f"{metric}_base"], part[f"{metric}_asy"] = before, after
            part[f"{metric}_change"] = (after - before).round(6)  # no digits beyond the printed
            part[f"{metric}_percent"] = 100 * (after / before - 1)
        parts.append(part)
    frame = pd.concat(parts).reset_index().rename(columns={"image": "no"})
    frame["base"] = pd.Categorical(frame["base"], BASES)
    return frame.sort_values(["table", "base", "no"], ignore_index=True).astype({"base": str})


def summary() -> pd.DataFrame:
    """What the paper claims, in numbers: means over the ten images, per table and base loss.

    ``psnr_change_min`` and ``_max`` are over the images; ``rmse_fall_max`` is the largest fall of
    the RMSE column in per cent; ``<metric>_worse`` counts the images that do not improve.
    """
    groups = changes().groupby(["table", "model", "base"])
    means = {f"{metric}_{part}": (f"{metric}_{part}", "mean") for metric in ("psnr", "ssim")
             for part in ("base", "asy", "change")}  # fmt: skip
    return groups.agg(
        **means,
        psnr_change_min=("psnr_change", "min"),
        psnr_change_max=("psnr_change", "max"),
        rmse_change=("rmse_change", "mean"),
        rmse_fall_max=("rmse_percent", lambda percent: -percent.min()),
        psnr_worse=("psnr_change", lambda change: (change <= 0).sum()),
        ssim_worse=("ssim_change", lambda change: (change <= 0).sum()),
        rmse_worse=("rmse_change", lambda change: (change >= 0).sum()),
    ).reset_index()


def not_winning() -> pd.DataFrame:
    """Every printed pair in which the asymmetric loss is not better: worse, or the same.

    Columns ``table``, ``model``, ``no``, ``base``, ``metric``, ``before``, ``after``, ``what``.
    """
    frame, parts = changes(), []
    for metric in METRICS:
        named = {f"{metric}_base": "before", f"{metric}_asy": "after", f"{metric}_change": "change"}
        part = frame[["table", "model", "no", "base", *named]].rename(columns=named)
        part.insert(4, "metric", metric)
        part["what"] = np.where(part["change"] == 0, "the same", "worse")
        parts.append(part[part["change"] * (-1 if metric == "rmse" else 1) <= 0])
    found = pd.concat(parts).drop(columns="change")
    return found.sort_values(["table", "base", "no"], ignore_index=True)


def abstract() -> pd.DataFrame:
    """The abstract's "up to about" percentages for SRCNN against Table 2's largest ones.

    Columns ``metric``, ``abstract``, ``largest`` (improvement over either base loss, per cent),
    ``no``, ``base`` (where it is found), ``mean_mae``, ``mean_mse`` (change of the ten images'
    mean, per cent) and ``reaches``: whether the largest rounds to the abstract's figure.
    """
    frame = changes()
    frame = frame[frame["table"] == 2].reset_index(drop=True)
    rows = []
    for metric, said in ABSTRACT.items():
        sign = -1 if metric == "rmse" else 1
        percent = sign * frame[f"{metric}_percent"]
        where = frame.loc[percent.idxmax()]
        row = {"metric": metric, "abstract": said, "largest": percent.max()}
        row |= {"no": where["no"], "base": where["base"]}
        for base in BASES:
            part = frame[frame["base"] == base]
            ratio = part[f"{metric}_asy"].mean() / part[f"{metric}_base"].mean()
            row[f"mean_{base}"] = sign * 100 * (ratio - 1)
        row["reaches"] = bool(round(percent.max(), 1) >= said)
        rows.append(row)
    return pd.DataFrame(rows)


def redundancy() -> pd.DataFrame:
    """The RMSE column's changes as the PSNR column alone predicts them.

    With k the same before and after, RMSE falls by the factor 10^(-change of PSNR / 20): the
    column repeats PSNR. ``predicted`` and ``printed`` are that factor; ``agrees``: within rounding.
    """
    frame = changes()
    result = frame[["table", "model", "no", "base"]].copy()
    result["predicted"] = 10 ** (-frame["psnr_change"] / 20)
    result["printed"] = frame["rmse_asy"] / frame["rmse_base"]
    tolerance = 0.5e-5 * (1 / frame["rmse_asy"] + 1 / frame["rmse_base"]) + 1e-6
    result["agrees"] = (result["printed"] / result["predicted"] - 1).abs() <= tolerance
    return result
