"""The tidy table: how runs are collected into it, and what damages it (asyrepro.runs.results)."""

import shutil

import pandas as pd
import pytest
from helpers import ROOT, refuses
from omegaconf import OmegaConf
from synthetic import metrics_row as row
from synthetic import save_rows as save

from asyrepro.analysis.summary import summarise
from asyrepro.runs import results
from asyrepro.system.errors import DataError, UserError

HEAD = ",".join(results.COLUMNS)


@pytest.mark.parametrize("gap", ["n/a", "NULL", "null", "#N/A", "<NA>", "None", "-nan", "NaN", ""])
def test_a_gap_as_other_programs_write_it_leaves_a_column_of_numbers(tmp_path, gap):
    path = tmp_path / "mine.csv"
    path.write_text(f"image,psnr,note\nx,30.5,{gap}\n{gap or 'y'},{gap},b\n")
    frame = results.read_table(path, names=["image"])
    assert frame["psnr"].dtype == float and frame["psnr"].isna().tolist() == [False, True]
    assert frame["image"][1] == (gap or "y")
    assert frame["note"].fillna("").tolist() == [gap, "b"]


def study(folder):
    """Two losses of Table 5 and a baseline in run folders, and a run of another test set."""
    for loss in ("asy_mae", "mae"):
        for seed in (10, 2):
            rows = [
                row(loss, image, 30 + seed / 7, table=5, seed=seed)
                for image in ("227092", "143090", "14037")
            ]
            save(folder / f"table5/{loss}/seed{seed}/rows.csv", rows)
    save(folder / "baselines/table5.csv", [row("noisy", "227092", 20, table=5, seed="")])
    other = row("mae", "baby", 33, table=4, seed=2, testset="set5", psnr_y=34.5) | {"table": ""}
    save(folder / "set5/mae/seed2/rows.csv", [other])
    return folder


def test_collect_sorts_canonically_and_keeps_the_papers_order(tmp_path):
    frame = results.collect(study(tmp_path / "a"))
    runs = list(dict.fromkeys(zip(frame["loss"], frame["seed"].astype("string"), strict=True)))
    assert [loss for loss, _ in runs[:5]] == ["noisy", "mae", "mae", "asy_mae", "asy_mae"]
    assert [seed for _, seed in runs[1:5]] == ["2", "10", "2", "10"]
    assert frame["image"].tolist()[1:4] == ["227092", "143090", "14037"]
    assert frame["psnr"][1] == pytest.approx(30 + 2 / 7, abs=6e-7)  # six decimals are kept
    last = frame.iloc[-1]
    assert last["testset"] == "set5"
    assert pd.isna(last["table"])
    assert last["psnr_y"] == 34.5


def test_a_table_that_excel_saved_is_read(tmp_path):
    frame = results.collect(study(tmp_path))
    path = tmp_path / "metrics.csv"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    pd.testing.assert_frame_equal(results.load(tmp_path), frame)


def configured(path, **settings):
    """A run's config.yaml: a committed run's, with other settings."""
    known = OmegaConf.load(
        ROOT / "results" / "srcnn-seeds" / "table2" / "mae" / "seed0" / "config.yaml"
    )
    path.write_text(OmegaConf.to_yaml(OmegaConf.merge(known, settings)))


def test_collect_adds_the_precision_that_a_run_was_trained_in(tmp_path):
    study(tmp_path)
    for name, amp in {"mae/seed2": True, "mae/seed10": False, "asy_mae/seed2": "auto"}.items():
        configured(tmp_path / "table5" / name / "config.yaml", amp=amp)
    frame = results.collect(tmp_path)
    rows = frame[(frame["table"] == 5) & (frame["image"] == "227092")]
    found = {
        (loss, seed): kind
        for loss, seed, kind in zip(
            rows["loss"], rows["seed"].fillna(-1), rows["precision"], strict=True
        )
    }
    assert found == {
        ("mae", 2): "bfloat16",
        ("mae", 10): "float32",
        ("asy_mae", 2): "",  # not resolved: no run's
        ("asy_mae", 10): "",
        ("noisy", -1): "",
    }


