"""Costs over problems: ratios of totals and a two-part cost model, with intervals that treat a problem as one draw.

Several figures of one problem (two step counts, many tokens) are not independent; the spread is that between problems.
"""

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

    from numpy.typing import NDArray

FEWEST = 2
"""Problems without which a spread between problems cannot be seen."""


@dataclass(frozen=True, slots=True)
class CostFit:
    """``cost = per_first * first + per_second * second``, fitted through zero.

    Attributes:
        per_first: units of cost per unit of the first quantity, with its interval.
        per_second: the same of the second.
        errors: (n,) relative errors of the fitted costs, (fitted - cost) / cost.
        by_problem: (problems,) mean absolute error of each problem's points.
    """

    per_first: tuple[float, Interval]
    per_second: tuple[float, Interval]
    errors: NDArray[np.float64]
    by_problem: NDArray[np.float64]


def relative_saving(cost: Sequence[float], baseline: Sequence[float], *, level: float = LEVEL) -> Comparison:
    """Return the share of a baseline's total cost that another system saves on the same problems.

    The interval is Student's for the logarithm of the ratio of totals, linearised over problems.

    Args:
        cost: (n,) what each problem cost, 0 or more.
        baseline: (n,) what the baseline spent on it, in the same order and unit.
        level: confidence level.

    Returns:
        1 - sum(cost) / sum(baseline) as the effect: at most 1, negative where the baseline is cheaper.

    Raises:
        InputError: lengths differ, there are fewer than two problems, or the baseline cost nothing.
    """
    ratio = ratio_of_rates(cost, np.ones(len(cost)), baseline, np.ones(len(baseline)), level=level)
    return Comparison(
        1 - ratio.effect, 1 - ratio.high, 1 - ratio.low, math.nan, ratio.n, "ratio of totals, Student-t interval"
    )


def ratio_of_rates(
    cost: Sequence[float] | NDArray[np.float64],
    units: Sequence[float] | NDArray[np.float64],
    other_cost: Sequence[float] | NDArray[np.float64],
    other_units: Sequence[float] | NDArray[np.float64],
    *,
    level: float = LEVEL,
) -> Comparison:
    """Return how many times dearer a unit is in one system than in another, on the same problems.

    Args:
        cost: (n,) of each problem in the first system, 0 or more.
        units: (n,) of work that it bought.
        other_cost: (n,) of the second system.
        other_units: (n,) of it.
        level: confidence level.

    Returns:
        (sum(cost) / sum(units)) / (sum(other_cost) / sum(other_units)) as the effect.

    Raises:
        InputError: lengths differ, there are fewer than two problems, or nothing was bought or spent to compare with.
    """
    check_level(level)
    columns = [_amounts(column) for column in (cost, units, other_cost, other_units)]
    n = len(columns[0])
    if n < FEWEST or any(len(column) != n for column in columns):
        raise InputError(
            f"columns of {', '.join(str(len(column)) for column in columns)} problems: expected equally many, "
            f"at least {FEWEST}"
        )
    means = [float(column.mean()) for column in columns]
    if min(means[1:]) <= 0:
        raise InputError("a system did nothing, or at no cost: there is nothing to compare with")
    ratio = means[0] / means[1] / (means[2] / means[3])
    test = "ratio of rates, Student-t interval"
    if ratio == 0:
        return Comparison(0.0, 0.0, 0.0, math.nan, n, test)
    spread = sum(sign * column / mean for sign, column, mean in zip((1, -1, -1, 1), columns, means, strict=True))
    error = float(np.std(spread, ddof=1)) / math.sqrt(n)
    reach = float(scipy.stats.t.ppf(0.5 + level / 2, n - 1)) * error
    return Comparison(ratio, ratio * math.exp(-reach), ratio * math.exp(reach), math.nan, n, test)


def fit_cost(
    first: Sequence[float],
    second: Sequence[float],
    cost: Sequence[float],
    problems: Sequence[object],
    *,
    level: float = LEVEL,
) -> CostFit:
    """Fit a cost of two parts by least squares of relative errors, with intervals that are robust over problems.

    Relative errors weigh a cheap query as much as a dear one, and are what a prediction is judged by.

    Args:
        first: (n,) drafted tokens, say.
        second: (n,) passes.
        cost: (n,) positive costs.
        problems: (n,) what each point belongs to.
        level: confidence level of the coefficients.

    Raises:
        InputError: lengths differ, a cost is not positive, or the two quantities cannot be told apart.
    """
    check_level(level)
    y = _amounts(cost)
    x = np.stack([_amounts(first), _amounts(second)], axis=1) if len(first) == len(second) else np.zeros((0, 2))
    if not len(x) == len(y) == len(problems) or not len(y) or not (y > 0).all():
        raise InputError(
            f"{len(first)} and {len(second)} quantities, {len(y)} costs, {len(problems)} problems: expected equally "
            "many, and positive costs"
        )
    design = x / y[:, None]
    gram = design.T @ design
    names = {name: i for i, name in enumerate(dict.fromkeys(problems))}
    clusters = len(names)
    if clusters < FEWEST or np.linalg.cond(gram) > _ILL_CONDITIONED:
        raise InputError(
            f"{clusters} problems, or two quantities in one fixed proportion: their costs cannot be told apart"
        )
    inverse = np.linalg.inv(gram)
    coefficients = inverse @ design.sum(axis=0)
    residuals = 1 - design @ coefficients
    scores = np.zeros((clusters, 2))
    places = [names[problem] for problem in problems]
    np.add.at(scores, places, design * residuals[:, None])
    spread = inverse @ (scores.T @ scores * clusters / (clusters - 1)) @ inverse
    reach = float(scipy.stats.t.ppf(0.5 + level / 2, clusters - 1)) * np.sqrt(np.diag(spread))
    ends = [
        (float(value), Interval(float(value - arm), float(value + arm), level))
        for value, arm in zip(coefficients, reach, strict=True)
    ]
    total = np.bincount(places, np.abs(residuals), clusters)
    return CostFit(ends[0], ends[1], -residuals, total / np.bincount(places, minlength=clusters))


_ILL_CONDITIONED = 1e12


def _amounts(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all() or (array < 0).any():
        raise InputError("costs and quantities must be one list of finite numbers, 0 or more")
    return array
