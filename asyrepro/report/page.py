"""The page of a study, ``results/<study>/index.html``.

It shows the tables, figures and crops that the report made of the study, which lie beside it: a
page that is moved needs its folders ``figures`` and ``crops``. :func:`context` gathers plain data,
and the templates make HTML of it.

``failure.md`` in the study's folder becomes a section called as its first heading, the first where
the study has one table only; ``![what it shows](figures/name.jpg)`` alone on a line is a figure.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from asyrepro.analysis import goals
from asyrepro.analysis.changes import beyond
from asyrepro.analysis.summary import Summary
from asyrepro.analysis.titles import baseline_title, loss_title
from asyrepro.data import STAND_IN
from asyrepro.metrics import METRICS, PRINTED
from asyrepro.paper.claims import MINIMUM_SEEDS
from asyrepro.report import answers, crops, further, setup, tables, texts, wording
from asyrepro.report.canvas import weights
from asyrepro.report.markup import Prose, figure, prose
from asyrepro.report.wording import MINUS, number
from asyrepro.runs import results
from asyrepro.system.files import write_text
from asyrepro.system.templates import render

SMALL_BUDGET = 10_000  # steps; the networks' own papers trained for far more
FACTOR = 8  # error maps show |output - label| times this


def write(found, charts) -> Path:
    """Write index.html.

    Args:
        found: :class:`asyrepro.report.study.Findings`; the same give the same.
        charts: :class:`asyrepro.report.charts.Chart`, those of a place in their order.
    """
    shown = defaultdict(list)
    for chart in charts:
        shown[chart.place].append(figure(found.folder, f"figures/{chart.stem}", chart.alt))
    page = render("asyrepro.report", "study.html", **context(found, shown))
    return write_text(found.folder / "index.html", page)


def context(found, shown: dict[str, list[dict]]) -> dict:
    """Everything the page says, as plain data; a part that is not available is empty."""
    steps = sorted(set(found.frame["iterations"].dropna()))
    ran = [setup.runs(found.record, summary) for summary in found.summaries]
    failure = failures(found.folder)
    general = found.claims[found.claims["table"].isna()]
    return {
        "study": found.name,
        "title": answers.title(found.frame),
        "stand_in": STAND_IN if found.stand_in else "",
        "small_budget": wording.span(steps) if steps and steps[0] < SMALL_BUDGET else "",
        "below": setup.below_baseline(found.frame),
        "answer": answers.answer(found.changes, found.claims),
        "siblings": answers.siblings(found.folder, found.claims),
        "enough": MINIMUM_SEEDS,
        "answer_charts": shown["answer"],
        "goals": found.goals.to_dict("records"),
        "runs": ran + setup.other_runs(found.record, found.frame),
        "bicubic": setup.bicubic(found.summaries, ran),
        "facts": setup.facts(found.frame, found.histories, found.record),
        "commands": setup.commands(found.folder.resolve()),
        "hashes": bool(found.record.get("cells")),
        "tables": [
            _table(found, summary, run, shown)
            for summary, run in zip(found.summaries, ran, strict=True)
        ],
        "general": [answers.claim(row) for row in general.itertuples()],
        "benchmarks": further.benchmarks(results.plain(found.frame)),
        "variants": further.variants(found.frame),
        "validation": further.validation(found.histories),
        "changes": texts.change_grids(found.changes) if beyond(found.changes) else [],
        "changes_chart": next(iter(shown["changes"]), None),
        "others": _others(found, shown),
        "factor": FACTOR,
        "weights": _weight_filter(),
        "failure": failure,
        "failure_first": bool(failure) and len(found.summaries) == 1,
        "audit": (found.folder.parent / "audit" / "audit.md").is_file(),
    }


# ------------------------------------------------------------------------------ the paper's tables


def _table(found, summary: Summary, run: dict, shown: dict) -> dict:
    """One of the paper's tables: means, verdicts, charts, pictures, and each image."""
    n = summary.table
    claims = found.claims[found.claims["table"] == n]
    rows = found.changes[(found.changes["table"] == n) & (found.changes["variant"] == "")]
    folder = f"table{n}"
    return {
        "table": n,
        "title": f"Table {n}: {summary.model_title}, {run['task']}",
        "about": f"Tested on {run['tested']}. {tables.training(summary)}",
        "stand_in": STAND_IN if summary.stand_in else "",
        "same_images": summary.same_images,
        "matches": goals.matches_text(summary) or "",
        "means": _means(summary, rows),
        "claims": [answers.claim(row) for row in claims.itertuples()],
        "counts": ", ".join(f"{count} {v}" for v, count, _ in answers.counts(claims)),
        "charts": shown[folder],
        "pictures": shown[f"{folder} pictures"],
        "galleries": [_gallery(x, n, k) for k, x in enumerate(found.crops.get(folder, ()), 1)],
        "images": [tables.values_grid(summary, (m,)) for m in PRINTED],
        "controls": tables.control_grid(summary) if tables.controls(summary) else None,
        "papers_own": tables.papers_grid(summary),
    }


