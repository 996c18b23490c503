"""False findings and power of every live verdict's rule, on made-up measurements."""

from __future__ import annotations

import pytest

from benchmarks import verdict_simulation as simulation

NULLS = {
    "scaffold lift, Holm over 2 benchmarks": "equal systems",
    simulation.PAIRED: "equal, 30 % discordant",
    "refinement tension, better of 2 parts": "refiner far below",
    "step swing, 2 budgets": "30 points, the margin",
    "step swing, 4 budgets": "30 points, the margin",
    "step reversal": "a lead that vanishes",
    "rankings": "no lead by likelihood",
    simulation.SHARES: "5 %, the margin",
    "mean share of problems": "5 %, all or nothing",
    "agreement within a tolerance": "off by the tolerance",
    "entropy predicts error": "20 wrong of 80, unrelated",
    "Holm in a family of 6": "an effect in 5 of 6",
}
"""Of every rule the data on which it errs most; the command runs all of them."""
QUICK = [s for s in simulation.SITUATIONS if not s.slow]


@pytest.mark.parametrize(
    "situation",
    [s for s in QUICK if s.kind == simulation.NULL and NULLS.get(s.rule) == s.truth],
    ids=lambda s: f"{s.rule}: {s.truth}",
)
def test_no_rule_finds_what_is_not_there_more_often_than_one_time_in_twenty(situation):
    assert simulation.rate(situation) <= simulation.LARGEST_FALSE


def test_every_rule_has_null_data():
    assert set(NULLS) == {s.rule for s in QUICK} - {"orders under two metrics, 3 pairs"}
    assert {s.rule for s in simulation.SITUATIONS} == {s.rule for s in simulation.SITUATIONS if s.kind == "null"}


@pytest.mark.parametrize(
    "situation", [s for s in QUICK if s.kind == simulation.PLANTED], ids=lambda s: f"{s.rule}: {s.truth}"
)
def test_planted_effects_are_found(situation):
    assert simulation.rate(situation, runs=200) >= 0.75


def test_a_rule_that_forgets_its_family_is_caught():
    """The simulation can fail: six tests at 5 % each find something far too often."""
    alone = simulation._paired("structure-lifts", 0.1, 0.1)
    six = simulation.Situation(
        "six tests, nothing corrected",
        "no effect",
        simulation.NULL,
        lambda rng: max((alone(rng) for _ in range(6)), key=lambda outcome: outcome is simulation.Outcome.REPRODUCED),
    )
    rng = simulation.np.random.default_rng(0)
    with simulation.without_repetition():
        found = sum(six.draw(rng) is simulation.Outcome.REPRODUCED for _ in range(600)) / 600
    assert found > simulation.LARGEST_FALSE


def test_the_n_that_a_verdict_names_decides_four_times_in_five():
    named = list(simulation.named_sizes(runs=1000))
    assert len(named) >= 20
    low = [size for size in named if size.decided < 0.76]  # three standard errors of 1,000 runs below 80 %
    assert not low
