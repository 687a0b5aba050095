"""A study's folder: from its cells to tables, figures and verdicts."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from asyrepro import paper, report
from asyrepro.analysis import goals
from asyrepro.data import catalogue
from asyrepro.report import changes, page, verdicts_report
from asyrepro.runs import evaluation, execution, profiles, provenance, results
from asyrepro.runs.run import Run
from asyrepro.system.errors import CheckpointError, DataError, say

MODES = {2: "luma", 3: "rgb", 4: "grey", 5: "grey"}


def build(study: Path | str, log=say) -> None:
    """Make everything that can be made from what the study's folder holds.

    metrics.csv, profiles.csv, tables/ and figures/, goals.csv, changes.md, verdicts.md, index.html,
    reproducibility.json.
    The figures that show images need the cells' weights (of the run, or kept with the study) and
    the test images; where these are missing they are left as they are.

    Raises:
        DataError: the folder holds no results, or a file in it is damaged.
    """
    study = Path(study)
    if not study.is_dir():
        raise DataError(f"there is no study at {study}: run it first, or check its name")
    whole = report.rows(study, log=lambda _: None)
    frame = results.plain(whole)
    bundled = set(frame.loc[frame["dataset"] == "bundled", "table"].dropna())
    known = {"", "bundled", *(f"table{table}" for table in paper.MODELS)}
    own = set(frame.loc[~frame["testset"].isin(known), "table"].dropna())
    report.build(
        study,
        log,
        restored=lambda table, loss, seed, image: _restored(study, table, loss, seed, image),
        testset=lambda table: (
            None if table in own else _test_images(table, table in bundled, MODES[table])
        ),
    )
    profiles.collect(study)
    provenance.collect(study)
    goals.write(study, frame)
    if changes.write(study, whole):
        log(f"changes: {study / 'changes.md'}, each loss against its base loss on every test set")
    if frame["table"].notna().any():
        verdicts_report.write(study)
        log(f"verdicts: {study / 'verdicts.md'}")
    page.write(study, lambda *which: _restored(study, *which))
    log(f"page: {study / 'index.html'}")


@cache
def _test_images(table: int, bundled: bool, mode: str):
    """The test images that a table was made on, or None if they are not here."""
    name = "bundled" if bundled else f"table{table}"
    try:
        return catalogue.test_set(name, mode=mode, download=False)
    except DataError:
        return None


def _restored(study: Path, table: int, loss: str, seed: int, image: str):
    """(degraded, output, label) as arrays (H, W) or (H, W, 3); None without weights or image."""
    path = Run(study / f"table{table}/{loss}/seed{seed}").kept_weights
    if path is None:
        return None
    try:
        network, task, cfg = execution.load(path)
    except CheckpointError:
        return None
    images = _test_images(table, cfg.testset == "bundled", task.mode)
    if images is None or image not in images.names or cfg.model.name != paper.MODELS[table]:
        return None
    found = images.images[images.names.index(image)]
    trio = evaluation.restore(network, task, found, image)
    return tuple(part.permute(1, 2, 0).squeeze(-1).numpy() for part in trio)
