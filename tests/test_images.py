"""The image reader: what the kinds of file become, and one clear error for each bad one."""

import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
import skimage.color
import torch
from PIL import Image

from asyrepro.data import images
from asyrepro.data.images import image_size, list_images, read_image
from asyrepro.errors import ConfigError, DataError


def picture(height=12, width=20, channels=3, seed=0):
    """Random pixels, (H, W, C) or (H, W)."""
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width, height, pixels, depth=8, colour=2):
    """A PNG file made by hand, from the rows' bytes."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row for row in pixels)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.fixture
def write(tmp_path):
    def write(data, name="picture.png"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


# ------------------------------------------------------------------------------ what is read right


def test_rgb_is_the_files_pixels_channels_first(write):
    pixels = picture()
    tensor = read_image(write(encoded(Image.fromarray(pixels))), "rgb")
    assert tensor.dtype == torch.uint8 and tensor.shape == (3, 12, 20) and tensor.is_contiguous()
    assert np.array_equal(tensor.permute(1, 2, 0).numpy(), pixels)


@pytest.mark.filterwarnings("error")  # torch warns of tensors that view read-only memory
@pytest.mark.parametrize("mode", images.MODES)
def test_tensors_may_be_written_to(write, mode):
    read_image(write(encoded(Image.fromarray(picture(channels=0)))), mode).zero_()


def test_grey_is_itu_r_601(write):
    """Hand-worked: 0.299 R + 0.587 G + 0.114 B of red, green, blue, white and (10, 20, 30)."""
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255] * 3, [10, 20, 30]]], np.uint8)
    tensor = read_image(write(encoded(Image.fromarray(colours))), "grey")
    assert tensor.tolist() == [[[76, 150, 29, 255, 18]]]


def test_luma_is_matlabs_rgb2ycbcr(write):
    """16 + (65.481 R + 128.553 G + 24.966 B)/255: 81.481, 144.553, 40.966, 235, 16; and against
    scikit-image's independent implementation on random colours."""
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255] * 3, [0] * 3]], np.uint8)
    tensor = read_image(write(encoded(Image.fromarray(colours))), "luma")
    assert tensor.tolist() == [[[81, 145, 41, 235, 16]]]

    pixels = picture(64, 64)
    tensor = read_image(write(encoded(Image.fromarray(pixels))), "luma")
    assert np.array_equal(tensor[0].numpy(), np.round(skimage.color.rgb2ycbcr(pixels)[..., 0]))


def test_grey_file_in_each_mode(write):
    """RGB by replication; luma as of R = G = B: 16 + 219 v / 255."""
    path = write(encoded(Image.fromarray(np.array([[0, 100, 255]], np.uint8))))
    assert read_image(path, "grey").tolist() == [[[0, 100, 255]]]
    assert read_image(path, "rgb").tolist() == [[[0, 100, 255]]] * 3
    assert read_image(path, "luma").tolist() == [[[16, 102, 235]]]


def test_16_bit_grey_is_rounded(write):
    """65535 is white, 32768 is 127.50..., 128 and 129 are below and above half a level."""
    values = np.array([[0, 128, 129, 257 * 77, 32768, 65535]], np.uint16)
    path = write(encoded(Image.fromarray(values)))
    assert read_image(path, "grey").tolist() == [[[0, 0, 1, 77, 128, 255]]]
    assert read_image(path, "rgb").tolist() == [[[0, 0, 1, 77, 128, 255]]] * 3


def test_16_bit_colour_is_scaled(write):
    row = struct.pack(">6H", 0, 257 * 10, 65535, 257 * 200, 257, 0)
    tensor = read_image(write(png(2, 1, [row], depth=16)))
    assert tensor.permute(1, 2, 0).tolist() == [[[0, 10, 255], [200, 1, 0]]]


def test_palette(write):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([1, 0])
    tensor = read_image(write(encoded(image)))
    assert tensor.permute(1, 2, 0).tolist() == [[[200, 100, 50], [10, 20, 30]]]


def test_black_and_white(write):
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert read_image(write(encoded(image)), "grey").tolist() == [[[0, 255]]]


