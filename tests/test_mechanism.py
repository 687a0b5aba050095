"""Error profiles against hand-made arrays, and the two claims about where the error falls."""

import numpy as np
import pandas as pd
import pytest
import torch

from asyrepro.errors import DataError
from asyrepro.report import mechanism as m
from asyrepro.report import verdicts


def bins(frame, kind):
    return frame[frame["kind"] == kind].set_index("bin")


# ------------------------------------------------------------------------------------ profiles


def test_grey_bins_by_hand():
    label = np.array([[0.00, 0.05, 0.10], [0.55, 0.95, 1.00]])
    output = np.array([[0.10, 0.05, 0.30], [0.05, 0.95, 1.40]])
    found = bins(m.error_profile(label, output), "grey")
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
        found = bins(m.error_profile(image, image), "grey")
        assert found.index[found["pixels"] > 0].tolist() == [2, 4, 6, 8]


def test_number_of_grey_bins_is_free():
    found = bins(m.error_profile(np.full((4, 4), 0.6), np.zeros((4, 4)), bins=4), "grey")
    assert found["pixels"].tolist() == [0, 0, 16, 0]


def test_colour_is_binned_by_luma_and_averaged_over_channels():
    label = np.zeros((3, 2, 2))
    label[1] = 0.5  # green alone: luma 0.587 / 2 = 0.2935
    output = label.copy()
    output[0] += 0.3
    found = bins(m.error_profile(label, output), "grey")
    assert found["pixels"].tolist() == [0, 0, 4, 0, 0, 0, 0, 0, 0, 0]
    assert found.loc[2, "sum_squared"] == pytest.approx(4 * 0.09 / 3)
    assert found.loc[2, "sum_absolute"] == pytest.approx(4 * 0.3 / 3)


def test_gradient_bins_by_hand():
    # A vertical step: Sobel gives (1 + 2 + 1) / 4 = 1 across and 0 along it, on both sides; their
    # root mean square is 0.707, its square 0.5.
    label = np.zeros((5, 8))
    label[:, 4:] = 1.0
    output = 0.5 * label  # half the step: error 0.5 on the bright side, energy a quarter
    found = bins(m.error_profile(label, output), "gradient")
    assert found["pixels"].tolist() == [30, *[0] * 8, 10]
    assert found.loc[9, "sum_squared"] == pytest.approx(5 * 0.25)
    assert found.loc[0, "sum_squared"] == pytest.approx(15 * 0.25)
    assert found.loc[9, "energy_label"] == pytest.approx(10 * 0.5)
    assert found.loc[9, "energy_output"] == pytest.approx(10 * 0.125)


def test_both_kinds_hold_every_pixel_and_all_of_the_error():
    rng = np.random.default_rng(0)
    label, output = rng.random((3, 20, 30)), rng.random((3, 20, 30))
    frame = m.error_profile(torch.tensor(label), torch.tensor(output))
    for kind in ("grey", "gradient"):
        found = bins(frame, kind)
        assert found["pixels"].sum() == 600
        assert found["sum_squared"].sum() == pytest.approx(600 * ((output - label) ** 2).mean())
        assert found["sum_absolute"].sum() == pytest.approx(600 * np.abs(output - label).mean())


@pytest.mark.parametrize(
    ("label", "output", "error", "message"),
    [
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4)), TypeError, "floating"),
        (np.zeros((4, 4)), np.zeros((4, 5)), ValueError, "differ"),
        (np.full((4, 4), 128.0), np.zeros((4, 4)), ValueError, "255"),
        (np.zeros((4, 4)), np.full((4, 4), np.nan), ValueError, "NaN"),
        (np.zeros((2, 4, 4)), np.zeros((2, 4, 4)), ValueError, "C = 1 or 3"),
    ],
)
def test_bad_images_are_refused(label, output, error, message):
    with pytest.raises(error, match=message):
        m.error_profile(label, output)


