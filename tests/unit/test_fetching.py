"""Data sets that are fetched: archives, single files, mirrors, checksums; and the mapped cache."""

import dataclasses
import hashlib
import threading

import numpy as np
import pytest
import torch
from helpers import call, refuses
from material import number, picture_bytes, send, tarred, whole, zip_of
from PIL import Image

from asyrepro.data import cache, catalogue, download, sources
from asyrepro.data.catalogue import NotAvailable, test_set, training_set
from asyrepro.data.dataset import DataSet, read_all
from asyrepro.data.sampler import PatchSampler
from asyrepro.data.sources import Source
from asyrepro.system.errors import DataError
from asyrepro.tasks import Denoising, SuperResolution

pytestmark = pytest.mark.usefixtures("nowhere")


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
    tgz = tarred(("BSDS300/iids_train.txt", b"1\n2\n"), *content.items())
    archive = zip_of(*content.items())
    limit, at = 100_000, server.address
    archives = [Source(f"{at}/{name}.tgz", True, limit) for name in ("one", "two")]
    md5 = hashlib.md5(archive, usedforsecurity=False).hexdigest()
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
    server.answers.update({"/one.tgz": whole(tgz), "/valid.zip": whole(archive)})
    for file in MINI["set5"]:
        server.answers[f"/Set5/{file}"] = whole(content[f"Set5/{file}"])
    return content


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


def test_files_are_fetched_one_by_one_and_only_what_is_missing(mini, server, tmp_path):
    (tmp_path / "home/Set5").mkdir(parents=True)
    (tmp_path / "home/Set5/b.bmp").write_bytes(mini["Set5/b.bmp"])
    assert test_set("set5", mode="rgb").names == ["a", "b", "c"]
    assert sorted(path for path, _ in server.log) == ["/Set5/a.bmp", "/Set5/c.bmp"]


def test_nothing_is_fetched_where_that_is_not_wanted(mini, server):
    with pytest.raises(NotAvailable):
        test_set("set5", mode="rgb", download=False)
    assert server.log == []


def test_a_folder_that_may_not_be_written_is_not_where_downloads_go(nowhere, tmp_path, monkeypatch):
    assert sources.target(tmp_path) == tmp_path
    monkeypatch.setattr(sources.os, "access", lambda path, mode: False)
    assert sources.target(tmp_path) == sources.home()


def test_who_waits_for_another_process_takes_what_it_has_fetched(mini, server, tmp_path):
    folder, found = tmp_path / "home/Set5", []
    waiting = threading.Thread(target=lambda: found.append(test_set("set5", mode="rgb")))
    with download.locked(folder):
        waiting.start()
        waiting.join(0.2)
        folder.mkdir()
        for file in MINI["set5"]:
            (folder / file).write_bytes(mini[f"Set5/{file}"])
    waiting.join()
    assert found[0].names == ["a", "b", "c"] and server.log == []


def test_second_mirror(mini, server):
    server.answers["/two.tgz"] = server.answers.pop("/one.tgz")
    assert len(training_set("bsd300", mode="rgb")) == 2
    assert [path for path, _ in server.log] == ["/one.tgz", "/two.tgz"]


def test_zip_with_another_md5(mini, server, tmp_path):
    server.answers["/valid.zip"] = whole(zip_of(*mini.items(), ("more", b"")))
    with refuses(NotAvailable, "md5"):
        test_set("div2k_valid", mode="grey")
    assert visible(tmp_path) == []


def test_files_one_by_one_where_no_archive_can_be_had(mini, server, tmp_path):
    del server.answers["/one.tgz"]
    server.answers["/two.tgz"] = lambda handler: send(handler, 200, b"<html>moved</html>")
    for file in ("train/1.jpg", "train/2.jpg", "test/3.jpg"):
        server.answers[f"/files/{file}"] = whole(mini[f"BSDS300/images/{file}"])
    assert len(training_set("bsd300", mode="rgb")) == 2 and len(test_set("bsd300", mode="rgb")) == 1
    assert not list((tmp_path / "home").glob("*tgz*"))


@pytest.mark.parametrize("change", ["one byte", "missing"])
def test_an_archive_with_other_images_will_not_do(mini, server, tmp_path, change):
    third = "BSDS300/images/test/3.jpg"
    content = mini | {third: mini[third] + b"x"}
    if change == "missing":
        del content[third]
    server.answers["/one.tgz"] = whole(tarred(*content.items()))
    with refuses(NotAvailable, "1 published", "3.jpg"):
        training_set("bsd300", mode="rgb")
    assert visible(tmp_path) == []


