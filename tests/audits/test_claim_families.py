"""Holm's correction inside a claim family."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits.claim_families import corrected, evidence
from audits.live_verdicts import conclude, conclude_share
from audits.statistics import clopper_pearson, compare_paired, decide, holm, mcnemar_exact
from audits.statistics.bounded import mean_difference
from audits.statistics.comparison import Comparison
from audits.verdicts import Outcome

ABOUT = {"system": "s", "benchmark": "b", "reason": "r", "signature": ""}


def verdict(b, c, n=80, claim_id="structure-lifts"):
    found = compare_paired([True] * b + [False] * (n - b), [False] * b + [True] * c + [False] * (n - b - c))
    return conclude(found, claim_id=claim_id, **ABOUT)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 14), st.integers(0, 6)), min_size=1, max_size=6))
def test_outcomes_are_those_of_holm_over_all_p_values(counts):
    raw = [verdict(b, c) for b, c in counts]
    values = [evidence(v) for v in raw]
    adjusted = holm(values)
    for i, one in enumerate(raw):
        held = corrected(one, len(raw), lambda i=i: values[:i] + values[i + 1 :])
        stands = one.outcome is Outcome.REPRODUCED and adjusted[i] <= 0.05
        assert (held.outcome is Outcome.REPRODUCED) == stands
        if one.outcome is Outcome.NOT_REPRODUCED:
            assert held == one


def test_others_are_asked_only_where_they_can_matter():
    def never():
        raise AssertionError

    for b, tests in ((12, 6), (2, 6), (0, 6), (9, 1)):
        corrected(verdict(b, 0), tests, never)
    with pytest.raises(AssertionError):
        corrected(verdict(9, 1), 3, never)


def test_a_verdict_taken_back_says_why_and_what_would_decide():
    one = verdict(9, 1)
    assert one.outcome is Outcome.REPRODUCED
    assert one.p_value == pytest.approx(mcnemar_exact(9, 1)) == pytest.approx(0.0215, abs=1e-4)
    assert corrected(one, 3, lambda: [0.001, 0.6]).outcome is Outcome.REPRODUCED  # Bonferroni would not
    held = corrected(one, 3, lambda: [0.03, 0.6])
    assert held.outcome is Outcome.INCONCLUSIVE
    assert held.n_needed > one.n
    assert "Holm's correction over the 3 tests of 'scaffold-controls' makes p=0.021 0.064" in held.reason
    assert corrected(one, 3, lambda: None).outcome is Outcome.INCONCLUSIVE  # nobody knows: Bonferroni


def test_an_inconclusive_verdict_names_a_larger_n_in_a_family():
    one = verdict(6, 2)
    assert one.outcome is Outcome.INCONCLUSIVE
    assert corrected(one, 4, list).n_needed > one.n_needed
    against = verdict(2, 6)
    assert corrected(against, 4, list).n_needed == against.n_needed  # a refutation is not corrected


@pytest.mark.parametrize(
    ("made", "p_value"),
    [
        (verdict(9, 1), mcnemar_exact(9, 1)),
        (verdict(1, 9), 1.0),
        (conclude_share(0, 80, claim_id="programs-never-end", **ABOUT), 1.0),
    ],
)
def test_evidence_is_the_claims_own_p_value(made, p_value):
    assert evidence(made) == pytest.approx(p_value)


@given(st.integers(1, 80))
@settings(deadline=None)
def test_evidence_of_a_share_is_at_most_five_percent_where_its_interval_clears_the_margin(count):
    made = conclude_share(count, 80, claim_id="programs-never-end", **ABOUT)
    assert (evidence(made) < 0.05) == (clopper_pearson(count, 80).low > 0.05)


def test_evidence_of_a_swing_is_taken_at_its_margin():
    made = verdict(36, 0, claim_id="step-swing")
    assert made.outcome is Outcome.REPRODUCED
    assert mcnemar_exact(36, 0) < 1e-9 < evidence(made) < 0.05


def test_evidence_of_agreement_is_read_off_the_interval():
    inside = decide(
        Comparison(0.0, -0.02, 0.02, 0.9, 80, "t"), claim="step-cost", system="s", benchmark="b", margin=0.25,
        direction=0, scale=1.0,
    )  # fmt: skip
    assert evidence(inside) < 1e-6
    assert corrected(inside, 8, lambda: [0.5]).outcome is Outcome.REPRODUCED
    edge = decide(
        mean_difference([0.2, 0.3, 0.2, 0.24]), claim="step-cost", system="s", benchmark="b", margin=0.25,
        direction=0, scale=1.0,
    )  # fmt: skip
    assert math.isclose(evidence(edge), evidence(edge))
    assert evidence(edge) > 0.05


def test_verdicts_of_arithmetic_have_no_family():
    made = conclude_share(3, 3, claim_id="answers-copied", **ABOUT)
    exact = type(made)("possible-scores", "s", "b", Outcome.REPRODUCED, 1.0, None, None, 1)
    assert evidence(exact) is None
    assert corrected(exact, 9, list) is exact
