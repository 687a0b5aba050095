"""Do the paper's claims hold? Paired comparisons, their intervals, and verdicts by fixed rules.

Design. The losses of one seed share initial weights, patches and noise, so the change
``y[s, i]`` (asymmetric minus base, seed s, image i) is free of most of the noise of either run.
Every seed is evaluated on the same images: the design is crossed,

    y[s, i] = mean + seed effect[s] + image effect[i] + residual[s, i],

and an interval for the mean has to allow for other seeds and for other images.

Method (:func:`crossed_interval`): a hierarchical bootstrap over both. Each of 10,000 resamples
draws seeds and images independently, with replacement, and averages the changes in the drawn
rows and columns (the "pigeonhole" bootstrap for crossed factors: Owen, Annals of Applied
Statistics 1, 2007). Its percentiles alone are too narrow for few seeds and images: with ten
images they held the true mean in 60-92 % of simulated studies of two seeds and in 90-93 % of ten.
The resampled means are therefore stretched about the observed mean, so that their standard
deviation becomes the two-way analysis of variance's estimate, and by t/1.96, t being Student's
quantile with Satterthwaite's degrees of freedom (the "expanded percentile interval" of Hesterberg,
The American Statistician 69, 2015, carried over to two factors).

Coverage of the 95 % interval in 1,500 simulated studies of ten images each, true mean zero,
standard deviations of seed effect, image effect and residual as given; "plain" are the percentiles
before stretching:

    seeds                                    2     3     4     6     8    10
    0.02, 0.03, 0.02            stretched 93.8  94.7  95.1  94.9  95.0  95.1 %
                                    plain 83.3  90.1  91.4  91.8  92.9  92.9 %
    0.03, 0.005, 0.01 (seeds)   stretched 92.7  95.6  94.3  94.4  95.1  94.4 %
                                    plain 60.1  76.5  81.3  86.9  88.8  89.9 %
    0.003, 0.03, 0.01 (images)  stretched 95.6  96.2  94.8  93.9  95.8  94.7 %
                                    plain 91.6  92.2  90.9  91.2  91.1  89.9 %
    0, 0, 0.02                  stretched 99.7  99.6  99.5  99.1  99.0  98.7 %
                                    plain 98.1  99.0  99.2  99.4  99.4  99.8 %
    the first, exponentially    stretched 91.5  93.0  93.3  93.3  92.9  92.9 %
    skewed effects                  plain 82.6  88.0  88.9  90.6  89.8  89.9 %

The interval that decides is this one, because the paper claims that the loss improves restoration
of images, not of these ten; the interval for these images alone (t over the seeds' means) is
shown beside it and never decides.

The rules and their thresholds are in :mod:`asyrepro.paper.claims`. Verdicts are not corrected for
multiplicity; the column ``p_holm`` gives p after Holm's correction over all comparisons of the
same kind in the study. Were the loss without effect, 0.6 of 24 claims would come out supported by
the interval alone; the sign test makes it fewer.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from scipy import optimize, special, stats

from asyrepro.errors import DataError
from asyrepro.paper.claims import (
    CLAIMS,
    DIRECTION,
    IMPOSSIBLE,
    LEVEL,
    MINIMUM_REPETITIONS,
    MINIMUM_SEEDS,
    NOT_SUPPORTED,
    OPPOSITE,
    RULES,
    SIGN_LEVEL,
    SUPPORTED,
    TIME_RATIO,
    UNDECIDED,
)
from asyrepro.paper.tables import tables as paper_tables
from asyrepro.report import results, style

DRAWS = 10_000
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
BETTER, WORSE, NONE_SHOWN = "better", "worse", "no change shown"

_DIGITS = {"psnr": 3, "ssim": 5, "nrmse": 5}
_TITLES = {"psnr": "PSNR (dB)", "ssim": "SSIM", "nrmse": "NRMSE"}


# ---------------------------------------------------------------------------------- statistics


class Interval(NamedTuple):
    """A mean change and what is known about it.

    Attributes:
        mean: over seeds and images.
        lower, upper: interval over seeds and images; NaN with fewer than two of either.
        fixed_lower, fixed_upper: interval over seeds for these images only; NaN with one seed.
        p: two-sided; below 1 - level exactly if ``lower, upper`` leave out zero.
        better, worse: seeds whose mean change is above, below zero.
        sign_p: two-sided sign test over the seeds; seeds without change do not count.
    """

    mean: float
    lower: float
    upper: float
    fixed_lower: float
    fixed_upper: float
    p: float
    better: int
    worse: int
    sign_p: float

    def flipped(self) -> Interval:
        """The same for the change's negative, for metrics that are better when smaller."""
        ends = (-self.mean, -self.upper, -self.lower, -self.fixed_upper, -self.fixed_lower)
        return Interval(*ends, self.p, self.worse, self.better, self.sign_p)


