"""Figures of pictures: test images (the paper's Fig. 3 and 8), outputs (5), and magnified (6).

An image is uint8, or float in [0, 1]; H x W (grey) or H x W x 3 (RGB). It is clipped for display
only: PSNR is of the values as they are.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from asyrepro.losses import LUMA
from asyrepro.report import wording
from asyrepro.report.crops import Crop, described
from asyrepro.system import style

REGION = 48  # pixels, the side of what Fig. 6 magnifies
MARKED = 8  # pixels, the side of a mark in it
MARKS = 3
RED = "#e4002b"  # as the paper's marks


# ------------------------------------------------------------------------------------ test images


def contact_sheet(names, images, title: str, columns: int = 5) -> Figure:
    """Fig. 3 or 8: test images as thumbnails, numbered as in the tables, with their names.

    Args:
        names, images: as many of each; an image is (C, H, W) or as the module says.
        title: above the sheet; the caller says there if the data are stand-ins.
        columns: thumbnails a row.
    """
    images = [picture(image) for image in images]
    cell, gap, caption = (style.WIDTH - 0.1) / columns, 0.08, 0.2
    width = cell - gap
    rows = [images[k : k + columns] for k in range(0, len(images), columns)]
    # no thumbnail is higher than wide: portraits become narrower instead
    heights = [max(min(i.shape[0] / i.shape[1], 1) * width for i in row) for row in rows]
    height = sum(heights) + caption * len(rows) + 0.36
    with style.context():
        fig = style.figure(height)
        put_title(fig, title)
        y = height - 0.34
        for k, image in enumerate(images):
            row, column = divmod(k, columns)
            if column == 0:
                y -= heights[row] + (caption if row else 0)
            h, w = image.shape[:2]
            scale = min(width / w, heights[row] / h)
            middle = 0.05 + cell * (column + 0.5)
            ax = axes(fig, middle - scale * w / 2, y, scale * w, scale * h)
            show(ax, _thumbnail(image, 320))
            below_panel(fig, middle, y, f"{k + 1}  {_shortened(str(names[k]), 22)}")
    return fig


def _thumbnail(image: np.ndarray, longest: int) -> np.ndarray:
    """Scaled down so that the longer side has at most ``longest`` pixels; uint8."""
    small = Image.fromarray(np.uint8(np.round(np.clip(image, 0, 1) * 255)))
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(small)


def _shortened(name: str, longest: int) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"


# ---------------------------------------------------------------------------------------- outputs


def outputs(crops: list[Crop]) -> Figure:
    """Fig. 5: label, input, and the outputs of the losses, those of one base side by side.

    Args:
        crops: of one subject, a row each.
    """
    subject = crops[0].subject
    kinds = ["label", "input", *subject.bases]
    step = (style.WIDTH - 0.1) / len(kinds)
    side, caption = step - 0.06, 0.32
    height = len(crops) * (side + caption + 0.16) + 0.36
    with style.context():
        fig = style.figure(height)
        put_title(fig, _marked(f"Outputs of {subject.title}, one seed ({subject.seed})", subject))
        for row, crop in enumerate(crops):
            y = height - 0.36 - row * (side + caption + 0.16)
            fig.text(0.05 / style.WIDTH, (y - 0.06) / height, _place(crop), size=6.5, va="center")
            for column, kind in enumerate(kinds):
                x = 0.05 + step * column
                show(axes(fig, x, y - 0.14 - side, side, side), crop.arrays[kind], "nearest")
                psnr = crop.psnr(kind)
                text = described(kind)
                text += "" if np.isnan(psnr) else f"\n{wording.number(psnr, 2)} dB"
                below_panel(fig, x + side / 2, y - 0.14 - side, text)
    return fig


def _place(crop: Crop) -> str:
    high, wide = crop.arrays["label"].shape[:2]
    return f"{crop.image}: {wide} x {high} pixels of its centre; PSNR of the whole image"


def _marked(title: str, subject) -> str:
    return f"{title} (bundled stand-in data)" if subject.stand_in else title


# -------------------------------------------------------------------------------------- magnified


def magnified(crop: Crop) -> Figure:
    """Fig. 6: the region in which the losses' outputs differ most, with marks and a map of errors.

    A row for each pair of losses: the two outputs, and how the absolute error changes from the one
    to the other. Red boxes mark the places where they differ most.

    Args:
        crop: of a subject with at least one pair of losses.
    """
    subject = crop.subject
    greys = {kind: grey(picture(image)) for kind, image in crop.arrays.items()}
    error = {x: np.abs(greys[x] - greys["label"]) for x in subject.bases}
    differ = sum(np.abs(greys[loss] - greys[base]) for loss, base in subject.pairs)
    top, left, side = region(differ, REGION)
    cut = np.s_[top : top + side, left : left + side]
    marks = places(differ[cut], MARKED, MARKS)
    maps = [100 * (error[loss] - error[base])[cut] for loss, base in subject.pairs]
    limit = max(float(np.quantile(np.abs(maps), 0.995)), 0.1)
    rows, step = max(2, len(maps)), (style.WIDTH - 0.45) / 5
    panel, caption = step - 0.08, 0.3
    height = rows * (panel + caption) + 0.5
    with style.context():
        fig = style.figure(height)
        heading = f"Where the outputs differ most: {subject.title}, image {crop.image}"
        put_title(fig, _marked(f"{heading}, one seed ({subject.seed})", subject))

        def place(row: int, column: int):
            y = height - 0.36 - panel - row * (panel + caption)
            ax = axes(fig, 0.05 + step * column, y, panel, panel)
            return ax, lambda text: below_panel(fig, 0.05 + step * column + panel / 2, y, text)

        for row, kind in enumerate(("label", "input")):
            ax, below = place(row, 0)
            show(ax, crop.arrays[kind], "nearest")
            _box(ax, left, top, side, style.VERMILLION, 1.4)
            below(f"{described(kind)}, region marked")
            ax, below = place(row, 1)
            _region(ax, crop.arrays[kind][cut], marks)
            below(described(kind))
        for row, (loss, base) in enumerate(subject.pairs):
            for column, kind in ((2, base), (3, loss)):
                ax, below = place(row, column)
                _region(ax, crop.arrays[kind][cut], marks)
                below(f"{described(kind)}\n{_mean_error(error[kind][cut])}")
            ax, below = place(row, 4)
            drawn = show(ax, maps[row], "nearest", cmap="RdBu_r", limits=(-limit, limit))
            _marks(ax, marks, style.BLACK)
            below(f"|error| of {described(loss)}\nminus that of {described(base)}")
        bar = axes(fig, style.WIDTH - 0.4, height - 0.36 - panel, 0.08, panel, frame=True)
        colour_bar(fig, drawn, bar)
        foot = "Map: % of white; blue, the error is smaller with the first; red, it is larger."
        fig.text(0.5, 0.04 / height, foot, ha="center", va="bottom", size=6.5, color=style.GREY)
    return fig


def _mean_error(error: np.ndarray) -> str:
    return f"mean |error| {100 * error.mean():.2f} %"


def region(values: np.ndarray, side: int) -> tuple[int, int, int]:
    """The square window with the largest sum: (top, left, side); of equals the first.

    Args:
        values: (H, W), not negative.
        side: in pixels; no larger than the image.
    """
    side = min(side, *values.shape)
    sums = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    windows = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    windows = np.round(windows, 9)  # ties are ties, whatever the rounding
    top, left = np.unravel_index(np.argmax(windows), windows.shape)
    return int(top), int(left), side


def places(values: np.ndarray, side: int, count: int) -> list[tuple[int, int]]:
    """(top, left) of the windows of largest sums that do not overlap, largest first."""
    left_over, found = values.astype(float).copy(), []
    for _ in range(count):
        top, left, size = region(left_over, side)
        if left_over[top : top + size, left : left + size].sum() <= 0:
            break
        found.append((top, left))
        around = np.s_[max(0, top - 2) : top + size + 2, max(0, left - 2) : left + size + 2]
        left_over[around] = 0
    return found


def _region(ax, image: np.ndarray, marks) -> None:
    show(ax, image, "nearest")
    _marks(ax, marks, RED)


def _marks(ax, marks, colour: str) -> None:
    for top, left in marks:
        _box(ax, left, top, MARKED, colour, 1.0)


def _box(ax, left: int, top: int, side: int, colour: str, width: float) -> None:
    corner = (left - 0.5, top - 0.5)
    ax.add_patch(Rectangle(corner, side, side, fill=False, ec=colour, lw=width))


# ----------------------------------------------------------------------------------------- helpers


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


def grey(image: np.ndarray) -> np.ndarray:
    return image if image.ndim == 2 else image @ np.array(LUMA)


def contrast(image) -> float:
    """Standard deviation of an image's grey values."""
    return float(grey(picture(image)).std())


