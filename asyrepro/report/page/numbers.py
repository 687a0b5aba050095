"""The numbers of the page as plain data: answer, verdicts, the paper's tables, benchmarks."""

from __future__ import annotations

import math

import pandas as pd

from asyrepro import paper
from asyrepro.analysis import changes as changes_of
from asyrepro.analysis import goals, titles
from asyrepro.analysis.summary import Summary, published_psnr
from asyrepro.analysis.titles import loss_title
from asyrepro.paper.claims import (
    BETTER,
    CLAIMS,
    DIRECTIONS,
    EXCLUDED,
    MINIMUM_SEEDS,
    NEITHER,
    NOT_JUDGED,
    verdict,
)
from asyrepro.report import tables, wording
from asyrepro.report.tables import CELL, DECIMALS, LARGER_IS_BETTER, PAIRS
from asyrepro.report.wording import MINUS, NOTHING, number
from asyrepro.runs import results
from asyrepro.runs.results import PAPER_LOSSES

METRIC_TITLES = {"psnr": "PSNR (dB)", "ssim": "SSIM", "nrmse": "NRMSE"}
VERDICT_ORDER = [verdict(one, size) for one in DIRECTIONS for size in ("", EXCLUDED)]
VERDICT_KINDS = dict.fromkeys(VERDICT_ORDER, "bad") | {
    **{BETTER: "good", verdict(BETTER, EXCLUDED): "good", NEITHER: "open", NOT_JUDGED: "open"}
}
UNIT_DECIMALS = {"dB": 3, "%": 2, "ratio": 3}  # others: 5


def place(name: str, order) -> tuple[int, str]:
    """Sort key: the names in their order, then any others by name."""
    order = list(order)
    return (order.index(name) if name in order else len(order), name)


# ------------------------------------------------------------------------------ answer, verdicts


def mean_gains(claims: pd.DataFrame) -> pd.DataFrame:
    """The rows of claims.csv about the paper's mean gains of PSNR, one a network and base loss."""
    return claims[claims["claim"].str.fullmatch(r"table\d-[a-z]+-psnr")]


def answer(claims: pd.DataFrame, summaries: list[Summary]) -> dict | None:
    """What became of the paper's mean gains of PSNR: in a sentence, and each of them.

    None if the study tests none of them.
    """
    rows = mean_gains(claims)
    if rows.empty:
        return None
    models = {summary.table: summary.model_title for summary in summaries}
    short = rows[rows["seeds"].fillna(0) < MINIMUM_SEEDS]
    counts = [f"{count} {verdict}" for verdict, count, _ in _counts(claims)]
    return {
        "one_seed": _one_seed(claims),
        "sentence": _sentence(rows),
        "impossible": _impossible(rows),
        "all": f"{len(claims)} tests of the paper's claims",
        "counts": ", ".join(counts),
        "short": sorted({int(table) for table in short["table"]}),
        "rows": [
            {
                "table": int(row.table),
                "network": models.get(row.table, titles.model_title(row.model)),
                "base": loss_title(row.base),
                "paper": number(row.paper, 3, sign=True),
                "measured": number(row.measured, 3, sign=True),
                "interval": wording.interval(row.lower, row.upper, 3),
                "seeds": NOTHING if pd.isna(row.seeds) else f"{row.seeds:.0f}",
                "verdict": row.verdict,
                "kind": VERDICT_KINDS.get(row.verdict, "open"),
            }
            for row in rows.itertuples()
        ],
    }


def _one_seed(claims: pd.DataFrame) -> bool:
    return bool((claims["verdict"] == NOT_JUDGED).any() and claims["seeds"].max() == 1)


def _counts(claims: pd.DataFrame) -> list[tuple[str, int, str]]:
    """(verdict, how often, its kind) of those that were given."""
    order = sorted(set(claims["verdict"]), key=lambda verdict: place(verdict, VERDICT_ORDER))
    return [(v, int((claims["verdict"] == v).sum()), VERDICT_KINDS.get(v, "open")) for v in order]


