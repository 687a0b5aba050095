"""Runs as Hydra hands them out: one, or all of a sweep.

What computes is imported when a run's settings are known to be right.
"""

from __future__ import annotations

import math
import os
import shlex
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from types import ModuleType

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from asyrepro.runs import commandline, config, launchers
from asyrepro.runs.run import Run
from asyrepro.system import files, locks
from asyrepro.system.errors import ConfigError, StorageError, UserError, reaching, say, unread
from asyrepro.training import stopping

CLUSTER = ("hydra/launcher=slurm", "hydra/launcher=submitit")  # whose output goes to files
NOTES = "ASYREPRO_SWEEP"  # the folder, as an environment variable, that a sweep's failures go to


def main(arguments: list[str]) -> int:
    """Carry out what a command line asks for; returns the exit status.

    Processes that torchrun has started do not return.
    """
    try:
        status = _main(arguments)
    except SystemExit as end:
        status = end.code or 0
    if together := _distributed():
        together.leave(status)
    return status


def _distributed() -> ModuleType | None:
    """The module of work in several processes if torchrun has started this one, else None."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    from asyrepro.training import distributed

    return distributed


def _main(arguments: list[str]) -> int:
    try:
        sys.argv = ["asyrepro train", *config.options_first(arguments)]  # where Hydra reads them
        launchers.check(arguments)
        _refuse_folder_of_hydra(arguments)
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing them
        together = _distributed()
        with (
            stopping.handled(),
            config.explained(),
            together.started() if together else nullcontext(),
        ):
            return _run(arguments)
    except stopping.Stopped as stop:
        _tell(f"{stop}; the same command continues it")
        return stop.code
    except RuntimeError as error:
        if "srun" not in str(error):  # submitit's, which has no exception of its own for it
            raise
        _tell(f"error: hydra/launcher=slurm needs a SLURM cluster: {error}")
    except BrokenPipeError:  # as of Hydra's --cfg job | head
        return unread()
    except UserError as error:
        _tell(f"error: {error}")
    return 2


def _refuse_folder_of_hydra(arguments: list[str]) -> None:
    for item in arguments:
        if item.startswith("hydra.run.dir="):
            raise ConfigError(
                f"{item} would change nothing: results= and study= say where a run's folder is"
            )


def _tell(text: str) -> None:
    """Print to standard error, once however many processes torchrun has started."""
    together = _distributed()
    if together is None or together.says(text):
        print(text, file=sys.stderr, flush=True)


def _run(arguments: list[str]) -> int:
    """Let Hydra carry out one run, or all of a sweep; returns 1 if runs of a sweep failed."""
    swept = {"-m", "--multirun"} & set(arguments)  # else one run, or a sweep of a YAML file
    place = _sweep(arguments) if swept else TemporaryDirectory()
    with place as notes, commandline.carrying_out("train", arguments):
        os.environ[NOTES] = str(notes)
        one_run()
        failed = _noted(Path(notes))
        for text in failed:
            print(f"failed: {text}", file=sys.stderr)
    return 1 if failed else 0


# --------------------------------------------------------------------------------------- one run


@dataclass(frozen=True)
class HydraJob:
    """How Hydra carries out a run."""

    hydra: DictConfig
    sweep: bool  # it is one of a sweep
    here: bool  # in this process, whose sweep it is, and not in one of a launcher's

    @classmethod
    def now(cls) -> HydraJob:
        node = HydraConfig.get()
        here = node.runtime.choices["hydra/launcher"] == "basic"
        return cls(node, sweep=node.mode == RunMode.MULTIRUN, here=here)

    @property
    def since(self) -> float:
        """The time of ``time.monotonic`` from which ``minutes`` count."""
        return time.monotonic() if self.sweep else stopping.STARTED

    def ends_with(self, error: Exception) -> bool:
        """Whether nothing is carried out after this failure, which else is noted."""
        from asyrepro.training import distributed

        all_would_meet_it = self.here and isinstance(error, StorageError)
        return not self.sweep or distributed.size() > 1 or all_would_meet_it


@hydra.main(version_base="1.3", config_path=str(config.CONFIGS), config_name="train")
def one_run(cfg: DictConfig) -> None:
    """One run, which may be a job of a sweep: there its failure is noted, and the sweep goes on."""
    from asyrepro.training import distributed

    job = HydraJob.now()
    _prepare(cfg, job)
    try:
        run = Run.of(cfg)
    except ConfigError as error:
        _tell(f"error: {error}")
        sys.exit(2)
    try:
        with stopping.handled():
            done = _carry_out(cfg, run, job.since)
        if distributed.main():
            run.failure.unlink(missing_ok=True)
            say(f"{run}: {done}")
    except stopping.Stopped as stop:
        if job.here:
            raise
        print(f"{run}: {stop}", file=sys.stderr, flush=True)
        if stopping.orphaned():
            os._exit(stop.code)  # joblib's worker would wait for ever for the next run
    except locks.InUse as busy:
        if distributed.main():
            say(f"{run}: skipped, {busy}")
        if not job.sweep:
            sys.exit(stopping.UNFINISHED)
    except Exception as error:
        reason = _told(error)
        if job.ends_with(error):
            sys.exit(2)
        _note(run, reason, job.hydra)


def _prepare(cfg: DictConfig, job: HydraJob) -> None:
    """Go back to the command line's folder; give the settings Hydra's node, and a bar if one may
    be shown."""
    from asyrepro.training import distributed

    os.chdir(job.hydra.runtime.cwd)  # relative paths are the command line's, wherever Hydra went
    with open_dict(cfg):
        cfg.hydra = job.hydra
    if not (job.here and distributed.main()):
        cfg.runtime.progress = False  # bars of processes side by side would overwrite each other


def _told(error: Exception) -> str:
    """Say why a run failed, with a traceback if nobody foresaw it; returns the reason."""
    if isinstance(error, UserError):
        _tell(f"error: {error}")
        return str(error)
    traceback.print_exception(error)
    return f"{type(error).__name__}: {error}"


def _carry_out(cfg: DictConfig, run: Run, since: float) -> str:
    """Carry out a run, or find it finished; returns what came of it.

    ``since`` is the time of ``time.monotonic`` from which ``minutes`` count.
    """
    from asyrepro.runs import checks, estimate, execution
    from asyrepro.runs.resolve import begun_with, resolve
    from asyrepro.system import devices
    from asyrepro.training import distributed

    stopping.limit(cfg.runtime.max_minutes)
    files.check_name(run.row_folder)
    with reaching():
        if cfg.minutes and distributed.size() > 1:
            raise ConfigError(
                f"minutes={cfg.minutes:g} measures a single process: for torchrun give "
                "recipe.steps= instead"
            )
        first = begun_with(run) is None
        chosen = resolve(cfg, run)
        if not run.finished:
            checks.check_names(chosen, run)
        if cfg.minutes and first:
            chosen = estimate.begin(cfg, chosen, run, since)
        outcome = execution.carry_out(chosen, run)
    devices.give_back_memory()
    scores = summary(outcome.rows, run)
    return f"already finished, {scores}" if outcome.finished_before else scores


def _note(run: Run, reason: str, node: DictConfig) -> None:
    """Say in the run's folder, and to the sweep that it belongs to, why it failed."""
    given = [each.path for each in node.runtime.config_sources if each.provider == "command-line"]
    places = [item for path in given for item in ("--config-dir", path)]
    text = failure(reason, [*places, *node.overrides.task])
    files.write_text(Path(os.environ[NOTES], f"{node.job.num}.txt"), f"{run}: {text}")
    files.write_text(run.failure, text)


