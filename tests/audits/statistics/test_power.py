"""How many problems would decide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits.statistics import (
    clopper_pearson,
    fisher_exact,
    n_needed_paired,
    n_needed_scaling,
    n_needed_share,
    n_needed_unpaired,
    newcombe_interval,
)
from specref_core.errors import InputError


@pytest.mark.parametrize(
    ("first", "second", "n"), [(0.5, 0.6, 408), (0.2, 0.3, 314), (0.1, 0.2, 219), (0.85, 0.95, 160)]
)
def test_unpaired_sizes_of_the_textbooks(first, second, n):
    """Fleiss, Statistical Methods for Rates and Proportions, table A.3 with continuity correction, 80 %."""
    assert n_needed_unpaired(first, second) == pytest.approx(n, abs=2)


def test_unpaired_size_gives_the_promised_power():
    n = n_needed_unpaired(0.3, 0.5)
    draws = np.random.default_rng(0).binomial(n, [0.3, 0.5], size=(400, 2))
    found = np.mean([fisher_exact(int(a), n, int(b), n) <= 0.05 for a, b in draws])
    assert 0.75 <= found <= 0.88


@settings(max_examples=40, deadline=None)
@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_unpaired_size_does_not_depend_on_the_order(first, second):
    if first == second:
        with pytest.raises(InputError, match="equal"):
            n_needed_unpaired(first, second)
    else:
        assert n_needed_unpaired(first, second) == n_needed_unpaired(second, first) >= 1


@settings(max_examples=40, deadline=None)
@given(st.floats(0.02, 0.4), st.floats(1.1, 2))
def test_larger_effects_need_fewer_pairs(gap, factor):
    assert n_needed_paired(min(1.0, gap * factor), 0) <= n_needed_paired(gap, 0)


@pytest.mark.parametrize(("only_first", "only_second"), [(0.1, 0.1), (0.7, 0.6), (-0.1, 0.2), (0.0, 0.0)])
def test_impossible_discordant_shares_are_refused(only_first, only_second):
    with pytest.raises(InputError):
        n_needed_paired(only_first, only_second)


def test_scaling_finds_the_n_at_which_the_interval_clears_the_margin():
    interval = newcombe_interval(55, 100, 50, 100)
    n = n_needed_scaling(0.05, interval.low, interval.high, 100)
    draws = np.random.default_rng(1).binomial(n, [0.55, 0.50], size=(2000, 2))
    cleared = np.mean([newcombe_interval(int(a), n, int(b), n).low > 0 for a, b in draws])
    assert 0.76 <= cleared <= 0.84


@pytest.mark.parametrize("arguments", [(0.0, -0.1, 0.1, 50), (0.1, 0.1, 0.1, 50), (0.1, 0.1, float("inf"), 5)])
def test_scaling_gives_none_where_no_n_can_be_named(arguments):
    assert n_needed_scaling(*arguments) is None


def test_floor_bounds_the_answer_where_effect_and_margin_coincide():
    assert n_needed_scaling(0.0, -0.1, 0.1, 50, floor=0.01) == n_needed_scaling(0.01, -0.09, 0.11, 50)


@pytest.mark.parametrize("margin", [0.01, 0.05, 0.2, 0.5])
def test_border_shares_need_exactly_the_n_of_the_exact_interval(margin):
    n = n_needed_share(0.0, margin)
    assert clopper_pearson(0, n).high <= margin < clopper_pearson(0, n - 1).high
    assert n_needed_share(1.0, 1 - margin) == n


def test_share_at_the_margin_has_no_n():
    assert n_needed_share(0.05, 0.05) is None
    assert n_needed_share(0.10, 0.05) > n_needed_share(0.30, 0.05)


@pytest.mark.parametrize("probability", [0.0, 1.0, -0.2])
def test_levels_must_be_probabilities(probability):
    with pytest.raises(InputError, match="between 0 and 1"):
        n_needed_unpaired(0.1, 0.2, power=probability)