def _sentence(rows: pd.DataFrame) -> str:
    """``Of the 8 mean gains of PSNR in the paper's Tables 2 and 3, none is supported: ...``"""
    judged = rows[rows["verdict"] != NOT_JUDGED]
    gains = f"the {len(rows)} mean gains" if len(rows) > 1 else "the one mean gain"
    text = f"Of {gains} of PSNR in the paper's {wording.tables(rows['table'])}, "
    if judged.empty:
        return f"{text}none can be judged."
    if len(judged) < len(rows):
        text += f"{len(judged)} can be judged here, and of these "
    counts = {verdict: count for verdict, count, _ in _counts(judged)}
    found = sum(counts.pop(verdict(BETTER, size), 0) for size in ("", EXCLUDED))
    text += f"{found or 'none'} {'are' if found > 1 else 'is'} shown"
    rest = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return f"{text}{': ' * bool(rest)}{rest}."


def _impossible(rows: pd.DataFrame) -> list[str]:
    """Which tables have no verdict, and why."""
    without = rows[rows["verdict"] == NOT_JUDGED]
    groups = without.groupby(without["reason"].fillna("no reason given"), sort=False)
    return [f"{wording.tables(found['table'])} ({reason})" for reason, found in groups]


def verdicts(claims: pd.DataFrame, summaries: list[Summary]) -> dict:
    """How often each verdict was given, and the claims of claims.csv by table."""
    titles = {s.table: f"Table {s.table}, {s.model_title}" for s in summaries}
    group = claims["table"].map(titles).fillna("All networks")
    one_seed = _one_seed(claims)
    return {
        "counts": _counts(claims),
        "power": bool(claims["power"].notna().any()),
        "groups": [
            {
                "title": title,
                "open": bool((rows["verdict"] != NOT_JUDGED).any()),
                "note": _none(rows),
                "rows": [_claim(row, one_seed) for row in rows.itertuples()],
            }
            for title, rows in claims.groupby(group, sort=False)
        ],
    }


def _none(rows: pd.DataFrame) -> str:
    """Why none of these claims has a verdict, if so."""
    if (rows["verdict"] != NOT_JUDGED).any():
        return ""
    return f", {NOT_JUDGED} ({'; '.join(dict.fromkeys(rows['reason'].dropna()))})"


def _claim(row, one_seed: bool) -> dict:
    unit = row.unit if isinstance(row.unit, str) else ""
    decimals, sign = UNIT_DECIMALS.get(unit, 5), unit != "ratio"
    shown = f" {unit}" if unit in ("dB", "%") else ""
    known = next((claim for claim in CLAIMS if claim.id == row.claim), None)
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
        "interval": wording.interval(row.lower, row.upper, decimals, sign),
        "seeds": NOTHING if pd.isna(row.seeds) else f"{row.seeds:.0f}",
        "power": wording.probability(row.power),
        "verdict": row.verdict,
        "kind": VERDICT_KINDS.get(row.verdict, "open"),
        "reason": row.reason if isinstance(row.reason, str) and not one_seed else "",
    }


# ------------------------------------------------------------------------------ tables, benchmarks


def table(summary: Summary, run: dict) -> dict:
    """One of the paper's tables: heads and cells of each metric, ours and the paper's.

    Args:
        summary: the table.
        run: what :func:`.runs.run` says of its trainings.
    """
    return {
        "table": summary.table,
        "title": f"Table {summary.table}: {summary.model_title}, {run['task']}",
        "about": f"Tested on {run['tested']}. {tables.notes(summary)[0]}",
        "stand_in": results.STAND_IN if summary.stand_in else "",
        "same_images": summary.same_images,
        "has_paper": summary.paper is not None,
        "metrics": [_metric(summary, metric) for metric in CELL],
        "matches": goals.matches_text(summary),
        "papers_own": [] if summary.same_images else _papers_own(summary),
        "others": _others(summary),
        "others_note": tables.others_note(summary),
    }


def _metric(summary: Summary, metric: str) -> dict:
    """One metric of a table: heads, a row of cells an image, and the row of means."""
    columns = []  # (head, ours, the paper's, whether it is a change)
    if summary.baseline:
        ours = summary.values(summary.baseline, metric)
        columns.append((loss_title(summary.baseline), ours, ours * math.nan, False))
    for loss, base in PAIRS:
        for name in (base, loss):
            if name in summary.losses:
                theirs = summary.paper_values(name, metric)
                columns.append((loss_title(name), summary.values(name, metric), theirs, False))
        if {loss, base} <= set(summary.losses):
            theirs = summary.paper_values(loss, metric) - summary.paper_values(base, metric)
            head = f"{loss_title(loss)} {MINUS} {loss_title(base)}"
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
        base = summary.base_of(loss)
        cells = []
        for metric in CELL:
            mean = summary.mean(loss, metric)
            cells.append(_cell(mean, math.nan, metric, change=False))
            change = summary.change(loss, base, metric)
            change = float(change.mean()) if base in summary.losses else math.nan
            cells.append(_cell(change, math.nan, metric, change=True))
        rows.append({"loss": loss_title(loss), "base": loss_title(base), "cells": cells})
    return rows


