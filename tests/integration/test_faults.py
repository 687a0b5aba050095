"""Faults that are really injected: kills, full disks, two processes, runs that fail."""

import fcntl
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import soak
import torch
from helpers import SRCNN, call, configured, course, door, refuses, steps_and_losses, trainer

from asyrepro.commands import reproduce
from asyrepro.runs import execution, jobs, parts, results
from asyrepro.runs import resolve as resolving
from asyrepro.runs.execution import carry_out
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run
from asyrepro.system import devices, errors, files, locks
from asyrepro.system.errors import StorageError
from asyrepro.training import checkpoint
from asyrepro.training.loop import CHECKPOINT

pytestmark = pytest.mark.usefixtures("unstopped")
TINY = [*soak.TRAINING, "recipe.steps=3", "recipe.validate_every=0", "study=s"]
STUDY = [
    "profile=smoke", "experiment=table2_srcnn", "loss=mae", "seed=0", "dataset=bundled",
    "runtime.device=cpu", "study=s",
]  # fmt: skip

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


def out_of_space(folder, disk_is_full, space_is_made):
    """Train; at step 10 the disk is full. The checkpoint of step 9 stays, and can be continued."""

    def made(folder, at_validation=lambda: None):
        def validate(network):
            at_validation()
            return 30.0

        return trainer(folder, steps=20, validate_every=10, validate=validate)

    whole, again = made(folder.parent / "whole"), made(folder)
    whole.run()
    with refuses(StorageError) as caught:
        made(folder, disk_is_full).run()
    space_is_made()
    assert checkpoint.load(folder / CHECKPOINT)["step"] == 9
    assert not list(folder.glob(".*.tmp"))
    again.run()
    assert course(again) == course(whole)
    return str(caught.value)


def test_a_full_disk(small_disk):
    folder, filler = small_disk / "run", small_disk / "filler"
    said = out_of_space(folder, lambda: fill(small_disk), filler.unlink)
    assert re.search(r"(history.csv|checkpoint.pt).*No space left", said)


def test_a_file_that_may_not_grow(tmp_path):
    limit = resource.RLIMIT_FSIZE
    soft, hard = resource.getrlimit(limit)
    small, usual = (
        lambda size=size: resource.setrlimit(limit, (size, hard)) for size in (50, soft)
    )
    try:
        assert "File too large" in out_of_space(tmp_path / "run", small, usual)
    finally:
        usual()


def refused(log, words, *names):
    """Assert that a command in a process of its own ends with status 2 and one line."""
    assert soak.run(log, door, "train", *words) == 2
    text = log.read_text()
    assert text.startswith("error: ") and text.count("\n") == 1, text
    assert all(name in text for name in names), text


def test_a_full_or_read_only_disk_ends_a_sweep(small_disk, tmp_path):
    one = [*TINY, f"results={small_disk}"]
    sweep = ["-m", *one, "loss=mae,mse"]
    fill(small_disk)
    refused(tmp_path / "full", sweep, "No space left on device")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    refused(tmp_path / "read-only", sweep, "Read-only file system")
    refused(tmp_path / "one", one, "Read-only file system")


@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_more_overrides_than_a_folder_name_can_hold(tmp_path, sweep):
    many = [f"+recipe.scheduler.a_setting_of_my_own_{number}=1" for number in range(9)]
    refused(tmp_path / "log", [*sweep, *TINY, f"results={tmp_path}", *many], "name too long")
    assert not list(tmp_path.rglob("seed0"))


def test_a_name_is_refused_beforehand_if_and_only_if_it_could_not_be_written(tmp_path):
    def accepted(write, *arguments):
        try:
            write(*arguments)
        except StorageError:
            return False
        return True

    names = ["x" * length for length in range(160, 256)]
    found = [accepted(files.check_name, tmp_path / "not there yet" / name) for name in names]
    assert found == [accepted(files.write_text, tmp_path / name, "") for name in names]
    assert {*found} == {True, False}


def test_a_row_whose_tables_would_have_too_long_a_name(tmp_path, monkeypatch):
    """Refused before training, though the row's folder itself could be made."""
    monkeypatch.setattr(execution, "carry_out", None)
    temporary = f"...{os.uname().nodename}.{os.getpid()}.tmp"  # what is added while writing
    run = Run(tmp_path / "s" / ("x" * (256 - len(temporary))) / "mae" / "seed0")
    with refuses(StorageError, run.row, "bundled"):
        jobs._carry_out(configured(tmp_path, *SRCNN), run, since=0.0)
    assert not run.folder.exists()


