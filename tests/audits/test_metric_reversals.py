"""Reversals of order between two metrics."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.metric_reversals import compare_orders, judge_orders
from audits.verdicts import Outcome
from specref_core.errors import InputError
from tests.audits.measured_cells import shares

REPRODUCED, NOT, OPEN = Outcome.REPRODUCED, Outcome.NOT_REPRODUCED, Outcome.INCONCLUSIVE


def verdict(first, second):
    return judge_orders(
        first,
        second,
        claim_id="proxy-reverses",
        system="s",
        benchmark="b",
        metrics=("the true metric", "the proxy"),
        signature="",
    )


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        ((60, 20), (20, 60), REPRODUCED),
        ((20, 60), (60, 20), REPRODUCED),
        ((60, 20), (60, 20), NOT),
        ((60, 60), (60, 60), NOT),
        ((60, 20), (40, 40), NOT),  # a metric that ties them reverses nothing
        ((42, 40), (20, 60), OPEN),  # the first lead may be noise
        ((60, 20), (40, 43), OPEN),
    ],
)
def test_two_systems(first, second, outcome):
    found = verdict(*({"a": shares(x), "b": shares(y)} for x, y in (first, second)))
    assert found.outcome is outcome
    assert (found.n_needed is not None) == (outcome is OPEN)


def test_the_reversed_pair_is_named_whichever_comes_first():
    first = {"a": shares(10), "b": shares(10), "c": shares(50)}
    found = verdict(first, {"a": shares(50), "b": shares(10), "c": shares(10)})
    assert found.outcome is REPRODUCED
    assert found.reason.startswith("c leads a by 50 points by the true metric; the effect is the lead of a")
    assert found.effect == pytest.approx(50)
    assert "1 of 3 pairs reversed" in found.reason


def test_a_tie_is_told_as_one():
    same = {"a": shares(20), "b": shares(20)}
    assert verdict(same, same).reason.startswith("a ties with b by the true metric; the effect is the lead of b")


def test_the_size_of_a_reversal_is_the_smaller_lead():
    (pair,) = compare_orders({"a": shares(60), "b": shares(20)}, {"a": shares(20), "b": shares(40)})
    assert (pair.ahead, pair.size, pair.shift.effect) == ("a", 0.25, pytest.approx(0.375))


def test_many_pairs_are_paid_for():
    first = {"a": shares(6), "b": shares(0)}
    second = {"a": shares(0), "b": shares(6)}
    assert verdict(first, second).outcome is REPRODUCED
    padding = {name: shares(40) for name in "cdefg"}
    assert verdict(first | padding, second | padding).outcome is OPEN


def test_a_metric_never_reverses_itself_and_chance_seldom_does():
    rng = random.Random(0)
    wrong = 0
    for _ in range(40):
        systems = {name: [rng.random() < 0.5 for _ in range(80)] for name in "abcd"}
        assert verdict(systems, systems).outcome is not REPRODUCED
        noisy = {name: [rng.random() < 0.5 for _ in range(80)] for name in "abcd"}
        wrong += verdict(systems, noisy).outcome is REPRODUCED
    assert wrong <= 4


@given(st.lists(st.tuples(*[st.booleans()] * 4), min_size=1, max_size=30))
def test_pairs_do_not_depend_on_the_order_of_the_systems(rows):
    a, b, x, y = (list(column) for column in zip(*rows, strict=True))
    (one,) = compare_orders({"a": a, "b": b}, {"a": x, "b": y})
    (other,) = compare_orders({"b": b, "a": a}, {"b": y, "a": x})
    assert one.lead.effect >= 0
    assert one.size == pytest.approx(other.size)
    assert one.p_value == other.p_value
    assert one.excluded(0.05) == other.excluded(0.05)


@pytest.mark.parametrize(("first", "second"), [({"a": [True]}, {"a": [True]}), ({"a": [True], "b": [True]}, {})])
def test_one_system_has_no_order(first, second):
    with pytest.raises(InputError, match="expected the same ones, at least two"):
        compare_orders(first, second)
