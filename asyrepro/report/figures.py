"""The paper's figures: radar charts (Fig. 4, 7, 9, 10), test images (3, 8), outputs and a magnified
region (5, 6), and the method on a photograph (1-2).

Every function takes arrays, writes ``<stem>.png`` and ``<stem>.pdf``, and returns the figure.
Pictures are H x W (grey) or H x W x 3 (RGB), float in [0, 1] or uint8; (C, H, W) and tensors are
understood too. They are clipped for display only: PSNR is of the values as they are.
"""

import itertools
import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from PIL import Image

from asyrepro.analysis.summary import Summary, summarise
from asyrepro.analysis.titles import TASK_TITLES, loss_title
from asyrepro.losses import LUMA
from asyrepro.report import wording
from asyrepro.report.tables import CELL, DECIMALS, PAIRS, notes
from asyrepro.runs.results import STAND_IN
from asyrepro.system import style

RADAR_TITLES = {
    "values": {"psnr": "PSNR (dB)", "ssim": "SSIM", "nrmse": "NRMSE (the paper's “RMSE”)"},
    "change": {"psnr": "Change of PSNR (dB)", "ssim": "Change of SSIM", "nrmse": "Change of NRMSE"},
}
RADAR_FIGURES = {2: "fig4", 3: "fig7", 4: "fig9", 5: "fig10"}  # those that the paper draws of them
RING_SIZE = 5.8  # points, of the rings' labels
SHEET_BYTES = 550_000
PICTURE_BYTES = 400_000
DENSE_BYTES = 550_000  # many pictures, or error maps, which compress like noise


# ------------------------------------------------------------------------------------ radar charts


def radar(
    frame: pd.DataFrame, table: int, stem, paper: pd.DataFrame | None = None
) -> Figure | None:
    """Fig. 4, 7, 9 or 10: a spoke an image; above the base losses' values, below what the
    asymmetric weights change.

    The changes are some thousandths of the values, so each has axes of its own: a heavy ring marks
    no change, the tinted side of it is the better one. A band spans the seeds where there are
    several. Dashed lines are the paper's values, drawn only where its images are the same
    (Tables 4 and 5). Missing values leave gaps.

    Args:
        frame: the tidy table.
        table: 2 ... 5.
        stem: where to save, without ending.
        paper: the paper's numbers (``asyrepro.paper.tables()``), or None.

    Returns:
        The figure, its axes labelled ``values psnr`` ... ``change nrmse``; None without rows.
    """
    summary = summarise(frame, table, paper)
    if summary is None:
        return None
    with_paper = summary.paper is not None and summary.same_images
    numbered = max(map(len, summary.images)) > 7
    names = [str(k + 1) for k in range(len(summary.images))] if numbered else summary.images
    key = _key(summary.images) if numbered else []

    below = 0.16 * len(key) + 0.1 * bool(key)
    beneath = 0.62 if with_paper else 0.48  # the means under a panel
    side = 1.68 if max(map(len, names)) <= 4 else 1.42  # long names need room at the sides
    row_height = side + 0.84 + beneath
    height = 2 * row_height + 0.4 + below
    with style.context():
        fig = style.figure(height)
        top = height - 0.12
        fig.text(0.5, top / height, radar_title(summary), ha="center", va="top", size=9.5)
        about = notes(summary)[0]
        y = (top - 0.2) / height
        fig.text(0.5, y, about, ha="center", va="top", size=6.5, color=style.GREY)
        if numbered:
            for k, line in enumerate(key):
                y = (below - 0.1 - 0.16 * k) / height
                fig.text(0.5, y, line, ha="center", va="center", color=style.GREY, size=7)
        for row, kind in enumerate(("values", "change")):
            bottom = below + beneath + (row_height if row == 0 else 0)
            for column, metric in enumerate(CELL):
                left = style.WIDTH * (column + 0.5) / 3 - side / 2
                box = (left / style.WIDTH, bottom / height, side / style.WIDTH, side / height)
                ax = fig.add_axes(box, projection="polar", label=f"{kind} {metric}")
                _radar_panel(ax, summary, kind, metric, names, with_paper)
            y = (bottom + side + 0.6) / height
            heading = (
                "Values under the base losses"
                if kind == "values"
                else "Change under asymmetric weights (heavy ring: no change; tinted: better)"
            )
            fig.text(0.5, y, heading, ha="center", va="bottom", weight="bold", size=8)
            handles = _radar_legend(summary, kind, with_paper)
            if handles:
                fig.legend(
                    handles=handles,
                    loc="upper center",
                    bbox_to_anchor=(0.5, y + 0.02 / height),
                    ncols=len(handles),
                    frameon=False,
                    borderaxespad=0.2,
                )
        style.save(fig, stem)
    return fig


