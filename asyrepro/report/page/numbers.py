"""The numbers of the page as plain data: verdicts, the paper's tables, benchmarks."""

from __future__ import annotations

import math

import pandas as pd

from asyrepro.paper.claims import CLAIMS, IMPOSSIBLE, NOT_SUPPORTED, OPPOSITE, SUPPORTED
from asyrepro.report import goals, results, tables
from asyrepro.report.results import PAPER_LOSSES, Summary, loss_title
from asyrepro.report.tables import CELL, DECIMALS, LARGER_IS_BETTER, NOTHING, PAIRS, signed

METRIC_TITLES = {"psnr": "PSNR (dB)", "ssim": "SSIM", "nrmse": "NRMSE"}
TEST_SETS = {"set5": "Set5", "set12": "Set12", "set14": "Set14", "bsd68": "BSD68"}
VERDICT_KINDS = {SUPPORTED: "good", OPPOSITE: "bad", NOT_SUPPORTED: "bad"}  # others: open
UNIT_DECIMALS = {"dB": 3, "%": 2, "ratio": 3}  # others: 5


def number(value: float, decimals: int, sign: bool = False) -> str:
    """Text of a number, a dash where it is missing."""
    if pd.isna(value):
        return NOTHING
    return signed(value, decimals) if sign else f"{value:.{decimals}f}"


def verdicts(claims: pd.DataFrame, summaries: list[Summary]) -> dict:
    """How often each verdict was given, and the claims of claims.csv by table."""
    order = list(dict.fromkeys(claims["verdict"]))
    counts = [(v, int((claims["verdict"] == v).sum()), VERDICT_KINDS.get(v, "open")) for v in order]
    titles = {s.table: f"Table {s.table}, {s.model_title}" for s in summaries}
    group = claims["table"].map(titles).fillna("All networks")
    one_seed = IMPOSSIBLE in order and claims["seeds"].max() == 1
    return {
        "counts": counts,
        "one_seed": one_seed,
        "groups": [
            {
                "title": title,
                "open": bool((rows["verdict"] != IMPOSSIBLE).any()),
                "rows": [_claim(row, one_seed) for row in rows.itertuples()],
            }
            for title, rows in claims.groupby(group, sort=False)
        ],
    }


def _claim(row, one_seed: bool) -> dict:
    unit = row.unit if isinstance(row.unit, str) else ""
    decimals, sign = UNIT_DECIMALS.get(unit, 5), unit != "ratio"
    shown = f" {unit}" if unit in ("dB", "%") else ""
    known = next((claim for claim in CLAIMS if claim.id == row.claim), None)
    span = ""
    if not pd.isna(row.lower):
        span = f"[{number(row.lower, decimals, sign)}, {number(row.upper, decimals, sign)}]"
    quantity = row.quantity
    if isinstance(row.base, str) and row.base.upper() not in quantity:
        quantity += f", {loss_title('asy_' + row.base)} against {loss_title(row.base)}"
    return {
        "place": row.place,
        "quantity": quantity,
        "quote": known.quote if known else "",
        "rule": known.how if known else "",
        "note": known.note if known else "",
        "paper": number(row.paper, decimals, sign) + shown * (not pd.isna(row.paper)),
        "measured": number(row.measured, decimals, sign) + shown,
        "interval": span,
        "seeds": NOTHING if pd.isna(row.seeds) else f"{row.seeds:.0f}",
        "verdict": row.verdict,
        "kind": VERDICT_KINDS.get(row.verdict, "open"),
        "reason": row.reason if isinstance(row.reason, str) and not one_seed else "",
    }


def table(summary: Summary) -> dict:
    """One of the paper's tables: heads and cells of each metric, ours and the paper's."""
    return {
        "table": summary.table,
        "title": f"Table {summary.table}: {results.TASK_TITLES[summary.table]} with "
        f"{summary.model_title}",
        "about": tables.notes(summary)[0],
        "stand_in": results.STAND_IN if summary.stand_in else "",
        "same_images": summary.same_images,
        "has_paper": summary.paper is not None,
        "metrics": [_metric(summary, metric) for metric in CELL],
        "matches": goals.matches_text(summary),
        "papers_own": [] if summary.same_images else _papers_own(summary),
        "others": _others(summary),
    }


