"""The proxy metric against the true one, on outputs that are planted."""

from __future__ import annotations

import pytest

from audits import proxy_agreement
from audits.live_systems import LiveBenchmark, LiveSystem
from audits.verdicts import Outcome
from protocols.problems import AnswerProblem, ChoiceProblem
from specref_core.generator import Completion
from tests.audits import generators

REPRODUCED, NOT, OPEN = Outcome.REPRODUCED, Outcome.NOT_REPRODUCED, Outcome.INCONCLUSIVE
NAME = "nano-arithmetic"


class Preamble(generators.Lookup):
    """Right, but every answer opens with words of its own."""

    name = "preamble"

    def write(self, prompt):
        return f"Let me see. {self.known[prompt]}"


class Beginner(generators.Lookup):
    """Begins as the reference does and ends wrong."""

    name = "beginner"

    def write(self, prompt):
        return self.known[prompt] + " No: \\boxed{-1}"


class Rivals(generators.Lookup):
    """A pipeline whose parts each please one metric only."""

    name = "rivals"

    def components(self):
        return {"drafter": Preamble(), "refiner": Beginner()}


def system(pipeline, limit=40):
    return LiveSystem("custom", pipeline, (NAME,), limit=limit, call_limit=60.0)


@pytest.mark.parametrize(
    ("kind", "limit", "outcome", "told"),
    [
        (generators.Lookup, 80, NOT, "passes 0 wrong ones and fails 0 right ones"),
        (Preamble, 20, REPRODUCED, "passes 0 wrong ones and fails 40 right ones"),
        (Beginner, 20, REPRODUCED, "passes 40 wrong ones and fails 0 right ones"),
    ],
)
def test_misjudged_outputs(kind, limit, outcome, told):
    verdict = proxy_agreement.misjudged(system(kind(), limit), NAME)
    assert verdict.outcome is outcome
    assert verdict.n == limit  # two budgets of one problem count once
    assert told in verdict.reason


def test_a_reversal_is_found_and_named():
    verdict = proxy_agreement.reversal(system(Rivals()), NAME)
    assert verdict.outcome is REPRODUCED
    assert "by the true metric; the effect is the lead of refiner" in verdict.reason
    assert "10 pairs reversed" in verdict.reason


def test_a_metric_that_agrees_reverses_nothing():
    assert proxy_agreement.reversal(system(generators.Lookup(), 80), NAME).outcome is NOT


def test_every_part_and_budget_is_a_system():
    measured = proxy_agreement.cells(system(Rivals(), 4), NAME)
    assert list(measured) == ["drafter", "refiner S=8", "refiner S=64", "pipeline S=8", "pipeline S=64"]
    one = system(generators.Lookup(), 4)
    one.steps = (8,)
    assert list(proxy_agreement.cells(one, NAME)) == ["pipeline S=8"]
    assert proxy_agreement.reversal(one, NAME) is None


def test_without_reference_texts_there_is_no_proxy():
    class Bare(LiveSystem):
        def benchmark(self, name):
            found = super().benchmark(name)
            problems = tuple(AnswerProblem(p.benchmark, p.task_id, p.prompt, p.gold) for p in found.problems)
            return LiveBenchmark(name, problems, found.max_new_tokens)

    bare = Bare("custom", generators.Lookup(), (NAME,), limit=4)
    assert proxy_agreement.misjudged(bare, NAME) is None
    assert proxy_agreement.reversal(bare, NAME) is None


def test_the_target_of_a_choice_is_its_right_text():
    choices = ChoiceProblem("arc", "t", "Q", ("one", " two "), 1)
    assert proxy_agreement._target(choices) == "two"


def test_figures_give_both_metrics_and_their_agreement():
    cells = proxy_agreement.figures([True, True, False, False], [True, False, False, False])
    assert cells == {"n": "4", "right %": "50", "first 40 %": "25", "agree %": "75", "95 %": "19-99"}


def test_blank_outputs_are_no_match():
    class Silent(generators.Lookup):
        name = "silent"

        def generate(self, prompts, *, budget, seed):  # noqa: ARG002 - silence depends on nothing
            return [Completion("") for _ in prompts]

    verdict = proxy_agreement.misjudged(system(Silent(), 80), NAME)
    assert verdict.outcome is NOT
