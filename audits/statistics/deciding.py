"""How often a repeat of a measurement would be decided, and the n at which four in five would be.

The rules are those of live verdicts, for many outcomes at a time: intervals are not computed but tested at the margin,
which is the same thing. Counts of discordant pairs and shares are taken as they were observed for the true ones.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import scipy

from audits.statistics.power import ALPHA, POWER
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

REPEATS = 1000
"""Simulated repeats behind a power: a standard error of 1.3 points at 80 %."""
SEARCHED_N = 200_000
"""No benchmark is larger; an effect that needs more lies too near the margin to be decided."""
_GROWTH = 1.2
_TEETH = (1.0, 1.02, 1.05, 1.1)
"""Powers of exact tests fall a little between their steps; the n named must hold above itself too."""


def decide_paired(
    only_first: ArrayLike,
    only_second: ArrayLike,
    n: int,
    *,
    margin: float = 0.0,
    worthwhile: float = 0.0,
    alpha: float = ALPHA,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Apply the rule of a paired verdict to many measurements.

    Reproduced: Tango's interval lies above the margin and, at margin 0, the exact McNemar test agrees. Not reproduced:
    the interval lies below the margin, or below ``worthwhile`` where the margin is 0.

    Args:
        only_first: (m,) pairs that only the first system solved.
        only_second: (m,) pairs that only the second system solved.
        n: all pairs.
        margin: smallest effect the claim speaks of, as a share.
        worthwhile: smallest effect worth knowing of at margin 0, as a share.
        alpha: two-sided level of *reproduced*; *not reproduced* is always judged at 5 %.

    Returns:
        Two (m,) arrays: reproduced, not reproduced.
    """
    b, c = np.asarray(only_first, dtype=float), np.asarray(only_second, dtype=float)
    reproduced = tango_scores(b, c, n, margin) > scipy.stats.norm.isf(alpha / 2)
    refuted_at = tango_scores(b, c, n, margin or worthwhile) <= -scipy.stats.norm.isf(ALPHA / 2)
    if not margin:
        exact = np.minimum(1.0, 2 * scipy.stats.binom.cdf(np.minimum(b, c), np.maximum(b + c, 1), 0.5))
        reproduced &= exact <= alpha
    return reproduced, refuted_at & ~reproduced


def tango_scores(b: NDArray[np.float64], c: NDArray[np.float64], n: int, delta: float) -> NDArray[np.float64]:
    """Return Tango's score statistic of H0: difference = delta, for many pairs of discordant counts.

    Args:
        b: (m,) pairs that only the first system solved.
        c: (m,) pairs that only the second system solved.
        n: all pairs.
        delta: difference under test, in (-1, 1).
    """
    linear = -b - c + (2 * n - b + c) * delta
    root = np.sqrt(np.maximum(0.0, linear * linear + 8 * n * c * delta * (1 - delta)))
    variance = n * ((root - linear) / (2 * n) + delta * (1 - delta))
    difference = b - c - n * delta
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.where(variance > 0, difference / np.sqrt(np.maximum(variance, 0.0)), np.inf * np.sign(difference))
    return np.where(difference == 0, 0.0, score)


def decide_share(
    counts: ArrayLike, n: int, *, margin: float, direction: int = 1, alpha: float = ALPHA
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Apply the rule of a share's verdict to many measurements: the exact interval lies on one side of the margin.

    Args:
        counts: (m,) of n.
        n: of each.
        margin: as a share.
        direction: +1 where the claim says the share is above the margin, -1 where below.
        alpha: two-sided level of *reproduced*; *not reproduced* is always judged at 5 %.

    Returns:
        Two (m,) arrays: reproduced, not reproduced.
    """
    k = np.asarray(counts, dtype=float)
    above, below = scipy.stats.binom.sf(k - 1, n, margin), scipy.stats.binom.cdf(k, n, margin)
    near, far = (above, below) if direction == 1 else (below, above)
    return near < alpha / 2, far <= ALPHA / 2


@lru_cache(maxsize=256)
def n_to_decide_paired(
    only_first: float,
    only_second: float,
    *,
    margin: float = 0.0,
    worthwhile: float = 0.0,
    alpha: float = ALPHA,
    power: float = POWER,
) -> int | None:
    """Return the pairs at which a verdict on a paired difference is decided, either way, with the wanted power.

    Args:
        only_first: true share of problems that only the first system solves.
        only_second: true share that only the second solves.
        margin: as for :func:`decide_paired`.
        worthwhile: as there.
        alpha: as there.
        power: wanted chance of a decision.

    Returns:
        The n; ``None`` where the effect lies so near the margin that :data:`SEARCHED_N` pairs do not decide.

    Raises:
        InputError: the shares are none, or their sum is above 1.
    """
    if min(only_first, only_second) < 0 or only_first + only_second > 1 + 1e-9:
        raise InputError(
            f"discordant shares {only_first} and {only_second}: expected two shares whose sum is at most 1"
        )
    rest = max(0.0, 1 - only_first - only_second)

    def decided(n: int) -> float:
        drawn = np.random.default_rng(n).multinomial(n, [only_first, only_second, rest], size=REPEATS)
        yes, no = decide_paired(drawn[:, 0], drawn[:, 1], n, margin=margin, worthwhile=worthwhile, alpha=alpha)
        return float((yes | no).mean())

    return _smallest(decided, power)


@lru_cache(maxsize=256)
def n_to_decide_share(
    share: float, margin: float, *, direction: int = 1, alpha: float = ALPHA, power: float = POWER
) -> int | None:
    """Return the n at which a verdict on a share is decided, either way, with the wanted power; exact.

    Args:
        share: true share, in [0, 1].
        margin: that its interval must leave, in (0, 1).
        direction: as for :func:`decide_share`.
        alpha: as there.
        power: wanted chance of a decision.

    Returns:
        The n; ``None`` where the share lies so near the margin that :data:`SEARCHED_N` do not decide.

    Raises:
        InputError: share or margin is none.
    """
    if not (0 <= share <= 1 and 0 < margin < 1):
        raise InputError(f"share {share!r} against margin {margin!r}: expected shares, the margin inside (0, 1)")
    above, below = (alpha, ALPHA) if direction == 1 else (ALPHA, alpha)

    def decided(n: int) -> float:
        least = scipy.stats.binom.isf(above / 2, n, margin) + 1
        while least > 0 and scipy.stats.binom.sf(least - 2, n, margin) < above / 2:
            least -= 1
        most = scipy.stats.binom.ppf(below / 2, n, margin)
        if scipy.stats.binom.cdf(most, n, margin) > below / 2:
            most -= 1
        return float(scipy.stats.binom.sf(least - 1, n, share) + scipy.stats.binom.cdf(most, n, share))

    return _smallest(decided, power)


def _smallest(decided: Callable[[int], float], power: float) -> int | None:
    """Return the smallest n from which on a verdict is decided often enough."""
    low, high = 0, 4
    while not _holds(decided, high, power):
        if high >= SEARCHED_N:
            return None
        low, high = high, min(SEARCHED_N, int(high * _GROWTH) + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _holds(decided, middle, power) else (middle, high)
    return high


def _holds(decided: Callable[[int], float], n: int, power: float) -> bool:
    return all(decided(int(n * tooth)) >= power for tooth in _TEETH)