def radar_title(summary: Summary) -> str:
    """Which table and figure of the paper are remade, and with what."""
    number = RADAR_FIGURES[summary.table].removeprefix("fig")
    text = f"The paper's Fig. {number}, remade: {TASK_TITLES[summary.table].lower()} with "
    text += f"{summary.model_title} (Table {summary.table})"
    return f"{text}: {STAND_IN}" if summary.stand_in else text


def _radar_panel(ax, summary: Summary, kind, metric, names, with_paper) -> None:
    count = len(names)
    angles = 2 * np.pi * np.arange(count) / count
    ax.set_theta_zero_location("N")
    ax.set_theta_direction(-1)
    ours, theirs, spreads = {}, {}, {}
    for asymmetric, base in PAIRS:
        if kind == "values":
            loss, ours[base] = base, summary.values(base, metric)
            spreads[base] = summary.per_seed(base, metric)
            reference = summary.paper_values(base, metric)
        else:
            loss, ours[asymmetric] = asymmetric, summary.change(asymmetric, base, metric)
            spreads[asymmetric] = summary.change_per_seed(asymmetric, base, metric)
            reference = summary.paper_values(asymmetric, metric)
            reference = reference - summary.paper_values(base, metric)
        if with_paper:
            theirs[loss] = reference

    low, high = _limits([*ours.values(), *theirs.values(), *spreads.values()], kind)
    ax.set_ylim(low, high)
    if kind == "change":
        around = np.linspace(0, 2 * np.pi, 181)
        better = (low, 0) if metric == "nrmse" else (0, high)
        ax.fill_between(around, *better, color=style.SKY, alpha=0.13, lw=0, zorder=0.5)
        ax.plot(around, 0 * around, color=style.BLACK, lw=1.4, zorder=2, label="no change")
    for loss, values in theirs.items():
        ax.plot(
            *_closed(angles, values),
            color=style.darker(style.LOSS_COLOURS[loss]),
            lw=0.8,
            ls=(0, (3, 2)),
            zorder=2.6,
            label=f"{loss} paper",
        )
    for loss, values in ours.items():
        colour = style.LOSS_COLOURS[loss]
        if spreads[loss].shape[1] > 1:
            edges = [_closed(angles, f(axis=1))[1] for f in (spreads[loss].min, spreads[loss].max)]
            ax.fill_between(
                _closed(angles, values)[0], *edges, color=colour, alpha=0.25, lw=0, zorder=1.5
            )
        ax.plot(
            *_closed(angles, values),
            color=colour,
            marker=style.LOSS_MARKERS[loss],
            mec="white",
            mew=0.3,
            zorder=3,
            label=loss,
            **style.LOSS_LOOKS[loss],
        )

    rings = MaxNLocator(nbins=5).tick_values(low, high)
    ticks = [t for t in rings if low + 0.12 * (high - low) < t < high]  # none at the very centre
    ax.set_yticks(ticks, [""] * len(ticks))
    ax.set_xticks(angles, [""] * count)
    ax.spines["polar"].set_color(style.LIGHT)
    labels = _ring_labels(ticks, kind == "change", high - low)
    _draw_ring_labels(ax, labels, [*ours.values(), *theirs.values()], heavy=kind == "change")
    for angle, name in zip(angles, names, strict=True):
        x, y = math.sin(angle), math.cos(angle)
        ax.text(
            0.5 + 0.53 * x,
            0.5 + 0.53 * y,
            name,
            transform=ax.transAxes,
            ha="center" if abs(x) < 0.1 else ("left" if x > 0 else "right"),
            va="bottom" if y > 0.9 else ("top" if y < -0.9 else "center"),
            size=6.5,
        )
    ax.text(
        *(0.5, 1.145, RADAR_TITLES[kind][metric]),
        transform=ax.transAxes,
        ha="center",
        va="bottom",
        size=8,
    )
    for k, line in enumerate(_means(summary, kind, metric, with_paper)):
        ax.text(
            *(0.5, -0.14 - (0.085 if len(max(names, key=len)) <= 4 else 0.1) * k, line),
            transform=ax.transAxes,
            ha="center",
            va="top",
            size=6.5,
            color=style.GREY if k else style.BLACK,
        )
    if all(np.isnan(values).all() for values in ours.values()):
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", va="center")


