"""One run: its folder, its rows, and what it refuses."""

import fcntl
import math
import shutil
from unittest import mock

import pytest
import torch
from helpers import asked, call, refuses
from helpers import train as train_tiny

from asyrepro.data import catalogue
from asyrepro.runs import config, evaluation, execution, provenance, results
from asyrepro.runs.execution import carry_out
from asyrepro.runs.jobs import summary
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run
from asyrepro.system import devices, files, locks
from asyrepro.system.errors import CheckpointError, ConfigError, DataError
from asyrepro.training.loop import Diverged

FOLDER = "table2/mae/seed0"  # of the run that is looked at


@pytest.fixture
def run(tiny):
    return Run(tiny / FOLDER)


def test_a_run_leaves_its_files_and_the_baseline(run):
    names = {path.name for path in run.folder.iterdir()}
    assert names >= {"config.yaml", "history.csv", "rows.csv", "profiles.csv", "weights.pt"}
    assert "checkpoint.pt" not in names
    baseline = files.read_csv(run.baseline("bundled"))
    assert [row["image"] for row in baseline] == ["tripod", "grass"]
    assert {row["loss"] for row in baseline} == {"bicubic"}
    text = run.config.read_text()  # names no folder of this machine
    assert str(run.study.parent) not in text and "runtime" not in text


def test_a_base_that_is_declared_afterwards_is_noted_and_trains_nothing(run):
    before = run.config.read_text()
    for base in ("asy_mse", "mse", None):
        composed = asked(*([f"+loss.base={base}"] if base else []))
        assert Run.of(composed).loss == run.loss
        assert carry_out(resolve(composed), run)[1]  # finished already
        assert Run(run.folder).base == (base or "")
    assert run.config.read_text() == before


def test_rows_say_what_they_are(run):
    rows = files.read_csv(run.rows)
    assert [row["image"] for row in rows] == ["tripod", "grass"]
    row = rows[0]
    assert list(row) == list(results.COLUMNS)
    expected = {"table": "2", "model": "srcnn", "dataset": "bundled", "loss": "mae", "seed": "0"}
    expected |= {"testset": "bundled", "iterations": "2", "device": "cpu"}
    assert {key: row[key] for key in expected} == expected
    assert f"torch {torch.__version__.split('+')[0]}" in row["versions"]
    assert float(row["rmse"]) == pytest.approx(10 ** (-float(row["psnr"]) / 20), rel=1e-4)


def test_a_finished_run_is_not_trained_again(run, monkeypatch):
    monkeypatch.setattr(execution.Job, "train", None)
    assert carry_out(resolve(asked()), run) == (files.read_csv(run.rows), True)


@pytest.mark.parametrize("left", [0, 0.9])
def test_rows_that_are_cut_are_told_of(run, left):
    text = run.rows.read_text()
    run.rows.write_text(text[: int(left * len(text))])
    with refuses(DataError, run.rows):
        carry_out(resolve(asked()), run)
    run.rows.write_text(text.rstrip()[:-1])  # which can still be read
    with refuses(DataError, run.rows):
        carry_out(resolve(asked()), run)