def _metric(summary: Summary, metric: str) -> dict:
    """One metric of a table: heads, a row of cells an image, and the row of means."""
    columns = []  # (head, ours, the paper's, whether it is a change)
    if summary.baseline:
        ours = summary.values(summary.baseline, metric)
        columns.append((summary.baseline.capitalize(), ours, ours * math.nan, False))
    for loss, base in PAIRS:
        for name in (base, loss):
            if name in summary.losses:
                theirs = summary.paper_values(name, metric)
                columns.append((loss_title(name), summary.values(name, metric), theirs, False))
        if {loss, base} <= set(summary.losses):
            theirs = summary.paper_values(loss, metric) - summary.paper_values(base, metric)
            head = f"{loss_title(loss)} {tables.MINUS} {loss_title(base)}"
            columns.append((head, summary.change(loss, base, metric), theirs, True))
    same = summary.same_images
    unknown = math.nan
    return {
        "metric": metric,
        "title": METRIC_TITLES[metric],
        "heads": [{"title": head, "change": change} for head, *_, change in columns],
        "rows": [
            {
                "number": k + 1,
                "image": image,
                "cells": [
                    _cell(ours[k], theirs[k] if same else unknown, metric, change)
                    for _, ours, theirs, change in columns
                ],
            }
            for k, image in enumerate(summary.images)
        ],
        "mean": [
            _cell(ours.mean(), theirs.mean(), metric, change, compare=same)
            for _, ours, theirs, change in columns
        ],
    }


def _cell(ours: float, theirs: float, metric: str, change: bool, compare: bool = True) -> dict:
    """A number, the paper's beneath it, and which is better as printed.

    Values are held against the paper's, changes against none at all.
    """
    decimals = DECIMALS[metric]
    against = 0.0 if change else theirs
    mark = ""
    if (compare or change) and not (math.isnan(ours) or math.isnan(against)):
        difference = float(f"{ours:.{decimals}f}") - float(f"{against:.{decimals}f}")
        better = difference > 0 if LARGER_IS_BETTER[metric] else difference < 0
        mark = "" if difference == 0 else "better" if better else "worse"
    return {
        "text": number(ours, decimals, change),
        "value": "" if math.isnan(ours) else f"{ours:.7f}",
        "paper": "" if math.isnan(theirs) else number(theirs, decimals, change),
        "mark": mark,
        "change": change,
    }


def _papers_own(summary: Summary) -> list[list[str]]:
    """The paper's rows, by its numbers of the images, where they are other images than ours."""
    if summary.paper is None:
        return []
    values = {m: [summary.paper_values(loss, m) for loss in PAPER_LOSSES] for m in CELL}
    return [
        [
            " / ".join(number(values[m][column][row], DECIMALS[m]) for m in CELL)
            for column in range(len(PAPER_LOSSES))
        ]
        for row in range(len(summary.images))
    ]


def _others(summary: Summary) -> list[dict]:
    """Means of the losses that the paper does not have, and their change from the base loss."""
    rows = []
    for loss in summary.controls:
        base = results.base_of(loss)
        cells = []
        for metric in CELL:
            mean = summary.mean(loss, metric)
            cells.append(_cell(mean, math.nan, metric, change=False))
            change = summary.change(loss, base, metric)
            change = float(change.mean()) if base in summary.losses else math.nan
            cells.append(_cell(change, math.nan, metric, change=True))
        rows.append({"loss": loss_title(loss), "base": loss_title(base), "cells": cells})
    return rows


def benchmarks(frame: pd.DataFrame) -> list[dict]:
    """Means over images and seeds on sets outside the paper's tables, a table a network.

    Super-resolution has the literature's metric (luma, border cut), denoising the plain one.
    """
    rows = frame[frame["table"].isna()]
    made = []
    for (model, dataset), group in rows.groupby(["model", "dataset"], sort=False):
        sets = sorted(set(group["testset"]))
        luma = bool(group["psnr_y"].notna().any())
        columns = ("psnr_y", "ssim_y") if luma else ("psnr", "ssim")
        means = group.groupby(["loss", "testset"])[list(columns)].mean()
        body = []
        for loss in sorted(set(group["loss"]), key=results.loss_rank):
            cells = []
            for name in sets:
                there = (loss, name) in means.index
                psnr, ssim = means.loc[(loss, name)] if there else (math.nan, math.nan)
                cells += [number(psnr, 2), number(ssim, 4)]
            title = loss.capitalize() if loss in results.BASELINES else loss_title(loss)
            body.append({"loss": title, "cells": cells})
        trained = results.DATASET_TITLES.get(dataset, dataset)
        made.append(
            {
                "model": results.model_title(model),
                "trained": trained,
                "luma": luma,
                "sets": [TEST_SETS.get(name, name) for name in sets],
                "rows": body,
            }
        )
    return made
