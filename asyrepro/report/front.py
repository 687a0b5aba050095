"""The front page over all studies, ``results/index.html``, and the audit's page beside them.

Each network and base loss is answered by its strongest study: of those with seeds enough for a
verdict the one with the most training steps times seeds. Where the longest runs are of a study with
fewer seeds, it stands there, too. The paper's reasons, for which it gives no number, are counted
over all studies.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from asyrepro import paper
from asyrepro.analysis import titles
from asyrepro.analysis.comparisons import READING
from asyrepro.analysis.summary import summarise
from asyrepro.analysis.titles import loss_title, model_rank, model_title
from asyrepro.data import STAND_IN
from asyrepro.paper.claims import BETTER, CLAIMS, EXCLUDED, MINIMUM_SEEDS, NEITHER, WORSE
from asyrepro.report import answers, audit, forest, wording
from asyrepro.report.grid import Grid
from asyrepro.report.markup import figure
from asyrepro.report.page import failures, mean_cells
from asyrepro.report.wording import NOTHING
from asyrepro.runs import results
from asyrepro.system import style
from asyrepro.system.errors import DataError
from asyrepro.system.files import write_text
from asyrepro.system.templates import render

JUDGED = {  # of a study's report, and the columns that are read
    "claims": ["claim", "table", "model", "measured", "lower", "upper",
               "direction", "verdict", "counted"],
    "verdicts": [*("table", "model", "dataset", "kind", "base", "loss", "metric", "seeds"),
                 *("change", "lower", "upper", "paper_change", "power", "noise"),
                 *("direction", "size", "verdict")],
}  # fmt: skip


TEXTS = {  # of the repository that a folder of studies lies in
    "What the studies found": "docs/results.md",
    "What was planned": "docs/protocol.md",
    "The project": "README.md",
}
SAYS = {claim.id: claim.says for claim in CLAIMS if claim.says}  # claims without a number


@dataclass(frozen=True)
class Entry:
    """A study that has a report: its folder, rows, claims and comparisons."""

    folder: Path
    frame: pd.DataFrame
    claims: pd.DataFrame
    comparisons: pd.DataFrame

    @property
    def name(self) -> str:
        return self.folder.name

    def steps(self, table: int) -> int:
        """The longest training of one of its tables; 0 where none is recorded."""
        plain = results.plain(self.frame)
        steps = plain.loc[plain["table"] == table, "iterations"].dropna()
        return int(max(steps, default=0))


def write(folder: Path, log, pdf: bool = False) -> Path | None:
    """Write index.html and its overview over the studies in a folder; None if there are none.

    A study that cannot be read, or whose report an earlier version made, is left out and named.
    """
    entries = list(_entries(folder, log))
    if not entries:
        return None
    gains = of_psnr(entries)
    evidence = strongest(gains)
    first, overview = evidence[evidence["first"].astype(bool)], None
    enough = evidence["seeds"] >= MINIMUM_SEEDS
    if len(evidence):
        drawn, about = evidence, ""
        if enough.any():
            drawn, about = evidence[enough], "Of each the strongest study with enough seeds."
        style.replace(forest.overview(drawn, forest.OVERVIEW, about), folder / "overview", pdf)
        narrow = forest.overview(drawn, forest.OVERVIEW, about, narrow=True)
        style.replace(narrow, folder / "overview_narrow")
        alt = "Changes of PSNR in each network, beside the paper's"
        overview = figure(folder, "overview", alt)
    root = folder.resolve().parent
    context = {
        "answer": _sentences(evidence),
        "everywhere": _everywhere(gains),
        "judged": [_row(row) for row in evidence[enough].itertuples()],
        "longest": [_row(row) for row in evidence[~enough].itertuples()],
        "overview": overview,
        "reasons": reasons(entries),
        "studies": [_study(entry, evidence) for entry in entries],
        "tables": [_means(entries, row) for row in first.drop_duplicates("table").itertuples()],
        "enough": MINIMUM_SEEDS,
        "texts": {title: f"../{file}" for title, file in TEXTS.items() if (root / file).is_file()},
        "audit": audit.write(folder / "audit"),
    }
    page = render("asyrepro.report", "front.html", **context)
    path = write_text(folder / "index.html", page)
    log(f"front page: {path}, {wording.counted(len(entries), 'study', 'studies')}")
    return path


def _entries(folder: Path, log):
    for path in sorted(folder.glob("*/index.html")):
        study = path.parent
        try:
            frame = results.load(study)
            judged = [_reported(study / f"{name}.csv", JUDGED[name]) for name in JUDGED]
            yield Entry(study, frame, *judged)
        except DataError as error:
            log(
                f"front page: study {study.name} is left out: {error}; "
                f"asyrepro report study={study.name} makes its report again"
            )


def _reported(path: Path, columns: list[str]) -> pd.DataFrame:
    """A table of a study's report; empty where it has none, as a study of no table of the paper."""
    return results.read_table(path, columns) if path.is_file() else pd.DataFrame(columns=columns)


