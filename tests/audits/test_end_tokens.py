"""The rules for the end token on generators that are written down."""

from __future__ import annotations

import pytest

from audits import end_tokens as audit
from audits.live_systems import LiveSystem, MissingCapabilityError
from audits.verdicts import Outcome
from protocols.score import Score
from protocols.scores import SampleScore
from specref_core.errors import GeneratorError, InputError
from specref_core.generator import Budget, Completion, Trace
from tests.audits import generators


class Ending(generators.Lookup):
    """Right as long as it may end."""

    name = "ending"
    tail = " \\boxed{-1}"
    rule = "free"
    calls = 0

    def with_end_rule(self, rule):
        twin = type(self)()
        twin.rule = rule
        return twin

    def fingerprint(self):
        return f"ending {self.rule}"

    def generate(self, prompts, *, budget, seed):
        type(self).calls += len(prompts)
        return super().generate(prompts, budget=budget, seed=seed)

    def write(self, prompt):
        return super().write(prompt) + (self.tail if self.rule == "banned" else "")


class Careless(Ending):
    """The same; its fingerprint tells no rule."""

    name = "careless"

    def fingerprint(self):
        return "careless"


class Indifferent(Ending):
    name = "indifferent"
    tail = ""


def system(generator, **more):
    return LiveSystem("custom", generator, ("nano-arithmetic",), call_limit=60.0, limit=more.pop("limit", None), **more)


@pytest.mark.parametrize(
    ("generator", "outcome", "correct"),
    [
        (Ending, Outcome.REPRODUCED, [80, 80, 0]),
        (Careless, Outcome.REPRODUCED, [80, 80, 0]),
        (Indifferent, Outcome.NOT_REPRODUCED, [80, 80, 80]),
    ],
)
def test_a_rule_that_matters_is_found(generator, outcome, correct):
    told = system(generator())
    verdict = audit.swing(told, "nano-arithmetic")
    assert verdict.outcome is outcome
    cells = audit.measured(told, "nano-arithmetic")
    assert [scores.correct for scores in cells.values()] == correct
    assert list(cells) == ["free", "deferred", "banned"]
    assert verdict.reason.startswith(f"of 80 problems: {correct[0]} free, {correct[1]} deferred, {correct[2]} banned")


def test_its_own_rule_is_not_measured_twice(tmp_path):
    Ending.calls = 0
    told = system(Ending(), limit=6, ledger=tmp_path / "run.ledger")
    told.measure("pipeline", "nano-arithmetic", 64)
    audit.swing(told, "nano-arithmetic")
    assert Ending.calls == 3 * 6


def test_the_embedded_pair_is_asked_few_problems():
    told = system(Ending())
    told.source = "nano"
    assert audit.swing(told, "nano-arithmetic").n == audit.NANO_PROBLEMS


def test_the_refiner_is_asked_where_there_is_one():
    class Pipeline(generators.Wrong):
        name = "pipe"

        def components(self):
            return {"refiner": Ending(), "drafter": generators.Lookup()}

    verdict = audit.swing(system(Pipeline(), limit=20), "nano-arithmetic")
    assert verdict.outcome is Outcome.REPRODUCED
    assert verdict.system == "pipe's refiner, S=64"


def test_a_generator_without_the_method_is_told_its_name():
    with pytest.raises(MissingCapabilityError, match=r"'perfect' has no with_end_rule\(\); add"):
        audit.swing(system(generators.Lookup()), "nano-arithmetic")


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        (InputError("no end token"), MissingCapabilityError, "refuses the end rule 'free': no end token"),
        (ValueError("odd"), GeneratorError, "raised ValueError: odd"),
        (7, GeneratorError, r"with_end_rule\('free'\)"),
    ],
)
def test_what_goes_wrong_is_the_generator_s(answer, error, told):
    class Odd(generators.Lookup):
        name = "odd"

        def with_end_rule(self, rule):  # noqa: ARG002 - whatever the rule
            if isinstance(answer, Exception):
                raise answer
            return answer

    with pytest.raises(error, match=told):
        audit.swing(system(Odd(), limit=3), "nano-arithmetic")


def sample(pieces, committed):
    n = len(pieces)
    trace = Trace(None, ("",) * n, (0.0,) * n, (True,) * n, tuple(pieces), tuple(committed))
    return SampleScore("t", 0, "".join(pieces), Score(correct=True), None, trace)


@pytest.mark.parametrize(
    ("pieces", "committed", "behind", "early"),
    [
        (["a", "b", "", ""], [1, 2, 3, 1], 2, False),  # what stands behind the end does not matter
        (["a", "b", "", ""], [1, 3, 2, 4], 2, True),
        (["a", "b"], [1, 2], 0, False),
        (["", ""], [1, 2], 2, False),
        (["a", ""], [2, 0], 1, False),  # an end that a warm start kept
        (["", "a", ""], [3, 1, 2], 1, True),
    ],
)
def test_ends_read_from_traces(pieces, committed, behind, early):
    one = sample(pieces, committed)
    assert (audit.behind_the_end(one), audit.ended_early(one)) == (behind, early)


def test_figures_with_and_without_traces():
    scores = system(Ending(), limit=4).measure("pipeline", "nano-arithmetic", 8)
    assert set(audit.figures(scores)) == {"right %", "95 %", "n", "characters"}
    from dataclasses import replace

    told = replace(scores, samples=(sample(["a", ""], [2, 1]), sample(["a", "b"], [1, 2])))
    cells = audit.figures(told)
    assert cells["canvas behind the end"] == "25 %"
    assert cells["end before the answer"] == "1 of 2"


def test_the_twin_is_what_generates():
    ruled = audit._Ruled(Ending().with_end_rule("banned"), "banned", "x")
    prompt = next(iter(ruled.inner.known))
    assert ruled.generate([prompt], budget=Budget(steps=2), seed=0) == [
        Completion(ruled.inner.known[prompt] + " \\boxed{-1}")
    ]
    assert "banned" in ruled.fingerprint()
    assert ruled.name == "x, end token banned"
