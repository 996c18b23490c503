from __future__ import annotations

import numpy as np
import pytest

from specref_core.decoding.denoise import DenoiseSettings
from specref_core.drafting.transformers import TransformersDrafter
from specref_core.errors import InputError
from specref_core.generator import (
    END_RULES,
    Budget,
    Generator,
    HasDraft,
    HasEndRule,
    HasFingerprint,
    HasLogLikelihood,
    HasRefine,
    LikelihoodRequest,
    MonteCarlo,
    Scaffold,
)
from specref_core.standalone import RefinerSettings, StandaloneDrafter, StandaloneRefiner

PROMPTS = ["def f(x):\n    return", "Question: 12 + 30 = ?", "", "東京 🙂"]
BUDGET = Budget(steps=5, max_new_tokens=16)


@pytest.fixture(scope="module")
def drafter(phi):
    return StandaloneDrafter(TransformersDrafter(*phi))


@pytest.fixture(scope="module")
def refiner(llada):
    return StandaloneRefiner(*llada)


class TestDrafter:
    """The AR component as a generator."""

    def test_has_the_capabilities_of_its_model(self, drafter):
        assert isinstance(drafter, Generator)
        assert isinstance(drafter, HasDraft)
        assert isinstance(drafter, HasLogLikelihood)
        assert isinstance(drafter, HasFingerprint)

    def test_the_answer_is_the_draft_and_its_cost_one_pass_a_token(self, drafter):
        drafts = drafter.draft(PROMPTS, budget=BUDGET, seed=0)
        for completion, draft in zip(drafter.generate(PROMPTS, budget=BUDGET, seed=0), drafts, strict=True):
            assert completion.text == draft.text
            cost = completion.cost
            assert cost.nominal_steps == 0
            assert cost.forward_passes == cost.row_forwards == cost.drafted_tokens == len(draft.token_ids)
            assert cost.flops > 0
            assert "".join(completion.trace.final_tokens) == draft.text
            assert all(0 <= score <= 1 for score in completion.trace.scores)

    def test_no_prompts_no_completions(self, drafter):
        assert drafter.generate([], budget=BUDGET, seed=0) == []