def of_psnr(entries: list[Entry]) -> pd.DataFrame:
    """What the studies of the paper's data say about its gains in PSNR.

    Returns:
        Rows of verdicts.csv about PSNR and the paper's losses, with the columns study, longest
        (steps) and steps (as text).
    """
    found = []
    for entry in entries:
        if results.of_stand_in(entry.frame):
            continue
        rows = entry.comparisons
        rows = rows[(rows["kind"] == "claim") & (rows["metric"] == "psnr") & (rows["seeds"] > 0)]
        for row in rows.to_dict("records"):
            longest = entry.steps(row["table"])
            steps = f"{longest:,}" if longest else NOTHING
            found.append(row | {"study": entry.name, "longest": longest, "steps": steps})
    return pd.DataFrame(found, columns=[*JUDGED["verdicts"], "study", "longest", "steps"])


def strongest(gains: pd.DataFrame) -> pd.DataFrame:
    """The evidence on each network and base loss.

    Args:
        gains: of :func:`of_psnr`.

    Returns:
        Some of its rows: of the studies with seeds enough for a verdict the one with the most steps
        x seeds; before it the one with the most steps, if that has fewer seeds. Of equals the first
        is taken, whatever they found. The column first is True for the first row of each.
    """
    made = []
    for _, group in gains.groupby(["table", "base"]):
        group = group.assign(weight=group["longest"] * group["seeds"])
        longest = group.sort_values("longest", ascending=False, kind="stable").head(1)
        judged = group[group["seeds"] >= MINIMUM_SEEDS]
        judged = judged.sort_values("weight", ascending=False, kind="stable").head(1)
        short = longest["seeds"].iloc[0] < MINIMUM_SEEDS
        found = pd.concat([longest, judged]) if short else judged
        made.append(found.assign(first=[True, False][: len(found)]))
    return pd.concat(made, ignore_index=True) if made else gains.assign(first=False)


def reasons(entries: list[Entry]) -> Grid:
    """How often each of the paper's claims without a number was tested, and with what outcome.

    A measurement that two studies share, as step times may be, counts once.
    """
    tests = [
        entry.claims.assign(study=entry.name)
        for entry in entries
        if not (entry.claims.empty or results.of_stand_in(entry.frame))
    ]
    found = pd.concat(tests) if tests else pd.DataFrame(columns=[*JUDGED["claims"], "study"])
    found = found[found["direction"].isin((BETTER, WORSE, NEITHER))]
    found = found.drop_duplicates(["claim", "table", "model", "measured", "lower", "upper"])
    found["model"] = found["model"].fillna(found["table"].map(paper.MODELS))
    rows = []
    for text in dict.fromkeys(SAYS.values()):
        if count := len(of_claim := found[found["claim"].map(SAYS) == text]):
            outcomes = (_outcome(of_claim, direction) for direction in (BETTER, WORSE))
            rows.append([text, *outcomes, str(count)])
    return Grid("", ["The asymmetric loss ...", "better", "worse", "tests"], rows, text_columns=3)


def _outcome(tests: pd.DataFrame, direction: str) -> str:
    """``SRCNN 11 of 12, EDSR 1 of 4 (seeds)``: where a claim's tests went that way."""
    said = []
    for model in sorted(set(tests["model"]), key=model_rank):
        of_model = tests[tests["model"] == model]
        studies = dict.fromkeys(of_model.loc[of_model["direction"] == direction, "study"])
        if hits := int((of_model["direction"] == direction).sum()):
            where = f" ({wording.listed(studies)})" if len(studies) <= 2 else ""
            said.append(f"{model_title(model)} {hits} of {len(of_model)}{where}")
    return ", ".join(said) or NOTHING


