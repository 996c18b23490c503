"""Audit of cost: what a warm start saves in passes and operations, and whether L*C_AR + S*C_D tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from audits import live_cost as audit
from audits.live_systems import DRAFTER, PIPELINE, REFINER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from audits.live_plugin import Live
    from audits.verdicts import Verdict

    Record = Callable[[Verdict], None]
    Row = Callable[[str, str, Mapping[str, str]], None]


@pytest.mark.claims("fewer-passes")
def test_warm_start_saves_passes(live: Live, record_verdict: Record, record_row: Row) -> None:
    """Counted passes, with accuracy, latency and operations of every part beside them."""
    verdict = audit.fewer_passes(live.system, live.benchmark)
    for role in (DRAFTER, REFINER, PIPELINE):
        if live.system.has_part(role):
            for steps in (None,) if role == DRAFTER else live.system.steps:
                told = f"{live.system.name} {role}" + ("" if steps is None else f", S={steps}")
                record_row(f"accuracy against cost, {live.benchmark}", told, audit.figures(live.measure(role, steps)))
    record_verdict(verdict)


@pytest.mark.claims("speed-up")
@pytest.mark.parametrize("budget", ["fewest", "most"])
def test_pipeline_is_twice_as_cheap(live: Live, budget: str, record_verdict: Record) -> None:
    """The published speed-up, in operations."""
    steps = live.system.fewest if budget == "fewest" else live.system.most
    record_verdict(audit.speed_up(live.system, live.benchmark, steps))


@pytest.mark.claims("pass-cost")
def test_a_refinement_pass_costs_a_standalone_pass(live: Live, record_verdict: Record) -> None:
    """One C_D for both, as the cost model has it."""
    record_verdict(audit.pass_cost(live.system, live.benchmark))


@pytest.mark.claims("cost-model")
def test_the_cost_model_tells_the_cost(live: Live, record_verdict: Record, record_row: Row) -> None:
    """Fitted on executed passes, with the fit on nominal steps and the speed-ups it gives beside it."""
    verdict = audit.cost_model(live.system, live.benchmark)
    for name, cells in audit.fit_rows(live.system, live.benchmark):
        record_row(f"fit of L*C_AR + S*C_D, {live.benchmark}", f"{live.system.name}, {name}", cells)
    seconds = audit.seconds_row(live.system, live.benchmark)
    if seconds is not None:
        record_row(f"seconds a query by executed passes, {live.benchmark}", live.system.name, seconds)
    if live.system.has_part(REFINER):
        cells = audit.speed_up_row(live.system, live.benchmark)
        record_row(f"speed-up by the fitted cost, {live.benchmark}", live.system.name, cells)
    record_verdict(verdict)
