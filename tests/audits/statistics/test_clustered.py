"""Ratios of totals and the two-part cost model over problems."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.statistics.clustered import fit_cost, ratio_of_rates, relative_saving
from specref_core.errors import InputError

amounts = st.lists(st.floats(0.1, 1e6), min_size=2, max_size=40)


class TestSaving:
    @pytest.mark.parametrize(
        ("cost", "baseline", "effect"),
        [([1, 1, 1], [4, 4, 4], 0.75), ([4, 4], [4, 4], 0.0), ([8, 8], [4, 4], -1.0), ([0, 0], [4, 4], 1.0)],
    )
    def test_totals_without_spread(self, cost, baseline, effect):
        found = relative_saving(cost, baseline)
        assert (found.effect, found.low, found.high) == pytest.approx((effect, effect, effect))
        assert found.n == len(cost)

    @given(amounts, st.floats(0.01, 100))
    def test_the_unit_of_cost_changes_nothing(self, cost, unit):
        baseline = [c + 1 for c in cost]
        one = relative_saving(cost, baseline)
        other = relative_saving([unit * c for c in cost], [unit * b for b in baseline])
        assert (one.effect, one.low, one.high) == pytest.approx((other.effect, other.low, other.high), abs=1e-9)

    @given(amounts, st.integers(0, 2**32))
    def test_the_effect_is_that_of_the_totals_inside_its_interval(self, cost, seed):
        baseline = np.random.default_rng(seed).uniform(0.5, 5, len(cost)).tolist()
        found = relative_saving(cost, baseline)
        assert found.effect == pytest.approx(1 - sum(cost) / sum(baseline))
        assert found.low <= found.effect + 1e-12
        assert found.effect <= found.high + 1e-12
        assert found.high <= 1

    def test_the_interval_covers(self):
        rng, hits = np.random.default_rng(1), 0
        for _ in range(2000):
            length = rng.gamma(4, 1, 20)
            cost, baseline = length * rng.uniform(0.6, 1.4, 20), 2 * length * rng.uniform(0.8, 1.2, 20)
            found = relative_saving(cost.tolist(), baseline.tolist())
            hits += found.low <= 0.5 <= found.high
        assert hits / 2000 == pytest.approx(0.95, abs=0.02)

    @pytest.mark.parametrize(
        ("cost", "baseline", "told"),
        [
            ([1.0], [1.0], "at least 2"),
            ([1.0, 2.0], [1.0], "equally many"),
            ([1.0, 2.0], [0.0, 0.0], "nothing to compare"),
            ([1.0, math.nan], [1.0, 1.0], "finite"),
            ([1.0, -1.0], [1.0, 1.0], "0 or more"),
        ],
    )
    def test_what_cannot_be_compared_is_refused(self, cost, baseline, told):
        with pytest.raises(InputError, match=told):
            relative_saving(cost, baseline)


class TestRates:
    def test_a_fixed_price_has_no_spread_whatever_the_amounts(self):
        units, others = np.array([1.0, 5.0, 9.0]), np.array([7.0, 2.0, 2.0])
        found = ratio_of_rates(3 * units, units, 2 * others, others)
        assert (found.effect, found.low, found.high) == pytest.approx((1.5, 1.5, 1.5))

    def test_the_interval_covers(self):
        rng, hits = np.random.default_rng(2), 0
        for _ in range(2000):
            units, others = rng.integers(5, 40, (2, 20))
            cost, other = units * rng.uniform(0.5, 1.5, 20), 2 * others * rng.uniform(0.5, 1.5, 20)
            found = ratio_of_rates(cost, units.astype(float), other, others.astype(float))
            hits += found.low <= 0.5 <= found.high
        assert hits / 2000 == pytest.approx(0.95, abs=0.02)


class TestFit:
    @given(st.floats(0.5, 50), st.floats(0.5, 50), st.integers(0, 2**32))
    def test_an_exact_model_is_recovered(self, per_token, per_pass, seed):
        rng = np.random.default_rng(seed)
        tokens, passes = rng.integers(5, 60, 12).astype(float), rng.integers(1, 64, 12).astype(float)
        if np.linalg.matrix_rank(np.stack([tokens, passes])) < 2:
            return
        fit = fit_cost(tokens.tolist(), passes.tolist(), (per_token * tokens + per_pass * passes).tolist(), range(12))
        assert fit.per_first[0] == pytest.approx(per_token, rel=1e-5)
        assert fit.per_second[0] == pytest.approx(per_pass, rel=1e-5)
        assert np.abs(fit.errors).max() < 1e-6
        assert fit.by_problem.shape == (12,)

    def test_a_fixed_part_is_an_error(self):
        tokens, passes = [10.0, 20.0, 30.0, 40.0], [8.0, 1.0, 4.0, 2.0]
        cost = [100 + t + p for t, p in zip(tokens, passes, strict=True)]
        assert np.abs(fit_cost(tokens, passes, cost, range(4)).errors).mean() > 0.1

    def test_intervals_know_that_points_of_one_problem_belong_together(self):
        rng, alone, together = np.random.default_rng(3), [], []
        for _ in range(600):
            tokens = np.repeat(rng.integers(10, 40, 25), 4).astype(float)
            passes = np.tile([2.0, 4.0, 8.0, 16.0], 25)
            cost = (2 * tokens + 3 * passes) * np.repeat(rng.uniform(0.7, 1.3, 25), 4)
            columns = tokens.tolist(), passes.tolist(), cost.tolist()
            together.append(fit_cost(*columns, np.repeat(range(25), 4).tolist()).per_first)
            alone.append(fit_cost(*columns, range(100)).per_first)
        # Relative errors weigh cheap problems more, so the fit has a centre of its own, a little off 2.
        centre = np.mean([value for value, _ in together])
        assert centre == pytest.approx(2, rel=0.1)
        covered = {
            name: np.mean([centre in ends for _, ends in found])
            for name, found in (("together", together), ("alone", alone))
        }
        assert covered["together"] > 0.88
        assert covered["alone"] < covered["together"] - 0.05

    @pytest.mark.parametrize(
        ("tokens", "passes", "cost", "problems", "told"),
        [
            ([1.0, 2.0], [2.0, 4.0], [1.0, 2.0], "ab", "cannot be told apart"),
            ([0.0, 0.0], [2.0, 4.0], [1.0, 2.0], "ab", "cannot be told apart"),
            ([1.0, 2.0], [2.0, 1.0], [1.0, 2.0], "aa", "cannot be told apart"),
            ([1.0, 2.0], [2.0, 1.0], [1.0, 0.0], "ab", "positive costs"),
            ([1.0, 2.0], [2.0], [1.0, 1.0], "ab", "equally many"),
            ([], [], [], "", "equally many"),
        ],
    )
    def test_what_cannot_be_fitted_is_refused(self, tokens, passes, cost, problems, told):
        with pytest.raises(InputError, match=told):
            fit_cost(tokens, passes, cost, problems)
