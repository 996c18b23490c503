"""Confidences and choices, on small tables of logits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from specref_core.decoding.unmasking import choose, choose_as_script, likeliest, predict

MASK = 3


def _logits(rows=6, vocab=11, scale=3.0, seed=0):
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)) * scale


@pytest.mark.parametrize("model_dtype", [False, True])
@pytest.mark.parametrize("offset", [0.0, 500.0, -500.0])
def test_confidence_is_the_softmax_probability_of_the_likeliest_token(model_dtype, offset):
    logits = _logits() + offset
    tokens, confidence = predict(logits.clone(), mask_token_id=MASK, model_dtype=model_dtype)
    expected = logits.double().softmax(-1)
    expected_tokens = logits.clone()
    expected_tokens[:, MASK] = -torch.inf
    assert torch.equal(tokens, expected_tokens.argmax(-1))
    assert torch.allclose(confidence.double(), expected.gather(1, tokens[:, None])[:, 0], atol=1e-4 if offset else 1e-6)


@pytest.mark.parametrize("temperature", [0.0, 1.5])
@pytest.mark.parametrize("model_dtype", [False, True])
def test_the_mask_is_never_chosen_but_counts_in_the_normaliser(temperature, model_dtype):
    logits = _logits()
    logits[:, MASK] = 60.0
    generators = [torch.Generator().manual_seed(row) for row in range(6)]
    tokens, confidence = predict(
        logits.clone(), mask_token_id=MASK, temperature=temperature, generators=generators, model_dtype=model_dtype
    )
    assert (tokens != MASK).all()
    assert (confidence < 1e-15).all()


@pytest.mark.parametrize("model_dtype", [False, True])
def test_banned_tokens_do_not_exist(model_dtype):
    logits = _logits()
    likeliest = int(logits[0].argmax())
    assert likeliest != MASK
    tokens, confidence = predict(logits.clone(), mask_token_id=MASK, banned=[likeliest], model_dtype=model_dtype)
    rest = logits.clone()
    rest[:, likeliest] = -torch.inf
    assert (tokens != likeliest).all()
    assert torch.allclose(confidence, rest.softmax(-1).gather(1, tokens[:, None])[:, 0])


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("model_dtype", [False, True])
def test_deferred_tokens_may_be_chosen_with_confidence_zero(temperature, model_dtype):
    logits = _logits(rows=40)
    logits[::2, 5] = 30.0
    tokens, confidence = predict(
        logits.clone(),
        mask_token_id=MASK,
        deferred=[5, 6],
        temperature=temperature,
        generators=[torch.Generator().manual_seed(row) for row in range(40)],
        model_dtype=model_dtype,
    )
    late = (tokens == 5) | (tokens == 6)
    assert (tokens[::2] == 5).all()
    assert (confidence[late] == 0).all()
    rest = logits.clone()
    rest[:, [5, 6]] = -torch.inf  # as in the script, where they leave the normaliser too
    assert torch.allclose(confidence[~late], rest.softmax(-1).gather(1, tokens[:, None])[~late, 0], atol=1e-6)
    assert (confidence[~late] > 0).all()


def test_a_row_of_nothing_but_deferred_mass_is_not_nan():
    logits = torch.full((1, 11), -torch.inf)
    logits[0, 5] = 1.0
    tokens, confidence = predict(logits, mask_token_id=MASK, deferred=[5])
    assert tokens.tolist() == [5]
    assert confidence.tolist() == [0.0]


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_sampled_tokens_follow_the_tempered_distribution(temperature):
    row, draws = _logits(rows=1, vocab=6, scale=1.0), 4000
    generator = torch.Generator().manual_seed(0)
    tokens, confidence = predict(
        row.repeat(draws, 1), mask_token_id=MASK, temperature=temperature, generators=[generator] * draws
    )
    wanted = row[0].clone()
    wanted[MASK] = -torch.inf
    wanted = (wanted / temperature).softmax(-1)
    seen = torch.bincount(tokens, minlength=6) / draws
    assert (seen - wanted).abs().max() < 4 * (0.25 / draws) ** 0.5
    assert torch.allclose(confidence, row.softmax(-1)[0, tokens])  # without noise and without temperature


def test_the_noise_of_a_row_is_its_generators_next_vocabulary_in_float64():
    row = _logits(rows=1)
    tokens, _ = predict(row.clone(), mask_token_id=MASK, temperature=2.0, generators=[torch.Generator().manual_seed(9)])
    noise = torch.rand(11, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    published = row.double().exp() / (-noise.log()) ** 2.0
    published[0, MASK] = 0
    assert tokens.tolist() == published.argmax(-1).tolist()


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=30), st.data())
def test_the_choice_is_the_most_confident_and_of_equals_the_lowest(values, data):
    count = data.draw(st.integers(1, len(values)))
    chosen = choose(torch.tensor(values), count).tolist()
    assert chosen == sorted(range(len(values)), key=lambda place: (-values[place], place))[:count]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20, unique=True), st.data())
def test_without_ties_the_scripts_choice_is_the_same(values, data):
    count = data.draw(st.integers(1, len(values)))
    confidence = torch.tensor(values)
    places = torch.arange(len(values)) * 2 + 5
    assert torch.equal(choose_as_script(confidence, count, places=places, length=60), choose(confidence, count))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 99), st.integers(1, 14), st.sets(st.integers(0, 10), max_size=4))
def test_alternatives_are_the_likeliest_tokens_that_may_be_written(seed, count, never):
    logits = _logits(seed=seed)
    before = logits.clone()
    tokens, shares = likeliest(logits, count, [*never, *never])
    allowed = [token for token in range(11) if token not in never]
    for row, own, probabilities in zip(before, tokens.tolist(), shares, strict=True):
        assert own == sorted(allowed, key=lambda token, row=row: -float(row[token]))[:count]
        assert torch.allclose(probabilities, row[allowed].softmax(0).sort(descending=True).values[:count])
    assert torch.equal(logits, before)
