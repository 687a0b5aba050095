"""The paper's Tables 2-5 as a study measured them, with the paper's own numbers beside.

Written as CSV (every number), Markdown (to read) and LaTeX (to paste; needs booktabs); the page
shows the same grids. NRMSE is what the paper's column "RMSE" holds; RMSE of eq. (9) is in the CSV.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from asyrepro import paper
from asyrepro.analysis import comparisons, goals
from asyrepro.analysis.summary import Summary
from asyrepro.analysis.titles import TASK_TITLES, baseline_title, dataset_title, loss_title
from asyrepro.data import STAND_IN
from asyrepro.metrics import METRICS, PRINTED
from asyrepro.report import wording
from asyrepro.report.grid import Grid, latex, markdown
from asyrepro.report.wording import MINUS, NOTHING
from asyrepro.runs import results
from asyrepro.runs.results import BASES, CONTROLS, PAPER_LOSSES
from asyrepro.system.files import write_csv, write_text


def write_tables(summaries: list[Summary], folder) -> list[Path]:
    """Write ``table{n}.csv``, ``.md`` and ``.tex`` of each table into ``folder``."""
    written = []
    for summary in summaries:
        stem = Path(folder) / f"table{summary.table}"
        made = grids(summary)
        written += [
            write_csv(stem.with_suffix(".csv"), csv_frame(summary), "%.6f"),
            write_text(stem.with_suffix(".md"), markdown(made)),
            write_text(stem.with_suffix(".tex"), latex(made, summary.table)),
        ]
    return written


# ---------------------------------------------------------------------------- what is shown of it


def main_losses(summary: Summary) -> list[str]:
    """The losses of the tables and charts: all but the controls; of controls alone, these."""
    return [loss for loss in summary.losses if loss not in CONTROLS] or list(summary.losses)


def controls(summary: Summary) -> list[str]:
    """The controls that were run beside other losses."""
    shown = main_losses(summary)
    return [loss for loss in summary.losses if loss not in shown]


def pairs(summary: Summary) -> list[tuple[str, str]]:
    """(loss, base loss) of each of the main losses that has one here."""
    found = [(loss, summary.bases[loss]) for loss in main_losses(summary)]
    return [(loss, base) for loss, base in found if base != loss and base in summary.losses]


def title(summary: Summary) -> str:
    """The table's title; says so when the data are bundled stand-ins."""
    task = TASK_TITLES[summary.table]
    text = f"Table {summary.table}. {task} with {summary.model_title}"
    return wording.marked(text, summary.stand_in)


def training(summary: Summary) -> str:
    """``Trained on BSD300; 600 steps; mean of 6 seeds.``"""
    meant = paper.DATASETS[summary.table]
    instead = "" if summary.dataset == meant else f", in place of the paper's {meant.upper()}"
    known, counts = summary.iterations, {len(seeds) for seeds in summary.seeds.values()}
    steps = f"{wording.span(known)} steps" if known else "number of steps not recorded"
    seeds = "1 seed" if counts == {1} else f"mean of {max(counts)} seeds"
    if len(counts) > 1:
        each = ", ".join(f"{loss_title(x)} {len(s)}" for x, s in summary.seeds.items())
        seeds = f"mean of seeds, their number by loss: {each}; changes use the seeds in common"
    return f"Trained on {dataset_title(summary.dataset)}{instead}; {steps}; {seeds}."


def notes(summary: Summary) -> list[str]:
    """What a reader must know of the numbers, a sentence each."""
    lines = [training(summary)]
    if summary.stand_in:
        lines.append(
            f"Made from {STAND_IN} (photographs that scikit-image contains): the numbers test the "
            f"program, not the paper."
        )
    lines.append(
        "The third number is NRMSE, RMSE divided by the label's root mean square: that is what "
        "the paper's column 'RMSE' holds. RMSE of eq. (9) is in the CSV file."
    )
    if summary.same_images:
        lines.append("Rows 'paper' are the paper's own numbers, on the same images.")
        lines.append(goals.matches_text(summary))
    else:
        known = summary.stand_in or summary.table in paper.known_images()
        shown = "" if known else " The paper shows its images in Fig. 3, which was not available."
        lines.append(
            f"Rows 'paper*' are the paper's own numbers, on other images.{shown} The rows of one "
            "pair are not the same image."
        )
    lines.append("Bold: the best loss in that metric, as printed; more than one if they tie.")
    return lines


