"""The page of a study, ``results/<study>/index.html``: one file that needs nothing else.

Made from the tidy table, the verdicts, the paper's numbers and the figures; pictures and learning
curves come from what :mod:`.crops` and :mod:`.curves` keep of the runs, so that a clone without
weights and data sets gives the same bytes. :func:`context` gathers plain data, and the templates
in ``asyrepro/report/templates`` make HTML of it.

Two sections appear when their file is in the study's folder: ``goals.csv`` (see
:mod:`asyrepro.report.goals`) and ``failure.md`` (headings, paragraphs, tables, and pictures of the
folder on lines of their own, ``![what it shows](figures/name.png)``).
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from omegaconf import OmegaConf
from PIL import Image

from asyrepro import paper
from asyrepro.errors import DataError
from asyrepro.files import write_text
from asyrepro.report import RADAR_FIGURES, results
from asyrepro.report.page import crops, curves, numbers
from asyrepro.report.results import Summary, loss_title, summarise
from asyrepro.report.tables import NOTHING

TEMPLATES = Path(__file__).parents[1] / "templates"
SMALL_BUDGET = 10_000  # steps; the networks' own papers trained for far more


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
    frame = results.plain(results.load(study_dir))
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
    """Everything the page says, as plain data; a part that cannot be had is None or empty."""
    record = _record(study_dir / "reproducibility.json")
    steps = sorted({step for summary in summaries for step in summary.iterations})
    claims = _csv(study_dir / "claims.csv", dtype={"claim": str, "verdict": str})
    galleries, without = _galleries(study_dir, summaries, pictures)
    return {
        "study": study_dir.name,
        "stand_in": results.STAND_IN if any(s.stand_in for s in summaries) else "",
        "small_budget": _range(steps) if steps and steps[0] < SMALL_BUDGET else "",
        "runs": [_run(study_dir, summary) for summary in summaries],
        "facts": _facts(frame, summaries, histories, record),
        "command": str(record.get("command", "")),
        "hashes": bool(record.get("cells")),
        "verdicts": None if claims is None else numbers.verdicts(claims, summaries),
        "overview": _overview(study_dir / "figures" / "overview.png"),
        "tables": [numbers.table(summary) for summary in summaries],
        "benchmarks": numbers.benchmarks(frame),
        "goals": _goals(study_dir / "goals.csv"),
        "figures": [_figures(study_dir / "figures", summary) for summary in summaries],
        "galleries": galleries,
        "without_gallery": without,
        "curves": _curves(histories, summaries),
        "failure": _failure(study_dir / "failure.md"),
        "audit": _audit(study_dir.parent / "audit" / "summary.csv"),
    }


# --------------------------------------------------------------------------------- what was run


def _record(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged ({error}): delete and remake it") from None
    return found if isinstance(found, dict) else {}


def _run(study_dir: Path, summary: Summary) -> dict:
    counts = sorted({len(seeds) for seeds in summary.seeds.values()})
    if summary.same_images:
        tested = f"{len(summary.images)} images, the paper's own"
    elif summary.stand_in:
        tested = f"{len(summary.images)} images, {results.STAND_IN}"
    else:
        tested = f"{len(summary.images)} images; the paper's are unknown"
    return {
        "table": summary.table,
        "model": summary.model_title,
        "task": results.TASK_TITLES[summary.table],
        "trained": results.DATASET_TITLES.get(summary.dataset, summary.dataset),
        "tested": tested,
        "seeds": _range(counts),
        "steps": _range(summary.iterations) + _patches(study_dir, summary.table),
    }


def _range(counts) -> str:
    if not len(counts):
        return NOTHING
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _patches(study_dir: Path, table: int) -> str:
    """``, each 8 patches of 72 x 72``, where the first run's folder is there."""
    path = next(iter(sorted(study_dir.glob(f"table{table}/*/seed*/config.yaml"))), None)
    recipe = OmegaConf.load(path).get("recipe") if path else None
    if not recipe:
        return ""
    return f", each of {recipe.batch} patches, {recipe.patch} \u00d7 {recipe.patch}"


