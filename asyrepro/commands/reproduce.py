"""The study behind ``make reproduce``: all tables, from data to figures, in one command.

    asyrepro reproduce                               # quick, or full with CUDA
    asyrepro reproduce profile=cpu study=overnight seed=0,1,2    # or seed=range(0,3)
    asyrepro reproduce profile=quick hydra/launcher=basic    # one run after the other
    asyrepro reproduce minutes=25                    # as many steps as fit into that time

It prints what it is going to do and how long that will take, carries out the profile's runs (its
experiments, losses and seeds; finished ones are skipped, others continued), and makes the report
and the front page over all studies, results/index.html.
``experiment=``, ``loss=`` and ``seed=``, each one or several, replace the profile's lists; every
other setting is one of ``asyrepro train``. The study is called as the profile; with "-bundled"
behind it where the real images are not available and the bundled stand-in images are taken.

On a CPU the runs go side by side, each on an equal share of the cores, unless a launcher or
runtime.threads is given.

SIGTERM, Ctrl-C and runtime.max_minutes end the study after a checkpoint. Several processes may work
on one study, and share its runs. Exit status: 0 the study is complete; 1 runs failed; 2 wrong
settings, or results cannot be written; 75 not finished (the time limit, or other processes work on
the rest); 143 SIGTERM, 130 Ctrl-C.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from asyrepro.commands.train import failure
from asyrepro.data import catalogue
from asyrepro.report import front, study
from asyrepro.runs import config, estimate, provenance, results
from asyrepro.runs.plan import Plan, Planned
from asyrepro.system import devices, locks
from asyrepro.system.errors import ConfigError, exit_status, say
from asyrepro.training import distributed, stopping

# The first varies slowest: a study that is cut off has whole seeds, which can be compared.
JOBS = "hydra.launcher.n_jobs="
FEW = 50  # steps: shorter runs are over before processes for them have started
LISTS = ("seed", "experiment", "loss")


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
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
    with config.explained(*LISTS):
        sweep = _sweep(lists, overrides)
        plan = Plan.of(sweep["experiment"], sweep["loss"], sweep["seed"], overrides)
    stopping.limit(plan.cfg.runtime.max_minutes)
    launcher, at_once = _launcher(overrides, plan)
    _print_plan(plan, at_once)
    if plan.todo():
        overrides = [*_shared_out(overrides, plan, at_once, started), *launcher]
        multirun = [f"{name}={','.join(sweep[name])}" for name in LISTS]
        status = _train(["--multirun", *multirun, *overrides, f"study={plan.cfg.study}"])
        if status not in (0, 1):
            return status
    _report(plan)
    status = _say_what_failed(plan)
    done = len(plan.runs) - len(plan.todo())
    minutes = (time.time() - started) / 60
    say(f"{done} of {len(plan.runs)} runs, {minutes:.1f} minutes; results in {plan.study}")
    return status


def _launcher(overrides: list[str], plan: Plan) -> tuple[list[str], int]:
    """What to add to the command line, and how many runs are carried out at once.

    On a CPU the runs of a study go side by side, each on an equal share of the cores, which is the
    faster way. The number depends on the study and not on what is left of it, so that all of its
    runs compute with the same number of threads.
    """
    if find_spec("hydra_plugins.hydra_joblib_launcher") is None:
        return [], 1
    from joblib import cpu_count

    chosen = [item for item in overrides if item.startswith("hydra/launcher=")]
    if chosen:
        jobs = [int(item.partition("=")[2]) for item in overrides if item.startswith(JOBS)]
        launcher = chosen[-1].partition("=")[2]
        if launcher not in distributed.EACH:
            return [], 1
        many = jobs[-1] if jobs else distributed.at_once(launcher)
        return [], many if many > 0 else cpu_count()
    runtime, many = plan.cfg.runtime, min(cpu_count(), len(plan.runs))
    long = all(item.values["recipe"]["steps"] >= FEW for item in plan.runs)
    if devices.choose(runtime.device).type != "cpu" or runtime.threads or many == 1 or not long:
        return [], 1
    return ["hydra/launcher=processes", f"{JOBS}{many}"], many


def _shared_out(overrides: list[str], plan: Plan, at_once: int, started: float) -> list[str]:
    """The command line with the time that it gives to the study as a time for each run."""
    if plan.cfg.minutes is None:
        return overrides
    turns = -(-len(plan.todo()) // at_once)
    left = plan.cfg.minutes - (time.time() - started + estimate.REPORT) / 60
    if left <= 0:
        raise ConfigError(
            f"minutes={plan.cfg.minutes:g} is too short for {turns} runs and a report"
        )
    kept = [item for item in overrides if not item.startswith("minutes=")]
    return [*kept, f"minutes={left / turns:.3f}"]


def _report(plan: Plan) -> None:
    """Make the report, again if other processes have finished runs meanwhile."""
    if not plan.todo() and provenance.up_to_date(plan.study):
        say(f"the report is of these rows; asyrepro report study={plan.cfg.study} makes it again")
        return
    built = None
    while (left := len(plan.todo())) != built:
        built = left
        if left < len(plan.runs):
            study.build(plan.study)
            front.write(plan.study.parent, say)


def _say_what_failed(plan: Plan) -> int:
    """Name the runs that are not finished, and why; returns the exit status."""
    busy = [item for item in plan.todo() if locks.in_use(item.run.folder)]
    for item in busy:
        print(f"not finished: {item.run}: another process is working on it", file=sys.stderr)
    failed = [item for item in plan.todo() if item not in busy]
    for item in failed:
        note = item.run.failure
        overrides = item.overrides
        reason = (
            note.read_text() if note.is_file() else failure("did not run to its end", overrides)
        )
        print(f"failed: {item.run}: {reason.rstrip()}", file=sys.stderr)
    if failed:
        print("the same command carries out the failed runs again", file=sys.stderr)
        return 1
    return stopping.UNFINISHED if busy else 0


def _train(arguments: list[str]) -> int:
    """Run ``asyrepro train`` as a process of its own, which is stopped with this one."""
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
    given, searched = config.search_path(arguments)
    for item in given:
        key, _, value = item.partition("=")
        if key in LISTS:
            lists[key] = _listed(item)
            if not lists[key]:
                raise ConfigError(f"{key}= needs at least one value")
            if twice := [part for part in lists[key] if lists[key].count(part) > 1]:
                raise ConfigError(f"{item} names {twice[0]!r} twice")
        elif key == "profile" and value == "auto":
            continue
        else:
            overrides.append(item)
    if not any(item.startswith("profile=") for item in overrides):
        device = [i.split("=")[1] for i in overrides if i.startswith("runtime.device=")]
        cuda = devices.choose(device[-1] if device else "auto").type == "cuda"
        overrides.append(f"profile={'full' if cuda else 'quick'}")
    return lists, [*overrides, *searched]


def _listed(item: str) -> list[str]:
    """["0", "1", "2"] of seed=0,1,2 and of seed=range(0,3)."""
    value = item.partition("=")[2]
    if "(" not in value:
        return [part for part in value.split(",") if part]
    with suppress(HydraException):
        given = OverridesParser.create().parse_override(item)
        if given.is_range_sweep() or given.is_choice_sweep():
            return list(given.sweep_string_iterator())
    raise ConfigError(f"{item} is not understood; give several as a,b,c, seeds also as range(0,6)")


def _sweep(lists: dict[str, list[str]], overrides: list[str]) -> dict[str, list[str]]:
    """The experiments, losses and seeds: those given, else the profile's."""
    about = ("profile", "hydra.searchpath=")
    profile = config.compose([item for item in overrides if item.startswith(about)]).profile
    return {name: lists.get(name) or [str(value) for value in profile[name]] for name in LISTS}


