"""Audit of likelihood on instruct models: the chat template decides, and generation tells another story."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from audits import instruct_likelihood as audit

if TYPE_CHECKING:
    from collections.abc import Callable

    from audits.live_plugin import Live
    from audits.verdicts import Verdict


@pytest.mark.claims("template-moves-choices")
@pytest.mark.benchmarks("choices")
def test_the_chat_template_moves_choices(live: Live, record_verdict: Callable[[Verdict], None]) -> None:
    """The same questions with and without the template, against what another seed moves."""
    verdict = audit.template_moves(live.system, live.benchmark)
    if verdict is None:
        pytest.skip(f"the tokenizer of {live.system.name!r} has no chat template: it is no instruct model")
    record_verdict(verdict)


@pytest.mark.claims("instruct-likelihood-below-generation")
@pytest.mark.source("published")
@pytest.mark.parametrize("benchmark", audit.PUBLISHED)
def test_published_likelihood_is_below_generation(benchmark: str, record_verdict: Callable[[Verdict], None]) -> None:
    """One model, one benchmark, two protocols."""
    record_verdict(audit.published(benchmark))
