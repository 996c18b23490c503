"""The rules for many outcomes at a time, and the n that they need."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits.live_verdicts import WORTHWHILE, conclude, conclude_share
from audits.statistics import compare_paired, decide_paired, decide_share, n_to_decide_paired, n_to_decide_share
from audits.verdicts import Outcome
from specref_core.errors import InputError

ABOUT = {"system": "s", "benchmark": "b", "reason": "", "signature": ""}


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 60), st.sampled_from(["adaptive-k-helps", "step-swing"]))
def test_paired_rules_are_those_of_the_verdicts(b, c, same, claim_id):
    n = b + c + same
    if not n:
        return
    found = compare_paired([True] * b + [False] * (n - b), [False] * b + [True] * c + [False] * same)
    outcome = conclude(found, claim_id=claim_id, **ABOUT).outcome
    margin = 0.3 if claim_id == "step-swing" else 0.0
    yes, no = decide_paired([b], [c], n, margin=margin, worthwhile=WORTHWHILE)
    assert (bool(yes[0]), bool(no[0])) == (outcome is Outcome.REPRODUCED, outcome is Outcome.NOT_REPRODUCED)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 90), st.floats(0, 1))
def test_share_rules_are_those_of_the_verdicts(n, part):
    count = round(part * n)
    outcome = conclude_share(count, n, claim_id="programs-never-end", **ABOUT).outcome
    yes, no = decide_share([count], n, margin=0.05)
    assert (bool(yes[0]), bool(no[0])) == (outcome is Outcome.REPRODUCED, outcome is Outcome.NOT_REPRODUCED)


def test_known_sizes():
    assert n_to_decide_share(0.0, 0.05) == 72  # with none of 72 the exact upper limit is 5 %
    assert n_to_decide_paired(0.0, 0.0, worthwhile=0.05) == 73
    assert n_to_decide_share(1.0, 0.5) == 6


@pytest.mark.parametrize(("only_first", "only_second", "margin"), [(0.3, 0.1, 0.0), (0.6, 0.1, 0.3)])
def test_a_stricter_level_needs_more(only_first, only_second, margin):
    sizes = [n_to_decide_paired(only_first, only_second, margin=margin, alpha=alpha) for alpha in (0.05, 0.01)]
    assert sizes[0] < sizes[1]


def test_an_effect_on_the_margin_is_never_decided():
    assert n_to_decide_share(0.05, 0.05) is None
    assert n_to_decide_paired(0.3, 0.0, margin=0.3) is None


def test_direction_turns_the_rule_around():
    above = decide_share(np.arange(21), 20, margin=0.5)
    below = decide_share(np.arange(21), 20, margin=0.5, direction=-1)
    assert (above[0] == below[0][::-1]).all()
    assert (above[1] == below[1][::-1]).all()


@pytest.mark.parametrize("shares", [(-0.1, 0.2), (0.7, 0.6)])
def test_impossible_shares_are_refused(shares):
    with pytest.raises(InputError, match="shares"):
        n_to_decide_paired(*shares)
    with pytest.raises(InputError, match="share"):
        n_to_decide_share(sum(shares) + 1, 0.5)
