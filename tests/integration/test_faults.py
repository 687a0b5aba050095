"""Faults that are really injected: signals, kills, full disks, two processes, runs that fail."""

import fcntl
import math
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from asyrepro.commands import reproduce, train
from asyrepro.runs import config, execution, parts, results
from asyrepro.runs.execution import carry_out
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run
from asyrepro.system import devices, errors, locks
from asyrepro.system.errors import CheckpointError, ConfigError, StorageError
from asyrepro.training import checkpoint, logger, stopping
from asyrepro.training.loop import CHECKPOINT, HISTORY

sys.path.append(str(Path(__file__).parents[2] / "scripts"))
import soak
from helpers import Lines, trainer

NEVER = 1e9  # seconds between checkpoints
TINY = [*soak.TRAINING, "recipe.steps=3", "recipe.validate_every=0", "study=s"]


@pytest.fixture(autouse=True)
def unstopped(monkeypatch):
    """Each test begins as a process that nothing has asked to end, and that ignores no signal.

    What is started in the background or by nohup ignores SIGINT or SIGHUP from the start.
    """
    monkeypatch.setattr(stopping, "_received", None)
    usual = {
        "SIGINT": signal.default_int_handler,
        "SIGTERM": signal.SIG_DFL,
        "SIGHUP": signal.SIG_DFL,
    }
    before = {name: signal.signal(getattr(signal, name), usual[name]) for name in usual}
    yield
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)


class Signals(Lines):
    """Sends this process a signal while the training's ``step``-th step is under way."""

    def __init__(self, step, number):
        super().__init__()
        self.left, self.number = step, number

    def __next__(self):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)
        return super().__next__()


def course(run):
    """What must not depend on interruptions: the weights, and the history but for its times."""
    rows = [{k: row[k] for k in ("step", "loss", "lr", "val_psnr")} for row in run.history]
    return checkpoint.digest(run.trained.state_dict()), rows


def steps_and_losses(folder):
    """The history that is on the disk, without its times."""
    return [line.split(",")[:4] for line in (folder / HISTORY).read_text().splitlines()]


# ------------------------------------------------------------------------------ being asked to end


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
    text = r"^stopped at step 13 of 40$"
    with pytest.raises(stopping.Stopped, match=text) as stop, stopping.handled():
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
    with pytest.raises(stopping.Stopped, match=r"^stopped$"), stopping.handled():
        os.kill(os.getpid(), signal.SIGTERM)
        reached.append("the line after")
    assert not reached
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_time_limit_is_counted_from_the_start_of_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr(stopping, "STARTED", time.monotonic() - 3599.7)
    run = trainer(tmp_path, steps=10**7, checkpoint_seconds=NEVER)
    with pytest.raises(stopping.Stopped, match=r"by the time limit$") as stop, stopping.handled():
        stopping.limit(60)
        run.run()
    assert stop.value.code == 75
    assert checkpoint.load(tmp_path / CHECKPOINT)["step"] == run.step > 0
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.parametrize("minutes", [0, -1, math.nan, math.inf, "soon"])
def test_time_limits_that_cannot_be(minutes):
    with pytest.raises(ConfigError, match=r"runtime.max_minutes is .*; it must be above 0, or"):
        stopping.limit(minutes)


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stopping.handled():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not stopping.requested()


def _interrupted(times):
    with stopping.handled(), stopping.deferred():
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_second_interrupt_ends_the_process_at_once(tmp_path):
    assert soak.run(tmp_path / "log", _interrupted, 1) == 130
    assert soak.run(tmp_path / "log", _interrupted, 2) == -signal.SIGINT


def _train(*arguments):
    sys.argv = ["train", *arguments]
    return train.main(list(arguments))


def wait_for(found, process):
    while not found():
        assert process.exitcode is None, "the process ended too early"
        time.sleep(0.01)


