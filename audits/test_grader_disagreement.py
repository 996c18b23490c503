"""Audit of graders and extraction rules: the same outputs, other scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from audits import grader_disagreement as audit
from audits.live_systems import PIPELINE
from audits.proxy_agreement import cells

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from audits.live_plugin import Live
    from audits.verdicts import Verdict

    Record = Callable[[Verdict], None]
    Row = Callable[[str, str, Mapping[str, str]], None]


@pytest.mark.claims("graders-disagree")
@pytest.mark.benchmarks("answers")
def test_graders_disagree(live: Live, record_verdict: Record, record_row: Row) -> None:
    """Strict against lenient, part by part, the two extraction rules beside them."""
    verdict = audit.disagreement(live.system, live.benchmark)
    lenient, strict = audit.graded(live.system, live.benchmark)
    for name, scores in cells(live.system, live.benchmark).items():
        rules = audit.by_rules(live.system, live.benchmark, scores) or {}
        row = audit.figures(lenient[name], strict[name], rules)
        record_row(f"percent right by grader and by extraction rule, {live.benchmark}", f"{verdict.system} {name}", row)
    record_verdict(verdict)


@pytest.mark.claims("graders-reverse")
@pytest.mark.benchmarks("answers")
def test_graders_reverse_an_order(live: Live, record_verdict: Record) -> None:
    """Whether two parts or budgets change places with the grader."""
    verdict = audit.reversal(live.system, live.benchmark)
    if verdict is None:
        pytest.skip("one part at one number of steps ranks nothing; measure at two with --steps 8,64")
    record_verdict(verdict)


@pytest.mark.claims("extraction-decides")
@pytest.mark.benchmarks("answers")
def test_extraction_decides_the_score(live: Live, record_verdict: Record) -> None:
    """One harness, one output, two rules."""
    scores = live.measure(PIPELINE, live.system.most)
    verdict = audit.extraction(live.system, live.benchmark, f"{PIPELINE} S={live.system.most}", scores)
    if verdict is None:
        pytest.skip(f"the gold answers of {live.benchmark} are no numbers, which both rules look for")
    record_verdict(verdict)


@pytest.mark.claims("extraction-decides")
@pytest.mark.source("published")
def test_extraction_decided_a_published_score(record_verdict: Record) -> None:
    """The public report behind the claim."""
    record_verdict(audit.published_extraction())
