"""The audit's numbers against figures worked out apart from it, and what it writes."""

import sys

import numpy as np
import pandas as pd
import pytest
from helpers import REAL, call, needs_data

from asyrepro import paper
from asyrepro.data import catalogue, sources
from asyrepro.models.edsr import DIV2K_MEAN, EDSR
from asyrepro.paper import failed_column, noise, printed, recovered
from asyrepro.system.errors import DataError

# Worked out from the printed tables before this code was written: table, base loss, PSNR base ->
# asymmetric, mean change, least and largest change, SSIM change, largest fall of RMSE in per cent.
SUMMARY = [
    (2, "mae", "27.733", "27.813", "+0.080", "+0.009", "+0.149", "+0.0004", "1.70"),
    (2, "mse", "27.507", "27.556", "+0.049", "+0.000", "+0.086", "+0.0010", "0.98"),
    (3, "mae", "25.607", "27.454", "+1.847", "+0.746", "+3.157", "+0.0134", "30.5"),
    (3, "mse", "13.297", "17.023", "+3.727", "+1.938", "+5.229", "+0.0932", "45.2"),
    (4, "mae", "29.860", "29.978", "+0.118", "+0.073", "+0.170", "+0.0019", "1.94"),
    (4, "mse", "29.952", "30.099", "+0.147", "+0.113", "+0.222", "+0.0009", "2.52"),
    (5, "mae", "31.910", "32.063", "+0.153", "+0.073", "+0.315", "+0.0021", "3.58"),
    (5, "mse", "31.982", "32.124", "+0.143", "+0.005", "+0.242", "+0.0010", "2.76"),
]


def test_rmse_column_is_not_eq_9():
    frame = printed.rmse_column()
    assert len(frame) == 160
    assert not frame["agrees"].any()
    assert f"{frame['k'].min():.2f} {frame['k'].max():.2f}" == "1.38 2.99"


def test_eq_9_would_have_been_recognised(monkeypatch):
    """Were the column eq. (9), rounded to five decimals, every cell would agree."""
    made = paper.tables()
    made["rmse"] = (10 ** (-made["psnr"] / 20)).round(5)
    monkeypatch.setattr(sys.modules[printed.ratios.__module__], "tables", lambda: made)
    assert printed.rmse_column()["agrees"].all()


def test_k_is_a_constant_of_the_image():
    frame = printed.image_constants()
    assert len(frame) == 40
    assert frame["constant"].all()
    assert frame["spread"].max() < 2e-4  # four digits


def test_summary_to_the_printed_digit():
    found = []
    for row in printed.summary().itertuples():
        fall = row.rmse_fall_max
        found.append(
            (
                *(row.table, row.base, f"{row.psnr_base:.3f}", f"{row.psnr_asy:.3f}"),
                *(f"{row.psnr_change:+.3f}", f"{row.psnr_change_min:+.3f}"),
                *(f"{row.psnr_change_max:+.3f}", f"{row.ssim_change:+.4f}"),
                f"{fall:.2f}" if fall < 10 else f"{fall:.1f}",
            )
        )
    assert found == SUMMARY


def test_where_the_asymmetric_loss_does_not_win():
    frame = printed.not_winning()
    assert frame.to_dict("records") == [
        {
            **{"table": 2, "model": "srcnn", "no": 3, "base": "mse", "metric": "rmse"},
            **{"before": 0.09984, "after": 0.09984, "what": "the same"},
        },
        {
            **{"table": 4, "model": "dncnn", "no": 1, "base": "mse", "metric": "ssim"},
            **{"before": 0.88183, "after": 0.88155, "what": "worse"},
        },
    ]


