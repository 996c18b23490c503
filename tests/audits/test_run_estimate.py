"""What a run on the full models costs, counted by hand."""

from __future__ import annotations

import pytest

from audits import run_estimate as estimate
from audits.live_systems import ROUNDS, LiveBenchmark
from protocols.problems import AnswerProblem, ChoiceProblem

ANSWERS = LiveBenchmark("gsm8k", tuple(AnswerProblem("gsm8k", f"t/{i}", "q", "1") for i in range(10)), 32)


def choices(n, options):
    problems = tuple(ChoiceProblem("arc_challenge", f"t/{i}", "q", tuple("abcd"[:options]), 0) for i in range(n))
    return LiveBenchmark("arc_challenge", problems, 256)


def test_generated_cells_are_counted():
    cells = estimate.plan({"gsm8k": ANSWERS}, (8, 64), audits=False)
    assert [(c.role, c.steps, c.problems, c.passes, c.drafted) for c in cells] == [
        ("drafter", None, 10, 0, 320),
        ("refiner", 8, 10, 80, 0),
        ("refiner", 64, 10, 320, 0),  # a canvas of 32 has no use for 64 steps
        ("pipeline", 8, 10, 80, 320),
        ("pipeline", 64, 10, 320, 320),
    ]


def test_likelihoods_are_counted_by_choice_and_round():
    cells = estimate.plan({"arc_challenge": choices(5, 4)}, (8, 64))
    assert [(c.role, c.passes, c.drafted) for c in cells] == [("drafter", 0, 20), ("refiner", 20 * ROUNDS, 0)]


def test_the_audits_masks_come_on_top():
    with_masks = estimate.plan({"gsm8k": ANSWERS}, (8, 64))
    assert {c.role for c in with_masks} == {"drafter", "refiner", "pipeline", estimate.MASKED_VARIANT}
    assert all(c.steps == 8 for c in with_masks if c.role == estimate.MASKED_VARIANT)


def test_hours_follow_the_rates():
    rates = estimate.Rates("here", 3600.0, 7200.0, 36.0)
    cells = estimate.plan({"gsm8k": ANSWERS}, (8,), audits=False)
    # ten drafts of 2 h, 80 standalone passes of 1 h, ten warm starts of 2 h and 80 passes of 0.01 h
    assert estimate.hours(cells, rates) == pytest.approx(20 + 80 + 20 + 0.8)
    assert estimate.hours([], rates) == 0


def test_published_rates_are_those_of_table_3():
    rates = estimate.published_rates()
    assert rates.refiner_pass == pytest.approx(0.258, abs=0.001)
    assert rates.pipeline_fixed == pytest.approx(4.76, abs=0.01)
    assert rates.pipeline_pass == pytest.approx(0.0325, abs=0.001)
    assert "Table 3" in rates.source


def test_the_lines_say_total_and_parts():
    told = estimate.lines(estimate.plan({"gsm8k": ANSWERS}, (8,)), estimate.published_rates())
    assert "hours" in told[0]
    assert told[1].startswith("  gsm8k: 10 problems")


class Part:
    """A part that notes how it was asked."""

    def __init__(self, passes, seconds, clock):
        self.passes, self.seconds, self.clock, self.asked = passes, seconds, clock, []

    def generate(self, prompts, *, budget, seed):
        from specref_core.generator import Completion, Cost

        del seed
        self.asked.append((len(prompts), budget.steps))
        self.clock[0] += self.seconds * len(prompts)
        return [Completion("", Cost(8, self.passes, 1, 1, 1.0, 1.0)) for _ in prompts]


class System:
    fewest, batch_size, benchmarks = 8, 4, ("gsm8k",)

    def __init__(self, clock):
        self.parts = {"drafter": Part(5, 1.0, clock), "refiner": Part(8, 2.0, clock), "pipeline": Part(4, 3.0, clock)}

    def of_kind(self, *kinds):
        return ("gsm8k",) if "answers" in kinds else ()

    def has_part(self, role):
        return role in self.parts

    def part(self, role):
        return self.parts[role]

    def benchmark(self, _name):
        return ANSWERS


def test_measured_rates_are_per_query_and_pass(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(estimate, "perf_counter", lambda: clock[0])
    system = System(clock)
    rates = estimate.measured_rates(system)
    assert rates.refiner_pass == pytest.approx(2.0 / 8)
    assert rates.pipeline_fixed == pytest.approx(1.0)
    assert rates.pipeline_pass == pytest.approx((3.0 - 1.0) / 4)
    assert system.parts["refiner"].asked == [(1, 8), (4, 8)]  # one to warm up, then a batch
    del system.parts["drafter"]
    assert estimate.measured_rates(system) is None
