"""The paper's Tables 2-5 as a study measured them, with the paper's own numbers beside.

One row an image and a row of means, the columns MAE, MSE, Asy_MAE, Asy_MSE, a cell
PSNR/SSIM/NRMSE. Written as CSV (every number), Markdown (to read) and LaTeX (to paste; needs
booktabs). NRMSE is what the paper's column "RMSE" holds; RMSE of eq. (9) is in the CSV.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from asyrepro import paper
from asyrepro.analysis import goals
from asyrepro.analysis.summary import Summary, summarise
from asyrepro.analysis.titles import DATASET_TITLES, TASK_TITLES, loss_title
from asyrepro.report import wording
from asyrepro.report.wording import MINUS, NOTHING
from asyrepro.runs.results import BASES, CONTROLS, METRICS, PAPER_LOSSES, STAND_IN
from asyrepro.system.files import write_csv, write_text

CELL = ("psnr", "ssim", "nrmse")
DECIMALS = {"psnr": 3, "ssim": 5, "rmse": 5, "nrmse": 5}
LARGER_IS_BETTER = {"psnr": True, "ssim": True, "rmse": False, "nrmse": False}
PAIRS = (("asy_mae", "mae"), ("asy_mse", "mse"))


def write_tables(frame: pd.DataFrame, folder, paper: pd.DataFrame | None = None) -> list[Path]:
    """Write ``table{n}.csv``, ``.md`` and ``.tex`` into ``folder`` for each table with rows.

    Args:
        frame: the tidy table (:func:`asyrepro.runs.results.load`).
        folder: usually ``<study>/tables``; made if missing.
        paper: the paper's numbers (``asyrepro.paper.tables()``), or None to leave them out.

    Returns:
        The files written.
    """
    written = []
    for table in sorted(TASK_TITLES):
        summary = summarise(frame, table, paper)
        if summary is None:
            continue
        stem = Path(folder) / f"table{table}"
        written += [
            write_csv(stem.with_suffix(".csv"), csv_frame(summary), "%.6f"),
            write_text(stem.with_suffix(".md"), markdown(summary)),
            write_text(stem.with_suffix(".tex"), latex(summary)),
        ]
    return written


# ------------------------------------------------------------------------------------ the contents


@dataclass
class Grid:
    """A table as text, before it becomes Markdown or LaTeX.

    ``rows`` hold cells; a cell is a str, or a list of (text, bold) joined by "/". A row of None is
    a rule.
    """

    title: str
    head: list[str]
    rows: list[list | None]
    notes: list[str] = field(default_factory=list)
    text_columns: int = 2  # left-aligned ones at the start


def title(summary: Summary) -> str:
    """The table's title; says so when the data are bundled stand-ins."""
    text = (
        f"Table {summary.table}. {TASK_TITLES[summary.table]} with {summary.model_title}: "
        f"PSNR/SSIM/NRMSE of each test image"
    )
    return f"{text} ({STAND_IN})" if summary.stand_in else text


def notes(summary: Summary) -> list[str]:
    """What a reader must know of the numbers, a sentence each."""
    trained = DATASET_TITLES.get(summary.dataset, summary.dataset)
    meant = paper.DATASETS[summary.table]
    instead = "" if summary.dataset == meant else f", in place of the paper's {meant.upper()}"
    lines = [f"Trained on {trained}{instead}; {_steps(summary)}; {_seeds(summary)}."]
    if summary.stand_in:
        lines.append(
            f"Made from {STAND_IN} (photographs that scikit-image contains): the figures test the "
            f"program, not the paper."
        )
    lines.append(
        "The third number is NRMSE, RMSE divided by the label's root mean square: that is what "
        "the paper's column 'RMSE' holds. RMSE of eq. (9) is in the CSV file."
    )
    if summary.paper is not None:
        if summary.same_images:
            lines.append("Rows 'paper' are the paper's own numbers, on the same images.")
            lines.append(goals.matches_text(summary))
        elif summary.stand_in:
            lines.append(
                "Rows 'paper*' are the paper's own numbers, on other images: the rows of one pair "
                "are not the same image."
            )
        else:
            lines.append(
                "Rows 'paper*' are the paper's own numbers. The paper does not name the images of "
                "this table, so the rows of one pair are not the same image."
            )
    lines.append(
        "Bold: the best of the four losses in that metric, as printed; more than one if they tie."
    )
    return lines