def test_a_folder_without_permission(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    with refuses(StorageError, "Permission denied"):
        trainer(tmp_path / "run").run()


# ----------------------------------------------------------------------------------- two processes


def test_two_processes_share_a_study_and_its_table_can_be_made_again_at_any_time(tmp_path):
    sweep = ["train", "-m", *TINY, f"results={tmp_path}", "loss=mae,mse", "seed=0,1"]
    logs = [tmp_path / "one", tmp_path / "two"]
    both = [soak.start(log, door, *sweep) for log in logs]
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
        resolving.resolve = resolve
        carry_out(resolve(cfg.copy()), run)
        return resolve(cfg, run)

    resolving.resolve = overtaken
    return door("train", *arguments)


def test_who_comes_too_late_does_not_say_that_it_trained(tmp_path):
    log = tmp_path / "log"
    assert soak.run(log, _train_overtaken, *TINY, f"results={tmp_path}") == 0
    assert "already" in log.read_text()


@pytest.fixture
def taken(tmp_path):
    """The folder of a study's only run, in which another process works."""
    folder = tmp_path / "s/table2,dataset=bundled/mae/seed0"
    folder.mkdir(parents=True)
    with open(folder / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield folder


def test_a_run_of_another_process_is_left_to_it(tmp_path, taken, monkeypatch):
    alone = [*STUDY, f"results={tmp_path}", "runtime.download=false"]
    assert soak.run(tmp_path / "log", door, "train", *alone) == 75
    assert str(taken) in (tmp_path / "log").read_text()
    monkeypatch.setattr(reproduce, "_train", lambda arguments: 0)  # it skips the run
    said = call("reproduce", *STUDY, f"results={tmp_path}")
    assert said.status == 75
    assert f"not finished: {taken}" in said.err and "failed" not in said.err
    assert "0 of 1 runs" in said.out


def test_who_only_looks_whether_a_run_is_in_use_keeps_nobody_out(tmp_path):
    (tmp_path / ".lock").touch()
    with open(tmp_path / ".lock") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        threading.Timer(0.02, lambda: fcntl.flock(file, fcntl.LOCK_UN)).start()
        with locks.locked(tmp_path):
            pass


# -------------------------------------------------------------------------------- runs that fail


def test_a_run_that_fails_is_named_with_the_command_for_just_this_run(tmp_path):
    sweep = [*TINY, f"results={tmp_path}", "recipe.optimizer.lr=1e30,1e-3", "seed=0"]
    assert soak.run(tmp_path / "log", door, "train", "-m", *sweep) == 1
    log = (tmp_path / "log").read_text()
    [good] = tmp_path.rglob("rows.csv")
    [bad] = tmp_path.rglob("failed.txt")
    assert "lr=0.001" in str(good) and "lr=1e+30" in str(bad)
    failure, again = log[log.index("failed: ") :].splitlines()
    assert failure.startswith(f"failed: {bad.parent}: ")
    python, *rest = shlex.split(again)
    assert "python" in python and rest[:3] == ["-m", "asyrepro", "train"]

    good.unlink()  # the command is for the other run
    refused(tmp_path / "again", rest[3:])
    assert not good.exists()


def test_too_large_a_batch_names_the_one_to_try(tmp_path):
    cfg = soak.training(3)
    cfg.recipe.batch = 10**13  # which no machine has the memory for
    cfg.runtime.threads = None
    with refuses(devices.OutOfMemory, "recipe.batch=10000000000000", "recipe.batch=5000000000000"):
        carry_out(cfg, Run(tmp_path / "srcnn/loss/seed0"))


@pytest.mark.parametrize(
    ("where", "batch", "names"),
    [
        ("build", 8, ["network", "cpu"]),
        ("PatchSampler", 8, ["bundled"]),
        ("_trainer", 8, ["recipe.batch=8", "recipe.batch=4"]),
        ("_trainer", 1, ["recipe.patch"]),
        ("evaluate", 8, ["the training is done and kept"]),
    ],
)
@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        torch.AcceleratorError("CUDA error: out of memory"),
    ],
)
def test_out_of_memory_on_a_gpu(tmp_path, monkeypatch, where, batch, names, error):
    def allocate(*_, **__):
        raise error

    cfg = soak.training(1)
    cfg.recipe.batch, cfg.runtime.threads = batch, None
    owner = {"build": parts, "PatchSampler": execution}.get(where, execution.Job)
    monkeypatch.setattr(owner, where, allocate)
    if where == "evaluate":
        monkeypatch.setattr(execution.Job, "train", lambda job: execution.Trained(job.network, {}))
    with refuses(devices.OutOfMemory, *names):
        carry_out(cfg, Run(tmp_path / "srcnn/loss/seed0"))


# ---------------------------------------------------------------------- nobody reads the output


def _unread(function, *arguments):
    """Call the function with an output that nobody reads any longer, as after ``| head``."""
    end, other = os.pipe()
    os.close(end)
    os.dup2(other, 1)
    sys.stdout = os.fdopen(1, "w", closefd=False)  # which fills a buffer first, as a pipe's does
    return function(*arguments)


def test_a_sweep_whose_output_nobody_reads_still_counts(tmp_path):
    sweep = ["train", "-m", *TINY, f"results={tmp_path}", "loss=mae,mse"]
    assert soak.run(tmp_path / "log", _unread, door, *sweep) == 0
    assert len(list(tmp_path.rglob("rows.csv"))) == 2
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_study_whose_output_nobody_reads_is_made_and_says_how_it_ended(tmp_path):
    study = ["reproduce", *STUDY, f"results={tmp_path}", "recipe.steps=3"]
    assert soak.run(tmp_path / "log", _unread, door, *study) == 0
    assert (tmp_path / "s" / "index.html").is_file()
    diverges = [*study, "study=t", "recipe.optimizer.lr=1e30"]
    assert soak.run(tmp_path / "log", _unread, door, *diverges) == 1


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
