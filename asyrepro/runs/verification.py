"""The check of a study that ``asyrepro verify`` makes; its help tells what is checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd
import torch
from omegaconf import DictConfig, OmegaConf

from asyrepro.data import catalogue
from asyrepro.data.download import file_digest
from asyrepro.metrics import FURTHER
from asyrepro.runs import config, evaluation, parts, provenance, resolve, results
from asyrepro.runs.outcome import Outcome, in_words
from asyrepro.runs.run import Run, finished
from asyrepro.system import devices
from asyrepro.system.errors import ConfigError, DataError, UserError
from asyrepro.tasks import Task
from asyrepro.training import checkpoint

HALF_TOLERANCE = 0.002  # for weights kept in half precision, of which keep_weights.py lets 0.001 by
NO_WEIGHTS = "no weights here"


def verify(options) -> bool:
    """Check a study's folder, and print what is found: a line a run, and a summary.

    Args:
        options: :class:`asyrepro.commands.verify.Options`. Metrics of 8 bits get at least the
            tolerance :data:`asyrepro.runs.outcome.ROUNDED_TOLERANCE`, weights that were kept in
            half precision :data:`HALF_TOLERANCE`.

    Returns:
        Whether everything that could be checked agrees.

    Raises:
        DataError: there is no such study, or its metrics.csv or reproducibility.json is missing
            or damaged.
        ConfigError: a pattern that fits no run, or no such device.
    """
    if not options.study.is_dir():
        raise DataError(f"there is no study at {options.study}: check its name")
    check = _Check(options)
    chosen = _chosen(check.runs(), options.runs, options.study)
    outcomes = []
    for outcome in check.outcomes(chosen, everything=not options.runs):
        print(outcome)
        outcomes.append(outcome)
    print("\n".join(check.summary(outcomes, chosen)))
    return not any(outcome.differs for outcome in outcomes)


def further(stored: pd.DataFrame) -> list[str]:
    """The metrics that ``metrics=`` asked for when these rows were made."""
    return [name for name in FURTHER if name in stored and stored[name].notna().any()]


def _chosen(runs: list[Run], patterns: list[str], study: Path) -> list[Run]:
    chosen = set() if patterns else set(runs)
    for pattern in patterns:
        both = (pattern, f"{pattern}/*")
        fits = [run for run in runs if any(fnmatchcase(run.name, each) for each in both)]
        if not fits:
            known = f"; there is {runs[0].name}" if runs else ""
            raise ConfigError(f"no run of {study} is called {pattern!r}{known}")
        chosen.update(fits)
    return sorted(chosen, key=lambda run: run.name)


class _Check:
    """The check of one study: what it holds, and what has been read so far."""

    def __init__(self, options):
        self.study, self.tolerance, self.data = options.study, options.tolerance, options.data
        self.device, self.trust = devices.choose(options.device), options.trust
        self.frame = results.load(self.study)
        self.recorded = provenance.read(self.study / provenance.STUDY)
        self.known = self.recorded["cells"] if self.recorded else {}  # what is recorded of runs
        self.claimed: set[int] = set()  # rows of metrics.csv that belong to a run or baseline
        self.testsets: dict[tuple, catalogue.DataSet | None] = {}

    def runs(self) -> list[Run]:
        """Those that have a folder, kept weights or recorded hashes."""
        kept = self.study / "weights"
        found = {p.relative_to(kept).with_suffix("").as_posix() for p in kept.glob("*/*/seed*.pt")}
        found |= {*self.known, *(run.name for run in finished(self.study))}
        return [Run(self.study / name) for name in sorted(found)]

    def outcomes(self, runs: list[Run], everything: bool) -> Iterator[Outcome]:
        """What the check of each run finds, of their baselines, data sets and metrics.csv."""
        for run in runs:
            yield self.run(run)
        rows = {run.row: run for run in runs}
        for path in sorted(self.study.glob("baselines/*.csv")):
            frame = results.read_rows(path)
            row = path.stem.removesuffix(f"_{frame['testset'].iloc[0]}")
            if row in rows:
                yield self.baseline(path, frame, rows[row])
        yield self.data_sets(runs)
        yield self.metrics(everything)

    # ------------------------------------------------------------------------------ what is checked

    def run(self, run: Run) -> Outcome:
        """Configuration, rows and weights of a run, and its part of metrics.csv."""
        outcome, known = Outcome(run.name), self.known.get(run.name, {})
        if self.recorded and not known:
            outcome.differs.append(f"{provenance.STUDY} does not have it")
        try:
            cfg = self._configuration(run)
            if cfg is None:
                outcome.unchecked.append(f"{NO_WEIGHTS}, nor its folder")
                return outcome
            identity = config.identity(cfg)
            outcome.same_hash("configuration", identity, known.get("config"))
            frame = self.frame
            stored = frame[(frame["config"] == identity) & (frame["variant"] == run.variant)]
            self.claimed.update(stored.index)
            if run.finished:
                rows = results.read_rows(run.rows, may_be_empty=True)
                outcome.same_hash("rows", file_digest(run.rows), known.get("rows_sha256"))
                outcome.same_rows(rows, stored)
            if run.kept_weights is None:
                outcome.unchecked.append(NO_WEIGHTS)
            else:
                self._weights(outcome, run.kept_weights, identity, stored, known)
        except checkpoint.NotTrusted as error:
            outcome.unchecked.append(f"weights not checked ({error.advice})")
        except UserError as error:
            outcome.differs.append(str(error))
        return outcome

    def _weights(
        self, outcome: Outcome, path: Path, identity: str, stored: pd.DataFrame, known: dict
    ) -> None:
        """Weights against their hash, and evaluated again."""
        network, task, cfg = parts.load(path, self.device, self.trust)
        weights = checkpoint.load(path)["network"]
        half = any(tensor.dtype == torch.float16 for tensor in weights.values())
        key = "weights_half_sha256" if half else "weights_sha256"
        outcome.same_hash("weights", checkpoint.digest(weights), known.get(key))
        if config.identity(cfg) != identity:
            outcome.differs.append(f"{path.name} is of another configuration than the folder")
            return
        tolerance = max(self.tolerance, HALF_TOLERANCE) if half else self.tolerance
        own = [catalogue.short(cfg.testset)] if cfg.testset else []
        for name in dict.fromkeys([*stored["testset"], *own]):
            testset = self._testset(name, task, cfg)
            if testset is None:
                outcome.unchecked.append(f"{name} is not here")
                continue
            try:
                with devices.memory(f"an image of {name} does not fit into the free memory"):
                    again = evaluation.evaluate(
                        network, testset, task, device=self.device, further=further(stored)
                    )
            except ValueError as error:  # finite weights, but no finite image
                outcome.differs.append(f"{name} cannot be evaluated: {error}")
                continue
            outcome.evaluated(again, stored[stored["testset"] == name], tolerance)

    def baseline(self, path: Path, rows: pd.DataFrame, run: Run) -> Outcome:
        """The rows of the degraded images of a run's row, which need no weights."""
        outcome = Outcome(path.relative_to(self.study).as_posix())
        stored = self.frame[self.frame["seed"].isna()]
        for column in ("model", "dataset", "loss", "testset", "variant"):
            stored = stored[stored[column] == rows[column].iloc[0]]
        self.claimed.update(stored.index)
        if self.recorded:
            known = self.recorded["baselines"].get(path.name)
            outcome.same_hash("rows", file_digest(path), known)
        outcome.same_rows(rows, stored)
        name, cfg = rows["testset"].iloc[0], None
        with suppress(UserError):  # of which the check of the run itself tells
            cfg = self._configuration(run)
        if cfg is None:
            outcome.unchecked.append("not evaluated again: no configuration of its runs is here")
        elif not checkpoint.is_trusted(kind := cfg.task.get("_target_"), "task", self.trust):
            outcome.unchecked.append(f"not evaluated again: {kind} is not trusted")
        elif (testset := self._testset(name, task := config.make(cfg.task), cfg)) is None:
            outcome.unchecked.append(f"{name} is not here")
        else:
            again = evaluation.evaluate_baseline(testset, task, further(stored))
            outcome.evaluated(again, stored, self.tolerance)
        return outcome

    def data_sets(self, runs: list[Run]) -> Outcome:
        """Whether the images that are here are those that the runs were made from."""
        outcome = Outcome("data sets")
        seen: dict[str, set[str]] = {}  # fingerprints by label, as "training bsd300"
        folders: dict[str, str] = {}  # the paths of your own images by label
        for run in runs:
            if key := self.known.get(run.name, {}).get("data"):
                for label, fingerprint in self.recorded["data"][key].items():
                    seen.setdefault(label, set()).add(fingerprint)
                with suppress(UserError):
                    folders |= _own_folders(self._configuration(run))
        for label, fingerprints in sorted(seen.items()):
            kind, name = label.split(" ", 1)
            here = None
            with suppress(ConfigError):  # a folder whose path is not known here
                here = catalogue.fingerprint(kind, folders.get(label, name), self.data)
            if len(fingerprints) > 1:
                outcome.differs.append(f"runs used different images as {label}")
            elif here is None:
                outcome.unchecked.append(f"{label} is not here")
            else:
                outcome.same_hash(label, here, *fingerprints)
        if not seen:
            outcome.unchecked.append("no fingerprints were recorded")
        return outcome

    def metrics(self, everything: bool) -> Outcome:
        """metrics.csv as a whole: its hash, and rows that belong to nothing."""
        outcome = Outcome("metrics.csv")
        if self.recorded:
            now = file_digest(self.study / "metrics.csv")
            outcome.same_hash("hash", now, self.recorded["metrics_sha256"])
        rest = len(self.frame) - len(self.claimed) if everything else 0
        if rest and finished(self.study):
            outcome.differs.append(f"{rest} of its rows belong to no run")
        elif rest:
            outcome.unchecked.append(f"the runs of {rest} of its rows are not here")
        return outcome

    # ---------------------------------------------------------------------------- what they need

    def _configuration(self, run: Run) -> DictConfig | None:
        """A run's, for comparisons only: nothing is built from a folder's config.yaml."""
        if run.settings is not None:
            return OmegaConf.create(run.settings)
        path = run.kept_weights
        return path and checkpoint.configuration(checkpoint.load(path), path, self.trust)

    def _testset(self, name: str, task: Task, cfg: DictConfig) -> catalogue.DataSet | None:
        """A test set by its name in metrics.csv; None if it is not here."""
        name = named(name, cfg)
        if catalogue.is_folder(name) and not catalogue.fingerprint("test", name):
            return None  # missing, or without images
        reading = parts.reading(task, cfg)
        key = (name, *reading.values())
        if key not in self.testsets:
            self.testsets[key] = None
            with suppress(catalogue.NotAvailable):
                found = catalogue.test_set(name, **reading, root=self.data, download=False)
                self.testsets[key] = found
        return self.testsets[key]

    # --------------------------------------------------------------------------------- in words

    def summary(self, outcomes: list[Outcome], runs: list[Run]) -> list[str]:
        """What was checked, what could not be, and what differs, in lines."""
        of_runs = outcomes[: len(runs)]
        again = [outcome.largest for outcome in of_runs if outcome.largest]
        largest = {
            metric: max(found.get(metric, 0.0) for found in again)
            for metric in dict.fromkeys(metric for found in again for metric in found)
        }
        numbers = f" ({in_words(largest)})" if again else ""
        lines = ["", f"{len(runs)} runs, {len(again)} evaluated again{numbers}"]
        reasons = Counter(reason for outcome in of_runs for reason in set(outcome.unchecked))
        lines += [f"{why}: {n} runs not evaluated again" for why, n in sorted(reasons.items())]
        if not self.recorded:
            lines.append(f"no {provenance.STUDY} here: no hashes checked")
        if elsewhere := self._elsewhere(runs):
            lines.append(f"made with {'; '.join(elsewhere)}: last digits may differ")
        differ = [outcome.name for outcome in outcomes if outcome.differs]
        if differ:
            lines.append(f"{len(differ)} differ: {', '.join(differ)}")
        elif again:
            lines.append("nothing differs")
        else:
            lines.append(
                "nothing differs among the hashes and rows here, but no run was evaluated again"
            )
        return lines

    def _elsewhere(self, runs: list[Run]) -> list[str]:
        """In what the runs' versions and devices differ from those here."""
        here, device = provenance.versions(), devices.name_of(self.device)
        keys = {k for run in runs for k in self.known.get(run.name, {}).get("environments", [])}
        found = set()
        for key in keys:
            there = self.recorded["environments"][key]
            for name in ("torch", "numpy", "scikit-image"):
                if there["versions"][name] not in (None, here[name]):
                    found.add(f"{name} {there['versions'][name]}, here {here[name]}")
            if there["device"] not in (None, device):
                found.add(f"{there['device']}, here {device}")
        return sorted(found)


def named(testset: str, cfg: DictConfig) -> str:
    """A test set of metrics.csv as the configuration names it: a folder by its path."""
    return _own_folders(cfg).get(f"test {testset}", testset)


def _own_folders(cfg: DictConfig | None) -> dict[str, str]:
    """The paths of a run's own images: {"training photos": "/path/to/photos"}."""
    if cfg is None:
        return {}
    training, *tests = resolve.data_sets(cfg)
    kinds = [("training", training), *(("test", name) for name in tests)]
    return {f"{k} {catalogue.short(name)}": name for k, name in kinds if catalogue.is_folder(name)}
