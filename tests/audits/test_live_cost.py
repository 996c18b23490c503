"""What the audit of cost concludes from costs that are written down."""

from __future__ import annotations

import numpy as np
import pytest

from audits import live_cost as audit
from audits.live_systems import MissingCapabilityError
from audits.verdicts import Outcome
from specref_core.generator import Cost
from tests.audits.measured_cells import shares
from tests.audits.told_cells import ToldSystem

REPRODUCED, NOT, OPEN = Outcome.REPRODUCED, Outcome.NOT_REPRODUCED, Outcome.INCONCLUSIVE
TOKENS = [20 + i % 7 for i in range(40)]
HIDDEN = [10 + (3 * i) % 11 for i in range(40)]


def priced(*, per_token=1.0, per_pass=4.0, standalone_pass=4.0, passes=HIDDEN, alone=64, fixed=0.0, tokens=TOKENS):
    """Return a system whose pipeline costs ``fixed + per_token * tokens + per_pass * min(S, passes)``."""
    keys = [("drafter", "b", None), *((role, "b", s) for s in (8, 64) for role in ("pipeline", "refiner"))]
    costs = {("drafter", "b", None): [Cost(0, t, t, t, 0.1, fixed + per_token * t) for t in tokens]}
    for steps in (8, 64):
        run = [min(steps, count) for count in passes]
        costs["pipeline", "b", steps] = [
            Cost(steps, p, p, t, 0.1 + i // 10, fixed + per_token * t + per_pass * p)
            for i, (p, t) in enumerate(zip(run, tokens, strict=True))
        ]
        its = min(steps, alone)
        costs["refiner", "b", steps] = [Cost(steps, its, its, 0, 0.1, standalone_pass * its) for _ in tokens]
    n = len(tokens)
    return ToldSystem({key: shares(n // 2, n) for key in keys}, costs=costs)


class TestPasses:
    @pytest.mark.parametrize(
        ("passes", "outcome"),
        [(HIDDEN, REPRODUCED), ([64] * 40, NOT), ([40 + i % 3 for i in range(40)], NOT), ([1, 60] * 20, OPEN)],
    )
    def test_half_of_them_are_saved_or_not(self, passes, outcome):
        verdict = audit.fewer_passes(priced(passes=passes), "b")
        assert verdict.outcome is outcome
        assert verdict.unit == "points"
        assert verdict.effect == pytest.approx(100 * (1 - np.mean(passes) / 64))

    def test_drafts_that_nothing_hides_save_everything(self):
        verdict = audit.fewer_passes(priced(passes=[0] * 40), "b")
        assert (verdict.outcome, verdict.effect) == (REPRODUCED, 100)

    def test_busy_machines_change_no_verdict(self):
        quiet, busy = priced(), priced()
        for key, row in busy.costs.items():
            busy.costs[key] = [Cost(*(getattr(c, f) for f in FIGURES[:4]), 100 * c.seconds, c.flops) for c in row]
        for judge in (audit.fewer_passes, audit.pass_cost, audit.cost_model):
            assert judge(quiet, "b") == judge(busy, "b")
        assert audit.speed_up(quiet, "b", 64) == audit.speed_up(busy, "b", 64)


FIGURES = ("nominal_steps", "forward_passes", "row_forwards", "drafted_tokens")


class TestSpeedUp:
    @pytest.mark.parametrize(("per_token", "outcome"), [(1.0, REPRODUCED), (8.0, NOT), (20.0, NOT)])
    def test_drafting_counts(self, per_token, outcome):
        assert audit.speed_up(priced(per_token=per_token), "b", 64).outcome is outcome

    def test_a_dear_draft_makes_a_query_dearer_at_few_steps(self):
        verdict = audit.speed_up(priced(per_token=3.0), "b", 8)
        assert verdict.outcome is NOT
        assert verdict.effect < 0

    def test_the_published_figure_stands_beside_it(self):
        assert "the paper's seconds on GSM8K give 2.43" in audit.speed_up(priced(), "b", 64).reason
        assert "the paper" not in audit.speed_up(priced(), "b", 8).reason


class TestPassCost:
    @pytest.mark.parametrize(
        ("per_pass", "outcome"), [(4.0, REPRODUCED), (3.2, REPRODUCED), (2.0, NOT), (6.0, NOT), (0.5, NOT)]
    )
    def test_the_drafter_is_taken_off(self, per_pass, outcome):
        verdict = audit.pass_cost(priced(per_pass=per_pass, per_token=7.0), "b")
        assert verdict.outcome is outcome
        assert verdict.effect == pytest.approx(per_pass / 4 - 1)

    def test_no_pass_has_no_price(self):
        with pytest.raises(MissingCapabilityError, match="runs no refinement pass"):
            audit.pass_cost(priced(passes=[0] * 40), "b")


class TestModel:
    def test_a_cost_of_the_two_parts_is_told(self):
        verdict = audit.cost_model(priced(), "b")
        assert verdict.outcome is REPRODUCED
        assert verdict.effect == pytest.approx(0, abs=1e-6)
        on_executed, on_nominal = audit.fits(priced(), "b")
        assert on_executed.per_first[0] == pytest.approx(1)
        assert on_executed.per_second[0] == pytest.approx(4)
        assert np.abs(on_nominal.errors).mean() > 0.05  # nominal steps are not the passes that were run

    def test_a_cost_of_neither_part_is_not(self):
        system = priced(fixed=4000.0, per_token=0.0, per_pass=9.0, tokens=[3, 90] * 20)
        assert audit.cost_model(system, "b").outcome is NOT

    def test_queries_that_cost_nothing_are_left_out(self):
        system = priced()
        for steps in (8, 64):
            system.costs["pipeline", "b", steps][0] = Cost(steps, 0, 0, 0, 0.0, 0.0)
        assert audit.cost_model(system, "b").n == 39

    def test_rows_name_their_n(self):
        system = priced()
        rows = dict(audit.fit_rows(system, "b"))
        assert rows["operations on executed passes"]["n"] == "80 queries"
        assert audit.speed_up_row(system, "b")["S=64"].endswith("(paper 2.43)")
        assert audit.seconds_row(system, "b")["n"] == "8 timings"
        assert audit.figures(system.measure("pipeline", "b", 8))["n"] == "40"

    def test_a_single_timing_fits_nothing(self):
        system = priced()
        for steps in (8, 64):
            system.costs["pipeline", "b", steps] = [
                Cost(*(getattr(c, f) for f in FIGURES), 0.5, c.flops) for c in system.costs["pipeline", "b", steps]
            ]
        assert audit.seconds_row(system, "b") is None


class TestMissing:
    def test_completions_without_cost(self):
        system = priced()
        system.costs["pipeline", "b", 64] = [None] * 40
        for judge in (audit.fewer_passes, audit.pass_cost, audit.cost_model):
            with pytest.raises(MissingCapabilityError, match=r"return Completion\.cost to enable this"):
                judge(system, "b")

    @pytest.mark.parametrize("flops", [0.0, float("nan"), float("inf")])
    def test_operations_that_nobody_counted(self, flops):
        system = priced()
        system.costs["refiner", "b", 64] = [Cost(64, 64, 64, 0, 0.1, flops)] * 40
        with pytest.raises(MissingCapabilityError, match=r"set Cost\.flops"):
            audit.speed_up(system, "b", 64)

    def test_one_problem(self):
        with pytest.raises(MissingCapabilityError, match="--limit 2"):
            audit.fewer_passes(priced(passes=[3], tokens=[5]), "b")

    def test_nothing_drafted(self):
        with pytest.raises(MissingCapabilityError, match="drafts nothing"):
            audit.cost_model(priced(tokens=[0] * 40, fixed=1.0), "b")

    def test_a_generator_without_parts(self):
        with pytest.raises(MissingCapabilityError):
            audit.fewer_passes(ToldSystem({("pipeline", "b", 64): shares(3)}), "b")

    def test_a_refiner_that_counts_no_pass(self):
        with pytest.raises(MissingCapabilityError, match=r"set Cost\.forward_passes"):
            audit.fewer_passes(_uncounted(), "b")


def _uncounted():
    system = priced()
    system.costs["refiner", "b", 64] = [Cost(64, 0, 0, 0, 0.1, 1e9)] * 40
    return system