@lru_cache(maxsize=64)
def _draws(count: int, draws: int, stream: int) -> np.ndarray:
    """Shares (draws, count) that resampling ``count`` things with replacement gives to each."""
    generator = np.random.default_rng([20231226, stream, count])
    return generator.multinomial(count, np.full(count, 1 / count), size=draws) / count


def resampled_means(changes: np.ndarray, draws: int = DRAWS) -> np.ndarray:
    """Means (draws,) of resamples of ``changes`` (seeds, images), drawn over both, sorted.

    The draws depend on the numbers of seeds and images only, never on other comparisons.
    """
    seeds, images = changes.shape
    rows, columns = _draws(seeds, draws, 1), _draws(images, draws, 2)
    return np.sort(((columns @ changes.T) * rows).sum(axis=1))


def crossed_error(changes: np.ndarray) -> tuple[float, float]:
    """Standard error of the mean of a crossed table (seeds, images), and degrees of freedom.

    From the mean squares of a two-way analysis of variance with random seeds and images,
    var(mean) = (MS_seeds + MS_images - MS_residual) / (seeds * images), but never less than
    seeds or images alone give; degrees of freedom by Satterthwaite.
    """
    seeds, images = changes.shape
    mean = changes.mean()
    row, column = changes.mean(axis=1), changes.mean(axis=0)
    residual = changes - row[:, None] - column[None, :] + mean
    degrees = np.array([seeds - 1, images - 1, (seeds - 1) * (images - 1)])
    sums = (images * (row - mean) ** 2).sum(), (seeds * (column - mean) ** 2).sum()
    squares = np.array([*sums, (residual**2).sum()]) / degrees
    total = max(squares[0] + squares[1] - squares[2], squares[0], squares[1])
    below = (squares**2 / degrees).sum()
    return float(np.sqrt(total / changes.size)), float(total**2 / below) if below > 0 else np.inf


def sign_test(changes: np.ndarray) -> tuple[int, int, float]:
    """(above zero, below zero, two-sided p) of a sign test; zeros do not count."""
    above, below = int((changes > 0).sum()), int((changes < 0).sum())
    p = stats.binomtest(above, above + below).pvalue if above + below else 1.0
    return above, below, float(p)


def crossed_interval(changes: np.ndarray, level: float = LEVEL, draws: int = DRAWS) -> Interval:
    """Mean of paired changes with its intervals and tests; the method is in the module's text.

    Args:
        changes: (seeds, images), finite.
        level: of both intervals.
        draws: bootstrap resamples.

    Raises:
        ValueError: ``changes`` is not a table of at least one finite number.
    """
    changes = np.asarray(changes, dtype=np.float64)
    if changes.ndim != 2 or changes.size == 0 or not np.isfinite(changes).all():
        raise ValueError("changes must be a (seeds, images) table of finite numbers")
    seeds, images = changes.shape
    per_seed = changes.mean(axis=1)
    mean = float(per_seed.mean())
    lower = upper = fixed_lower = fixed_upper = p = np.nan
    tail = (1 - level) / 2
    if seeds > 1:
        half = stats.t.ppf(1 - tail, seeds - 1) * per_seed.std(ddof=1) / np.sqrt(seeds)
        fixed_lower, fixed_upper = mean - half, mean + half
    if seeds > 1 and images > 1:
        lower, upper, p = _stretched(changes, mean, tail, draws)
    numbers = (mean, lower, upper, fixed_lower, fixed_upper, p)
    return Interval(*map(float, numbers), *sign_test(per_seed))


