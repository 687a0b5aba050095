"""Kill a run at random moments, and compare what comes out: python scripts/soak.py kills=20

A small run is trained undisturbed. Then it runs again and is killed (SIGKILL) at a random time,
continued, killed again, until it is through; then from the beginning, until there were so many
kills. It writes a checkpoint after every step, so some kills fall into a checkpoint's writing. Each
run that is through must have the weights, the history (but for its times), the configuration
and the rows of metrics of the undisturbed one, bit for bit. ``seed=`` chooses other random times,
``steps=`` a longer run.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

from asyrepro.runs import config
from asyrepro.runs.execution import carry_out
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run
from asyrepro.training import checkpoint
from asyrepro.training.loop import CHECKPOINT, HISTORY

TRAINING = [
    "model=srcnn", "dataset=bundled", "loss=asy_mse_shuffled", "testset=bundled_validation",
    "profile=smoke", "recipe.log_every=7", "recipe.validate_every=25", "recipe.ema=0.9",
    "runtime.checkpoint_seconds=0", "runtime.device=cpu", "runtime.threads=1",
    "runtime.progress=false", "runtime.download=false",
]  # fmt: skip

# Processes are forked from one that has imported everything: a start takes a moment, not seconds.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        "asyrepro.commands.reproduce",
        "asyrepro.runs.estimate",
        "asyrepro.report.study",
        "torch._dynamo",
        "skimage.metrics",
    ]
)


def start(log: Path, function: Callable, *arguments) -> multiprocessing.Process:
    """Call the function in a process of its own, whose output is added to the file ``log``."""
    process = PROCESSES.Process(target=_call, args=(log, function, arguments))
    process.start()
    return process


def _call(log: Path, function: Callable, arguments: tuple) -> None:
    multiprocessing.set_start_method("fork", force=True)  # no named semaphores that a kill leaves
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    status = function(*arguments)
    sys.exit(status if isinstance(status, int) else 0)


def run(log: Path, function: Callable, *arguments) -> int:
    """The same to its end; returns the exit status, -9 if it was killed."""
    process = start(log, function, *arguments)
    process.join()
    return process.exitcode


def training(steps: int) -> DictConfig:
    """The configuration of the run that is killed."""
    return resolve(config.compose([*TRAINING, f"recipe.steps={steps}"]))


def outcome(folder: Path) -> dict:
    """What must not depend on how a run was interrupted."""
    history = (folder / HISTORY).read_text().splitlines()
    weights = checkpoint.load(folder / "weights.pt")["network"]
    return {
        "weights": checkpoint.digest(weights),
        "history": [line.split(",")[:4] for line in history],  # without speed and time
        "rows": (folder / "rows.csv").read_text(),
        "config": (folder / "config.yaml").read_text(),
    }


def soak(root: Path, kills: int, seed: int, steps: int, log=print) -> list[str]:
    """Run, kill and compare, below the folder ``root``.

    Returns:
        What differs from the undisturbed training, in words; empty if nothing does.
    """
    random.seed(seed)
    cfg, output = training(steps), root / "output.txt"
    whole, cut = root / "whole/srcnn/loss/seed0", root / "cut/srcnn/loss/seed0"
    run(output, int)  # the first start takes longer than all others
    began = time.perf_counter()
    if run(output, carry_out, cfg, Run(whole)) != 0:
        raise SystemExit(f"the undisturbed training failed:\n{output.read_text()}")
    length = time.perf_counter() - began
    expected = outcome(whole)

    differences, killed, through = [], 0, 0
    log(f"{'kill':>4}  {'after':>7}  found")
    while killed < kills or cut.exists():
        process = start(output, carry_out, cfg, Run(cut))
        wait = random.uniform(0, length)
        process.join(wait if killed < kills else None)
        if process.exitcode is None:
            process.kill()
            process.join()
            killed += 1
            log(f"{killed:4}  {wait:5.2f} s  {_found(cut)}")
            continue
        if process.exitcode != 0:
            raise SystemExit(f"a run failed:\n{output.read_text()}")
        found = outcome(cut)
        wrong = [name for name in expected if found[name] != expected[name]]
        through += 1
        log(f"run {through} is through: {'other ' + ', '.join(wrong) if wrong else 'equal'}")
        differences += [f"run {through}: other {name}" for name in wrong]
        shutil.rmtree(root / "cut")
    log(f"{killed} kills, {through} runs, {len(differences)} differences")
    return differences


def _found(folder: Path) -> str:
    """What a killed process left."""
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    written = [name.split(".")[1] for name in names if name.endswith(".tmp")]
    if "rows.csv" in names:
        state = "finished"
    elif CHECKPOINT in names:
        state = f"checkpoint of step {checkpoint.load(folder / CHECKPOINT)['step']}"
    else:
        state = "no checkpoint yet"
    return state + (f", while {written[0]} was written" if written else "")


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status, 1 if anything differed."""
    options = {"kills": 20, "seed": 0, "steps": 200}
    for item in arguments:
        name, _, value = item.partition("=")
        if name not in options or not value.isdigit():
            print(__doc__, file=sys.stderr)
            return 2
        options[name] = int(value)
    with tempfile.TemporaryDirectory() as root:
        return 1 if soak(Path(root), **options) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
