"""Audit of the SpecRef paper's Tables 1 to 3, by arithmetic and exact tests alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from audits import published_tables as tables
from fixtures.published import PublishedFigure, llada_scores, specref_figures, specref_scores

if TYPE_CHECKING:
    from collections.abc import Callable

    from audits.verdicts import Verdict

    Record = Callable[[Verdict], None]

pytestmark = pytest.mark.source("published")

ALL = tuple(dict.fromkeys(cell.benchmark for cell in specref_scores()))
WITH_AUTHORS_SCORE = [name for name in ALL if any(row.benchmark == name for row in llada_scores())]


@pytest.mark.parametrize("benchmark", ALL)
def test_every_score_is_possible(benchmark: str, record_verdict: Record) -> None:
    """A percentage of n problems is one of n + 1 numbers."""
    record_verdict(tables.possible_scores(benchmark))


@pytest.mark.parametrize("figure", specref_figures(), ids=lambda figure: figure.id)
def test_derived_figures_follow(figure: PublishedFigure, record_verdict: Record) -> None:
    """Differences and speed-ups in the text are those of the tables."""
    record_verdict(tables.derived_figure(figure))


@pytest.mark.parametrize("benchmark", tables.GENERATIVE)
def test_pipeline_is_above_at_every_step(benchmark: str, record_verdict: Record) -> None:
    """The smallest printed difference over the step counts is positive."""
    record_verdict(tables.above_at_every_step(benchmark))


@pytest.mark.parametrize("benchmark", tables.GENERATIVE)
def test_scaffold_lifts_at_few_steps(benchmark: str, record_verdict: Record) -> None:
    """Finding 1, as far as a table can show it."""
    record_verdict(_on(benchmark, tables.scaffold_lift()))


@pytest.mark.parametrize("benchmark", tables.GENERATIVE)
def test_pipeline_is_below_its_better_component(benchmark: str, record_verdict: Record) -> None:
    """Finding 2: refinement tension, with the component-level reading that the paper asks for."""
    record_verdict(_on(benchmark, tables.refinement_tension()))


@pytest.mark.parametrize("role", ["refiner", "pipeline"])
@pytest.mark.parametrize("benchmark", tables.GENERATIVE)
def test_accuracy_swings_with_steps(benchmark: str, role: str, record_verdict: Record) -> None:
    """Lesson 5: more than 30 points between step counts."""
    record_verdict(tables.step_swing(benchmark, role))


@pytest.mark.parametrize("benchmark", tables.GENERATIVE)
def test_step_count_reverses_the_comparison(benchmark: str, record_verdict: Record) -> None:
    """Lesson 5: who is better depends on the budget chosen."""
    record_verdict(tables.step_reversal(benchmark))


@pytest.mark.parametrize("benchmark", tables.GENERATIVE)
def test_likelihood_and_generation_rank_differently(benchmark: str, record_verdict: Record) -> None:
    """Finding 3, per pair of systems and benchmark."""
    record_verdict(_on(benchmark, tables.rankings_differ()))


def test_refinement_step_costs_a_standalone_step(record_verdict: Record) -> None:
    """The cost model of section 2.4."""
    record_verdict(tables.step_cost())


def test_drafter_takes_under_one_percent(record_verdict: Record) -> None:
    """The drafter's share of section 3.1."""
    record_verdict(tables.drafter_share())


def test_standalone_latency_is_linear(record_verdict: Record) -> None:
    """Seconds are proportional to steps where every step is one pass."""
    record_verdict(tables.latency_is_linear())


@pytest.mark.parametrize("benchmark", WITH_AUTHORS_SCORE)
def test_baseline_agrees_with_its_authors(benchmark: str, record_verdict: Record) -> None:
    """The same model, scored by its own authors."""
    record_verdict(tables.baseline_as_published(benchmark))


def _on(benchmark: str, verdicts: list[Verdict]) -> Verdict:
    """Return the verdict of one benchmark out of a family that is adjusted together."""
    return next(verdict for verdict in verdicts if verdict.benchmark == benchmark)
