"""The audit's figures. They use the report's style and are drawn without a window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from asyrepro.paper.noise import SIGMAS, leads
from asyrepro.paper.tables import LOSSES, TABLES
from asyrepro.system import style

TITLES = {2: "Table 2, SRCNN", 3: "Table 3, EDSR", 4: "Table 4, DnCNN", 5: "Table 5, DPHSIR"}
LABELS = {"mae": "MAE", "mse": "MSE", "asy_mae": "Asy_MAE", "asy_mse": "Asy_MSE"}
SIZES = {"mae": 9, "mse": 7, "asy_mae": 4.5, "asy_mse": 2.2}
NUMBERS = range(1, 11)


def constants_figure(constants: pd.DataFrame, stem: Path) -> list[Path]:
    """k of every image under the four losses, against eq. (9)'s k = 1."""
    with style.context():
        fig = style.figure(2.5)
        axes = fig.subplots(1, 4, sharey=True)
        for axis, table in zip(axes, TABLES, strict=True):
            part = constants[constants["table"] == table]
            for loss in LOSSES:
                axis.plot(
                    part["no"], part[f"k_{loss}"], linestyle="", marker="o", label=LABELS[loss],
                    markersize=SIZES[loss], color=style.LOSS_COLOURS[loss], markeredgewidth=0,
                )  # fmt: skip
            axis.axhline(1, color=style.GREY, linewidth=1, linestyle="--")
            axis.set(title=TITLES[table], xlabel="test image", xlim=(0.2, 10.8), ylim=(0.8, 3.15))
            axis.set_xticks(NUMBERS)
            axis.grid(axis="y")
        axes[0].set_ylabel(r"k = printed RMSE / $10^{-\mathrm{PSNR}/20}$")
        axes[0].text(1, 1.04, "eq. (9): k = 1", color=style.GREY, fontsize=7, va="bottom")
        handles, labels = axes[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="lower center", ncols=4, frameon=False)
        fig.subplots_adjust(left=0.07, right=0.99, top=0.9, bottom=0.28, wspace=0.08)
        return style.save(fig, stem)


def matches_figure(recovered: pd.DataFrame, stem: Path) -> list[Path]:
    """Error of the recovered test images beside the next best image's and the rounding's width."""
    found = sorted(recovered["table"].unique())
    with style.context():
        fig = style.figure(2.7, width=style.WIDTH * (0.55 if len(found) == 1 else 1))
        axes = fig.subplots(1, len(found), sharey=True, squeeze=False)[0]
        names = {4: "Table 4 in Set12 (12 images)", 5: "Table 5 in BSD300 (300 images)"}
        for axis, table in zip(axes, found, strict=True):
            part = recovered[recovered["table"] == table]
            width = np.maximum(part["high"] - part["value"], part["value"] - part["low"])
            axis.bar(
                part["no"], width, width=0.8, color=style.LIGHT, label="what rounding leaves open"
            )
            axis.plot(
                part["no"], part["error"], linestyle="", marker="o", markersize=5,
                color=style.BLUE, label="error of the match",
            )  # fmt: skip
            axis.plot(
                part["no"], part["second_error"], linestyle="", marker="x", markersize=5,
                color=style.VERMILLION, label="error of the next best image",
            )  # fmt: skip
            axis.set(yscale="log", ylim=(5e-7, 0.5), title=names[table])
            axis.set_xticks(part["no"], part["image"], rotation=60, ha="right")
            axis.grid(axis="y")
            axis.set_axisbelow(True)
        axes[0].set_ylabel("distance of RMS from 1/k")
        handles, labels = axes[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="lower center", ncols=3, frameon=False)
        fig.subplots_adjust(left=0.09, right=0.99, top=0.91, bottom=0.34, wspace=0.05)
        return style.save(fig, stem)