def test_sigterm_ends_a_whole_sweep_and_says_how_to_go_on(tmp_path):
    long = ["recipe.steps=100000", f"results={tmp_path}", "loss=mae,mse"]
    process = soak.start(tmp_path / "log", _train, "-m", *TINY, *long)
    wait_for(lambda: list(tmp_path.rglob(CHECKPOINT)), process)
    process.terminate()
    process.join()
    log = (tmp_path / "log").read_text()
    assert process.exitcode == 143, log
    [step] = re.findall(r"stopped at step (\d+) of 100000; the same command continues it", log)
    [folder] = [path.parent for path in tmp_path.rglob(CHECKPOINT)]
    assert folder.parent.name == "mae"
    assert checkpoint.load(folder / CHECKPOINT)["step"] == int(step)


def test_the_time_limit_holds_for_a_whole_sweep(tmp_path):
    limit = ["runtime.max_minutes=1e-6", f"results={tmp_path}", "loss=mae,mse"]
    assert soak.run(tmp_path / "log", _train, "-m", *TINY, *limit) == 75
    text = "stopped by the time limit; the same command continues it"
    assert (tmp_path / "log").read_text().count(text) == 1


def _reproduce(*arguments):
    return reproduce.main(list(arguments))


def test_the_time_limit_holds_for_a_study(tmp_path):
    limit = ["profile=smoke", "runtime.max_minutes=1e-6", f"results={tmp_path}", "loss=mae"]
    limit += ["experiment=table2_srcnn", "dataset=bundled", "runtime.device=cpu"]
    assert soak.run(tmp_path / "log", _reproduce, *limit) == 75
    text = "stopped by the time limit; the same command continues the study"
    assert (tmp_path / "log").read_text().endswith(text + "\n")


def test_sigterm_to_a_study_ends_its_training_too(tmp_path):
    study = [
        "profile=smoke", "experiment=table2_srcnn", "loss=mae,mse", "dataset=bundled",
        "recipe.steps=100000", "runtime.checkpoint_seconds=0", "runtime.device=cpu",
        "runtime.progress=false", "study=s", f"results={tmp_path}",
    ]  # fmt: skip
    process = soak.start(tmp_path / "log", _reproduce, *study)
    wait_for(lambda: list(tmp_path.rglob(CHECKPOINT)), process)
    process.terminate()
    process.join()
    log = (tmp_path / "log").read_text()
    assert process.exitcode == 143, log
    steps = [int(step) for step in re.findall(r"stopped at step (\d+) of 100000", log)]
    folders = [path.parent for path in tmp_path.rglob(CHECKPOINT)]  # two where runs go side by side
    kept = [checkpoint.load(folder / CHECKPOINT)["step"] for folder in folders]
    assert steps and sorted(steps) == sorted(kept)
    assert not any(map(locks.in_use, folders))
    assert "stopped; the same command continues the study" in log


# ------------------------------------------------------------------------------------ being killed


def test_three_kills_at_random_times_change_nothing(tmp_path):
    lines = []
    assert soak.soak(tmp_path, kills=3, seed=0, steps=30, log=lines.append) == []
    assert re.fullmatch(r"3 kills, [1-9]\d* \w+, 0 differences", lines[-1]), lines


