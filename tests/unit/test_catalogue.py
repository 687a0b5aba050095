"""Which images each data set has, where they are looked for, and what if they are not there."""

import hashlib
import warnings
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from helpers import REAL, call, refuses
from material import fill, number, picture_bytes
from PIL import Image

from asyrepro.data import bundled, catalogue, sources
from asyrepro.data.catalogue import NotAvailable, available, test_set, training_set
from asyrepro.system.errors import ConfigError, DataError

pytestmark = pytest.mark.usefixtures("nowhere")
other_files = pytest.mark.filterwarnings("ignore:.*not the published ones:UserWarning")


def files_of(key):
    return list(sources.FOLDERS[key].files)


def sets(kind):
    """The files of each declared set by its name."""
    declared = sources.TRAINING if kind == "training" else sources.TEST
    return {
        name: [file for _, files in catalogue._selections(kind, name) for file in files]
        for name in declared
    }


# ------------------------------------------------------------------------------ lists and choices


def test_splits_share_no_image():
    """Names are the photographs' numbers, unique over BSDS300 and BSDS500."""
    splits = [set(files_of(key)) for key in ("bsds300-train", "bsds300-test", "bsds500-test")]
    for one, other in combinations(splits, 2):
        assert not one & other
    sums = [s for folder in sources.FOLDERS.values() for s in folder.files.values() if s]
    assert len(sums) == len(set(sums)) == 531  # nor is any file there twice under two names


def test_validation_is_in_no_table_and_no_training_set():
    training, test = sets("training"), sets("test")
    validation = set(test["validation"])
    assert len(validation) == 10
    for name in ("bsd68", "table2", "table3", "table4", "table5", "set5", "set12", "set14"):
        assert not validation & set(test[name])
    assert not validation & {*training["bsd300"], *training["bsd400"]}


def test_choices():
    """By number: Table 2's ten are the first, validation's the last that are not in BSD68."""
    test = {
        name: [int(file.split(".")[0]) for file in files]
        for name, files in sets("test").items()
        if files[0].endswith(".jpg")
    }
    everything = sorted(test["bsd300"])
    assert test["table2"] == test["table3"] == everything[:10]
    outside = [number for number in everything if number not in test["bsd68"]]
    assert len(outside) == 32 and test["validation"] == outside[22:]
    assert set(test["table5"]) < set(test["bsd68"])


# ---------------------------------------------------------------------------------------- looking


@other_files
def test_tables_4_and_5_have_the_papers_order(tmp_path):
    fill(tmp_path / "Set12", files_of("set12"))
    fill(tmp_path / "BSDS300/images/test", files_of("bsds300-test"))
    four = test_set("table4", mode="rgb", root=tmp_path)
    assert four.names == ["03", "04", "05", "06", "07", "08", "09", "10", "11", "12"]
    assert [number(image) for image in four.images] == list(range(3, 13))
    five = test_set("table5", mode="rgb", root=tmp_path)
    order = [227092, 143090, 302008, 123074, 103070, 167062, 14037, 253055, 241004, 126007]
    assert [number(image) for image in five.images] == order
    assert five.names == [str(n) for n in order]


@other_files
@pytest.mark.parametrize(
    "place",
    [
        "BSDS300/images/train",
        "BSDS300/BSDS300/images/train",  # nested one level too deep
        "downloads/BSDS300/images/train",
        "BSR/BSDS500/data/images/train",  # BSDS500's train split is BSDS300's
        "BSDS500/data/images/train",
    ],
)
def test_bsd300_in_common_layouts(tmp_path, place):
    fill(tmp_path / place, files_of("bsds300-train"))
    data = training_set("bsd300", mode="grey", root=tmp_path)
    assert len(data) == 200 and data.images[0].shape == (1, 4, 6) and not data.bundled
    assert data.title == "BSD300 train (200 images)"


@other_files
def test_bsd400_is_bsds300_train_and_bsds500_test(tmp_path):
    fill(tmp_path / "BSDS300/images/train", files_of("bsds300-train"))
    assert available("bsd400", tmp_path) is None
    fill(tmp_path / "BSDS500-test", files_of("bsds500-test"))
    assert available("bsd400", tmp_path) == (
        f"{tmp_path / 'BSDS300/images/train'} and {tmp_path / 'BSDS500-test'}"
    )
    data = training_set("bsd400", mode="rgb", root=tmp_path)
    assert [number(image) for image in data.images] == [int(name) for name in data.names]
    assert len(set(data.names)) == 400


def test_div2k_nested_too_deep(tmp_path):
    fill(tmp_path / "DIV2K_train_HR/DIV2K_train_HR", files_of("div2k-train"))
    assert available("div2k", tmp_path) == str(tmp_path / "DIV2K_train_HR/DIV2K_train_HR")