def _steps(summary: Summary) -> str:
    counts = summary.iterations
    if not counts:
        return "number of steps not recorded"
    if len(counts) == 1:
        return f"{counts[0]:,} steps"
    return f"{counts[0]:,} to {counts[-1]:,} steps"


def _seeds(summary: Summary) -> str:
    counts = {len(seeds) for seeds in summary.seeds.values()}
    if not counts:
        return "no network yet"
    if len(counts) > 1:
        each = ", ".join(f"{loss_title(x)} {len(s)}" for x, s in summary.seeds.items())
        return f"mean of seeds, their number by loss: {each}; changes use the seeds in common"
    count = counts.pop()
    return "1 seed" if count == 1 else f"mean of {count} seeds"


def grids(summary: Summary) -> list[Grid]:
    """The table itself, the changes that the asymmetric weights bring, and the controls if any."""
    made = [_main_grid(summary), _change_grid(summary)]
    if summary.controls:
        made.append(_control_grid(summary))
    return made


def _main_grid(summary: Summary) -> Grid:
    baseline = [summary.baseline] if summary.baseline else []
    values = {
        metric: np.column_stack([summary.values(x, metric) for x in (*baseline, *PAPER_LOSSES)])
        for metric in CELL
    }
    theirs = {
        metric: np.column_stack([summary.paper_values(x, metric) for x in PAPER_LOSSES])
        for metric in CELL
    }
    mark = "paper" if summary.same_images else "paper*"
    rows: list[list | None] = []
    for number, name in enumerate((*summary.images, "Mean")):
        if name == "Mean" and number == len(summary.images):
            rows.append(None)
            ours = {metric: values[metric].mean(axis=0) for metric in CELL}
            paper = {metric: theirs[metric].mean(axis=0) for metric in CELL}
            names = ["", "Mean"]
        else:
            ours = {metric: values[metric][number] for metric in CELL}
            paper = {metric: theirs[metric][number] for metric in CELL}
            names = [str(number + 1), name]
        rows.append([*names, "ours", *_row(ours, skip=len(baseline))])
        if summary.paper is not None:
            rows.append(["", "", mark, *[NOTHING for _ in baseline], *_row(paper)])
    head = ["No.", "Image", "", *map(loss_title, [*baseline, *PAPER_LOSSES])]
    return Grid(title(summary), head, rows, notes(summary), text_columns=3)


def _row(values: dict[str, np.ndarray], skip: int = 0) -> list:
    """Cells of one row from a vector for each metric; the first ``skip`` never count as best."""
    count = len(values["psnr"])
    best = {metric: best_cells(values[metric][skip:], metric) for metric in CELL}
    cells = []
    for k in range(count):
        if any(np.isnan(values[metric][k]) for metric in CELL):
            cells.append(NOTHING)
            continue
        cells.append(
            [
                (f"{values[metric][k]:.{DECIMALS[metric]}f}", k >= skip and best[metric][k - skip])
                for metric in CELL
            ]
        )
    return cells


def best_cells(values, metric: str) -> np.ndarray:
    """Which of a row's values are the best as printed: all that tie; none if fewer than two.

    PSNR and SSIM: the largest; RMSE and NRMSE: the smallest. NaN never is.
    """
    printed = np.array([float(f"{value:.{DECIMALS[metric]}f}") for value in values])
    there = ~np.isnan(printed)
    if there.sum() < 2:
        return np.zeros(len(printed), dtype=bool)
    best = np.nanmax(printed) if LARGER_IS_BETTER[metric] else np.nanmin(printed)
    return there & (printed == best)


