"""The audit's figures, in the style of the report's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from asyrepro.paper.noise import SIGMAS, with_reference
from asyrepro.paper.tables import LOSSES, MODEL_TITLES, MODELS, TABLES
from asyrepro.system import style

TITLES = {table: f"Table {table}, {MODEL_TITLES[model]}" for table, model in MODELS.items()}
LABELS = {"mae": "MAE", "mse": "MSE", "asy_mae": "Asy_MAE", "asy_mse": "Asy_MSE"}
SIZES = {"mae": 9, "mse": 7, "asy_mae": 4.5, "asy_mse": 2.2}
NUMBERS = range(1, 11)
DOTS = {"linestyle": "", "marker": "o"}


@contextmanager
def _panels(high: float, tables, bottom: float, wspace: float = 0.05, sharey=True) -> Iterator:
    """A figure of a chart a table with a grid and a common legend below; (figure, charts)."""
    with style.context():
        fig = style.figure(high, width=style.WIDTH * (0.55 if len(tables) == 1 else 1))
        axes = fig.subplots(1, len(tables), sharey=sharey, squeeze=False)[0]
        yield fig, axes
        for axis in axes:
            axis.grid(axis="y")
            axis.set_axisbelow(True)
        handles, labels = axes[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="lower center", ncols=4, frameon=False)
        fig.subplots_adjust(left=0.08, right=0.99, top=0.9, bottom=bottom, wspace=wspace)


def constants(frame: pd.DataFrame) -> Figure:
    """k of every image under the four losses, against eq. (9)'s k = 1."""
    with _panels(2.5, TABLES, bottom=0.28, wspace=0.08) as (fig, axes):
        for axis, table in zip(axes, TABLES, strict=True):
            part = frame[frame["table"] == table]
            for loss in LOSSES:
                look = {"color": style.LOSS_COLOURS[loss], "markersize": SIZES[loss]}
                axis.plot(part["no"], part[f"k_{loss}"], label=LABELS[loss], markeredgewidth=0,
                          **DOTS, **look)  # fmt: skip
            axis.axhline(1, color=style.GREY, linewidth=1, linestyle="--")
            axis.set(title=TITLES[table], xlabel="test image", xlim=(0.2, 10.8), ylim=(0.8, 3.15))
            axis.set_xticks(NUMBERS)
        axes[0].set_ylabel(r"k = printed RMSE / $10^{-\mathrm{PSNR}/20}$")
        axes[0].text(1, 1.04, "eq. (9): k = 1", color=style.GREY, fontsize=7, va="bottom")
    return fig


def matches(recovered: pd.DataFrame) -> Figure:
    """Error of the recovered test images beside the next best image's and the rounding's width."""
    found = sorted(recovered["table"].unique())
    names = {4: "Table 4 in Set12 (12 images)", 5: "Table 5 in BSD300 (300 images)"}
    with _panels(2.7, found, bottom=0.34) as (fig, axes):
        for axis, table in zip(axes, found, strict=True):
            part = recovered[recovered["table"] == table]
            width = np.maximum(part["high"] - part["value"], part["value"] - part["low"])
            label = "what rounding leaves open"
            axis.bar(part["no"], width, width=0.8, color=style.LIGHT, label=label)
            for column, label, colour, marker in (
                ("error", "error of the match", style.BLUE, "o"),
                ("second_error", "error of the next best image", style.VERMILLION, "x"),
            ):
                axis.plot(part["no"], part[column], linestyle="", marker=marker, markersize=5,
                          color=colour, label=label)  # fmt: skip
            axis.set(yscale="log", ylim=(5e-7, 0.5), title=names[table])
            axis.set_xticks(part["no"], part["image"], rotation=60, ha="right")
        axes[0].set_ylabel("distance of RMS from 1/k")
    return fig


def changes(frame: pd.DataFrame) -> Figure:
    """The paper's gain in PSNR, image by image; each table has its own scale."""
    with _panels(2.4, TABLES, bottom=0.29, wspace=0.3, sharey=False) as (fig, axes):
        for axis, table in zip(axes, TABLES, strict=True):
            for offset, base in ((-0.2, "mae"), (0.2, "mse")):
                part = frame[(frame["table"] == table) & (frame["base"] == base)]
                loss = f"asy_{base}"
                axis.bar(part["no"] + offset, part["psnr_change"], width=0.4,
                         color=style.LOSS_COLOURS[loss],
                         label=f"{LABELS[loss]} over {LABELS[base]}")  # fmt: skip
            axis.set(title=TITLES[table], xlabel="test image")
            axis.set_xticks(NUMBERS)
        axes[0].set_ylabel("change of PSNR, dB")
    return fig


def noise(images: pd.DataFrame) -> Figure:
    """The paper's best PSNR against what a good denoiser reaches at three noise levels."""
    images, found = with_reference(images), sorted(images["table"].unique())
    colours = dict(zip(SIGMAS, (style.SKY, style.BLUE, style.PINK), strict=True))
    titles = {
        4: "Table 4: DnCNN-S as published",
        5: "Table 5: non-local means + mean lead of DnCNN-S",
    }
    with _panels(2.8, found, bottom=0.33) as (fig, axes):
        for axis, table in zip(axes, found, strict=True):
            part = images[images["table"] == table]
            for sigma in SIGMAS:
                row = part[part["sigma"] == sigma]
                label = rf"reference, $\sigma$ = {sigma}"
                axis.plot(
                    row["no"], row["reference"], marker="s", color=colours[sigma], label=label
                )
            axis.plot(row["no"], row["paper_psnr"], markersize=5, color=style.VERMILLION,
                      label="the paper's best loss", **DOTS)  # fmt: skip
            axis.set(title=titles[table])
            axis.set_xticks(row["no"], row["image"], rotation=60, ha="right")
        axes[0].set_ylabel("PSNR, dB")
    return fig


def spread(cells: pd.DataFrame, floor: pd.DataFrame | None) -> Figure:
    """All printed PSNRs by column; bicubic upsampling's beside those of super-resolution."""
    columns = []  # place, name, colour, marker size, PSNRs
    with style.context():
        fig = style.figure(2.7)
        axis = fig.subplots()
        if floor is not None:
            for place, (scale, part) in enumerate(floor.groupby("scale"), start=-2):
                columns.append((place, f"x{scale}", style.GREY, 1, part["psnr"]))
            axis.text(-1.5, 37.2, "bicubic, BSD300", ha="center", fontsize=8)
        for group, table in enumerate(TABLES):
            for column, loss in enumerate(LOSSES):
                part = cells[(cells["table"] == table) & (cells["loss"] == loss)]
                name, colour = LABELS[loss].replace("_", "\n"), style.LOSS_COLOURS[loss]
                columns.append((group * 5 + column + 1, name, colour, 3, part["psnr"]))
            axis.text(group * 5 + 2.5, 37.2, TITLES[table], ha="center", fontsize=8)
        for place, _, colour, size, psnr in columns:
            spots = place + np.linspace(-0.25, 0.25, len(psnr))
            axis.plot(spots, psnr, markersize=size, color=colour, **DOTS)
        places, names, *_ = zip(*columns, strict=True)
        axis.set_xticks(places, names, fontsize=6.5)
        axis.set(ylabel="PSNR, dB (one dot an image)", ylim=(11, 36.5))
        axis.set_xlim(min(places) - 0.8, max(places) + 0.8)
        axis.grid(axis="y")
        fig.subplots_adjust(left=0.07, right=0.99, top=0.91, bottom=0.14)
    return fig