def test_abstract_against_table_2():
    frame = printed.abstract().set_index("metric")
    # image 8, MAE: 32.13706 / 31.98799, 0.03812 / 0.03878; image 9, MSE: 0.77292 / 0.77127
    assert frame.loc["psnr", "largest"] == pytest.approx(0.4660, abs=1e-4)
    assert frame.loc["ssim", "largest"] == pytest.approx(0.2139, abs=1e-4)
    assert frame.loc["rmse", "largest"] == pytest.approx(1.7019, abs=1e-4)
    assert frame["reaches"].to_dict() == {"psnr": True, "ssim": False, "rmse": True}
    assert frame["no"].to_dict() == {"psnr": 8, "ssim": 9, "rmse": 8}


def test_rmse_repeats_psnr():
    frame = printed.redundancy()
    assert len(frame) == 80
    assert frame["agrees"].all()
    # Table 2, image 1, MAE: +0.11224 dB is a factor of 0.98716
    assert frame["predicted"].iloc[0] == pytest.approx(0.98716, abs=1e-5)


def made_greys(monkeypatch, psnr=30.0):
    """Ten flat images a table; the denoiser is replaced by a known figure."""
    levels = {15: psnr, 25: psnr - 2, 50: psnr - 5}
    monkeypatch.setattr(noise, "non_local_means_psnr", lambda name, pixels, sigma: levels[sigma])
    flat = np.full((8, 8), 0.5)
    return {table: {name: flat for name in paper.known_images()[table]} for table in (4, 5)}


def test_noise_level_from_known_figures(monkeypatch):
    levels = noise.noise_level(noise.noise_images(made_greys(monkeypatch)))
    rows = levels.set_index(["table", "sigma"])
    # DnCNN-S on Set12's images 03 ... 12: 30.199 dB on average; the paper's best are 30.099 dB
    assert rows.loc[(4, 25), "reference"] == pytest.approx(30.199)
    assert rows.loc[(4, 25), "difference"] == pytest.approx(0.0999, abs=1e-3)
    # for Table 5 non-local means (28 dB everywhere) and DnCNN-S's lead over it (2.199 dB)
    assert rows.loc[(5, 25), "reference"] == pytest.approx(30.199)
    assert rows.loc[(4, 15), "gain"] == pytest.approx(30.099 - 24.609, abs=1e-3)


def test_implied_sigma():
    made = pd.DataFrame(
        {"table": 4, "sigma": [15, 25, 50], "difference": [2.0, 0.0, -3.0]},
    )
    assert noise.implied_sigma(made) == {4: pytest.approx(25)}
    made["difference"] += 1.5  # half-way from 25 to 50
    assert noise.implied_sigma(made) == {4: pytest.approx(np.sqrt(25 * 50))}


def test_min_max_normalisation_is_told_from_scaling():
    wanted = paper.constants(4)
    middle = ((wanted["low"] + wanted["high"]) / 2).to_numpy()

    def two_tone(value, low, high):
        """Pixels of two values, and RMS `value`, over many pixels."""
        share = (value**2 - low**2) / (high**2 - low**2)
        count = round(share * 1_000_000)
        return np.r_[np.full(count, high), np.full(1_000_000 - count, low)][None]

    made = {
        name: two_tone(value, 0.2, 0.9)
        for name, value in zip(paper.known_images()[4], middle, strict=True)
    }
    frame = recovered.normalisation({4: made})
    assert frame["scaled_fits"].all()
    assert not frame["minmax_fits"].any()
    # min-max takes 0.2 and 0.9 to 0 and 1, so the RMS is the root of the bright pixels' share
    share = (middle[0] ** 2 - 0.04) / 0.77
    assert frame["minmax"].iloc[0] == pytest.approx(np.sqrt(share), abs=1e-5)


