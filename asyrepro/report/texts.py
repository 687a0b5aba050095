"""What a study's report says in Markdown: changes.md and verdicts.md, from their templates."""

from __future__ import annotations

import pandas as pd

from asyrepro.analysis import changes as analysis
from asyrepro.analysis import titles
from asyrepro.analysis.comparisons import CONTROLS
from asyrepro.analysis.mechanism import MINIMUM_PIXELS
from asyrepro.analysis.statistics import STUDIES
from asyrepro.analysis.titles import loss_title, model_title
from asyrepro.analysis.verdicts import attribution
from asyrepro.data import STAND_IN
from asyrepro.metrics import METRICS, PRINTED
from asyrepro.paper.claims import CLAIMS, MINIMUM_SEEDS, RULES
from asyrepro.report import answers, wording
from asyrepro.report.grid import Grid, markdown_rows
from asyrepro.report.mechanism import without_chart
from asyrepro.report.wording import NOTHING, change, interval, number, probability
from asyrepro.system.templates import render

PSNR = METRICS["psnr"].decimals


def _text(name: str, **values) -> str:
    return render("asyrepro.report", name, table=markdown_rows, **values)


# ---------------------------------------------------------------------------------- changes


def changes(found) -> str:
    """changes.md of :class:`asyrepro.report.study.Findings`."""
    title = wording.marked(found.name, found.stand_in)
    return _text("changes.md", title=title, grids=change_grids(found.changes))


def change_grids(table: pd.DataFrame) -> list[Grid]:
    """Every comparison of PSNR with a base loss, a grid a network."""
    made = []
    rows = analysis.shown(table)
    for network, group in rows.groupby(["model", "dataset"], sort=False):
        head = ["Test set", "Loss", "Against", "Mean of that", "Change [95 %]", "Noise"]
        head += ["Seeds better", "Images better", "p (Holm)", "Result"]
        body = [_change(row) for row in group.itertuples()]
        made.append(Grid(titles.network(*network), head, body, text_columns=3))
    return made


def _change(row) -> list[str]:
    start = [row.place, loss_title(row.loss), loss_title(row.against)]
    if not row.seeds:
        return [*start, *[NOTHING] * 6, analysis.told(row)]
    numbers = [number(row.against_mean, PSNR), change(row, PSNR), number(row.noise, PSNR)]
    better = [f"{row.seeds_better:.0f} of {row.seeds}", f"{row.images_better:.0f} of {row.images}"]
    p = NOTHING if pd.isna(row.p) else f"{wording.p(row.p)} ({wording.p(row.p_holm)})"
    return [*start, *numbers, *better, p, analysis.told(row)]


# ----------------------------------------------------------------------------------- verdicts


def verdicts(found) -> str:
    """verdicts.md of :class:`asyrepro.report.study.Findings`."""
    comparisons, claims = found.comparisons, found.claims
    failed = [] if found.bins is None else without_chart(found.bins)
    tested = [claim for claim in CLAIMS if claim.id in set(claims["claim"])]
    sources = attribution(comparisons)
    groups = comparisons.groupby(["table", "model", "dataset"])
    rules = {claim.rule for claim in tested} | {"change"}
    notes = [f"{claim.place}: {claim.note}" for claim in tested if claim.note]
    return _text(
        "verdicts.md",
        title=found.name,
        mark=wording.marked("", found.stand_in),
        seeds=int(comparisons["seeds"].max()) if len(comparisons) else 0,
        enough=MINIMUM_SEEDS,
        claims=_claims(claims) if len(claims) else None,
        absent=[claim.id for claim in CLAIMS if claim not in tested],
        notes=list(dict.fromkeys(notes)),
        tables=[_table(keys, group, sources, found.stand_in) for keys, group in groups],
        times=None if found.times is None or found.times.empty else _times(found.times),
        regions=None if found.regions is None else _regions(found.regions),
        failed=wording.listed(failed) if failed else "",
        pixels=MINIMUM_PIXELS,
        studies=STUDIES,
        rules={name.replace("_", " "): RULES[name] for name in RULES if name in rules},
    )


def _claims(claims: pd.DataFrame) -> Grid:
    rows = []
    for row in claims.itertuples():
        told, name = answers.claim(row), row.claim
        if not pd.isna(row.table) and not name.startswith("table"):
            name += f" (Table {row.table})"
        measured = f"{told['measured']} {told['interval']}".strip()
        cells = [name, row.place, row.quantity, told["paper"], measured, told["seeds"]]
        rows.append([*cells, [(row.verdict, True)], told["reason"]])
    head = ["claim", "place", "quantity", "paper", "measured [95 %]", "seeds", "verdict", "why"]
    return Grid("", head, rows, text_columns=len(head))


def _table(keys, group: pd.DataFrame, sources: pd.DataFrame, stand_in: bool) -> dict:
    """The comparisons of one table, by base loss."""
    table, model, dataset = keys
    heading = f"Table {table}: {titles.network(model, dataset)}"
    mine = sources[(sources[["table", "model", "dataset"]] == list(keys)).all(axis=1)]
    bases = []
    for base in dict.fromkeys(group["base"]):
        rows = group[group["base"] == base]
        noise = rows.drop_duplicates("metric").set_index("metric")["noise"].dropna()
        contrasts, loss = rows[rows["kind"] == "contrast"], loss_title(f"asy_{base}")
        left = [
            f"{name} ({control.what}): {loss} minus this control leaves {control.leaves}."
            for name, control in CONTROLS.items()
            if f"asy_{base}_{name}" in set(contrasts["against"])
        ]
        effects = [
            f"{row.metric.upper()}: effect {row.effect}; source: {row.source}."
            for row in mine[mine["base"] == base].itertuples()
        ]
        said = {
            "title": f"Against {loss_title(base)} ({wording.seeds([rows['seeds'].max()])}, "
            f"{rows['images'].max()} images)",
            "noise": ", ".join(
                f"{METRICS[name].title} {number(value, METRICS[name].decimals)}"
                for name, value in noise.items()
            ),
            "changes": _changes(rows[rows["kind"] != "contrast"]),
            "contrasts": _changes(contrasts) if len(contrasts) else None,
        }
        bases.append(said | {"left": left, "effects": effects})
    unsaid = stand_in and STAND_IN not in heading
    return {"heading": wording.marked(heading, unsaid), "bases": bases}


def _changes(table: pd.DataFrame) -> Grid:
    rows, order = [], table["metric"].map(PRINTED.index).sort_values(kind="stable").index
    for row in table.loc[order].itertuples():
        digits, known = METRICS[row.metric].decimals, not pd.isna(row.sign_p)
        names = [row.metric.upper(), loss_title(row.loss), loss_title(row.against)]
        spans = [
            interval(getattr(row, f"{name}lower"), getattr(row, f"{name}upper"), digits) or NOTHING
            for name in ("", "fixed_", "seed_out_", "image_out_")
        ]
        better = f"{row.seeds_better:.0f} of {row.seeds}, p {wording.p(row.sign_p)}"
        rows.append(
            [
                *names,
                number(row.against_mean, digits),
                number(row.change, digits, True),
                *spans,
                better if known else NOTHING,
                NOTHING if pd.isna(row.p) else f"{wording.p(row.p)} ({wording.p(row.p_holm)})",
                f"{row.images_better:.0f} of {row.images}" if known else NOTHING,
                number(row.paper_change, digits, True),
                probability(row.power) or NOTHING,
                row.verdict,
            ]
        )
    head = [
        *("metric", "loss", "against", "mean of that", "change", "95 %, seeds and images"),
        *("95 %, these images alone", "any one seed left out", "any one image left out"),
        *("seeds better, sign test", "p (Holm)", "images better"),
        *("paper", "power", "verdict"),
    ]
    return Grid("", head, rows, text_columns=3)


def _times(times: pd.DataFrame) -> Grid:
    head = ["network", "loss", "base, ms a step", "loss, ms a step", "ratio [95 %]"]
    rows = [
        [
            model_title(row.model) or NOTHING,
            loss_title(row.loss),
            f"{row.base_ms:.2f}",
            f"{row.loss_ms:.2f}",
            f"{row.ratio:.3f} {interval(row.lower, row.upper, 3, sign=False)}".strip(),
            str(row.repetitions),
            row.verdict,
        ]
        for row in times.itertuples()
    ]
    return Grid("", [*head, "repetitions", "verdict"], rows)


def _regions(regions: pd.DataFrame) -> Grid:
    head = ["table", "loss", "against", "where", "change [95 %]", "seeds x images", "verdict"]
    rows = []
    for row in regions.itertuples():
        measured = f"{number(row.measured, 2, True)} {interval(row.lower, row.upper, 2)}".strip()
        names = [str(row.table), loss_title(row.loss), loss_title(row.base), row.quantity]
        rows.append([*names, measured, f"{row.seeds} x {row.images}", row.direction])
    return Grid("", head, rows, text_columns=4)
