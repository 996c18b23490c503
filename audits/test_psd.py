"""Audit of parallel speculative decoding on the embedded refiner: strict drafts save passes and change no token."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from audits import exactness
from fixtures.nano.tasks import CANVAS, training_pairs
from specref_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from audits.kept_results import KeptResults
    from audits.verdicts import Verdict
    from specref_core.decoding.psd import PsdSettings

    Record = Callable[[Verdict], None]
    Row = Callable[[str, str, Mapping[str, str]], None]

pytestmark = [pytest.mark.source("nano"), pytest.mark.slow]

PROMPTS = 4
"""Each is compared token by token; what a thousand random models and canvases say stands in the test suite."""
ALTERNATIVES, STATES = 2, 16


@pytest.mark.parametrize("family", ["code", "arithmetic"])
def test_strict_psd_writes_what_the_undrafted_sampler_writes(
    family: str, seed: int, kept: KeptResults, record_verdict: Record, record_row: Row
) -> None:
    """On every prompt; beside it what the drafts saved and what they cost."""
    settings = f"{family}|{seed}|{PROMPTS}|{ALTERNATIVES}|{STATES}"
    found = kept.recall(f"exactness|psd|{settings}", lambda: _compared(family, seed))
    record_row(
        "parallel speculative decoding, strict, left to right",
        family,
        {
            "tokens a forward": f"{found['filled'] / found['passes']:.2f}",
            "passes a prompt": f"{found['passes'] / PROMPTS:.1f} for {found['undrafted'] / PROMPTS:.1f}",
            "rows a prompt": f"{found['rows'] / PROMPTS:.1f}",
        },
    )
    record_verdict(
        exactness.greedy_verdict(
            found["alone"],
            found["made"],
            system=f"psd, trees of {STATES}",
            benchmark=f"nano-{family}",
            claim="psd-strict-exact",
        )
    )


@cache
def _refiner() -> Any:
    from fixtures.nano.systems import psd

    try:
        return psd()
    except CheckpointError as error:
        pytest.skip(str(error))


def _compared(family: str, seed: int) -> dict[str, Any]:
    """Return the tokens with and without drafts, and what they cost."""
    from specref_core.generator import Budget
    from specref_core.psd_refiner import PsdRefiner, filled

    loaded = _refiner()
    prompts = [prompt for prompt, _ in islice(training_pairs(family, f"exactness|{seed}", "test"), PROMPTS)]
    budget = Budget(max_new_tokens=CANVAS[family])
    trees = replace(loaded.psd, alternatives=ALTERNATIVES, most_states=STATES)

    def written(how: PsdSettings) -> list[Any]:
        # One prompt a pass is enough: its states are a batch.
        settings = replace(loaded.settings, batch_size=1)
        sampler = PsdRefiner(loaded.model, loaded.tokenizer, settings, psd=how)
        return list(sampler.generate(prompts, budget=budget, seed=0))

    undrafted, drafted = written(replace(trees, depth=0)), written(trees)
    return {
        "alone": [list(one.trace.final_tokens) for one in undrafted],
        "made": [list(one.trace.final_tokens) for one in drafted],
        "filled": sum(filled(one.trace) for one in drafted),
        "undrafted": sum(one.cost.forward_passes for one in undrafted),
        "passes": sum(one.cost.forward_passes for one in drafted),
        "rows": sum(one.cost.row_forwards for one in drafted),
    }
