"""Forest plots: mean changes against the base losses with their intervals, beside the paper's."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from asyrepro import paper
from asyrepro.analysis.comparisons import AGAINST_BASE
from asyrepro.analysis.titles import loss_title, model_title
from asyrepro.metrics import METRICS, PRINTED
from asyrepro.report import wording
from asyrepro.system import style

NAME = 50  # letters of a line's name
ABOUT = 135  # letters of a line under the title
NARROW = 3.2  # inches, of a chart for a telephone
OVERVIEW = "What the asymmetric weight changes, and what the paper reports"
PAPER = style.INK  # no loss has this colour
SCALE = {"psnr": 1, "ssim": 1000, "nrmse": 1000}
PLOTTED = ("change", "lower", "upper", "fixed_lower", "fixed_upper", "noise", "paper_change")


def of_table(table: pd.DataFrame, title: str) -> Figure:
    """Forest plot of one table's comparisons with the base losses.

    One panel a metric; a line is a loss with its mean change and its intervals. The grey band is
    the yardstick of noise, the diamond the paper's change; where it would shrink the rest too
    much, its value and an arrow stand beyond the axis' end.

    Args:
        table: rows of :func:`asyrepro.analysis.verdicts.view` of one table, model and data set.
    """
    table = table[table["kind"].isin(AGAINST_BASE)]
    lines = list(dict.fromkeys((row.base, row.loss) for row in table.itertuples()))
    bases = list(dict.fromkeys(base for base, _ in lines))
    # One line of space between the groups of the two base losses.
    height = {line: number + bases.index(line[0]) for number, line in enumerate(lines)}
    with style.context():
        fig = style.figure(1.6 + 0.22 * (len(lines) + len(bases)))
        axes = fig.subplots(1, len(PRINTED), sharey=True)
        for ax, metric in zip(axes, PRINTED, strict=True):
            rows = table[table["metric"] == metric]
            rows = rows.assign(**{name: rows[name] * SCALE[metric] for name in PLOTTED})
            one_seed = rows["lower"].isna().all()  # without intervals the paper's change counts
            ends = _limits(ax, rows, 0.32, 4, stretch=20 if one_seed else 2)
            for _, of_base in rows.groupby("base"):
                places = [height[row.base, row.loss] for row in of_base.itertuples()]
                _band(ax, (min(places), max(places)), of_base["noise"].iloc[0], ends)
            for row in rows.itertuples():
                _drawn_line(ax, height[row.base, row.loss], row, ends)
            scale = "" if SCALE[metric] == 1 else f" x {SCALE[metric]}"
            better = "more" if METRICS[metric].larger_is_better else "less"
            ax.set_xlabel(f"{METRICS[metric].label}{scale}: {better} is better")
        axes[0].set_yticks(list(height.values()), [loss_title(loss) for _, loss in height])
        seeds = wording.seeds(table["seeds"])
        about = f"Change against the base loss, {seeds}. {other_images(table)}"
        _frame(fig, table, title, about, _margin(loss_title(loss) for _, loss in height))
    return fig


def overview(rows: pd.DataFrame, title: str, about: str = "", narrow: bool = False) -> Figure:
    """One forest plot of all tables: what each asymmetric loss changes in each network's PSNR.

    Args:
        rows: comparisons about PSNR and the paper's losses, of any tables; with a column ``steps``
            (text) the budget of each is named.
        title: of the figure.
        about: a line under the title, before what is said of the test images.
        narrow: for a telephone, see :func:`lines`.
    """
    rows = rows.sort_values(["table", "dataset", "base"], kind="stable")
    names = []
    for row in rows.to_dict("records"):
        budget = wording.seeds([row["seeds"]])
        budget = f"{row['steps']} steps, {budget}" if row.get("steps") else budget
        names.append(f"{model_title(row['model'])}, {loss_title(row['loss'])}\n{budget}")
    groups = list(zip(rows["table"], rows["dataset"], strict=True))
    axis = "change of PSNR against the base loss (dB), mean over the images of a table"
    about = f"{about} {other_images(rows)}".strip()
    return lines(rows, title, names, groups, axis, about, narrow=narrow)


def of_changes(rows: pd.DataFrame, title: str, narrow: bool = False) -> Figure:
    """A forest plot of :func:`asyrepro.analysis.changes.shown`'s rows: every loss and test set.

    ``narrow`` is for a telephone, see :func:`lines`.
    """
    names = [
        f"{model_title(row.model)}, {row.place}: {loss_title(row.loss)}"
        for row in rows.itertuples()
    ]
    many = rows["loss"].nunique() > 2
    keys = ["model", "dataset", "testset", "place"][: 4 if many else 3]
    groups = [tuple(key) for key in rows[keys].to_numpy()]
    axis = "change of PSNR against the base loss (dB)"
    about = wording.seeds(rows["seeds"])
    about += "; one seed has no interval" if (rows["seeds"] == 1).any() else ""
    return lines(rows, title, names, groups, axis, about, "mean change", narrow)


def lines(
    rows: pd.DataFrame,
    title: str,
    names: list[str],
    groups: list,
    axis: str,
    about: str = "",
    marks: str = "asymmetric loss",
    narrow: bool = False,
) -> Figure:
    """A forest plot of one panel.

    Args:
        rows: columns change, lower, upper, noise and paper_change; all dots are drawn full.
        names: what stands beside each line.
        groups: a key for each line; where it changes, there is space.
        axis: what is drawn, and its unit.
        about: a line under the title.
        marks: what the legend calls the dots.
        narrow: half as wide, and the names above their lines.
    """
    narrower = {"fixed_lower": np.nan, "fixed_upper": np.nan}  # a question that is left out
    rows = rows.assign(kind="claim", **narrower)
    if narrow:
        names = [name.replace("\n", ", ") for name in names]
        axis = axis.partition(",")[0]
    names = ["\n".join(map(_wrapped, name.split("\n"))) for name in names]
    line = 0.4 if narrow else 0.3 if any("\n" in name for name in names) else 0.24
    order = list(dict.fromkeys(groups))
    places = [number + 0.6 * order.index(key) for number, key in enumerate(groups)]
    with style.context():
        width = NARROW if narrow else style.WIDTH
        fig = style.figure(1.5 + line * (places[-1] + 1), width)
        ax = fig.subplots()
        ends = _limits(ax, rows, 0.11 * style.WIDTH / width, 5 if narrow else 8, stretch=2)
        for place, row in zip(places, rows.itertuples(), strict=True):
            _band(ax, (place, place), row.noise, ends)
            _drawn_line(ax, place, row, ends)
        margin = max(0.25, _margin(names))
        ax.set_yticks(places, names)
        ax.set_xlabel(axis)
        if narrow:
            margin = 0.05
            ax.set_yticks(np.subtract(places, 0.2), names, ha="left", va="bottom")
            ax.tick_params(axis="y", pad=0)
        _frame(fig, rows, title, about, margin, marks)
    return fig


def _margin(names) -> float:
    """The share of a figure's width that the longest line of some names takes."""
    longest = max(len(part) for name in names for part in name.splitlines())
    return max(0.18, 0.0085 * longest + 0.02)


