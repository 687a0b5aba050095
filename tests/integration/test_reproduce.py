"""The study command: its plan, its exit status, and a cell that fails."""

import csv
import subprocess

import pytest
from omegaconf import OmegaConf

from asyrepro.commands import reproduce
from asyrepro.report import study


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Runs the command on the stand-in data; returns (exit status, output, errors)."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("ASYREPRO_DATA", str(tmp_path))

    def command(*settings):
        arguments = [
            "profile=smoke", "study=s", "experiments=table2_srcnn", "losses=mae,asy_mae",
            "runtime.device=cpu", "runtime.progress=false", "runtime.download=false",
            f"results={tmp_path}", *settings,
        ]  # fmt: skip
        status = reproduce.main(arguments)
        return status, *capfd.readouterr()

    return command


def test_a_cell_that_fails_is_reported_and_the_others_are_kept(tmp_path, monkeypatch, run):
    # Gradients of this size overflow, so the training diverges ...
    status, output, errors = run("recipe.optimizer.lr=1e30", "losses=mae")
    assert status == 1
    assert "the loss is no longer finite at step" in errors
    assert "failed: " in errors and "seed0" in errors
    assert "0 of 1 cells" in output

    # ... and the same study goes on once the cause is mended and the folder deleted.
    [folder] = tmp_path.glob("s/*/mae")
    subprocess.run(["rm", "-r", folder], check=True)
    status, output, errors = run()
    assert status == 0, errors
    assert "profile  smoke" in output and "trained on bundled stand-in data" in output
    assert "2, of which 0 done and 2 to do" in output
    rows = list(csv.DictReader((tmp_path / "s" / "metrics.csv").open()))
    assert [row["loss"] for row in rows] == ["bicubic"] * 10 + ["mae"] * 10 + ["asy_mae"] * 10
    assert (tmp_path / "s" / "figures" / "fig4.png").exists()
    monkeypatch.setattr(study, "build", lambda folder: None)  # it has been seen to work

    # Finished on another device: said before the rest is trained, as their changes are not paired.
    rows = tmp_path / "s" / "table2" / "mae" / "seed0" / "rows.csv"
    elsewhere = rows.read_text().replace(",cpu,", ",NVIDIA H100,")
    rows.write_bytes(b"\xff")
    status, output, errors = run("seeds=0,1", "losses=mae")
    assert status == 2 and "rows.csv is damaged" in errors
    rows.write_text(elsewhere)
    with monkeypatch.context() as patched:
        patched.setattr(reproduce, "_train", lambda arguments: 0)
        status, output, errors = run("seeds=0,1", "losses=mae")
    assert "finished cells were trained on NVIDIA H100: verdicts leave out" in output
    assert status == 1 and "did not run to its end" in errors

    # Networks of another recipe do not count as done.
    status, output, errors = run("max_steps=2")
    assert status == 2 and "cells" not in output
    assert "recipe.steps was 6, now 2); choose another study=..." in errors

    status, output, errors = run()
    assert status == 0
    assert "2, of which 2 done and 0 to do" in output
    assert "H100" not in output  # nothing is left to be trained

    # What another process finishes while the report is made gets into the report, too.
    later = rows.rename(rows.with_name("later"))
    reports = []

    def report(folder):
        reports.append(folder)
        if later.exists():
            later.rename(rows)

    monkeypatch.setattr(study, "build", report)
    monkeypatch.setattr(reproduce, "_train", lambda arguments: 0)
    status, output, errors = run()
    assert (status, len(reports)) == (0, 2) and "2 of 2 cells" in output


def test_the_plan_says_which_losses_differ_in_precision(tmp_path, capsys):
    def plan(*losses):
        common = ["experiment=table2_srcnn", "profile=smoke", "dataset=bundled", "seed=0"]
        where = ["runtime.device=cpu", f"results={tmp_path}"]
        chosen = [[*common, f"loss={loss}", *where] for loss in losses]
        cells = [(*reproduce._compose(overrides), overrides) for overrides in chosen]
        reproduce._print_plan(cells, [path for _, path, _ in cells], tmp_path)
        return cells, capsys.readouterr().out

    [(cfg, folder, _), _], text = plan("mae", "asy_mae")
    assert "note" not in text and "bfloat16 and float32" not in text

    folder.mkdir(parents=True)
    cfg.amp = not cfg.amp  # begun on a processor of the other kind
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
    _, text = plan("mae", "asy_mae")
    assert "bfloat16 and float32" in text
    assert "note     table2: cells that were begun elsewhere keep their precision" in text
    assert "note" not in plan("mae")[1]
