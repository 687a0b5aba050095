"""The one door of the report: from a study's folder to its tables, figures, verdicts and page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

import pandas as pd

from asyrepro import paper
from asyrepro.analysis import changes, goals, mechanism, verdicts
from asyrepro.analysis.comparisons import comparisons
from asyrepro.analysis.summary import Summary, summarise
from asyrepro.data import STAND_IN, catalogue
from asyrepro.report import charts, crops, curves, page, pictures, setup, tables, texts, wording
from asyrepro.runs import profiles, provenance, results
from asyrepro.runs.run import Run, finished
from asyrepro.system import style
from asyrepro.system.errors import CheckpointError, DataError, say
from asyrepro.system.files import write_csv, write_text

MODES = {2: "luma", 3: "rgb", 4: "grey", 5: "grey"}  # of the tables' test images
# Where two tables share their images the first one's are drawn: EDSR's are in colour.
SHEETS = {3: ("super-resolution", (3, 2)), 8: ("denoising", (4, 5))}  # by the paper's figure


@dataclass
class Findings:
    """What a study's rows tell, computed once and handed to all that write or draw."""

    folder: Path  # results/<study>
    frame: pd.DataFrame  # the tidy table, with a sweep's variants
    summaries: list[Summary]  # of the paper's tables that the study holds
    stand_in: bool  # whether something was made from the bundled stand-in data
    comparisons: pd.DataFrame  # of analysis.verdicts.view
    claims: pd.DataFrame  # of analysis.verdicts.claim_verdicts
    changes: pd.DataFrame  # of analysis.changes.view
    goals: pd.DataFrame  # of analysis.goals.table
    bins: pd.DataFrame | None  # of analysis.mechanism.bin_changes; None without profiles
    regions: pd.DataFrame | None  # of analysis.mechanism.regions; None without profiles
    times: pd.DataFrame | None  # of analysis.verdicts.step_time_summary
    histories: pd.DataFrame | None  # of report.curves.collect
    crops: dict[str, list[crops.Crop]]  # of report.crops.collect
    record: dict  # reproducibility.json

    @property
    def name(self) -> str:
        return self.folder.name


def build(
    study: Path | str,
    log: Callable[[str], None] = say,
    pdf: bool = False,
    data: str | None = None,
) -> None:
    """Make everything that can be made from what the study's folder holds.

    Numbers: metrics.csv, profiles.csv.gz, histories.csv, verdicts.csv, claims.csv, changes.csv,
    goals.csv, mechanism.csv, regions.csv, reproducibility.json. To read: tables/, figures/,
    changes.md, verdicts.md, index.html. New crops need the runs' weights (of the run, or kept with
    the study) and the test images, sheets of test images need these; without, what is there stays.

    Args:
        study: results/<study>.
        log: told in a line what was written, and what was left as it is, and why.
        pdf: write the figures as PDF, too.
        data: folder of data sets (default: ASYREPRO_DATA, then data/).

    Raises:
        DataError: the folder holds no results, or a file in it is damaged.
    """
    folder = Path(study)
    if not folder.is_dir():
        raise DataError(f"there is no study at {folder}: run it first, or check its name")
    found = measure(folder, data)
    log(f"metrics: {folder / 'metrics.csv'}, {len(found.frame)} rows")
    _write_numbers(found)
    tables.write_tables(found.summaries, folder / "tables")
    numbers = ", ".join(str(summary.table) for summary in found.summaries) or "none"
    log(f"tables: {numbers} in {folder / 'tables'}")
    drawn = []
    for chart in chain(charts.charts(found), _sheets(found, log, data)):
        style.replace(chart.figure, folder / "figures" / chart.stem, pdf)
        drawn.append(chart._replace(figure=None))  # many would fill the memory
    charts.remove_others(folder / "figures", drawn)
    log(f"figures: {len(drawn)} in {folder / 'figures'}")
    _write_texts(found, log)
    page.write(found, drawn)
    log(f"page: {folder / 'index.html'}")


def measure(folder: Path, data: str | None = None) -> Findings:
    """All that the analysis says of a study; ``data`` as for :func:`build`."""
    frame = rows(folder)
    if results.of_runs(frame).empty:
        path = folder / "metrics.csv"
        raise DataError(f"{path} has no row of a run: delete it and run the study first")
    found = (summarise(frame, table) for table in paper.TABLES)
    summaries = [summary for summary in found if summary is not None]
    profiles.collect(folder)
    provenance.collect(folder)
    compared = comparisons(frame, paper.tables(), with_power=True)
    judged = verdicts.view(compared)
    bins = regions = None
    if (folder / profiles.STUDY).is_file():
        sums = mechanism.of_runs(profiles.load(folder / profiles.STUDY), results.plain(frame))
        bins, regions = mechanism.bin_changes(sums), mechanism.regions(sums)
    times, histories = _times(folder / "step_times.csv"), curves.collect(folder)
    evidence = {"change": judged, "up_to": frame, "region": regions, "time": times}
    if histories is not None:
        evidence["learning"] = curves.of_tables(histories)
    subjects = crops.subjects(folder, frame, summaries)
    return Findings(
        folder=folder,
        frame=frame,
        summaries=summaries,
        stand_in=results.of_stand_in(frame),
        comparisons=judged,
        claims=verdicts.claim_verdicts(evidence),
        changes=changes.view(compared),
        goals=goals.table(frame),
        bins=bins,
        regions=regions,
        times=times,
        histories=histories,
        crops=crops.collect(folder, subjects, Restorer(folder, data)),
        record=provenance.read(folder / provenance.STUDY) or {},
    )


