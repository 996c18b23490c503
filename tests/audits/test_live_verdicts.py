"""From measured cells to verdicts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits.live_verdicts import conclude, conclude_share, paired, with_lead
from audits.verdicts import Outcome
from protocols.score import Failure, Score
from protocols.scores import SampleScore, Scores
from protocols.signature import Signature
from specref_core.errors import InputError
from specref_core.generator import Budget


def scores(verdicts, *, system="a", steps=8, **choices):
    samples = tuple(
        SampleScore(f"t/{i}", 0, "", Score(bool(v), None if v else Failure.WRONG_ANSWER))
        for i, v in enumerate(verdicts)
    )
    signature = Signature.of(system=system, data="d", steps=steps, **choices)
    return Scores(system, "b", Budget(steps=steps), samples, len(samples), signature)


def told(comparison, claim_id="scaffold-lift", **more):
    return conclude(comparison, claim_id=claim_id, system="s", benchmark="b", reason="r", signature="sig", **more)


def test_system_and_steps_may_differ_and_nothing_else():
    assert paired(scores([1, 1]), scores([1, 0], system="b", steps=64)).effect == 0.5
    with pytest.raises(InputError, match="pipeline: raw against strip"):
        paired(scores([1, 1], pipeline="raw"), scores([1, 0], pipeline="strip"))


def test_other_problems_are_refused():
    with pytest.raises(InputError, match="same problems"):
        paired(scores([1, 1]), scores([1, 0, 0]))


@pytest.mark.parametrize(
    ("claim_id", "first", "second", "outcome"),
    [
        ("scaffold-lift", [1] * 40 + [0] * 40, [0] * 80, Outcome.REPRODUCED),
        ("scaffold-lift", [0] * 80, [1] * 40 + [0] * 40, Outcome.NOT_REPRODUCED),
        ("scaffold-lift", [1] * 80, [1] * 80, Outcome.NOT_REPRODUCED),  # 5 points are excluded
        ("scaffold-lift", [1] * 20, [1] * 20, Outcome.INCONCLUSIVE),
        ("refinement-tension", [0] * 80, [1] * 40 + [0] * 40, Outcome.REPRODUCED),
        ("refinement-tension", [1] * 80, [1] * 80, Outcome.NOT_REPRODUCED),
        ("step-swing", [1] * 28 + [0] * 52, [0] * 80, Outcome.INCONCLUSIVE),  # 35 points, beyond 30 but not surely
    ],
)
def test_outcomes(claim_id, first, second, outcome):
    verdict = told(paired(scores(first), scores(second)), claim_id)
    assert verdict.outcome is outcome
    assert (verdict.n_needed is None) == (outcome is not Outcome.INCONCLUSIVE)


def test_holm_takes_a_reproduction_back_and_does_not_turn_it_around():
    found = paired(scores([1] * 8 + [0] * 400), scores([0] * 408))
    assert told(found).outcome is Outcome.REPRODUCED
    assert told(found, adjusted_p=0.2).outcome is Outcome.INCONCLUSIVE


def test_the_exact_test_must_agree():
    verdict = told(paired(scores([1] * 5 + [0] * 75), scores([0] * 80)))
    assert verdict.low > 0
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.n_needed > 80
    assert "the exact test does not exclude chance (p=0.062)" in verdict.reason


@settings(deadline=None)  # a busy machine says nothing about the law
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=120))
def test_no_verdict_is_reproduced_in_both_directions(pairs):
    first, second = (scores(side) for side in zip(*pairs, strict=True))
    there, back = told(paired(first, second)), told(paired(second, first))
    assert not there.outcome is back.outcome is Outcome.REPRODUCED
    assert there.effect == pytest.approx(-back.effect)


@pytest.mark.parametrize(
    ("count", "n", "outcome"),
    [(0, 80, Outcome.NOT_REPRODUCED), (0, 40, Outcome.INCONCLUSIVE), (20, 80, Outcome.REPRODUCED)],
)
def test_shares_need_their_margin(count, n, outcome):
    verdict = conclude_share(
        count, n, claim_id="programs-never-end", system="s", benchmark="b", reason="r", signature="sig"
    )
    assert verdict.outcome is outcome
    assert verdict.effect == pytest.approx(100 * count / n)


@pytest.mark.parametrize(
    ("lead", "outcome"),
    [([1] * 40 + [0] * 40, Outcome.REPRODUCED), ([1] * 5 + [0] * 75, Outcome.INCONCLUSIVE)],
)
def test_a_reversal_needs_both_leads(lead, outcome):
    late = told(paired(scores([1] * 40 + [0] * 40), scores([0] * 80)), "step-reversal")
    assert late.outcome is Outcome.REPRODUCED
    early = paired(scores(lead), scores([0] * 80))
    found = with_lead(late, early, "the lead may be noise")
    assert found.outcome is outcome
    assert found.p_value == max(late.p_value, early.p_value)
    if outcome is Outcome.INCONCLUSIVE:
        assert found.n_needed > 80
        assert found.reason.endswith("the lead may be noise")


def test_p_values_are_those_of_the_margin():
    swing = told(paired(scores([1] * 36 + [0] * 44), scores([0] * 80)), "step-swing")
    assert 0.001 < swing.p_value < 0.05
    assert swing.test.startswith("Tango score test of 30 points")
    at = conclude_share(4, 80, claim_id="programs-never-end", system="s", benchmark="b", reason="r", signature="")
    assert at.p_value == pytest.approx(1.0)  # four of eighty are the five percent themselves
