"""The optimiser of short trainings, against the singular value decomposition and torch's Adam."""

import math
from unittest import mock

import pytest
import torch
from helpers import refuses
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from asyrepro.models import EDSR, DnCNN, GRUNet
from asyrepro.muon import Muon, is_hidden, orthogonalized, orthogonalized_together


@pytest.mark.parametrize("iterations", [1, 3, 5])
@pytest.mark.parametrize("shape", [(24, 24), (2, 16, 144), (144, 16)])
def test_orthogonalized_is_newton_and_schulz_iteration(shape, iterations):
    """Against the iteration as Jordan writes it, in float64, down to values of a ten thousandth."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(shape, generator=generator, dtype=torch.float64)
    matrix *= torch.logspace(0, -4, shape[-1])
    x = matrix / torch.linalg.matrix_norm(matrix, keepdim=True)
    for _ in range(iterations):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    assert torch.allclose(orthogonalized(matrix, iterations), x, atol=1e-6)
    assert torch.allclose(orthogonalized(matrix.float(), iterations).double(), x, atol=2e-3)


def test_orthogonalized_does_not_depend_on_the_scale_and_keeps_zero():
    matrix = torch.randn(16, 40, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(orthogonalized(1000 * matrix), orthogonalized(matrix), atol=1e-5)
    assert torch.equal(orthogonalized(torch.zeros(16, 40)), torch.zeros(16, 40))


def test_hidden_layers_are_the_wide_kernels():
    assert is_hidden(nn.Conv2d(64, 64, 3).weight)
    assert is_hidden(nn.Conv3d(16, 32, 3).weight)
    assert not is_hidden(nn.Conv2d(1, 64, 3).weight)  # a first layer
    assert not is_hidden(nn.Conv2d(64, 3, 3).weight)  # a last layer
    assert not is_hidden(nn.Conv2d(64, 64, 3).bias)
    assert not is_hidden(nn.BatchNorm2d(64).weight)


def test_everything_else_is_trained_by_adam():
    torch.manual_seed(0)
    ours, theirs = nn.Conv2d(1, 8, 3), nn.Conv2d(1, 8, 3)
    theirs.load_state_dict(ours.state_dict())
    muon = Muon(ours.parameters(), lr=0.02, adam=0.15, eps=0.01)
    adam = torch.optim.Adam(theirs.parameters(), lr=0.003, eps=0.01)
    for _ in range(5):
        x = torch.rand(2, 1, 8, 8)
        for network, optimizer in ((ours, muon), (theirs, adam)):
            optimizer.zero_grad()
            network(x).square().mean().backward()
            optimizer.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(mine, other, rtol=1e-5, atol=1e-7)


def test_one_step_of_a_hidden_layer_by_its_singular_vectors():
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 24, 3, bias=False)
    before, gradient = layer.weight.detach().clone(), torch.randn(24, 16, 3, 3)
    layer.weight.grad = gradient
    Muon(layer.parameters(), lr=0.01).step()
    u, _, vh = torch.linalg.svd(gradient.flatten(1), full_matrices=False)
    step = (before - layer.weight.detach()).flatten(1)
    sizes = (u.T @ step @ vh.T).diagonal() / (0.01 * 0.2 * 144**0.5)
    assert sizes.min() > 0.6 and sizes.max() < 1.3


def test_steps_of_a_matrix_are_torchs():
    """Torch's iterations are in bfloat16."""
    options = {"lr": 0.01, "momentum": 0.8}
    ours, theirs = (nn.Parameter(torch.ones(24, 40)) for _ in range(2))
    optimizers = (
        Muon([ours], decay=0.1, **options),
        torch.optim.Muon([theirs], weight_decay=0.1, adjust_lr_fn="match_rms_adamw", **options),
    )
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        ours.grad = theirs.grad = torch.randn(24, 40, generator=generator)
        for optimizer in optimizers:
            optimizer.step()
    change = (theirs - 1).norm()
    assert (ours - theirs).norm() < 0.03 * change and change > 0.1


def test_each_part_of_a_gated_kernel_is_a_matrix_of_its_own():
    torch.manual_seed(0)
    gated, gradient = nn.Conv2d(16, 48, 3, bias=False), torch.randn(48, 16, 3, 3)
    before, gated.weight.grad = gated.weight.detach().clone(), gradient
    Muon(gated.parameters(), lr=0.01, parts=2).step()
    for rows in (slice(0, 24), slice(24, 48)):
        alone = nn.Conv2d(16, 24, 3, bias=False)
        with torch.no_grad():
            alone.weight.copy_(before[rows])
        alone.weight.grad = gradient[rows]
        Muon(alone.parameters(), lr=0.01).step()
        assert torch.allclose(gated.weight[rows], alone.weight, atol=1e-6)


@pytest.mark.parametrize(("largest", "adam"), [(23, True), (24, False)])
def test_kernels_above_the_largest_are_left_to_adam(largest, adam):
    layer = nn.Conv2d(16, 48, 3, bias=False)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.randn(48, 16, 3, 3, generator=torch.Generator().manual_seed(0))
    Muon(layer.parameters(), lr=0.01, adam=0.5, parts=2, largest=largest).step()
    steps = (before - layer.weight.detach()) / (0.01 * 0.5)  # Adam's first is the gradient's sign
    assert torch.allclose(steps.abs(), torch.ones(()), atol=1e-3) == adam


