"""The paired runs of two losses: what was measured of both, and what cannot be paired."""

from __future__ import annotations

import numpy as np
import pandas as pd

from asyrepro.runs import results

# What must agree in a pair of runs besides the seed, columns of metrics.csv, and how a pair that
# differs was trained: a GPU draws other patches and noise than the CPU.
OF_RUNS = {
    "iterations": "for different lengths",
    "device": "on other devices",
    "precision": "in different precision",
}


def wide(rows: pd.DataFrame, value: str, columns="image") -> pd.DataFrame:
    """Values with an index (loss, seed), sorted, and one column an image; NaN where missing."""
    return rows.pivot(index=["loss", "seed"], columns=columns, values=value).sort_index()


def runs_of(rows: pd.DataFrame) -> pd.DataFrame:
    """What must agree in a pair of runs (:data:`OF_RUNS`), with an index (loss, seed)."""
    runs = rows.drop_duplicates(["loss", "seed"]).set_index(["loss", "seed"])
    known = [name for name in OF_RUNS if name in runs]
    return runs[known].astype(object).fillna("unknown")


def paired(values: pd.DataFrame, runs: pd.DataFrame, loss: str, against: str):
    """The paired runs of two losses.

    Args:
        values: of :func:`wide`.
        runs: of :func:`runs_of`.
        loss, against: the two losses.

    Returns:
        (values of ``loss``, values of ``against``, notes): two data frames with the same seeds
        (rows) and images (columns), empty if no seed has both, and what was left out and why.
    """
    there = set(values.index.get_level_values(0))
    if not {loss, against} <= there:
        empty = pd.DataFrame(index=pd.Index([], dtype=int), columns=values.columns, dtype=float)
        return empty, empty, []
    first, second = values.loc[loss], values.loc[against]
    used = first.notna().any() | second.notna().any()
    first, second = first.loc[:, used], second.loc[:, used]
    either, notes = first.index.union(second.index), []
    both = first.dropna().index.intersection(second.dropna().index)
    if len(both) < len(either):
        notes.append(f"left out, not complete for both losses: seeds {_list(either, both)}")
    ours, theirs = (runs.loc[name].reindex(both) for name in (loss, against))
    same = ours == theirs
    for column, what in OF_RUNS.items():
        if column in runs:
            alike = both[same.loc[both, column].to_numpy()]
            if len(alike) < len(both):
                notes.append(f"left out, trained {what}: seeds {_list(both, alike)}")
            both = alike
    return first.loc[both], second.loc[both], notes


def _list(everything, kept) -> str:
    return ", ".join(str(seed) for seed in everything if seed not in set(kept))


def finite(values: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The values without images of which a run has an infinite one (a flat image, restored)."""
    infinite = np.isinf(values).any()
    images = ", ".join(map(str, values.columns[infinite]))
    left_out = [f"left out, infinite for some run: {images}"] if images else []
    return values.loc[:, ~infinite], left_out


def noise_of(values: pd.DataFrame, runs: pd.DataFrame) -> float:
    """Root-mean-square difference of the means over images of two runs that differ in their seed.

    Pooled over all losses but the controls; of runs that differ in more than their seed, those of
    the kind that has the most.
    """
    means = values.dropna().mean(axis=1)
    means = means[~means.index.get_level_values(0).isin(results.CONTROLS)]
    kinds = runs.loc[means.index].astype(str).agg(" ".join, axis=1) if len(runs.columns) else ""
    squares = degrees = 0.0
    for _, of_loss in means.groupby(level=0):
        if isinstance(kinds, pd.Series):
            own = kinds[of_loss.index]
            of_loss = of_loss[own == own.value_counts(sort=True).index[0]]
        squares += ((of_loss - of_loss.mean()) ** 2).sum()
        degrees += len(of_loss) - 1
    return float(np.sqrt(2 * squares / degrees)) if degrees else np.nan
