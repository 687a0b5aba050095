"""The study command: its plan, its exit status, and a run that fails."""

import csv
import re
import shlex
import shutil
from dataclasses import replace
from unittest import mock

import pytest
from helpers import assert_names, refuses

from asyrepro.commands import reproduce
from asyrepro.data import catalogue
from asyrepro.report import study
from asyrepro.runs import commandline, config, launchers, resolve
from asyrepro.runs.jobs import samples
from asyrepro.runs.plan import Plan
from asyrepro.system import errors
from asyrepro.system.errors import ConfigError


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Runs the command on the stand-in data; returns (exit status, output, errors)."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("ASYREPRO_DATA", str(tmp_path))

    def command(*settings):
        arguments = [
            "profile=smoke", "study=s", "experiment=table2_srcnn", "loss=mae,asy_mae",
            "runtime.device=cpu", "runtime.progress=false", "runtime.download=false",
            f"results={tmp_path}", *settings,
        ]  # fmt: skip
        status = reproduce.main(arguments)
        return status, *capfd.readouterr()

    return command


def counts(output):
    """How many runs the plan has, how many are done and how many are to do."""
    [line] = [line for line in output.splitlines() if line.startswith("runs ")]
    return [int(number) for number in re.findall(r"\d+", line)]


def test_a_run_that_fails_is_reported_and_the_others_are_kept(tmp_path, monkeypatch, run):
    # Gradients of this size overflow, so the training diverges ...
    status, output, errors = run("recipe.optimizer.lr=1e30", "loss=mae")
    assert status == 1
    assert "failed: " in errors and "seed0" in errors
    assert "0 of 1 runs" in output

    # ... and the same study goes on once the cause is mended and the folder deleted.
    [folder] = tmp_path.glob("s/*/mae")
    shutil.rmtree(folder)
    status, output, errors = run()
    assert status == 0, errors
    assert counts(output) == [2, 0, 2] and "bundled" in output
    rows = list(csv.DictReader((tmp_path / "s" / "metrics.csv").open()))
    assert [row["loss"] for row in rows] == ["bicubic"] * 10 + ["mae"] * 10 + ["asy_mae"] * 10
    assert (tmp_path / "s" / "figures" / "fig4.svg").exists()

    # Each command that began a run is listed as it was typed, not the training that it started.
    failing, mended = map(shlex.split, commandline.noted(tmp_path / "s"))
    assert failing[:3] == mended[:3] == ["asyrepro", "reproduce", "profile=smoke"]
    assert "loss=mae,asy_mae" in mended and failing[-1] == "loss=mae"

    # With nothing to do and nothing changed the report is left as it is.
    monkeypatch.setattr(study, "build", mock.Mock(side_effect=AssertionError))
    status, output, errors = run()
    assert status == 0 and counts(output) == [2, 2, 0] and "report study=s" in output
    monkeypatch.setattr(study, "build", lambda folder, data: None)  # it has been seen to work

    # Finished on another device: said before the rest is trained, as their changes are not paired.
    rows = tmp_path / "s" / "table2" / "mae" / "seed0" / "rows.csv"
    elsewhere = rows.read_text().replace(",cpu,", ",NVIDIA H100,")
    rows.write_bytes(b"\xff")
    status, output, errors = run("seed=0,1", "loss=mae")
    assert status == 2 and "rows.csv" in errors
    rows.write_text(elsewhere)
    with monkeypatch.context() as patched:
        patched.setattr(reproduce, "_train", lambda arguments: 0)
        status, output, errors = run("seed=0,1", "loss=mae")
    assert "NVIDIA H100" in output
    assert status == 1 and errors

    # Networks of another recipe do not count as done.
    status, output, errors = run("max_steps=2")
    assert status == 2 and "runs" not in output
    assert_names(errors, "recipe.steps", "6", "2", "study=")
    status, output, errors = run("max_steps=2", "seed=7")  # nor may they be averaged with these
    assert status == 2
    assert_names(errors, "recipe.steps", "6", "2", "study=")

    # What another process finishes while the report is made gets into the report, too.
    later = rows.rename(rows.with_name("later"))
    reports = []

    def report(folder, data):
        reports.append(folder)
        if later.exists():
            later.rename(rows)

    monkeypatch.setattr(study, "build", report)
    monkeypatch.setattr(reproduce, "_train", lambda arguments: 0)
    status, output, errors = run()
    assert (status, len(reports)) == (0, 2) and "2 of 2 runs" in output


def test_a_loss_whose_base_is_not_trained_is_named_before_the_training(monkeypatch, run):
    monkeypatch.setattr(reproduce, "_train", lambda arguments: 75)
    _, output, _ = run("loss=mae,asy_mae,asy_mse")
    [note] = [line for line in output.splitlines() if line.startswith("note")]
    assert_names(note, "asy_mse", "mse")
    _, output, _ = run("loss=mae,asy_mae,huber")
    assert "note" not in output


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """A plan of two losses and three seeds, of which the real images are there if ``real``."""

    def plan(*overrides, real=False):
        def have(name, runtime):
            if not real:
                raise catalogue.NotAvailable(f"{name} is not here")

        monkeypatch.setattr(resolve, "have", have)
        common = ["fallback=true", "profile=smoke", "runtime.device=cpu", f"results={tmp_path}"]
        return Plan.of(["table2_srcnn"], ["mae", "mse"], ["0", "1", "2"], [*common, *overrides])

    return plan


