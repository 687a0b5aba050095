"""Conventions of PSNR and SSIM against other implementations and published numbers."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from helpers import assert_refused, call, door
from PIL import Image
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from synthetic import wang_ssim

from asyrepro.conventions import CONVENTIONS, measure

SCALE = 3


@pytest.fixture(scope="module")
def colour():
    """8-bit RGB (60, 70, 3), the photograph and a noisy copy."""
    image = data.astronaut()[40:100, 180:250]
    noise = np.random.default_rng(0).normal(0, 12, image.shape)
    return image, np.clip(image + noise, 0, 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def grey(colour):
    return tuple(image[..., 1] for image in colour)


def rows_of(pair, **settings) -> dict[int, dict]:
    """measure() of two 8-bit images (H, W) or (H, W, 3), by row number."""
    pair = (x[None] if x.ndim == 2 else x.transpose(2, 0, 1) for x in pair)
    return {row["number"]: row for row in measure(*(x / 255 for x in pair), **settings)}


def psnr_255(one, two) -> float:
    return 10 * math.log10(255**2 / np.mean((one.astype(float) - two.astype(float)) ** 2))


def matlab_luma(rgb) -> np.ndarray:
    """rgb2ycbcr's Y of uint8, in exact integers, rounded as uint8() does."""
    weighted = rgb.astype(int) @ np.array([65481, 128553, 24966])
    return (2 * (weighted + 16 * 255000) + 255000) // (2 * 255000)


def cut(image, border):
    return image[border:-border, border:-border]


# --- each convention against another implementation ----------------------------------------------


def test_rgb_is_scikit_images(colour):
    found = rows_of(colour)
    one, two = (image / 255 for image in colour)
    for number in (1, 2):
        assert found[number]["psnr"] == pytest.approx(peak_signal_noise_ratio(*colour))
        expected = structural_similarity(one, two, data_range=1, channel_axis=2)
        assert found[number]["ssim_7"] == pytest.approx(expected)
    channels = [wang_ssim(colour[0][..., c], colour[1][..., c]) for c in range(3)]
    assert found[2]["ssim_11"] == pytest.approx(np.mean(channels), abs=1e-9)
    error = np.sqrt(np.mean((one - two) ** 2))
    assert found[1]["rmse"] == pytest.approx(error)
    assert found[1]["nrmse"] == pytest.approx(error / np.sqrt(np.mean(one**2)))


@pytest.mark.parametrize(("number", "border"), [(3, SCALE), (4, SCALE + 6)])
def test_rgb_with_a_border(colour, number, border):
    inside = [cut(image, border) for image in colour]
    row = rows_of(colour, scale=SCALE)[number]
    assert row["border"] == border
    assert row["psnr"] == pytest.approx(psnr_255(*inside))
    channels = [wang_ssim(inside[0][..., c], inside[1][..., c]) for c in range(3)]
    assert row["ssim_11"] == pytest.approx(np.mean(channels), abs=1e-9)


@pytest.mark.parametrize(("number", "border"), [(5, SCALE), (8, 0)])
def test_matlabs_rounded_luma(colour, number, border):
    luma = [matlab_luma(image) for image in colour]
    if border:
        luma = [cut(image, border) for image in luma]
    row = rows_of(colour, scale=SCALE)[number]
    assert row["psnr"] == pytest.approx(psnr_255(*luma))
    assert row["ssim_11"] == pytest.approx(wang_ssim(*luma), abs=1e-9)


def test_luma_that_is_not_rounded_is_edsr_pytorchs(colour):
    difference = (colour[0].astype(float) - colour[1]) / 255
    luma = (difference * np.array([65.738, 129.057, 25.064]) / 256).sum(-1)
    expected = -10 * math.log10(np.mean(cut(luma, SCALE) ** 2))
    found = rows_of(colour, scale=SCALE)
    assert found[7]["psnr"] == pytest.approx(expected, abs=1e-3)
    assert found[6] == {**found[7], "number": 6}
    assert found[5]["psnr"] != found[6]["psnr"]


def test_full_range_luma_is_pillows(colour):
    luma = [np.asarray(Image.fromarray(image).convert("L")) for image in colour]
    found = rows_of(colour, scale=SCALE)
    assert found[9]["psnr"] == pytest.approx(psnr_255(*luma), abs=1e-3)
    assert found[9]["ssim_11"] == pytest.approx(wang_ssim(*luma), abs=1e-5)
    assert found[10]["psnr"] == pytest.approx(psnr_255(*(cut(x, SCALE) for x in luma)), abs=1e-3)
    luma = [np.asarray(Image.fromarray(image).convert("YCbCr"))[..., 0] for image in colour]
    assert found[9]["psnr"] == pytest.approx(psnr_255(*luma), abs=0.02)  # there rounded down