def changes_figure(changes: pd.DataFrame, stem: Path) -> list[Path]:
    """The paper's gain in PSNR, image by image; each table has its own scale."""
    with style.context():
        fig = style.figure(2.4)
        axes = fig.subplots(1, 4)
        for axis, table in zip(axes, TABLES, strict=True):
            for offset, base in ((-0.2, "mae"), (0.2, "mse")):
                part = changes[(changes["table"] == table) & (changes["base"] == base)]
                axis.bar(
                    part["no"] + offset, part["psnr_change"], width=0.4,
                    color=style.LOSS_COLOURS[f"asy_{base}"],
                    label=f"{LABELS[f'asy_{base}']} over {LABELS[base]}",
                )  # fmt: skip
            axis.set(title=TITLES[table], xlabel="test image")
            axis.set_xticks(NUMBERS)
            axis.grid(axis="y")
            axis.set_axisbelow(True)
        axes[0].set_ylabel("change of PSNR, dB")
        handles, labels = axes[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="lower center", ncols=2, frameon=False)
        fig.subplots_adjust(left=0.08, right=0.99, top=0.9, bottom=0.29, wspace=0.3)
        return style.save(fig, stem)


def noise_figure(images: pd.DataFrame, stem: Path) -> list[Path]:
    """The paper's best PSNR against what a good denoiser reaches at three noise levels."""
    found = sorted(images["table"].unique())
    margins = leads(images)
    colours = dict(zip(SIGMAS, (style.SKY, style.BLUE, style.PINK), strict=True))
    titles = {
        4: "Table 4: DnCNN-S as published",
        5: "Table 5: non-local means + mean lead of DnCNN-S",
    }
    with style.context():
        fig = style.figure(2.8, width=style.WIDTH * (0.55 if len(found) == 1 else 1))
        axes = fig.subplots(1, len(found), sharey=True, squeeze=False)[0]
        for axis, table in zip(axes, found, strict=True):
            part = images[images["table"] == table]
            for sigma in SIGMAS:
                row = part[part["sigma"] == sigma]
                level = row["published"] if table == 4 else row["nlm"] + margins.get(sigma, np.nan)
                axis.plot(
                    row["no"], level, marker="s", color=colours[sigma],
                    label=rf"reference, $\sigma$ = {sigma}",
                )  # fmt: skip
            axis.plot(
                row["no"], row["paper_psnr"], linestyle="", marker="o", markersize=5,
                color=style.VERMILLION, label="the paper's best loss",
            )  # fmt: skip
            axis.set(title=titles[table])
            axis.set_xticks(row["no"], row["image"], rotation=60, ha="right")
            axis.grid(axis="y")
        axes[0].set_ylabel("PSNR, dB")
        handles, labels = axes[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="lower center", ncols=4, frameon=False)
        fig.subplots_adjust(left=0.07, right=0.99, top=0.91, bottom=0.33, wspace=0.05)
        return style.save(fig, stem)


def spread_figure(cells: pd.DataFrame, floor: pd.DataFrame | None, stem: Path) -> list[Path]:
    """All printed PSNRs by column; bicubic upsampling's beside those of super-resolution."""
    with style.context():
        fig = style.figure(2.7)
        axis = fig.subplots()
        ticks, names = [], []
        if floor is not None:
            for place, (scale, part) in enumerate(floor.groupby("scale"), start=-2):
                spots = place + np.linspace(-0.25, 0.25, len(part))
                axis.plot(
                    spots, part["psnr"], linestyle="", marker=".", markersize=2, color=style.GREY
                )
                ticks.append(place)
                names.append(f"x{scale}")
            axis.text(-1.5, 37.2, "bicubic, BSD300", ha="center", fontsize=8)
        for group, table in enumerate(TABLES):
            for column, loss in enumerate(LOSSES):
                place = group * 5 + column + 1
                part = cells[(cells["table"] == table) & (cells["loss"] == loss)]
                axis.plot(
                    place + np.linspace(-0.25, 0.25, len(part)), part["psnr"], linestyle="",
                    marker="o", color=style.LOSS_COLOURS[loss],
                )  # fmt: skip
                ticks.append(place)
                names.append(LABELS[loss].replace("_", "\n"))
            axis.text(group * 5 + 2.5, 37.2, TITLES[table], ha="center", fontsize=8)
        axis.set_xticks(ticks, names, fontsize=6.5)
        axis.set(ylabel="PSNR, dB (one dot an image)", ylim=(11, 36.5))
        axis.set_xlim(min(ticks) - 0.8, max(ticks) + 0.8)
        axis.grid(axis="y")
        fig.subplots_adjust(left=0.07, right=0.99, top=0.91, bottom=0.14)
        return style.save(fig, stem)
