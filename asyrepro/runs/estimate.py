"""How long runs will take, and how many steps fit into a time.

By the times of finished runs, else by measurements here: steps on black patches, and the first
image of each test set.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from statistics import median

import torch
from omegaconf import DictConfig

from asyrepro.data import catalogue
from asyrepro.runs import checks, config, evaluation, parts, profiles
from asyrepro.runs.execution import Job
from asyrepro.runs.resolve import INTERVALS, resolve
from asyrepro.runs.run import Run
from asyrepro.system import devices, files, locks
from asyrepro.system.errors import ConfigError, say
from asyrepro.training import graphs
from asyrepro.training.loop import HISTORY

REPORT = 30  # seconds that the report is taken to need
BRIEF = 0.4  # seconds of a measurement for an estimate
SHARE = 0.9  # of a time is given to steps: patches and checkpoints take the rest
STEADY = 1.2  # times of a step that differ by a larger factor are not those of a quiet machine


def sentence(runs: Iterable[tuple[DictConfig, Run]], at_once: int = 1) -> str:
    """The time that runs and their report will take, ``at_once`` together, and how it is known."""
    seconds, recorded, measured, known = 0.0, 0, 0, {}
    with threads(torch.get_num_threads() // at_once):
        for cfg, run in runs:
            key = (run.row, cfg.amp)
            if key not in known:
                job, before = Job.prepared(cfg, run), _recorded(run)
                known[key] = before or _measured(job), _evaluating(job, only_here=True)
                recorded, measured = recorded + bool(before), measured + (not before)
            a_step, evaluating = known[key]
            seconds += a_step * cfg.recipe.steps + evaluating
    devices.give_back_memory()  # the runs may be other processes
    basis = [f"{measured} by {BRIEF} s of steps here"] * bool(measured)
    basis += [f"{recorded} by finished runs"] * bool(recorded)
    side = f", {at_once} runs at once" if at_once > 1 else ""
    return (
        f"about {_in_words(seconds / at_once + REPORT)} with evaluation and report{side} "
        f"(networks: {'; '.join(basis)})"
    )


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Within this PyTorch computes with so many, at least one."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, number))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _recorded(run: Run) -> float | None:
    """Seconds a step of the row's finished runs."""
    ends = [
        files.read_csv(mate.file(HISTORY))[-1]
        for mate in run.mates()
        if mate.finished and mate.file(HISTORY).is_file()
    ]
    return median(float(end["seconds"]) / float(end["step"]) for end in ends) if ends else None


def _measured(job: Job) -> float:
    """Seconds that a step takes here.

    It is measured on as many patches as take BRIEF seconds, and taken to be proportional.
    """
    batch = job.cfg.recipe.batch
    a_patch = measure(job.bare_step(1), job.device, seconds=0, least=1)
    fit = min(batch, max(1, int(BRIEF / a_patch)))
    return measure(job.bare_step(fit), job.device, seconds=BRIEF, least=1) * batch / fit


def begin(cfg: DictConfig, chosen: DictConfig, run: Run, since: float) -> DictConfig:
    """Begin a run with the number of steps that ``cfg.minutes`` allows, and intervals to match.

    Runs of a row that begin side by side all measure, each as slow as the others make it. The first
    to be done chooses for the row, and the others take over what its config.yaml holds. ``chosen``
    is ``cfg``, as Hydra composes it, resolved; what the run has begun with is returned.
    """
    steps = steps_within(cfg.minutes, chosen, run, since)
    cfg = cfg.copy()
    recipe = cfg.recipe
    for name in INTERVALS:
        if recipe[name]:
            recipe[name] = max(1, round(recipe[name] * steps / chosen.recipe.steps))
    recipe.steps = steps
    with locks.locked(run.row_folder, wait=True):
        run = Run(run.folder)  # as it is now
        chosen = resolve(cfg, run)
        if not run.config.exists():
            checks.check_row(chosen, run)
            files.write_text(run.config, config.to_yaml(chosen))
    names = ("steps", *INTERVALS)
    repeat = " ".join(f"recipe.{name}={chosen.recipe[name]}" for name in names)
    say(f"{run}: {repeat} for {cfg.minutes:g} minutes")
    return chosen


