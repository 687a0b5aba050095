"""Sweeps as several processes: through joblib, and through submitit's local executor."""

from types import SimpleNamespace

import pytest
import torch
from helpers import assert_refused, call, refuses, spawn

from asyrepro.runs import config, launchers
from asyrepro.runs.execution import carry_out
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run
from asyrepro.system.errors import ConfigError
from asyrepro.training import distributed

SWEEP = [("mae", 0), ("mae", 1), ("asy_mae_shuffled", 0), ("asy_mae_shuffled", 1)]
OWN = [
    "model=srcnn", "profile=smoke", "dataset=bundled", "testset=bundled_validation", "max_steps=3",
    "study=s", "runtime.device=cpu", "runtime.threads=1", "runtime.download=false",
]  # fmt: skip


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """What the runs' folders hold after they were made one by one: {folder: rows.csv}."""
    root, threads = tmp_path_factory.mktemp("serial"), torch.get_num_threads()
    for loss, seed in SWEEP:
        cfg = config.compose([*OWN, f"loss={loss}", f"seed={seed}", f"results={root}"])
        carry_out(resolve(cfg), Run.of(cfg))
    torch.set_num_threads(threads)
    return rows_of(root)


def rows_of(root):
    return {p.parent.relative_to(root): p.read_bytes() for p in root.rglob("rows.csv")}


def sweep(root, *arguments):
    return spawn("train", "-m", *OWN, f"results={root}", *arguments)


def test_joblib_gives_the_rows_of_the_serial_sweep_bit_for_bit(serial, tmp_path):
    # Two runs are asked for twice, at the same time: one of the two is to leave it to the other.
    arguments = ["loss=mae,asy_mae_shuffled", "seed=0,0,1", "hydra/launcher=processes"]
    done = sweep(tmp_path, *arguments, "hydra.launcher.n_jobs=2")
    assert done.status == 0, done.err
    assert len(serial) == 4
    assert rows_of(tmp_path) == serial
    lines = done.out.splitlines()
    left = [line for line in lines if "skipped, another process" in line or "already" in line]
    assert len(lines) == 6 and len(left) == 2
    assert "step/s" not in done.err  # no progress bars of one process over another's


def test_submitit_gives_the_rows_of_the_serial_sweep_and_a_failure_leaves_a_note(serial, tmp_path):
    # The second run cannot start: its folder holds something else.
    taken = tmp_path / next(iter(serial)).parents[1] / "mse" / "seed0"
    taken.mkdir(parents=True)
    (taken / "config.yaml").write_text("seed: 7\n")
    done = sweep(tmp_path, "loss=asy_mae_shuffled,mse", "seed=0", "hydra/launcher=slurm_local")
    assert done.status == 1, done.err
    assert ".sweep/.submitit" in done.out  # where the jobs' output is
    assert f"failed: {taken}: " in done.err and "config.yaml" in done.err
    [folder] = rows_of(tmp_path)
    assert rows_of(tmp_path)[folder] == serial[folder]
    assert "config.yaml" in (taken / "failed.txt").read_text()


def test_processes_spread_over_the_gpus(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    properties = [SimpleNamespace(uuid="a"), SimpleNamespace(uuid="b")]
    monkeypatch.setattr(torch.cuda, "get_device_properties", properties.__getitem__)
    monkeypatch.setattr(distributed.tempfile, "gettempdir", lambda: str(tmp_path))
    take = distributed._free_gpu.__wrapped__  # each call is a process that begins
    assert [take(), take(), take(), take()] == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("launcher", "gpus", "expected"),
    [("processes", 2, 2), ("gpu", 2, 8), ("processes", 0, -1), ("gpu", 0, -1)],
)
def test_runs_at_once_follow_the_gpus(monkeypatch, launcher, gpus, expected):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    cfg = config.compose([f"hydra/launcher={launcher}"])
    assert cfg.hydra.launcher.n_jobs == expected


def test_a_launcher_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(launchers, "find_spec", lambda name: None)
    for launcher in ("processes", "slurm", "slurm_local"):
        with refuses(ConfigError, launcher, "pip install hydra-"):
            launchers.check(["-m", f"hydra/launcher={launcher}"])
    launchers.check(["hydra/launcher=basic", "seed=0,1"])
    assert_refused(call("reproduce", "profile=smoke", "hydra/launcher=slurm"), "slurm")
