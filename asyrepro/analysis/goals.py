"""What a well-trained network reaches, and what a study's networks did.

How losses compare may depend on how well a network is trained. Each network has a goal on two test
sets of the literature, next to what its own authors (or those of its kind) published, and the
denoisers one on the paper's own test images: the paper's better base loss. What counts is the
better of the two base losses, MAE and MSE, as the asymmetric ones are what is judged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from asyrepro import paper
from asyrepro.analysis import titles
from asyrepro.analysis.summary import Summary, published_psnr
from asyrepro.analysis.titles import loss_title
from asyrepro.runs import results
from asyrepro.runs.results import BASES

LITERATURE = "psnr_y"  # luma, borders cut, 8 bits, as published for super-resolution

# How far below the paper's a value may be and still match it, in the metric's unit; NRMSE: above,
# as a fraction.
MARGINS = {"psnr": 0.05, "ssim": 0.003, "nrmse": 0.01}

NOISES = {"kair": "KAIR's noise", "name": "noise by name"}  # of test images


@dataclass(frozen=True)
class Goal:
    """The mean PSNR in dB that a network is to reach on a test set, and where it comes from."""

    model: str
    testset: str
    title: str
    psnr: float
    anchor: str
    column: str = "psnr"


def goals() -> list[Goal]:
    """All goals, in the order of the paper's tables."""
    return [
        Goal("srcnn", "set5", "Set5 x3", 32.5, "SRCNN 9-1-5: 32.39", LITERATURE),
        Goal("srcnn", "set14", "Set14 x3", 29.1, "SRCNN 9-1-5: 29.00", LITERATURE),
        Goal("edsr", "set5", "Set5 x3", 33.7, "VDSR 33.66, EDSR on DIV2K 34.37", LITERATURE),
        Goal("edsr", "set14", "Set14 x3", 29.8, "VDSR 29.77, EDSR on DIV2K 30.28", LITERATURE),
        Goal("dncnn", "set12", "Set12, sigma 25", 30.44, "DnCNN-S: 30.44"),
        Goal("dncnn", "bsd68", "BSD68, sigma 25", 29.23, "DnCNN-S: 29.23"),
        _papers("dncnn", 4),
        Goal("dphsir", "set12", "Set12, sigma 25", 30.6, "DRUNet: 30.94"),
        Goal("dphsir", "bsd68", "BSD68, sigma 25", 29.35, "DRUNet: 29.48"),
        _papers("dphsir", 5),
    ]


def _papers(model: str, table: int) -> Goal:
    rows = paper.tables()
    rows = rows[(rows["table"] == table) & rows["loss"].isin(BASES)]
    best = rows.groupby("loss")["psnr"].mean().max()
    title = f"the paper's ten images of Table {table}"
    return Goal(model, f"table{table}", title, round(float(best), 2), f"the paper: {best:.2f}")


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """The goals of a study's networks beside what they reached.

    Args:
        frame: the tidy table (:func:`asyrepro.runs.results.load`).

    Returns:
        Columns network, test (with its noise where the rows name it), goal, anchor (dB), reached
        (mean over images and seeds), loss (the base loss that reached it), met ("yes" or "no").
        Networks whose benchmarks were not evaluated have no rows.
    """
    rows = results.plain(frame)
    rows = rows[rows["loss"].isin(BASES) & rows["dataset"].isin(titles.DATASET_TITLES)]
    measured = set(rows.loc[rows["table"].isna(), "model"])
    made = []
    for goal in goals():
        mine = rows[(rows["model"] == goal.model) & (rows["testset"] == goal.testset)]
        if mine.empty or goal.model not in measured:
            continue
        if goal.column == LITERATURE:
            mine = mine.assign(**{LITERATURE: published_psnr(mine)})
        means = mine.groupby("loss")[goal.column].mean().dropna()
        if means.empty:
            continue
        best = means.idxmax()
        made.append(
            {
                "network": f"{titles.model_title(goal.model)}, {_trained(mine)}",
                "test": ", ".join([goal.title, *noise(mine)]),
                "goal": f"{goal.psnr:.2f}",
                "anchor": goal.anchor,
                "reached": f"{means[best]:.2f}",
                "loss": loss_title(best),
                "met": "yes" if means[best] >= goal.psnr else "no",
            }
        )
    return pd.DataFrame(made)


def noise(rows: pd.DataFrame) -> list[str]:
    """The test noise of rows that name it; published numbers have KAIR's."""
    named = rows["protocol"] if "protocol" in rows.columns else []
    return [NOISES[name] for name in sorted(set(named) & set(NOISES))]


def _trained(rows: pd.DataFrame) -> str:
    names = [titles.dataset_title(name).split(" (")[0] for name in set(rows["dataset"])]
    return " and ".join(sorted(names))


def matches(summary: Summary) -> dict[str, tuple[int, int, int]] | None:
    """How many of a table's (image, loss) entries match the paper's, and how many are no worse.

    An entry matches if it is worse by no more than ``MARGINS``; it beats the paper's if it is at
    least as good.

    Returns:
        psnr, ssim, nrmse and all (the three at once) -> (matching, no worse, entries); None if the
        images are not the paper's.
    """
    if not summary.same_images:
        return None
    shortfall = pd.DataFrame()  # a row an entry
    for metric in MARGINS:
        ours, theirs = (
            np.concatenate([get(loss, metric) for loss in results.PAPER_LOSSES])
            for get in (summary.values, summary.paper_values)
        )
        shortfall[metric] = ours / theirs - 1 if metric == "nrmse" else theirs - ours
    entries = int(shortfall["psnr"].count())
    close, beaten = (
        kind.assign(all=kind.all(axis=1)).sum()
        for kind in (shortfall <= pd.Series(MARGINS), shortfall <= 0)
    )
    return {name: (int(close[name]), int(beaten[name]), entries) for name in close.index}


def matches_text(summary: Summary) -> str | None:
    """:func:`matches` in a sentence for the table's notes."""
    found = matches(summary)
    if found is None:
        return None
    entries = found["all"][2]
    close, beaten = ({name: counts[kind] for name, counts in found.items()} for kind in (0, 1))
    if not any(close.values()):
        return f"None of {entries} entries (image, loss) matches the paper's in any metric."
    percent = f"{MARGINS['nrmse']:.0%}".replace("%", " %")
    return (
        f"Of {entries} entries (image, loss), {close['psnr']} match or beat the paper's PSNR (to "
        f"{MARGINS['psnr']} dB), {close['ssim']} its SSIM (to {MARGINS['ssim']}), "
        f"{close['nrmse']} its NRMSE (to {percent}), and {close['all']} all three. Without these "
        f"margins it is {beaten['psnr']}, {beaten['ssim']}, {beaten['nrmse']}, and "
        f"{beaten['all']} all three."
    )
