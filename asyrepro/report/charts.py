"""The charts and pictures of a study, each with its place on the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from asyrepro import paper
from asyrepro.analysis import changes
from asyrepro.analysis.comparisons import AGAINST_BASE
from asyrepro.analysis.titles import model_title, network
from asyrepro.report import crops, curves, flowchart, forest, mechanism, pictures, radar, wording
from asyrepro.report.canvas import grey
from asyrepro.runs import results


class Chart(NamedTuple):
    """A figure of a study's page."""

    stem: str  # of its file
    place: str  # "answer", "changes", "table2", "table2 pictures", "further", or "" (looked up)
    alt: str
    figure: Figure | None  # None once it is written


def charts(found) -> Iterator[Chart]:
    """All that the rows, histories and crops of :class:`asyrepro.report.study.Findings` give."""
    for summary in found.summaries:
        number = radar.FIGURES[summary.table]
        alt = f"The paper's Fig. {number}, remade: each test image's values under the base losses, "
        alt += "and what the other losses change"
        yield Chart(f"fig{number}", f"table{summary.table}", alt, radar.of_summary(summary))
    yield from _forests(found)
    yield from _mechanisms(found)
    yield from _pictures(found)
    yield from _curves(found)


def remove_others(folder: Path, drawn: Iterable[Chart]) -> None:
    """Of an earlier report's charts those that were not drawn now; any other file stays."""
    kinds = ("forest", "mechanism", "curves")
    stems = {f"{kind}_table{table}" for kind in kinds for table in paper.TABLES}
    stems |= {f"{kind}{width}" for kind in ("overview", "changes") for width in ("", "_narrow")}
    stems |= {*(f"fig{number}" for number in radar.FIGURES.values())}
    for stem in stems - {chart.stem for chart in drawn}:
        for ending in ("svg", "pdf"):
            (folder / f"{stem}.{ending}").unlink(missing_ok=True)


def _stem(kind: str, table: int, dataset: str, rows) -> str:
    several = rows.loc[rows["table"] == table, "dataset"].nunique() > 1
    return f"{kind}_table{table}" + (f"_{dataset}" if several else "")


def _forests(found) -> Iterator[Chart]:
    rows = found.comparisons[found.comparisons["kind"].isin(AGAINST_BASE)]
    for (table, model, dataset), part in rows.groupby(["table", "model", "dataset"]):
        title = f"Table {table}: {network(model, dataset)}"
        figure = forest.of_table(part, wording.marked(title, found.stand_in))
        alt = f"Mean changes in Table {table}, {model_title(model)}, beside the paper's"
        yield Chart(_stem("forest", table, dataset, rows), f"table{table}", alt, figure)
    claimed = rows[(rows["kind"] == "claim") & (rows["metric"] == "psnr")]
    if len(claimed.drop_duplicates(["table", "dataset"])) > 1:
        steps = {s.table: wording.span(s.iterations) for s in found.summaries}
        claimed = claimed.assign(steps=claimed["table"].map(steps))
        title = wording.marked(forest.OVERVIEW, found.stand_in)
        alt = "Changes of PSNR in each network"
        yield Chart("overview", "answer", alt, forest.overview(claimed, title))
        yield Chart("overview_narrow", "", alt, forest.overview(claimed, title, narrow=True))
    shown = changes.ranked(changes.shown(found.changes))
    shown = shown[shown["seeds"] > 0]
    if changes.beyond(found.changes) and not shown.empty:
        title = wording.marked("What each loss changes, on every test set", found.stand_in)
        alt = "Mean changes of PSNR on every test set"
        own = (shown["kind"] == "loss").any()
        place = "answer" if own else "changes"
        yield Chart("changes", place, alt, forest.of_changes(shown, title))
        yield Chart("changes_narrow", "", alt, forest.of_changes(shown, title, narrow=True))


def _mechanisms(found) -> Iterator[Chart]:
    if found.bins is None:
        return
    alt = "How the squared error changes on dark and bright pixels, and from flat regions to edges"
    for (table, model, dataset), part in found.bins.groupby(["table", "model", "dataset"]):
        title = f"Table {table}, {model_title(model)}: where the error changes"
        figure = mechanism.draw(part, wording.marked(title, found.stand_in))
        if figure is not None:
            yield Chart(
                _stem("mechanism", table, dataset, found.bins), f"table{table}", alt, figure
            )


def _curves(found) -> Iterator[Chart]:
    if found.histories is None:
        return
    bases = results.bases(found.frame)
    titles = {f"table{s.table}": f"{s.model_title} (Table {s.table})" for s in found.summaries}
    for folder, part in found.histories.groupby("folder"):
        title = f"Learning curves: {titles.get(folder, folder)}, mean over "
        title += wording.seeds(part.groupby("loss")["seed"].nunique())
        place, alt = "further", f"Learning curves of {folder}"
        if folder in titles:
            place, alt = folder, "Learning curves. An asymmetric loss weights errors by M, at most "
            alt += "1, so its training loss is lower than its base loss's by itself"
        if (figure := curves.draw(part, bases, title)) is not None:
            yield Chart(f"curves_{folder}", place, alt, figure)


def _pictures(found) -> Iterator[Chart]:
    """Fig. 1-2, and Fig. 5 and 6 of each subject (SRCNN's, the paper's, without suffix)."""
    every = [crop for mine in found.crops.values() for crop in mine]
    if every:  # the label with the widest range of grey values, whose weights differ most
        crop = max(every, key=lambda crop: grey(crop.arrays["label"]).std())
        title = f"The asymmetric loss on {crop.image}, {crop.subject.title}"
        figure = flowchart.method(crop.arrays, next(iter(crop.subject.bases)), title)
        yield Chart("fig1_2", "", "", figure)
    tables = {f"table{summary.table}" for summary in found.summaries}
    for folder, mine in found.crops.items():
        title, suffix = mine[0].subject.title, crops.suffix(folder)
        place = f"{folder} pictures" if folder in tables else "further"
        alt = f"The paper's Fig. 5, remade: outputs of {title}"
        yield Chart(f"fig5{suffix}", place, alt, pictures.outputs(mine))
        if mine[0].subject.pairs:
            alt = f"The paper's Fig. 6, remade: where the outputs of {title} differ"
            yield Chart(f"fig6{suffix}", place, alt, pictures.magnified(mine[0]))
