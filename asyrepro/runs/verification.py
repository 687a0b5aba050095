"""Check a study: do the stored weights give its numbers, and is everything what it was?

Each cell's weights are evaluated again and compared with metrics.csv; weights, rows, configurations
and data are compared with the hashes in reproducibility.json, and metrics.csv with the cells' rows.
What cannot be checked (no weights kept, data not here) is said.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd
import torch
from omegaconf import DictConfig, OmegaConf

from asyrepro.data import catalogue
from asyrepro.runs import config, evaluation, parts, provenance, resolve, results
from asyrepro.runs.run import Run, finished
from asyrepro.system import devices
from asyrepro.system.errors import ConfigError, DataError, UserError
from asyrepro.tasks import Task
from asyrepro.training import checkpoint

TOLERANCE = 1e-4
HALF_TOLERANCE = 0.002  # for weights kept in half precision, of which keep_weights.py lets 0.001 by
ROUNDED_TOLERANCE = 0.001  # for metrics of 8 bits: one pixel of Set5's bird is 0.0001 dB
PRINTED = 6e-7  # metrics.csv has six decimals
NO_WEIGHTS = "no weights here"


@dataclass
class Outcome:
    """What the check of one cell, baseline or file found.

    Attributes:
        name: of what was checked.
        differs: what is not as it should be, in words.
        agrees: what is as it should be.
        unchecked: what could not be checked, or why nothing could.
        largest: the largest difference of each metric, where it was evaluated again.
    """

    name: str
    differs: list[str] = field(default_factory=list)
    agrees: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    largest: dict[str, float] = field(default_factory=dict)

    def note(self, what: str, same: bool, problem: str) -> None:
        """Add ``what`` to what agrees, or else the problem to what differs."""
        (self.agrees if same else self.differs).append(what if same else problem)

    def __str__(self) -> str:
        parts = [f"DIFFERS: {'; '.join(self.differs)}"] if self.differs else []
        parts += [f"evaluated again, {in_words(self.largest)}"] if self.largest else []
        parts += [f"same {', '.join(self.agrees)}"] if self.agrees else []
        return f"{self.name}: {'; '.join(parts + self.unchecked) or 'nothing to check'}"


def verify(
    study: Path | str,
    *,
    cells: list[str] | None = None,
    data: str | None = None,
    tolerance: float = TOLERANCE,
    device: str = "auto",
    trust: Collection[str] = (),
    log: Callable[[str], None] = print,
) -> bool:
    """Check a study's folder; what is found goes to ``log``, a line a cell and a summary.

    Args:
        study: results/<study>.
        cells: patterns of the cells' names; None or empty: all.
        data: folder of data sets.
        tolerance: largest difference of a metric that counts as equal. Metrics of 8 bits get at
            least :data:`ROUNDED_TOLERANCE`, weights that were kept in half precision
            :data:`HALF_TOLERANCE`.
        device: as :func:`asyrepro.system.devices.choose` takes it.
        trust: see :func:`asyrepro.training.checkpoint.configuration`; what is not trusted is not
            checked.

    Returns:
        Whether everything that could be checked agrees.

    Raises:
        DataError: there is no such study, or its metrics.csv or reproducibility.json is missing
            or damaged.
        ConfigError: a pattern that fits no cell, or no such device.
    """
    study = Path(study)
    if not study.is_dir():
        raise DataError(f"there is no study at {study}: check its name")
    check = _Check(study, tolerance, data, devices.choose(device), trust)
    names = _chosen(check.names(), cells or [], study)
    outcomes = []

    def add(outcome: Outcome) -> None:
        log(str(outcome))
        outcomes.append(outcome)

    for name in names:
        add(check.cell(name))
    for path, name in check.baselines(names):
        add(check.baseline(path, name))
    for outcome in (check.data_sets(names), check.metrics(everything=not cells)):
        add(outcome)
    for line in check.summary(outcomes, names):
        log(line)
    return not any(outcome.differs for outcome in outcomes)


def _chosen(names: list[str], patterns: list[str], study: Path) -> list[str]:
    chosen = set() if patterns else set(names)
    for pattern in patterns:
        fits = [n for n in names if fnmatchcase(n, pattern) or fnmatchcase(n, f"{pattern}/*")]
        if not fits:
            known = f"; there is {names[0]}" if names else ""
            raise ConfigError(f"no cell of {study} is called {pattern!r}{known}")
        chosen.update(fits)
    return sorted(chosen)


class _Check:
    """The check of one study: what it holds, and what has been read so far."""

    def __init__(
        self,
        study: Path,
        tolerance: float,
        data: str | None,
        device: torch.device,
        trust: Collection[str] = (),
    ):
        self.trust = trust
        self.study, self.tolerance, self.data, self.device = study, tolerance, data, device
        self.frame = results.load(study)
        self.recorded = provenance.read(study / provenance.STUDY)
        self.claimed: set[int] = set()  # rows of metrics.csv that belong to a cell or baseline
        self.testsets: dict[tuple, catalogue.DataSet | None] = {}

    def names(self) -> list[str]:
        """The cells that have run folders, kept weights or recorded hashes."""
        kept = self.study / "weights"
        found = [p.relative_to(kept).with_suffix("").as_posix() for p in kept.glob("*/*/seed*.pt")]
        return sorted({*found, *(run.name for run in finished(self.study)), *self._known()})

    def _known(self) -> dict[str, dict]:
        return self.recorded["cells"] if self.recorded else {}

    def cell(self, name: str) -> Outcome:
        """Configuration, rows and weights of a cell, and its part of metrics.csv."""
        outcome = Outcome(name)
        known = self._known().get(name, {})
        if self.recorded and not known:
            outcome.differs.append(f"{provenance.STUDY} does not have it")
        try:
            cfg = self._configuration(name)
            if cfg is None:
                outcome.unchecked.append(f"{NO_WEIGHTS}, nor its folder")
                return outcome
            identity = config.identity(cfg)
            _compare(outcome, "configuration", identity, known.get("config"))
            stored = self._rows(identity, Run(self.study / name).variant)
            self._run_folder(outcome, self.study / name, stored, known)
            self._weights(outcome, name, identity, stored, known)
        except checkpoint.NotTrusted as error:
            outcome.unchecked.append(f"weights not checked ({error.advice})")
        except UserError as error:
            outcome.differs.append(str(error))
        return outcome

    def _configuration(self, name: str) -> DictConfig | None:
        """A cell's, for comparisons only: nothing is built from a folder's config.yaml."""
        path = self.study / name / "config.yaml"
        if not path.is_file():
            path = Run(self.study / name).kept_weights
            return path and parts.load(path, trusted=self.trust)[2]
        try:
            cfg = OmegaConf.load(path)
            config.identity(cfg)
        except Exception as error:  # yaml's and OmegaConf's are many
            raise DataError(f"{path} is damaged") from error
        return cfg

    def _rows(self, identity: str, variant: str) -> pd.DataFrame:
        """A cell's rows of metrics.csv."""
        frame = self.frame
        rows = frame[(frame["config"] == identity) & (frame["variant"] == variant)]
        self.claimed.update(rows.index)
        return rows

    def _run_folder(self, outcome: Outcome, folder: Path, stored: pd.DataFrame, known: dict):
        path = folder / "rows.csv"
        if not path.is_file():
            return
        _compare(outcome, "rows", provenance.sha256(path), known.get("rows_sha256"))
        problem = difference(results.read_rows(path, may_be_empty=True), stored)
        outcome.note("metrics.csv", not problem, problem)

    def _weights(
        self, outcome: Outcome, name: str, identity: str, stored: pd.DataFrame, known: dict
    ) -> None:
        path = Run(self.study / name).kept_weights
        if path is None:
            outcome.unchecked.append(NO_WEIGHTS)
            return
        network, task, cfg = parts.load(path, self.device, self.trust)
        weights = checkpoint.load(path)["network"]
        half = any(tensor.dtype == torch.float16 for tensor in weights.values())
        key = "weights_half_sha256" if half else "weights_sha256"
        _compare(outcome, "weights", checkpoint.digest(weights), known.get(key))
        if config.identity(cfg) != identity:
            outcome.differs.append(f"{path.name} is of another configuration than the folder")
            return
        tolerance = max(self.tolerance, HALF_TOLERANCE) if half else self.tolerance
        first = [catalogue.short(cfg.testset)] if cfg.testset else []
        for wanted in dict.fromkeys([*stored["testset"], *first]):
            testset = self._testset(named(wanted, cfg), task, cfg)
            if testset is None:
                outcome.unchecked.append(f"{wanted} is not here")
                continue
            try:
                with devices.memory(f"an image of {wanted} does not fit into the free memory"):
                    again = evaluation.evaluate(network, testset, task, device=self.device)
            except ValueError as error:  # finite weights, but no finite image
                outcome.differs.append(f"{wanted} cannot be evaluated: {error}")
                continue
            _evaluated(outcome, again, stored[stored["testset"] == wanted], tolerance)

    def _testset(self, name: str, task: Task, cfg: DictConfig) -> catalogue.DataSet | None:
        if catalogue.is_folder(name) and not catalogue.fingerprint("test", name):
            return None  # missing, or without images
        reading = {**task.reading(), "white": cfg.dataset.get("white")}
        key = (name, *reading.values())
        if key not in self.testsets:
            try:
                found = catalogue.test_set(name, **reading, root=self.data, download=False)
            except catalogue.NotAvailable:
                found = None
            self.testsets[key] = found
        return self.testsets[key]

    def baselines(self, names: list[str]) -> list[tuple[Path, str]]:
        """The files of baselines of these cells, each with the name of a cell of its task."""
        groups = {name.split("/")[0]: name for name in names}
        found = []
        for path in sorted(self.study.glob("baselines/*.csv")):
            testset = results.read_rows(path)["testset"].iloc[0]
            group = path.stem.removesuffix(f"_{testset}")
            if group in groups:
                found.append((path, groups[group]))
        return found

    def baseline(self, path: Path, name: str) -> Outcome:
        """The rows of the degraded images, which need no weights: their file, and once more."""
        outcome = Outcome(path.relative_to(self.study).as_posix())
        rows = results.read_rows(path)
        stored = self.frame[self.frame["seed"].isna()]
        for column in ("model", "dataset", "loss", "testset", "variant"):
            stored = stored[stored[column] == rows[column].iloc[0]]
        self.claimed.update(stored.index)
        if self.recorded:
            known = self.recorded["baselines"].get(path.name)
            _compare(outcome, "rows", provenance.sha256(path), known)
        problem = difference(rows, stored)
        outcome.note("metrics.csv", not problem, problem)
        cfg = self._configuration(name)
        task = cfg and _task(cfg, self.trust)
        testset = task and self._testset(named(rows["testset"].iloc[0], cfg), task, cfg)
        if not testset:
            lacking = rows["testset"].iloc[0] if task else cfg and cfg.task["_target_"]
            outcome.unchecked.append(f"not checked: {lacking} is not here, or not trusted")
        else:
            again = evaluation.evaluate_baseline(testset, task)
            _evaluated(outcome, again, stored, self.tolerance)
        return outcome

    def data_sets(self, names: list[str]) -> Outcome:
        """Whether the images that are here are those that the cells were made from."""
        outcome, seen = Outcome("data sets"), {}
        folders = {}  # by label, the path of one's own images
        for name in names:
            key = self._known().get(name, {}).get("data")
            if key is None:
                continue
            for label, fingerprint in self.recorded["data"][key].items():
                seen.setdefault(label, set()).add(fingerprint)
            folders |= self._folders(name)
        for label, fingerprints in sorted(seen.items()):
            kind, called = label.split(" ", 1)
            try:
                here = catalogue.fingerprint(kind, folders.get(label, called), self.data)
            except ConfigError:  # a folder whose path is not known here
                here = None
            if len(fingerprints) > 1:
                outcome.differs.append(f"cells used different images as {label}")
            elif here is None:
                outcome.unchecked.append(f"{label} is not here")
            else:
                _compare(outcome, label, here, *fingerprints)
        if not seen:
            outcome.unchecked.append("no fingerprints were recorded")
        return outcome

    def _folders(self, name: str) -> dict[str, str]:
        """The paths of a cell's own images: {"training photos": "/path/to/photos"}."""
        try:
            cfg = self._configuration(name)
        except UserError:  # which the check of the cell itself says
            return {}
        if cfg is None:
            return {}
        training, *tests = resolve.data_sets(cfg)
        return _labelled("training", [training]) | _labelled("test", tests)

    def metrics(self, everything: bool) -> Outcome:
        """metrics.csv as a whole: its hash, and rows that belong to nothing."""
        outcome = Outcome("metrics.csv")
        if self.recorded:
            now = provenance.sha256(self.study / "metrics.csv")
            _compare(outcome, "hash", now, self.recorded["metrics_sha256"])
        rest = len(self.frame) - len(self.claimed) if everything else 0
        if rest and finished(self.study):
            outcome.differs.append(f"{rest} of its rows belong to no cell")
        elif rest:
            outcome.unchecked.append(f"the cells of {rest} of its rows are not here")
        return outcome

    def summary(self, outcomes: list[Outcome], names: list[str]) -> list[str]:
        """What was checked, what could not be, and what differs, in lines."""
        cells = [outcome for outcome in outcomes if outcome.name in names]
        again = [outcome for outcome in cells if outcome.largest]
        largest: dict[str, float] = {}
        for outcome in again:
            for metric, value in outcome.largest.items():
                largest[metric] = max(value, largest.get(metric, 0.0))
        numbers = f" ({in_words(largest)})" if again else ""
        lines = ["", f"{len(cells)} cells, {len(again)} evaluated again{numbers}"]
        reasons = Counter(reason for outcome in cells for reason in set(outcome.unchecked))
        lines += [f"{why}: {n} cells not evaluated again" for why, n in sorted(reasons.items())]
        if not self.recorded:
            lines.append(f"no {provenance.STUDY} here: no hashes checked")
        lines += self._elsewhere(names)
        differ = [outcome.name for outcome in outcomes if outcome.differs]
        lines.append(f"{len(differ)} differ: {', '.join(differ)}" if differ else "nothing differs")
        return lines

    def _elsewhere(self, names: list[str]) -> list[str]:
        """Where the cells were made with other versions, or elsewhere, than they are checked."""
        here = provenance.versions()
        device = devices.name_of(self.device)
        known = [self._known()[name] for name in names if name in self._known()]
        found = set()
        for key in {key for entry in known for key in entry["environments"]}:
            environment = self.recorded["environments"][key]
            there = environment["versions"]
            found |= {
                f"{name} {there[name]}, here {here[name]}"
                for name in ("torch", "numpy", "scikit-image")
                if there[name] not in (None, here[name])
            }
            if environment["device"] not in (None, device):
                found.add(f"{environment['device']}, here {device}")
        if not found:
            return []
        return [f"made with {'; '.join(sorted(found))}: last digits may differ"]


