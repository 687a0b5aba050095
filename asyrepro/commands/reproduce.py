"""Train and evaluate a whole study, and make its tables, figures, verdicts and page.

    asyrepro reproduce                                   # quick, or full with CUDA
    asyrepro reproduce profile=cpu study=overnight seed=0,1,2    # or seed=range(0,3)
    asyrepro reproduce profile=seeds loss=mse,mine study=mine    # is your own loss better?
    asyrepro reproduce profile=quick hydra/launcher=basic    # one run after the other
    asyrepro reproduce minutes=25                        # as many steps as fit into that time

It prints what it is going to do and how long that will take, carries out the profile's runs, and
makes the report and the front page over all studies, results/index.html.

A profile names the experiments, losses and seeds, and how long to train. experiment=, loss= and
seed=, each one or several, replace its lists; every other setting is one of asyrepro train. Runs
that are finished are skipped, others continued. The study is called as the profile; with "-bundled"
behind it where the real images are not available and the bundled stand-in images are taken.

On a CPU the runs go side by side, each on an equal share of the cores, unless a launcher or
runtime.threads is given. SIGTERM, Ctrl-C and runtime.max_minutes end the study after a checkpoint.
Several processes may work on one study, and share its runs.

Exit status: 0 the study is complete; 1 runs failed; 2 wrong settings, or results cannot be written;
75 not finished (the time limit, or other processes work on the rest); 143 SIGTERM, 130 Ctrl-C.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from asyrepro.runs import commandline, config, guide, jobs, launchers
from asyrepro.system import locks
from asyrepro.system.errors import ConfigError, exit_status, say
from asyrepro.training import stopping

if TYPE_CHECKING:
    from asyrepro.runs.plan import Plan, Planned

FEW = 50  # steps: shorter runs are over before processes for them have started
LISTS = ("seed", "experiment", "loss")  # the first varies slowest: a study cut off has whole seeds


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    if {"-h", "--help"} & set(arguments):
        return exit_status(lambda: say(guide.reproduce_help(__doc__)))
    try:
        with stopping.handled():
            return exit_status(_reproduce, arguments)
    except stopping.Stopped as stop:
        print(f"{stop}; the same command continues the study", file=sys.stderr)
        return stop.code


def _reproduce(arguments: list[str]) -> int:
    started = time.time()
    launchers.check(arguments)
    with config.explained(*LISTS):
        sweep, overrides, at_once = _asked_for(arguments)
        from asyrepro.runs.plan import Plan  # with PyTorch, now that the settings are known

        plan = Plan.of(sweep["experiment"], sweep["loss"], sweep["seed"], overrides)
    profile = [item for item in overrides if item.startswith("profile=")]  # perhaps the device's
    typed = [*profile, *(item for item in arguments if not item.startswith("profile="))]
    stopping.limit(plan.cfg.runtime.max_minutes)
    launcher, at_once = ([], at_once) if at_once else _launcher(plan)
    _print_plan(plan, at_once)
    if plan.todo():
        overrides = [*_shared_out(overrides, plan, at_once, started), *launcher]
        multirun = [f"{name}={','.join(sweep[name])}" for name in LISTS]
        study = f"study={config.quoted(str(plan.cfg.study))}"
        with commandline.carrying_out("reproduce", typed):
            status = _train(["--multirun", *multirun, *overrides, study])
        if status not in (0, 1):
            return status
    _report(plan)
    status = _say_what_failed(plan)
    done = len(plan.runs) - len(plan.todo())
    minutes = (time.time() - started) / 60
    say(f"{done} of {len(plan.runs)} runs, {minutes:.1f} minutes; results in {plan.study}")
    return status


def _asked_for(arguments: list[str]) -> tuple[dict[str, list[str]], list[str], int | None]:
    """The experiments, losses and seeds, given or else the profile's; all other overrides; and how
    many runs the launcher among them carries out at once."""
    given, searched = config.search_path(arguments)
    lists = [item for item in given if item.partition("=")[0] in LISTS]
    others = [item for item in given if item not in lists and item != "profile=auto"]
    named = {item.partition("=")[0]: _listed(item) for item in lists}
    first = [f"experiment={name}" for name in named.get("experiment", [])[:1]]  # has its task's own
    overrides = ["fallback=true", *others, *searched]
    cfg = config.compose([*first, *overrides])
    if not any(item.startswith("profile=") for item in overrides):
        from asyrepro.system import devices

        cuda = devices.choose(cfg.runtime.device).type == "cuda"
        overrides.append(f"profile={'full' if cuda else 'quick'}")
        cfg = config.compose([*first, *overrides])
    sweep = {name: [str(value) for value in cfg.profile[name]] for name in LISTS}
    return sweep | named, overrides, launchers.given(cfg)


def _listed(item: str) -> list[str]:
    """["0", "1", "2"] of seed=0,1,2 and of seed=range(0,3)."""
    key, _, value = item.partition("=")
    found = [part for part in value.split(",") if part]
    if "(" in value:
        found = None
        with suppress(HydraException):
            given = OverridesParser.create().parse_override(item)
            if given.is_range_sweep() or given.is_choice_sweep():
                found = list(given.sweep_string_iterator())
    if found is None:
        raise ConfigError(
            f"{item} is not understood; give several as a,b,c, seeds also as range(0,6)"
        )
    if not found:
        raise ConfigError(f"{key}= needs at least one value")
    if twice := [part for part in found if found.count(part) > 1]:
        raise ConfigError(f"{item} names {twice[0]!r} twice")
    return found


def _launcher(plan: Plan) -> tuple[list[str], int]:
    """What to add to a command line without a launcher, and how many runs go at once.

    On a CPU the runs of a study go side by side, each on an equal share of the cores, which is the
    faster way. The number depends on the study and not on what is left of it, so that all of its
    runs compute with the same number of threads.
    """
    from asyrepro.system import devices

    runtime = plan.cfg.runtime
    long = all(item.values["recipe"]["steps"] >= FEW for item in plan.runs)
    on_cpu = devices.choose(runtime.device).type == "cpu"
    if not (on_cpu and long and launchers.installed("joblib")) or runtime.threads:
        return [], 1
    many = min(launchers.cores(), len(plan.runs))
    if many == 1:
        return [], 1
    return [f"{launchers.CHOICE}processes", f"hydra.launcher.n_jobs={many}"], many


def _shared_out(overrides: list[str], plan: Plan, at_once: int, started: float) -> list[str]:
    """The command line with the time that it gives to the study as a time for each run."""
    from asyrepro.runs import estimate

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
    from asyrepro.runs import provenance

    if not plan.todo() and provenance.up_to_date(plan.study):
        say(f"the report is of these rows; asyrepro report study={plan.cfg.study} makes it again")
        return
    from asyrepro.report import front, study  # with its charts, now that there is one to make

    built = None
    while (left := len(plan.todo())) != built:
        built = left
        if left < len(plan.runs):
            study.build(plan.study, data=plan.cfg.runtime.data)
            front.write(plan.study.parent, say)


def _say_what_failed(plan: Plan) -> int:
    """Name the runs that are not finished, and why; returns the exit status."""
    busy = [item for item in plan.todo() if locks.in_use(item.run.folder)]
    for item in busy:
        print(f"not finished: {item.run}: another process is working on it", file=sys.stderr)
    failed = [item for item in plan.todo() if item not in busy]
    for item in failed:
        note, reason = item.run.failure, jobs.failure("did not run to its end", item.overrides)
        reason = note.read_text() if note.is_file() else reason
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


def _print_plan(plan: Plan, at_once: int) -> None:
    from asyrepro.runs import estimate
    from asyrepro.system import devices

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
        _print_unjudged(plan)
        _print_elsewhere([item for item in plan.runs if item.run.finished], devices.name_of(device))
        if plan.cfg.minutes:
            time_needed = f"{plan.cfg.minutes:g} minutes, to each run an equal share"
        else:
            time_needed = estimate.sentence([(item.cfg, item.run) for item in todo], at_once)
        say(f"time     {time_needed}")
    say()


def _described(item: Planned) -> str:
    from asyrepro.data import STAND_IN, catalogue

    cfg = item.cfg
    bundled = cfg.dataset.name == "bundled"
    where = None if bundled else catalogue.available(cfg.dataset.name, cfg.runtime.data)
    data = STAND_IN if bundled else f"{cfg.dataset.name} ({where or 'to be downloaded'})"
    return (
        f"{cfg.model.name}, {cfg.recipe.steps} steps of {cfg.recipe.batch} patches of "
        f"{cfg.recipe.patch} x {cfg.recipe.patch}; trained on {data}"
    )


def _print_unjudged(plan: Plan) -> None:
    """Say so if a loss will not be judged, as the one that it is compared with is not there."""
    import pandas as pd

    from asyrepro.runs import results
    from asyrepro.runs.run import of_study

    declared = {item.run: item.values["loss"].get("base") for item in plan.runs}
    declared |= {run: run.base for run in of_study(plan.study) if run not in declared}
    rows = pd.DataFrame({"loss": [run.loss for run in declared], "base": [*declared.values()]})
    bases = results.bases(rows)
    for loss, base in bases.items():
        if base not in bases:
            say(f"note     {loss} will not be judged: {base}, its base, is not among the losses")


def _print_elsewhere(finished: list[Planned], here: str) -> None:
    """Say so if finished runs were trained on another device than the rest will be."""
    from asyrepro.runs import results

    rows = [results.read_rows(item.run.rows, may_be_empty=True) for item in finished]
    devices = {name for frame in rows for name in frame["device"]}
    if elsewhere := sorted(devices - {here, ""}):
        say(
            f"note     finished runs were trained on {', '.join(elsewhere)}: verdicts leave out "
            "pairs of losses that were trained on different devices; another study= has none"
        )
