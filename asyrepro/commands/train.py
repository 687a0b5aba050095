"""Train one network with one loss, and evaluate it.

    asyrepro train experiment=table4_dncnn loss=asy_mse seed=0
    asyrepro train -m experiment=table2_srcnn loss=mae,asy_mae seed=0,1,2

A run folder, results/<study>/<cell>/<loss>/seed<k>/, is one cell of a study. A run that was cut
off is continued, a finished one is skipped, and one whose configuration differs from its folder's
is refused. SIGTERM, Ctrl-C and runtime.max_minutes end a run or a sweep after a checkpoint.

Exit status: 0 done; 1 cells of a sweep failed; 2 wrong settings, or the one cell failed; 75 not
finished (the time limit, or another process works on the cell); 143 SIGTERM, 130 Ctrl-C.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
import traceback
from pathlib import Path

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ValueType
from hydra.types import RunMode
from omegaconf import DictConfig

from asyrepro.runs import cell, configuration, settings
from asyrepro.system import files, locks
from asyrepro.system.errors import StorageError, UserError, reaching, say, unread
from asyrepro.training import distributed, stopping

PLACED = (  # overrides that the run folder's name shows, or that say how and where to run
    "experiment", "loss", "seed", "study", "profile", "results", "fallback", "max_steps", "cell",
    "amp", "benchmarks", "profile.benchmarks", "loss.base", "from",
)  # fmt: skip


def folder_of(cfg: DictConfig, overrides: list[str]) -> Path:
    """The run folder; further overrides, as in a sweep over ``task.scale``, become part of it."""
    extra = [
        item.lstrip("+~") for item in sorted(map(_as_in_a_sweep, overrides))
        if item.lstrip("+~").split("=")[0] not in PLACED and not item.startswith("runtime.")
    ]  # fmt: skip
    if cfg.table is None:
        extra = [item for item in extra if not item.startswith("model=")]
    name = ",".join([str(cfg.cell), *(item.replace("/", ".") for item in extra)])
    study = Path(str(cfg.results)) / str(cfg.study)  # study=2024 is a number
    return study / name / str(cfg.loss.name) / f"seed{cfg.seed}"


def _as_in_a_sweep(override: str) -> str:
    """An override as Hydra writes it in a sweep: lr=1e-3 becomes lr=0.001."""
    if "=" not in override:
        return override
    [parsed] = OverridesParser.create().parse_overrides([override])
    return f"{parsed.get_key_element()}={parsed.get_value_element_as_str()}"


@hydra.main(version_base="1.3", config_path=str(settings.CONFIGS), config_name="train")
def run(cfg: DictConfig) -> None:
    job = HydraConfig.get()
    sweep = job.mode == RunMode.MULTIRUN
    here = job.runtime.choices["hydra/launcher"] == "basic"  # the sweep is this process
    overrides = list(job.overrides.task)
    folder = folder_of(cfg, overrides)
    if not (here and distributed.main()):
        cfg.runtime.progress = False  # bars of processes side by side would overwrite each other
    try:
        with stopping.handled():
            stopping.limit(cfg.runtime.max_minutes)
            with reaching():
                rows, before = cell.complete(configuration.resolve(cfg, folder), folder)
            if distributed.main():
                files.remove(folder / "failed.txt")
                done = "already finished, " if before else ""
                say(f"{folder}: {done}{summary(rows)}")
    except stopping.Stopped as stop:
        if here:
            raise
        print(f"{folder}: {stop}", file=sys.stderr, flush=True)
    except locks.InUse as busy:
        if distributed.main():
            say(f"{folder}: skipped, {busy}")
        if not sweep:
            sys.exit(stopping.UNFINISHED)
    except UserError as error:
        if distributed.says(str(error)):
            print(f"error: {error}", file=sys.stderr, flush=True)
        alone = not sweep or distributed.size() > 1
        if alone or (here and isinstance(error, StorageError)):  # which all cells would meet
            sys.exit(2)
        files.write_text(folder / "failed.txt", failure(error, overrides))
    except Exception as error:
        traceback.print_exc()
        if not sweep or distributed.size() > 1:
            sys.exit(2)
        reason = f"{type(error).__name__}: {error}"
        files.write_text(folder / "failed.txt", failure(reason, overrides))


def failure(reason: Exception | str, overrides: list[str]) -> str:
    """Why a cell failed, and the command that runs just this cell again."""
    python, here = Path(sys.executable), Path.cwd()
    if python.is_relative_to(here):
        python = python.relative_to(here)
    return f"{reason}\n    {shlex.join([str(python), '-m', 'asyrepro', 'train', *overrides])}\n"


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status, where torchrun's processes do not end here."""
    sys.argv = ["asyrepro train", *arguments]  # which is where Hydra reads them
    try:
        status = _train(arguments)
    except SystemExit as end:
        status = end.code or 0
    distributed.leave(status)
    return status