def test_memory_layout_makes_no_difference():
    weights = []
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        layer = nn.Conv2d(16, 16, 3).to(memory_format=layout)
        optimizer = Muon(layer.parameters(), lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            layer(torch.rand(1, 16, 6, 6)).square().mean().backward()
            optimizer.step()
        weights.append(layer.weight.detach().contiguous())
    assert torch.allclose(*weights, atol=1e-5)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("lr", 0.0), ("momentum", 1.0), ("adam", -1), ("parts", 0), ("decay", -0.1)),
        *(("lr", math.inf), ("betas", (0.9, 2)), ("iterations", 2.5)),
        ("iterations", 6),
    ],
)
def test_rates_that_cannot_be(setting, value):
    with refuses(ValueError, setting, value):
        Muon(nn.Conv2d(1, 1, 1).parameters(), **{setting: value})
    if setting in ("lr", "momentum", "adam"):
        with refuses(ValueError, setting, value):
            Muon([{"params": nn.Conv2d(1, 1, 1).parameters(), setting: value}])
    with refuses(ValueError, "decay"):  # a group has none of its own
        Muon([{"params": nn.Conv2d(1, 1, 1).parameters(), "decay": 0.5}])


def test_decay_takes_its_share_of_the_hidden_kernels_alone():
    def stepped(decay):
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Conv2d(1, 16, 3), nn.Conv2d(16, 24, 3, bias=False))
        before = [p.detach().clone() for p in layers.parameters()]
        layers(torch.rand(1, 1, 8, 8)).square().mean().backward()
        Muon(layers.parameters(), lr=0.01, decay=decay).step()
        return before, list(layers.parameters())

    (_, _, kernel), (first, bias, plain) = stepped(0.0)
    _, (first_too, bias_too, decayed) = stepped(0.5)
    assert torch.equal(first, first_too) and torch.equal(bias, bias_too)  # Adam's
    assert torch.allclose(decayed, plain - 0.01 * 0.5 * kernel, atol=1e-7)


# ------------------------------------------------------------------ all shapes at once, for CUDA


@pytest.mark.parametrize(
    "orthogonalize", [orthogonalized, lambda *a: orthogonalized_together([a[0]], a[1])]
)
@pytest.mark.parametrize("iterations", [0, 6])
def test_iterations_that_float32_does_not_bear_are_refused(orthogonalize, iterations):
    with pytest.raises(ValueError, match="iterations"):
        orthogonalize(torch.eye(2), iterations)


@pytest.mark.parametrize("iterations", [3, 5])
def test_matrices_of_many_shapes_are_orthogonalized_together(iterations):
    generator = torch.Generator().manual_seed(0)
    shapes = [(16, 144), (144, 16), (24, 24), (16, 144), (32, 40)]
    matrices = [torch.randn(shape, generator=generator) for shape in shapes]
    found = orthogonalized_together(matrices, iterations)
    for matrix, other in zip(matrices, found, strict=True):
        torch.testing.assert_close(other, orthogonalized(matrix, iterations), atol=1e-5, rtol=1e-5)


def gated():
    """Kernels of several shapes, layouts and kinds, a gated one among them."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, bias=False), nn.Conv2d(16, 32, 3, bias=False), nn.BatchNorm2d(32),
        nn.Conv2d(32, 16, 1), nn.Conv2d(16, 48, 3),
    )  # fmt: skip
    return network.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("options", [{}, {"parts": 2, "decay": 0.1, "largest": 20}])
@pytest.mark.parametrize("tensors", [False, True])
def test_all_shapes_at_once_take_the_same_step(options, tensors):
    networks, weights = (gated(), gated()), []
    for number, network in enumerate(networks):
        optimizer = Muon(network.parameters(), lr=0.01, **options)
        if number and tensors:  # as in a captured step
            optimizer.param_groups[0]["lr"] = torch.tensor(0.01)
        with mock.patch.object(Muon, "batches", lambda self, p, number=number: bool(number)):
            for step in range(4):
                x = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(step))
                x = x.contiguous(memory_format=torch.channels_last)
                optimizer.zero_grad()
                network(x).square().mean().backward()
                optimizer.step()
        weights.append([p.detach() for p in network.parameters()])
    for a, b in zip(*weights, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


class Counter(TorchDispatchMode):
    """Counts operations that compute something, as each of them is a kernel on a GPU at least."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function.namespace == "aten" and not function.is_view
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("make", "parts", "most"),
    [(GRUNet, 2, 180), (EDSR, 1, 80), (DnCNN, 1, 80)],
    ids=["GRUNet", "EDSR", "DnCNN"],
)
def test_all_shapes_at_once_are_few_operations(make, parts, most):
    counts = []
    for batched in (False, True):
        shapes = [p.shape for p in make().parameters()]
        with FakeTensorMode():
            kernels = []
            for shape in shapes:
                layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
                kernels.append(nn.Parameter(torch.empty(shape).to(memory_format=layout)))
                kernels[-1].grad = torch.empty_like(kernels[-1])
            optimizer = Muon(kernels, parts=parts)
            with mock.patch.object(Muon, "batches", lambda self, p, now=batched: now):
                optimizer.step()  # makes the state
                with Counter() as counter:
                    optimizer.step()
        counts.append(counter.count)
    assert counts[1] <= most and counts[1] < counts[0], counts