def _facts(frame: pd.DataFrame, summaries, histories, record: dict) -> list[tuple[str, str]]:
    losses = {loss for summary in summaries for loss in summary.losses}
    environments = pd.json_normalize(list(record.get("environments", {}).values()))
    cells = pd.DataFrame(list(record.get("cells", {}).values()))
    days = _known(cells["finished"]) if "finished" in cells else []
    facts = [
        ("Losses", ", ".join(map(loss_title, sorted(losses, key=results.loss_rank)))),
        ("Device", ", ".join(_known(frame["device"])) or "not recorded"),
    ]
    for name, column in (("Processor", "cpu"), ("Threads", "flags.threads")):
        if column in environments and _known(environments[column]):
            facts.append((name, ", ".join(_known(environments[column]))))
    if precision := _precision(record):
        facts.append(("Precision", precision))
    if histories is not None:
        times = curves.seconds(histories)
        value = f"{_duration(times.sum())}, the sum of {len(times)} trainings"
        facts.append(("Training time", value))
    if days:
        facts.append(("Finished", " to ".join(dict.fromkeys((days[0], days[-1])))))
    facts.append(("Versions", " / ".join(_known(frame["versions"]))))
    if "code.commit" in environments and _known(environments["code.commit"]):
        facts.append(("Code", ", ".join(_known(environments["code.commit"]))))
    return facts


def _precision(record: dict) -> str:
    """``bfloat16 and float32 (Table 4), float32 (Table 2)``, as the cells' environments tell."""
    tables: dict[str, set[str]] = {}
    for name, cell in record.get("cells", {}).items():
        for key in cell.get("environments", []):
            amp = record["environments"][key].get("flags", {}).get("amp")
            table = re.match(r"table(\d)/", name)
            if amp is not None and table:
                tables.setdefault(table[1], set()).add("bfloat16" if amp else "float32")
    kinds: dict[str, list[str]] = {}
    for number, found in sorted(tables.items()):
        kinds.setdefault(" and ".join(sorted(found)), []).append(number)
    if len(kinds) < 2:
        return "".join(kinds)
    plural = {kind: "s" * (len(names) > 1) for kind, names in kinds.items()}
    return ", ".join(f"{k} (Table{plural[k]} {', '.join(names)})" for k, names in kinds.items())


def _known(column: pd.Series) -> list[str]:
    """The different values as text; whole numbers that pandas made floats are whole again."""
    found = column.dropna()
    return sorted({f"{v:g}" if isinstance(v, float) else str(v) for v in found} - {""})


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"


# -------------------------------------------------------------------- figures, pictures, curves


def _figures(folder: Path, summary: Summary) -> dict:
    """The charts that the report made of a table, embedded."""
    name = f"Table {summary.table}, {summary.model_title}"
    radar, table = RADAR_FIGURES[summary.table], summary.table
    kinds = [
        (f"{radar}.png", "Radar chart", "each test image's values, and what the weights change"),
        (f"forest_table{table}*.png", "Intervals", "mean changes with their 95 % intervals"),
        (f"mechanism_table{table}*.png", "Where", "change of the error by grey value and gradient"),
    ]
    return {
        "title": name,
        "figures": [
            {**_embedded(path), "title": title, "alt": f"{title} of {name}: {what}"}
            for pattern, title, what in kinds
            for path in sorted(folder.glob(pattern))
        ],
    }


def _overview(path: Path) -> dict | None:
    alt = "Changes of PSNR that the asymmetric weights bring in each network, beside the paper's"
    return {**_embedded(path), "alt": alt} if path.is_file() else None


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
        values = {"psnr": NOTHING, "ssim": NOTHING}
        if column in known:
            for metric, decimals in (("psnr", 2), ("ssim", 4)):
                value = summary.per_seed(loss, metric).at[image, column]
                values[metric] = numbers.number(value, decimals)
        error = "" if kind == "label" else _data_uri(crops.error_map(arrays[kind], label))
        title = kind.capitalize() if kind in ("input", "label") else loss_title(kind)
        shown.append({"title": title, "source": _data_uri(content[kind]), "error": error, **values})
    first = items.iloc[0]
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
            lines = [[c.strip() for c in x.strip("| ").split("|")] for x in text.splitlines()]
            blocks.append({"kind": "table", "head": lines[0], "rows": lines[2:]})
        else:
            blocks.append({"kind": "text", "text": text})
    return blocks


def _audit(path: Path) -> list[dict]:
    digits = {"psnr_base": 3, "psnr_asy": 3, "psnr_change": 3, "ssim_change": 5, "rmse_change": 5}
    rows = _csv(path, ["table", "model", "base", *digits], list(digits))
    if rows is None:
        return []
    return [
        {
            "table": row["table"],
            "network": results.model_title(row["model"]),
            "base": loss_title(row["base"]),
            "cells": [numbers.number(row[c], d, "change" in c) for c, d in digits.items()],
        }
        for row in rows.to_dict("records")
    ]
