"""What the published tables say when they are recomputed, number by number."""

from __future__ import annotations

import dataclasses

import pytest

from audits import published_tables as tables
from audits.verdicts import Outcome
from fixtures.published import specref_figures

R, N, U = Outcome.REPRODUCED, Outcome.NOT_REPRODUCED, Outcome.INCONCLUSIVE


def on(benchmark, verdicts):
    return next(verdict for verdict in verdicts if verdict.benchmark == benchmark)


@pytest.mark.parametrize(
    ("benchmark", "outcome", "impossible"),
    [("HumanEval", N, 2), ("ARC-Challenge", N, 2), ("GSM8K", R, 0), ("MATH", R, 0), ("HellaSwag", R, 0)],
)
def test_possible_scores(benchmark, outcome, impossible):
    verdict = tables.possible_scores(benchmark)
    assert (verdict.outcome, verdict.effect) == (outcome, impossible)


@pytest.mark.parametrize("figure", specref_figures(), ids=lambda figure: figure.id)
def test_derived_figures_follow_and_a_wrong_one_would_not(figure):
    assert tables.derived_figure(figure).outcome is R
    wrong = dataclasses.replace(figure, printed=f"{float(figure.printed) + 0.05:.2f}")
    assert tables.derived_figure(wrong).outcome is N


def test_above_at_every_step_except_on_math():
    outcomes = {b: tables.above_at_every_step(b).outcome for b in tables.GENERATIVE}
    assert outcomes == {"GSM8K": R, "HumanEval": R, "MBPP": R, "BBH (Bool)": R, "MATH": N}
    math = tables.above_at_every_step("MATH")
    assert math.effect == pytest.approx(-0.94)
    assert "S=64" in math.reason


@pytest.mark.parametrize(
    ("benchmark", "outcome", "p_value"),
    [
        ("BBH (Bool)", U, 0.56),
        ("MATH", U, 0.27),
        ("HumanEval", R, 0.0005),
        ("MBPP", R, 0.0014),
        ("GSM8K", N, 0.00045),
    ],
)
def test_refinement_tension_is_strongest_where_the_paper_reports_a_win(benchmark, outcome, p_value):
    verdict = on(benchmark, tables.refinement_tension())
    assert verdict.outcome is outcome
    assert verdict.p_value == pytest.approx(p_value, rel=0.03)
    assert (verdict.n_needed is not None) == (outcome is U)


def test_scaffold_lifts_on_every_benchmark_at_eight_steps():
    verdicts = tables.scaffold_lift()
    assert {verdict.outcome for verdict in verdicts} == {R}
    assert on("HumanEval", verdicts).effect == pytest.approx(20.12, abs=0.01)


def test_only_one_cell_of_ten_swings_by_thirty_points():
    reproduced = {
        (benchmark, role)
        for benchmark in tables.GENERATIVE
        for role in ("refiner", "pipeline")
        if tables.step_swing(benchmark, role).outcome is R
    }
    assert reproduced == {("GSM8K", "refiner")}


def test_reversal_is_open_on_math_and_excluded_elsewhere():
    outcomes = {b: tables.step_reversal(b).outcome for b in tables.GENERATIVE}
    assert outcomes == {"GSM8K": N, "HumanEval": N, "MBPP": N, "BBH (Bool)": N, "MATH": U}


def test_rankings_differ_on_math_only():
    outcomes = {verdict.benchmark: verdict.outcome for verdict in tables.rankings_differ()}
    assert outcomes == {"GSM8K": U, "HumanEval": N, "MBPP": N, "BBH (Bool)": N, "MATH": R}


def test_cost_model_is_contradicted():
    cost, share, linear = tables.step_cost(), tables.drafter_share(), tables.latency_is_linear()
    assert (cost.outcome, share.outcome, linear.outcome) == (N, N, R)
    assert "0.0325 s a refinement step against 0.258 s" in cost.reason
    assert "7.9 times cheaper" in cost.reason
    assert share.effect == pytest.approx(4.76, abs=0.005)


@pytest.mark.parametrize("benchmark", ["GSM8K", "HumanEval", "MBPP", "MATH", "ARC-Challenge", "HellaSwag"])
def test_baseline_contradicts_the_models_own_authors(benchmark):
    verdict = tables.baseline_as_published(benchmark)
    assert verdict.outcome is N
    assert verdict.high < -2.5
