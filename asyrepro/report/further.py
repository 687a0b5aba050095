"""Tables beyond the paper's: the literature's test sets, sweeps, and every comparison."""

from __future__ import annotations

import math

import pandas as pd

from asyrepro import paper
from asyrepro.analysis import changes as analysis
from asyrepro.analysis import goals, titles
from asyrepro.analysis.summary import published_psnr
from asyrepro.analysis.titles import model_title
from asyrepro.report import wording
from asyrepro.report.tables import DECIMALS, Grid
from asyrepro.report.wording import NOTHING, number
from asyrepro.runs import results


def benchmarks(frame: pd.DataFrame) -> list[Grid]:
    """Means over images and seeds on sets outside the paper's tables, a grid a network.

    Super-resolution has the literature's metric (luma, border cut), denoising the plain one.
    """
    rows = frame[frame["table"].isna()]
    order = list(paper.MODELS.values())
    groups = sorted(
        rows.groupby(["model", "dataset"], sort=False), key=lambda g: _place(g[0][0], order)
    )
    made = []
    for (model, dataset), group in groups:
        sets = sorted(set(group["testset"]), key=lambda name: _place(name, titles.TEST_SETS))
        luma = bool(group["psnr_y"].notna().any())
        columns = ("psnr_y", "ssim_y") if luma else ("psnr", "ssim")
        if luma:
            group = group.assign(psnr_y=published_psnr(group))
        means = group.groupby(["loss", "testset"])[list(columns)].mean()
        body = []
        for loss, title in titles.of_rows(group).items():
            cells = [title]
            for name in sets:
                there = (loss, name) in means.index
                psnr, ssim = means.loc[(loss, name)] if there else (math.nan, math.nan)
                cells += [number(psnr, 2), number(ssim, 4)]
            body.append(cells)
        head = [f"{titles.TEST_SETS.get(x, x)} {m}" for x in sets for m in ("PSNR", "SSIM")]
        title = f"{model_title(model)}, trained on {titles.DATASET_TITLES.get(dataset, dataset)}"
        title += ": luma, border cut, 8 bits" if luma else ""
        title += "".join(f", {noise}" for noise in goals.noise(group))
        made.append(Grid(title, ["Loss", *head], body, text_columns=1))
    return made


def _place(name: str, order) -> tuple[int, str]:
    order = list(order)
    return (order.index(name) if name in order else len(order), name)


def variants(frame: pd.DataFrame) -> list[Grid]:
    """Mean PSNR over images and seeds of a sweep's variants, a grid a network.

    The literature's PSNR where a test set has it, as in the table of changes.
    """
    rows = frame[frame["variant"].fillna("") != ""]
    rows = rows.assign(table=analysis.blank(rows["table"]))
    made = []
    for (model, dataset), group in rows.groupby(["model", "dataset"], sort=False):
        means = {}
        for where, part in group.groupby(list(analysis.WHERE[2:])):
            luma = part["psnr_y"].notna().any()
            psnr = published_psnr(part) if luma else part["psnr"]
            means[where] = psnr.groupby(part["loss"]).mean()
        losses = titles.of_rows(group)
        body = [
            [
                analysis.place(*where),
                *[number(means[where].get(loss, math.nan), 2) for loss in losses],
            ]
            for where in sorted(means, key=lambda where: analysis.order(*where))
        ]
        title = f"{model_title(model)}, trained on {titles.DATASET_TITLES.get(dataset, dataset)}"
        head = ["Test set, setting", *losses.values()]
        made.append(Grid(title, head, body, text_columns=1))
    return made


def validation(histories: pd.DataFrame | None) -> list[Grid]:
    """Validation PSNR at the end of a sweep's runs, means over seeds, a grid a network.

    By it a setting is chosen, as a learning rate: the test images play no part in it. What all
    rows of a grid share stands in its title.

    Args:
        histories: of :func:`asyrepro.report.curves.collect`; None without.
    """
    if histories is None:
        return []
    scored = histories.dropna(subset=["val_psnr"]).sort_values("step")
    scored = scored.assign(**scored["folder"].str.extract("^(?P<row>[^,]*),?(?P<variant>.*)$"))
    made = []
    for row, group in scored.groupby("row", sort=False):
        settings = {name: name.split(",") for name in group["variant"].unique()}
        if len(settings) < 2:
            continue
        shared = set.intersection(*map(set, settings.values()))
        last = group.groupby(["variant", "loss", "seed"])["val_psnr"].last()
        means = last.groupby(["variant", "loss"]).mean().unstack()
        losses = titles.of_rows(group)
        body = [
            [", ".join(x for x in settings[variant] if x not in shared) or "without these"]
            + [number(means.at[variant, loss], 2) for loss in losses]
            for variant in sorted(means.index, key=lambda variant: analysis.order(variant, "", ""))
        ]
        title = "Validation PSNR (dB) at the end of training, "
        title += ", ".join([row, *sorted(shared)])
        made.append(Grid(title, ["Setting", *losses.values()], body, text_columns=1))
    return made


def changes(table: pd.DataFrame) -> Grid | None:
    """All comparisons of PSNR, if they are more than the verdicts'; None if not.

    Args:
        table: of :func:`asyrepro.analysis.changes.view`.
    """
    known = (
        table["loss"].isin(results.LOSS_ORDER) & (table["table"] != "") & (table["variant"] == "")
    )
    if known.all():
        return None
    rows = []
    for row in analysis.shown(table).itertuples():
        change = number(row.change, DECIMALS["psnr"], sign=True)
        interval = wording.interval(row.lower, row.upper, DECIMALS["psnr"])
        ran = bool(row.seeds)
        rows.append(
            [
                f"{model_title(row.model)}, {row.place}",
                titles.DATASET_TITLES.get(row.dataset, row.dataset).split(" (")[0],
                titles.loss_title(row.loss),
                f"{titles.loss_title(row.against)} {number(row.against_mean, DECIMALS['psnr'])}",
                f"{change} {interval}".strip(),
                f"{row.seeds_better:.0f} of {row.seeds}" if ran else NOTHING,
                f"{row.images_better:.0f} of {row.images}" if ran else NOTHING,
                analysis.told(row),
            ]
        )
    head = ["Network, test set", "Trained on", "Loss", "Base loss", "Change [95 %]"]
    head += ["Seeds better", "Images better", "Result"]
    title = f"{wording.counted(len(rows), 'comparison')} of PSNR (dB)"
    return Grid(title, head, rows, text_columns=3)
