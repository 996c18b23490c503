"""The rule from interval to outcome."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.statistics import Comparison, compare_unpaired, decide, judge, judge_within
from audits.verdicts import Outcome
from specref_core.errors import InputError

R, N, U = Outcome.REPRODUCED, Outcome.NOT_REPRODUCED, Outcome.INCONCLUSIVE
intervals = st.lists(st.floats(-1, 1), min_size=3, max_size=3).map(sorted)


@pytest.mark.parametrize(
    ("interval", "margin", "direction", "outcome"),
    [
        ((0.1, 0.2, 0.3), 0.0, 1, R),
        ((-0.1, 0.2, 0.3), 0.0, 1, U),
        ((-0.3, -0.2, -0.1), 0.0, 1, N),
        ((-0.3, -0.2, -0.1), 0.0, -1, R),
        ((0.1, 0.2, 0.3), 0.0, -1, N),
        ((0.1, 0.2, 0.3), 0.15, 1, U),
        ((0.1, 0.2, 0.3), 0.05, 1, R),
        ((0.1, 0.2, 0.3), 0.35, 1, N),
        ((-0.3, -0.2, -0.1), 0.05, -1, R),
        ((-0.3, -0.2, -0.1), 0.5, -1, N),
        ((0.0, 0.0, 0.0), 0.0, 1, N),
        ((0.0, 0.1, 0.2), 0.0, 1, U),
        ((-0.2, -0.1, 0.0), 0.0, 1, N),
    ],
)
def test_evidence_is_needed_on_either_side(interval, margin, direction, outcome):
    low, effect, high = interval
    assert judge(effect, low, high, margin, direction) is outcome


@given(intervals, st.floats(0, 1))
def test_turning_effect_and_direction_changes_nothing(interval, margin):
    low, effect, high = interval
    assert judge(effect, low, high, margin, 1) is judge(-effect, -high, -low, margin, -1)


@given(intervals, st.floats(0, 1))
def test_a_claim_and_its_opposite_are_never_both_reproduced(interval, margin):
    low, effect, high = interval
    both = {judge(effect, low, high, margin, 1), judge(effect, low, high, margin, -1)}
    assert both != {R}


@pytest.mark.parametrize(("p_value", "outcome"), [(0.01, R), (0.05, R), (0.051, U), (float("nan"), U)])
def test_a_p_value_can_only_take_a_reproduction_back(p_value, outcome):
    assert judge(0.2, 0.1, 0.3, p_value=p_value) is outcome
    assert judge(-0.2, -0.3, -0.1, p_value=p_value) is N


@pytest.mark.parametrize(
    ("interval", "outcome"),
    [((-0.01, 0.0, 0.01), R), ((-0.05, 0.0, 0.01), U), ((0.03, 0.04, 0.05), N), ((-0.05, -0.04, -0.03), N)],
)
def test_agreement_within_a_tolerance(interval, outcome):
    low, effect, high = interval
    assert judge_within(effect, low, high, 0.02) is outcome


@pytest.mark.parametrize(
    "arguments",
    [(0.5, 0.6, 0.7), (0.5, 0.4, 0.45), (float("nan"), 0, 1), (0.1, 0.0, 0.2, 0.0, 0), (0.1, 0.0, 0.2, -1.0)],
)
def test_impossible_arguments_are_refused(arguments):
    with pytest.raises(InputError):
        judge(*arguments)


def test_tolerance_must_be_positive():
    with pytest.raises(InputError, match="tolerance"):
        judge_within(0, -1, 1, 0)


def test_verdict_is_in_points_and_names_the_n_that_would_decide():
    verdict = decide(
        compare_unpaired(21, 50, 20, 50), claim="refinement-tension", system="s", benchmark="b", reason="r"
    )
    assert (verdict.outcome, verdict.effect, verdict.n) == (U, pytest.approx(2), 50)
    assert verdict.low < 0 < verdict.high
    assert 5_000 < verdict.n_needed < 20_000
    assert "Fisher" in verdict.test


def test_decided_verdict_names_no_n():
    verdict = decide(compare_unpaired(45, 50, 5, 50), claim="c", system="s", benchmark="b")
    assert (verdict.outcome, verdict.n_needed) == (R, None)


def test_holm_holds_a_verdict_back_and_keeps_the_raw_p_value():
    comparison = Comparison(0.1, 0.01, 0.19, 0.03, 100, "test")
    assert decide(comparison, claim="c", system="s", benchmark="b").outcome is R
    held = decide(comparison, claim="c", system="s", benchmark="b", adjusted_p=0.2)
    assert (held.outcome, held.p_value) == (U, 0.03)
    assert held.n_needed > 100
    assert "Holm-adjusted p=0.2" in held.test


def test_direction_zero_asks_for_agreement():
    near, far = Comparison(0.0, -0.01, 0.01, 1.0, 900, "t"), Comparison(0.3, 0.2, 0.4, 0.0, 90, "t")
    assert decide(near, claim="c", system="s", benchmark="b", margin=0.05, direction=0).outcome is R
    assert decide(far, claim="c", system="s", benchmark="b", margin=0.05, direction=0).outcome is N
    open_ = Comparison(-0.04, -0.14, 0.06, 0.5, 90, "t")
    verdict = decide(open_, claim="c", system="s", benchmark="b", margin=0.05, direction=0)
    assert (verdict.outcome, verdict.n_needed > 90) == (U, True)
