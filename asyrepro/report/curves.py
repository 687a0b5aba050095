"""Learning curves: the histories of a study's runs in one small file, and their charts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatterSciNotation

from asyrepro.analysis.titles import loss_title
from asyrepro.runs import results
from asyrepro.runs.results import CONTROLS, loss_rank
from asyrepro.runs.run import finished
from asyrepro.system import style
from asyrepro.system.files import write_csv

HISTORY = ["step", "loss", "val_psnr", "seconds"]  # what is taken of a run's history.csv
COLUMNS = ["folder", "loss", "seed", "step", "train_loss", "val_psnr", "seconds"]
RUN = ["folder", "loss", "seed"]
MOST = 60  # points kept of a run, besides those with a validation


def collect(study_dir) -> pd.DataFrame | None:
    """The course of all finished runs, from the run folders or from what was kept of them.

    Where there are run folders, ``histories.csv`` is written: about 60 points a run, each the mean
    training loss since the point before, the validation PSNR (dB) if there was one, and the
    seconds so far. Of a run without history.csv (git does not keep them) the file's rows stay.

    Returns:
        A frame with the columns ``COLUMNS``, or None if there is neither.

    Raises:
        DataError: a history is damaged.
    """
    study_dir = Path(study_dir)
    kept = study_dir / "histories.csv"
    frames, without = [], []
    for run in finished(study_dir):
        seed = int(run.folder.name.removeprefix("seed"))
        if (path := run.file("history.csv")).is_file():
            history = results.read_table(path, HISTORY, ["step", "loss", "seconds"])
            history = history.rename(columns={"loss": "train_loss"})
            frames.append(history.assign(folder=run.row, loss=run.loss, seed=seed))
        else:
            without.append((run.row, run.loss, seed))
    if not frames:
        return _kept(kept) if kept.is_file() else None
    histories = _thinned(pd.concat(frames, ignore_index=True))
    if without and kept.is_file():
        before = _kept(kept)
        stay = before[pd.MultiIndex.from_frame(before[RUN]).isin(without)]
        histories = pd.concat([histories, stay]).sort_values(RUN, kind="stable", ignore_index=True)
    write_csv(kept, histories)
    return _kept(kept)  # with its digits: the same charts as in a clone


def _kept(path: Path) -> pd.DataFrame:
    """The histories.csv that :func:`collect` wrote."""
    numbers, names = ["seed", "step", "seconds"], ["folder", "loss"]
    return results.read_table(path, COLUMNS, numbers, names)[COLUMNS]


def _thinned(histories: pd.DataFrame) -> pd.DataFrame:
    """Of each run one row for some lines in a row, the last a validation or the k-th."""
    runs = histories.groupby(RUN, sort=False)
    every = -(-runs["step"].transform("size") // MOST)
    ends = histories["val_psnr"].notna() | ((runs.cumcount() + 1) % every == 0)
    block = ends.astype(int).groupby([histories[name] for name in RUN]).cumsum() - ends
    blocks = histories.assign(block=block).groupby([*RUN, "block"], sort=False)
    points = blocks[["step", "val_psnr", "seconds"]].last()
    return points.assign(train_loss=blocks["train_loss"].mean()).reset_index()[COLUMNS]


def of_tables(histories: pd.DataFrame) -> pd.DataFrame:
    """The histories of the paper's tables, with a column ``table``."""
    number = histories["folder"].str.extract(r"^table(\d)$")[0]
    return histories[number.notna()].assign(table=number.dropna().astype(int))


class _Decimals(LogFormatterSciNotation):
    """``0.02`` where matplotlib writes a power of ten, whose exponent is too small to read."""

    def __call__(self, x, pos=None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def draw(histories: pd.DataFrame, bases: dict[str, str], title: str) -> Figure | None:
    """Validation PSNR of all losses, and the training loss of each base loss and its followers.

    Args:
        histories: of one folder; lines are means over its seeds.
        bases: loss -> its base loss.

    Returns:
        The figure; None where no run has two points.
    """
    losses = sorted(set(histories["loss"]) - set(CONTROLS), key=loss_rank)
    charts = [("Validation PSNR (dB)", "val_psnr", losses)]
    for base in dict.fromkeys(bases.get(x, x) for x in losses):
        family = [x for x in losses if bases.get(x, x) == base]
        others = f"and {len(family) - 1} against it"
        name = f"Training loss, {loss_title(base)}" + f" {others}" * (len(family) > 1)
        charts.append((name, "train_loss", family))
    means = histories.groupby(["loss", "step"])[["val_psnr", "train_loss"]].mean()
    drawn = []
    for name, column, family in charts:
        lines = {x: means.loc[x, column].dropna() for x in family}
        lines = {x: line for x, line in lines.items() if len(line) > 1}
        if lines:
            drawn.append((name, column, lines))
    if not drawn:
        return None
    colours, titles = style.colours(losses), [loss_title(loss) for loss in losses]
    dashes = {x: "-" if bases.get(x, x) == x else (0, (4, 2)) for x in losses}
    ncols, nrows = style.legend_grid(titles)
    below = 0.45 + 0.16 * nrows  # inches
    high = 1.9 + below
    with style.context():
        fig = style.figure(high)
        fig.suptitle(title)
        axes = fig.subplots(1, len(drawn), squeeze=False)[0]
        for ax, (name, column, lines) in zip(axes, drawn, strict=True):
            for loss, line in lines.items():
                ax.plot(line.index, line, color=colours[loss], ls=dashes[loss])
            if column == "train_loss" and all((line > 0).all() for line in lines.values()):
                ax.set_yscale("log")
                ax.yaxis.set_major_formatter(_Decimals())
                ax.yaxis.set_minor_formatter(_Decimals())
            ax.set_title(name, size=7)
            ax.set_xlabel("training steps")
            ax.xaxis.set_major_locator(style.ticks(4))
            ax.tick_params(which="both", labelsize=6, pad=1.5)
            ax.spines[["top", "right"]].set_visible(False)
        handles = [Line2D([], [], color=colours[x], ls=dashes[x]) for x in losses]
        fig.legend(handles, titles, loc="lower center", ncols=ncols, frameon=False)
        fig.subplots_adjust(
            left=0.07, right=0.99, top=1 - 0.47 / high, bottom=below / high, wspace=0.3
        )
    return fig
