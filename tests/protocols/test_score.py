"""A score is right, or says why not."""

from __future__ import annotations

import pickle

import pytest

from protocols.score import Failure, Score


@pytest.mark.parametrize("failure", Failure)
def test_every_failure_makes_a_score_that_is_not_correct(failure):
    assert Score(correct=False, failure=failure).failure is failure


@pytest.mark.parametrize(("correct", "failure"), [(True, Failure.SYNTAX), (False, None)])
def test_contradictions_are_refused(correct, failure):
    with pytest.raises(ValueError, match="exactly one"):
        Score(correct=correct, failure=failure)


@pytest.mark.parametrize("failure", Failure)
def test_form_and_logic_are_told_apart(failure):
    assert failure.structural == (failure.value in {"syntax", "indentation", "name-error"})


def test_values_are_distinct_and_name_their_member():
    assert len({failure.value for failure in Failure}) == len(Failure)
    assert all(Failure(failure.value) is failure for failure in Failure)


def test_a_score_crosses_processes():
    score = Score(correct=False, failure=Failure.TIMEOUT, extracted="\udc80", detail="late")
    assert pickle.loads(pickle.dumps(score)) == score


def test_a_score_cannot_be_changed():
    with pytest.raises(AttributeError):
        Score(correct=True).correct = False  # type: ignore[misc]
