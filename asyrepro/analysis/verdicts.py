"""Do the paper's claims hold? Paired comparisons, their intervals, and verdicts by fixed rules.

The statistics are in :mod:`asyrepro.analysis.statistics`, the rules and their thresholds in
:mod:`asyrepro.paper.claims`, and :mod:`asyrepro.report.verdicts_report` writes the verdicts down.

Verdicts are not corrected for multiplicity; the column ``p_holm`` gives p after Holm's correction
over all comparisons of the same kind in the study. Were the loss without effect, 0.6 of 24 claims
would come out supported by the interval alone; the sign test makes it fewer.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from asyrepro.analysis import titles
from asyrepro.analysis.statistics import DRAWS, Interval, crossed_interval, holm, simulated
from asyrepro.paper.claims import (
    CLAIMS,
    DIRECTION,
    IMPOSSIBLE,
    LEVEL,
    MINIMUM_REPETITIONS,
    MINIMUM_SEEDS,
    NOT_SUPPORTED,
    OPPOSITE,
    SIGN_LEVEL,
    SUPPORTED,
    TIME_RATIO,
    UNDECIDED,
)
from asyrepro.runs import results
from asyrepro.system.errors import DataError

METRICS = ("psnr", "ssim", "nrmse")
CONTROLS = {
    "normalized": "same weights, rescaled to mean 1: no smaller loss scale",
    "shuffled": "same weights, shuffled over the pixels: no tie to brightness",
    "inverted": "heavier on bright pixels instead of dark ones",
}
READINGS = {"table1": "the paper's Table 1 instead of its eq. (2) and (5)"}
# What is left when asy is compared with a control
CONTRASTS = {
    "normalized": "the smaller loss scale alone",
    "shuffled": "where the weights sit (the asymmetry), at equal loss scale",
    "inverted": "the direction of the asymmetry (and a difference in loss scale)",
}
# What must agree in a pair of runs besides the seed, columns of metrics.csv, and how a pair that
# differs was trained: a GPU draws other patches and noise than the CPU.
OF_RUNS = {
    "iterations": "for different lengths",
    "device": "on other devices",
    "precision": "in different precision",
}
BETTER, WORSE, NONE_SHOWN = "better", "worse", "no change shown"
STUDIES, STUDY_DRAWS = 300, 2_000  # simulated for the power of a comparison, and resamples of each


# --------------------------------------------------------------------------------------- rules


def decide(
    found: Interval, seeds: int, figure: float | None, name: str = "the paper's change"
) -> tuple[str, str]:
    """The rule "change" of :data:`asyrepro.paper.claims.RULES`: (verdict, reason).

    Args:
        found: of the improvement, positive is better.
        seeds: how many it rests on.
        figure: the paper's mean improvement; None or NaN if it gives none.
        name: what the reason calls it.
    """
    if seeds < 2:
        return IMPOSSIBLE, "one seed: chance cannot be told from effect"
    if np.isnan(found.lower):
        return IMPOSSIBLE, "one image: no interval"
    if seeds < MINIMUM_SEEDS:
        return UNDECIDED, f"fewer than {MINIMUM_SEEDS} seeds"
    signs = found.sign_p < SIGN_LEVEL
    if found.lower > 0:
        if signs and found.better > found.worse:
            size = ""
            if figure is not None and not np.isnan(figure):
                small, large = found.upper < figure, found.lower > figure
                than = "smaller than" if small else "larger than" if large else "not unlike"
                size = f"; {than} {name}"
            return SUPPORTED, "interval on the better side of zero, seeds agree" + size
        return UNDECIDED, "interval on the better side of zero, but too few seeds agree"
    if found.upper < 0 and signs and found.worse > found.better:
        return OPPOSITE, "interval on the worse side of zero, seeds agree"
    if figure is None or np.isnan(figure):
        return UNDECIDED, "interval reaches zero or less; the paper gives no figure to test"
    if found.upper < figure:
        side = "reaches zero" if found.upper >= 0 else "is on the worse side"
        return NOT_SUPPORTED, f"interval {side} and leaves out {name}"
    return UNDECIDED, f"interval holds both zero and {name}"


def compare(found: Interval, seeds: int) -> tuple[str, str]:
    """For comparisons of which the paper says nothing: better, worse, or no change shown."""
    verdict, reason = decide(found, seeds, None)
    if verdict == UNDECIDED and seeds >= MINIMUM_SEEDS and found.lower <= 0 <= found.upper:
        return NONE_SHOWN, "interval holds zero"
    return {SUPPORTED: BETTER, OPPOSITE: WORSE}.get(verdict, verdict), reason


# ------------------------------------------------------------------------- paired comparisons


def power(changes: np.ndarray, figure: float) -> float:
    """The probability of the verdict "supported" if the paper's change were there.

    The share of :data:`STUDIES` simulated studies (:func:`asyrepro.analysis.statistics.simulated`)
    that the rule for changes calls so.

    Args:
        changes: (seeds, images), positive is better.
        figure: the paper's mean improvement.
    """
    found = (
        decide(crossed_interval(one, draws=STUDY_DRAWS), len(one), figure)[0]
        for one in simulated(changes, figure, STUDIES)
    )
    return sum(verdict == SUPPORTED for verdict in found) / STUDIES


def _checked(metrics: pd.DataFrame) -> pd.DataFrame:
    """The rows of the paper's tables that networks made, in a fixed order, or DataError."""
    needed = ["table", "model", "dataset", "loss", "seed", "image", *METRICS]
    missing = [name for name in needed if name not in metrics.columns]
    if missing:
        raise DataError(f"the table of metrics lacks the columns {', '.join(missing)}")
    rows = metrics.assign(
        table=pd.to_numeric(metrics["table"], errors="coerce"),
        seed=pd.to_numeric(metrics["seed"], errors="coerce"),
        image=metrics["image"].astype(str),
    )
    rows = rows[rows["table"].notna() & rows["seed"].notna()]
    rows = rows.astype({"table": int, "seed": int})
    keys = ["table", "model", "dataset", "loss", "seed", "image"]
    twice = rows[rows.duplicated(keys)]
    if len(twice):
        raise DataError(f"the table of metrics has this row twice: {_where(twice.iloc[0], keys)}")
    bad = rows[~np.isfinite(rows[list(METRICS)].to_numpy(dtype=np.float64)).all(axis=1)]
    if len(bad):
        raise DataError(f"a metric is not a finite number at {_where(bad.iloc[0], keys)}")
    return rows.sort_values(keys).reset_index(drop=True)


