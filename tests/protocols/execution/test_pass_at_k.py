"""pass@k against brute force over subsets, and its interval's laws."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.execution.pass_at_k import estimate, pass_at_k
from specref_core.errors import InputError

CASES = st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n)))


@given(CASES)
def test_estimate_is_the_share_of_subsets_that_hold_a_right_sample(case: tuple[int, int, int]) -> None:
    n, c, k = case
    subsets = list(itertools.combinations([True] * c + [False] * (n - c), k))
    assert estimate(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets), abs=1e-12)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_estimate_agrees_with_exact_binomials(case: tuple[int, int, int]) -> None:
    n, c, k = case
    exact = 1 - math.comb(n - c, k) / math.comb(n, k)
    assert estimate(n, c, k) == pytest.approx(exact, rel=1e-9, abs=1e-12)


@given(CASES)
def test_more_right_samples_never_lower_it(case: tuple[int, int, int]) -> None:
    n, c, k = case
    assert c == n or estimate(n, c, k) <= estimate(n, c + 1, k) + 1e-15


def test_large_counts_stay_finite_and_small_results_precise() -> None:
    assert estimate(10**6, 1, 1) == pytest.approx(1e-6, rel=1e-12)
    assert estimate(10**5, 10**5 - 1, 2) == 1.0


def test_one_sample_a_problem_gives_wilsons_interval() -> None:
    found = pass_at_k([(1, 1)] * 3 + [(1, 0)] * 7, 1)
    assert (found.method, found.value) == ("wilson", pytest.approx(0.3))
    assert (found.low, found.high) == (pytest.approx(0.1077913, abs=1e-6), pytest.approx(0.6032219, abs=1e-6))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.integers(1, 5))
def test_interval_holds_the_value_and_repeats(right: list[int], k: int) -> None:
    counts = [(5, c) for c in right]
    found = pass_at_k(counts, k, resamples=200)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found == pass_at_k(counts, k, resamples=200)


def test_problems_with_different_numbers_of_samples() -> None:
    assert pass_at_k([(2, 1), (4, 4)], 2).value == pytest.approx(1.0)
    assert pass_at_k([(2, 1), (4, 0)], 1).value == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("counts", "k", "level"),
    [
        ([], 1, 0.95),
        ([(1, 2)], 1, 0.95),
        ([(1, 0)], 2, 0.95),
        ([(1, 0)], 0, 0.95),
        ([(1, -1)], 1, 0.95),
        ([(1, 0)], 1, 1.0),
    ],
)
def test_impossible_counts_are_refused(counts: list[tuple[int, int]], k: int, level: float) -> None:
    with pytest.raises(InputError):
        pass_at_k(counts, k, level=level)
