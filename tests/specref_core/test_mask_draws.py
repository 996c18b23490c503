"""Laws of the Monte Carlo masks."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from specref_core.errors import InputError
from specref_core.generator import MonteCarlo
from specref_core.mask_draws import all_masks, draw_masks, systematic_counts, uniform_counts
from tests.oracles import official_masks

LENGTHS = st.integers(1, 64)
BATCHES = st.sampled_from([1, 2, 3, 8, 32])
OFFSETS = st.floats(0, 1, exclude_max=True)


@given(LENGTHS, BATCHES, OFFSETS)
def test_counts_lie_between_one_and_the_length(length, batch, offset):
    for counts in (systematic_counts(length, batch, offset), uniform_counts(length, batch, offset)):
        assert counts.shape == (batch,)
        assert counts.min() >= 1
        assert counts.max() <= length


@given(LENGTHS, BATCHES)
def test_uniform_counts_are_exactly_uniform(length, batch):
    # Every count changes at multiples of 1/length of (i + offset)/batch: averaging over a fine, centred grid is exact.
    grid = (np.arange(length) + 0.5) / length
    seen = np.bincount(np.concatenate([uniform_counts(length, batch, offset) for offset in grid]), minlength=length + 1)
    assert seen[1:].tolist() == [batch] * length


@pytest.mark.parametrize("length", [2, 4, 12, 20, 7, 16])
def test_systematic_counts_are_the_scripts(length):
    torch.manual_seed(length)
    published = {tuple(sorted(official_masks(length, 8)[1].tolist())) for _ in range(60 * length)}
    ours = {tuple(sorted(systematic_counts(length, 8, (k + 0.5) / length).tolist())) for k in range(length)}
    assert ours == published


def test_the_scripts_rounding_prefers_even_counts():
    counts = np.concatenate([systematic_counts(4, 8, (k + 0.5) / 4) for k in range(4)])
    assert np.bincount(counts)[1:].tolist() == [4, 12, 4, 12]


@pytest.mark.parametrize("scheme", ["systematic", "uniform"])
@given(st.lists(st.integers(1, 20), min_size=1, max_size=4), st.integers(0, 1000))
def test_continuations_of_equal_length_share_their_masks_and_none_depends_on_the_others(scheme, lengths, seed):
    choices = MonteCarlo(16, 4, scheme)
    drawn = draw_masks(lengths, choices, np.random.default_rng(seed))
    for length, masks in zip(lengths, drawn, strict=True):
        assert masks.shape == (16, length)
        assert masks.any(axis=1).all()
        alone = draw_masks([length], choices, np.random.default_rng(seed))[0]
        assert np.array_equal(masks, alone)


@pytest.mark.parametrize("scheme", ["systematic", "uniform"])
def test_every_subset_of_a_size_is_equally_likely(scheme):
    masks = draw_masks([5], MonteCarlo(40_000, 8, scheme), np.random.default_rng(0))[0]
    for size in range(1, 5):
        of_size = masks[masks.sum(axis=1) == size]
        keys = of_size @ (1 << np.arange(5))
        subsets = [sum(1 << place for place in subset) for subset in combinations(range(5), size)]
        shares = np.array([(keys == subset).mean() for subset in subsets])
        assert np.abs(shares - 1 / len(subsets)).max() < 0.02


def test_the_masks_of_a_uniform_batch_cover_every_token_about_equally():
    masks = draw_masks([20], MonteCarlo(80, 8, "uniform"), np.random.default_rng(0))[0].reshape(10, 8, 20)
    covered = masks.sum(axis=1)
    assert (covered.max(axis=1) - covered.min(axis=1) <= 1).all()


@given(st.integers(1, 7))
def test_enumeration_has_every_mask_once_and_weights_that_sum_to_the_length(length):
    masks, weights = all_masks(length)
    assert len(np.unique(masks, axis=0)) == 2**length - 1
    assert masks.any(axis=1).all()
    # a cross-entropy of 1 everywhere must give L
    assert np.isclose((weights * masks.sum(axis=1)).sum(), length)


@pytest.mark.parametrize("length", [0, 8])
def test_a_target_too_long_to_enumerate_is_refused(length):
    with pytest.raises(InputError, match=f"this one has {length}"):
        all_masks(length)
