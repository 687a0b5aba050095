"""Statistics: hand-worked numbers, and how often intervals cover an effect that is known."""

import numpy as np
import pytest
from synthetic import EFFECT, SPREAD, table_of_changes

from asyrepro.analysis import statistics
from asyrepro.paper.claims import BETTER, WORSE, judge


@pytest.mark.parametrize(
    ("changes", "total", "degrees"),
    [
        # Mean squares: seeds 2 (1.5^2 + 1.5^2) = 9, images 2 (1 + 1) = 4, residual 4 (0.5^2) = 1;
        # 9 + 4 - 1; Satterthwaite 12^2 / (9^2 + 4^2 + 1^2)
        ([[1.0, 2.0], [3.0, 6.0]], 12, 144 / 98),
        # seeds 0, images 3 (2^2 + 2^2) = 24, residual 4 (1^2) / 2 = 2: not 22, less than images
        # alone give, but 24; Satterthwaite 24^2 / (24^2 + 2^2 / 2)
        ([[0.0, 6.0], [1.0, 5.0], [2.0, 4.0]], 24, 576 / 578),
    ],
)
def test_standard_error_of_a_table_worked_by_hand(changes, total, degrees):
    changes = np.array(changes)
    error, freedom = statistics.crossed_error(changes)
    assert error == pytest.approx((total / changes.size) ** 0.5)
    assert freedom == pytest.approx(degrees)
    assert np.array(statistics.crossed_error(changes.T)) == pytest.approx(
        np.array([error, freedom])
    )


@pytest.mark.parametrize(
    ("seeds", "effect", "spread"),
    [
        *((3, 0.0, SPREAD), (6, 0.0, SPREAD), (10, 0.0, SPREAD), (10, EFFECT, SPREAD)),
        *((6, 0.0, (0.03, 0.005, 0.01)), (6, 0.0, (0.003, 0.03, 0.01))),  # seeds, images dominate
    ],
)
def test_interval_covers_the_true_effect_as_often_as_it_says(seeds, effect, spread):
    rng = np.random.default_rng(seeds)
    hits = 0
    for _ in range(400):
        changes = table_of_changes(rng, seeds, effect=effect, spread=spread)
        found = statistics.crossed_interval(changes)
        hits += found.lower <= effect <= found.upper
    assert 0.915 <= hits / 400 <= 0.985  # 95 % with a standard error of 1.1 %


@pytest.mark.parametrize("spread", [SPREAD, (0.03, 0.005, 0.01), (0.003, 0.03, 0.01)])
def test_the_rule_finds_something_where_nothing_changes_in_one_study_of_twenty_at_most(spread):
    rng = np.random.default_rng(8)
    studies = (table_of_changes(rng, 6, spread=spread) for _ in range(1000))
    found = [judge(statistics.crossed_interval(changes), 6).direction for changes in studies]
    for side in (BETTER, WORSE):
        assert found.count(side) <= 40  # of 1,000; 25 are allowed, with a standard error of 5


def test_interval_for_these_images_is_a_t_interval_over_seeds():
    changes = np.array([[0.0, 2.0], [1.0, 3.0], [2.0, 7.0]])  # seed means 1, 2, 4.5
    found = statistics.crossed_interval(changes)
    half = 4.302653 * np.std([1, 2, 4.5], ddof=1) / 3**0.5  # t(0.975, 2) from a printed table
    assert found.fixed_lower == pytest.approx(2.5 - half, abs=1e-5)
    assert found.fixed_upper == pytest.approx(2.5 + half, abs=1e-5)
    assert found.flipped() == pytest.approx(statistics.crossed_interval(-changes))


def test_p_and_interval_agree_about_zero():
    rng = np.random.default_rng(3)
    found = [statistics.crossed_interval(table_of_changes(rng, 5, effect=0.02)) for _ in range(100)]
    outside = [one.lower > 0 or one.upper < 0 for one in found]
    assert [one.p < 0.05 for one in found] == outside
    assert 10 < sum(outside) < 90
    assert all(0 <= one.p <= 1 for one in found)


def test_changes_without_any_spread():
    assert statistics.crossed_interval(np.zeros((6, 4)))[:3] == (0, 0, 0)
    assert statistics.crossed_interval(np.zeros((6, 4))).p == 1
    constant = statistics.crossed_interval(np.full((6, 4), 0.1))
    assert constant.lower == constant.upper == pytest.approx(0.1) and constant.p < 1e-6


def test_sign_test_worked_by_hand():
    nine = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, -1])
    assert statistics.sign_test(nine) == (9, 1, pytest.approx(2 * (1 + 10) / 2**10))
    assert statistics.sign_test(np.full(6, -0.1)) == (0, 6, pytest.approx(2 / 2**6))
    # zero is not counted
    assert statistics.sign_test(np.array([1.0, 1.0, 0.0])) == (2, 0, pytest.approx(0.5))
    assert statistics.sign_test(np.zeros(4)) == (0, 0, 1.0)


def test_holm_worked_by_hand():
    assert statistics.holm(np.array([0.01, 0.04, np.nan, 0.03])) == pytest.approx(
        [0.03, 0.06, np.nan, 0.06], nan_ok=True
    )
    assert statistics.holm(np.array([0.6, 0.9])).tolist() == [1.0, 1.0]


# ------------------------------------------------------------------------------------------ power


def test_simulated_studies_have_the_mean_and_the_variances_of_the_observed_one():
    random = np.random.default_rng(5)
    parts = 0.3 * random.normal(size=(40, 1)), 0.2 * random.normal(size=(1, 50))
    observed = 7 + sum(parts) + 0.1 * random.normal(size=(40, 50))
    found = statistics.simulated(observed, 0.5)
    assert found.shape == (2000, 40, 50)
    assert found.mean() == pytest.approx(0.5, abs=0.01)
    of_seeds = found.mean(axis=2).var(axis=1, ddof=1).mean()  # 0.3^2 + 0.1^2 / 50
    of_images = found.mean(axis=1).var(axis=1, ddof=1).mean()
    assert of_seeds == pytest.approx(np.var(observed.mean(axis=1), ddof=1), rel=0.03)
    assert of_images == pytest.approx(np.var(observed.mean(axis=0), ddof=1), rel=0.03)
    assert (statistics.simulated(observed, 0.5) == found).all()


def test_power_of_six_seeds_by_student_and_sign():
    """Seeds alone vary, the change is twice their standard deviation.

    Then "supported" asks for six changes above zero, 0.977^6 = 0.87, and for |t| above 2.57, which
    nearly all of these have.
    """
    changes = np.repeat(np.array([[-1.2], [-0.7], [-0.1], [0.2], [0.8], [1.0]]), 10, axis=1)
    changes += np.random.default_rng(0).normal(0, 1e-3, changes.shape)
    deviation = changes.mean(axis=1).std(ddof=1)
    assert statistics.power(changes, 2 * deviation) == pytest.approx(0.87, abs=0.05)
    assert statistics.power(changes, 20 * deviation) == 1
    assert statistics.power(changes, 0.01 * deviation) < 0.06


def test_power_where_images_differ_and_seeds_agree():
    """Half of the studies have an interval above zero if the change is as large as its half."""
    images = np.array([-1.6, -1.1, -0.6, -0.3, -0.1, 0.1, 0.4, 0.6, 1.0, 1.6])
    changes = images + np.random.default_rng(0).normal(0, 1e-3, (6, 10))
    half = 2.262 * images.std(ddof=1) / 10**0.5  # t(0.975, 9) from a printed table
    assert statistics.power(changes, half) == pytest.approx(0.5, abs=0.06)
