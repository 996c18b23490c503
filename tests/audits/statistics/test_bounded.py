"""Means of shares and of their differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.statistics import clopper_pearson
from audits.statistics.bounded import bounded_mean, mean_difference
from specref_core.errors import InputError

SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_whole_shares_give_the_exact_interval(flags):
    found, exact = bounded_mean([float(flag) for flag in flags]), clopper_pearson(sum(flags), len(flags))
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))


@given(SHARES)
def test_the_interval_holds_the_mean_and_mirrors(shares):
    found, mirrored = bounded_mean(shares), bounded_mean([1 - share for share in shares])
    assert 0 <= found.low <= found.effect <= found.high <= 1
    assert found.effect == pytest.approx(math.fsum(shares) / len(shares))
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - found.high, 1 - found.low), abs=1e-6)


@pytest.mark.parametrize(("a", "b"), [(0.5, 5), (5, 0.5), (2, 2), (0.05, 0.4)])
def test_coverage_is_never_below_the_level(a, b):
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        found = bounded_mean(rng.beta(a, b, size=30))
        inside += found.low <= a / (a + b) <= found.high
    assert inside >= 380


def test_a_mean_at_the_margin_is_seldom_called_beyond_it():
    rng = np.random.default_rng(1)
    wrong = sum(bounded_mean((rng.random(80) < 0.25) * rng.choice([0.1, 0.2, 0.3], 80)).low > 0.05 for _ in range(2000))
    assert wrong <= 50


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40))
def test_differences_mirror(values):
    found, mirrored = mean_difference(values), mean_difference([-value for value in values])
    assert found.low - 1e-12 <= found.effect <= found.high + 1e-12
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


def test_equal_differences_keep_a_width():
    assert mean_difference([0.0] * 80).high == pytest.approx(clopper_pearson(0, 80).high)
    assert mean_difference([0.5] * 4).low < 0.2


@pytest.mark.parametrize("function", [bounded_mean, mean_difference])
@pytest.mark.parametrize("values", [[], [1.5], [math.nan], [-2.0]])
def test_what_is_no_share_is_refused(function, values):
    with pytest.raises(InputError, match="expected one value from"):
        function(values)
