"""What every loss changes against its base loss, as text."""

from __future__ import annotations

import pandas as pd

from asyrepro.analysis import titles
from asyrepro.analysis.changes import shown, told
from asyrepro.metrics import METRICS
from asyrepro.report import wording
from asyrepro.runs import results

DECIMALS = METRICS["psnr"].decimals  # PSNR alone is shown


def markdown(title: str, table: pd.DataFrame, stand_in: bool = False) -> str:
    """changes.md as text.

    Args:
        title: the study's name.
        table: of :func:`asyrepro.analysis.changes.changes`.
        stand_in: whether the study was made from the bundled stand-in data.
    """
    mark = f" ({results.STAND_IN})" if stand_in else ""
    lines = [f"# What each loss changes: {title}{mark}", ""]
    lines += [
        "Mean PSNR (dB) of each loss minus that of its base loss, within a seed and an image, with "
        "intervals of 95 % over seeds and images. Where a test set has the literature's PSNR "
        "(luma, border cut), that one is shown. SSIM, NRMSE, p and the other numbers are in "
        "changes.csv; neither p nor the results are corrected for the number of comparisons. "
        "asyrepro/analysis/statistics.py describes the intervals; fewer than six seeds are not "
        "judged.",
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
