"""How many problems would decide: sample sizes at a given power."""

from __future__ import annotations

import math

import scipy

from specref_core.errors import InputError

ALPHA = 0.05
POWER = 0.80
LARGEST_N = 10_000_000
"""No benchmark is larger; a larger answer is given as this bound."""


def n_needed_unpaired(first: float, second: float, *, alpha: float = ALPHA, power: float = POWER) -> int:
    """Return the problems needed in each of two groups to tell two shares apart with Fisher's exact test.

    Normal approximation with the continuity correction of Casagrande, Pike and Smith (1978), which follows the exact
    test closely.

    Args:
        first: true share of the first system, in [0, 1].
        second: true share of the second; must differ.
        alpha: two-sided level.
        power: wanted probability of a significant result.

    Raises:
        InputError: shares are no probabilities or equal.
    """
    _check_shares(first, second)
    if first == second:
        raise InputError(f"both shares are {first}: no number of problems tells equal shares apart")
    gap = abs(first - second)
    mean = (first + second) / 2
    z_alpha, z_power = _quantiles(alpha, power)
    spread = z_alpha * math.sqrt(2 * mean * (1 - mean)) + z_power * math.sqrt(
        first * (1 - first) + second * (1 - second)
    )
    plain = spread * spread / (gap * gap)
    return _whole(plain / 4 * (1 + math.sqrt(1 + 4 / (plain * gap))) ** 2)


def n_needed_paired(only_first: float, only_second: float, *, alpha: float = ALPHA, power: float = POWER) -> int:
    """Return the pairs needed for McNemar's test to see a difference between two discordant shares (Connor 1987).

    Args:
        only_first: true share of problems that only the first system solves, in [0, 1].
        only_second: true share that only the second solves; must differ.
        alpha: two-sided level.
        power: wanted probability of a significant result.

    Raises:
        InputError: shares are no probabilities, sum to more than one, or are equal.
    """
    _check_shares(only_first, only_second)
    discordant, gap = only_first + only_second, abs(only_first - only_second)
    if discordant > 1 or gap == 0:
        raise InputError(
            f"discordant shares {only_first} and {only_second}: expected two unequal shares whose sum is at most 1"
        )
    z_alpha, z_power = _quantiles(alpha, power)
    spread = z_alpha * math.sqrt(discordant) + z_power * math.sqrt(max(0.0, discordant - gap * gap))
    # One discordant pair more or less is the exact test's continuity correction.
    return _whole(spread * spread / (gap * gap) + 1 / gap)


def n_needed_share(share: float, margin: float, *, alpha: float = ALPHA, power: float = POWER) -> int | None:
    """Return the n at which the exact interval of a share would leave a margin.

    Args:
        share: true share, in [0, 1]. At 0 and 1 the answer is exact; between them it is the normal approximation.
        margin: share that the interval must clear, in (0, 1).
        alpha: two-sided level of the interval.
        power: wanted probability that it clears the margin.

    Returns:
        The n; ``None`` where share and margin are equal.

    Raises:
        InputError: share or margin is no probability.
    """
    _check_shares(share, margin)
    if share == margin:
        return None
    z_alpha, z_power = _quantiles(alpha, power)
    if share in (0.0, 1.0) and 0 < margin < 1:
        # With none of n the upper limit is 1 - (alpha / 2)^(1 / n).
        return _whole(math.log(alpha / 2) / math.log(margin if share else 1 - margin))
    spread = z_alpha * math.sqrt(margin * (1 - margin)) + z_power * math.sqrt(share * (1 - share))
    return _whole((spread / (share - margin)) ** 2)


def n_needed_scaling(
    effect: float, low: float, high: float, n: int, *, margin: float = 0.0, floor: float = 0.0, power: float = POWER
) -> int | None:
    """Return the n at which an interval as wide as this one, shrinking with sqrt(n), would leave the margin.

    This works for every statistic whose error falls with the square root of n.

    Args:
        effect: point estimate.
        low: lower end of its 95 % interval.
        high: upper end.
        n: problems behind it.
        margin: what the interval must clear.
        floor: smallest distance from the margin worth deciding; used where the effect lies nearer to it.
        power: wanted probability that the interval clears the margin.

    Returns:
        The n; ``None`` where effect and margin coincide and no floor is given, or the interval has no width.
    """
    distance = max(abs(effect - margin), floor)
    z_alpha, z_power = _quantiles(ALPHA, power)
    error = (high - low) / (2 * z_alpha)
    if distance == 0 or error <= 0 or not math.isfinite(error):
        return None
    return _whole(n * ((z_alpha + z_power) * error / distance) ** 2)


def _quantiles(alpha: float, power: float) -> tuple[float, float]:
    if not (0 < alpha < 1 and 0 < power < 1):
        raise InputError(f"alpha={alpha!r}, power={power!r}: expected probabilities between 0 and 1")
    return float(scipy.stats.norm.isf(alpha / 2)), float(scipy.stats.norm.ppf(power))


def _check_shares(*shares: float) -> None:
    for share in shares:
        if not 0 <= share <= 1:
            raise InputError(f"share {share!r}: expected a value from 0 to 1")


def _whole(n: float) -> int:
    return LARGEST_N if n > LARGEST_N else max(1, math.ceil(n - 1e-9))