def test_common_error_of_made_columns(monkeypatch):
    """An error of 20 grey values everywhere, on top of half of SRCNN's squared error."""
    made = paper.tables()
    srcnn = made.query("table == 2 and loss == 'mae'").set_index("image")["psnr"]
    squared = (20 / 255) ** 2 + 0.5 * 10 ** (-srcnn / 10)
    of_edsr = made["table"] == 3
    made.loc[of_edsr, "psnr"] = made.loc[of_edsr, "image"].map(-10 * np.log10(squared))
    monkeypatch.setattr(failed_column, "tables", lambda: made)
    frame = failed_column.common_error()
    assert frame["common"].to_numpy() == pytest.approx(20)
    assert frame["slope"].to_numpy() == pytest.approx(0.5)
    # without the common part half of SRCNN's squared error is left: 3.01 dB above it
    assert frame["rest"].to_numpy() == pytest.approx(srcnn.mean() + 3.0103, abs=1e-3)


def ramps():
    """Two images that bicubic upsampling gives back: a ramp across, and one upwards."""
    ramp = np.linspace(60, 190, 60).round().astype(np.uint8)
    return {"a": np.tile(ramp, (3, 60, 1)), "b": np.tile(ramp[::-1, None], (3, 1, 60))}, ramp / 255


def test_errors_made_as_strong_as_in_the_failed_column():
    """On ramps an added error is 10^(-PSNR / 20)."""
    images, values = ramps()
    found = failed_column.readings(images).set_index("kind")
    column = found.loc["the paper's MSE column"]
    assert column[["psnr_min", "psnr_max"]].tolist() == [12.8036, 13.5408]
    fitted = found[found["strength"].notna()]
    assert len(fitted) >= 7
    assert fitted["psnr_mean"].to_numpy() == pytest.approx(column["psnr_mean"], abs=0.01)
    strength = 10 ** (-column["psnr_mean"] / 20)
    for kind in ("a constant added", "a constant subtracted", "noise added, pixel by pixel"):
        assert fitted.at[kind, "strength"] == pytest.approx(strength, abs=0.002)
    rms = np.sqrt((values**2).mean())  # darkened by a fraction f, the error is f times that
    assert fitted.at["darkened by a factor", "strength"] == pytest.approx(strength / rms, abs=0.003)
    assert fitted.at["noise added, pixel by pixel", "ssim_max"] < 0.05
    assert fitted.at["a constant added", "ssim_min"] > 0.5


def test_faults_of_a_network_that_repeats_pixels():
    """EDSR starts at the repeated image, so each fault's error is known."""
    images = {"flat": np.full((3, 30, 30), 102, np.uint8)}  # 0.4
    network = EDSR(scale=3, blocks=1, channels=8)
    found = (
        failed_column.readings(images, network).query("not clipped").set_index("kind")["psnr_mean"]
    )
    decibels = {
        "mean colour not added back": -10 * np.log10(np.square(DIV2K_MEAN).mean()),
        "output in [0, 255], label in [0, 1]": -20 * np.log10(254 * 0.4),
        "output in [-1, 1], label in [0, 1]": -20 * np.log10(0.6),
        "output taken from [-1, 1] to [0, 1] once too often": -20 * np.log10(0.3),
        "mid grey": 20.0,
    }
    for kind, value in decibels.items():
        assert found[kind] == pytest.approx(value, abs=0.01), kind


# ---------------------------------------------------------------------------------- what is written


@pytest.fixture(scope="module")
def no_data(tmp_path_factory):
    """No data set anywhere."""
    empty = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASYREPRO_DATA", str(empty))
        patch.setattr(sources, "home", lambda: empty)
        yield empty


@pytest.fixture(scope="module")
def written(no_data, tmp_path_factory):
    """The folder of an audit without data, over an earlier one."""
    output = tmp_path_factory.mktemp("audit")
    (output / "recovered.csv").write_text("of an earlier audit")
    (output / "mine.txt").write_text("not the audit's")
    (output / "audit.md").write_text("of an earlier audit")
    assert call("audit", f"output={output}").status == 0
    return output