def _where(row: pd.Series, keys: list[str]) -> str:
    return ", ".join(f"{key} {row[key]}" for key in keys)


def _grid(rows: pd.DataFrame, loss: str, value: str, columns="image") -> pd.DataFrame:
    """Values of one loss as a table of seeds by images; NaN where a run lacks an image."""
    return rows[rows["loss"] == loss].pivot(index="seed", columns=columns, values=value)


def paired(rows: pd.DataFrame, loss: str, against: str, value: str, columns="image"):
    """The paired runs of two losses.

    Args:
        rows: of one table, model and data set, with columns loss, seed, image, ``value`` and,
            if known, those of :data:`OF_RUNS`.
        loss, against: the two losses.
        value: column to compare.
        columns: column (or several) whose values run across.

    Returns:
        (values of ``loss``, values of ``against``, notes): two data frames with the same seeds
        (rows) and images (columns), empty if no seed has both, and what was left out and why.
    """
    rows = rows[rows["loss"].isin([loss, against])]
    first, second = _grid(rows, loss, value, columns), _grid(rows, against, value, columns)
    if not first.columns.equals(second.columns):
        images = first.columns.union(second.columns)
        first, second = first.reindex(columns=images), second.reindex(columns=images)
    either, notes = first.index.union(second.index), []
    both = first.dropna().index.intersection(second.dropna().index)
    if len(both) < len(either):
        notes.append(f"left out, not complete for both losses: seeds {_list(either, both)}")
    runs = rows.drop_duplicates(["loss", "seed"]).set_index(["loss", "seed"])
    for column, what in OF_RUNS.items():
        if column in runs:
            of = runs[column].astype(object).fillna("unknown")
            alike = [seed for seed in both if of[loss, seed] == of[against, seed]]
            if len(alike) < len(both):
                notes.append(f"left out, trained {what}: seeds {_list(both, alike)}")
            both = pd.Index(alike, dtype=both.dtype)
    return first.loc[both], second.loc[both], notes


def _list(everything, kept) -> str:
    return ", ".join(str(seed) for seed in everything if seed not in set(kept))


