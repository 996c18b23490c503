from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import chisquare, entropy

from specref_core.drafting.distribution import choose, shannon_entropy
from specref_core.errors import CheckpointError

rows = hnp.arrays(np.float32, st.integers(2, 60), elements=st.floats(-30, 30, width=32))


class TestEntropy:
    """Eq. 2."""

    @given(rows)
    def test_equals_the_textbook_in_float64(self, logits):
        wide = logits.astype(np.float64)
        wanted = entropy(np.exp(wide - wide.max()))
        assert shannon_entropy(torch.tensor(logits)).item() == pytest.approx(wanted, abs=2e-6 * (1 + wanted))

    @given(st.integers(2, 5000), st.floats(-1e3, 1e3))
    def test_of_the_uniform_distribution_is_log_v(self, size, level):
        assert shannon_entropy(torch.full((size,), level)).item() == pytest.approx(math.log(size), rel=1e-5)

    def test_of_certainty_is_zero(self):
        logits = torch.tensor([[0.0, -torch.inf, -torch.inf], [1e4, 0.0, 0.0]])
        assert shannon_entropy(logits).tolist() == [0.0, 0.0]

    def test_is_float32_whatever_the_logits_are(self):
        logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
        result = shannon_entropy(logits.bfloat16())
        assert result.dtype == torch.float32
        torch.testing.assert_close(result, shannon_entropy(logits.bfloat16().float()))

    @pytest.mark.parametrize("bad", [torch.nan, torch.inf])
    def test_refuses_logits_that_are_not_numbers(self, bad):
        with pytest.raises(CheckpointError, match="not finite"):
            shannon_entropy(torch.tensor([[0.0, 1.0], [bad, 0.0]]))


class TestChoose:
    """One token a row."""

    def test_greedy_takes_the_lowest_id_among_equals(self):
        logits = torch.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 1.0]])
        assert choose(logits, temperature=0, top_p=1.0, uniform=torch.rand(2)).tolist() == [1, 0]

    @given(rows, st.floats(0, 1, exclude_max=True), st.floats(0.2, 3), st.floats(0.05, 1))
    def test_a_row_does_not_depend_on_its_neighbours(self, logits, u, temperature, top_p):
        one = torch.tensor(logits)[None]
        pair = torch.cat([one.flip(-1), one])
        settings = {"temperature": temperature, "top_p": top_p}
        alone = choose(one, uniform=torch.tensor([u], dtype=torch.float64), **settings)
        beside = choose(pair, uniform=torch.tensor([0.5, u], dtype=torch.float64), **settings)
        assert alone[0] == beside[1]

    @given(rows, st.floats(0, 1, exclude_max=True), st.floats(0.05, 1))
    def test_stays_within_the_nucleus(self, logits, u, top_p):
        probability = torch.softmax(torch.tensor(logits).double(), -1)
        chosen = choose(torch.tensor(logits)[None], temperature=1.0, top_p=top_p, uniform=torch.tensor([u]))[0]
        above = probability[probability > probability[chosen]].sum()
        assert above < top_p + 1e-9

    def test_draws_follow_the_tempered_distribution(self):
        logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
        uniform = torch.rand(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        drawn = choose(logits.expand(4000, 4), temperature=2.0, top_p=1.0, uniform=uniform)
        wanted = torch.softmax(logits.double() / 2, -1) * 4000
        assert chisquare(torch.bincount(drawn, minlength=4), wanted).pvalue > 1e-3

    def test_banned_tokens_are_never_drawn(self):
        logits = torch.tensor([[-torch.inf, 0.0, -torch.inf]])
        for u in (0.0, 0.5, 1 - 1e-16):
            assert choose(logits, temperature=1.0, top_p=1.0, uniform=torch.tensor([u], dtype=torch.float64)) == 1
