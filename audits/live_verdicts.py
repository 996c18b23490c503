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
    n_to_decide_paired,
    n_to_decide_share,
    share_p_value,
    tango_p_value,
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
    The verdict's p-value is that of the claim's margin: exact McNemar at 0, Tango's score test elsewhere.
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
    if margin and about.direction and comparison.discordant is not None:
        at_margin = tango_p_value(*comparison.discordant, comparison.n, about.direction * margin)
        test = f"Tango score test of {about.margin:g} points, Tango interval"
        verdict = replace(verdict, p_value=at_margin, test=test)
    if verdict.outcome is Outcome.REPRODUCED and about.direction and not margin and comparison.p_value > ALPHA:
        doubt = f"the exact test does not exclude chance (p={comparison.p_value:.2g})"
        verdict = replace(verdict, outcome=Outcome.INCONCLUSIVE, reason=f"{verdict.reason}; {doubt}")
    else:
        verdict = _excluded(verdict, comparison, margin, about.direction)
    if verdict.outcome is not Outcome.INCONCLUSIVE:
        return verdict
    demanded = ALPHA
    if adjusted_p and 0 < comparison.p_value < adjusted_p:
        demanded = ALPHA * comparison.p_value / adjusted_p
    return replace(verdict, n_needed=_pairs_needed(comparison, margin, about.direction, demanded))


def with_lead(verdict: Verdict, lead: Comparison, told: str) -> Verdict:
    """Hold a verdict on a reversal against the lead that was reversed: both must be beyond noise.

    Args:
        verdict: on the second lead, that of the other system.
        lead: the first lead, 0 or more.
        told: of the first lead, where it may be noise.

    Returns:
        The verdict; its p-value is that of the weaker lead.
    """
    assert verdict.p_value is not None
    verdict = replace(verdict, p_value=max(verdict.p_value, lead.p_value))
    real = judge(lead.effect, lead.low, lead.high) is Outcome.REPRODUCED and lead.p_value <= ALPHA
    if verdict.outcome is not Outcome.REPRODUCED or real:
        return verdict
    needed = _pairs_needed(lead, 0.0, 1, ALPHA)
    return replace(verdict, outcome=Outcome.INCONCLUSIVE, n_needed=needed, reason=f"{verdict.reason}; {told}")


def conclude_share(
    count: int, n: int, *, claim_id: str, system: str, benchmark: str, reason: str, signature: object
) -> Verdict:
    """Judge a share by its claim's margin, with an exact interval; n is at least 1.

    The verdict's p-value is that of the exact binomial test at the claim's margin.
    """
    about = claim(claim_id)
    margin, interval = about.margin / 100, clopper_pearson(count, n)
    directed = about.direction != 0 and 0 < margin < 1
    p_value = share_p_value(count, n, margin) if directed else float("nan")
    found = Comparison(count / n, interval.low, interval.high, p_value, n, "Clopper-Pearson interval")
    verdict = decide(
        found,
        claim=claim_id,
        system=system,
        benchmark=benchmark,
        margin=margin,
        direction=about.direction,
        reason=reason,
        signature=str(signature),
        worthwhile=WORTHWHILE,
    )
    if verdict.outcome is not Outcome.INCONCLUSIVE or not directed:
        return verdict
    needed = n_to_decide_share(count / n, margin, direction=about.direction)
    return verdict if needed is None else replace(verdict, n_needed=max(n + 1, needed))


def _pairs_needed(found: Comparison, margin: float, direction: int, alpha: float) -> int | None:
    """Return the n at which this effect is decided; at an effect on the margin, one that lies WORTHWHILE beyond it."""
    aimed = direction * margin
    spread = n_needed_scaling(found.effect, found.low, found.high, found.n, margin=aimed, floor=WORTHWHILE)
    if direction == 0 or found.discordant is None:
        needed = spread
    else:
        b, c = found.discordant if direction == 1 else found.discordant[::-1]
        needed = (
            n_to_decide_paired(b / found.n, c / found.n, margin=margin, worthwhile=WORTHWHILE, alpha=alpha) or spread
        )
    return None if needed is None else max(found.n + 1, needed)


def _excluded(verdict: Verdict, found: Comparison, margin: float, direction: int) -> Verdict:
    """Turn an inconclusive verdict into *not reproduced* where an effect worth knowing of is excluded."""
    if verdict.outcome is not Outcome.INCONCLUSIVE or margin or not direction:
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