def _means(summary: Summary, kind, metric, with_paper) -> list[str]:
    """What stands beneath a panel: the means over the images, ours and the paper's."""
    both: list[list[str]] = [[], []]
    for asymmetric, base in PAIRS:
        for k, get in enumerate((summary.values, summary.paper_values)):
            shown = get(base, metric)
            if kind == "change" and k == 0:
                shown = summary.change(asymmetric, base, metric)
            elif kind == "change":
                shown = get(asymmetric, metric) - shown
            mean = float(shown.mean())
            decimals = DECIMALS[metric]
            text = wording.number(mean, decimals, sign=kind == "change")
            both[k].append(f"{loss_title(base)} {text}")
    lines = ["mean: " + ", ".join(both[0])]
    return [*lines, "paper: " + ", ".join(both[1])] if with_paper else lines


def _radar_legend(summary: Summary, kind, with_paper) -> list:
    handles, several = [], False
    for asymmetric, base in PAIRS:
        loss = base if kind == "values" else asymmetric
        if base not in summary.losses or loss not in summary.losses:
            continue
        several |= len(summary.seeds[loss]) > 1
        name = loss_title(loss)
        if kind == "change":
            name += f" {wording.MINUS} {loss_title(base)}"
        colour = style.LOSS_COLOURS[loss]
        look = {"marker": style.LOSS_MARKERS[loss], **style.LOSS_LOOKS[loss]}
        handles.append(Line2D([], [], color=colour, label=name, **look))
    if several:
        handles.append(Patch(color=style.GREY, alpha=0.25, lw=0, label="range of the seeds"))
    if with_paper:
        dashed = {"color": style.GREY, "lw": 0.9, "ls": (0, (3, 2))}
        handles.append(Line2D([], [], label="the paper's (same colours)", **dashed))
    return handles


