"""Audit of batch invariance: outputs that depend on what shares their batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from audits import batch_invariance as audit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from audits.live_plugin import Live
    from audits.verdicts import Verdict


@pytest.mark.claims("batch-moves-outputs")
def test_outputs_move_with_the_batch(
    live: Live,
    record_verdict: Callable[[Verdict], None],
    record_row: Callable[[str, str, Mapping[str, str]], None],
) -> None:
    """The same prompts alone, and in other calls in reverse order."""
    verdict = audit.outputs_move(live.system, live.benchmark)
    cells = audit.figures(live.system, live.benchmark)
    record_row(f"completions in other company, {live.benchmark}", live.system.name, cells)
    record_verdict(verdict)
