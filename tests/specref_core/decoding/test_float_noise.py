"""Which choices float noise could turn."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from specref_core.decoding.float_noise import LOGIT_NOISE, Margins, could_turn
from specref_core.decoding.unmask_policies import Candidates, Factor, FixedCount, Hierarchy, Threshold
from specref_core.decoding.unmasking import choose, predict


def _clear(n, size=1.0):
    return Margins(torch.full((n,), 5.0), torch.full((n,), size))


def _top(count):
    return lambda confidence: choose(confidence, count)


@pytest.mark.parametrize(
    ("confidence", "count", "doubtful"),
    [
        ([0.5, 0.5, 0.1], 1, True),
        ([0.5, 0.5, 0.1], 2, False),  # both are taken, in whatever order
        ([0.5, 0.5, 0.5], 3, False),
        ([0.5, 0.5 + 1e-6, 0.1], 1, True),
        ([0.5, 0.501, 0.1], 1, False),
        ([1.0, 1.0 - 2.0**-24, 0.1], 1, True),  # all that a float32 can tell apart there
        ([0.003, 0.00301, 0.001], 1, False),  # noise is relative to what is measured
        ([0.0, 0.0, 0.5], 2, False),  # deferred tokens have exactly 0, in any batch
    ],
)
def test_order_by_example(confidence, count, doubtful):
    assert could_turn(_top(count), torch.tensor(confidence), _clear(len(confidence))) is doubtful


def test_a_tie_of_tokens_matters_where_it_is_written():
    margins = Margins(torch.tensor([0.0, 5.0]), torch.ones(2))
    assert could_turn(_top(1), torch.tensor([0.9, 0.1]), margins)
    assert not could_turn(_top(1), torch.tensor([0.1, 0.9]), margins)
    assert could_turn(_top(1), torch.tensor([0.9, 0.1]), margins, random_order=True)
    assert not could_turn(_top(1), torch.tensor([0.1, 0.1]), _clear(2), random_order=True)


def test_noise_grows_with_the_logits():
    confidence = torch.tensor([0.5, 0.5 + 2e-4, 0.1])
    assert not could_turn(_top(1), confidence, _clear(3))
    assert could_turn(_top(1), confidence, _clear(3, size=100.0))


@pytest.mark.parametrize("policy", [Threshold(0.5), Factor(1.0), Hierarchy(0.2, 0.5), FixedCount(2)])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.integers(2, 40))
def test_what_is_not_doubtful_does_not_turn(policy, seed, levels):
    """Whatever noise within the bound does to confidences that tie often, a clear choice stays the same."""
    generator = torch.Generator().manual_seed(seed)
    confidence = (torch.rand(6, generator=generator) * levels).round() / levels
    places = torch.tensor([0, 1, 2, 5, 6, 9])

    def select(values):
        return policy.select(Candidates(values, places))

    if could_turn(select, confidence, _clear(6)):
        return
    noise = 2 * LOGIT_NOISE * confidence * (1 - confidence)
    for _ in range(5):
        moved = confidence + noise * (2 * torch.rand(6, generator=generator) - 1)
        assert set(select(moved).tolist()) == set(select(confidence).tolist())


@pytest.mark.parametrize("model_dtype", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_margins_are_those_of_the_choice(model_dtype, temperature):
    """The lead over the next token, the mask left out, in the noised logits where there is noise."""
    logits = torch.randn(4, 9, generator=torch.Generator().manual_seed(2))
    logits[:, 3] = 50.0  # the mask, which is never chosen
    logits[1, 5] = logits[1].clone().index_fill(0, torch.tensor([3]), -50).max()  # a tie
    margins = []
    made = [torch.Generator().manual_seed(i) for i in range(4)]
    tokens, _ = predict(
        logits.clone(),
        mask_token_id=3,
        temperature=temperature,
        generators=made,
        model_dtype=model_dtype,
        margins=margins,
    )
    [found] = margins
    noised = logits.double()
    if temperature:
        for i in range(4):
            noise = torch.rand(9, dtype=torch.float64, generator=torch.Generator().manual_seed(i))
            noised[i] -= temperature * torch.log(-torch.log(noise))
    noised[:, 3] = -torch.inf
    best = noised.topk(2)
    assert torch.equal(tokens, best.indices[:, 0]) or not temperature
    assert found.gap.tolist() == pytest.approx((best.values[:, 0] - best.values[:, 1]).tolist(), abs=1e-5)
    assert (found.size < 50).all()
    assert [len(part.gap) for part in found.split([1, 3])] == [1, 3]
