"""Verdicts as Markdown, CSV and forest plots."""

from __future__ import annotations

import pandas as pd

from asyrepro.analysis import titles
from asyrepro.analysis.statistics import STUDIES
from asyrepro.analysis.verdicts import (
    CONTRASTS,
    CONTROLS,
    METRICS,
    attribution,
)
from asyrepro.paper.claims import CLAIMS, MINIMUM_SEEDS, RULES
from asyrepro.report import wording
from asyrepro.report.tables import DECIMALS
from asyrepro.report.wording import MINUS
from asyrepro.runs import results


def _number(value: float, digits: int, sign: bool = False) -> str:
    return "-" if pd.isna(value) else wording.number(value, digits, sign).replace(MINUS, "-")


def _span(lower: float, upper: float, digits: int, sign: bool = True) -> str:
    if pd.isna(lower):
        return "-"
    return f"[{_number(lower, digits, sign)}, {_number(upper, digits, sign)}]"


def _p(value: float) -> str:
    return "-" if pd.isna(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def _claim_lines(table: pd.DataFrame) -> list[str]:
    rows = []
    for row in table.itertuples():
        digits = {"dB": 3, "%": 2, "ratio": 3}.get(row.unit, 5)
        unit = {"dB": " dB", "%": " %"}.get(row.unit, "")
        sign = row.unit != "ratio"
        name = row.claim
        if not pd.isna(row.table) and not name.startswith("table"):
            name += f" (Table {row.table})"
        measured = _number(row.measured, digits, sign) + unit
        if not pd.isna(row.lower):
            measured += " " + _span(row.lower, row.upper, digits, sign)
        paper = "-" if pd.isna(row.paper) else _number(row.paper, digits, sign) + unit
        seeds = "-" if pd.isna(row.seeds) else str(row.seeds)
        cells = [name, row.place, row.quantity, paper, measured, seeds, f"**{row.verdict}**"]
        rows.append([*cells, row.reason])
    head = ["claim", "place", "quantity", "paper", "measured [95 %]", "seeds", "verdict", "why"]
    return wording.grid(head, rows)


def _change_lines(table: pd.DataFrame) -> list[str]:
    rows = []
    order = {metric: place for place, metric in enumerate(METRICS)}
    for row in table.sort_values("metric", key=lambda c: c.map(order), kind="stable").itertuples():
        digits = DECIMALS[row.metric]
        known = not pd.isna(row.sign_p)
        rows.append(
            [
                row.metric.upper(),
                titles.loss_title(row.loss),
                titles.loss_title(row.against),
                _number(row.against_mean, digits),
                _number(row.change, digits, True),
                _span(row.lower, row.upper, digits),
                _span(row.fixed_lower, row.fixed_upper, digits),
                _span(row.seed_out_lower, row.seed_out_upper, digits),
                _span(row.image_out_lower, row.image_out_upper, digits),
                f"{row.seeds_better:.0f} of {row.seeds}, p {_p(row.sign_p)}" if known else "-",
                "-" if pd.isna(row.p) else f"{_p(row.p)} ({_p(row.p_holm)})",
                f"{row.images_better:.0f} of {row.images}" if known else "-",
                _number(row.paper_change, digits, True),
                wording.probability(row.power) or "-",
                row.verdict,
            ]
        )
    head = [
        *("metric", "loss", "against", "mean of that", "change", "95 %, seeds and images"),
        *("95 %, these images alone", "any one seed left out", "any one image left out"),
        *("seeds better, sign test", "p (Holm)", "images better"),
        *("paper", "power", "verdict"),
    ]
    return wording.grid(head, rows)


def _method_lines(rules: list[str]) -> list[str]:
    lines = ["## How it is judged", ""]
    lines += [
        "The losses of one seed share initial weights, patches and noise; a change is the "
        "difference within a seed and an image. Intervals are for random seeds and images: the "
        "standard error of a two-way analysis of variance, Student's t with Satterthwaite's "
        'degrees of freedom. "These images alone" is a t interval over seeds; it answers a '
        "narrower question and decides nothing. The sign test counts seeds whose mean change is "
        "above or below zero. p belongs to the first interval; Holm's correction runs over all "
        "comparisons of the same kind in this study (claims, readings, controls, contrasts), NRMSE "
        "apart, which is PSNR in other units; verdicts do not use it. Power is the probability of "
        f"the verdict better if the paper's change were there, by {STUDIES} simulated studies with "
        "the variances of this one; no verdict uses it.",
        "",
        "The rules:",
        "",
    ]
    return lines + [f"- *{name.replace('_', ' ')}*: {RULES[name]}" for name in rules] + [""]


def markdown(
    title: str,
    comparisons: pd.DataFrame,
    claims: pd.DataFrame,
    times: pd.DataFrame | None = None,
    mechanism: list[str] | None = None,
    stand_in: bool = False,
) -> str:
    """verdicts.md as text; the arguments are what the functions above return.

    Args:
        mechanism: lines that :func:`asyrepro.report.mechanism.markdown` made, or None.
        stand_in: whether the study was made from the bundled stand-in data.
    """
    mark = f" ({results.STAND_IN})" if stand_in else ""
    lines = [f"# Verdicts: {title}{mark}", ""]
    if stand_in:
        lines += [
            "Trained or tested on photographs that stand in for the paper's data: this shows that "
            "the machinery works and says nothing about the paper.",
            "",
        ]
    most = int(comparisons["seeds"].max()) if len(comparisons) else 0
    if most == 0:
        lines += ["**No two runs here can be compared**, so no verdict is possible.", ""]
    elif most == 1:
        lines += ["**With one seed no verdict is possible.** Run more seeds.", ""]
    elif most < MINIMUM_SEEDS:
        lines += [
            f"**{most} seeds: too few for any verdict** (the rules ask for {MINIMUM_SEEDS}).",
            "",
        ]
    if len(claims):
        lines += _papers_lines(claims, mark)
    sources = attribution(comparisons)
    for keys, group in comparisons.groupby(["table", "model", "dataset"]):
        lines += _table_lines(keys, group, sources, mark)
    if times is not None and len(times):
        lines += [f"## Training time{mark}", "", *_time_lines(times)]
    lines += mechanism or []
    tested = {claim.rule for claim in CLAIMS if claim.id in set(claims["claim"])} | {"change"}
    return "\n".join(lines + _method_lines([r for r in RULES if r in tested])).rstrip() + "\n"


def _papers_lines(claims: pd.DataFrame, mark: str) -> list[str]:
    """The claims of the paper that the study tests, those that it does not, and notes."""
    lines = [f"## Claims{mark}", "", *_claim_lines(claims)]
    absent = [claim.id for claim in CLAIMS if claim.id not in set(claims["claim"])]
    if absent:
        lines += [f"Not tested in this study: {', '.join(absent)}.", ""]
    notes = list(dict.fromkeys(_note(claims)))
    return lines + [f"- {note}" for note in notes] + [""] * bool(notes)


def _note(claims: pd.DataFrame):
    for claim in CLAIMS:
        if claim.note and claim.id in set(claims["claim"]):
            yield f"{claim.place}: {claim.note}"


def _heading(table: int, model: str, dataset: str) -> str:
    trained = titles.DATASET_TITLES.get(dataset, dataset)
    return f"Table {table}: {titles.model_title(model)}, trained on {trained}"


def _table_lines(keys, group: pd.DataFrame, sources: pd.DataFrame, mark: str) -> list[str]:
    heading = _heading(*keys)
    lines = [f"## {heading}{mark if results.STAND_IN not in heading else ''}", ""]
    for base in dict.fromkeys(group["base"]):
        rows = group[group["base"] == base]
        counts = f"{wording.seeds([rows['seeds'].max()])}, {rows['images'].max()} images"
        lines += [f"### Against {base.upper()} ({counts})", ""]
        noise = rows.drop_duplicates("metric").set_index("metric")["noise"]
        if noise.notna().any():
            said = ", ".join(f"{m.upper()} {_number(noise[m], DECIMALS[m])}" for m in METRICS)
            lines += [
                "Yardstick: two runs of one loss that differ in nothing but the seed differ in "
                f"their mean by (root mean square, all losses but the controls) {said}.",
                "",
            ]
        lines += _change_lines(rows[rows["kind"] != "contrast"])
        contrasts = rows[rows["kind"] == "contrast"]
        if len(contrasts):
            lines += ["What the controls separate:", ""]
            for name, meaning in CONTRASTS.items():
                if f"asy_{base}_{name}" in set(contrasts["against"]):
                    lines += [
                        f"- {name} ({CONTROLS[name]}): {titles.loss_title(f'asy_{base}')} minus "
                        f"this control leaves {meaning}."
                    ]
            lines += ["", *_change_lines(contrasts)]
        chosen = (sources[["table", "model", "dataset"]] == list(keys)).all(axis=1)
        for row in sources[chosen & (sources["base"] == base)].itertuples():
            lines += [f"- {row.metric.upper()}: effect {row.effect}; source: {row.source}."]
        lines += [""] * (lines[-1] != "")
    return lines


def _time_lines(times: pd.DataFrame) -> list[str]:
    rows = [
        [
            titles.model_title(row.model) or "-",
            titles.loss_title(row.loss),
            f"{row.base_ms:.2f}",
            f"{row.loss_ms:.2f}",
            f"{row.ratio:.3f} [{row.lower:.3f}, {row.upper:.3f}]",
            str(row.repetitions),
            row.verdict,
        ]
        for row in times.itertuples()
    ]
    head = ["network", "loss", "base, ms a step", "loss, ms a step", "ratio [95 %]"]
    return wording.grid([*head, "repetitions", "verdict"], rows)
