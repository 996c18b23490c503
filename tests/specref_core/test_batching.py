from __future__ import annotations

import warnings

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


def test_a_single_item_that_does_not_fit_is_an_error_that_says_what_helps():
    with (
        pytest.warns(ResourceWarning),
        pytest.raises(
            InputError, match=r"a single one of the rows .* quantization='4bit'.*device_map='auto'"
        ) as raised,
    ):
        Batches(2, "rows").run([1, 2], squares_of_at_most(0, []))
    assert isinstance(raised.value.__cause__, torch.OutOfMemoryError)


@given(st.lists(st.integers(), unique=True, max_size=40), st.integers(1, 9), st.integers(1, 9))
def test_nothing_is_lost_or_done_twice_whatever_fits(items, size, limit):
    done = []

    def work(batch):
        if len(batch) > limit:
            raise torch.OutOfMemoryError
        done.extend(batch)
        return [item * item for item in batch]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        assert Batches(size, "rows").run(items, work) == {i: i * i for i in items}
    assert done == items


@pytest.mark.parametrize(
    "shortage",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: 1 bytes"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: out of memory"),
        MemoryError(),
    ],
)
def test_every_way_of_saying_it_is_understood(shortage):
    def work(batch):
        if len(batch) > 1:
            raise shortage
        return batch

    with pytest.warns(ResourceWarning, match="out of memory with 2 rows"):
        assert Batches(2, "rows").run([1, 2], work) == {1: 1, 2: 2}


def test_another_error_is_the_callers():
    def work(batch):
        raise RuntimeError(f"shapes do not match {batch}")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        Batches(2, "rows").run([1, 2], work)


class TestAutomatic:
    """Sizes chosen from free memory."""

    def test_as_many_as_fit_with_every_item_padded_to_the_largest(self):
        seen = []
        Batches("auto", "rows").run(
            range(1, 11), squares_of_at_most(99, seen), need=lambda item: 10 * item, free=lambda: 200
        )
        # four fifths of 200: 5 x 50 > 160 >= 4 x 40; 2 x 60; 2 x 80; then singles
        assert seen == [4, 2, 2, 1, 1]

    @given(st.lists(st.integers(1, 1000), max_size=80), st.integers(0, 10_000))
    def test_no_batch_is_planned_beyond_what_is_free(self, sizes, free):
        sizes, batches = sorted(sizes), []

        def work(batch):
            batches.append(batch)
            return batch

        found = Batches("auto", "rows").run(range(len(sizes)), work, need=lambda i: sizes[i], free=lambda: free)
        assert sorted(found) == list(range(len(sizes)))
        assert all(len(b) == 1 or len(b) * sizes[b[-1]] <= 0.8 * free for b in batches)
        assert all(len(b) <= 64 for b in batches)

    def test_where_memory_cannot_be_told_eight(self):
        seen = []
        Batches("auto", "rows").run(range(20), squares_of_at_most(99, seen), need=lambda _: 1, free=lambda: None)
        Batches("auto", "rows").run(range(20), squares_of_at_most(99, seen))
        assert seen == [8, 8, 4] * 2

    def test_a_plan_that_was_too_large_is_halved_for_good(self):
        seen, batches = [], Batches("auto", "rows")
        with pytest.warns(ResourceWarning, match="going on with 5"):
            batches.run(range(20), squares_of_at_most(5, seen), need=lambda _: 8, free=lambda: 100)
        assert seen == [10, 5, 5, 5, 5]
        assert batches.size == 5


def test_refuses_a_size_below_one():
    for wrong in (0, -1, 2.5, True, "many"):
        with pytest.raises(InputError, match=f"batch_size={wrong!r}: expected a positive number of rows, or auto"):
            Batches(wrong, "rows")
