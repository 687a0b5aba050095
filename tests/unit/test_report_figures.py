"""Radar charts, pictures, and how figures are saved (asyrepro.report, asyrepro.system.style)."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest
from helpers import door
from matplotlib.text import Text
from PIL import Image
from synthetic import PSNR_SHIFT, as_measured

from asyrepro import losses, paper
from asyrepro.analysis.summary import summarise
from asyrepro.metrics import GREY
from asyrepro.report import canvas, flowchart, pictures, radar, wording
from asyrepro.report.canvas import grey
from asyrepro.report.crops import Crop, Subject
from asyrepro.system import style
from asyrepro.system.errors import DataError

METRICS = {"psnr": "psnr", "ssim": "ssim", "nrmse": "rmse"}  # and the paper's columns


def chart(frame=None, table=4):
    frame = as_measured(table) if frame is None else frame
    return radar.of_summary(summarise(frame, table))


def panel(fig, row, column):
    return next(ax for ax in fig.axes if ax.get_label() == f"{row} {column}")


def radii(ax, label):
    line = next(line for line in ax.get_lines() if line.get_label() == label)
    return np.asarray(line.get_ydata(), dtype=float)


def printed(table, loss, column):
    rows = paper.tables()
    return rows[(rows["table"] == table) & (rows["loss"] == loss)][column].to_numpy()


def boxes(fig):
    """All texts of a figure with their boxes in pixels."""
    fig.canvas.draw()
    renderer = fig.canvas.get_renderer()
    found = [text for text in fig.findobj(Text) if text.get_text() and text.get_visible()]
    return [(text, text.get_window_extent(renderer)) for text in found]


def assert_readable(fig):
    """No text leaves the figure or touches another."""
    width, height = fig.canvas.get_width_height()
    found = boxes(fig)
    for text, box in found:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, f"{text.get_text()!r} leaves the figure"
    for (one, a), (other, b) in itertools.combinations(found, 2):
        wide = min(a.x1, b.x1) - max(a.x0, b.x0)
        high = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert not (wide > 1 and high > 1), f"{one.get_text()!r} overlaps {other.get_text()!r}"


# ------------------------------------------------------------------------------------ radar charts


def test_radar_draws_the_numbers_and_the_papers():
    fig = chart()
    for column, (metric, theirs) in enumerate(METRICS.items()):
        shift = PSNR_SHIFT if metric == "psnr" else 0
        for base in ("mae", "mse"):
            values = printed(4, base, theirs)
            ax = panel(fig, 0, column)
            np.testing.assert_allclose(radii(ax, base.upper()), values + shift)
            np.testing.assert_allclose(radii(ax, f"{base.upper()} paper"), values)
            change = printed(4, f"asy_{base}", theirs) - values
            name = f"Asy_{base.upper()} {wording.MINUS} {base.upper()}"
            np.testing.assert_allclose(radii(panel(fig, 1, column), name), change, atol=1e-9)


@pytest.mark.parametrize("table", [2, 3, 4, 5])
def test_radar_is_readable_and_states_every_ring_and_the_centre(table):
    fig = chart(as_measured(table, seeds=(0, 1, 2)), table)
    assert_readable(fig)
    for row, column in itertools.product(range(2), range(3)):
        ax = panel(fig, row, column)
        labels = {text.get_position()[1]: text.get_text() for text in ax.texts
                  if text.get_position()[0] == 0}  # fmt: skip
        assert sorted(labels) == pytest.approx(sorted(ax.get_yticks()))
        for ring, text in labels.items():
            assert float(text.replace(wording.MINUS, "-")) == pytest.approx(ring, abs=1e-9)
        (centre,) = [t.get_text() for t in ax.texts if t.get_text().startswith("axis from ")]
        low = float(centre.removeprefix("axis from ").replace(wording.MINUS, "-"))
        assert low == pytest.approx(ax.get_ylim()[0], abs=1e-9)
        assert low >= 0 or row == 1  # values have no negative rings


def test_radar_of_unknown_images_has_no_paper_lines_and_says_why():
    fig = chart(table=2)
    assert not [x for ax in fig.axes for x in ax.get_lines() if "paper" in x.get_label()]
    assert "paper*" in " ".join(text.get_text() for text in fig.texts)


def test_radar_of_losses_of_ones_own():
    frame = as_measured(losses=("mse",))
    mine = frame.assign(loss="mine", psnr=frame["psnr"] + 0.25, base="mse")
    fig = chart(pd.concat([frame.assign(base=""), mine], ignore_index=True))
    np.testing.assert_allclose(radii(panel(fig, 1, 0), f"mine {wording.MINUS} MSE"), 0.25)
    said = " ".join(text.get_text() for text, _ in boxes(fig))
    assert "MAE" not in said and "not measured" not in said


@pytest.mark.parametrize(
    "values", [[np.nan, 28.0, 29.0], [np.nan] * 3, [30.0] * 3, [np.inf, 28.0, 29.0], [-1e11, 1, 2]]
)
def test_radar_of_degenerate_data_draws(values):
    frame = pd.DataFrame({"loss": "mae", "image": list("abc"), "psnr": values})
    fig = radar.of_frame(frame, "title")
    fig.canvas.draw()
    assert len(fig.axes) == 1


def test_radar_of_a_table_of_ones_own():
    frame = pd.DataFrame(
        {
            "loss": ["l1", "l1", "mine", "mine"],
            "image": ["x", "y"] * 2,
            "lpips": [0.3, 0.2, 0.25, 0.25],
            "seed": 0,
        }
    )
    fig = radar.of_frame(frame, "a title", base="l1")
    np.testing.assert_allclose(radii(panel(fig, 0, 0), "mine"), [0.25, 0.25])
    np.testing.assert_allclose(radii(panel(fig, 1, 0), "mine"), [-0.05, 0.05])
    assert "a title" in [text.get_text() for text in fig.texts]
    assert len(fig.axes) == 2  # seed is no metric


def test_a_metric_named_twice_is_drawn_once():
    frame = pd.DataFrame({"loss": "mae", "image": list("ab"), "psnr": [28.0, 29.0]})
    assert len(radar.of_frame(frame, "title", metrics=["psnr", "psnr"]).axes) == 1
    for name in ("loss", "image"):
        with pytest.raises(DataError, match=name):
            radar.of_frame(frame, "title", metrics=["psnr", name])


@pytest.mark.parametrize(
    ("columns", "base", "name"),
    [
        ({"loss": ["a"], "psnr": [1.0]}, None, "image"),
        ({"loss": ["a"], "image": ["x"]}, None, "numbers"),
        ({"loss": [], "image": [], "psnr": []}, None, "rows"),
        ({"loss": ["a"], "image": ["x"], "psnr": [1.0]}, "b", "base=b"),
        ({"loss": ["a"], "image": ["x"], "psnr": [1.0]}, "a", "base=a"),
        ({"loss": ["a", None], "image": ["x", "x"], "psnr": 1.0}, None, "row 2 .*loss"),
        ({"loss": ["a"], "image": [np.nan], "psnr": [1.0]}, None, "row 1 .*image"),
        ({"loss": "a", "image": ["x", "y"], "ssim": 1.0, "psnr": ["3", "-"]}, None, "row 2 .*psnr"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(columns, base, name):
    with pytest.raises(DataError, match=name):
        radar.of_frame(pd.DataFrame(columns), "title", base)


# ------------------------------------------------------------------------------------------ saving


def test_a_chart_is_the_same_svg_each_time_and_keeps_its_numbers(tmp_path):
    stem = tmp_path / "a"
    (tmp_path / "a.png").write_bytes(b"of an earlier report")
    style.replace(chart(), stem)
    assert [p.name for p in tmp_path.iterdir()] == ["a.svg"]
    first = (tmp_path / "a.svg").read_bytes()
    assert style.save(chart(), stem)[0].read_bytes() == first
    text = first.decode()
    values = printed(4, "mae", "rmse")
    assert f"MAE {values.mean():.5f}" in text  # numbers in texts are whole
    assert "prefers-color-scheme:dark" in text
    coordinates = re.findall(r' d="([^"]*)"', text)
    assert coordinates and not any(re.search(r"\.\d{3}", d) for d in coordinates)


# ---------------------------------------------------------------------------------------- pictures


def photograph(height, width, channels=3, seed=0):
    """A smooth picture with some texture, uint8."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = 127 + 60 * np.sin(x / 9) + 40 * np.cos(y / 7) + random.normal(0, 8, (height, width))
    image = np.uint8(np.clip(image, 0, 255))
    return image if channels == 1 else np.stack([image] * 3, axis=2)