def test_rows_say_which_run_they_are(tmp_path):
    where = {"table": 4, "model": "dncnn", "dataset": "bsd400", "loss": "mae", "seed": 3}
    for image in ("04", "03"):
        folder = tmp_path / "table4" / "mae" / f"seed{image}"
        folder.mkdir(parents=True)
        label = np.linspace(0, 1, 64).reshape(8, 8)
        m.save(m.profile_rows(label, label + 0.1, **where, image=image), folder / "profiles.csv")
    path = m.collect(tmp_path)
    found = m.load(path)
    assert path == tmp_path / "profiles.csv" and len(found) == 40
    assert found["image"].unique().tolist() == ["03", "04"]  # sorted, zeros kept
    assert found["pixels"].sum() == 2 * 2 * 64
    assert found["sum_squared"].sum() == pytest.approx(4 * 64 * 0.01, rel=1e-5)
    assert m.collect(tmp_path / "elsewhere") is None

    # A clone has no profiles of its runs; one trained again does not cost the others theirs.
    first = tmp_path / "table4" / "mae" / "seed04"
    rows = "table,model,dataset,loss,seed,image,psnr,ssim,rmse,nrmse\n"
    rows += "4,dncnn,bsd400,mae,3,04,30,0.9,0.03,0.06\n"
    rows += ",dncnn,bsd400,mae,3,04,30,0.9,0.03,0.06\n"  # of another test set
    (first / "rows.csv").write_text(rows)
    (first / "profiles.csv").unlink()
    again = m.profile_rows(label, label + 0.2, **(where | {"seed": 5}), image="03")
    m.save(again, tmp_path / "table4" / "mae" / "seed03" / "profiles.csv")
    found = m.load(m.collect(tmp_path))
    assert found.groupby("seed")["image"].unique().map(list).to_dict() == {
        3: ["03", "04"],
        5: ["03"],
    }
    with pytest.raises(TypeError, match="seed"):
        m.profile_rows(label, label, table=4)


def test_damaged_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="missing"):
        m.load(tmp_path / "profiles.csv")
    (tmp_path / "profiles.csv").write_text("table,model\n2,srcnn\n")
    with pytest.raises(DataError, match="lacks the columns"):
        m.load(tmp_path / "profiles.csv")
    where = {"table": 2, "model": "srcnn", "dataset": "bsd300", "loss": "mae", "seed": 0}
    label = np.linspace(0, 1, 400).reshape(20, 20)
    images = [m.profile_rows(label, label, **where, image=name) for name in ("a", "b")]
    whole = m.save(pd.concat(images), tmp_path / "profiles.csv").read_text()
    assert len(m.load(tmp_path / "profiles.csv")) == 40
    lines = whole.splitlines(keepends=True)
    garbled = lines[1].replace(",0,", ",many,")
    for text in ("".join(lines[:-1]), whole[:-30], "".join([lines[0], garbled, *lines[2:]])):
        (tmp_path / "profiles.csv").write_text(text)
        with pytest.raises(DataError, match=r"lacks rows that it had|has no number for"):
            m.load(tmp_path / "profiles.csv")


# ------------------------------------------------------------------------------------- changes

GREY = [(k / 10, (k + 1) / 10) for k in range(10)]
GRADIENT = list(zip(m.GRADIENT_EDGES[:-1], m.GRADIENT_EDGES[1:], strict=True))


def profiles(dark=0.0, bright=0.0, edge=0.0, energy=0.0, seeds=6, images=4, noise=0.4, base="mae"):
    """Profiles whose true percentage changes under asy are known; noise is in percent."""
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product(
        [range(images), range(seeds), (base, f"asy_{base}"), range(20)],
        names=["image", "seed", "loss", "row"],
    )
    frame = index.to_frame(index=False)
    kinds = [("grey", k, *ends) for k, ends in enumerate(GREY)]
    kinds += [("gradient", k, *ends) for k, ends in enumerate(GRADIENT)]
    kinds = pd.DataFrame(kinds, columns=["kind", "bin", "lower", "upper"])
    frame = frame.join(kinds, on="row")
    percent, sharper = np.zeros(20), np.zeros(20)
    percent[:3], percent[7:10], percent[19], sharper[19] = dark, bright, edge, energy
    changed = (frame["loss"] != base).to_numpy()
    percent = changed * (percent[frame["row"]] + noise * rng.normal(size=len(frame)))
    sharper = changed * (sharper[frame["row"]] + noise * rng.normal(size=len(frame)))
    mse = 1e-3 * rng.uniform(0.5, 2, images)[frame["image"]] * (1 + percent / 100)
    label = np.where(frame["kind"] == "gradient", 50.0, np.nan)
    return frame.assign(
        **{"table": 2, "model": "srcnn", "dataset": "bsd300", "image": frame["image"].astype(str)},
        **{"pixels": 1000, "sum_squared": 1000 * mse, "sum_absolute": 1000 * mse**0.5},
        **{"energy_label": label, "energy_output": 0.6 * label * (1 + sharper / 100)},
    )[m.COLUMNS]


