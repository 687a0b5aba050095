"""What every loss changes against its base loss, on every test set.

The verdicts (:mod:`asyrepro.analysis.verdicts`) judge the paper's claims on its tables. Here
is the same comparison of whatever a study holds: a loss of one's own, the variants of a sweep,
images of one's own, the literature's test sets. The paper plays no part.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from asyrepro.analysis import titles
from asyrepro.analysis.summary import published_psnr
from asyrepro.analysis.verdicts import comparison, noise_of, paired
from asyrepro.runs import results

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
            have it (:func:`asyrepro.analysis.summary.published_psnr`).

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
    rows = rows.assign(psnr_y=published_psnr(rows), seed=rows["seed"].astype(int))
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
                    numbers["reason"] = f"no runs of {titles.loss_title(against)}"
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
    left_out = f"left out, infinite for some run: {', '.join(images)}" if images else ""
    return rows[~rows["image"].isin(images)], [left_out] * bool(images)


def order(variant: str, table, testset: str) -> tuple:
    """Sort key: the paper's tables, the literature's test sets, then any others.

    Variants stand by the size of their numbers.
    """
    sets = list(titles.TEST_SETS)
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
    title = titles.TEST_SETS.get(testset, testset)
    name = f"Table {table}" if table else title
    if table and testset not in ("", f"table{table}"):
        name += f" ({title})"
    settings = re.sub(r"(?:^|,)(?:model|dataset|dataset\.name|testset)=[^,]*", "", variant)
    return ", ".join([name, *filter(None, settings.split(","))])
