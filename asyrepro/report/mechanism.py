"""Where in the image a loss changes the error: charts, tables and their text."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.ticker import MaxNLocator

from asyrepro.analysis import titles
from asyrepro.analysis.mechanism import (
    LARGEST_CHANGE,
    MINIMUM_PIXELS,
    bin_changes,
    of_runs,
    regions,
)
from asyrepro.runs import results
from asyrepro.runs.profiles import load
from asyrepro.system import style
from asyrepro.system.files import write_csv


def plot(changes: pd.DataFrame, title: str):
    """Change of the squared error by grey value and by gradient strength, as a figure.

    Args:
        changes: rows of :func:`bin_changes` of one table, model and data set.
        title: of the figure.

    One column a kind, one row a base loss; the asymmetric loss with its interval, the controls as
    thin lines; the share of pixels below. Of one seed the title says that there is no interval.
    """
    bases = [base for base in results.BASES if base in set(changes["against"])]
    with style.context():
        fig = style.figure(1.25 + 1.75 * len(bases) + 0.75)
        ratios = [1.75] * len(bases) + [0.6]
        axes = fig.subplots(
            len(bases) + 1, 2, squeeze=False, sharex="col", sharey="row", height_ratios=ratios
        )
        for column, kind in enumerate(("grey", "gradient")):
            for ax, base in zip(axes[:, column], bases, strict=False):
                rows = changes[(changes["kind"] == kind) & (changes["against"] == base)]
                _plot_losses(ax, rows, base)
                ax.set_title(f"{base.upper()}, by {_KINDS[kind]}")
            _plot_share(axes[-1, column], changes[changes["kind"] == kind], kind)
        for row in range(len(bases)):
            axes[row, 0].set_ylabel("change of squared error (%)")
        axes[-1, 0].set_ylabel("pixels (%)")
        named = {}
        for ax in axes.flat:
            named |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
        fig.legend(named.values(), named.keys(), loc="lower center", ncols=5, frameon=False)
        one_seed = changes["seeds"].max() == 1
        fig.suptitle(f"{title} (1 seed: no interval)" if one_seed else title)
        high = fig.get_figheight()
        fig.subplots_adjust(
            left=0.085,
            right=0.985,
            wspace=0.06,
            hspace=0.32,
            top=1 - 0.55 / high,
            bottom=0.82 / high,
        )
    return fig


_KINDS = {"grey": "the label's grey value", "gradient": "the label's gradient strength (Sobel)"}
_VARIANTS = {
    "normalized": (style.ORANGE, "v"),
    "shuffled": (style.GREEN, "s"),
    "inverted": (style.PINK, "^"),
    "table1": (style.SKY, "x"),
}


def _plot_losses(ax, rows: pd.DataFrame, base: str) -> None:
    main = f"asy_{base}"
    for name, (colour, marker) in _VARIANTS.items():
        line = rows[rows["loss"] == f"{main}_{name}"]
        if len(line):
            ax.plot(
                *(line["bin"], line["change"]),
                color=colour,
                marker=marker,
                lw=0.8,
                ms=2.5,
                label=name,
            )
    line = rows[rows["loss"] == main]
    ax.fill_between(line["bin"], line["lower"], line["upper"], color=style.BLUE, alpha=0.15, lw=0)
    ax.plot(
        *(line["bin"], line["change"]),
        color=style.BLUE,
        marker="o",
        ms=3.5,
        label="asymmetric (band: 95 %)" if line["lower"].notna().any() else "asymmetric",
        zorder=4,
    )
    ax.axhline(0, color=style.BLACK, lw=0.6)
    ax.grid(axis="y")
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.spines[["top", "right"]].set_visible(False)


def _plot_share(ax, rows: pd.DataFrame, kind: str) -> None:
    bins = rows.drop_duplicates("bin").sort_values("bin")
    ax.bar(bins["bin"], bins["share"], color=style.LIGHT, width=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    ends = "dark to bright" if kind == "grey" else "flat to edge"
    ax.set_xlabel(f"lower end of the bin ({ends})")
    ticks = [f"{low:.1f}" if kind == "grey" else f"{low:g}" for low in bins["lower_edge"]]
    ax.set_xticks(bins["bin"], ticks, fontsize=6)


def markdown(lines: pd.DataFrame, mark: str = "", without: list[str] | None = None) -> list[str]:
    """The regional changes as lines of Markdown.

    Args:
        lines: of :func:`regions`.
        mark: behind the heading.
        without: names of the tables that have no figure, for their trainings failed.
    """
    text = [
        f"## Where in the image{mark}",
        "",
        "Percentage change of the squared error (and of the gradient energy) under the asymmetric "
        "loss, mean over seeds and images; section 2 expects the dark pixels' error to fall most. "
        f"An image with fewer than {MINIMUM_PIXELS} pixels in a region plays no part in it. "
        "The figures mechanism_table*.png show all ten bins.",
        "",
        "| table | loss | against | where | change [95 %] | seeds x images | verdict |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in lines.itertuples():
        change = "-" if pd.isna(row.measured) else f"{row.measured:+.2f}"
        if not pd.isna(row.lower):
            change += f" [{row.lower:+.2f}, {row.upper:+.2f}]"
        losses = titles.loss_title(row.loss), titles.loss_title(row.base)
        cells = [f"{row.table}", *losses, row.quantity, change]
        text.append(
            "| " + " | ".join([*cells, f"{row.seeds} x {row.images}", row.direction]) + " |"
        )
    if without:
        text += ["", f"No figure of {', '.join(without)}: the error changes by more than "]
        text[-1] += f"{LARGEST_CHANGE} % somewhere, which is a failed training's."
    return [*text, ""]


def write(study_dir, metrics: pd.DataFrame, stand_in: bool = False):
    """Write mechanism.csv, regions.csv and figures/mechanism_table<t>.{png,pdf} of a study.

    Where a change is beyond ``LARGEST_CHANGE``, there is no figure, and an older one is removed.

    Args:
        study_dir: results/<study>, with profiles.csv.
        metrics: the study's tidy table, for :func:`of_runs`.
        stand_in: whether the study was made from the bundled stand-in data.

    Returns:
        (what :func:`asyrepro.analysis.mechanism.regions` gives, lines of Markdown, paths).

    Raises:
        DataError: profiles.csv is missing or damaged.
    """
    study_dir = Path(study_dir)
    profiles = of_runs(load(study_dir / "profiles.csv"), metrics)
    changes, lines = bin_changes(profiles), regions(profiles)
    written = [
        write_csv(study_dir / "mechanism.csv", changes),
        write_csv(study_dir / "regions.csv", lines),
    ]
    mark = f" ({results.STAND_IN})" if stand_in else ""
    without = []
    for (table, model, dataset), rows in changes.groupby(["table", "model", "dataset"]):
        several = changes.loc[changes["table"] == table, "dataset"].nunique() > 1
        name = f"mechanism_table{table}" + (f"_{dataset}" if several else "")
        network = titles.model_title(model)
        stem = study_dir / "figures" / name
        if rows["change"].abs().max() > LARGEST_CHANGE:
            without.append(f"Table {table}, {network}")
            for ending in ("png", "pdf"):
                stem.with_name(f"{name}.{ending}").unlink(missing_ok=True)
            continue
        title = f"Table {table}, {network}: where the error changes"
        title += mark or ", asymmetric against base"  # both would be too long
        written += style.save(plot(rows, title), stem)
    return lines, markdown(lines, mark, without), written
