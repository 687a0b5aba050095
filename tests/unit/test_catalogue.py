"""Which images each data set has, where they are looked for, and what if they are not there."""

import dataclasses
import hashlib
import io
import os
import tarfile
import threading
import warnings
import zipfile
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from helpers import fill, picture_bytes, send, whole
from PIL import Image

from asyrepro.commands import data as get_data
from asyrepro.data import bundled, cache, catalogue, sources
from asyrepro.data.catalogue import NotAvailable, available, provide, test_set, training_set
from asyrepro.data.sampler import PatchSampler
from asyrepro.data.sources import Source
from asyrepro.system.errors import ConfigError, DataError
from asyrepro.tasks import Denoising, SuperResolution

pytestmark = pytest.mark.usefixtures("nowhere")
other_files = pytest.mark.filterwarnings("ignore:.*not the published ones:UserWarning")


def number(image):
    return int(image[0, 0, 0]) + 256 * int(image[1, 0, 0]) + 65536 * int(image[2, 0, 0])


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


def test_counts():
    counts = {key: len(folder.files) for key, folder in sources.FOLDERS.items()}
    assert counts == {
        "bsds300-train": 200,
        "bsds300-test": 100,
        "bsds500-test": 200,
        "div2k-train": 800,
        "div2k-valid": 100,
        "set5": 5,
        "set12": 12,
        "set14": 14,
    }
    assert len(set(sets("test")["bsd68"])) == 68


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


@pytest.mark.parametrize("key", ["bsds300-train", "bsds300-test", "bsds500-test", "set12"])
def test_files_are_in_numeric_order(key):
    numbers = [int(file.split(".")[0]) for file in files_of(key)]
    assert numbers == sorted(numbers)


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
    with pytest.raises(NotAvailable, match=r"table4 .* Download the 12 files below"):
        test_set("table4", mode="grey", download=False)
    with pytest.raises(NotAvailable) as caught:
        training_set("bsd300", mode="rgb")
    reason, message = caught.value.reason, str(caught.value)
    for host in ("www2.eecs.berkeley.edu", "raw.githubusercontent.com"):
        assert reason.count(host) == 1
    assert len(reason) < 120 and reason in message
    assert f"/BSDS300-images.tgz and unpack it in {tmp_path / 'home'}" in message
    assert "ASYREPRO_DATA" in message and "\n" not in message


@pytest.mark.parametrize("may_download", [True, False])
def test_incomplete_folder_names_what_is_missing(tmp_path, monkeypatch, may_download):
    monkeypatch.setenv("ASYREPRO_DATA", str(tmp_path))
    folder = tmp_path / "BSDS300/images/test"
    fill(folder, files_of("bsds300-test")[10:])
    with pytest.raises(DataError) as caught:
        test_set("table2", mode="rgb", download=may_download)
    assert f"{folder} lacks 10 files (3096.jpg, 8023.jpg, 12084.jpg" in str(caught.value)
    assert "Download https://www2.eecs.berkeley.edu/" in str(caught.value)
    # the ten of Table 5 are all there but one
    with pytest.raises(DataError, match=r"table5 is incomplete: .* lacks 1 files \(14037\.jpg\)"):
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
    with pytest.warns(UserWarning, match=r"5 of 5 files of set5 are not the published ones"):
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


def test_unknown_names():
    with pytest.raises(ConfigError, match="unknown data set 'bsd30': did you mean 'bsd300'"):
        training_set("bsd30", mode="rgb")
    with pytest.raises(ConfigError, match="unknown data set 'set13'"):
        test_set("set13", mode="rgb")
    with pytest.raises(ConfigError, match="unknown data set 'set5'"):
        training_set("set5", mode="rgb")
    with pytest.raises(ConfigError, match="unknown data set"):
        available("nothing")
    for load in (training_set, test_set):
        for name in ("bsd300", "bundled"):
            with pytest.raises(ConfigError, match="unknown image mode 'gray'"):
                load(name, mode="gray")


