"""Tables beyond the paper's: the literature's test sets, sweeps, and their validation."""

from __future__ import annotations

from itertools import cycle

import pandas as pd

from asyrepro.analysis import comparisons, goals, titles
from asyrepro.analysis.changes import place
from asyrepro.analysis.summary import published_psnr
from asyrepro.report.grid import Grid
from asyrepro.report.wording import number


def benchmarks(frame: pd.DataFrame) -> list[Grid]:
    """Means over images and seeds on sets outside the paper's tables, a grid a network.

    Super-resolution has the literature's metric (luma, border cut), denoising the plain one.
    """
    rows = frame[frame["table"].isna()]
    groups = dict(iter(rows.groupby(["model", "dataset"], sort=False)))
    made = []
    for network in sorted(groups, key=lambda where: titles.model_rank(where[0])):
        group, metrics = groups[network], ["psnr", "ssim"]
        title = titles.network(*network)
        if group["psnr_y"].notna().any():
            group, metrics = group.assign(psnr_y=published_psnr(group)), ["psnr_y", "ssim_y"]
            title += ": luma, border cut, 8 bits"
        title += "".join(f", {noise}" for noise in goals.noise(group))
        sets = sorted(set(group["testset"]), key=titles.testset_rank)
        losses = titles.of_rows(group)
        means = group.groupby(["loss", "testset"])[metrics].mean().unstack()
        means = means.loc[list(losses), [(metric, name) for name in sets for metric in metrics]]
        head = [f"{titles.TEST_SETS.get(x, x)} {m}" for x in sets for m in ("PSNR", "SSIM")]
        made.append(_grid(title, ["Loss", *head], means.rename(index=losses), (2, 4)))
    return made


def variants(frame: pd.DataFrame) -> list[Grid]:
    """Mean PSNR over images and seeds of a sweep's variants, a grid a network.

    The literature's PSNR where a test set has it, as in the table of changes.
    """
    rows = comparisons.keyed(frame[frame["variant"].fillna("") != ""])
    made = []
    for network, group in rows.groupby(["model", "dataset"], sort=False):
        losses, means = titles.of_rows(group), []
        parts = dict(iter(group.groupby(list(comparisons.WHERE[2:]))))
        for where in sorted(parts, key=lambda where: comparisons.order(*where)):
            part = parts[where]
            psnr = published_psnr(part) if part["psnr_y"].notna().any() else part["psnr"]
            means.append(psnr.groupby(part["loss"]).mean().rename(place(*where)))
        table = pd.DataFrame(means)[list(losses)]
        head = ["Test set, setting", *losses.values()]
        made.append(_grid(titles.network(*network), head, table))
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
        names = {
            variant: ", ".join(x for x in parts if x not in shared) or "without these"
            for variant, parts in settings.items()
        }
        last = group.groupby(["variant", "loss", "seed"])["val_psnr"].last()
        means = last.groupby(["variant", "loss"]).mean().unstack()
        order = sorted(means.index, key=lambda name: comparisons.order(name, "", ""))
        losses = titles.of_rows(group)
        title = "Validation PSNR (dB) at the end of training, "
        title += ", ".join([row, *sorted(shared)])
        table = means.loc[order, list(losses)].rename(index=names)
        made.append(_grid(title, ["Setting", *losses.values()], table))
    return made


def _grid(title: str, head: list[str], means: pd.DataFrame, decimals=(2,)) -> Grid:
    """Means with the names of their rows; the columns have these decimals in turn."""
    rows = means.itertuples(name=None)
    body = [[name, *map(number, values, cycle(decimals))] for name, *values in rows]
    return Grid(title, head, body, text_columns=1)
