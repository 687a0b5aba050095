"""Learning curves: the histories of a study's runs in one small file, and the lines of a chart."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from asyrepro.analysis.titles import loss_title
from asyrepro.report.wording import MINUS
from asyrepro.runs import results
from asyrepro.runs.results import BASES, PAPER_LOSSES
from asyrepro.system.files import write_csv

HISTORY = ["step", "loss", "val_psnr", "seconds"]  # what is taken of a run's history.csv
COLUMNS = ["table", "loss", "seed", "step", "train_loss", "val_psnr", "seconds"]
MOST = 60  # points kept of a run, besides those with a validation

WIDTH, HEIGHT = 360, 210  # of a chart, in the units of its SVG
LEFT, RIGHT, TOP, BOTTOM = 50, 336, 10, 178  # where the lines are


def collect(study_dir) -> pd.DataFrame | None:
    """The course of all finished runs, from the run folders or from what was kept of them.

    Where there are run folders, ``histories.csv`` is written: about 60 points a run, each the mean
    training loss since the point before, the validation PSNR (dB) if there was one, and the
    seconds so far. Else the file is read as it is.

    Returns:
        A frame with the columns ``COLUMNS``, or None if there is neither.

    Raises:
        DataError: a history is damaged.
    """
    study_dir = Path(study_dir)
    kept = study_dir / "histories.csv"
    frames = []
    for path in sorted(study_dir.glob("table*/*/seed*/history.csv")):
        table, loss, seed = path.relative_to(study_dir).parts[:3]
        if not re.fullmatch(r"table\d", table) or not (path.parent / "rows.csv").is_file():
            continue  # a variant of a sweep, or unfinished
        where = {"table": int(table[5:]), "loss": loss, "seed": int(seed.removeprefix("seed"))}
        history = results.read_table(path, HISTORY, ["step", "loss", "seconds"])
        frames.append(_thinned(history).assign(**where))
    if frames:
        write_csv(kept, pd.concat(frames)[COLUMNS])
    if not kept.is_file():
        return None
    return results.read_table(kept, COLUMNS, ["table", "seed", "step", "seconds"])[COLUMNS]


def _thinned(history: pd.DataFrame) -> pd.DataFrame:
    """One row for some lines in a row, the last of which is a validation or the k-th."""
    every = -(-len(history) // MOST)
    ends = history["val_psnr"].notna() | ((np.arange(len(history)) + 1) % max(every, 1) == 0)
    blocks = history.groupby(ends.cumsum().shift(fill_value=0))
    points = blocks[["step", "val_psnr", "seconds"]].last()
    return points.assign(train_loss=blocks["loss"].mean())


def seconds(histories: pd.DataFrame) -> pd.Series:
    """Training time of each run."""
    return histories.groupby(["table", "loss", "seed"])["seconds"].max()


def charts(histories: pd.DataFrame, table: int) -> list[dict]:
    """What the page draws of one table: validation PSNR, and the training loss of each base.

    Lines are means over the seeds; a chart with fewer than two points is left out.
    """
    rows = histories[(histories["table"] == table) & histories["loss"].isin(PAPER_LOSSES)]
    wanted = [("Validation PSNR (dB)", "val_psnr", PAPER_LOSSES, False)]
    for base in BASES:
        title = f"Training loss, {loss_title(base)} and {loss_title(f'asy_{base}')}"
        wanted.append((title, "train_loss", (base, f"asy_{base}"), True))
    made = []
    for title, column, losses, log in wanted:
        lines = {}
        for loss in losses:
            means = rows[rows["loss"] == loss].groupby("step")[column].mean().dropna()
            if len(means) > 1:
                lines[loss] = (means.index.to_numpy(float), means.to_numpy(float))
        if lines:
            made.append(_chart(title, lines, log))
    return made


def _chart(title: str, lines: dict[str, tuple[np.ndarray, np.ndarray]], log: bool) -> dict:
    """Lines, ticks and labels in the units of the SVG."""
    x = np.concatenate([line[0] for line in lines.values()])
    y = np.concatenate([line[1] for line in lines.values()])
    log = log and (y > 0).all()
    scale = np.log10 if log else np.asarray
    low, high = scale(y.min()), scale(y.max())
    room = 0.06 * (high - low) or 0.01
    low, high = low - room, high + room

    heights = _decades(low, high) if log else _ticks(low, high)

    def across(value):
        return LEFT + (RIGHT - LEFT) * value / x.max()

    def up(value):
        return BOTTOM - (BOTTOM - TOP) * (scale(value) - low) / (high - low)

    return {
        "title": title + (", logarithmic" if log else ""),
        "size": (WIDTH, HEIGHT),
        "frame": (LEFT, RIGHT, BOTTOM),
        "lines": [
            {
                "loss": loss,
                "title": loss_title(loss),
                "points": [f"{across(a):.1f},{up(b):.1f}" for a, b in zip(*line, strict=True)],
            }
            for loss, line in lines.items()
        ],
        "x": [(f"{across(t):.1f}", f"{t:,.0f}") for t in _ticks(0, x.max())],
        "y": [(f"{up(t):.1f}", f"{t:g}".replace("-", MINUS)) for t in heights],
    }


def _ticks(low: float, high: float) -> list[float]:
    found = MaxNLocator(nbins=4).tick_values(low, high)
    return [float(f"{t:.9g}") for t in found if low <= t <= high]


def _decades(low: float, high: float) -> list[float]:
    """Round numbers between 10^low and 10^high: 1, 2 and 5 of each decade, or evenly if few.

    Over many decades the powers of ten alone, and not all of them.
    """
    powers = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    digits = (1, 2, 5) if len(powers) <= 4 else (1,)
    powers = powers[:: math.ceil(len(powers) / 8)]
    found = [float(f"{digit}e{power}") for power in powers for digit in digits]
    found = [t for t in found if low <= np.log10(t) <= high]
    return found if len(found) > 1 else [t for t in _ticks(10**low, 10**high) if t > 0]
