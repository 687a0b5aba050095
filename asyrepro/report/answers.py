"""What a study answers, in words: its title, its answer, and each claim's verdict."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from asyrepro import paper
from asyrepro.analysis.changes import shown, told
from asyrepro.analysis.titles import loss_title, model_title
from asyrepro.paper.claims import (
    BETTER,
    CLAIMS,
    DIRECTIONS,
    EXCLUDED,
    MINIMUM_SEEDS,
    NOT_JUDGED,
    WORSE,
    verdict,
)
from asyrepro.report import wording
from asyrepro.report.wording import NOTHING, number
from asyrepro.runs import results
from asyrepro.system.errors import DataError

ORDER = [verdict(one, size) for one in DIRECTIONS for size in ("", EXCLUDED)]
COLOURS = {BETTER: "good", WORSE: "bad"}  # of badges, by direction; others: open
UNIT_DECIMALS = {"dB": 3, "%": 2, "ratio": 3}  # others: 5


def title(frame: pd.DataFrame) -> str:
    """``SRCNN and EDSR under 4 losses: 600 to 28,000 steps, 6 seeds``: what a study is."""
    rows = results.of_runs(frame)
    order = list(paper.MODELS.values())
    models = sorted(
        set(rows["model"]), key=lambda x: (order.index(x) if x in order else len(order), x)
    )
    runs = rows.groupby(["model", "loss", rows["variant"].fillna("")])["seed"].nunique()
    losses = wording.counted(rows["loss"].nunique(), "loss", "losses")
    budget = f"{wording.span(rows['iterations'].dropna())} steps, {wording.seeds(runs)}"
    return f"{wording.listed(map(model_title, models))} under {losses}: {budget}"


def mean_gains(claims: pd.DataFrame) -> pd.DataFrame:
    """The rows of claims.csv about the paper's mean gains of PSNR, one a network and base loss."""
    return claims[claims["claim"].astype(str).str.fullmatch(r"table\d-[a-z]+-psnr")]


def answer(claims: pd.DataFrame, changes: pd.DataFrame) -> dict | None:
    """What became of the paper's mean gains of PSNR, and what other losses change.

    None if the study compares nothing.
    """
    gains, own = mean_gains(claims), _own(changes)
    rows = [_gain(row) for row in gains.itertuples()] + [_change(row) for row in own.itertuples()]
    if not rows:
        return None
    one_seed = bool(len(gains) and (claims["seeds"].fillna(1).max() == 1))
    return {
        "papers": bool(len(gains)),
        "one_seed": one_seed,
        "sentence": sentence(gains) if len(gains) else own_sentence(own),
        "impossible": [] if one_seed else _impossible(gains),
        "rows": rows,
        "counts": counts(claims),
        "power": bool(claims["power"].notna().any()),
    }


def counts(claims: pd.DataFrame) -> list[tuple[str, int, str]]:
    """(verdict, how often, its kind) of those that were given, on evidence of its own."""
    claims, found = claims[claims["counted"].astype(bool)], []
    for name in ORDER:
        if count := int((claims["verdict"] == name).sum()):
            found.append((name, count, COLOURS.get(name.partition(",")[0], "open")))
    return found


def tally(claims: pd.DataFrame) -> str:
    """``13 neither shown (the paper's size excluded for 5), 2 worse``: :func:`counts` in words."""
    found: dict[str, dict[str, int]] = {}
    for name, count, _ in counts(claims):
        direction, _, size = name.partition(", ")
        found.setdefault(direction, {})[size] = count
    said = []
    for direction, sizes in found.items():
        out = [f" ({size} for {count})" for size, count in sizes.items() if size]
        said.append(f"{sum(sizes.values())} {direction}{''.join(out)}")
    return ", ".join(said)


def _own(changes: pd.DataFrame) -> pd.DataFrame:
    """Comparisons of losses that are not the paper's; of any, where none are the paper's tables."""
    rows = shown(changes)
    own = rows[~rows["loss"].isin(results.LOSS_ORDER)]
    tabled = rows[(rows["table"] != "") & (rows["variant"] == "")]
    return rows if tabled.empty else own


