"""The asymmetric loss against hand-worked numbers (for random ones see test_properties.py)."""

import math

import numpy as np
import pytest
import skimage
import torch
from helpers import ROOT, refuses
from hydra.utils import instantiate
from omegaconf import OmegaConf
from synthetic import reference_mask
from torch import nn
from torch._subclasses import FakeTensorMode

from asyrepro.degradation import reduce, upsample
from asyrepro.losses import (
    AsymmetricLoss,
    CharbonnierLoss,
    FocalFrequencyLoss,
    GradientLoss,
    SumOfLosses,
    asymmetric_weight,
)

CONFIGS = sorted((ROOT / "configs" / "loss").glob("*.yaml"))


def image(*values: float) -> torch.Tensor:
    """A batch of one grey image of one row."""
    return torch.tensor(values).view(1, 1, 1, -1)


def random_pair(*shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    label = torch.rand(shape, generator=generator)
    return label + 0.1 * torch.randn(shape, generator=generator), label


# --- the weight, eq. (2) -------------------------------------------------------------------------


def test_weight_of_black_grey_and_white():
    # 0.5 tanh(1e10) + 0.5 = 1;  tanh 2 = 0.9640276;  tanh 1 = 0.7615942
    mask = asymmetric_weight(image(0.0, 0.5, 1.0))
    assert mask.flatten().tolist() == pytest.approx([1.0, 0.9820138, 0.8807971], abs=1e-6)


def test_weight_of_rgb_is_one_mask_from_the_luma():
    red, green, blue = torch.eye(3)
    label = torch.stack([red, green, blue, torch.ones(3)], dim=1).view(1, 3, 1, 4)
    mask = asymmetric_weight(label)
    assert mask.shape == (1, 1, 1, 4)
    # 0.5 tanh(x) + 0.5 = 1 / (1 + exp(-2 x)), the logistic function of 2 x
    expected = [1 / (1 + math.exp(-2 / grey)) for grey in (0.299, 0.587, 0.114, 1.0)]
    assert mask.flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_values_slightly_outside_weigh_like_black_and_white():
    mask = asymmetric_weight(image(-0.1, 0.0, 1.0, 1.1)).flatten()
    assert mask[0] == mask[1]
    assert mask[3] == mask[2]


# --- Table 1 -------------------------------------------------------------------------------------


def test_table1_both_readings_of_the_quartile():
    label = image(0.1, 0.2, 0.3, 0.4, 0.5)
    # quartiles of the five values: 0.2 and 0.4; at the pixel 0.4 tanh(0.5) and tanh(1)
    low = asymmetric_weight(label, variant="table1", quartile=0.25)
    high = asymmetric_weight(label, variant="table1", quartile=0.75)
    assert low[0, 0, 0, 3].item() == pytest.approx(0.5 * 0.4621172 + 0.5, abs=1e-6)
    assert high[0, 0, 0, 3].item() == pytest.approx(0.5 * 0.7615942 + 0.5, abs=1e-6)


def test_table1_with_a_threshold_by_hand():
    # Q of 0.1, 0.2, 0.4, 0.8 is 0.175: darker pixels weigh 1, brighter ones 0.175 / I.
    label = image(0.1, 0.2, 0.4, 0.8)
    options = {"variant": "table1", "squash": "threshold"}
    mask = asymmetric_weight(label, **options)
    assert mask.flatten().tolist() == pytest.approx([1, 0.875, 0.4375, 0.21875], abs=1e-6)
    loss = AsymmetricLoss("mse", reduction="sum", **options)(label + 1, label)
    assert loss.item() == pytest.approx(1 + 0.875**2 + 0.4375**2 + 0.21875**2, abs=1e-5)


@pytest.mark.parametrize(("squash", "weight"), [("tanh", 0.5), ("threshold", 0)])
def test_table1_of_an_image_whose_quartile_is_black(squash, weight):
    label = torch.tensor([0.0, 0, 0.5, 1]).view(1, 1, 2, 2)
    options = {"variant": "table1", "squash": squash}
    assert (asymmetric_weight(label, **options) == weight).all()
    assert (asymmetric_weight(label, **options, normalize=True) == min(2 * weight, 1)).all()


# --- the shuffled control ------------------------------------------------------------------------


@pytest.mark.parametrize("grey", [True, False])
def test_shuffle_keeps_each_images_weights_and_follows_the_global_seed(grey):
    label = random_pair(3, 3, 8, 8)[1]
    plain = asymmetric_weight(label, grey=grey)
    torch.manual_seed(5)
    first = asymmetric_weight(label, grey=grey, shuffle=True)
    second = asymmetric_weight(label, grey=grey, shuffle=True)
    torch.manual_seed(5)
    assert torch.equal(first, asymmetric_weight(label, grey=grey, shuffle=True))
    assert not torch.equal(first, second)
    assert not torch.equal(first, plain)
    assert torch.equal(first.flatten(2).sort().values, plain.flatten(2).sort().values)


def test_shuffle_permutes_images_independently_and_channels_together():
    label = torch.linspace(0, 1, 64).view(1, 1, 8, 8).expand(2, 3, 8, 8)
    mask = asymmetric_weight(label, grey=False, shuffle=True)
    assert not torch.equal(mask[0], mask[1])
    assert torch.equal(mask[:, 0], mask[:, 1])


def test_only_shuffle_draws_random_numbers():
    output, label = random_pair(1, 1, 4, 4)
    before = torch.get_rng_state()
    AsymmetricLoss()(output, label)
    assert torch.equal(torch.get_rng_state(), before)
    AsymmetricLoss(shuffle=True)(output, label)
    assert not torch.equal(torch.get_rng_state(), before)


# --- the loss, eq. (3)-(5) -----------------------------------------------------------------------


def test_loss_by_hand():
    label, output = image(0.0, 0.5, 1.0), image(0.3, 0.3, 0.9)
    # |error| 0.3, 0.2, 0.1; weights 1, 0.9820138, 0.8807971
    assert AsymmetricLoss("mae")(output, label).item() == pytest.approx(0.1948275, abs=1e-6)
    assert AsymmetricLoss("mse")(output, label).item() == pytest.approx(0.0460295, abs=1e-6)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_loss_weight_multiplies_the_loss(reduction):
    output, label = random_pair(2, 3, 4, 5)
    whole, share = (AsymmetricLoss(reduction=reduction, loss_weight=w) for w in (1.0, 0.1))
    torch.testing.assert_close(share(output, label), 0.1 * whole(output, label))


@pytest.mark.parametrize("variant", ["equation", "table1"])
def test_no_gradient_flows_through_the_mask(variant):
    output, label = random_pair(2, 3, 4, 5)
    label.requires_grad_()
    mask = asymmetric_weight(label, variant=variant)
    AsymmetricLoss("mse", variant=variant, reduction="sum")(output, label).backward()
    power = 2 if variant == "table1" else 1
    expected = (2 * mask**power * (label - output)).detach()  # with the mask held constant
    assert torch.allclose(label.grad, expected, atol=1e-6)


# --- precision, compilation, devices -------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("variant", ["equation", "table1"])
def test_float32_under_autocast(dtype, variant):
    output, label = random_pair(2, 3, 6, 7)
    low = output.to(dtype).requires_grad_()
    criterion = AsymmetricLoss("mse", variant=variant)
    expected = criterion(low.detach().float(), label)
    with torch.autocast("cpu", dtype=dtype):
        loss = criterion(low, label)
        mask = asymmetric_weight(label.to(dtype), variant=variant)
    assert loss.dtype == mask.dtype == torch.float32
    assert loss.item() == expected.item()
    loss.backward()
    assert low.grad.dtype == dtype
    assert torch.isfinite(low.grad).all()


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("variant", ["equation", "table1"])
def test_compiles_without_graph_breaks(variant, shuffle):
    output, label = random_pair(2, 3, 6, 7)
    output.requires_grad_()
    criterion = AsymmetricLoss(
        "mse", variant=variant, mask_minmax=True, invert=True, normalize=True, shuffle=shuffle
    )
    compiled = torch.compile(criterion, fullgraph=True, backend="eager")
    results = []
    for function in (criterion, compiled):
        output.grad = None
        torch.manual_seed(3)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = function(output, label)
        loss.backward()
        results.append((loss.detach(), output.grad))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("base", ["mae", "mse"])
def test_works_under_vmap_one_gradient_an_image(base):
    output, label = random_pair(3, 1, 3, 4, 5)
    criterion = AsymmetricLoss(base)
    losses = torch.vmap(criterion)(output, label)
    gradients = torch.vmap(torch.func.grad(criterion))(output, label)
    for index in range(3):
        alone = output[index].clone().requires_grad_()
        criterion(alone, label[index]).backward()
        assert losses[index].item() == pytest.approx(criterion(alone, label[index]).item())
        torch.testing.assert_close(gradients[index], alone.grad)


@pytest.mark.parametrize("base", ["mae", "mse"])
@pytest.mark.parametrize("kind", ["meta", "fake"])
def test_works_on_tensors_without_values(base, kind):
    with FakeTensorMode() if kind == "fake" else torch.device("meta"):
        output, label = torch.empty(2, 3, 4, 5, requires_grad=True), torch.empty(2, 3, 4, 5)
        AsymmetricLoss(base)(output, label).backward()
    assert output.grad.shape == output.shape


# --- bad input -----------------------------------------------------------------------------------


def second_call(label):
    """On the CPU every call of a loss is checked."""
    criterion = AsymmetricLoss()
    criterion(image(0.5), image(0.5))
    criterion(label, label)


@pytest.mark.parametrize("call", [asymmetric_weight, second_call])
@pytest.mark.parametrize(
    ("label", "error", "names"),
    [
        (np.zeros((1, 1, 2, 2)), TypeError, ["torch.Tensor", "ndarray"]),
        (torch.zeros(1, 1, 2, 2, dtype=torch.uint8), TypeError, ["torch.uint8", "255"]),
        (torch.zeros(1, 1, 2, 2, dtype=torch.complex64), TypeError, ["complex64"]),
        (torch.zeros(1, 2, 2), ValueError, ["(1, 2, 2)", "(N, C, H, W)"]),
        (torch.zeros(0, 1, 2, 2), ValueError, ["(0, 1, 2, 2)"]),
        (image(0.5, float("nan")), ValueError, ["label", "NaN"]),
        (image(0.5, float("inf")), ValueError, ["inf"]),
        (image(0.0, 255.0), ValueError, ["from 0 to 255", "by 255"]),
        (image(-1.0, 1.0), ValueError, ["from -1 to 1", "[-1, 1]"]),
        (image(0.0, 0.9) - 0.45, ValueError, ["from -0.45 to 0.45", "mean"]),
    ],
)
def test_bad_images_are_refused(call, label, error, names):
    with refuses(error, *names):
        call(label)


def test_overshoot_of_bicubic_resampling_is_no_other_range():
    camera = torch.from_numpy(skimage.data.camera() / np.float32(255))[None, None]
    label = upsample(reduce(camera, 2), 2)
    assert label.min() < 0 and label.max() > 1
    assert AsymmetricLoss()(label, label) == 0


KINDS = [
    AsymmetricLoss, CharbonnierLoss, GradientLoss, FocalFrequencyLoss,
    lambda: SumOfLosses([nn.L1Loss()], [1.0], [False]),
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_images_that_are_no_pair_are_refused(kind):
    with refuses(ValueError, "(2, 1, 4, 4)", "(2, 3, 4, 4)"):  # even where they broadcast
        kind()(torch.zeros(2, 1, 4, 4), torch.zeros(2, 3, 4, 4))
    with refuses(ValueError, "output", "(4, 4)"):
        kind()(torch.zeros(4, 4), torch.zeros(4, 4))
    whole = torch.zeros(1, 1, 2, 2, dtype=torch.int64)
    with refuses(TypeError, "output", "torch.int64"):
        kind()(whole, whole.float())
    with refuses(TypeError, "label", "torch.int64"):
        kind()(whole.float(), whole)


def test_a_diverged_output_is_not_refused():
    assert AsymmetricLoss()(image(float("nan")), image(0.5)).isnan()


def test_checks_of_values_can_be_skipped():
    label = image(0.0, 255.0)
    assert asymmetric_weight(label, validate=False)[0, 0, 0, 1].item() == pytest.approx(0.8807971)
    assert AsymmetricLoss(validate=False)(label, label).item() == 0


@pytest.mark.parametrize(
    ("option", "value", "choices"),
    [
        ("base", "l1", ["'mae'", "'mse'"]),
        ("reduction", "avg", ["'none'", "'mean'", "'sum'"]),
        ("variant", "table2", ["'equation'", "'table1'"]),
        ("quartile", 25, ["0.25", "0.75"]),
        ("squash", "th", ["'tanh'", "'threshold'"]),
    ],
)
def test_unknown_options_are_refused(option, value, choices):
    with refuses(ValueError, option, value, *choices):
        AsymmetricLoss(**{option: value})


@pytest.mark.parametrize("option", [{"quartile": 0.75}, {"squash": "threshold"}])
def test_options_of_table1_are_refused_without_it(option):
    assert "0.75" in repr(AsymmetricLoss(variant="table1", quartile=0.75))
    with refuses(ValueError, *option, "variant"):
        AsymmetricLoss(**option)


# --- configs/loss --------------------------------------------------------------------------------


PAPERS = [path for path in CONFIGS if "base" not in OmegaConf.load(path)]


@pytest.mark.parametrize(
    "path", [p for p in CONFIGS if p not in PAPERS], ids=lambda path: path.stem
)
def test_every_other_loss_names_its_base_and_is_led_to_the_label(path):
    config = OmegaConf.load(path)
    assert config.name == path.stem and config.base in ("mae", "mse")
    criterion = instantiate(config.criterion)
    label = random_pair(2, 1, 48, 48)[1]
    output = (label + 0.2 * torch.randn(label.shape)).requires_grad_()  # beyond [0, 1] too
    first = criterion(output, label)
    optimizer = torch.optim.Adam([output], lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        criterion(output, label).backward()
        optimizer.step()
    assert first.ndim == 0 and criterion(output, label) < 0.1 * first
    assert criterion(label, label).item() == pytest.approx(0, abs=2e-3)


def test_charbonnier_and_gradient_loss_by_hand():
    label, output = image(0.0, 0.5, 0.5), image(0.3, 0.5, 0.9)
    expected = (math.hypot(0.3, 0.4) + 0.4 + math.hypot(0.4, 0.4)) / 3
    assert CharbonnierLoss(0.4)(output, label).item() == pytest.approx(expected)
    label, output = label.expand(1, 1, 2, 3), output.expand(1, 1, 2, 3)
    assert GradientLoss()(output, label).item() == pytest.approx((0.3 + 0.4) / 2)
    with pytest.raises(ValueError, match="single"):
        GradientLoss()(output[..., :1], label[..., :1])


def test_focal_frequency_loss_of_one_frequency_is_its_power():
    # A cosine of amplitude a on 8 x 8 pixels has two coefficients of a * 8 / 2, each of weight 1.
    wave = 0.2 * torch.cos(2 * math.pi * torch.arange(8) / 8).expand(1, 1, 8, 8)
    loss = FocalFrequencyLoss()(0.5 + wave, torch.full_like(wave, 0.5))
    assert loss.item() == pytest.approx(2 * (0.2 * 4) ** 2 / 64, rel=1e-4)
    # Of two such waves, one half as strong, the weaker weighs half: 1 + 0.5 * 0.25.
    output = (0.5 + wave + wave.mT / 2).requires_grad_()
    loss = FocalFrequencyLoss()(output, torch.full_like(wave, 0.5))
    assert loss.item() == pytest.approx(1.125 * 2 * (0.2 * 4) ** 2 / 64, rel=1e-4)
    loss.backward()  # the weights are constants: 2 error / 64, the weaker one's halved
    torch.testing.assert_close(output.grad, (wave + wave.mT / 4) / 32, rtol=1e-4, atol=1e-6)
    # Each channel is weighed by its own largest error.
    both = torch.cat([output, 0.5 + 0.1 * (output - 0.5)], dim=1)
    alone = loss.item(), 0.01 * loss.item()
    loss = FocalFrequencyLoss()(both, torch.full_like(both, 0.5))
    assert loss.item() == pytest.approx(sum(alone) / 2, rel=1e-4)


@pytest.mark.parametrize("kind", [CharbonnierLoss, GradientLoss, FocalFrequencyLoss])
def test_other_losses_are_computed_in_float32(kind):
    low = [tensor.bfloat16() for tensor in random_pair(2, 3, 8, 8)]
    assert torch.equal(kind()(*low), kind()(*(tensor.float() for tensor in low)))


@pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)
def test_config_gives_the_loss_that_its_name_says(path):
    config = OmegaConf.load(path)
    assert config.name == path.stem
    criterion = instantiate(config.criterion)
    output, label = random_pair(2, 3, 16, 16)
    loss = criterion(output, label)

    error = (output - label).abs()
    error = error**2 if "mse" in path.stem else error
    weight = 1
    if path.stem.startswith("asy"):
        control = path.stem.split("_", 2)[2] if path.stem.count("_") == 2 else ""
        weight = reference_mask(
            label.numpy(),
            variant="table1" if control == "table1" else "equation",
            invert=control == "inverted",
            normalize=control == "normalized",
        )
        if control == "table1" and "mse" in path.stem:
            weight = weight**2
        if control == "shuffled":  # the same weights on average, at other pixels
            assert criterion(output, label) != loss
            assert loss.item() == pytest.approx((weight.mean() * error.mean()).item(), rel=0.01)
            return
    assert loss.item() == pytest.approx((weight * error.numpy()).mean(), rel=1e-4)
