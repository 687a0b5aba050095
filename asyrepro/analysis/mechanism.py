"""Where in the image an asymmetric loss changes the error: by grey value, and at edges.

Section 2 of the paper gives the reason for its loss: pixels with small grey values get more
weight, so their error should fall. Its Fig. 6 is said to show sharper edges. Both are tested here
on sums that :func:`asyrepro.runs.profiles.error_profile` takes from every restored image, binned by
the label's grey value (ten equal bins) and by the label's gradient strength (ten fixed bins).

A change is ``error(asymmetric) / error(base) - 1`` of one image and seed, in percent, so that every
image counts alike; intervals over seeds and images are those of
:func:`asyrepro.analysis.statistics.crossed_interval`, rules those of :mod:`asyrepro.paper.claims`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from asyrepro.analysis.statistics import Interval, crossed_interval
from asyrepro.analysis.verdicts import OF_RUNS, decide, paired
from asyrepro.paper.claims import (
    BRIGHT,
    CLAIMS,
    DARK,
    NOT_SUPPORTED,
    OPPOSITE,
    SUPPORTED,
    UNDECIDED,
    Claim,
)
from asyrepro.runs import results
from asyrepro.runs.profiles import GRADIENT_EDGES, SUMS, WHERE, load
from asyrepro.system import style
from asyrepro.system.files import write_csv

STRONGEST = len(GRADIENT_EDGES) - 2  # number of the last bin of gradient strength
LARGEST_CHANGE = 1000  # percent; a training whose error changes by more has failed: no chart
MINIMUM_PIXELS = 100  # an image with fewer pixels in a bin or region plays no part there


def of_runs(profiles: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    """The profiles with what must agree in a pair of runs, from metrics.csv."""
    keys, known = WHERE[:-1], [name for name in (*OF_RUNS, "base") if name in metrics]
    runs = metrics.loc[metrics["table"].notna() & metrics["seed"].notna(), [*keys, *known]]
    runs = runs.drop_duplicates(keys).astype(profiles[keys].dtypes)
    return profiles.merge(runs, how="left", on=keys)


# ------------------------------------------------------------------------------------- changes


def _summed(profiles: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """One row per ``keys``, with mse and energy ratio of the bins that share them.

    Images with too few pixels there drop out (for all losses alike: the label decides).
    """
    sums = profiles.groupby(keys, as_index=False, dropna=False)[SUMS].sum()
    sums = sums[sums["pixels"] >= MINIMUM_PIXELS]
    return sums.assign(
        mse=sums["sum_squared"] / sums["pixels"],
        sharpness=sums["energy_output"] / sums["energy_label"].where(sums["energy_label"] > 0),
    )


def percent_changes(profiles, loss: str, against: str, value: str = "mse", by_bin: bool = False):
    """Paired changes, of all given bins taken together or of each.

    Args:
        profiles: the bins' rows, of one table, model and data set; if they tell what must agree
            in a pair of runs (:func:`of_runs`), pairs that differ in it are left out.
        loss, against: the two losses.
        value: "mse", or "sharpness" (gradient energy, output over label).
        by_bin: each bin by itself.

    Returns:
        100 * (value of loss / value of against - 1), a data frame of seeds by images (columns
        are (bin, image) with ``by_bin``), empty if nothing is paired. Images where ``against``
        has value 0 drop out.
    """
    columns = ["bin", "image"] if by_bin else ["image"]
    chosen = profiles[profiles["loss"].isin([loss, against])]
    run = ["loss", "seed", *(name for name in OF_RUNS if name in profiles)]
    sums = _summed(chosen, [*run, *columns]).dropna(subset=value)
    first, second, _ = paired(sums, loss, against, value, columns)
    usable = second.columns[(second > 0).all()] if len(second) else []
    return 100 * (first[usable] / second[usable] - 1)


def _interval(changes: pd.DataFrame) -> Interval | None:
    return crossed_interval(changes.to_numpy()) if changes.size else None


def bin_changes(profiles: pd.DataFrame) -> pd.DataFrame:
    """Percentage change of the squared error in every bin, asymmetric losses against base.

    Args:
        profiles: the study's profiles.

    Returns:
        One row per table, model, dataset, kind, loss and bin: lower_edge, upper_edge, seeds,
        images (with enough pixels in the bin), share (percent of all pixels), change, lower, upper
        (percent, interval over seeds and images), sharpness_change, sharpness_lower and
        sharpness_upper (gradient bins).
    """
    found = []
    for where, group in profiles.groupby(["table", "model", "dataset"]):
        bases = results.bases(group)
        losses = sorted(set(group["loss"]), key=results.loss_rank)
        for kind, rows in group.groupby("kind"):
            bins = rows.groupby("bin").agg({"lower": "first", "upper": "first", "pixels": "sum"})
            bins["share"] = 100 * bins["pixels"] / bins["pixels"].sum()
            for loss in losses:
                base = bases[loss]
                if loss in results.BASES or base not in losses:
                    continue
                changes = percent_changes(rows, loss, base, by_bin=True)
                sharper = percent_changes(rows, loss, base, "sharpness", by_bin=True)
                for place, one in bins.iterrows():
                    part = _of_bin(changes, place)
                    line = (*where, kind, loss, base, place, one["lower"], one["upper"])
                    numbers = _numbers(part), _numbers(_of_bin(sharper, place))
                    found.append((*line, *part.shape, one["share"], *numbers[0], *numbers[1]))
    return pd.DataFrame(found, columns=_BIN_COLUMNS)


_BIN_COLUMNS = (
    *("table", "model", "dataset", "kind", "loss", "against", "bin", "lower_edge", "upper_edge"),
    *("seeds", "images", "share", "change", "lower", "upper"),
    *("sharpness_change", "sharpness_lower", "sharpness_upper"),
)


def _of_bin(changes: pd.DataFrame, place: int) -> pd.DataFrame:
    return changes.loc[:, [column for column in changes.columns if column[0] == place]]


def _numbers(changes: pd.DataFrame) -> tuple[float, float, float]:
    """Mean change and its interval; NaN without any."""
    found = _interval(changes)
    return (found.mean, found.lower, found.upper) if found else (np.nan,) * 3


# ------------------------------------------------------------------------------------ verdicts


def paper_error_fall(paper: pd.DataFrame | None, table: int, base: str) -> float:
    """Fall of the whole image's squared error in a table of the paper, percent, mean over images.

    From the printed PSNR: 100 * (1 - 10^(-change/10)). NaN if the table is not there.
    """
    if paper is None:
        return np.nan
    rows = paper[(paper["table"].astype(int) == table) & paper["loss"].isin([base, f"asy_{base}"])]
    psnr = rows.pivot(index="image", columns="loss", values="psnr")
    if psnr.shape[1] < 2:
        return np.nan
    return float((100 * (1 - 10 ** (-(psnr[f"asy_{base}"] - psnr[base]) / 10))).mean())


def _judged(changes: pd.DataFrame, direction: int, figure: float) -> tuple[str, str]:
    """The rule for changes on percentages whose better direction is given.

    ``figure``: the paper's fall of the whole image's squared error, percent.
    """
    found = _interval(direction * changes)
    if found is None:
        return UNDECIDED, "nothing to compare"
    name = f"the whole image's fall in the paper's table ({figure:.2f} %)"
    return decide(found, len(changes), figure, name)


def judge_dark(profiles: pd.DataFrame, loss: str, base: str, figure: float) -> list[dict]:
    """The rule "dark" on one table's profiles.

    Args:
        profiles: of one table, model and data set.
        loss, base: the two losses.
        figure: the paper's fall of the whole image's squared error, percent.

    Returns:
        Three rows (quantity, measured, lower, upper, seeds, images, verdict, reason): the dark
        pixels' change, the bright ones', and dark minus bright; the first has the claim's verdict,
        the others none (""). Empty if nothing is paired.
    """
    grey = profiles[profiles["kind"] == "grey"]
    dark = percent_changes(grey[grey["upper"] <= DARK + 1e-9], loss, base)
    bright = percent_changes(grey[grey["lower"] >= BRIGHT - 1e-9], loss, base)
    if not dark.size:
        return []
    verdict, reason = _judged(dark, -1, figure)
    images, seeds = dark.columns.intersection(bright.columns), dark.index.intersection(bright.index)
    contrast = dark.loc[seeds, images] - bright.loc[seeds, images]
    if verdict == SUPPORTED:
        relative, _ = _judged(contrast, -1, np.nan)
        if relative == OPPOSITE:
            verdict, reason = NOT_SUPPORTED, "dark pixels gain less than bright ones"
        elif relative != SUPPORTED:
            verdict, reason = UNDECIDED, "dark pixels gain, but not clearly more than bright ones"
    elif verdict == UNDECIDED and _judged(contrast, -1, np.nan)[0] == OPPOSITE:
        verdict, reason = NOT_SUPPORTED, "dark pixels gain less than bright ones"
    return [
        _line(f"dark pixels (label below {DARK}), squared error, %", dark, verdict, reason),
        _line(f"bright pixels (label from {BRIGHT}), squared error, %", bright),
        _line("dark minus bright, percentage points", contrast),
    ]


def judge_edges(profiles: pd.DataFrame, loss: str, base: str, figure: float) -> list[dict]:
    """The rule "edges" on one table's profiles; as :func:`judge_dark`, two rows."""
    rows = profiles[(profiles["kind"] == "gradient") & (profiles["bin"] == STRONGEST)]
    error = percent_changes(rows, loss, base)
    energy = percent_changes(rows, loss, base, "sharpness")
    if not error.size:
        return []
    error_verdict, error_reason = _judged(error, -1, figure)
    energy_verdict, energy_reason = _judged(energy, 1, np.nan)
    both = (error_verdict, energy_verdict)
    if both in {(SUPPORTED, SUPPORTED), (OPPOSITE, OPPOSITE)}:
        verdict = error_verdict
    elif {OPPOSITE, NOT_SUPPORTED} & set(both):
        verdict = NOT_SUPPORTED
    else:
        verdict = error_verdict if error_verdict == energy_verdict else UNDECIDED
    reason = f"error {error_verdict} ({error_reason}); energy {energy_verdict} ({energy_reason})"
    return [
        _line("strongest edges, squared error, %", error, verdict, reason),
        _line("strongest edges, gradient energy of output over label, %", energy),
    ]


