"""Metrics against hand-worked and published numbers."""

import math
import warnings

import numpy as np
import pytest
import torch
from helpers import refuses
from scipy.signal import convolve2d
from skimage import data
from synthetic import wang_ssim

from asyrepro.metrics import all_metrics, haarpsi, literature, nrmse, psnr, rgb_to_luma, rmse, ssim


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """A real RGB photograph, float64, (3, 60, 70)."""
    return data.astronaut()[40:100, 180:250].transpose(2, 0, 1) / 255


def noisy(image: np.ndarray, sigma: float = 0.05) -> np.ndarray:
    return image + np.random.default_rng(0).normal(0, sigma, image.shape)


# --- the tables' metrics -------------------------------------------------------------------------


def test_constant_error_of_a_tenth_is_20_db():
    reference = np.full((3, 8, 9), 0.5)
    scores = all_metrics(reference, reference + 0.1)
    assert scores["psnr"] == pytest.approx(20)
    assert scores["rmse"] == pytest.approx(0.1)
    assert scores["nrmse"] == pytest.approx(0.2)  # 0.1 / 0.5


def test_rmse_and_nrmse_by_hand():
    reference, output = np.array([[0.0, 0.6], [0.8, 0.0]]), np.array([[0.0, 0.6], [0.5, 0.4]])
    # squared errors 0, 0, 0.09, 0.16: mean 0.0625; squared reference: mean 0.25
    assert rmse(reference, output) == pytest.approx(0.25)
    assert nrmse(reference, output) == pytest.approx(0.5)
    assert psnr(reference, output) == pytest.approx(10 * math.log10(16))


def test_ssim_of_flat_images_by_hand():
    # no variance: SSIM is its luminance term (2 * 0.5 * 0.6 + 1e-4) / (0.25 + 0.36 + 1e-4)
    reference = np.full((9, 9), 0.5)
    assert ssim(reference, reference + 0.1) == pytest.approx(0.6001 / 0.6101, abs=1e-9)


def test_perfect_match_without_a_warning(photograph):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = all_metrics(photograph, photograph)
        published = literature(photograph, photograph, border=3)
    assert scores == pytest.approx({"psnr": math.inf, "ssim": 1, "rmse": 0, "nrmse": 0})
    assert published == pytest.approx({"psnr_y": math.inf, "ssim_y": 1})


