"""A budget of time: the number of steps is chosen, recorded, kept by the row, and repeatable."""

import re
import time

import pytest
import torch

from asyrepro.commands import train
from asyrepro.runs import config, estimate
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run, of_study
from asyrepro.system.errors import ConfigError
from asyrepro.training import speed

TINY = [
    "experiment=table2_srcnn", "profile=smoke", "dataset=bundled", "recipe.batch=1",
    "recipe.patch=36", "testset=bundled_validation", "benchmarks=[]",
    "runtime.progress=false", "runtime.device=cpu",
]  # fmt: skip


def test_speed_is_measured_over_at_least_so_many_calls():
    calls = []
    found = speed.measure(lambda: calls.append(None), torch.device("cpu"), seconds=0, least=5)
    assert found > 0 and len(calls) == 6


def test_the_time_that_is_left_is_divided_by_a_steps(monkeypatch):
    cfg = config.compose([*TINY, "minutes=1"])
    run = Run.of(cfg)
    monkeypatch.setattr(speed, "measure", lambda *_, **__: 0.01)
    monkeypatch.setattr(estimate, "_evaluating", lambda job: 20.0)
    steps = estimate.steps_within(1, resolve(cfg, run), run, time.monotonic() - 10)
    assert 0.9 * 20 / 0.01 < steps <= 0.9 * 30 / 0.01  # 60 s less 20, 10, and what this takes
    with pytest.raises(ConfigError, match="minutes"):
        estimate.steps_within(0.4, resolve(cfg, run), run, time.monotonic() - 10)


def test_a_row_has_the_steps_of_its_first_run_and_they_repeat_it(tmp_path, capsys, monkeypatch):
    numbers = iter([7, 9])
    monkeypatch.setattr(estimate, "steps_within", lambda *_: next(numbers))
    common = [*TINY, f"results={tmp_path}"]
    for loss in ("mae", "asy_mae"):
        assert train.main([*common, "study=timed", f"loss={loss}", "minutes=3"]) == 0
    [repeat] = re.findall(r"recipe\.steps=7 recipe\.\S+ recipe\.\S+", capsys.readouterr().out)
    assert train.main([*common, "study=again", "loss=mae", *repeat.split()]) == 0
    runs = [*of_study(tmp_path / "timed"), *of_study(tmp_path / "again")]
    assert [run.settings["recipe"]["steps"] for run in runs] == [7, 7, 7]
    assert [run.settings["recipe"]["scheduler"]["total_steps"] for run in runs] == [7, 7, 7]
    again = runs[2]
    assert again.identity in {run.identity for run in runs[:2]}
    assert again.rows.read_text().count("\n") > 1