def _line(quantity: str, changes: pd.DataFrame, verdict: str = "", reason: str = "") -> dict:
    mean, lower, upper = _numbers(changes)
    return {
        "quantity": quantity,
        "measured": mean,
        "lower": lower,
        "upper": upper,
        "seeds": changes.shape[0],
        "images": changes.shape[1],
        "verdict": verdict,
        "reason": reason,
    }


def regions(profiles: pd.DataFrame, paper: pd.DataFrame | None) -> pd.DataFrame:
    """All regional changes behind the claims "darker regions" and "sharper edges".

    Returns:
        The rows of :func:`judge_dark` and :func:`judge_edges` for every table, base loss and
        claim, with claim, table, model, dataset, base, loss and paper (the figure that the rule
        holds the change against, as a change: negative is a fall of the error).
    """
    found = []
    for (table, model, dataset), group in profiles.groupby(["table", "model", "dataset"]):
        for claim in CLAIMS:
            if claim.rule not in ("dark", "edges") or claim.table not in (None, table):
                continue
            figure = paper_error_fall(paper, table, claim.base)
            judge = judge_dark if claim.rule == "dark" else judge_edges
            where = {
                **{"claim": claim.id, "table": table, "model": model, "dataset": dataset},
                **{"base": claim.base, "loss": claim.loss},
            }
            lines = judge(group, claim.loss, claim.base, figure)
            held = [-figure] + [np.nan] * len(lines)
            found += [where | {"paper": p} | line for p, line in zip(held, lines, strict=False)]
    return pd.DataFrame(found, columns=_REGION_COLUMNS)