PAPER = pd.DataFrame(  # + 0.1 dB: the squared error falls by 2.28 %
    {
        **{"table": 2, "model": "srcnn", "image": [1, 1, 2, 2]},
        **{"loss": ["mae", "asy_mae"] * 2, "psnr": [28.0, 28.1, 30.0, 30.1]},
        **{"ssim": 0.8, "rmse": 0.05},
    }
)


def test_fall_of_the_papers_error_by_hand():
    assert m.paper_error_fall(PAPER, 2, "mae") == pytest.approx(100 * (1 - 10**-0.01))
    assert np.isnan(m.paper_error_fall(PAPER, 2, "mse"))
    assert np.isnan(m.paper_error_fall(None, 2, "mae"))


def test_changes_by_hand():
    frame = profiles(noise=0, seeds=2, images=2)
    rows = frame[(frame["kind"] == "grey") & (frame["bin"] < 2)].copy()
    main = rows["loss"] == "asy_mae"
    rows.loc[main & (rows["bin"] == 0), "sum_squared"] *= 0.5
    rows.loc[rows["bin"] == 1, ["pixels", "sum_squared"]] *= 3
    # bins of one and three parts, the first with half its error: (0.5 + 3) / 4 - 1
    assert m.percent_changes(rows, "asy_mae", "mae").to_numpy() == pytest.approx(-12.5)
    split = m.percent_changes(rows, "asy_mae", "mae", by_bin=True)
    assert split[0].to_numpy() == pytest.approx(-50) and split[1].to_numpy() == pytest.approx(0)


def test_bin_changes_show_the_true_profile():
    found = m.bin_changes(profiles(dark=-4, bright=3, edge=-2, energy=5))
    grey = found[found["kind"] == "grey"].set_index("bin")
    assert grey["change"].tolist() == pytest.approx([-4] * 3 + [0] * 4 + [3] * 3, abs=0.3)
    assert (grey["lower"] < grey["change"]).all() and (grey["change"] < grey["upper"]).all()
    assert (grey["seeds"] == 6).all() and (grey["images"] == 4).all()
    assert grey["share"].tolist() == pytest.approx([10] * 10)
    last = found[(found["kind"] == "gradient") & (found["bin"] == 9)].iloc[0]
    assert last["change"] == pytest.approx(-2, abs=0.3)
    assert last["sharpness_change"] == pytest.approx(5, abs=0.3)
    assert last["sharpness_lower"] < 5.3 and last["sharpness_upper"] > 4.7


def test_images_with_too_few_pixels_in_a_bin_play_no_part():
    frame = profiles(seeds=2, images=4)
    few = (frame["kind"] == "grey") & (frame["bin"] == 9) & (frame["image"] == "2")
    frame.loc[few, "pixels"] = 99
    found = m.bin_changes(frame)
    grey = found[found["kind"] == "grey"].set_index("bin")["images"]
    assert grey[9] == 3 and (grey[:9] == 4).all()


def verdict(frame, name, paper=PAPER):
    rows = m.claim_verdicts(m.regions(frame, paper)).set_index("claim")
    return rows.loc[name, "verdict"]


@pytest.mark.parametrize(
    ("dark", "bright", "expected"),
    [
        (-4, 0, "supported"),
        (-4, -4, "undecided"),  # everything falls alike
        (-4, -8, "not supported"),  # bright pixels gain more
        (3, 0, "opposite"),
        (0, 0, "not supported"),  # nothing, and the paper's 2.28 % excluded
    ],
)
def test_rule_for_dark_regions(dark, bright, expected):
    frame = profiles(dark=dark, bright=bright)
    assert verdict(frame, "darker-regions-mae") == expected


def test_dark_regions_stay_undecided_in_noise_or_with_few_seeds():
    assert verdict(profiles(noise=20), "darker-regions-mae") == "undecided"
    assert verdict(profiles(dark=-4, seeds=3), "darker-regions-mae") == "undecided"
    assert verdict(profiles(dark=-4, seeds=1), "darker-regions-mae") == "no verdict possible"


@pytest.mark.parametrize(
    ("edge", "energy", "expected"),
    [
        (-4, 4, "supported"),
        (4, -4, "opposite"),
        (-4, -4, "not supported"),  # less error, but blurrier
        (0, 0, "not supported"),  # the paper's fall is excluded at the edges
        (-4, 0, "undecided"),
    ],
)
def test_rule_for_sharper_edges(edge, energy, expected):
    frame = profiles(edge=edge, energy=energy)
    assert verdict(frame, "sharper-edges-mae") == expected


