"""Kendall's tau-b, rank agreement of protocols, area under the ROC curve."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from audits.statistics import auroc, kendall_tau, rank_agreement
from audits.statistics.ranking import _tau
from specref_core.errors import InputError

scores = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12)


@settings(max_examples=40, deadline=None)
@given(scores)
def test_own_tau_equals_scipys(items):
    first, second = (np.array(column, dtype=float) for column in zip(*items, strict=True))
    expected = stats.kendalltau(first, second).statistic
    assert _tau(first, second) == pytest.approx(expected, nan_ok=True)


def test_tau_of_equal_and_of_opposite_rankings():
    assert kendall_tau([1, 2, 3, 4], [10, 20, 30, 40], resamples=50).effect == pytest.approx(1)
    found = kendall_tau([1, 2, 3, 4], [4, 3, 2, 1], resamples=50)
    assert found.effect == pytest.approx(-1)
    assert found.low <= found.effect <= found.high


@pytest.mark.parametrize(
    ("first", "second"), [([1], [1]), ([1, 2], [1]), ([1, 1], [1, 2]), ([1, float("nan")], [1, 2])]
)
def test_tau_refuses_what_ranks_nothing(first, second):
    with pytest.raises(InputError):
        kendall_tau(first, second)


def test_agreement_is_certain_with_many_problems_and_open_with_few():
    rng = np.random.default_rng(0)
    shares = np.array([[0.2], [0.5], [0.8]])
    many = rank_agreement(rng.random((3, 600)) < shares, rng.random((3, 600)) < shares, resamples=300)
    few = rank_agreement(rng.random((3, 6)) < shares, rng.random((3, 6)) < shares, resamples=300)
    assert (many.tau, many.interval.low, many.systems) == (pytest.approx(1), pytest.approx(1), 3)
    assert few.interval.high - few.interval.low > 0.3


def test_opposite_protocols_disagree():
    first = np.array([[1] * 90 + [0] * 10, [1] * 10 + [0] * 90])
    found = rank_agreement(first, first[::-1], resamples=200)
    assert found.tau == -1
    assert found.interval.high < 0


@pytest.mark.parametrize(("one", "two"), [((2, 3), (3, 3)), ((1, 3), (1, 3)), ((2, 0), (2, 3))])
def test_agreement_refuses_matrices_that_do_not_match(one, two):
    with pytest.raises(InputError, match="same systems"):
        rank_agreement(np.zeros(one), np.zeros(two))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=20).filter(
        lambda items: len({label for _, label in items}) == 2
    )
)
def test_area_is_the_share_of_pairs_in_order(items):
    positives = [score for score, label in items if label]
    negatives = [score for score, label in items if not label]
    wanted = np.mean([(p > n) + 0.5 * (p == n) for p in positives for n in negatives])
    found = auroc([score for score, _ in items], [label for _, label in items])
    assert found.effect == pytest.approx(wanted)
    assert 0 <= found.low <= found.effect + 1e-9
    assert found.effect - 1e-9 <= found.high <= 1


def test_perfect_separation_keeps_a_width():
    found = auroc([1, 2, 3, 4, 5, 6], [False] * 3 + [True] * 3)
    assert found.effect == 1
    assert found.low < 0.85
    turned = auroc([1, 2, 3, 4, 5, 6], [True] * 3 + [False] * 3)
    assert (turned.effect, turned.high) == (0, pytest.approx(1 - found.low))


@settings(deadline=None, max_examples=2)
@given(st.integers(0, 1000))
def test_groups_widen_the_interval_of_copied_tokens(seed):
    """Ten copies of every token say nothing new: the grouped interval must not shrink with them."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(24) % 2 == 0, 10)
    values = np.repeat(rng.normal(size=24), 10) + labels * 0.5
    plain = auroc(values, labels)
    grouped = auroc(values, labels, groups=np.repeat(np.arange(24), 10), resamples=200)
    assert grouped.high - grouped.low > 1.5 * (plain.high - plain.low)


def test_chance_scores_are_called_informative_in_at_most_five_percent():
    rng = np.random.default_rng(3)
    labels = np.arange(60) % 3 == 0
    false = sum(auroc(rng.normal(size=60), labels).low > 0.5 for _ in range(400))
    assert false / 400 <= 0.05


@pytest.mark.parametrize("labels", [[True, True], [False, False]])
def test_area_needs_both_labels(labels):
    with pytest.raises(InputError, match="positives and negatives"):
        auroc([1.0, 2.0], labels)


def test_area_needs_a_label_an_item():
    with pytest.raises(InputError, match="2 scores and 3 labels"):
        auroc([1.0, 2.0], [True, False, True])


def test_one_group_cannot_tell_the_spread():
    found = auroc([1.0, 2.0], [False, True], groups=[0, 0])
    assert (found.low, found.high) == (0.0, 1.0)
