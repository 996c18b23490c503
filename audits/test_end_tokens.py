"""Audit of the end token: a switch that is seldom reported and moves the score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from audits import end_tokens as audit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from audits.live_plugin import Live
    from audits.verdicts import Verdict


@pytest.mark.claims("end-rule-swings")
def test_the_end_rule_moves_the_score(
    live: Live,
    record_verdict: Callable[[Verdict], None],
    record_row: Callable[[str, str, Mapping[str, str]], None],
) -> None:
    """Free, deferred and banned, on the same problems."""
    verdict = audit.swing(live.system, live.benchmark)
    for rule, scores in audit.measured(live.system, live.benchmark).items():
        title = f"end token at S={live.system.most}, {live.benchmark}"
        record_row(title, f"{live.system.name}, {rule}", audit.figures(scores))
    record_verdict(verdict)
