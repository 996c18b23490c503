"""Two systems on different problems, or known only by their scores: Fisher's exact test, Newcombe's interval."""

from __future__ import annotations

import math

import numpy as np
import scipy

from audits.statistics.comparison import LEVEL, Comparison, Interval, check_count
from audits.statistics.proportions import wilson


def fisher_exact(first: int, first_n: int, second: int, second_n: int) -> float:
    """Return the two-sided p-value of Fisher's exact test that both shares are equal.

    Args:
        first: successes of the first system.
        first_n: its problems.
        second: successes of the second system.
        second_n: its problems.

    Raises:
        InputError: counts are impossible.
    """
    check_count(first, first_n)
    check_count(second, second_n)
    table = np.array([[first, first_n - first], [second, second_n - second]])
    p_value = scipy.stats.fisher_exact(table).pvalue
    return min(1.0, float(p_value))


def newcombe_interval(first: int, first_n: int, second: int, second_n: int, *, level: float = LEVEL) -> Interval:
    """Return Newcombe's hybrid score interval of the difference of two independent shares (1998, method 10).

    Args:
        first: successes of the first system.
        first_n: its problems.
        second: successes of the second system.
        second_n: its problems.
        level: confidence level.

    Raises:
        InputError: counts or level are impossible.
    """
    one, two = wilson(first, first_n, level=level), wilson(second, second_n, level=level)
    p, q = first / first_n, second / second_n
    below = math.hypot(p - one.low, two.high - q)
    above = math.hypot(one.high - p, q - two.low)
    return Interval(max(-1.0, p - q - below), min(1.0, p - q + above), level)


def compare_unpaired(first: int, first_n: int, second: int, second_n: int, *, level: float = LEVEL) -> Comparison:
    """Compare two shares without knowing which problems were solved; effect is first minus second, in [-1, 1].

    Args:
        first: successes of the first system.
        first_n: its problems.
        second: successes of the second system.
        second_n: its problems.
        level: confidence level of the interval.

    Raises:
        InputError: counts or level are impossible.
    """
    interval = newcombe_interval(first, first_n, second, second_n, level=level)
    return Comparison(
        effect=first / first_n - second / second_n,
        low=interval.low,
        high=interval.high,
        p_value=fisher_exact(first, first_n, second, second_n),
        n=min(first_n, second_n),
        test="Fisher exact, Newcombe interval",
    )
