"""Agreement of rankings (Kendall's tau-b) and how well a score finds errors (AUROC), each with an interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy

from audits.statistics.comparison import LEVEL, Comparison, Interval, check_level
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two protocols rank the same systems alike.

    Attributes:
        tau: Kendall's tau-b of the systems' mean scores, in [-1, 1]; NaN where one protocol ties all systems.
        interval: percentile bootstrap over problems.
        systems: systems ranked.
    """

    tau: float
    interval: Interval
    systems: int


def kendall_tau(
    first: Sequence[float],
    second: Sequence[float],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Return Kendall's tau-b of two score lists over the same items, with a percentile bootstrap interval over items.

    Args:
        first: (n,) scores of the items under the first measure.
        second: (n,) scores under the second, in the same order.
        level: confidence level.
        resamples: bootstrap resamples; those in which a list is constant say nothing and are left out.
        seed: of the resampling.

    Raises:
        InputError: lengths differ, fewer than two items, or a list is constant.
    """
    check_level(level)
    xs, ys = _vector(first), _vector(second)
    if xs.shape != ys.shape or len(xs) < 2:
        raise InputError(f"{len(xs)} and {len(ys)} scores: expected equal numbers, at least two")
    if not (np.ptp(xs) > 0 and np.ptp(ys) > 0):
        raise InputError("a list of equal scores ranks nothing")
    result = scipy.stats.kendalltau(xs, ys)
    rng = np.random.default_rng(seed)
    draws: list[float] = []
    for _ in range(resamples):
        chosen = rng.integers(len(xs), size=len(xs))
        tau = _tau(xs[chosen], ys[chosen])
        if not math.isnan(tau):
            draws.append(tau)
    interval = _percentile(draws, level, otherwise=(-1.0, 1.0))
    return Comparison(
        effect=float(result.statistic),
        low=interval.low,
        high=interval.high,
        p_value=float(result.pvalue),
        n=len(xs),
        test="Kendall tau-b, bootstrap interval over items",
    )


def rank_agreement(
    first: ArrayLike,
    second: ArrayLike,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Agreement:
    """Return how far two protocols rank the same systems alike; the problems of each protocol are resampled.

    Problems are shared by the systems, so that a resample draws columns: the pairing is kept.

    Args:
        first: (systems, problems) scores under the first protocol, 0/1 or any number.
        second: (systems, other problems) scores under the second.
        level: confidence level.
        resamples: bootstrap resamples.
        seed: of the resampling.

    Raises:
        InputError: the matrices do not hold the same number of systems, or fewer than two.
    """
    check_level(level)
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.ndim != 2 or two.ndim != 2 or len(one) != len(two) or len(one) < 2 or not one.size or not two.size:
        raise InputError(
            f"score matrices of shape {one.shape} and {two.shape}: expected (systems, problems) each, "
            "the same systems, at least two"
        )
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(resamples):
        left = one[:, rng.integers(one.shape[1], size=one.shape[1])].mean(axis=1)
        right = two[:, rng.integers(two.shape[1], size=two.shape[1])].mean(axis=1)
        tau = _tau(left, right)
        # A resample in which a protocol ties every system ranks nothing: no agreement, no disagreement.
        draws.append(0.0 if math.isnan(tau) else tau)
    tau = _tau(one.mean(axis=1), two.mean(axis=1))
    return Agreement(tau, _percentile(draws, level, otherwise=(-1.0, 1.0)), len(one))


def auroc(
    scores: Sequence[float],
    labels: Sequence[bool],
    *,
    groups: Sequence[int] | None = None,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Return the area under the ROC curve: the chance that a positive outscores a negative, ties counted half.

    Without groups the interval is Newcombe's score interval for the Mann-Whitney statistic (2006, method 5), which
    has a width at perfect separation. With groups (tokens of one problem are not independent) whole groups are
    resampled. The p-value is that of the Mann-Whitney test, which ignores groups.

    Args:
        scores: (n,) finite scores, entropies say.
        labels: (n,) whether the item is a positive, an error say.
        groups: (n,) id of the problem each item belongs to, or ``None`` where items are independent.
        level: confidence level.
        resamples: bootstrap resamples, used with groups only.
        seed: of the resampling.

    Returns:
        The area as effect (0.5 is chance), its interval, n items.

    Raises:
        InputError: lengths differ, a score is not finite, or one class is empty.
    """
    check_level(level)
    values, positive = _vector(scores), np.asarray(labels, dtype=bool)
    if values.shape != positive.shape or (groups is not None and len(groups) != len(values)):
        raise InputError(f"{len(values)} scores and {len(positive)} labels: expected one of each (and a group) an item")
    if positive.all() or not positive.any():
        raise InputError("every item has the same label: an area under the curve needs positives and negatives")
    area = _area(values, positive)
    m, n = int(positive.sum()), int((~positive).sum())
    if groups is None:
        interval = _newcombe_area(area, m, n, level)
        test = "Mann-Whitney, Newcombe interval"
    else:
        interval = _grouped_area(values, positive, np.asarray(groups), level=level, resamples=resamples, seed=seed)
        test = "Mann-Whitney, bootstrap interval over groups"
    p_value = float(scipy.stats.mannwhitneyu(values[positive], values[~positive], alternative="two-sided").pvalue)
    return Comparison(area, interval.low, interval.high, p_value, len(values), test)


def _vector(values: Sequence[float]) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise InputError("scores must be one list of finite numbers")
    return array


def _tau(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Tau-b by its definition: a handful of systems needs no n log n algorithm, and bootstraps call this often."""
    upper = np.triu_indices(len(first), 1)
    one = np.sign(np.subtract.outer(first, first))[upper]
    two = np.sign(np.subtract.outer(second, second))[upper]
    scale = math.sqrt(float((one != 0).sum()) * float((two != 0).sum()))
    return float((one * two).sum()) / scale if scale else math.nan


def _percentile(draws: Sequence[float], level: float, *, otherwise: tuple[float, float]) -> Interval:
    if not draws:
        return Interval(*otherwise, level)
    low, high = np.quantile(np.asarray(draws), [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(low), float(high), level)


def _area(values: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    m, n = int(positive.sum()), int((~positive).sum())
    ranks = scipy.stats.rankdata(values)
    return (float(ranks[positive].sum()) - m * (m + 1) / 2) / (m * n)


def _newcombe_area(area: float, m: int, n: int, level: float) -> Interval:
    z = float(scipy.stats.norm.ppf(0.5 + level / 2))
    mean = (m + n) / 2

    def gap(theta: float, side: float) -> float:
        # Hanley and McNeil's variance with (m + n) / 2 in place of both group sizes, taken at theta.
        factor = 1 + (mean - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return area - theta - side * z * math.sqrt(theta * (1 - theta) * factor / (m * n))

    # At the borders the estimate itself is a second root; the brackets stay just inside.
    inside = 1e-12
    low = 0.0 if area <= 0 else float(scipy.optimize.brentq(gap, 0.0, min(area, 1 - inside), args=(1.0,)))
    high = 1.0 if area >= 1 else float(scipy.optimize.brentq(gap, max(area, inside), 1.0, args=(-1.0,)))
    return Interval(low, high, level)


def _grouped_area(
    values: NDArray[np.float64],
    positive: NDArray[np.bool_],
    groups: NDArray[np.int64],
    *,
    level: float,
    resamples: int,
    seed: int,
) -> Interval:
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    rng = np.random.default_rng(seed)
    draws: list[float] = []
    for _ in range(resamples):
        chosen = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        drawn = positive[chosen]
        if drawn.any() and not drawn.all():
            draws.append(_area(values[chosen], drawn))
    # One group, or resamples without both classes, cannot tell the spread.
    return _percentile(draws if len(members) > 1 else [], level, otherwise=(0.0, 1.0))