def begin(item):
    item.run.folder.mkdir(parents=True)
    item.run.config.write_text(config.to_yaml(item.cfg))


@pytest.mark.parametrize("given", ["0,2,4", "range(0,5,2)", "choice(0,2,4)"])
def test_seeds_are_a_list_or_a_range(given):
    sweep, *_ = reproduce._asked_for([f"seed={given}", "profile=smoke"])
    assert sweep["seed"] == ["0", "2", "4"]


@pytest.mark.parametrize("given", ["seed=glob(1)", "seed=range(", "seed=cast(1)"])
def test_other_lists_of_seeds_are_refused(given):
    with refuses(ConfigError, "seed="):
        reproduce._asked_for([given, "profile=smoke"])


def test_a_setting_of_the_experiments_own_task_is_understood():
    [sweep, overrides, _] = reproduce._asked_for(["experiment=table4_dncnn", "task.sigma=50"])
    assert sweep["experiment"] == ["table4_dncnn"] and "task.sigma=50" in overrides


def test_stand_in_images_have_a_study_of_their_own(tmp_path, planned):
    assert planned().study == tmp_path / "smoke-bundled"
    assert {item.cfg.dataset.name for item in planned().runs} == {"bundled"}
    assert planned("study=mine").study == tmp_path / "mine"
    for item in planned().runs:
        begin(item)
        item.run.rows.touch()
    assert planned().todo() == []
    arrived = planned(real=True)
    assert arrived.study == tmp_path / "smoke" and len(arrived.todo()) == 6
    begin(arrived.runs[0])
    arrived.runs[0].run.rows.touch()
    with pytest.raises(catalogue.NotAvailable):  # it is continued with real images, or not at all
        planned()


def test_a_plan_composes_once_an_experiment_and_loss(planned, monkeypatch):
    for item in planned(real=True).runs:
        assert item.run.name == f"table2/{item.cfg.loss.name}/seed{item.cfg.seed}"
        assert item.cfg == resolve.resolve(config.compose(item.overrides), item.run)
    composed = mock.Mock(side_effect=config.compose)
    monkeypatch.setattr("asyrepro.runs.plan.config.compose", composed)
    assert [item.cfg.seed for item in planned(real=True).runs] == [0, 0, 1, 1, 2, 2]
    wanted = [call for call in composed.call_args_list if "seed=1" in call.args[0]]
    assert wanted == []


def test_a_new_run_takes_the_precision_of_its_row(planned):
    [first, *_] = planned(real=True).runs
    other = not first.values["amp"]  # it was begun on a processor of the other kind
    begin(replace(first, values=first.values | {"amp": other}))
    assert {item.values["amp"] for item in planned(real=True).runs} == {other}
    first.run.rows.touch()
    with refuses(ConfigError, "amp"):
        planned(f"amp={str(not other).lower()}", real=True)


def test_a_profile_of_your_own_is_found(tmp_path, monkeypatch, capfd):
    own = tmp_path / "it's (my) own"
    profile = own / "profile" / "mine.yaml"
    profile.parent.mkdir(parents=True)
    profile.write_text(
        "defaults: [override /budget@_global_.budget: smoke]\n"
        "name: mine\nexperiment: [table2_srcnn]\nloss: [mae, mse]\nseed: [4]\nbenchmarks: []\n"
    )
    started = mock.Mock(return_value=75)
    monkeypatch.setattr(reproduce, "_train", started)
    arguments = ["profile=mine", "--config-dir", str(own), f"results={tmp_path}"]
    arguments += ["study='my (first)'"]
    assert reproduce.main([*arguments, "runtime.device=cpu", "runtime.download=false"]) == 75
    _, *asked = started.call_args.args[0]
    assert {"experiment=table2_srcnn", "loss=mae,mse", "seed=4"} <= set(asked)
    with config.composing():
        cfg = config.compose(samples(asked)[0])
    assert (cfg.profile.name, cfg.study) == ("mine", "my (first)")


def test_a_plan_names_the_stand_in_once_for_all_processes(planned, monkeypatch, capfd):
    monkeypatch.delenv(errors.SAID, raising=False)
    planned()
    assert capfd.readouterr().err.count("bsd300 is not here") == 1
    planned()  # as a process that it starts does: the environment is handed on
    assert "bsd300" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("override", "at_once"),
    [("runtime.device=cpu", 2), ("runtime.threads=1", 1), ("recipe.steps=6", 1)],
)
def test_runs_go_side_by_side_on_a_cpu(planned, monkeypatch, override, at_once):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    launcher, found = reproduce._launcher(planned("recipe.steps=60", override))
    assert found == at_once and bool(launcher) == (at_once > 1)
    assert launchers.given(config.compose(launcher)) == (at_once if launcher else None)


@pytest.mark.parametrize(
    ("launcher", "at_once"),
    [
        ("hydra/launcher=joblib hydra.launcher.n_jobs=4", 4),
        ("hydra/launcher=joblib", 3),
        ("hydra/launcher=processes ++hydra.launcher.n_jobs=2", 2),
        ("hydra/launcher=processes hydra.launcher.n_jobs='4'", 4),
        ("hydra/launcher=processes hydra/launcher=basic", 1),
        ("", None),
    ],
)
def test_a_launcher_is_asked_how_many_runs_go_side_by_side(monkeypatch, launcher, at_once):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    monkeypatch.setattr("joblib.cpu_count", lambda: 3)
    assert reproduce._asked_for(["profile=smoke", *launcher.split()])[2] == at_once
