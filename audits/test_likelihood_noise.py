"""Audit of Monte Carlo likelihoods: choices that the seed decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from audits import likelihood_noise as audit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from audits.live_plugin import Live
    from audits.verdicts import Verdict

    Record = Callable[[Verdict], None]
    Row = Callable[[str, str, Mapping[str, str]], None]


@pytest.mark.claims("decisions-flip")
@pytest.mark.benchmarks("choices")
def test_choices_change_with_the_seed(live: Live, record_verdict: Record, record_row: Row) -> None:
    """Two seeds, the same problems; beside it what more rounds would do."""
    verdict = audit.flips(live.system, live.benchmark)
    cells = audit.figures(round((verdict.effect or 0.0) * verdict.n / 100), verdict.n)
    record_row(f"percent of choices that change, by mask rounds, {live.benchmark}", verdict.system, cells)
    record_verdict(verdict)


@pytest.mark.claims("flip-probability-holds")
@pytest.mark.benchmarks("choices")
def test_as_many_choices_change_as_the_errors_say(live: Live, record_verdict: Record) -> None:
    """The error bar that every choice carries, held against what happens."""
    verdict = audit.held(live.system, live.benchmark)
    if verdict is None:
        pytest.skip(
            f"the likelihoods of {live.system.name!r} are estimates without standard errors; return "
            "LogLikelihood.standard_error to enable this"
        )
    record_verdict(verdict)