def grids(summary: Summary) -> list[Grid]:
    """The table itself, the changes from the base losses, and the controls, where there are any."""
    made = [values_grid(summary)]
    if pairs(summary):
        made.append(change_grid(summary))
    if controls(summary):
        made.append(control_grid(summary))
    return made


def values_grid(summary: Summary, metrics=PRINTED) -> Grid:
    """A row an image and a row of means, ours and the paper's; a column a loss."""
    losses = main_losses(summary)
    baseline = [summary.baseline] if summary.baseline else []
    ours = _stacked(summary.values, [*baseline, *losses], metrics)
    theirs = _stacked(summary.paper_values, losses, metrics)
    mark = "paper" if summary.same_images else "paper*"
    rows: list[list] = []
    for row, label in enumerate(_labels(summary)):
        rows.append([*label, "ours", *_cells(ours[:, row], metrics, plain=len(baseline))])
        if not np.isnan(theirs).all():
            papers = _cells(theirs[:, row], metrics, plain=0)
            rows.append(["", "", mark, *[NOTHING for _ in baseline], *papers])
    head = ["No.", "Image", "", *map(baseline_title, baseline), *map(loss_title, losses)]
    text = f"{title(summary)}: {_names(metrics)} of each test image"
    return Grid(text, head, rows, notes(summary), text_columns=3)


def change_grid(summary: Summary) -> Grid:
    """Each loss minus its base loss, a row an image and a row of means, the paper's beside."""
    columns = {}  # head -> ours or the paper's, and both losses
    for loss, base in pairs(summary):
        name = f"{loss_title(loss)} {MINUS} {loss_title(base)}"
        columns[name] = (summary.values, loss, base)
        if {loss, base} <= set(PAPER_LOSSES):
            name += ", paper" if summary.same_images else ", paper*"
            columns[name] = (summary.paper_values, loss, base)
    vectors = list(columns.values())
    values = _stacked(lambda vector, metric: vector[0](vector[1], metric, vector[2]), vectors)
    rows = [[*x, *_cells(values[:, k], sign=True)] for k, x in enumerate(_labels(summary))]
    text = f"Table {summary.table}. Changes of {summary.model_title}: loss minus its base loss, "
    lines = ["Better is positive for PSNR and SSIM, negative for NRMSE."]
    if not summary.same_images:
        lines.append("paper*: on other images, so rows cannot be compared one by one.")
    text = wording.marked(text + _names(PRINTED), summary.stand_in)
    return Grid(text, ["No.", "Image", *columns], rows, lines)


def control_grid(summary: Summary) -> Grid:
    """The controls, a row an image, a row of means and one of changes from the base loss."""
    losses = controls(summary)
    values = _stacked(summary.values, losses)
    rows = [[*label, *_cells(values[:, k])] for k, label in enumerate(_labels(summary))]
    changes = _stacked(lambda x, m: summary.values(x, m, summary.bases[x]), losses)
    rows.append(["", "Mean change from base loss", *_cells(changes[:, -1], sign=True)])
    text = f"Table {summary.table}. Controls with {summary.model_title}: {_names(PRINTED)} of each "
    text = wording.marked(text + "test image", summary.stand_in)
    return Grid(text, ["No.", "Image", *map(loss_title, losses)], rows, [controls_note(summary)])


def controls_note(summary: Summary) -> str:
    """What the controls are."""
    ends = {loss.rpartition("_")[2] for loss in controls(summary)}
    changed = [f"{x.short} ({end})" for end, x in comparisons.CONTROLS.items() if end in ends]
    parts = ["the weights of its Table 1 (table1)"] if "table1" in ends else []
    parts += [f"eq. (2) {wording.listed(changed)}"] if changed else []
    return f"Not in the paper: {', or '.join(parts)}."


