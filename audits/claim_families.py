"""Holm's correction inside a claim family: several tests of one idea on one system must not find it by number alone.

A verdict of a family of m tests stands as soon as its p-value is at most alpha / m, and cannot stand above alpha; only
between the two does Holm's answer depend on the other tests, so only then are they asked.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import scipy

from audits.claims import claim
from audits.statistics import holm
from audits.statistics.judging import ALPHA
from audits.statistics.power import POWER
from audits.verdicts import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from audits.verdicts import Verdict


def evidence(verdict: Verdict) -> float | None:
    """Return the two-sided p-value of a verdict's claim at the claim's margin; ``None`` where arithmetic decides.

    It is the verdict's own p-value where the margin is no effect, else no less than what the interval says: a p-value
    of no effect says nothing about an effect beyond a margin. An effect on the other side of the margin has 1.
    """
    about = claim(verdict.claim)
    if verdict.effect is None or verdict.low is None or verdict.high is None:
        return None
    if about.direction == 0:
        sides = [_from_interval(verdict, about.margin, -1), _from_interval(verdict, -about.margin, 1)]
        return max(sides)
    aimed = about.direction * about.margin
    if (verdict.effect - aimed) * about.direction <= 0:
        return 1.0
    seen = _from_interval(verdict, aimed, about.direction)
    if verdict.p_value is None:
        return seen
    return verdict.p_value if about.margin == 0 else max(seen, verdict.p_value)


def corrected(verdict: Verdict, tests: int, others: Callable[[], Sequence[float] | None]) -> Verdict:
    """Hold a verdict against its family.

    Args:
        verdict: of one test.
        tests: in the family on this system, this one included.
        others: returns the p-values of the other tests that could be made, or ``None`` where they cannot be told; then
            all are taken for smaller, which is Bonferroni's correction.

    Returns:
        The verdict; inconclusive where it was reproduced and Holm's correction takes that back. The n that would decide
        allows for the family.
    """
    p_value = evidence(verdict)
    if tests < 2 or p_value is None:
        return verdict
    if verdict.outcome is Outcome.INCONCLUSIVE:
        return replace(verdict, n_needed=_for_family(verdict, tests))
    if verdict.outcome is Outcome.NOT_REPRODUCED or p_value <= ALPHA / tests:
        return verdict
    beside = others()
    adjusted = min(1.0, p_value * tests) if beside is None else holm([p_value, *beside])[0]
    if adjusted <= ALPHA:
        return verdict
    told = f"Holm's correction over the {tests if beside is None else len(beside) + 1} tests of {_family(verdict)}"
    held = replace(
        verdict,
        outcome=Outcome.INCONCLUSIVE,
        reason=f"{verdict.reason}; {told} makes p={p_value:.2g} {adjusted:.2g}",
    )
    needed = _needed_at(p_value, ALPHA / tests, verdict.n)
    return replace(held, n_needed=max(verdict.n + 1, needed))


def _family(verdict: Verdict) -> str:
    return repr(claim(verdict.claim).family)


def _from_interval(verdict: Verdict, margin: float, direction: int) -> float:
    """Read a p-value off a 95 % interval: exact at 0.05, normal elsewhere."""
    assert verdict.effect is not None
    assert verdict.low is not None
    assert verdict.high is not None
    distance = (verdict.effect - margin) * direction
    arm = verdict.effect - verdict.low if direction == 1 else verdict.high - verdict.effect
    if distance <= 0:
        return 1.0
    return float(2 * scipy.stats.norm.sf(_Z * distance / arm)) if arm > 0 else 0.0


_Z = float(scipy.stats.norm.isf(ALPHA / 2))


def _for_family(verdict: Verdict, tests: int) -> int | None:
    """Scale the n of a verdict that may still be reproduced to the level that the family's strictest test has."""
    about = claim(verdict.claim)
    assert verdict.effect is not None
    ahead = about.direction * verdict.effect - about.margin
    if verdict.n_needed is None or (about.direction and ahead <= 0):
        return verdict.n_needed
    power = float(scipy.stats.norm.ppf(POWER))
    ratio = (float(scipy.stats.norm.isf(ALPHA / tests / 2)) + power) / (_Z + power)
    return math.ceil(verdict.n_needed * ratio * ratio)


def _needed_at(p_value: float, alpha: float, n: int) -> int:
    """Return the n at which evidence that grows with the square root of n reaches a level with the usual power."""
    seen = float(scipy.stats.norm.isf(max(p_value, 1e-300) / 2))
    wanted = float(scipy.stats.norm.isf(alpha / 2)) + float(scipy.stats.norm.ppf(POWER))
    return math.ceil(n * (wanted / max(seen, 1e-9)) ** 2)