def _train(arguments: list[str]) -> int:
    """Run one cell or a sweep, and name the cells of a sweep that failed. Returns the status."""
    try:
        distributed.check_launcher(arguments)
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing them
        with stopping.handled(), settings.explained(), distributed.started():
            if not {"-m", "--multirun"} & set(arguments):
                run()
                return 0
            return _sweep(arguments)
    except stopping.Stopped as stop:
        if distributed.says(str(stop)):
            print(f"{stop}; the same command continues it", file=sys.stderr)
        return stop.code
    except RuntimeError as error:
        if "srun" not in str(error):  # submitit's, which has no exception of its own for it
            raise
        print(f"error: hydra/launcher=slurm needs a SLURM cluster: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # as of Hydra's --cfg job | head
        return unread()
    except UserError as error:
        if distributed.says(str(error)):
            print(f"error: {error}", file=sys.stderr)
        return 2


def _sweep(arguments: list[str]) -> int:
    common = [item for item in arguments if item.startswith(settings.OF_A_SWEEP)]
    with initialize_config_dir(str(settings.CONFIGS), version_base="1.3"):
        cfg = compose("train", overrides=common)
        for overrides in _one_by_one(arguments):
            settings.check(settings.resolved(compose("train", overrides=overrides)))
    stopping.limit(cfg.runtime.max_minutes)
    study, started = Path(str(cfg.results)) / str(cfg.study), time.time()
    with files.storing(study), settings.explained():  # Hydra's MissingConfigException is an OSError
        run()
    notes = study.glob("*/*/seed*/failed.txt")
    failed = [note for note in sorted(notes) if note.stat().st_mtime >= started]
    for note in failed:
        print(f"failed: {note.parent}: {note.read_text().rstrip()}", file=sys.stderr)
    return 1 if failed else 0


def _one_by_one(arguments: list[str]) -> list[list[str]]:
    """Overrides of jobs that meet each value of a sweep at least once, the others at their first.

    So that a wrong value is told of before the first training, not when its turn comes. Nothing
    where the configurations are elsewhere; of many seeds the first and the last.
    """
    if any(item.startswith(("--config", "-c", "hydra.searchpath")) for item in arguments):
        return []
    values = []
    for item in arguments:
        name, equals, _ = item.partition("=")
        overrides = item.startswith("~") or equals  # no flag, nor the value of one
        if not overrides or item.startswith("-") or name.lstrip("+~").startswith("hydra"):
            continue
        if name == "runtime.data":  # may be on the machine that a launcher sends the jobs to
            continue
        [override] = OverridesParser.create().parse_overrides([item])
        options = [item]
        if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
            there = sorted(path.stem for path in (settings.CONFIGS / name).glob("*.yaml"))
            options = [f"{name}={choice}" for choice in override.value().filter(there)]
        elif override.is_sweep_override():
            options = [f"{name}={value}" for value in override.sweep_string_iterator()]
        if not options:
            return []
        if name == "seed":
            options = list(dict.fromkeys([options[0], options[-1]]))
        values.append(options)
    first = [options[0] for options in values]
    return [first] + [
        [*first[:k], option, *first[k + 1 :]]
        for k, options in enumerate(values)
        for option in options[1:]
    ]


def summary(rows: list[dict]) -> str:
    """Mean PSNR of each test set, in a line."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault(row["testset"], []).append(float(row["psnr"]))
    return ", ".join(f"{k} {sum(v) / len(v):.2f} dB" for k, v in found.items()) or "no test set"
