"""What every loss changes against its base loss: changes.csv, changes.md and a figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from asyrepro.analysis import titles
from asyrepro.analysis.changes import changes, shown, told
from asyrepro.metrics import METRICS
from asyrepro.report import verdicts_report, wording
from asyrepro.runs import results
from asyrepro.system import style
from asyrepro.system.files import write_csv, write_text

DECIMALS = METRICS["psnr"].decimals  # PSNR alone is shown


def markdown(title: str, table: pd.DataFrame, stand_in: bool = False) -> str:
    """changes.md as text.

    Args:
        title: the study's name.
        table: of :func:`changes`.
        stand_in: whether the study was made from the bundled stand-in data.
    """
    mark = f" ({results.STAND_IN})" if stand_in else ""
    lines = [f"# What each loss changes: {title}{mark}", ""]
    lines += [
        "Mean PSNR (dB) of each loss minus that of its base loss, within a seed and an image, with "
        "intervals of 95 % over seeds and images. Where a test set has the literature's PSNR "
        "(luma, border cut) it is that one. SSIM, NRMSE, p and the other numbers are in "
        "changes.csv; neither p nor the results are corrected for the number of comparisons. How "
        "the intervals are made stands in asyrepro/analysis/statistics.py; fewer than six seeds "
        "are not judged.",
        "",
    ]
    rows = shown(table)
    for (model, dataset), group in rows.groupby(["model", "dataset"], sort=False):
        trained = titles.DATASET_TITLES.get(dataset, dataset)
        lines += [f"## {titles.model_title(model)}, trained on {trained}", ""]
        head = ["test set", "loss", "against", "mean of that", "change [95 %]", "noise"]
        head += ["seeds better", "images better", "result"]
        lines += wording.grid(head, [_cells(row) for row in group.itertuples()], names=3)
    if rows["noise"].notna().any():
        lines += [
            "Noise: two runs that differ in nothing but the seed differ in their mean by this "
            "(root mean square, over all losses but the controls)."
        ]
    return "\n".join(lines).rstrip() + "\n"


def _cells(row) -> list[str]:
    where = row.place.replace("|", "\\|")
    start = [where, titles.loss_title(row.loss), titles.loss_title(row.against)]
    if not row.seeds:
        return [*start, *[wording.NOTHING] * 5, told(row)]
    change = wording.number(row.change, DECIMALS, sign=True)
    return [
        *start,
        wording.number(row.against_mean, DECIMALS),
        f"{change} {wording.interval(row.lower, row.upper, DECIMALS)}".strip(),
        wording.number(row.noise, DECIMALS),
        f"{row.seeds_better:.0f} of {row.seeds}",
        f"{row.images_better:.0f} of {row.images}",
        told(row),
    ]


def write(study_dir, metrics: pd.DataFrame) -> list[Path]:
    """Write changes.csv, changes.md and figures/changes.{png,pdf}; returns the files written.

    What there is nothing to tell of is not written, and removed if it is there.

    Args:
        study_dir: results/<study>.
        metrics: the tidy table, with a sweep's variants.
    """
    study_dir = Path(study_dir)
    stem = study_dir / "figures" / "changes"
    paths = [study_dir / "changes.csv", study_dir / "changes.md"]
    table = changes(metrics)
    rows = shown(table)
    rows = rows[rows["seeds"] > 0]
    figures = [stem.with_suffix(".png"), stem.with_suffix(".pdf")]
    for path in [*paths * table.empty, *figures * rows.empty]:
        path.unlink(missing_ok=True)
    if table.empty:
        return []
    stand_in = results.of_stand_in(metrics)
    write_csv(paths[0], table, "%.6f")
    write_text(paths[1], markdown(study_dir.name, table, stand_in))
    if rows.empty:
        return paths
    title = "What each loss changes, on every test set"
    title += f" ({results.STAND_IN})" if stand_in else ""
    return paths + style.save(_figure(rows, title), stem)


def _figure(rows: pd.DataFrame, title: str):
    names = [
        f"{titles.model_title(row.model)}, {row.place}: {titles.loss_title(row.loss)}"
        for row in rows.itertuples()
    ]
    many = rows["loss"].nunique() > 2
    groups = [(row.model, row.dataset, row.place * many) for row in rows.itertuples()]
    rows = rows.assign(kind="claim", paper_change=np.nan)
    axis = "change of PSNR against the base loss (dB)"
    about = wording.seeds(rows["seeds"])
    about += "; one seed has no interval" * bool((rows["seeds"] == 1).any())
    return verdicts_report.lines(rows, title, names, groups, axis, about, "mean change")
