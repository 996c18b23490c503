"""Least squares for cost models: a line with or without intercept, with intervals of its coefficients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy

from audits.statistics.comparison import LEVEL, Interval, check_level
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Line:
    """A fitted line ``y = intercept + slope * x``.

    Attributes:
        slope: units of y per unit of x.
        slope_interval: Student-t interval of the slope.
        intercept: units of y; exactly 0 where none was fitted.
        intercept_interval: its interval; ``None`` where none was fitted.
        r_squared: share of variance explained, about the mean with an intercept and about zero without.
        n: points.
    """

    slope: float
    slope_interval: Interval
    intercept: float
    intercept_interval: Interval | None
    r_squared: float
    n: int


def fit_line(x: Sequence[float], y: Sequence[float], *, intercept: bool = True, level: float = LEVEL) -> Line:
    """Fit a line by ordinary least squares.

    With as many points as coefficients nothing is left to estimate the error from; the intervals are then infinite.

    Args:
        x: (n,) abscissae, finite and not all equal.
        y: (n,) ordinates, finite.
        intercept: whether the line may leave the origin.
        level: confidence level of the intervals.

    Raises:
        InputError: lengths differ, too few points, or x does not vary.
    """
    check_level(level)
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    wanted = 2 if intercept else 1
    if xs.ndim != 1 or xs.shape != ys.shape or len(xs) < wanted:
        raise InputError(
            f"{xs.size} abscissae and {ys.size} ordinates: a line needs equal numbers, at least {wanted} of each"
        )
    if not (np.isfinite(xs).all() and np.isfinite(ys).all()):
        raise InputError("a point is not finite; leave out what was not measured")
    centre_x, centre_y = (float(xs.mean()), float(ys.mean())) if intercept else (0.0, 0.0)
    spread = float(((xs - centre_x) ** 2).sum())
    if spread == 0:
        raise InputError(f"all abscissae are {float(xs[0])}: a slope needs at least two different ones")
    slope = float(((xs - centre_x) * (ys - centre_y)).sum()) / spread
    start = centre_y - slope * centre_x
    residual = float(((ys - start - slope * xs) ** 2).sum())
    total = float(((ys - centre_y) ** 2).sum())
    freedom = len(xs) - wanted
    error = math.sqrt(residual / freedom) if freedom else math.inf
    reach = float(scipy.stats.t.ppf(0.5 + level / 2, freedom)) if freedom else 1.0
    slope_reach = reach * error / math.sqrt(spread)
    start_reach = reach * error * math.sqrt(1 / len(xs) + centre_x * centre_x / spread)
    return Line(
        slope=slope,
        slope_interval=Interval(slope - slope_reach, slope + slope_reach, level),
        intercept=start if intercept else 0.0,
        intercept_interval=Interval(start - start_reach, start + start_reach, level) if intercept else None,
        r_squared=1 - residual / total if total else 1.0,
        n=len(xs),
    )
