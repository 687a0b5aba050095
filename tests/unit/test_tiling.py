"""Tiles: their seams cannot be seen, because no network reaches further than it says."""

import pytest
import torch
from helpers import refuses
from torch import nn

from asyrepro.models import EDSR, SRCNN, DnCNN, GRUNet
from asyrepro.restoration import restoring as restoration
from asyrepro.restoration import tiling
from asyrepro.system.errors import ConfigError
from asyrepro.tasks import Denoising, SuperResolution

# Small versions with everything that the large ones have; the tile is smaller than the image.
CASES = {
    "srcnn": (lambda: SRCNN(channels=(8, 4), init="kaiming"), SuperResolution(3), 3, 16),
    "srcnn-x4": (lambda: SRCNN((9, 5, 5), (8, 4), 3), SuperResolution(4, "rgb"), 3, 11),
    "edsr-x2": (lambda: EDSR(2, 3, 8, init="torch"), SuperResolution(2, "rgb", False), 3, 20),
    "edsr-x3": (lambda: EDSR(3, 3, 8, init="torch"), SuperResolution(3, "rgb", False), 1, 20),
    "edsr-x4": (lambda: EDSR(4, 3, 8, init="torch"), SuperResolution(4, "rgb", False), 3, 20),
    "dncnn": (lambda: DnCNN(6, 8), Denoising(25), 3, 16),
    "grunet": (lambda: GRUNet(2), Denoising(25, noise_map=True), 1, 128),
    "grunet-rgb": (lambda: GRUNet(2), Denoising(25, "rgb", noise_map=True), 3, 128),
}
SIZES = {"grunet": (37, 419), "grunet-rgb": (419, 21)}  # a tile, its reach, and more


@torch.no_grad()
def randomized(network: nn.Module) -> nn.Module:
    """All kernels random and as strong as keeps a signal's size, norms as after a training."""
    torch.manual_seed(0)
    for name, p in network.named_parameters():
        if p.ndim > 1:
            slices = p.shape[2] if p.ndim == 5 else 1  # of a single band only the middle one acts
            nn.init.normal_(p, std=(2 * slices / p[0].numel()) ** 0.5)
        else:
            p.uniform_(0.5, 1.5) if "norms" in name else p.uniform_(-0.1, 0.1)
    for name, statistics in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            statistics.uniform_(0.5, 1.5)
    return network.eval()


def restored(network, task, image, tile, overlap):
    """The float result of an image (C, H, W), tile by tile."""
    height, width = (side * task.scale for side in image.shape[-2:])
    return tiling.apply(
        lambda window, place: restoration.restore_colours(window, network, task, place),
        image,
        torch.full((len(image), height, width), torch.nan),
        tile=tile,
        overlap=overlap,
    )


@pytest.mark.parametrize("name", CASES)
def test_tiled_equals_untiled(name):
    make, task, colours, tile = CASES[name]
    network = randomized(make())
    image = torch.rand(colours, *SIZES.get(name, (67, 53)))
    tile, overlap = tiling.plan(network, task, tile)
    assert tile < max(image.shape[-2:])
    whole = restored(network, task, image, 0, 0)
    tiled = restored(network, task, image, tile, overlap)
    assert (whole[:, :: task.scale, :: task.scale] - image).abs().mean() > 1e-3  # it does a lot
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-4)
    grid = getattr(network, "grid", 1)
    half = restored(network, task, image, tile, overlap // 2 // grid * grid)
    assert (half - whole).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("network", "shape", "scale"),
    [
        (lambda: SRCNN(channels=(8, 4), init="kaiming"), (1, 1, 61, 61), 1),
        (lambda: SRCNN((9, 3, 5), channels=(8, 4), init="kaiming"), (1, 1, 61, 61), 1),
        (lambda: EDSR(2, 4, 8, init="torch"), (1, 3, 41, 41), 2),
        (lambda: EDSR(4, 4, 8, init="torch"), (1, 3, 41, 41), 4),
        (lambda: DnCNN(17, 4), (1, 1, 61, 61), 1),
        (lambda: GRUNet(2), (1, 2, 1, 16, 640), 1),
    ],
)
def test_no_output_sees_further_than_the_reach(network, shape, scale):
    """Where the gradient of one block of output pixels ends, in each network's input."""
    network = randomized(network()).double()
    x = torch.rand(shape).double().requires_grad_()
    grid, farthest = getattr(network, "grid", 1), 0
    for start in range(shape[-1] // 2 // grid * grid, shape[-1] // 2 + 1, grid):
        pixels = network(x)[..., start * scale : (start + grid) * scale]
        (gradient,) = torch.autograd.grad(pixels.sum(), x)
        seen = gradient.abs().amax(dim=tuple(range(x.ndim - 1))).nonzero()
        farthest = max(farthest, start - seen.min(), seen.max() - (start + grid - 1))
    # Rectified or in doubles, far paths may carry nothing: the reach may be a little longer.
    assert network.reach - 2 <= farthest <= network.reach


def test_plans():
    # the deepest path: 17 convolutions; 6 pixels of the upsampled image are 2, bicubic takes 2
    assert tiling.plan(DnCNN(), Denoising()) == (512, 17)
    assert tiling.plan(SRCNN(), SuperResolution(3)) == (170, 4)
    assert tiling.plan(EDSR(3), SuperResolution(3, "rgb", False)) == (216, 36)
    grunet = tiling.plan(GRUNet(2), Denoising(noise_map=True), tile=100)
    assert grunet == (112, 144)  # on the grid of 16
    assert tiling.plan(DnCNN(), Denoising(), tile=0) == (0, 0)
    assert tiling.plan(nn.Identity(), Denoising()) == (0, 0)  # nothing known of its reach
    with refuses(ConfigError, "tile", "-1"):
        tiling.plan(DnCNN(), Denoising(), tile=-1)
