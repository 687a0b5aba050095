"""Pictures of one's own: how they are read and written, and what the networks make of them."""

import errno
import io
import os
import struct
import zlib

import numpy as np
import pytest
import skimage.color
import skimage.data
import tifffile
import torch
from helpers import png
from omegaconf import OmegaConf
from PIL import Image, ImageCms, ImageOps, PngImagePlugin
from scipy import ndimage
from torch import nn

from asyrepro import degradation
from asyrepro.commands.restore import main
from asyrepro.data import decoding
from asyrepro.data.decoding import Picture
from asyrepro.models import EDSR, SRCNN, DnCNN, GRUNet
from asyrepro.restoration import pictures
from asyrepro.restoration import restoring as restoration
from asyrepro.runs import evaluation, parts
from asyrepro.system.errors import ConfigError, DataError
from asyrepro.tasks import Denoising, SuperResolution
from asyrepro.training import checkpoint

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SIZES = {"grey": 1, "grey and alpha": 2, "rgb": 3, "rgb and alpha": 4}


def random_pixels(channels, dtype=np.uint8, height=11, width=14):
    top = np.iinfo(dtype).max + 1
    return np.random.default_rng(0).integers(0, top, (height, width, channels), dtype=dtype)


def save_weights(path, network, task, half=False):
    """A weights file as a training leaves it."""
    nodes = {
        "DnCNN": {"layers": 2, "channels": 1},
        "GRUNet": {"width": 2},
        "SRCNN": {"channels": [8, 4]},
        "EDSR": {"scale": 2, "blocks": 2, "channels": 8},
    }
    name, kind = type(network).__name__, type(task).__name__
    keys = (
        ("scale", "mode", "enlarged")
        if kind == "SuperResolution"
        else ("sigma", "mode", "noise_map")
    )
    cfg = {
        "model": {
            "name": name.lower(),
            "network": {"_target_": f"asyrepro.models.{name}", **nodes[name]},
        },
        "task": {"_target_": f"asyrepro.tasks.{kind}", **{key: getattr(task, key) for key in keys}},
        "dataset": {"name": "bundled"},
        "loss": {"name": "mae"},
        "seed": 0,
        "channels_last": False,
    }
    weights = {
        k: v.half() if half and v.is_floating_point() else v
        for k, v in network.state_dict().items()
    }
    checkpoint.save(path, {"network": weights, "config": OmegaConf.to_yaml(cfg)})
    return f"checkpoint={path}"


def encoded(picture, ending):
    return pictures.encode([pictures.fitted(picture, ending)], ending)


def blur():
    """A denoiser made by hand: what it takes for noise is the image less its local mean."""
    network = DnCNN(2, 1)
    with torch.no_grad():
        network.first.weight.zero_()[..., 1, 1] = 1
        network.last.weight.fill_(-1 / 9)[..., 1, 1] += 1
    return network.eval()


def random_network(make):
    torch.manual_seed(0)
    network = make()
    with torch.no_grad():
        for p in network.parameters():
            p += 0.05 * torch.randn_like(p)
    return network.eval()


@pytest.fixture
def keep(tmp_path):
    """Weights of a denoiser that returns its input."""
    return save_weights(tmp_path / "keep.pt", DnCNN(2, 1), Denoising(25))


@pytest.fixture
def smooth(tmp_path):
    """Weights of a denoiser that really is one."""
    return save_weights(tmp_path / "smooth.pt", blur(), Denoising(25))


def noisy_photograph(sigma=25, colours=3):
    clean = skimage.data.astronaut()[:128, 150:278, :colours].astype(float)
    noise = np.random.default_rng(0).normal(0, sigma, clean.shape)
    return clean, np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)


# -------------------------------------------------------------------------------- files of pictures


