"""The image reader: what the kinds of file become. What is refused: test_bad_files.py."""

import io
import struct

import numpy as np
import pytest
import skimage.color
import tifffile
import torch
from material import encoded, picture, png
from PIL import Image

from asyrepro.data import decoding, images
from asyrepro.data.images import list_images, read_image


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


def row(*pixels, dtype=np.uint8):
    """A file of one row of grey values or colours."""
    return encoded(Image.fromarray(np.array([pixels], dtype)))


def palette(**options):
    """A file of the second and the first of two colours."""
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([1, 0])
    return encoded(image, **options)


PRIMARIES = [255, 0, 0], [0, 255, 0], [0, 0, 255], [255] * 3
DEEP = struct.pack(">6H", 0, 257 * 10, 65535, 257 * 200, 257, 0)
KINDS = {  # a file, the mode that it is read in, and its row of pixels
    # 0.299 R + 0.587 G + 0.114 B of red, green, blue, white and (10, 20, 30)
    "ITU-R 601": (row(*PRIMARIES, [10, 20, 30]), "grey", [76, 150, 29, 255, 18]),
    # 16 + (65.481 R + 128.553 G + 24.966 B)/255: 81.481, 144.553, 40.966, 235, 16
    "MATLAB's rgb2ycbcr": (row(*PRIMARIES, [0] * 3), "luma", [81, 145, 41, 235, 16]),
    "grey as it is": (row(0, 100, 255), "grey", [0, 100, 255]),
    "grey as colours": (row(0, 100, 255), "rgb", [[0] * 3, [100] * 3, [255] * 3]),
    "grey as luma": (row(0, 100, 255), "luma", [16, 102, 235]),  # 16 + 219 v / 255
    # 65535 is white; 128 and 129 are below and above half a level, 32768 is 127.502
    "16 bits": (
        row(0, 128, 129, 257 * 77, 32768, 65535, dtype=np.uint16), "grey", [0, 0, 1, 77, 128, 255],
    ),
    "16-bit colours": (png(2, 1, [DEEP], depth=16), "rgb", [[0, 10, 255], [200, 1, 0]]),
    "palette": (palette(), "rgb", [[200, 100, 50], [10, 20, 30]]),
    "transparent palette": (palette(transparency=0), "rgb", [[200, 100, 50], [255] * 3]),
    "black and white": (
        encoded(Image.fromarray(np.array([[False, True]]))), "grey", [0, 255],
    ),
    # over white; 51/255 = 0.2: 0.2 * (0, 100, 200) + 0.8 * 255
    "transparency": (
        row([10, 20, 30, 255], [10, 20, 30, 0], [0, 100, 200, 51]), "rgb",
        [[10, 20, 30], [255] * 3, [204, 224, 244]],
    ),
    "grey with alpha": (
        encoded(Image.fromarray(np.array([[[50, 255], [50, 0]]], np.uint8), "LA")), "grey",
        [50, 255],
    ),
    "one pixel": (row([1, 2, 3]), "rgb", [[1, 2, 3]]),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_file(write, name):
    data, mode, expected = KINDS[name]
    tensor = read_image(write(data), mode)
    found = tensor[:, 0].T if mode == "rgb" else tensor[0, 0]
    assert found.tolist() == expected


def test_luma_is_scikit_images(write):
    pixels = picture(64, 64)
    tensor = read_image(write(encoded(Image.fromarray(pixels))), "luma")
    assert np.array_equal(tensor[0].numpy(), np.round(skimage.color.rgb2ycbcr(pixels)[..., 0]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_that_counts_from_white(write, dtype):
    """As fax and microscope files have it: what tifffile writes as 0 is white."""
    white = np.iinfo(dtype).max
    file = io.BytesIO()
    tifffile.imwrite(file, np.array([[0, white]], dtype), photometric="miniswhite")
    assert read_image(write(file.getvalue()), "grey").tolist() == [[[255, 0]]]
    assert decoding.read(write(file.getvalue())).pixels.ravel().tolist() == [white, 0]


@pytest.mark.parametrize(("highest", "named"), [(0, ""), (60, "63"), (64, "")])
def test_a_range_that_is_not_used_is_noted(highest, named):
    pixels = np.full((2, 2, 1), highest, np.uint8)
    notes = decoding.unused_range(pixels, None)
    assert bool(notes) == bool(named) and all(named in note for note in notes)
    assert decoding.unused_range(pixels, 100) == []


def test_cmyk(write):
    """No ink is white, full black ink is black."""
    image = Image.new("CMYK", (16, 8))
    image.paste((0, 0, 0, 255), (8, 0, 16, 8))
    tensor = read_image(write(encoded(image, "JPEG", quality=100), "picture.jpg"))
    assert tensor.shape == (3, 8, 16)
    assert tensor[:, :, :8].min() >= 254 and tensor[:, :, 8:].max() <= 1


def test_a_cmyk_profile_that_is_not_used_is_noted(write):
    path = write(encoded(Image.new("CMYK", (8, 8)), "TIFF", icc_profile=b"profile"), "print.tif")
    found = decoding.read(path)
    assert found.profile is None and any("CMYK" in note for note in found.notes)


def test_first_frame_of_an_animation(write):
    frames = [Image.new("L", (6, 4), value) for value in (40, 90, 200)]
    path = write(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), "moving.gif")
    assert read_image(path, "grey").unique().tolist() == [40]


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


# -------------------------------------------------------------------------------------- list_images


def test_list_images(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "folder.png").mkdir()
    for name in ("b.png", "a.JPG", "c.txt", ".hidden.png", "inner/d.bmp", ".thumbs"):
        (tmp_path / name).touch()
    assert list_images(tmp_path) == [tmp_path / "a.JPG", tmp_path / "b.png"]
    assert list_images(str(tmp_path), recursive=True)[-1] == tmp_path / "inner" / "d.bmp"
    assert len(list_images(tmp_path, recursive=True)) == 3