def _stretched(changes: np.ndarray, mean: float, tail: float, draws: int):
    """(lower, upper, p) from the stretched resampled means."""
    means, places = resampled_means(changes, draws), np.arange(draws)
    spread, (error, degrees) = means.std(), crossed_error(changes)
    # Changes that are all alike leave rounding errors; below that there is nothing to stretch.
    if spread == 0 or error <= 1e-12 * np.abs(changes).max():
        return mean, mean, 0.0 if mean else 1.0

    def bound(tail: float, side: int) -> float:
        factor = special.stdtrit(degrees, tail) / special.ndtri(tail) * error / spread
        place = (tail if side < 0 else 1 - tail) * (draws - 1)
        return mean + factor * (np.interp(place, places, means) - mean)

    # p is twice the tail at which the end on zero's side of the mean touches zero. Beyond the
    # reach of the resamples the t distribution alone gives it.
    side = -1 if mean > 0 else 1
    least, most = 1 / draws, 0.5 - 1e-6
    if side * bound(least, side) < 0:
        p = min(2 * least, 2 * stats.t.sf(abs(mean) / error, degrees))
    elif side * bound(most, side) >= 0:
        p = 1.0
    else:
        p = 2 * optimize.brentq(lambda tail: bound(tail, side), least, most, xtol=1e-7)
    return bound(tail, -1), bound(tail, 1), p


def holm(p: np.ndarray) -> np.ndarray:
    """P values after Holm's correction for as many comparisons; NaN stays and does not count."""
    p = np.asarray(p, dtype=np.float64)
    corrected = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


# --------------------------------------------------------------------------------------- rules


def decide(found: Interval, seeds: int, figure: float | None) -> tuple[str, str]:
    """The rule "change" of :data:`asyrepro.paper.claims.RULES`: (verdict, reason).

    Args:
        found: of the improvement, positive is better.
        seeds: how many it rests on.
        figure: the paper's mean improvement; None or NaN if it gives none.
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
                size = f"; the change is {'smaller' if small else 'larger' if large else 'not'}"
                size += " than the paper's" if small or large else " unlike the paper's"
            return SUPPORTED, "interval on the better side of zero, seeds agree" + size
        return UNDECIDED, "interval on the better side of zero, but too few seeds agree"
    if found.upper < 0 and signs and found.worse > found.better:
        return OPPOSITE, "interval on the worse side of zero, seeds agree"
    if figure is None or np.isnan(figure):
        return UNDECIDED, "interval reaches zero or less; the paper gives no figure to test"
    if found.upper < figure:
        side = "reaches zero" if found.upper >= 0 else "is on the worse side"
        return NOT_SUPPORTED, f"interval {side} and leaves out the paper's change"
    return UNDECIDED, "interval holds both zero and the paper's change"


def compare(found: Interval, seeds: int) -> tuple[str, str]:
    """For comparisons of which the paper says nothing: better, worse, or no change shown."""
    verdict, reason = decide(found, seeds, None)
    if verdict == UNDECIDED and seeds >= MINIMUM_SEEDS and found.lower <= 0 <= found.upper:
        return NONE_SHOWN, "interval holds zero"
    return {SUPPORTED: BETTER, OPPOSITE: WORSE}.get(verdict, verdict), reason


# ------------------------------------------------------------------------- paired comparisons


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
            if known, iterations.
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
    if "iterations" in rows:
        length = rows.drop_duplicates(["loss", "seed"]).set_index(["loss", "seed"])["iterations"]
        length = pd.to_numeric(length, errors="coerce").fillna(-1)  # unknown
        alike = [seed for seed in both if length[loss, seed] == length[against, seed]]
        if len(alike) < len(both):
            notes.append(f"left out, trained for different lengths: seeds {_list(both, alike)}")
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


def verdicts(metrics: pd.DataFrame, paper: pd.DataFrame | None) -> pd.DataFrame:
    """Every paired comparison of a study, with intervals, tests and verdict.

    Args:
        metrics: the tidy table (columns table, model, dataset, loss, seed, image, psnr, ssim,
            nrmse, and iterations if known). Rows without a table or without a seed (other test
            sets, baselines) play no part. The order of rows does not matter.
        paper: the paper's Tables 2-5 (columns table, image, loss, psnr, ssim, rmse, the last
            as printed, that is, NRMSE), or None.

    Returns:
        One row per table, model, dataset, comparison and metric. ``kind``: "claim" (asy against
        its base loss, what the paper's tables show), "reading" (Table 1's variant against the
        base loss), "control" (a control against the base loss), "contrast" (asy against a
        control). ``change``, ``lower``, ``upper``, ``fixed_lower``, ``fixed_upper`` and
        ``paper_change`` are loss minus ``against`` in the metric's unit. ``noise`` is the
        root-mean-square difference between two runs of the base loss that differ in their seed
        only (mean over the images): the yardstick. ``images_better``: images whose mean change
        over the seeds is an improvement.

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
                noise = _noise(_grid(group, base, metric))
                numbers = _comparison(first, second, metric, claimed, figure, noise, notes)
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
    *("noise", "paper_change", "images_better"),
)