def _noted(notes: Path) -> list[str]:
    """What the failed runs of a sweep noted, in the order of the sweep."""
    paths = sorted(notes.glob("*.txt"), key=lambda path: int(path.stem))
    return [path.read_text().rstrip() for path in paths]


def failure(reason: str, overrides: list[str]) -> str:
    """Why a run failed, and the command that does just this run again."""
    python, here = Path(sys.executable), Path.cwd()
    if python.is_relative_to(here):
        python = python.relative_to(here)
    return f"{reason}\n    {shlex.join([str(python), '-m', 'asyrepro', 'train', *overrides])}\n"


def summary(rows: list[dict], run: Run) -> str:
    """Mean PSNR of each test set, in a line, with a warning where that of the degraded images is
    higher; without a test set, how far the training came."""
    if not rows:
        path = run.file("history.csv")
        history = files.read_csv(path) if path.is_file() else []  # which a clone of a study lacks
        reached = [float(row["val_psnr"]) for row in history if row["val_psnr"]]
        validation = f", {reached[-1]:.2f} dB on the validation images" if reached else ""
        steps = f" {history[-1]['step']} steps" if history else ""
        return f"trained{steps}{validation}; not evaluated (give testset=)"
    means = []
    for testset in dict.fromkeys(row["testset"] for row in rows):
        ours = {row["image"]: float(row["psnr"]) for row in rows if row["testset"] == testset}
        warning = _warning(ours, run.baseline(testset))
        means.append(f"{testset} {fmean(ours.values()):.2f} dB{warning}")
    return ", ".join(means)