def rows(folder: Path) -> pd.DataFrame:
    """The tidy table; of a study of which only metrics.csv was kept, as it is."""
    if not finished(folder) and (folder / "metrics.csv").is_file():
        return results.load(folder)
    return results.collect(folder)


def _times(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    columns = ["loss", "step_ms", "repetition"]
    return verdicts.step_time_summary(results.read_table(path, columns, columns[1:]))


# ---------------------------------------------------------------------------------- numbers, texts


def _write_numbers(found: Findings) -> None:
    shown = found.changes[list(changes.COLUMNS)].rename(columns={"direction": "result"})
    made = {"goals": found.goals, "changes": shown}
    if found.summaries:
        made |= {"verdicts": found.comparisons, "claims": found.claims}
    if found.bins is not None:
        made |= {"mechanism": found.bins, "regions": found.regions}
    for name, table in made.items():
        path = found.folder / f"{name}.csv"
        if table.empty and name in ("goals", "changes"):
            path.unlink(missing_ok=True)
        else:
            write_csv(path, table, "%.6f" if name == "changes" else "%.6g")


def _write_texts(found: Findings, log) -> None:
    path = found.folder / "changes.md"
    path.unlink(missing_ok=True)
    if not found.changes.empty:
        write_text(path, texts.changes(found))
        log(f"changes: {path}, each loss against its base loss on every test set")
    if found.summaries:
        write_text(found.folder / "verdicts.md", texts.verdicts(found))
        log(f"verdicts: {found.folder / 'verdicts.md'}")


# ----------------------------------------------------------------------------- what needs images


def _sheets(found: Findings, log, root: str | None) -> Iterator[charts.Chart]:
    """Fig. 3 and 8: a sheet for each different set of test images of a task."""
    by_table = {summary.table: summary for summary in found.summaries}
    for number, (task, choice) in SHEETS.items():
        sets: dict[tuple, tuple] = {}  # names -> (data, tables that it serves)
        for table in filter(by_table.get, choice):
            data = _test_images(by_table[table], root)
            if data is None:
                log(f"fig{number}: left as it is for table {table}, its test images are not here")
                continue
            sets.setdefault(tuple(data.names), (data, []))[1].append(table)
        for position, (data, served) in enumerate(sets.values()):
            stem = f"fig{number}" + (f"_table{min(served)}" if position else "")
            title = f"The paper's Fig. {number} for {task} ({wording.tables(served)}): "
            title += _whose(data, [by_table[table] for table in served])
            sheet = pictures.contact_sheet(data.names, data.pixels, title)
            yield charts.Chart(stem, "", "", sheet)


def _whose(data, served: list[Summary]) -> str:
    if data.bundled or any(summary.stand_in for summary in served):
        return f"test images ({STAND_IN})"
    if all(summary.same_images for summary in served):
        sets = wording.listed(dict.fromkeys(setup.PAPERS_OWN[s.table] for s in served))
        return f"{sets}, the paper's own test images"
    if list(data.names) == catalogue.TABLE2:
        return "BSD300's first ten test images (not the paper's)"
    return "test images"


def _test_images(summary: Summary, root: str | None):
    """The test images that a table was made on, or None if they are not here."""
    own = set(summary.rows["testset"]) - {"", "bundled", f"table{summary.table}"}
    if own:
        return None
    name = "bundled" if summary.stand_in else f"table{summary.table}"
    return _test_set(name, mode=MODES[summary.table], root=root)


@lru_cache(maxsize=16)
def _test_set(name: str, **how):
    try:
        return catalogue.test_set(name, **how, download=False)
    except DataError:
        return None


class Restorer:
    """``restored(folder, loss, seed, image)``: restores a test image with a run's weights.

    The image is the evaluated one, read and degraded as then. Weights are loaded once.
    """

    def __init__(self, study: Path, data: str | None = None):
        self.study, self.data = study, data
        self.loaded = lru_cache(maxsize=16)(self._load)

    def _load(self, name: str):
        path = Run(self.study / name).kept_weights
        if path is None:
            return None
        from asyrepro.runs import parts  # loads PyTorch, which a report without weights can spare

        try:
            return parts.load(path)
        except CheckpointError:
            return None

    def __call__(self, folder: str, loss: str, seed: int, image: str):
        """(degraded, output, label), (H, W) or (H, W, 3); None without weights or image."""
        name = f"{folder}/{loss}/seed{seed}"
        loaded = self.loaded(name)
        if loaded is None:
            return None
        from asyrepro.runs import evaluation, parts

        network, task, cfg = loaded
        if not cfg.testset:
            return None
        testset = _test_set(str(cfg.testset), **parts.reading(task, cfg), root=self.data)
        if testset is None or image not in testset.names:
            return None
        recorded = provenance.fingerprints(Run(self.study / name)).get(f"test {testset.name}")
        if recorded not in (None, testset.fingerprint):
            return None
        found = testset.images[testset.names.index(image)]
        trio = evaluation.restore(network, task.on(testset.name), found, image)
        return tuple(part.permute(1, 2, 0).squeeze(-1).numpy() for part in trio)
