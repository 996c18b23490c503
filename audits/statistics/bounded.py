"""The mean of shares: one value in [0, 1] a problem, the share of a mask that is wrong or of outputs misjudged."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import scipy

from audits.statistics.comparison import LEVEL, Comparison, check_level
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXACT = "mean over problems, Clopper-Pearson interval"


def bounded_mean(shares: Sequence[float], *, level: float = LEVEL) -> Comparison:
    """Return the mean of independent shares with a conservative interval.

    Of all variables in [0, 1] with a given mean, the one that is 0 or 1 varies most. So the exact binomial interval
    (Clopper-Pearson), taken at a sum that need not be whole, is wide enough for any of them, and has a width where all
    shares are 0.

    Args:
        shares: (n,) one share a problem, in [0, 1].
        level: confidence level.

    Raises:
        InputError: there is no share, or one is outside [0, 1].
    """
    check_level(level)
    values = np.asarray(shares, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not ((values >= 0) & (values <= 1)).all():
        raise InputError(f"shares {shares!r:.80}: expected one value from 0 to 1 a problem, at least one")
    n, total = len(values), math.fsum(values)
    tail = (1 - level) / 2
    low = float(scipy.stats.beta.ppf(tail, total, n - total + 1)) if total > 0 else 0.0
    high = float(scipy.stats.beta.isf(tail, total + 1, n - total)) if total < n else 1.0
    mean = min(1.0, total / n)
    return Comparison(
        mean, min(low, mean), max(high, mean), math.nan, n, "mean over problems, Clopper-Pearson interval"
    )


def mean_difference(differences: Sequence[float], *, level: float = LEVEL) -> Comparison:
    """Return the mean of independent differences of shares, each in [-1, 1].

    The interval is Student's, or that of :func:`bounded_mean` for the sizes of the differences where all are equal: a
    sample without spread says nothing of it.

    Args:
        differences: (n,) one difference a problem.
        level: confidence level.

    Raises:
        InputError: there is no difference, or one is outside [-1, 1].
    """
    check_level(level)
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not (np.abs(values) <= 1).all():
        raise InputError(f"differences {differences!r:.80}: expected one value from -1 to 1 a problem, at least one")
    mean, n = float(values.mean()), len(values)
    spread = float(values.std(ddof=1)) if n > 1 else 0.0
    if spread == 0.0:
        # Rounding of a mean of equal values must not leave it outside.
        sizes = bounded_mean([min(1.0, abs(mean))] * n, level=level)
        reach = max(sizes.high - sizes.effect, sizes.effect - sizes.low)
        test = _EXACT
    else:
        reach = float(scipy.stats.t.ppf(0.5 + level / 2, n - 1)) * spread / math.sqrt(n)
        test = "mean over problems, Student-t interval"
    p_value = float(scipy.stats.ttest_1samp(values, 0.0).pvalue) if spread else math.nan
    return Comparison(mean, max(-1.0, mean - reach), min(1.0, mean + reach), p_value, n, test)