def _die(name, count, when, function, *arguments):
    """Call the function, and kill this process as it writes the file ``name`` for the nth time."""
    rename, seen = os.replace, [0]

    def replace(source, target):
        seen[0] += Path(target).name == name
        dies = Path(target).name == name and seen[0] == count
        if dies and when == "half written":
            os.truncate(source, os.path.getsize(source) // 2)
        else:
            rename(source, target)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace
    function(*arguments)


def _lines(folder):
    run = trainer(folder, steps=12, ema=0.9)
    run.run()
    return run


def test_kills_while_a_checkpoint_is_written_change_nothing(tmp_path):
    cut = tmp_path / "cut"
    for moment in [
        ("history.csv", 2, "written"),  # and its checkpoint not
        ("checkpoint.pt", 4, "half written"),
        ("checkpoint.pt", 8, "written"),  # 1 + 3 + 8: at the last step
    ]:
        assert soak.run(tmp_path / "log", _die, *moment, _lines, cut) == -signal.SIGKILL, moment
        if moment[2] == "half written":
            assert list(cut.glob(f".{moment[0]}.*.tmp"))
    assert checkpoint.load(cut / CHECKPOINT)["step"] == 12
    assert course(_lines(cut)) == course(_lines(tmp_path / "whole"))
    assert steps_and_losses(cut) == steps_and_losses(tmp_path / "whole")


def test_kills_while_results_are_written_change_nothing(tmp_path):
    cfg, log = soak.training(2), tmp_path / "log"
    whole, cut = tmp_path / "whole/srcnn/loss/seed0", tmp_path / "cut/srcnn/loss/seed0"
    assert soak.run(log, carry_out, cfg, Run(whole)) == 0, log.read_text()
    for name, when in [("weights.pt", "half written"), ("rows.csv", "written")]:
        status = soak.run(log, _die, name, 1, when, carry_out, cfg, Run(cut))
        assert status == -signal.SIGKILL, log.read_text()
        assert bool(list(cut.glob(f".{name}.*.tmp"))) == (when == "half written")
    assert (cut / CHECKPOINT).exists()
    assert soak.run(log, carry_out, cfg, Run(cut)) == 0, log.read_text()
    assert soak.outcome(cut) == soak.outcome(whole)
    left = {path.name for path in cut.iterdir()} - {path.name for path in whole.iterdir()}
    assert not left


@pytest.mark.parametrize("difference", ["fewer keys", "other parameters"])
def test_a_checkpoint_of_an_earlier_version_is_refused(difference, tmp_path):
    trainer(tmp_path).run()
    state = checkpoint.load(tmp_path / CHECKPOINT)
    if difference == "fewer keys":
        del state["total"]
    else:
        state["optimizer"]["param_groups"][0]["params"].append(99)
    checkpoint.save(tmp_path / CHECKPOINT, state)
    with pytest.raises(CheckpointError, match=r"earlier version .*; delete the file to train"):
        trainer(tmp_path).run()


# ------------------------------------------------------------------------------------ full disks


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 800 KB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=800k", "none", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(folder):
    with open(folder / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1000))
        except OSError:
            pass


def out_of_space(folder, disk_is_full, space_is_made, message):
    """Train; at step 10 the disk is full. The checkpoint of step 9 stays, and can be continued."""
    settings = {"steps": 20, "validate_every": 10}
    whole = trainer(folder.parent / "whole", validate=lambda network: 30.0, **settings)
    whole.run()

    def validate(network):
        disk_is_full()
        return 30.0

    with pytest.raises(StorageError, match=message):
        trainer(folder, validate=validate, **settings).run()
    space_is_made()
    assert checkpoint.load(folder / CHECKPOINT)["step"] == 9
    assert not list(folder.glob(".*.tmp"))
    again = trainer(folder, validate=lambda network: 30.0, **settings)
    again.run()
    assert course(again) == course(whole)


def test_a_full_disk(small_disk):
    message = r"(history.csv|checkpoint.pt) cannot be written: No space left .*; make room on that"
    out_of_space(
        small_disk / "run", lambda: fill(small_disk), (small_disk / "filler").unlink, message
    )


def test_a_file_that_may_not_grow(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    message = r"history.csv cannot be written: File too large; raise the limit"
    try:
        out_of_space(
            tmp_path / "run",
            lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50, hard)),
            lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)),
            message,
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_or_read_only_disk_ends_a_sweep(small_disk, tmp_path):
    sweep = ["-m", *TINY, f"results={small_disk}", "loss=mae,mse"]
    fill(small_disk)
    assert soak.run(tmp_path / "full", _train, *sweep) == 2
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert soak.run(tmp_path / "read-only", _train, *sweep) == 2
    assert soak.run(tmp_path / "one", _train, *sweep[1:-1]) == 2
    for name, message in {
        "full": "No space left on device; make room on that disk, and run the command again",
        "read-only": "Read-only file system; choose another folder, and run",
        "one": "Read-only file system; choose another folder, and run",
    }.items():
        log = (tmp_path / name).read_text()
        assert log.startswith("error: ") and log.count("\n") == 1 and message in log, log


