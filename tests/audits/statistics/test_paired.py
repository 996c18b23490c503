"""McNemar's exact test and Tango's interval of a paired difference."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from audits.statistics import compare_paired, judge, mcnemar_exact, n_needed_paired, paired_interval
from audits.statistics.paired import _tango_score
from audits.verdicts import Outcome
from specref_core.errors import InputError

pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=120)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [(0, 0, 1.0), (5, 5, 1.0), (6, 0, 2 * 0.5**6), (9, 1, 22 * 0.5**10), (1, 9, 22 * 0.5**10)],
)
def test_mcnemar_is_the_binomial_of_discordant_pairs(only_first, only_second, p_value):
    assert mcnemar_exact(only_first, only_second) == pytest.approx(p_value)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ((12, 2, 50), 0.061, 0.345),  # Tango, Statistics in Medicine 17 (1998)
        ((0, 0, 30), -0.1135, 0.1135),  # z^2 / (n + z^2), the closed form without discordant pairs
    ],
)
def test_tango_on_known_examples(counts, low, high):
    interval = paired_interval(*counts)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))


@settings(max_examples=40, deadline=None)
@given(pairs)
def test_interval_holds_the_difference_and_turns_with_the_systems(results):
    first, second = [a for a, _ in results], [b for _, b in results]
    one, other = compare_paired(first, second), compare_paired(second, first)
    assert -1 <= one.low <= one.effect <= one.high <= 1
    assert one.effect == pytest.approx(np.mean(first) - np.mean(second))
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-6)
    assert one.p_value == pytest.approx(other.p_value)


@pytest.mark.parametrize("n", range(1, 7))
def test_every_small_table_has_an_interval_whose_ends_solve_the_score_equation(n):
    z = stats.norm.ppf(0.975)
    for only_first in range(n + 1):
        for only_second in range(n + 1 - only_first):
            interval = paired_interval(only_first, only_second, n)
            assert -1 <= interval.low <= (only_first - only_second) / n <= interval.high <= 1
            if interval.low > -1:
                assert _tango_score(only_first, only_second, n, interval.low) == pytest.approx(z, abs=1e-4)
            if interval.high < 1:
                assert _tango_score(only_first, only_second, n, interval.high) == pytest.approx(-z, abs=1e-4)


def test_no_discordant_pair_still_has_a_width():
    interval = paired_interval(0, 0, 100)
    assert interval.high == pytest.approx(-interval.low)
    assert 0.02 < interval.high < 0.06


@pytest.mark.parametrize("counts", [(-1, 0, 5), (3, 3, 5), (0, 0, 0)])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(InputError, match="discordant"):
        paired_interval(*counts)


@pytest.mark.parametrize(("first", "second"), [([], []), ([True], [True, False])])
def test_unpaired_lists_are_refused(first, second):
    with pytest.raises(InputError, match="one result a problem"):
        compare_paired(first, second)


@pytest.mark.parametrize(("n", "discordant"), [(30, 0.3), (100, 0.1), (164, 0.4), (400, 0.05)])
def test_equal_systems_are_told_apart_in_at_most_five_percent(n, discordant):
    """Null data: both discordant cells equally likely; 2,000 draws a case."""
    rng = np.random.default_rng(n)
    draws = rng.multinomial(n, [discordant / 2, discordant / 2, 1 - discordant], size=2000)
    known = {}
    reproduced = 0
    for only_first, only_second, _ in draws.tolist():
        key = (only_first, only_second)
        if key not in known:
            interval = paired_interval(only_first, only_second, n)
            known[key] = judge((only_first - only_second) / n, interval.low, interval.high)
        reproduced += known[key] is Outcome.REPRODUCED
    assert reproduced / 2000 <= 0.05


@pytest.mark.parametrize(("only_first", "only_second"), [(0.20, 0.10), (0.12, 0.02)])
def test_a_planted_effect_is_found_at_the_promised_power(only_first, only_second):
    n = n_needed_paired(only_first, only_second)
    rng = np.random.default_rng(0)
    draws = rng.multinomial(n, [only_first, only_second, 1 - only_first - only_second], size=1000)
    p_value = cache(mcnemar_exact)
    found = sum(b > c and p_value(b, c) <= 0.05 for b, c, _ in draws.tolist()) / 1000
    assert 0.75 <= found <= 0.90


def test_score_is_monotone_in_the_difference():
    values = [_tango_score(7, 3, 40, delta) for delta in np.linspace(-0.99, 0.99, 199)]
    assert all(a > b for a, b in pairwise(values))
    assert all(math.isfinite(value) for value in values)
