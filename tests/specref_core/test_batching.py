from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from specref_core.batching import Batches
from specref_core.errors import InputError


def squares_of_at_most(limit, seen):
    def work(batch):
        seen.append(len(batch))
        if len(batch) > limit:
            raise torch.OutOfMemoryError
        return [item * item for item in batch]

    return work


@given(st.lists(st.integers(), unique=True, max_size=30), st.integers(1, 8))
def test_every_item_gets_its_own_result(items, size):
    seen = []
    assert Batches(size, "rows").run(items, squares_of_at_most(99, seen)) == {i: i * i for i in items}
    assert all(count == size for count in seen[:-1])


def test_running_out_of_memory_halves_the_batch_and_says_so():
    batches, seen = Batches(8, "rows"), []
    with pytest.warns(ResourceWarning, match="out of memory with 8 rows at once; going on with 4"):
        results = batches.run(range(9), squares_of_at_most(2, seen))
    assert results == {i: i * i for i in range(9)}
    assert seen == [8, 4, 2, 2, 2, 2, 1]
    assert batches.size == 2  # and stays there


def test_a_single_item_that_does_not_fit_is_an_error():
    with pytest.warns(ResourceWarning), pytest.raises(torch.OutOfMemoryError):
        Batches(2, "rows").run([1, 2], squares_of_at_most(0, []))


def test_refuses_a_size_below_one():
    with pytest.raises(InputError, match="batch_size=0: expected a positive number of rows"):
        Batches(0, "rows")
