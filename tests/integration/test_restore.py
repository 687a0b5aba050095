"""``asyrepro restore``: your own pictures, files and folders, on the command line."""

import errno
import os

import numpy as np
import pytest
import tifffile
from helpers import assert_names, assert_refused, call
from material import PROFILE, SIZES, blur, noisy_photograph, random_pixels
from omegaconf import OmegaConf
from PIL import Image, PngImagePlugin
from scipy import ndimage

from asyrepro.data import decoding
from asyrepro.data.decoding import Picture
from asyrepro.models import EDSR, DnCNN, GRUNet
from asyrepro.restoration import pictures
from asyrepro.restoration import restoring as restoration
from asyrepro.runs import parts
from asyrepro.tasks import Denoising, Jpeg, SuperResolution
from asyrepro.training import checkpoint

NETWORKS = {  # what a small network's configuration says of it
    "DnCNN": {"layers": 2, "channels": 1},
    "GRUNet": {"width": 2},
    "EDSR": {"scale": 2, "blocks": 2, "channels": 8},
}


OPTIONS = {  # and a task's
    SuperResolution: ("scale", "mode", "enlarged"),
    Denoising: ("sigma", "mode", "noise_map"),
    Jpeg: ("quality", "mode"),
}


class Inverting(Denoising):
    """A task of one's own, whose networks are given negatives."""

    def prepared(self, degraded):
        return 1 - super().prepared(degraded)


def save_weights(path, network, task, half=False, **changes):
    """A weights file as a training leaves it, whose task may have other options: the setting
    ``checkpoint=`` that names it."""
    name, kind = type(network).__name__, type(task)
    options = {option: getattr(task, option) for option in OPTIONS[kind]}
    cfg = {
        "model": {
            "name": name.lower(),
            "network": {"_target_": f"asyrepro.models.{name}", **NETWORKS[name]},
        },
        "task": {"_target_": f"asyrepro.tasks.{kind.__name__}", **options, **changes},
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


@pytest.fixture
def keep(tmp_path):
    """Weights of a denoiser that returns its input."""
    return save_weights(tmp_path / "keep.pt", DnCNN(2, 1), Denoising(25))


@pytest.fixture
def smooth(tmp_path):
    """Weights of a denoiser that really is one."""
    return save_weights(tmp_path / "smooth.pt", blur(), Denoising(25))


@pytest.fixture
def scans(tmp_path):
    """A folder to be filled with pictures."""
    (tmp_path / "scans").mkdir()
    return tmp_path / "scans"


def restore(*arguments):
    return call("restore", *arguments, "progress=false")


def restored(*arguments):
    """What the command prints of its last picture."""
    said = restore(*arguments, "overwrite=true")
    assert said.status == 0, said.err
    return said.out.splitlines()[-1]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", SIZES.values(), ids=SIZES)
def test_everything_arrives_in_a_file_of_the_same_kind(dtype, channels, keep, tmp_path):
    picture = Picture(random_pixels(channels, dtype), PROFILE)
    path = tmp_path / "holiday.png"
    path.write_bytes(pictures.encode([picture], ".png"))
    said = restore(path, keep)
    assert said.status == 0 and "sigma" in said.out
    again = decoding.read(tmp_path / "holiday-restored.png")
    np.testing.assert_array_equal(again.pixels, picture.pixels)
    assert again.pixels.dtype == dtype
    assert again.profile == PROFILE


def test_the_estimate_is_printed_and_a_mismatch_noted(keep, tmp_path):
    path = tmp_path / "noisy.png"
    Image.fromarray(noisy_photograph(12)[1]).save(path)
    told = save_weights(tmp_path / "told.pt", GRUNet(2), Denoising(25, noise_map=True))
    estimate = f"sigma {restoration.estimated_sigma(noisy_photograph(12)[1]):.1f}"
    for arguments, names in (
        ([keep], [estimate, "25"]),
        ([told], [estimate, "25"]),
        ([keep, "sigma=12"], ["sigma 12", "25"]),
    ):
        assert_names(restored(path, *arguments), *names)
    assert restored(path, keep, "sigma=25").endswith("sigma 25 (given)")  # no mismatch


@pytest.mark.parametrize("noise_map", [False, True])
def test_a_blind_denoiser_was_trained_with_a_range_of_levels(noise_map, tmp_path):
    path = tmp_path / "noisy.png"
    Image.fromarray(noisy_photograph(12)[1]).save(path)
    network = GRUNet(2) if noise_map else DnCNN(2, 1)
    task = Denoising(noise_map=noise_map)
    blind = save_weights(tmp_path / "blind.pt", network, task, sigma=[5, 55])
    for level in (5, 40, 55):
        assert restored(path, blind, f"sigma={level}").endswith(f"sigma {level} (given)")
    for level in (3, 70):
        assert_names(restored(path, blind, f"sigma={level}"), f"sigma {level}", "5 to 55")


def test_a_denoising_task_of_ones_own_prepares_what_the_network_is_given(tmp_path):
    pixels = random_pixels(1)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "a.png")
    own = {"_target_": f"{__name__}.{Inverting.__name__}"}
    keep = save_weights(tmp_path / "own.pt", DnCNN(2, 1), Denoising(25), **own)
    restored(tmp_path / "a.png", keep, f"trust={__name__}")
    np.testing.assert_array_equal(decoding.read(tmp_path / "a-restored.png").pixels, 255 - pixels)


