"""Verdicts as Markdown, CSV and forest plots."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from asyrepro import paper
from asyrepro.analysis import titles
from asyrepro.analysis.comparisons import AGAINST_BASE
from asyrepro.analysis.statistics import STUDIES
from asyrepro.analysis.verdicts import (
    CONTRASTS,
    CONTROLS,
    METRICS,
    attribution,
    claim_verdicts,
    step_time_summary,
    verdicts,
)
from asyrepro.metrics import METRICS as RECORDS
from asyrepro.paper.claims import CLAIMS, MINIMUM_SEEDS, RULES
from asyrepro.paper.tables import tables as paper_tables
from asyrepro.report import mechanism, wording
from asyrepro.report.page import curves
from asyrepro.report.tables import DECIMALS
from asyrepro.report.wording import MINUS
from asyrepro.runs import results
from asyrepro.system import style
from asyrepro.system.files import write_csv, write_text

NAME = 50  # letters of a line's name


def forest(table: pd.DataFrame, title: str):
    """Forest plot of one table's comparisons with the base losses, as a matplotlib figure.

    Args:
        table: rows of :func:`verdicts` of one table, model and data set.
        title: of the figure; the number of seeds and whose test images these are is said below.

    One panel a metric; a line is a loss with its mean change and its intervals. The grey band is
    the yardstick of noise, the diamond the paper's change; where it would shrink the rest too
    much, its value and an arrow stand beyond the axis' end.
    """
    table = table[table["kind"].isin(AGAINST_BASE)]
    lines = list(dict.fromkeys((row.base, row.loss) for row in table.itertuples()))
    bases = list(dict.fromkeys(base for base, _ in lines))
    # One line of space between the groups of the two base losses.
    height = {line: number + bases.index(line[0]) for number, line in enumerate(lines)}
    with style.context():
        fig = style.figure(1.6 + 0.22 * (len(lines) + len(bases)))
        axes = fig.subplots(1, len(METRICS), sharey=True)
        for ax, metric in zip(axes, METRICS, strict=True):
            rows = table[table["metric"] == metric]
            rows = rows.assign(**{name: rows[name] * _SCALE[metric] for name in _PLOTTED})
            one_seed = rows["lower"].isna().all()  # without intervals the paper's change counts
            ends = _forest_limits(ax, rows, 0.32, 4, stretch=20 if one_seed else 2)
            for _, of_base in rows.groupby("base"):
                places = [height[row.base, row.loss] for row in of_base.itertuples()]
                _forest_band(ax, (min(places), max(places)), of_base["noise"].iloc[0], ends)
            for row in rows.itertuples():
                _forest_line(ax, height[row.base, row.loss], row, ends)
            scale = "" if _SCALE[metric] == 1 else f" x {_SCALE[metric]}"
            better = "more" if RECORDS[metric].larger_is_better else "less"
            ax.set_xlabel(f"{RECORDS[metric].label}{scale}: {better} is better")
        axes[0].set_yticks(list(height.values()), [titles.loss_title(loss) for _, loss in height])
        seeds = wording.seeds(table["seeds"])
        about = f"Change against the base loss, {seeds}. {_other_images(table)}"
        _forest_frame(fig, table, title, about, left=0.18)
    return fig


def overview(rows: pd.DataFrame, title: str):
    """One forest plot of all tables: what the weight changes of each network's PSNR.

    Args:
        rows: those of :func:`verdicts` about PSNR and the paper's losses, of any tables.
        title: of the figure.
    """
    rows = rows.sort_values(["table", "dataset", "base"], kind="stable")
    names = [
        f"{titles.model_title(row.model)}, {titles.loss_title(row.loss)} "
        f"({wording.seeds([row.seeds])})"
        for row in rows.itertuples()
    ]
    groups = list(zip(rows["table"], rows["dataset"], strict=True))
    axis = "change of PSNR against the base loss (dB), mean over the images of a table"
    return lines(rows, title, names, groups, axis, _other_images(rows))


def lines(
    rows: pd.DataFrame,
    title: str,
    names: list[str],
    groups: list,
    axis: str,
    about: str = "",
    marks: str = "asymmetric loss",
):
    """A forest plot of one panel, as a matplotlib figure.

    Args:
        rows: columns change, lower, upper and noise, kind ("claim": drawn full) and paper_change.
        title: of the figure.
        names: what stands beside each line.
        groups: a key for each line; where it changes, there is space.
        axis: what is drawn, and its unit.
        about: a line under the title.
        marks: what the legend calls the dots.
    """
    rows = rows.assign(fixed_lower=np.nan, fixed_upper=np.nan)  # the narrower question is left out
    names = [_wrapped(name) for name in names]
    order = list(dict.fromkeys(groups))
    places = [number + 0.6 * order.index(key) for number, key in enumerate(groups)]
    with style.context():
        fig = style.figure(1.5 + 0.24 * (places[-1] + 1))
        ax = fig.subplots()
        ends = _forest_limits(ax, rows, 0.11, 8, stretch=2)
        for place, row in zip(places, rows.itertuples(), strict=True):
            _forest_band(ax, (place, place), row.noise, ends)
            _forest_line(ax, place, row, ends)
        ax.set_yticks(places, names)
        ax.set_xlabel(axis)
        longest = max(len(part) for name in names for part in name.splitlines())
        left = max(0.25, 0.0085 * longest + 0.02)
        _forest_frame(fig, rows, title, about, left, marks)
    return fig


def _wrapped(name: str) -> str:
    """A name in at most two lines, of which its figure has room for ``NAME`` letters each."""
    lines = textwrap.wrap(name, NAME)
    return "\n".join(lines[:2]) + " ..." * (len(lines) > 2)


def _other_images(table: pd.DataFrame) -> str:
    """Of which tables the paper does not name the test images; nothing if it names all."""
    unknown = sorted(set(table["table"].astype(int)) - set(paper.known_images()))
    if not unknown:
        return ""
    which = wording.tables(unknown)
    return f"The paper does not name the test images of {which}: these are others."


def _forest_frame(
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
    high = fig.get_figheight()
    fig.suptitle(title, y=1 - 0.06 / high)
    fig.text(0.5, 1 - 0.25 / high, about, ha="center", va="top", size=6.5, color=style.GREY)
    handles = _forest_legend(fig, table, marks)
    fig.legend(handles=handles, loc="lower center", ncols=3, frameon=False)
    fig.subplots_adjust(left, 0.86 / high, 0.985, 1 - 0.42 / high, wspace=0.12)


def _forest_legend(fig, table: pd.DataFrame, marks: str) -> list:
    """What the plot shows, and only that: one seed has no intervals."""

    def line(label, colour=style.BLUE, **drawn):
        return Line2D([], [], color=colour, label=label, **drawn)

    claims, there = table["kind"] == "claim", table.notna().any()
    markers = {drawn.get_marker() for ax in fig.axes for drawn in ax.lines}
    paper = {"colour": PAPER, "lw": 0, "ms": 4}
    band = Patch(color=_BAND, label="two runs that differ in their seed (RMS)")
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


PAPER = style.BLACK  # no loss has this colour
_BAND = "#ececec"
_SCALE = {"psnr": 1, "ssim": 1000, "nrmse": 1000}
_PLOTTED = ("change", "lower", "upper", "fixed_lower", "fixed_upper", "noise", "paper_change")


def _forest_limits(
    ax, rows: pd.DataFrame, strip: float, bins: int, stretch: float
) -> tuple[float, float]:
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
    papers = rows.loc[rows["kind"] == "claim", "paper_change"]
    below, above = (papers < low).any(), (papers > high).any()
    taken = strip * (int(below) + int(above))
    margin = strip * (high - low) / (1 - taken)
    ax.set_xlim(low - margin * below, high + margin * above)
    ticks = MaxNLocator(max(2, round(bins * (1 - taken)))).tick_values(low, high)
    ax.set_xticks([tick for tick in ticks if low <= tick <= high])
    ax.spines["bottom"].set_bounds(low, high)
    return low, high


def _forest_band(ax, places: tuple[float, float], noise: float, ends: tuple[float, float]) -> None:
    """The yardstick of noise behind the lines from the first to the second place."""
    band = np.clip([-noise, noise], *ends)
    ax.fill_betweenx((places[0] - 0.5, places[1] + 0.5), *band, color=_BAND, lw=0)


def _forest_line(ax, place: float, row, ends: tuple[float, float]) -> None:
    main = row.kind == "claim"
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
        *((at, place), (-5 * side, 0)),
        **{"textcoords": "offset points", "ha": "right" if side > 0 else "left"},
        **{"va": "center_baseline", "color": PAPER, "size": 6.5},
    )


def _number(value: float, digits: int, sign: bool = False) -> str:
    return "-" if pd.isna(value) else wording.number(value, digits, sign).replace(MINUS, "-")


def _span(lower: float, upper: float, digits: int, sign: bool = True) -> str:
    if pd.isna(lower):
        return "-"
    return f"[{_number(lower, digits, sign)}, {_number(upper, digits, sign)}]"


def _p(value: float) -> str:
    return "-" if pd.isna(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def _claim_lines(table: pd.DataFrame) -> list[str]:
    rows = []
    for row in table.itertuples():
        digits = {"dB": 3, "%": 2, "ratio": 3}.get(row.unit, 5)
        unit = {"dB": " dB", "%": " %"}.get(row.unit, "")
        sign = row.unit != "ratio"
        name = row.claim
        if not pd.isna(row.table) and not name.startswith("table"):
            name += f" (Table {row.table})"
        measured = _number(row.measured, digits, sign) + unit
        if not pd.isna(row.lower):
            measured += " " + _span(row.lower, row.upper, digits, sign)
        paper = "-" if pd.isna(row.paper) else _number(row.paper, digits, sign) + unit
        seeds = "-" if pd.isna(row.seeds) else str(row.seeds)
        cells = [name, row.place, row.quantity, paper, measured, seeds, f"**{row.verdict}**"]
        rows.append([*cells, row.reason])
    head = ["claim", "place", "quantity", "paper", "measured [95 %]", "seeds", "verdict", "why"]
    return wording.grid(head, rows)


def _change_lines(table: pd.DataFrame) -> list[str]:
    rows = []
    order = {metric: place for place, metric in enumerate(METRICS)}
    for row in table.sort_values("metric", key=lambda c: c.map(order), kind="stable").itertuples():
        digits = DECIMALS[row.metric]
        known = not pd.isna(row.sign_p)
        rows.append(
            [
                row.metric.upper(),
                titles.loss_title(row.loss),
                titles.loss_title(row.against),
                _number(row.against_mean, digits),
                _number(row.change, digits, True),
                _span(row.lower, row.upper, digits),
                _span(row.fixed_lower, row.fixed_upper, digits),
                f"{row.seeds_better:.0f} of {row.seeds}, p {_p(row.sign_p)}" if known else "-",
                "-" if pd.isna(row.p) else f"{_p(row.p)} ({_p(row.p_holm)})",
                f"{row.images_better:.0f} of {row.images}" if known else "-",
                _number(row.paper_change, digits, True),
                wording.probability(row.power) or "-",
                row.verdict,
            ]
        )
    head = [
        *("metric", "loss", "against", "mean of that", "change", "95 %, seeds and images"),
        *("95 %, these images alone", "seeds better, sign test", "p (Holm)", "images better"),
        *("paper", "power", "verdict"),
    ]
    return wording.grid(head, rows)


def _method_lines() -> list[str]:
    lines = ["## How it is judged", ""]
    lines += [
        "The losses of one seed share initial weights, patches and noise; a change is the "
        "difference within a seed and an image. Intervals are for random seeds and images: the "
        "standard error of a two-way analysis of variance, Student's t with Satterthwaite's "
        'degrees of freedom. "These images alone" is a t interval over seeds; it answers a '
        "narrower question and decides nothing. The sign test counts seeds whose mean change is "
        "above or below zero. p belongs to the first interval; Holm's correction runs over all "
        "comparisons of the same kind in this study (claims, readings, controls, contrasts), NRMSE "
        "apart, which is PSNR in other units; verdicts do not use it. Power is the probability of "
        f"the verdict better if the paper's change were there, by {STUDIES} simulated studies with "
        "the variances of this one; no verdict uses it.",
        "",
        "The rules, fixed in code before the data:",
        "",
    ]
    return lines + [f"- *{name.replace('_', ' ')}*: {rule}" for name, rule in RULES.items()] + [""]


def markdown(
    title: str,
    comparisons: pd.DataFrame,
    claims: pd.DataFrame,
    times: pd.DataFrame | None = None,
    mechanism: list[str] | None = None,
    stand_in: bool = False,
) -> str:
    """verdicts.md as text; the arguments are what the functions above return.

    Args:
        mechanism: lines that :func:`asyrepro.report.mechanism.markdown` made, or None.
        stand_in: whether the study was made from the bundled stand-in data.
    """
    mark = f" ({results.STAND_IN})" if stand_in else ""
    lines = [f"# Verdicts: {title}{mark}", ""]
    if stand_in:
        lines += [
            "Trained or tested on photographs that stand in for the paper's data: this shows that "
            "the machinery works and says nothing about the paper.",
            "",
        ]
    seeds = comparisons.loc[comparisons["kind"] == "claim", "seeds"]
    most = int(seeds.max()) if len(seeds) else 0
    if most == 0:
        lines += ["**No two trainings here can be compared**, so no verdict is possible.", ""]
    elif most == 1:
        lines += ["**With one seed no verdict is possible.** Run more seeds.", ""]
    elif most < MINIMUM_SEEDS:
        lines += [
            f"**{most} seeds: too few for any verdict** (the rules ask for {MINIMUM_SEEDS}).",
            "",
        ]
    lines += [f"## Claims{mark}", "", *_claim_lines(claims)]
    absent = [claim for claim in CLAIMS if claim.id not in set(claims["claim"])]
    if absent:
        lines += ["Not tested in this study: " + ", ".join(c.id for c in absent) + ".", ""]
    notes = list(dict.fromkeys(_note(claims)))
    lines += [f"- {note}" for note in notes] + [""] * bool(notes)
    sources = attribution(comparisons)
    for keys, group in comparisons.groupby(["table", "model", "dataset"]):
        lines += _table_lines(keys, group, sources, mark)
    if times is not None and len(times):
        lines += [f"## Training time{mark}", "", *_time_lines(times)]
    lines += mechanism or []
    return "\n".join(lines + _method_lines()).rstrip() + "\n"


def _note(claims: pd.DataFrame):
    for claim in CLAIMS:
        if claim.note and claim.id in set(claims["claim"]):
            yield f"{claim.place}: {claim.note}"


def _heading(table: int, model: str, dataset: str) -> str:
    trained = titles.DATASET_TITLES.get(dataset, dataset)
    return f"Table {table}: {titles.model_title(model)}, trained on {trained}"


def _table_lines(keys, group: pd.DataFrame, sources: pd.DataFrame, mark: str) -> list[str]:
    heading = _heading(*keys)
    lines = [f"## {heading}{mark if results.STAND_IN not in heading else ''}", ""]
    for base in dict.fromkeys(group["base"]):
        rows = group[group["base"] == base]
        counts = f"{wording.seeds([rows['seeds'].max()])}, {rows['images'].max()} images"
        lines += [f"### Against {base.upper()} ({counts})", ""]
        noise = rows.drop_duplicates("metric").set_index("metric")["noise"]
        if noise.notna().any():
            said = ", ".join(f"{m.upper()} {_number(noise[m], DECIMALS[m])}" for m in METRICS)
            lines += [
                "Yardstick: two runs of one loss that differ in nothing but the seed differ in "
                f"their mean by (root mean square, all losses but the controls) {said}.",
                "",
            ]
        lines += _change_lines(rows[rows["kind"].isin(AGAINST_BASE)])
        contrasts = rows[rows["kind"] == "contrast"]
        if len(contrasts):
            lines += ["What the controls separate:", ""]
            for name, meaning in CONTRASTS.items():
                if f"asy_{base}_{name}" in set(contrasts["against"]):
                    lines += [
                        f"- {name} ({CONTROLS[name]}): {titles.loss_title(f'asy_{base}')} minus "
                        f"this control leaves {meaning}."
                    ]
            lines += ["", *_change_lines(contrasts)]
        chosen = (sources[["table", "model", "dataset"]] == list(keys)).all(axis=1)
        for row in sources[chosen & (sources["base"] == base)].itertuples():
            lines += [f"- {row.metric.upper()}: effect {row.effect}; source: {row.source}."]
        lines += [""] * (lines[-1] != "")
    return lines


def _time_lines(times: pd.DataFrame) -> list[str]:
    rows = [
        [
            titles.model_title(row.model) or "-",
            titles.loss_title(row.loss),
            f"{row.base_ms:.2f}",
            f"{row.loss_ms:.2f}",
            f"{row.ratio:.3f} [{row.lower:.3f}, {row.upper:.3f}]",
            str(row.repetitions),
            row.verdict,
        ]
        for row in times.itertuples()
    ]
    head = ["network", "loss", "base, ms a step", "loss, ms a step", "ratio [95 %]"]
    return wording.grid([*head, "repetitions", "verdict"], rows)


def write(
    study_dir, metrics: pd.DataFrame | None = None, paper: pd.DataFrame | None = None
) -> list[Path]:
    """Write the verdicts of a study and return the paths written.

    verdicts.md (everything), verdicts.csv (all comparisons), claims.csv (a verdict a claim),
    figures/forest_table<t>.{png,pdf}, and figures/overview.{png,pdf} if there are several tables;
    and, if the study has a profiles.csv, what :func:`asyrepro.report.mechanism.write` makes of
    it. A step_times.csv (columns of :func:`step_time_summary`) in the study is read if there.

    The same input files give the same bytes.

    Args:
        study_dir: results/<study>.
        metrics: the tidy table; None reads the study's metrics.csv.
        paper: the paper's tables; None takes the project's own.

    Raises:
        DataError: a file is missing or damaged.
    """
    study_dir = Path(study_dir)
    metrics = results.plain(results.load(study_dir) if metrics is None else metrics)
    paper = paper_tables() if paper is None else paper
    stand_in = results.of_stand_in(metrics)
    comparisons = verdicts(metrics, paper, with_power=True)
    times = _read_times(study_dir / "step_times.csv")
    histories = curves.collect(study_dir)
    written, part, text = [], None, None
    if (study_dir / "profiles.csv").is_file():
        part, text, paths = mechanism.write(study_dir, metrics, stand_in)
        written += paths
    claims = claim_verdicts(comparisons, metrics, regions=part, times=times, histories=histories)
    body = markdown(study_dir.name, comparisons, claims, times, text, stand_in)
    written += [
        write_text(study_dir / "verdicts.md", body),
        write_csv(study_dir / "verdicts.csv", comparisons),
        write_csv(study_dir / "claims.csv", claims),
    ]
    for (table, model, dataset), group in comparisons.groupby(["table", "model", "dataset"]):
        title = _heading(table, model, dataset)
        if stand_in and results.STAND_IN not in title:
            title += f" ({results.STAND_IN})"
        several = comparisons.loc[comparisons["table"] == table, "dataset"].nunique() > 1
        name = f"forest_table{table}" + (f"_{dataset}" if several else "")
        written += style.save(forest(group, title), study_dir / "figures" / name)
    claimed = comparisons[(comparisons["kind"] == "claim") & (comparisons["metric"] == "psnr")]
    if len(claimed.drop_duplicates(["table", "dataset"])) > 1:
        title = "What the asymmetric weight changes, and what the paper reports"
        title += f" ({results.STAND_IN})" if stand_in else ""
        written += style.save(overview(claimed, title), study_dir / "figures" / "overview")
    return written


def _read_times(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    columns = ["loss", "step_ms", "repetition"]
    return step_time_summary(results.read_table(path, columns, columns[1:]))
