"""What a statistical procedure returns: an interval, or an effect with its interval and its exact p-value."""

from __future__ import annotations

import math
from dataclasses import dataclass

from specref_core.errors import InputError

LEVEL = 0.95
"""Two-sided confidence level used everywhere unless a caller says otherwise."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided confidence interval.

    Attributes:
        low: lower end, in the unit of the quantity.
        high: upper end.
        level: coverage the procedure aims at, in (0, 1).
    """

    low: float
    high: float
    level: float = LEVEL

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def scaled(self, factor: float) -> Interval:
        """Return the interval in another unit, shares to points with 100 say; a negative factor swaps the ends."""
        low, high = sorted((self.low * factor, self.high * factor))
        return Interval(low, high, self.level)


@dataclass(frozen=True, slots=True)
class Comparison:
    """An effect, its interval and the p-value of an exact test of no effect.

    Attributes:
        effect: point estimate; differences are first minus second, shares in [-1, 1].
        low: lower end of the interval.
        high: upper end.
        p_value: two-sided; NaN where the procedure has no test.
        n: problems or pairs behind it; of two unequal groups the smaller.
        test: names of test and interval, for a verdict.
        discordant: (only first solved, only second solved) of a paired comparison; ``None`` elsewhere.
    """

    effect: float
    low: float
    high: float
    p_value: float
    n: int
    test: str
    discordant: tuple[int, int] | None = None

    def reversed(self) -> Comparison:
        """Return second minus first."""
        swapped = None if self.discordant is None else (self.discordant[1], self.discordant[0])
        return Comparison(-self.effect, -self.high, -self.low, self.p_value, self.n, self.test, swapped)


def check_count(successes: int, n: int) -> None:
    """Refuse counts that are not ``0 <= successes <= n`` with ``n >= 1``.

    Raises:
        InputError: naming the counts.
    """
    if n < 1 or not 0 <= successes <= n:
        raise InputError(f"{successes} of {n}: expected a count from 0 to n, and n of at least 1")


def check_level(level: float) -> None:
    """Refuse a confidence level outside (0, 1).

    Raises:
        InputError: naming the level.
    """
    if not (math.isfinite(level) and 0 < level < 1):
        raise InputError(f"level={level!r}: expected a confidence level between 0 and 1, such as 0.95")
