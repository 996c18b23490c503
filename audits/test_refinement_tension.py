"""Audit of finding 2: the pipeline scores below its own better component."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from audits import refinement_tension as audit
from audits.live_systems import DRAFTER, PIPELINE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from audits.live_plugin import Live
    from audits.verdicts import Verdict

    Record = Callable[[Verdict], None]
    Row = Callable[[str, str, Mapping[str, str]], None]


@pytest.mark.claims("refinement-tension")
def test_pipeline_is_below_its_better_component(live: Live, record_verdict: Record, record_row: Row) -> None:
    """Paired on the same problems, with the flow of right and wrong answers through the refiner."""
    verdict = audit.tension(live.system, live.family)[live.family.index(live.benchmark)]
    if live.system.has_part(DRAFTER):
        cells = dict(audit.flow(live.system, live.benchmark))
        vain = audit.masked_share_in_right_drafts(live.measure(DRAFTER, None), live.measure(PIPELINE, live.system.most))
        if vain is not None:
            cells["hidden tokens of right drafts"] = f"{100 * vain[0] / vain[1]:.0f} %"
        record_row(f"problems solved and moved, S={live.system.most}", f"{live.system.name}, {live.benchmark}", cells)
    record_verdict(verdict)


@pytest.mark.claims("entropy-predicts-error")
def test_entropy_predicts_error(live: Live, record_verdict: Record) -> None:
    """The premise of the mask: where the drafter is uncertain it is wrong."""
    verdict = audit.entropy_predicts_error(live.system, live.benchmark)
    if verdict is None:
        pytest.skip(
            f"the drafts of {live.system.name!r} on {live.benchmark} are all right, all wrong, or carry no entropies; "
            "return Completion.trace with the draft to enable this"
        )
    record_verdict(verdict)


@pytest.mark.claims("adaptive-k-helps")
def test_adaptive_k_helps(live: Live, record_verdict: Record, record_row: Row) -> None:
    """Lesson 3, with the sweep over k beside it."""
    verdict = audit.adaptive(live.system, live.benchmark)
    if live.system.has_part(DRAFTER):
        for name, cells in audit.sweep(live.system, live.benchmark):
            record_row(f"masks at S={live.system.fewest}, {live.system.name}, {live.benchmark}", name, cells)
    record_verdict(verdict)


@pytest.mark.claims("adaptive-k-keeps-tension")
def test_adaptive_k_keeps_the_tension(live: Live, record_verdict: Record) -> None:
    """Whether the remedy of lesson 3 is one."""
    record_verdict(audit.adaptive_tension(live.system, live.benchmark))