@pytest.mark.parametrize("channels", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_png_and_tiff_keep_everything(ending, dtype, channels, tmp_path):
    picture = Picture(random_pixels(channels, dtype), PROFILE)
    path = tmp_path / f"picture{ending}"
    path.write_bytes(encoded(picture, ending))
    if (ending, dtype, channels) == (".tif", np.uint16, 2):  # Pillow cannot open such files
        with pytest.raises(DataError, match="a TIFF of a kind that is not read"):
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
    with pytest.raises(ConfigError, match=rf"alpha channel, which {ending} files cannot hold"):
        encoded(Picture(random_pixels(4)), ending)


def test_too_large_for_a_format():
    with pytest.raises(ConfigError, match=r"17000 x 1 pixels cannot be written as WEBP"):
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
    with pytest.raises(DataError, match=r"x\.tif has 16-bit colours compressed by LZW: save it"):
        decoding.read(path)
    tifffile.imwrite(path, random_pixels(1)[..., 0].astype(np.float32))
    with pytest.raises(DataError, match="floating-point pixels, whose range is not known"):
        decoding.read(path)
    deep = encoded(Picture(random_pixels(3, np.uint16)), ".png")
    (tmp_path / "x.png").write_bytes(deep[:-60] + b"?" + deep[-59:])
    with pytest.raises(DataError, match=r"x\.png is damaged"):
        decoding.read(tmp_path / "x.png")


# ------------------------------------------------------------------------------ what networks make


def test_a_denoiser_works_channel_by_channel():
    clean, noisy = noisy_photograph()
    restored = restoration.restore(noisy, blur(), Denoising(25), tile=48)
    for channel in range(3):
        mean = ndimage.uniform_filter(noisy[..., channel].astype(float), 3, mode="constant")
        np.testing.assert_allclose(restored[..., channel], mean, atol=0.501)
    assert np.square(restored - clean).mean() < np.square(noisy - clean).mean() / 2


@pytest.mark.parametrize("bands", ["grey", "rgb"])
def test_a_network_with_a_noise_map_is_told_the_noise_level(bands):
    class Told(nn.Module):
        def forward(self, x):
            shapes.append(tuple(x.shape))
            return x[:, 1]

    shapes = []
    task = Denoising(51, bands, noise_map=True)
    restored = restoration.restore(random_pixels(3), Told(), task)
    assert (restored == 51).all()
    assert shapes == ([(1, 2, 1, 11, 14)] * 3 if bands == "grey" else [(1, 2, 3, 11, 14)])


def as_evaluated(network, task, image):
    """The small image of an evaluation, and what the evaluation restores from it."""
    _, output, _ = evaluation.restore(network, task, image, "name")
    return task.stored(task.label(image)), output


def test_enlarged_as_in_the_evaluation_edsr():
    network = random_network(lambda: EDSR(2, 2, 8))
    task = SuperResolution(2, "rgb", enlarged=False)
    image = torch.from_numpy(random_pixels(3, height=40, width=31).transpose(2, 0, 1).copy())
    small, expected = as_evaluated(network, task, image)
    restored = restoration.restore(small.permute(1, 2, 0).numpy(), network, task, tile=13)
    expected = (expected.clamp(0, 1) * 255).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(restored, expected, atol=0.501)


def test_enlarged_as_in_the_evaluation_srcnn():
    """A grey picture of 16 bits whose luma is, closely enough, the evaluation's small image."""
    network = random_network(lambda: SRCNN(channels=(8, 4)))
    task = SuperResolution(3, "luma")
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(60, 180, (1, 60, 45), dtype=torch.uint8, generator=generator)
    small, luma = as_evaluated(network, task, image)
    grey = np.rint((small[0, ..., None].numpy() - 16.0) / 219 * 65535).astype(np.uint16)
    restored = restoration.restore(grey, network, task, tile=8)
    assert restored.shape == (60, 45, 1)
    expected = ((luma[0] * 255 - 16) / 219).clamp(0, 1).numpy()
    np.testing.assert_allclose(restored[..., 0] / 65535, expected, atol=1e-4)


def test_srcnn_changes_luma_and_leaves_chroma_bicubic():
    network = random_network(lambda: SRCNN(channels=(8, 4)))
    image = torch.rand(3, 9, 8)
    with torch.no_grad():
        task = SuperResolution(2, "luma", border="mirror")
        restored = restoration.restore_colours(image, network, task)
        bicubic = degradation.enlarge(image[None], 2)[0]
        before, after = (
            skimage.color.rgb2ycbcr(x.permute(1, 2, 0).numpy()) for x in (bicubic, restored)
        )
        luma = network(torch.from_numpy(before[None, None, ..., 0] / 255).float())[0, 0] * 255
    np.testing.assert_allclose(after[..., 1:], before[..., 1:], atol=1e-3)
    np.testing.assert_allclose(after[..., 0], luma, atol=1e-3)
    assert np.abs(after[..., 0] - before[..., 0]).max() > 1


@pytest.mark.parametrize("scale", [1, 2])
def test_alpha_is_kept_or_enlarged(scale):
    pixels = random_pixels(4)
    if scale == 1:
        restored = restoration.restore(pixels, blur(), Denoising(25), tile=5)
        np.testing.assert_array_equal(restored[..., 3], pixels[..., 3])
        assert (restored[..., :3] != pixels[..., :3]).any()
    else:
        network = random_network(lambda: EDSR(2, 2, 8))
        task = SuperResolution(2, "rgb", enlarged=False, border="mirror")
        restored = restoration.restore(pixels, network, task, tile=5)
        alpha = torch.from_numpy(pixels[..., 3].astype(np.float32))[None, None]
        expected = degradation.enlarge(alpha, 2)[0, 0].clamp(0, 255)
        np.testing.assert_allclose(restored[..., 3], expected, atol=0.501)


def test_grey_stays_grey_with_a_network_of_colours():
    network = random_network(lambda: EDSR(2, 2, 8))
    restored = restoration.restore(
        random_pixels(2, np.uint16), network, SuperResolution(2, "rgb", enlarged=False)
    )
    assert restored.shape == (22, 28, 2)
    assert restored.dtype == np.uint16


@pytest.mark.parametrize("sigma", [0, 10, 25])
def test_the_noise_level_is_estimated(sigma):
    _, noisy = noisy_photograph(sigma)
    assert restoration.estimated_sigma(noisy) == pytest.approx(sigma, abs=3.5)


def test_no_more_noise_is_estimated_than_there_can_be():
    dithered = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[..., None]
    assert restoration.estimated_sigma(dithered) == 255


def test_an_even_picture_has_no_noise():
    for value in (0, 200):
        pixels = np.full((9, 9, 4), value, dtype=np.uint8)
        assert restoration.estimated_sigma(pixels) == pytest.approx(0, abs=1e-6)


def test_preview_shows_the_same_place_twice():
    pixels = random_pixels(4, height=21, width=20)
    pixels[..., 3] = 255
    pixels[9:12, 8:11] = (9, 9, 9, 0)  # transparent: shown white
    shown = restoration.preview(pixels, pixels.repeat(2, 0).repeat(2, 1), side=12)
    assert shown.shape == (12, 32, 3)
    left, right = shown[:, :12].astype(int), shown[:, 20:].astype(int)
    np.testing.assert_array_equal(right, np.where(
        pixels[7:13, 7:13, 3:] == 0, 255, pixels[7:13, 7:13, :3]
    ).repeat(2, 0).repeat(2, 1))  # fmt: skip
    assert np.corrcoef(left.flat, right.flat)[0, 1] > 0.8


# ------------------------------------------------------------------------------- the command line


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", SIZES.values(), ids=SIZES)
def test_everything_arrives_in_a_file_of_the_same_kind(dtype, channels, keep, tmp_path, capsys):
    picture = Picture(random_pixels(channels, dtype), PROFILE)
    path = tmp_path / "holiday.png"
    path.write_bytes(encoded(picture, ".png"))
    assert main([str(path), keep, "progress=false"]) == 0
    again = decoding.read(tmp_path / "holiday-restored.png")
    np.testing.assert_array_equal(again.pixels, picture.pixels)
    assert again.pixels.dtype == dtype
    assert again.profile == PROFILE
    assert "sigma" in capsys.readouterr().out


def test_the_estimate_is_printed_and_a_mismatch_noted(keep, tmp_path, capsys):
    path = tmp_path / "noisy.png"
    Image.fromarray(noisy_photograph(12)[1]).save(path)
    told = save_weights(tmp_path / "told.pt", GRUNet(2), Denoising(25, noise_map=True))
    said = []
    for arguments in ([keep], [told], [keep, "sigma=12"], [keep, "sigma=25"]):
        assert main([str(path), *arguments, "progress=false", "overwrite=true"]) == 0
        said.append(capsys.readouterr().out.splitlines()[-1])
    estimate = restoration.estimated_sigma(noisy_photograph(12)[1])
    assert (
        f"sigma {estimate:.1f} (estimated); the network removes what it was trained with" in said[0]
    )
    assert f"sigma {estimate:.1f} (estimated); the network is told so, but was trained" in said[1]
    assert said[2].endswith(
        "sigma 12 (given); the network removes what it was trained with, sigma 25"
    )
    assert said[3].endswith("sigma 25 (given)")


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


def restored(capsys, *arguments):
    """What the command prints of its last picture."""
    assert main([*map(str, arguments), "progress=false", "overwrite=true"]) == 0
    return capsys.readouterr().out.splitlines()[-1]


def test_all_pages_where_the_format_holds_them(keep, tmp_path, capsys):
    frames = [random_pixels(3)[..., i] for i in range(3)]
    first, *others = map(Image.fromarray, frames)
    for name in ("pages.tif", "moving.gif"):
        first.save(tmp_path / name, save_all=True, append_images=others)
        restored(capsys, tmp_path / name, keep, f"output={tmp_path}/all.tif")
        with tifffile.TiffFile(tmp_path / "all.tif") as file:
            pages = [page.asarray() for page in file.pages]
        np.testing.assert_array_equal([page.reshape(11, 14, -1)[..., 0] for page in pages], frames)
        said = restored(capsys, tmp_path / name, keep, f"output={tmp_path}/one.png")
        assert "first of 3" in said
        np.testing.assert_array_equal(Image.open(tmp_path / "one.png").convert("L"), frames[0])


@pytest.mark.parametrize("plain", [False, True])
def test_a_ppm_of_16_bits_stays_one(plain, keep, tmp_path, capsys):
    pixels = random_pixels(3, np.uint16)
    pixels[0, 0] = 65535
    header = b"P%d # a comment\n14\t11\n65535\n" % (3 if plain else 6)
    body = " ".join(map(str, pixels.ravel())).encode() if plain else pixels.astype(">u2").tobytes()
    (tmp_path / "a.ppm").write_bytes(header + body)
    restored(capsys, tmp_path / "a.ppm", keep, f"output={tmp_path}/b.png")
    np.testing.assert_array_equal(decoding.read(tmp_path / "b.png").pixels, pixels)


def test_further_bands_are_named(keep, tmp_path, capsys):
    bands = random_pixels(5)
    tifffile.imwrite(tmp_path / "a.tif", bands, photometric="rgb", extrasamples=[0, 0])
    assert "3 of 5 bands" in restored(capsys, tmp_path / "a.tif", keep, f"output={tmp_path}/b.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), bands[..., :3])


def test_what_is_not_read_of_a_folder_is_counted_and_named(keep, tmp_path, capsys):
    folder = tmp_path / "scans"
    (folder / "inner").mkdir(parents=True)
    image = Image.fromarray(random_pixels(3))
    for name in ("a.jfif", "b.jpg", "inner/c.png"):
        image.save(folder / name, "PNG" if name.endswith("png") else "JPEG")
    for name in ("d.heic", "e.HEIC", "notes.txt", ".hidden"):
        (folder / name).touch()
    assert main([str(folder), keep, "progress=false"]) == 0
    left = next(line for line in capsys.readouterr().out.splitlines() if "left out" in line)
    for part in ("3 files", "2 .heic", "1 .txt", "1 image in", "inner"):
        assert part in left
    found = {path.name for path in (tmp_path / "scans-restored").iterdir()}
    assert found == {"a.jfif", "b.jpg"}
    with Image.open(tmp_path / "scans-restored" / "a.jfif") as written:
        assert written.format == "JPEG"


def test_white_is_what_it_is_said_to_be(smooth, tmp_path, capsys):
    """12 bits stored in 16 are restored as the same picture that uses all 16 bits."""
    full = noisy_photograph()[1].astype(np.uint16) * 257
    twelve = (full.astype(np.uint32) * 4095 // 65535).astype(np.uint16)
    for name, pixels in (("full", full), ("twelve", twelve)):
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels, photometric="rgb")
    out = f"output={tmp_path}/out.tif"
    assert "white=" not in restored(capsys, tmp_path / "full.tif", smooth, out)
    expected = tifffile.imread(tmp_path / "out.tif") / 65535
    estimate = restoration.estimated_sigma(full)
    said = restored(capsys, tmp_path / "twelve.tif", smooth, out)
    assert "4095 of 65535" in said and "white=" in said
    said = restored(capsys, tmp_path / "twelve.tif", smooth, out, "white=4095")
    assert f"sigma {estimate:.1f}" in said and "white=" not in said
    np.testing.assert_allclose(tifffile.imread(tmp_path / "out.tif") / 4095, expected, atol=4e-4)
    for wrong in ("white=999", "white=0"):  # less than a value of the file; no white at all
        assert main([str(tmp_path / "twelve.tif"), smooth, out, wrong, "overwrite=true"]) == 2


def test_large_text_and_profiles_are_left_out_with_a_note(keep, tmp_path, capsys):
    """A healthy PNG with 2 MB of text, and profiles that no reader of PNG would unpack."""
    image = Image.fromarray(random_pixels(3))
    text = PngImagePlugin.PngInfo()
    text.add_text("prompt", "x" * 2_000_000, zip=True)
    image.save(tmp_path / "text.png", pnginfo=text)
    with pytest.raises(ValueError, match="too large"):
        Image.open(tmp_path / "text.png").load()
    large = PROFILE + bytes(2_000_000)
    image.save(tmp_path / "profile.png", icc_profile=large)
    image.save(tmp_path / "profile.jpg", quality=95, icc_profile=large)
    for name, what in (
        ("text.png", "text"),
        ("profile.png", "profile"),
        ("profile.jpg", "profile"),
    ):
        assert what in restored(capsys, tmp_path / name, keep, f"output={tmp_path}/out.png")
        expected = decoding.read(tmp_path / name).pixels
        with Image.open(tmp_path / "out.png") as written:
            np.testing.assert_array_equal(np.asarray(written), expected)
    restored(capsys, tmp_path / "profile.jpg", keep, f"output={tmp_path}/out.tif")
    assert decoding.read(tmp_path / "out.tif").profile == large
    image.save(tmp_path / "small.png", icc_profile=PROFILE)
    assert "profile" in restored(capsys, tmp_path / "small.png", keep, f"output={tmp_path}/o.bmp")


def test_what_cannot_be_read_back_is_not_written(keep, tmp_path, capsys, monkeypatch):
    Image.fromarray(random_pixels(3)).save(tmp_path / "a.png")
    monkeypatch.setattr(pictures, "_encode", lambda *_: b"\x89PNG\r\n\x1a\n no picture")
    assert main([str(tmp_path / "a.png"), keep]) == 2
    assert not (tmp_path / "a-restored.png").exists()


@pytest.mark.parametrize("channels", [1, 4])
def test_an_ensemble_is_the_mean_over_eight_orientations(channels, tmp_path):
    """Against a network whose result depends on the orientation: it shifts by one pixel."""
    shift = DnCNN(2, 1)
    with torch.no_grad():
        shift.first.weight.zero_()[..., 1, 1] = 1
        shift.last.weight.zero_()[..., 1, 1] = 1
        shift.last.weight[..., 1, 0] -= 1
    pixels = random_pixels(channels)
    task, shift = Denoising(25), shift.eval()
    found = restoration.restore(pixels, shift, task, ensemble=True, tile=5)
    # To the left of each pixel lies, over the orientations, each of its four neighbours twice.
    colours = np.pad(pixels[..., :1].astype(float), ((1, 1), (1, 1), (0, 0)))
    around = [colours[:-2, 1:-1], colours[2:, 1:-1], colours[1:-1, :-2], colours[1:-1, 2:]]
    np.testing.assert_allclose(found[..., :1], np.mean(around, axis=0), atol=0.501)
    inputs = torch.rand(2, 1, 9, 12)
    ensemble = restoration.Ensemble(shift)
    with torch.no_grad():
        expected = ensemble(inputs).rot90(1, (-2, -1)).flip(-1)
        turned = ensemble(inputs.rot90(1, (-2, -1)).flip(-1))
    torch.testing.assert_close(turned, expected)


def test_no_file_is_written_twice_or_over_another(smooth, tmp_path, capsys):
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("a.png", "a.jpg"):
        Image.fromarray(random_pixels(3)).save(folder / name)
    arguments = [str(folder), smooth, "progress=false", "preview=true"]
    assert main(arguments) == 0
    results = tmp_path / "scans-restored"
    assert {path.name for path in results.iterdir()} == {
        "a.png", "a.jpg", "a-preview.png", "a.jpg-preview.png",
    }  # fmt: skip

    # A preview of one's own making stays, as a result does.
    (results / "a.png").unlink()
    (results / "a-preview.png").write_bytes(b"mine")
    assert main(arguments) == 0
    assert "a-preview.png exists and is left as it is" in capsys.readouterr().out
    assert (results / "a-preview.png").read_bytes() == b"mine"

    (folder / "a-preview.png").write_bytes((folder / "a.png").read_bytes())
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: what becomes of ") and "would be the same file" in said


def test_a_full_disk_ends_it_at_the_first_picture(smooth, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(random_pixels(3)).save(folder / name)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert main([str(folder), smooth, "progress=false"]) == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 1 and "make room on that disk" in said


def test_a_folder_with_a_damaged_picture(smooth, tmp_path, capsys):
    folder = tmp_path / "scans"
    (folder / "more").mkdir(parents=True)
    photograph = Image.fromarray(noisy_photograph(colours=1)[1][..., 0])
    photograph.save(folder / "a.png")
    photograph.save(folder / "c.gif")
    photograph.save(folder / "more" / "d.TIFF")
    data = (folder / "a.png").read_bytes()
    (folder / "b.png").write_bytes(data[: len(data) // 2])
    (folder / "notes.txt").write_text("no picture")
    arguments = [str(folder), smooth, "progress=false", "recursive=true", "preview=true"]
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert "b.png is damaged" in said.err
    assert "1 of 4 pictures could not be restored" in said.err
    results = tmp_path / "scans-restored"
    found = sorted(p.relative_to(results).as_posix() for p in results.rglob("*") if p.is_file())
    assert found == [
        "a-preview.png", "a.png", "c.gif-preview.png", "c.gif.png",
        "more/d.TIFF", "more/d.TIFF-preview.png",
    ]  # fmt: skip
    mean = ndimage.uniform_filter(np.asarray(photograph).astype(float), 3, mode="constant")
    for name in ("a.png", "more/d.TIFF"):
        with Image.open(results / name) as image:
            assert image.mode == "L"
            np.testing.assert_allclose(np.asarray(image), mean, atol=0.501)

    # Once more: what is there is left as it is, unless told otherwise.
    (results / "a.png").write_bytes(b"mine")
    assert main(arguments) == 1
    assert "a.png exists and is left as it is" in capsys.readouterr().out
    assert (results / "a.png").read_bytes() == b"mine"
    (folder / "b.png").unlink()
    assert main([*arguments, "overwrite=true"]) == 0
    assert (results / "a.png").read_bytes() != b"mine"


def test_results_inside_the_folder_are_not_restored_again(keep, tmp_path, capsys):
    folder = tmp_path / "scans"
    folder.mkdir()
    Image.fromarray(random_pixels(3)).save(folder / "a.png")
    arguments = [str(folder), keep, f"output={folder}/done", "recursive=true", "progress=false"]
    assert main(arguments) == main(arguments) == 0
    assert [p.name for p in (folder / "done").rglob("*")] == ["a.png"]


def test_weights_in_half_precision(tmp_path):
    network = random_network(lambda: EDSR(2, 2, 8))
    task = SuperResolution(2, "rgb", enlarged=False)
    setting = save_weights(tmp_path / "half.pt", network, task, half=True)
    path = tmp_path / "small.bmp"
    Image.fromarray(random_pixels(3)).save(path)
    assert main([str(path), setting, f"output={tmp_path}/large.jpg", "task=enlarge"]) == 0
    loaded, _, _ = parts.load(tmp_path / "half.pt")
    expected = restoration.restore(random_pixels(3), loaded, task)
    full = restoration.restore(random_pixels(3), network, task)
    assert np.abs(expected.astype(int) - full).max() <= 2
    with Image.open(tmp_path / "large.jpg") as image:
        assert np.abs(np.asarray(image).astype(int) - expected).mean() < 6  # random pixels in JPEG


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{picture}"], "checkpoint= is missing"),
        (["{picture}", "{keep}", "sigam=3"], "'sigma'"),
        (["{picture}", "{keep}", "sigma=loud"], "sigma=loud"),
        (["{picture}", "{keep}", "sigma=-1"], "sigma is -1.0; it must lie in"),
        (["{picture}", "{keep}", "tile=-1"], "tile=-1"),
        (["{picture}", "{keep}", "device=abacus"], "abacus"),
        (
            ["{picture}", "{keep}", "task=enlarge"],
            "cannot enlarge: denoises, trained with sigma 25",
        ),
        (["{picture}", "{keep}", "task=enlrage"], "enlarge"),
        (["{picture}", "{large}", "sigma=3"], "sigma= is for denoising"),
        (["{picture}", "{keep}", "output={picture}"], "would be replaced by its result"),
        (["{picture}", "{keep}", "output=x.gif"], "not as '.gif'"),
        (["{picture}", "{keep}", "output=x.xyz"], "is no folder, and .xyz no picture's ending"),
        (["{picture}", "{keep}", "output=x.jpg"], "alpha channel, which .jpg files cannot hold"),
        (["{folder}", "{keep}", "output=x.png"], "is a folder: output= must name a folder too"),
        (["{picture}", "{picture}", "{keep}"], "IMAGE_OR_FOLDER"),
        (["{folder}/none.png", "{keep}"], "none.png does not exist"),
        (["{picture}", "checkpoint={folder}/none.pt"], "there is no checkpoint at"),
    ],
)
def test_wrong_settings_are_one_clear_sentence(arguments, message, keep, tmp_path, capsys):
    path = tmp_path / "picture.png"
    Image.fromarray(random_pixels(4)).save(path)
    task = SuperResolution(2, "rgb", enlarged=False)
    large = save_weights(tmp_path / "large.pt", EDSR(2, 2, 8), task)
    words = {"picture": path, "folder": tmp_path, "keep": keep, "large": large}
    assert main([text.format(**words) for text in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
