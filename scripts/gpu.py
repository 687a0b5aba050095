"""What a GPU is for, in the minutes that one has it: make gpu MINUTES=25

    python scripts/gpu.py minutes=25
    python scripts/gpu.py minutes=9 stages=train profile=h200 experiment=table4_dncnn
    python scripts/gpu.py minutes=5 device=cpu profile=smoke study=rehearsal     # without one

Three stages, each within the time that is left: "check" compares CUDA with the CPU (pytest -m
cuda), "bench" measures the steps of all networks, eager, as a graph and compiled, and "train" is a
study whose runs are as long as the rest of the time allows. A stage that fails stops nothing: what
each says stands in results/gpu/, the study beside it, and the exit status is 1. Further settings
are those of asyrepro reproduce.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from asyrepro.system.errors import say
from asyrepro.system.options import command, rest, setting

SHARES = {"check": 0.25, "bench": 0.3}  # of all the time, at most; training takes the rest
STAGES = ("check", "bench", "train")


@dataclass(kw_only=True)
class Options:
    minutes: float = setting(about="how long it may take", above=0)
    stages: list[str] = setting(list(STAGES), "which of them to run", choices=STAGES)
    device: str = setting("cuda", "cpu rehearses it")
    profile: str = setting("h200", "what to train")
    results: Path = setting(Path("results"), "folder of all studies", shown="FOLDER")
    others: list[str] = rest("further settings of asyrepro reproduce", shown="study=, loss=, ...")


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    return command(__doc__, Options, _stages, arguments)


def _stages(options: Options) -> int:
    started = time.monotonic()
    folder = options.results / "gpu"
    folder.mkdir(parents=True, exist_ok=True)
    failed = []
    for stage in STAGES:
        if stage not in options.stages:
            continue
        left = options.minutes - (time.monotonic() - started) / 60
        share = min(left, SHARES.get(stage, 1) * options.minutes)
        say(f"{stage:6} {share:.1f} minutes")
        told = folder / f"{stage}.txt"
        margin = 1.5 if stage == "train" else 1  # its own budget ends it, with everything kept
        status = _run(_command(stage, options, share), told, margin * share, options.device)
        if status:
            failed.append(stage)
        say(f"{stage:6} {f'status {status}' if status else 'ok'}; {told}")
    return 1 if failed else 0


def _command(stage: str, options: Options, minutes: float) -> list[str]:
    if stage == "check":
        return ["-m", "pytest", "-m", "cuda", "-v", "tests/unit/test_cuda.py"]
    if stage == "bench":
        return ["scripts/bench.py", "steps", f"device={options.device}"]
    return [
        *("-m", "asyrepro", "reproduce", f"minutes={minutes:.2f}", f"profile={options.profile}"),
        *(f"runtime.device={options.device}", "runtime.progress=false"),
        *(f"results={options.results}", *options.others),
    ]


def _run(arguments: list[str], told: Path, minutes: float, device: str) -> int:
    """Run a stage, its output in a file; returns its status, or 124 where its time was up."""
    environment = {**os.environ, "ASYREPRO_TEST_DEVICE": device}
    with open(told, "w") as file:
        stage = subprocess.Popen(
            [sys.executable, *arguments], env=environment, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            return stage.wait(60 * minutes)
        except subprocess.TimeoutExpired:
            stage.terminate()  # a study writes a checkpoint, and stops its runs, first
            stage.wait()
            return 124


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