def _change_grid(summary: Summary) -> Grid:
    head = ["No.", "Image"]
    columns = []  # each: {metric: vector over images}
    for loss, base in PAIRS:
        name = f"{loss_title(loss)} {MINUS} {loss_title(base)}"
        head.append(name)
        columns.append({metric: summary.change(loss, base, metric) for metric in CELL})
        if summary.paper is not None:
            head.append(f"{name}, paper" + ("" if summary.same_images else "*"))
            columns.append(
                {m: summary.paper_values(loss, m) - summary.paper_values(base, m) for m in CELL}
            )
    rows: list[list | None] = [
        [str(k + 1), name, *[_signed_cell({m: c[m][k] for m in CELL}) for c in columns]]
        for k, name in enumerate(summary.images)
    ]
    rows.append(None)
    rows.append(["", "Mean", *[_signed_cell({m: c[m].mean() for m in CELL}) for c in columns]])
    heading = f"Table {summary.table}. Changes of {summary.model_title}: "
    heading += "asymmetric minus base loss, PSNR/SSIM/NRMSE"
    if summary.stand_in:
        heading += f" ({STAND_IN})"
    lines = ["Better is positive for PSNR and SSIM, negative for NRMSE."]
    if summary.paper is not None and not summary.same_images:
        lines.append("paper*: on other images, so rows cannot be compared one by one.")
    return Grid(heading, head, rows, lines)


def _control_grid(summary: Summary) -> Grid:
    controls = summary.controls
    values = {m: np.column_stack([summary.values(x, m) for x in controls]) for m in CELL}
    rows: list[list | None] = [
        [str(k + 1), name, *_plain_row({m: values[m][k] for m in CELL})]
        for k, name in enumerate(summary.images)
    ]
    rows.append(None)
    rows.append(["", "Mean", *_plain_row({m: values[m].mean(axis=0) for m in CELL})])
    changes = [
        _signed_cell({m: summary.change(x, summary.base_of(x), m).mean() for m in CELL})
        for x in controls
    ]
    rows.append(["", "Mean change from base loss", *changes])
    heading = f"Table {summary.table}. Other losses with {summary.model_title}: "
    heading += "PSNR/SSIM/NRMSE of each test image"
    if summary.stand_in:
        heading += f" ({STAND_IN})"
    return Grid(heading, ["No.", "Image", *map(loss_title, controls)], rows, [others_note(summary)])


WEIGHTS = {  # of eq. (2), by how a control's name ends
    "normalized": "rescaled to mean 1",
    "shuffled": "shuffled over the pixels",
    "inverted": "heavier on bright pixels",
}


def others_note(summary: Summary) -> str:
    """What the losses beyond the paper's four are."""
    ends = {loss.rpartition("_")[2] for loss in summary.controls if loss in CONTROLS}
    changed = ", ".join(f"{text} ({end})" for end, text in WEIGHTS.items() if end in ends)
    parts = ["the weights of its Table 1 (table1)"] * ("table1" in ends)
    parts += [f"eq. (2) {changed}"] * bool(changed)
    own = [loss for loss in summary.controls if loss not in CONTROLS]
    text = "Not in the paper" + f": {', or '.join(parts)}" * bool(parts) + "."
    if own:
        compared = [f"{loss_title(x)} with {loss_title(summary.base_of(x))}" for x in own]
        text += f" Compared are {wording.listed(compared)}."
    return text


def _plain_row(values: dict[str, np.ndarray]) -> list:
    return [
        cell if isinstance(cell, str) else [(text, False) for text, _ in cell]
        for cell in _row(values)
    ]


def _signed_cell(values: dict[str, float]):
    if any(np.isnan(values[metric]) for metric in CELL):
        return NOTHING
    return [(wording.number(values[metric], DECIMALS[metric], sign=True), False) for metric in CELL]


# ----------------------------------------------------------------------------- the three formats


