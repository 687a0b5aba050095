"""Check a study: do the stored weights give its numbers, and is everything what it was?

Each run's weights are evaluated again and compared with metrics.csv; weights, rows, configurations
and data are compared with the hashes in reproducibility.json, and metrics.csv with the runs' rows.
What cannot be checked (no weights kept, data not here) is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd
import torch
from omegaconf import DictConfig, OmegaConf

from asyrepro.data import catalogue
from asyrepro.metrics import FURTHER
from asyrepro.runs import config, evaluation, parts, provenance, resolve, results
from asyrepro.runs.outcome import Outcome, in_words
from asyrepro.runs.run import Run, finished
from asyrepro.system import devices
from asyrepro.system.errors import ConfigError, DataError, UserError
from asyrepro.tasks import Task
from asyrepro.training import checkpoint

TOLERANCE = 1e-4
HALF_TOLERANCE = 0.002  # for weights kept in half precision, of which keep_weights.py lets 0.001 by
NO_WEIGHTS = "no weights here"


def verify(
    study: Path | str,
    *,
    runs: list[str] | None = None,
    data: str | None = None,
    tolerance: float = TOLERANCE,
    device: str = "auto",
    trust: Collection[str] = (),
    log: Callable[[str], None] = print,
) -> bool:
    """Check a study's folder; what is found goes to ``log``, a line a run and a summary.

    Args:
        study: results/<study>.
        runs: patterns of the runs' names; None or empty: all.
        data: folder of data sets.
        tolerance: largest difference of a metric that counts as equal. Metrics of 8 bits get at
            least :data:`asyrepro.runs.outcome.ROUNDED_TOLERANCE`, weights that were kept in half
            precision :data:`HALF_TOLERANCE`.
        device: as :func:`asyrepro.system.devices.choose` takes it.
        trust: see :func:`asyrepro.training.checkpoint.configuration`; what is not trusted is not
            checked.

    Returns:
        Whether everything that could be checked agrees.

    Raises:
        DataError: there is no such study, or its metrics.csv or reproducibility.json is missing
            or damaged.
        ConfigError: a pattern that fits no run, or no such device.
    """
    study = Path(study)
    if not study.is_dir():
        raise DataError(f"there is no study at {study}: check its name")
    check = _Check(study, tolerance, data, devices.choose(device), trust)
    names = _chosen(check.names(), runs or [], study)
    outcomes = []

    def add(outcome: Outcome) -> None:
        log(str(outcome))
        outcomes.append(outcome)

    for name in names:
        add(check.run(name))
    for path, name in check.baselines(names):
        add(check.baseline(path, name))
    for outcome in (check.data_sets(names), check.metrics(everything=not runs)):
        add(outcome)
    for line in check.summary(outcomes, names):
        log(line)
    return not any(outcome.differs for outcome in outcomes)


def further(stored: pd.DataFrame) -> list[str]:
    """The metrics that ``metrics=`` asked for when these rows were made."""
    return [name for name in FURTHER if name in stored and stored[name].notna().any()]


def _chosen(names: list[str], patterns: list[str], study: Path) -> list[str]:
    chosen = set() if patterns else set(names)
    for pattern in patterns:
        fits = [n for n in names if fnmatchcase(n, pattern) or fnmatchcase(n, f"{pattern}/*")]
        if not fits:
            known = f"; there is {names[0]}" if names else ""
            raise ConfigError(f"no run of {study} is called {pattern!r}{known}")
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
        self.claimed: set[int] = set()  # rows of metrics.csv that belong to a run or baseline
        self.testsets: dict[tuple, catalogue.DataSet | None] = {}

    def names(self) -> list[str]:
        """The runs that have run folders, kept weights or recorded hashes."""
        kept = self.study / "weights"
        found = [p.relative_to(kept).with_suffix("").as_posix() for p in kept.glob("*/*/seed*.pt")]
        return sorted({*found, *(run.name for run in finished(self.study)), *self._known()})

    def _known(self) -> dict[str, dict]:
        return self.recorded["cells"] if self.recorded else {}

    def run(self, name: str) -> Outcome:
        """Configuration, rows and weights of a run, and its part of metrics.csv."""
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
            outcome.same_hash("configuration", identity, known.get("config"))
            stored = self._rows(identity, Run(self.study / name).variant)
            self._run_folder(outcome, self.study / name, stored, known)
            self._weights(outcome, name, identity, stored, known)
        except checkpoint.NotTrusted as error:
            outcome.unchecked.append(f"weights not checked ({error.advice})")
        except UserError as error:
            outcome.differs.append(str(error))
        return outcome

    def _configuration(self, name: str) -> DictConfig | None:
        """A run's, for comparisons only: nothing is built from a folder's config.yaml."""
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
        """A run's rows of metrics.csv."""
        frame = self.frame
        rows = frame[(frame["config"] == identity) & (frame["variant"] == variant)]
        self.claimed.update(rows.index)
        return rows

    def _run_folder(self, outcome: Outcome, folder: Path, stored: pd.DataFrame, known: dict):
        path = folder / "rows.csv"
        if not path.is_file():
            return
        outcome.same_hash("rows", provenance.sha256(path), known.get("rows_sha256"))
        outcome.same_rows(results.read_rows(path, may_be_empty=True), stored)

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
        outcome.same_hash("weights", checkpoint.digest(weights), known.get(key))
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
                    again = evaluation.evaluate(
                        network, testset, task, device=self.device, further=further(stored)
                    )
            except ValueError as error:  # finite weights, but no finite image
                outcome.differs.append(f"{wanted} cannot be evaluated: {error}")
                continue
            outcome.evaluated(again, stored[stored["testset"] == wanted], tolerance)

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
        """The files of baselines of these runs, each with the name of a run of its task."""
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
            outcome.same_hash("rows", provenance.sha256(path), known)
        outcome.same_rows(rows, stored)
        cfg = self._configuration(name)
        task = cfg and _task(cfg, self.trust)
        testset = task and self._testset(named(rows["testset"].iloc[0], cfg), task, cfg)
        if not testset:
            lacking = rows["testset"].iloc[0] if task else cfg and cfg.task["_target_"]
            outcome.unchecked.append(f"not checked: {lacking} is not here, or not trusted")
        else:
            again = evaluation.evaluate_baseline(testset, task, further(stored))
            outcome.evaluated(again, stored, self.tolerance)
        return outcome

    def data_sets(self, names: list[str]) -> Outcome:
        """Whether the images that are here are those that the runs were made from."""
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
                outcome.differs.append(f"runs used different images as {label}")
            elif here is None:
                outcome.unchecked.append(f"{label} is not here")
            else:
                outcome.same_hash(label, here, *fingerprints)
        if not seen:
            outcome.unchecked.append("no fingerprints were recorded")
        return outcome

    def _folders(self, name: str) -> dict[str, str]:
        """The paths of a run's own images: {"training photos": "/path/to/photos"}."""
        try:
            cfg = self._configuration(name)
        except UserError:  # which the check of the run itself says
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
            outcome.same_hash("hash", now, self.recorded["metrics_sha256"])
        rest = len(self.frame) - len(self.claimed) if everything else 0
        if rest and finished(self.study):
            outcome.differs.append(f"{rest} of its rows belong to no run")
        elif rest:
            outcome.unchecked.append(f"the runs of {rest} of its rows are not here")
        return outcome

    def summary(self, outcomes: list[Outcome], names: list[str]) -> list[str]:
        """What was checked, what could not be, and what differs, in lines."""
        runs = [outcome for outcome in outcomes if outcome.name in names]
        again = [outcome for outcome in runs if outcome.largest]
        largest: dict[str, float] = {}
        for outcome in again:
            for metric, value in outcome.largest.items():
                largest[metric] = max(value, largest.get(metric, 0.0))
        numbers = f" ({in_words(largest)})" if again else ""
        lines = ["", f"{len(runs)} runs, {len(again)} evaluated again{numbers}"]
        reasons = Counter(reason for outcome in runs for reason in set(outcome.unchecked))
        lines += [f"{why}: {n} runs not evaluated again" for why, n in sorted(reasons.items())]
        if not self.recorded:
            lines.append(f"no {provenance.STUDY} here: no hashes checked")
        lines += self._elsewhere(names)
        differ = [outcome.name for outcome in outcomes if outcome.differs]
        lines.append(f"{len(differ)} differ: {', '.join(differ)}" if differ else "nothing differs")
        return lines

    def _elsewhere(self, names: list[str]) -> list[str]:
        """Where the runs were made with other versions, or elsewhere, than they are checked."""
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
