"""Radar charts: the paper's Fig. 4, 7, 9 and 10, and charts of any losses and images.

A spoke is an image. Lines end at the gap at the top, which holds the scale, so that no label lies
on a line; what the centre stands for is said below each chart.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from asyrepro.analysis import own
from asyrepro.analysis.summary import Summary
from asyrepro.analysis.titles import TASK_TITLES, loss_title
from asyrepro.data import STAND_IN
from asyrepro.metrics import METRICS, PRINTED
from asyrepro.report import tables, wording
from asyrepro.system import style

FIGURES = {2: 4, 3: 7, 4: 9, 5: 10}  # the paper's, of its tables
BASE_LOOKS = ({"lw": 3.4, "ms": 5.2, "alpha": 0.65}, {"lw": 1.0, "ms": 2.6})
LOOK = {"lw": 1.3, "ms": 3.2}
MARKERS = "osD^v"
APART = 0.045  # radians between the losses on a spoke, so that their ranges are told apart
MOST = 4  # losses whose changes are drawn, the paper's first
WRAPPED, NOTE = 125, 46  # letters of a line under the title, and of one under a chart
LONGEST = 7  # letters of a name at a spoke of up to three charts; others are numbered, with a key


@dataclass(frozen=True)
class Line:
    """A loss in a panel: its value on each spoke, its seeds' values, and the paper's."""

    name: str  # in the legend
    values: np.ndarray  # (spokes,); NaN leaves a gap
    colour: str
    spread: np.ndarray | None = None  # (spokes, seeds), drawn as a range where there are several
    paper: np.ndarray | None = None  # (spokes,), dashed


@dataclass(frozen=True)
class Panel:
    """One chart: its lines and what stands below. ``better`` is +1, -1, or 0 for plain values."""

    title: str
    lines: list[Line]
    notes: list[tuple[str, str]] = field(default_factory=list)  # lines and their colours
    better: int = 0


@dataclass(frozen=True)
class Row:
    """Panels side by side that share a heading and a legend."""

    heading: str
    panels: list[Panel]


# ------------------------------------------------------------------------------------- what to draw


def of_summary(summary: Summary) -> Figure:
    """The paper's figure of one of its tables: above the base losses' values, below the changes.

    The paper draws both over one another; but changes are some thousandths of the values, so they
    have charts of their own. Dashed lines are the paper's, where its images are the same.
    """
    changed = tables.pairs(summary)[:MOST]
    bases = list(dict.fromkeys(base for _, base in changed)) or tables.main_losses(summary)
    rows = [Row("Values under the base losses", _panels(summary, [(x, None) for x in bases]))]
    if changed:
        rows.append(Row("Change against the base loss (tinted: better)", _panels(summary, changed)))
    about = textwrap.wrap(tables.training(summary), WRAPPED)
    if not summary.same_images:
        about.append(
            "paper*: means over the paper's own images, not these: its line cannot be drawn."
        )
    if more := [loss_title(loss) for loss, _ in tables.pairs(summary)[MOST:]]:
        about += textwrap.wrap(f"Not drawn: {wording.listed(more)}.", WRAPPED)
    return draw(title(summary), about, list(summary.images), rows)


def title(summary: Summary) -> str:
    """Which table and figure of the paper are remade, and with what."""
    text = f"The paper's Fig. {FIGURES[summary.table]}, remade: "
    text += f"{TASK_TITLES[summary.table].lower()} with {summary.model_title}"
    return f"{text} (Table {summary.table}){f': {STAND_IN}' * summary.stand_in}"


def _panels(summary: Summary, shown: list[tuple[str, str | None]]) -> list[Panel]:
    """A panel a metric, of losses (their base None) or of changes from a base."""
    change = shown[0][1] is not None
    colours = style.colours([loss for loss, _ in shown])
    made = []
    for metric in PRINTED:
        lines = [_line(summary, metric, loss, base, colours[loss]) for loss, base in shown]
        theirs = [summary.paper_values(loss, metric, base) for loss, base in shown]
        means = {"mean": [line.values for line in lines]}
        if not np.isnan(theirs).all():
            means["paper" if summary.same_images else "paper*"] = theirs
        notes = []
        for whose, values in means.items():
            numbers = (
                f"{loss_title(loss)} "
                + wording.number(float(of_loss.mean()), METRICS[metric].decimals, sign=change)
                for (loss, _), of_loss in zip(shown, values, strict=True)
            )
            colour = style.BLACK if whose == "mean" else style.GREY
            wrapped = textwrap.wrap(f"{whose}: {', '.join(numbers)}", NOTE)
            notes += [(line, colour) for line in wrapped]
        name = METRICS[metric].label
        if change:
            name = f"Change of {name}"
        elif metric == "nrmse":
            name += " (the paper's “RMSE”)"
        made.append(Panel(name, lines, notes, METRICS[metric].direction * change))
    return made


def _line(summary: Summary, metric: str, loss: str, base: str | None, colour: str) -> Line:
    paper = summary.paper_values(loss, metric, base)
    paper = paper if summary.same_images and not np.isnan(paper).all() else None
    name, spread = loss_title(loss), None
    if base is not None:
        name += f" {wording.MINUS} {loss_title(base)}"
        spread = summary.per_seed(loss, metric, base).to_numpy(dtype=float)
    return Line(name, summary.values(loss, metric, base), colour, spread, paper)


def of_frame(
    frame: pd.DataFrame,
    heading: str,
    base: str | None = None,
    metrics: Sequence[str] = (),
    smaller: Sequence[str] = (),
) -> Figure:
    """A radar chart of any losses and images.

    Args:
        frame: columns loss, image and one or more of numbers, a panel each; rows of one loss and
            image (as of several seeds) are averaged.
        heading: the title.
        base: a loss; a second row of charts then shows the others' changes from it.
        metrics: the columns to draw; by default all of numbers.
        smaller: those of which smaller is better, beside those that are known.

    Raises:
        DataError: see :func:`asyrepro.analysis.own.checked`.
    """
    numbers = own.checked(frame, base, metrics, smaller)
    losses, images, metrics = numbers.losses, numbers.images, numbers.metrics
    wide = numbers.rows.groupby(["image", "loss"])[metrics].mean()
    wide = {m: wide[m].unstack("loss").reindex(images) for m in metrics}
    colours = style.colours(losses)

    def row(title: str, shown: list[str], against: str | None) -> Row:
        panels = []
        for metric in metrics:
            values = wide[metric].sub(wide[metric][against], axis=0) if against else wide[metric]
            lines = [Line(loss_title(x), values[x].to_numpy(), colours[x]) for x in shown]
            better = numbers.direction(metric)
            name = METRICS[metric].label if metric in PRINTED else metric
            panels.append(Panel(name, lines, [], better if against else 0))
        return Row(title, panels)

    rows = [row("Values", losses, None)]
    if base is not None:
        others = [loss for loss in losses if loss != base]
        rows.append(row(f"Change against {loss_title(base)} (tinted: better)", others, base))
    return draw(heading, [], images, rows)


# ------------------------------------------------------------------------------------ the drawing


def draw(heading: str, about: list[str], images: list[str], rows: list[Row]) -> Figure:
    """A figure of rows of panels over the same spokes.

    Args:
        heading: the title.
        about: small lines under it.
        images: the spokes' names; where they are long, or the panels many, numbers with a key.
        rows: see :class:`Row`.

    Returns:
        The figure; its axes are labelled ``<row> <column>`` from 0.
    """
    columns = max(len(row.panels) for row in rows)
    numbered = max(map(len, images)) > (LONGEST if columns < 4 else 2)
    names = [str(k + 1) for k in range(len(images))] if numbered else images
    key = _key(images) if numbered else []
    side = min(1.75, style.WIDTH / columns - 0.3 - 0.1 * max(map(len, names)))
    heads = 0.34 + 0.15 * len(about)
    legends = [_handles(row) for row in rows]
    shapes = [style.legend_grid([handle.get_label() for handle in handles]) for handles in legends]
    aboves = [0.71 + 0.15 * nrows for _, nrows in shapes]
    belows = [side + 0.38 + 0.14 * max(len(x.notes) for x in row.panels) for row in rows]
    height = heads + sum(aboves) + sum(belows) + 0.15 * len(key) + 0.1
    with style.context():
        fig = style.figure(height)
        fig.text(0.5, 1 - 0.1 / height, heading, ha="center", va="top", size=9.5)
        for k, line in enumerate(about):
            y = 1 - (0.3 + 0.15 * k) / height
            fig.text(0.5, y, line, ha="center", va="top", size=6.5, color=style.GREY)
        for k, line in enumerate(key):
            y = (0.08 + 0.15 * (len(key) - k)) / height
            fig.text(0.5, y, line, ha="center", va="top", size=6.5, color=style.GREY)
        top = height - heads
        for number, (row, above, below) in enumerate(zip(rows, aboves, belows, strict=True)):
            fig.text(0.5, (top - 0.1) / height, row.heading, ha="center", va="top", weight="bold")
            fig.legend(handles=legends[number], loc="upper center", frameon=False,
                       ncols=shapes[number][0], borderaxespad=0.2,
                       bbox_to_anchor=(0.5, (top - 0.22) / height))  # fmt: skip
            for column, panel in enumerate(row.panels):
                left = style.WIDTH * (column + 0.5) / len(row.panels) - side / 2
                box = (left, top - above - side, side, side)
                box = np.divide(box, (style.WIDTH, height, style.WIDTH, height))
                ax = fig.add_axes(box, projection="polar", label=f"{number} {column}")
                _panel(ax, panel, names, side)
            top -= above + below
    return fig


def _panel(ax, panel: Panel, names: list[str], side: float) -> None:
    count = len(names)
    angles = 2 * np.pi * (np.arange(count) + 1) / (count + 1)  # the first place holds the scale
    ax.set_theta_zero_location("N")
    ax.set_theta_direction(-1)
    rings = _rings(panel)
    centre, outer = rings[0], rings[-1]
    ax.set_ylim(centre, outer)
    ax.set_yticks(rings[1:], [""] * (len(rings) - 1))
    ax.set_xticks(angles, [""] * count)
    ax.spines["polar"].set_color(style.LIGHT)
    if panel.better:
        around = np.linspace(0, 2 * np.pi, 73)
        better = (0, outer) if panel.better > 0 else (centre, 0)
        ax.fill_between(around, *better, color=style.SKY, alpha=0.13, lw=0, zorder=0.5)
        ax.plot(around, 0 * around, color=style.BLACK, lw=1.0, zorder=2, label="no change")
    for position, line in enumerate(panel.lines):
        _line_of(ax, panel, line, angles, position)
    if all(np.isnan(line.values).all() for line in panel.lines):
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", va="center")
    texts = _ring_texts(rings, signed=bool(panel.better))
    for ring, text in zip(rings[1:], texts[1:], strict=True):
        ax.text(0, ring, text, ha="center", va="center", size=6.2, color=style.GREY, zorder=5,
                bbox={"fc": "white", "ec": "none", "pad": 0.4})  # fmt: skip
    for angle, name in zip(angles, names, strict=True):
        x, y = math.sin(angle), math.cos(angle)
        ha = "center" if abs(x) < 0.15 else "left" if x > 0 else "right"
        va = "bottom" if y > 0.9 else "top" if y < -0.9 else "center"
        place = (0.5 + 0.53 * x, 0.5 + 0.53 * y)
        ax.text(*place, name, transform=ax.transAxes, ha=ha, va=va, size=7)
    ax.text(0.5, 1.1, panel.title, transform=ax.transAxes, ha="center", va="bottom", size=8)
    for k, (text, colour) in enumerate([*panel.notes, (f"axis from {texts[0]}", style.GREY)]):
        y = -(0.22 + 0.14 * k) / side
        ax.text(0.5, y, text, transform=ax.transAxes, ha="center", va="top", size=6.3, color=colour)


def _line_of(ax, panel: Panel, line: Line, angles, position: int) -> None:
    """A loss's line, with its range over the seeds and the paper's dashed line."""
    look = _look(panel, position)
    middle = (len(panel.lines) - 1) / 2
    at = angles + (APART * (position - middle) if panel.better else 0)
    if line.paper is not None:
        dashes = {"lw": 0.9, "ls": (0, (3, 2)), "alpha": 0.9}
        name = f"{line.name} paper"
        ax.plot(angles, line.paper, color=line.colour, zorder=2.6, label=name, **dashes)
    if line.spread is not None and line.spread.shape[1] > 1:
        low, high = line.spread.min(axis=1), line.spread.max(axis=1)
        ax.vlines(at, low, high, color=line.colour, lw=1.0, alpha=0.6, zorder=2.8)
    values = np.where(np.isfinite(line.values), line.values, np.nan)
    ax.plot(at, values, color=line.colour, mew=0, zorder=3, label=line.name, **look)


def _rings(panel: Panel) -> np.ndarray:
    """Round numbers from the centre to the rim.

    The centre lies a little below the least value, but never below zero for values that have no
    sign; of changes, zero is a ring and never the centre.
    """
    drawn = [x for line in panel.lines for x in (line.values, line.spread, line.paper)]
    values = np.concatenate([np.ravel(x) for x in drawn if x is not None]).astype(float)
    values = values[np.isfinite(values)]
    if not len(values):
        return np.array([-1.0, 0.0, 1.0]) if panel.better else np.array([0.0, 0.5, 1.0])
    low, high = float(values.min()), float(values.max())
    if panel.better:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-12:
        low, high = low - (abs(low) * 0.01 or 1e-3), high + (abs(high) * 0.01 or 1e-3)
    rings = MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    step = rings[1] - rings[0]
    while len(rings) > 2 and rings[-2] >= high:
        rings = rings[:-1]
    if low - rings[0] < 0.4 * step and not (values.min() >= 0 and rings[0] - step < 0):
        rings = np.insert(rings, 0, rings[0] - step)
    return np.round(rings, 12)


def _ring_texts(rings, signed: bool) -> list[str]:
    step, decimals = rings[1] - rings[0], 0
    while decimals < 7 and any(abs(t - round(t, decimals)) > 1e-6 * step for t in rings):
        decimals += 1
    return ["0" if abs(t) < 1e-9 else wording.number(t, decimals, signed) for t in rings]


def _handles(row: Row) -> list[Line2D]:
    """What the legend of a row shows."""
    first = row.panels[0]
    handles = [
        Line2D([], [], color=line.colour, label=line.name, mew=0, **_look(first, position))
        for position, line in enumerate(first.lines)
        if not np.isnan(line.values).all()
    ]
    if any(x.spread is not None and x.spread.shape[1] > 1 for x in first.lines):
        bar = {"marker": "|", "ms": 7, "lw": 0, "color": style.GREY}
        handles.append(Line2D([], [], label="range of the seeds", **bar))
    if any(line.paper is not None for line in first.lines):
        dashed = {"color": style.GREY, "lw": 0.9, "ls": (0, (3, 2))}
        handles.append(Line2D([], [], label="the paper's (same colours)", **dashed))
    return handles


def _look(panel: Panel, position: int) -> dict:
    """Width and mark of a line; of two base losses, which often coincide, both can be seen."""
    plain = not panel.better and len(panel.lines) == 2
    marker = {"marker": MARKERS[position % len(MARKERS)]}
    return (BASE_LOOKS[position] if plain else LOOK) | marker


def _key(images) -> list[str]:
    """``1 astronaut   2 camera ...`` in as many lines as needed; names are not broken."""
    words = [f"{number} {name}".replace(" ", "\xa0") for number, name in enumerate(images, start=1)]
    return [line.replace("\xa0", " ") for line in textwrap.wrap("   ".join(words), 105)]