@pytest.mark.parametrize(
    ("column", "other"), [("device", "cuda"), ("iterations", 200), ("precision", "bfloat16")]
)
def test_pairs_that_differ_in_more_than_the_loss_are_left_out(column, other):
    frame = profiles(seeds=6)
    metrics = frame.drop_duplicates(["loss", "seed", "image"])
    metrics = metrics.assign(device="cpu", iterations=100, precision="float32")
    metrics[column] = metrics[column].astype(object)
    metrics.loc[(metrics["loss"] == "mae") & (metrics["seed"] < 2), column] = other
    found = m.regions(m.of_runs(frame, metrics), PAPER)
    assert (found["seeds"] == 4).all()
    assert (m.regions(frame, PAPER)["seeds"] == 6).all()


def test_regions_carry_one_verdict_a_claim():
    found = m.regions(profiles(), PAPER)
    assert len(found) == 5 and (found["verdict"] != "").sum() == 2
    assert found["paper"].dropna().tolist() == pytest.approx([-100 * (1 - 10**-0.01)] * 2)
    other = m.regions(profiles().assign(table=4, model="dncnn"), PAPER)
    assert set(other["claim"]) == {"darker-regions-mae"}  # Fig. 6 is about SRCNN only


# -------------------------------------------------------------------------------------- output


def test_written_files_are_the_same_bytes_and_reach_the_verdicts(tmp_path):
    frame = profiles(dark=-4, seeds=6, images=3)
    contents = []
    for number, rows in enumerate((frame, frame.sample(frac=1, random_state=1))):
        folder = tmp_path / str(number)
        m.save(rows, folder / "profiles.csv")
        claims, text, paths = m.write(folder, _metrics(), PAPER, stand_in=True)
        contents.append({path.relative_to(folder).as_posix(): path.read_bytes() for path in paths})
    assert contents[0] == contents[1]
    assert set(contents[0]) == {
        *("mechanism.csv", "regions.csv"),
        *("figures/mechanism_table2.png", "figures/mechanism_table2.pdf"),
    }
    assert "bundled stand-in data" in text[0]
    empty = verdicts.verdicts(_metrics(), None)
    table = verdicts.claim_verdicts(empty, _metrics(), mechanism=claims).set_index("claim")
    assert table.loc["darker-regions-mae", "verdict"] == "supported"
    assert table.loc["darker-regions-mae", "table"] == 2


def _metrics():
    """A tidy table without any comparison."""
    row = {"table": 2, "model": "srcnn", "dataset": "bsd300", "loss": "mae", "seed": 0}
    return pd.DataFrame([row | {"image": "a", "psnr": 28.0, "ssim": 0.8, "nrmse": 0.05}])


def test_plot_shows_both_kinds_and_the_share_of_pixels():
    figure = m.plot(m.bin_changes(profiles(dark=-4, seeds=3, images=3)), "title")
    assert len(figure.axes) == 4  # one base loss, and the shares below
    line = next(a for a in figure.axes[0].lines if "asymmetric" in a.get_label())
    assert line.get_ydata()[:3] == pytest.approx([-4] * 3, abs=0.7)


@pytest.mark.parametrize("seeds", [1, 3])
def test_plot_names_a_band_only_where_there_is_one(seeds):
    figure = m.plot(m.bin_changes(profiles(dark=-4, seeds=seeds, images=3)), "title")
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert ("asymmetric (band: 95 %)" in words) == (seeds > 1)
    assert ("asymmetric" in words) == (seeds == 1)


@pytest.mark.parametrize("seeds", [1, 3])
def test_plot_of_one_seed_says_that_it_has_no_interval(seeds):
    figure = m.plot(m.bin_changes(profiles(dark=-4, seeds=seeds, images=3)), "title")
    assert figure.get_suptitle() == ("title (1 seed: no interval)" if seeds == 1 else "title")


@pytest.mark.parametrize(("percent", "failed"), [(900, False), (1100, True)])
def test_failed_trainings_have_no_chart_and_an_older_one_goes(tmp_path, percent, failed):
    m.save(profiles(seeds=2, images=2), tmp_path / "profiles.csv")
    m.write(tmp_path, _metrics(), PAPER)
    drawn = {tmp_path / "figures" / f"mechanism_table2.{ending}" for ending in ("png", "pdf")}
    assert set((tmp_path / "figures").iterdir()) == drawn
    m.save(profiles(dark=percent, seeds=2, images=2), tmp_path / "profiles.csv")
    _, text, paths = m.write(tmp_path, _metrics(), PAPER)
    left = set() if failed else drawn
    assert set((tmp_path / "figures").iterdir()) == left == drawn & set(paths)
    assert any(line.startswith("No figure of Table 2, SRCNN") for line in text) == failed
