"""Audit of pitfall 3: a match of the first forty characters is not the metric it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from audits import proxy_agreement as audit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from audits.live_plugin import Live
    from audits.verdicts import Verdict

    Record = Callable[[Verdict], None]
    Row = Callable[[str, str, Mapping[str, str]], None]


@pytest.mark.claims("proxy-misjudges")
def test_the_proxy_misjudges_outputs(live: Live, record_verdict: Record, record_row: Row) -> None:
    """Agreement with the true metric, part by part."""
    verdict = audit.misjudged(live.system, live.benchmark)
    both = audit.judged(live.system, live.benchmark, audit.cells(live.system, live.benchmark))
    if verdict is None or both is None:
        pytest.skip(_no_reference(live))
    for name, truly in both[0].items():
        cells = audit.figures(truly, both[1][name])
        record_row(f"the proxy against the true metric, {live.benchmark}", f"{live.system.name} {name}", cells)
    record_verdict(verdict)


@pytest.mark.claims("proxy-reverses")
def test_the_proxy_reverses_an_order(live: Live, record_verdict: Record) -> None:
    """Whether choosing between two parts or budgets by the proxy chooses the worse one."""
    verdict = audit.reversal(live.system, live.benchmark)
    if verdict is None:
        pytest.skip(f"{_no_reference(live)}, or one part at one number of steps ranks nothing")
    record_verdict(verdict)


def _no_reference(live: Live) -> str:
    return f"{live.benchmark} gives no reference texts to match"
