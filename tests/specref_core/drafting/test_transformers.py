from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from specref_core.drafting import transformers as drafting
from specref_core.drafting.transformers import TransformersDrafter
from specref_core.errors import CheckpointError, InputError
from specref_core.generator import Budget, LikelihoodRequest, MonteCarlo

PROMPTS = ["def f(x):\n    return", "Question: 12 + 30", "東京 🙂", "", "a" * 60, "   "]
BUDGET = Budget(max_new_tokens=30)
SAMPLED = {"temperature": 1.0, "top_p": 0.9}


@pytest.fixture(scope="module", params=[{}, SAMPLED], ids=["greedy", "sampled"])
def settings(request):
    return request.param


@pytest.fixture(scope="module")
def drafts(phi, settings):
    return TransformersDrafter(*phi, **settings).draft(PROMPTS, budget=BUDGET, seed=3)


class TestDraft:
    """Lines 1 and 2 of Algorithm 1."""

    def test_entropies_equal_one_uncached_pass_in_float64(self, phi, drafts):
        model, tokenizer = phi
        for prompt, draft in zip(PROMPTS, drafts, strict=True):
            before = tokenizer(prompt)["input_ids"] or [tokenizer.bos_token_id]
            logits = full_logits(model, [*before, *draft.token_ids])[len(before) - 1 : -1]
            log_p = logits.log_softmax(-1)
            np.testing.assert_allclose(draft.entropies, -(log_p.exp() * log_p).sum(-1), atol=2e-5)
            chosen = log_p.gather(-1, torch.tensor(draft.token_ids)[:, None])[:, 0]
            np.testing.assert_allclose(draft.log_probs, chosen, atol=2e-5)

    def test_greedy_tokens_are_the_most_likely_ones(self, phi):
        model, tokenizer = phi
        for prompt, draft in zip(PROMPTS, TransformersDrafter(*phi).draft(PROMPTS, budget=BUDGET, seed=0), strict=True):
            before = tokenizer(prompt)["input_ids"] or [tokenizer.bos_token_id]
            logits = full_logits(model, [*before, *draft.token_ids])[len(before) - 1 : -1]
            assert logits.argmax(-1).tolist() == list(draft.token_ids)

    def test_greedy_drafts_equal_the_library_s_generate(self, phi):
        model, tokenizer = phi[0], copy.deepcopy(phi[1])
        tokenizer.pad_token = tokenizer.eos_token
        prompts = [prompt for prompt in PROMPTS if prompt]
        encoded = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
        written = model.generate(**encoded, max_new_tokens=30, do_sample=False, pad_token_id=tokenizer.eos_token_id)
        for row, draft in zip(written, TransformersDrafter(*phi).draft(prompts, budget=BUDGET, seed=0), strict=True):
            new = row[encoded["input_ids"].shape[1] :].tolist()
            assert new[: len(draft.token_ids)] == list(draft.token_ids)

    @pytest.mark.parametrize("batch_size", [1, 2, 5])
    def test_results_do_not_depend_on_the_batch(self, phi, settings, drafts, batch_size):
        again = TransformersDrafter(*phi, **settings, batch_size=batch_size).draft(PROMPTS, budget=BUDGET, seed=3)
        for one, other in zip(drafts, again, strict=True):
            assert (one.token_ids, one.spans, one.text) == (other.token_ids, other.spans, other.text)
            np.testing.assert_allclose(one.entropies, other.entropies, atol=2e-5)

    def test_learned_positions_count_from_the_first_real_token(self, phi):
        """Rotary models would hide a shift by padding; GPT-2's learned positions do not."""
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=384, n_embd=16, n_layer=2, n_head=2, initializer_range=0.5, eos_token_id=330)
        model = GPT2LMHeadModel(config).eval()
        together = TransformersDrafter(model, phi[1]).draft(PROMPTS, budget=BUDGET, seed=0)
        alone = TransformersDrafter(model, phi[1], batch_size=1).draft(PROMPTS, budget=BUDGET, seed=0)
        assert [d.token_ids for d in together] == [d.token_ids for d in alone]

    def test_results_do_not_depend_on_order_or_company(self, phi, settings, drafts):
        alone = TransformersDrafter(*phi, **settings).draft(PROMPTS[::-2], budget=BUDGET, seed=3)
        assert [d.token_ids for d in alone] == [d.token_ids for d in drafts[::-2]]

    def test_rows_that_end_early_leave_the_others_alone(self, phi, drafts, settings):
        drafter = TransformersDrafter(*phi, **settings)
        # Tokens that some drafts hold early and others late, or not at all, now end a text.
        drafter.end_ids |= {drafts[0].token_ids[2], drafts[1].token_ids[5], drafts[2].token_ids[9]}
        for whole, cut in zip(drafts, drafter.draft(PROMPTS, budget=BUDGET, seed=3), strict=True):
            ends = [i for i, token in enumerate(whole.token_ids) if token in drafter.end_ids]
            length = ends[0] + 1 if ends else len(whole.token_ids)
            assert cut.token_ids == whole.token_ids[:length]
            np.testing.assert_allclose(cut.entropies, whole.entropies[:length], atol=2e-5)
            if ends:
                assert cut.spans[-1][0] == cut.spans[-1][1]  # the end token is counted and has no text

    def test_spans_tell_the_text_of_every_token(self, phi, drafts):
        backend = phi[1].backend_tokenizer
        for draft in drafts:
            assert draft.text == backend.decode(list(draft.token_ids), skip_special_tokens=True)
            for token, (start, end) in zip(draft.token_ids, draft.spans, strict=True):
                piece = backend.decode([token])
                if "�" not in piece and piece:
                    assert draft.text[start:end] == piece

    def test_sampling_differs_by_seed_and_repeats_by_seed(self, phi):
        drafter = TransformersDrafter(*phi, **SAMPLED)
        first, again, other = (drafter.draft(PROMPTS[:2], budget=BUDGET, seed=seed) for seed in (0, 0, 1))
        assert first == again
        assert [d.token_ids for d in first] != [d.token_ids for d in other]

    def test_entropies_are_of_the_raw_distribution(self, phi):
        first = [
            TransformersDrafter(*phi, temperature=t).draft(PROMPTS[:1], budget=Budget(max_new_tokens=1), seed=0)
            for t in (0.0, 0.3, 5.0)
        ]
        assert len({round(d[0].entropies[0], 4) for d in first}) == 1

    def test_the_normaliser_counts_rows_without_a_token(self, phi, drafts):
        assert drafts[0].vocab_size == phi[0].config.vocab_size > len(phi[1])

    def test_a_stop_string_ends_the_text_and_keeps_the_count(self, phi, drafts, settings):
        stop = drafts[0].text[3:5]
        cut = TransformersDrafter(*phi, **settings, stop=["never", stop]).draft(PROMPTS[:1], budget=BUDGET, seed=3)[0]
        assert cut.text == drafts[0].text[: drafts[0].text.index(stop)]
        assert len(cut.token_ids) < len(drafts[0].token_ids)
        assert max(end for _, end in cut.spans) == len(cut.text)

    def test_no_prompts_no_drafts(self, phi):
        assert TransformersDrafter(*phi).draft([], budget=BUDGET, seed=0) == []


