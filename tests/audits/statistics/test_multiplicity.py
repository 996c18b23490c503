"""Holm's correction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.statistics import holm
from specref_core.errors import InputError

p_values = st.lists(st.floats(0, 1), max_size=15)


def test_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(p_values)
def test_adjusted_values_keep_the_order_and_never_fall(raw):
    adjusted = holm(raw)
    assert all(a >= p or a == 1 for a, p in zip(adjusted, raw, strict=True))
    assert all(
        a <= b for (p, a) in zip(raw, adjusted, strict=True) for (q, b) in zip(raw, adjusted, strict=True) if p < q
    )


@given(p_values, st.randoms())
def test_the_order_of_the_family_does_not_matter(raw, random):
    order = list(range(len(raw)))
    random.shuffle(order)
    assert [holm(raw)[i] for i in order] == holm([raw[i] for i in order])


@given(p_values)
def test_at_least_as_powerful_as_bonferroni(raw):
    assert all(a <= min(1, len(raw) * p) for a, p in zip(holm(raw), raw, strict=True))


def test_any_false_rejection_stays_below_five_percent():
    draws = np.random.default_rng(0).random((2000, 5))
    assert np.mean([min(holm(list(row))) <= 0.05 for row in draws]) <= 0.06


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_no_probability_is_refused(bad):
    with pytest.raises(InputError, match="p-value"):
        holm([0.5, bad])