def _noise(base: pd.DataFrame) -> float:
    """Root-mean-square difference of the mean over images between two base runs."""
    means = base.dropna().mean(axis=1).to_numpy()
    return float(np.sqrt(2) * means.std(ddof=1)) if len(means) > 1 else np.nan


def _comparison(first, second, metric: str, claimed: bool, figure, noise, notes) -> dict:
    """The numbers and the verdict of one comparison, as columns of :func:`verdicts`."""
    seeds, images = first.shape
    result = {"seeds": seeds, "images": images, "noise": noise, "paper_change": figure}
    if seeds == 0:
        return result | {"verdict": IMPOSSIBLE, "reason": "; ".join(["no paired seeds", *notes])}
    direction = DIRECTION[metric]
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


# ------------------------------------------------------------------------------ the two others


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
        base, seeds, verdict, reason).
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
    *("lower", "upper", "unit", "seeds", "verdict", "reason"),
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
        mechanism: from :func:`asyrepro.report.mechanism.claim_verdicts`, same columns as what
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
                part = {name: line[name] for name in (*_SHARED, "dataset", "seeds")}
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
                part["measured"] = line["ratio"]
                part["reason"] += f"; {line['repetitions']} repetitions"
                found.append(row | part | {"unit": "ratio"})
        elif mechanism is not None and len(mechanism):
            found += mechanism[mechanism["claim"] == claim.id].to_dict("records")
    table = pd.DataFrame(found, columns=_CLAIM_COLUMNS)
    return table.astype({"table": "Int64", "seeds": "Int64"})


# -------------------------------------------------------------------------------------- output


