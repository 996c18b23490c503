"""The exactness contract's arithmetic: identity, goodness of fit, power, and the use of drafts."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from audits.exactness import (
    ALPHA,
    BINS,
    Fit,
    VerifiedToken,
    cell_shares,
    draft_use,
    goodness_of_fit,
    greedy_verdict,
    lenient,
    power,
    power_against,
    sampled_verdict,
    transformed,
    uniformity,
)
from audits.verdicts import Outcome
from specref_core.errors import InputError

FAIR = {"a": 0.5, "b": 0.3, "c": 0.2}


def test_the_fit_is_pearsons_where_no_outcome_is_rare():
    fit = goodness_of_fit({"a": 55, "b": 25, "c": 20}, FAIR)
    assert fit.p_value == pytest.approx(stats.chisquare([55, 25, 20], [50, 30, 20]).pvalue)
    assert (fit.n, fit.cells, fit.impossible) == (100, 3, 0)
    assert fit.distance == pytest.approx(0.05)


def test_rare_and_unnamed_outcomes_share_a_cell():
    named = {"a": 0.5, "b": 0.3, "c": 0.02, "d": 0.02}  # 0.16 belong to outcomes that are not named
    fit = goodness_of_fit({"a": 50, "b": 30, "c": 1, "z": 19}, named)
    assert fit.cells == 3
    assert fit.p_value == pytest.approx(1.0)
    assert fit.impossible == 0


def test_an_impossible_outcome_settles_it():
    fit = goodness_of_fit({"a": 50, "b": 30, "c": 19, "z": 1}, FAIR)
    assert (fit.impossible, fit.p_value) == (1, 0.0)


def test_a_certain_outcome_is_no_contradiction():
    assert goodness_of_fit({"a": 9}, {"a": 1.0}).p_value == 1.0
    assert goodness_of_fit({"b": 9}, {"a": 1.0}).p_value == 0.0


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=12), st.integers(20, 400), st.integers(0, 999))
def test_p_values_are_probabilities_and_distances_shares(weights, n, seed):
    chances = np.array(weights) / sum(weights)
    drawn = np.random.default_rng(seed).multinomial(n, chances)
    fit = goodness_of_fit(dict(enumerate(drawn.tolist())), dict(enumerate(chances.tolist())))
    assert 0 <= fit.p_value <= 1
    assert 0 <= fit.distance <= 1
    assert fit.impossible == 0


def test_the_test_keeps_its_level_and_sees_a_violation():
    assert power(FAIR, FAIR, 500, alpha=0.05, rounds=600) == pytest.approx(0.05, abs=0.03)
    shifted = {"a": 0.6, "b": 0.25, "c": 0.15}
    powers = [power(FAIR, shifted, n) for n in (50, 400, 1500)]
    assert powers[0] < powers[1] < powers[2]
    assert powers[2] > 0.99


@pytest.mark.parametrize(
    ("p_value", "shown", "outcome"),
    [
        (0.4, 0.95, Outcome.REPRODUCED),
        (0.4, 0.5, Outcome.INCONCLUSIVE),
        (1e-5, 0.95, Outcome.NOT_REPRODUCED),
        (1e-5, 0.1, Outcome.NOT_REPRODUCED),
    ],
)
def test_a_fit_without_power_is_no_evidence(p_value, shown, outcome):
    verdict = sampled_verdict(Fit(500, 9, 0.03, p_value, 0), shown, system="s", benchmark="b", violation="a shift")
    assert verdict.outcome is outcome
    assert (verdict.n_needed is None) == (outcome is not Outcome.INCONCLUSIVE)


def test_one_different_text_breaks_the_greedy_contract():
    texts = [(1, 2, 3), (4,)]
    assert greedy_verdict(texts, [[1, 2, 3], [4]], system="s", benchmark="b").outcome is Outcome.REPRODUCED
    broken = greedy_verdict(texts, [(1, 2, 3), (4, 5)], system="s", benchmark="b")
    assert (broken.outcome, broken.effect) == (Outcome.NOT_REPRODUCED, 1.0)
    assert "prompt 1" in broken.reason
    drafted = greedy_verdict(texts, texts, system="s", benchmark="b", claim="psd-strict-exact")
    assert (drafted.claim, drafted.outcome) == ("psd-strict-exact", Outcome.REPRODUCED)
    assert "the undrafted sampler's, token for token" in drafted.reason


def test_the_use_of_drafts_is_counted_by_position():
    text = (7, 1, 2, 3, 4, 5)
    rounds = [(1, (1, 9, 3), 1), (3, (3, 4, 9), 2)]  # the second round's last draft meets the text's end
    use = draft_use([text], [rounds])
    assert use.acceptance_length == pytest.approx((2 + 3) / 2)
    assert use.accepted == (1.0, 0.5, 0.0)
    assert use.right == (1.0, 0.5, 0.5)
    assert use.wasted == pytest.approx(1 / 4)
    assert use.rounds == 2


def test_misuse_is_named():
    with pytest.raises(InputError, match="0 samples"):
        goodness_of_fit({}, FAIR)
    with pytest.raises(InputError, match=r"add up to 1\.5"):
        goodness_of_fit({"a": 1}, {"a": 1.5})
    with pytest.raises(InputError, match="0 and 0 texts"):
        greedy_verdict([], [], system="s", benchmark="b")


def _places(count, seed=0, vocab=30):
    """Random targets and drafters that overlap about as much as real ones."""
    stream = np.random.default_rng(seed)
    logits = stream.normal(0, 2, (count, vocab))
    target, drafter = (np.exp(x) for x in (logits, logits + stream.normal(0, 1.5, (count, vocab))))
    return [VerifiedToken(0, p / p.sum(), q / q.sum()) for p, q in zip(target, drafter, strict=True)]


def _drawn(places, factor, seed=1):
    """The same places, with tokens as a verifier of this factor writes them, drawn by its own rule."""
    stream = np.random.default_rng(seed)
    written = []
    for one in places:
        draft = stream.choice(len(one.drafter), p=one.drafter)
        if stream.random() < factor * one.target[draft] / one.drafter[draft]:
            token = draft
        else:
            rest = np.maximum(one.target - one.drafter, 0)
            token = stream.choice(len(rest), p=rest / rest.sum())
        written.append(replace(one, token=int(token)))
    return written


class TestTransformedTokens:
    """Verified tokens as numbers that are uniform under the contract."""

    def test_an_exact_verifier_gives_uniform_numbers_and_its_law_is_the_target(self):
        places = _places(3000)
        for one in places[:5]:
            assert lenient(one.target, one.drafter, 1.0) == pytest.approx(one.target)
            assert cell_shares(one, one.target) == pytest.approx(np.full(BINS, 1 / BINS))
        values = [
            transformed(one, u)
            for one, u in zip(_drawn(places, 1.0), np.random.default_rng(4).random(3000), strict=True)
        ]
        assert stats.kstest(values, "uniform").pvalue > 0.001
        assert uniformity(_drawn(places, 1.0), 0).p_value > 0.001

    @pytest.mark.parametrize("factor", [2.0, 4.0, 1e9])
    def test_a_lenient_verifier_is_caught_and_pushes_the_numbers_up(self, factor):
        places = _places(500)
        written = _drawn(places, factor)
        assert uniformity(written, 0).p_value < ALPHA
        assert power_against(places, factor) > 0.95
        assert np.mean([transformed(one, 0.5) for one in written]) > 0.52

    def test_the_law_of_a_lenient_verifier_is_what_its_rule_writes(self):
        [place] = _places(1, vocab=5)
        tokens = [one.token for one in _drawn([place] * 20_000, 2.0)]
        seen = np.bincount(tokens, minlength=5) / len(tokens)
        assert seen == pytest.approx(lenient(place.target, place.drafter, 2.0), abs=0.015)
        shares = cell_shares(place, lenient(place.target, place.drafter, 2.0))
        assert shares.sum() == pytest.approx(1.0)
        assert (np.diff(shares) > -1e-9).all()  # the more the drafter wants a token, the more too often it is written

    def test_few_or_sure_places_show_nothing_and_the_power_says_so(self):
        assert power_against(_places(20), 2.0) < 0.5
        sure = [VerifiedToken(0, np.array([1.0, 0.0]), np.array([0.5, 0.5]))] * 400
        assert power_against(sure, 2.0) < 0.05

    def test_a_token_that_the_target_cannot_write_breaks_the_contract(self):
        places = [VerifiedToken(1, np.array([1.0, 0.0]), np.array([0.5, 0.5]))] * 3
        fit = uniformity(places, 0)
        assert (fit.impossible, fit.p_value) == (3, 0.0)

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, 1000), st.floats(0, 1, exclude_max=True))
    def test_every_token_has_its_own_stretch_as_long_as_its_probability(self, seed, uniform):
        [place] = _places(1, seed=seed, vocab=6)
        starts = sorted((transformed(replace(place, token=t), 0.0), float(place.target[t])) for t in range(6))
        for (start, length), (end, _) in itertools.pairwise(starts):
            assert start + length == pytest.approx(end)
        assert 0 <= transformed(replace(place, token=3), uniform) < 1