def test_all_pages_where_the_format_holds_them(keep, tmp_path):
    frames = [random_pixels(3)[..., i] for i in range(3)]
    first, *others = map(Image.fromarray, frames)
    for name in ("pages.tif", "moving.gif"):
        first.save(tmp_path / name, save_all=True, append_images=others)
        restored(tmp_path / name, keep, f"output={tmp_path}/all.tif")
        with tifffile.TiffFile(tmp_path / "all.tif") as file:
            pages = [page.asarray() for page in file.pages]
        np.testing.assert_array_equal([page.reshape(11, 14, -1)[..., 0] for page in pages], frames)
        said = restored(tmp_path / name, keep, f"output={tmp_path}/one.png")
        assert "first of 3" in said
        np.testing.assert_array_equal(Image.open(tmp_path / "one.png").convert("L"), frames[0])


def test_further_bands_are_named(keep, tmp_path):
    bands = random_pixels(5)
    tifffile.imwrite(tmp_path / "a.tif", bands, photometric="rgb", extrasamples=[0, 0])
    assert "3 of 5 bands" in restored(tmp_path / "a.tif", keep, f"output={tmp_path}/b.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), bands[..., :3])


def test_what_is_not_read_of_a_folder_is_counted_and_named(keep, scans, tmp_path):
    (scans / "inner").mkdir()
    image = Image.fromarray(random_pixels(3))
    for name in ("a.jfif", "b.jpg", "inner/c.png"):
        image.save(scans / name, "PNG" if name.endswith("png") else "JPEG")
    for name in ("d.heic", "e.HEIC", "notes.txt", ".hidden"):
        (scans / name).touch()
    said = restore(scans, keep)
    assert said.status == 0
    left = next(line for line in said.out.splitlines() if "left out" in line)
    for part in ("3 files", "2 .heic", "1 .txt", "1 image in", "inner"):
        assert part in left
    found = {path.name for path in (tmp_path / "scans-restored").iterdir()}
    assert found == {"a.jfif", "b.jpg"}
    with Image.open(tmp_path / "scans-restored" / "a.jfif") as written:
        assert written.format == "JPEG"


def test_white_is_what_it_is_said_to_be(smooth, tmp_path):
    """12 bits stored in 16 are restored as the same picture that uses all 16 bits."""
    full = noisy_photograph()[1].astype(np.uint16) * 257
    twelve = (full.astype(np.uint32) * 4095 // 65535).astype(np.uint16)
    for name, pixels in (("full", full), ("twelve", twelve)):
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels, photometric="rgb")
    out = f"output={tmp_path}/out.tif"
    assert "white=" not in restored(tmp_path / "full.tif", smooth, out)
    expected = tifffile.imread(tmp_path / "out.tif") / 65535
    estimate = restoration.estimated_sigma(full)
    said = restored(tmp_path / "twelve.tif", smooth, out)
    assert "4095 of 65535" in said and "white=" in said
    said = restored(tmp_path / "twelve.tif", smooth, out, "white=4095")
    assert f"sigma {estimate:.1f}" in said and "white=" not in said
    np.testing.assert_allclose(tifffile.imread(tmp_path / "out.tif") / 4095, expected, atol=4e-4)
    for wrong in ("white=999", "white=0"):  # less than a value of the file; no white at all
        assert restore(tmp_path / "twelve.tif", smooth, out, wrong, "overwrite=true").status == 2


def test_large_text_is_read_over_and_large_profiles_left_out_with_a_note(
    keep, tmp_path, monkeypatch
):
    """A healthy PNG with 2 MB of text, and profiles with which others would not open a PNG."""
    image = Image.fromarray(random_pixels(3))
    text = PngImagePlugin.PngInfo()
    text.add_text("prompt", "x" * 2_000_000, zip=True)
    image.save(tmp_path / "text.png", pnginfo=text)
    large = PROFILE + bytes(2_000_000)
    image.save(tmp_path / "profile.png", icc_profile=large)
    image.save(tmp_path / "profile.jpg", quality=95, icc_profile=large)
    for name, what in (
        ("text.png", "text left out"),
        ("profile.png", "profile"),
        ("profile.jpg", "profile"),
    ):
        assert what in restored(tmp_path / name, keep, f"output={tmp_path}/out.png")
        expected = decoding.read(tmp_path / name).pixels
        with monkeypatch.context() as patch:
            patch.setattr(PngImagePlugin, "MAX_TEXT_CHUNK", 1 << 20)  # as it is for others
            np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), expected)
    restored(tmp_path / "profile.jpg", keep, f"output={tmp_path}/out.tif")
    assert decoding.read(tmp_path / "out.tif").profile == large
    image.save(tmp_path / "small.png", icc_profile=PROFILE)
    assert "profile" in restored(tmp_path / "small.png", keep, f"output={tmp_path}/o.bmp")


