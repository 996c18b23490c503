from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from specref_core.errors import InputError
from specref_core.masking import (
    MATH_CHARACTERS,
    MaskPolicy,
    adaptive_k,
    count_for,
    expand_math,
    math_tokens,
    normalise,
    top_k,
    truncate_tail,
)
from tests.strategies import partitions, scores, texts

lengths = st.integers(0, 60)
percentages = st.one_of(st.sampled_from([0.0, 12.5, 50.0, 60.0, 100.0]), st.floats(0, 100))


@st.composite
def drafts(draw):
    """A text, a partition of it, and scores."""
    text = draw(texts.filter(bool))
    spans = draw(partitions(len(text)))
    return text, spans, draw(scores(len(spans)))


class TestNormalise:
    """Eq. 6."""

    def test_the_uniform_distribution_has_score_one(self):
        assert normalise([np.log(51200)], 51200) == pytest.approx(1)

    def test_is_clipped_to_its_range(self):
        assert normalise([-1e-7, 99.0], 2).tolist() == [0.0, 1.0]

    def test_refuses_a_vocabulary_of_one(self):
        with pytest.raises(InputError, match="vocab_size=1"):
            normalise([0.0], 1)


class TestTopK:
    """Line 3 of Algorithm 1."""

    @given(scores(lengths))
    def test_zero_masks_nothing_and_a_hundred_everything(self, values):
        assert not top_k(values, 0).any()
        assert top_k(values, 100).all()

    @given(scores(lengths), percentages)
    def test_masks_exactly_the_rounded_share(self, values, k):
        assert top_k(values, k).sum() == count_for(k, len(values))

    @given(scores(lengths), percentages, percentages)
    def test_is_monotone_in_k(self, values, k, other):
        low, high = sorted((k, other))
        assert not (top_k(values, low) & ~top_k(values, high)).any()

    @given(scores(lengths), percentages)
    def test_no_kept_score_is_above_a_masked_one(self, values, k):
        mask = top_k(values, k)
        if mask.any() and not mask.all():
            assert values[~mask].max() <= values[mask].min()

    @given(st.integers(0, 50), percentages)
    def test_ties_go_to_the_lower_positions(self, length, k):
        mask = top_k(np.zeros(length), k)
        assert mask.tolist() == sorted(mask.tolist(), reverse=True)

    @pytest.mark.parametrize(
        ("k", "length", "count"),
        [
            *[(60, 10, 6), (60, 1, 1), (60, 0, 0), (50, 1, 1), (50, 3, 2), (49, 1, 0)],
            *[(12.5, 4, 1), (0.1, 500, 1), (0.1, 499, 0), (33, 50, 17), (1.005, 100, 1), (10.5, 100, 11)],
        ],
    )
    def test_halves_round_up(self, k, length, count):
        assert count_for(k, length) == count

    @given(st.integers(0, 100), st.integers(0, 10_000))
    def test_rounding_is_exact_for_whole_percentages(self, k, length):
        assert count_for(k, length) == int(Fraction(k * length, 100) + Fraction(1, 2))

    @pytest.mark.parametrize("k", [-1, 100.1, float("nan")])
    def test_refuses_a_percentage_out_of_range(self, k):
        with pytest.raises(InputError, match="percentage"):
            top_k([0.5], k)

    def test_refuses_scores_that_are_not_numbers(self):
        with pytest.raises(InputError, match="token 1 is nan"):
            top_k([0.5, np.nan], 50)


