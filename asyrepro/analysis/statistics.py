"""Statistics of paired changes: intervals over seeds and images, tests, Holm's correction.

Design. The losses of one seed share initial weights, patches and noise, and the change
``y[s, i]`` (asymmetric minus base, seed s, image i) is taken within them. How much of either run's
noise that removes is a matter of the training: nearly all in 600 steps of SRCNN, little or nothing
in long trainings and for the denoisers. The intervals, made of the changes themselves, hold either
way. Every seed is evaluated on the same images: the design is crossed,

    y[s, i] = mean + seed effect[s] + image effect[i] + residual[s, i],

and an interval for the mean has to allow for other seeds and for other images.

Method (:func:`crossed_interval`): a hierarchical bootstrap over both. Each of 10,000 resamples
draws seeds and images independently, with replacement, and averages the changes in the drawn
rows and columns (the "pigeonhole" bootstrap for crossed factors: Owen, Annals of Applied
Statistics 1, 2007). Where seeds or images have an effect, its percentiles alone are too narrow for
few of either: with ten images they held the true mean in 60-92 % of simulated studies of two seeds
and in 90-93 % of ten.
The resampled means are therefore stretched about the observed mean, so that their standard
deviation becomes the two-way analysis of variance's estimate, and by t/1.96, t being Student's
quantile with Satterthwaite's degrees of freedom (the "expanded percentile interval" of Hesterberg,
The American Statistician 69, 2015, carried over to two factors).

Coverage of the 95 % interval in 1,500 simulated studies of ten images each, true mean zero,
standard deviations of seed effect, image effect and residual as given; "plain" are the percentiles
before stretching:

    seeds                                    2     3     4     6     8    10
    0.02, 0.03, 0.02            stretched 93.8  94.7  95.1  94.9  95.0  95.1 %
                                    plain 83.3  90.1  91.4  91.8  92.9  92.9 %
    0.03, 0.005, 0.01 (seeds)   stretched 92.7  95.6  94.3  94.4  95.1  94.4 %
                                    plain 60.1  76.5  81.3  86.9  88.8  89.9 %
    0.003, 0.03, 0.01 (images)  stretched 95.6  96.2  94.8  93.9  95.8  94.7 %
                                    plain 91.6  92.2  90.9  91.2  91.1  89.9 %
    0, 0, 0.02                  stretched 99.7  99.6  99.5  99.1  99.0  98.7 %
                                    plain 98.1  99.0  99.2  99.4  99.4  99.8 %
    the first, exponentially    stretched 91.5  93.0  93.3  93.3  92.9  92.9 %
    skewed effects                  plain 82.6  88.0  88.9  90.6  89.8  89.9 %

The interval that decides is this one, because the paper claims that the loss improves restoration
of images, not of these ten; the interval for these images alone (t over the seeds' means) is
shown beside it and never decides.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import optimize, special, stats

from asyrepro.paper.claims import LEVEL

DRAWS = 10_000


class Interval(NamedTuple):
    """A mean change and what is known about it.

    Attributes:
        mean: over seeds and images.
        lower, upper: interval over seeds and images; NaN with fewer than two of either.
        fixed_lower, fixed_upper: interval over seeds for these images only; NaN with one seed.
        p: two-sided; below 1 - level exactly if ``lower, upper`` leave out zero.
        better, worse: seeds whose mean change is above, below zero.
        sign_p: two-sided sign test over the seeds; seeds without change do not count.
    """

    mean: float
    lower: float
    upper: float
    fixed_lower: float
    fixed_upper: float
    p: float
    better: int
    worse: int
    sign_p: float

    def flipped(self) -> Interval:
        """The same for the change's negative, for metrics that are better when smaller."""
        ends = (-self.mean, -self.upper, -self.lower, -self.fixed_upper, -self.fixed_lower)
        return Interval(*ends, self.p, self.worse, self.better, self.sign_p)


@lru_cache(maxsize=64)
def _draws(count: int, draws: int, stream: int) -> np.ndarray:
    """Shares (draws, count) that resampling ``count`` things with replacement gives to each."""
    generator = np.random.default_rng([20231226, stream, count])
    return generator.multinomial(count, np.full(count, 1 / count), size=draws) / count


def resampled_means(changes: np.ndarray, draws: int = DRAWS) -> np.ndarray:
    """Means (draws,) of resamples of ``changes`` (seeds, images), drawn over both, sorted.

    The draws depend on the numbers of seeds and images only, never on other comparisons.
    """
    seeds, images = changes.shape
    rows, columns = _draws(seeds, draws, 1), _draws(images, draws, 2)
    return np.sort(((columns @ changes.T) * rows).sum(axis=1))


