"""Losses and metrics on images of any shape, type and range: the right value or the stated error.

The values are those of the paper's equations, written out here once more in NumPy's float64.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import reference_mask

from asyrepro import metrics
from asyrepro.losses import AsymmetricLoss, asymmetric_weight

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
DTYPES = (*FLOATING, torch.uint8, torch.int64)
RANGES = {  # lowest and highest value of random images; "levels" are 8-bit images in [0, 1]
    "levels": (0, 1), "unit": (0, 1), "beyond": (-0.12, 1.12), "8 bits": (0, 255),
    "dark": (0, 1e-3), "black": (0, 0), "white": (1, 1), "negative": (-2, 2), "bright": (1, 1.9),
    "nan": (0, 1), "inf": (0, 1),
}  # fmt: skip


def images(shape, dtype, kind, seed):
    """A random tensor; for the kinds "nan" and "inf" with one such value."""
    lowest, highest = RANGES[kind]
    values = np.random.default_rng(seed).uniform(lowest, highest, shape)
    if kind == "levels":
        values = np.round(values * 255) / 255
    if kind in ("nan", "inf") and values.size:
        values.flat[seed % values.size] = float(kind)
    return torch.from_numpy(np.asarray(values)).to(dtype)


def mostly(usual, anything):
    """What is usual in nine cases of ten, so that many examples have a value."""
    return st.integers(0, 9).flatmap(lambda draw: usual if draw else anything)


def tensors(shapes):
    """Pairs of tensors: usually of one shape, floating point, and with values of images."""
    types = mostly(st.sampled_from(FLOATING), st.sampled_from(DTYPES))
    kinds = mostly(
        st.sampled_from(["levels", "unit", "beyond", "dark"]), st.sampled_from([*RANGES])
    )
    seeds = st.integers(0, 2**20)

    def pair(shape):
        other = mostly(st.just(shape), shapes)
        one = st.builds(images, st.just(shape), types, kinds, seeds)
        return st.tuples(st.builds(images, other, types, kinds, seeds), one)

    return shapes.flatmap(pair)


def sizes(*dimensions):
    """Shapes of these dimensions, or of any dimensions, empty ones included."""
    anything = st.lists(st.integers(0, 4), max_size=5).map(tuple)
    return mostly(st.tuples(*dimensions), anything)


def exact(tensor):
    return tensor.double().numpy()


# ------------------------------------------------------------------------------------------ losses


def loss_of(output, label, base, variant, **options):
    """Eq. (3)-(5), or lines 3-5 of Table 1: the loss of each value of a batch, in float64."""
    mask = reference_mask(label, variant=variant, **options)
    if variant == "table1":
        output, label, mask = mask * output, mask * label, 1
    error = np.abs(output - label) if base == "mae" else (output - label) ** 2
    return mask * error


def refused(*batches):
    """The error that the docstrings promise for a batch, or for (output, label); or None."""
    for batch in batches:
        if not batch.is_floating_point():
            return TypeError
        if batch.dim() != 4 or batch.numel() == 0:
            return ValueError
    label = batches[-1]
    wrong_values = not bool(((label >= -0.125) & (label <= 1.125)).all())
    return ValueError if batches[0].shape != label.shape or wrong_values else None


def rounding(output, label, base):
    """How far float32 may be off: in the mask, which is steep in dark pixels, and in the error."""
    error = np.nan_to_num(np.abs(exact(output) - exact(label)), posinf=1).max()
    size = max(1, np.nan_to_num(exact(output), posinf=1).max())
    if base == "mae":
        return 1e-4 * error + 1e-6 * size
    return 1e-4 * error**2 + 2e-6 * size * error


OPTIONS = {
    "variant": st.sampled_from(["equation", "table1"]),
    "quartile": st.sampled_from([0.25, 0.75]),
    **dict.fromkeys(("grey", "mask_minmax", "invert", "normalize"), st.booleans()),
}


def options(**more):
    """Any options of a loss; the quartile is one of Table 1 alone."""
    found = st.fixed_dictionaries(OPTIONS | more)
    return found.map(
        lambda d: d | {"quartile": d["quartile"] if d["variant"] == "table1" else 0.25}
    )


BATCHES = sizes(
    st.integers(1, 3), st.sampled_from([1, 3, 3, 4]), st.integers(1, 9), st.integers(1, 9)
)


@settings(max_examples=150, deadline=None)
@given(
    pair=tensors(BATCHES),
    base=st.sampled_from(["mae", "mse"]),
    reduction=st.sampled_from(["none", "mean", "sum"]),
    options=options(),
)
def test_loss_is_the_papers_or_the_stated_error(pair, base, reduction, options):
    criterion = AsymmetricLoss(base, reduction=reduction, **options)
    error = refused(*pair)
    if error is not None:
        with pytest.raises(error):
            criterion(*pair)
        return
    loss = criterion(*pair)
    expected = loss_of(*map(exact, pair), base=base, **options)
    if reduction != "none":
        expected = expected.mean() if reduction == "mean" else expected.sum()
    double = torch.float64 in (pair[0].dtype, pair[1].dtype)
    assert loss.dtype == (torch.float64 if double else torch.float32)
    assert tuple(loss.shape) == np.shape(expected)
    np.testing.assert_allclose(exact(loss), expected, rtol=1e-3, atol=rounding(*pair, base))


@settings(max_examples=100, deadline=None)
@given(
    label=tensors(BATCHES).map(lambda pair: pair[1]),
    options=options(shuffle=st.booleans()),
)
def test_weight_is_the_papers_or_the_stated_error(label, options):
    error = refused(label)
    if error is not None:
        with pytest.raises(error):
            asymmetric_weight(label, **options)
        return
    mask = exact(asymmetric_weight(label, **options))
    shuffled = options.pop("shuffle")
    expected = reference_mask(exact(label), **options)
    if shuffled:  # the same weights, at other pixels
        mask, expected = (np.sort(m.reshape(*m.shape[:2], -1), axis=2) for m in (mask, expected))
    np.testing.assert_allclose(mask, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("base", ["mae", "mse"])
@pytest.mark.parametrize("variant", ["equation", "table1"])
@pytest.mark.parametrize("options", [{}, {"normalize": True, "mask_minmax": True}, {"grey": False}])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_gradients_are_those_of_finite_differences(base, variant, options, reduction):
    generator = torch.Generator().manual_seed(1)
    label = torch.rand(2, 3, 3, 4, dtype=torch.float64, generator=generator)
    away = torch.rand(label.shape, dtype=torch.float64, generator=generator) / 4 + 0.05
    output = (label + away * torch.where(away > 0.175, 1, -1)).requires_grad_()  # not at the kink
    criterion = AsymmetricLoss(base, reduction=reduction, variant=variant, **options)
    assert torch.autograd.gradcheck(lambda x: criterion(x, label), output, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda x: criterion(x, label), output)


# ----------------------------------------------------------------------------------------- metrics


def metrics_of(reference, output):
    """Eq. (6)-(9) of one image (C, H, W) in float64, and what the paper's tables call RMSE."""
    mse = np.mean((reference - output) ** 2)
    power = np.mean(reference**2)
    found = {
        "psnr": 10 * math.log10(1 / mse) if mse else math.inf,
        "rmse": math.sqrt(mse),
        "nrmse": math.sqrt(mse / power) if power else math.nan,
    }
    if min(reference.shape[1:]) >= 7:
        found["ssim"] = np.mean(
            [ssim_of(*planes) for planes in zip(reference, output, strict=True)]
        )
    return found