class TestRefiner:
    """The diffusion component as a generator."""

    def test_has_the_capabilities_of_its_model(self, refiner):
        assert isinstance(refiner, Generator)
        assert isinstance(refiner, HasRefine)
        assert isinstance(refiner, HasLogLikelihood)
        assert isinstance(refiner, HasFingerprint)

    def test_starts_from_nothing_and_counts_its_passes(self, refiner):
        for completion in refiner.generate(PROMPTS, budget=BUDGET, seed=0):
            trace, cost = completion.trace, completion.cost
            assert trace.masked == (True,) * 16
            assert set(trace.committed_at) == {1, 2, 3, 4, 5}
            assert (cost.nominal_steps, cost.forward_passes, cost.row_forwards) == (5, 5, 5)
            assert cost.drafted_tokens == 0
            assert "".join(trace.final_tokens) == completion.text

    @pytest.mark.parametrize("batch_size", [1, 3])
    @pytest.mark.parametrize("temperature", [0.0, 1.0])
    def test_results_do_not_depend_on_the_batch(self, llada, batch_size, temperature):
        denoise = DenoiseSettings(temperature=temperature)
        first, second = (
            StandaloneRefiner(*llada, RefinerSettings(denoise=denoise, batch_size=size)).generate(
                prompts, budget=BUDGET, seed=4
            )
            for size, prompts in ((8, PROMPTS), (batch_size, PROMPTS[::-1]))
        )
        assert [c.text for c in first] == [c.text for c in second[::-1]]

    def test_a_fixed_canvas_overrides_the_budget(self, llada):
        refiner = StandaloneRefiner(*llada, RefinerSettings(canvas_length=7))
        assert len(refiner.generate(["a"], budget=BUDGET, seed=0)[0].trace.masked) == 7

    def test_steps_come_from_the_settings_where_the_budget_has_none(self, llada):
        refiner = StandaloneRefiner(*llada, RefinerSettings(denoise=DenoiseSettings(steps=3)))
        completion = refiner.generate(["a"], budget=Budget(max_new_tokens=9), seed=0)[0]
        assert completion.cost.nominal_steps == completion.cost.forward_passes == 3

    def test_a_scaffold_keeps_its_kept_text_and_fills_the_rest(self, refiner):
        text = "return x**2 + 1"
        spans = refiner.encode_draft(text).spans
        masked = np.arange(len(spans)) % 2 == 1
        completion = refiner.refine(["def f(x):"], [Scaffold(text, spans, masked)], budget=BUDGET, seed=0)[0]
        committed = np.array(completion.trace.committed_at)[: len(spans)]
        np.testing.assert_array_equal(committed > 0, masked)
        for kept, final, hidden in zip(
            completion.trace.initial_tokens, completion.trace.final_tokens, completion.trace.masked, strict=True
        ):
            assert hidden or kept == final or not final

    def test_blocks_are_counted_from_the_end_of_the_prompt(self, llada):
        settings = RefinerSettings(denoise=DenoiseSettings(block_length=3))
        refiner = StandaloneRefiner(*llada, settings)
        text = "x=1+2*3-4"
        spans = refiner.encode_draft(text).spans
        scaffold = Scaffold(text, spans, np.arange(len(spans)) >= 2)  # one hidden token in the first block
        for completion in refiner.refine(PROMPTS, [scaffold] * 4, budget=Budget(steps=99), seed=0):
            committed = completion.trace.committed_at
            assert committed[2] == 1
            assert max(committed[3:6]) < min(committed[6 : len(spans)])

    def test_refuses_spans_of_another_tokenizer(self, refiner):
        with pytest.raises(InputError, match="scaffold 0: its 1 spans are not"):
            refiner.refine(["a"], [Scaffold("abc d", np.array([[0, 5]]), np.array([True]))], budget=BUDGET, seed=0)

    def test_refuses_unequal_numbers(self, refiner):
        with pytest.raises(InputError, match="1 prompts and 0 scaffolds"):
            refiner.refine(["a"], [], budget=BUDGET, seed=0)

    def test_refuses_a_canvas_past_the_window_with_both_lengths(self, llada):
        refiner = StandaloneRefiner(*llada)
        refiner.context_window = 20
        with pytest.raises(InputError, match="prompt 1 has 6 tokens and its canvas 16"):
            refiner.generate(["a", "+=+=+="], budget=BUDGET, seed=0)

    def test_an_empty_prompt_starts_from_the_begin_token(self, llada):
        assert StandaloneRefiner(*llada).encode_prompt("") == [llada.tokenizer.bos_token_id]

    def test_a_prompt_must_be_encodable(self, refiner):
        with pytest.raises(InputError, match="the prompt holds a lone surrogate"):
            refiner.generate(["\udcff"], budget=BUDGET, seed=0)

    def test_the_chat_template_wraps_the_prompt(self, llada):
        plain = StandaloneRefiner(*llada).encode_prompt("hello")
        wrapped = StandaloneRefiner(*llada, RefinerSettings(chat=True)).encode_prompt("hello")
        joined = ",".join(map(str, wrapped))
        assert ",".join(map(str, plain)) in joined
        assert len(wrapped) > len(plain)
        assert wrapped[0] == llada.tokenizer.bos_token_id

    def test_a_request_is_scored_with_its_error(self, refiner):
        request = LikelihoodRequest("def", (" f(x)", " g(x): return"))
        first, second = refiner.log_likelihood([request], monte_carlo=MonteCarlo(16, 8), seed=0)[0]
        assert first.samples == second.samples == 16
        assert first.standard_error > 0

    def test_end_rules_are_the_switches_of_the_reverse_process(self, refiner):
        assert isinstance(refiner, HasEndRule)
        twins = {rule: refiner.with_end_rule(rule) for rule in END_RULES}
        switches = {rule: (t.settings.denoise.ban_eos, t.settings.denoise.defer_eos) for rule, t in twins.items()}
        assert switches == {"free": (False, False), "deferred": (False, True), "banned": (True, False)}
        assert len({t.name for t in twins.values()} | {refiner.name}) == 4
        assert twins["free"].fingerprint() == refiner.fingerprint()
        assert len({t.fingerprint() for t in twins.values()}) == 3
        assert all(twin.model is refiner.model for twin in twins.values())
        assert not refiner.settings.denoise.ban_eos
        with pytest.raises(InputError, match="end rule 'never': expected one of free, deferred, banned"):
            refiner.with_end_rule("never")

    def test_a_model_without_an_end_token_has_no_end_rules(self, llada, monkeypatch):
        model, tokenizer = llada
        monkeypatch.setattr(model.config, "eos_token_id", None)
        with pytest.raises(InputError, match=r"'refiner' has no end token; set DenoiseSettings\.eos_token_id"):
            StandaloneRefiner(model, tokenizer).with_end_rule("banned")

    def test_the_fingerprint_names_what_changes_outputs_and_nothing_else(self, llada):
        def name(**choices):
            return StandaloneRefiner(*llada, RefinerSettings(**choices)).fingerprint()

        assert name(batch_size=2) == name()
        assert len({name(), name(slack=1), name(canvas_length=9), name(denoise=DenoiseSettings(steps=9))}) == 4


@pytest.mark.parametrize("wrong", [{"slack": -1}, {"canvas_length": 0}, {"batch_size": 0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        RefinerSettings(**wrong)
