"""One table of comparisons: each loss against another, on each test set and metric of a study.

:func:`comparisons` makes it from the tidy table. What a study says about losses is a view of it:
``changes.csv`` (:mod:`asyrepro.analysis.changes`: each loss against its base loss, on every test
set), ``verdicts.csv`` (:mod:`asyrepro.analysis.verdicts`: the paper's tables) and the claims of the
paper, each of which is a filter on it and a rule. Statistics: :mod:`asyrepro.analysis.statistics`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from asyrepro.analysis import titles
from asyrepro.analysis.pairs import finite, kinds_of, noise_of, paired, wide
from asyrepro.analysis.statistics import (
    Interval,
    crossed_interval,
    holm,
    leave_one_out,
    power,
)
from asyrepro.analysis.summary import published_psnr
from asyrepro.metrics import FURTHER, METRICS, PRINTED
from asyrepro.paper.claims import MINIMUM_SEEDS, NEITHER, NOT_JUDGED, judge, verdict
from asyrepro.runs import results
from asyrepro.system.errors import DataError

WHERE = ("model", "dataset", "variant", "table", "testset")
MEASURED = (*PRINTED, "psnr_y", "ssim_y", *FURTHER)  # RMSE is PSNR in other units
REPEATED = ("nrmse",)  # so is NRMSE: shown, for the paper prints it, but no further evidence

# What is compared: "claim" (the asymmetric loss with its base loss, as in the paper's tables),
# "reading" (a variant of Table 1), "control" and "loss" (any other) each with its base loss,
# "contrast" (the asymmetric loss with a control), "order" (MSE with MAE).
KINDS = ("claim", "reading", "control", "loss", "contrast", "order")
AGAINST_BASE = KINDS[:4]


class Control(NamedTuple):
    """Its weights, in a phrase and in short, and what is left when a loss is compared with it."""

    what: str
    short: str
    leaves: str


CONTROLS = {
    "normalized": Control(
        "same weights, rescaled to mean 1: no smaller loss scale",
        "rescaled to mean 1",
        "the smaller loss scale alone",
    ),
    "shuffled": Control(
        "same weights, shuffled over the pixels: no tie to brightness",
        "shuffled over the pixels",
        "where the weights sit (the asymmetry), at equal loss scale",
    ),
    "inverted": Control(
        "heavier on bright pixels instead of dark ones",
        "heavier on bright pixels",
        "the direction of the asymmetry (and a difference in loss scale)",
    ),
}
READING = re.compile("_table1(_|$)")  # in a loss's name: the paper's Table 1 instead of eq. (2)
# In a variant, what a sweep over the options of a loss has set; its base loss may have been
# trained without them.
LOSS_SETTINGS = re.compile(r"(?:^|,)\+?loss\.[^=,]*=(?:\[[^\]]*\]|[^,]*)")

NUMBERS = (
    *("seeds", "images", "against_mean", "loss_mean", "change", "lower", "upper"),
    *("fixed_lower", "fixed_upper", "seeds_better", "seeds_worse", "sign_p", "p", "p_holm"),
    *("noise", "paper_change", "power", "images_better"),
    *("seed_out_lower", "seed_out_upper", "image_out_lower", "image_out_upper"),
)
JUDGED = ("direction", "size", "verdict", "reason", "notes")
COLUMNS = (*WHERE, "kind", "base", "loss", "against", "metric", *NUMBERS, *JUDGED)


def comparisons(
    metrics: pd.DataFrame, paper: pd.DataFrame | None = None, with_power: bool = False
) -> pd.DataFrame:
    """Every comparison of two losses that a study holds.

    Args:
        metrics: the tidy table (:func:`asyrepro.runs.results.load`); baselines play no part.
            psnr_y is taken as papers have it (:func:`asyrepro.analysis.summary.published_psnr`).
        paper: the paper's Tables 2-5 (:func:`asyrepro.paper.tables`), or None.
        with_power: give the power of each comparison that the paper has an improvement for.

    Returns:
        One row a network, training set, variant, table, test set (``WHERE``; ``table`` is "" for
        test sets of the literature and one's own), comparison (``kind``, ``base``, ``loss``,
        ``against``) and metric (those of ``MEASURED`` that were measured). ``base`` is the loss
        that ``loss`` declares or its name tells (:func:`asyrepro.runs.results.bases`), taken from
        the same variant or, where only options of the loss are varied, from the one without these.

        ``against_mean``, ``loss_mean``: over seeds and images. ``change`` (loss minus
        ``against``), ``lower``, ``upper`` (95 % over seeds and images), ``fixed_lower``,
        ``fixed_upper`` (95 % over seeds, these images alone), ``paper_change``: in the metric's
        unit. ``p`` belongs to the first interval; ``p_holm`` after Holm's correction over the
        study's comparisons of one kind on the paper's tables, NRMSE apart. ``noise``: the
        root-mean-square difference of two runs that differ in nothing but their seed, pooled over
        the losses of the group other than controls. ``seed_out_*``, ``image_out_*``: the range of
        the change when one seed, or one image, is left out. ``power``: see
        :func:`asyrepro.analysis.statistics.power`.

        ``direction``, ``size``, ``verdict``, ``reason``: see :mod:`asyrepro.paper.claims`;
        ``notes``: what was left out and why. A pair without runs in common has no numbers.

    Raises:
        DataError: a column is missing, or a row is there twice.
    """
    rows = _of_networks(metrics)
    groups = dict(iter(rows.groupby(list(WHERE), sort=False)))
    networks = list(dict.fromkeys(where[:2] for where in groups))
    papers, found = _paper_means(paper), []
    for where in sorted(groups, key=lambda key: (networks.index(key[:2]), *order(*key[2:]))):
        group = groups[where]
        plain = groups.get((*where[:2], LOSS_SETTINGS.sub("", where[2]).strip(","), *where[3:]))
        for row in _of_group(group, plain, papers, with_power):
            found.append(dict(zip(WHERE, where, strict=True)) | row)
    table = pd.DataFrame(found, columns=list(COLUMNS))
    ours = (table["table"] != "") & (table["variant"] == "") & ~table["metric"].isin(REPEATED)
    for kind in table["kind"].unique():
        chosen = ours & (table["kind"] == kind)
        table.loc[chosen, "p_holm"] = holm(table.loc[chosen, "p"].to_numpy(dtype=float))
    return table


def order(variant: str, table, testset: str) -> tuple:
    """Sort key: the paper's tables, the literature's test sets, then any others.

    Variants stand by the size of their numbers.
    """
    parts = re.split(r"(\d+\.?\d*)", variant)
    natural = [(float(part), "") if k % 2 else (0.0, part) for k, part in enumerate(parts)]
    return table or 99, *titles.testset_rank(testset), natural


def keyed(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with "" where a column of ``WHERE`` is empty (as ``table``): keys to group by."""
    keys = rows[list(WHERE)].astype(object)
    return rows.assign(**keys.where(keys.notna(), ""))