_REGION_COLUMNS = (
    *("claim", "table", "model", "dataset", "base", "loss", "quantity", "paper", "measured"),
    *("lower", "upper", "seeds", "images", "verdict", "reason"),
)


def claim_verdicts(lines: pd.DataFrame) -> pd.DataFrame:
    """The rows of :func:`regions` that carry a verdict, as verdicts.claim_verdicts wants them."""
    places: dict[str, Claim] = {claim.id: claim for claim in CLAIMS}
    chosen = lines[lines["verdict"] != ""]
    return chosen.assign(
        place=[places[name].place for name in chosen["claim"]], unit="%", paper=np.nan
    )


# -------------------------------------------------------------------------------------- output


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
        "\"Paper (all)\" is the change of the whole image's squared error in the paper's table. "
        "The figures mechanism_table*.png show all ten bins.",
        "",
        "| table | against | where | paper (all) | change [95 %] | seeds x images | verdict |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in lines.itertuples():
        change = "-" if pd.isna(row.measured) else f"{row.measured:+.2f}"
        if not pd.isna(row.lower):
            change += f" [{row.lower:+.2f}, {row.upper:+.2f}]"
        verdict = f"{row.verdict}: {row.reason}" if row.verdict else ""
        paper = "" if pd.isna(row.paper) else f"{row.paper:+.2f}"
        cells = [f"{row.table}", row.base.upper(), row.quantity, paper, change]
        text.append("| " + " | ".join([*cells, f"{row.seeds} x {row.images}", verdict]) + " |")
    if without:
        text += ["", f"No figure of {', '.join(without)}: the error changes by more than "]
        text[-1] += f"{LARGEST_CHANGE} % somewhere, which is a failed training's."
    return [*text, ""]