def _wrapped(name: str) -> str:
    """A name in at most two lines, of which its figure has room for ``NAME`` letters each."""
    lines = textwrap.wrap(name, NAME)
    return "\n".join(lines[:2]) + " ..." * (len(lines) > 2)


def other_images(table: pd.DataFrame) -> str:
    """Of which tables the paper's test images were not available; nothing if all were."""
    unknown = sorted(set(table["table"].astype(int)) - set(paper.known_images()))
    if not unknown:
        return ""
    which = wording.tables(unknown)
    return f"The paper's test images of {which} were not available: these are others."


def _frame(
    fig, table: pd.DataFrame, title: str, about: str, left: float, marks: str = "asymmetric loss"
) -> None:
    """What is around the lines: zero, the title, the legend, and a margin for the names."""
    for ax in fig.axes:
        ax.axvline(0, color=style.BLACK, lw=0.6, zorder=1)
        if np.abs(ax.get_xlim()).max() >= 1e5:  # the axis' common factor would meet its label
            ax.xaxis.set_major_formatter("{x:.2g}")
            ticks = ax.get_xticks()  # such labels are long: zero stays, and every second one
            ax.set_xticks(ticks[np.abs(ticks).argmin() % 2 :: 2])
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.tick_params(axis="y", length=0)
    fig.axes[0].set_ylim(fig.axes[0].get_yticks()[-1] + 0.7, -0.7)
    share = fig.get_figwidth() / style.WIDTH
    titles, about = (textwrap.wrap(x, round(n * share)) for x, n in ((title, 90), (about, ABOUT)))
    more = 0.15 * max(0, len(titles) - 1)  # inches
    top = 0.42 + more + 0.12 * max(0, len(about) - 1)
    handles = _legend(fig, table, marks)
    ncols = int(3 * share)
    below = 0.86 + 0.14 * max(0, -(-len(handles) // ncols) - 2)
    high = fig.get_figheight() + top - 0.42 + (below - 0.86)
    fig.set_figheight(high)
    fig.suptitle("\n".join(titles), y=1 - 0.06 / high)
    about = "\n".join(about)
    y = 1 - (0.25 + more) / high
    fig.text(0.5, y, about, ha="center", va="top", size=6.5, color=style.GREY)
    fig.legend(handles=handles, loc="lower center", ncols=ncols, frameon=False)
    fig.subplots_adjust(left, below / high, 0.985, 1 - top / high, wspace=0.12)


def _legend(fig, table: pd.DataFrame, marks: str) -> list:
    """What the plot shows, and only that: one seed has no intervals."""

    def line(label, colour=style.BLUE, **drawn):
        return Line2D([], [], color=colour, label=label, **drawn)

    claims, there = table["kind"].isin(["claim", "reading"]), table.notna().any()
    markers = {drawn.get_marker() for ax in fig.axes for drawn in ax.lines}
    paper = {"colour": PAPER, "lw": 0, "ms": 4}
    band = Patch(color=style.FAINT, label="two runs that differ in their seed (RMS)")
    entries = [
        (claims.any(), line(marks, marker="o", lw=0)),
        (there["lower"], line("95 % over seeds and images", lw=1)),
        (not claims.all(), line("variant, control", style.GREY, marker="o", mfc="white", lw=0)),
        (there["fixed_lower"], line("95 % on these images alone", lw=2.6, alpha=0.45)),
        ("D" in markers, line("the paper's change", marker="D", **paper)),
        ({"<", ">"} & markers, line("the paper's, off the axis", marker=">", **paper)),
        (there["noise"], band),
    ]
    return [handle for shown, handle in entries if shown]


def _limits(ax, rows: pd.DataFrame, strip: float, bins: int, stretch: float) -> tuple[float, float]:
    """Room for zero and every interval; the rest only where it stretches this little.

    Args:
        ax: gets its limits, ticks and the ends of its axis.
        rows: what it will show.
        strip: the share of its width left free beyond an end off which a change of the paper lies.
        bins: at most so many steps between the ticks, fewer beside a strip.
        stretch: by how many times what must be shown the rest may lie beyond it.

    Returns:
        The axis' ends.
    """
    shown = rows[["change", "lower", "upper"]].to_numpy(dtype=float)
    ends = [value for value in shown.ravel() if np.isfinite(value)] + [0.0]
    low, high = min(ends), max(ends)
    room = stretch * max(high - low, 1e-9)
    others = pd.concat([rows["paper_change"], rows["noise"], -rows["noise"]])
    for value in others.dropna().unique():
        if low - room <= value <= high + room:
            low, high = min(low, value), max(high, value)
    edge = 0.08 * max(high - low, 1e-9)
    low, high = low - edge, high + edge
    papers = rows.loc[rows["kind"].isin(["claim", "reading"]), "paper_change"]
    below, above = (papers < low).any(), (papers > high).any()
    taken = strip * (int(below) + int(above))
    margin = strip * (high - low) / (1 - taken)
    ax.set_xlim(low - margin * below, high + margin * above)
    ticks = MaxNLocator(max(2, round(bins * (1 - taken)))).tick_values(low, high)
    ax.set_xticks([tick for tick in ticks if low <= tick <= high])
    ax.spines["bottom"].set_bounds(low, high)
    return low, high


def _band(ax, places: tuple[float, float], noise: float, ends: tuple[float, float]) -> None:
    """The yardstick of noise behind the lines from the first to the second place."""
    band = np.clip([-noise, noise], *ends)
    ax.fill_betweenx((places[0] - 0.5, places[1] + 0.5), *band, color=style.FAINT, lw=0)


def _drawn_line(ax, place: float, row, ends: tuple[float, float]) -> None:
    main = row.kind in ("claim", "reading")
    colour, face = (style.BLUE, style.BLUE) if main else (style.GREY, "white")
    low, high = ends
    ax.plot([row.lower, row.upper], [place, place], color=colour, lw=1.0, zorder=3)
    inside = np.clip([row.fixed_lower, row.fixed_upper], low, high)
    ax.plot(inside, [place, place], color=colour, lw=2.6, alpha=0.45, zorder=2)
    ax.plot(row.change, place, "o", color=colour, mfc=face, ms=4, zorder=4)
    if not main or np.isnan(row.paper_change):
        return
    if low <= row.paper_change <= high:  # a little lower, so that it hides nothing
        lower = ax.transData + ScaledTranslation(0, -5 / 72, ax.figure.dpi_scale_trans)
        ax.plot(row.paper_change, place, "D", color=PAPER, ms=4, mew=0, zorder=5, transform=lower)
        return
    side = 1 if row.paper_change > high else -1
    at = ax.get_xlim()[side > 0]
    ax.plot(at, place, "<>"[side > 0], color=PAPER, ms=4.5, mew=0, zorder=5, clip_on=False)
    ax.annotate(
        wording.number(row.paper_change, 2, sign=True),
        (at, place),
        (-5 * side, 0),
        textcoords="offset points",
        ha="right" if side > 0 else "left",
        va="center_baseline",
        color=PAPER,
        size=6.5,
    )
