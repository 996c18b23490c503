"""Audit of credit: what a pipeline's score owes to text that it only copied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from audits import copied_credit as audit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from audits.live_plugin import Live
    from audits.verdicts import Verdict

    Record = Callable[[Verdict], None]


@pytest.mark.claims("draft-text-kept")
def test_the_final_text_is_the_drafter_s(live: Live, record_verdict: Record) -> None:
    """Characters on positions that the refiner never had to fill."""
    verdict = audit.text_kept(live.system, live.benchmark)
    if verdict is None:
        pytest.skip(
            f"no completion of {live.system.name!r} on {live.benchmark} tells what was drafted; return "
            "Completion.trace with initial_tokens and masked to enable this"
        )
    record_verdict(verdict)


@pytest.mark.claims("credit-is-the-draft-s")
def test_right_answers_were_right_in_the_draft(
    live: Live, record_verdict: Record, record_row: Callable[[str, str, Mapping[str, str]], None]
) -> None:
    """What the drafter would have scored with the same answers."""
    verdict = audit.credit(live.system, live.benchmark)
    title = f"where right answers come from, S={live.system.fewest}, {live.benchmark}"
    record_row(title, live.system.name, audit.figures(live.system, live.benchmark))
    if verdict is None:
        pytest.skip(f"{live.system.name!r} has no right answer on {live.benchmark}: there is no credit to share")
    record_verdict(verdict)


@pytest.mark.claims("lift-without-copies")
def test_the_lift_survives_without_copies(live: Live, record_verdict: Record) -> None:
    """Only problems whose draft is wrong."""
    verdict = audit.lift_without_copies(live.system, live.benchmark)
    if verdict is None:
        pytest.skip(
            f"the drafter of {live.system.name!r} solves all of {live.benchmark}: every right answer may be copied"
        )
    record_verdict(verdict)