def _warning(ours: dict[str, float], baseline: Path) -> str:
    """A warning if a mean PSNR is below that of the degraded images, the exact ones left out."""
    degraded = files.read_csv(baseline) if baseline.is_file() else []
    theirs = {row["image"]: float(row["psnr"]) for row in degraded if float(row["psnr"]) < math.inf}
    inexact = [psnr for image, psnr in ours.items() if image in theirs]
    if not inexact or fmean(inexact) >= (mean := fmean(theirs.values())):
        return ""
    return f", WARNING: below the degraded images' {mean:.2f} dB"


# --------------------------------------------------------------------------------------- a sweep


@contextmanager
def _sweep(arguments: list[str]) -> Iterator[Path]:
    """Within this a sweep is carried out, whose failed runs leave notes in the folder yielded."""
    study = _check_sweep(arguments)
    if any(item.startswith(CLUSTER) for item in arguments):
        say(f"what the runs print is in {study}/.sweep/.submitit/")
    notes = (study / ".sweep" / f"failed-{os.uname().nodename}-{os.getpid()}").absolute()
    with files.storing(study), config.explained():  # inside, as Hydra's own may be an OSError
        try:
            yield notes
        finally:
            shutil.rmtree(notes, ignore_errors=True)


def _check_sweep(arguments: list[str]) -> Path:
    """Refuse wrong values before the first run; returns the folder of the study."""
    from asyrepro.runs import schema

    overrides, searched = config.search_path(arguments)
    with config.composing():
        for job in samples([*overrides, *searched]):
            cfg = config.checked(config.compose(job))
            if not any(item.startswith("runtime.data=") for item in job):
                schema.check(cfg)  # else of a folder on the machine that the jobs are sent to
    stopping.limit(cfg.runtime.max_minutes)
    return Path(str(cfg.results)) / str(cfg.study)


def samples(overrides: list[str]) -> list[list[str]]:
    """Jobs of a sweep that meet each of its values, of many seeds the first and the last.

    So that a wrong value is told of before the first training, not when its turn comes.
    """
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    given = [item for item in overrides if not item.lstrip("+").startswith(("hydra.", "hydra/"))]
    kept = [item for item in overrides if item.startswith("hydra.searchpath=")]
    parts = BasicSweeper.split_arguments(parser.parse_overrides(given), None)
    jobs = [job for part in parts for job in part]
    if not jobs:
        raise ConfigError("this sweep has no runs: one of its settings has no values")
    chosen, met = [], set()
    for job in [*jobs, jobs[-1]]:
        values = {item for item in job if not item.startswith("seed=") or job is jobs[-1]}
        if not values <= met:
            chosen.append([*job, *kept])
        met |= values
    return chosen
