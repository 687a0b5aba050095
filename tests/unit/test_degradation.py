"""Degradations and tasks against hand-worked values, Pillow and published figures."""

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from asyrepro import degradation
from asyrepro.analysis.summary import published_psnr
from asyrepro.data import catalogue
from asyrepro.metrics import literature
from asyrepro.runs import config
from asyrepro.runs.evaluation import evaluate_baseline
from asyrepro.tasks import Deblurring, Denoising, Jpeg, SuperResolution, to_float


def smooth_image(height=48, width=60, channels=1):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    planes = [128 + 100 * torch.sin(x / (7 + c)) * torch.cos(y / 9) for c in range(channels)]
    return torch.stack(planes).round().to(torch.uint8)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_downsample_agrees_with_pillow(scale):
    # Pillow's bicubic has a = -0.5, antialiasing, and nothing beyond the image.
    edge = torch.zeros(1, 48, 60, dtype=torch.uint8)
    edge[..., 25:] = 255  # which overshoots
    for image in (smooth_image(), edge):
        ours = degradation.downsample(image, scale, "renormalise")
        theirs = Image.fromarray(image[0].numpy()).resize(
            (image.shape[2] // scale, image.shape[1] // scale), Image.Resampling.BICUBIC
        )
        assert ours.dtype == torch.uint8
        difference = ours[0].numpy().astype(int) - np.asarray(theirs).astype(int)
        assert np.abs(difference).max() <= 1 and abs(difference.mean()) < 0.1


def imresize(image, size):
    """MATLAB's ``imresize`` of (H, W), its function ``contributions`` in float64."""

    def keys(x):
        x = np.abs(x)
        near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        return np.where(x <= 1, near, np.where(x <= 2, far, 0))

    for axis, length in enumerate(size):
        before = image.shape[axis]
        scale = length / before
        stretch = min(scale, 1)  # antialiasing: a wider kernel where the image becomes smaller
        centre = np.arange(1, length + 1) / scale + 0.5 * (1 - 1 / scale)
        taps = np.arange(math.ceil(4 / stretch) + 2)
        index = np.floor(centre - 2 / stretch)[:, None] + taps
        weights = stretch * keys(stretch * (centre[:, None] - index))
        weights /= weights.sum(axis=1, keepdims=True)
        mirror = np.r_[0:before, before - 1 : -1 : -1]
        index = mirror[np.mod(index.astype(int) - 1, 2 * before)]
        lines = np.moveaxis(image, axis, 0)
        image = np.moveaxis(np.einsum("ot,ot...->o...", weights, lines[index]), 0, axis)
    return image


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(20, 16), (15, 21), (7, 1), (1, 2)])
def test_bicubic_is_matlabs_everywhere(scale, size):
    small = np.random.default_rng(scale).uniform(0, 1, size)
    tensor = torch.from_numpy(small).float()[None, None]
    large = degradation.upsample(tensor, scale)
    expected = imresize(small, (size[0] * scale, size[1] * scale))
    np.testing.assert_allclose(large[0, 0].numpy(), expected, atol=1e-5)
    again = degradation.reduce(torch.from_numpy(expected).float()[None, None], scale)
    np.testing.assert_allclose(again[0, 0].numpy(), imresize(expected, size), atol=1e-5)


