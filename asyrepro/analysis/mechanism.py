"""Where in the image an asymmetric loss changes the error: by grey value, and at edges.

Section 2 of the paper gives the reason for its loss: pixels with small grey values get more
weight, so their error should fall. Its Fig. 6 is said to show sharper edges. Both are tested here
on sums that :func:`asyrepro.runs.profiles.error_profile` takes from every restored image, binned by
the label's grey value (ten equal bins) and by the label's gradient strength (ten fixed bins).

A change is ``error(asymmetric) / error(base) - 1`` of one image and seed, in percent, so that every
image counts alike; intervals over seeds and images are those of
:func:`asyrepro.analysis.statistics.crossed_interval`, rules those of :mod:`asyrepro.paper.claims`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from asyrepro.analysis.statistics import Interval, crossed_interval
from asyrepro.analysis.verdicts import OF_RUNS, decide, paired
from asyrepro.paper.claims import (
    BRIGHT,
    CLAIMS,
    DARK,
    NOT_SUPPORTED,
    OPPOSITE,
    SUPPORTED,
    UNDECIDED,
    Claim,
)
from asyrepro.runs import results
from asyrepro.runs.profiles import GRADIENT_EDGES, SUMS, WHERE

STRONGEST = len(GRADIENT_EDGES) - 2  # number of the last bin of gradient strength
LARGEST_CHANGE = 1000  # percent; a training whose error changes by more has failed: no chart
MINIMUM_PIXELS = 100  # an image with fewer pixels in a bin or region plays no part there


def of_runs(profiles: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    """The profiles with what must agree in a pair of runs, from metrics.csv."""
    keys, known = WHERE[:-1], [name for name in (*OF_RUNS, "base") if name in metrics]
    runs = metrics.loc[metrics["table"].notna() & metrics["seed"].notna(), [*keys, *known]]
    runs = runs.drop_duplicates(keys).astype(profiles[keys].dtypes)
    return profiles.merge(runs, how="left", on=keys)


# ------------------------------------------------------------------------------------- changes


def _summed(profiles: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """One row per ``keys``, with mse and energy ratio of the bins that share them.

    Images with too few pixels there drop out (for all losses alike: the label decides).
    """
    sums = profiles.groupby(keys, as_index=False, dropna=False)[SUMS].sum()
    sums = sums[sums["pixels"] >= MINIMUM_PIXELS]
    return sums.assign(
        mse=sums["sum_squared"] / sums["pixels"],
        sharpness=sums["energy_output"] / sums["energy_label"].where(sums["energy_label"] > 0),
    )


def percent_changes(profiles, loss: str, against: str, value: str = "mse", by_bin: bool = False):
    """Paired changes, of all given bins taken together or of each.

    Args:
        profiles: the bins' rows, of one table, model and data set; if they tell what must agree
            in a pair of runs (:func:`of_runs`), pairs that differ in it are left out.
        loss, against: the two losses.
        value: "mse", or "sharpness" (gradient energy, output over label).
        by_bin: each bin by itself.

    Returns:
        100 * (value of loss / value of against - 1), a data frame of seeds by images (columns
        are (bin, image) with ``by_bin``), empty if nothing is paired. Images where ``against``
        has value 0 drop out.
    """
    columns = ["bin", "image"] if by_bin else ["image"]
    chosen = profiles[profiles["loss"].isin([loss, against])]
    run = ["loss", "seed", *(name for name in OF_RUNS if name in profiles)]
    sums = _summed(chosen, [*run, *columns]).dropna(subset=value)
    first, second, _ = paired(sums, loss, against, value, columns)
    usable = second.columns[(second > 0).all()] if len(second) else []
    return 100 * (first[usable] / second[usable] - 1)


def _interval(changes: pd.DataFrame) -> Interval | None:
    return crossed_interval(changes.to_numpy()) if changes.size else None


def bin_changes(profiles: pd.DataFrame) -> pd.DataFrame:
    """Percentage change of the squared error in every bin, asymmetric losses against base.

    Args:
        profiles: the study's profiles.

    Returns:
        One row per table, model, dataset, kind, loss and bin: lower_edge, upper_edge, seeds,
        images (with enough pixels in the bin), share (percent of all pixels), change, lower, upper
        (percent, interval over seeds and images), sharpness_change, sharpness_lower and
        sharpness_upper (gradient bins).
    """
    found = []
    for where, group in profiles.groupby(["table", "model", "dataset"]):
        bases = results.bases(group)
        losses = sorted(set(group["loss"]), key=results.loss_rank)
        for kind, rows in group.groupby("kind"):
            bins = rows.groupby("bin").agg({"lower": "first", "upper": "first", "pixels": "sum"})
            bins["share"] = 100 * bins["pixels"] / bins["pixels"].sum()
            for loss in losses:
                base = bases[loss]
                if loss in results.BASES or base not in losses:
                    continue
                changes = percent_changes(rows, loss, base, by_bin=True)
                sharper = percent_changes(rows, loss, base, "sharpness", by_bin=True)
                for place, one in bins.iterrows():
                    part = _of_bin(changes, place)
                    line = (*where, kind, loss, base, place, one["lower"], one["upper"])
                    numbers = _numbers(part), _numbers(_of_bin(sharper, place))
                    found.append((*line, *part.shape, one["share"], *numbers[0], *numbers[1]))
    return pd.DataFrame(found, columns=_BIN_COLUMNS)


_BIN_COLUMNS = (
    *("table", "model", "dataset", "kind", "loss", "against", "bin", "lower_edge", "upper_edge"),
    *("seeds", "images", "share", "change", "lower", "upper"),
    *("sharpness_change", "sharpness_lower", "sharpness_upper"),
)


def _of_bin(changes: pd.DataFrame, place: int) -> pd.DataFrame:
    return changes.loc[:, [column for column in changes.columns if column[0] == place]]


def _numbers(changes: pd.DataFrame) -> tuple[float, float, float]:
    """Mean change and its interval; NaN without any."""
    found = _interval(changes)
    return (found.mean, found.lower, found.upper) if found else (np.nan,) * 3


# ------------------------------------------------------------------------------------ verdicts


def paper_error_fall(paper: pd.DataFrame | None, table: int, base: str) -> float:
    """Fall of the whole image's squared error in a table of the paper, percent, mean over images.

    From the printed PSNR: 100 * (1 - 10^(-change/10)). NaN if the table is not there.
    """
    if paper is None:
        return np.nan
    rows = paper[(paper["table"].astype(int) == table) & paper["loss"].isin([base, f"asy_{base}"])]
    psnr = rows.pivot(index="image", columns="loss", values="psnr")
    if psnr.shape[1] < 2:
        return np.nan
    return float((100 * (1 - 10 ** (-(psnr[f"asy_{base}"] - psnr[base]) / 10))).mean())


def _judged(changes: pd.DataFrame, direction: int, figure: float) -> tuple[str, str]:
    """The rule for changes on percentages whose better direction is given.

    ``figure``: the paper's fall of the whole image's squared error, percent.
    """
    found = _interval(direction * changes)
    if found is None:
        return UNDECIDED, "nothing to compare"
    name = f"the whole image's fall in the paper's table ({figure:.2f} %)"
    return decide(found, len(changes), figure, name)


def judge_dark(profiles: pd.DataFrame, loss: str, base: str, figure: float) -> list[dict]:
    """The rule "dark" on one table's profiles.

    Args:
        profiles: of one table, model and data set.
        loss, base: the two losses.
        figure: the paper's fall of the whole image's squared error, percent.

    Returns:
        Three rows (quantity, measured, lower, upper, seeds, images, verdict, reason): the dark
        pixels' change, the bright ones', and dark minus bright; the first has the claim's verdict,
        the others none (""). Empty if nothing is paired.
    """
    grey = profiles[profiles["kind"] == "grey"]
    dark = percent_changes(grey[grey["upper"] <= DARK + 1e-9], loss, base)
    bright = percent_changes(grey[grey["lower"] >= BRIGHT - 1e-9], loss, base)
    if not dark.size:
        return []
    verdict, reason = _judged(dark, -1, figure)
    images, seeds = dark.columns.intersection(bright.columns), dark.index.intersection(bright.index)
    contrast = dark.loc[seeds, images] - bright.loc[seeds, images]
    if verdict == SUPPORTED:
        relative, _ = _judged(contrast, -1, np.nan)
        if relative == OPPOSITE:
            verdict, reason = NOT_SUPPORTED, "dark pixels gain less than bright ones"
        elif relative != SUPPORTED:
            verdict, reason = UNDECIDED, "dark pixels gain, but not clearly more than bright ones"
    elif verdict == UNDECIDED and _judged(contrast, -1, np.nan)[0] == OPPOSITE:
        verdict, reason = NOT_SUPPORTED, "dark pixels gain less than bright ones"
    return [
        _line(f"dark pixels (label below {DARK}), squared error, %", dark, verdict, reason),
        _line(f"bright pixels (label from {BRIGHT}), squared error, %", bright),
        _line("dark minus bright, percentage points", contrast),
    ]


def judge_edges(profiles: pd.DataFrame, loss: str, base: str, figure: float) -> list[dict]:
    """The rule "edges" on one table's profiles; as :func:`judge_dark`, two rows."""
    rows = profiles[(profiles["kind"] == "gradient") & (profiles["bin"] == STRONGEST)]
    error = percent_changes(rows, loss, base)
    energy = percent_changes(rows, loss, base, "sharpness")
    if not error.size:
        return []
    error_verdict, error_reason = _judged(error, -1, figure)
    energy_verdict, energy_reason = _judged(energy, 1, np.nan)
    both = (error_verdict, energy_verdict)
    if both in {(SUPPORTED, SUPPORTED), (OPPOSITE, OPPOSITE)}:
        verdict = error_verdict
    elif {OPPOSITE, NOT_SUPPORTED} & set(both):
        verdict = NOT_SUPPORTED
    else:
        verdict = error_verdict if error_verdict == energy_verdict else UNDECIDED
    reason = f"error {error_verdict} ({error_reason}); energy {energy_verdict} ({energy_reason})"
    return [
        _line("strongest edges, squared error, %", error, verdict, reason),
        _line("strongest edges, gradient energy of output over label, %", energy),
    ]