def steps_within(minutes: float, cfg: DictConfig, run: Run, since: float) -> int:
    """The number of steps that train, validate and evaluate a run within a time.

    Steps are measured before and after all else, and taken to be as slow as the slower time. If the
    two differ much, other work on the machine comes and goes, and a line says so.

    Minutes count from ``since``, a time of ``time.monotonic``. The run has not been begun.

    Raises:
        ConfigError: the start and the evaluation alone take longer.
    """
    job, seconds = Job.prepared(cfg, run), min(5.0, 1.5 * minutes)  # the run seeds again
    before = measure(job.bare_step(), job.device, seconds=seconds)
    besides = _loading(job) + _evaluating(job) + _validating(job)
    after = measure(job.bare_step(), job.device, seconds=seconds)
    fastest, slowest = sorted((before, after))
    if slowest > STEADY * fastest:
        say(
            f"note: a step takes {1e3 * fastest:.3g} to {1e3 * slowest:.3g} ms, as other work on "
            f"this machine comes and goes: {run} may take longer than {minutes:g} minutes"
        )
    spent = time.monotonic() - since
    left = 60 * minutes - spent - besides
    if left < slowest:
        raise ConfigError(
            f"minutes={minutes:g} is too short: to start takes {_in_words(spent)} and to evaluate "
            f"{_in_words(besides)}"
        )
    return max(1, int(SHARE * left / slowest))


def _loading(job: Job) -> float:
    """Seconds that decoding the training set takes; of one that is to be downloaded first, 0."""
    cfg = job.cfg
    if catalogue.available(cfg.dataset.name, cfg.runtime.data) is None:
        return 0.0
    started = time.perf_counter()
    catalogue.training_set(cfg.dataset.name, **parts.reading_here(job.task, cfg))
    return time.perf_counter() - started


def measure(
    step: Callable[[], object], device: torch.device, seconds: float = 3.0, least: int = 2
) -> float:
    """Seconds a call of ``step`` takes on ``device``, which is waited for.

    It is called for about ``seconds``, and ``least`` times however long that takes.
    """
    for _ in range(graphs.EAGER + 2 if device.type == "cuda" else 1):  # kernels are chosen
        step()
    wait(device)
    started, calls = time.perf_counter(), 0
    while calls < least or time.perf_counter() - started < seconds:
        step()
        calls += 1
        if calls & (calls - 1) == 0:  # now and then: a GPU runs behind the host
            wait(device)
    wait(device)
    return (time.perf_counter() - started) / calls


def wait(device: torch.device) -> None:
    """Until the device has done what it was given; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _evaluating(job: Job, only_here: bool = False) -> float:
    """Seconds that the evaluation takes, by the first image of each test set.

    ``only_here``: leave out test sets that would have to be downloaded first.
    """
    found, cfg = 0.0, job.cfg
    for name in {*filter(None, [cfg.testset]), *cfg.benchmarks}:
        if only_here and catalogue.available(name, cfg.runtime.data) is None:
            continue
        testset = catalogue.test_set(name, **parts.reading_here(job.task, cfg))
        first = replace(testset, names=testset.names[:1], pixels=testset.pixels[:1])
        started = time.perf_counter()
        for _, _, output, label in evaluation.outputs(job.network, first, job.task, job.device):
            evaluation.row("", output, label, job.task, testset.name, cfg.metrics)
            if name == cfg.testset:
                profiles.error_profile(label, output)
        if not job.run.baseline(testset.name).is_file():
            evaluation.evaluate_baseline(first, job.task, cfg.metrics)
        pixels = sum(image.numel() for image in testset.images) / first.images[0].numel()
        found += (time.perf_counter() - started) * pixels
    return found


def _validating(job: Job) -> float:
    """Seconds that all validations while training take."""
    validation = job.validation()
    if validation is None:
        return 0.0
    validation.psnr(job.network.eval())  # kernels are chosen
    started = time.perf_counter()
    validation.psnr(job.network)
    times = job.cfg.recipe.steps // job.cfg.recipe.validate_every + 1
    return (time.perf_counter() - started) * times


def _in_words(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1.5:
        return f"{max(1, round(seconds))} seconds"
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