def test_cmyk(write):
    """No ink is white, full black ink is black."""
    image = Image.new("CMYK", (16, 8))
    image.paste((0, 0, 0, 255), (8, 0, 16, 8))
    tensor = read_image(write(encoded(image, "JPEG", quality=100), "picture.jpg"))
    assert tensor.shape == (3, 8, 16)
    assert tensor[:, :, :8].min() >= 254 and tensor[:, :, 8:].max() <= 1


def test_transparent_pixels_lie_over_white(write):
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 100, 200, 51]]], np.uint8)
    tensor = read_image(write(encoded(Image.fromarray(pixels))))
    # 51/255 = 0.2: 0.2 * (0, 100, 200) + 0.8 * 255
    assert tensor.permute(1, 2, 0).tolist() == [[[10, 20, 30], [255] * 3, [204, 224, 244]]]


def test_opaque_alpha_changes_nothing(write):
    pixels = picture(channels=4)
    pixels[..., 3] = 255
    tensor = read_image(write(encoded(Image.fromarray(pixels))))
    assert np.array_equal(tensor.permute(1, 2, 0).numpy(), pixels[..., :3])


def test_grey_with_alpha(write):
    pixels = np.array([[[50, 255], [50, 0]]], np.uint8)
    path = write(encoded(Image.fromarray(pixels, "LA")))
    assert read_image(path, "grey").tolist() == [[[50, 255]]]


def test_palette_with_transparency(write):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([1, 0])
    tensor = read_image(write(encoded(image, transparency=0)))
    assert tensor.permute(1, 2, 0).tolist() == [[[200, 100, 50], [255, 255, 255]]]


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [(1, lambda a: a), (3, lambda a: a[::-1, ::-1]), (6, lambda a: np.rot90(a, -1))],
)
def test_exif_orientation_is_applied(write, orientation, turned):
    pixels = picture()
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(encoded(Image.fromarray(pixels), exif=exif))
    tensor = read_image(path)
    assert np.array_equal(tensor.permute(1, 2, 0).numpy(), turned(pixels))
    assert image_size(path) == tensor.shape[1:]


def test_first_frame_of_an_animation(write):
    frames = [Image.new("L", (6, 4), value) for value in (40, 90, 200)]
    path = write(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), "moving.gif")
    assert read_image(path, "grey").unique().tolist() == [40]


def test_one_pixel(write):
    tensor = read_image(write(encoded(Image.new("RGB", (1, 1), (1, 2, 3)))))
    assert tensor.tolist() == [[[1]], [[2]], [[3]]]


def test_20000_pixels_wide(write):
    path = write(encoded(Image.new("L", (20_000, 3), 7)))
    assert read_image(path, "grey").shape == (1, 3, 20_000)


@pytest.mark.parametrize(
    "name", ["two words.png", "grün 写真 é.png", "two\nlines.png", "no ending"]
)
def test_odd_names(write, name):
    pixels = picture()
    tensor = read_image(write(encoded(Image.fromarray(pixels)), name))
    assert np.array_equal(tensor.permute(1, 2, 0).numpy(), pixels)


def test_format_goes_by_content_not_ending(write):
    path = write(encoded(Image.new("L", (5, 5), 9), "BMP"), "picture.jpg")
    assert read_image(path, "grey").unique().tolist() == [9]


# ----------------------------------------------------------------------------- what is refused, how

JPEG = encoded(Image.fromarray(picture(64, 64)), "JPEG")
PNG = encoded(Image.fromarray(picture(64, 64)))


def flipped(data, position):
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


