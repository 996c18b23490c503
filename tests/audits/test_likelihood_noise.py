"""Choices that change with the seed, on likelihoods whose noise is planted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits import likelihood_noise
from audits.live_systems import LiveSystem, MissingCapabilityError
from audits.verdicts import Outcome
from specref_core.generator import LogLikelihood
from specref_core.seeding import row_seed
from tests.audits import generators

REPRODUCED, NOT, OPEN = Outcome.REPRODUCED, Outcome.NOT_REPRODUCED, Outcome.INCONCLUSIVE


class Noisy(generators.Lookup):
    """Every choice is worth the same but for noise of a known size and a told size."""

    name = "noisy"

    def __init__(self, noise, told, gap=0.0):
        self.noise, self.told, self.gap = noise, told, gap

    def log_likelihood(self, requests, *, monte_carlo, seed):
        rows = []
        for request in requests:
            rng = np.random.default_rng(row_seed(seed, request.context, f"{monte_carlo}"))
            lengths = [len(text) - 1 for text in request.continuations]  # a character is a nat at most
            values = [
                n * (self.gap * place + self.noise * rng.standard_normal() - 9) for place, n in enumerate(lengths)
            ]
            rows.append(
                [LogLikelihood(v, n * self.told, monte_carlo.samples, n) for v, n in zip(values, lengths, strict=True)]
            )
        return rows


def system(noise, told=None, gap=0.0, limit=80):
    pipeline = Noisy(noise, noise if told is None else told, gap)
    return LiveSystem("custom", pipeline, ("nano-choices",), limit=limit, call_limit=60.0)


@pytest.mark.parametrize(
    ("noise", "gap", "outcome"),
    [(1.0, 0.0, REPRODUCED), (0.0, 0.0, NOT), (0.01, 1.0, NOT), (1.0, 0.7, REPRODUCED)],
)
def test_changing_choices(noise, gap, outcome):
    verdict = likelihood_noise.flips(system(noise, gap=gap), "nano-choices")
    assert verdict.outcome is outcome
    if not noise:
        assert verdict.reason.startswith("0 of 80 choices differ between two seeds")
        assert verdict.reason.endswith("none would change at more")


def test_four_equal_choices_change_three_times_in_four():
    verdict = likelihood_noise.flips(system(1.0), "nano-choices")
    assert verdict.low < 75 < verdict.high
    assert verdict.reason.endswith("for one in a hundred")


@pytest.mark.parametrize(
    ("noise", "told", "gap", "outcome"),
    [
        (0.0, 0.0, 0.0, REPRODUCED),  # exact and said to be
        (1.0, 0.0, 0.0, NOT),  # noisy and said to be exact
        (0.0, 5.0, 0.0, NOT),  # exact and said to be noisy
    ],
)
def test_errors_are_held_against_what_happens(noise, told, gap, outcome):
    verdict = likelihood_noise.held(system(noise, told, gap), "nano-choices")
    assert verdict.outcome is outcome


def test_honest_errors_of_independent_choices_are_calibrated():
    verdict = likelihood_noise.held(system(0.5, gap=0.6, limit=160), "nano-choices")
    assert verdict.outcome is not NOT
    assert abs(verdict.effect) < 10


def test_estimates_without_errors_cannot_be_held_to_them():
    assert likelihood_noise.held(system(1.0, float("nan"), limit=5), "nano-choices") is None


def test_a_generator_without_likelihoods_hears_what_to_add():
    plain = LiveSystem("custom", generators.Lookup(), ("nano-choices",), limit=4)
    with pytest.raises(MissingCapabilityError, match=r"has no log_likelihood\(requests, \*, monte_carlo, seed\); add"):
        likelihood_noise.flips(plain, "nano-choices")


def test_the_pair_is_repeated_on_its_first_problems_only():
    live = system(1.0)
    live.source = "nano"
    assert likelihood_noise.flips(live, "nano-choices").n == likelihood_noise.NANO_REPEATED
    assert likelihood_noise.held(live, "nano-choices").n == likelihood_noise.NANO_ERRORS


def test_repeats_with_one_seed_are_one_measurement():
    live = system(1.0, limit=4)
    again = live.repeat("pipeline", "nano-choices", seed=1)
    assert live.repeat("pipeline", "nano-choices", seed=1) is again
    same = live.repeat("pipeline", "nano-choices", seed=0)
    texts = [sample.text for sample in live.measure("pipeline", "nano-choices", None).samples]
    assert [sample.text for sample in same.samples] == texts
    assert [sample.text for sample in again.samples] != texts


@given(st.floats(0, 1), st.integers(8, 2048))
def test_more_rounds_never_change_more_choices(seen, rounds):
    assert likelihood_noise.expected_share(seen, rounds) <= seen + 1e-12
    assert likelihood_noise.expected_share(seen, 4 * rounds) <= likelihood_noise.expected_share(seen, rounds)


@given(st.floats(0, 1), st.floats(0.005, 0.2))
def test_the_rounds_named_are_the_fewest_that_settle(seen, below):
    rounds = likelihood_noise.rounds_to_settle(seen, below=below)
    assert likelihood_noise.expected_share(seen, rounds) <= below + 1e-6
    assert rounds == 8 or likelihood_noise.expected_share(seen, rounds - 1) > below - 1e-6


def test_the_square_root_rule_holds_where_gaps_are_spread():
    rng = np.random.default_rng(0)
    gaps = rng.uniform(-10, 10, 200_000)

    def changed(rounds):
        noise = np.sqrt(8 / rounds) * rng.standard_normal((2, len(gaps)))
        return float(((gaps + noise[0] > 0) != (gaps + noise[1] > 0)).mean())

    seen = changed(8)
    for rounds in likelihood_noise.ROUNDS_SHOWN:
        assert changed(rounds) == pytest.approx(likelihood_noise.expected_share(seen, rounds), rel=0.1)


def test_figures_name_what_was_seen_and_what_is_expected():
    cells = likelihood_noise.figures(20, 80)
    assert cells["seen at 8"] == "25 (16-36)"
    assert (cells["at 32"], cells["at 128"]) == ("12.5", "6.2")
