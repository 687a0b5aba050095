"""The study behind ``make reproduce``: all tables, from data to figures, in one command.

    asyrepro reproduce                               # quick, or full with CUDA
    asyrepro reproduce profile=cpu study=overnight seeds=0,1,2
    asyrepro reproduce profile=quick hydra/launcher=processes

It prints what it is going to do, runs a Hydra multirun of ``asyrepro train`` over the profile's
experiments, losses and seeds (cells that are finished are skipped, others continued), and makes
the report. ``experiments=``, ``losses=`` and ``seeds=`` replace the profile's lists; every other
override goes to asyrepro.commands.train as it is.

SIGTERM, Ctrl-C and runtime.max_minutes end the study after a checkpoint. Several processes may work
on one study, and share its cells. Exit status: 0 the study is complete; 1 cells failed; 2 wrong
settings, or results cannot be written; 75 not finished (the time limit, or other processes work on
the rest); 143 SIGTERM, 130 Ctrl-C.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from asyrepro.commands.train import failure, folder_of
from asyrepro.data import catalogue
from asyrepro.report import study
from asyrepro.runs import configuration, results, settings
from asyrepro.system import devices, locks
from asyrepro.system.errors import ConfigError, exit_status, say
from asyrepro.training import distributed, stopping

# The first varies slowest: a study that is cut off has whole seeds, which can be compared.
LISTS = {"seeds": "seed", "experiments": "experiment", "losses": "loss"}


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    if {"-h", "--help"} & set(arguments):
        say(__doc__)
        return 0
    try:
        with stopping.handled():
            return exit_status(_reproduce, arguments)
    except stopping.Stopped as stop:
        print(f"{stop}; the same command continues the study", file=sys.stderr)
        return stop.code


def _reproduce(arguments: list[str]) -> int:
    started = time.time()
    distributed.check_launcher(arguments)
    lists, overrides = _split(arguments)
    plain = [item for item in overrides if not item.lstrip("+").startswith(("hydra/", "hydra."))]
    sweep = {name: _values(name, lists, overrides) for name in LISTS}
    cells = [
        (*_compose(chosen), chosen)
        for seed in sweep["seeds"]
        for experiment in sweep["experiments"]
        for loss in sweep["losses"]
        for chosen in [[f"experiment={experiment}", f"loss={loss}", f"seed={seed}", *plain]]
    ]
    first = cells[0][0]
    stopping.limit(first.runtime.max_minutes)
    folder = Path(str(first.results)) / str(first.study)
    for cfg, path, _ in cells:
        configuration.check_folder(cfg, path)
    todo = [path for path, _ in _unfinished(cells)]
    _print_plan(cells, todo, folder)
    if todo:
        multirun = [f"{key}={','.join(sweep[name])}" for name, key in LISTS.items()]
        status = _train(["--multirun", *multirun, *overrides])
        if status not in (0, 1):
            return status
    rest, built = _unfinished(cells), len(cells)
    while len(rest) < built:  # other processes may finish cells while the report is made
        built = len(rest)
        study.build(folder)
        rest = _unfinished(cells)
    busy = [path for path, _ in rest if locks.in_use(path)]
    failed = [item for item in rest if item[0] not in busy and not configuration.finished(item[0])]
    for path in busy:
        print(f"not finished: {path}: another process is working on it", file=sys.stderr)
    for path, chosen in failed:
        note = path / "failed.txt"
        reason = note.read_text() if note.is_file() else failure("did not run to its end", chosen)
        print(f"failed: {path}: {reason.rstrip()}", file=sys.stderr)
    minutes = (time.time() - started) / 60
    done = len(cells) - len(rest)
    say(f"{done} of {len(cells)} cells, {minutes:.1f} minutes; results in {folder}")
    if failed:
        print("the same command runs the failed cells again", file=sys.stderr)
        return 1
    return stopping.UNFINISHED if busy else 0


def _unfinished(cells: list[tuple[DictConfig, Path, list[str]]]) -> list[tuple[Path, list[str]]]:
    """The folders of the cells that are not finished, and the overrides that train each."""
    return [(path, chosen) for _, path, chosen in cells if not configuration.finished(path)]


def _train(arguments: list[str]) -> int:
    """Run asyrepro.commands.train as a process of its own, which is stopped with this one."""
    child = subprocess.Popen([sys.executable, "-m", "asyrepro", "train", *arguments])
    try:
        status = child.wait()
    except stopping.Stopped:
        child.terminate()  # not its last words: it writes a checkpoint first
        child.wait()
        raise
    if status < 0:
        say(f"the training was killed (signal {-status}); the same command continues it")
    return status if status >= 0 else 128 - status


def _split(arguments: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The lists that replace the profile's, and everything else."""
    lists, overrides = {}, ["fallback=true"]
    for item in arguments:
        key, _, value = item.partition("=")
        if key in LISTS:
            lists[key] = [part for part in value.split(",") if part]
            if not lists[key]:
                raise ConfigError(f"{key}= needs at least one value")
            if twice := [part for part in lists[key] if lists[key].count(part) > 1]:
                raise ConfigError(f"{item} names {twice[0]!r} twice")
        elif key in LISTS.values():
            [name] = [name for name in LISTS if LISTS[name] == key]
            raise ConfigError(f"{key}= is a list here: give {name}={value}, or several with commas")
        elif key == "profile" and value == "auto":
            continue
        else:
            overrides.append(item)
    if not any(item.startswith("profile=") for item in overrides):
        device = [i.split("=")[1] for i in overrides if i.startswith("runtime.device=")]
        cuda = devices.choose(device[-1] if device else "auto").type == "cuda"
        overrides.append(f"profile={'full' if cuda else 'quick'}")
    return lists, overrides


