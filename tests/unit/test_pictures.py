"""Your own pictures: how their files are read and written."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from helpers import refuses
from material import PROFILE, SIZES, png, random_pixels
from PIL import Image, ImageOps

from asyrepro.data import decoding
from asyrepro.data.decoding import Picture
from asyrepro.restoration import pictures
from asyrepro.system.errors import ConfigError, DataError


def encoded(picture, ending):
    return pictures.encode([pictures.fitted(picture, ending)], ending)


@pytest.mark.parametrize("channels", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_png_and_tiff_keep_everything(ending, dtype, channels, tmp_path):
    picture = Picture(random_pixels(channels, dtype), PROFILE)
    path = tmp_path / f"picture{ending}"
    path.write_bytes(encoded(picture, ending))
    if (ending, dtype, channels) == (".tif", np.uint16, 2):  # Pillow cannot open such files
        with refuses(DataError, path):
            decoding.read(path)
    else:
        again = decoding.read(path)
        assert again.pixels.dtype == dtype
        np.testing.assert_array_equal(again.pixels, picture.pixels)
        assert again.profile == PROFILE
    # and other programs read the same
    if ending == ".tif":
        np.testing.assert_array_equal(tifffile.imread(path), picture.pixels.squeeze())
    else:
        with Image.open(path) as image:  # checks checksums, and keeps the high bytes of colours
            image.verify()
        kept = np.asarray(Image.open(path)).reshape(11, 14, -1)
        kept = kept[..., [0, 3]] if kept.shape[2] > channels else kept  # grey and alpha as RGBA
        deep = dtype == np.uint16 and channels > 1
        np.testing.assert_array_equal(kept, picture.pixels >> 8 if deep else picture.pixels)


@pytest.mark.parametrize(
    ("channels", "ending"), [(1, ".bmp"), (3, ".bmp"), (3, ".webp"), (4, ".webp")]
)
def test_bmp_and_webp_lose_nothing(channels, ending, tmp_path):
    picture = Picture(random_pixels(channels))
    path = tmp_path / f"picture{ending}"
    path.write_bytes(encoded(picture, ending))
    np.testing.assert_array_equal(decoding.read(path).pixels, picture.pixels)


def test_jpeg_is_written_well_and_16_bits_are_rounded():
    ramp = np.linspace(0, 65535, 64 * 48 * 3).reshape(64, 48, 3).astype(np.uint16)
    deep = Picture(ramp)
    with Image.open(io.BytesIO(encoded(deep, ".jpg"))) as image:
        assert image.layer[0][1:3] == (1, 1)  # full chroma
        assert np.abs(np.asarray(image) - ramp / 257).mean() < 0.5


@pytest.mark.parametrize("ending", [".jpg", ".bmp"])
def test_alpha_is_not_lost_silently(ending):
    with refuses(ConfigError, "alpha", ending):
        encoded(Picture(random_pixels(4)), ending)


def test_too_large_for_a_format():
    with refuses(ConfigError, "17000 x 1", "WEBP"):
        encoded(Picture(random_pixels(1, height=1, width=17000)), ".webp")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png8", "png16", "tif16"])
def test_exif_orientation_is_applied(kind, orientation, tmp_path):
    pixels = random_pixels(3)
    upright = Image.fromarray(pixels)
    exif = upright.getexif()
    exif[0x0112] = orientation
    upright.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    path = tmp_path / "turned.png"
    if kind == "png16":
        chunks = path.read_bytes()
        start = chunks.index(b"eXIf") - 4
        exif_chunk = chunks[start : start + 12 + struct.unpack(">I", chunks[start : start + 4])[0]]
        deep = encoded(Picture(pixels.astype(np.uint16) * 257), ".png")
        path.write_bytes(deep[:33] + exif_chunk + deep[33:])
    elif kind == "tif16":
        path = tmp_path / "turned.tif"
        tifffile.imwrite(
            path, pixels.astype(np.uint16) * 257, extratags=[(274, "H", 1, orientation, True)]
        )
    found = decoding.read(path).pixels
    assert found.dtype == (np.uint8 if kind == "png8" else np.uint16)
    np.testing.assert_array_equal(found if kind == "png8" else found // 257, expected)


def test_less_common_kinds_of_file(tmp_path):
    rgba = random_pixels(4)
    palette = Image.fromarray(rgba[..., :3]).quantize(8)
    palette.info["transparency"] = 3
    palette.save(tmp_path / "palette.png")
    Image.fromarray(rgba[..., 0] > 99).save(tmp_path / "two.png")
    Image.fromarray(rgba, "CMYK").save(tmp_path / "print.tif", icc_profile=PROFILE)
    planar = random_pixels(3, np.uint16)
    tifffile.imwrite(
        tmp_path / "planar.tif", planar.transpose(2, 0, 1), photometric="rgb",
        planarconfig="separate", byteorder=">",
    )  # fmt: skip

    found = decoding.read(tmp_path / "palette.png").pixels
    index = np.asarray(palette)
    np.testing.assert_array_equal(found[..., 3], np.where(index == 3, 0, 255))
    colours = np.array(palette.getpalette()).reshape(-1, 3)
    np.testing.assert_array_equal(found[..., :3], colours[index])
    np.testing.assert_array_equal(
        decoding.read(tmp_path / "two.png").pixels, (rgba[..., :1] > 99) * 255
    )
    printed = decoding.read(tmp_path / "print.tif")
    assert printed.pixels.shape == (11, 14, 3)
    assert printed.profile is None  # it was of the four inks
    np.testing.assert_array_equal(decoding.read(tmp_path / "planar.tif").pixels, planar)


def test_each_page_of_16_bit_colours(tmp_path):
    pages = np.random.default_rng(0).integers(0, 65536, (2, 5, 4, 3), dtype=np.uint16)
    path = tmp_path / "pages.tif"
    tifffile.imwrite(path, pages, photometric="rgb")
    found = decoding.decode(path.read_bytes(), path, every=True)
    np.testing.assert_array_equal([page.pixels for page in found], pages)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(("most", "middle"), [(65535, 512), (1023, 32800)])  # 32799.6
def test_a_ppm_of_more_than_8_bits_is_scaled_and_rounded(plain, most, middle, tmp_path):
    header = b"P%d # a comment\n1\t1\n%d\n" % (3 if plain else 6, most)
    body = b"0 512 %d" % most if plain else struct.pack(">3H", 0, 512, most)
    (tmp_path / "a.ppm").write_bytes(header + body)
    assert decoding.read(tmp_path / "a.ppm").pixels.tolist() == [[[0, middle, 65535]]]


def test_premultiplied_alpha_is_divided_out(tmp_path):
    alpha = np.array([[65535, 32768, 0]], dtype=np.uint16)
    pixels = np.stack([alpha // 2, alpha // 4, alpha * 0, alpha], axis=-1)
    tifffile.imwrite(tmp_path / "x.tif", pixels, photometric="rgb", extrasamples=["assocalpha"])
    found = decoding.read(tmp_path / "x.tif").pixels
    assert found[0, :, 3].tolist() == [65535, 32768, 0]
    np.testing.assert_allclose(found[0, :2, :2], [[32767, 16383], [32767, 16383]], atol=2)


def test_files_that_cannot_be_read_say_why(tmp_path):
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, random_pixels(3, np.uint16))
    uncompressed = struct.pack("<HHII", 259, 3, 1, 1)
    data = path.read_bytes()
    assert uncompressed in data
    path.write_bytes(data.replace(uncompressed, struct.pack("<HHII", 259, 3, 1, 5)))
    with refuses(DataError, path, "LZW"):
        decoding.read(path)
    tifffile.imwrite(path, random_pixels(1)[..., 0].astype(np.float32))
    with refuses(DataError, path):
        decoding.read(path)
    deep = encoded(Picture(random_pixels(3, np.uint16)), ".png")
    (tmp_path / "x.png").write_bytes(deep[:-60] + b"?" + deep[-59:])
    with refuses(DataError, tmp_path / "x.png"):
        decoding.read(tmp_path / "x.png")


@pytest.mark.parametrize(("channels", "colour"), [(1, 0), (3, 2)])
def test_the_transparent_colour_of_a_16_bit_png_becomes_alpha(tmp_path, channels, colour):
    pixels = random_pixels(channels, np.uint16)
    data = png(14, 11, [row.astype(">u2").tobytes() for row in pixels], 16, colour)
    body = b"tRNS" + pixels[3, 5].astype(">u2").tobytes()
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "a.png").write_bytes(data[:33] + chunk + data[33:])  # after IHDR
    found = decoding.read(tmp_path / "a.png").pixels
    np.testing.assert_array_equal(found[..., :-1], pixels)
    assert np.argwhere(found[..., -1] != 65535).tolist() == [[3, 5]]