def changes(rows: pd.DataFrame) -> list[dict]:
    """Cells of the table of changes, from :func:`asyrepro.analysis.changes.shown`."""
    return [
        {
            "network": titles.model_title(row.model),
            "trained": titles.DATASET_TITLES.get(row.dataset, row.dataset).split(" (")[0],
            "place": row.place,
            "loss": loss_title(row.loss),
            "against": loss_title(row.against),
            "mean": number(row.against_mean, DECIMALS["psnr"]),
            "change": number(row.change, DECIMALS["psnr"], sign=True),
            "interval": wording.interval(row.lower, row.upper, DECIMALS["psnr"]),
            "seeds": f"{row.seeds_better:.0f} of {row.seeds}" if row.seeds else NOTHING,
            "images": f"{row.images_better:.0f} of {row.images}" if row.seeds else NOTHING,
            "result": changes_of.told(row),
        }
        for row in rows.itertuples()
    ]


def variants(frame: pd.DataFrame) -> list[dict]:
    """Mean PSNR over images and seeds of a sweep's variants, a table a network.

    The literature's PSNR where a test set has it, as in the table of changes.
    """
    rows = frame[frame["variant"].fillna("") != ""]
    rows = rows.assign(table=changes_of.blank(rows["table"]))
    made = []
    for (model, dataset), group in rows.groupby(["model", "dataset"], sort=False):
        means = {}
        for where, part in group.groupby(list(changes_of.WHERE[2:])):
            luma = part["psnr_y"].notna().any()
            psnr = published_psnr(part) if luma else part["psnr"]
            means[where] = psnr.groupby(part["loss"]).mean()
        losses = sorted(set(group["loss"]), key=results.loss_rank)
        made.append(
            {
                "model": titles.model_title(model),
                "trained": titles.DATASET_TITLES.get(dataset, dataset),
                "heads": [loss_title(loss) for loss in losses],
                "rows": [
                    {
                        "place": changes_of.place(*where),
                        "cells": [number(means[where].get(loss, math.nan), 2) for loss in losses],
                    }
                    for where in sorted(means, key=lambda where: changes_of.order(*where))
                ],
            }
        )
    return made


def benchmarks(frame: pd.DataFrame) -> list[dict]:
    """Means over images and seeds on sets outside the paper's tables, a table a network.

    Networks stand in the order of the paper's tables. Super-resolution has the literature's
    metric (luma, border cut), denoising the plain one.
    """
    rows = frame[frame["table"].isna()]
    order = paper.MODELS.values()
    groups = rows.groupby(["model", "dataset"], sort=False)
    made = []
    for (model, dataset), group in sorted(groups, key=lambda item: place(item[0][0], order)):
        sets = sorted(set(group["testset"]), key=lambda name: place(name, titles.TEST_SETS))
        luma = bool(group["psnr_y"].notna().any())
        columns = ("psnr_y", "ssim_y") if luma else ("psnr", "ssim")
        if luma:
            group = group.assign(psnr_y=published_psnr(group))
        means = group.groupby(["loss", "testset"])[list(columns)].mean()
        body = []
        for loss in sorted(set(group["loss"]), key=results.loss_rank):
            cells = []
            for name in sets:
                there = (loss, name) in means.index
                psnr, ssim = means.loc[(loss, name)] if there else (math.nan, math.nan)
                cells += [number(psnr, 2), number(ssim, 4)]
            body.append({"loss": loss_title(loss), "cells": cells})
        trained = titles.DATASET_TITLES.get(dataset, dataset)
        made.append(
            {
                "model": titles.model_title(model),
                "trained": trained,
                "luma": luma,
                "sets": [titles.TEST_SETS.get(name, name) for name in sets],
                "rows": body,
            }
        )
    return made