def ssim_of(one, other):
    """Eq. (7)-(8) with windows of 7 x 7 and sample (co)variances."""
    one, other = (
        np.lib.stride_tricks.sliding_window_view(plane, (7, 7)).reshape(-1, 49)
        for plane in (one, other)
    )
    mean, mean_other = one.mean(axis=1), other.mean(axis=1)
    variance, variance_other = one.var(axis=1, ddof=1), other.var(axis=1, ddof=1)
    covariance = ((one - mean[:, None]) * (other - mean_other[:, None])).sum(axis=1) / 48
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean * mean_other + c1) * (2 * covariance + c2)
    similarity /= (mean**2 + mean_other**2 + c1) * (variance + variance_other + c2)
    return similarity.mean()


def refused_by_metrics(output, reference):
    for image in (reference, output):
        if not image.is_floating_point():
            return TypeError
        if image.dim() not in (2, 3) or image.numel() == 0 or not image.isfinite().all():
            return ValueError
    outside = bool((reference < -0.125).any() or (reference > 1.125).any())
    return ValueError if reference.shape != output.shape or outside else None


PICTURES = st.one_of(
    sizes(st.integers(1, 12), st.integers(1, 12)),
    sizes(st.sampled_from([1, 3, 4]), st.integers(5, 12), st.integers(5, 12)),
)


@settings(max_examples=150, deadline=None)
@given(pair=tensors(PICTURES), as_numpy=st.booleans())
def test_metrics_are_the_papers_or_the_stated_error(pair, as_numpy):
    output, reference = pair
    error = refused_by_metrics(output, reference)
    given = [reference, output]
    if as_numpy and torch.bfloat16 not in (reference.dtype, output.dtype):
        given = [reference.numpy(), output.numpy()]
    if error is not None:
        for name in ("psnr", "ssim", "rmse", "nrmse"):
            with pytest.raises(error):
                getattr(metrics, name)(*given)
        return
    expected = metrics_of(*(exact(x).reshape(-1, *x.shape[-2:]) for x in (reference, output)))
    for name, value in expected.items():
        assert getattr(metrics, name)(*given) == pytest.approx(
            value, rel=1e-6, abs=1e-7, nan_ok=True
        )
    if "ssim" in expected:
        assert metrics.all_metrics(*given) == pytest.approx(
            expected, rel=1e-6, abs=1e-7, nan_ok=True
        )
    else:
        with pytest.raises(ValueError, match="7 x 7"):
            metrics.ssim(*given)