class TestMath:
    """Line 4 of Algorithm 1."""

    def test_finds_every_math_character_and_nothing_else(self):
        text = f"ab{MATH_CHARACTERS}xy"
        spans = [(i, i + 1) for i in range(len(text))]
        assert "".join(c for c, m in zip(text, math_tokens(text, spans), strict=True) if m) == MATH_CHARACTERS

    def test_a_token_counts_if_any_character_does(self):
        assert math_tokens("ab1c ab", [(0, 4), (4, 7), (2, 2), (2, 3), (7, 7)]).tolist() == [1, 0, 0, 1, 0]

    @pytest.mark.parametrize(("window", "masked"), [(0, [4]), (1, [3, 4, 5]), (2, [2, 3, 4, 5, 6]), (99, range(9))])
    def test_the_window_reaches_both_ways(self, window, masked):
        math = np.arange(9) == 4
        assert np.flatnonzero(expand_math(np.zeros(9, bool), math, window)).tolist() == list(masked)

    @given(hnp.arrays(bool, st.integers(0, 40)), st.integers(0, 5), st.data())
    def test_expansion_follows_its_definition_and_is_idempotent(self, math, window, data):
        mask = data.draw(hnp.arrays(bool, len(math)))
        near = [any(abs(i - j) <= window for j in np.flatnonzero(math)) for i in range(len(math))]
        expanded = expand_math(mask, math, window)
        np.testing.assert_array_equal(expanded, mask | np.array(near, dtype=bool))
        np.testing.assert_array_equal(expand_math(expanded, math, window), expanded)

    def test_refuses_arrays_of_different_lengths(self):
        with pytest.raises(InputError, match="equal lengths"):
            expand_math([True], [True, False])


class TestTail:
    """Line 5 of Algorithm 1."""

    @pytest.mark.parametrize(("length", "masked"), [(0, 0), (150, 0), (151, 0), (152, 1), (200, 49)])
    def test_masks_what_is_past_index_150(self, length, masked):
        mask = truncate_tail(length)
        assert mask.sum() == masked
        assert not mask[:151].any()


class TestPolicy:
    """The union of the three rules."""

    @given(drafts(), percentages)
    def test_the_mask_is_the_union_of_its_rules(self, draft, k):
        text, spans, values = draft
        policy = MaskPolicy(k=k, limit=5)
        wanted = top_k(values, k) | truncate_tail(len(values), 5)
        wanted |= expand_math(np.zeros(len(values), bool), math_tokens(text, spans), 2)
        np.testing.assert_array_equal(policy.mask(values, text, spans), wanted)

    @given(drafts())
    def test_every_rule_off_masks_nothing(self, draft):
        text, spans, values = draft
        assert not MaskPolicy(k=0, math=False, tail=False).mask(values, text, spans).any()

    @given(drafts(), percentages)
    def test_adaptive_never_masks_more(self, draft, k):
        text, spans, values = draft
        full = MaskPolicy(k=k).mask(values, text, spans)
        assert not (MaskPolicy(k=k, adaptive=0.3).mask(values, text, spans) & ~full).any()

    def test_an_empty_draft_has_an_empty_mask(self):
        assert MaskPolicy(adaptive=0.5).mask([], "", []).shape == (0,)

    @pytest.mark.parametrize(
        "wrong", [{"k": 101}, {"window": -1}, {"limit": -1}, {"how": "median"}, {"adaptive": 0.0}, {"adaptive": 2.0}]
    )
    def test_refuses_settings_out_of_range(self, wrong):
        with pytest.raises(InputError, match=next(iter(wrong))):
            MaskPolicy(**wrong)

    def test_describes_every_choice_that_is_on(self):
        assert MaskPolicy().describe() == f"k=60,e=2,math={MATH_CHARACTERS},M=150,how=mean"
        bare = MaskPolicy(k=12.5, math=False, tail=False, how="max", adaptive=0.25)
        assert bare.describe() == "k=12.5,adaptive=0.25,math=off,tail=off,how=max"


class TestAdaptive:
    """Lower k where the draft is confident."""

    @given(scores(st.integers(1, 30)), percentages, st.floats(0.01, 1))
    def test_lies_between_zero_and_k(self, values, k, reference):
        assert 0 <= adaptive_k(values, k, reference) <= k

    @given(scores(st.integers(1, 30)), percentages, st.floats(0.01, 1), st.floats(0, 1))
    def test_a_more_confident_draft_never_gets_more(self, values, k, reference, factor):
        assert adaptive_k(values * factor, k, reference) <= adaptive_k(values, k, reference)

    def test_half_the_uncertainty_has_half_the_tokens(self):
        assert adaptive_k([0.1, 0.1], 60, 0.2) == pytest.approx(30)
        assert adaptive_k([0.2, 0.4], 60, 0.2) == 60
        assert adaptive_k([], 60, 0.2) == 0
