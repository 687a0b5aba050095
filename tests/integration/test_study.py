"""From cells to a study's tables, figures and verdicts."""

import hashlib
import shutil

import pytest

from asyrepro.commands import report as command
from asyrepro.commands import verify
from asyrepro.report import study
from asyrepro.runs import config
from asyrepro.runs.execution import carry_out
from asyrepro.runs.resolve import resolve
from asyrepro.runs.run import Run


def run(root, loss, *further, sweep=()):
    """One cell of a step in the study "two" on the bundled images."""
    overrides = [
        "experiment=table2_srcnn", "profile=smoke", "dataset=bundled", "recipe.steps=1",
        "recipe.validate_every=0", "runtime.progress=false", "runtime.device=cpu",
        "study=two", f"loss={loss}", f"results={root}", *further, *sweep,
    ]  # fmt: skip
    cfg = resolve(config.compose(overrides))
    row = ",".join([cfg.cell, *sweep])
    carry_out(cfg, Run(root / "two" / row / loss / "seed0"))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A results folder with a study of two cells and one variant, on the bundled images."""
    root = tmp_path_factory.mktemp("results")
    for loss, sweep in (("mae", []), ("asy_mae", []), ("mae", ["task.scale=2"])):
        run(root, loss, sweep=sweep)
    study.build(root / "two", log=lambda _: None)
    return root


def digests(folder):
    made = [p for p in folder.rglob("*") if p.is_file() and "seed0" not in p.parts]
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in made
    }


def test_everything_is_made(results):
    found = set(digests(results / "two"))
    pictures = [f"{name}.jpg" for name in ("fig3", "fig5", "fig6", "fig1_2")]
    figures = [*pictures, "fig4.svg", "forest_table2.svg", "mechanism_table2.svg"]
    assert found >= {f"figures/{name}" for name in figures}
    assert found >= {f"tables/table2.{end}" for end in ("csv", "md", "tex")}
    assert found >= {"metrics.csv", "profiles.csv.gz", "verdicts.md", "verdicts.csv", "claims.csv"}
    assert "reproducibility.json" in found


def test_the_same_cells_give_the_same_bytes(results):
    before = digests(results / "two")
    (results / "two" / "metrics.csv").unlink()
    assert command.main(["study=two", f"results={results}"]) == 0
    assert digests(results / "two") == before


def test_stand_in_data_is_named_and_one_seed_gives_no_verdict(results):
    assert "bundled stand-in data" in (results / "two" / "tables" / "table2.md").read_text()
    verdicts = (results / "two" / "verdicts.md").read_text()
    assert "bundled stand-in data" in verdicts
    assert "not judged" in verdicts


def test_the_tidy_table_has_a_row_an_image_and_run_and_the_baseline(results):
    lines = (results / "two" / "metrics.csv").read_text().splitlines()
    head, rows = lines[0].split(","), [line.split(",") for line in lines[1:]]
    assert ",".join(head[:10]) == "table,model,dataset,loss,seed,image,psnr,ssim,rmse,nrmse"
    kinds = {(row[3], row[head.index("variant")]) for row in rows}
    plain, double = "", "task.scale=2"
    assert kinds == {
        *(("bicubic", plain), ("mae", plain), ("asy_mae", plain)),
        *(("bicubic", double), ("mae", double)),
    }
    assert len(rows) == 50


def test_variants_of_a_sweep_stay_out_of_the_tables(results):
    values = {}
    for line in (results / "two" / "metrics.csv").read_text().splitlines()[1:]:
        row = line.split(",")
        if row[3] == "bicubic" and row[5] == "moon":
            values["task.scale=2" in row] = row[6]
    table = (results / "two" / "tables" / "table2.csv").read_text()
    assert float(values[True]) > float(values[False]) + 1  # x2 is easier than x3
    assert values[False] in table and values[True] not in table


@pytest.mark.parametrize(
    ("arguments", "name"), [(["study=none"], "none"), (["sudy=two"], "sudy"), (["pdf=x"], "pdf")]
)
def test_what_cannot_be_reported(results, arguments, name, capsys):
    assert command.main([*arguments, f"results={results}"]) == 2
    assert name in capsys.readouterr().err


def test_a_folder_without_reports_has_no_front_page(tmp_path, capsys):
    assert command.main([f"results={tmp_path}"]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_a_network_of_colour_in_the_table_of_one_of_luma(tmp_path):
    run(tmp_path, "mae", "model.input.mode=rgb", "model.network.image_channels=3")
    assert command.main(["study=two", f"results={tmp_path}"]) == 0
    assert (tmp_path / "two" / "index.html").is_file()


def test_runs_without_a_test_set_do_not_block_the_others(results, tmp_path, capsys):
    folder = tmp_path / "two"
    shutil.copytree(results / "two", folder)
    before = (folder / "metrics.csv").read_text()
    run(tmp_path, "mae", "cell=untested", "testset=null", "table=null")
    assert command.main(["study=two", f"results={tmp_path}"]) == 0
    assert (folder / "metrics.csv").read_text() == before
    assert verify.main([str(folder), "device=cpu"]) == 0

    shutil.copytree(folder / "untested", tmp_path / "none" / "untested")
    assert command.main(["study=none", f"results={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert "none holds no metrics: its runs had no test set (testset=null)" in said
