"""What a GPU is for, in the minutes that one has it: make gpu MINUTES=25

    python scripts/gpu.py minutes=25
    python scripts/gpu.py minutes=9 stages=train,verify profile=h200 experiment=table4_dncnn
    python scripts/gpu.py minutes=5 device=cpu profile=smoke study=rehearsal     # without one

Four stages, each within the time that is left: "check" compares CUDA with the CPU (pytest -m
cuda), "bench" measures the steps of all networks, eager, as a graph and compiled, "train" is a
study whose runs are as long as the rest of the time allows, its report included, and "verify"
evaluates the study's weights again. A stage that fails stops nothing: what each says stands in
results/gpu/, the study beside it, the bench's rows in results/bench/, and the exit status is 1.
Further settings are those of asyrepro reproduce.
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

# Of all the time, at most; training takes the rest.
SHARES = {"check": 0.25, "bench": 0.3, "verify": 0.1}
STAGES = ("check", "bench", "train", "verify")
LATE = 1.5  # training ends by itself, with everything kept: stopped only at so much of its time
TIME_UP = 124  # the status of a stage that was stopped, as of timeout(1)


@dataclass(kw_only=True)
class Options:
    minutes: float = setting(about="how long it may take", above=0)
    stages: list[str] = setting(list(STAGES), "which of them to run", choices=STAGES)
    device: str = setting("cuda", "cpu rehearses it")
    profile: str = setting("h200", "what to train")
    study: str | None = setting(None, "what to call it; without it as the profile")
    checks: str | None = setting(None, "only those whose names match (pytest -k)", shown="NAME")
    results: Path = setting(Path("results"), "folder of all studies", shown="FOLDER")
    others: list[str] = rest("further settings of asyrepro reproduce", shown="loss=, seed=, ...")


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    return command(__doc__, Options, _stages, arguments)


def _stages(options: Options) -> int:
    started = time.monotonic()
    folder = options.results / "gpu"
    folder.mkdir(parents=True, exist_ok=True)
    todo = [stage for stage in STAGES if stage in options.stages]
    failed = []
    for stage in todo:
        left = options.minutes - (time.monotonic() - started) / 60
        if stage == "train" and "verify" in todo:
            left -= SHARES["verify"] * options.minutes
        share = max(0.0, min(left, SHARES.get(stage, 1) * options.minutes))
        say(f"{stage:6} {share:.1f} minutes")
        told = folder / f"{stage}.txt"
        limit = LATE * share if stage == "train" else share
        status = _run(_command(stage, options, share), told, limit, options.device)
        if status:
            failed.append(stage)
        say(f"       {_ending(status)}: {_last_line(told)} ({told})")
    say(f"failed: {', '.join(failed)}" if failed else "all ok")
    return 1 if failed else 0


def _command(stage: str, options: Options, minutes: float) -> list[str]:
    if stage == "check":
        only = ["-k", options.checks] if options.checks else []
        return ["-m", "pytest", "-m", "cuda", "-v", *only, "tests/unit/test_cuda.py"]
    if stage == "bench":
        folder = f"results={options.results}"
        return ["scripts/bench", "steps", "floor", f"device={options.device}", folder]
    if stage == "verify":
        # Trained on the stand-in images, a study that was not given a name has another one.
        name = options.study or options.profile
        named = options.results / name
        study = named if named.is_dir() else options.results / f"{name}-bundled"
        return ["-m", "asyrepro", "verify", str(study), f"device={options.device}"]
    return [
        *("-m", "asyrepro", "reproduce", f"minutes={minutes:.2f}", f"profile={options.profile}"),
        *(f"runtime.device={options.device}", "runtime.progress=false"),
        *([f"study={options.study}"] if options.study else []),
        *(f"results={options.results}", *options.others),
    ]


def _run(arguments: list[str], told: Path, minutes: float, device: str) -> int:
    """Run a stage, its output in a file; returns its status, or TIME_UP where it was stopped."""
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
            return TIME_UP


def _ending(status: int) -> str:
    return {0: "ok", TIME_UP: "its time was up"}.get(status, f"status {status}")


def _last_line(told: Path) -> str:
    """What a stage said last."""
    lines = [line.strip(" =") for line in told.read_text().splitlines()]
    return next((line for line in reversed(lines) if line), "it said nothing")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
