"""From runs to a study's tables, figures and verdicts."""

import hashlib
import shutil

import pandas as pd
import pytest
from helpers import DNCNN, ROOT, SRCNN, assert_refused, call, refuses, small_images, train

from asyrepro.report import front, study
from asyrepro.runs import profiles, results
from asyrepro.system.errors import ConfigError
from asyrepro.system.files import write_csv

LOSSES = ("mae", "asy_mae")
VARIANT = "task.scale=2"


@pytest.fixture(scope="module")
def made(tiny_made, tmp_path_factory):
    """A copy of the tiny study with its report, first made as a library does it; its images."""
    folder = shutil.copytree(tiny_made, tmp_path_factory.mktemp("results") / "tiny")
    with small_images():
        study.build(folder, log=lambda _: None)
        yield folder


def report(folder):
    return call("report", f"study={folder.name}", f"results={folder.parent}")


def digests(folder):
    made = [p for p in folder.rglob("*") if p.is_file() and "seed0" not in p.parts]
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in made
    }


def test_everything_is_made(made):
    found = set(digests(made))
    pictures = [f"{name}.jpg" for name in ("fig3", "fig5", "fig6", "fig1_2")]
    figures = [*pictures, "fig4.svg", "forest_table2.svg", "mechanism_table2.svg"]
    assert found >= {f"figures/{name}" for name in figures}
    assert found >= {f"tables/table2.{end}" for end in ("csv", "md", "tex")}
    assert found >= {"metrics.csv", "profiles.csv.gz", "verdicts.md", "verdicts.csv", "claims.csv"}
    assert found >= {"reproducibility.json", "index.html"}


def test_the_same_runs_give_the_same_bytes(made):
    before = digests(made)
    (made / "metrics.csv").unlink()
    assert report(made).status == 0
    assert digests(made) == before


def test_tables_without_run_folders_are_reported_on_and_take_no_new_run(made, tmp_path):
    kept = tmp_path / "kept"
    shutil.copytree(made, kept, ignore=shutil.ignore_patterns("table2*", "table4*"))
    (kept / "metrics.csv").write_bytes((made / "metrics.csv").read_bytes())
    assert report(kept).status == 0
    assert "super-resolution \u00d73 (bicubic), luma" in (kept / "index.html").read_text()
    run = kept / "table2" / "mae" / "seed1"
    with refuses(ConfigError, kept, "study=", "metrics.csv"):
        train(tmp_path, *SRCNN, "loss=mae", "seed=1", folder=run)
    assert (kept / "metrics.csv").read_bytes() == (made / "metrics.csv").read_bytes()
    (kept / "metrics.csv").unlink()
    assert train(tmp_path, *SRCNN, "loss=mae", "seed=1", folder=run).finished


def test_stand_in_data_is_named_and_one_seed_gives_no_verdict(made):
    for name in ("tables/table2.md", "verdicts.md"):
        assert "bundled stand-in data" in (made / name).read_text()
    assert "not judged" in (made / "verdicts.md").read_text()


def test_the_tidy_table_has_a_row_an_image_and_run_and_the_baseline(made):
    rows = pd.read_csv(made / "metrics.csv", keep_default_na=False)
    assert list(rows)[:10] == [
        *("table", "model", "dataset", "loss", "seed", "image", "psnr", "ssim", "rmse", "nrmse")
    ]
    counts = rows.groupby(["model", "variant", "loss"]).size().to_dict()
    assert counts == dict.fromkeys(
        [
            *(("srcnn", "", loss) for loss in ("bicubic", "mae", "asy_mae")),
            *(("srcnn", VARIANT, loss) for loss in ("bicubic", "mae")),
            *(("dncnn", "", loss) for loss in ("noisy", "mse")),
        ],
        2,  # images
    )


def test_variants_of_a_sweep_stay_out_of_the_tables(made):
    rows = pd.read_csv(made / "metrics.csv", keep_default_na=False, dtype=str)
    rows = rows[(rows["loss"] == "bicubic") & (rows["image"] == "grass")]
    values = rows.set_index("variant")["psnr"]
    table = (made / "tables" / "table2.csv").read_text()
    assert float(values[VARIANT]) > float(values[""]) + 1  # x2 is easier than x3
    assert values[""] in table and values[VARIANT] not in table


@pytest.mark.parametrize(
    ("arguments", "name"), [(["study=none"], "none"), (["sudy=two"], "sudy"), (["pdf=x"], "pdf")]
)
def test_what_cannot_be_reported(made, arguments, name):
    assert_refused(call("report", *arguments, f"results={made.parent}"), name)


