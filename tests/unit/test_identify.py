"""Finding a table's test images in a folder, and not finding them where they are not."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skimage.color
import skimage.data
from helpers import REAL, assert_refused, call, needs_data
from PIL import Image

from asyrepro import paper
from asyrepro.paper import identify
from asyrepro.paper.measure import CROPS, VARIANTS, measure, measure_file


def rms(array):
    return float(np.sqrt(np.mean(np.asarray(array, dtype=float) ** 2)))


def grey_of_rms(target, shape=(130, 134), seed=0):
    """A textured grey image whose RMS / 255 is `target` to about 1e-7."""
    rng = np.random.default_rng(seed)
    texture = rng.normal(0, 12, shape)
    image = np.clip(np.rint(texture + 255 * target), 0, 254).astype(np.int64)
    wanted = round(target**2 * 255**2 * image.size)
    while abs(missing := wanted - int((image**2).sum())) >= 500:
        step = 1 if missing > 0 else -1
        some = rng.choice(image.size, max(1, abs(missing) // 520), replace=False)
        image.ravel()[some] = np.clip(image.ravel()[some] + step, 0, 255)
    return image.astype(np.uint8)


def middles(*tables):
    """A value of RMS for each image of tables that all its printed numbers allow."""
    wanted = paper.constants(*tables)
    return ((wanted["low"] + wanted["high"]) / 2).to_dict()


def save(folder, name, array):
    Image.fromarray(array).save(folder / name)


def measured(image, variant, crop="whole"):
    return measure(image)[VARIANTS.index(variant), CROPS.index(crop)]


@pytest.fixture(scope="module")
def photograph():
    return Image.fromarray(skimage.data.astronaut()[:301, :403])


# ----------------------------------------------------------------------------------------- measure


def test_readings_against_other_libraries(photograph):
    pixels = np.asarray(photograph)
    luma = np.rint(skimage.color.rgb2ycbcr(pixels)[..., 0])
    rgba = np.asarray(photograph.convert("RGBA"))
    assert measured(photograph, "rgb") == pytest.approx(rms(pixels) / 255, abs=1e-12)
    assert measured(photograph, "grey") == pytest.approx(
        rms(photograph.convert("L")) / 255, abs=1e-12
    )
    assert measured(photograph, "luma") == pytest.approx(rms(luma) / 255, abs=1e-7)
    assert measured(photograph, "grey709") == pytest.approx(
        rms(skimage.color.rgb2gray(pixels)), abs=1e-9
    )
    assert measured(photograph, "rgba") == pytest.approx(rms(rgba) / 255, abs=1e-12)


def test_crops_against_slices(photograph):
    grey = np.asarray(photograph.convert("L")) / 255  # 301 x 403
    expected = {
        "whole": grey,
        "mod2": grey[:300, :402],
        "mod3": grey[:300, :402],
        "mod4": grey[:300, :400],
        "centre96": grey[102:198, 153:249],
        "centre256": grey[22:278, 73:329],
    }
    for crop, part in expected.items():
        assert measured(photograph, "grey", crop) == pytest.approx(rms(part), abs=1e-12), crop
    assert np.isnan(measured(photograph, "grey", "centre320"))


def test_measure_file_names_what_is_wrong(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    assert measure_file(tmp_path / "text.png")[0] is None
    assert "text.png" in measure_file(tmp_path / "text.png")[1]
    (tmp_path / "empty.jpg").write_bytes(b"")
    assert measure_file(tmp_path / "empty.jpg")[0] is None


# ------------------------------------------------------------------------------------- probability


def test_at_least_against_enumeration():
    probabilities = np.array([0.1, 0.25, 0.5, 0.9])
    for count in range(5):
        total = 0.0
        for outcome in itertools.product((0, 1), repeat=4):
            if sum(outcome) >= count:
                total += np.prod(np.where(outcome, probabilities, 1 - probabilities))
        assert identify.at_least(count, probabilities) == pytest.approx(total)


def test_density_against_known_ones():
    even = (np.arange(2000) + 0.5) / 2000
    found = identify.density(even, np.array([0.2, 0.5, 0.8]))
    assert found == pytest.approx([1, 1, 1], rel=0.05)
    normal = np.random.default_rng(0).normal(0.5, 0.1, 20_000)
    found = identify.density(normal, np.array([0.5]))[0]
    assert 0.95 < found * 0.1 * (2 * np.pi) ** 0.5 < 1.9  # the nearest neighbours vary
    # of one image, far away: five imaginary ones of six are spread evenly
    assert identify.density(np.array([0.2]), np.array([0.9])) == pytest.approx(5 / 6)


def test_an_image_inside_the_interval_is_nearer_than_any_outside():
    wanted = pd.DataFrame({"value": [0.5], "low": [0.4999], "high": [0.503]}, index=[1])
    values = np.array([0.49988, 0.5025])  # just outside and near, inside and far
    [found] = identify.nearest(["out", "in"], values, wanted, tries=3).to_dict("records")
    assert (found["image"], found["second_image"], found["hit"]) == ("in", "out", True)
    expected = 2 * identify.density(values, np.array([0.5]))[0] * 2 * 0.0025  # twice the distance
    assert found["chance"] == pytest.approx(1 - np.exp(-expected))
    assert found["chance_any"] == pytest.approx(1 - np.exp(-3 * expected))


def random_scan(rng, images, settings):
    values = np.full((images, len(VARIANTS), len(CROPS)), np.nan)
    base = np.clip(rng.normal(0.48, 0.12, images), 0.02, 0.98)
    flat = values.reshape(images, -1)
    for column in range(settings):
        flat[:, column] = base + rng.normal(0, 0.02, images)
    return identify.collect([f"{n}.png" for n in range(images)], values)


def test_random_sets_are_rarely_significant():
    rng = np.random.default_rng(7)
    false = sum(
        identify.search(random_scan(rng, 200, 12))[0]["significant"].any() for _ in range(50)
    )
    # at 1 % for all tables together 0.5 of 50 are due; 4 or more have probability 0.2 %
    assert false <= 3


def test_a_crowd_of_near_duplicates_is_not_significant():
    rng = np.random.default_rng(3)
    scan = random_scan(rng, 3000, 1)
    scan.values[:, 0, 0] = rng.uniform(0.60, 0.68, 3000)  # all within the range of Tables 2-3
    sets, matches = identify.search(scan, tables=[2])
    assert sets["hits"].iloc[0] >= 1
    assert not sets["significant"].any()
    assert not matches["significant"].any()


def test_a_single_match_is_called_chance():
    scan = random_scan(np.random.default_rng(5), 300, 5)
    flat = scan.values.reshape(300, -1)
    for value in middles(4).values():
        flat[np.abs(flat - value) < 1e-4] += 2e-4  # no other matches
    flat[17, 0] = middles(4)[4]
    flat[:, 5] = flat[:, 0]  # as where a crop is the whole image
    sets, matches = identify.search(scan, tables=[4])
    assert sets["tries"].tolist() == [5]
    fourth = matches.set_index("no").loc[4]
    assert fourth["image"] == "17.png" and fourth["hit"]
    assert fourth["chance"] < 0.1
    assert not sets["significant"].any()
    assert "not found" in identify.describe(scan, sets, matches)


@pytest.mark.parametrize("tables", [(2, 3), (4,), (5,)])
def test_ten_matches_are_found_even_in_a_large_set(tables):
    scan = random_scan(np.random.default_rng(6), 1000, 20)
    positions = np.arange(40, 140, 10)
    wanted = paper.constants(*tables)
    rng = np.random.default_rng(1)
    scan.values[positions, 0, 7] = rng.uniform(wanted["low"], wanted["high"])
    sets, matches = identify.search(scan)
    name = "-".join(map(str, tables))
    assert sets.set_index("tables")["significant"].to_dict() == {
        key: key == name for key in ("2-3", "4", "5")
    }
    row = sets.set_index("tables").loc[name]
    assert (row["variant"], row["crop"], row["hits"]) == (VARIANTS[0], CROPS[7], 10)
    part = matches[matches["tables"] == name]
    assert part["hit"].all()
    fits = [f"{p}.png" in [i, *a.split("; ")] for p, i, a in zip(
        positions, part["image"], part["also"], strict=True)]  # fmt: skip
    assert all(fits)


def test_exact_copies_count_once():
    values = np.full((3, len(VARIANTS), len(CROPS)), 0.5)
    values[1] = 0.4
    scan = identify.collect(["a", "b", "c"], values)
    assert scan.names == ["a", "b"]
    assert scan.copies == {"a": ["c"]}


# ------------------------------------------------------------------------------------------ folders


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten images with the constants of Tables 2-3 among others, and some that are damaged."""
    folder = tmp_path_factory.mktemp("images")
    for no, value in middles(2, 3).items():
        save(folder, f"photo{31 * no % 11:02}.png", grey_of_rms(value, seed=no))
    for number, target in enumerate(np.linspace(0.25, 0.8, 20)):
        save(folder, f"other{number:02}.PNG", grey_of_rms(target + 0.0007, seed=100 + number))
    inner = folder / "inner"
    inner.mkdir()
    (folder / ".cache").mkdir()
    save(folder / ".cache", "thumbnail.png", grey_of_rms(0.5, seed=300))
    save(inner, "copy.bmp", np.asarray(Image.open(folder / "photo09.png")))
    for number, target in enumerate(np.linspace(0.3, 0.7, 12)):
        save(inner, f"deep{number:02}.png", grey_of_rms(target + 0.0003, seed=200 + number))
    save(folder, "cut.jpg", skimage.data.astronaut()[:100, :100])
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:900])
    (folder / "text.tif").write_text("not an image")
    (folder / ".hidden.png").write_text("not to be looked at")
    (folder / "notes.txt").write_text("not to be looked at")
    return folder


