"""From measured cells to verdicts: paired on the same problems, and with a third answer between yes and no.

A claim of margin 0 could never be refuted by data: no interval ends exactly at 0. So a live claim counts as not
reproduced where its effect, if there is one, is smaller than :data:`WORTHWHILE`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from audits.claims import claim
from audits.statistics import (
    Comparison,
    clopper_pearson,
    compare_paired,
    decide,
    judge,
    n_needed_scaling,
    n_needed_share,
)
from audits.statistics.comparison import LEVEL
from audits.statistics.judging import ALPHA
from audits.verdicts import Outcome
from specref_core.errors import InputError

if TYPE_CHECKING:
    from audits.verdicts import Verdict
    from protocols.scores import Scores

WORTHWHILE = 0.05
"""Smallest effect beyond a claim's margin worth knowing of, as a share: 80 concordant problems exclude it."""


def paired(first: Scores, second: Scores, *, level: float = LEVEL) -> Comparison:
    """Compare two measurements problem by problem; effect is first minus second.

    Raises:
        InputError: they were not measured alike but for system and steps.
    """
    first.signature.require_comparable(second.signature, named=("system", "steps"))
    if [s.task_id for s in first.samples] != [s.task_id for s in second.samples]:
        raise InputError(f"{first.system} and {second.system} were not scored on the same problems")
    return compare_paired(right(first), right(second), level=level)


def right(scores: Scores) -> list[bool]:
    """Return (n,) whether each sample is correct, in the order of the problems."""
    return [sample.score.correct for sample in scores.samples]


def conclude(
    comparison: Comparison,
    *,
    claim_id: str,
    system: str,
    benchmark: str,
    reason: str,
    signature: object,
    adjusted_p: float | None = None,
) -> Verdict:
    """Judge a difference of shares by its claim's margin; see the module's docstring for the third answer.

    At few discordant pairs a score interval can leave 0 where the exact test still doubts; then nothing is reproduced.
    """
    about = claim(claim_id)
    margin = about.margin / 100
    verdict = decide(
        comparison,
        claim=claim_id,
        system=system,
        benchmark=benchmark,
        margin=margin,
        direction=about.direction,
        reason=reason,
        signature=str(signature),
        adjusted_p=adjusted_p,
        worthwhile=WORTHWHILE,
    )
    if verdict.outcome is Outcome.REPRODUCED and comparison.p_value > ALPHA:
        ends = (comparison.effect, comparison.low, comparison.high)
        return replace(
            verdict,
            outcome=Outcome.INCONCLUSIVE,
            n_needed=max(comparison.n + 1, n_needed_scaling(*ends, comparison.n, floor=WORTHWHILE) or 0),
            reason=f"{verdict.reason}; the exact test does not exclude chance (p={comparison.p_value:.2g})",
        )
    return _excluded(verdict, comparison, margin, about.direction)


def conclude_share(
    count: int, n: int, *, claim_id: str, system: str, benchmark: str, reason: str, signature: object
) -> Verdict:
    """Judge a share by its claim's margin, with an exact interval; n is at least 1."""
    about = claim(claim_id)
    margin, interval = about.margin / 100, clopper_pearson(count, n)
    found = Comparison(count / n, interval.low, interval.high, float("nan"), n, "Clopper-Pearson interval")
    return decide(
        found,
        claim=claim_id,
        system=system,
        benchmark=benchmark,
        margin=margin,
        direction=about.direction,
        reason=reason,
        signature=str(signature),
        worthwhile=WORTHWHILE,
        n_needed=n_needed_share(count / n, margin) if margin else None,
    )


def _excluded(verdict: Verdict, found: Comparison, margin: float, direction: int) -> Verdict:
    """Turn an inconclusive verdict into *not reproduced* where an effect worth knowing of is excluded."""
    if verdict.outcome is not Outcome.INCONCLUSIVE or margin:
        return verdict
    ends = (found.effect, found.low, found.high)
    beyond = judge(*ends, direction=direction) is Outcome.REPRODUCED  # held back by Holm only
    if beyond or judge(*ends, margin=WORTHWHILE, direction=direction) is not Outcome.NOT_REPRODUCED:
        return verdict
    return replace(
        verdict,
        outcome=Outcome.NOT_REPRODUCED,
        n_needed=None,
        reason=f"{verdict.reason}; an effect of {100 * WORTHWHILE:g} points is excluded",
    )