@other_files
def test_environment_then_home(tmp_path, monkeypatch):
    fill(tmp_path / "home/Set12", files_of("set12"))
    assert available("set12") == str(tmp_path / "home/Set12")
    fill(tmp_path / "mine/Set12", files_of("set12"))
    monkeypatch.setenv("ASYREPRO_DATA", str(tmp_path / "mine"))
    assert available("set12") == str(tmp_path / "mine/Set12")
    assert available("set12", tmp_path / "other") == str(tmp_path / "home/Set12")
    monkeypatch.setenv("ASYREPRO_DATA", "")
    assert available("set12") == str(tmp_path / "home/Set12")


def test_nothing_anywhere(tmp_path):
    assert available("set12") is None and available("table4") is None
    with refuses(NotAvailable, "table4", "12 files", "https://"):
        test_set("table4", mode="grey", download=False)
    names = ("BSDS300-images.tgz", tmp_path / "home", "ASYREPRO_DATA")
    with refuses(NotAvailable, *names) as caught:
        training_set("bsd300", mode="rgb")
    for host in ("www2.eecs.berkeley.edu", "raw.githubusercontent.com"):
        assert caught.value.reason.count(host) == 1


@pytest.mark.parametrize("may_download", [True, False])
def test_incomplete_folder_names_what_is_missing(tmp_path, monkeypatch, may_download):
    monkeypatch.setenv("ASYREPRO_DATA", str(tmp_path))
    folder = tmp_path / "BSDS300/images/test"
    fill(folder, files_of("bsds300-test")[10:])
    lacks = (folder, "10 files", "3096.jpg, 8023.jpg, 12084.jpg", "https://www2.eecs.berkeley.edu/")
    with refuses(DataError, *lacks):
        test_set("table2", mode="rgb", download=may_download)
    with refuses(DataError, "table5", "14037.jpg"):  # the ten are all there but one
        test_set("table5", mode="grey", download=may_download)
    assert available("table5") is None and available("validation") == str(folder)


@other_files
def test_a_complete_copy_elsewhere_is_used_instead(tmp_path, monkeypatch):
    monkeypatch.setenv("ASYREPRO_DATA", str(tmp_path / "mine"))
    fill(tmp_path / "mine/Set5", files_of("set5")[1:])
    fill(tmp_path / "home/Set5", files_of("set5"))
    assert len(test_set("set5", mode="rgb")) == 5


def test_other_files_are_a_warning(tmp_path):
    fill(tmp_path / "Set5", files_of("set5"))
    with pytest.warns(UserWarning, match="5 of 5 files of set5"):
        test_set("set5", mode="rgb", root=tmp_path)


@other_files
def test_fingerprint(tmp_path):
    """It is of the files: the same in every mode, another for another byte or another choice."""
    fill(tmp_path / "Set12", files_of("set12"))

    def fingerprint(name="set12", mode="grey"):
        return test_set(name, mode=mode, root=tmp_path).fingerprint

    first = fingerprint()
    lines = [
        f"{file}\0{hashlib.sha256((tmp_path / 'Set12' / file).read_bytes()).hexdigest()}\n"
        for file in files_of("set12")
    ]
    assert first == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert fingerprint(mode="rgb") == first != fingerprint("table4")
    (tmp_path / "Set12/01.png").write_bytes(picture_bytes(1) + b"x")
    assert fingerprint() != first


@pytest.mark.parametrize(
    ("load", "names"),
    [
        (lambda: training_set("bsd30", mode="rgb"), ["'bsd30'", "'bsd300'"]),
        (lambda: test_set("set13", mode="rgb"), ["'set13'"]),
        (lambda: training_set("set5", mode="rgb"), ["'set5'"]),
        (lambda: available("nothing"), ["'nothing'"]),
        (lambda: training_set("bsd300", mode="gray"), ["'gray'"]),
        (lambda: test_set("bundled", mode="gray"), ["'gray'"]),
    ],
)
def test_unknown_names(load, names):
    with refuses(ConfigError, *names):
        load()


def test_listing(tmp_path):
    fill(tmp_path / "Set12", files_of("set12"))
    said = call("data", f"root={tmp_path}")
    lines = said.out.splitlines()
    found = {line.partition(":")[0]: after for line, after in pairwise(lines)}
    assert said.status == 0
    assert str(tmp_path / "Set12") in found["table4"] and "not here" in found["div2k"]
    assert "https://data.vision.ee.ethz.ch/cvl/DIV2K/DIV2K_train_HR.zip" in said.out


# ------------------------------------------------------------------------------------ the stand-in


