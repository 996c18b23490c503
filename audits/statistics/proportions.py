"""Intervals of one proportion."""

from __future__ import annotations

import math
from functools import cache

import scipy

from audits.statistics.comparison import LEVEL, Interval, check_count, check_level


def wilson(successes: int, n: int, *, level: float = LEVEL) -> Interval:
    """Return Wilson's score interval of a share, without continuity correction.

    Mean coverage is close to the level at every n, which is what a printed score needs.

    Args:
        successes: problems solved.
        n: problems.
        level: confidence level.

    Raises:
        InputError: counts or level are impossible.
    """
    check_count(successes, n)
    check_level(level)
    square = _normal_quantile(level) ** 2
    share = successes / n
    centre = share + square / (2 * n)
    reach = math.sqrt(square * (share * (1 - share) / n + square / (4 * n * n)))
    low, high = (centre - reach) / (1 + square / n), (centre + reach) / (1 + square / n)
    # The ends are exact at the borders; rounding must not leave 1e-17 there.
    return Interval(0.0 if successes == 0 else low, 1.0 if successes == n else high, level)


def clopper_pearson(successes: int, n: int, *, level: float = LEVEL) -> Interval:
    """Return the exact (Clopper-Pearson) interval of a share: coverage is never below the level.

    Args:
        successes: problems solved.
        n: problems.
        level: confidence level.

    Raises:
        InputError: counts or level are impossible.
    """
    check_count(successes, n)
    check_level(level)
    tail = (1 - level) / 2
    low = float(scipy.stats.beta.ppf(tail, successes, n - successes + 1)) if successes else 0.0
    high = float(scipy.stats.beta.isf(tail, successes + 1, n - successes)) if successes < n else 1.0
    return Interval(low, high, level)


def share_p_value(successes: int, n: int, share: float) -> float:
    """Return the two-sided p-value of the exact binomial test of one share, both tails counted alike.

    It is at most 1 - level exactly where :func:`clopper_pearson` at that level leaves ``share`` out.

    Args:
        successes: problems solved.
        n: problems.
        share: under test, in (0, 1).

    Raises:
        InputError: the counts are impossible.
    """
    check_count(successes, n)
    tails = scipy.stats.binom.cdf(successes, n, share), scipy.stats.binom.sf(successes - 1, n, share)
    return float(min(1.0, 2 * min(tails)))


@cache
def _normal_quantile(level: float) -> float:
    return float(scipy.stats.norm.ppf(0.5 + level / 2))