def _paper_change(paper: pd.DataFrame | None, table: int, base: str, metric: str) -> float:
    """The paper's mean change, asymmetric minus base, over its ten images; NaN if unknown."""
    if paper is None:
        return np.nan
    column = metric if metric in paper.columns else "rmse"
    if column == "rmse" and metric != "nrmse":
        return np.nan
    rows = paper[pd.to_numeric(paper["table"], errors="coerce") == table]
    values = rows.pivot(index="image", columns="loss", values=column)
    if not {base, f"asy_{base}"} <= set(values.columns):
        return np.nan
    return float((values[f"asy_{base}"] - values[base]).mean())


def _pairs(losses: set[str]) -> list[tuple[str, str, str, str]]:
    """(kind, base, loss, against) of all comparisons among the losses of one table."""
    found = []
    for base in results.BASES:
        asymmetric = f"asy_{base}"
        wanted = [("claim", asymmetric, base)]
        wanted += [("reading", f"{asymmetric}_{name}", base) for name in READINGS]
        wanted += [("control", f"{asymmetric}_{name}", base) for name in CONTROLS]
        wanted += [("contrast", asymmetric, f"{asymmetric}_{name}") for name in CONTRASTS]
        found += [
            (kind, base, loss, against)
            for kind, loss, against in wanted
            if loss in losses and against in losses
        ]
    return found


def verdicts(
    metrics: pd.DataFrame, paper: pd.DataFrame | None, with_power: bool = False
) -> pd.DataFrame:
    """Every paired comparison of a study, with intervals, tests and verdict.

    Args:
        metrics: the tidy table (columns table, model, dataset, loss, seed, image, psnr, ssim,
            nrmse, and iterations if known). Rows without a table or without a seed (other test
            sets, baselines) play no part. The order of rows does not matter.
        paper: the paper's Tables 2-5 (columns table, image, loss, psnr, ssim, rmse, the last
            as printed, that is, NRMSE), or None.
        with_power: simulate the power of the comparisons, about a second each.

    Returns:
        One row per table, model, dataset, comparison and metric. ``kind``: "claim" (asy against
        its base loss, what the paper's tables show), "reading" (Table 1's variant against the
        base loss), "control" (a control against the base loss), "contrast" (asy against a
        control). ``change``, ``lower``, ``upper``, ``fixed_lower``, ``fixed_upper`` and
        ``paper_change`` are loss minus ``against`` in the metric's unit. ``noise`` is the
        root-mean-square difference between two runs of the base loss that differ in their seed
        only (mean over the images): the yardstick. ``power``: of :func:`power`, where the paper
        has an improvement and the seeds are enough for a verdict. ``images_better``: images whose
        mean change over the seeds is an improvement.

    Raises:
        DataError: a column is missing, a row is there twice, or a metric is not finite.
    """
    rows, found = _checked(metrics), []
    for (table, model, dataset), group in rows.groupby(["table", "model", "dataset"]):
        for kind, base, loss, against in _pairs(set(group["loss"])):
            for metric in METRICS:
                first, second, notes = paired(group, loss, against, metric)
                where = (table, model, dataset, kind, base, loss, against, metric)
                claimed = kind in ("claim", "reading")
                figure = _paper_change(paper, table, base, metric) if claimed else np.nan
                noise = noise_of(group, base, metric)
                known = (claimed, figure, with_power)
                numbers = comparison(first, second, metric, noise, notes, *known)
                found.append(dict(zip(_WHERE, where, strict=True)) | numbers)
    columns = [*_WHERE, *_NUMBERS, "verdict", "reason"]
    table = pd.DataFrame(found, columns=[name for name in columns if name != "p_holm"])
    table.insert(columns.index("p_holm"), "p_holm", np.nan)
    for kind in table["kind"].unique():
        chosen = table["kind"] == kind
        table.loc[chosen, "p_holm"] = holm(table.loc[chosen, "p"].to_numpy())
    return table


_WHERE = ("table", "model", "dataset", "kind", "base", "loss", "against", "metric")
_NUMBERS = (
    *("seeds", "images", "against_mean", "loss_mean", "change", "lower", "upper"),
    *("fixed_lower", "fixed_upper", "seeds_better", "seeds_worse", "sign_p", "p", "p_holm"),
    *("noise", "paper_change", "power", "images_better"),
)