def _task(cfg: DictConfig, trust: Collection[str]) -> Task | None:
    """The task of a configuration that may come from a stranger; None unless it is trusted."""
    known = checkpoint.is_trusted(cfg.task.get("_target_"), "task", trust)
    return config.make(cfg.task) if known else None


def named(testset: str, cfg: DictConfig) -> str:
    """A test set of metrics.csv as the configuration names it: a folder by its path."""
    _, *tests = resolve.data_sets(cfg)
    return _labelled("test", tests).get(f"test {testset}", testset)


def _labelled(kind: str, names: list[str]) -> dict[str, str]:
    """Folders of one's own by the labels that provenance gives their fingerprints."""
    folders = filter(catalogue.is_folder, names)
    return {f"{kind} {catalogue.short(name)}": name for name in folders}


def _compare(outcome: Outcome, what: str, now: str, then: str | None) -> None:
    """Compare a hash with the recorded one, if there is one."""
    if then is not None:
        outcome.note(what, now == then, f"{what} {now[:12]}, recorded {then[:12]}")


def difference(rows: pd.DataFrame, stored: pd.DataFrame) -> str:
    """In what ``stored``, part of metrics.csv, differs from a file's rows; "" if in nothing."""
    keys = ["testset", "image"]
    rows, stored = rows.set_index(keys), stored.set_index(keys)
    absent, extra = rows.index.difference(stored.index), stored.index.difference(rows.index)
    if len(absent) or len(extra):
        return f"metrics.csv lacks {len(absent)} of its rows and has {len(extra)} others"
    for column in rows.columns:
        ours, theirs = rows[column], stored[column].reindex(rows.index)
        if column in results.FLOATS:
            same = (ours == theirs) | ((ours - theirs).abs() < PRINTED)
        else:
            same = ours == theirs
        wrong = ~(same.fillna(False) | (ours.isna() & theirs.isna()))
        if wrong.any():
            testset, image = wrong.idxmax()
            value, other = theirs[wrong.idxmax()], ours[wrong.idxmax()]
            return f"metrics.csv has {column} {value} for {image} on {testset}, its rows {other}"
    return ""