@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_more_overrides_than_a_folder_name_can_hold(tmp_path, sweep):
    many = [f"+recipe.a_setting_of_my_own_{number}=1" for number in range(9)]
    assert soak.run(tmp_path / "log", _train, *sweep, *TINY, f"results={tmp_path}", *many) == 2
    log = (tmp_path / "log").read_text()
    assert log.startswith("error: ") and log.count("\n") == 1, log
    assert "name too long; put some of the settings, which become part of the folder's" in log
    assert not list(tmp_path.rglob("seed0"))


def test_a_folder_without_permission(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="Permission denied; choose another folder"):
        trainer(tmp_path / "run").run()


# ----------------------------------------------------------------------------------- two processes


def test_two_processes_share_a_study_and_its_table_can_be_made_again_at_any_time(tmp_path):
    sweep = ["-m", *TINY, f"results={tmp_path}", "loss=mae,mse", "seed=0,1"]
    logs = [tmp_path / "one", tmp_path / "two"]
    both = [soak.start(log, _train, *sweep) for log in logs]
    for process in both:
        process.join()
    text = "".join(log.read_text() for log in logs)
    assert [process.exitcode for process in both] == [0, 0], text
    trained = re.findall(r"^(\S+seed\d): bundled_validation", text, re.MULTILINE)
    folders = {str(path.parent) for path in tmp_path.rglob("rows.csv")}
    assert len(folders) == 4
    assert sorted(trained) == sorted(folders)  # each once

    frame = results.collect(tmp_path / "s")
    assert set(zip(frame["loss"], frame["seed"], strict=True)) >= {
        ("mae", 0), ("mae", 1), ("mse", 0), ("mse", 1),
    }  # fmt: skip
    table = tmp_path / "s" / "metrics.csv"
    whole = table.read_bytes()
    for damage in (whole[:100], b"\x00", b""):
        table.write_bytes(damage)
        results.collect(tmp_path / "s")
        assert table.read_bytes() == whole
    table.unlink()
    results.collect(tmp_path / "s")
    assert table.read_bytes() == whole


def _train_overtaken(*arguments):
    """Another process finishes the run just before this one opens its folder."""

    def overtaken(cfg, run):
        train.resolve = resolve
        carry_out(resolve(cfg.copy()), run)
        return resolve(cfg, run)

    train.resolve = overtaken
    return _train(*arguments)


def test_who_comes_too_late_does_not_say_that_it_trained(tmp_path):
    log = tmp_path / "log"
    assert soak.run(log, _train_overtaken, *TINY, f"results={tmp_path}") == 0
    assert ": already finished, bundled_validation" in log.read_text()


