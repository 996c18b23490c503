"""Likelihoods against their definitions and against the published script."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from fixtures.checkpoints import make_llada_checkpoint
from specref_core import likelihood
from specref_core.errors import InputError
from specref_core.generator import LikelihoodRequest, MonteCarlo
from specref_core.likelihood import (
    ar_log_likelihood,
    encode_pair,
    log_likelihood_of_masks,
    masked_cross_entropies,
    masked_log_likelihood,
)
from specref_core.mask_draws import draw_masks
from specref_core.models.llada import load_llada
from tests.oracles import bound_by_definition, official_log_likelihood

CONTEXT = "Question: A farmer has 12 hens. "
SHORT = LikelihoodRequest(CONTEXT, ("Answer", "def f", "x^2"))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return load_llada(make_llada_checkpoint(tmp_path_factory.mktemp("llada"), scale=0.2))


@pytest.fixture(scope="module")
def causal(loaded):
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        vocab_size=320,
        max_position_embeddings=64,
        bos_token_id=None,
        eos_token_id=loaded.model.config.eos_token_id,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


def _exact(loaded, request, **options):
    return masked_log_likelihood(*loaded, [request], monte_carlo=MonteCarlo(1, 1, "exact"), seed=0, **options)[0]


def test_enumeration_equals_the_definition(loaded):
    for continuation, scored in zip(SHORT.continuations, _exact(loaded, SHORT), strict=True):
        context, target = encode_pair(loaded.tokenizer, CONTEXT, continuation)
        wanted = bound_by_definition(
            loaded.model, torch.tensor(context), torch.tensor(target), mask_id=loaded.model.config.mask_token_id
        )
        assert scored.value == pytest.approx(wanted, abs=1e-4)
        assert (scored.standard_error, scored.samples, scored.tokens) == (0.0, 0, len(target))


@pytest.mark.parametrize("samples", [16, 4000])
def test_the_uniform_estimate_is_unbiased_and_its_error_is_what_it_says(loaded, samples):
    exact = _exact(loaded, SHORT)
    repeats = 40 if samples == 16 else 1
    estimates = [
        masked_log_likelihood(*loaded, [SHORT], monte_carlo=MonteCarlo(samples, 4, "uniform"), seed=seed)[0]
        for seed in range(repeats)
    ]
    for choice, truth in enumerate(exact):
        values = np.array([estimate[choice].value for estimate in estimates])
        errors = np.array([estimate[choice].standard_error for estimate in estimates])
        spread = math.sqrt((errors**2).mean() / repeats)
        assert abs(values.mean() - truth.value) < 4 * spread
        if repeats > 1:
            assert 0.6 < values.std(ddof=1) / math.sqrt((errors**2).mean()) < 1.6


def test_given_masks_make_the_scripts_estimate(loaded):
    model, tokenizer = loaded
    context, target = encode_pair(tokenizer, CONTEXT, "None at all of these")
    masks = draw_masks([len(target)], MonteCarlo(24, 8), np.random.default_rng(3))[0]
    losses = masked_cross_entropies(model, [(context, target, masks)])[0]
    scored = log_likelihood_of_masks(losses, masks, batch=8)

    whole = torch.tensor([*context, *target]).repeat(24, 1)
    hidden = torch.cat([torch.zeros(24, len(context), dtype=torch.bool), torch.from_numpy(masks)], dim=1)
    with torch.no_grad():
        logits = model(whole.masked_fill(hidden, model.config.mask_token_id)).logits
    loss = torch.nn.functional.cross_entropy(logits[hidden], whole[hidden], reduction="none")
    weight = torch.from_numpy(masks.sum(axis=1) / len(target))[:, None].expand_as(hidden)[hidden]
    assert scored.value == pytest.approx(-float((loss / weight).sum()) / 24, abs=1e-4)
    assert (losses[~masks] == 0).all()


def test_guidance_equals_the_scripts_formula(loaded):
    model, tokenizer = loaded
    context, target = encode_pair(tokenizer, CONTEXT, "Answer")
    masks = np.ones((1, len(target)), dtype=bool)
    mask = model.config.mask_token_id
    both = torch.tensor([context + [mask] * len(target), [mask] * len(context + target)])
    with torch.no_grad():
        conditional, unconditional = model(both).logits[:, len(context) :]
    guided = unconditional + 1.5 * (conditional - unconditional)
    wanted = torch.nn.functional.cross_entropy(guided, torch.tensor(target), reduction="none")
    losses = masked_cross_entropies(model, [(context, target, masks)], cfg_scale=0.5)[0]
    assert np.allclose(losses[0], wanted.numpy(), atol=1e-4)
    assert _exact(loaded, SHORT, cfg_scale=0.5)[0].value != _exact(loaded, SHORT)[0].value


def test_the_systematic_estimate_has_the_scripts_distribution(loaded):
    model, tokenizer = loaded
    continuation = " def f(x):"
    context, target = encode_pair(tokenizer, CONTEXT, continuation)
    torch.manual_seed(0)
    _, published = official_log_likelihood(
        model,
        torch.tensor(context),
        torch.tensor(target),
        samples=1600,
        batch=8,
        mask_id=model.config.mask_token_id,
    )
    request = LikelihoodRequest(CONTEXT, (continuation,))
    ours = masked_log_likelihood(model, tokenizer, [request], monte_carlo=MonteCarlo(1600, 8), seed=1)[0][0]
    theirs = np.array(published)
    error = theirs.std(ddof=1) / math.sqrt(len(theirs))
    assert abs(ours.value - theirs.mean()) < 4 * math.hypot(error, ours.standard_error)
    assert 0.75 < ours.standard_error / error < 1.35


@pytest.mark.parametrize("scheme", ["systematic", "uniform", "exact"])
def test_a_request_is_scored_alike_alone_in_company_and_in_any_packing(loaded, scheme):
    choices = MonteCarlo(16, 4, scheme)
    others = [LikelihoodRequest("Let x", (" = 10", "?")), SHORT, LikelihoodRequest("", ("abc",))]
    together = masked_log_likelihood(*loaded, others, monte_carlo=choices, seed=5)
    alone = masked_log_likelihood(*loaded, [SHORT], monte_carlo=choices, seed=5, tokens_per_pass=40)
    for one, other in zip(together[1], alone[0], strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-4)
    assert [len(scored) for scored in together] == [2, 3, 1]


def test_equal_seeds_agree_and_others_do_not(loaded):
    request = LikelihoodRequest(CONTEXT, ("The model reads both directions",))
    first, same, other = (
        masked_log_likelihood(*loaded, [request], monte_carlo=MonteCarlo(16, 4), seed=seed)[0][0] for seed in (1, 1, 2)
    )
    assert first == same
    assert first.value != other.value
    assert (first.samples, first.tokens) == (
        16,
        len(encode_pair(loaded.tokenizer, CONTEXT, request.continuations[0])[1]),
    )


def test_one_batch_gives_no_standard_error_and_one_token_needs_none(loaded):
    one_token = next(c for c in ("7", "z", "Q") if len(encode_pair(loaded.tokenizer, "Let", c)[1]) == 1)
    request = LikelihoodRequest("Let", (one_token, one_token + "Qz", ""))
    single, several, empty = masked_log_likelihood(*loaded, [request], monte_carlo=MonteCarlo(8, 8), seed=0)[0]
    assert (single.standard_error, single.samples, single.tokens) == (0.0, 0, 1)
    assert math.isnan(several.standard_error)
    assert (empty.value, empty.standard_error, empty.tokens) == (0.0, 0.0, 0)


def test_a_target_too_long_to_enumerate_is_refused(loaded):
    with pytest.raises(InputError, match="enumerates targets of 1 to 7"):
        _exact(loaded, LikelihoodRequest(CONTEXT, ("None at all of these x^2 and more",)))


def test_a_pair_longer_than_the_context_is_refused(causal, loaded):
    with pytest.raises(InputError, match="the model takes 64"):
        ar_log_likelihood(causal, loaded.tokenizer, [LikelihoodRequest("Q z " * 60, ("no",))])


def test_left_to_right_likelihoods_are_exact(causal, loaded):
    requests = [
        LikelihoodRequest(CONTEXT, ("Answer", "12 + 30 = 42", "")),
        LikelihoodRequest("", ("def f",)),
        LikelihoodRequest("Let ", ("x",)),
    ]
    for budget in (4096, 30):
        scored = ar_log_likelihood(causal, loaded.tokenizer, requests, tokens_per_pass=budget)
        for request, results in zip(requests, scored, strict=True):
            for continuation, result in zip(request.continuations, results, strict=True):
                context, target = encode_pair(loaded.tokenizer, request.context, continuation)
                context = context or [loaded.tokenizer.bos_token_id]
                with torch.no_grad():
                    logits = causal(torch.tensor([context + target])).logits[0].log_softmax(-1)
                wanted = sum(float(logits[len(context) - 1 + i, token]) for i, token in enumerate(target))
                assert result.value == pytest.approx(wanted, abs=1e-4)
                assert (result.standard_error, result.samples, result.tokens) == (0.0, 0, len(target))


@settings(deadline=None, max_examples=60)
@given(st.text(alphabet="ab \n.9é", max_size=12), st.text(alphabet="ab \n.9é", max_size=12))
def test_the_pair_is_the_joint_text_split_after_the_contexts_own_tokens(loaded, context, continuation):
    tokenizer = loaded.tokenizer
    before, target = encode_pair(tokenizer, context, continuation)
    if not context.rstrip() and not (context + continuation):
        assert (before, target) == ([], [])
    whole = tokenizer(context + continuation, add_special_tokens=False)["input_ids"]
    assert len(before) + len(target) == len(whole) or not target
    if target:
        assert whole[len(whole) - len(target) :] == target
    if continuation and whole:
        assert target


def test_white_space_at_the_end_of_the_context_moves_to_the_target(loaded):
    tokenizer = loaded.tokenizer
    for context, continuation in (("Answer: ", "18"), ("Answer:", " 18"), ("Answer: \n", "18")):
        before, target = encode_pair(tokenizer, context, continuation)
        assert tokenizer.decode(before) == "Answer:"
        assert tokenizer.decode(target) == (context + continuation).removeprefix("Answer:")


@pytest.mark.parametrize(("device", "longest"), [("cpu", 1536), ("cuda", 4096), (None, 4096)])
def test_a_pass_takes_what_suits_the_device(device, longest):
    model = SimpleNamespace(device=SimpleNamespace(type=device)) if device else SimpleNamespace()
    groups = list(likelihood._packed([64] * 200, likelihood._usual_tokens(model)))
    assert max(map(len, groups)) * 64 == longest