def noise_of(rows: pd.DataFrame, loss: str, metric: str) -> float:
    """Root-mean-square difference of the mean over images between two runs of one loss."""
    rows = rows[rows["loss"] == loss]
    known = [column for column in OF_RUNS if column in rows]
    if known and len(rows):  # of runs that differ in more than their seed, the most that do not
        kind = rows[known].astype(object).fillna("unknown").astype(str).agg(" ".join, axis=1)
        rows = rows[kind == rows.groupby(kind, sort=False)["seed"].nunique().idxmax()]
    means = _grid(rows, loss, metric).dropna().mean(axis=1).to_numpy()
    return float(np.sqrt(2) * means.std(ddof=1)) if len(means) > 1 else np.nan


def comparison(
    first: pd.DataFrame,
    second: pd.DataFrame,
    metric: str,
    noise: float,
    notes: list[str],
    claimed: bool = False,
    figure: float = np.nan,
    with_power: bool = False,
) -> dict:
    """The numbers and the verdict of one comparison, as columns of :func:`verdicts`.

    Args:
        first, second, notes: what :func:`paired` returned.
        metric: psnr, ssim or nrmse, or with "_y" at its end.
        noise: of :func:`noise_of`.
        claimed: whether the paper claims a change, and the rule is that of its claims.
        figure: the paper's change.
        with_power: simulate the power, about a second.
    """
    seeds, images = first.shape
    result = {"seeds": seeds, "images": images, "noise": noise, "paper_change": figure}
    if seeds == 0:
        return result | {"verdict": IMPOSSIBLE, "reason": "; ".join(["no paired seeds", *notes])}
    direction = DIRECTION[metric.removesuffix("_y")]
    changes = first.to_numpy() - second.to_numpy()
    better = crossed_interval(direction * changes)
    if claimed:
        verdict, reason = decide(better, seeds, direction * figure)
    else:
        verdict, reason = compare(better, seeds)
    if verdict in (NOT_SUPPORTED, UNDECIDED, NONE_SHOWN) and seeds >= MINIMUM_SEEDS:
        if better.lower <= 0 < better.fixed_lower:
            notes.append("better on these images alone")
        elif better.fixed_upper < 0 <= better.upper:
            notes.append("worse on these images alone")
    raw = better if direction > 0 else better.flipped()
    if with_power and direction * figure > 0 and seeds >= MINIMUM_SEEDS and images > 1:
        result["power"] = power(direction * changes, direction * figure)
    return result | {
        "against_mean": second.to_numpy().mean(),
        "loss_mean": first.to_numpy().mean(),
        "change": raw.mean,
        "lower": raw.lower,
        "upper": raw.upper,
        "fixed_lower": raw.fixed_lower,
        "fixed_upper": raw.fixed_upper,
        "seeds_better": better.better,
        "seeds_worse": better.worse,
        "sign_p": better.sign_p,
        "p": better.p,
        "images_better": int((direction * changes.mean(axis=0) > 0).sum()),
        "verdict": verdict,
        "reason": "; ".join([reason, *notes]),
    }


def attribution(table: pd.DataFrame) -> pd.DataFrame:
    """Does an effect come from the asymmetry or from a smaller loss scale?

    Args:
        table: what :func:`verdicts` returned.

    Returns:
        One row per table, model, dataset, base loss and metric with asy compared with its base
        and with the normalized and shuffled controls: ``effect`` (better, worse, or none shown
        and the verdict), ``source`` by a fixed rule. The asymmetry plays a part if asy differs
        from the shuffled control in the effect's direction, the scale if it differs from the
        normalized control in that direction.
    """
    words = {SUPPORTED: BETTER, OPPOSITE: WORSE}
    found = []
    for keys, group in table.groupby(["table", "model", "dataset", "base", "metric"], sort=False):
        base = keys[3]
        asymmetric = f"asy_{base}"
        known = {row.against: row.verdict for row in group.itertuples() if row.loss == asymmetric}
        needed = [base, f"{asymmetric}_shuffled", f"{asymmetric}_normalized"]
        if not set(needed) <= set(known):
            continue
        effect = words.get(known[base], known[base])
        if effect not in (BETTER, WORSE):
            effect, source = f"none shown ({effect})", "nothing to attribute"
        else:
            where, scale = (known[name] == effect for name in needed[1:])
            source = {
                (True, False): "the asymmetry",
                (False, True): "the smaller loss scale",
                (True, True): "both the asymmetry and the smaller loss scale",
                (False, False): "cannot be told apart",
            }[where, scale]
        found.append((*keys, effect, source))
    columns = ["table", "model", "dataset", "base", "metric", "effect", "source"]
    return pd.DataFrame(found, columns=columns)