def test_bt_709_grey(colour):
    luma = [image @ np.array([0.2125, 0.7154, 0.0721]) for image in colour]
    assert rows_of(colour)[11]["psnr"] == pytest.approx(psnr_255(*luma))


def test_peak_of_the_references_maximum(grey):
    reference, output = grey[0] // 2, grey[1] // 2
    row, peak = rows_of((reference, output))[12], int(reference.max())
    one, two = reference.astype(float), output.astype(float)
    assert peak < 128
    assert row["psnr"] == pytest.approx(peak_signal_noise_ratio(one, two, data_range=peak))
    assert row["ssim_7"] == pytest.approx(structural_similarity(one, two, data_range=peak))


# --- grey images, borders, small and constant images ---------------------------------------------


def test_grey_images(grey):
    found = rows_of(grey, scale=SCALE)
    whole, inside = psnr_255(*grey), psnr_255(*(cut(image, SCALE) for image in grey))
    for number, expected in (
        (1, whole),
        (2, whole),
        (8, whole),
        (3, inside),
        (5, inside),
        (6, inside),
    ):
        assert found[number]["psnr"] == pytest.approx(expected)
    # read as three equal channels, rgb2ycbcr compresses them to 219/255
    assert found[7]["psnr"] == pytest.approx(inside + 20 * math.log10(255 / 219))
    for number in (9, 10, 11):
        assert "no colour" in found[number]["reason"]


def test_border_instead_of_the_scale(colour):
    found = rows_of(colour, scale=SCALE, border=5)
    assert found[3]["psnr"] == pytest.approx(psnr_255(*(cut(image, 5) for image in colour)))
    assert found[4]["border"] == SCALE + 6
    assert "reason" in rows_of(colour, border=5)[4]


def test_images_smaller_than_window_or_border(colour):
    found = rows_of([image[:14, :20] for image in colour], scale=SCALE)
    assert not math.isnan(found[3]["ssim_7"])
    assert math.isnan(found[3]["ssim_11"])
    assert found[3]["psnr"] > 0
    assert "nothing" in found[4]["reason"]


def test_float_values_are_rounded_only_where_a_convention_says_so(colour):
    reference = colour[0].transpose(2, 0, 1) / 255
    output = reference + 0.4 / 255  # rounds to the reference
    output[0, 0, 0] = 1.3
    found = {row["number"]: row for row in measure(reference, output)}
    error = output - reference
    assert found[1]["psnr"] == pytest.approx(-10 * math.log10(np.mean(error**2)))
    clipped = (1 - reference[0, 0, 0]) ** 2 / reference.size
    assert found[2]["psnr"] == pytest.approx(-10 * math.log10(clipped))


# --- the command ---------------------------------------------------------------------------------


def save(path: Path, array) -> str:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(array).save(path)
    return str(path)


def test_a_pair(colour, tmp_path, capsys):
    paths = [save(tmp_path / f"{n}.png", x) for n, x in zip("ab", colour, strict=True)]
    assert door("compare", *paths, "scale=3", f"output={tmp_path / 'table.csv'}") == 0
    text = capsys.readouterr().out
    found = rows_of(colour, scale=SCALE)
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()[:1].isdigit()}
    assert len(lines) == len(CONVENTIONS)
    for number, row in found.items():
        assert f" {row['psnr']:.2f} " in lines[str(number)]
        assert CONVENTIONS[number - 1].reported_by in lines[str(number)]
    values = [row["psnr"] for row in found.values()]
    assert f"{max(values) - min(values):.2f} dB" in text
    table = pd.read_csv(tmp_path / "table.csv").set_index("row")
    assert table["psnr"].to_dict() == pytest.approx({n: row["psnr"] for n, row in found.items()})
    assert door("compare", *paths, f"output={tmp_path / 'table.md'}") == 0
    cells = [line.split("|") for line in (tmp_path / "table.md").read_text().splitlines()]
    [row] = [list(map(str.strip, line)) for line in cells if line[1:2] and line[1].strip() == "2"]
    assert row[2:6] == ["RGB", "0", "8 bits", f"{found[2]['psnr']:.2f}"]