def test_a_finished_training_without_rows_is_evaluated_again(run, monkeypatch):
    text, record = run.rows.read_text(), provenance.read(run.provenance)
    run.rows.unlink()
    monkeypatch.setattr(execution.Job, "train", None)
    with monkeypatch.context() as patch:  # stopped in the middle
        patch.setattr(execution.Job, "evaluate", mock.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            carry_out(resolve(asked()), run)
    again, before = carry_out(resolve(asked()), run)
    assert len(again) == 2 and not before
    assert run.rows.read_text() == text
    assert provenance.read(run.provenance) == record | {"finished": mock.ANY}


def test_weights_of_another_configuration_are_not_evaluated(run):
    other = Run(run.study / "table2/mse/seed0")
    shutil.copytree(run.folder, other.folder, ignore=shutil.ignore_patterns("rows*", "config*"))
    with refuses(CheckpointError, other.weights):
        carry_out(resolve(asked(loss="mse")), other)


def test_weights_are_read_back_and_score_the_same(run, tmp_path):
    output = tmp_path / "rows.csv"
    arguments = [f"checkpoint={run.weights}", "testset=bundled", "device=cpu"]
    said = call("evaluate", *arguments, f"output={output}")
    assert said.status == 0 and "tripod" in said.out
    again = files.read_csv(output)
    assert [r["psnr"] for r in again[:2]] == [r["psnr"] for r in files.read_csv(run.rows)]
    assert {r["loss"] for r in again[2:]} == {"bicubic"}


def test_another_configuration_is_refused_and_named(run):
    with refuses(ConfigError, "recipe.optimizer.lr", "1e-06", "0.5"):
        carry_out(resolve(asked("recipe.optimizer.lr=0.5")), run)


@pytest.mark.parametrize("has_it", [True, False])
def test_what_was_begun_keeps_its_precision(run, monkeypatch, tmp_path, has_it):
    before = resolve(asked()).amp  # of this processor, which may have bfloat16 or not
    monkeypatch.setattr(devices, "fast_bfloat16", lambda device: has_it)
    assert resolve(asked(), Run(tmp_path / "new")).amp is has_it
    again = resolve(asked(), run)
    assert again.amp is before and carry_out(again, run)[1]
    # A precision that is asked for is never changed, and has no folder of its own.
    other = "amp=false" if before else "amp=true"
    assert Run.of(asked(other)) == Run.of(asked())
    with refuses(ConfigError, "amp"):
        carry_out(resolve(asked(other), run), run)


def test_a_folder_in_use_is_left_alone(run):
    with open(run.file(".lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with refuses(locks.InUse, run):
            carry_out(resolve(asked()), run)


def test_fallback_takes_the_stand_in_for_training_and_test_images(tmp_path, monkeypatch):
    monkeypatch.delenv("ASYREPRO_DATA", raising=False)
    monkeypatch.setattr("asyrepro.data.sources.home", lambda: tmp_path)
    wanted = asked("dataset=div2k", "fallback=true", "runtime.download=false")
    cfg = resolve(wanted)
    assert (cfg.dataset.name, cfg.testset, cfg.validation) == (
        "bundled", "bundled", "bundled_validation",
    )  # fmt: skip
    plain = resolve(asked("dataset=bsd300", "runtime.download=false"))
    assert plain.dataset.name == "bsd300"  # asked for by name: no stand-in


def test_a_denoiser_of_colours(tmp_path):
    colour = ["experiment=table4_dncnn", "task.mode=rgb", "model.network.layers=3"]
    run = train_tiny(tmp_path, *colour, "model.network.image_channels=3")
    baseline = files.read_csv(run.baseline("bundled"))
    # The noise has a PSNR of -20 log10(25 / 255) in each channel.
    expected = pytest.approx([20.17] * len(baseline), abs=0.1)
    assert [float(row["psnr"]) for row in baseline] == expected
    with refuses(ConfigError, "image_channels"):
        train_tiny(tmp_path, *colour)


@pytest.fixture
def absent(monkeypatch):
    """A set of names of data sets that cannot be had; all others can."""
    names = set()

    def have(name, runtime):
        if name in names:
            raise catalogue.NotAvailable(f"{name} cannot be had")

    for user in ("resolve", "checks"):
        monkeypatch.setattr(f"asyrepro.runs.{user}.have", have)
    return names


def begun(root, loss, dataset, rows=False):
    """A run that another process has begun with ``dataset``, in table 2."""
    run = Run(root / "table2" / loss / "seed0")
    run.folder.mkdir(parents=True)
    run.config.write_text(config.to_yaml(config.plain(asked(f"dataset={dataset}", loss=loss))))
    if rows:
        run.rows.write_text("")
    return run


def wanted(name):
    return asked(f"dataset={name}", "fallback=true")


def test_a_fallback_says_why_and_a_table_keeps_its_training_set(tmp_path, absent, capsys):
    run = Run(tmp_path / "table2" / "mse" / "seed0")
    absent.add("div2k")
    assert resolve(wanted("div2k"), run).dataset.name == "bsd400"
    said = capsys.readouterr().err
    assert "bsd400" in said and "div2k" in said
    absent.clear()
    assert resolve(wanted("div2k"), run).dataset.name == "div2k"
    begun(tmp_path, "mae", "bsd400")  # as when one download failed and the next one did not
    assert resolve(wanted("div2k"), run).dataset.name == "bsd400"
    absent.add("bsd400")
    with refuses(catalogue.NotAvailable, "bsd400"):
        resolve(wanted("div2k"), run)


def test_a_test_set_that_is_a_benchmark_too_is_needed(absent):
    absent.add("set5")
    cfg = asked("dataset=bsd300", "fallback=true", "testset=set5", "benchmarks=[set5]")
    assert resolve(cfg).dataset.name == "bundled"


def test_a_finished_run_needs_no_data(tmp_path, absent):
    run = begun(tmp_path, "mae", "bsd300", rows=True)
    absent |= {"bsd300", "validation", "table2"}
    cfg = resolve(wanted("bsd300"), run)
    assert (cfg.dataset.name, cfg.testset) == ("bsd300", "table2")


def test_a_table_begun_with_the_stand_in_is_not_continued_with_real_images(tmp_path, absent):
    begun(tmp_path, "mae", "bundled")
    run = Run(tmp_path / "table2" / "mse" / "seed0")
    with refuses(DataError, "bundled", "bsd300"):
        resolve(wanted("bsd300"), run)
    absent.add("bsd300")
    assert resolve(wanted("bsd300"), run).dataset.name == "bundled"


def test_a_finished_run_on_the_stand_in_stays_what_it_is(tmp_path, absent):
    run = begun(tmp_path, "mae", "bundled", rows=True)
    cfg = resolve(wanted("bsd300"), run)  # which can be had by now
    assert (cfg.dataset.name, cfg.testset) == ("bundled", "bundled")


def test_benchmarks_are_the_profiles_or_those_that_are_asked_for(absent):
    assert resolve(asked()).benchmarks == []
    real = "profile=cpu", "dataset=bsd300"
    assert resolve(asked(*real)).benchmarks == ["set5", "set14"]
    assert resolve(asked(*real, "benchmarks=[set5]")).benchmarks == ["set5"]
    one = asked("dataset=bsd300", "benchmarks=[set12]")
    assert resolve(one).benchmarks == ["set12"]
    assert Run.of(one).row == Run.of(asked("dataset=bsd300")).row


def test_a_benchmark_that_cannot_be_had_is_told_before_the_training(tmp_path, absent):
    absent.add("set12")
    run = Run(tmp_path / "s" / FOLDER)
    with refuses(catalogue.NotAvailable, "set12", "benchmarks=[]"):
        carry_out(resolve(asked("testset=null", "benchmarks=[set12]", "table=null")), run)
    assert not run.checkpoint.exists() and not run.weights.exists()


@pytest.mark.parametrize("other", ["max_steps=1", "recipe.batch=2", "validation=set5", "amp"])
def test_what_differs_in_more_than_loss_and_seed_is_not_averaged(run, other):
    amp = resolve(asked()).amp
    setting = f"amp={str(not amp).lower()}" if other == "amp" else other
    for loss, seed in (("mae", 4), ("mse", 0)):
        beside = Run(run.study / f"table2/{loss}/seed{seed}")
        cfg = resolve(asked(setting, loss=loss, seed=seed), beside)
        if other == "validation=set5":
            cfg.validation = "set5"
        named = {"max_steps=1": "recipe.steps"}.get(other, setting.split("=")[0])
        with refuses(ConfigError, named):
            carry_out(cfg, beside)
        assert not beside.config.exists()


def test_an_all_black_test_image_has_no_nrmse_and_can_be_read(tmp_path):
    row = {"model": "srcnn", "loss": "mae", "seed": 0, "image": "black", "psnr": 40.0}
    row |= {"ssim": 0.5, "rmse": 0.01, "nrmse": float("nan"), "testset": "own", "table": None}
    files.write_text(tmp_path / "rows.csv", results.to_csv([row]))
    assert ",black,40.0000000,0.5000000,0.0100000,,own," in (tmp_path / "rows.csv").read_text()
    [read] = results.read_rows(tmp_path / "rows.csv").to_dict("records")
    assert read["psnr"] == 40 and math.isnan(read["nrmse"])


def test_a_network_that_diverged_at_the_very_end_has_no_rows(tmp_path, monkeypatch):
    real = evaluation.outputs

    def infinite(*arguments):
        for image, inputs, output, label in real(*arguments):
            yield image, inputs, output * float("inf"), label

    monkeypatch.setattr(evaluation, "outputs", infinite)
    run = Run(tmp_path / "s" / FOLDER)
    with refuses(Diverged):
        carry_out(resolve(asked()), run)
    assert not run.finished


def test_a_run_without_test_set_and_history_as_a_clone_has_it(tmp_path):
    run = Run(tmp_path / "s/table2/mae/seed0")
    assert "testset=" in summary([], run)
    files.write_text(run.file("history.csv"), "step,val_psnr\n5,31.5\n9,\n")
    assert "9" in summary([], run) and "31.5" in summary([], run)


@pytest.mark.parametrize(("psnr", "warned"), [(-577.0, True), (31.0, False)])
def test_a_run_below_its_baseline_says_so(tmp_path, psnr, warned):
    run = Run(tmp_path / "s/table2/mae/seed0")
    row = {"testset": "set5", "image": "bird"}
    files.write_text(run.baseline("set5"), results.to_csv([row | {"psnr": 30.25}]))
    said = summary([row | {"psnr": psnr}], run)
    assert f"{psnr:.2f}" in said and ("30.25" in said) == warned


@pytest.mark.parametrize(("psnr", "warned"), [(29.0, True), (31.0, False)])
def test_an_exact_degraded_image_is_no_baseline(tmp_path, psnr, warned):
    run = Run(tmp_path / "s/table2/mae/seed0")
    flat, bird = ({"testset": "set5", "image": name} for name in ("flat", "bird"))
    degraded = [flat | {"psnr": math.inf}, bird | {"psnr": 30.25}]
    files.write_text(run.baseline("set5"), results.to_csv(degraded))
    said = summary([flat | {"psnr": 60.0}, bird | {"psnr": psnr}], run)
    assert ("30.25" in said) == warned
    files.write_text(run.baseline("set5"), results.to_csv(degraded[:1]))
    assert "inf" not in summary([flat | {"psnr": 60.0}], run)