def _limits(series, kind: str) -> tuple[float, float]:
    """Radial limits that use the whole radius; for changes, zero is a ring and never the centre."""
    values = np.concatenate([np.asarray(s, dtype=float).ravel() for s in series])
    values = values[np.isfinite(values)]
    if not len(values):
        return (-1.0, 1.0) if kind == "change" else (0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    if kind == "change":
        low, high = min(low, 0.0), max(high, 0.0)
    span = high - low
    if span < 1e-12:  # all equal
        span = abs(high) * 0.01 or 1e-3
        return low - span, high + span
    return low - 0.3 * span, high + 0.06 * span


def _closed(angles, values) -> tuple[np.ndarray, np.ndarray]:
    values = np.asarray(values, dtype=float)
    values = np.where(np.isfinite(values), values, np.nan)
    return np.append(angles, 2 * np.pi), np.append(values, values[0])


def _ring_labels(ticks, with_sign: bool, span: float) -> dict[float, str]:
    """What stands at which ring; left out are those too near to one another, zero never."""
    if not ticks:
        return {}
    step = min(np.diff(ticks)) if len(ticks) > 1 else span
    decimals = 0
    while decimals < 7 and any(abs(t - round(t, decimals)) > 1e-6 * step for t in ticks):
        decimals += 1
    shown: dict[float, str] = {}
    for tick in sorted(ticks, key=abs) if with_sign else ticks:
        if any(abs(tick - other) < 0.09 * span for other in shown):
            continue
        text = wording.number(tick, decimals, with_sign)
        shown[tick] = "0" if with_sign and abs(tick) < 1e-9 * span else text
    return shown


def _draw_ring_labels(ax, labels: dict[float, str], series, heavy: bool) -> None:
    """Label the rings between two spokes, where the fewest lines run; those lie on top.

    Labels that meet a line or one another are left out, but two stay wherever they are; of changes
    (``heavy``) zero is one of these.
    """
    low, high = ax.get_ylim()
    radius = ax.get_position().width * ax.figure.get_figwidth() * 72 / 2  # in points
    drawn = [_on_lines((values - low) / (high - low)) for values in series]
    drawn = np.concatenate([points[np.isfinite(points).all(axis=1)] for points in drawn])
    bold = {tick: heavy and text == "0" for tick, text in labels.items()}
    sizes = {tick: (0.33 * len(text) + 0.2, 0.6) for tick, text in labels.items()}
    sizes = {tick: np.array(size) * RING_SIZE / radius for tick, size in sizes.items()}

    def chosen(angle: float) -> tuple[tuple[int, int], list[float]]:
        """The rings to be labelled, after how bad the angle is: points beneath, labels fewer."""
        ways = [np.sin(angle), np.cos(angle)]
        centres = {tick: np.multiply(ways, (tick - low) / (high - low)) for tick in labels}
        beneath = {
            tick: int((abs(drawn - centres[tick]) < sizes[tick]).all(axis=1).sum())
            for tick in labels
        }
        rings: list[float] = []
        for tick in sorted(labels, key=lambda tick: (not bold[tick], beneath[tick])):
            meets = any(
                (abs(centres[tick] - centres[ring]) < sizes[tick] + sizes[ring]).all()
                for ring in rings
            )
            if not meets and (len(rings) < 2 or not beneath[tick]):
                rings.append(tick)
        crossed = sum(beneath[tick] for tick in rings)
        return (crossed + 10 * max(0, 3 - len(rings)), -len(rings)), rings

    step = 2 * np.pi / len(series[0])
    angles = [step * (k + share) for k in range(len(series[0])) for share in (0.5, 0.4, 0.6)]
    angle = min(angles, key=lambda angle: chosen(angle)[0])
    for tick in chosen(angle)[1]:
        ax.text(
            *(angle, tick, labels[tick]),
            ha="center",
            va="center",
            size=RING_SIZE,
            weight="bold" if bold[tick] else "normal",
            zorder=2.3,  # on the rings, below the lines
            bbox={"fc": "white", "ec": "none", "alpha": 0.75, "pad": 0.6},
        )


def _on_lines(radii: np.ndarray) -> np.ndarray:
    """Points (x, y) along the straight lines that join a spoke's value to the next one's."""
    spokes, closed = _closed(2 * np.pi * np.arange(len(radii)) / len(radii), radii)
    corners = np.stack([closed * np.sin(spokes), closed * np.cos(spokes)], axis=1)
    share = np.linspace(0, 1, 50)[:, None]
    lines = [a + share * (b - a) for a, b in itertools.pairwise(corners)]
    return np.concatenate([*lines, corners])


def _key(images, width: int = 105) -> list[str]:
    """``1 astronaut   2 camera ...`` in as many lines as needed."""
    lines = [""]
    for number, name in enumerate(images, start=1):
        word = f"{number} {name}"
        if lines[-1] and len(lines[-1]) + len(word) + 3 > width:
            lines.append("")
        lines[-1] += ("   " if lines[-1] else "") + word
    return lines


# ---------------------------------------------------------------------------------------- pictures


def contact_sheet(names, images, stem, title: str, columns: int = 5) -> Figure:
    """Fig. 3 or 8: the test images as thumbnails, numbered as in the tables, with their names.

    Args:
        names, images: as many of each; see the module for the forms of an image.
        stem: where to save, without ending.
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
        _suptitle(fig, title, height)
        y = height - 0.34
        for k, image in enumerate(images):
            row, column = divmod(k, columns)
            if column == 0:
                y -= heights[row] + (caption if row else 0)
            h, w = image.shape[:2]
            scale = min(width / w, heights[row] / h)
            x = 0.05 + cell * (column + 0.5) - scale * w / 2
            ax = _axes(fig, x, y, scale * w, scale * h)  # at the row's lower edge, by the caption
            _show(ax, thumbnail(image, 320))
            centre = (0.05 + cell * (column + 0.5)) / style.WIDTH
            label = f"{k + 1}  {shorten(str(names[k]), 22)}"
            fig.text(centre, (y - 0.04) / height, label, ha="center", va="top", size=7)
        style.save(fig, stem, max_bytes=SHEET_BYTES)
    return fig


def outputs(label, panels: dict, stem, title: str) -> Figure:
    """Fig. 5: label, input and the outputs of the losses, with each one's PSNR.

    Args:
        label: the high-quality picture.
        panels: title -> picture, or None for one not there (drawn as an empty frame). In two rows,
            filled column by column after the label: given Input, MAE, Asy_MAE, MSE, Asy_MSE, each
            base loss stands above its asymmetric form. A picture of another size (the
            low-resolution input) is enlarged by repeating pixels and has no PSNR.
        stem, title: as for :func:`contact_sheet`.
    """
    label = picture(label)
    cells = [("Label", label), *((name, _maybe(p)) for name, p in panels.items())]
    columns = math.ceil(len(cells) / 2)
    aspect = label.shape[0] / label.shape[1]
    width = min((style.WIDTH - 0.1) / columns - 0.08, 2.9 / aspect)
    step, caption = (style.WIDTH - 0.1) / columns, 0.24
    height = 2 * (width * aspect + caption) + 0.4
    with style.context():
        fig = style.figure(height)
        _suptitle(fig, title, height)
        for k, (name, image) in enumerate(cells):
            column, row = divmod(k, 2)
            x = 0.05 + step * (column + 0.5) - width / 2
            y = height - 0.34 - width * aspect - row * (width * aspect + caption)
            ax = _axes(fig, x, y, width, width * aspect)
            _show(ax, None if image is None else _enlarged(image, label))
            text = f"{name}{_psnr_text(name, label, image)}"
            _below(fig, x + width / 2, y, text)
        style.save(fig, stem, max_bytes=DENSE_BYTES)
    return fig


def magnified(label, panels: dict, stem, title: str, box=None) -> Figure:
    """Fig. 6: one region of :func:`outputs`' pictures magnified, its place marked on the label.

    Captions give the PSNR within the region, and that of the whole picture after it.

    Args:
        label, panels, stem, title: as for :func:`outputs`.
        box: (top, left, height, width) in pixels; None takes :func:`busiest_region`.
    """
    label = picture(label)
    top, left, high, wide = box or busiest_region(label)
    cut = np.s_[top : top + high, left : left + wide]
    cells = [("Label", label), *((name, _maybe(p)) for name, p in panels.items())]
    columns = math.ceil(len(cells) / 2)
    caption, whole = 0.37, 2.35
    step = (style.WIDTH - whole - 0.2) / columns
    width, aspect = step - 0.08, high / wide
    tall = label.shape[0] / label.shape[1]
    height = max(2 * (width * aspect + caption), min(whole * tall, 4.5) + caption) + 0.4
    with style.context():
        fig = style.figure(height)
        _suptitle(fig, title, height)
        scale = min(whole / label.shape[1], (height - 0.4 - caption) / label.shape[0])
        w, h = label.shape[1] * scale, label.shape[0] * scale
        x, y = 0.05 + (whole - w) / 2, height - 0.34 - h
        ax = _axes(fig, x, y, w, h)
        _show(ax, label)
        for colour, line in (("white", 2.4), (style.VERMILLION, 1.4)):
            frame = Rectangle((left - 0.5, top - 0.5), wide, high, fill=False, ec=colour, lw=line)
            ax.add_patch(frame)
        _below(fig, x + w / 2, y, f"Label: region of {wide} by {high} pixels")
        for k, (name, image) in enumerate(cells):
            column, row = divmod(k, 2)
            x = whole + 0.15 + step * (column + 0.5) - width / 2
            y = height - 0.34 - width * aspect - row * (width * aspect + caption)
            ax = _axes(fig, x, y, width, width * aspect)
            if image is None:
                _show(ax, None)
            else:
                _show(ax, _enlarged(image, label)[cut], interpolation="nearest")
            for spine in ax.spines.values():
                spine.set(visible=True, color=style.VERMILLION, linewidth=0.8)
            text = name
            if image is not None and name != "Label" and image.shape == label.shape:
                here, all_over = psnr_of(label[cut], image[cut]), psnr_of(label, image)
                text += f"\n{here:.2f} dB (whole {all_over:.2f})"
            elif image is None:
                text += "\nnot run"
            _below(fig, x + width / 2, y, text)
        style.save(fig, stem, max_bytes=PICTURE_BYTES)
    return fig


def busiest_region(image, side: int | None = None) -> tuple[int, int, int, int]:
    """The square window with the largest gradient energy: (top, left, height, width) in pixels.

    Energy is the sum over the window of the squared central differences, in both directions, of the
    grey image smoothed by a Gaussian of 2 pixels (so that shapes count for more than grain). The
    side is a fifth of the image's shorter one, at least 24 pixels; a margin of a twentieth is left
    out (some of the images have dark rims). Of equal windows the first in reading order is taken,
    so the choice is the same every time.
    """
    from scipy.ndimage import gaussian_filter

    grey = _grey(picture(image))
    shorter = min(grey.shape)
    side = min(side or max(24, round(shorter / 5)), shorter)
    margin = min(round(shorter / 20), (shorter - side) // 2)
    vertical, horizontal = np.gradient(gaussian_filter(grey, 2))
    energy = np.pad(vertical**2 + horizontal**2, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    sums = energy[side:, side:] - energy[:-side, side:] - energy[side:, :-side]
    sums = np.round(sums + energy[:-side, :-side], 9)  # ties are ties, whatever the rounding
    rows, columns = (size - 2 * margin for size in sums.shape)
    inner = sums[margin : margin + rows, margin : margin + columns]
    top, left = np.unravel_index(np.argmax(inner), inner.shape)
    return int(top) + margin, int(left) + margin, side, side


def method(label, output, stem, title: str) -> Figure:
    """Fig. 1 and 2 in one: a picture, its mask by eq. (2), the error, the weighted error, and M(I).

    Args:
        label, output: the high-quality picture and a network's output for it.
        stem, title: as for :func:`contact_sheet`.
    """
    import torch

    from asyrepro.losses import asymmetric_weight

    label, output = picture(label), picture(output)
    channels = torch.from_numpy(np.atleast_3d(label).transpose(2, 0, 1).astype(np.float32))
    mask = asymmetric_weight(channels[None].clamp(0, 1))[0, 0].numpy()
    error = np.abs(np.atleast_3d(output) - np.atleast_3d(label)).mean(axis=2)
    ceiling = float(np.quantile(error, 0.995)) or 1.0
    white = float(asymmetric_weight(torch.ones(1, 1, 1, 1)))
    lost = (1 - mask) * error

    aspect = label.shape[0] / label.shape[1]
    step = style.WIDTH / 3
    wide = step - 0.62
    tall = wide * aspect
    if tall > 2.2:
        tall, wide = 2.2, 2.2 / aspect
    height = 2 * tall + 1.02
    with style.context():
        fig = style.figure(height)
        _suptitle(fig, title, height)
        pictures = [
            ("Label $I$", label, "gray", None),
            ("Weight $M$, eq. (2)", mask, "cividis", (white, 1.0)),
            None,
            ("Error $|F - I|$", error, "magma", (0, ceiling)),
            ("Weighted, $M\\,|F - I|$", mask * error, "magma", (0, ceiling)),
            ("Taken off, $(1 - M)\\,|F - I|$", lost, "magma", (0, (1 - white) * ceiling)),
        ]
        for k, item in enumerate(pictures):
            row, column = divmod(k, 3)
            x = step * column + 0.08
            y = height - 0.5 - tall - row * (tall + 0.42)
            if item is None:
                ax = _axes(fig, x + 0.38, y + 0.28, step - 0.55, tall - 0.28, frame=True)
                _weight_curve(ax, _grey(label))
                continue
            name, image, cmap, limits = item
            ax = _axes(fig, x, y, wide, tall)
            drawn = _show(ax, image, cmap=cmap, limits=limits)
            ax.set_title(name, pad=3)
            if limits:
                bar = fig.colorbar(
                    drawn, cax=_axes(fig, x + wide + 0.05, y, 0.08, tall, frame=True)
                )
                bar.outline.set_linewidth(0.4)
                bar.ax.tick_params(length=2, width=0.4, labelsize=6, pad=1)
                bar.locator = MaxNLocator(nbins=5)
                bar.update_ticks()
        style.save(fig, stem, max_bytes=DENSE_BYTES)
    return fig


def _weight_curve(ax, grey) -> None:
    """M against the grey value, over the histogram of the picture's own grey values."""
    import torch

    from asyrepro.losses import asymmetric_weight

    values = np.linspace(0, 1, 256, dtype=np.float32)
    weights = asymmetric_weight(torch.from_numpy(values).reshape(1, 1, 1, -1)).numpy().ravel()
    counts, edges = np.histogram(np.clip(grey, 0, 1), bins=64, range=(0, 1))
    low, high = 0.86, 1.01
    ax.stairs(
        low + 0.6 * (high - low) * counts / max(counts.max(), 1),
        edges,
        baseline=low,
        fill=True,
        color=style.LIGHT,
    )
    ax.plot(values, weights, color=style.BLUE)
    ax.set(xlim=(0, 1), ylim=(low, high), xlabel="grey value $I$", ylabel="weight $M$")
    ax.set_title("$M(I)$ over the grey values", pad=3)
    ax.xaxis.labelpad = ax.yaxis.labelpad = 1
    ax.tick_params(length=2, width=0.5, pad=1.5, labelsize=6)
    ax.set_xticks([0, 0.5, 1])
    ax.set_yticks([0.88, 0.92, 0.96, 1.0])
    ax.spines[["top", "right"]].set_visible(False)


# ----------------------------------------------------------------------------------------- helpers


def picture(image) -> np.ndarray:
    """Any form of an image as float64 H x W or H x W x 3; uint8 is divided by 255, nothing clipped.

    Raises:
        ValueError: it is none of (H, W), (1|3, H, W), (H, W, 1|3).
    """
    if hasattr(image, "detach"):
        image = image.detach().cpu().float().numpy() if image.is_floating_point() else image.numpy()
    image = np.asarray(image)
    scale = 255 if image.dtype == np.uint8 else 1
    if image.ndim == 3 and image.shape[2] not in (1, 3) and image.shape[0] in (1, 3):
        image = image.transpose(1, 2, 0)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[2] == 3):
        raise ValueError(f"an image is (H, W), (H, W, 3) or (C, H, W), got shape {image.shape}")
    return image.astype(np.float64) / scale