@pytest.mark.parametrize("scale", [2, 3])
def test_super_resolution_degrades_as_matlab_or_as_runs_before_the_border_was_an_option(scale):
    levels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (24, 30)))
    image, size = levels[None].to(torch.uint8), (24 // scale, 30 // scale)
    matlab, _ = SuperResolution(scale, border="mirror").test_pair(image, "x")
    small = imresize(levels.double().numpy(), size).round().clip(0, 255)
    np.testing.assert_allclose(matlab[0, 0], imresize(small / 255, (24, 30)), atol=2 / 255)
    older, _ = SuperResolution(scale).test_pair(image, "x")
    resize = partial(F.interpolate, mode="bicubic", antialias=True)
    small = resize(levels[None, None].float(), size).round().clamp(0, 255)
    torch.testing.assert_close(older, resize(small / 255, (24, 30)), rtol=0, atol=1e-6)
    assert (older - matlab).abs().max() > 8 / 255  # at the border


def test_training_pairs_of_super_resolution_are_those_of_the_whole_image():
    task = SuperResolution(3, border="mirror")
    whole, _ = task.test_pair(smooth_image(60, 63), "x")
    stored = task.stored(smooth_image(60, 63))[None].float() / 255
    assert torch.allclose(task.inputs(stored), whole[..., 6:-6, 6:-6], atol=1e-6)


def test_noise_depends_on_name_and_sigma_only():
    first = degradation.test_noise("03", 25, (1, 200, 300))
    torch.rand(5)  # the global generator plays no part
    assert torch.equal(first, degradation.test_noise("03", 25, (1, 200, 300)))
    assert not torch.equal(first, degradation.test_noise("04", 25, (1, 200, 300)))
    assert not torch.equal(first, degradation.test_noise("03", 15, (1, 200, 300)) * 25 / 15)
    assert first.std().item() == pytest.approx(25 / 255, rel=0.01)
    assert first.mean().item() == pytest.approx(0, abs=3 * 25 / 255 / math.sqrt(60000))
    # as it was when the committed studies were made
    expected = [-0.0121256514, -0.1062883958, -0.0698988959]
    assert first.flatten()[:3].tolist() == pytest.approx(expected, rel=1e-5)


def test_noise_is_neither_clipped_nor_rounded():
    white = torch.full((1, 64, 64), 255, dtype=torch.uint8)
    noisy, label = Denoising(25).test_pair(white, "white")
    assert (noisy > 1).float().mean() == pytest.approx(0.5, abs=0.05)
    assert torch.equal(label, torch.ones(1, 1, 64, 64))
    one, other = (torch.Generator().manual_seed(0) for _ in range(2))
    drawn = torch.randn(1, 1, 4, 4, generator=one)
    assert torch.equal(degradation.add_noise(torch.zeros(1, 1, 4, 4), 255, other), drawn)


def test_noise_map_is_the_second_channel():
    image = torch.full((3, 7, 7), 100, dtype=torch.uint8)  # as small as SSIM allows
    inputs, label = Denoising(25, "rgb", noise_map=True).test_pair(image, "x")
    assert inputs.shape == (1, 2, 3, 7, 7)
    assert torch.equal(inputs[:, 1], torch.full((1, 3, 7, 7), 25 / 255))
    assert label.shape == (1, 3, 7, 7)


def test_super_resolution_pairs():
    image = smooth_image(50, 61)
    upsampled, label = SuperResolution(3).test_pair(image, "x")
    assert upsampled.shape == label.shape == (1, 1, 48, 60)  # cropped to multiples of 3
    small, _ = SuperResolution(3, enlarged=False).test_pair(image, "x")
    assert small.shape == (1, 1, 16, 20)
    assert torch.equal((small * 255).round(), small * 255)  # 8 bits
    assert torch.equal(SuperResolution(3, enlarged=False).degraded(small), upsampled)


@pytest.mark.parametrize(
    ("scale", "psnr", "ssim"), [(2, 33.66, 0.9299), (3, 30.39, 0.8682), (4, 28.42, 0.8104)]
)
@pytest.mark.skipif(catalogue.available("set5") is None, reason="Set5 is not here (ASYREPRO_DATA)")
def test_bicubic_on_set5_has_the_published_figures(scale, psnr, ssim):
    """As in the tables of SRCNN, VDSR, EDSR and RCAN."""
    task = SuperResolution(scale, "luma", border="mirror")
    rows = pd.DataFrame(evaluate_baseline(catalogue.test_set("set5", mode="luma"), task))
    assert rows["psnr_y"].mean() == pytest.approx(psnr, abs=0.02)
    assert rows["ssim_y"].mean() == pytest.approx(ssim, abs=0.001)


@pytest.mark.skipif(catalogue.available("set14") is None, reason="Set14 is not here")
def test_bicubic_on_set14_is_the_published_figure_once_its_grey_file_is_taken_as_it_is():
    images = catalogue.test_set("set14", mode="luma")
    rows = pd.DataFrame(evaluate_baseline(images, SuperResolution(3, "luma")))
    assert rows["psnr_y"].mean() == pytest.approx(27.63, abs=0.02)
    assert published_psnr(rows).mean() == pytest.approx(27.54, abs=0.02)


def test_a_grey_file_scores_less_as_it_is_than_as_luma_of_equal_colours():
    grey = np.random.default_rng(0).uniform(0.3, 0.7, (1, 40, 40))
    other = grey + np.random.default_rng(1).normal(0, 0.1, grey.shape)
    as_it_is = literature(grey, other, border=3)["psnr_y"]
    colours = literature(np.repeat(grey, 3, 0), np.repeat(other, 3, 0), border=3)
    row = {"image": "bridge", **colours}
    found = published_psnr(pd.DataFrame([row | {"testset": s} for s in ("set14", "set5")]))
    assert found[0] == pytest.approx(as_it_is, abs=0.01)  # but for luma's 8 bits
    assert found[1] == colours["psnr_y"]


# --- protocols and further tasks


def test_kairs_noise_is_drawn_from_seed_0_for_each_image_of_the_literatures_sets():
    image = smooth_image(20, 30, channels=3)
    task = Denoising(25, "rgb", noise="kair")
    np.random.seed(0)
    noise = np.random.normal(0, 25 / 255, (20, 30, 3)).transpose(2, 0, 1)
    for name in ("01", "02"):
        noisy, label = task.on("set12").test_pair(image, name)
        np.testing.assert_allclose((noisy - label)[0], noise, atol=1e-6)
    ours = Denoising(25, "rgb").test_pair(image, "01")[0]
    for other in (task.on("table4"), Denoising(25, "rgb").on("set12")):
        assert torch.equal(other.test_pair(image, "01")[0], ours)


def test_minmax_stretches_input_and_label_of_each_training_pair():
    label = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.4
    for noise_map in (False, True):
        task, plain = (Denoising(25, "grey", noise_map, normalize=n) for n in ("minmax", None))
        made, kept = (
            t.training_pair(label, label, torch.Generator().manual_seed(1)) for t in (task, plain)
        )
        for index in range(2):
            low, high = label[index].min(), label[index].max()
            assert made[1][index].min() == 0 and made[1][index].max() == 1
            expected = (kept[1][index] - low) / (high - low)
            torch.testing.assert_close(made[1][index], expected)
            noisy = plain.degraded(kept[0])[index]
            found = task.degraded(made[0])[index]
            torch.testing.assert_close(found, (noisy - low) / (high - low))
            if noise_map:  # the level in the stretched image's own units
                assert made[0][index, 1].mean() == pytest.approx(25 / 255 / float(high - low))
        assert torch.equal(task.test_pair(smooth_image(), "x")[1], to_float(smooth_image())[None])


def test_a_range_of_noise_levels_is_drawn_patch_by_patch():
    task = Denoising([10, 50], "grey", noise_map=True)
    patches = torch.full((64, 1, 40, 40), 0.5)
    inputs = task.inputs(patches, torch.Generator().manual_seed(0))
    levels = inputs[:, 1, 0, 0, 0] * 255
    assert 10 <= levels.min() < 15 and 45 < levels.max() <= 50
    found = (inputs[:, 0] - patches).flatten(1).std(dim=1) * 255
    torch.testing.assert_close(found, levels, rtol=0.1, atol=0)
    assert task.sigma == 30 and Denoising([0, 55], test_sigma=25).sigma == 25
    with pytest.raises(ValueError, match="sigma"):
        Denoising([50, 10])


def test_gaussian_blur_is_scipys():
    image = smooth_image()
    expected = gaussian_filter(image[0].numpy().astype(float), 1.6, mode="reflect", truncate=4.4)
    found = Deblurring(size=1.6).stored(image)
    assert np.abs(found[0].numpy() - expected).max() < 0.51  # rounded to 8 bits


def test_motion_of_a_point_is_a_line():
    image = torch.zeros(1, 31, 31, dtype=torch.uint8)
    image[0, 15, 15] = 255
    row = Deblurring("motion", 9, 0).stored(image)[0]
    assert row[15].float().sum() == pytest.approx(255, abs=6) and row[14].max() == 0
    assert (row[15] > 20).nonzero().flatten().tolist() == [*range(11, 20)]
    column = Deblurring("motion", 9, 90).stored(image)[0]
    assert torch.equal(column, row.T)
    slanted = Deblurring("motion", 9, 45).stored(image)[0]
    assert slanted[12, 18] > 10 and slanted[18, 18] == 0  # anticlockwise: up and to the right


@pytest.mark.parametrize("mode", ["grey", "rgb"])
def test_jpeg_of_a_lower_quality_loses_more(mode):
    image = smooth_image(channels=3 if mode == "rgb" else 1).float()
    lost = [(Jpeg(q, mode).stored(image.byte()) - image).abs().mean() for q in (95, 50, 5)]
    assert 0 < lost[0] < lost[1] < lost[2]


@pytest.mark.parametrize("name", ["gaussian_blur", "motion_blur", "jpeg", "blind_denoising"])
def test_every_task_has_a_configuration(name):
    task = config.make(config.compose(["model=dncnn", f"task={name}"]).task)
    inputs, label = task.test_pair(smooth_image(), "x")
    assert inputs.shape == label.shape and not torch.equal(inputs, label)
