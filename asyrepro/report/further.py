"""Tables beyond the paper's: the literature's test sets, sweeps, and every comparison."""

from __future__ import annotations

import math

import pandas as pd

from asyrepro.analysis import comparisons, goals, titles
from asyrepro.analysis.changes import place
from asyrepro.analysis.summary import published_psnr
from asyrepro.analysis.titles import model_title
from asyrepro.report.grid import Grid
from asyrepro.report.wording import number


def benchmarks(frame: pd.DataFrame) -> list[Grid]:
    """Means over images and seeds on sets outside the paper's tables, a grid a network.

    Super-resolution has the literature's metric (luma, border cut), denoising the plain one.
    """
    rows = frame[frame["table"].isna()]
    groups = dict(iter(rows.groupby(["model", "dataset"], sort=False)))
    made = []
    for model, dataset in sorted(groups, key=lambda where: titles.model_rank(where[0])):
        group = groups[model, dataset]
        sets = sorted(set(group["testset"]), key=titles.testset_rank)
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
        title = f"{model_title(model)}, trained on {titles.dataset_title(dataset)}"
        title += ": luma, border cut, 8 bits" if luma else ""
        title += "".join(f", {noise}" for noise in goals.noise(group))
        made.append(Grid(title, ["Loss", *head], body, text_columns=1))
    return made


def variants(frame: pd.DataFrame) -> list[Grid]:
    """Mean PSNR over images and seeds of a sweep's variants, a grid a network.

    The literature's PSNR where a test set has it, as in the table of changes.
    """
    rows = comparisons.keyed(frame[frame["variant"].fillna("") != ""])
    made = []
    for (model, dataset), group in rows.groupby(["model", "dataset"], sort=False):
        means = {}
        for where, part in group.groupby(list(comparisons.WHERE[2:])):
            luma = part["psnr_y"].notna().any()
            psnr = published_psnr(part) if luma else part["psnr"]
            means[where] = psnr.groupby(part["loss"]).mean()
        losses = titles.of_rows(group)
        body = [
            [
                place(*where),
                *[number(means[where].get(loss, math.nan), 2) for loss in losses],
            ]
            for where in sorted(means, key=lambda where: comparisons.order(*where))
        ]
        title = f"{model_title(model)}, trained on {titles.dataset_title(dataset)}"
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
            for variant in sorted(means.index, key=lambda name: comparisons.order(name, "", ""))
        ]
        title = "Validation PSNR (dB) at the end of training, "
        title += ", ".join([row, *sorted(shared)])
        made.append(Grid(title, ["Setting", *losses.values()], body, text_columns=1))
    return made