def test_a_folder_without_reports_has_no_front_page(tmp_path):
    assert_refused(call("report", f"results={tmp_path}"), tmp_path)


def test_a_network_of_colour_in_the_table_of_one_of_luma(tmp_path):
    folder = tmp_path / "tiny"
    colour = ["model.input.mode=rgb", "model.network.image_channels=3"]
    train(tmp_path, *SRCNN, *colour, folder=folder / "table2/mae/seed0")
    assert report(folder).status == 0
    assert (folder / "index.html").is_file()


def test_runs_without_a_test_set_do_not_block_the_others(tiny):
    before = (tiny / "metrics.csv").read_text()
    run = train(tiny.parent, *SRCNN, "testset=null", "table=null", folder=tiny / "un/mae/seed0")
    assert report(tiny).status == 0
    assert (tiny / "metrics.csv").read_text() == before
    assert call("verify", tiny, "device=cpu").status == 0

    alone = tiny.parent / "alone"
    shutil.copytree(run.folder, alone / "un/mae/seed0")
    assert_refused(report(alone), "alone", "testset=null")


def test_a_test_set_of_no_table_of_the_paper_is_reported_on(tiny):
    """An experiment of one's own with ``row: mine`` and a test set, but no ``table``."""
    mine = [*DNCNN, "row=mine", "table=null", "testset=bundled"]
    runs = [train(tiny.parent, *mine, f"loss={x}", folder=tiny / f"mine/{x}/seed0") for x in LOSSES]
    assert not any(run.file("profiles.csv").exists() for run in runs)
    assert report(tiny).status == 0
    rows = (
        pd.read_csv(tiny / "metrics.csv").groupby("loss")["table"].apply(lambda x: x.isna().any())
    )
    assert rows[[*LOSSES]].all()
    assert "mine" in (tiny / "index.html").read_text()

    alone = tiny.parent / "alone"
    shutil.copytree(tiny / "mine", alone / "mine")
    assert report(alone).status == 0
    assert not (alone / "profiles.csv.gz").exists()


@pytest.fixture(scope="module")
def committed():
    """Metrics and profiles of two seeds and images of a committed study."""
    folder = ROOT / "results" / "srcnn-seeds"
    metrics = results.load(folder)
    chosen = set(metrics["image"][:2])
    metrics = metrics[metrics["image"].isin(chosen) & ~(metrics["seed"] > 1).fillna(False)]
    sums = profiles.load(folder / profiles.STUDY)
    return metrics, sums[sums["image"].isin(chosen) & (sums["seed"] < 2)]


@pytest.mark.parametrize(
    ("losses", "seeds", "images", "variant"),
    [
        (["mae"], 2, 2, ""),
        (["asy_mae"], 2, 2, ""),
        (["asy_mae_shuffled"], 2, 2, ""),
        (["asy_mae_table1"], 2, 2, ""),
        (["asy_mae_shuffled", "asy_mse_inverted"], 2, 2, ""),
        (["mae", "mse"], 2, 2, ""),
        (["mae", "mse"], 2, 1, ""),
        (["mae", "mse"], 2, 2, "task.scale=2"),
        (["mae", "asy_mae"], 1, 1, ""),
        (["mae", "asy_mae_shuffled"], 2, 2, ""),
        (["mae", "asy_mae_table1"], 2, 2, ""),
        (["asy_mae", "asy_mae_shuffled"], 2, 2, ""),
        (["asy_mae_shuffled"], 2, 2, "task.scale=2"),
        (["mae", "asy_mae_shuffled"], 1, 2, "task.scale=2"),
    ],
)
def test_every_set_of_losses_has_a_report(committed, tmp_path, losses, seeds, images, variant):
    metrics, sums = committed
    chosen = set(sums["image"].unique()[:images])
    for table, name in ((metrics.assign(variant=variant), "metrics.csv"), (sums, profiles.STUDY)):
        baseline = table["seed"].isna() | (table["seed"] < 0)
        rows = table[baseline | (table["loss"].isin(losses) & (table["seed"] < seeds))]
        if not (variant and name == profiles.STUDY):
            write_csv(tmp_path / "study" / name, rows[rows["image"].isin(chosen)])
    study.build(tmp_path / "study", log=lambda _: None)
    said = []
    assert (tmp_path / "study" / "index.html").is_file()
    assert front.write(tmp_path, said.append) and not any("left out" in line for line in said)
