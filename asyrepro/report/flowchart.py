"""The method as the paper's Fig. 1 and 2 draw it, with real images in the boxes."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from asyrepro.analysis.titles import loss_title
from asyrepro.losses import asymmetric_weight
from asyrepro.report.pictures import axes, below_panel, colour_bar, grey, picture, put_title, show
from asyrepro.system import style

SIDE, STEP = 1.0, 1.37  # inches: of a box, and from one to the next
ROW = 1.62


def method(images: dict, loss: str, title: str) -> Figure:
    """From label and output to the weighted loss, as a flowchart.

    Above (the paper's Fig. 1): input, output F, error |F - I|, the error times the weight M. Below
    (its Fig. 2): label I, its grey value, eq. (2), the weight M. Last, what the weight takes off.

    Args:
        images: "input", "label", and the output under its loss's name; as
            :func:`asyrepro.report.pictures.picture` takes them.
        loss: of the output that is shown.
        title: of the figure.
    """
    given, label, output = (np.clip(picture(images[x]), 0, 1) for x in ("input", "label", loss))
    mask = weights(label)
    error = np.abs(np.atleast_3d(output) - np.atleast_3d(label)).mean(axis=2)
    taken = (1 - mask) * error
    high = _ceiling(error)
    height = 2 * ROW + 0.42
    with style.context():
        fig = style.figure(height)
        put_title(fig, title)
        upper, lower = height - 0.42 - SIDE, height - 0.42 - SIDE - ROW

        def box(column: int, y: float, image, text: str, **drawn) -> None:
            ax = axes(fig, _x(column), y, SIDE, SIDE)
            made = show(ax, image, "nearest", **drawn)
            bar = 0.0
            if drawn.get("limits") and drawn["cmap"] != "gray":
                bar = 0.22
                place = axes(fig, _x(column), y - 0.1, SIDE, 0.06, frame=True)
                colour_bar(fig, made, place, orientation="horizontal")
            below_panel(fig, _x(column) + SIDE / 2, y - bar, text)

        error_map = {"cmap": "magma", "limits": (0, high)}
        box(0, upper, given, "Input")
        box(1, upper, output, f"Output $F$ ({loss_title(loss)})")
        box(2, upper, error, "Error $|F - I|$", **error_map)
        box(3, upper, mask * error, "Weighted, $M\\,|F - I|$", **error_map)
        box(0, lower, label, "Label $I$")
        box(1, lower, grey(label), "Its grey value")
        box(3, lower, mask, "Weight $M$", cmap="cividis", limits=(mask.min(), mask.max()))
        taken_map = {"cmap": "magma", "limits": (0, _ceiling(taken))}
        box(4, lower, taken, "Taken off, $(1 - M)\\,|F - I|$", **taken_map)
        curve = axes(fig, _x(2) + 0.2, lower, SIDE - 0.2, SIDE, frame=True)
        _curve(curve, grey(label))
        below_panel(fig, _x(2) + SIDE / 2, lower - 0.22, "Eq. (2) and the grey values")
        base = loss.rpartition("_")[2].upper()
        text = f"Asy_{base} = {_mean(mask, error, base):.3g}\n\n"
        text += f"({base} = {_mean(np.ones_like(mask), error, base):.3g})"
        middle = (_x(4) + SIDE / 2) / style.WIDTH
        fig.text(middle, (upper + SIDE / 2) / height, text, ha="center", va="center", size=7.5)
        for column, name in enumerate(("network", "$-\\,I$", "$\\times\\,M$", "mean")):
            _arrow(fig, column, upper, name)
        for column, name in enumerate(("luma", "", "")):
            _arrow(fig, column, lower, name)
        _up(fig, _x(3) - 0.14, lower + SIDE * 0.8, upper - 0.05)
    return fig


def weights(label: np.ndarray) -> np.ndarray:
    """M of eq. (2) for an image of :func:`asyrepro.report.pictures.picture`: (H, W)."""
    channels = torch.from_numpy(np.atleast_3d(label).transpose(2, 0, 1).astype(np.float32))
    return asymmetric_weight(channels[None].clamp(0, 1))[0, 0].numpy()


def _mean(mask: np.ndarray, error: np.ndarray, base: str) -> float:
    return float((mask * (error**2 if base == "MSE" else error)).mean())


def _ceiling(values: np.ndarray) -> float:
    return float(np.quantile(values, 0.995)) or 1.0


def _x(column: int) -> float:
    return 0.1 + STEP * column


def _arrow(fig: Figure, column: int, y: float, name: str) -> None:
    """An arrow from one box to the next, with what happens on the way above it."""
    x, middle = _x(column) + SIDE, y + SIDE / 2
    _line(fig, (x + 0.03, middle), (x + STEP - SIDE - 0.03, middle))
    w, h = fig.get_size_inches()
    fig.text((x + (STEP - SIDE) / 2) / w, (middle + 0.07) / h, name, ha="center", size=6)


def _up(fig: Figure, x: float, low: float, high: float) -> None:
    _line(fig, (x, low), (x, high))


def _line(fig: Figure, start, end) -> None:
    w, h = fig.get_size_inches()
    ends = [(start[0] / w, start[1] / h), (end[0] / w, end[1] / h)]
    fig.add_artist(
        FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=7, lw=0.9, color=style.BLACK,
                        transform=fig.transFigure, shrinkA=0, shrinkB=0)
    )  # fmt: skip


def _curve(ax, values: np.ndarray) -> None:
    """M against the grey value, over the histogram of the picture's own grey values."""
    grid = np.linspace(0, 1, 256)
    counts, edges = np.histogram(np.clip(values, 0, 1), bins=32, range=(0, 1))
    low, high = 0.87, 1.01
    heights = low + 0.6 * (high - low) * counts / max(counts.max(), 1)
    ax.stairs(heights, edges, baseline=low, fill=True, color=style.LIGHT)
    ax.plot(grid, weights(grid[None])[0], color=style.BLUE)
    ax.set(xlim=(0, 1), ylim=(low, high), xticks=[0, 0.5, 1], yticks=[0.88, 1.0])
    ax.tick_params(length=2, width=0.5, pad=1.5, labelsize=6)
    ax.spines[["top", "right"]].set_visible(False)