def papers_grid(summary: Summary) -> Grid | None:
    """The paper's rows by its own numbers, where ours are of other images."""
    if summary.same_images:
        return None
    values = _stacked(summary.paper_values, PAPER_LOSSES)
    rows = [[str(k + 1), *_cells(values[:, k])] for k in range(len(summary.images))]
    text = f"The paper's own Table {summary.table}: PSNR/SSIM/NRMSE as printed"
    return Grid(text, ["No.", *map(loss_title, PAPER_LOSSES)], rows, text_columns=1)


def _labels(summary: Summary) -> list[list[str]]:
    """Number and name of each row: the images, and their mean."""
    return [*([str(k), name] for k, name in enumerate(summary.images, 1)), ["", "Mean"]]


def _names(metrics) -> str:
    return "/".join(metric.upper() for metric in metrics)


def _stacked(vector, columns, metrics=PRINTED) -> np.ndarray:
    """``vector(column, metric)`` over the images, as (metrics, images and their mean, columns)."""
    values = np.array([[vector(column, metric) for column in columns] for metric in metrics])
    return np.dstack([values, values.mean(axis=2)]).swapaxes(1, 2)


def _cells(values: np.ndarray, metrics=PRINTED, sign=False, plain: int | None = None) -> list:
    """Cells of one row of values (metrics, columns), with their sign if wanted.

    ``plain``: so many first columns never count as best, and the best of the others is bold; None
    for no bold.
    """
    bold = np.zeros(values.shape, dtype=bool)
    if plain is not None:
        for of_metric, row, metric in zip(bold, values, metrics, strict=True):
            of_metric[plain:] = best_cells(row[plain:], metric)
    made: list = []
    decimals = [METRICS[metric].decimals for metric in metrics]
    for cell, best in zip(values.T, bold.T, strict=True):
        texts = [wording.number(x, d, sign) for x, d in zip(cell, decimals, strict=True)]
        made.append(NOTHING if np.isnan(cell).any() else [*zip(texts, best, strict=True)])
    return made


def best_cells(values, metric: str) -> np.ndarray:
    """Which of a row's values are the best as printed: all that tie; none if fewer than two.

    PSNR and SSIM: the largest; RMSE and NRMSE: the smallest. NaN never is.
    """
    printed = np.array([float(f"{value:.{METRICS[metric].decimals}f}") for value in values])
    there = ~np.isnan(printed)
    if there.sum() < 2:
        return np.zeros(len(printed), dtype=bool)
    best = np.nanmax(printed) if METRICS[metric].larger_is_better else np.nanmin(printed)
    return there & (printed == best)


# ---------------------------------------------------------------------------------- every number


def csv_frame(summary: Summary) -> pd.DataFrame:
    """All numbers of a table: a row an image and a row ``Mean``.

    Columns: no, image, ``<loss>_<metric>`` (psnr, ssim, rmse, nrmse; the baseline first, then every
    loss present), ``<asy>_minus_<base>_<metric>``, ``paper_<loss>_<metric>`` (nrmse is what the
    paper calls RMSE), ``paper_same_images``, then data, seeds and iterations.
    """
    columns: dict[str, np.ndarray] = {}
    shown = [x for x in (summary.baseline, *summary.losses) if x]
    for loss in shown:
        for metric in results.METRICS:
            columns[f"{loss}_{metric}"] = summary.values(loss, metric)
    for loss in summary.losses:
        if loss not in BASES:
            for metric in results.METRICS:
                base = summary.bases[loss]
                columns[f"{loss}_minus_{base}_{metric}"] = summary.values(loss, metric, base)
    for loss in PAPER_LOSSES:
        for metric in PRINTED:
            columns[f"paper_{loss}_{metric}"] = summary.paper_values(loss, metric)
    body = pd.DataFrame(columns)
    body = pd.concat([body, body.mean(skipna=False).to_frame().T], ignore_index=True)
    count = len(summary.images)
    body.insert(0, "no", [*map(str, range(1, count + 1)), ""])
    body.insert(1, "image", [*summary.images, "Mean"])
    body["paper_same_images"] = "yes" if summary.same_images else "no"
    body["data"] = STAND_IN if summary.stand_in else summary.dataset
    body["seeds"] = " ".join(f"{x}:{len(s)}" for x, s in summary.seeds.items())
    ends = dict.fromkeys(summary.iterations[:1] + summary.iterations[-1:])
    body["iterations"] = "-".join(map(str, ends))
    return body
