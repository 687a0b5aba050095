"""The paired runs of two losses: what was measured of both, and what cannot be paired."""

from __future__ import annotations

from collections import Counter

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
Kinds = dict[tuple[str, int], tuple]  # (loss, seed) -> what must agree, in the order of OF_RUNS


def wide(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    """Values with an index (loss, seed), sorted, and one column an image; NaN where missing."""
    return rows.pivot(index=["loss", "seed"], columns="image", values=value).sort_index()


def kinds_of(rows: pd.DataFrame) -> Kinds:
    """What must agree in a pair of runs; None, what is not known, agrees with anything."""
    runs = rows.drop_duplicates(["loss", "seed"]).reindex(columns=["loss", "seed", *OF_RUNS])
    runs = runs.astype(object).where(runs.notna(), None)
    return {(loss, seed): tuple(kind) for loss, seed, *kind in runs.itertuples(index=False)}


def paired(
    values: pd.DataFrame, kinds: Kinds, loss: str, against: str
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """The paired runs of two losses.

    Args:
        values: of :func:`wide`.
        kinds: of :func:`kinds_of`; a run that it lacks agrees with any.
        loss, against: the two losses.

    Returns:
        (values of ``loss``, values of ``against``, notes): two data frames with the same seeds
        (rows) and images (columns), empty if no seed has both, and what was left out and why:
        images that fewer than half of the pairs have, then seeds that lack one of the others.
    """
    if not {loss, against} <= set(values.index.get_level_values(0)):
        empty = pd.DataFrame(index=pd.Index([], dtype=int), columns=values.columns, dtype=float)
        return empty, empty, []
    first, second = values.loc[loss], values.loc[against]
    seeds = first.index.union(second.index)
    both = np.stack([one.reindex(seeds).to_numpy(dtype=float) for one in (first, second)])
    there = ~np.isnan(both)
    shared = there.all(axis=0)
    pairs = shared.any(axis=1)
    used = shared.sum(axis=0) >= max(1, pairs.sum() / 2)
    kept, notes = pairs & shared[:, used].all(axis=1), []
    lacking = there.any(axis=(0, 1)) & ~used
    if lacking.any() and not first.index.intersection(second.index).empty:
        notes.append(f"left out, few pairs of runs have them: {_list(values.columns[lacking])}")
    if not kept.all():
        notes.append(f"left out, not complete for both losses: seeds {_list(seeds[~kept])}")
    unknown = (None,) * len(OF_RUNS)
    told = [[kinds.get((x, seed), unknown) for x in (loss, against)] for seed in seeds]
    for place, what in enumerate(OF_RUNS.values()):
        known = [{a[place], b[place]} - {None} for a, b in told]
        differs = np.array([len(both) > 1 for both in known]) & kept
        if differs.any():
            notes.append(f"left out, trained {what}: seeds {_list(seeds[differs])}")
        kept &= ~differs
    frames = [one.loc[:, used].loc[seeds[kept]] for one in (first, second)]
    return *frames, notes


def _list(names, most: int = 20) -> str:
    more = [f"{len(names) - most} more"] if len(names) > most else []
    return ", ".join([*map(str, names[:most]), *more])


def finite(values: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The values without images of which a run has an infinite one (a flat image, restored)."""
    infinite = np.isinf(values.to_numpy(dtype=float)).any(axis=0)
    images = values.columns[infinite]
    left_out = [f"left out, infinite for some run: {_list(images)}"] if len(images) else []
    return values.loc[:, ~infinite], left_out


def noise_of(values: pd.DataFrame, kinds: Kinds) -> float:
    """Root-mean-square difference of the means over images of two runs that differ in their seed.

    Pooled over all losses but the controls; of a loss's runs that differ in more than their seed,
    those of the kind that has the most.
    """
    of_losses: dict[str, list[tuple]] = {}
    for (loss, seed), mean in values.dropna().mean(axis=1).items():
        if loss not in results.CONTROLS:
            of_losses.setdefault(loss, []).append((kinds.get((loss, seed)), mean))
    squares = degrees = 0.0
    for runs in of_losses.values():
        [(most, _)] = Counter(kind for kind, _ in runs).most_common(1)
        means = np.array([mean for kind, mean in runs if kind == most])
        squares += ((means - means.mean()) ** 2).sum()
        degrees += len(means) - 1
    return float(np.sqrt(2 * squares / degrees)) if degrees else np.nan
