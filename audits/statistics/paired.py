"""Two systems on the same problems: exact McNemar test and Tango's score interval of the paired difference."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import scipy

from audits.statistics.comparison import LEVEL, Comparison, Interval, check_level
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of the exact McNemar test; 1 where no pair is discordant.

    Args:
        only_first: pairs that only the first system solved.
        only_second: pairs that only the second system solved.

    Raises:
        InputError: a count is negative.
    """
    _check_discordant(only_first, only_second, None)
    if only_first + only_second == 0:
        return 1.0
    return float(scipy.stats.binomtest(only_first, only_first + only_second, 0.5).pvalue)


def paired_interval(only_first: int, only_second: int, n: int, *, level: float = LEVEL) -> Interval:
    """Return Tango's score interval of the difference of two paired shares (Statistics in Medicine 1998).

    Unlike Wald's interval it has a width where no pair is discordant.

    Args:
        only_first: pairs that only the first system solved.
        only_second: pairs that only the second system solved.
        n: all pairs.
        level: confidence level.

    Returns:
        The interval of (share of first) - (share of second), within [-1, 1].

    Raises:
        InputError: counts or level are impossible.
    """
    _check_discordant(only_first, only_second, n)
    check_level(level)
    z = float(scipy.stats.norm.ppf(0.5 + level / 2))
    effect = (only_first - only_second) / n

    def distance(delta: float, target: float) -> float:
        return _tango_score(only_first, only_second, n, delta) - target

    # The score falls with delta: +z is met below the estimate, -z above it; at +-1 it is unbounded unless met exactly.
    low = (
        -1.0 if only_second == n else float(scipy.optimize.brentq(distance, -1 + 1e-12, effect, args=(z,), xtol=1e-12))
    )
    high = 1.0 if only_first == n else float(scipy.optimize.brentq(distance, effect, 1 - 1e-12, args=(-z,), xtol=1e-12))
    return Interval(low, high, level)


def compare_paired(first: Sequence[bool], second: Sequence[bool], *, level: float = LEVEL) -> Comparison:
    """Compare two systems problem by problem; effect is first minus second, in [-1, 1].

    Args:
        first: (n,) whether the first system solved each problem.
        second: (n,) the same of the second system, in the same order.
        level: confidence level of the interval.

    Raises:
        InputError: lengths differ or nothing was measured.
    """
    if len(first) != len(second) or not len(first):
        raise InputError(
            f"{len(first)} and {len(second)} results: a paired comparison needs one result a problem from both systems"
        )
    only_first = sum(1 for a, b in zip(first, second, strict=True) if a and not b)
    only_second = sum(1 for a, b in zip(first, second, strict=True) if b and not a)
    n = len(first)
    interval = paired_interval(only_first, only_second, n, level=level)
    return Comparison(
        effect=(only_first - only_second) / n,
        low=interval.low,
        high=interval.high,
        p_value=mcnemar_exact(only_first, only_second),
        n=n,
        test="exact McNemar, Tango interval",
        discordant=(only_first, only_second),
    )


def tango_p_value(only_first: int, only_second: int, n: int, delta: float) -> float:
    """Return the two-sided p-value of Tango's score test of one paired difference.

    It is at most 1 - level exactly where :func:`paired_interval` at that level leaves ``delta`` out.

    Args:
        only_first: pairs that only the first system solved.
        only_second: pairs that only the second system solved.
        n: all pairs.
        delta: (share of first) - (share of second) under test, in (-1, 1).

    Raises:
        InputError: counts are impossible.
    """
    _check_discordant(only_first, only_second, n)
    return float(2 * scipy.stats.norm.sf(abs(_tango_score(only_first, only_second, n, delta))))


def _tango_score(b: int, c: int, n: int, delta: float) -> float:
    """Score statistic of H0: p_b - p_c = delta, with p_c at its constrained maximum (Tango's equation)."""
    linear = -b - c + (2 * n - b + c) * delta
    constant = -c * delta * (1 - delta)
    p_c = (math.sqrt(max(0.0, linear * linear - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2 * p_c + delta * (1 - delta))
    difference = b - c - n * delta
    if variance <= 0:
        return 0.0 if difference == 0 else math.copysign(math.inf, difference)
    return difference / math.sqrt(variance)


def _check_discordant(only_first: int, only_second: int, n: int | None) -> None:
    if only_first < 0 or only_second < 0 or (n is not None and (n < 1 or only_first + only_second > n)):
        raise InputError(
            f"{only_first} and {only_second} discordant pairs of {n}: expected counts from 0 whose sum is at most n"
        )
