"""Committed runs keep their identity, whatever becomes of the configurations' files."""

import shutil

import guards
import pytest

from asyrepro.runs import config
from asyrepro.runs.checks import check_folder
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run

SAMPLE = {"mae", "asy_mse", "asy_mae_table1"}


def test_composed_configurations_keep_their_identity():
    rows = [row for row in guards.manifest() if row["loss"] in SAMPLE and row["profile"] != "full"]
    assert len(rows) > 50
    assert guards.composed(rows) == []


def test_committed_runs_are_recognised():
    assert guards.committed() == []


@pytest.mark.parametrize("study", ["dncnn-seeds", "srcnn-seeds", "scales"])
def test_the_commands_of_a_committed_study_make_its_runs(study):
    assert guards.unmade(guards.RESULTS / study, {"asy_mae"}) == []


def test_a_command_that_would_make_other_runs_is_noticed(tmp_path):
    shutil.copy(guards.RESULTS / "dphsir-seeds" / "metrics.csv", tmp_path)
    line = (guards.RESULTS / "dphsir-seeds" / "commands.txt").read_text()
    (tmp_path / "commands.txt").write_text(line.replace("task.noise=name", "task.noise=kair"))
    assert len(guards.unmade(tmp_path, {"mae"})) == 12  # six seeds of these, six of the others


def test_a_run_begun_before_the_border_was_an_option_keeps_it_and_a_new_one_gets_matlabs(tmp_path):
    study = guards.ROOT / "results" / "srcnn-seeds"
    begun = sorted(study.glob("table2/mae/seed0"))[0]
    names = ["experiment=table2_srcnn", "profile=srcnn_seeds", "loss=mae"]
    cfg = config.compose(names)
    assert check_folder(resolve(cfg, Run(begun)), Run(begun))
    # The same table's next seed, whose folder is not there yet.
    assert resolve(cfg, Run(begun.with_name("seed99"))).task.border == "renormalise"
    assert resolve(cfg, Run(tmp_path / "a" / "mae" / "seed0")).task.border == "mirror"


def test_a_denoiser_begun_before_the_protocol_was_an_option_keeps_its_test_noise():
    begun = guards.ROOT / "results" / "paper-cpu" / "table4" / "mae" / "seed0"
    cfg = config.compose(["experiment=table4_dncnn", "profile=cpu", "loss=mae"])
    assert resolve(cfg, Run(begun)).task.noise == "name"
    assert resolve(cfg).task.noise == "kair"