@pytest.fixture(scope="module")
def crop(tmp_path_factory):
    """A grey crop of which asy_mae is wrong in one corner and mae in another."""
    folder = tmp_path_factory.mktemp("crops")
    label = photograph(128, 128, channels=1)
    made = {kind: label.copy() for kind in ("input", "mae", "asy_mae", "label")}
    made["input"] = np.uint8(np.clip(label + np.random.default_rng(1).normal(0, 25, label.shape),
                                     0, 255))  # fmt: skip
    made["asy_mae"][80:88, 90:98] = 0
    files = {}
    for kind, image in made.items():
        files[kind] = folder / f"{kind}.png"
        Image.fromarray(image).save(files[kind])
    psnr = {"img": {"input": 20.17, "mae": 29.5, "asy_mae": 29.25}}
    bases = {"mae": "mae", "asy_mae": "mae"}
    return Crop(Subject("table4", "DnCNN (Table 4)", bases, 3, psnr), "img", 1, 2, files)


def said(fig):
    return [text.get_text() for text, _ in boxes(fig)]


def test_grey_values_are_those_that_the_losses_weigh_by():
    assert losses.GREY == GREY
    assert grey(np.eye(3)[:, None]) == pytest.approx(np.array(GREY)[:, None])


def test_outputs_stand_side_by_side_with_the_psnr_of_the_whole_image(crop):
    fig = pictures.outputs([crop, crop])
    assert_readable(fig)
    captions = [text for text in said(fig) if "\n" in text or text == "Label"]
    assert captions[:4] == ["Label", "Input\n20.17 dB", "MAE\n29.50 dB", "Asy_MAE\n29.25 dB"]
    assert "seed (3)" in " ".join(said(fig))
    assert len(fig.axes[0].images) == 8