# ------------------------------------------------------------------------ the other quantities


def step_time_summary(times: pd.DataFrame, draws: int = DRAWS) -> pd.DataFrame:
    """Step time of the asymmetric losses against their base losses, from interleaved runs.

    Args:
        times: columns loss, step_ms (milliseconds a training step), repetition (runs of the
            losses that took turns share one), and model if there are several. Several times of
            one loss in one repetition count as their median.
        draws: bootstrap resamples of the repetitions.

    Returns:
        One row per model and asymmetric loss: model, loss, against, repetitions, base_ms and
        loss_ms (medians), ratio (median of the repetitions' ratios), lower, upper, verdict and
        reason by the rule "time".

    Raises:
        DataError: a column is missing or a time is not positive.
    """
    missing = [name for name in ("loss", "step_ms", "repetition") if name not in times.columns]
    if missing:
        raise DataError(f"the table of step times lacks the columns {', '.join(missing)}")
    if not (times["step_ms"] > 0).all():
        raise DataError("every step time must be a positive number of milliseconds")
    times = times if "model" in times.columns else times.assign(model="")
    found = []
    for model, group in times.groupby("model", sort=True):
        median = group.groupby(["repetition", "loss"])["step_ms"].median().unstack("loss")
        for loss in sorted(set(median.columns) - set(results.BASES)):
            base = loss.split("_")[1] if "_" in loss else ""
            if base not in median.columns:
                continue
            both = median[[base, loss]].dropna()
            if not both.empty:
                found.append({"model": model, "loss": loss, "against": base} | _ratio(both, draws))
    return pd.DataFrame(found, columns=_TIME_COLUMNS)


_TIME_COLUMNS = (
    *("model", "loss", "against", "repetitions", "base_ms", "loss_ms"),
    *("ratio", "lower", "upper", "verdict", "reason"),
)