BAD = {
    "truncated JPEG": (JPEG[: len(JPEG) // 2], "damaged or cut short"),
    "JPEG header only": (JPEG[:20], "is not an image|damaged or cut short"),
    "truncated PNG": (PNG[: len(PNG) // 2], "damaged or cut short"),
    "PNG without its end": (PNG[:-10], "damaged or cut short"),
    "PNG, wrong checksum": (flipped(PNG, PNG.find(b"IEND") - 5), "damaged.*checksum"),
    "PNG, one changed bit": (flipped(PNG, PNG.find(b"IDAT") + 3000), "damaged.*checksum"),
    "PNG without pixels": (png(4, 4, []), "damaged or cut short"),
    "zero bytes": (b"", "is empty"),
    "text": (b"this is no picture\n", "is not an image"),
    "HTML": (b"<!DOCTYPE html><title>Log in to this network</title>", "is not an image"),
    "PDF": (b"%PDF-1.4\n1 0 obj\n", "is not an image"),
    "PostScript, which Pillow would run": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
        "is not an image",
    ),
    "zero width": (png(0, 4, []), "is not an image|damaged"),
    "bomb": (png(30_000, 30_000, [b"\0"]), "more than 89 million pixels"),
    "large": (png(9_000, 10_000, [b"\0"]), "more than 89 million pixels"),
    "float TIFF": (encoded(Image.new("F", (4, 4), 0.5), "TIFF"), "floating-point"),
    "32-bit TIFF": (encoded(Image.new("I", (4, 4), 1 << 20), "TIFF"), "32-bit"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", BAD)
def test_bad_file(write, name):
    """A DataError that names the file, says what is wrong, and is one line."""
    data, message = BAD[name]
    path = write(data)
    with pytest.raises(DataError, match=message) as caught:
        read_image(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*EXIF:UserWarning")
def test_every_truncation_and_change_is_an_image_or_a_dataerror():
    """Nothing but DataError comes out of 400 damaged files (a small fuzz, seeded)."""
    random = np.random.default_rng(0)
    gif = encoded(Image.fromarray(picture(64, 64, 0)), "GIF")
    tiff = encoded(Image.fromarray(picture(64, 64)), "TIFF", compression="tiff_lzw")
    refused = 0
    for i in range(400):
        data = bytearray((JPEG, PNG, gif, tiff)[i % 4])
        for position in random.integers(0, min(len(data), 400), 1 + i % 5):
            data[position] = random.integers(256)
        if i % 3 == 0:
            del data[random.integers(len(data)) :]
        try:
            assert images.decode(bytes(data) or b"x", "x", "rgb").dtype == torch.uint8
        except DataError:
            refused += 1
    assert refused > 50


def test_large_file_where_warnings_are_errors(write):
    with warnings.catch_warnings(), pytest.raises(DataError, match="more than 89 million pixels"):
        warnings.simplefilter("error")
        read_image(write(BAD["large"][0]))


def test_missing_folder_and_link(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.png does not exist"):
        read_image(tmp_path / "nothing.png")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_image(tmp_path)
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match="broken link"):
        read_image(tmp_path / "link.png")
    with pytest.raises(DataError, match="cannot be read: embedded null"):
        read_image("a\0b.png")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(write):
    path = write(PNG)
    path.chmod(0)
    with pytest.raises(DataError, match="may not be read"):
        read_image(path)


def test_no_permission_message(write, monkeypatch):
    """The same for root, who has to be refused by hand."""

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(DataError, match="may not be read: change its permissions"):
        read_image("picture.png")


def test_name_with_a_newline_stays_on_one_line(write):
    with pytest.raises(DataError) as caught:
        read_image(write(b"text", "two\nlines.png"))
    assert "two\\nlines.png" in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_mode(write):
    with pytest.raises(ConfigError, match="'gray': use one of rgb, grey, luma"):
        read_image(write(PNG), "gray")


# -------------------------------------------------------------------------------------- list_images


def test_list_images(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "folder.png").mkdir()
    for name in ("b.png", "a.JPG", "c.txt", ".hidden.png", "inner/d.bmp", ".thumbs"):
        (tmp_path / name).touch()
    assert list_images(tmp_path) == [tmp_path / "a.JPG", tmp_path / "b.png"]
    assert list_images(str(tmp_path), recursive=True)[-1] == tmp_path / "inner" / "d.bmp"
    assert len(list_images(tmp_path, recursive=True)) == 3


def test_list_images_refuses(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for name, message in (
        ("empty", "holds no image"),
        ("file", "is a file, not a folder"),
        ("nothing", "does not exist"),
    ):
        with pytest.raises(DataError, match=message):
            list_images(tmp_path / name)
