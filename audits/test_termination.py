"""Audit of pitfall 2: programs that never end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from audits import termination as audit
from audits.live_systems import PIPELINE, REFINER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from audits.live_plugin import Live
    from audits.verdicts import Verdict


@pytest.mark.claims("programs-never-end")
@pytest.mark.benchmarks("code")
@pytest.mark.parametrize("budget", ["fewest", "most"])
@pytest.mark.parametrize("role", [PIPELINE, REFINER])
def test_programs_never_end(
    live: Live,
    role: str,
    budget: str,
    record_verdict: Callable[[Verdict], None],
    record_row: Callable[[str, str, Mapping[str, str]], None],
) -> None:
    """A harness without a time limit would wait for these for ever."""
    steps = live.system.fewest if budget == "fewest" else live.system.most
    verdict = audit.never_ending(live.system, live.benchmark, role, steps)
    cells = audit.stopped(live.measure(role, steps))
    record_row(f"programs by end, {live.benchmark}", f"{live.system.name} {role}, S={steps}", cells)
    record_verdict(verdict)