def test_what_cannot_be_read_back_is_not_written(keep, tmp_path, monkeypatch):
    Image.fromarray(random_pixels(3)).save(tmp_path / "a.png")
    monkeypatch.setattr(pictures, "_encode", lambda *_: b"\x89PNG\r\n\x1a\n no picture")
    assert restore(tmp_path / "a.png", keep).status == 2
    assert not (tmp_path / "a-restored.png").exists()


def test_no_file_is_written_twice_or_over_another(smooth, scans, tmp_path):
    for name in ("a.png", "a.jpg"):
        Image.fromarray(random_pixels(3)).save(scans / name)
    arguments = [scans, smooth, "preview=true"]
    assert restore(*arguments).status == 0
    results = tmp_path / "scans-restored"
    assert {path.name for path in results.iterdir()} == {
        "a.png", "a.jpg", "a-preview.png", "a.jpg-preview.png",
    }  # fmt: skip

    # A preview of one's own making stays, as a result does.
    (results / "a.png").unlink()
    (results / "a-preview.png").write_bytes(b"mine")
    said = restore(*arguments)
    assert said.status == 0 and "a-preview.png" in said.out
    assert (results / "a-preview.png").read_bytes() == b"mine"

    (scans / "a-preview.png").write_bytes((scans / "a.png").read_bytes())
    assert_refused(restore(*arguments), "a-preview.png")


def test_a_full_disk_ends_it_at_the_first_picture(smooth, scans, tmp_path, monkeypatch):
    for name in ("a.png", "b.png"):
        Image.fromarray(random_pixels(3)).save(scans / name)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert_refused(restore(scans, smooth), "No space left on device")


