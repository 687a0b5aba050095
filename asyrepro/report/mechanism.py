"""Where in the image a loss changes the error, as a chart."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from asyrepro.analysis.mechanism import LARGEST_CHANGE
from asyrepro.analysis.titles import loss_title, model_title
from asyrepro.report import wording
from asyrepro.runs import results
from asyrepro.system import style

KINDS = {"grey": "the label's grey value", "gradient": "its gradient strength"}
CONTROLS = {
    "normalized": (style.ORANGE, "v"),
    "shuffled": (style.GREEN, "s"),
    "inverted": (style.PINK, "^"),
    "table1": (style.BLUE, "x"),
}


def draw(changes: pd.DataFrame, title: str) -> Figure | None:
    """Change of the squared error by grey value and by gradient strength.

    A column a kind, a row a base loss; all charts of a row share their scale, and so do the rows.
    The losses of the paper (and one's own) have their interval, the controls are thin lines; the
    share of pixels stands below.

    Args:
        changes: rows of :func:`asyrepro.analysis.mechanism.bin_changes` of one table.

    Returns:
        The figure; None where a run failed (a change beyond ``LARGEST_CHANGE``) or there are none.
    """
    if changes.empty or _failed(changes):
        return None
    bases = list(dict.fromkeys(changes["against"]))
    own = changes[~changes["loss"].isin(results.CONTROLS)]
    bands = own.groupby("against")["loss"].nunique().max() < 3  # more would hide one another
    with style.context():
        fig = style.figure(1.25 + 1.75 * len(bases) + 0.75)
        high = fig.get_figheight()
        ratios = [1.75] * len(bases) + [0.6]
        axes = fig.subplots(
            len(bases) + 1, 2, squeeze=False, sharex="col", sharey="row", height_ratios=ratios
        )
        for ax in axes[1 : len(bases), 0]:
            ax.sharey(axes[0, 0])
        for column, kind in enumerate(KINDS):
            of_kind = changes[changes["kind"] == kind]
            for ax, base in zip(axes[:, column], bases, strict=False):
                rows = of_kind[of_kind["against"] == base]
                _losses(ax, rows, base, bands)
                there = list(dict.fromkeys(rows["loss"]))
                losses = [loss for loss in there if loss not in results.CONTROLS] or there
                several = wording.counted(len(losses), "loss", "losses")
                names = wording.listed(map(loss_title, losses))
                against = f"{names if len(names) < 30 else several} against {loss_title(base)}"
                ax.set_title(f"{against}, by {KINDS[kind]}", size=7.5)
            _share(axes[-1, column], of_kind, kind)
        for ax in axes[:-1, 0]:
            ax.set_ylabel("change of squared error (%)")
        axes[-1, 0].set_ylabel("pixels (%)")
        named = {}
        for ax in axes.flat:
            named |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
        ncols, nrows = style.legend_grid(named)
        more = 0.16 * (nrows - 1)  # inches, for further lines of the legend
        high += more
        fig.set_figheight(high)
        fig.legend(named.values(), named.keys(), loc="lower center", ncols=ncols, frameon=False)
        one_seed = changes["seeds"].max() == 1
        fig.suptitle(f"{title} (one seed: no interval)" if one_seed else title)
        ends = {"top": 1 - 0.55 / high, "bottom": (0.72 + more) / high}
        fig.subplots_adjust(left=0.085, right=0.985, wspace=0.06, hspace=0.32, **ends)
    return fig


def _failed(changes: pd.DataFrame) -> bool:
    return changes["change"].abs().max() > LARGEST_CHANGE


def without_chart(changes: pd.DataFrame) -> list[str]:
    """Names of the tables that have no chart, for a run of them failed."""
    groups = changes.groupby(["table", "model"])
    return [
        f"Table {table}, {model_title(model)}" for (table, model), part in groups if _failed(part)
    ]


def _losses(ax, rows: pd.DataFrame, base: str, bands: bool) -> None:
    main = [loss for loss in dict.fromkeys(rows["loss"]) if loss not in results.CONTROLS]
    colours = style.colours(main) | {f"asy_{base}": style.VERMILLION}
    for loss, line in rows.groupby("loss", sort=False):
        if loss in main:
            colour = colours[loss]
            known = bands and line["lower"].notna().any()
            if known:
                ax.fill_between(line["bin"], line["lower"], line["upper"], color=colour, alpha=0.15)
            name = "asymmetric" if loss == f"asy_{base}" else loss_title(loss)
            name += " (band: 95 % in each bin)" if known else ""
            look = {"lw": 1.3, "ms": 3.5, "zorder": 4, "marker": "o"}
        else:
            name = loss.rpartition("_")[2]
            colour, marker = CONTROLS[name]
            look = {"lw": 0.8, "ms": 2.5, "marker": marker}
        ax.plot(line["bin"], line["change"], color=colour, label=name, **look)
    ax.axhline(0, color=style.BLACK, lw=0.6)
    ax.grid(axis="y")
    ax.yaxis.set_major_locator(style.ticks(5))
    ax.spines[["top", "right"]].set_visible(False)


def _share(ax, rows: pd.DataFrame, kind: str) -> None:
    bins = rows.drop_duplicates("bin").sort_values("bin")
    ax.bar(bins["bin"], bins["share"], color=style.LIGHT, width=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    ends = "dark to bright" if kind == "grey" else "flat to edge"
    ax.set_xlabel(f"lower end of the bin ({ends})")
    ticks = [f"{low:.1f}" if kind == "grey" else f"{low:g}" for low in bins["lower_edge"]]
    ax.set_xticks(bins["bin"], ticks, fontsize=6)