def test_nrmse_of_a_black_reference_is_nan_without_a_warning():
    black = np.zeros((8, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(nrmse(black, black + 0.1))
        assert math.isnan(nrmse(black, black))


# --- luma and the literature's metrics -----------------------------------------------------------


@pytest.mark.parametrize(
    ("rgb", "luma"),
    [  # MATLAB's documentation of rgb2ycbcr: luma from 16 to 235
        ((0, 0, 0), 16),
        ((1, 1, 1), 235),
        ((1, 0, 0), 81.481),
        ((0, 1, 0), 144.553),
        ((0, 0, 1), 40.966),
    ],
)
def test_luma_of_primary_colours(rgb, luma):
    pixel = np.array(rgb, dtype=float).reshape(3, 1, 1)
    assert rgb_to_luma(pixel).shape == (1, 1, 1)
    assert rgb_to_luma(pixel).item() * 255 == pytest.approx(luma)
    batch = torch.tensor(pixel, dtype=torch.float32)[None]
    assert rgb_to_luma(batch).shape == (1, 1, 1, 1)
    assert rgb_to_luma(batch).dtype == torch.float32
    assert rgb_to_luma(batch).item() * 255 == pytest.approx(luma, rel=1e-6)


def test_literature_takes_rgb_through_8_bit_luma():
    # black against white: luma 16 against 235, an error of 219 / 255
    black = np.zeros((3, 20, 20))
    expected = 20 * math.log10(255 / 219)
    assert literature(black, black + 1, border=2)["psnr_y"] == pytest.approx(expected)
    # pure red, 81.481, is rounded to 81
    red = black.copy()
    red[0] = 1
    expected = 20 * math.log10(255 / (81 - 16))
    assert literature(black, red, border=0)["psnr_y"] == pytest.approx(expected)


def test_literature_clips_and_rounds_the_output():
    reference = np.full((20, 20), 100 / 255)
    assert literature(reference, reference + 0.49 / 255, border=0)["psnr_y"] == math.inf
    # halves are rounded up, as by MATLAB's uint8: 100.5 -> 101, 101.5 -> 102
    for level in (100, 101):
        output = np.full((20, 20), (level + 0.5) / 255)
        expected = 20 * math.log10(255 / (level + 1 - 100))
        assert literature(reference, output, border=0)["psnr_y"] == pytest.approx(expected)
    white = np.ones((1, 20, 20))
    assert literature(white, white + 0.2, border=0)["psnr_y"] == math.inf


def test_literature_cuts_the_border():
    reference = np.full((24, 30), 0.2)
    output = reference.copy()
    output[:4] = output[-4:] = 0.9
    output[:, :4] = output[:, -4:] = 0.9
    assert literature(reference, output, border=4)["psnr_y"] == math.inf
    assert literature(reference, output, border=3)["psnr_y"] < 30


def test_literature_ssim_is_wangs(photograph):
    levels, output = (np.round(255 * x[0]).clip(0, 255) for x in (photograph, noisy(photograph)))
    score = literature(levels / 255, output / 255, border=0)["ssim_y"]
    assert score == pytest.approx(wang_ssim(levels, output), abs=1e-9)


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "metric", [psnr, ssim, rmse, nrmse, all_metrics, lambda a, b: literature(a, b, 0)]
)
@pytest.mark.parametrize(
    ("reference", "output", "error", "names"),
    [
        (np.zeros((3, 20, 20)), np.zeros((1, 20, 20)), ValueError, ["shape"]),
        (np.zeros((20, 20)), np.zeros((1, 20, 20)), ValueError, ["shape"]),
        (np.zeros((2, 3, 20, 20)), np.zeros((2, 3, 20, 20)), ValueError, ["(2, 3, 20, 20)"]),
        (np.zeros((0, 20)), np.zeros((0, 20)), ValueError, ["(0, 20)"]),
        (np.zeros((20, 20)), np.full((20, 20), np.nan), ValueError, ["output", "NaN"]),
        (np.full((20, 20), np.inf), np.zeros((20, 20)), ValueError, ["reference"]),
        (np.full((20, 20), 200.0), np.zeros((20, 20)), ValueError, ["from 200 to 200", "255"]),
        (np.full((20, 20), -1.0), np.zeros((20, 20)), ValueError, ["from -1 to -1"]),
        (np.zeros((20, 20), np.uint8), np.zeros((20, 20)), TypeError, ["reference", "uint8"]),
        (torch.zeros(20, 20), torch.zeros(20, 20).long(), TypeError, ["output", "int64"]),
    ],
)
def test_bad_images_are_refused(metric, reference, output, error, names):
    with refuses(error, *names):
        metric(reference, output)


SQUARE = np.zeros((20, 20))


@pytest.mark.parametrize(
    ("measure", "error", "names"),
    [
        (lambda: ssim(np.zeros((3, 6, 40)), np.zeros((3, 6, 40))), ValueError, ["6 x 40", "7 x 7"]),
        (lambda: literature(SQUARE[2:], SQUARE[2:], 4), ValueError, ["10 x 12", "11 x 11"]),
        (lambda: literature(np.zeros((4, 20, 20)), np.zeros((4, 20, 20)), 0), ValueError, ["4"]),
        (lambda: literature(SQUARE, SQUARE, border=-1), ValueError, ["border", "-1"]),
        (lambda: haarpsi(np.zeros((2, 32, 32)), np.zeros((2, 32, 32))), ValueError, ["HaarPSI"]),
        (lambda: haarpsi(np.zeros((3, 15, 32)), np.zeros((3, 15, 32))), ValueError, ["HaarPSI"]),
        (lambda: rgb_to_luma(np.zeros((1, 4, 4))), ValueError, ["(1, 4, 4)"]),
        (lambda: rgb_to_luma(np.zeros((3, 4, 4), np.uint8)), TypeError, ["255"]),
        (lambda: rgb_to_luma(torch.zeros(3, 4, 4, dtype=torch.uint8)), TypeError, ["255"]),
    ],
)
def test_what_cannot_be_measured_is_refused(measure, error, names):
    with refuses(error, *names):
        measure()


# --- HaarPSI -------------------------------------------------------------------------------------


def haarpsi_by_hand(reference: np.ndarray, output: np.ndarray) -> float:
    """Reisenhofer et al., 2018, eq. (9)-(12), of grey images with even sides."""
    weights, similarities = [], []
    first, second = (
        (255 * x).reshape(x.shape[0] // 2, 2, -1, 2).mean(axis=(1, 3)) for x in (reference, output)
    )
    for turned in (False, True):
        of_scale = []
        for scale in (1, 2, 3):
            haar = np.full((2**scale, 2**scale), 2.0**-scale)
            haar[: 2 ** (scale - 1)] *= -1
            filters = haar.T if turned else haar
            start = 2 ** (scale - 1)  # as MATLAB's conv2(..., "same") cuts
            inside = tuple(slice(start, start + side) for side in first.shape)
            of_scale.append([abs(convolve2d(x, filters)[inside]) for x in (first, second)])
        weights.append(np.maximum(*of_scale[2]))
        local = [(2 * a * b + 30) / (a**2 + b**2 + 30) for a, b in of_scale[:2]]
        similarities.append(sum(local) / 2)
    squashed = 1 / (1 + np.exp(-4.2 * np.array(similarities)))
    score = (squashed * weights).sum() / np.sum(weights)
    return (math.log(score / (1 - score)) / 4.2) ** 2


def test_haarpsi_is_the_papers_formula(photograph):
    output = noisy(photograph, 0.1)[1].clip(0, 1)
    expected = haarpsi_by_hand(photograph[1], output)
    assert haarpsi(photograph[1], output) == pytest.approx(expected, abs=1e-6)
    assert haarpsi(photograph, photograph) == pytest.approx(1)
    assert haarpsi(photograph, noisy(photograph, 0.1)) < haarpsi(photograph, noisy(photograph))