# ---------------------------------------------------------------------------------------- fetching

MINI = {
    "bsds300-train": ("1.jpg", "2.jpg"),
    "bsds300-test": ("3.jpg",),
    "set5": ("a.bmp", "b.bmp", "c.bmp"),
    "div2k-valid": ("0801.png", "0802.png"),
}


@pytest.fixture
def mini(server, monkeypatch):
    """FOLDERS cut down to MINI, published by `server`; returns the files' bytes by member name."""
    content = {
        f"{sources.FOLDERS[key].place}/{file}": picture_bytes(1000 * i + number)
        for i, (key, files) in enumerate(MINI.items())
        for number, file in enumerate(files)
    }
    tgz, zipped = _tgz(content), _zip(content)
    limit, at = 100_000, server.address
    archives = [Source(f"{at}/{name}.tgz", True, limit) for name in ("one", "two")]
    md5 = hashlib.md5(zipped, usedforsecurity=False).hexdigest()
    published = {
        "bsds300-train": (*archives, Source(f"{at}/files/train", False, limit)),
        "bsds300-test": (*archives, Source(f"{at}/files/test", False, limit)),
        "set5": (Source(f"{at}/Set5", False, limit),),
        "div2k-valid": (Source(f"{at}/valid.zip", True, limit, md5),),
    }
    for key, files in MINI.items():
        folder = sources.FOLDERS[key]
        sums = {
            file: hashlib.sha256(content[f"{folder.place}/{file}"]).hexdigest() for file in files
        }
        if key == "div2k-valid":
            sums = dict.fromkeys(files, "")
        small = dataclasses.replace(folder, files=sums, sources=published[key])
        monkeypatch.setitem(sources.FOLDERS, key, small)
    server.answers.update({"/one.tgz": whole(tgz), "/valid.zip": whole(zipped)})
    for file in MINI["set5"]:
        server.answers[f"/Set5/{file}"] = whole(content[f"Set5/{file}"])
    return content


def _tgz(content):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, data in {"BSDS300/iids_train.txt": b"1\n2\n", **content}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def _zip(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return file.getvalue()


def visible(folder):
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    )


def test_archive_is_fetched_and_unpacked(mini, server, tmp_path):
    data = training_set("bsd300", mode="rgb")
    assert data.names == ["1", "2"] and [number(image) for image in data.images] == [0, 1]
    test_set("bsd300", mode="rgb")  # from the same archive: nothing more to fetch
    assert server.log == [("/one.tgz", None)]
    names = [f"BSDS300/images/{split}" for split in ("test/3.jpg", "train/1.jpg", "train/2.jpg")]
    assert visible(tmp_path / "home") == names  # the archive is gone, and what was not asked for


def test_root_is_where_downloads_go(mini, tmp_path):
    assert provide("bsd300", tmp_path / "there").startswith(str(tmp_path / "there/BSDS300"))
    assert not (tmp_path / "home").exists()


def test_files_are_fetched_one_by_one_and_only_what_is_missing(mini, server, tmp_path):
    (tmp_path / "home/Set5").mkdir(parents=True)
    (tmp_path / "home/Set5/b.bmp").write_bytes(mini["Set5/b.bmp"])
    assert test_set("set5", mode="rgb").names == ["a", "b", "c"]
    assert sorted(path for path, _ in server.log) == ["/Set5/a.bmp", "/Set5/c.bmp"]


def test_second_mirror(mini, server):
    server.answers["/two.tgz"] = server.answers.pop("/one.tgz")
    assert len(training_set("bsd300", mode="rgb")) == 2
    assert [path for path, _ in server.log] == ["/one.tgz", "/two.tgz"]


