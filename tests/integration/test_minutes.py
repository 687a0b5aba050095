"""A budget of time: the number of steps is chosen, recorded, kept by the row, and repeatable."""

import re
import threading
from types import SimpleNamespace

import pytest
import torch
from helpers import SRCNN, TINY, assert_refused, call, configured, refuses, small_images

from asyrepro.commands import reproduce
from asyrepro.runs import estimate, jobs
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run, of_study
from asyrepro.system import locks
from asyrepro.system.errors import ConfigError
from asyrepro.training import distributed


def test_speed_is_measured_over_at_least_so_many_calls():
    calls = []
    found = estimate.measure(lambda: calls.append(None), torch.device("cpu"), seconds=0, least=5)
    assert found > 0 and len(calls) == 6


def steps_in(minutes, monkeypatch, *seconds_a_step):
    """Steps where the start has taken 10 seconds and the rest, but the steps, will take 20."""
    cfg = configured("results", *SRCNN, f"minutes={minutes}")
    run, seconds = Run.of(cfg), iter(seconds_a_step)
    monkeypatch.setattr(estimate, "measure", lambda *_, **__: next(seconds))
    monkeypatch.setattr(estimate, "_evaluating", lambda job: 15.0)
    monkeypatch.setattr(estimate, "_loading", lambda job: 5.0)
    monkeypatch.setattr(estimate, "time", SimpleNamespace(monotonic=lambda: 10.0))
    return estimate.steps_within(minutes, resolve(cfg, run), run, 0.0)


def test_the_time_that_is_left_is_divided_by_the_slower_of_two_steps(monkeypatch, capsys):
    # 60 s less 20 and 10
    assert steps_in(1, monkeypatch, 0.01, 0.01) == pytest.approx(0.9 * 30 / 0.01, abs=1)
    assert not capsys.readouterr().out
    assert steps_in(1, monkeypatch, 0.01, 0.02) == pytest.approx(0.9 * 30 / 0.02, abs=1)
    assert "10 to 20 ms" in capsys.readouterr().out
    with refuses(ConfigError, "minutes"):
        steps_in(0.4, monkeypatch, 0.01, 0.01)


def test_an_estimate_by_finished_runs_has_their_evaluation(monkeypatch):
    monkeypatch.setattr(estimate, "Job", SimpleNamespace(prepared=lambda *_: None))
    monkeypatch.setattr(estimate, "_recorded", lambda run: 5.0)
    monkeypatch.setattr(estimate, "_evaluating", lambda job, only_here: 560.0)
    cfg = configured("results", *SRCNN)
    assert "about 10 minutes" in estimate.sentence([(cfg, Run.of(cfg))])  # 2 steps, 30 s of report


def test_a_row_has_the_steps_of_its_first_run_and_they_repeat_it(tmp_path, monkeypatch):
    numbers = iter([7, 9])
    monkeypatch.setattr(estimate, "steps_within", lambda *_: next(numbers))
    common = [*(word for word in TINY if "steps" not in word), *SRCNN, f"results={tmp_path}"]
    with small_images():
        for loss in ("mae", "asy_mae"):
            said = call("train", *common, "study=timed", f"loss={loss}", "minutes=3")
            assert said.status == 0, said.err
            if loss == "mae":
                [repeat] = re.findall(r"recipe\.steps=7 recipe\.\S+ recipe\.\S+", said.out)
        assert call("train", *common, "study=again", "loss=mae", *repeat.split()).status == 0
    runs = [*of_study(tmp_path / "timed"), *of_study(tmp_path / "again")]
    assert [run.settings["recipe"]["steps"] for run in runs] == [7, 7, 7]
    assert [run.settings["recipe"]["scheduler"]["total_steps"] for run in runs] == [7, 7, 7]
    again = runs[2]
    assert again.identity in {run.identity for run in runs[:2]}
    assert again.rows.read_text().count("\n") > 1


def test_runs_of_a_row_that_begin_side_by_side_have_one_number_of_steps(tmp_path, monkeypatch):
    """The second one begins, chooses and ends while the first one still measures."""
    measured = []

    def carry_out(loss):
        cfg = configured(tmp_path, *SRCNN, f"loss={loss}", "minutes=3")
        run = Run.of(cfg)
        jobs._carry_out(cfg, run, since=0.0)
        return Run(run.folder)

    def steps_within(*_):
        measured.append(None)
        if len(measured) == 1:
            carry_out("mse")
            return 9
        return 7

    monkeypatch.setattr(estimate, "steps_within", steps_within)
    with small_images():
        runs = [carry_out(loss) for loss in ("mae", "mse", "asy_mae")]
    assert len(measured) == 2 and all(run.finished for run in runs)
    assert [run.settings["recipe"]["steps"] for run in runs] == [7, 7, 7]


def test_who_waits_for_a_lock_gets_it_when_it_is_given_back(tmp_path):
    order = []

    def second():
        with locks.locked(tmp_path, wait=True):
            order.append("second")

    with locks.locked(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_several_processes_are_given_steps_not_minutes(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "size", lambda: 2)
    cfg = configured(tmp_path, *SRCNN, "minutes=3")
    with refuses(ConfigError, "minutes=3", "recipe.steps="):
        jobs._carry_out(cfg, Run.of(cfg), since=0.0)


def test_a_study_shares_its_time_among_its_runs(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(reproduce, "_train", lambda arguments: asked.extend(arguments) or 2)
    common = [*TINY, *SRCNN, "loss=mae,asy_mae,mse", f"results={tmp_path}", "hydra/launcher=basic"]
    assert call("reproduce", *common, "minutes=31").status == 2
    [share] = [float(item.partition("=")[2]) for item in asked if item.startswith("minutes=")]
    assert (31 - 2) / 3 < share < 31 / 3  # the report's part, and what planning took, are taken off
    assert_refused(call("reproduce", *common, "minutes=0.1"), "minutes=0.1", "3 runs")
