"""Laws of the step counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specref_core.decoding.schedule import block_steps, num_transfer
from specref_core.errors import InputError

COUNTS = st.integers(0, 600)
STEPS = st.integers(1, 700)


@given(COUNTS, STEPS)
def test_the_counts_sum_to_the_number_of_masks(masks, steps):
    assert sum(num_transfer(masks, steps)) == masks


@given(COUNTS, STEPS)
def test_no_step_is_empty_and_as_many_run_as_can(masks, steps):
    counts = num_transfer(masks, steps)
    assert len(counts) == min(masks, steps)
    assert all(count >= 1 for count in counts)


@given(COUNTS, STEPS)
def test_the_spread_is_even_and_the_first_steps_take_what_is_over(masks, steps):
    counts = num_transfer(masks, steps)
    assert list(counts) == sorted(counts, reverse=True)
    assert not counts or max(counts) - min(counts) <= 1


@given(COUNTS, STEPS)
def test_the_counts_are_the_published_ones_without_their_zeros(masks, steps):
    published = [masks // steps + (step < masks % steps) for step in range(steps)]
    assert num_transfer(masks, steps) == tuple(count for count in published if count)


@pytest.mark.parametrize(("masks", "steps"), [(-1, 4), (4, 0), (4, -2)])
def test_counts_out_of_range_are_refused(masks, steps):
    with pytest.raises(InputError, match=str(min(masks, steps))):
        num_transfer(masks, steps)


BLOCKS = st.lists(st.integers(0, 40), min_size=1, max_size=20)


@given(BLOCKS, STEPS)
def test_blocks_share_the_steps_and_none_with_masks_goes_without(masks, steps):
    shares = block_steps(masks, steps)
    occupied = sum(count > 0 for count in masks)
    assert sum(shares) == max(min(steps, sum(masks)), occupied)
    for share, count in zip(shares, masks, strict=True):
        assert (share == 0) == (count == 0)
        assert share <= count


@given(st.integers(1, 20), st.integers(1, 40), st.integers(1, 40))
def test_equal_blocks_share_equally_as_in_the_published_script(blocks, size, per_block):
    assert block_steps([size] * blocks, per_block * blocks) == (min(size, per_block),) * blocks


@given(BLOCKS, STEPS)
def test_a_block_with_more_masks_never_gets_fewer_steps(masks, steps):
    shares = block_steps(masks, steps)
    for one, here in zip(masks, shares, strict=True):
        for other, there in zip(masks, shares, strict=True):
            assert one <= other or here >= there


@pytest.mark.parametrize(
    ("masks", "steps", "shares"),
    [
        ([], 4, ()),
        ([0, 0], 4, (0, 0)),
        ([8, 4], 6, (4, 2)),
        ([8, 0, 8], 4, (2, 0, 2)),
        ([5, 5, 5], 2, (1, 1, 1)),  # fewer steps than blocks: one each all the same
        ([3, 3], 5, (3, 2)),  # what is left over goes to the earlier block
        ([10, 1, 1], 6, (4, 1, 1)),
    ],
)
def test_shares_by_example(masks, steps, shares):
    assert block_steps(masks, steps) == shares


def test_no_steps_are_refused():
    with pytest.raises(InputError, match="steps=0"):
        block_steps([3], 0)
    with pytest.raises(InputError, match="negative"):
        block_steps([3, -1], 2)