def test_without_data_says_what_is_left_out(written):
    text = (written / "audit.md").read_text(encoding="utf-8")
    assert all(name in text for name in ("Set5", "Set12", "Set14", "BSD300", "BSDS500 test"))
    assert "## 1." in text and "## 2." not in text and "## 6." in text
    assert str(written) not in text and str(written.parent) not in text
    summary = pd.read_csv(written / "summary.csv")
    assert summary["psnr_change"].round(3).tolist()[:2] == [0.080, 0.049]
    page = (written / "audit.html").read_text(encoding="utf-8")
    for name in ("constants", "changes", "spread"):
        assert (written / f"{name}.svg").stat().st_size > 5000
        assert f'src="{name}.svg"' in page


def test_files_of_an_earlier_audit_go_and_others_stay(written):
    assert not (written / "recovered.csv").exists()
    assert (written / "mine.txt").read_text() == "not the audit's"


def test_writes_and_prints_the_same_bytes_again(written, tmp_path):
    (tmp_path / "noise.pdf").write_text("the user's, where no audit was written before")
    said = call("audit", f"output={tmp_path}")
    assert said.status == 0
    (tmp_path / "noise.pdf").unlink()
    assert (tmp_path / "audit.md").read_text(encoding="utf-8") in said.out
    files = sorted(path.name for path in written.iterdir() if path.name != "mine.txt")
    assert files == sorted(path.name for path in tmp_path.iterdir())
    for name in files:
        assert (written / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_what_cannot_be_written_or_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for name in ("file", "file/audit"):
        said = call("audit", f"output={tmp_path / name}")
        assert said.status == 2 and name in said.err.splitlines()[-1]
    monkeypatch.setenv("ASYREPRO_DATA", str(tmp_path / "nowhere"))
    earlier = tmp_path / "audit" / "recovered.csv"
    earlier.parent.mkdir()
    earlier.write_text("of an earlier audit")
    said = call("audit", f"output={tmp_path / 'audit'}")
    assert said.status == 2 and said.err.splitlines()[-1].startswith("error: ASYREPRO_DATA")
    assert earlier.read_text() == "of an earlier audit"  # what cannot be replaced is kept


def test_without_output_nothing_is_written(no_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = call("audit")
    assert said.status == 0 and "## 1." in said.out
    assert not list(tmp_path.iterdir())


# -------------------------------------------------------------------------------------- real images


@pytest.fixture(scope="module")
def real_sets():
    """Set12 and BSD300's test split."""
    found = {}
    for name in ("set12", "bsd300"):
        try:
            data = catalogue.test_set(name, mode="rgb", root=REAL, download=False)
        except DataError:
            pytest.skip(f"no {name} at hand")
        arrays = {n: image.numpy() for n, image in zip(data.names, data.images, strict=True)}
        found[name] = recovered.Images(data.title, arrays, list(arrays))
    return found


@needs_data
def test_recovered_images(real_sets):
    frame = recovered.recovered(recovered.measure_sets(real_sets))
    assert frame["image"].tolist() == [*paper.known_images()[4], *paper.known_images()[5]]
    assert frame["inside"].all()  # within the rounding of the printed digits, exactly
    assert frame[frame["table"] == 4]["error"].max() < 3e-5
    assert frame[frame["table"] == 5]["error"].max() < 5e-5
    assert (frame["second_error"] > frame["error"]).all()


@needs_data
def test_images_were_not_min_max_normalised(real_sets):
    frame = recovered.normalisation(recovered.grey_images(real_sets))
    assert frame["scaled_fits"].all()
    assert frame[frame["minmax_fits"]]["image"].tolist() == ["10"]  # spans [0, 1] anyway


@needs_data
def test_edsr_with_mse_is_below_bicubic(real_sets):
    floor = failed_column.bicubic(dict(list(real_sets["bsd300"].arrays.items())[:20]))
    failed = paper.tables().query("table == 3 and loss == 'mse'")["psnr"]
    assert floor["psnr"].min() > failed.max() + 4