@pytest.fixture
def taken(tmp_path, monkeypatch):
    """A study whose only run another process is working on: (its command line, the folder)."""
    settings = ["loss=mae", "seed=0", "experiment=table2_srcnn", "profile=smoke", "study=s"]
    settings += ["dataset=bundled", "runtime.device=cpu", f"results={tmp_path}"]
    folder = tmp_path / "s/table2,dataset=bundled/mae/seed0"
    folder.mkdir(parents=True)
    with open(folder / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield settings, folder


def test_a_cell_of_another_process_is_left_to_it(tmp_path, taken):
    _, folder = taken
    alone = ["experiment=table2_srcnn", "dataset=bundled", "profile=smoke", "study=s"]
    alone += ["runtime.device=cpu", f"results={tmp_path}", "runtime.download=false"]
    assert soak.run(tmp_path / "log", _train, *alone) == 75
    assert f"{folder}: skipped, another process is working in" in (tmp_path / "log").read_text()


def test_who_only_looks_whether_a_cell_is_in_use_keeps_nobody_out(tmp_path):
    (tmp_path / ".lock").touch()
    with open(tmp_path / ".lock") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        threading.Timer(0.02, lambda: fcntl.flock(file, fcntl.LOCK_UN)).start()
        with locks.locked(tmp_path):
            pass


def test_a_study_does_not_call_the_cells_of_another_process_failed(taken, monkeypatch, capsys):
    settings, folder = taken
    monkeypatch.setattr(reproduce, "_train", lambda arguments: 0)  # it skips the run
    assert reproduce.main(settings) == 75
    output = capsys.readouterr()
    assert f"not finished: {folder}: another process is working on it" in output.err
    assert "failed" not in output.err
    assert "0 of 1 runs" in output.out


# -------------------------------------------------------------------------------- runs that fail


def test_a_cell_that_fails_is_named_with_the_command_for_just_this_cell(tmp_path):
    sweep = [*TINY, f"results={tmp_path}", "recipe.optimizer.lr=1e30,1e-3", "seed=0"]
    assert soak.run(tmp_path / "log", _train, "-m", *sweep) == 1
    log = (tmp_path / "log").read_text()
    [good] = tmp_path.rglob("rows.csv")
    [bad] = tmp_path.rglob("failed.txt")
    assert "lr=0.001" in str(good) and "lr=1e+30" in str(bad)
    end = log[log.index("failed: ") :].splitlines()
    assert re.match(rf"failed: {re.escape(str(bad.parent))}: the loss is no longer finite", end[0])
    python, *rest = shlex.split(end[1])
    assert "python" in python and rest[:3] == ["-m", "asyrepro", "train"] and len(end) == 2

    good.unlink()  # the command is for the other run
    assert soak.run(tmp_path / "again", _train, *rest[3:]) == 2
    assert re.match(r"error: the loss is no longer finite at", (tmp_path / "again").read_text())
    assert not good.exists()


# ---------------------------------------------------------------------- nobody reads the output


def _unread(function, *arguments):
    """Call the function with an output that nobody reads any longer, as after ``| head``."""
    end, other = os.pipe()
    os.close(end)
    os.dup2(other, 1)
    sys.stdout = os.fdopen(1, "w", closefd=False)  # which fills a buffer first, as a pipe's does
    return function(*arguments)


def test_a_sweep_whose_output_nobody_reads_still_counts(tmp_path):
    sweep = [*TINY, f"results={tmp_path}", "loss=mae,mse"]
    assert soak.run(tmp_path / "log", _unread, _train, "-m", *sweep) == 0
    assert len(list(tmp_path.rglob("rows.csv"))) == 2
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_study_whose_output_nobody_reads_is_made_and_says_how_it_ended(tmp_path):
    study = ["profile=smoke", "experiment=table2_srcnn", "loss=mae", "dataset=bundled"]
    study += ["runtime.device=cpu", f"results={tmp_path}", "recipe.steps=3"]
    assert soak.run(tmp_path / "log", _unread, _reproduce, *study, "study=s") == 0
    assert (tmp_path / "s" / "index.html").is_file()
    diverges = [*study, "study=t", "recipe.optimizer.lr=1e30"]
    assert soak.run(tmp_path / "log", _unread, _reproduce, *diverges) == 1


def _print(text):
    return errors.exit_status(lambda: print(text, end=""))


def _close_and_print():
    sys.stdout = None  # as Python has it where the output was closed
    return _print("little")


def test_a_command_ends_quietly_when_its_output_is_not_read_to_the_end(tmp_path):
    assert soak.run(tmp_path / "log", _unread, _print, "much\n" * 100_000) == 128 + signal.SIGPIPE
    assert soak.run(tmp_path / "log", _unread, _print, "little") == 0  # all had been done
    assert soak.run(tmp_path / "log", _close_and_print) == 0
    assert (tmp_path / "log").read_text() == ""


def test_too_large_a_batch_names_the_one_to_try(tmp_path):
    cfg = soak.training(3)
    cfg.recipe.batch = 10**13  # which no machine has the memory for
    cfg.runtime.threads = None
    message = r"recipe.batch=10{13} does not fit into the memory of cpu; try recipe.batch=50{12} "
    with pytest.raises(devices.OutOfMemory, match=message):
        carry_out(cfg, Run(tmp_path / "srcnn/loss/seed0"))


@pytest.mark.parametrize(
    ("where", "batch", "message"),
    [
        ("build", 8, r"^the network does not fit into the free memory of cpu: make room there"),
        (
            "PatchSampler",
            8,
            r"^the training set bundled does not fit into the memory",
        ),
        ("_trainer", 8, r"^recipe.batch=8 does not fit .*; try recipe.batch=4 .*another recipe"),
        ("_trainer", 1, r"^a single patch does not fit into .*; try a recipe.patch below 36 "),
        ("evaluate", 8, r"the training is done and kept: make room there .*same command again"),
    ],
)
@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        torch.AcceleratorError("CUDA error: out of memory"),
    ],
)
def test_out_of_memory_on_a_gpu(tmp_path, monkeypatch, where, batch, message, error):
    def allocate(*_, **__):
        raise error

    cfg = soak.training(1)
    cfg.recipe.batch, cfg.runtime.threads = batch, None
    owner = {"build": parts, "PatchSampler": execution}.get(where, execution.Job)
    monkeypatch.setattr(owner, where, allocate)
    if where == "evaluate":
        monkeypatch.setattr(execution.Job, "train", lambda job: (job.network, {}))
    with pytest.raises(devices.OutOfMemory, match=message):
        carry_out(cfg, Run(tmp_path / "srcnn/loss/seed0"))


