"""Several tests inside one claim family."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's step-down adjusted p-values, in the order given.

    Rejecting where the adjusted value is at most alpha keeps the chance of any false rejection in the family below
    alpha, whatever the dependence.

    Args:
        p_values: (m,) raw p-values in [0, 1].

    Raises:
        InputError: a value is not a probability.
    """
    for p_value in p_values:
        if math.isnan(p_value) or not 0 <= p_value <= 1:
            raise InputError(f"p-value {p_value!r}: expected a probability from 0 to 1")
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted
