"""The page of a study, ``results/<study>/index.html``: one file that needs nothing else.

Made from the tidy table, the verdicts, the paper's numbers and the figures; pictures and learning
curves come from what :mod:`.crops` and :mod:`.curves` keep of the runs, so that a clone without
weights and data sets gives the same bytes. :func:`context` gathers plain data, and the templates
in ``asyrepro/report/templates`` make HTML of it.

Two sections appear when their file is in the study's folder: ``goals.csv`` (see
:mod:`asyrepro.analysis.goals`) and ``failure.md`` (headings, paragraphs, tables, and pictures of
the folder on lines of their own, ``![what it shows](figures/name.png)``), which stands first where
the study has one table only.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from asyrepro import paper
from asyrepro.analysis import changes, titles
from asyrepro.analysis.summary import Summary, summarise
from asyrepro.analysis.titles import loss_title
from asyrepro.paper.claims import MINIMUM_SEEDS
from asyrepro.report import RADAR_FIGURES, wording
from asyrepro.report.page import crops, curves, numbers, runs
from asyrepro.runs import results
from asyrepro.system.errors import DataError
from asyrepro.system.files import write_text

TEMPLATES = Path(__file__).parents[1] / "templates"
SMALL_BUDGET = 10_000  # steps; the networks' own papers trained for far more
OPENS_WITH = "asy_mae"  # a gallery, beside the label

# The paper's other figures, remade: the file's stem, and what it shows.
OTHER_FIGURES = {
    "fig1_2": "Fig. 1 and 2, the method",
    "fig3": "Fig. 3, test images of super-resolution",
    "fig5": "Fig. 5, outputs of the four losses",
    "fig6": "Fig. 6, outputs magnified",
    "fig8": "Fig. 8, test images of denoising",
}


def write(study_dir, restored: Callable | None = None) -> Path:
    """Write the study's index.html, crops/ and histories.csv. Returns the page's path.

    The same results give the same bytes.

    Args:
        study_dir: results/<study>, with metrics.csv; everything else is used where it is there.
        restored: ``restored(table, loss, seed, image) -> (input, output, label)`` arrays, or None;
            needed only for pictures that crops/ does not hold yet.

    Raises:
        DataError: a file of the study is missing or damaged.
    """
    study_dir = Path(study_dir)
    frame = results.load(study_dir)
    published = paper.tables()
    summaries = [s for t in RADAR_FIGURES if (s := summarise(frame, t, published)) is not None]
    pictures = crops.collect(study_dir, summaries, restored)
    histories = curves.collect(study_dir)
    found = context(study_dir, frame, summaries, pictures, histories)
    return write_text(study_dir / "index.html", render(found))


def render(found: dict) -> str:
    """The page of a context, as :func:`context` makes it."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(found)


def context(study_dir: Path, frame, summaries: list[Summary], pictures, histories) -> dict:
    """Everything the page says, as plain data; a part that cannot be had is None or empty.

    Args:
        frame: the tidy table, with a sweep's variants.
    """
    record = runs.record(study_dir / "reproducibility.json")
    steps = sorted(set(frame["iterations"].dropna()))
    claims = _csv(study_dir / "claims.csv", dtype={"claim": str, "verdict": str})
    answer = None if claims is None else numbers.answer(claims, summaries)
    galleries, without = _galleries(study_dir, summaries, pictures)
    ran = [runs.run(study_dir, summary) for summary in summaries]
    failure = _failure(study_dir / "failure.md")
    return {
        "study": study_dir.name,
        "stand_in": results.STAND_IN if results.of_stand_in(frame) else "",
        "small_budget": runs.span(steps) if steps and steps[0] < SMALL_BUDGET else "",
        "failed": list(filter(None, map(runs.failed, summaries))),
        "answer": answer,
        "overview": _overview(study_dir / "figures" / "overview.png"),
        "siblings": _siblings(study_dir, answer["short"]) if answer else [],
        "enough": MINIMUM_SEEDS,
        "runs": ran,
        "bicubic": runs.bicubic(summaries, ran),
        "facts": runs.facts(frame, histories, record),
        "command": str(record.get("command", "")),
        "hashes": bool(record.get("cells")),
        "verdicts": None if claims is None else numbers.verdicts(claims, summaries),
        "tables": [numbers.table(s, run) for s, run in zip(summaries, ran, strict=True)],
        "benchmarks": numbers.benchmarks(results.plain(frame)),
        "variants": numbers.variants(frame),
        "changes": _changes(study_dir),
        "goals": _goals(study_dir / "goals.csv"),
        "figures": [f for s in summaries if (f := _figures(study_dir / "figures", s))["figures"]],
        "other_figures": _other_figures(study_dir / "figures"),
        "galleries": galleries,
        "without_gallery": without,
        "curves": _curves(histories, summaries),
        "failure": failure,
        "failure_first": bool(failure) and len(summaries) == 1,
        "audit": _audit(study_dir.parent / "audit" / "summary.csv") if summaries else [],
    }


