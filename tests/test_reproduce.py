"""The study command: its plan, its exit status, and a cell that fails."""

import csv
import os
import subprocess
import sys

from omegaconf import OmegaConf

from asyrepro import reproduce


def run(tmp_path, *settings):
    command = [
        sys.executable, "-m", "asyrepro.reproduce", "profile=smoke", "study=s",
        "experiments=table2_srcnn", "losses=mae,asy_mae", "runtime.device=cpu",
        "runtime.progress=false", "runtime.download=false", f"results={tmp_path}", *settings,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ASYREPRO_DATA": str(tmp_path)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_cell_that_fails_is_reported_and_the_others_are_kept(tmp_path):
    # Gradients of this size overflow, so both trainings diverge ...
    broken = run(tmp_path, "recipe.optimizer.lr=1e30", "losses=mae")
    assert broken.returncode == 1
    assert "the loss is no longer finite at step" in broken.stderr
    assert "failed: " in broken.stderr and "seed0" in broken.stderr
    assert "0 of 1 cells" in broken.stdout

    # ... and the same study goes on once the cause is mended and the folder deleted.
    [folder] = tmp_path.glob("s/*/mae")
    subprocess.run(["rm", "-r", folder], check=True)
    whole = run(tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert "profile  smoke" in whole.stdout and "trained on bundled stand-in data" in whole.stdout
    assert "2, of which 0 done and 2 to do" in whole.stdout
    rows = list(csv.DictReader((tmp_path / "s" / "metrics.csv").open()))
    assert [row["loss"] for row in rows] == ["bicubic"] * 10 + ["mae"] * 10 + ["asy_mae"] * 10
    assert (tmp_path / "s" / "figures" / "fig4.png").exists()

    # Finished on another device: said before the rest is trained, as their changes are not paired.
    rows = tmp_path / "s" / "table2" / "mae" / "seed0" / "rows.csv"
    elsewhere = rows.read_text().replace(",cpu,", ",NVIDIA H100,")
    rows.write_bytes(b"\xff")
    damaged = run(tmp_path, "seeds=0,1", "losses=mae")
    assert damaged.returncode == 2 and "rows.csv is damaged" in damaged.stderr
    assert "Traceback" not in damaged.stderr
    rows.write_text(elsewhere)
    mixed = run(tmp_path, "seeds=0,1", "losses=mae")
    assert "finished cells were trained on NVIDIA H100: verdicts leave out" in mixed.stdout

    # Networks of another recipe do not count as done.
    other = run(tmp_path, "max_steps=2")
    assert other.returncode == 2 and "cells" not in other.stdout
    assert "recipe.steps was 6, now 2); choose another study=..." in other.stderr

    again = run(tmp_path)
    assert again.returncode == 0
    assert "2, of which 2 done and 0 to do" in again.stdout
    assert "H100" not in again.stdout  # nothing is left to be trained


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
