"""Figures of pictures: test images (the paper's Fig. 3 and 8), outputs (5), and magnified (6).

PSNR is of the values as they are, of the whole image.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from asyrepro.report import wording
from asyrepro.report.canvas import Canvas, folded, further_lines, grey, picture
from asyrepro.report.crops import Crop, described, eight_bits
from asyrepro.system import style

REGION = 48  # pixels, the side of what Fig. 6 magnifies
MARKED = 8  # pixels, the side of a mark in it
MARKS = 3
COLUMNS = 5  # thumbnails a row of a sheet
THUMBNAIL = 320  # pixels of the longer side, at most
LETTERS = 22  # of a name under it, at most
RED = "#e4002b"  # as the paper's marks


def contact_sheet(names, images, title: str) -> Figure:
    """Fig. 3 or 8: test images as thumbnails, numbered as in the tables, with their names.

    Args:
        names, images: as many of each; images as :func:`asyrepro.report.canvas.picture` takes them.
        title: above the sheet; the caller says there if the data are stand-ins.
    """
    images = [picture(image) for image in images]
    cell, caption = (style.WIDTH - 0.1) / COLUMNS, 0.2
    width = cell - 0.08
    rows = [images[k : k + COLUMNS] for k in range(0, len(images), COLUMNS)]
    # no thumbnail is higher than wide: portraits become narrower instead
    heights = [max(min(i.shape[0] / i.shape[1], 1) * width for i in row) for row in rows]
    with style.context():
        canvas = Canvas(sum(heights) + caption * len(rows) + 0.36, title)
        for k, image in enumerate(images):
            row, column = divmod(k, COLUMNS)
            bottom = 0.34 + sum(heights[: row + 1]) + caption * row
            h, w = image.shape[:2]
            scale = min(width / w, heights[row] / h)
            middle = 0.05 + cell * (column + 0.5)
            place = (middle - scale * w / 2, bottom - scale * h, scale * w, scale * h)
            small = Image.fromarray(eight_bits(image))
            small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
            canvas.picture(np.asarray(small), *place, smooth=True)
            name = str(names[k])
            name = name if len(name) <= LETTERS else name[: LETTERS - 1] + "…"
            canvas.below(middle, bottom, f"{k + 1}  {name}")
    return canvas.figure


def outputs(crops: list[Crop]) -> Figure:
    """Fig. 5: label, input, and the outputs of the losses, those of one base side by side.

    Args:
        crops: of one subject, a row each.
    """
    subject = crops[0].subject
    kinds = ["label", "input", *subject.bases]
    step = (style.WIDTH - 0.1) / len(kinds)
    side = step - 0.06
    row = side + 0.48 + further_lines(map(described, kinds), side)
    with style.context():
        title = f"Outputs of {subject.title}, one seed ({subject.seed})"
        canvas = Canvas(len(crops) * row + 0.36, wording.marked(title, subject.stand_in))
        for number, crop in enumerate(crops):
            y = 0.36 + number * row
            high, wide = crop.arrays["label"].shape[:2]
            about = f"{crop.image}: {wide} x {high} pixels of its centre; PSNR of the whole image"
            canvas.text(0.05, y + 0.06, about, ha="left")
            for column, kind in enumerate(kinds):
                x, psnr = 0.05 + step * column, crop.psnr(kind)
                canvas.picture(crop.arrays[kind], x, y + 0.14, side)
                text = "" if np.isnan(psnr) else f"\n{wording.number(psnr, 2)} dB"
                canvas.below(x + side / 2, y + 0.14 + side, folded(described(kind), side) + text)
    return canvas.figure


# -------------------------------------------------------------------------------------- magnified


class Difference(NamedTuple):
    """The region of a crop in which the pairs of losses differ most."""

    top: int  # pixels, as all places
    left: int
    side: int
    marks: list[tuple[int, int]]  # (top, left) in the region of where they differ most
    errors: dict[str, float]  # loss -> its mean absolute error in the region, percent of white
    maps: dict[tuple[str, str], np.ndarray]  # (loss, its base) -> change of |error|, percent


def difference(crop: Crop) -> Difference:
    """Where the losses of a crop with at least one pair of losses differ."""
    greys = {kind: grey(image) for kind, image in crop.arrays.items()}
    error = {x: 100 * np.abs(greys[x] - greys["label"]) for x in crop.subject.bases}
    pairs = crop.subject.pairs
    differ = sum(np.abs(greys[loss] - greys[base]) for loss, base in pairs)
    top, left, side = region(differ, REGION)
    cut = np.s_[top : top + side, left : left + side]
    errors = {loss: float(values[cut].mean()) for loss, values in error.items()}
    maps = {(loss, base): (error[loss] - error[base])[cut] for loss, base in pairs}
    return Difference(top, left, side, places(differ[cut], MARKED, MARKS), errors, maps)


def magnified(crop: Crop) -> Figure:
    """Fig. 6: the region in which the losses' outputs differ most, with marks and a map of errors.

    A row for each pair of losses: the two outputs, and how the absolute error changes from the one
    to the other. Red boxes mark the places where they differ most.

    Args:
        crop: of a subject with at least one pair of losses.
    """
    found, subject = difference(crop), crop.subject
    cut = np.s_[found.top : found.top + found.side, found.left : found.left + found.side]
    limit = max(float(np.quantile(np.abs([*found.maps.values()]), 0.995)), 0.1)
    scale = {"cmap": "RdBu_r", "limits": (-limit, limit)}
    step, rows = (style.WIDTH - 0.45) / 5, max(2, len(found.maps))
    panel = step - 0.08
    of_maps = {pair: f"|error| of {described(pair[0])}" for pair in found.maps}
    caption = 0.3 + further_lines([*map(described, subject.bases), *of_maps.values()], panel)
    title = f"Where the outputs differ most: {subject.title}, image {crop.image}"
    with style.context():
        title = wording.marked(f"{title}, one seed ({subject.seed})", subject.stand_in)
        canvas = Canvas(rows * (panel + caption) + 0.5, title)

        def place(row: int, column: int, image: np.ndarray, text: str, colour=None, **scale):
            """A picture with its caption, and with marks of a colour; its upper left corner."""
            x, y = 0.05 + step * column, 0.36 + row * (panel + caption)
            canvas.picture(image, x, y, panel, **scale)
            canvas.below(x + panel / 2, y + panel, text)
            pixel = panel / len(image)
            for top, left in found.marks if colour else ():
                canvas.box(x + left * pixel, y + top * pixel, MARKED * pixel, colour)
            return x, y, pixel

        for row, kind in enumerate(("label", "input")):
            name = described(kind)
            x, y, pixel = place(row, 0, crop.arrays[kind], f"{name}, region marked")
            corner = (x + found.left * pixel, y + found.top * pixel)
            canvas.box(*corner, found.side * pixel, style.VERMILLION, 1.4)
            place(row, 1, crop.arrays[kind][cut], name, RED)
        for row, ((loss, base), change) in enumerate(found.maps.items()):
            for column, kind in ((2, base), (3, loss)):
                text = f"{folded(described(kind), panel)}\nmean |error| {found.errors[kind]:.2f} %"
                place(row, column, crop.arrays[kind][cut], text, RED)
            text = f"{folded(of_maps[loss, base], panel)}\nminus that of {described(base)}"
            place(row, 4, change, text, style.BLACK, **scale)
        canvas.scale(style.WIDTH - 0.4, 0.36, 0.08, panel, **scale)
        foot = "Map: % of white; blue, the error is smaller with the first; red, it is larger."
        canvas.text(style.WIDTH / 2, canvas.height - 0.06, foot, color=style.GREY, va="bottom")
    return canvas.figure


def region(values: np.ndarray, side: int) -> tuple[int, int, int]:
    """The square window with the largest sum: (top, left, side); of equals the first.

    Args:
        values: (H, W), not negative.
        side: in pixels; no larger than the image.
    """
    side = min(side, *values.shape)
    windows = np.lib.stride_tricks.sliding_window_view(values, (side, side)).sum(axis=(2, 3))
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
