"""The method as the paper's Fig. 1 and 2 draw it, with real images in the boxes."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from asyrepro.analysis.titles import loss_title
from asyrepro.report.canvas import Canvas, grey, picture, weights
from asyrepro.system import style

SIDE, STEP, ROW = 1.0, 1.37, 1.62  # inches: of a box, from one to the next, and from row to row
UPPER, LOWER = 0.42, 0.42 + ROW  # where the rows begin


def method(images: dict, loss: str, title: str) -> Figure:
    """From label and output to the weighted loss, as a flowchart.

    Above (the paper's Fig. 1): input, output F, error |F - I|, the error times the weight M. Below
    (its Fig. 2): label I, its grey value, eq. (2), the weight M. Last, what the weight takes off.

    Args:
        images: "input", "label", and the output under its loss's name; as
            :func:`asyrepro.report.canvas.picture` takes them.
        loss: of the output that is shown.
    """
    given, label, output = (np.clip(picture(images[x]), 0, 1) for x in ("input", "label", loss))
    mask = weights(grey(label))
    error = np.abs(np.atleast_3d(output) - np.atleast_3d(label)).mean(axis=2)
    errors = {"cmap": "magma", "limits": (0, _ceiling(error))}
    taken = (1 - mask) * error
    with style.context():
        canvas = Canvas(2 * ROW + 0.42, title)
        _box(canvas, 0, UPPER, given, "Input")
        _box(canvas, 1, UPPER, output, f"Output $F$ ({loss_title(loss)})")
        _box(canvas, 2, UPPER, error, "Error $|F - I|$", **errors)
        _box(canvas, 3, UPPER, mask * error, "Weighted, $M\\,|F - I|$", **errors)
        _box(canvas, 0, LOWER, label, "Label $I$")
        _box(canvas, 1, LOWER, grey(label), "Its grey value")
        _curve(canvas.figure, grey(label))
        canvas.below(_x(2) + SIDE / 2, LOWER + SIDE + 0.22, "Eq. (2) and the grey values")
        scale = {"cmap": "cividis", "limits": (mask.min(), mask.max())}
        _box(canvas, 3, LOWER, mask, "Weight $M$", **scale)
        scale = {"cmap": "magma", "limits": (0, _ceiling(taken))}
        _box(canvas, 4, LOWER, taken, "Taken off, $(1 - M)\\,|F - I|$", **scale)
        base = loss.rpartition("_")[2].upper()
        text = f"Asy_{base} = {_mean(mask, error, base):.3g}\n\n"
        text += f"({base} = {_mean(np.ones_like(mask), error, base):.3g})"
        canvas.text(_x(4) + SIDE / 2, UPPER + SIDE / 2, text, size=7.5)
        for row, names in ((UPPER, ("network", "$-\\,I$", "$\\times\\,M$", "mean")),
                           (LOWER, ("luma", "", ""))):  # fmt: skip
            for column, name in enumerate(names):
                start, end, y = _x(column) + SIDE, _x(column + 1), row + SIDE / 2
                canvas.arrow((start + 0.03, y), (end - 0.03, y))
                canvas.text((start + end) / 2, y - 0.07, name, size=6, va="bottom")
        canvas.arrow((_x(3) - 0.14, LOWER + 0.2), (_x(3) - 0.14, UPPER + SIDE + 0.05))
    return canvas.figure


def _x(column: int) -> float:
    return 0.1 + STEP * column


def _box(canvas: Canvas, column: int, y: float, image: np.ndarray, text: str, **scale) -> None:
    """A picture with its caption, and between them the scale of a colour map."""
    x, end = _x(column), y + SIDE
    canvas.picture(image, x, y, SIDE, **scale)
    if scale:
        canvas.scale(x, end + 0.04, SIDE, 0.06, **scale)
        end += 0.22
    canvas.below(x + SIDE / 2, end, text)


def _mean(mask: np.ndarray, error: np.ndarray, base: str) -> float:
    return float((mask * (error**2 if base == "MSE" else error)).mean())


def _ceiling(values: np.ndarray) -> float:
    return float(np.quantile(values, 0.995)) or 1.0


def _curve(figure: Figure, values: np.ndarray) -> None:
    """M against the grey value, over the histogram of the picture's own grey values."""
    place = np.array([_x(2) + 0.2, figure.get_figheight() - LOWER - SIDE, SIDE - 0.2, SIDE])
    ax = figure.add_axes(place / (*figure.get_size_inches(), *figure.get_size_inches()))
    grid, (low, high) = np.linspace(0, 1, 256), (0.87, 1.01)
    counts, edges = np.histogram(np.clip(values, 0, 1), bins=32, range=(0, 1))
    heights = low + 0.6 * (high - low) * counts / max(counts.max(), 1)
    ax.stairs(heights, edges, baseline=low, fill=True, color=style.LIGHT)
    ax.plot(grid, weights(grid), color=style.BLUE)
    ax.set(xlim=(0, 1), ylim=(low, high), xticks=[0, 0.5, 1], yticks=[0.88, 1.0])
    ax.tick_params(length=2, width=0.5, pad=1.5, labelsize=6)
    ax.spines[["top", "right"]].set_visible(False)