def test_two_folders(colour, grey, tmp_path, capsys):
    for name, pair in (("x", colour), ("y", grey)):
        save(tmp_path / "gt" / f"{name}.bmp", pair[0])
        save(tmp_path / "out" / f"{name}.png", pair[1])
    save(tmp_path / "gt" / "alone.png", grey[0])
    arguments = [str(tmp_path / "gt"), str(tmp_path / "out"), "scale=3", "images=true"]
    assert door("compare", *arguments, f"output={tmp_path / 'table.csv'}") == 0
    out = capsys.readouterr().out
    assert "gt/alone.png" in out
    table = pd.read_csv(tmp_path / "table.csv").set_index(["image", "row"])
    one, two = rows_of(colour, scale=SCALE), rows_of(grey, scale=SCALE)
    assert table.loc[("x", 7), "psnr"] == pytest.approx(one[7]["psnr"])
    assert table.loc[("mean", 7), "psnr"] == pytest.approx((one[7]["psnr"] + two[7]["psnr"]) / 2)
    assert table.loc[("mean", 9), "psnr"] == pytest.approx(one[9]["psnr"])
    assert table.loc[("mean", 9), "pairs"] == 1


def bright_float(value):
    """A picture in [0, 1] but for one pixel."""
    image = np.full((60, 70), 0.5, np.float32)
    image[0, 0] = value
    return image


@pytest.mark.parametrize(
    ("reference", "output", "names"),
    [
        (np.zeros((60, 70, 3), np.uint8), np.zeros((60, 69, 3), np.uint8), "60 x 69"),
        (bright_float(1.3), bright_float(1), "bad.tif 1.3 white="),
        (np.uint16(4095 * bright_float(1.22)), np.uint16(4095 * bright_float(1)), "bad.tif 1.22"),
    ],
    ids=["sizes", "float", "12 bits"],
)
def test_a_bad_pair_does_not_lose_the_others(colour, tmp_path, capsys, reference, output, names):
    for folder, good, bad in (("gt", colour[0], reference), ("out", colour[1], output)):
        save(tmp_path / folder / "good.png", good)
        tifffile.imwrite(tmp_path / folder / "bad.tif", bad)
    white = ["white=4095"] if reference.dtype == np.uint16 else []
    assert door("compare", str(tmp_path / "gt"), str(tmp_path / "out"), *white) == 2
    out, err = capsys.readouterr()
    assert f"{psnr_255(*colour):.2f}" in out
    assert err.splitlines()[-1].startswith("error: ") and all(x in err for x in names.split())


def test_a_peak_that_makes_values_far_below_zero_does_not_apply():
    reference = bright_float(-0.1)
    rows = {row["number"]: row for row in measure(reference[None], reference[None])}
    assert "reason" in rows[12] and rows[1]["psnr"] == math.inf


def test_identical_and_constant_images(colour, tmp_path):
    path = save(tmp_path / "a.png", colour[0])
    assert "identical" in call("compare", path, path).out
    black = save(tmp_path / "black.png", np.zeros_like(colour[0]))
    said = call("compare", black, path)
    assert said.status == 0 and "Row 12 not given" in said.out


