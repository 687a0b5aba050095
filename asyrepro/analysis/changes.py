"""What every loss changes against its base loss, on every test set: changes.csv, .md and a figure.

The verdicts (:mod:`asyrepro.analysis.verdicts`) judge the paper's claims on its tables. Here
is the same comparison of whatever a study holds: a loss of one's own, the variants of a sweep,
images of one's own, the literature's test sets. The paper plays no part.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from asyrepro.analysis.verdicts import comparison, noise_of, paired
from asyrepro.report import verdicts_report, wording
from asyrepro.runs import results
from asyrepro.system import style
from asyrepro.system.files import write_csv, write_text

METRICS = ("psnr", "ssim", "nrmse", "psnr_y", "ssim_y")
DECIMALS = 3  # of PSNR, which alone is shown
WHERE = ("model", "dataset", "variant", "table", "testset")
# In a variant, what a sweep over the options of a loss has set; its base loss may have been
# trained without them.
LOSS_SETTINGS = re.compile(r"(?:^|,)\+?loss\.[^=,]*=(?:\[[^\]]*\]|[^,]*)")
NUMBERS = (
    *("seeds", "images", "against_mean", "loss_mean", "change", "lower", "upper"),
    *("fixed_lower", "fixed_upper", "seeds_better", "seeds_worse", "sign_p", "p", "noise"),
    *("images_better", "result", "reason", "notes"),
)
TEXTS = (*WHERE, "loss", "against", "metric", "result", "reason", "notes")
COLUMNS = (*WHERE, "loss", "against", "metric", *NUMBERS)


def changes(metrics: pd.DataFrame) -> pd.DataFrame:
    """Every loss against its base loss, for each network, training set, variant and test set.

    Args:
        metrics: the tidy table (:func:`asyrepro.runs.results.load`). psnr_y is taken as papers
            have it (:func:`asyrepro.runs.results.published_psnr`).

    Returns:
        One row a comparison and metric (psnr_y and ssim_y where these were measured), in the order
        of the tidy table. ``against`` is the base loss that the loss declares or its name tells
        (:func:`asyrepro.runs.results.bases`), in the same variant or, where only options of the
        loss are varied, without these. ``against_mean``, ``loss_mean``: over seeds and
        images; ``change``, ``lower``, ``upper`` (95 % over seeds and images), ``fixed_lower``,
        ``fixed_upper`` (over seeds, these images alone): loss minus ``against`` in the metric's
        unit; ``p``: not corrected for the number of comparisons; ``noise``: root-mean-square
        difference of two runs of the base loss that differ in their seed; ``result``: better,
        worse, no change shown, undecided or no verdict possible, by the rules of the verdicts;
        ``reason``: why; ``notes``: what was left out. A loss without runs of
        its base loss has one row a metric without numbers.
    """
    rows = metrics[~metrics["loss"].isin(results.BASELINES)]
    rows = rows.assign(psnr_y=results.published_psnr(rows), seed=rows["seed"].astype(int))
    rows["table"] = blank(rows["table"])
    found = []
    groups = dict(iter(rows.groupby(list(WHERE), sort=False)))
    networks = list(dict.fromkeys(where[:2] for where in groups))
    for where in sorted(groups, key=lambda where: (networks.index(where[:2]), *order(*where[2:]))):
        group = groups[where]
        losses = sorted(set(group["loss"]), key=results.loss_rank)
        bases = results.bases(group)
        plain = groups.get((*where[:2], LOSS_SETTINGS.sub("", where[2]).strip(","), *where[3:]))
        for loss in losses:
            against = bases[loss]
            if against == loss:
                continue
            if plain is not None and against not in set(group["loss"]):
                group = pd.concat([group, plain[plain["loss"] == against]])
            for metric in METRICS:
                if group[metric].isna().all():
                    continue
                finite, left_out = _finite(group, metric)
                first, second, notes = paired(finite, loss, against, metric)
                notes += left_out
                noise = noise_of(finite, against, metric)
                numbers = comparison(first, second, metric, noise, notes)
                if against not in set(group["loss"]):
                    numbers["reason"] = f"no runs of {results.loss_title(against)}"
                numbers["notes"] = "; ".join(notes)
                keys = (*where, loss, against, metric)
                found.append(dict(zip(COLUMNS, keys, strict=False)) | numbers)
    found = [row | {"result": row.pop("verdict")} for row in found]
    return pd.DataFrame(found, columns=list(COLUMNS))


def blank(tables: pd.Series) -> pd.Series:
    """The column ``table`` with "" for rows outside the paper's tables: a key to group by."""
    return tables.astype(object).where(tables.notna(), "")


def _finite(rows: pd.DataFrame, metric: str) -> tuple[pd.DataFrame, list[str]]:
    """The rows without images of which a run has an infinite value (a flat image, restored)."""
    images = sorted(set(rows.loc[np.isinf(rows[metric]), "image"]))
    left_out = f"left out, infinite for some run: {wording.listed(images)}" if images else ""
    return rows[~rows["image"].isin(images)], [left_out] * bool(images)


