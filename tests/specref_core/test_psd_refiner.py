"""The PSD refiner as a generator: alone, in the pipeline, and what it reports."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from specref_core.decoding.denoise import DenoiseSettings
from specref_core.decoding.psd import PsdSettings
from specref_core.decoding.unmask_policies import Threshold
from specref_core.drafting.transformers import TransformersDrafter
from specref_core.errors import InputError
from specref_core.generator import Budget, Completion, HasFingerprint, HasRefine
from specref_core.loading import check_generator
from specref_core.psd_refiner import PsdRefiner, tokens_per_forward
from specref_core.specref import SpecRef
from specref_core.standalone import RefinerSettings, StandaloneRefiner

PROMPTS = ["def add(a, b):\n", "One and one", ""]
BUDGET = Budget(steps=12, max_new_tokens=12)


@pytest.fixture(scope="module")
def refiners(llada):
    settings = RefinerSettings(denoise=DenoiseSettings(), batch_size=1)
    return StandaloneRefiner(*llada, settings), PsdRefiner(*llada, settings)


@pytest.mark.parametrize("depth", [0, 3])
def test_it_writes_what_the_undrafted_refiner_writes(llada, refiners, depth):
    plain = refiners[0].generate(PROMPTS, budget=BUDGET, seed=0)
    fast = PsdRefiner(*llada, refiners[0].settings, psd=PsdSettings(depth=depth)).generate(
        PROMPTS, budget=BUDGET, seed=0
    )
    assert [c.text for c in fast] == [c.text for c in plain]
    assert [c.trace.final_tokens for c in fast] == [c.trace.final_tokens for c in plain]


def test_it_refines_the_pipelines_warm_start(phi, refiners):
    drafter = TransformersDrafter(*phi)
    plain = SpecRef(drafter, refiners[0]).generate(PROMPTS[:2], budget=BUDGET, seed=1)
    pipeline = SpecRef(drafter, refiners[1], name="specref+psd")
    fast = pipeline.generate(PROMPTS[:2], budget=BUDGET, seed=1)
    assert [c.text for c in fast] == [c.text for c in plain]
    for completion in fast:
        assert completion.cost.row_forwards >= completion.cost.forward_passes > 0
        assert completion.cost.drafted_tokens > 0
        assert completion.cost.seconds > 0
        assert completion.cost.flops > 0
    assert pipeline.components()["refiner"].name == "psd"
    assert pipeline.fingerprint() != SpecRef(drafter, refiners[0]).fingerprint()


def test_it_meets_the_contract_and_has_the_refiners_capabilities(refiners):
    check_generator(refiners[1], "here")
    assert isinstance(refiners[1], HasRefine)
    assert isinstance(refiners[1], HasFingerprint)
    assert refiners[1].generate([], budget=BUDGET, seed=0) == []


def test_what_changes_the_text_changes_the_fingerprint(llada, refiners):
    named = {refiners[0].fingerprint(), refiners[1].fingerprint()}
    for speculation in (PsdSettings(depth=1), PsdSettings(acceptance="relaxed"), PsdSettings(Threshold(0.8))):
        named.add(PsdRefiner(*llada, refiners[0].settings, psd=speculation).fingerprint())
    assert len(named) == 5
    assert PsdRefiner(*llada, refiners[0].settings).fingerprint() == refiners[1].fingerprint()


def test_it_loads_from_a_directory(llada_dir, refiners):
    loaded = PsdRefiner.from_pretrained(llada_dir, refiners[1].settings, psd=PsdSettings(depth=1), name="mine")
    assert (loaded.name, loaded.psd.depth) == ("mine", 1)


def test_tokens_per_forward_counts_what_was_filled_before_the_end(refiners):
    completion = refiners[1].generate(PROMPTS[:1], budget=BUDGET, seed=0)[0]
    trace = replace(
        completion.trace,
        masked=(True, False, True, True, True),
        final_tokens=("a", "b", "c", "", ""),
    )
    cost = replace(completion.cost, forward_passes=4)
    assert tokens_per_forward(Completion("abc", cost, trace)) == 0.5
    assert math.isnan(tokens_per_forward(Completion("abc", replace(cost, forward_passes=0), trace)))
    with pytest.raises(InputError, match="cost and trace"):
        tokens_per_forward(Completion("abc"))