def _mean_squares(changes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean squares and degrees of freedom of a two-way table: seeds, images, residual."""
    seeds, images = changes.shape
    mean = changes.mean()
    row, column = changes.mean(axis=1), changes.mean(axis=0)
    residual = changes - row[:, None] - column[None, :] + mean
    degrees = np.array([seeds - 1, images - 1, (seeds - 1) * (images - 1)])
    sums = (images * (row - mean) ** 2).sum(), (seeds * (column - mean) ** 2).sum()
    return np.array([*sums, (residual**2).sum()]) / degrees, degrees


def crossed_error(changes: np.ndarray) -> tuple[float, float]:
    """Standard error of the mean of a crossed table (seeds, images), and degrees of freedom.

    From the mean squares of a two-way analysis of variance with random seeds and images,
    var(mean) = (MS_seeds + MS_images - MS_residual) / (seeds * images), but never less than
    seeds or images alone give; degrees of freedom by Satterthwaite.
    """
    squares, degrees = _mean_squares(changes)
    total = max(squares[0] + squares[1] - squares[2], squares[0], squares[1])
    below = (squares**2 / degrees).sum()
    return float(np.sqrt(total / changes.size)), float(total**2 / below) if below > 0 else np.inf


def simulated(changes: np.ndarray, mean: float, studies: int) -> np.ndarray:
    """What ``studies`` other studies might find, were the mean change ``mean``.

    Args:
        changes: (seeds, images), at least two of either.

    Returns:
        (studies, seeds, images): normal effects of seeds and images and a normal residual, of the
        variances that the two-way analysis of variance finds in ``changes`` (none below zero). The
        same each time.
    """
    seeds, images = changes.shape
    (of_seeds, of_images, residual), _ = _mean_squares(changes)
    variances = (of_seeds - residual) / images, (of_images - residual) / seeds, residual
    shapes = (studies, seeds, 1), (studies, 1, images), (studies, seeds, images)
    generator = np.random.default_rng([20231226, 3])
    parts = (
        np.sqrt(max(variance, 0.0)) * generator.standard_normal(shape)
        for variance, shape in zip(variances, shapes, strict=True)
    )
    return mean + sum(parts)


def sign_test(changes: np.ndarray) -> tuple[int, int, float]:
    """(above zero, below zero, two-sided p) of a sign test; zeros do not count."""
    above, below = int((changes > 0).sum()), int((changes < 0).sum())
    p = stats.binomtest(above, above + below).pvalue if above + below else 1.0
    return above, below, float(p)


def crossed_interval(changes: np.ndarray, level: float = LEVEL, draws: int = DRAWS) -> Interval:
    """Mean of paired changes with its intervals and tests; the method is in the module's text.

    Args:
        changes: (seeds, images), finite.
        level: of both intervals.
        draws: bootstrap resamples.

    Raises:
        ValueError: ``changes`` is not a table of at least one finite number.
    """
    changes = np.asarray(changes, dtype=np.float64)
    if changes.ndim != 2 or changes.size == 0 or not np.isfinite(changes).all():
        raise ValueError("changes must be a (seeds, images) table of finite numbers")
    seeds, images = changes.shape
    per_seed = changes.mean(axis=1)
    mean = float(per_seed.mean())
    lower = upper = fixed_lower = fixed_upper = p = np.nan
    tail = (1 - level) / 2
    if seeds > 1:
        half = stats.t.ppf(1 - tail, seeds - 1) * per_seed.std(ddof=1) / np.sqrt(seeds)
        fixed_lower, fixed_upper = mean - half, mean + half
    if seeds > 1 and images > 1:
        lower, upper, p = _stretched(changes, mean, tail, draws)
    numbers = (mean, lower, upper, fixed_lower, fixed_upper, p)
    return Interval(*map(float, numbers), *sign_test(per_seed))


def _stretched(changes: np.ndarray, mean: float, tail: float, draws: int):
    """(lower, upper, p) from the stretched resampled means."""
    means, places = resampled_means(changes, draws), np.arange(draws)
    spread, (error, degrees) = means.std(), crossed_error(changes)
    # Changes that are all alike leave rounding errors; below that there is nothing to stretch. (A
    # residual that cancels in each row and each column would pass for such; no measured one does.)
    if spread == 0 or error <= 1e-12 * np.abs(changes).max():
        return mean, mean, 0.0 if mean else 1.0

    def bound(tail: float, side: int) -> float:
        factor = special.stdtrit(degrees, tail) / special.ndtri(tail) * error / spread
        place = (tail if side < 0 else 1 - tail) * (draws - 1)
        return mean + factor * (np.interp(place, places, means) - mean)

    # p is twice the tail at which the end on zero's side of the mean touches zero. Beyond the
    # reach of the resamples the t distribution alone gives it.
    side = -1 if mean > 0 else 1
    least, most = 1 / draws, 0.5 - 1e-6
    if side * bound(least, side) < 0:
        p = min(2 * least, 2 * stats.t.sf(abs(mean) / error, degrees))
    elif side * bound(most, side) >= 0:
        p = 1.0
    else:
        p = 2 * optimize.brentq(lambda tail: bound(tail, side), least, most, xtol=1e-7)
    return bound(tail, -1), bound(tail, 1), p


def holm(p: np.ndarray) -> np.ndarray:
    """P values after Holm's correction for as many comparisons; NaN stays and does not count."""
    p = np.asarray(p, dtype=np.float64)
    corrected = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected
