"""Being asked to end: signals and the time limit, to one run, a sweep and a study."""

import math
import os
import re
import signal
import subprocess
import time

import pytest
import soak
from helpers import NEVER, Signals, course, door, refuses, steps_and_losses, trainer

from asyrepro.system import locks
from asyrepro.system.errors import ConfigError
from asyrepro.training import checkpoint, stopping
from asyrepro.training.loop import CHECKPOINT

pytestmark = pytest.mark.usefixtures("unstopped")
SWEEP = ["train", "-m", *soak.TRAINING, "recipe.validate_every=0", "study=s", "loss=mae,mse"]
STUDY = [
    "reproduce", "profile=smoke", "experiment=table2_srcnn", "loss=mae,mse", "dataset=bundled",
    "runtime.device=cpu", "runtime.progress=false", "study=s",
]  # fmt: skip
LONG = ["recipe.steps=100000", "runtime.checkpoint_seconds=0"]


@pytest.mark.parametrize(
    ("name", "status", "settings"),
    [("SIGTERM", 143, {}), ("SIGINT", 130, {"ema": 0.9}), ("SIGHUP", 129, {"clip": 0.1})],
)
def test_a_signal_ends_the_training_after_its_step_and_nothing_is_lost(
    tmp_path, name, status, settings
):
    settings |= {"steps": 40, "checkpoint_seconds": NEVER, "validate_every": 20}
    settings["validate"] = lambda network: network.weight.item()
    whole = trainer(tmp_path / "whole", **settings)
    whole.run()

    cut = trainer(tmp_path / "cut", **settings)
    cut.sampler = Signals(13, getattr(signal, name))  # amid an interval of five steps
    with refuses(stopping.Stopped, "13", "40") as stop, stopping.handled():
        cut.run()
    assert stop.value.code == status
    assert checkpoint.load(tmp_path / "cut" / CHECKPOINT)["step"] == 13

    stopping._received = None
    again = trainer(tmp_path / "cut", **settings)
    again.run()
    assert course(again) == course(whole)
    assert steps_and_losses(tmp_path / "cut") == steps_and_losses(tmp_path / "whole")


def test_outside_a_training_a_signal_ends_the_process_at_once():
    before = signal.getsignal(signal.SIGTERM)
    reached = []
    with pytest.raises(stopping.Stopped), stopping.handled():
        os.kill(os.getpid(), signal.SIGTERM)
        reached.append("the line after")
    assert not reached
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_time_limit_is_counted_from_the_start_of_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr(stopping, "STARTED", time.monotonic() - 3599.7)
    run = trainer(tmp_path, steps=10**7, checkpoint_seconds=NEVER)
    with pytest.raises(stopping.Stopped) as stop, stopping.handled():
        stopping.limit(60)
        run.run()
    assert stop.value.code == 75
    assert checkpoint.load(tmp_path / CHECKPOINT)["step"] == run.step > 0
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.parametrize("minutes", [0, -1, math.nan, math.inf, "soon"])
def test_time_limits_that_cannot_be(minutes):
    with refuses(ConfigError, "runtime.max_minutes", minutes):
        stopping.limit(minutes)


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stopping.handled():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not stopping.received()


def _interrupted(times):
    with stopping.handled(), stopping.deferred():
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_second_interrupt_ends_the_process_at_once(tmp_path):
    assert soak.run(tmp_path / "log", _interrupted, 1) == 130
    assert soak.run(tmp_path / "log", _interrupted, 2) == -signal.SIGINT


def terminated(tmp_path, *words):
    """Its log, its folders with checkpoints: a command that gets SIGTERM once there is one."""
    process = soak.start(tmp_path / "log", door, *words, *LONG, f"results={tmp_path}")
    while not list(tmp_path.rglob(CHECKPOINT)):
        assert process.exitcode is None, "the process ended too early"
        time.sleep(0.01)
    process.terminate()
    process.join()
    log = (tmp_path / "log").read_text()
    assert process.exitcode == 143, log
    return log, [path.parent for path in tmp_path.rglob(CHECKPOINT)]


@pytest.mark.parametrize("words", [SWEEP, STUDY], ids=["sweep", "study"])
def test_sigterm_ends_what_is_under_way_after_a_checkpoint(tmp_path, words):
    log, folders = terminated(tmp_path, *words)
    steps = [int(step) for step in re.findall(r"(\d+) of 100000", log)]
    kept = [checkpoint.load(folder / CHECKPOINT)["step"] for folder in folders]
    assert steps and sorted(steps) == sorted(kept)  # two where runs go side by side
    assert not any(map(locks.in_use, folders))
    assert words is STUDY or [folder.parent.name for folder in folders] == ["mae"]


def children(pid):
    """The processes that a process has started."""
    found = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True)
    pairs = [map(int, line.split()) for line in found.stdout.splitlines()]
    return [child for child, parent in pairs if parent == pid]


def running(pid):
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return found.stdout.strip()[:1] not in ("", "Z")


def test_the_workers_of_a_sweep_that_is_killed_end_after_a_checkpoint(tmp_path):
    parallel = ["hydra/launcher=processes", "hydra.launcher.n_jobs=2", f"results={tmp_path}"]
    process = soak.start(tmp_path / "log", door, *SWEEP, *LONG, *parallel)
    while len(list(tmp_path.rglob(CHECKPOINT))) < 2:
        assert process.exitcode is None, "the process ended too early"
        time.sleep(0.01)
    workers = children(process.pid)
    assert len(workers) >= 2
    process.kill()
    process.join()
    folders = [path.parent for path in tmp_path.rglob(CHECKPOINT)]
    deadline = time.monotonic() + 60
    while any(map(running, workers)):
        assert time.monotonic() < deadline, "a worker goes on"
        time.sleep(0.05)
    assert all(0 < checkpoint.load(folder / CHECKPOINT)["step"] < 10**5 for folder in folders)


@pytest.mark.parametrize("words", [SWEEP, STUDY], ids=["sweep", "study"])
def test_the_time_limit_holds_for_the_whole_command(tmp_path, words):
    limit = ["runtime.max_minutes=1e-6", f"results={tmp_path}"]
    assert soak.run(tmp_path / "log", door, *words, *limit) == 75
    assert (tmp_path / "log").read_text().count("time limit") == 1
    assert not list(tmp_path.rglob("rows.csv"))