def _line(quantity: str, changes: pd.DataFrame, verdict: str = "", reason: str = "") -> dict:
    mean, lower, upper = _numbers(changes)
    return {
        "quantity": quantity,
        "measured": mean,
        "lower": lower,
        "upper": upper,
        "seeds": changes.shape[0],
        "images": changes.shape[1],
        "verdict": verdict,
        "reason": reason,
    }


def regions(profiles: pd.DataFrame, paper: pd.DataFrame | None) -> pd.DataFrame:
    """All regional changes behind the claims "darker regions" and "sharper edges".

    Returns:
        The rows of :func:`judge_dark` and :func:`judge_edges` for every table, base loss and
        claim, with claim, table, model, dataset, base, loss and paper (the figure that the rule
        holds the change against, as a change: negative is a fall of the error).
    """
    found = []
    for (table, model, dataset), group in profiles.groupby(["table", "model", "dataset"]):
        for claim in CLAIMS:
            if claim.rule not in ("dark", "edges") or claim.table not in (None, table):
                continue
            figure = paper_error_fall(paper, table, claim.base)
            judge = judge_dark if claim.rule == "dark" else judge_edges
            where = {
                **{"claim": claim.id, "table": table, "model": model, "dataset": dataset},
                **{"base": claim.base, "loss": claim.loss},
            }
            lines = judge(group, claim.loss, claim.base, figure)
            held = [-figure] + [np.nan] * len(lines)
            found += [where | {"paper": p} | line for p, line in zip(held, lines, strict=False)]
    return pd.DataFrame(found, columns=_REGION_COLUMNS)


_REGION_COLUMNS = (
    *("claim", "table", "model", "dataset", "base", "loss", "quantity", "paper", "measured"),
    *("lower", "upper", "seeds", "images", "verdict", "reason"),
)


def claim_verdicts(lines: pd.DataFrame) -> pd.DataFrame:
    """The rows of :func:`regions` that carry a verdict, as verdicts.claim_verdicts wants them."""
    places: dict[str, Claim] = {claim.id: claim for claim in CLAIMS}
    chosen = lines[lines["verdict"] != ""]
    return chosen.assign(
        place=[places[name].place for name in chosen["claim"]], unit="%", paper=np.nan
    )
