"""A sheet to lay pictures, captions, boxes and arrows on, in inches from its upper left corner.

An image is uint8, or float in [0, 1]; H x W (grey) or H x W x 3 (RGB). It is clipped for display
only.
"""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from asyrepro.metrics import GREY
from asyrepro.report.wording import MINUS
from asyrepro.system import style


class Canvas:
    """One set of axes over the whole figure; all places are in inches, y runs downwards."""

    def __init__(self, height: float, title: str):
        self.figure: Figure = style.figure(height)
        self.height = height
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, style.WIDTH), ylim=(height, 0), autoscale_on=False)
        self.axes.axis("off")
        self.text(style.WIDTH / 2, 0.1, title, va="top", size=9)

    def picture(self, image, x, y, width, height=None, smooth=False, cmap="gray", limits=None):
        """An image of its upper left corner and size; one channel in a colour map."""
        height = height or width
        if image.dtype != np.uint8 and limits is None:
            image = np.clip(image, 0, 1)
        low, high = limits or ((0, 255) if image.dtype == np.uint8 else (0, 1))
        extent, how = (x, x + width, y + height, y), "antialiased" if smooth else "nearest"
        self.axes.imshow(image, cmap, vmin=low, vmax=high, extent=extent, interpolation=how,
                         aspect="auto")  # fmt: skip

    def text(self, x: float, y: float, text: str, size: float = 6.5, **look) -> None:
        self.axes.text(x, y, text, **{"ha": "center", "va": "center", "size": size, **look})

    def below(self, x: float, y: float, text: str) -> None:
        """A caption whose middle is at x, under a picture that ends at y."""
        self.text(x, y + 0.04, text, va="top", linespacing=1.15)

    def box(self, x: float, y: float, side: float, colour: str, width: float = 1.0) -> None:
        box = Rectangle((x, y), side, side, fill=False, ec=colour, lw=width)
        self.axes.add_patch(box)

    def scale(self, x, y, width, height, cmap: str, limits: tuple[float, float]) -> None:
        """A colour map with round numbers: below it if it is wide, right of it if it is high."""
        low, high = limits
        ramp = np.linspace(low, high, 256)[None]
        wide = width > height
        self.picture(ramp if wide else ramp.T[::-1], x, y, width, height, True, cmap, limits)
        ticks = [t for t in MaxNLocator(3).tick_values(low, high) if low <= t <= high]
        for tick in ticks:
            share, text = (tick - low) / (high - low), f"{tick:g}".replace("-", MINUS)
            if wide:
                self.text(x + share * width, y + height + 0.02, text, size=6, va="top")
            else:
                self.text(x + width + 0.03, y + (1 - share) * height, text, size=6, ha="left")

    def arrow(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        look = {"arrowstyle": "-|>", "lw": 0.9, "color": style.BLACK, "mutation_scale": 7}
        self.axes.annotate("", end, start, arrowprops=look | {"shrinkA": 0, "shrinkB": 0})


LETTER, LINE = 0.055, 0.105  # inches that a letter and a line of a caption take


def folded(name: str, width: float) -> str:
    """A name in lines that fit under a picture of this width, broken behind spaces and "_"."""
    lines = textwrap.wrap(name.replace("_", "_ "), int(width / LETTER), break_long_words=False)
    return "\n".join(line.replace("_ ", "_") for line in lines)


def further_lines(names, width: float) -> float:
    """The height that folded names take beyond a line."""
    return LINE * max(folded(name, width).count("\n") for name in names)


def picture(image) -> np.ndarray:
    """Any form of an image as float64 H x W or H x W x 3; uint8 is divided by 255, nothing clipped.

    Raises:
        ValueError: it is none of (H, W), (1|3, H, W), (H, W, 1|3).
    """
    if hasattr(image, "detach"):
        image = image.detach().cpu().numpy()
    image = np.asarray(image)
    scale = 255 if image.dtype == np.uint8 else 1
    if image.ndim == 3 and image.shape[2] not in (1, 3) and image.shape[0] in (1, 3):
        image = image.transpose(1, 2, 0)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[2] == 3):
        raise ValueError(f"an image is (H, W), (H, W, 3) or (C, H, W), got shape {image.shape}")
    return image.astype(np.float64) / scale


def grey(image) -> np.ndarray:
    """The grey values (H, W) of any form of an image."""
    image = picture(image)
    return image if image.ndim == 2 else image @ np.array(GREY)


def weights(values: np.ndarray) -> np.ndarray:
    """M of eq. (2) of grey values: :func:`asyrepro.losses.asymmetric_weight` without PyTorch."""
    return 0.5 * np.tanh(1 / (np.clip(values, 0, 1) + 1e-10)) + 0.5
