"""Intervals of one share."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from audits.statistics import clopper_pearson, wilson
from specref_core.errors import InputError

counts = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))

# successes, n, low, high; Wilson (1927) for 81 of 263 as in Newcombe (1998), table I; Clopper-Pearson same table.
WILSON = [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
EXACT = [(81, 263, 0.2527, 0.3676), (15, 148, 0.0578, 0.1617), (0, 20, 0.0, 0.1684), (1, 29, 0.0009, 0.1776)]


@pytest.mark.parametrize(("successes", "n", "low", "high"), WILSON)
def test_wilson_against_newcombe_1998(successes, n, low, high):
    interval = wilson(successes, n)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))


@pytest.mark.parametrize(("successes", "n", "low", "high"), EXACT)
def test_clopper_pearson_against_newcombe_1998(successes, n, low, high):
    interval = clopper_pearson(successes, n)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))


@settings(max_examples=50, deadline=None)
@given(counts)
def test_intervals_hold_the_share_and_stay_within_zero_and_one(count):
    successes, n = count
    for interval in (wilson(successes, n), clopper_pearson(successes, n)):
        assert 0 <= interval.low <= successes / n <= interval.high <= 1
        assert successes / n in interval


@settings(max_examples=50, deadline=None)
@given(counts)
def test_swapping_success_and_failure_mirrors_the_interval(count):
    successes, n = count
    for procedure in (wilson, clopper_pearson):
        one, other = procedure(successes, n), procedure(n - successes, n)
        assert one.low == pytest.approx(1 - other.high, abs=1e-9)


@pytest.mark.parametrize("n", [5, 17, 40])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.5])
def test_clopper_pearson_covers_at_least_its_level(n, share):
    covered = sum(stats.binom.pmf(c, n, share) for c in range(n + 1) if share in clopper_pearson(c, n))
    assert covered >= 0.95 - 1e-12


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(successes, n):
    for procedure in (wilson, clopper_pearson):
        with pytest.raises(InputError, match="expected a count from 0 to n"):
            procedure(successes, n)


@pytest.mark.parametrize("level", [0.0, 1.0, float("nan"), 95])
def test_impossible_levels_are_refused(level):
    with pytest.raises(InputError, match="confidence level"):
        wilson(1, 2, level=level)
