"""What every loss changes against its base loss, on every test set: a view of the comparisons.

The verdicts (:mod:`asyrepro.analysis.verdicts`) judge the paper's claims on its tables. Here
is the same comparison of whatever a study holds: your own loss, the variants of a sweep,
your own images, the literature's test sets.
"""

from __future__ import annotations

import re

import pandas as pd

from asyrepro.analysis import titles
from asyrepro.analysis.comparisons import AGAINST_BASE, NUMBERS, WHERE
from asyrepro.analysis.statistics import holm
from asyrepro.runs import results

ELSEWHERE = ("p_holm", "paper_change", "power")  # in verdicts.csv alone
COLUMNS = (  # of changes.csv, which calls the direction a result
    *(*WHERE, "loss", "against", "metric"),
    *(name for name in NUMBERS if name not in ELSEWHERE),
    *("direction", "reason", "notes"),
)


def view(table: pd.DataFrame) -> pd.DataFrame:
    """Every loss against its base loss, in the order of the tidy table.

    Args:
        table: of :func:`asyrepro.analysis.comparisons.comparisons`.

    Returns:
        Its rows against a base loss. A loss without runs of its base loss has one row a metric
        without numbers.
    """
    rows = table[table["kind"].isin(AGAINST_BASE)]
    rows = rows.assign(reason=[reason.partition("; ")[0] for reason in rows["reason"]])
    place = rows.groupby([*WHERE, "loss"], sort=False).ngroup()
    return rows.iloc[place.argsort(kind="stable")].reset_index(drop=True)


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The rows about PSNR: the literature's where there is one, else the plain one.

    With a column ``place`` more, see :func:`place`, and ``p_holm``: p after Holm's correction over
    the losses of the place that are no controls.
    """
    rows = table[table["metric"].isin(["psnr_y", "psnr"])]
    rows = rows.assign(last=2 * (rows["seeds"] == 0) + (rows["metric"] != "psnr_y"))
    rows = rows.sort_values("last", kind="stable").drop_duplicates([*WHERE, "loss"]).sort_index()
    places = [place(row.variant, row.table, row.testset) for row in rows.itertuples()]
    rows = rows.drop(columns="last").assign(place=places)
    twice = rows.duplicated(["model", "dataset", "loss", "place"], keep=False)
    rows.loc[twice, "place"] += " (" + rows["variant"] + ")"  # folders of one name are told apart
    losses = rows[rows["kind"] != "control"].groupby(list(WHERE))["p"]
    return rows.assign(p_holm=losses.transform(lambda p: holm(p.to_numpy(dtype=float))))


def leading(rows: pd.DataFrame) -> pd.DataFrame:
    """Of :func:`shown`'s rows those that answer: without controls, on the first test set of each.

    First is the paper's table, else the literature's sets in their order. Where all losses are
    controls, they answer.
    """
    others = rows[rows["kind"] != "control"]
    rows = rows if others.empty else others
    runs = rows.groupby(["model", "dataset", "variant"], sort=False)
    return ranked(rows[rows["testset"] == runs["testset"].transform("first")])


def ranked(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of :func:`shown`; where a study tries losses of its own, the largest change first."""
    if not (rows["kind"] == "loss").any():
        return rows
    keys = pd.DataFrame({"at": rows.groupby(list(WHERE), sort=False).ngroup()})
    keys["change"] = -rows["change"]
    return rows.loc[keys.sort_values(["at", "change"], kind="stable").index]


def beyond(table: pd.DataFrame) -> bool:
    """Whether :func:`view` has comparisons that the verdicts on the paper's tables do not have."""
    known = table["loss"].isin(results.LOSS_ORDER) & (table["table"] != "")
    return not (known & (table["variant"] == "")).all()


def told(row) -> str:
    """The direction, and :func:`why`."""
    return f"{row.direction} ({why(row)})" if why(row) else row.direction


def why(row) -> str:
    """What was left out, and why there is no result, but for the number of seeds."""
    reason = row.reason if not row.seeds or (row.seeds > 1 and pd.isna(row.lower)) else ""
    return "; ".join(filter(None, [reason, row.notes]))


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