def write(study_dir, metrics: pd.DataFrame, paper: pd.DataFrame | None, stand_in: bool = False):
    """Write mechanism.csv, regions.csv and figures/mechanism_table<t>.{png,pdf} of a study.

    Where a change is beyond ``LARGEST_CHANGE``, there is no figure, and an older one is removed.

    Args:
        study_dir: results/<study>, with profiles.csv.
        metrics: the study's tidy table, for :func:`of_runs`.
        paper: the paper's tables, or None.
        stand_in: whether the study was made from the bundled stand-in data.

    Returns:
        (rows for :func:`asyrepro.analysis.verdicts.claim_verdicts`, lines of Markdown, paths).

    Raises:
        DataError: profiles.csv is missing or damaged.
    """
    study_dir = Path(study_dir)
    profiles = of_runs(load(study_dir / "profiles.csv"), metrics)
    changes, lines = bin_changes(profiles), regions(profiles, paper)
    written = [
        write_csv(study_dir / "mechanism.csv", changes),
        write_csv(study_dir / "regions.csv", lines),
    ]
    mark = f" ({results.STAND_IN})" if stand_in else ""
    without = []
    for (table, model, dataset), rows in changes.groupby(["table", "model", "dataset"]):
        several = changes.loc[changes["table"] == table, "dataset"].nunique() > 1
        name = f"mechanism_table{table}" + (f"_{dataset}" if several else "")
        network = results.model_title(model)
        stem = study_dir / "figures" / name
        if rows["change"].abs().max() > LARGEST_CHANGE:
            without.append(f"Table {table}, {network}")
            for ending in ("png", "pdf"):
                stem.with_name(f"{name}.{ending}").unlink(missing_ok=True)
            continue
        title = f"Table {table}, {network}: where the error changes"
        title += mark or ", asymmetric against base"  # both would be too long
        written += style.save(plot(rows, title), stem)
    return claim_verdicts(lines), markdown(lines, mark, without), written