def _sentences(evidence: pd.DataFrame) -> str:
    """The answer: how many of the paper's gains are shown, in whatever size, and excluded."""
    if evidence.empty:
        return "No study here tests the paper's claims."
    judged = evidence[evidence["seeds"] >= MINIMUM_SEEDS]
    gains = evidence["first"].sum()
    there = int((judged["direction"] == BETTER).sum())
    excluded = int((judged["size"] == EXCLUDED).sum())
    text = f"Of the paper's {gains} mean gains in PSNR, {wording.are(there)} shown."
    if excluded:
        out = "all" if excluded == gains else str(excluded)
        text += f" The studies below, of {wording.seeds(judged['seeds'])}, exclude the paper's "
        text += f"size for {out} of them."
    shorter = dict.fromkeys(judged.loc[~judged["first"], "model"])
    if shorter:
        text += f" On {wording.listed(map(model_title, shorter))} these runs are short, and the "
        text += f"longest runs have fewer than {MINIMUM_SEEDS} seeds."
    return text


def _everywhere(gains: pd.DataFrame) -> str:
    """What all comparisons with seeds enough for a verdict say together; "" without any."""
    judged = gains[gains["seeds"] >= MINIMUM_SEEDS]
    if judged.empty:
        return ""
    better, worse = ((judged["direction"] == side).sum() for side in (BETTER, WORSE))
    studies = wording.counted(judged["study"].nunique(), "study", "studies")
    return (
        f"Of {wording.counted(len(judged), 'comparison')} with {MINIMUM_SEEDS} seeds or more, in "
        f"{studies}, {wording.are(better)} better and {wording.are(worse)} worse; "
        f"{(judged['size'] == EXCLUDED).sum()} exclude the paper's size. These counts are not "
        "corrected for their number, and studies of one network share seeds and test images."
    )


def _row(row) -> dict:
    losses = f"{loss_title(row.loss)} {wording.MINUS} {loss_title(row.base)}"
    return {
        "name": f"{model_title(row.model)}, {losses}",
        **answers.cells(row, row.paper_change, row.change),
        "budget": f"{row.steps} steps, {wording.seeds([row.seeds])}",
        "study": row.study,
        "table": row.table,
    }


def _study(entry: Entry, evidence: pd.DataFrame) -> dict:
    """What a study is, and what to open it for."""
    mine = evidence[evidence["study"] == entry.name]
    about = entry.folder / "about.txt"
    reasons = [about.read_text("utf-8", "replace").strip()] if about.is_file() else []
    enough = mine["seeds"] >= MINIMUM_SEEDS
    kinds = {
        "strongest evidence on": mine["first"] & enough,
        "longest runs of": mine["first"] & ~enough,
        "a verdict on": ~mine["first"],
    }
    for what, chosen in kinds.items():
        if models := dict.fromkeys(mine.loc[chosen.astype(bool), "model"]):
            reasons.append(f"{what} {wording.listed(map(model_title, models))}")
    if failing := failures(entry.folder):
        reasons.append(_inside(failing.title))
    found = set(results.of_runs(entry.frame)["loss"])
    readings = {loss for loss in found if READING.search(loss)}
    controls = found & set(results.CONTROLS) - readings
    others = found - readings - controls - set(results.PAPER_LOSSES)
    kinds = {"controls": controls, "readings of Table 1": readings, "other losses": others}
    for what, losses in kinds.items():
        if losses:
            reasons.append(f"{what} ({wording.counted(len(losses), 'loss', 'losses')})")
    if (entry.frame["variant"].fillna("") != "").any():
        reasons.append("a sweep")
    if results.of_stand_in(entry.frame):
        reasons = [f"a trial on {STAND_IN}"]
    return {
        "name": entry.name,
        "title": answers.title(entry.frame),
        "reasons": "; ".join(reasons) or "an earlier or shorter study",
        "verdicts": answers.tally(entry.claims[~entry.claims["claim"].isin(SAYS)]) or NOTHING,
    }


def _inside(title: str) -> str:
    """A title within a sentence: "All fail" as "all fail", "EDSR fails" as it is."""
    is_name = any(letter.isupper() for letter in title.split()[0][1:])
    return title if is_name else title[0].lower() + title[1:]


def _means(entries: list[Entry], row) -> dict:
    """Means of a table in its strongest study, the paper's beside."""
    table, study = row.table, row.study
    entry = next(entry for entry in entries if entry.name == study)
    summary = summarise(entry.frame, table)
    of_table = titles.of_rows(entry.frame[entry.frame["table"] == table])
    others = set(results.of_runs(entry.frame)["loss"]) - set(results.PAPER_LOSSES)
    rows = []
    for loss, title in of_table.items():
        if loss not in others:
            cells = mean_cells(summary, loss)
            rows.append({"title": title, "change": False, "cells": cells})
    images = "the same images" if summary.same_images else "other images"
    about = f"Table {table}, {model_title(paper.MODELS[table])}: means over "
    about += f"{len(summary.images)} images; small: the paper's, on {images}"
    return {"about": about, "means": rows, "study": study, "table": table}
