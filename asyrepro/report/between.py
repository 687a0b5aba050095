"""Two studies side by side: each loss against itself, and what it changes in each."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from asyrepro.analysis import titles
from asyrepro.analysis.changes import WHERE, shown, told, view
from asyrepro.analysis.comparisons import across, comparisons
from asyrepro.metrics import METRICS
from asyrepro.report import answers, wording
from asyrepro.report.grid import Grid, markdown_rows
from asyrepro.runs import results
from asyrepro.system.errors import DataError
from asyrepro.system.files import write_csv, write_text
from asyrepro.system.templates import render

DECIMALS = METRICS["psnr"].decimals  # PSNR alone is shown
ABOUT = (
    "PSNR in dB; on luma with the border cut where a test set has it so in the literature. Changes "
    "are means within a seed and an image, with intervals of 95 % over seeds and images."
)


def write(first: Path, second: Path) -> str:
    """Compare two studies; returns the text of the page.

    Written beside the second study's report: ``against_<first>.html`` and ``.md``, and all metrics
    as ``against_<first>.csv``.

    Raises:
        DataError: one is missing, or they share no loss, seed and image.
    """
    frames = [results.load(study) for study in (first, second)]
    table = across(*frames)
    table = table[table["seeds"] > 0]
    if table.empty:
        raise DataError(f"{first} and {second} share no network, loss, seed and test image")
    names = [first.name, second.name]
    file = second / f"against_{first.name}"
    numbers = write_csv(f"{file}.csv", table.dropna(axis="columns", how="all"))
    grids = [_losses(shown(table), names), _changes(frames, names)]
    about = {
        "title": f"{names[0]} and {names[1]}, side by side",
        "about": ABOUT,
        "grids": [grid for grid in grids if grid.rows],
        "numbers": numbers.name,
        "studies": [
            {
                "name": study.name,
                "title": answers.title(frame),
                "page": f"{os.path.relpath(study, second)}/index.html",
            }
            for study, frame in zip((first, second), frames, strict=True)
        ],
    }
    write_text(f"{file}.html", render("asyrepro.report", "between.html", **about))
    text = render("asyrepro.report", "between.md", table=markdown_rows, **about)
    write_text(f"{file}.md", text)
    return f"{text}\nPage: {file}.html; all metrics: {numbers}"


def _losses(rows: pd.DataFrame, names: list[str]) -> Grid:
    """Each loss of the second study minus the same of the first."""
    head = ["Network", "Test set", "Loss", *names, "Change [95 %]", "Seeds better", "Result"]
    body = [
        [
            titles.model_title(row.model),
            row.place,
            titles.loss_title(row.loss),
            wording.number(row.against_mean, DECIMALS),
            wording.number(row.loss_mean, DECIMALS),
            wording.change(row, DECIMALS),
            f"{row.seeds_better:.0f} of {row.seeds}",
            row.direction,
        ]
        for row in rows.itertuples()
    ]
    return Grid(f"Each loss: {names[1]} minus {names[0]}", head, body, text_columns=3)


def _changes(frames: list[pd.DataFrame], names: list[str]) -> Grid:
    """What each loss changes against its base loss, in the one and in the other."""
    keys = [*WHERE, "loss", "against", "metric"]
    tables = (view(comparisons(frame)) for frame in frames)
    one, two = (table[table["seeds"] > 0].set_index(keys) for table in tables)
    body = []
    for row in shown(one[one.index.isin(two.index)].reset_index()).itertuples():
        losses = titles.loss_title(row.loss), titles.loss_title(row.against)
        cells = [titles.model_title(row.model), row.place, " against ".join(losses)]
        for of_study in (row, two.loc[tuple(getattr(row, key) for key in keys)]):
            change = wording.change(of_study, DECIMALS)
            cells += [change, str(of_study.seeds), told(of_study)]
        body.append(cells)
    head = ["Network", "Test set", "Losses"]
    for name in names:
        head += [f"{name}: change [95 %]", "Seeds", "Result"]
    return Grid("Each loss against its base loss, in both", head, body, text_columns=3)