def _of_networks(metrics: pd.DataFrame) -> pd.DataFrame:
    """The rows of runs, :func:`keyed`, with all columns of ``MEASURED``."""
    needed = [*WHERE, "loss", "seed", "image"]
    if missing := {*needed, *PRINTED, "psnr_y"} - {*metrics.columns}:
        raise DataError(f"the table of metrics lacks the columns {', '.join(sorted(missing))}")
    rows = keyed(results.of_runs(metrics))
    rows = rows.assign(seed=rows["seed"].astype(int), psnr_y=published_psnr(rows))
    twice = rows[rows.duplicated(needed)]
    if len(twice):
        where = ", ".join(f"{key} {twice.iloc[0][key]}" for key in needed if twice.iloc[0][key])
        raise DataError(f"the table of metrics has this row twice: {where}")
    return rows.reindex(columns=[*dict.fromkeys([*rows.columns, *MEASURED])])


# ------------------------------------------------------------------------- what is compared


def _pairs(losses: list[str], bases: dict[str, str]) -> Iterator[tuple[str, str, str, str]]:
    """(kind, base, loss, against) of all comparisons among the losses of one group."""
    for loss in losses:
        base = bases[loss]
        if loss == base:
            continue
        asymmetric = f"asy_{base}"
        kind = "claim" if loss == asymmetric and base in results.BASES else "loss"
        if loss.startswith(asymmetric) and READING.search(loss):
            kind = "reading"
        elif loss in {f"{asymmetric}_{name}" for name in CONTROLS}:
            kind = "control"
        yield kind, base, loss, base
        if kind == "claim":
            for name in CONTROLS:
                if f"{loss}_{name}" in losses:
                    yield "contrast", base, loss, f"{loss}_{name}"
    if set(results.BASES) <= set(losses):
        yield "order", "mae", "mse", "mae"