def order(variant: str, table, testset: str) -> tuple:
    """Sort key: the paper's tables, the literature's test sets, then any others.

    Variants stand by the size of their numbers.
    """
    sets = list(results.TEST_SETS)
    position = sets.index(testset) if testset in sets else len(sets)
    parts = re.split(r"(\d+\.?\d*)", variant)
    natural = [(float(part), "") if k % 2 else (0.0, part) for k, part in enumerate(parts)]
    return table or 99, position, testset, natural


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The rows about PSNR: the literature's where there is one, else the plain one.

    With a column ``place`` more, see :func:`place`.
    """
    rows = table[table["metric"].isin(["psnr_y", "psnr"])]
    rows = rows.assign(last=2 * (rows["seeds"] == 0) + (rows["metric"] != "psnr_y"))
    rows = rows.sort_values("last", kind="stable").drop_duplicates([*WHERE, "loss"]).sort_index()
    places = [place(row.variant, row.table, row.testset) for row in rows.itertuples()]
    rows = rows.drop(columns="last").assign(place=places)
    twice = rows.duplicated(["model", "dataset", "loss", "place"], keep=False)
    rows["place"] = [  # folders of one name are told apart
        f"{row.place} ({row.variant})" if again else row.place
        for row, again in zip(rows.itertuples(), twice, strict=True)
    ]
    return rows


def told(row) -> str:
    """The result, with what was left out; why there is none, but for the number of seeds."""
    why = row.reason if not row.seeds or (row.seeds > 1 and pd.isna(row.lower)) else row.notes
    return f"{row.result} ({why})" if why else row.result


def place(variant: str, table, testset: str) -> str:
    """On what and how a comparison was made: ``Set5``, ``Table 2``, ``Table 2, task.scale=2``.

    Of a variant the network and the data sets are left out, which columns of their own tell.
    """
    title = results.TEST_SETS.get(testset, testset)
    name = f"Table {table}" if table else title
    if table and testset not in ("", f"table{table}"):
        name += f" ({title})"
    settings = re.sub(r"(?:^|,)(?:model|dataset|dataset\.name|testset)=[^,]*", "", variant)
    return ", ".join([name, *filter(None, settings.split(","))])


def markdown(title: str, table: pd.DataFrame, stand_in: bool = False) -> str:
    """changes.md as text.

    Args:
        title: the study's name.
        table: of :func:`changes`.
        stand_in: whether the study was made from the bundled stand-in data.
    """
    mark = f" ({results.STAND_IN})" if stand_in else ""
    lines = [f"# What each loss changes: {title}{mark}", ""]
    lines += [
        "Mean PSNR (dB) of each loss minus that of its base loss, within a seed and an image, with "
        "intervals of 95 % over seeds and images. Where a test set has the literature's PSNR "
        "(luma, border cut) it is that one. SSIM, NRMSE, p and the other numbers are in "
        "changes.csv; neither p nor the results are corrected for the number of comparisons. How "
        "the intervals are made stands in asyrepro/report/statistics.py; fewer than six seeds are "
        "not judged.",
        "",
    ]
    rows = shown(table)
    for (model, dataset), group in rows.groupby(["model", "dataset"], sort=False):
        trained = results.DATASET_TITLES.get(dataset, dataset)
        lines += [f"## {results.model_title(model)}, trained on {trained}", ""]
        head = ["test set", "loss", "against", "mean of that", "change [95 %]", "noise"]
        head += ["seeds better", "images better", "result"]
        lines += wording.grid(head, [_cells(row) for row in group.itertuples()], names=3)
    if rows["noise"].notna().any():
        lines += [
            "Noise: two runs of the base loss that differ in nothing but the seed differ in their "
            "mean by this (root mean square)."
        ]
    return "\n".join(lines).rstrip() + "\n"


def _cells(row) -> list[str]:
    where = row.place.replace("|", "\\|")
    start = [where, results.loss_title(row.loss), results.loss_title(row.against)]
    if not row.seeds:
        return [*start, *[wording.NOTHING] * 5, told(row)]
    change = wording.number(row.change, DECIMALS, sign=True)
    return [
        *start,
        wording.number(row.against_mean, DECIMALS),
        f"{change} {wording.interval(row.lower, row.upper, DECIMALS)}".strip(),
        wording.number(row.noise, DECIMALS),
        f"{row.seeds_better:.0f} of {row.seeds}",
        f"{row.images_better:.0f} of {row.images}",
        told(row),
    ]


def write(study_dir, metrics: pd.DataFrame) -> list[Path]:
    """Write changes.csv, changes.md and figures/changes.{png,pdf}; returns the files written.

    What there is nothing to tell of is not written, and removed if it is there.

    Args:
        study_dir: results/<study>.
        metrics: the tidy table, with a sweep's variants.
    """
    study_dir = Path(study_dir)
    stem = study_dir / "figures" / "changes"
    paths = [study_dir / "changes.csv", study_dir / "changes.md"]
    table = changes(metrics)
    rows = shown(table)
    rows = rows[rows["seeds"] > 0]
    figures = [stem.with_suffix(".png"), stem.with_suffix(".pdf")]
    for path in [*paths * table.empty, *figures * rows.empty]:
        path.unlink(missing_ok=True)
    if table.empty:
        return []
    stand_in = results.of_stand_in(metrics)
    write_csv(paths[0], table, "%.6f")
    write_text(paths[1], markdown(study_dir.name, table, stand_in))
    if rows.empty:
        return paths
    title = "What each loss changes, on every test set"
    title += f" ({results.STAND_IN})" if stand_in else ""
    return paths + style.save(_figure(rows, title), stem)


def _figure(rows: pd.DataFrame, title: str):
    names = [
        f"{results.model_title(row.model)}, {row.place}: {results.loss_title(row.loss)}"
        for row in rows.itertuples()
    ]
    many = rows["loss"].nunique() > 2
    groups = [(row.model, row.dataset, row.place * many) for row in rows.itertuples()]
    rows = rows.assign(kind="claim", paper_change=np.nan)
    axis = "change of PSNR against the base loss (dB)"
    about = wording.seeds(rows["seeds"])
    about += "; one seed has no interval" * bool((rows["seeds"] == 1).any())
    return verdicts_report.lines(rows, title, names, groups, axis, about, "mean change")
