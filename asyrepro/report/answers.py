"""What a study answers, in words: its title, its answer, and each claim's verdict."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from asyrepro.analysis.changes import leading, shown, why
from asyrepro.analysis.comparisons import WHERE
from asyrepro.analysis.titles import loss_title, model_rank, model_title
from asyrepro.metrics import FURTHER, METRICS
from asyrepro.paper.claims import (
    BETTER,
    CLAIMS,
    DIRECTIONS,
    EXCLUDED,
    LEVEL,
    MINIMUM_SEEDS,
    NOT_JUDGED,
    RULES,
    WORSE,
    verdict,
)
from asyrepro.report import wording
from asyrepro.report.grid import Grid
from asyrepro.report.wording import NOTHING, number
from asyrepro.runs import results
from asyrepro.system.errors import DataError

VERDICTS = {verdict(one, size): one for one in DIRECTIONS for size in ("", EXCLUDED)}
COLOURS = {BETTER: "good", WORSE: "bad"}  # of badges, by direction; others: open
BY_ID = {claim.id: claim for claim in CLAIMS}
UNIT_DECIMALS = {"dB": 3, "%": 2, "ratio": 3}  # others: 5


def title(frame: pd.DataFrame) -> str:
    """``SRCNN and EDSR under 4 losses: 600 to 28,000 steps, 6 seeds``: what a study is."""
    rows = results.of_runs(frame)
    models = sorted(set(rows["model"]), key=model_rank)
    runs = rows.groupby(["model", "loss", rows["variant"].fillna("")])["seed"].nunique()
    losses = wording.counted(rows["loss"].nunique(), "loss", "losses")
    settings = rows["variant"].fillna("").nunique()
    losses += f", {settings} settings" * (settings > 1)
    budget = f"{wording.span(rows['iterations'].dropna())} steps, {wording.seeds(runs)}"
    return f"{wording.listed(map(model_title, models))} under {losses}: {budget}"


def mean_gains(claims: pd.DataFrame) -> pd.DataFrame:
    """The rows of claims.csv about the paper's mean gains of PSNR, one a network and base loss."""
    return claims[claims["claim"].astype(str).str.fullmatch(r"table\d-[a-z]+-psnr")]


def answer(changes: pd.DataFrame, claims: pd.DataFrame) -> dict | None:
    """What became of the paper's mean gains of PSNR, or what losses of one's own change.

    Args:
        changes: of :func:`asyrepro.analysis.changes.view`.
        claims: of :func:`asyrepro.analysis.verdicts.claim_verdicts`.

    Returns:
        The question, the sentence that answers it and its rows; None if nothing is compared.
    """
    rows = leading(shown(changes))
    if rows.empty:
        return None
    own = bool((rows["kind"] == "loss").any())
    papers = not own and rows["paper_change"].notna().any()
    question = "What does each loss change?"
    if own:
        question = "Which loss helps?"
    elif papers:
        question = "Does the asymmetric loss raise PSNR as the paper reports?"
    return {
        "question": question,
        "own": own,
        "one_seed": rows["seeds"].max() == 1,
        "sentence": sentence(rows[rows["table"] != ""]) if papers else own_sentence(rows),
        "impossible": _impossible(rows),
        "rows": [_change(row) for row in rows.itertuples()],
        "others": _other_metrics(changes, rows) if own else None,
        "counts": counts(claims),
        "power": bool(claims["power"].notna().any()),
    }


def counts(claims: pd.DataFrame) -> list[tuple[str, int, str]]:
    """(verdict, how often, its kind) of those that were given, on evidence of its own."""
    given = claims.loc[claims["counted"].astype(bool), "verdict"].value_counts()
    return [
        (name, int(given[name]), COLOURS.get(direction, "open"))
        for name, direction in VERDICTS.items()
        if name in given
    ]


def tally(claims: pd.DataFrame) -> str:
    """``13 neither shown (the paper's size excluded for 5), 2 worse``: :func:`counts` in words."""
    given, said = {name: count for name, count, _ in counts(claims)}, []
    for direction in DIRECTIONS:
        out = given.get(verdict(direction, EXCLUDED), 0)
        if count := given.get(direction, 0) + out:
            size = f" (the paper's size excluded for {out})" if out else ""
            said.append(f"{count} {direction}{size}")
    return ", ".join(said)


def _change(row) -> dict:
    losses = f"{loss_title(row.loss)} against {loss_title(row.against)}"
    seeds = f"{row.seeds_better:.0f} of {row.seeds}" if row.seeds else NOTHING
    known = row.seeds >= MINIMUM_SEEDS
    return {
        "name": f"{model_title(row.model)}, {row.place}: {losses}",
        "table": int(row.table) if row.table and not row.variant else 0,
        **cells(row, row.paper_change, row.change),
        "seeds": f"{seeds}, p {wording.p(row.sign_p)}" if known else seeds,
        "holm": wording.p(row.p_holm),
        "note": why(row),
    }