def _gain(row) -> dict:
    return {
        "name": f"{model_title(paper.MODELS[int(row.table)])}, "
        f"{loss_title(f'asy_{row.base}')} against {loss_title(row.base)}",
        "table": int(row.table),
        "paper": number(row.paper, 3, sign=True),
        "measured": number(row.measured, 3, sign=True),
        "interval": wording.interval(row.lower, row.upper, 3),
        "seeds": NOTHING if pd.isna(row.seeds) else f"{row.seeds:.0f}",
        "verdict": row.verdict,
        "kind": COLOURS.get(row.direction, "open"),
    }


def _change(row) -> dict:
    return {
        "name": f"{model_title(row.model)}, {row.place}: "
        f"{loss_title(row.loss)} against {loss_title(row.against)}",
        "table": int(row.table) if row.table and not row.variant else 0,
        "paper": NOTHING,
        "measured": number(row.change, 3, sign=True),
        "interval": wording.interval(row.lower, row.upper, 3),
        "seeds": f"{row.seeds:.0f}",
        "verdict": told(row),
        "kind": COLOURS.get(row.result, "open"),
    }


def sentence(rows: pd.DataFrame) -> str:
    """``Of the 8 mean gains of PSNR in the paper's Tables 2 and 3, none is shown: ...``"""
    judged = rows[rows["direction"] != NOT_JUDGED]
    gains = f"the {len(rows)} mean gains" if len(rows) > 1 else "the one mean gain"
    text = f"Of {gains} of PSNR in the paper's {wording.tables(rows['table'])}, "
    if judged.empty:
        return f"{text}none can be judged."
    if len(judged) < len(rows):
        text += f"{len(judged)} can be judged here, and of these "
    shown = int((judged["direction"] == BETTER).sum())
    text += f"{shown or 'none'} {'are' if shown > 1 else 'is'} shown"
    if worse := int((judged["direction"] == WORSE).sum()):
        text += f"; {worse} {'are' if worse > 1 else 'is'} a loss"
    out = int((judged["size"] == EXCLUDED).sum())
    of = "all" if out == len(judged) > 1 else str(out)
    return f"{text}. The paper's size is excluded for {of} of them." if out else f"{text}."


def own_sentence(rows: pd.DataFrame) -> str:
    """``Of 4 comparisons with a base loss, 1 is better, 3 undecided.``"""
    given = rows["result"].value_counts()
    said = ", ".join(f"{count} {result}" for result, count in given.items())
    return f"Of {wording.counted(len(rows), 'comparison')} with a base loss: {said}."


def _impossible(rows: pd.DataFrame) -> list[str]:
    """Which tables have no verdict, and why."""
    without = rows[rows["direction"] == NOT_JUDGED]
    groups = without.groupby(without["reason"].fillna("no reason given"), sort=False)
    return [f"{wording.tables(found['table'])} ({reason})" for reason, found in groups]


def siblings(folder: Path, claims: pd.DataFrame) -> list[dict]:
    """The studies beside this one that have seeds enough where this one lacks them."""
    gains = mean_gains(claims)
    lacking = {int(t) for t in gains.loc[gains["seeds"].fillna(0) < MINIMUM_SEEDS, "table"]}
    found = []
    for path in sorted(folder.parent.glob("*/claims.csv")) if lacking else []:
        if path.parent == folder:
            continue
        try:
            theirs = mean_gains(results.read_table(path, ["claim", "table", "dataset", "seeds"]))
        except DataError:  # it is that study's matter
            continue
        enough = pd.to_numeric(theirs["seeds"], errors="coerce") >= MINIMUM_SEEDS
        shared = lacking & set(theirs.loc[enough & (theirs["dataset"] != "bundled"), "table"])
        if shared:
            found.append({"name": path.parent.name, "tables": wording.tables(shared)})
    return found


def claim(row) -> dict:
    """A row of claims.csv as the page shows it."""
    unit = row.unit if isinstance(row.unit, str) else ""
    decimals, sign = UNIT_DECIMALS.get(unit, 5), unit != "ratio"
    shown_unit = f" {unit}" if unit in ("dB", "%") else ""
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
        "paper": number(row.paper, decimals, sign) + ("" if pd.isna(row.paper) else shown_unit),
        "measured": number(row.measured, decimals, sign) + shown_unit,
        "interval": wording.interval(row.lower, row.upper, decimals, sign),
        "seeds": NOTHING if pd.isna(row.seeds) else f"{row.seeds:.0f}",
        "power": wording.probability(row.power),
        "verdict": row.verdict,
        "kind": COLOURS.get(row.direction, "open"),
        "reason": row.reason if isinstance(row.reason, str) else "",
    }
