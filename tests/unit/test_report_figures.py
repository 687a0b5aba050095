"""Radar charts and pictures (asyrepro.report.figures), and the report as a whole."""

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

import asyrepro.report
from asyrepro import paper
from asyrepro.analysis.summary import summarise
from asyrepro.data import catalogue
from asyrepro.report import figures, tables
from asyrepro.runs import results
from asyrepro.system import style
from asyrepro.system.errors import DataError

PSNR_SHIFT = 0.5  # our runs in these tests: the paper's numbers and so much more


def as_measured(table=4, seeds=(0,), images=None, dataset="bsd400", losses=results.PAPER_LOSSES):
    """A tidy table made of the paper's own numbers, PSNR shifted by PSNR_SHIFT."""
    rows = paper.tables()
    rows = rows[(rows["table"] == table) & rows["loss"].isin(losses)]
    images = images or paper.known_images().get(table) or [f"10{k}0" for k in range(10)]
    frames = []
    for seed in seeds:
        frame = rows.assign(
            image=[images[int(k) - 1] for k in rows["image"]],
            psnr=rows["psnr"] + PSNR_SHIFT + 0.01 * seed * (rows["loss"] == "asy_mae"),
            nrmse=rows["rmse"],
            dataset=dataset,
            seed=seed,
            testset=f"table{table}",
            iterations=500,
        )
        frames.append(frame)
    frame = pd.concat(frames, ignore_index=True)
    for name in ("table", "seed", "iterations"):
        frame[name] = frame[name].astype("Int64")
    return frame.reindex(columns=results.COLUMNS)


@pytest.fixture
def unsaved(monkeypatch):
    """Figures are made but not written: quicker, where the files do not matter."""
    monkeypatch.setattr(style, "save", lambda *args, **options: [])


@pytest.fixture(scope="module")
def chart(tmp_path_factory):
    """Table 4's chart, one seed, and the stem it was saved under."""
    stem = tmp_path_factory.mktemp("chart") / "a"
    return figures.radar(as_measured(), 4, stem, paper.tables()), stem


def panel(fig, label):
    return next(ax for ax in fig.axes if ax.get_label() == label)