def cells(row, papers: float, ours: float, unit: str = "dB", shown_unit: str = "") -> dict:
    """What the pages' tables have of a row with a verdict: both numbers, and the verdict."""
    decimals, sign = UNIT_DECIMALS.get(unit, 5), unit != "ratio"
    return {
        "paper": number(papers, decimals, sign, shown_unit),
        "measured": number(ours, decimals, sign, shown_unit),
        "interval": wording.interval(row.lower, row.upper, decimals, sign),
        "power": wording.probability(row.power),
        "verdict": row.verdict,
        "kind": COLOURS.get(row.direction, "open"),
    }


def sentence(rows: pd.DataFrame) -> str:
    """``Of the 8 mean gains of PSNR in the paper's Tables 2 and 3, none is shown: ...``"""
    judged = rows[rows["direction"] != NOT_JUDGED]
    gains = f"the {len(rows)} mean gains" if len(rows) > 1 else "the one mean gain"
    if (rows["kind"] == "reading").any() or (rows["variant"] != "").any():
        gains = wording.counted(len(rows), "comparison") + " with a mean gain"
    text = f"Of {gains} of PSNR in the paper's {wording.tables(rows['table'])}, "
    if judged.empty:
        return f"{text}none can be judged."
    if len(judged) < len(rows):
        text += f"{len(judged)} can be judged here, and of these "
    better = int((judged["direction"] == BETTER).sum())
    text += f"{wording.are(better)} shown"
    if len(rows) == 1:
        text = f"The mean gain of PSNR in the paper's {wording.tables(rows['table'])} is "
        text += "shown" if better else "not shown"
    if worse := int((judged["direction"] == WORSE).sum()):
        text += f"; {wording.are(worse)} a loss"
    out = int((judged["size"] == EXCLUDED).sum())
    if not out:
        return f"{text}."
    of = "all" if out == len(judged) else str(out)
    return f"{text}. The paper's size is excluded{f' for {of} of them' * (len(judged) > 1)}."


def own_sentence(rows: pd.DataFrame) -> str:
    """``Of 4 comparisons with a base loss, 1 is better (Huber), none is worse.``

    With a sentence on how many of these Holm's correction leaves.
    """
    compared = wording.counted(len(rows), "comparison")
    judged, said = rows[rows["direction"] != NOT_JUDGED], []
    if judged.empty:
        return f"None of {compared} with a base loss can be judged."
    if len(rows) == 1:
        return f"The one comparison with a base loss: {judged['direction'].iloc[0]}."
    for direction in (BETTER, WORSE):
        losses = rows.loc[rows["direction"] == direction, "loss"]
        text = f"{wording.are(len(losses))} {direction}"
        names = dict.fromkeys(map(loss_title, losses))
        said.append(text + (f" ({wording.listed(names)})" if names else ""))
    few = len(rows) - len(judged)
    if few:
        said.append(f"{wording.are(few)} not judged")
    text = f"Of {compared} with a base loss, {', '.join(said)}."
    directed = rows[rows["direction"].isin((BETTER, WORSE))]
    if directed.empty:
        return text
    left = int((directed["p_holm"] < 1 - LEVEL).sum())
    return f"{text} After Holm's correction {left or 'none'} remain{'s' * (left < 2)}."


def _other_metrics(changes: pd.DataFrame, rows: pd.DataFrame) -> Grid:
    """SSIM, and what ``metrics=`` asked for, of the comparisons of ``rows``."""
    keys = [*WHERE, "loss", "against"]
    measured = [name for name in ("ssim", *FURTHER) if (changes["metric"] == name).any()]
    found = changes.set_index([*keys, "metric"])
    body = []
    for compared in rows[keys].itertuples(index=False):
        cells = [f"{loss_title(compared.loss)} against {loss_title(compared.against)}"]
        for name in measured:
            row = found.loc[(*compared, name)]
            told = f", {row.direction}" if row.direction in COLOURS else ""
            cells.append(wording.change(row, METRICS[name].decimals) + told)
        body.append(cells)
    head = [f"{METRICS[name].title} [95 %]" for name in measured]
    return Grid("The same losses in other metrics", ["Losses", *head], body, text_columns=1)


def _impossible(rows: pd.DataFrame) -> list[str]:
    """Which comparisons have no verdict, and why."""
    without = rows[(rows["direction"] == NOT_JUDGED) & (rows["seeds"] != 1)]
    groups = without.groupby("reason", sort=False)
    return [f"{wording.listed(dict.fromkeys(part['place']))} ({why})" for why, part in groups]


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
    known, quantity = BY_ID[row.claim], row.quantity
    shown_unit = f" {row.unit}" if row.unit in ("dB", "%") else ""
    if isinstance(row.base, str) and row.base.upper() not in quantity:
        quantity += f", {loss_title('asy_' + row.base)} against {loss_title(row.base)}"
    return {
        "place": row.place,
        "quantity": quantity,
        "quote": known.quote,
        "rule": RULES[known.rule],
        "note": known.note,
        **cells(row, row.paper, row.measured, row.unit, shown_unit),
        "seeds": NOTHING if pd.isna(row.seeds) else f"{row.seeds:.0f}",
        "reason": row.reason,
    }