def test_no_bundled_test_patch_is_found_in_training_data():
    """By content as well: no textured run of 12 pixels of every sixth row of a test image occurs in
    a row of a training image, at any fourth column; so no shared area of 15 x 6 pixels escapes."""
    train = training_set("bundled", mode="grey").images
    known = set()
    for image in train:
        windows = np.lib.stride_tricks.sliding_window_view(image[0].numpy(), (1, 12))[:, ::4, 0]
        known.update(row.tobytes() for row in windows.reshape(-1, 12))
    for image in test_set("bundled", mode="grey").images:
        windows = np.lib.stride_tricks.sliding_window_view(image[0].numpy(), (1, 12))[::6, :, 0]
        rows = windows.reshape(-1, 12)
        textured = rows[rows.std(1) > 12]
        shared = sum(row.tobytes() in known for row in textured)
        assert len(textured) > 100 and shared == 0


@pytest.mark.parametrize("mode", ["rgb", "grey", "luma"])
def test_bundled_sets(mode):
    train = training_set("bundled", mode=mode)
    test = test_set("bundled", mode=mode)
    validation = test_set("bundled_validation", mode=mode)
    assert (len(train), len(test), len(validation)) == (32, 10, 4)
    for data in (train, test, validation):
        assert data.bundled and "bundled stand-in data" in data.title
        for image in data.images:
            assert image.dtype == torch.uint8 and image.is_contiguous()
            assert image.shape[0] == (3 if mode == "rgb" else 1)
    assert min(min(image.shape[1:]) for image in test.images) >= 160
    assert min(min(image.shape[1:]) for image in train.images) >= 96
    assert sum(image[0].numel() for image in train.images) == 3_004_024
    assert len({data.fingerprint for data in (train, test, validation)}) == 3


def test_bundled_pixels_are_scikit_images():
    face = test_set("bundled", mode="rgb").images[0]
    astronaut = skimage.data.astronaut()
    assert np.array_equal(face.permute(1, 2, 0).numpy(), astronaut[0:192, 128:320])
    brick = test_set("bundled", mode="rgb").images[1]
    assert torch.equal(brick[0], brick[2])
    assert np.array_equal(brick[0].numpy(), skimage.data.brick()[160:352, 160:352])


def test_bundled_without_scikit_image(monkeypatch, tmp_path):
    monkeypatch.setattr(bundled, "folder", lambda: None)
    assert available("bundled") is None
    with refuses(DataError, "scikit-image", "pip install"):
        training_set("bundled", mode="rgb")
    monkeypatch.setattr(bundled, "folder", lambda: tmp_path)
    for _ in range(2):  # missing, and then too small
        with refuses(DataError, "astronaut.png"):
            training_set("bundled", mode="rgb")
        Image.new("RGB", (10, 10)).save(tmp_path / "astronaut.png")


# -------------------------------------------------------------------------------- the real images


@pytest.fixture
def real(monkeypatch):
    """The folder that ASYREPRO_DATA names, with the other fixture's doings undone."""
    if not REAL:
        pytest.skip("ASYREPRO_DATA is not set: no real images to check")
    monkeypatch.setenv("ASYREPRO_DATA", REAL)

    def need(name):
        if available(name) is None:
            pytest.skip(f"{name} is not in ASYREPRO_DATA")
        return available(name)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield need


def test_real_bsd300_is_the_published_one(real):
    """SHA-256 over the 300 members sorted by name of (name, NUL, bytes)."""
    folders = [Path(folder) for folder in real("bsd300").split(" and ")]
    members = sorted(
        (f"BSDS300/images/{split}/{file.name}", file)
        for split, folder in zip(("train", "test"), folders, strict=True)
        for file in folder.glob("*.jpg")
    )
    digest = hashlib.sha256()
    for name, file in members:
        digest.update(name.encode() + b"\0" + file.read_bytes())
    expected = "44584b06a9d2f22028d345f087f99d2428a5b6c410e8bede069770a60a8a24ef"
    assert len(members) == 300 and digest.hexdigest() == expected
    assert len(training_set("bsd300", mode="grey")) == 200  # without a warning
    assert len(test_set("bsd300", mode="grey")) == 100
    rest, validation = (set(test_set(name, mode="grey").names) for name in ("bsd90", "validation"))
    assert len(rest) == 90 and not rest & validation


@pytest.mark.parametrize("name", ["set5", "set12", "set14"])
def test_real_sets_are_the_published_ones(real, name):
    real(name)
    data = test_set(name, mode="luma")  # a warning would be an error
    assert len(data) == int(name[3:])
    assert all(image.min() >= 16 and image.max() <= 235 for image in data.images)


def test_real_bsd400_is_the_published_one(real):
    real("bsd400")
    data = training_set("bsd400", mode="grey")
    assert len(data) == 400 and {tuple(i.shape[1:]) for i in data.images} == {
        (321, 481),
        (481, 321),
    }
