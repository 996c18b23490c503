"""Audit of lesson 5: one score at one number of steps says little."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from audits import step_sensitivity as audit
from audits.live_systems import PIPELINE, REFINER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from audits.live_plugin import Live
    from audits.verdicts import Verdict

    Record = Callable[[Verdict], None]
    Row = Callable[[str, str, Mapping[str, str]], None]


@pytest.mark.claims("step-swing")
@pytest.mark.parametrize("role", [PIPELINE, REFINER])
def test_accuracy_swings_with_steps(live: Live, role: str, record_verdict: Record, record_row: Row) -> None:
    """More than 30 points between step counts, nominal steps beside executed passes."""
    verdict = audit.swing(live.system, live.benchmark, role)
    for steps in live.system.steps:
        cells = audit.figures(live.measure(role, steps))
        record_row(f"accuracy against steps, {live.benchmark}", f"{live.system.name} {role}, S={steps}", cells)
    record_verdict(verdict)


@pytest.mark.claims("step-reversal")
def test_step_count_reverses_the_comparison(live: Live, record_verdict: Record) -> None:
    """Which of pipeline and refiner is better depends on the budget chosen."""
    record_verdict(audit.reversal(live.system, live.benchmark))
