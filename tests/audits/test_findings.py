"""What the audits of the findings conclude from cells that are written down."""

from __future__ import annotations

import pytest

from audits import rankings, refinement_tension, scaffold_lift, step_sensitivity, termination
from audits.live_systems import MissingCapabilityError
from audits.verdicts import Outcome
from protocols.score import Failure
from specref_core.generator import Draft, Trace
from tests.audits.measured_cells import WrittenSystem, shares

REPRODUCED, NOT, OPEN = Outcome.REPRODUCED, Outcome.NOT_REPRODUCED, Outcome.INCONCLUSIVE


def draft_trace(entropy=0.1, pieces=("a",), masked=(False,)):
    draft = Draft("".join(pieces), (0,), ((0, 1),), (entropy,), 600)
    zeros = (0.0,) * len(pieces)
    return Trace(draft, tuple(pieces), zeros, tuple(masked), tuple(pieces), (0,) * len(pieces))


class TestScaffoldLift:
    @pytest.mark.parametrize(
        ("pipeline", "refiner", "outcome"),
        [(40, 0, REPRODUCED), (0, 40, NOT), (40, 40, NOT), (4, 0, OPEN), (80, 80, NOT)],
    )
    def test_lift_of_one_benchmark(self, pipeline, refiner, outcome):
        system = WrittenSystem({("pipeline", "b", 8): shares(pipeline), ("refiner", "b", 8): shares(refiner)})
        (verdict,) = scaffold_lift.lift(system, ["b"])
        assert verdict.outcome is outcome
        assert verdict.reason.startswith(f"{pipeline} of 80 against {refiner}")

    def test_holm_over_the_benchmarks_and_the_drafter_beside_it(self):
        cells = {(role, b, 8): shares(n) for b in "abcd" for role, n in (("pipeline", 6), ("refiner", 0))}
        one = WrittenSystem({key: cell for key, cell in cells.items() if key[1] == "a"})
        assert scaffold_lift.lift(one, ["a"])[0].outcome is REPRODUCED
        drafter = {("drafter", b, None): shares(70) for b in "abcd"}
        four = scaffold_lift.lift(WrittenSystem(cells | drafter), list("abcd"))
        assert {verdict.outcome for verdict in four} == {OPEN}
        assert "the drafter alone solves 70" in four[0].reason

    def test_a_generator_without_parts_is_told_which_method_is_missing(self):
        with pytest.raises(MissingCapabilityError):
            scaffold_lift.lift(WrittenSystem({("pipeline", "b", 8): shares(4)}), ["b"])

    def test_controls_compare_equal_counts(self):
        system = WrittenSystem({("structure", "b", 8): shares(50), ("random", "b", 8): shares(10)})
        verdict = scaffold_lift.control(system, "b", "structure-lifts", "structure", "random")
        assert verdict.outcome is REPRODUCED
        assert verdict.reason == "50 of 80 with structure kept, 10 with as many random tokens"

    @pytest.mark.parametrize(
        ("failures", "outcome"),
        [
            ([Failure.SYNTAX] * 40 + [Failure.NAME_ERROR] * 20 + [Failure.WRONG_ANSWER] * 10, REPRODUCED),
            ([Failure.WRONG_ANSWER] * 60 + [Failure.INDENTATION] * 5, NOT),
            ([Failure.WRONG_ANSWER, Failure.SYNTAX], OPEN),
            ([Failure.TIMEOUT, Failure.EXCEPTION] * 20, NOT),
        ],
    )
    def test_failures_are_told_by_kind(self, failures, outcome):
        system = WrittenSystem({("refiner", "b", 8): [True, *failures]})
        verdict = scaffold_lift.structural_failures(system, "b")
        assert verdict.outcome is outcome
        assert verdict.n == len(failures)

    def test_no_failure_no_verdict(self):
        assert scaffold_lift.structural_failures(WrittenSystem({("refiner", "b", 8): [True] * 9}), "b") is None

    def test_the_decomposition_is_of_all_samples(self):
        kinds = [True, Failure.SYNTAX, Failure.INDENTATION, Failure.NAME_ERROR, Failure.WRONG_ANSWER]
        cell = WrittenSystem({("refiner", "b", 8): kinds}).measure("refiner", "b", 8)
        assert scaffold_lift.decomposition(cell, code=True) == {
            "parses": "60",
            "runs": "40",
            "right": "20",
            "structural": "60",
            "wrong answer": "20",
        }
        assert scaffold_lift.decomposition(cell, code=False) == {"answers": "100", "right": "20", "wrong answer": "20"}

    @pytest.mark.parametrize(("hidden", "outcome"), [(False, REPRODUCED), (True, NOT)])
    def test_answers_that_survive_the_mask_are_copied(self, hidden, outcome):
        trace = draft_trace(pieces=("so \\boxed{", "12", "}"), masked=(True, hidden, False))
        key = ("pipeline", "nano-arithmetic", 8)
        system = WrittenSystem({key: shares(30, 40)}, {key: [trace] * 40})
        verdict = scaffold_lift.copied_answers(system, "nano-arithmetic")
        assert verdict.outcome is outcome
        assert verdict.n == 30

    def test_without_traces_nothing_is_called_copied(self):
        system = WrittenSystem({("pipeline", "gsm8k", 8): shares(30)})
        assert scaffold_lift.copied_answers(system, "gsm8k") is None