# --------------------------------------------------------------------------------------- logging


def test_tensorboard_shows_every_line_of_the_history_once(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def part(steps, stop=None):
        run = trainer(
            tmp_path, steps=40, checkpoint_seconds=NEVER, validate_every=10,
            validate=lambda network: network.weight.item(),
        )  # fmt: skip
        if stop:
            run.sampler = Signals(stop, signal.SIGTERM)
        with logger.opened("tensorboard", tmp_path) as run.logger:
            try:
                with stopping.handled():
                    run.run()
            except stopping.Stopped:
                stopping._received = None
        return run

    part(40, stop=13)
    stale = checkpoint.load(tmp_path / CHECKPOINT)
    part(40, stop=9)  # at step 22, whose checkpoint gets lost
    checkpoint.save(tmp_path / CHECKPOINT, {k: v for k, v in stale.items() if k != "format"})
    history = part(40).history

    events = EventAccumulator(str(tmp_path)).Reload()
    assert sorted(events.Tags()["scalars"]) == sorted(logger.SCALARS)
    for name in logger.SCALARS:
        found = [(event.step, event.value) for event in events.Scalars(name)]
        rows = [(row["step"], row[name]) for row in history if row[name] is not None]
        assert found == [(step, pytest.approx(value, rel=1e-6)) for step, value in rows]
    assert len(history) == 8 and [row["step"] for row in history if row["val_psnr"]] == [
        10, 20, 30, 40,
    ]  # fmt: skip


def test_a_cell_logs_to_its_folder_and_the_logger_is_not_its_identity(tmp_path):
    pytest.importorskip("tensorboard")
    settings = [*TINY, f"results={tmp_path}", "runtime/logger=tensorboard"]
    assert soak.run(tmp_path / "log", _train, *settings) == 0, (tmp_path / "log").read_text()
    [rows] = tmp_path.rglob("rows.csv")
    assert len(list(rows.parent.glob("events.out.tfevents.*"))) == 1
    assert "logger" not in (rows.parent / "config.yaml").read_text()
    cfg = OmegaConf.merge(soak.training(3), {"runtime": {"logger": {"name": "tensorboard"}}})
    assert config.identity(cfg) == config.identity(soak.training(3))


def test_weights_and_biases_gets_the_history_offline(tmp_path):
    pytest.importorskip("wandb")
    folder = tmp_path / "s" / "table2" / "mae" / "seed0"
    folder.mkdir(parents=True)
    run = trainer(folder, steps=10)
    with logger.opened("wandb", folder, {"mode": "offline", "project": "p"}) as run.logger:
        run.run()
    [log] = folder.glob("wandb/offline-run-*/*.wandb")
    names = (b"patches_per_second", b"s-table2-mae-seed0")
    until = time.monotonic() + 60  # a process of its own writes it
    while not all(name in log.read_bytes() for name in names) and time.monotonic() < until:
        time.sleep(0.1)
    assert all(name in log.read_bytes() for name in names)


def test_loggers_that_cannot_be(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="'mlflow'"), logger.opened("mlflow", tmp_path):
        pass
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with (
        pytest.raises(ConfigError, match="pip install tensorboard"),
        logger.opened("tensorboard", tmp_path),
    ):
        pass