def test_finds_a_set_by_its_constants(folder, tmp_path):
    table = tmp_path / "matches.csv"
    said = call("identify", folder, "jobs=1", f"output={table}")
    out = said.out
    assert said.status == 0
    assert "Tables 2-3: FOUND" in out
    assert "Table 4: not found" in out and "Table 5: not found" in out
    assert "cut.jpg" in out and "text.tif" in out
    assert "hidden" not in out and "notes" not in out
    found = pd.read_csv(table, dtype={"tables": str})
    found = found[found["tables"] == "2-3"]
    assert found["significant"].all()
    assert found["image"].tolist() == [f"photo{31 * no % 11:02}.png" for no in range(1, 11)]
    assert (found["error"] < 2e-5).all()
    assert (found["second_error"] > found["error"]).all()
    assert set(found["crop"]) == {"whole"}


def test_recursive_with_two_processes(folder):
    one = identify.scan(folder, recursive=True)
    two = identify.scan(folder, recursive=True, jobs=2)
    assert one.names == two.names
    assert np.array_equal(one.values, two.values, equal_nan=True)
    assert (
        [name for name, _ in one.damaged]
        == ["cut.jpg", "text.tif"]
        == [name for name, _ in two.damaged]
    )
    assert len(one.names) == 42
    assert one.copies == {"inner/copy.bmp": ["photo09.png"]}