# --------------------------------------------------------------------------- one comparison


def _of_group(group: pd.DataFrame, plain: pd.DataFrame | None, papers, with_power):
    """The rows of one network, training set, variant and test set."""
    own = sorted(set(group["loss"]), key=results.loss_rank)
    bases, table = results.bases(pd.concat([group, plain])), group["table"].iloc[0]
    if plain is not None:  # base losses of the variant without the options of a loss
        missing = set(bases.values()) - set(own)
        group = pd.concat([group, plain[plain["loss"].isin(missing)]])
    there, runs, pairs = set(group["loss"]), kinds_of(group), list(_pairs(own, bases))
    for metric in (name for name in MEASURED if group[name].notna().any()):
        values, left_out = finite(wide(group, metric))
        noise = noise_of(values, runs)
        for kind, base, loss, against in pairs:
            first, second, notes = paired(values, runs, loss, against)
            of_paper = f"asy_{base}" if kind == "reading" else loss
            figure = papers.get((table, of_paper, metric), np.nan)
            figure -= papers.get((table, against, metric), np.nan)
            row = compare(first, second, METRICS[metric].direction, figure, with_power)
            if against not in there:
                row["reason"] = f"no runs of {titles.loss_title(against)}"
            row |= {"kind": kind, "base": base, "loss": loss, "against": against, "metric": metric}
            yield row | {"noise": noise, "notes": "; ".join([*notes, *left_out])}


def _paper_means(paper: pd.DataFrame | None) -> dict[tuple[int, str, str], float]:
    """(table, loss, metric) -> the paper's mean over its ten images."""
    if paper is None:
        return {}
    rows = paper.rename(columns={"rmse": "nrmse"})
    return rows.groupby(["table", "loss"])[list(PRINTED)].mean().stack().to_dict()


def compare(
    first: pd.DataFrame,
    second: pd.DataFrame,
    direction: int,
    figure: float = np.nan,
    with_power: bool = False,
) -> dict:
    """The numbers and the verdict of one comparison, as columns of :func:`comparisons`.

    Args:
        first, second: (seeds, images) of :func:`paired`.
        direction: of the metric, +1 if larger is better, -1 if smaller is.
        figure: the paper's change; NaN if it gives none.
        with_power: work out the power, where the paper has an improvement.
    """
    seeds, images = first.shape
    numbers = dict.fromkeys(NUMBERS, np.nan)
    numbers |= {"seeds": seeds, "images": images, "paper_change": figure}
    if seeds == 0 or images == 0:
        none = dict.fromkeys(("direction", "size", "verdict"), NOT_JUDGED)
        return numbers | none | {"seeds": 0, "reason": "no paired seeds"}
    changes = first.to_numpy(dtype=float) - second.to_numpy(dtype=float)
    better = crossed_interval(direction * changes)
    raw = better if direction > 0 else better.flipped()
    judged = judge(better, seeds, direction * figure)
    if with_power and direction * figure > 0 and seeds >= MINIMUM_SEEDS and images > 1:
        numbers["power"] = power(direction * changes, direction * figure)
    of_seeds, of_images = leave_one_out(changes)
    return numbers | {
        "against_mean": second.to_numpy().mean(),
        "loss_mean": first.to_numpy().mean(),
        "change": raw.mean,
        **{name: getattr(raw, name) for name in ("lower", "upper", "fixed_lower", "fixed_upper")},
        "seeds_better": better.better,
        "seeds_worse": better.worse,
        "sign_p": better.sign_p,
        "p": better.p,
        "images_better": int((direction * changes.mean(axis=0) > 0).sum()),
        "seed_out_lower": of_seeds[0],
        "seed_out_upper": of_seeds[1],
        "image_out_lower": of_images[0],
        "image_out_upper": of_images[1],
        "direction": judged.direction,
        "size": judged.size,
        "verdict": verdict(judged.direction, judged.size),
        "reason": "; ".join(filter(None, [judged.reason, _narrower(better, judged.direction)])),
    }