class TestRefinementTension:
    def system(self, pipeline, drafter, refiner):
        cells = {
            ("pipeline", "b", 64): pipeline,
            ("drafter", "b", None): drafter,
            ("refiner", "b", 64): refiner,
        }
        return WrittenSystem({key: cell for key, cell in cells.items() if cell is not None})

    @pytest.mark.parametrize(
        ("pipeline", "drafter", "refiner", "outcome"),
        [
            (shares(0), shares(80), shares(0), REPRODUCED),  # overwrites a perfect draft
            (shares(40), shares(20), shares(60), REPRODUCED),
            (shares(80), shares(80), shares(80), NOT),
            (shares(80), shares(40), shares(40), NOT),
            (shares(40), shares(43), shares(10), OPEN),
            (shares(0), shares(80), None, REPRODUCED),
        ],
    )
    def test_against_the_better_component(self, pipeline, drafter, refiner, outcome):
        (verdict,) = refinement_tension.tension(self.system(pipeline, drafter, refiner), ["b"])
        assert verdict.outcome is outcome

    def test_choosing_the_better_component_is_paid_for(self):
        one = refinement_tension.tension(self.system(shares(40), shares(46), None), ["b"])[0]
        two = refinement_tension.tension(self.system(shares(40), shares(46), shares(40)), ["b"])[0]
        assert (one.outcome, two.outcome) == (REPRODUCED, OPEN)

    def test_flows_add_up(self):
        pipeline, drafter = [True, True, False, False], [True, False, True, False]
        cells = refinement_tension.flow(self.system(pipeline, drafter, [False, False, False, True]), "b")
        assert cells == {
            "n": "4",
            "drafter": "2",
            "refiner": "1",
            "pipeline": "2",
            "oracle of parts": "3",
            "right to wrong": "1",
            "wrong to right": "1",
            "stays right": "1",
            "stays wrong": "1",
        }

    def test_hidden_tokens_of_right_drafts(self):
        key = ("pipeline", "b", 64)
        traces = [draft_trace(pieces="abcd", masked=(True, True, True, False)), draft_trace(masked=(True,))]
        system = WrittenSystem({key: [True, True], ("drafter", "b", None): [True, False]}, {key: traces})
        measured = [system.measure("drafter", "b", None), system.measure(*key)]
        assert refinement_tension.masked_share_in_right_drafts(*measured) == (3, 4)
        assert refinement_tension.masked_share_in_right_drafts(measured[0], measured[0]) is None

    @pytest.mark.parametrize(("wrong", "outcome"), [(0.9, REPRODUCED), (0.1, OPEN), (0.01, NOT)])
    def test_entropy_against_error(self, wrong, outcome):
        key = ("drafter", "b", None)
        traces = [draft_trace(0.1)] * 40 + [draft_trace(wrong)] * 40
        verdict = refinement_tension.entropy_predicts_error(WrittenSystem({key: shares(40)}, {key: traces}), "b")
        assert verdict.outcome is outcome

    @pytest.mark.parametrize("right", [0, 80])
    def test_one_kind_of_draft_predicts_nothing(self, right):
        key = ("drafter", "b", None)
        system = WrittenSystem({key: shares(right)}, {key: [draft_trace()] * 80})
        assert refinement_tension.entropy_predicts_error(system, "b") is None


