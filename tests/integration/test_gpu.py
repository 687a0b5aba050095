"""make gpu, rehearsed on the CPU: one check, one network, two losses, six steps."""

import csv
import subprocess
import sys

import pytest
from helpers import ROOT

TINY = [
    "device=cpu", "profile=smoke", "study=rehearsal", "checks=forward and srcnn",
    "experiment=table2_srcnn",
    "loss=mae,asy_mae", "dataset=bundled", "testset=bundled_validation", "benchmarks=[]",
    "recipe.batch=1", "max_steps=6",
]  # fmt: skip


def gpu(tmp_path, *settings):
    command = [sys.executable, "scripts/gpu.py", *settings, f"results={tmp_path}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    return folder, gpu(folder, *TINY, "minutes=20")


def test_each_stage_does_its_part(rehearsed):
    folder, done = rehearsed
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.stem for path in (folder / "gpu").glob("*.txt")} == {
        "check", "bench", "train", "verify",
    }  # fmt: skip
    with open(folder / "rehearsal" / "metrics.csv", newline="") as file:
        assert {row["loss"] for row in csv.DictReader(file)} >= {"mae", "asy_mae"}
    assert (folder / "rehearsal" / "index.html").is_file()


def test_rows_that_need_a_gpu_are_empty_and_say_so(rehearsed):
    folder, _ = rehearsed
    with open(folder / "bench" / "bench.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows and all(row["measured"] == "" and "GPU" in row["quartiles"] for row in rows)


def test_a_stage_whose_time_is_up_fails_and_the_next_one_runs(tmp_path):
    done = gpu(tmp_path, *TINY, "minutes=0.01", "stages=check,bench")
    assert done.returncode == 1
    assert (tmp_path / "gpu" / "bench.txt").is_file()
