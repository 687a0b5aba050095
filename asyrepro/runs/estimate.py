"""How long runs will take: by the speed of finished ones, else by some steps of each network."""

from __future__ import annotations

import time
from collections.abc import Iterable
from statistics import median

import pandas as pd
import torch
from omegaconf import DictConfig

from asyrepro.runs.execution import Job
from asyrepro.runs.run import Run
from asyrepro.training.loop import HISTORY

WARM, MEASURED = 1, 2  # steps


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
        step = job.bare_step()
        for _ in range(WARM):
            step()
        started = time.perf_counter()
        for _ in range(MEASURED):
            step()
        if job.device.type == "cuda":
            torch.cuda.synchronize(job.device)
        return (time.perf_counter() - started) / MEASURED


def _in_words(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1.5:
        return f"{max(1, round(seconds))} seconds"
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
