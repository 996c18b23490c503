"""The rule that turns an effect and its interval into an outcome: evidence is needed on either side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from audits.statistics.power import n_needed_scaling
from audits.verdicts import Outcome, Verdict
from specref_core.errors import InputError

if TYPE_CHECKING:
    from audits.statistics.comparison import Comparison

ALPHA = 0.05


def judge(
    effect: float,
    low: float,
    high: float,
    margin: float = 0.0,
    direction: int = 1,
    *,
    p_value: float | None = None,
    alpha: float = ALPHA,
) -> Outcome:
    """Decide whether an effect lies beyond a margin in the claimed direction.

    Reproduced: the whole interval lies beyond ``direction * margin``. Not reproduced: the whole interval lies on the
    other side of it (or just reaches it). Anything else is inconclusive. A p-value, Holm-adjusted say, can only take
    a *reproduced* back: where it is above alpha the outcome is inconclusive.

    Args:
        effect: point estimate; only checked to lie in its interval.
        low: lower end of the interval.
        high: upper end.
        margin: smallest size of effect the claim speaks of, in the effect's unit; 0 or more.
        direction: +1 where the claim says the effect is positive, -1 where negative.
        p_value: of the test of no effect, if it is to count.
        alpha: level for ``p_value``.

    Raises:
        InputError: the interval is reversed or does not hold the effect, or direction is not +1 or -1.
    """
    if direction not in (1, -1):
        raise InputError(f"direction={direction!r}: expected +1 or -1")
    if margin < 0:
        raise InputError(f"margin={margin!r}: expected 0 or more, in the claimed direction")
    slack = 1e-9 * max(1.0, abs(effect))
    if any(math.isnan(value) for value in (effect, low, high)) or not low - slack <= effect <= high + slack:
        raise InputError(f"effect {effect!r} with interval [{low!r}, {high!r}]: expected low <= effect <= high")
    near, far = (low, high) if direction == 1 else (-high, -low)
    if near > margin:
        doubtful = p_value is not None and not p_value <= alpha
        return Outcome.INCONCLUSIVE if doubtful else Outcome.REPRODUCED
    return Outcome.NOT_REPRODUCED if far <= margin else Outcome.INCONCLUSIVE


def judge_within(effect: float, low: float, high: float, tolerance: float) -> Outcome:
    """Decide whether an effect is no larger than a tolerance in either direction (equivalence).

    Reproduced: the whole interval lies within +-tolerance. Not reproduced: the whole interval lies outside, on one
    side. Anything else is inconclusive.

    Args:
        effect: point estimate.
        low: lower end of the interval.
        high: upper end.
        tolerance: largest difference that counts as agreement, positive, in the effect's unit.

    Raises:
        InputError: tolerance is not positive, or the interval does not hold the effect.
    """
    if not tolerance > 0:
        raise InputError(f"tolerance={tolerance!r}: expected a positive difference")
    beyond = {judge(effect, low, high, tolerance, 1), judge(effect, low, high, tolerance, -1)}
    if beyond == {Outcome.NOT_REPRODUCED}:
        return Outcome.REPRODUCED
    return Outcome.NOT_REPRODUCED if Outcome.REPRODUCED in beyond else Outcome.INCONCLUSIVE


def decide(
    comparison: Comparison,
    *,
    claim: str,
    system: str,
    benchmark: str,
    margin: float = 0.0,
    direction: int = 1,
    scale: float = 100.0,
    unit: str = "points",
    reason: str = "",
    signature: str = "",
    adjusted_p: float | None = None,
    worthwhile: float = 0.01,
    n_needed: int | None = None,
) -> Verdict:
    """Judge a comparison and write the verdict, with the n that would decide where it is inconclusive.

    Args:
        comparison: effect, interval, p-value and n, effect first minus second.
        claim: id of the claim.
        system: what was tested.
        benchmark: on what.
        margin: smallest effect the claim speaks of, in the comparison's own unit (shares: 0.05 is five points).
        direction: +1 where the claim says the effect is positive, -1 where negative, 0 where it says that the effect
            is no larger than the margin either way.
        scale: from the comparison's unit to the printed one; 100 turns shares into points.
        unit: name of the printed unit.
        reason: one sentence for a person.
        signature: of the measurement.
        adjusted_p: Holm-adjusted p-value; where given it must agree before anything is called reproduced.
        worthwhile: smallest distance from the margin worth deciding, in the comparison's own unit; bounds
            ``n_needed`` where effect and margin almost coincide.
        n_needed: the n that would decide where the caller knows a sharper one; used only if inconclusive.
    """
    found = (comparison.effect, comparison.low, comparison.high)
    if direction == 0:
        outcome = judge_within(*found, margin)
        nearest = math.copysign(margin, comparison.effect)
    else:
        outcome = judge(*found, margin=margin, direction=direction, p_value=adjusted_p)
        nearest = direction * margin
    needed = None
    if outcome is Outcome.INCONCLUSIVE:
        needed = n_needed or n_needed_scaling(
            comparison.effect,
            comparison.low,
            comparison.high,
            comparison.n,
            margin=nearest,
            floor=worthwhile,
        )
        # An interval that clears the margin and was held back by Holm needs more than it has.
        needed = None if needed is None else max(needed, comparison.n + 1)
    held = "" if adjusted_p is None else f", Holm-adjusted p={adjusted_p:.2g}"
    return Verdict(
        claim=claim,
        system=system,
        benchmark=benchmark,
        outcome=outcome,
        effect=comparison.effect * scale,
        low=comparison.low * scale,
        high=comparison.high * scale,
        n=comparison.n,
        p_value=None if math.isnan(comparison.p_value) else comparison.p_value,
        test=comparison.test + held,
        unit=unit,
        reason=reason,
        n_needed=needed,
        signature=signature,
    )
