"""What a study's report says in Markdown: changes.md and verdicts.md, from their templates."""

from __future__ import annotations

import pandas as pd

from asyrepro.analysis import changes as analysis
from asyrepro.analysis import titles
from asyrepro.analysis.comparisons import CONTROLS
from asyrepro.analysis.mechanism import LARGEST_CHANGE, MINIMUM_PIXELS
from asyrepro.analysis.statistics import STUDIES
from asyrepro.analysis.titles import loss_title, model_title
from asyrepro.analysis.verdicts import attribution
from asyrepro.data import STAND_IN
from asyrepro.metrics import METRICS, PRINTED
from asyrepro.paper.claims import CLAIMS, MINIMUM_SEEDS, RULES
from asyrepro.report import answers, setup, wording
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
    return _text(
        "changes.md",
        title=title,
        grids=change_grids(found.changes),
        below=setup.below_baseline(found.frame),
        enough=MINIMUM_SEEDS,
    )


def change_grids(table: pd.DataFrame) -> list[Grid]:
    """Every comparison of PSNR with a base loss, a grid a network."""
    return [
        Grid.of([_change(row) for row in group.itertuples()], 3, titles.network(*network))
        for network, group in analysis.shown(table).groupby(["model", "dataset"], sort=False)
    ]


def _change(row) -> dict[str, str]:
    known = row.seeds > 0
    return {
        "Test set": row.place,
        "Loss": loss_title(row.loss),
        "Against": loss_title(row.against),
        "Mean of that": number(row.against_mean, PSNR),
        "Change [95 %]": change(row, PSNR),
        "Noise": number(row.noise, PSNR) if known else NOTHING,
        "Seeds better": f"{row.seeds_better:.0f} of {row.seeds}" if known else NOTHING,
        "Images better": f"{row.images_better:.0f} of {row.images}" if known else NOTHING,
        "p (Holm)": _p(row),
        "Result": analysis.told(row),
    }


def _p(row) -> str:
    return NOTHING if pd.isna(row.p) else f"{wording.p(row.p)} ({wording.p(row.p_holm)})"


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
        largest=LARGEST_CHANGE,
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
        spans = {
            "95 %, seeds and images": (row.lower, row.upper),
            "95 %, these images alone": (row.fixed_lower, row.fixed_upper),
            "any one seed left out": (row.seed_out_lower, row.seed_out_upper),
            "any one image left out": (row.image_out_lower, row.image_out_upper),
        }
        better = f"{row.seeds_better:.0f} of {row.seeds}, p {wording.p(row.sign_p)}"
        rows.append(
            {
                "metric": row.metric.upper(),
                "loss": loss_title(row.loss),
                "against": loss_title(row.against),
                "mean of that": number(row.against_mean, digits),
                "change": number(row.change, digits, sign=True),
                **{name: interval(*ends, digits) or NOTHING for name, ends in spans.items()},
                "seeds better, sign test": better if known else NOTHING,
                "p (Holm)": _p(row),
                "images better": f"{row.images_better:.0f} of {row.images}" if known else NOTHING,
                "paper": number(row.paper_change, digits, sign=True),
                "power": probability(row.power) or NOTHING,
                "verdict": row.verdict,
            }
        )
    return Grid.of(rows, text_columns=3)


def _times(times: pd.DataFrame) -> Grid:
    rows = [
        {
            "network": model_title(row.model) or NOTHING,
            "loss": loss_title(row.loss),
            "base, ms a step": f"{row.base_ms:.2f}",
            "loss, ms a step": f"{row.loss_ms:.2f}",
            "ratio [95 %]": f"{row.ratio:.3f} {interval(row.lower, row.upper, 3, False)}".strip(),
            "repetitions": str(row.repetitions),
            "verdict": row.verdict,
        }
        for row in times.itertuples()
    ]
    return Grid.of(rows, text_columns=2)


def _regions(regions: pd.DataFrame) -> Grid:
    head = ["table", "loss", "against", "where", "change [95 %]", "seeds x images", "verdict"]
    rows = []
    for row in regions.itertuples():
        measured = f"{number(row.measured, 2, True)} {interval(row.lower, row.upper, 2)}".strip()
        names = [str(row.table), loss_title(row.loss), loss_title(row.base), row.quantity]
        rows.append([*names, measured, f"{row.seeds} x {row.images}", row.direction])
    return Grid("", head, rows, text_columns=4)
