"""From the run folders of a study to its tidy table, tables and figures."""

from collections.abc import Callable
from pathlib import Path

from asyrepro.analysis.summary import Summary, summarise
from asyrepro.analysis.titles import loss_title
from asyrepro.report import figures, tables, wording
from asyrepro.runs.results import PAPER_LOSSES, STAND_IN, collect, load
from asyrepro.runs.run import finished

__all__ = ["build", "collect", "load", "rows", "summarise"]

RADAR_FIGURES = figures.RADAR_FIGURES
# Where two tables share their images the first one's are drawn: EDSR's are in colour.
SHEETS = {"fig3": ("super-resolution", (3, 2)), "fig8": ("denoising", (4, 5))}


def build(
    study_dir,
    log: Callable[[str], None] = print,
    *,
    restored: Callable | None = None,
    testset: Callable | None = None,
) -> list[Path]:
    """Make ``metrics.csv``, ``tables/`` and ``figures/`` of a study from what it has so far.

    Args:
        study_dir: ``results/<study>``.
        log: told in a line what was written and what was skipped, and why.
        restored: ``restored(table, loss, seed, image) -> (input, output, label)`` arrays, or None
            if it cannot be had (no weights kept). Needed for Fig. 1-2, 5 and 6.
        testset: ``testset(table) -> DataSet`` with names and images, or None. Needed for Fig. 3, 8.

    Returns:
        The files written.

    Raises:
        DataError: the study has no results, or a file of it is damaged.
    """
    from asyrepro import paper

    study_dir = Path(study_dir)
    frame = rows(study_dir, log)
    published = paper.tables()
    written = [study_dir / "metrics.csv"]
    written += tables.write_tables(frame, study_dir / "tables", published)
    summaries = {}
    for table in RADAR_FIGURES:
        summary = summarise(frame, table, published)
        if summary is not None:
            summaries[table] = summary
    log(f"metrics: {study_dir / 'metrics.csv'}, {len(frame)} rows")
    log(f"tables: {', '.join(map(str, summaries)) or 'none'} in {study_dir / 'tables'}")

    folder = study_dir / "figures"
    for table in summaries:
        figures.radar(frame, table, folder / RADAR_FIGURES[table], published)
        written += _pair(folder / RADAR_FIGURES[table])
    written += _sheets(folder, summaries, testset, log)
    written += _pictures(folder, summaries, restored, log)
    log(f"figures: {sum(path.suffix == '.png' for path in written)} in {folder}")
    return written


def rows(study_dir: Path, log=print):
    """Collect; a study of which only metrics.csv was kept is read as it is."""
    if not finished(study_dir) and (study_dir / "metrics.csv").is_file():
        log(f"{study_dir} has no run folders: metrics.csv is taken as it is")
        return load(study_dir)
    return collect(study_dir)


def _pair(stem: Path) -> list[Path]:
    return [stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "pdf")]


def _titled(text: str, summary: Summary) -> str:
    return f"{text} ({STAND_IN})" if summary.stand_in else text


def _sheets(folder: Path, summaries, testset, log) -> list[Path]:
    """Fig. 3 and 8: a sheet for each different set of test images of a task."""
    from asyrepro.data.catalogue import TABLE2  # slow to import; tables and charts do without

    written = []
    for name, (task, choice) in SHEETS.items():
        sets: dict[tuple, tuple] = {}  # names -> (data, tables that it serves)
        for table in choice:
            if table not in summaries:
                continue
            data = testset(table) if testset else None
            if data is None:
                log(f"{name}: skipped for table {table}, its test images are not here")
                continue
            sets.setdefault(tuple(data.names), (data, []))[1].append(table)
        for position, (data, served) in enumerate(sets.values()):
            stem = folder / (f"{name}_table{min(served)}" if position else name)
            stand_in = data.bundled or any(summaries[table].stand_in for table in served)
            title = f"{task.capitalize()}, {wording.tables(served)}: "
            if stand_in:
                title += f"test images ({STAND_IN})"
            elif all(summaries[table].same_images for table in served):
                title += "the paper's own test images"
            elif list(data.names) == TABLE2:
                title += "BSD300's first ten test images (the paper's are unknown)"
            else:
                title += "test images"
            figures.contact_sheet(data.names, list(data.images), stem, title)
            written += _pair(stem)
    return written


def _pictures(folder: Path, summaries, restored, log) -> list[Path]:
    """Fig. 5 and 6 of each network (SRCNN's, the paper's, without suffix), and Fig. 1-2.

    They show the table's first image and the first seed, so that nothing is chosen by its result.
    """
    written = []
    method, missing = None, []
    for summary in summaries.values():
        model = summary.model
        suffix = "" if model == "srcnn" else f"_{model}"
        found = _restore(summary, restored)
        if found is None:
            log(f"fig5{suffix}, fig6{suffix}: skipped, no restored images of {model} here")
            missing.append(model)
            continue
        image, seed, label, panels = found
        about = _titled(f"{summary.model_title} on {image}, seed {seed}", summary)
        figures.outputs(label, panels, folder / f"fig5{suffix}", f"Outputs of {about}")
        figures.magnified(label, panels, folder / f"fig6{suffix}", f"Magnified: {about}")
        written += [*_pair(folder / f"fig5{suffix}"), *_pair(folder / f"fig6{suffix}")]
        colour = figures.picture(label).ndim == 3
        if method is None or (colour and not method[0]):
            loss = next(x for x in PAPER_LOSSES if panels[loss_title(x)] is not None)
            title = f"The asymmetric loss on {image}, restored by {summary.model_title} under "
            title = _titled(title + loss_title(loss), summary)
            method = (colour, label, panels[loss_title(loss)], title)
    if method is None:
        log("fig1_2: skipped, no restored images here")
        return written
    if missing and (folder / "fig1_2.png").is_file():  # it may show one of these
        log(f"fig1_2: left as it is, no restored images of {', '.join(missing)} here")
        return written
    figures.method(*method[1:3], folder / "fig1_2", method[3])
    return written + _pair(folder / "fig1_2")


def _restore(summary: Summary, restored):
    """(image, seed, label, panels) for the first image that any of the four losses can give."""
    if restored is None:
        return None
    seeds = [s for x in PAPER_LOSSES for s in summary.seeds.get(x, ())]
    for image in summary.images[:1]:
        for seed in sorted(set(seeds)):
            given = {x: restored(summary.table, x, seed, image) for x in PAPER_LOSSES}
            there = [trio for trio in given.values() if trio is not None]
            if there:
                order = ("mae", "asy_mae", "mse", "asy_mse")
                panels = {"Input": there[0][0]}
                panels |= {loss_title(x): given[x] and given[x][1] for x in order}
                return image, seed, there[0][2], panels
    return None
