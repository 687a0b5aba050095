"""How long runs will take, and how many steps fit into a time.

By the speed of finished runs, else by some steps of each network.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from statistics import median

import pandas as pd
import torch
from omegaconf import DictConfig

from asyrepro.data import catalogue
from asyrepro.runs import evaluation, parts
from asyrepro.runs.execution import Job
from asyrepro.runs.resolve import INTERVALS
from asyrepro.runs.run import Run
from asyrepro.system.errors import ConfigError
from asyrepro.training import distributed, speed
from asyrepro.training.loop import HISTORY

MEASURED = 2  # steps, for an estimate
SHARE = 0.9  # of a time is given to steps: patches, validation and checkpoints take the rest


def sentence(runs: Iterable[tuple[DictConfig, Run]]) -> str:
    """The time that the training of runs will take one after the other, and how that is known."""
    seconds, recorded, measured, known = 0.0, 0, 0, {}
    for cfg, run in runs:
        key = (run.row, cfg.amp)
        if key not in known:
            before = _recorded(run)
            known[key] = (before, True) if before else (_measured(cfg, run), False)
            recorded, measured = recorded + bool(before), measured + (not before)
        seconds += known[key][0] * cfg.recipe.steps
    basis = [f"{measured} measured here, {MEASURED} steps each"] * bool(measured)
    basis += [f"{recorded} by finished runs"] * bool(recorded)
    return (
        f"about {_in_words(seconds)} of training (networks: {'; '.join(basis)}), evaluation besides"
    )


def _recorded(run: Run) -> float | None:
    """Seconds a step of the row's finished runs."""
    found = []
    for mate in run.mates():
        if mate.finished and mate.file(HISTORY).is_file():
            last = pd.read_csv(mate.file(HISTORY)).iloc[-1]
            found.append(last["seconds"] / last["step"])
    return median(found) if found else None


def _measured(cfg: DictConfig, run: Run) -> float:
    """Seconds a step takes here, without the making of patches."""
    with torch.random.fork_rng():
        job = Job.prepared(cfg, run)
        return speed.measure(job.bare_step(), job.device, seconds=0, least=MEASURED)


def fit(cfg: DictConfig, chosen: DictConfig, run: Run, since: float) -> str:
    """Choose the number of steps that ``cfg.minutes`` allows, and intervals to match, in ``cfg``.

    Args:
        cfg: as Hydra composes it; receives the steps.
        chosen: the same resolved, for the measurement.
        run, since: see :func:`steps_within`.

    Returns:
        The settings that repeat it.
    """
    recipe = cfg.recipe
    steps = distributed.on_main(lambda: steps_within(cfg.minutes, chosen, run, since))
    for name in INTERVALS:
        if recipe[name]:
            recipe[name] = max(1, round(recipe[name] * steps / chosen.recipe.steps))
    recipe.steps = steps
    return " ".join(f"recipe.{name}={recipe[name]}" for name in ("steps", *INTERVALS))


def steps_within(minutes: float, cfg: DictConfig, run: Run, since: float) -> int:
    """The number of steps that train and evaluate a run within a time.

    Args:
        minutes: from ``since`` on.
        cfg, run: the run, which has not been begun.
        since: a time of ``time.monotonic``.

    Raises:
        ConfigError: the start and the evaluation alone take longer.
    """
    with torch.random.fork_rng():
        job = Job.prepared(cfg, run)
        a_step = speed.measure(job.bare_step(), job.device, seconds=min(10.0, 3 * minutes))
        evaluating = _evaluating(job)
    spent = time.monotonic() - since
    left = 60 * minutes - spent - evaluating
    if left < a_step:
        raise ConfigError(
            f"minutes={minutes:g} is too short: to start takes {_in_words(spent)} and to evaluate "
            f"{_in_words(evaluating)}"
        )
    return max(1, int(SHARE * left / a_step))


def _evaluating(job: Job) -> float:
    """Seconds that the evaluation takes, by the first image of each test set."""
    found = 0.0
    cfg = job.cfg
    for name in {*filter(None, [cfg.testset]), *cfg.benchmarks}:
        testset = catalogue.test_set(name, **job.task.reading(), **parts.where(cfg))
        first = replace(testset, names=testset.names[:1], images=testset.images[:1])
        started = time.perf_counter()
        evaluation.evaluate(job.network.eval(), first, job.task, device=job.device)
        evaluation.evaluate_baseline(first, job.task)
        pixels = sum(image.numel() for image in testset.images) / first.images[0].numel()
        found += (time.perf_counter() - started) * pixels
    return found


def _in_words(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1.5:
        return f"{max(1, round(seconds))} seconds"
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
