"""Numbers of one's own, judged (asyrepro judge)."""

import numpy as np
import pandas as pd
import pytest
from helpers import door
from scipy import stats

from asyrepro.analysis import own
from asyrepro.system.errors import DataError

CHANGES = [0.05, 0.02, 0.04, 0.03, 0.06, 0.01]  # of the seeds


def table(changes=CHANGES, images="abcd"):
    """A loss that changes every image of a seed by the same; lpips falls where psnr rises."""
    rows = []
    for seed, change in enumerate(changes):
        for place, image in enumerate(images):
            level = 30 + place + seed / 10
            rows.append(("l1", seed, image, level, 0.5))
            rows.append(("mine", seed, image, level + change, 0.5 - change))
    return pd.DataFrame(rows, columns=["loss", "seed", "image", "psnr", "lpips"])


def judged(frame, **options):
    return own.judged(own.checked(frame, "l1", **options), "l1").set_index(["metric", "loss"])


def test_a_change_that_is_alike_for_all_images_has_students_interval_over_the_seeds():
    found = judged(table())
    test = stats.ttest_1samp(CHANGES, 0)
    expected = test.confidence_interval(0.95)
    row = found.loc["psnr", "mine"]
    assert (row["lower"], row["upper"]) == pytest.approx(tuple(expected))
    assert row["change"] == pytest.approx(np.mean(CHANGES))
    assert (row["p"], row["p_holm"]) == pytest.approx((test.pvalue, test.pvalue))
    assert (row["seeds"], row["images"], row["seeds_better"]) == (6, 4, 6)
    assert row["direction"] == "better"
    row = found.loc["lpips", "mine"]  # smaller is better
    assert (row["lower"], row["upper"]) == pytest.approx((-expected[1], -expected[0]))
    assert (row["direction"], row["seeds_better"]) == ("better", 6)


def test_the_direction_of_a_metric():
    frame = table().assign(RMSE=lambda rows: rows["lpips"], mine=lambda rows: rows["lpips"])
    frame = frame.assign(**{"lpips-alex": frame["lpips"], "PSNR_rgb": frame["psnr"]})
    found = judged(frame)["direction"].xs("mine", level="loss")
    assert (found[["lpips", "RMSE", "lpips-alex", "PSNR_rgb"]] == "better").all()  # known
    assert found["mine"] == "worse"  # not known: larger is taken to be better
    assert judged(frame, smaller=["mine"]).loc[("mine", "mine"), "direction"] == "better"


def test_a_verdict_needs_six_seeds_that_agree():
    assert judged(table(CHANGES[:5])).loc[("psnr", "mine"), "direction"] == "not judged"
    mixed = [0.3, 0.31, 0.32, 0.3, 0.31, -0.01]
    row = judged(table(mixed)).loc["psnr", "mine"]
    assert row["lower"] > 0 and row["direction"] == "neither shown"
    one = judged(table(CHANGES[:1]).drop(columns="seed")).loc["psnr", "mine"]
    assert one["direction"] == "not judged" and np.isnan(one["lower"])


def test_losses_of_one_metric_are_corrected_together():
    frame = table()
    frame = pd.concat([frame, frame[frame["loss"] == "mine"].assign(loss="same")])
    found = judged(frame)
    assert found.loc[("psnr", "mine"), "p_holm"] == pytest.approx(
        2 * found.loc[("psnr", "mine"), "p"]
    )


def test_what_cannot_be_paired_is_left_out_and_named():
    frame = table([*CHANGES, 0.02])
    frame = frame[~((frame["loss"] == "mine") & (frame["seed"] == 3))]
    frame.loc[frame["image"] == "b", "psnr"] = np.inf
    row = judged(frame).loc["psnr", "mine"]
    assert (row["seeds"], row["images"]) == (6, 3)
    assert "3" in row["reason"] and "b" in row["reason"]
    row = judged(frame.assign(loss=frame["loss"] + frame["seed"].map({0: ""}).fillna("x")))
    assert row.loc[("psnr", "l1x"), "direction"] == "not judged"  # no seed in common


@pytest.mark.parametrize(
    "runs",
    [
        lambda frame: frame["loss"] == "l1",  # an image that the other loss lacks
        lambda frame: frame["seed"] < 2,  # that the other four seeds lack
    ],
)
def test_an_image_that_few_pairs_have_costs_no_seed(runs):
    frame = table()
    more = frame[runs(frame) & (frame["image"] == "a")].assign(image="extra", psnr=50.0)
    row, whole = (judged(one).loc["psnr", "mine"] for one in (pd.concat([frame, more]), frame))
    assert (row["seeds"], row["images"]) == (6, 4) and "extra" in row["reason"]
    assert row["lower":"upper"].tolist() == whole["lower":"upper"].tolist()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda frame: pd.concat([frame, frame.tail(1)]), "seed"),
        (lambda frame: frame.drop(columns="seed"), "seed"),  # which makes rows of six runs alike
        (lambda frame: frame.assign(seed=[*frame["seed"][:-1], None]), "seed"),
    ],
)
def test_runs_that_cannot_be_told_apart_are_refused(change, name):
    with pytest.raises(DataError, match=name):
        judged(change(table()))


def test_a_loss_without_any_seed_is_left_out_with_a_note(capsys):
    frame = table()
    noisy = frame[(frame["loss"] == "l1") & (frame["seed"] == 0)].assign(loss="noisy", seed=np.nan)
    pd.testing.assert_frame_equal(judged(pd.concat([frame, noisy])), judged(frame))
    assert "noisy" in capsys.readouterr().err


def test_tables_as_other_programs_write_them(tmp_path, capsys):
    path = tmp_path / "mine.csv"
    table().to_csv(path)  # with an index, whose column has no name
    assert own.checked(own.read(path), "l1").metrics == ["psnr", "lpips"]
    path.write_text(table().to_csv(index=False).replace(",", ", "))
    assert own.checked(own.read(path), "l1").metrics == ["psnr", "lpips"]
    for written in (table().to_csv(sep=";").encode(), table().to_csv().encode("utf-16")):
        path.write_bytes(written)
        assert door("judge", str(path), "base=l1") != 0
        said = capsys.readouterr().err
        assert "commas" in said and "UTF-8" in said


def test_the_command(tmp_path, capsys):
    path = tmp_path / "mine.csv"
    table().to_csv(path, index=False)
    saved = tmp_path / "judged.csv"
    assert door("judge", str(path), "base=l1", "smaller=lpips", f"output={saved}") == 0
    said = capsys.readouterr().out
    assert "mine" in said and said.count("better") >= 2
    assert pd.read_csv(saved)["direction"].tolist() == ["better", "better"]
    for wrong in ("base=l2", "smaller=fid", "metrics=fid", "output=a.txt"):
        assert door("judge", str(path), *{"base=l1", wrong} - {"base=l1" * ("base" in wrong)}) == 2
        assert wrong.partition("=")[2] in capsys.readouterr().err
    before = path.read_bytes()
    assert door("judge", str(path), "base=l1", f"output={tmp_path}/./mine.csv") == 2
    assert "mine.csv" in capsys.readouterr().err and path.read_bytes() == before
    assert door("judge", str(path)) == 2 and "base" in capsys.readouterr().err