def _grey(image: np.ndarray) -> np.ndarray:
    return image if image.ndim == 2 else image @ np.array(LUMA)


def thumbnail(image: np.ndarray, longest: int) -> np.ndarray:
    """Scaled down so that the longer side has at most ``longest`` pixels; uint8."""
    small = Image.fromarray(np.uint8(np.round(np.clip(image, 0, 1) * 255)))
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(small)


def shorten(name: str, longest: int) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"


def psnr_of(label: np.ndarray, image: np.ndarray) -> float:
    """PSNR in dB of H x W x 3 or H x W pictures (:func:`asyrepro.metrics.psnr`)."""
    from asyrepro.metrics import psnr  # slow to import; tables and charts do without

    label, image = (
        np.ascontiguousarray(x.transpose(2, 0, 1) if x.ndim == 3 else x) for x in (label, image)
    )
    return float(psnr(label, image))


def _psnr_text(name: str, label, image) -> str:
    if image is None:
        return ": not run"
    if name == "Label" or image.shape != label.shape:
        return ""
    return f": {psnr_of(label, image):.2f} dB"


def _maybe(image):
    return None if image is None else picture(image)


def _enlarged(image: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The image at the label's size, pixels repeated."""
    if image.shape[:2] == label.shape[:2]:
        return image
    rows, columns = (
        np.arange(size) * own // size
        for size, own in zip(label.shape[:2], image.shape[:2], strict=True)
    )
    return image[rows][:, columns]


def _axes(fig, x, y, width, height, frame=False):
    """Axes at a place in inches from the lower left corner."""
    w, h = fig.get_size_inches()
    ax = fig.add_axes((x / w, y / h, width / w, height / h))
    if not frame:
        ax.set_xticks([])
        ax.set_yticks([])
        for spine in ax.spines.values():
            spine.set_visible(False)
    return ax


def _show(ax, image, cmap="gray", limits=None, interpolation="antialiased"):
    if image is None:
        ax.set_facecolor("#f2f2f2")
        return None
    if image.dtype != np.uint8 and limits is None:
        image = np.clip(image, 0, 1)
    low, high = limits or ((0, 255) if image.dtype == np.uint8 else (0, 1))
    return ax.imshow(
        image, cmap=cmap, vmin=low, vmax=high, interpolation=interpolation, aspect="auto"
    )


def _below(fig, x, y, text) -> None:
    """A caption centred under a panel, whose lower edge is at y inches."""
    w, h = fig.get_size_inches()
    fig.text(x / w, (y - 0.04) / h, text, ha="center", va="top", size=7, linespacing=1.15)


def _suptitle(fig, title, height) -> None:
    fig.text(0.5, 1 - 0.1 / height, title, ha="center", va="top", size=9)
