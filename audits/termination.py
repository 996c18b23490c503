"""Pitfall 2: programs that never end, by step count, and what a harness without a time limit would make of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audits.live_systems import PIPELINE
from audits.live_verdicts import conclude_share
from protocols.score import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audits.live_systems import LiveSystem
    from audits.verdicts import Verdict
    from protocols.scores import Scores


def never_ending(system: LiveSystem, benchmark: str, role: str, steps: int) -> Verdict:
    """Judge the share of programs that the time limit had to end."""
    scores = system.measure(role, benchmark, steps)
    stopped = scores.failures.get(Failure.TIMEOUT, 0)
    return conclude_share(
        stopped,
        scores.n,
        claim_id="programs-never-end",
        system=f"{system.name if role == PIPELINE else f'{system.name} {role}'}, S={steps}",
        benchmark=benchmark,
        reason=f"{stopped} of {scores.n} programs were stopped at the time limit",
        signature=scores.signature,
    )


def stopped(scores: Scores) -> Mapping[str, str]:
    """Return how many programs of one cell end; a harness without a limit would wait for the others for ever."""
    count = scores.failures.get(Failure.TIMEOUT, 0)
    return {"n": str(scores.n), "never end": str(count), "end": str(scores.n - count)}
