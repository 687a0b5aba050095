"""The image reader: what the kinds of file become, and one clear error for each bad one."""

import io
import struct
import warnings

import numpy as np
import pytest
import skimage.color
import tifffile
import torch
from helpers import encoded, picture, png
from PIL import Image

from asyrepro.data import decoding, images
from asyrepro.data.decoding import count_pixels
from asyrepro.data.images import list_images, read_image
from asyrepro.system.errors import DataError


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


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_that_counts_from_white(write, dtype):
    """As fax and microscope files have it: what tifffile writes as 0 is white."""
    white = np.iinfo(dtype).max
    file = io.BytesIO()
    tifffile.imwrite(file, np.array([[0, white]], dtype), photometric="miniswhite")
    assert read_image(write(file.getvalue()), "grey").tolist() == [[[255, 0]]]
    assert decoding.read(write(file.getvalue())).pixels.ravel().tolist() == [white, 0]


@pytest.mark.parametrize("dtype", [np.int32, np.uint32])
def test_32_bit_grey_is_refused_whatever_its_values(write, dtype):
    file = io.BytesIO()
    tifffile.imwrite(file, np.array([[0, 255]], dtype))  # as if 8 bits; 65535 would be white, too
    path = write(file.getvalue())
    for read in (read_image, decoding.read):
        with pytest.raises(DataError, match="32-bit pixels, whose range is not known: save it"):
            read(path)


def test_negative_grey_is_refused(write):
    file = io.BytesIO()
    tifffile.imwrite(file, np.array([[-5, 9]], np.int16))
    with pytest.raises(DataError, match="negative pixels, whose range is not known"):
        read_image(write(file.getvalue()))


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
    assert count_pixels(path) == tensor[0].numel()


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


# -------------------------------------------- what is refused (see test_bad_files.py, test_fuzz.py)


def test_large_file_where_warnings_are_errors(write):
    with warnings.catch_warnings(), pytest.raises(DataError, match="more than 89 million pixels"):
        warnings.simplefilter("error")
        read_image(write(png(9_000, 10_000, [b"\0"])))


# -------------------------------------------------------------------------------------- list_images


def test_list_images(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "folder.png").mkdir()
    for name in ("b.png", "a.JPG", "c.txt", ".hidden.png", "inner/d.bmp", ".thumbs"):
        (tmp_path / name).touch()
    assert list_images(tmp_path) == [tmp_path / "a.JPG", tmp_path / "b.png"]
    assert list_images(str(tmp_path), recursive=True)[-1] == tmp_path / "inner" / "d.bmp"
    assert len(list_images(tmp_path, recursive=True)) == 3
