"""Your own pictures: what the networks make of them."""

import numpy as np
import pytest
import skimage.color
import torch
from helpers import refuses
from material import blur, noisy_photograph, random_pixels
from scipy import ndimage
from torch import nn

from asyrepro import degradation
from asyrepro.models import EDSR, SRCNN, DnCNN
from asyrepro.restoration import restoring as restoration
from asyrepro.runs import evaluation
from asyrepro.system.errors import ConfigError
from asyrepro.tasks import Denoising, SuperResolution


def random_network(make):
    torch.manual_seed(0)
    network = make()
    with torch.no_grad():
        for p in network.parameters():
            p += 0.05 * torch.randn_like(p)
    return network.eval()


def test_a_denoiser_works_channel_by_channel():
    clean, noisy = noisy_photograph()
    restored = restoration.restore(noisy, blur(), Denoising(25), tile=48)
    for channel in range(3):
        mean = ndimage.uniform_filter(noisy[..., channel].astype(float), 3, mode="constant")
        np.testing.assert_allclose(restored[..., channel], mean, atol=0.501)
    assert np.square(restored - clean).mean() < np.square(noisy - clean).mean() / 2


def test_a_network_that_refuses_a_pictures_size():
    eights = nn.Sequential(nn.PixelUnshuffle(8), nn.PixelShuffle(8))
    picture = np.full((24, 16, 1), 100, np.uint8)
    assert (restoration.restore(picture, eights, Denoising(25)) == 100).all()
    with refuses(ConfigError, "(1, 1, 20, 16)"):
        restoration.restore(picture[:20], eights, Denoising(25))


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


def test_upsampled_as_in_the_evaluation_edsr():
    network = random_network(lambda: EDSR(2, 2, 8))
    task = SuperResolution(2, "rgb", enlarged=False)
    image = torch.from_numpy(random_pixels(3, height=40, width=31).transpose(2, 0, 1).copy())
    small, expected = as_evaluated(network, task, image)
    restored = restoration.restore(small.permute(1, 2, 0).numpy(), network, task, tile=13)
    expected = (expected.clamp(0, 1) * 255).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(restored, expected, atol=0.501)


def test_upsampled_as_in_the_evaluation_srcnn():
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
        bicubic = degradation.upsample(image[None], 2)[0]
        before, after = (
            skimage.color.rgb2ycbcr(x.permute(1, 2, 0).numpy()) for x in (bicubic, restored)
        )
        luma = network(torch.from_numpy(before[None, None, ..., 0] / 255).float())[0, 0] * 255
    np.testing.assert_allclose(after[..., 1:], before[..., 1:], atol=1e-3)
    np.testing.assert_allclose(after[..., 0], luma, atol=1e-3)
    assert np.abs(after[..., 0] - before[..., 0]).max() > 1


@pytest.mark.parametrize("scale", [1, 2])
def test_alpha_is_kept_or_upsampled(scale):
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
        expected = degradation.upsample(alpha, 2)[0, 0].clamp(0, 255)
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
