"""Audit of finding 2, token by token: what the mask hides, and what it should have hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from audits import token_errors as audit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from audits.live_plugin import Live
    from audits.verdicts import Verdict

    Record = Callable[[Verdict], None]


@pytest.mark.claims("hides-right-tokens")
def test_the_mask_hides_right_tokens(
    live: Live, record_verdict: Record, record_row: Callable[[str, str, Mapping[str, str]], None]
) -> None:
    """With what became of them beside it."""
    drafts, unlike = audit.judged_drafts(live.system, live.benchmark)
    verdict = audit.hides_right(live.system, live.benchmark, drafts, unlike)
    if verdict is None:
        pytest.skip(
            f"no completion of {live.system.name!r} on {live.benchmark} tells which tokens of a draft were hidden; "
            "return Completion.trace with the draft, initial_tokens and masked to enable this"
        )
    record_row(f"tokens of drafts, {live.benchmark}", live.system.name, audit.figures(live.system, drafts))
    record_verdict(verdict)


@pytest.mark.claims("entropy-finds-wrong-tokens")
def test_entropy_finds_wrong_tokens(live: Live, record_verdict: Record) -> None:
    """The premise of the mask, at the level at which the mask works."""
    drafts, unlike = audit.judged_drafts(live.system, live.benchmark)
    verdict = audit.entropy_finds(live.system, live.benchmark, drafts, unlike)
    if verdict is None:
        pytest.skip(
            f"no draft of {live.system.name!r} on {live.benchmark} has both right and wrong tokens that can be told "
            "apart; return Completion.trace with the draft to enable this"
        )
    record_verdict(verdict)
