"""Goals and matches on numbers worked out by hand."""

import pandas as pd
import pytest
from synthetic import as_measured

from asyrepro.analysis import goals
from asyrepro.analysis.summary import summarise
from asyrepro.runs.results import COLUMNS


def rows(model, table, testset, loss, values, column="psnr", dataset="bsd400"):
    base = {"table": table, "model": model, "dataset": dataset, "testset": testset, "variant": ""}
    return [
        dict.fromkeys(COLUMNS) | base | {"loss": loss, "seed": 0, "image": f"i{k}", column: value}
        for k, value in enumerate(values)
    ]


def frame(*parts):
    made = pd.DataFrame([row for part in parts for row in part], columns=list(COLUMNS))
    made["table"] = made["table"].astype("Int64")
    return made


def test_the_better_base_loss_counts_and_no_asymmetric_one():
    found = goals.table(
        frame(
            rows("dncnn", None, "set12", "mae", [30.0, 30.8]),
            rows("dncnn", None, "set12", "mse", [30.4, 30.5]),
            rows("dncnn", None, "set12", "asy_mse", [40.0, 40.0]),
            rows("dncnn", None, "bsd68", "mae", [29.22, 29.20]),
        )
    ).set_index("test")
    set12, bsd68 = found.loc["Set12, sigma 25"], found.loc["BSD68, sigma 25"]
    assert (set12["goal"], set12["reached"], set12["loss"]) == ("30.44", "30.45", "MSE")
    assert (set12["met"], bsd68["met"]) == ("yes", "no")
    assert set12["network"] == "DnCNN, BSD400"


def test_the_test_noise_is_named_where_the_rows_name_it():
    made = frame(rows("dncnn", None, "set12", "mse", [31.0]))
    assert goals.table(made)["test"].tolist() == ["Set12, sigma 25"]
    named = goals.table(made.assign(protocol="kair"))["test"]
    assert named.tolist() == ["Set12, sigma 25, KAIR's noise"]


def test_super_resolution_counts_in_the_literatures_metric():
    plain = rows("srcnn", None, "set5", "mse", [39.0], dataset="bsd300")
    plain[0]["psnr_y"] = 32.1
    found = goals.table(frame(plain))
    assert found["reached"].tolist() == ["32.10"]
    assert found["met"].tolist() == ["no"]


def test_set14s_grey_file_counts_as_it_is():
    # Luma has 219 of the 255 grey values: as it is, a file has 20 log10(255 / 219) = 1.322 dB less.
    two = rows("srcnn", None, "set14", "mse", [39.0, 39.0], dataset="bsd300")
    two[0] |= {"image": "bridge", "psnr_y": 27.322}
    two[1] |= {"image": "lenna", "psnr_y": 32.0}
    assert goals.table(frame(two))["reached"].tolist() == ["29.00"]


def test_the_papers_own_images_are_held_against_its_better_base_loss():
    # Means of the columns MAE and MSE of Table 4: 29.860 and 29.952; of Table 5: 31.910, 31.982.
    own = {goal.testset: goal.psnr for goal in goals.goals() if goal.testset.startswith("table")}
    assert own == {"table4": 29.95, "table5": 31.98}


@pytest.fixture
def published():
    """The paper's Table 4 as if it were a study's."""
    return as_measured(4, shift=0)


def counted(made):
    return goals.matches(summarise(made, 4))


def test_the_papers_own_numbers_match_themselves(published):
    assert set(counted(published).values()) == {(40, 40, 40)}


def test_margins_and_ties(published):
    # SSIM a little lower everywhere; four cells' PSNR beyond the margin, and NRMSE of two of them.
    worse = published.copy()
    worse["ssim"] -= 0.0029
    worse.loc[worse.index[:4], "psnr"] -= 0.06
    worse.loc[worse.index[4:6], "psnr"] -= 0.04
    worse.loc[worse.index[:2], "nrmse"] *= 1.011
    found = counted(worse)
    assert found["ssim"] == (40, 0, 40)
    assert found["psnr"] == (36, 34, 40)
    assert found["nrmse"] == (38, 38, 40)
    assert found["all"] == (36, 0, 40)
    text = goals.matches_text(summarise(worse, 4))
    assert all(count in text for count in ("40", "36", "38", "34"))


def test_other_images_are_not_counted(published):
    other = published.assign(image=published["image"].map("x{}".format))
    assert counted(other) is None