def _siblings(study_dir: Path, tables: list[int]) -> list[dict]:
    """The studies beside this one that have seeds enough for a verdict on some of these tables."""
    found = []
    for page in sorted(study_dir.parent.glob("*/index.html")):
        try:
            claims = _csv(page.parent / "claims.csv", ["claim", "table", "dataset", "seeds"])
        except DataError:  # it is that study's matter
            continue
        if claims is None or page.parent == study_dir:
            continue
        gains = numbers.mean_gains(claims.astype({"claim": str}))
        enough = pd.to_numeric(gains["seeds"], errors="coerce") >= MINIMUM_SEEDS
        gains = gains[enough & (gains["dataset"] != "bundled")]
        shared = set(gains["table"]) & set(tables)
        if shared:
            found.append({"name": page.parent.name, "tables": wording.tables(shared)})
    return found


# -------------------------------------------------------------------- figures, pictures, curves


def _figures(folder: Path, summary: Summary) -> dict:
    """The charts that the report made of a table, embedded."""
    name = f"Table {summary.table}, {summary.model_title}"
    radar, table = RADAR_FIGURES[summary.table], summary.table
    pairs = (summary.change_per_seed(f"asy_{base}", base, "psnr") for base in results.BASES)
    several = any(pair.shape[1] > 1 for pair in pairs)
    with_intervals = ", with 95 % intervals over seeds and images" if several else ""
    kinds = [
        (
            f"{radar}.png",
            f"Radar charts of {name}: each test image's values under the base losses, and what "
            "the asymmetric weights change",
            f"The paper's Fig. {radar.removeprefix('fig')}, remade. The paper draws values and "
            "changes over one another; here the changes have charts of their own, below.",
        ),
        (
            f"forest_table{table}*.png",
            f"Mean changes of PSNR, SSIM and NRMSE in {name}{with_intervals}, beside the paper's",
            f"Not in the paper: mean changes against the base losses{with_intervals}.",
        ),
        (
            f"mechanism_table{table}*.png",
            f"Where the error changes in {name}: by the label's grey value and by its gradient",
            "Not in the paper: how the squared error changes on dark and bright pixels, and from "
            "flat regions to edges.",
        ),
    ]
    return {
        "title": name,
        "figures": [
            {**_embedded(path), "alt": alt, "caption": caption, "pdf": _pdf(path)}
            for pattern, alt, caption in kinds
            for path in sorted(folder.glob(pattern))
        ],
    }


def _overview(path: Path) -> dict | None:
    alt = "Changes of PSNR that the asymmetric weights bring in each network, beside the paper's"
    return {**_embedded(path), "alt": alt, "pdf": _pdf(path)} if path.is_file() else None


def _changes(study_dir: Path) -> dict | None:
    """What changes.csv and its chart tell of PSNR, if it is more than the verdicts do."""
    texts = dict.fromkeys(changes.TEXTS, str)
    table = _csv(study_dir / "changes.csv", changes.COLUMNS, dtype=texts, keep_default_na=True)
    if table is None:
        return None
    table = table.fillna(dict.fromkeys(texts, ""))
    known = (
        table["loss"].isin(results.LOSS_ORDER) & (table["table"] != "") & (table["variant"] == "")
    )
    if known.all():  # as in the verdicts
        return None
    alt = "Mean changes of PSNR against the base loss on every test set"
    chart = study_dir / "figures" / "changes.png"
    return {
        "rows": numbers.changes(changes.shown(table)),
        "chart": {**_embedded(chart), "alt": alt, "pdf": _pdf(chart)} if chart.is_file() else None,
    }


def _pdf(picture: Path) -> str:
    """The name of the PDF beside a PNG, empty if there is none."""
    path = picture.with_suffix(".pdf")
    return path.name if path.is_file() else ""


def _other_figures(folder: Path) -> list[dict]:
    """The remade figures of the paper that the page does not show, to be linked."""
    found = []
    for stem, title in OTHER_FIGURES.items():
        paths = [folder / f"{stem}.png", *folder.glob(f"{stem}_*.png")]
        paths = {_drawn(stem, path): path for path in paths if path.is_file()}
        order = ["picture", *titles.MODEL_TITLES.values()]
        order = sorted(paths, key=lambda of, order=order: numbers.place(of, order))
        files = [{"name": paths[of].name, "of": of, "pdf": _pdf(paths[of])} for of in order]
        if files:
            found.append({"title": title, "files": files})
    return found


def _drawn(stem: str, path: Path) -> str:
    """What a file shows: the network of Fig. 5 and 6 (SRCNN's has no suffix), or a table."""
    suffix = path.stem.removeprefix(stem).removeprefix("_")
    if stem in ("fig5", "fig6"):
        return titles.model_title(suffix or "srcnn")
    return re.sub(r"table(\d)", r"Table \1", suffix) or "picture"


