"""What the check of one run, baseline or file of a study found, and how numbers are compared."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pandas as pd

from asyrepro.runs import results

ROUNDED_TOLERANCE = 0.001  # for metrics of 8 bits: one pixel of Set5's bird is 0.0001 dB
PRINTED = 6e-7  # metrics.csv has six decimals


@dataclass
class Outcome:
    """What the check of one run, baseline or file found.

    Attributes:
        name: of what was checked.
        differs: what is not as it should be, in words.
        agrees: what is as it should be.
        unchecked: what could not be checked, or why nothing could.
        largest: the largest difference of each metric, where it was evaluated again.
    """

    name: str
    differs: list[str] = field(default_factory=list)
    agrees: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    largest: dict[str, float] = field(default_factory=dict)

    def note(self, what: str, same: bool, problem: str) -> None:
        """Add ``what`` to what agrees, or else the problem to what differs."""
        (self.agrees if same else self.differs).append(what if same else problem)

    def same_hash(self, what: str, now: str, then: str | None) -> None:
        """Compare a hash with the recorded one, if there is one."""
        if then is not None:
            self.note(what, now == then, f"{what} {now[:12]}, recorded {then[:12]}")

    def same_rows(self, rows: pd.DataFrame, stored: pd.DataFrame) -> None:
        """Compare a file's rows with their part of metrics.csv."""
        problem = difference(rows, stored)
        self.note("metrics.csv", not problem, problem)

    def evaluated(self, again: list[dict], stored: pd.DataFrame, tolerance: float) -> None:
        """Compare rows that were evaluated again with those of metrics.csv on one test set."""
        stored = stored.drop_duplicates("image").set_index("image")  # of which same_rows tells
        worst = (0.0, "")  # beyond the tolerance
        for row in again:
            if row["image"] not in stored.index:
                self.differs.append(f"metrics.csv lacks {row['image']} on {row['testset']}")
                continue
            for metric in (name for name in results.FLOATS if name in row):
                here, there = printed(row[metric]), stored.at[row["image"], metric]
                same = here == there or (math.isnan(here) and math.isnan(there))
                change = 0.0 if same else abs(here - there)
                change = math.inf if math.isnan(change) else change
                self.largest[metric] = max(change, self.largest.get(metric, 0.0))
                text = f"{metric} of {row['image']} on {row['testset']} is {here:.6f}"
                allowed = max(tolerance, ROUNDED_TOLERANCE) if metric.endswith("_y") else tolerance
                worst = max(worst, (change - allowed, f"{text}, in metrics.csv {there:.6f}"))
        if worst[0] > 0:
            self.differs.append(worst[1])

    def __str__(self) -> str:
        parts = [f"DIFFERS: {'; '.join(self.differs)}"] if self.differs else []
        parts += [f"evaluated again, {in_words(self.largest)}"] if self.largest else []
        parts += [f"same {', '.join(self.agrees)}"] if self.agrees else []
        return f"{self.name}: {'; '.join(parts + self.unchecked) or 'nothing to check'}"


def difference(rows: pd.DataFrame, stored: pd.DataFrame) -> str:
    """In what ``stored``, part of metrics.csv, differs from a file's rows; "" if in nothing."""
    keys = ["testset", "image"]
    rows, stored = rows.set_index(keys), stored.set_index(keys)
    for index in (stored.index, rows.index):
        if index.has_duplicates:
            testset, image = index[index.duplicated()][0]
            return f"{image} on {testset} is there more than once: delete the run and repeat it"
    absent, extra = rows.index.difference(stored.index), stored.index.difference(rows.index)
    if len(absent) or len(extra):
        return f"metrics.csv lacks {len(absent)} of its rows and has {len(extra)} others"
    for column in rows.columns:
        ours, theirs = rows[column], stored[column].reindex(rows.index)
        if column in results.FLOATS:
            same = (ours == theirs) | ((ours - theirs).abs() < PRINTED)
        else:
            same = ours == theirs
        wrong = ~(same.fillna(False) | (ours.isna() & theirs.isna()))
        if wrong.any():
            testset, image = wrong.idxmax()
            value, other = theirs[wrong.idxmax()], ours[wrong.idxmax()]
            return f"metrics.csv has {column} {value} for {image} on {testset}, its rows {other}"
    return ""


def printed(value: float) -> float:
    """A metric as it comes out of metrics.csv, by way of rows.csv."""
    return float(f"{float(f'{value:.7f}'):.6f}")


def in_words(largest: dict[str, float]) -> str:
    """Largest differences by metric, as "largest difference psnr 0, ssim 2e-06"."""
    return f"largest difference {', '.join(f'{k} {v:.1g}' for k, v in largest.items())}"