def test_images_that_are_equal_in_8_bits_alone(colour, tmp_path):
    grey = colour[0][..., 0].astype(np.uint16) * 257
    a, b = save(tmp_path / "a.tif", grey), save(tmp_path / "b.tif", grey // 2 * 2)
    said = call("compare", a, b)
    assert said.status == 0 and " inf " in said.out and "differ by up to" in said.out


def test_one_identical_pair_among_others_is_not_agreement(colour, tmp_path):
    for folder, change in (("gt", 0), ("out", 9)):
        save(tmp_path / folder / "same.png", colour[0])
        save(tmp_path / folder / "other.png", (colour[0] // 2 + change).astype(np.uint8))
    said = call("compare", tmp_path / "gt", tmp_path / "out")
    assert said.status == 0
    assert "images=true" in said.out


def test_a_white_that_seems_to_be_another_is_noted(tmp_path, capsys):
    paths = [str(tmp_path / f"{name}.tif") for name in "ab"]
    for path, value in zip(paths, (4000, 3900), strict=True):
        tifffile.imwrite(path, np.full((32, 32), value, np.uint16))
    assert door("compare", *paths) == 0
    assert "4095 of 65535" in capsys.readouterr().out
    assert door("compare", *paths, "white=4095") == 0
    assert "65535" not in capsys.readouterr().out


def test_reasons_of_several_pairs_stand_in_lines_of_their_own(tmp_path, capsys):
    for folder, side in (("gt", 40), ("out", 39)):
        (tmp_path / folder).mkdir()
        for name in "ab":
            Image.new("L", (40, side)).save(tmp_path / folder / f"{name}.png")
    assert door("compare", str(tmp_path / "gt"), str(tmp_path / "out")) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "a.png" in said[0] and "b.png" in said[1]


def test_deep_files_are_not_rounded(colour, tmp_path, capsys):
    reference = save(tmp_path / "a.png", colour[0])
    stored = np.minimum(colour[0] * 257.0 + 100, 65535)  # 0.39 of a step of 8 bits
    error = stored / 65535 - colour[0] / 255
    output, table = str(tmp_path / "b.tif"), tmp_path / "table.csv"
    for values, white in (
        (stored.astype(np.uint16), "65535"),
        ((stored / 65535).astype(np.float32), "1"),
        ((stored / 257).astype(np.float32), "255"),
    ):
        tifffile.imwrite(output, values, photometric="rgb")
        assert door("compare", reference, output, f"white={white}", f"output={table}") == 0
        found = pd.read_csv(table).set_index("row")["psnr"]
        assert found[1] == pytest.approx(-10 * math.log10(np.mean(error**2)), abs=1e-3)
        assert found[2] == math.inf
    capsys.readouterr()
    assert door("compare", reference, output) == 2
    assert "white=255" in capsys.readouterr().err


def test_floats_channel_after_channel_and_of_several_pages(colour, tmp_path, capsys):
    reference = save(tmp_path / "a.png", colour[0])
    floats, output = (colour[0] / 255).astype(np.float32), str(tmp_path / "b.tif")
    table = tmp_path / "table.csv"
    tifffile.imwrite(output, floats.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    assert door("compare", reference, output, f"output={table}") == 0
    assert pd.read_csv(table)["psnr"][0] > 120  # rounding to float32
    capsys.readouterr()
    with tifffile.TiffWriter(output) as file:
        for page in (floats, np.zeros_like(floats)):
            file.write(page, photometric="rgb", contiguous=False)
    assert door("compare", reference, output, f"output={table}") == 0
    assert pd.read_csv(table)["psnr"][0] > 120
    assert "2 pages" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((60, 69), "multiple of the scale, 3"),
        ((20, 23), "3 times smaller"),
        ((48, 58), "6 pixels"),
        ((70, 60), "90 degrees"),
        ((31, 70), ""),
    ],
)
def test_different_sizes_say_what_may_have_happened(colour, tmp_path, shape, words):
    output = save(tmp_path / "b.png", np.zeros((*shape, 3), np.uint8))
    said = call("compare", save(tmp_path / "a.png", colour[0]), output)
    assert_refused(said, words, "60 x 70", f"{shape[0]} x {shape[1]}")


@pytest.fixture
def odd(colour, grey, tmp_path):
    """Files and folders that cannot be compared with the good one, gt/a.png."""
    good = save(tmp_path / "gt" / "a.png", colour[0])
    save(tmp_path / "out" / "b.png", colour[0])
    (tmp_path / "broken.png").write_bytes(Path(good).read_bytes()[:500])
    save(tmp_path / "transparent.png", np.dstack([colour[0], grey[0]]))
    save(tmp_path / "grey.png", grey[0])
    tifffile.imwrite(tmp_path / "nan.tif", np.full((60, 70), np.nan, np.float32))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ("gt/a.png", "REFERENCE OUTPUT"),
        ("gt/a.png none.png", "none.png"),
        ("gt/a.png out", "folder"),
        ("gt out", "a.png b.png"),
        ("gt/a.png broken.png", "broken.png"),
        ("gt/a.png transparent.png", "transparent.png"),
        ("gt/a.png grey.png", "grey.png"),
        ("grey.png nan.tif", "nan.tif NaN"),
        ("gt/a.png gt/a.png skale=3", "'scale'"),
        ("gt/a.png gt/a.png scale=0", "scale=0"),
        ("gt/a.png gt/a.png output=x.txt", "x.txt .csv .md"),
    ],
)
def test_other_errors(odd, monkeypatch, arguments, names):
    monkeypatch.chdir(odd)
    assert_refused(call("compare", *arguments.split()), *names.split())


def test_pages_that_are_not_compared_are_named(tmp_path, grey, capsys):
    first, second = (Image.fromarray(image) for image in grey)
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second, second])
    second.save(tmp_path / "b.png")
    assert door("compare", str(tmp_path / "a.tif"), str(tmp_path / "b.png")) == 0
    said = capsys.readouterr().out
    assert "first of 3" in said and said.count("first of") == 1