def forest(table: pd.DataFrame, title: str):
    """Forest plot of one table's comparisons with the base losses, as a matplotlib figure.

    Args:
        table: rows of :func:`verdicts` of one table, model and data set.
        title: of the figure.

    One panel a metric; a line is a loss with its mean change and its intervals. The grey band is
    the yardstick of noise, the diamond the paper's change; where it would shrink the rest too
    much, its value and an arrow stand at the border.
    """
    table = table[table["kind"] != "contrast"]
    lines = list(dict.fromkeys((row.base, row.loss) for row in table.itertuples()))
    bases = list(dict.fromkeys(base for base, _ in lines))
    # One line of space between the groups of the two base losses.
    height = {line: number + bases.index(line[0]) for number, line in enumerate(lines)}
    with style.context():
        fig = style.figure(1.6 + 0.22 * (len(lines) + len(bases)))
        axes = fig.subplots(1, len(METRICS), sharey=True)
        for ax, metric in zip(axes, METRICS, strict=True):
            rows = table[table["metric"] == metric]
            rows = rows.assign(**{name: rows[name] * _SCALE[metric] for name in _PLOTTED})
            _forest_limits(ax, rows)
            for _, of_base in rows.groupby("base"):
                places = [height[row.base, row.loss] for row in of_base.itertuples()]
                ends, noise = (min(places) - 0.5, max(places) + 0.5), of_base["noise"].iloc[0]
                ax.fill_betweenx(ends, -noise, noise, color=_BAND, lw=0)
            for row in rows.itertuples():
                _forest_line(ax, height[row.base, row.loss], row)
            ax.axvline(0, color=style.BLACK, lw=0.6, zorder=1)
            scale = "" if _SCALE[metric] == 1 else f" x {_SCALE[metric]}"
            better = "more" if DIRECTION[metric] > 0 else "less"
            ax.set_xlabel(f"{_TITLES[metric]}{scale}: {better} is better")
            ax.xaxis.set_major_locator(MaxNLocator(4))
            ax.spines[["top", "right", "left"]].set_visible(False)
            ax.tick_params(axis="y", length=0)
        axes[0].set_yticks(list(height.values()), [results.loss_title(loss) for _, loss in height])
        axes[0].set_ylim(max(height.values()) + 0.7, -0.7)
        fig.suptitle(f"{title}: change against the base loss")
        thin = "95 % over seeds and images"
        handles = [
            Line2D([], [], color=style.BLUE, marker="o", lw=0, label="asymmetric loss"),
            Line2D([], [], color=style.BLUE, lw=1, label=thin),
            Line2D(
                [], [], color=style.GREY, marker="o", mfc="white", lw=0, label="variant, control"
            ),
            Line2D(
                [], [], color=style.BLUE, lw=2.6, alpha=0.45, label="95 % on these images alone"
            ),
            Line2D([], [], color=style.VERMILLION, marker="D", lw=0, label="the paper's change"),
            Patch(color=_BAND, label="two base runs that differ in their seed (RMS)"),
        ]
        fig.legend(handles=handles, loc="lower center", ncols=3, frameon=False)
        high = fig.get_figheight()
        fig.subplots_adjust(0.18, 0.86 / high, 0.985, 1 - 0.34 / high, wspace=0.12)
    return fig


_BAND = "#ececec"
_SCALE = {"psnr": 1, "ssim": 1000, "nrmse": 1000}
_PLOTTED = ("change", "lower", "upper", "fixed_lower", "fixed_upper", "noise", "paper_change")


def _forest_limits(ax, rows: pd.DataFrame) -> None:
    """Room for zero and every interval; the paper's changes only where they stretch it little."""
    shown = rows[["change", "lower", "upper"]].to_numpy(dtype=float)
    ends = [value for value in shown.ravel() if np.isfinite(value)] + [0.0]
    low, high = min(ends), max(ends)
    room = 2 * max(high - low, 1e-9)
    for value in rows["paper_change"].dropna().unique():
        if low - room <= value <= high + room:
            low, high = min(low, value), max(high, value)
    edge = 0.08 * max(high - low, 1e-9)
    ax.set_xlim(low - edge, high + edge)


def _forest_line(ax, place: float, row) -> None:
    main = row.kind == "claim"
    colour, face = (style.BLUE, style.BLUE) if main else (style.GREY, "white")
    left, right = ax.get_xlim()
    ax.plot([row.lower, row.upper], [place, place], color=colour, lw=1.0, zorder=3)
    inside = np.clip([row.fixed_lower, row.fixed_upper], left, right)
    ax.plot(inside, [place, place], color=colour, lw=2.6, alpha=0.45, zorder=2)
    ax.plot(row.change, place, "o", color=colour, mfc=face, ms=4, zorder=4)
    if not main or np.isnan(row.paper_change):
        return
    if left <= row.paper_change <= right:
        ax.plot(row.paper_change, place, "D", color=style.VERMILLION, ms=4, zorder=5)
        return
    text = f"{row.paper_change:+.2f}"
    beyond = row.paper_change > right
    at, side, text = (right, "right", f"{text} >") if beyond else (left, "left", f"< {text}")
    ax.text(
        *(at, place - 0.15, text),
        **{"color": style.VERMILLION, "ha": side, "va": "bottom", "fontsize": 6.5, "zorder": 5},
    )


