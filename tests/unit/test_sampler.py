"""The patch sampler against plain slicing."""

import pytest
import torch
from helpers import refuses

from asyrepro.data import sampler as module
from asyrepro.data.sampler import PatchSampler
from asyrepro.system.errors import ConfigError, DataError
from asyrepro.tasks import Denoising, SuperResolution, Task


def numbered(count=3, channels=1):
    """Images of different sizes with random pixels."""
    generator = torch.Generator().manual_seed(1)
    sizes = [(40, 52), (64, 33), (37, 41), (90, 80)][:count]
    return [
        torch.randint(0, 256, (channels, h, w), dtype=torch.uint8, generator=generator)
        for h, w in sizes
    ]


def turns(patch):
    """The eight orientations of a (C, P, P) patch."""
    return [torch.rot90(p, k, (1, 2)) for p in (patch, patch.flip(2)) for k in range(4)]


def find(patch, images):
    """Positions (image, top, left) of which the patch is one of the eight orientations."""
    side = patch.shape[-1]
    found = []
    for number, image in enumerate(images):
        windows = image.unfold(1, side, 1).unfold(2, side, 1)  # (C, rows, columns, P, P)
        for turned in turns(patch):
            same = (windows == turned[:, None, None]).all(dim=(0, 3, 4))
            found += [(number, *place) for place in same.nonzero().tolist()]
    return found


@pytest.mark.parametrize("channels", [1, 3])
def test_every_patch_is_a_window_of_an_image(channels):
    images = numbered(channels=channels)
    sampler = PatchSampler(images, Denoising(0), patch=9, batch=24, seed=0)
    inputs, labels = next(sampler)
    assert torch.equal(inputs, labels)  # sigma = 0
    assert labels.shape == (24, channels, 9, 9)
    places = [find((patch * 255).round().to(torch.uint8), images) for patch in labels]
    assert all(len(place) == 1 for place in places)
    assert {place[0][0] for place in places} == {0, 1, 2}


