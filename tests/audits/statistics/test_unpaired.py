"""Fisher's exact test and Newcombe's interval of an unpaired difference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits.statistics import compare_unpaired, fisher_exact, judge, newcombe_interval
from audits.verdicts import Outcome
from specref_core.errors import InputError

tables = st.tuples(st.integers(1, 60), st.integers(1, 60)).flatmap(
    lambda n: st.tuples(st.integers(0, n[0]), st.just(n[0]), st.integers(0, n[1]), st.just(n[1]))
)


@pytest.mark.parametrize(
    ("counts", "p_value"),
    [
        ((201, 250, 207, 250), 0.56),
        ((1069, 5000, 1116, 5000), 0.27),
        ((42, 164, 73, 164), 0.0005),
        ((165, 500, 215, 500), 0.0014),
        ((3, 4, 1, 4), 0.4857),  # Fisher's lady tasting tea
    ],
)
def test_fisher_on_known_tables(counts, p_value):
    assert fisher_exact(*counts) == pytest.approx(p_value, rel=0.03)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        # Newcombe (1998), Interval estimation for the difference between independent proportions, table II, method 10.
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((10, 10, 0, 10), 0.6075, 1.0),
    ],
)
def test_newcombe_on_published_examples(counts, low, high):
    interval = newcombe_interval(*counts)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))


@settings(max_examples=40, deadline=None)
@given(tables)
def test_interval_holds_the_difference(counts):
    first, first_n, second, second_n = counts
    found = compare_unpaired(*counts)
    assert -1 <= found.low <= found.effect <= found.high <= 1
    assert found.effect == first / first_n - second / second_n
    assert 0 <= found.p_value <= 1


@settings(max_examples=40, deadline=None)
@given(tables)
def test_swapping_systems_turns_the_sign(counts):
    first, first_n, second, second_n = counts
    one, other = compare_unpaired(*counts), compare_unpaired(second, second_n, first, first_n).reversed()
    assert (one.effect, one.low, one.high) == pytest.approx((other.effect, other.low, other.high), abs=1e-9)
    assert one.p_value == pytest.approx(other.p_value, rel=1e-6)


def test_impossible_counts_are_refused():
    with pytest.raises(InputError, match="3 of 2"):
        fisher_exact(3, 2, 1, 2)


@pytest.mark.parametrize(("n", "share"), [(60, 0.1), (164, 0.5), (250, 0.8)])
def test_equal_systems_are_told_apart_in_at_most_five_percent(n, share):
    """2,000 draws a case: 5 % plus three standard errors is 6.5 %; a verdict is one-sided and stays below 5 %."""
    rng = np.random.default_rng(n)
    reproduced = 0
    for first, second in rng.binomial(n, share, size=(2000, 2)):
        interval = newcombe_interval(int(first), n, int(second), n)
        effect = (first - second) / n
        reproduced += judge(float(effect), interval.low, interval.high) is Outcome.REPRODUCED
    assert reproduced / 2000 <= 0.05
