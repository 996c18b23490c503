"""Intervals of one proportion."""

from __future__ import annotations

from scipy import stats

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
    low, high = stats.binomtest(successes, n).proportion_ci(confidence_level=level, method="wilson")
    # The ends are exact at the borders; rounding must not leave 1e-17 there.
    return Interval(0.0 if successes == 0 else float(low), 1.0 if successes == n else float(high), level)


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
    low, high = stats.binomtest(successes, n).proportion_ci(confidence_level=level, method="exact")
    return Interval(float(low), float(high), level)