def lines(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def radii(ax, label):
    """The values that a line shows, without the point that closes it."""
    values = np.asarray(lines(ax)[label].get_ydata(), dtype=float)
    np.testing.assert_equal(values[0], values[-1])
    return values[:-1]


def printed(table, loss, column):
    rows = paper.tables()
    return rows[(rows["table"] == table) & (rows["loss"] == loss)][column].to_numpy()


def texts(fig):
    """All texts of a figure with their boxes in pixels."""
    renderer = fig.canvas.get_renderer()
    found = [text for text in fig.findobj(Text) if text.get_text() and text.get_visible()]
    return [(text, text.get_window_extent(renderer)) for text in found]


def assert_readable(fig):
    """No text leaves the figure or touches another."""
    fig.canvas.draw()
    boxes = texts(fig)
    assert boxes
    width, height = fig.canvas.get_width_height()
    for text, box in boxes:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, f"{text.get_text()!r} leaves the figure"
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        wide = min(a.x1, b.x1) - max(a.x0, b.x0)
        high = min(a.y1, b.y1) - max(a.y0, b.y0)
        overlap = wide > 1 and high > 1
        assert not overlap, f"{one.get_text()!r} overlaps {other.get_text()!r}"


# ------------------------------------------------------------------------------------ radar charts


def test_radar_draws_the_numbers(chart):
    fig = chart[0]
    for metric, column in (("psnr", "psnr"), ("ssim", "ssim"), ("nrmse", "rmse")):
        shift = PSNR_SHIFT if metric == "psnr" else 0
        values, change = panel(fig, f"values {metric}"), panel(fig, f"change {metric}")
        for base in ("mae", "mse"):
            asymmetric = f"asy_{base}"
            expected = printed(4, base, column)
            np.testing.assert_allclose(radii(values, base), expected + shift, atol=1e-9)
            np.testing.assert_allclose(radii(values, f"{base} paper"), expected)
            expected = printed(4, asymmetric, column) - expected
            np.testing.assert_allclose(radii(change, asymmetric), expected, atol=1e-9)
            np.testing.assert_allclose(radii(change, f"{asymmetric} paper"), expected, atol=1e-9)
    # Table 4 by hand, image 03 under MAE: better, so PSNR rises and NRMSE falls
    assert radii(panel(fig, "change psnr"), "asy_mae")[0] == pytest.approx(30.6225 - 30.47316)
    assert radii(panel(fig, "change nrmse"), "asy_mae")[0] == pytest.approx(0.05598 - 0.05695)


def test_radar_spokes_and_rings(chart):
    for metric in ("psnr", "ssim", "nrmse"):
        change = panel(chart[0], f"change {metric}")
        low, high = change.get_ylim()
        assert low < 0 < high  # "no change" is a ring, not the centre
        assert set(lines(change)["no change"].get_ydata()) == {0}
        assert 0 in change.get_yticks()
        spokes = lines(change)["asy_mae"].get_xdata()
        np.testing.assert_allclose(np.degrees(spokes), np.arange(0, 361, 36), atol=1e-9)
        drawn = [text.get_text() for text in change.texts]
        assert "0" in drawn
        assert [name for name in drawn if name in paper.known_images()[4]] == list(
            paper.known_images()[4]
        )


def test_radar_scales_show_the_differences(chart):
    for ax in chart[0].axes:
        low, high = ax.get_ylim()
        drawn = [lines(ax)[x].get_ydata() for x in results.PAPER_LOSSES if x in lines(ax)]
        drawn = np.concatenate([*drawn, [0]] if "change" in ax.get_label() else drawn)
        assert np.ptp(drawn) > 0.6 * (high - low)


def test_radar_texts_do_not_overlap(chart):
    assert_readable(chart[0])


def test_radar_texts_do_not_overlap_with_long_names_and_seeds(unsaved):
    assert_readable(figures.radar(as_measured(5, seeds=(0, 1)), 5, "unused", paper.tables()))


def test_radar_of_stand_in_data(unsaved):
    names = [f"photograph_of_number_{k}" for k in range(10)]
    frame = as_measured(3, images=names, dataset="bundled")
    fig = figures.radar(frame, 3, "unused", paper.tables())
    assert "bundled stand-in data" in fig.texts[0].get_text()
    assert not any("paper" in label for ax in fig.axes for label in lines(ax))
    assert_readable(fig)
    everything = " ".join(text.get_text() for text, _ in texts(fig))
    assert all(f"{k + 1} {name}" in everything for k, name in enumerate(names))


def test_radar_of_unknown_images_has_no_paper_lines(unsaved):
    fig = figures.radar(as_measured(2, dataset="bsd300"), 2, "unused", paper.tables())
    assert not any("paper" in label for ax in fig.axes for label in lines(ax))
    assert "stand-in" not in fig.texts[0].get_text()


def test_radar_averages_seeds_and_shows_their_range(unsaved, chart):
    fig = figures.radar(as_measured(seeds=(0, 1, 2)), 4, "unused")
    change = panel(fig, "change psnr")
    expected = printed(4, "asy_mae", "psnr") - printed(4, "mae", "psnr") + 0.01  # mean of 0, 1, 2
    np.testing.assert_allclose(radii(change, "asy_mae"), expected, atol=1e-9)
    bands = len(change.collections) - len(panel(chart[0], "change psnr").collections)
    assert bands == 2  # one for each base loss


def test_radar_with_gaps(unsaved):
    frame = as_measured()
    frame = frame[(frame["loss"] != "mse") & ~((frame["loss"] == "mae") & (frame["image"] == "05"))]
    fig = figures.radar(frame, 4, "unused", paper.tables())
    values = radii(panel(fig, "values psnr"), "mae")
    assert np.isnan(values[paper.known_images()[4].index("05")])
    assert np.isnan(values).sum() == 1
    assert np.isnan(radii(panel(fig, "change ssim"), "asy_mse")).all()
    fig.canvas.draw()


@pytest.mark.parametrize(
    "frame",
    [
        as_measured(losses=("mse",)),  # nothing to compare with
        as_measured().assign(psnr=30.0, ssim=0.8, nrmse=0.05),  # all equal, no change
        as_measured()[lambda f: f["image"] == "07"],  # one image
    ],
    ids=["one loss", "equal", "one image"],
)
def test_radar_of_degenerate_data_draws(unsaved, frame):
    fig = figures.radar(frame, 4, "unused")
    fig.canvas.draw()
    for ax in fig.axes:
        low, high = ax.get_ylim()
        assert np.isfinite([low, high]).all()
        assert low < high


def on_lines(ax):
    """Points along all lines of a panel but the ring of no change, in pixels."""
    drawn = [line for name, line in lines(ax).items() if name != "no change"]
    corners = [line.get_transform().transform(line.get_xydata()) for line in drawn]
    share = np.linspace(0, 1, 50)[:, None]
    return np.concatenate(
        [a + share * (b - a) for each in corners for a, b in itertools.pairwise(each)]
    )


def rings(ax):
    """The labels of a panel's rings, and how many points of lines are beneath each."""
    points = on_lines(ax)
    labels = [text for text in ax.texts if text.get_bbox_patch() is not None]
    boxes = [text.get_window_extent() for text in labels]
    return labels, [
        int(((box.min < points) & (points < box.max)).all(axis=1).sum()) for box in boxes
    ]


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
@pytest.mark.parametrize("table", [2, 3, 4, 5])
def test_radar_ring_labels_hide_no_line(unsaved, table, seeds):
    fig = figures.radar(as_measured(table, seeds=seeds), table, "unused", paper.tables())
    fig.canvas.draw()
    for ax in fig.axes:
        labels, beneath = rings(ax)
        assert len(labels) >= 2
        series = [line for name, line in lines(ax).items() if name != "no change"]
        assert max(label.get_zorder() for label in labels) < min(x.get_zorder() for x in series)
        if ax.get_label().startswith("values"):  # changes have zero, whatever is there
            assert beneath == [0] * len(labels)


def test_radar_ring_labels_avoid_the_worst_point(unsaved):
    """One image far worse than all others: its point is where a label used to be."""
    frame = as_measured(3)
    worst = (frame["loss"] == "asy_mse") & (frame["image"] == "1000")
    frame.loc[worst, "psnr"] = frame.loc[frame["loss"] == "mse", "psnr"].iloc[0] - 8
    ax = panel(figures.radar(frame, 3, "unused"), "change psnr")
    ax.figure.canvas.draw()
    spoke = lines(ax)["asy_mse"].get_xydata()[0]
    at = lines(ax)["asy_mse"].get_transform().transform(spoke)
    boxes = [text.get_window_extent() for text in rings(ax)[0]]
    assert not any((box.min < at).all() and (at < box.max).all() for box in boxes)


def test_radar_lines_that_coincide_are_both_seen(unsaved):
    same = as_measured()
    same = same.assign(psnr=30 + same["image"].astype(int) / 10)  # of all losses
    ax = panel(figures.radar(same, 4, "unused"), "values psnr")
    names = [line.get_label() for line in ax.get_lines()]
    assert names.index("mae") < names.index("mse")  # the later one lies on top
    beneath, above = lines(ax)["mae"], lines(ax)["mse"]
    assert beneath.get_zorder() == above.get_zorder()
    assert beneath.get_linewidth() >= above.get_linewidth() + 1
    assert beneath.get_markersize() > above.get_markersize() + 1


@pytest.mark.parametrize(("table", "number"), [(2, 4), (3, 7), (4, 9), (5, 10)])
def test_radar_names_the_papers_figure(table, number):
    title = figures.radar_title(summarise(as_measured(table), table))
    assert title.startswith(f"The paper's Fig. {number}, remade: ")
    assert f"(Table {table})" in title


def test_radar_means_are_rounded_as_the_tables_are(unsaved):
    frame = as_measured(5)
    fig = figures.radar(frame, 5, "unused", paper.tables())
    means = [text.get_text() for text in panel(fig, "change ssim").texts if "mean" in str(text)]
    theirs = tables.markdown(summarise(frame, 5, paper.tables()))
    row = [line for line in theirs.splitlines() if "**Mean**" in line and "+0.0" in line][-1]
    ours = [cell.split("/")[1] for cell in row.split("|")[3:-1]]
    assert means == [f"mean: MAE {ours[0]}, MSE {ours[2]}"]


def test_radar_of_a_failed_training_has_true_minus_signs(unsaved):
    frame = as_measured(3)
    frame = frame.assign(psnr=frame["psnr"] - 100)
    ax = panel(figures.radar(frame, 3, "unused"), "values psnr")
    drawn = [text.get_text() for text in ax.texts]
    assert any(tables.MINUS in text for text in drawn) and not any("-" in text for text in drawn)


def test_radar_without_rows_is_none():
    assert figures.radar(as_measured(4), 5, "unused") is None


def test_saving_twice_gives_the_same_bytes(chart, tmp_path):
    first = chart[1]
    figures.radar(as_measured(), 4, tmp_path / "b.c", paper.tables())
    for ending in ("png", "pdf"):
        made = first.with_suffix(f".{ending}").read_bytes()
        assert len(made) > 10_000
        assert made == (tmp_path / f"b.c.{ending}").read_bytes()
    pdf = first.with_suffix(".pdf").read_bytes()
    assert b"/FontFile2" in pdf  # TrueType, embedded
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf
    with Image.open(first.with_suffix(".png")) as image:
        assert "Software" not in image.info
        assert image.size[0] == pytest.approx(style.WIDTH * 200, abs=1)


def test_a_chart_keeps_the_series_colours_exactly(tmp_path):
    """Among more colours than a palette holds: bands over tints, and the edges of lines."""
    fig = style.figure(1.0)
    ax = fig.add_axes((0, 0, 1, 1))
    shades = np.random.default_rng(0).uniform(size=(100, 690, 3))
    ax.imshow(shades, aspect="auto", extent=(0, 1, 0, 1))
    for k, colour in enumerate(style.LOSS_COLOURS.values()):
        ax.plot([0.1, 0.2], [0.2 + 0.2 * k] * 2, color=colour, lw=1.3)
    style.save(fig, tmp_path / "a")
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P"
        found = {colour: count for count, colour in image.convert("RGB").getcolors(256)}
    for colour in style.LOSS_COLOURS.values():
        assert found.get(tuple(bytes.fromhex(colour[1:])), 0) > 100


# ---------------------------------------------------------------------------------------- pictures


def photograph(height, width, channels=3, seed=0):
    """Smooth colours and fine grain, uint8 (C, H, W)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 40
    planes = [
        np.sin(x + k) + np.cos(y * (k + 1)) + 0.3 * rng.normal(size=x.shape) for k in range(3)
    ]
    scaled = np.clip(np.stack(planes[:channels]) * 60 + 128, 0, 255)
    return torch.from_numpy(scaled.astype(np.uint8))


def test_picture_understands_the_usual_forms():
    image = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    expected = image / 255
    for form in (image, image.transpose(2, 0, 1), torch.from_numpy(image.transpose(2, 0, 1))):
        np.testing.assert_allclose(figures.picture(form), expected)
    grey = np.float32([[0.5, 1.5]])
    for form in (grey, grey[None], grey[..., None], torch.from_numpy(grey[None])):
        np.testing.assert_array_equal(figures.picture(form), grey)  # not clipped
    with pytest.raises(ValueError, match="got shape"):
        figures.picture(np.zeros((2, 5, 7)))


def test_contact_sheet(tmp_path):
    names = [f"a_rather_long_name_{k}" for k in range(10)]
    images = [photograph(300, 200 if k == 3 else 450, seed=k) for k in range(10)]
    fig = figures.contact_sheet(names, images, tmp_path / "fig3", "Test images")
    assert_readable(fig)
    assert len(fig.axes) == 10
    ratios = [ax.get_window_extent().width / ax.get_window_extent().height for ax in fig.axes]
    np.testing.assert_allclose(ratios, [1.5] * 3 + [2 / 3] + [1.5] * 6, rtol=0.01)
    assert 10_000 < (tmp_path / "fig3.png").stat().st_size <= figures.SHEET_BYTES
    assert (tmp_path / "fig3.pdf").stat().st_size > 10_000
    # captions are right below their pictures, in the row with a portrait too
    for ax, caption in zip(fig.axes, fig.texts[1:], strict=True):
        below = ax.get_window_extent().y0 - caption.get_window_extent().y1
        assert 0 <= below < 0.1 * fig.dpi


def captions(fig):
    return [text.get_text() for text in fig.texts]


def test_outputs_captions_are_psnr(unsaved):
    label = np.full((40, 60), 0.5)
    panels = {
        "Input": label[::2, ::2],
        "MAE": label + 0.1,  # MSE 0.01: 20 dB
        "Asy_MAE": label - 0.01,  # 40 dB
        "MSE": None,
        "Asy_MSE": label + 1.0,  # 0 dB; beyond white, and not clipped for the PSNR
    }
    fig = figures.outputs(label, panels, "unused", "Outputs")
    assert captions(fig)[1:] == [
        *("Label", "Input", "MAE: 20.00 dB", "Asy_MAE: 40.00 dB"),
        *("MSE: not run", "Asy_MSE: 0.00 dB"),
    ]
    assert_readable(fig)
    # base losses above, their asymmetric forms below
    boxes = [ax.get_position() for ax in fig.axes]
    assert boxes[2].x0 == boxes[3].x0
    assert boxes[2].y0 > boxes[3].y1


def test_magnified_marks_its_place_and_shows_it(unsaved):
    label = figures.picture(photograph(120, 160))
    panels = {"Input": label[::4, ::4], "MAE": label + 0.1, "Asy_MAE": None}
    fig = figures.magnified(label, panels, "unused", "Magnified", box=(30, 50, 20, 40))
    whole, first, given, output, empty = fig.axes
    frame = [patch for patch in whole.patches if isinstance(patch, Rectangle)][-1]
    assert (frame.get_x(), frame.get_y()) == (49.5, 29.5)
    assert (frame.get_width(), frame.get_height()) == (40, 20)
    np.testing.assert_array_equal(first.images[0].get_array(), label[30:50, 50:90])
    np.testing.assert_array_equal(
        given.images[0].get_array(), np.kron(label[::4, ::4], np.ones((4, 4, 1)))[30:50, 50:90]
    )
    assert output.images
    assert not empty.images
    assert "MAE\n20.00 dB (whole 20.00)" in captions(fig)
    assert_readable(fig)


def test_busiest_region_finds_the_texture():
    image = np.full((100, 150), 0.5)
    image[40:64, 90:114] += 0.3 * (np.indices((24, 24)).sum(0) // 6 % 2)
    top, left, height, width = figures.busiest_region(image)
    assert (height, width) == (24, 24)
    assert abs(top - 40) <= 2
    assert abs(left - 90) <= 2


def test_busiest_region_of_nothing_is_the_first_inside_the_margin():
    assert figures.busiest_region(np.zeros((200, 300))) == (10, 10, 40, 40)
    assert figures.busiest_region(np.zeros((10, 12))) == (0, 0, 10, 10)
    rim = np.zeros((200, 300))
    rim[:, :2] = 1  # a bright rim is not a busy region
    rim[100, 200] = 0.5
    top, left, _, _ = figures.busiest_region(rim)
    assert 60 <= top <= 100
    assert 160 <= left <= 200


def test_method_draws_eq_2(unsaved):
    label = np.full((60, 90), 0.5)
    label[:, 45:] = 1.0
    fig = figures.method(label, label + 0.2, "unused", "The method")
    shown = {ax.get_title(): ax for ax in fig.axes if ax.get_title()}
    assert len(shown) == 6
    drawn = {title: ax.images[0].get_array() for title, ax in shown.items() if ax.images}
    mask = next(array for title, array in drawn.items() if "eq. (2)" in title)
    assert mask[0, 0] == pytest.approx(0.5 * np.tanh(2) + 0.5)  # 0.98201
    assert mask[0, -1] == pytest.approx(0.5 * np.tanh(1) + 0.5)  # 0.88080
    weighted = next(array for title, array in drawn.items() if "Weighted" in title)
    np.testing.assert_allclose(weighted, 0.2 * mask, rtol=1e-5)
    lost = next(array for title, array in drawn.items() if "Taken" in title)
    np.testing.assert_allclose(weighted + lost, 0.2, rtol=1e-5)


def test_method_texts_do_not_overlap(unsaved):
    label = photograph(240, 360)
    fig = figures.method(label, figures.picture(label) * 0.9, "unused", "The method")
    assert_readable(fig)


# ------------------------------------------------------------------------------- the whole report


@pytest.fixture
def quick(monkeypatch):
    """Draws at low resolution: what is tested is which files are made."""
    monkeypatch.setattr(figures, "radar", lambda frame, table, stem, paper: _stub(stem))
    for name in ("contact_sheet", "outputs", "magnified", "method"):
        monkeypatch.setattr(figures, name, lambda *args, **options: CALLS.append(args))
    CALLS.clear()


CALLS: list = []


def _stub(stem):
    CALLS.append((stem,))


def run_folders(study, frame):
    for (table, loss, seed), rows in frame.groupby(["table", "loss", "seed"]):
        folder = study / f"table{table}" / loss / f"seed{seed}"
        folder.mkdir(parents=True)
        rows.to_csv(folder / "rows.csv", index=False)


def test_build_makes_the_tables_and_says_what_it_skips(tmp_path, quick):
    run_folders(tmp_path, as_measured(4))
    said: list[str] = []
    written = asyrepro.report.build(tmp_path, log=said.append)
    names = [path.relative_to(tmp_path).as_posix() for path in written]
    assert names == [
        "metrics.csv",
        *(f"tables/table4.{ending}" for ending in ("csv", "md", "tex")),
        *("figures/fig9.png", "figures/fig9.pdf"),
    ]
    assert all((tmp_path / name).is_file() for name in names[:4])
    for skipped in ("fig8: skipped", "fig5_dncnn, fig6_dncnn: skipped", "fig1_2: skipped"):
        assert any(line.startswith(skipped) for line in said)


def test_build_draws_pictures_where_images_are_given(tmp_path, quick):
    frame = pd.concat([as_measured(2, dataset="bundled"), as_measured(3, dataset="bundled")])
    run_folders(tmp_path, frame)
    asked = []

    def restored(table, loss, seed, image):
        asked.append((table, loss, seed, image))
        label = figures.picture(photograph(40, 60, 1 if table == 2 else 3))
        return None if loss == "asy_mse" else (label[::3, ::3], label + 0.1, label)

    def testset(table):
        images = [photograph(40, 60)] * 10
        return SimpleNamespace(names=list("abcdefghij"), images=images, bundled=True)

    written = asyrepro.report.build(tmp_path, lambda _: 0, restored=restored, testset=testset)
    stems = {path.stem for path in written if path.parent.name == "figures"}
    assert stems == {
        *("fig4", "fig7", "fig3", "fig1_2"),
        *("fig5", "fig6", "fig5_edsr", "fig6_edsr"),
    }
    assert asked[0] == (2, "mae", 0, "1000")  # the first image, the first seed
    titles = [args[-1] for args in CALLS if len(args) > 1]
    assert len(titles) == 6
    assert all("bundled stand-in data" in title for title in titles)
    panels = next(args[1] for args in CALLS if len(args) == 4 and isinstance(args[1], dict))
    assert list(panels) == ["Input", "MAE", "Asy_MAE", "MSE", "Asy_MSE"]
    assert panels["Asy_MSE"] is None
    method = next(
        args
        for args in CALLS
        if len(args) == 4 and not isinstance(args[1], dict) and str(args[2]).endswith("fig1_2")
    )
    assert method[0].ndim == 3  # the colour picture, EDSR's


@pytest.mark.parametrize(
    ("table", "names", "title"),
    [
        (
            *(2, catalogue.TABLE2),
            "Super-resolution, Table 2: BSD300's first ten test images (the paper's are unknown)",
        ),
        (2, list("abcdefghij"), "Super-resolution, Table 2: test images"),
        (4, catalogue.TABLE4, "Denoising, Table 4: the paper's own test images"),
    ],
)
def test_build_says_which_test_images_a_sheet_shows(tmp_path, quick, table, names, title):
    run_folders(tmp_path, as_measured(table, images=names))

    def testset(_):
        return SimpleNamespace(names=names, images=[photograph(40, 60)] * 10, bundled=False)

    asyrepro.report.build(tmp_path, lambda _: 0, testset=testset)
    assert [args[-1] for args in CALLS if len(args) > 1] == [title]


def test_build_takes_metrics_alone_if_no_run_folders_were_kept(tmp_path, quick):
    run_folders(tmp_path / "a", as_measured(4))
    asyrepro.report.build(tmp_path / "a", log=lambda _: None)
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "metrics.csv").rename(tmp_path / "b" / "metrics.csv")
    asyrepro.report.build(tmp_path / "b", log=lambda _: None)
    made = [(tmp_path / name / "tables/table4.md").read_bytes() for name in "ab"]
    assert made[0] == made[1]


def test_build_without_a_study_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="run the study first"):
        asyrepro.report.build(tmp_path / "none")
