"""Finding 3: whether likelihood and generation put two systems in the same order, decided pair by pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audits.live_systems import DRAFTER, PIPELINE, REFINER
from audits.live_verdicts import conclude, paired, right, with_lead
from audits.statistics import rank_agreement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audits.live_systems import LiveSystem
    from audits.verdicts import Verdict

ROLES = (DRAFTER, REFINER, PIPELINE)
"""A pipeline has no likelihood of its own; it is ranked by its refiner's, as in the paper's Table 2."""


def rankings(system: LiveSystem, choices: str, generated: str) -> Verdict:
    """Judge drafter against refiner: in which order likelihood puts them, and whether generation reverses it.

    Args:
        system: with both components, each with likelihoods.
        choices: benchmark ranked by likelihood.
        generated: benchmark answered by generation.
    """
    by_likelihood = paired(*(system.measure(role, choices, None) for role in (DRAFTER, REFINER)))
    by_generation = paired(*(system.measure(role, generated, _steps(system, role)) for role in (DRAFTER, REFINER)))
    ahead, behind = (DRAFTER, REFINER) if by_likelihood.effect >= 0 else (REFINER, DRAFTER)
    likelihood = by_likelihood if by_likelihood.effect >= 0 else by_likelihood.reversed()
    generation = by_generation if by_likelihood.effect >= 0 else by_generation.reversed()
    verdict = conclude(
        generation,
        claim_id="rankings-differ",
        system=f"{system.name}'s drafter against its refiner, S={system.most}",
        benchmark=f"{choices} and {generated}",
        reason=f"by likelihood the {ahead} leads the {behind} by {100 * likelihood.effect:.0f} points; the effect is "
        f"its lead by generation",
        signature=system.measure(DRAFTER, generated, None).signature,
    )
    return with_lead(verdict, likelihood, "the lead by likelihood may be noise")


def agreement(system: LiveSystem, choices: str, generated: str) -> Mapping[str, str]:
    """Return every system's accuracy both ways, and Kendall's tau of the two orders with its bootstrap interval."""
    likelihood = [right(system.measure(_ranked_by(role), choices, None)) for role in ROLES]
    generation = [right(system.measure(role, generated, _steps(system, role))) for role in ROLES]
    found = rank_agreement(likelihood, generation)
    cells = {
        role: f"{100 * sum(ranked) / len(ranked):.0f} / {100 * sum(made) / len(made):.0f}"
        for role, ranked, made in zip(ROLES, likelihood, generation, strict=True)
    }
    return {**cells, "tau": f"{found.tau:.2f}", "95 %": f"{found.interval.low:.2f} to {found.interval.high:.2f}"}


def _ranked_by(role: str) -> str:
    return REFINER if role == PIPELINE else role


def _steps(system: LiveSystem, role: str) -> int | None:
    return None if role == DRAFTER else system.most