def _evaluated(outcome: Outcome, again: list[dict], stored: pd.DataFrame, tolerance: float) -> None:
    """Compare rows that were evaluated again with those of metrics.csv on one test set."""
    stored = stored.set_index("image")
    worst = (0.0, "")  # beyond the tolerance
    for row in again:
        if row["image"] not in stored.index:
            outcome.differs.append(f"metrics.csv lacks {row['image']} on {row['testset']}")
            continue
        for metric in (name for name in results.FLOATS if name in row):
            here, there = printed(row[metric]), stored.at[row["image"], metric]
            same = here == there or (math.isnan(here) and math.isnan(there))
            change = 0.0 if same else abs(here - there)
            change = math.inf if math.isnan(change) else change
            outcome.largest[metric] = max(change, outcome.largest.get(metric, 0.0))
            text = f"{metric} of {row['image']} on {row['testset']} is {here:.6f}"
            allowed = max(tolerance, ROUNDED_TOLERANCE) if metric.endswith("_y") else tolerance
            worst = max(worst, (change - allowed, f"{text}, in metrics.csv {there:.6f}"))
    if worst[0] > 0:
        outcome.differs.append(worst[1])


def printed(value: float) -> float:
    """A metric as it comes out of metrics.csv, by way of rows.csv."""
    return float(f"{float(f'{value:.7f}'):.6f}")


def in_words(largest: dict[str, float]) -> str:
    """Largest differences by metric, as "largest difference psnr 0, ssim 2e-06"."""
    return f"largest difference {', '.join(f'{k} {v:.1g}' for k, v in largest.items())}"