def _values(name: str, lists: dict[str, list[str]], overrides: list[str]) -> list[str]:
    if name in lists:
        return lists[name]
    plain = [item for item in overrides if item.startswith("profile=")]
    profile = plain[-1].removeprefix("profile=")
    return [str(value) for value in settings.option("profile", profile)[name]]


def _compose(overrides: list[str]) -> tuple[DictConfig, Path]:
    """The configuration of one cell, with data sets that can be had, and the cell's folder."""
    with (
        settings.explained(*LISTS),
        initialize_config_dir(str(settings.CONFIGS), version_base="1.3"),
    ):
        cfg = compose("train", overrides=overrides)
        folder = folder_of(cfg, overrides)
        return configuration.resolve(cfg, folder), folder


def _print_plan(
    cells: list[tuple[DictConfig, Path, list[str]]], todo: list[Path], folder: Path
) -> None:
    first = cells[0][0]
    device = devices.choose(first.runtime.device)
    say(f"study    {folder}")
    say(f"profile  {first.profile.name}")
    kinds = {cfg.amp for cfg, path, _ in cells if path in todo or not todo}
    names = [name for amp, name in ((True, "bfloat16"), (False, "float32")) if amp in kinds]
    say(f"device   {devices.name_of(device)}, {' and '.join(names)}")
    shown = {}
    for cfg, *_ in cells:
        shown.setdefault((cfg.cell, cfg.dataset.name, cfg.testset), cfg)
    for cfg in shown.values():
        data = "bundled stand-in data" if cfg.dataset.name == "bundled" else cfg.dataset.name
        found = "" if cfg.dataset.name == "bundled" else f" ({_where(cfg)})"
        say(
            f"{cfg.cell:8} {cfg.model.name}, {cfg.recipe.steps} steps of {cfg.recipe.batch} "
            f"patches of {cfg.recipe.patch} x {cfg.recipe.patch}; trained on {data}{found}"
        )
    say(f"cells    {len(cells)}, of which {len(cells) - len(todo)} done and {len(todo)} to do")
    if todo:
        finished = [path for _, path, _ in cells if path not in todo]
        _print_elsewhere(finished, devices.name_of(device))
        _print_mixed([cfg for cfg, *_ in cells])
    say()


def _print_elsewhere(finished: list[Path], here: str) -> None:
    """Say so if finished cells were trained on another device than the rest will be."""
    rows = [results.read_rows(path / "rows.csv", may_be_empty=True) for path in finished]
    devices = {name for frame in rows for name in frame["device"]}
    if elsewhere := sorted(devices - {here, ""}):
        say(
            f"note     finished cells were trained on {', '.join(elsewhere)}: verdicts leave out "
            "pairs of losses that were trained on different devices; another study= has none"
        )


def _print_mixed(cfgs: list[DictConfig]) -> None:
    """Say so if losses that are to be compared will have been trained in different precision."""
    kinds = {}
    for cfg in cfgs:
        kinds.setdefault(cfg.cell, set()).add(cfg.amp)
    if mixed := [name for name, found in kinds.items() if len(found) > 1]:
        say(
            f"note     {', '.join(mixed)}: cells that were begun elsewhere keep their precision, "
            "so some are trained in bfloat16 and some in float32; verdicts leave out pairs that "
            "differ, another study= with amp=true or amp=false has none"
        )


def _where(cfg: DictConfig) -> str:
    return catalogue.available(cfg.dataset.name, cfg.runtime.data) or "to be downloaded"