def _ratio(both: pd.DataFrame, draws: int) -> dict:
    base, loss = both.iloc[:, 0].to_numpy(), both.iloc[:, 1].to_numpy()
    ratios = loss / base
    count = len(ratios)
    chosen = np.random.default_rng([20231226, 3, count]).integers(count, size=(draws, count))
    lower, upper = np.quantile(
        np.median(ratios[chosen], axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    )
    verdict, reason = UNDECIDED, f"interval holds {TIME_RATIO}"
    if count < MINIMUM_REPETITIONS:
        reason = f"fewer than {MINIMUM_REPETITIONS} repetitions"
    elif upper < TIME_RATIO:
        verdict, reason = SUPPORTED, f"interval below {TIME_RATIO}"
    elif lower > TIME_RATIO:
        verdict, reason = NOT_SUPPORTED, f"interval above {TIME_RATIO}"
    return {
        "repetitions": count,
        "base_ms": np.median(base),
        "loss_ms": np.median(loss),
        "ratio": np.median(ratios),
        "lower": lower,
        "upper": upper,
        "verdict": verdict,
        "reason": reason,
    }


def up_to(metrics: pd.DataFrame, metric: str, figure: float, table: int = 2) -> dict | None:
    """The abstract's "up to about X %", by the rule "up_to"; None without such runs.

    Args:
        metrics: the tidy table; if it holds the table for several data sets, all count.
        metric: psnr, ssim or nrmse.
        figure: X, percent; a change in the metric's better direction.
        table: whose test images to search.

    Returns:
        dict(measured, lower, upper (of the image with the largest change, percent), image,
        base, seeds (of the base loss with the fewest), verdict, reason).
    """
    rows = _checked(metrics)
    changes = []
    for dataset, group in rows[rows["table"] == table].groupby("dataset"):
        for base in results.BASES:
            if {base, f"asy_{base}"} <= set(group["loss"]):
                first, second, _ = paired(group, f"asy_{base}", base, metric)
                percent = 100 * DIRECTION[metric] * (first / second - 1)
                changes += [(dataset, base, name, percent[name].to_numpy()) for name in percent]
    changes = [change for change in changes if len(change[3])]
    if not changes:
        return None
    seeds = min(len(values) for *_, values in changes)
    _, base, image, best = max(changes, key=lambda change: change[3].mean())
    result = {"measured": best.mean(), "image": image, "base": base, "seeds": seeds}
    if seeds < 2:
        reason = "one seed: chance cannot be told from effect"
        return result | {"lower": np.nan, "upper": np.nan, "verdict": IMPOSSIBLE, "reason": reason}
    tail = (1 - LEVEL) / 2 / len(changes)

    def bounds(values: np.ndarray) -> tuple[float, float]:
        half = stats.t.ppf(1 - tail, len(values) - 1) * stats.sem(values)
        return values.mean() - half, values.mean() + half

    lower, upper = bounds(best)
    highest = max(bounds(values)[1] for *_, values in changes)
    least = figure - 0.05  # half a unit of the last digit that the abstract prints
    verdict, reason = UNDECIDED, f"{least:.2f} % is not excluded, and not reached with confidence"
    if seeds < MINIMUM_SEEDS:
        reason = f"fewer than {MINIMUM_SEEDS} seeds"
    elif best.mean() >= least and lower > 0:
        verdict, reason = SUPPORTED, f"the largest change is at least {least:.2f} %"
    elif highest < 0:
        verdict, reason = OPPOSITE, "every image got worse"
    elif highest < least:
        verdict, reason = NOT_SUPPORTED, f"no image's interval reaches {least:.2f} %"
    return result | {"lower": lower, "upper": upper, "verdict": verdict, "reason": reason}


# -------------------------------------------------------------------------- verdicts of claims

_CLAIM_COLUMNS = (
    *("claim", "place", "table", "model", "dataset", "base", "quantity", "paper", "measured"),
    *("lower", "upper", "unit", "seeds", "power", "verdict", "reason"),
)
_SHARED = ("lower", "upper", "verdict", "reason")


def claim_verdicts(
    comparisons: pd.DataFrame,
    metrics: pd.DataFrame,
    mechanism: pd.DataFrame | None = None,
    times: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The verdict of every claim that the study can speak to.

    Args:
        comparisons: from :func:`verdicts`.
        metrics: the tidy table, for the claims "up to".
        mechanism: from :func:`asyrepro.analysis.mechanism.claim_verdicts`, same columns as what
            is returned here.
        times: from :func:`step_time_summary`.

    Returns:
        One row per claim and table or model it could be tested on, in the order of
        :data:`asyrepro.paper.claims.CLAIMS`.
    """
    found = []
    for claim in CLAIMS:
        row = {
            "claim": claim.id,
            "place": claim.place,
            "table": claim.table,
            "model": claim.model,
            "base": claim.base,
            "quantity": claim.quantity,
            "paper": claim.figure,
        }
        if claim.rule == "change":
            chosen = comparisons[
                (comparisons["kind"] == "claim")
                & (comparisons["table"] == claim.table)
                & (comparisons["base"] == claim.base)
                & (comparisons["metric"] == claim.metric)
            ]
            for line in chosen.to_dict("records"):
                part = {name: line[name] for name in (*_SHARED, "dataset", "seeds", "power")}
                part |= {"paper": line["paper_change"], "measured": line["change"]}
                found.append(row | part | {"unit": "dB" if claim.metric == "psnr" else ""})
        elif claim.rule == "up_to":
            part = up_to(metrics, claim.metric, claim.figure, claim.table)
            if part:
                where = f" (image {part.pop('image')}, {part.pop('base')})"
                row["quantity"] += where
                found.append(row | part | {"unit": "%"})
        elif claim.rule == "time" and times is not None:
            for line in times[times["loss"] == claim.loss].to_dict("records"):
                part = {name: line[name] for name in (*_SHARED, "model")}
                if line["model"]:
                    title = titles.model_title(line["model"])
                    part["quantity"] = f"{claim.quantity}, {title}"
                part["measured"] = line["ratio"]
                part["reason"] += f"; {line['repetitions']} repetitions"
                found.append(row | part | {"unit": "ratio"})
        elif mechanism is not None and len(mechanism):
            found += mechanism[mechanism["claim"] == claim.id].to_dict("records")
    table = pd.DataFrame(found, columns=_CLAIM_COLUMNS)
    return table.astype({"table": "Int64", "seeds": "Int64"})