def test_archive_put_there_by_hand(mini, server, tmp_path, monkeypatch):
    """In the folder that ASYREPRO_DATA names, or in data/: used, and left where it is."""
    archive = tmp_path / "mine/one.tgz"
    archive.parent.mkdir()
    archive.write_bytes(tarred(*mini.items()))
    monkeypatch.setenv("ASYREPRO_DATA", str(tmp_path / "mine"))
    assert len(training_set("bsd300", mode="rgb")) == 2
    assert server.log == [] and archive.exists()
    assert (tmp_path / "home/BSDS300/images/train/1.jpg").exists()


def test_failing_server(mini, server, tmp_path):
    server.answers.clear()
    with refuses(NotAvailable, "set5", "404"):
        test_set("set5", mode="rgb")
    for file in MINI["set5"]:
        server.answers[f"/Set5/{file}"] = lambda handler: send(handler, 200, b"wrong")
    with refuses(NotAvailable, "sha256"):
        test_set("set5", mode="rgb")
    assert visible(tmp_path) == []


def test_zip_with_md5_into_a_mapped_cache(mini, server, tmp_path):
    data = test_set("div2k_valid", mode="grey")
    assert data.names == ["0801", "0802"] and data.images[0].shape == (1, 4, 6)
    assert visible(tmp_path / "home/cache") == ["div2k_valid-grey.json", "div2k_valid-grey.npy"]


def test_the_command(mini, server, tmp_path):
    said = call("data", "set5", "bsd300")
    assert said.status == 0
    assert f"set5: {tmp_path / 'home/Set5'}\n" in said.out and "bsd300: " in said.out
    server.answers.clear()
    said = call("data", "set5", "bundled", "set99", f"root={tmp_path / 'new'}")
    assert said.status == 2
    assert "bundled: " in said.out and "'set99'" in said.err


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
    for image, digest, file in zip(mapped, digests, files, strict=True):
        assert np.array_equal(image, catalogue.images.read(file, mode).pixels)
        assert digest == hashlib.sha256(file.read_bytes()).hexdigest()


def test_cache_is_built_once(tmp_path, monkeypatch):
    files = pictures(tmp_path / "in")
    first = cache.cached_images(files, "rgb", tmp_path / "cache", "x")
    monkeypatch.setattr("asyrepro.data.images.read", None)  # a second decoding would fail
    before = [image.copy() for image in first[0]]
    first[0][0][:] = 0  # in memory alone
    second = cache.cached_images(files, "rgb", tmp_path / "cache", "x")
    assert first[1] == second[1]
    assert all(np.array_equal(a, b) for a, b in zip(before, second[0], strict=True))


def test_few_images_are_read_ahead_of_what_is_taken(tmp_path, monkeypatch):
    files, read = pictures(tmp_path, 100), []
    monkeypatch.setattr("asyrepro.data.images.read", lambda path, *_: read.append(path) or path)
    taken = read_all(files, "rgb")
    assert next(taken) == files[0]
    assert len(read) < 20
    assert [*taken] == files[1:]


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
        for image, file in zip(mapped, files, strict=True):
            assert np.array_equal(image, catalogue.images.read(file, "rgb").pixels)
    grey, _ = cache.cached_images(files, "grey", folder, "x")
    assert np.array_equal(grey[0], catalogue.images.read(files[0], "grey").pixels)


@pytest.mark.parametrize("task", [Denoising(25, "rgb"), SuperResolution(2, "rgb")])
def test_a_mapped_set_is_trained_on_where_it_lies(tmp_path, task):
    """The sampler copies none of the labels, and draws the patches that it draws from copies."""
    mapped, _ = cache.cached_images(pictures(tmp_path / "in"), "rgb", tmp_path / "cache", "x")
    images = DataSet("x", "x", [], mapped).images
    options = {"patch": 4, "batch": 5, "seed": 1}
    one = PatchSampler(images, task, **options)
    assert one._labels.pixels.data_ptr() == mapped[0].ctypes.data
    other = PatchSampler([image.clone() for image in images], task, **options)
    for a, b in zip(next(one), next(other), strict=True):
        assert torch.equal(a, b)


def test_cache_without_room(tmp_path, monkeypatch):
    files = pictures(tmp_path / "in")
    usage = cache.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: usage)
    with refuses(DataError, tmp_path / "cache", "GB"):
        cache.cached_images(files, "rgb", tmp_path / "cache", "x")