def test_files_one_by_one_where_no_archive_can_be_had(mini, server, tmp_path):
    del server.answers["/one.tgz"]
    server.answers["/two.tgz"] = lambda handler: send(handler, 200, b"<html>moved</html>")
    for file in ("train/1.jpg", "train/2.jpg", "test/3.jpg"):
        server.answers[f"/files/{file}"] = whole(mini[f"BSDS300/images/{file}"])
    assert len(training_set("bsd300", mode="rgb")) == 2 and len(test_set("bsd300", mode="rgb")) == 1
    assert not list((tmp_path / "home").glob("*tgz*"))


def test_another_archive_with_the_same_images_will_do(mini, server):
    """Whatever the archive: what counts is the images' own checksums."""
    again = _tgz(dict(reversed(mini.items())))
    server.answers["/one.tgz"] = whole(again)
    assert len(training_set("bsd300", mode="rgb")) == 2


@pytest.mark.parametrize("change", ["one byte", "missing", "hostile"])
def test_an_archive_with_other_images_will_not(mini, server, tmp_path, change):
    content = dict(mini)
    if change == "one byte":
        content["BSDS300/images/test/3.jpg"] += b"x"
    elif change == "missing":
        del content["BSDS300/images/test/3.jpg"]
    else:
        content["../../evil"] = b"x"
    server.answers["/one.tgz"] = whole(_tgz(content))
    if change == "hostile":  # what nobody asked for is not unpacked
        assert len(training_set("bsd300", mode="rgb")) == 2
        assert not list(tmp_path.rglob("evil")) and not list(tmp_path.parent.glob("evil"))
        return
    with pytest.raises(NotAvailable, match=r"lacks 1 published images .*3\.jpg"):
        training_set("bsd300", mode="rgb")
    assert visible(tmp_path) == []


def test_archive_put_there_by_hand(mini, server, tmp_path, monkeypatch):
    """In the folder that ASYREPRO_DATA names, or in data/: used, and left where it is."""
    archive = tmp_path / "mine/one.tgz"
    archive.parent.mkdir()
    archive.write_bytes(_tgz(mini))
    monkeypatch.setenv("ASYREPRO_DATA", str(tmp_path / "mine"))
    assert len(training_set("bsd300", mode="rgb")) == 2
    assert server.log == [] and archive.exists()
    assert (tmp_path / "home/BSDS300/images/train/1.jpg").exists()


