"""Unmasking policies: tables of cases, and the laws that every policy keeps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from specref_core.decoding.unmask_policies import (
    Candidates,
    Factor,
    FixedCount,
    Hierarchy,
    LeftToRight,
    Scheduled,
    Threshold,
)
from specref_core.errors import InputError

CONFIDENCE = [0.5, 0.95, 0.3, 0.91, 0.9]
PLACES = [2, 3, 6, 7, 12]  # runs 2-3, 6-7, 12


def _candidates(confidence, places=None, scheduled=1, **kind):
    places = list(range(len(confidence))) if places is None else places
    return Candidates(torch.tensor(confidence, dtype=torch.float32), torch.tensor(places), scheduled, 20, **kind)


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (Scheduled(), {1, 3, 4}),
        (FixedCount(1), {1}),
        (FixedCount(9), {0, 1, 2, 3, 4}),
        (LeftToRight(), {0}),
        (LeftToRight(3), {0, 1, 2}),
        (LeftToRight(9), {0, 1, 2, 3, 4}),
        (Threshold(0.9), {1, 3, 4}),
        (Threshold(1.0), {1}),
        (Threshold(0.0), {0, 1, 2, 3, 4}),
        # ranks 1, 2, 3 need 1 - f/2, 1 - f/3, 1 - f/4: with f = 0.3 that is 0.85, 0.9, 0.925
        (Factor(0.3), {1, 3}),
        (Factor(0.001), {1}),
        (Factor(100.0), {0, 1, 2, 3, 4}),
        (Hierarchy(low=0.4, high=0.92), {1, 3, 4}),
        (Hierarchy(low=0.93, high=0.94), {1}),
        (Hierarchy(low=0.2, high=0.99), {1, 3, 4}),
        (Hierarchy(low=0.2, high=0.4), {0, 1, 3, 4}),
    ],
)
def test_policies_choose_what_their_rules_say(policy, chosen):
    got = policy.select(_candidates(CONFIDENCE, PLACES, scheduled=3)).tolist()
    assert set(got) == chosen
    assert len(got) == len(chosen)


def test_the_hierarchy_frees_the_best_of_every_run_not_of_the_block():
    confidence, places = [0.6, 0.7, 0.5, 0.1, 0.2], [0, 1, 4, 8, 9]
    assert set(Hierarchy(low=0.4, high=0.9).select(_candidates(confidence, places)).tolist()) == {1, 2}


def test_the_factor_rule_stops_at_the_first_rank_that_fails():
    # f = 1: the bounds are 0.5, 0.667, 0.75, 0.8; the third fails, the fourth is never asked
    assert set(Factor(1.0).select(_candidates([0.74, 0.9, 0.9, 0.6])).tolist()) == {1, 2}


POLICIES = st.one_of(
    st.just(Scheduled()),
    st.builds(FixedCount, st.integers(1, 5)),
    st.builds(LeftToRight, st.integers(1, 5)),
    st.builds(Threshold, st.floats(0, 1)),
    st.builds(Factor, st.floats(0.01, 10)),
    st.builds(lambda a, b: Hierarchy(min(a, b), max(a, b)), st.floats(0, 1), st.floats(0, 1)),
)


@given(POLICIES, st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.9, 0.99, 1.0]), min_size=1, max_size=9), st.data())
def test_every_policy_chooses_something_and_nothing_twice_and_by_confidence_the_most_confident(
    policy, confidence, data
):
    places = sorted(data.draw(st.sets(st.integers(0, 19), min_size=len(confidence), max_size=len(confidence))))
    candidates = _candidates(confidence, places)
    before = candidates.confidence.clone()
    chosen = policy.select(candidates).tolist()
    assert len(set(chosen)) == len(chosen) >= 1
    assert set(chosen) <= set(range(len(confidence)))
    if not isinstance(policy, LeftToRight):
        assert confidence.index(max(confidence)) in chosen
    assert torch.equal(candidates.confidence, before)
    assert policy.select(candidates).tolist() == chosen


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=9), st.floats(0, 1), st.floats(0, 1))
def test_a_lower_threshold_commits_no_less(confidence, a, b):
    few, many = (set(Threshold(t).select(_candidates(confidence)).tolist()) for t in (max(a, b), min(a, b)))
    assert few <= many


def test_ties_settle_as_the_caller_asks():
    assert _candidates([0.5] * 4).top(2).tolist() == [0, 1]
    script = torch.zeros(20).sub(torch.inf)
    script[:4] = 0.5
    assert _candidates([0.5] * 4, as_script=True).top(2).tolist() == script.topk(2).indices.tolist()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: FixedCount(0), "count=0"),
        (lambda: FixedCount(True), "count=True"),
        (lambda: FixedCount(1.5), "count=1.5"),
        (lambda: Threshold(1.1), "threshold=1.1"),
        (lambda: Threshold(float("nan")), "threshold=nan"),
        (lambda: Factor(0.0), "factor=0.0"),
        (lambda: Factor(float("inf")), "factor=inf"),
        (lambda: Hierarchy(low=0.9, high=0.4), "low <= high"),
        (lambda: Hierarchy(low=-0.1), "low=-0.1"),
    ],
)
def test_values_out_of_range_are_named(make, told):
    with pytest.raises(InputError, match=told):
        make()