def _means(summary: Summary, changed: pd.DataFrame) -> list[dict]:
    """Rows of means: a loss, and beneath it its change from its base loss; ours and the paper's."""
    rows = []
    against = dict(tables.pairs(summary))
    losses = results.side_by_side(tables.main_losses(summary), summary.bases)
    shown = {loss: loss_title(loss) for loss in losses}
    if summary.baseline:
        shown = {summary.baseline: baseline_title(summary.baseline)} | shown
    for loss, title in shown.items():
        rows.append({"title": title, "change": False, "cells": mean_cells(summary, loss)})
        if base := against.get(loss):
            cells = [_change_cell(summary, changed, loss, base, m) for m in PRINTED]
            title = f"{loss_title(loss)} {MINUS} {loss_title(base)}"
            rows.append({"title": title, "change": True, "cells": cells})
    return rows


def mean_cells(summary: Summary, loss: str) -> list[dict]:
    """A loss's mean in each printed metric, with the paper's where it has one."""
    return [_cell(m, summary.mean(loss, m), summary.paper_values(loss, m)) for m in PRINTED]


def _cell(metric: str, ours: float, papers, sign: bool = False) -> dict:
    theirs = float(np.mean(papers))
    paper_text = "" if math.isnan(theirs) else number(theirs, METRICS[metric].decimals, sign)
    text = number(ours, METRICS[metric].decimals, sign)
    return {"text": text, "paper": paper_text, "interval": "", "mark": ""}


def _change_cell(summary: Summary, changed: pd.DataFrame, loss, base, metric) -> dict:
    """A mean change with its interval; marked where it exceeds chance."""
    papers = summary.paper_values(loss, metric, base)
    ours = float(summary.values(loss, metric, base).mean())
    made = _cell(metric, ours, papers, sign=True)
    row = changed[(changed["loss"] == loss) & (changed["metric"] == metric)]
    if row.empty or pd.isna(row["lower"].iloc[0]):
        return made
    low, high, seeds = row[["lower", "upper", "seeds"]].iloc[0]
    made["interval"] = wording.interval(low, high, METRICS[metric].decimals)
    if seeds >= MINIMUM_SEEDS and (low > 0 or high < 0):
        made["mark"] = "better" if (low > 0) == METRICS[metric].larger_is_better else "worse"
    return made


# ------------------------------------------------------------------------------- figures, pictures


def _others(found, shown: dict) -> dict:
    """Figures that belong to no table: the method, the test images, and sweeps."""
    tables = {f"table{summary.table}" for summary in found.summaries}
    sweeps = [mine for folder, mine in found.crops.items() if folder not in tables]
    return {
        "figures": [*_kept(found.folder), *shown["further"]],
        "galleries": [
            _gallery(crop, f"sweep{sweep}", k)
            for sweep, mine in enumerate(sweeps)
            for k, crop in enumerate(mine, 1)
        ],
    }


def _kept(folder: Path) -> Iterator[dict]:
    """The method and the test images; without weights and images, those of an earlier report."""
    for stem, what in (
        ("fig1_2", "Fig. 1 and 2, remade: the method on one of the test images"),
        ("fig3", "Fig. 3, remade: test images of super-resolution"),
        ("fig8", "Fig. 8, remade: test images of denoising"),
    ):
        others = {path.stem for path in folder.glob(f"figures/{stem}_*")}
        for name in (stem, *sorted(others)):
            if found := figure(folder, f"figures/{name}", f"The paper's {what}"):
                yield found


def _gallery(crop: crops.Crop, place, position: int) -> dict:
    """Pictures to be compared; opens with the first loss against its base loss."""
    kinds = list(crop.files)
    pair = crop.subject.pairs[0] if crop.subject.pairs else (kinds[1], "label")
    high, wide = crop.arrays["label"].shape[:2]
    return {
        "id": f"gallery-{place}-{position}",
        "title": f"{crop.subject.title}, image {crop.image}",
        "about": f"{wide} x {high} pixels, from column {crop.left} and row {crop.top}; "
        f"one seed ({crop.subject.seed})" + (f"; {STAND_IN}" if crop.subject.stand_in else ""),
        "height": high,
        "width": wide,
        "label": f"crops/{crop.files['label'].name}",
        "opens": kinds.index(pair[0]),
        "other": kinds.index(pair[1]),
        "views": [
            {
                "title": crops.described(kind),
                "file": f"crops/{path.name}",
                "psnr": number(crop.psnr(kind), 2),
                "is_label": kind == "label",
            }
            for kind, path in crop.files.items()
        ],
    }


def _weight_filter() -> dict:
    """Tables of an SVG filter that colours a grey value by its weight M of eq. (2)."""
    from matplotlib import colormaps

    values = weights(np.linspace(0, 1, 17))
    span = (values - values[-1]) / (1 - values[-1])
    colours = colormaps["cividis"](span)[:, :3]
    return {c: " ".join(f"{x:.3f}" for x in colours[:, k]) for k, c in enumerate("RGB")}


# ------------------------------------------------------------------------------ what went wrong


def failures(study: Path) -> Prose | None:
    """The text of a study's failure.md; None where there is none."""
    path = study / "failure.md"
    if not path.is_file():
        return None
    found = prose(path, level=3)
    found.title = found.title or "Runs that fail"
    return found
