"""pass@k: the probability that at least one of k samples of a problem is right, averaged over problems.

The estimator is Chen et al. 2021 (Codex), equation 1: with n samples of a problem of which c are right, the share of
the k-subsets that hold a right one, ``1 - C(n - c, k) / C(n, k)``. It is unbiased where ``1 - (1 - c/n)^k`` is not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from specref_core.errors import InputError


@dataclass(frozen=True, slots=True)
class PassAtK:
    """pass@k over a benchmark.

    Attributes:
        k: of pass@k.
        problems: how many problems were averaged.
        value: the mean, in [0, 1].
        low: lower end of the interval.
        high: upper end of the interval.
        level: the interval's confidence, 0.95 say.
        method: ``wilson`` with one sample a problem, ``bootstrap`` over problems otherwise.
    """

    k: int
    problems: int
    value: float
    low: float
    high: float
    level: float
    method: str


def estimate(n: int, c: int, k: int) -> float:
    """Return the unbiased estimate of pass@k for one problem.

    Args:
        n: samples drawn.
        c: how many of them are right.
        k: at least 1, at most ``n``.

    Raises:
        InputError: the three numbers do not fit together.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise InputError(f"pass@{k} of {c} right among {n} samples: expected 0 ≤ right ≤ samples and 1 ≤ k ≤ samples")
    if n - c < k:
        return 1.0
    # C(n-c, k) / C(n, k) as a product of k factors below one: no large number appears. expm1/log1p keep tiny results.
    if c == 0:
        return 0.0
    return -math.expm1(math.fsum(math.log1p(-c / (n - i)) for i in range(k)))


def pass_at_k(
    counts: Sequence[tuple[int, int]], k: int, *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> PassAtK:
    """Return pass@k over problems.

    Args:
        counts: ``(samples, right)`` of each problem.
        k: at most the samples of every problem.
        level: confidence of the interval.
        resamples: of the bootstrap over problems, used when some problem has more than one sample.
        seed: of the bootstrap.

    Raises:
        InputError: no problem, or a count, k or level that cannot be.
    """
    if not counts:
        raise InputError("pass@k of no problems: expected at least one")
    if not 0 < level < 1:
        raise InputError(f"confidence level {level!r}: expected a number between 0 and 1")
    values = [estimate(n, c, k) for n, c in counts]
    mean = math.fsum(values) / len(values)
    if all(n == 1 for n, _ in counts):
        low, high = _wilson(sum(c for _, c in counts), len(counts), level)
        return PassAtK(k, len(counts), mean, low, high, level, "wilson")
    low, high = _bootstrap(values, level, resamples, seed)
    return PassAtK(k, len(counts), mean, min(low, mean), max(high, mean), level, "bootstrap")


def _wilson(right: int, n: int, level: float) -> tuple[float, float]:
    from scipy.stats import binomtest

    interval = binomtest(right, n).proportion_ci(confidence_level=level, method="wilson")
    return float(interval.low), float(interval.high)


def _bootstrap(values: Sequence[float], level: float, resamples: int, seed: int) -> tuple[float, float]:
    """Percentile interval of the mean over problems drawn with replacement."""
    import numpy as np

    if resamples < 100:
        raise InputError(f"resamples {resamples!r}: expected 100 or more")
    sample = np.asarray(values)
    generator = np.random.default_rng(seed)
    block = max(1, 2_000_000 // len(sample))  # drawn in blocks, so that many problems do not take much memory
    means = np.concatenate([
        sample[generator.integers(0, len(sample), (min(block, resamples - start), len(sample)))].mean(axis=1)
        for start in range(0, resamples, block)
    ])  # fmt: skip
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