def _narrower(found: Interval, direction: str) -> str:
    """What the interval for these images alone shows where the deciding one shows nothing."""
    if direction == NEITHER and found.fixed_lower > 0:
        return "better on these images alone"
    if direction == NEITHER and found.fixed_upper < 0:
        return "worse on these images alone"
    return ""


# --------------------------------------------------------------- other comparisons of runs


def across(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Each loss of one study against the same loss of another, seeds and images in common.

    Args:
        first, second: two tidy tables. The runs may differ in anything (length, recipe, device):
            that difference is what is compared.

    Returns:
        Rows as of :func:`comparisons`, kind "study": second minus first.
    """
    left, right = _of_networks(first), _of_networks(second)
    found = []
    keys = [*WHERE, "loss"]
    others = dict(iter(right.groupby(keys, sort=False)))
    for where, rows in left.groupby(keys, sort=False):
        if where not in others:
            continue
        both = pd.concat([rows.assign(loss="first"), others[where].assign(loss="second")])
        for metric in MEASURED:
            if both.groupby("loss")[metric].count().min() == 0:
                continue
            values, notes = finite(wide(both, metric))
            pair = paired(values, {}, "second", "first")
            row = compare(*pair[:2], METRICS[metric].direction)
            row |= {"kind": "study", "base": where[-1], "loss": where[-1], "against": where[-1]}
            row |= {"metric": metric, "notes": "; ".join([*pair[2], *notes])}
            found.append(dict(zip(WHERE, where[:-1], strict=True)) | row)
    return pd.DataFrame(found, columns=list(COLUMNS))


def below_baseline(metrics: pd.DataFrame) -> pd.DataFrame:
    """The runs whose mean PSNR lies below that of the degraded input (bicubic, noisy).

    Returns:
        Columns of ``WHERE``, loss, seed, psnr, baseline (its name) and baseline_psnr, dB, over the
        images that both have and of which the input is not exact, and runs, how many there are
        where this one is; empty where every run is above.
    """
    rows = keyed(metrics).astype({"psnr": float})
    inputs, runs = rows[rows["seed"].isna()], results.of_runs(rows)
    count = runs.drop_duplicates([*WHERE, "loss", "seed"]).groupby(list(WHERE)).size()
    keys = [*WHERE, "image"]
    inputs = inputs[inputs["psnr"] != np.inf]
    both = runs.merge(inputs[[*keys, "loss", "psnr"]], on=keys, suffixes=("", "_of_input"))
    groups = both.groupby([*WHERE, "loss", "seed", "loss_of_input"], sort=False, dropna=False)
    means = groups[["psnr", "psnr_of_input"]].mean().reset_index()
    means = means[~(means["psnr"] >= means["psnr_of_input"])]
    means = means.rename(columns={"loss_of_input": "baseline", "psnr_of_input": "baseline_psnr"})
    return means.join(count.rename("runs"), on=list(WHERE))
