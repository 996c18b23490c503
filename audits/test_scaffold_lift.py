"""Audit of finding 1: a warm start lifts accuracy at few steps, and what in it does so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from audits import scaffold_lift as audit
from audits.live_systems import DRAFTER, PIPELINE, REFINER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from audits.live_plugin import Live
    from audits.verdicts import Verdict

    Record = Callable[[Verdict], None]
    Row = Callable[[str, str, Mapping[str, str]], None]


@pytest.mark.claims("scaffold-lift")
def test_warm_start_lifts_at_few_steps(live: Live, record_verdict: Record, record_row: Row) -> None:
    """The lift, with the drafter's own score beside it and every failure told by its kind."""
    verdict = audit.lift(live.system, live.family)[live.family.index(live.benchmark)]
    code = live.system.benchmark(live.benchmark).kind == "code"
    for role in (DRAFTER, REFINER, PIPELINE):
        if live.system.has_part(role):
            cells = audit.decomposition(live.measure(role, None if role == DRAFTER else live.system.fewest), code=code)
            record_row(_title(live), f"{live.system.name} {role}", cells)
    record_verdict(verdict)


@pytest.mark.claims("structure-lifts")
@pytest.mark.benchmarks("code")
def test_structure_lifts_more_than_chance(live: Live, record_verdict: Record, record_row: Row) -> None:
    """The control that the paper's section 5 asks for: the same number of kept tokens, chosen differently."""
    for scaffold in audit.CONTROLS:
        scores = live.measure(live.system.warm_start(scaffold), live.system.fewest)
        record_row(_title(live), f"{live.system.name} keeping {scaffold}", audit.decomposition(scores, code=True))
    record_verdict(audit.control(live.system, live.benchmark, "structure-lifts", "structure", "random"))


@pytest.mark.claims("confident-tokens-lift")
@pytest.mark.benchmarks("code")
def test_confident_tokens_lift_more_than_structure(live: Live, record_verdict: Record) -> None:
    """The other explanation of the lift: what is kept is the drafter's answer."""
    record_verdict(audit.control(live.system, live.benchmark, "confident-tokens-lift", "low-entropy", "structure"))


@pytest.mark.claims("structural-failures")
@pytest.mark.benchmarks("code")
def test_failures_of_standalone_diffusion_are_structural(live: Live, record_verdict: Record) -> None:
    """Section 4.1: it is form that is missing, not logic."""
    verdict = audit.structural_failures(live.system, live.benchmark)
    if verdict is None:
        pytest.skip(f"the refiner of {live.system.name!r} solves every problem of {live.benchmark}; nothing failed")
    record_verdict(verdict)


@pytest.mark.claims("answers-copied")
@pytest.mark.benchmarks("answers")
def test_right_answers_are_copied_from_the_draft(live: Live, record_verdict: Record) -> None:
    """Credit that belongs to the drafter: its final answer was never hidden."""
    verdict = audit.copied_answers(live.system, live.benchmark)
    if verdict is None:
        pytest.skip(
            f"no right answer of {live.system.name!r} can be traced to the draft; return Completion.trace with "
            "initial_tokens and masked to enable this"
        )
    record_verdict(verdict)


def _title(live: Live) -> str:
    return (
        f"percent of {len(live.system.benchmark(live.benchmark).problems)} at S={live.system.fewest}, {live.benchmark}"
    )
