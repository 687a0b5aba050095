"""Sweeps as several processes: through joblib, and through submitit's local executor."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from asyrepro.commands import reproduce
from asyrepro.runs import config
from asyrepro.runs.execution import carry_out
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run
from asyrepro.system.errors import ConfigError
from asyrepro.training import distributed

SWEEP = [("mae", 0), ("mae", 1), ("asy_mae_shuffled", 0), ("asy_mae_shuffled", 1)]
TINY = [
    "model=srcnn", "profile=smoke", "dataset=bundled", "testset=bundled_validation", "max_steps=3",
    "study=s", "runtime.device=cpu", "runtime.threads=1", "runtime.download=false",
]  # fmt: skip


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    """What the runs' folders hold after they were made one by one: {folder: rows.csv}."""
    root, threads = tmp_path_factory.mktemp("serial"), torch.get_num_threads()
    for loss, seed in SWEEP:
        overrides = [*TINY, f"loss={loss}", f"seed={seed}", "runtime.progress=false"]
        cfg = config.compose([*overrides, f"results={root}"])
        carry_out(resolve(cfg), Run.of(cfg))
    torch.set_num_threads(threads)
    return rows_of(root)


def rows_of(root):
    return {p.parent.relative_to(root): p.read_bytes() for p in root.rglob("rows.csv")}


def sweep(root, *arguments):
    command = [
        sys.executable,
        "-m",
        "asyrepro",
        "train",
        "-m",
        *TINY,
        f"results={root}",
        *arguments,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_joblib_gives_the_rows_of_the_serial_sweep_bit_for_bit(serial, tmp_path):
    # Two runs are asked for twice, at the same time: one of the two is to leave it to the other.
    arguments = ["loss=mae,asy_mae_shuffled", "seed=0,0,1", "hydra/launcher=processes"]
    done = sweep(tmp_path, *arguments, "hydra.launcher.n_jobs=2")
    assert done.returncode == 0, done.stderr
    assert len(serial) == 4
    assert rows_of(tmp_path) == serial
    lines = done.stdout.splitlines()
    left = [line for line in lines if "skipped, another process" in line or "already" in line]
    assert len(lines) == 6 and len(left) == 2
    assert "step/s" not in done.stderr  # no progress bars of one process over another's


def test_submitit_gives_the_rows_of_the_serial_sweep_and_a_failure_leaves_a_note(serial, tmp_path):
    # The second run cannot start: its folder holds something else.
    taken = tmp_path / next(iter(serial)).parents[1] / "mse" / "seed0"
    taken.mkdir(parents=True)
    (taken / "config.yaml").write_text("seed: 7\n")
    done = sweep(tmp_path, "loss=asy_mae_shuffled,mse", "seed=0", "hydra/launcher=slurm_local")
    assert done.returncode == 1, done.stderr
    assert ".sweep/.submitit" in done.stdout  # where the jobs' output is
    assert f"failed: {taken}: " in done.stderr and "config.yaml is damaged" in done.stderr
    [folder] = rows_of(tmp_path)
    assert rows_of(tmp_path)[folder] == serial[folder]
    assert "config.yaml is damaged" in (taken / "failed.txt").read_text()


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


def test_a_launcher_that_is_not_installed_is_named(monkeypatch, capsys):
    def missing(name):
        raise distributed.PackageNotFoundError(name)

    monkeypatch.setattr(distributed, "version", missing)
    for launcher in ("processes", "slurm", "slurm_local"):
        with pytest.raises(ConfigError, match=r"pip install hydra-(joblib|submitit)-launcher"):
            distributed.check_launcher(["-m", f"hydra/launcher={launcher}"])
    distributed.check_launcher(["hydra/launcher=basic", "seed=0,1"])
    assert reproduce.main(["profile=smoke", "hydra/launcher=slurm"]) == 2
    assert "error: hydra/launcher=slurm needs a plugin" in capsys.readouterr().err


def test_presets_compose_with_what_the_documentation_names():
    for launcher, chosen in {
        "processes": ["n_jobs=4"],
        "gpu": ["n_jobs=3"],
        "slurm": ["partition=gpu", "timeout_min=60", "gpus_per_node=2", "array_parallelism=8"],
        "slurm_local": ["gpus_per_node=1"],
    }.items():
        overrides = [f"hydra/launcher={launcher}", *(f"hydra.launcher.{s}" for s in chosen)]
        cfg = config.compose(overrides)
        for setting in chosen:
            name, value = setting.split("=")
            assert str(cfg.hydra.launcher[name]) == value
