"""Where in the image a loss changes the error: by grey value, at edges, where contrast is low.

Section 2 of the paper gives the reason for its loss: pixels with small grey values get more
weight, so their error should fall, and low-contrast regions should gain. Its Fig. 6 is said to show
sharper edges and more contrast. All of it is tested here on sums that
:func:`asyrepro.runs.profiles.error_profile` takes from every restored image, binned by the label's
grey value (ten equal bins) and by the label's gradient strength (ten fixed bins).

A change is ``value(loss) / value(base) - 1`` of one image and seed, in percent, so that every image
counts alike; intervals over seeds and images are those of
:func:`asyrepro.analysis.statistics.crossed_interval`, rules those of :mod:`asyrepro.paper.claims`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from asyrepro.analysis.pairs import OF_RUNS, Kinds, kinds_of, paired
from asyrepro.analysis.statistics import crossed_interval
from asyrepro.paper.claims import BRIGHT, DARK, FLAT, judge
from asyrepro.runs import results
from asyrepro.runs.profiles import GRADIENT_EDGES, SUMS, WHERE

STRONGEST = len(GRADIENT_EDGES) - 2  # number of the last bin of gradient strength
LARGEST_CHANGE = 1000  # percent; a run whose error changes by more has failed: no chart
MINIMUM_PIXELS = 100  # an image with fewer pixels in a bin or region is left out there
TABLE = ["table", "model", "dataset"]
RUN = ["loss", "seed"]


@dataclass(frozen=True)
class Region:
    """A part of the image and what is measured there."""

    title: str  # what the change is of
    value: str  # "mse", "deviation" (mean absolute error) or "energy" (gradient, output over label)
    kind: str  # of the bins, "grey" or "gradient"
    bins: range  # those that belong to it
    better: int = -1  # +1 if an increase is an improvement
    over: str | None = None  # another region, by whose value this one's is divided
    minus: str | None = None  # another region, whose change is taken from this one's


_DARK = ("grey", range(round(10 * DARK)))
_BRIGHT = ("grey", range(round(10 * BRIGHT), 10))
_FLAT = ("gradient", range(FLAT))
_EDGES = ("gradient", range(STRONGEST, STRONGEST + 1))
_WHOLE = ("gradient", range(STRONGEST + 1))
_ENERGY = "gradient energy of output over label, %"
_BRIGHT_DEVIATION = "bright deviation"
REGIONS = {
    "dark": Region(f"dark pixels (label below {DARK}), squared error, %", "mse", *_DARK),
    "bright": Region(f"bright pixels (label from {BRIGHT}), squared error, %", "mse", *_BRIGHT),
    "flat": Region(
        f"low contrast (the {FLAT} lowest bins of gradient), squared error, %", "mse", *_FLAT
    ),
    "edges": Region("strongest edges, squared error, %", "mse", *_EDGES),
    "edge energy": Region(f"strongest edges, {_ENERGY}", "energy", *_EDGES, better=1),
    "contrast": Region(f"whole image, {_ENERGY}", "energy", *_WHOLE, better=1),
    "dark over bright": Region(
        "relative deviation of dark pixels over that of bright ones, %",
        *("deviation", *_DARK),
        over=_BRIGHT_DEVIATION,
    ),
    "dark minus bright": Region(  # the trade between them
        "dark minus bright, percentage points", "mse", *_DARK, minus="bright"
    ),
    _BRIGHT_DEVIATION: Region("bright pixels, mean absolute error, %", "deviation", *_BRIGHT),
}
SHOWN = tuple(name for name in REGIONS if name != _BRIGHT_DEVIATION)


def of_runs(profiles: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    """The profiles with what must agree in a pair of runs, from metrics.csv."""
    keys, known = WHERE[:-1], [name for name in (*OF_RUNS, "base") if name in metrics]
    runs = metrics.loc[metrics["table"].notna() & metrics["seed"].notna(), [*keys, *known]]
    runs = runs.drop_duplicates(keys).astype(profiles[keys].dtypes)
    return profiles.merge(runs, how="left", on=keys)


# ------------------------------------------------------------------------------------- changes


def _values(profiles: pd.DataFrame, value: str, columns: list[str]) -> pd.DataFrame:
    """One value of all given bins together (or each, by ``columns``): (loss, seed) x columns.

    Images with too few pixels there drop out (for all losses alike: the label decides).
    """
    sums = profiles.groupby([*RUN, *columns])[SUMS].sum()
    sums = sums[sums["pixels"] >= MINIMUM_PIXELS]
    found = {
        "mse": sums["sum_squared"] / sums["pixels"],
        "deviation": sums["sum_absolute"] / sums["pixels"],
        "energy": sums["energy_output"] / sums["energy_label"].where(sums["energy_label"] > 0),
    }[value]
    return found.dropna().unstack(columns).sort_index()


def _of_region(profiles: pd.DataFrame, name: str) -> pd.DataFrame:
    region = REGIONS[name]
    inside = (profiles["kind"] == region.kind) & profiles["bin"].isin(region.bins)
    values = _values(profiles[inside], region.value, ["image"])
    return values / _of_region(profiles, region.over) if region.over else values


def _percent(values: pd.DataFrame, runs: Kinds, loss: str, against: str) -> pd.DataFrame:
    """100 * (value of loss / value of against - 1), seeds by images, where that is defined."""
    first, second, _ = paired(values, runs, loss, against)
    usable = second.columns[(second > 0).all()] if len(second) else []
    return 100 * (first[usable] / second[usable] - 1)


def _losses(group: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """(loss, its base loss) of every loss of a table whose base loss is there, too."""
    bases, losses = results.bases(group), set(group["loss"])
    for loss in sorted(losses, key=results.loss_rank):
        if bases[loss] != loss and bases[loss] in losses:
            yield loss, bases[loss]


def regions(profiles: pd.DataFrame) -> pd.DataFrame:
    """What each loss changes against its base loss in each region of ``REGIONS``.

    Args:
        profiles: the study's; if they tell what must agree in a pair of runs (:func:`of_runs`),
            pairs that differ in it are left out.

    Returns:
        One row a table, model, dataset, loss and region: ``base``, ``quantity``, ``measured``
        (percent; "dark minus bright": percentage points), ``lower``, ``upper`` (95 % over seeds and
        images), ``seeds``, ``images``, ``seeds_better``, ``seeds_worse``, and ``direction`` and
        ``reason`` by the rule "region".
    """
    found = []
    for where, group in profiles.groupby(TABLE):
        runs = kinds_of(group)
        values = {name: _of_region(group, name) for name in SHOWN}
        for loss, base in _losses(group):
            changes = {name: _percent(value, runs, loss, base) for name, value in values.items()}
            for name in SHOWN:
                change, region = changes[name], REGIONS[name]
                if region.minus:
                    change, less = change.align(changes[region.minus], join="inner")
                    change = change - less
                if change.size:
                    found.append((*where, loss, base, name, *_judged(change, region)))
    return pd.DataFrame(found, columns=_REGION_COLUMNS)


_REGION_COLUMNS = (
    *(*TABLE, "loss", "base", "region", "quantity", "measured", "lower", "upper"),
    *("seeds", "images", "seeds_better", "seeds_worse", "direction", "reason"),
)


def _judged(changes: pd.DataFrame, region: Region) -> tuple:
    found = crossed_interval(region.better * changes.to_numpy())
    raw = found if region.better > 0 else found.flipped()
    direction, _, reason = judge(found, len(changes))
    numbers = (raw.mean, raw.lower, raw.upper, *changes.shape, found.better, found.worse)
    return region.title, *numbers, direction, reason


def bin_changes(profiles: pd.DataFrame) -> pd.DataFrame:
    """Percentage change of the squared error in every bin, each loss against its base loss.

    Args:
        profiles: as for :func:`regions`.

    Returns:
        One row per table, model, dataset, kind, loss and bin: lower_edge, upper_edge, seeds,
        images (with enough pixels in the bin), share (percent of all pixels), change, lower, upper
        (percent, interval over seeds and images), sharpness_change, sharpness_lower and
        sharpness_upper (gradient energy; gradient bins).
    """
    found = []
    for (*where, kind), group in profiles.groupby([*TABLE, "kind"]):
        runs = kinds_of(group)
        bins = group.groupby("bin").agg({"lower": "first", "upper": "first", "pixels": "sum"})
        bins["share"] = 100 * bins["pixels"] / bins["pixels"].sum()
        values = [_values(group, value, ["bin", "image"]) for value in ("mse", "energy")]
        for loss, base in _losses(group):
            changes, sharper = (_percent(value, runs, loss, base) for value in values)
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


def _of_bin(changes: pd.DataFrame, place: int) -> np.ndarray:
    return changes.to_numpy()[:, changes.columns.get_level_values(0) == place]


def _numbers(changes: np.ndarray) -> tuple[float, float, float]:
    """Mean change and its interval; NaN without any."""
    if not changes.size:
        return (np.nan,) * 3
    found = crossed_interval(changes)
    return found.mean, found.lower, found.upper