def _number(value: float, digits: int, sign: bool = False) -> str:
    return "-" if pd.isna(value) else f"{value:{'+' if sign else ''}.{digits}f}"


def _span(lower: float, upper: float, digits: int, sign: bool = True) -> str:
    if pd.isna(lower):
        return "-"
    return f"[{_number(lower, digits, sign)}, {_number(upper, digits, sign)}]"


def _p(value: float) -> str:
    return "-" if pd.isna(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def _grid_lines(head: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table."""
    marks = ["---"] * len(head)
    return ["| " + " | ".join(cells) + " |" for cells in (head, marks, *rows)] + [""]


def _claim_lines(table: pd.DataFrame) -> list[str]:
    rows = []
    for row in table.itertuples():
        digits = {"dB": 3, "%": 2, "ratio": 3}.get(row.unit, 5)
        unit = {"dB": " dB", "%": " %"}.get(row.unit, "")
        sign = row.unit != "ratio"
        name = row.claim
        if not pd.isna(row.table) and not name.startswith("table"):
            name += f" (Table {row.table})"
        measured = _number(row.measured, digits, sign) + unit
        if not pd.isna(row.lower):
            measured += " " + _span(row.lower, row.upper, digits, sign)
        paper = "-" if pd.isna(row.paper) else _number(row.paper, digits, sign) + unit
        seeds = "-" if pd.isna(row.seeds) else str(row.seeds)
        cells = [name, row.place, row.quantity, paper, measured, seeds, f"**{row.verdict}**"]
        rows.append([*cells, row.reason])
    head = ["claim", "place", "quantity", "paper", "measured [95 %]", "seeds", "verdict", "why"]
    return _grid_lines(head, rows)


def _change_lines(table: pd.DataFrame) -> list[str]:
    rows = []
    order = {metric: place for place, metric in enumerate(METRICS)}
    for row in table.sort_values("metric", key=lambda c: c.map(order), kind="stable").itertuples():
        digits = _DIGITS[row.metric]
        known = not pd.isna(row.sign_p)
        rows.append(
            [
                row.metric.upper(),
                results.loss_title(row.loss),
                results.loss_title(row.against),
                _number(row.against_mean, digits),
                _number(row.change, digits, True),
                _span(row.lower, row.upper, digits),
                _span(row.fixed_lower, row.fixed_upper, digits),
                f"{row.seeds_better:.0f} of {row.seeds}, p {_p(row.sign_p)}" if known else "-",
                "-" if pd.isna(row.p) else f"{_p(row.p)} ({_p(row.p_holm)})",
                f"{row.images_better:.0f} of {row.images}" if known else "-",
                _number(row.paper_change, digits, True),
                row.verdict,
            ]
        )
    head = [
        *("metric", "loss", "against", "mean of that", "change", "95 %, seeds and images"),
        *("95 %, these images alone", "seeds better, sign test", "p (Holm)", "images better"),
        *("paper", "verdict"),
    ]
    return _grid_lines(head, rows)


def _method_lines() -> list[str]:
    lines = ["## How it is judged", ""]
    lines += [
        "The losses of one seed share initial weights, patches and noise; a change is the "
        "difference within a seed and an image. Intervals are hierarchical bootstraps that "
        "resample seeds and images independently (10,000 resamples), stretched to the standard "
        "error of a two-way analysis of variance with random seeds and images and to Student's t "
        "with Satterthwaite's degrees of freedom, because the plain percentiles are too narrow "
        'for few seeds. "These images alone" is a t interval over seeds; it answers a narrower '
        "question and decides nothing. The sign test counts seeds whose mean change is above or "
        "below zero. p belongs to the first interval; Holm's correction runs over all comparisons "
        "of the same kind in this study (claims, readings, controls, contrasts), and verdicts do "
        "not use it.",
        "",
        "The rules, fixed in code before the data:",
        "",
    ]
    names = {
        "change": "mean changes",
        "up_to": '"up to about X %"',
        "time": "training time",
        "edges": "sharper edges",
        "dark": "darker regions",
    }
    return lines + [f"- *{names[name]}*: {rule}" for name, rule in RULES.items()] + [""]


def markdown(
    title: str,
    comparisons: pd.DataFrame,
    claims: pd.DataFrame,
    times: pd.DataFrame | None = None,
    mechanism: list[str] | None = None,
    stand_in: bool = False,
) -> str:
    """verdicts.md as text; the arguments are what the functions above return.

    Args:
        mechanism: lines that :func:`asyrepro.report.mechanism.markdown` made, or None.
        stand_in: whether the study was made from the bundled stand-in data.
    """
    mark = f" ({results.STAND_IN})" if stand_in else ""
    lines = [f"# Verdicts: {title}{mark}", ""]
    if stand_in:
        lines += [
            "Trained or tested on photographs that stand in for the paper's data: this shows that "
            "the machinery works and says nothing about the paper.",
            "",
        ]
    seeds = comparisons.loc[comparisons["kind"] == "claim", "seeds"]
    most = int(seeds.max()) if len(seeds) else 0
    if most < 2:
        lines += ["**With one seed no verdict is possible.** Run more seeds.", ""]
    elif most < MINIMUM_SEEDS:
        lines += [
            f"**{most} seeds: too few for any verdict** (the rules ask for {MINIMUM_SEEDS}).",
            "",
        ]
    lines += [f"## Claims{mark}", "", *_claim_lines(claims)]
    absent = [claim for claim in CLAIMS if claim.id not in set(claims["claim"])]
    if absent:
        lines += ["Not tested in this study: " + ", ".join(c.id for c in absent) + ".", ""]
    notes = list(dict.fromkeys(_note(claims)))
    lines += [f"- {note}" for note in notes] + [""] * bool(notes)
    sources = attribution(comparisons)
    for keys, group in comparisons.groupby(["table", "model", "dataset"]):
        lines += _table_lines(keys, group, sources, mark)
    if times is not None and len(times):
        lines += [f"## Training time{mark}", "", *_time_lines(times)]
    lines += mechanism or []
    return "\n".join(lines + _method_lines()).rstrip() + "\n"


def _note(claims: pd.DataFrame):
    for claim in CLAIMS:
        if claim.note and claim.id in set(claims["claim"]):
            yield f"{claim.place}: {claim.note}"


def _heading(table: int, model: str, dataset: str) -> str:
    trained = results.DATASET_TITLES.get(dataset, dataset)
    return f"Table {table}: {results.MODEL_TITLES.get(model, model)}, trained on {trained}"


def _table_lines(keys, group: pd.DataFrame, sources: pd.DataFrame, mark: str) -> list[str]:
    heading = _heading(*keys)
    lines = [f"## {heading}{mark if results.STAND_IN not in heading else ''}", ""]
    for base in dict.fromkeys(group["base"]):
        rows = group[group["base"] == base]
        seeds = int(rows["seeds"].max())
        counts = f"{seeds} seed{'s' * (seeds != 1)}, {rows['images'].max()} images"
        lines += [f"### Against {base.upper()} ({counts})", ""]
        noise = rows.drop_duplicates("metric").set_index("metric")["noise"]
        if noise.notna().any():
            said = ", ".join(f"{m.upper()} {_number(noise[m], _DIGITS[m])}" for m in METRICS)
            lines += [
                f"Yardstick: two {base.upper()} runs that differ in nothing but the seed differ "
                f"in their mean by (root mean square) {said}.",
                "",
            ]
        lines += _change_lines(rows[rows["kind"] != "contrast"])
        contrasts = rows[rows["kind"] == "contrast"]
        if len(contrasts):
            lines += ["What the controls separate:", ""]
            for name, meaning in CONTRASTS.items():
                if f"asy_{base}_{name}" in set(contrasts["against"]):
                    lines += [
                        f"- {name} ({CONTROLS[name]}): {results.loss_title(f'asy_{base}')} minus "
                        f"this control leaves {meaning}."
                    ]
            lines += ["", *_change_lines(contrasts)]
        chosen = (sources[["table", "model", "dataset"]] == list(keys)).all(axis=1)
        for row in sources[chosen & (sources["base"] == base)].itertuples():
            lines += [f"- {row.metric.upper()}: effect {row.effect}; source: {row.source}."]
        lines += [""] * (lines[-1] != "")
    return lines


def _time_lines(times: pd.DataFrame) -> list[str]:
    rows = [
        [
            results.MODEL_TITLES.get(row.model, row.model) or "-",
            results.loss_title(row.loss),
            f"{row.base_ms:.2f}",
            f"{row.loss_ms:.2f}",
            f"{row.ratio:.3f} [{row.lower:.3f}, {row.upper:.3f}]",
            str(row.repetitions),
            row.verdict,
        ]
        for row in times.itertuples()
    ]
    head = ["network", "loss", "base, ms a step", "loss, ms a step", "ratio [95 %]"]
    return _grid_lines([*head, "repetitions", "verdict"], rows)


def to_csv(frame: pd.DataFrame) -> bytes:
    """CSV with six significant digits and Unix line ends."""
    return frame.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()


def write(
    study_dir, metrics: pd.DataFrame | None = None, paper: pd.DataFrame | None = None
) -> list[Path]:
    """Write the verdicts of a study and return the paths written.

    verdicts.md (everything), verdicts.csv (all comparisons), claims.csv (a verdict a claim) and
    figures/forest_table<t>.{png,pdf}; and, if the study has a profiles.csv, what
    :func:`asyrepro.report.mechanism.write` makes of it. A step_times.csv (columns of
    :func:`step_time_summary`) in the study is read if there.

    The same input files give the same bytes.

    Args:
        study_dir: results/<study>.
        metrics: the tidy table; None reads the study's metrics.csv.
        paper: the paper's tables; None takes the project's own.

    Raises:
        DataError: a file is missing or damaged.
    """
    from asyrepro.report import mechanism  # it builds on the statistics above

    study_dir = Path(study_dir)
    metrics = results.plain(results.load(study_dir) if metrics is None else metrics)
    paper = paper_tables() if paper is None else paper
    stand_in = bool(
        any(
            (metrics[name] == "bundled").any() for name in ("dataset", "testset") if name in metrics
        )
    )
    comparisons = verdicts(metrics, paper)
    times = _read_times(study_dir / "step_times.csv")
    written, part, text = [], None, None
    if (study_dir / "profiles.csv").is_file():
        part, text, paths = mechanism.write(study_dir, paper, stand_in=stand_in)
        written += paths
    claims = claim_verdicts(comparisons, metrics, part, times)
    body = markdown(study_dir.name, comparisons, claims, times, text, stand_in)
    written += [
        results.write_bytes(study_dir / "verdicts.md", body.encode()),
        results.write_bytes(study_dir / "verdicts.csv", to_csv(comparisons)),
        results.write_bytes(study_dir / "claims.csv", to_csv(claims)),
    ]
    for (table, model, dataset), group in comparisons.groupby(["table", "model", "dataset"]):
        title = _heading(table, model, dataset)
        if stand_in and results.STAND_IN not in title:
            title += f" ({results.STAND_IN})"
        several = comparisons.loc[comparisons["table"] == table, "dataset"].nunique() > 1
        name = f"forest_table{table}" + (f"_{dataset}" if several else "")
        written += style.save(forest(group, title), study_dir / "figures" / name)
    return written


def _read_times(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    try:
        return step_time_summary(pd.read_csv(path))
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged ({error}); measure the step times again") from None