class TestWindow:
    """The model's context window."""

    def test_a_draft_ends_where_the_window_is_full(self, phi):
        drafter = TransformersDrafter(*phi)
        drafter.context_window = 20
        drafter.end_ids = set()
        prompts = ["a" * 15, "b"]
        tokens = [len(drafter.tokenizer(p)["input_ids"]) for p in prompts]
        drafted = [len(d.token_ids) for d in drafter.draft(prompts, budget=BUDGET, seed=0)]
        assert [t + d for t, d in zip(tokens, drafted, strict=True)] == [20, 20]

    def test_a_prompt_that_fills_it_is_refused_with_both_lengths(self, phi):
        drafter = TransformersDrafter(*phi)
        drafter.context_window = 15
        with pytest.raises(InputError, match="prompt 1 has 15 tokens and the drafter's context window is 15"):
            drafter.draft(["a", "x " * 7 + "x"], budget=BUDGET, seed=0)

    def test_teacher_forcing_past_it_is_refused(self, phi):
        drafter = TransformersDrafter(*phi)
        drafter.context_window = 5
        with pytest.raises(InputError, match="together they exceed"):
            drafter.teacher_forced(["aaa"], ["bbb"])


class TestTeacherForced:
    """Entropies of a given text."""

    def test_equals_the_draft_it_is_given(self, phi, drafts):
        forced = TransformersDrafter(*phi).teacher_forced(PROMPTS, PROMPTS, token_ids=[d.token_ids for d in drafts])
        for one, other in zip(drafts, forced, strict=True):
            assert (one.text, one.spans, one.token_ids) == (other.text, other.spans, other.token_ids)
            np.testing.assert_allclose(one.entropies, other.entropies, atol=2e-5)
            np.testing.assert_allclose(one.log_probs, other.log_probs, atol=2e-5)

    def test_slices_change_nothing(self, phi, monkeypatch):
        drafter = TransformersDrafter(*phi)
        texts = ["one two three four five", "", "six", "7" * 30, "eight\n", "n"]
        whole = drafter.teacher_forced(PROMPTS, texts)
        monkeypatch.setattr(drafting, "_LOGITS_AT_ONCE", 6 * drafter.vocab_size * 3)
        for one, other in zip(whole, drafter.teacher_forced(PROMPTS, texts), strict=True):
            assert one.text == other.text
            np.testing.assert_allclose(one.entropies, other.entropies, atol=2e-5)
            np.testing.assert_allclose(one.log_probs, other.log_probs, atol=2e-5)

    def test_spans_are_those_of_the_given_text(self, phi):
        draft = TransformersDrafter(*phi).teacher_forced(["x"], ["a 🙂"])[0]
        assert draft.text == "a 🙂"
        assert draft.spans[-1][1] == 3

    def test_refuses_unequal_numbers(self, phi):
        with pytest.raises(InputError, match="2 prompts and 1 continuations"):
            TransformersDrafter(*phi).teacher_forced(["a", "b"], ["c"])