def test_all_orientations_and_all_corners_are_drawn():
    image = torch.arange(16, dtype=torch.uint8).reshape(1, 4, 4)
    sampler = PatchSampler([image], Denoising(0), patch=3, batch=600, seed=0)
    _, labels = next(sampler)
    seen = {tuple((patch * 255).round().int().flatten().tolist()) for patch in labels}
    possible = {
        tuple(turned.int().flatten().tolist())
        for top in (0, 1)
        for left in (0, 1)
        for turned in turns(image[:, top : top + 3, left : left + 3])
    }
    assert seen == possible  # 4 corners x 8 orientations, none missing, none invented
    [whole] = next(PatchSampler([image], Denoising(0), patch=4, batch=1, seed=0))[1]
    assert any(torch.equal((whole * 255).round(), turned) for turned in turns(image))


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("enlarged", [True, False])
def test_super_resolution_patches_are_cut_from_the_whole_images_pair(scale, enlarged):
    # What the network sees in a patch is what it would see there in the whole image.
    images = [image[:, :36, :36] for image in numbered(2)]
    task = SuperResolution(scale, enlarged=enlarged)
    sampler = PatchSampler(images, task, patch=12, batch=6, seed=3, augment=False)
    inputs, labels = next(sampler)
    step = 1 if enlarged else scale
    for x, y in zip(inputs, labels, strict=True):
        [(number, top, left)] = [
            place
            for place in find((y * 255).round().to(torch.uint8), images)
            if torch.equal(
                images[place[0]][:, place[1] : place[1] + 12, place[2] : place[2] + 12],
                (y * 255).round().to(torch.uint8),
            )
        ]
        whole, _ = task.test_pair(images[number], "")
        rows, columns = (slice(p // step, p // step + 12 // step) for p in (top, left))
        torch.testing.assert_close(x, whole[0][:, rows, columns], atol=2e-6, rtol=0)


def test_augmented_pairs_stay_aligned():
    # A ramp: upsampling keeps it, so input and label agree whatever the orientation.
    ramp = torch.arange(0, 240, 4, dtype=torch.uint8).repeat(60, 1)[None]
    inputs, labels = next(PatchSampler([ramp], SuperResolution(3), patch=18, batch=32, seed=0))
    assert (inputs - labels).abs().max() < 3 / 255


def test_one_seed_gives_one_sequence():
    def sampler(seed):
        return PatchSampler(numbered(), Denoising(25), patch=8, batch=4, seed=seed)

    first, second = sampler(5), sampler(5)
    for _ in range(3):
        for a, b in zip(next(first), next(second), strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(next(first)[1], next(sampler(6))[1])


@pytest.mark.parametrize("task", [SuperResolution(2), Denoising(25)])
def test_batches_made_at_once_are_those_made_one_by_one(task, monkeypatch):
    def sampler(ahead):
        monkeypatch.setitem(module.AHEAD, "cpu", ahead * 3 * 8 * 8)
        return PatchSampler(numbered(), task, patch=8, batch=3, seed=5)

    single, block = sampler(1), sampler(4)
    for number in range(10):
        for one, other in zip(next(single), next(block), strict=True):
            assert torch.equal(one, other)
        continued = sampler(4)  # from every place of a block
        continued.load_state_dict(block.state_dict())
        expected = sampler(1)
        for _ in range(number + 1):
            next(expected)
        for one, other in zip(next(expected), next(continued), strict=True):
            assert torch.equal(one, other)


def test_images_are_drawn_by_area():
    small, large = torch.zeros(1, 10, 10), torch.full((1, 30, 30), 255)
    images = [small.to(torch.uint8), large.to(torch.uint8)]
    _, labels = next(PatchSampler(images, Denoising(25), patch=4, batch=4000, seed=0))
    assert labels.mean().item() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize(
    ("change", "error", "names"),
    [
        ({"patch": 0}, ConfigError, ["patch is 0"]),
        ({"batch": 0}, ConfigError, ["batch is 0"]),
        ({"patch": 10}, ConfigError, ["patch is 10", "scale 3"]),
        ({"patch": 60}, DataError, ["patch", "39"]),
        ({"images": []}, DataError, []),
    ],
)
def test_what_cannot_be_sampled_is_refused(change, error, names):
    images = change.pop("images", numbered(1))
    settings = {"patch": 9, "batch": 4, "seed": 0, **change}
    with refuses(error, *names):
        PatchSampler(images, SuperResolution(3), **settings)


def test_the_smallest_image_is_named():
    images = [torch.zeros(1, *size, dtype=torch.uint8) for size in [(30, 30), (16, 20), (19, 40)]]
    with refuses(DataError, "'b'", "16 x 20", "2 of the 3"):
        PatchSampler(images, Denoising(25), patch=24, batch=1, seed=0, names=["a", "b", "c"])
    images[1] = torch.zeros(1, 1, 50, dtype=torch.uint8)  # of less than a low-resolution pixel
    with refuses(DataError, "'b'", "2 of the 3"):
        PatchSampler(images, SuperResolution(3), patch=9, batch=1, seed=0, names=["a", "b", "c"])


class Own(Task):
    """A task whose stored image is what a function makes of the label."""

    mode, baseline, scale = "grey", "blurred", 2

    def __init__(self, stored):
        self.stored = stored


RETURNED = {
    "float": (lambda x: x[:, ::2, ::2] / 255, "torch.float32"),
    "int64": (lambda x: x[:, ::2, ::2].long(), "torch.int64"),
    "a batch": (lambda x: x[None, :, ::2, ::2], "(1, 1, 32, 31)"),
    "of the label's size": (lambda x: x, "(1, 64, 62)"),
    "a row too few": (lambda x: x[:, 2::2, ::2], "(1, 31, 31)"),
    "an array": (lambda x: x.numpy(), "ndarray"),
    "nothing, at another scale": (lambda x: None, "(1, 64, 62)"),
}


@pytest.mark.parametrize("kind", RETURNED)
def test_a_task_that_stores_what_is_no_image_of_its_scale_is_refused(kind):
    image, (stored, name) = torch.zeros(1, 64, 62, dtype=torch.uint8), RETURNED[kind]
    with refuses(ConfigError, "Own", name):
        PatchSampler([image], Own(stored), patch=8, batch=1, seed=0)


def test_a_task_of_ones_own_is_sampled_where_it_stores_one():
    [image] = numbered(1)
    task = Own(lambda x: x[:, ::2, ::2])
    inputs, labels = next(PatchSampler([image], task, patch=8, batch=20, seed=0, augment=False))
    assert torch.equal(inputs, labels[..., ::2, ::2])