def _embedded(path: Path) -> dict:
    content = path.read_bytes()
    width, height = Image.open(io.BytesIO(content)).size
    return {"source": _data_uri(content), "width": width, "height": height}


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _galleries(study_dir: Path, summaries, pictures: pd.DataFrame) -> tuple[list[dict], list[str]]:
    """The galleries, and the tables that have none."""
    made, without = [], []
    for summary in summaries:
        rows = pictures[pictures["table"] == summary.table]
        if rows.empty:
            without.append(f"Table {summary.table} ({summary.model_title})")
        for image, items in rows.groupby("image", sort=False):
            made.append(_gallery(study_dir / "crops", summary, image, items))
    return made, without


def _gallery(folder: Path, summary: Summary, image: str, items: pd.DataFrame) -> dict:
    content = {row.kind: (folder / row.file).read_bytes() for row in items.itertuples()}
    arrays = {row.kind: crops.load(folder / row.file) for row in items.itertuples()}
    seed, label = int(items["seed"].iloc[0]), arrays["label"]
    shown = []
    for kind in content:
        loss = summary.baseline if kind == "input" else kind
        known = summary.per_seed(loss, "psnr") if loss else pd.DataFrame()
        column = -1 if kind == "input" else seed
        values = {"psnr": wording.NOTHING, "ssim": wording.NOTHING}
        if column in known:
            for metric, decimals in (("psnr", 2), ("ssim", 4)):
                value = summary.per_seed(loss, metric).at[image, column]
                values[metric] = wording.number(value, decimals)
        error = "" if kind == "label" else _data_uri(crops.error_map(arrays[kind], label))
        title = kind.capitalize() if kind in ("input", "label") else loss_title(kind)
        shown.append({"title": title, "source": _data_uri(content[kind]), "error": error, **values})
    first, kinds = items.iloc[0], list(content)
    return {
        "id": f"table{summary.table}-{len(summary.images[: summary.images.index(image)]) + 1}",
        "title": f"{summary.model_title} (Table {summary.table}), image {image}",
        "stand_in": results.STAND_IN if summary.stand_in else "",
        "seed": seed,
        "height": label.shape[0],
        "width": label.shape[1],
        "top": int(first["top"]),
        "left": int(first["left"]),
        "factor": crops.FACTOR,
        "views": shown,
        "opens": kinds.index(OPENS_WITH) if OPENS_WITH in kinds else 1,
        "mask": _data_uri(crops.mask(label)),
    }


def _curves(histories, summaries) -> list[dict]:
    if histories is None:
        return []
    found = [(s, curves.charts(histories, s.table)) for s in summaries]
    return [{"title": f"Table {s.table}, {s.model_title}", "charts": c} for s, c in found if c]


# --------------------------------------------------------------- files that may be there or not


def _csv(path: Path, columns=(), numbers=(), **options) -> pd.DataFrame | None:
    return results.read_table(path, columns, numbers, **options) if path.is_file() else None


def _goals(path: Path) -> list[dict]:
    columns = ["network", "test", "goal", "anchor", "reached", "loss", "met"]
    goals = _csv(path, columns, dtype=str, keep_default_na=False)
    if goals is None:
        return []
    return [
        {**row, "met": row["met"].strip().lower() in ("yes", "true", "1")}
        for row in goals.to_dict("records")
    ]


def _failure(path: Path) -> list[dict]:
    """The blocks of failure.md: headings, paragraphs, tables, and pictures beside it."""
    if not path.is_file():
        return []
    blocks = []
    try:
        whole = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is damaged ({error}): put it back or delete it") from None
    for text in re.split(r"\n\s*\n", whole):
        image = re.fullmatch(r"!\[(.*?)\]\((.+?\.png)\)", text.strip())
        if image and (path.parent / image[2]).is_file():
            blocks.append({"kind": "figure", "alt": image[1], **_embedded(path.parent / image[2])})
        elif text.startswith("#"):
            blocks.append({"kind": "heading", "text": text.lstrip("#").strip()})
        elif text.startswith("|"):
            lines = [x.strip("| ").split("|") for x in wording.minus(text).splitlines()]
            lines = [[cell.strip() for cell in line] for line in lines]
            blocks.append({"kind": "table", "head": lines[0], "rows": lines[2:]})
        else:
            blocks.append({"kind": "text", "text": wording.minus(text)})
    return blocks


def _audit(path: Path) -> list[dict]:
    digits = {"psnr_base": 3, "psnr_asy": 3, "psnr_change": 3, "ssim_change": 5, "rmse_change": 5}
    rows = _csv(path, ["table", "model", "base", *digits], list(digits))
    if rows is None:
        return []
    return [
        {
            "table": row["table"],
            "network": titles.model_title(row["model"]),
            "base": loss_title(row["base"]),
            "cells": [wording.number(row[c], d, "change" in c) for c, d in digits.items()],
        }
        for row in rows.to_dict("records")
    ]