class TestSettings:
    """What the constructor takes."""

    @pytest.mark.parametrize(
        "wrong",
        [
            *[{"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_p": 1.1}],
            *[{"batch_size": 0}, {"stop": "def"}, {"stop": [""]}],
        ],
    )
    def test_refuses_settings_out_of_range(self, phi, wrong):
        with pytest.raises(InputError, match=next(iter(wrong))):
            TransformersDrafter(*phi, **wrong)

    def test_refuses_a_missing_tokenizer(self, phi):
        with pytest.raises(CheckpointError, match="no tokenizer"):
            TransformersDrafter(phi[0], None)

    def test_an_empty_prompt_needs_a_begin_token(self, phi):
        tokenizer = copy.deepcopy(phi[1])
        tokenizer.bos_token = None
        with pytest.raises(InputError, match="prompt 0 is empty"):
            TransformersDrafter(phi[0], tokenizer).draft([""], budget=BUDGET, seed=0)

    def test_a_prompt_must_be_text(self, phi):
        with pytest.raises(InputError, match="prompt 1 is a bytes"):
            TransformersDrafter(*phi).draft(["a", b"b"], budget=BUDGET, seed=0)

    def test_a_prompt_must_be_encodable(self, phi):
        with pytest.raises(InputError, match="prompt 0 holds a lone surrogate"):
            TransformersDrafter(*phi).draft(["\udcff"], budget=BUDGET, seed=0)

    def test_running_out_of_memory_changes_nothing_but_the_batch(self, phi, settings, drafts, monkeypatch):
        drafter = TransformersDrafter(*phi, **settings)
        forward = drafter._forward

        def small_device(ids, *rest, **choices):
            if len(ids) > 2 and rest[1] is not None:  # fails in the midst of a draft
                raise torch.OutOfMemoryError
            return forward(ids, *rest, **choices)

        monkeypatch.setattr(drafter, "_forward", small_device)
        with pytest.warns(ResourceWarning, match="out of memory"):
            again = drafter.draft(PROMPTS, budget=BUDGET, seed=3)
        assert [d.token_ids for d in again] == [d.token_ids for d in drafts]

    def test_the_fingerprint_names_what_changes_outputs_and_nothing_else(self, phi):
        base = TransformersDrafter(*phi).fingerprint()
        assert TransformersDrafter(*phi, batch_size=3).fingerprint() == base
        assert TransformersDrafter(*phi, temperature=0.5).fingerprint() != base
        assert TransformersDrafter(*phi, stop=["x"]).fingerprint() != base

    def test_likelihood_is_exact(self, phi):
        drafter = TransformersDrafter(*phi)
        request = LikelihoodRequest("def", (" f", " g(x)"))
        first, second = (drafter.log_likelihood([request], monte_carlo=MonteCarlo(), seed=s)[0] for s in (0, 1))
        assert first == second
        assert all(estimate.standard_error == 0 and estimate.value < 0 for estimate in first)


def full_logits(model, ids):
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0].double()