def test_collect_adds_the_base_that_a_loss_declares(tmp_path):
    study(tmp_path)
    assert "base" not in results.collect(tmp_path)
    mine = tmp_path / "table5" / "asy_mae" / "seed2"
    criterion = {"_target_": "x.Y", "base": "not this one"}
    for loss, base in (({"name": "asy_mae", "criterion": criterion, "base": "mse"}, "mse"),
                       ({"base": "mse", "criterion": criterion}, "mse"),
                       ({"name": "asy_mae", "criterion": criterion}, "mae")):  # fmt: skip
        settings = {"amp": False, "loss": loss, "model": {"base": "neither this"}}
        configured(mine / "config.yaml", **settings)
        frame = results.collect(tmp_path)
        assert results.bases(frame)["asy_mae"] == base
        assert summarise(frame, 5).bases["asy_mae"] == base


def test_a_study_of_baselines_alone_is_refused(tmp_path):
    """As after a first run that was killed."""
    study(tmp_path)
    for row_of_runs in ("table5", "set5"):
        shutil.rmtree(tmp_path / row_of_runs)
    assert list(tmp_path.glob("baselines/*.csv"))
    with refuses(DataError, tmp_path):
        results.collect(tmp_path)
    assert not (tmp_path / "metrics.csv").exists()


def test_collect_refuses_the_same_run_twice(tmp_path):
    study(tmp_path)
    shutil.copytree(tmp_path / "table5", tmp_path / "copy")
    with refuses(DataError, "table5", "copy", "seed10/rows.csv, line 2"):
        results.collect(tmp_path)


GOOD = "4,dncnn,bsd400,mae,0,03,30.1,0.8,0.03,0.05,table4,,,,abc,500,cpu,x"


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (None, []),
        ("", []),
        (HEAD + "\n", []),
        (HEAD.replace(",nrmse", "") + "\n", ["nrmse"]),
        (f"{HEAD},psnr\n{GOOD},30.2\n", ["psnr"]),
        (f"{HEAD}\n{GOOD}\n{GOOD[:-20]}", ["line 3", "11", "18"]),
        (f"{HEAD}\n{GOOD},1,2\n{GOOD},1,2\n", ["line 2", "20", "18"]),
        (f"{HEAD}\n\n{GOOD}\n\n{GOOD},1,2\n", ["line 5", "20", "18"]),
        (f"{HEAD}\n\n{GOOD}\n\n{GOOD.replace('30.1', 'thirty')}\n", ["line 5", "'thirty'"]),
        (f'{HEAD}\n{GOOD}\n"{GOOD}\n', []),
        (f"{HEAD}\n{GOOD.replace('30.1', 'thirty')}\n", ["line 2", "psnr", "'thirty'"]),
        (f"{HEAD}\n{GOOD.replace('30.1', '')}\n", ["line 2", "psnr"]),
        (f"{HEAD}\n{GOOD.replace('30.1', 'nan')}\n", ["psnr", "'nan'"]),
        (f"{HEAD}\n{GOOD.replace(',0,03', ',0.5,03')}\n", ["seed", "'0.5'"]),
        (f"{HEAD}\n{GOOD.replace('0.8', '')}\n", ["ssim"]),
        (f"{HEAD}\n{GOOD.replace(',0,03', ',,03')}\n", ["seed"]),
        (f"{HEAD}\n{GOOD.replace('mae,0,03', 'mine,,03')}\n", ["seed"]),  # has a configuration
        (f"{HEAD}\n{GOOD}\n{GOOD.replace('30.1', '30.2')}\n", ["line 3"]),
        (b"\xff\xfe\x00\x81" * 9, []),
    ],
)
def test_damaged_tables_are_refused_with_their_place(tmp_path, content, names):
    path = tmp_path / "metrics.csv"
    path.write_text(f"{HEAD}\n{GOOD}\n")
    assert results.load(tmp_path)["psnr"].tolist() == [30.1]
    path.unlink()
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with refuses(UserError, path, *names):
        results.load(tmp_path)
