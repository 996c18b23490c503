"""Lesson 5: what a score owes to the number of steps it was measured at, and whether another number reverses it."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from audits.live_systems import PIPELINE, REFINER, MissingCapabilityError
from audits.live_verdicts import conclude, paired, with_lead
from audits.statistics.judging import ALPHA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audits.live_systems import LiveSystem
    from audits.verdicts import Verdict
    from protocols.scores import Scores


def swing(system: LiveSystem, benchmark: str, role: str) -> Verdict:
    """Compare the best with the worst number of steps; the interval allows for every pair they were chosen from."""
    _require_two(system)
    cells = {steps: system.measure(role, benchmark, steps) for steps in system.steps}
    best = max(system.steps, key=lambda steps: cells[steps].correct)
    worst = min(system.steps, key=lambda steps: cells[steps].correct)
    level = 1 - ALPHA / len(list(combinations(system.steps, 2)))
    told = ", ".join(f"{scores.correct} at S={steps}" for steps, scores in cells.items())
    return conclude(
        paired(cells[best], cells[worst], level=level),
        claim_id="step-swing",
        system=system.name if role == PIPELINE else f"{system.name}'s {role}",
        benchmark=benchmark,
        reason=f"of {cells[best].n} problems: {told}; "
        f"interval at {100 * level:.1f} % for the best of {len(system.steps)}",
        signature=cells[best].signature,
    )


def reversal(system: LiveSystem, benchmark: str) -> Verdict:
    """Ask whether pipeline and refiner change places between the fewest and the most steps, with evidence for both."""
    _require_two(system)
    few, many = system.fewest, system.most
    first, last = (
        paired(system.measure(PIPELINE, benchmark, steps), system.measure(REFINER, benchmark, steps))
        for steps in (few, many)
    )
    early, late = (first, last) if first.effect >= 0 else (first.reversed(), last.reversed())
    ahead, behind = ("pipeline", "refiner") if first.effect >= 0 else ("refiner", "pipeline")
    verdict = conclude(
        late.reversed(),
        claim_id="step-reversal",
        system=f"{system.name} against its refiner",
        benchmark=benchmark,
        reason=f"the {ahead} leads by {100 * early.effect:.0f} points at S={few}; the effect is the {behind}'s lead "
        f"at S={many}",
        signature=system.measure(PIPELINE, benchmark, many).signature,
    )
    return with_lead(verdict, early, "the lead may be noise")


def _require_two(system: LiveSystem) -> None:
    if len(system.steps) < 2:
        raise MissingCapabilityError(
            f"{system.name!r} is measured at S={system.fewest} only; comparing step counts takes two (--steps 8,64)"
        )


def figures(scores: Scores) -> Mapping[str, str]:
    """Return one cell of accuracy against steps, nominal and executed, with its cost."""
    low, high = scores.interval
    cells = {"right %": f"{100 * scores.value:.0f}", "95 %": f"{100 * low:.0f}-{100 * high:.0f}"}
    if scores.cost is not None:
        cells["passes"] = f"{scores.cost.forward_passes / scores.n:.1f}"
        cells["GFLOP"] = f"{scores.cost.flops / scores.n / 1e9:.3g}"
    return cells