def test_finds_the_variant_and_crop(tmp_path):
    """Images that fit only with an alpha channel, cut to a multiple of 4."""
    for no, value in middles(2, 3).items():
        inside = grey_of_rms(np.sqrt((4 * value**2 - 1) / 3), shape=(128, 132), seed=no)
        image = np.zeros((131, 133), dtype=np.uint8)
        image[:128, :132] = inside
        save(tmp_path, f"{no}.png", np.stack([image] * 3, axis=-1))
    sets, _ = identify.search(identify.scan(tmp_path))
    row = sets.set_index("tables").loc["2-3"]
    assert row["significant"]
    assert (row["variant"], row["crop"], row["hits"]) == ("rgba", "mod4", 10)
    assert sets["significant"].sum() == 1


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ("none", "none"),
        ("file.png", "file.png"),
        (".hidden", ".hidden"),  # holds no image
        ("above", "above recursive=true"),
        (".", "1"),  # none of its images can be read
        ("good output=no/x.csv", "no"),
        ("good tables=1", "tables"),
        ("good jobs=0", "jobs"),
        ("good --recursive", "recursive"),
    ],
)
def test_what_is_refused(tmp_path, monkeypatch, arguments, names):
    monkeypatch.chdir(tmp_path)
    for folder in (".hidden", "above/inside", "good"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "file.png").write_text("")
    for folder in ("good", "above/inside"):
        save(tmp_path / folder, "a.png", skimage.data.camera()[:50, :50])
    assert_refused(call("identify", *arguments.split()), *names.split())


# -------------------------------------------------------------------------------------- real images


@needs_data
@pytest.mark.parametrize(
    ("name", "table", "images", "error"),
    [
        ("Set12", "4", [*paper.known_images()[4]], 3e-5),
        ("BSDS300", "5", [*paper.known_images()[5]], 5e-5),
        ("Set5", None, [], 0),
        ("Set14", None, [], 0),
    ],
)
def test_real_sets(name, table, images, error):
    """Table 4 is in Set12, Table 5 in BSD300; Tables 2 and 3 in none of these."""
    folder = Path(REAL) / name
    if not folder.is_dir():
        pytest.skip(f"no {name} in ASYREPRO_DATA")
    sets, matches = identify.search(identify.scan(folder, recursive=True, jobs=2))
    assert sets.loc[sets["significant"], "tables"].tolist() == ([table] if table else [])
    found = matches[matches["significant"]]
    assert [Path(image).stem for image in found["image"]] == images
    assert (found["error"] <= error).all()
    if name == "BSDS300":
        assert {Path(image).parent.name for image in found["image"]} == {"test"}
        assert sets.set_index("tables").loc["5", "variant"] == "grey"
