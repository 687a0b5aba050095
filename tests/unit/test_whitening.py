"""Whitening of a first layer's inputs: what it changes, and what it leaves."""

import pytest
import torch
from helpers import refuses, train
from torch import nn

from asyrepro import whitening
from asyrepro.models import SRCNN
from asyrepro.system.errors import ConfigError
from asyrepro.training import checkpoint


def correlated(n=64, side=16):
    """Patches whose neighbouring pixels are alike: smoothed noise of unit range."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(n, 1, side + 6, side + 6, generator=generator)
    return nn.functional.avg_pool2d(noise, 7, stride=1)


def test_function_is_unchanged_before_and_after_folding():
    torch.manual_seed(0)
    network, inputs = SRCNN(init="kaiming"), correlated()
    before = network(inputs)
    weight = network.extract.weight.detach().clone()
    whitening.whiten(network.extract, inputs)
    assert torch.allclose(network(inputs), before, atol=1e-5)
    whitening.fold(network)
    assert type(network.extract) is nn.Conv2d
    assert torch.allclose(network.extract.weight, weight, atol=1e-5)


@pytest.mark.parametrize("floor", [0, 0.5])
def test_inputs_are_white_in_the_learnt_coordinates_but_for_the_floor(floor):
    layer, inputs = nn.Conv2d(1, 4, 3), correlated(2000, 3)
    whitening.whiten(layer, inputs, floor)
    matrix = layer.parametrizations.weight[0].matrix.double()
    windows = inputs.flatten(1).double()
    before, after = (torch.linalg.eigvalsh(torch.cov(x.T)) for x in (windows, windows @ matrix))
    expected = before / (before / before.mean() + floor)  # all equal without a floor
    assert torch.allclose(after, expected, atol=1e-4)


def test_one_step_descends_along_the_whitened_gradient():
    # Gradient descent of rate r on V changes W = V M by -r dL/dW M' M.
    torch.manual_seed(0)
    inputs = correlated()
    plain, white = nn.Conv2d(1, 2, 3, bias=False), nn.Conv2d(1, 2, 3, bias=False)
    white.load_state_dict(plain.state_dict())
    whitening.whiten(white, inputs)
    matrix = white.parametrizations.weight[0].matrix
    for layer in (plain, white):
        layer(inputs).square().mean().backward()
    with torch.no_grad():
        original = white.parametrizations.weight.original
        original -= 0.1 * original.grad
    step = (plain.weight.grad.flatten(1) @ matrix.T @ matrix).view_as(plain.weight)
    expected = plain.weight - 0.1 * step
    assert torch.allclose(white.weight, expected, atol=1e-6)


def test_autocast_trains_the_weight_that_is_folded_in_float32():
    # In bfloat16 the product of V and M would be wrong by a tenth: another network than is saved.
    # So would the gradient of V be, as M multiplies its smallest directions most.
    torch.manual_seed(0)
    layer, inputs = nn.Conv2d(1, 4, 9), correlated(200, 12)
    whitening.whiten(layer, inputs)
    coordinates = layer.parametrizations.weight.original
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            output = layer(inputs)
            seen = layer.weight.detach().clone()
        output.float().square().mean().backward()
        found.append((output, coordinates.grad.clone()))
        coordinates.grad = None
    (output, gradient), (under, other) = found
    assert torch.equal(output, under.float()) and torch.equal(gradient, other)
    whitening.fold(layer)
    assert torch.equal(seen, layer.weight)


@pytest.mark.parametrize("layer", [nn.Linear(3, 3), nn.Conv2d(4, 4, 3, groups=2)])
def test_other_layers_are_refused(layer):
    with pytest.raises(ValueError):
        whitening.whiten(layer, correlated())


def trained(root, layer):
    run = train(root, "recipe.steps=4", f"recipe.whiten={layer}")
    return checkpoint.load(run.weights)["network"]


def test_a_run_trains_whitened_and_leaves_plain_weights(tmp_path):
    white, plain = (trained(tmp_path, layer) for layer in ("extract", "null"))
    assert white.keys() == plain.keys() == SRCNN().state_dict().keys()
    assert not torch.allclose(white["extract.weight"], plain["extract.weight"], atol=1e-6)


@pytest.mark.parametrize("name", ["reconstrukt", "border", "map"])
def test_a_layer_that_is_not_there_is_refused(tmp_path, name):
    with refuses(ConfigError, "recipe.whiten", f"'{name}'"):
        trained(tmp_path, name)