class TestSteps:
    @pytest.mark.parametrize(
        ("few", "many", "outcome"), [(0, 70, REPRODUCED), (70, 0, REPRODUCED), (40, 40, NOT), (40, 64, OPEN)]
    )
    def test_swing(self, few, many, outcome):
        system = WrittenSystem({("pipeline", "b", 8): shares(few), ("pipeline", "b", 64): shares(many)})
        assert step_sensitivity.swing(system, "b", "pipeline").outcome is outcome

    @pytest.mark.parametrize(
        ("early", "late", "outcome"),
        [
            ((40, 0), (40, 70), REPRODUCED),
            ((0, 40), (70, 40), REPRODUCED),  # either way round
            ((40, 0), (40, 30), NOT),
            ((40, 39), (40, 70), OPEN),  # the early lead is noise
            ((40, 0), (40, 43), OPEN),
        ],
    )
    def test_reversal(self, early, late, outcome):
        cells = {}
        for steps, (pipeline, refiner) in ((8, early), (64, late)):
            cells |= {("pipeline", "b", steps): shares(pipeline), ("refiner", "b", steps): shares(refiner)}
        assert step_sensitivity.reversal(WrittenSystem(cells), "b").outcome is outcome

    def test_figures_show_nominal_and_executed(self):
        cell = WrittenSystem({("pipeline", "b", 8): shares(40)}).measure("pipeline", "b", 8)
        assert step_sensitivity.figures(cell) == {"right %": "50", "95 %": "39-61", "passes": "8.0", "GFLOP": "1"}


class TestRankings:
    @pytest.mark.parametrize(
        ("likelihood", "generation", "outcome"),
        [
            ((70, 30), (20, 60), REPRODUCED),
            ((30, 70), (60, 20), REPRODUCED),
            ((70, 30), (60, 20), NOT),
            ((41, 40), (20, 60), OPEN),  # the lead by likelihood is noise
            ((70, 30), (40, 42), OPEN),
        ],
    )
    def test_orders_by_likelihood_and_generation(self, likelihood, generation, outcome):
        cells = {("drafter", "g", None): shares(generation[0]), ("refiner", "g", 64): shares(generation[1])}
        cells |= {(role, "c", None): shares(n) for role, n in zip(("drafter", "refiner"), likelihood, strict=True)}
        system = WrittenSystem(cells | {("pipeline", "g", 64): shares(79)})
        assert rankings.rankings(system, "c", "g").outcome is outcome
        cells = rankings.agreement(system, "c", "g")
        assert cells["pipeline"] == f"{100 * likelihood[1] / 80:.0f} / 99"
        assert -1 <= float(cells["tau"]) <= 1


class TestTermination:
    @pytest.mark.parametrize(("endless", "outcome"), [(0, NOT), (2, OPEN), (20, REPRODUCED)])
    def test_programs_that_never_end(self, endless, outcome):
        cell = [Failure.TIMEOUT] * endless + shares(80 - endless, 80 - endless)
        system = WrittenSystem({("pipeline", "b", 8): cell})
        assert termination.never_ending(system, "b", "pipeline", 8).outcome is outcome
        assert termination.stopped(system.measure("pipeline", "b", 8))["never end"] == str(endless)


class TestAdaptiveTension:
    def system(self, lowered, own, drafter, refiner=None):
        cells = {
            (refinement_tension.ADAPTIVE.describe(), "b", 8): lowered,
            ("pipeline", "b", 8): own,
            ("drafter", "b", None): drafter,
            ("refiner", "b", 8): refiner,
        }
        return WrittenSystem({key: cell for key, cell in cells.items() if cell is not None})

    @pytest.mark.parametrize(
        ("lowered", "drafter", "refiner", "outcome"),
        [
            (shares(40), shares(70), shares(10), REPRODUCED),
            (shares(40), shares(10), shares(70), REPRODUCED),  # whichever component is the better one
            (shares(70), shares(70), shares(10), NOT),
            (shares(80), shares(40), None, NOT),
            (shares(40), shares(44), shares(10), OPEN),
        ],
    )
    def test_adaptive_k_against_the_better_component(self, lowered, drafter, refiner, outcome):
        verdict = refinement_tension.adaptive_tension(self.system(lowered, shares(33), drafter, refiner), "b")
        assert verdict.outcome is outcome
        assert "with its own mask the pipeline solves 33" in verdict.reason

    def test_without_components_the_method_is_named(self):
        key = (refinement_tension.ADAPTIVE.describe(), "b", 8)
        with pytest.raises(MissingCapabilityError):
            refinement_tension.adaptive_tension(WrittenSystem({key: shares(4)}), "b")
