"""Numbers of your own: a table of losses, images and perhaps seeds, and what it shows.

Of any program's results: for ``asyrepro radar`` and ``asyrepro judge``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from asyrepro.analysis.comparisons import compare
from asyrepro.analysis.pairs import finite, kinds_of, paired, wide
from asyrepro.analysis.statistics import holm
from asyrepro.metrics import METRICS
from asyrepro.runs import results
from asyrepro.system.errors import DataError, note

NAMES = ("loss", "image")
COLUMNS = ["loss", "metric", "against_mean", "change", "lower", "upper", "seeds", "images"]
COLUMNS += ["seeds_better", "p", "p_holm", "direction", "reason"]
SMALLER = {  # metrics of the field, beside METRICS, of which smaller is better
    *("mae", "mse", "lpips", "dists", "pieapp", "gmsd", "msgmsd", "niqe", "brisque", "piqe"),
    *("fid", "kid", "sam", "ergas", "deltae", "ciede2000"),
}


@dataclass(frozen=True)
class Numbers:
    """A table that fits: its rows, and the losses, images and metrics in the order they stand.

    ``smaller``: metrics of which smaller is better, beside those that are known.
    """

    rows: pd.DataFrame
    losses: list[str]
    images: list[str]
    metrics: list[str]
    smaller: Collection[str] = ()

    def direction(self, metric: str) -> int:
        """+1 if larger is better, as it is taken of metrics that are not known, else -1.

        A metric is known by a word of its name: LPIPS_alex, rmse-y.
        """
        if metric in self.smaller:
            return -1
        known = dict.fromkeys(SMALLER, -1) | {
            name: each.direction for name, each in METRICS.items()
        }
        words = re.findall("[a-z0-9]+", metric.lower())
        return next((known[word] for word in words if word in known), 1)


def read(path: Path, metrics: Sequence[str] = ()) -> pd.DataFrame:
    """A CSV file of one's own; DataError if it is missing, damaged or lacks a column.

    A column without a name, as pandas writes an index, is left out.
    """
    if not path.is_file():
        raise DataError(f"there is no table {path}")
    advice = "give a row for each loss and image, columns separated by commas, in UTF-8"
    frame = results.read_table(path, [*NAMES, *metrics], names=NAMES, advice=advice)
    nameless = frame.columns.str.match(r"Unnamed: \d+$")  # as pandas calls it
    if nameless.any():
        note(f"{path}: a column without a name is left out")
    return frame.loc[:, ~nameless]


def checked(
    frame: pd.DataFrame,
    base: str | None = None,
    metrics: Sequence[str] = (),
    smaller: Sequence[str] = (),
) -> Numbers:
    """A table of one's own, if it fits.

    Args:
        frame: columns loss, image, one or more of numbers, and perhaps seed.
        base: the loss that the others are compared with, if they are.
        metrics: the columns to take; by default all of numbers.
        smaller: those of which smaller is better, beside those that are known.

    Raises:
        DataError: a column is missing, there are no rows or no numbers, a row has no loss or image
            or a text in a column of numbers, rows are of several test sets or networks, ``metrics``
            or ``smaller`` names what holds no numbers, the base has no rows, or nothing else has.
    """
    metrics = list(dict.fromkeys(metrics))
    if {*NAMES} & {*metrics}:
        raise DataError("metrics= takes columns of numbers, not loss and image, which are names")
    lacking = [name for name in (*NAMES, *metrics) if name not in frame.columns]
    if lacking:
        raise DataError(f"no column {' and no column '.join(lacking)}: add it to the table")
    if frame.empty:
        raise DataError("the table has no rows: give one for each loss and image")
    for name in NAMES:
        if (nameless := frame[name].isna().to_numpy()).any():
            raise DataError(f"row {nameless.argmax() + 1} has no {name}: fill it in")
    for name in {*results.ROW_KEY} - {*NAMES, "seed"}:  # of a study's own table
        if name in frame.columns and frame[name].nunique() > 1:
            raise DataError(f"rows with several values of {name}: keep those of one in the table")
    frame = frame.astype(dict.fromkeys(NAMES, str))
    for name in metrics or frame.columns.difference(NAMES):
        _check_numbers(frame[name], asked=name in metrics)
    numbers = frame.select_dtypes("number").columns.difference(results.INTEGERS, sort=False)
    metrics = metrics or list(numbers)
    if not metrics:
        raise DataError("no column of numbers (psnr, ssim, ...) beside loss and image")
    if unknown := sorted({*smaller} - {*metrics}):
        raise DataError(f"smaller={unknown[0]}: there is no such column of numbers")
    losses, images = (list(dict.fromkeys(frame[name])) for name in NAMES)
    if base is not None and base not in losses:
        raise DataError(f"base={base} has no rows; there are {', '.join(losses)}")
    if losses == [base]:
        raise DataError(f"base={base} has no loss to be compared with")
    return Numbers(frame, losses, images, metrics, smaller)


def _check_numbers(column: pd.Series, asked: bool) -> None:
    """DataError if a column holds texts, of one not asked for among at least as many numbers."""
    numbers = pd.to_numeric(column, errors="coerce")
    texts = (numbers.isna() & column.notna()).to_numpy()
    if texts.any() and (asked or texts.sum() <= numbers.count()):
        row = texts.argmax()
        raise DataError(
            f"row {row + 1} has {column.iloc[row]!r} in {column.name}, a column of numbers: write "
            "a number, leave the field empty, or name the columns to take (metrics=)"
        )


def judged(numbers: Numbers, base: str) -> pd.DataFrame:
    """Every loss against the base, by the rule for changes (:func:`asyrepro.paper.claims.judge`).

    Args:
        numbers: of :func:`checked`. Rows without a column seed are of one seed; a loss without any
            seed, as the degraded input is in a study's own table, is left out with a note.
        base: the loss to compare with.

    Returns:
        A row a metric and loss, with columns of :func:`asyrepro.analysis.comparisons.comparisons`;
        p_holm is over the losses of a metric.

    Raises:
        DataError: two rows are of one loss, seed and image, or a row has no seed.
    """
    rows = numbers.rows if "seed" in numbers.rows else numbers.rows.assign(seed=0)
    seeds = rows["seed"].groupby(rows["loss"]).count()
    seedless = [loss for loss in numbers.losses if seeds[loss] == 0 and loss != base]
    if seedless and len(seedless) < len(numbers.losses) - 1:  # something is left to judge
        note(f"left out, as their rows have no seed: {', '.join(seedless)}")
        rows = rows[~rows["loss"].isin(seedless)]
    if rows["seed"].isna().any():
        loss = rows.loc[rows["seed"].isna(), "loss"].iloc[0]
        raise DataError(
            f"a row of {loss} has no seed: fill it in, or leave the column out if there is one seed"
        )
    twice = rows[rows.duplicated([*NAMES, "seed"])]
    if len(twice):
        row = twice.iloc[0]
        advice = "delete one" if "seed" in numbers.rows else "number the runs in a column seed"
        raise DataError(
            f"loss {row['loss']}, seed {row['seed']}, image {row['image']} has two rows: {advice}"
        )
    found = [
        _against(rows, loss, base, metric, numbers.direction(metric))
        for metric in numbers.metrics
        for loss in numbers.losses
        if loss not in (base, *seedless)
    ]
    table = pd.DataFrame(found, columns=COLUMNS)
    corrected = table.groupby("metric")["p"].transform(lambda p: holm(p.to_numpy(dtype=float)))
    return table.assign(p_holm=corrected)


def _against(rows: pd.DataFrame, loss: str, base: str, metric: str, direction: int) -> dict:
    both = rows[rows["loss"].isin([loss, base])]
    values, left_out = finite(wide(both, metric))
    first, second, notes = paired(values, kinds_of(both), loss, base)
    row = compare(first, second, direction)
    row["reason"] = "; ".join([row["reason"], *notes, *left_out])
    return row | {"loss": loss, "metric": metric}
