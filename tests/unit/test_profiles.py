"""Sums of an image's error against hand-made arrays, and the files that hold them."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import refuses

from asyrepro.runs import profiles
from asyrepro.system.errors import DataError


def bins(frame, kind):
    return frame[frame["kind"] == kind].set_index("bin")


def test_grey_bins_by_hand():
    label = np.array([[0.00, 0.05, 0.10], [0.55, 0.95, 1.00]])
    output = np.array([[0.10, 0.05, 0.30], [0.05, 0.95, 1.40]])
    found = bins(profiles.error_profile(label, output), "grey")
    assert found["pixels"].tolist() == [2, 1, 0, 0, 0, 1, 0, 0, 0, 2]
    expected = [0.01, 0.04, 0, 0, 0, 0.25, 0, 0, 0, 0.16]  # 0.1^2, 0.2^2, 0.5^2, 0.4^2 by hand
    assert found["sum_squared"].tolist() == pytest.approx(expected)
    expected = [0.1, 0.2, 0, 0, 0, 0.5, 0, 0, 0, 0.4]
    assert found["sum_absolute"].tolist() == pytest.approx(expected)
    assert found["lower"].tolist() == pytest.approx([k / 10 for k in range(10)])
    assert found["energy_label"].isna().all()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_8_bit_values_on_an_edge_belong_to_the_upper_bin(kind):
    # 51/255 = 0.2, 102/255 = 0.4, 153/255 = 0.6, 204/255 = 0.8
    label = (np.array([[51, 102], [153, 204]], dtype=kind) / 255).astype(kind)
    below = np.nextafter(label, kind(0))  # as arithmetic on the way may leave it
    for image in (label, below, np.stack([below] * 3)):
        found = bins(profiles.error_profile(image, image), "grey")
        assert found.index[found["pixels"] > 0].tolist() == [2, 4, 6, 8]


def test_colour_is_binned_by_luma_and_averaged_over_channels():
    label = np.zeros((3, 2, 2))
    label[1] = 0.5  # green alone: luma 0.587 / 2 = 0.2935
    output = label.copy()
    output[0] += 0.3
    found = bins(profiles.error_profile(label, output), "grey")
    assert found["pixels"].tolist() == [0, 0, 4, 0, 0, 0, 0, 0, 0, 0]
    assert found.loc[2, "sum_squared"] == pytest.approx(4 * 0.09 / 3)
    assert found.loc[2, "sum_absolute"] == pytest.approx(4 * 0.3 / 3)


def test_gradient_bins_by_hand():
    # A vertical step: Sobel gives (1 + 2 + 1) / 4 = 1 across and 0 along it, on both sides; their
    # root mean square is 0.707, its square 0.5.
    label = np.zeros((5, 8))
    label[:, 4:] = 1.0
    output = 0.5 * label  # half the step: error 0.5 on the bright side, energy a quarter
    found = bins(profiles.error_profile(label, output), "gradient")
    assert found["pixels"].tolist() == [30, *[0] * 8, 10]
    assert found.loc[9, "sum_squared"] == pytest.approx(5 * 0.25)
    assert found.loc[0, "sum_squared"] == pytest.approx(15 * 0.25)
    assert found.loc[9, "energy_label"] == pytest.approx(10 * 0.5)
    assert found.loc[9, "energy_output"] == pytest.approx(10 * 0.125)


def test_both_kinds_hold_every_pixel_and_all_of_the_error():
    rng = np.random.default_rng(0)
    label, output = rng.random((3, 20, 30)), rng.random((3, 20, 30))
    frame = profiles.error_profile(torch.tensor(label), torch.tensor(output))
    for kind in ("grey", "gradient"):
        found = bins(frame, kind)
        assert found["pixels"].sum() == 600
        assert found["sum_squared"].sum() == pytest.approx(600 * ((output - label) ** 2).mean())
        assert found["sum_absolute"].sum() == pytest.approx(600 * np.abs(output - label).mean())


@pytest.mark.parametrize(
    ("label", "output", "error", "names"),
    [
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4)), TypeError, ["uint8"]),
        (np.zeros((4, 4)), np.zeros((4, 5)), ValueError, []),
        (np.full((4, 4), 128.0), np.zeros((4, 4)), ValueError, ["255"]),
        (np.zeros((4, 4)), np.full((4, 4), np.nan), ValueError, ["NaN"]),
        (np.zeros((2, 4, 4)), np.zeros((2, 4, 4)), ValueError, ["1 or 3"]),
    ],
)
def test_bad_images_are_refused(label, output, error, names):
    with refuses(error, *names):
        profiles.error_profile(label, output)


def test_rows_say_which_run_they_are(tmp_path):
    where = {"table": 4, "model": "dncnn", "dataset": "bsd400", "loss": "mae", "seed": 3}
    for image in ("04", "03"):
        folder = tmp_path / "table4" / "mae" / f"seed{image}"
        folder.mkdir(parents=True)
        label = np.linspace(0, 1, 64).reshape(8, 8)
        profiles.save(
            profiles.profile_rows(label, label + 0.1, **where, image=image), folder / "profiles.csv"
        )
        (folder / "rows.csv").touch()
    path = profiles.collect(tmp_path)
    found = profiles.load(path)
    assert path == tmp_path / profiles.STUDY and len(found) == 40
    assert found["image"].unique().tolist() == ["03", "04"]  # sorted, zeros kept
    assert found["pixels"].sum() == 2 * 2 * 64
    assert found["sum_squared"].sum() == pytest.approx(4 * 64 * 0.01, rel=1e-5)
    assert profiles.collect(tmp_path / "elsewhere") is None

    # A clone has no profiles of its runs; one trained again does not cost the others theirs.
    first = tmp_path / "table4" / "mae" / "seed04"
    rows = "table,model,dataset,loss,seed,image,psnr,ssim,rmse,nrmse\n"
    rows += "4,dncnn,bsd400,mae,3,04,30,0.9,0.03,0.06\n"
    rows += ",dncnn,bsd400,mae,3,04,30,0.9,0.03,0.06\n"  # of another test set
    (first / "rows.csv").write_text(rows)
    (first / "profiles.csv").unlink()
    again = profiles.profile_rows(label, label + 0.2, **(where | {"seed": 5}), image="03")
    profiles.save(again, tmp_path / "table4" / "mae" / "seed03" / "profiles.csv")
    found = profiles.load(profiles.collect(tmp_path))
    assert found.groupby("seed")["image"].unique().map(list).to_dict() == {
        3: ["03", "04"],
        5: ["03"],
    }
    (first / "rows.csv").unlink()
    shutil.rmtree(tmp_path / "table4" / "mae" / "seed03")
    (tmp_path / profiles.STUDY).unlink()
    assert profiles.collect(tmp_path) is None
    with pytest.raises(TypeError, match="seed"):
        profiles.profile_rows(label, label, table=4)


@pytest.mark.parametrize("image", ["NA", "null", "None", "nan", "01"])
def test_an_image_may_have_any_name(tmp_path, image):
    where = {"table": 4, "model": "dncnn", "dataset": "NA", "loss": "None", "seed": 3}
    label = np.linspace(0, 1, 64).reshape(8, 8)
    path = tmp_path / "profiles.csv"
    profiles.save(profiles.profile_rows(label, label, **where, image=image), path)
    found = profiles.load(path)[[*where, "image"]].drop_duplicates()
    assert found.to_dict("records") == [{**where, "image": image}]


def test_damaged_files_are_refused(tmp_path):
    with refuses(DataError, "profiles.csv"):
        profiles.load(tmp_path / "profiles.csv")
    (tmp_path / "profiles.csv").write_text("table,model\n2,srcnn\n")
    with refuses(DataError, "profiles.csv"):
        profiles.load(tmp_path / "profiles.csv")
    where = {"table": 2, "model": "srcnn", "dataset": "bsd300", "loss": "mae", "seed": 0}
    label = np.linspace(0, 1, 400).reshape(20, 20)
    images = [profiles.profile_rows(label, label, **where, image=name) for name in ("a", "b")]
    whole = profiles.save(pd.concat(images), tmp_path / "profiles.csv").read_text()
    assert len(profiles.load(tmp_path / "profiles.csv")) == 40
    lines = whole.splitlines(keepends=True)
    garbled = lines[1].replace(",0,", ",many,")
    for text in (
        lines[0],
        "".join(lines[:-1]),
        whole[:-30],
        "".join([lines[0], garbled, *lines[2:]]),
    ):
        (tmp_path / "profiles.csv").write_text(text)
        with refuses(DataError, "profiles.csv"):
            profiles.load(tmp_path / "profiles.csv")
