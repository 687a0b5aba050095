"""Bad files, in tables: images, archives and folders, and what the one sentence names.

A name in the third column stands in the message, beside the file's path, which stands in each.
What is odd but good (16 bits, CMYK, palettes, transparency, animations, EXIF orientation, 1 x 1 and
20,000 pixels, any name) is in test_images.py with the values that it is read as; what losses and
metrics refuse is in test_losses.py and test_metrics.py.
"""

import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from helpers import refuses
from material import encoded, files_below, fill, picture, png, tar, zipped
from PIL import Image, PngImagePlugin

from asyrepro.data import catalogue, decoding, download, images
from asyrepro.system.errors import DataError
from asyrepro.tasks import Denoising, SuperResolution

pytestmark = pytest.mark.usefixtures("nowhere")

# ------------------------------------------------------------------------------------------ images

JPEG = encoded(Image.fromarray(picture(64, 64)), "JPEG")
PNG = encoded(Image.fromarray(picture(64, 64)))
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n"


def tiff(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def flipped(data, position):
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


IMAGES = [
    ("truncated JPEG", JPEG[: len(JPEG) // 2]),
    ("JPEG header only", JPEG[:20], "PNG, JPEG"),
    ("truncated PNG", PNG[: len(PNG) // 2]),
    ("PNG without its end", PNG[:-10]),
    ("PNG, wrong checksum", flipped(PNG, PNG.find(b"IEND") - 5)),
    ("PNG, one changed bit", flipped(PNG, PNG.find(b"IDAT") + 3000)),
    ("PNG without pixels", png(4, 4, [])),
    ("zero bytes", b"", "empty"),
    ("text", b"this is no picture\n", "PNG, JPEG"),
    ("HTML", b"<!DOCTYPE html><title>Log in to this network</title>", "PNG, JPEG"),
    ("PDF", b"%PDF-1.4\n1 0 obj\n", "PNG, JPEG"),
    ("PostScript, which Pillow would run", EPS, "PNG, JPEG"),
    ("zero width", png(0, 4, []), "PNG, JPEG"),
    ("bomb of 900 million pixels", png(30_000, 30_000, [b"\0"]), "89 million"),
    ("90 million pixels", png(9_000, 10_000, [b"\0"]), "89 million"),
    ("floating-point TIFF", encoded(Image.new("F", (4, 4), 0.5), "TIFF"), "8 or 16 bits"),
    ("floating-point colours", tiff(np.zeros((8, 8, 3), np.float32), photometric="rgb"), "PNG"),
    ("32-bit integers", tiff(np.array([[0, 255]], np.int32)), "32-bit"),  # whatever their values
    ("unsigned 32-bit integers", tiff(np.array([[0, 255]], np.uint32)), "32-bit"),
    ("negative pixels", tiff(np.array([[-5, 9]], np.int16)), "negative"),
    ("32-bit TIFF", encoded(Image.new("I", (4, 4), 1 << 20), "TIFF"), "32-bit", "8 or 16 bits"),
]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("data", "names"), [(d, n) for _, d, *n in IMAGES], ids=[i[0] for i in IMAGES]
)
def test_image(tmp_path, data, names):
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    with refuses(DataError, path, *names):
        images.read_image(path)


@pytest.mark.parametrize(
    "data",
    [
        # torchvision's decoder ended the process, so that Pillow's reads these files now
        png(7450, 4, [bytes(160)] * 4, depth=16, colour=6),
        # 4 GB of memory were asked for, to count the pixels
        PNG[:33] + b"\xff\xff\xff\xff" + PNG[37:158],
    ],
    ids=["16-bit PNG with too few pixels", "PNG that promises 4 GB"],
)
def test_found_by_fuzzing(tmp_path, data):
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    for read in (images.read_image, decoding.read):
        with refuses(DataError, path):
            read(path)
    assert decoding.count_pixels(path) > 0


def test_a_png_whose_text_unpacks_to_90_mb(tmp_path):
    text, path = PngImagePlugin.PngInfo(), tmp_path / "bomb.png"
    text.add_text("comment", "x" * 90_000_000, zip=True)
    Image.new("L", (8, 8)).save(path, pnginfo=text)
    with refuses(DataError, path):
        images.read_image(path)


def broken_link(path):
    path.symlink_to(path.with_name("gone.png"))


def unreadable(path):
    path.write_bytes(PNG)
    path.chmod(0)


PATHS = {
    "missing": ("a.png", lambda path: None),
    "a folder": ("a.png", lambda path: path.mkdir()),
    "broken link": ("a.png", broken_link),
    "no permission": ("a.png", unreadable),
    "text, spaces in its name": ("two words.png", lambda path: path.write_bytes(b"x")),
    "text, Unicode name": ("grün 写真.png", lambda path: path.write_bytes(b"x")),
}


@pytest.mark.parametrize("name", PATHS)
def test_path(tmp_path, name):
    file, make = PATHS[name]
    if name == "no permission" and os.geteuid() == 0:
        pytest.skip("root may read everything")
    make(tmp_path / file)
    with refuses(DataError, tmp_path / file):
        images.read_image(tmp_path / file)


@pytest.mark.parametrize(
    ("owner", "function", "error"),
    [
        ("builtins", "open", PermissionError(13, "Permission denied")),  # for root, too
        ("PIL.Image.Image", "convert", MemoryError()),
    ],
)
def test_what_the_system_refuses(tmp_path, monkeypatch, owner, function, error):
    def refuse(*arguments, **options):
        raise error

    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    monkeypatch.setattr(f"{owner}.{function}", refuse)
    with refuses(DataError, path):
        images.read_image(path)


@pytest.mark.parametrize(
    ("name", "shown"), [("two\nlines.png", r"two\nlines.png'"), ("null\0.png", r"null\x00.png'")]
)
def test_names_that_would_break_the_line(tmp_path, name, shown):
    (tmp_path / "two\nlines.png").write_bytes(b"text")
    with refuses(DataError, shown) as caught:
        images.read_image(tmp_path / name)
    assert "\0" not in str(caught.value)


@pytest.mark.parametrize(("task", "side"), [(SuperResolution(3), 0), (Denoising(25), 1)])
def test_a_test_image_without_room_for_a_window(task, side):
    with refuses(DataError, "'dot'", f"{side} x {side}", "7 x 7"):
        task.test_pair(torch.zeros(1, 1, 1, dtype=torch.uint8), "dot")


# ---------------------------------------------------------------------------------------- archives


def written(path, data):
    path.write_bytes(data)
    return path


def lying_zip(path):
    """Its directory says 10 bytes, its data has 10 MB."""
    zipped(path, ("a", bytes(10_000_000)))
    size = (10_000_000).to_bytes(4, "little")
    return written(path, path.read_bytes().replace(size, bytes([10, 0, 0, 0])))


def link_in_zip():
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    return link, b"/etc/passwd"


NOISE = np.random.default_rng(0).bytes(50_000)


def damaged(path, mode, change):
    """An archive of 50 kB of noise, changed afterwards."""
    if mode == "zip":
        zipped(path, ("a", NOISE))
    else:
        tar(path, ("a", NOISE), mode=mode)
    return written(path, change(path.read_bytes()))


def garbled(data):
    middle = len(data) // 2
    return data[:middle] + bytes(b ^ 0xFF for b in data[middle : middle + 20]) + data[middle + 20 :]


GOOD = ("good", b"x")
MEMBERS = {
    **{name: (name, b"x") for name in ("../evil", "/tmp/evil", "a/../../evil", "..\\evil")},
    "a drive": ("C:/evil", b"x"),
}
LINKS = {
    "symbolic link outwards": ("link", tarfile.SYMTYPE, ".."),
    "absolute symbolic link": ("link", tarfile.SYMTYPE, "/tmp"),
    "hard link outwards": ("link", tarfile.LNKTYPE, "../evil"),
    "a link in the place of a file": ("good", tarfile.SYMTYPE, "/etc/passwd"),
    "character device": ("device", tarfile.CHRTYPE, ""),
    "named pipe": ("pipe", tarfile.FIFOTYPE, ""),
}
HOSTILE = [
    *((tar, [member, GOOD]) for member in MEMBERS.values()),
    *((zipped, [member, GOOD]) for member in MEMBERS.values()),
    *((tar, [member, ("link/evil", b"x"), GOOD]) for member in LINKS.values()),
    (zipped, [link_in_zip(), GOOD]),
]


@pytest.mark.parametrize(("pack", "members"), HOSTILE)
def test_archive_with_hostile_members(tmp_path, pack, members):
    """Nothing is written but the file that was asked for, as a regular file."""
    path = pack(tmp_path / "archive", *members)
    download.unpack(path, tmp_path / "deep" / "target", {"good": ""}, 100_000)
    assert files_below(tmp_path).keys() == {"archive", "deep/target/good"}
    good = tmp_path / "deep/target/good"
    assert good.read_bytes() == b"x" and not good.is_symlink()
    assert not Path("/tmp/evil").exists()


CHANGES = {
    "cut": lambda data: data[: len(data) // 2],
    "garbled": garbled,
    "empty": lambda data: b"",
    "text": lambda data: b"<html>404</html>" * 100,
}
ARCHIVES = {
    "tar bomb": (lambda path: tar(path, ("zeros", bytes(10_000_000))), "100,000"),
    "zip bomb": (lambda path: zipped(path, ("zeros", bytes(10_000_000))), "100,000"),
    "tar of many": (lambda path: tar(path, *[(f"{i}", b"") for i in range(200)]), "100,000"),
    "zip that lies about a size": (lying_zip, ""),
    "a folder of that name": (lambda path: tar(path, ("zeros", tarfile.DIRTYPE, "")), "zeros"),
    **{
        f"{mode}, {name}": (lambda path, m=mode, c=change: damaged(path, m, c), "")
        for mode in ("w:gz", "w:bz2", "w:xz", "w", "zip")
        for name, change in CHANGES.items()
    },
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archive(tmp_path, name):
    """Refused with nothing written: not even the good members before the bad one."""
    make, named = ARCHIVES[name]
    path = make(tmp_path / "archive")
    wanted = {"zeros": ""} if named else {"a": hashlib.sha256(NOISE).hexdigest()}
    with refuses(DataError, path, named):
        download.unpack(path, tmp_path / "deep" / "target", wanted, 100_000)
    assert files_below(tmp_path).keys() == {"archive"}


# ------------------------------------------------------------------------------------ data folders

FIVE = ["baby_GT.bmp", "bird_GT.bmp", "butterfly_GT.bmp", "head_GT.bmp", "woman_GT.bmp"]


def five(folder, name, data):
    """Set5 with one file of it made of ``data``."""
    fill(folder, FIVE)
    written(folder / name, data)


def five_with_broken_link(folder):
    fill(folder, FIVE[1:])
    broken_link(folder / FIVE[0])


FOLDERS = {
    "missing": (lambda folder: None, "set5", "https://", "Set5", "ASYREPRO_DATA"),
    "empty": (lambda folder: folder.mkdir(parents=True), "set5", "https://"),
    "files of another set": (lambda folder: fill(folder, ["a.bmp"]), "set5", "https://"),
    "two of five files": (lambda folder: fill(folder, FIVE[:2]), "Set5 lacks 3", *FIVE[2:]),
    "a damaged image": (lambda folder: five(folder, FIVE[3], PNG[:50]), f"Set5/{FIVE[3]}"),
    "an empty image": (lambda folder: five(folder, FIVE[3], b""), f"Set5/{FIVE[3]}"),
    "a broken link": (five_with_broken_link, f"Set5/{FIVE[0]}"),
    "a file in its place": (lambda folder: written(folder.parent, b""), "data"),
}


@pytest.mark.filterwarnings("ignore:.*not the published ones:UserWarning")
@pytest.mark.parametrize("name", FOLDERS)
def test_folder(tmp_path, name):
    """Of data sets. That folders nested one level too deep are found: test_catalogue.py."""
    make, *names = FOLDERS[name]
    make(tmp_path / "data" / "Set5")
    with refuses(DataError, *names):
        catalogue.test_set("set5", mode="rgb", root=tmp_path / "data", download=False)


def test_variable_that_names_no_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ASYREPRO_DATA", str(tmp_path / "typo"))
    with refuses(DataError, "ASYREPRO_DATA", tmp_path / "typo"):
        catalogue.available("set12")


@pytest.mark.parametrize(
    "make",
    [lambda path: path.mkdir(), lambda path: path.touch(), lambda path: None],
    ids=["empty", "a file", "missing"],
)
def test_folder_of_pictures(tmp_path, make):
    make(tmp_path / "pictures")
    with refuses(DataError, tmp_path / "pictures"):
        images.list_images(tmp_path / "pictures")