def test_many_at_once_fetch_once(mini, server):
    """Eight threads (locks are per open file, so they stand for processes)."""
    results = []

    def ask(name):
        results.append(catalogue.provide(name))

    threads = [threading.Thread(target=ask, args=(n,)) for n in ["bsd300", "set5"] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8 and len(set(results)) == 2
    paths = ["/Set5/a.bmp", "/Set5/b.bmp", "/Set5/c.bmp", "/one.tgz"]
    assert sorted(path for path, _ in server.log) == paths


def test_failing_server(mini, server, tmp_path):
    server.answers.clear()
    with pytest.raises(NotAvailable, match=r"set5 .*404"):
        test_set("set5", mode="rgb")
    for file in MINI["set5"]:
        server.answers[f"/Set5/{file}"] = lambda handler: send(handler, 200, b"wrong")
    with pytest.raises(NotAvailable, match="sha256"):
        test_set("set5", mode="rgb")
    assert visible(tmp_path) == []


def test_zip_with_md5_into_a_mapped_cache(mini, server, tmp_path):
    data = test_set("div2k_valid", mode="grey")
    assert data.names == ["0801", "0802"] and data.images[0].shape == (1, 4, 6)
    assert visible(tmp_path / "home/cache") == ["div2k_valid-grey.json", "div2k_valid-grey.npy"]


def test_zip_with_another_md5(mini, server, tmp_path):
    server.answers["/valid.zip"] = whole(_zip({**mini, "more": b""}))
    with pytest.raises(NotAvailable, match="md5"):
        test_set("div2k_valid", mode="grey")
    assert visible(tmp_path) == []


def test_entry_point(mini, server, tmp_path, capsys):
    assert get_data.main(["set5", "bsd300"]) == 0
    out = capsys.readouterr().out
    assert f"set5: {tmp_path / 'home/Set5'}\n" in out and "bsd300: " in out
    server.answers.clear()
    arguments = ["set5", "bundled", "set99", f"root={tmp_path / 'new'}"]
    assert get_data.main(arguments) == 2
    captured = capsys.readouterr()
    assert "bundled: " in captured.out and "error: unknown data set 'set99'" in captured.err


def test_listing(tmp_path, capsys):
    fill(tmp_path / "Set12", files_of("set12"))
    assert get_data.main([f"root={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert f"table4: Set12, images 03 to 12\n    found:  {tmp_path / 'Set12'}\n" in out
    assert "div2k: DIV2K train (800 images)\n    found:  not here\n" in out
    assert "https://data.vision.ee.ethz.ch/cvl/DIV2K/DIV2K_train_HR.zip" in out


# ------------------------------------------------------------------------------- the mapped cache


def pictures(folder, count=40):
    """PNG files of different sizes with random pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    files = []
    for i in range(count):
        files.append(folder / f"{i:04}.png")
        pixels = random.integers(0, 256, (12 + i % 3, 13 + i % 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(files[-1])
    return files


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mode", ["rgb", "grey", "luma"])
def test_cache_holds_the_images(tmp_path, mode):
    files = pictures(tmp_path / "in")
    mapped, digests = cache.cached_images(files, mode, tmp_path / "cache", "x")
    for tensor, digest, file in zip(mapped, digests, files, strict=True):
        assert torch.equal(tensor, catalogue.images.read_image(file, mode))
        assert digest == hashlib.sha256(file.read_bytes()).hexdigest()


def test_cache_is_built_once(tmp_path, monkeypatch):
    files = pictures(tmp_path / "in")
    first = cache.cached_images(files, "rgb", tmp_path / "cache", "x")
    monkeypatch.setattr(cache.images, "read", None)  # a second decoding would fail
    second = cache.cached_images(files, "rgb", tmp_path / "cache", "x")
    assert first[1] == second[1]
    assert all(torch.equal(a, b) for a, b in zip(first[0], second[0], strict=True))


def test_cache_of_other_files_or_damaged_is_built_again(tmp_path):
    files = pictures(tmp_path / "in")
    folder = tmp_path / "cache"
    for spoil in (
        lambda: Image.new("RGB", (3, 2)).save(files[0]),
        lambda: (folder / "x.npy").write_bytes((folder / "x.npy").read_bytes()[:-1]),
        lambda: (folder / "x.json").write_text("{"),
        lambda: (folder / "x.json").write_text("[]"),
        lambda: (folder / "x.json").unlink(),  # as of a build that was killed
        lambda: files.pop(),
    ):
        cache.cached_images(files, "rgb", folder, "x")
        spoil()
        mapped, _ = cache.cached_images(files, "rgb", folder, "x")
        assert len(mapped) == len(files)
        for tensor, file in zip(mapped, files, strict=True):
            assert torch.equal(tensor, catalogue.images.read_image(file))


@pytest.mark.parametrize("task", [Denoising(25, "rgb"), SuperResolution(2, "rgb")])
def test_a_mapped_set_is_trained_on_where_it_lies(tmp_path, task):
    """The sampler copies none of the labels, and draws the patches that it draws from copies."""
    mapped, _ = cache.cached_images(pictures(tmp_path / "in"), "rgb", tmp_path / "cache", "x")
    options = {"patch": 4, "batch": 5, "seed": 1}
    one = PatchSampler(mapped, task, **options)
    assert one._labels.pixels.data_ptr() == mapped[0].data_ptr()
    other = PatchSampler([image.clone() for image in mapped], task, **options)
    for a, b in zip(next(one), next(other), strict=True):
        assert torch.equal(a, b)


def test_cache_without_room(tmp_path, monkeypatch):
    files = pictures(tmp_path / "in")
    usage = cache.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match=r"needs 0\.0 GB and 0\.0 GB are free: make room"):
        cache.cached_images(files, "rgb", tmp_path / "cache", "x")


def test_cache_names_a_damaged_source(tmp_path):
    files = pictures(tmp_path / "in")
    files[20].write_bytes(files[20].read_bytes()[:60])
    with pytest.raises(DataError, match=r"0020\.png is damaged or cut short"):
        cache.cached_images(files, "rgb", tmp_path / "cache", "x")


# ------------------------------------------------------------------------------------ the stand-in


def gap(one, other):
    """Pixels between two rectangles (left, top, width, height); negative where they overlap."""
    across = max(one[0], other[0]) - min(one[0] + one[2], other[0] + other[2])
    down = max(one[1], other[1]) - min(one[1] + one[3], other[1] + other[3])
    return max(across, down)


def test_gap():
    assert gap((0, 0, 10, 10), (26, 5, 10, 10)) == 16
    assert gap((0, 0, 10, 10), (5, 5, 10, 10)) == -5
    assert gap((0, 0, 10, 10), (2, 10, 3, 3)) == 0


def test_no_bundled_test_pixel_is_trained_on():
    """Regions of one photograph are 16 pixels apart, more than a JPEG block; the two views of the
    stereo pair are in one split."""
    splits = {"train": bundled.TRAINING, "test": bundled.TEST, "validation": bundled.VALIDATION}
    regions = [(split, *region) for split, named in splits.items() for region in named.values()]
    for (split, file, *one), (_, other_file, *other) in combinations(regions, 2):
        assert file != other_file or gap(one, other) >= 16, (split, file, one, other)
    assert {split for split, file, *_ in regions if file.startswith("motorcycle")} == {"train"}
    names = [name for named in splits.values() for name in named]
    assert len(names) == len(set(names))


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
    with pytest.raises(DataError, match="pip install"):
        training_set("bundled", mode="rgb")
    monkeypatch.setattr(bundled, "folder", lambda: tmp_path)
    with pytest.raises(DataError, match=r"astronaut\.png does not exist"):
        training_set("bundled", mode="rgb")
    Image.new("RGB", (10, 10)).save(tmp_path / "astronaut.png")
    with pytest.raises(DataError, match="is smaller than expected"):
        training_set("bundled", mode="rgb")


# -------------------------------------------------------------------------------- the real images

REAL = os.environ.get("ASYREPRO_DATA")


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


# PSNR and the column called RMSE of the paper's Tables 4 and 5, MAE loss, image by image
PAPER = {
    "table4": [
        *((30.47316, 0.05695), (29.17037, 0.06402), (30.1674, 0.06341), (28.82701, 0.05009)),
        *((29.05744, 0.06981), (32.04077, 0.04809), (29.48723, 0.06607), (29.85495, 0.05948)),
        *((29.78228, 0.06812), (29.73983, 0.06452)),
    ],
    "table5": [
        *((33.20231, 0.04807), (32.84947, 0.05936), (33.5095, 0.06314), (29.40432, 0.06823)),
        *((30.56785, 0.07763), (32.94595, 0.03721), (32.8367, 0.06611), (31.71205, 0.03576)),
        *((31.30851, 0.04633), (30.764, 0.07317)),
    ],
}


@pytest.mark.parametrize("name", PAPER)
def test_real_test_images_are_the_papers(real, name):
    """The paper's RMSE is divided by the image's root mean square: RMSE = 10^(-PSNR/20) / RMS. So
    PSNR and RMSE, printed to five places, give each image's RMS, and the order of the images."""
    real(name)
    for image, (psnr, rmse) in zip(test_set(name, mode="grey").images, PAPER[name], strict=True):
        rms = float((image.double() / 255).square().mean().sqrt())
        assert rms == pytest.approx(10 ** (-psnr / 20) / rmse, abs=1e-4)
