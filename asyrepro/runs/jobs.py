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
from contextlib import ExitStack, nullcontext
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
        for item in arguments:
            if item.startswith("hydra.run.dir="):
                raise ConfigError(
                    f"{item} would change nothing: results= and study= say where a run's folder is"
                )
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


def _tell(text: str) -> None:
    """Print to standard error, once however many processes torchrun has started."""
    together = _distributed()
    if together is None or together.says(text):
        print(text, file=sys.stderr, flush=True)


def _run(arguments: list[str]) -> int:
    """Let Hydra carry out one run, or all of a sweep; returns 1 if runs of a sweep failed."""
    with ExitStack() as stack:
        if {"-m", "--multirun"} & set(arguments):
            study = _check_sweep(arguments)
            if any(item.startswith(CLUSTER) for item in arguments):
                say(f"what the runs print is in {study}/.sweep/.submitit/")
            stack.enter_context(files.storing(study))
            stack.enter_context(config.explained())  # Hydra's own may be an OSError
            notes = (study / ".sweep" / f"failed-{os.uname().nodename}-{os.getpid()}").absolute()
            stack.callback(shutil.rmtree, notes, ignore_errors=True)
        else:  # one run, or a sweep that stands in a YAML file
            notes = Path(stack.enter_context(TemporaryDirectory()))
        os.environ[NOTES] = str(notes)
        stack.enter_context(commandline.carrying_out("train", arguments))
        one_run()
        failed = sorted(notes.glob("*.txt"), key=lambda note: int(note.stem))
        for note in failed:
            print(f"failed: {note.read_text().rstrip()}", file=sys.stderr)
        return 1 if failed else 0


# --------------------------------------------------------------------------------------- one run


@hydra.main(version_base="1.3", config_path=str(config.CONFIGS), config_name="train")
def one_run(cfg: DictConfig) -> None:
    """One run, which may be a job of a sweep: there its failure is noted, and the sweep goes on."""
    from asyrepro.training import distributed

    job = HydraConfig.get()
    os.chdir(job.runtime.cwd)  # relative paths are those of the command line, wherever Hydra went
    with open_dict(cfg):
        cfg.hydra = job
    sweep = job.mode == RunMode.MULTIRUN
    here = job.runtime.choices["hydra/launcher"] == "basic"  # the sweep is this process
    if not (here and distributed.main()):
        cfg.runtime.progress = False  # bars of processes side by side would overwrite each other
    run = Run.of(cfg)
    try:
        with stopping.handled():
            done = _carry_out(cfg, run, time.monotonic() if sweep else stopping.STARTED)
        if distributed.main():
            run.failure.unlink(missing_ok=True)
            say(f"{run}: {done}")
    except stopping.Stopped as stop:
        if here:
            raise
        print(f"{run}: {stop}", file=sys.stderr, flush=True)
    except locks.InUse as busy:
        if distributed.main():
            say(f"{run}: skipped, {busy}")
        if not sweep:
            sys.exit(stopping.UNFINISHED)
    except Exception as error:
        foreseen = isinstance(error, UserError)
        if foreseen:
            _tell(f"error: {error}")
        else:
            traceback.print_exc()
        alone = not sweep or distributed.size() > 1
        if alone or (here and isinstance(error, StorageError)):  # which all runs would meet
            sys.exit(2)
        _note(run, error if foreseen else f"{type(error).__name__}: {error}", job)


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
        rows, before = execution.carry_out(chosen, run)
    devices.give_back_memory()
    return "already finished, " * before + summary(rows, run)


def _note(run: Run, reason: Exception | str, job: DictConfig) -> None:
    """Say in the run's folder, and to the sweep that it belongs to, why it failed."""
    given = [each.path for each in job.runtime.config_sources if each.provider == "command-line"]
    places = [item for path in given for item in ("--config-dir", path)]
    text = failure(reason, [*places, *job.overrides.task])
    files.write_text(Path(os.environ[NOTES], f"{job.job.num}.txt"), f"{run}: {text}")
    files.write_text(run.failure, text)


def failure(reason: Exception | str, overrides: list[str]) -> str:
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