def test_a_folder_in_one_format(keep, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    Image.fromarray(random_pixels(3)).save(photos / "a.jpg", exif=exif)
    Image.fromarray(random_pixels(3)).save(photos / "b.png")
    said = restore(photos, keep, f"output={tmp_path / 'out'}", "format=png").out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png", "b.png"}
    assert said.count("EXIF") == 1
    for wrong in (f"output={tmp_path}/a.tif", f"output={tmp_path}/x.jp2"):
        assert restore(photos / "a.jpg", keep, wrong, "format=png").status == 2
    Image.fromarray(random_pixels(3)).save(photos / "a.png")  # which would be the same file
    assert restore(photos, keep, f"output={tmp_path / 'other'}", "format=png").status == 2


@pytest.mark.parametrize("ending", [".jpg", ".jfif"])
def test_that_jpeg_is_lossy_is_said(ending, keep, tmp_path):
    Image.fromarray(random_pixels(3)).save(tmp_path / "a.png")
    assert "JPEG" in restore(tmp_path / "a.png", keep, f"output={tmp_path}/b{ending}").out


def test_a_folder_with_a_damaged_picture(smooth, scans, tmp_path):
    (scans / "more").mkdir()
    photograph = Image.fromarray(noisy_photograph(colours=1)[1][..., 0])
    photograph.save(scans / "a.png")
    photograph.save(scans / "c.gif")
    photograph.save(scans / "more" / "d.TIFF")
    data = (scans / "a.png").read_bytes()
    (scans / "b.png").write_bytes(data[: len(data) // 2])
    (scans / "notes.txt").write_text("no picture")
    arguments = [scans, smooth, "recursive=true", "preview=true"]
    said = restore(*arguments)
    assert said.status == 1
    assert "b.png" in said.err and "1 of 4" in said.err
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
    said = restore(*arguments)
    assert said.status == 1 and "a.png" in said.out
    assert (results / "a.png").read_bytes() == b"mine"
    (scans / "b.png").unlink()
    assert restore(*arguments, "overwrite=true").status == 0
    assert (results / "a.png").read_bytes() != b"mine"


def test_results_inside_the_folder_are_not_restored_again(keep, scans, tmp_path):
    Image.fromarray(random_pixels(3)).save(scans / "a.png")
    for _ in range(2):
        assert restore(scans, keep, f"output={scans}/done", "recursive=true").status == 0
    assert [p.name for p in (scans / "done").rglob("*")] == ["a.png"]


def test_weights_in_half_precision(tmp_path):
    network = EDSR(2, 2, 8, init="torch").eval()
    task = SuperResolution(2, "rgb", enlarged=False)
    setting = save_weights(tmp_path / "half.pt", network, task, half=True)
    path = tmp_path / "small.bmp"
    Image.fromarray(random_pixels(3)).save(path)
    assert restore(path, setting, f"output={tmp_path}/large.jpg", "task=upsample").status == 0
    loaded, _, _ = parts.load(tmp_path / "half.pt")
    expected = restoration.restore(random_pixels(3), loaded, task)
    full = restoration.restore(random_pixels(3), network, task)
    assert np.abs(expected.astype(int) - full).max() <= 2
    with Image.open(tmp_path / "large.jpg") as image:
        assert np.abs(np.asarray(image).astype(int) - expected).mean() < 6  # random pixels in JPEG


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ("{picture}", "checkpoint="),
        ("{picture} {keep} sigam=3", "'sigma'"),
        ("{picture} {keep} sigma=loud", "sigma=loud"),
        ("{picture} {keep} sigma=-1", "sigma -1"),
        ("{picture} {keep} tile=-1", "tile=-1"),
        ("{picture} {keep} device=abacus", "abacus"),
        ("{picture} {keep} task=upsample", "upsample 25"),
        ("{picture} {keep} task=upsampel", "upsample"),
        ("{picture} {large} sigma=3", "sigma="),
        ("{picture} {jpeg} sigma=3", "sigma= jpeg"),
        ("{picture} {blind} task=upsample", "upsample 5 to 55"),
        ("{picture} {keep} output={picture}", "{picture}"),
        ("{picture} {keep} output=x.gif", ".gif"),
        ("{picture} {keep} output=x.xyz", ".xyz"),
        ("{picture} {keep} output=x.jpg", "alpha .jpg"),
        ("{folder} {keep} output=x.png", "{folder} output="),
        ("{picture} {picture} {keep}", "IMAGE_OR_FOLDER"),
        ("{folder}/none.png {keep}", "none.png"),
        ("{picture} checkpoint={folder}/none.pt", "none.pt"),
    ],
)
def test_wrong_settings_are_one_clear_sentence(arguments, names, keep, tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(random_pixels(4)).save(path)
    task = SuperResolution(2, "rgb", enlarged=False)
    large = save_weights(tmp_path / "large.pt", EDSR(2, 2, 8), task)
    jpeg = save_weights(tmp_path / "jpeg.pt", DnCNN(2, 1), Jpeg())
    blind = save_weights(tmp_path / "blind.pt", DnCNN(2, 1), Denoising(), sigma=[5, 55])
    words = {"picture": path, "folder": tmp_path, "keep": keep, "large": large}
    words |= {"jpeg": jpeg, "blind": blind}
    said = restore(*arguments.format(**words).split())
    assert_refused(said, *names.format(**words).split())