def axes(fig: Figure, x: float, y: float, width: float, height: float, frame: bool = False):
    """Axes at a place in inches from the lower left corner; without a frame for a picture."""
    w, h = fig.get_size_inches()
    ax = fig.add_axes((x / w, y / h, width / w, height / h))
    if not frame:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
    return ax


def show(ax, image: np.ndarray, interpolation="antialiased", cmap="gray", limits=None):
    """Draw a picture; values of one channel in a colour map between ``limits``."""
    if image.dtype != np.uint8 and limits is None:
        image = np.clip(image, 0, 1)
    low, high = limits or ((0, 255) if image.dtype == np.uint8 else (0, 1))
    return ax.imshow(
        image, cmap=cmap, vmin=low, vmax=high, interpolation=interpolation, aspect="auto"
    )


def colour_bar(fig: Figure, drawn, ax, **options) -> None:
    bar = fig.colorbar(drawn, cax=ax, **options)
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(length=2, width=0.4, labelsize=6, pad=1)
    bar.locator = style.ticks(3)
    bar.update_ticks()


def below_panel(fig: Figure, x: float, y: float, text: str) -> None:
    """A caption centred under a panel, whose lower edge is at y inches."""
    w, h = fig.get_size_inches()
    fig.text(x / w, (y - 0.04) / h, text, ha="center", va="top", size=6.5, linespacing=1.15)


def put_title(fig: Figure, title: str) -> None:
    fig.text(0.5, 1 - 0.1 / fig.get_figheight(), title, ha="center", va="top", size=9)