def csv_frame(summary: Summary) -> pd.DataFrame:
    """All numbers of a table: a row an image and a row ``Mean``.

    Columns: no, image, ``<loss>_<metric>`` (psnr, ssim, rmse, nrmse; the baseline first, then every
    loss present), ``<asy>_minus_<base>_<metric>``, ``paper_<loss>_<metric>`` (nrmse is what the
    paper calls RMSE), ``paper_same_images``, then data, seeds and iterations.
    """
    columns: dict[str, np.ndarray] = {}
    shown = [x for x in (summary.baseline, *summary.losses) if x]
    for loss in shown:
        for metric in METRICS:
            columns[f"{loss}_{metric}"] = summary.values(loss, metric)
    for loss in summary.losses:
        if loss not in BASES:
            for metric in METRICS:
                change = summary.change(loss, summary.base_of(loss), metric)
                columns[f"{loss}_minus_{summary.base_of(loss)}_{metric}"] = change
    if summary.paper is not None:
        for loss in PAPER_LOSSES:
            for metric in CELL:
                columns[f"paper_{loss}_{metric}"] = summary.paper_values(loss, metric)
    body = pd.DataFrame(columns)
    body = pd.concat([body, body.mean(skipna=False).to_frame().T], ignore_index=True)
    count = len(summary.images)
    body.insert(0, "no", [*map(str, range(1, count + 1)), ""])
    body.insert(1, "image", [*summary.images, "Mean"])
    if summary.paper is not None:
        body["paper_same_images"] = "yes" if summary.same_images else "no"
    body["data"] = STAND_IN if summary.stand_in else summary.dataset
    body["seeds"] = " ".join(f"{x}:{len(s)}" for x, s in summary.seeds.items())
    body["iterations"] = "-".join(
        str(x) for x in dict.fromkeys(summary.iterations[:1] + summary.iterations[-1:])
    )
    return body


def markdown(summary: Summary) -> str:
    """The table, the changes and the controls as GitHub's Markdown."""
    parts = []
    for level, grid in enumerate(grids(summary)):
        lines = [f"{'##' if level else '#'} {grid.title}", ""]
        lines.append(_markdown_row(map(_markdown_text, grid.head)))
        aligned = [":--" if k < grid.text_columns else "--:" for k in range(len(grid.head))]
        lines.append(_markdown_row(aligned))
        lines += [_markdown_row(_markdown_cell(cell) for cell in row) for row in grid.rows if row]
        lines += ["", *[f"- {_markdown_text(note)}" for note in grid.notes], ""]
        parts.append("\n".join(lines))
    return "\n".join(parts)


def _markdown_row(cells) -> str:
    return "| " + " | ".join(cells) + " |"


def _markdown_cell(cell) -> str:
    if isinstance(cell, str):
        return f"**{cell}**" if cell == "Mean" else _markdown_text(cell)
    return "/".join(f"**{text}**" if bold else text for text, bold in cell)


def _markdown_text(text: str) -> str:
    """Escape what Markdown would read as markup."""
    for character in "\\|*_`<[":
        text = text.replace(character, "\\" + character)
    return text


def latex(summary: Summary) -> str:
    """The same as LaTeX floats. Needs booktabs; graphicx, where loaded, fits them to the page."""
    parts = [
        "% \\usepackage{booktabs,graphicx}",
        "\\providecommand{\\resizebox}[3]{#3}",
        "",
    ]
    labels = ("", "-changes", "-controls")
    for grid, label in zip(grids(summary), labels, strict=False):
        aligned = "l" * grid.text_columns + "r" * (len(grid.head) - grid.text_columns)
        heading = grid.title.partition(". ")[2]  # LaTeX counts tables itself
        caption = " ".join([f"{tex(heading)}.", *map(tex, grid.notes)])
        parts += [
            "\\begin{table}[tp]",
            "\\centering",
            f"\\caption{{{caption}}}",
            f"\\label{{tab:asyrepro-table{summary.table}{label}}}",
            "\\setlength{\\tabcolsep}{3pt}",
            "\\resizebox{\\linewidth}{!}{%",
            f"\\begin{{tabular}}{{{aligned}}}",
            "\\toprule",
            " & ".join(map(tex, grid.head)) + " \\\\",
            "\\midrule",
        ]
        for row in grid.rows:
            parts.append(" & ".join(map(_tex_cell, row)) + " \\\\" if row else "\\midrule")
        parts += ["\\bottomrule", "\\end{tabular}}", "\\end{table}", ""]
    return "\n".join(parts)


def _tex_cell(cell) -> str:
    if isinstance(cell, str):
        return tex(cell)
    return "/".join(f"\\textbf{{{tex(text)}}}" if bold else tex(text) for text, bold in cell)


_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    NOTHING: "--",
    MINUS: "$-$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{character: "\\" + character for character in "&%$#_{}"},
}


def tex(text: str) -> str:
    """Escape text for LaTeX."""
    return "".join(_TEX.get(character, character) for character in text)
