"""Audit of pitfall 4: entropies that reach the refiner by token index hide the wrong tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from audits import token_alignment as audit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from audits.live_plugin import Live
    from audits.verdicts import Verdict

    Record = Callable[[Verdict], None]
    Row = Callable[[str, str, Mapping[str, str]], None]


@pytest.mark.claims("projection-misplaced")
def test_the_pipeline_misplaces_its_drafts_uncertainty(live: Live, record_verdict: Record) -> None:
    """The pipeline's own projection, held against one through characters."""
    record_verdict(audit.misplaced(live.system, live.benchmark, _drafts(live)))


@pytest.mark.claims("index-transfer-moves-mask")
def test_index_transfer_moves_the_mask(live: Live, record_verdict: Record, record_row: Row) -> None:
    """How much of the mask would be wrong with these two tokenizers."""
    aligned = _drafts(live)
    record_row(f"tokens hidden for their entropy, {live.benchmark}", live.system.name, audit.figures(aligned))
    record_verdict(audit.moved(live.system, live.benchmark, aligned))


@pytest.mark.claims("index-transfer-costs")
def test_index_transfer_costs_accuracy(live: Live, record_verdict: Record) -> None:
    """How much of the score would be."""
    record_verdict(audit.costs(live.system, live.benchmark))


def _drafts(live: Live) -> list[audit.Aligned]:
    found = audit.drafts(live.system, live.benchmark)
    if not found:
        pytest.skip(f"every draft of {live.system.name!r} on {live.benchmark} is empty; nothing is projected")
    return found
