"""Graders and extraction rules over planted outputs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits import grader_disagreement
from audits.grader_disagreement import LAST_NUMBER, MARKER, by_rule
from audits.live_systems import LiveBenchmark, LiveSystem
from audits.verdicts import Outcome
from protocols.problems import AnswerProblem
from tests.audits import generators

REPRODUCED, NOT = Outcome.REPRODUCED, Outcome.NOT_REPRODUCED
NAME = "nano-arithmetic"


class Spelled(generators.Lookup):
    """Right answers in a spelling that only a lenient grader reads."""

    name = "spelled"

    def write(self, prompt):
        reference = self.known[prompt]
        return reference.replace("\\boxed{", "\\boxed{\\frac{2}{2}\\cdot ")


class Marked(generators.Lookup):
    name = "marked"

    def write(self, prompt):
        return f"#### {self.known[prompt].rpartition('{')[2].partition('}')[0]}\nThat took 3 steps in 99 words."


class Careless(generators.Lookup):
    """About half right, plainly written."""

    name = "careless"

    def write(self, prompt):
        return self.known[prompt] if len(prompt) % 2 else "no idea"


class Rivals(Careless):
    name = "rivals"

    def components(self):
        return {"drafter": Spelled(), "refiner": Careless()}


def system(pipeline, limit=40):
    return LiveSystem("custom", pipeline, (NAME,), limit=limit, call_limit=60.0)


def measured(pipeline, limit=40):
    live = system(pipeline, limit)
    return live, live.measure("pipeline", NAME, 64)


@pytest.mark.parametrize(("kind", "limit", "outcome"), [(generators.Lookup, 80, NOT), (Spelled, 20, REPRODUCED)])
def test_disagreement(kind, limit, outcome):
    verdict = grader_disagreement.disagreement(system(kind(), limit), NAME)
    assert verdict.outcome is outcome
    assert verdict.reason.endswith("0 for the strict one only")
    assert verdict.n == limit


def test_a_reversal_between_graders_is_found():
    verdict = grader_disagreement.reversal(system(Rivals()), NAME)
    assert verdict.outcome is REPRODUCED
    assert verdict.reason.startswith("drafter leads refiner S=")


def test_graders_that_agree_reverse_nothing_however_noisy_the_order():
    verdict = grader_disagreement.reversal(system(Careless(), 80), NAME)
    assert verdict.outcome is NOT
    alone = system(generators.Lookup(), 4)
    alone.steps = (8,)
    assert grader_disagreement.reversal(alone, NAME) is None


@pytest.mark.parametrize(
    ("output", "marker", "last"),
    [
        ("#### 18", "18", "18"),
        ("#### 1,018.", "1018", "1018"),
        ("####18", None, "18"),
        ("#### 3\nno, #### 4", "3", "4"),
        ("#### $18", None, "18"),
        ("#### -5 and then Q: #### 7", "-5", "7"),
        ("it is 1000, i.e. 4*250.", None, "250"),
        ("\\boxed{42}", None, "42"),
        ("none", None, None),
        ("", None, None),
        ("#### .", "", None),
    ],
)
def test_extraction_rules(output, marker, last):
    assert (by_rule(output, MARKER), by_rule(output, LAST_NUMBER)) == (marker, last)


@given(st.text(), st.integers(0, 10**6))
def test_both_rules_take_a_number_that_ends_the_output(text, number):
    output = f"{text.replace('#', '')}\n#### {number}"
    assert by_rule(output, MARKER) == by_rule(output, LAST_NUMBER) == str(number)


@pytest.mark.parametrize(
    ("kind", "outcome", "told"),
    [
        (generators.Lookup, REPRODUCED, "40 of 40 right by the last number, 0 by the #### line"),
        (Marked, NOT, "0 of 40 right by the last number, 40 by the #### line"),
    ],
)
def test_extraction(kind, outcome, told):
    live, scores = measured(kind())
    verdict = grader_disagreement.extraction(live, NAME, "pipeline", scores)
    assert verdict.outcome is outcome
    assert told in verdict.reason
    assert "40 by the protocol's own rule" in verdict.reason


def test_answers_that_are_no_numbers_have_no_last_number():
    class Fractions(LiveSystem):
        def benchmark(self, name):
            found = super().benchmark(name)
            problems = tuple(
                AnswerProblem(p.benchmark, p.task_id, p.prompt, "\\frac{1}{2}", p.reference) for p in found.problems
            )
            return LiveBenchmark(name, problems, found.max_new_tokens)

    live = Fractions("custom", generators.Lookup(), (NAME,), limit=4)
    assert grader_disagreement.extraction(live, NAME, "x", live.measure("pipeline", NAME, 8)) is None


def test_the_published_report_decides():
    verdict = grader_disagreement.published_extraction()
    assert verdict.outcome is REPRODUCED
    assert (round(verdict.effect, 2), verdict.n) == (63.08, 1319)


def test_figures_show_graders_and_rules():
    cells = grader_disagreement.figures([True, True], [True, False], {MARKER: [False, False]})
    assert cells == {"n": "2", "lenient": "100", "strict": "50", MARKER: "0"}