def test_magnified_marks_where_the_outputs_differ(crop):
    found = pictures.difference(crop)
    assert found.top <= 80 and found.top + found.side >= 88 and found.left <= 90
    assert found.marks[0] == (80 - found.top, 90 - found.left)
    change = found.maps["asy_mae", "mae"][found.marks[0][0] :, found.marks[0][1] :][:8, :8]
    expected = 100 * (crop.arrays["label"][80:88, 90:98] / 255)
    np.testing.assert_allclose(change, expected, atol=1e-9)
    assert found.errors["mae"] == 0
    assert found.errors["asy_mae"] == pytest.approx(expected.sum() / found.side**2)
    (axes,) = pictures.magnified(crop).axes
    assert len(axes.images) == 8 and len(axes.patches) == 2 + 5 * len(found.marks)


def test_flowchart_draws_eq_2(crop):
    fig = flowchart.method(crop.arrays, "asy_mae", "title")
    assert_readable(fig)
    grey = crop.arrays["label"] / 255
    weight = 0.5 * np.tanh(1 / (grey + 1e-10)) + 0.5
    mask = next(x for x in fig.axes[0].get_images() if x.get_cmap().name == "cividis")
    np.testing.assert_allclose(mask.get_array(), weight, atol=1e-6)
    assert mask.get_clim() == pytest.approx((weight.min(), weight.max()))  # uses its whole scale
    error = np.abs(crop.arrays["asy_mae"] / 255 - grey)
    assert any(f"{(weight * error).mean():.3g}" in text for text in said(fig))


def test_the_command_draws_a_table_of_ones_own(tmp_path, capsys):
    table = tmp_path / "mine.csv"
    table.write_text("loss,image,psnr,lpips\nl1,01,30,0.2\nl1,02,31,0.1\nmine,01,30.5,0.1\n")
    others = {f"mine.{ending}": b"not the program's" for ending in ("png", "jpg", "tex")}
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    assert door("radar", str(table), "title=My losses", "base=l1", "metrics=psnr", "pdf=true") == 0
    made = {"mine.csv", "mine.svg", "mine.pdf"}
    assert {path.name for path in tmp_path.iterdir()} == made | set(others)
    assert all((tmp_path / name).read_bytes() == content for name, content in others.items())
    text = (tmp_path / "mine.svg").read_text()
    assert "My losses" in text and ">01<" in text and "lpips" not in text
    assert door("radar", str(table), f"output={tmp_path}/mine.png") == 2  # which is someone's
    assert all((tmp_path / name).read_bytes() == content for name, content in others.items())
    capsys.readouterr()
    assert door("radar", str(table), "metrics=fid") == 2
    assert "fid" in capsys.readouterr().err
    assert door("radar", str(tmp_path / "none.csv")) == 2


def test_a_studys_own_table_is_drawn_one_test_set_at_a_time(tmp_path, capsys):
    table = tmp_path / "metrics.csv"
    table.write_text("testset,loss,image,psnr,iterations\n" + "set5,mae,01,30,600\n" * 2)
    assert door("radar", str(table)) == 0
    assert "iterations" not in (tmp_path / "metrics.svg").read_text()
    table.write_text(table.read_text() + "set12,mae,01,25,600\n")
    assert door("radar", str(table)) == 2
    assert "testset" in capsys.readouterr().err


def test_losses_and_images_may_be_called_as_gaps_are_written(tmp_path, capsys):
    table = tmp_path / "mine.csv"
    table.write_text(
        "loss,image,psnr,ssim,note\n"
        "NA,null,30,n/a,a\nNA,nan,31,0.9,b\nTV,null,nan,0.8,c\nTV,nan,31.5,0.7,d\n"
    )
    assert door("radar", str(table), "base=NA") == 0
    text = (tmp_path / "mine.svg").read_text()
    assert all(f">{name}<" in text for name in ("NA", "TV", "null", "nan", "PSNR (dB)", "SSIM"))
    assert door("radar", str(table), "metrics=ssim") == 0
    assert door("radar", str(table), "metrics=psnr,note") == 2
    assert "note" in capsys.readouterr().err
    table.write_text("loss,image,psnr\nNA,null,30\n,null,31\n")
    assert door("radar", str(table)) == 2
    assert "loss" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["Asy_MAE_table1_threshold", "MAE + focal frequency", "MAE"])
def test_a_name_is_folded_to_the_width_of_its_picture(name):
    lines = canvas.folded(name, 0.79).split("\n")
    assert max(map(len, lines)) * canvas.LETTER <= 0.79
    assert "".join(lines).replace(" ", "") == name.replace(" ", "")
