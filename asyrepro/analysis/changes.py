"""What every loss changes against its base loss, on every test set: a view of the comparisons.

The verdicts (:mod:`asyrepro.analysis.verdicts`) judge the paper's claims on its tables. Here
is the same comparison of whatever a study holds: your own loss, the variants of a sweep,
your own images, the literature's test sets. The paper plays no part.
"""

from __future__ import annotations

import re

import pandas as pd

from asyrepro.analysis import titles
from asyrepro.analysis.comparisons import AGAINST_BASE, WHERE, blank, comparisons, order

__all__ = ["COLUMNS", "WHERE", "blank", "changes", "order", "place", "shown", "told", "view"]

NUMBERS = (
    *("seeds", "images", "against_mean", "loss_mean", "change", "lower", "upper"),
    *("fixed_lower", "fixed_upper", "seeds_better", "seeds_worse", "sign_p", "p", "noise"),
    *("images_better", "seed_out_lower", "seed_out_upper", "image_out_lower", "image_out_upper"),
    *("result", "reason", "notes"),
)
COLUMNS = (*WHERE, "loss", "against", "metric", *NUMBERS)


def changes(metrics: pd.DataFrame) -> pd.DataFrame:
    """:func:`view` of a tidy table's comparisons."""
    return view(comparisons(metrics))


def view(table: pd.DataFrame) -> pd.DataFrame:
    """Every loss against its base loss, in the order of the tidy table.

    Args:
        table: of :func:`asyrepro.analysis.comparisons.comparisons`.

    Returns:
        Its rows and columns that the paper plays no part in; ``result`` is the direction. A loss
        without runs of its base loss has one row a metric without numbers.
    """
    rows = table[table["kind"].isin(AGAINST_BASE)].rename(columns={"direction": "result"})
    rows = rows.assign(reason=[reason.partition("; ")[0] for reason in rows["reason"]])
    keys = [*WHERE, "loss"]
    place = rows.groupby(keys, sort=False).ngroup()
    return rows.iloc[place.argsort(kind="stable")][list(COLUMNS)].reset_index(drop=True)


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
    why = row.reason if not row.seeds or (row.seeds > 1 and pd.isna(row.lower)) else ""
    said = "; ".join(filter(None, [why, row.notes]))
    return f"{row.result} ({said})" if said else row.result


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
