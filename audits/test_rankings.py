"""Audit of finding 3: likelihood and generation rank systems differently."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from audits import rankings as audit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from audits.live_plugin import Live
    from audits.verdicts import Verdict


@pytest.mark.claims("rankings-differ")
@pytest.mark.benchmarks("choices")
def test_likelihood_and_generation_rank_differently(
    live: Live,
    record_verdict: Callable[[Verdict], None],
    record_row: Callable[[str, str, Mapping[str, str]], None],
) -> None:
    """Per pair of systems, with Kendall's tau over all three beside it.

    The embedded pair ranks and generates on the same questions; other systems on two benchmarks of their own.
    """
    generated = live.system.of_kind("answers") or live.system.of_kind("code")
    if not generated:
        pytest.skip("no benchmark to generate on; name one with --benchmark gsm8k")
    verdict = audit.rankings(live.system, live.benchmark, generated[0])
    cells = audit.agreement(live.system, live.benchmark, generated[0])
    record_row(
        f"percent right by likelihood / by generation, {live.benchmark} and {generated[0]}", live.system.name, cells
    )
    record_verdict(verdict)
