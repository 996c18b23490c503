"""Where text and right answers come from, on cells that are written down."""

from __future__ import annotations

import pytest

from audits import copied_credit as audit
from audits.live_systems import MissingCapabilityError
from audits.verdicts import Outcome
from specref_core.generator import Draft, Trace
from tests.audits.measured_cells import shares
from tests.audits.told_cells import ToldSystem

REPRODUCED, NOT, OPEN = Outcome.REPRODUCED, Outcome.NOT_REPRODUCED, Outcome.INCONCLUSIVE
KEY = ("pipeline", "nano-arithmetic", 8)


def trace(before, masked, after, draft=None):
    n = len(before)
    drafted = Draft(draft, (0,), ((0, 1),), (0.1,), 600) if draft is not None else None
    return Trace(drafted, tuple(before), (0.0,) * n, tuple(masked), tuple(after), (0,) * n)


class TestText:
    @pytest.mark.parametrize(
        ("before", "masked", "after", "origin"),
        [
            (["ab", "c"], [False, True], ["ab", "c"], (2, 1, 0)),
            (["ab", "c"], [True, True], ["xyz", "c"], (0, 1, 3)),
            (["ab", "c", ""], [False, False, True], ["ab", "", ""], (2, 0, 0)),  # an early end cut the rest
            (["ab", ""], [False, True], ["ab", "new"], (2, 0, 3)),  # slack behind the draft
            ([], [], [], (0, 0, 0)),
        ],
    )
    def test_every_final_character_has_one_origin(self, before, masked, after, origin):
        one = trace(before, masked, after)
        assert audit.origin_of_text(one) == origin
        assert sum(origin) == len("".join(after))

    @pytest.mark.parametrize(
        ("masked", "outcome"), [([False, True], REPRODUCED), ([True, True], NOT), ([True, False], NOT)]
    )
    def test_most_of_it_was_kept_or_not(self, masked, outcome):
        told = trace(["ten letter", "s"], masked, ["ten letter", "s"])
        system = ToldSystem({KEY: shares(20, 40)}, traces={KEY: [told] * 40})
        verdict = audit.text_kept(system, "nano-arithmetic")
        assert verdict.outcome is outcome
        assert verdict.n == 40

    def test_generators_that_start_from_nothing_copy_nothing(self):
        blank = trace(["", ""], [True, True], ["a", "b"])
        assert audit.text_kept(ToldSystem({KEY: shares(2, 4)}, traces={KEY: [blank] * 4}), KEY[1]) is None
        assert audit.text_kept(ToldSystem({KEY: shares(2, 4)}), KEY[1]) is None


def parts(pipeline, drafter, refiner=None, **more):
    cells = {KEY: pipeline, ("drafter", KEY[1], None): drafter}
    if refiner is not None:
        cells["refiner", KEY[1], 8] = refiner
    return ToldSystem(cells, **more)


class TestCredit:
    @pytest.mark.parametrize(
        ("pipeline", "drafter", "outcome"),
        [
            (shares(40), shares(60), REPRODUCED),
            (shares(40), shares(10), NOT),
            (shares(40), shares(22), OPEN),
            (shares(40), shares(0), NOT),
        ],
    )
    def test_right_answers_that_were_right_before(self, pipeline, drafter, outcome):
        verdict = audit.credit(parts(pipeline, drafter), KEY[1])
        assert verdict.outcome is outcome
        assert verdict.n == 40

    def test_lost_drafts_are_told(self):
        told = audit.credit(parts([True, False, True], [True, True, False]), KEY[1]).reason
        assert told == "of 2 right answers 1 were right in the draft, 1 were not; 1 right drafts were lost"

    def test_nothing_right_no_credit(self):
        assert audit.credit(parts(shares(0), shares(9)), KEY[1]) is None

    def test_a_generator_without_a_drafter(self):
        with pytest.raises(MissingCapabilityError):
            audit.credit(ToldSystem({KEY: shares(4)}), KEY[1])


class TestLift:
    def test_a_lift_of_copies_only_is_gone(self):
        system = parts(shares(60), shares(60), shares(0))
        verdict = audit.lift_without_copies(system, KEY[1])
        assert (verdict.effect, verdict.n) == (0, 20)
        assert verdict.outcome is not REPRODUCED
        assert "of all 80 they solve 60 and 0" in verdict.reason

    @pytest.mark.parametrize(
        ("pipeline", "refiner", "outcome"),
        [(shares(80), shares(0), REPRODUCED), (shares(0), shares(80), NOT), (shares(2), shares(0), OPEN)],
    )
    def test_what_the_drafter_cannot_solve_counts(self, pipeline, refiner, outcome):
        assert audit.lift_without_copies(parts(pipeline, shares(0), refiner), KEY[1]).outcome is outcome

    def test_a_drafter_that_solves_everything_leaves_nothing_to_see(self):
        assert audit.lift_without_copies(parts(shares(3), shares(80), shares(0)), KEY[1]) is None


def test_figures_split_the_right_answers():
    boxed = ["\\boxed{", "7", "}"]
    kept = trace(boxed, [True, False, True], boxed, draft="\\boxed{7}")
    rewritten = trace(boxed, [False, True, False], boxed, draft="\\boxed{7}")
    system = parts([True, True, True, False], [True, True, False, True], [False, False, True, False])
    system.traces = {KEY: [kept, rewritten, rewritten, None]}
    system.texts = {KEY: ["\\boxed{7}", "\\boxed{7} ", "x", ""]}
    assert audit.figures(system, KEY[1]) == {
        "right": "3",
        "the draft, byte for byte": "1",
        "draft right too": "2",
        "answer never hidden": "1",
        "fixed by refinement": "1",
        "lift, points": "+50",
        "lift where the draft is wrong": "+0 (n=1)",
    }