def _print_plan(plan: Plan, at_once: int) -> None:
    todo, device = plan.todo(), devices.choose(plan.cfg.runtime.device)
    kinds = {item.values["amp"] for item in todo or plan.runs}
    names = [name for amp, name in ((True, "bfloat16"), (False, "float32")) if amp in kinds]
    say(f"study    {plan.study}")
    say(f"profile  {plan.cfg.profile.name}")
    say(f"device   {devices.name_of(device)}, {' and '.join(names)}")
    shown = {(i.run.row, i.values["dataset"]["name"], i.values["testset"]): i for i in plan.runs}
    for item in shown.values():
        say(f"{item.run.row:8} {_described(item)}")
    say(f"runs     {len(plan.runs)}, of which {len(plan.runs) - len(todo)} done, {len(todo)} to do")
    if todo:
        _print_elsewhere([item for item in plan.runs if item.run.finished], devices.name_of(device))
        if plan.cfg.minutes:
            time_needed = f"{plan.cfg.minutes:g} minutes, to each run an equal share"
        else:
            time_needed = estimate.sentence([(item.cfg, item.run) for item in todo], at_once)
        say(f"time     {time_needed}")
    say()


def _described(item: Planned) -> str:
    cfg = item.cfg
    bundled = cfg.dataset.name == "bundled"
    where = None if bundled else catalogue.available(cfg.dataset.name, cfg.runtime.data)
    data = results.STAND_IN if bundled else f"{cfg.dataset.name} ({where or 'to be downloaded'})"
    return (
        f"{cfg.model.name}, {cfg.recipe.steps} steps of {cfg.recipe.batch} patches of "
        f"{cfg.recipe.patch} x {cfg.recipe.patch}; trained on {data}"
    )


def _print_elsewhere(finished: list[Planned], here: str) -> None:
    """Say so if finished runs were trained on another device than the rest will be."""
    rows = [results.read_rows(item.run.rows, may_be_empty=True) for item in finished]
    devices = {name for frame in rows for name in frame["device"]}
    if elsewhere := sorted(devices - {here, ""}):
        say(
            f"note     finished runs were trained on {', '.join(elsewhere)}: verdicts leave out "
            "pairs of losses that were trained on different devices; another study= has none"
        )
