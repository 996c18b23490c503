from __future__ import annotations

import math
from dataclasses import replace

import pytest

from audits.live_systems import DRAFTER, PIPELINE, REFINER
from audits.report.collecting import KINDS, examples, flow, harvest, latest, measurement
from audits.report.model import DraftToken, Example, Flow, Measurement, Position
from protocols.problems import AnswerProblem
from specref_core.generator import Draft, Trace
from tests.audits.measured_cells import WrittenSystem, shares

DRAFT = Draft("ab\n", (1, 2, 3), ((0, 2), (1, 3), (3, 3)), (0.5, math.nan, 0.0), 600)
TRACE = Trace(DRAFT, ("ab", "\n", ""), (0.1, 0.0, 0.0), (True, False, True), ("xy", "\n", ""), (2, 0, 1))
BENCHMARK = "nano-code"


class System(WrittenSystem):
    """Written cells that tell which of them were measured, as a live system does."""

    source = "nano"

    def __init__(self, cells, traces=None):
        super().__init__(cells, traces)
        self.cells_measured = {}

    def measure(self, role, benchmark, steps):
        found = super().measure(role, benchmark, steps)
        self.cells_measured[role, benchmark, steps] = found
        return found

    def benchmark(self, name):
        problems = tuple(AnswerProblem(name, f"t/{i}", f"prompt {i}", "7") for i in range(4))
        return type("B", (), {"problems": problems})


class Harvested:
    """The side of a system that the report reads."""

    source = "nano"
    name = "written"

    def __init__(self, written):
        self.written = written
        self.benchmark = written.benchmark

    @property
    def cells(self):
        return self.written.cells_measured


@pytest.fixture
def system():
    before, after = [True, True, False, False], [True, False, True, False]
    return System(
        {
            (PIPELINE, BENCHMARK, 8): after,
            (DRAFTER, BENCHMARK, None): before,
            (REFINER, BENCHMARK, 8): [False, True, True, False],
        },
        {(PIPELINE, BENCHMARK, 8): [TRACE] * 4},
    )


def test_a_measurement_sums_up_its_cell(system):
    told = measurement(system.measure(PIPELINE, BENCHMARK, 8), source="nano", system="nano", part="pipeline")
    assert (told.n, told.correct, told.score, told.steps) == (4, 2, 0.5, 8)
    assert told.low < 0.5 < told.high
    assert told.cost.forward_passes == 8.0  # a mean, not a sum
    assert told.cost.gflop == 1.0
    assert told.failures == {"wrong-answer": 2}


def test_costs_that_are_not_finite_are_not_told(system):
    scores = system.measure(PIPELINE, BENCHMARK, 8)
    samples = [replace(s, cost=replace(s.cost, flops=math.inf)) for s in scores.samples]
    told = measurement(replace(scores, samples=tuple(samples)), source="nano", system="nano", part="pipeline")
    assert told.cost.gflop is None
    assert told.cost.forward_passes == 8.0
    without = [replace(s, cost=None) for s in scores.samples]
    assert measurement(replace(scores, samples=tuple(without)), source="", system="", part="").cost is None


def test_nothing_scored_is_no_share(system):
    scores = replace(system.measure(PIPELINE, BENCHMARK, 8), samples=())
    told = measurement(scores, source="nano", system="nano", part="pipeline")
    assert (told.n, told.score, told.low, told.cost) == (0, None, None, None)


def test_flow_counts_every_problem_once(system):
    found = flow(
        system.measure(PIPELINE, BENCHMARK, 8),
        system.measure(DRAFTER, BENCHMARK, None),
        system.measure(REFINER, BENCHMARK, 8),
        source="nano",
        system="nano",
    )
    assert (found.kept_right, found.broken, found.fixed, found.kept_wrong, found.n) == (1, 1, 1, 1, 4)
    assert (found.refiner_right, found.oracle_right) == (2, 3)


def test_flow_of_other_problems_is_none(system):
    pipeline, drafter = system.measure(PIPELINE, BENCHMARK, 8), system.measure(DRAFTER, BENCHMARK, None)
    fewer = replace(drafter, samples=drafter.samples[:3])
    assert flow(pipeline, fewer, None, source="", system="") is None
    assert flow(replace(pipeline, samples=()), replace(drafter, samples=()), None, source="", system="") is None


def test_an_example_of_every_kind(system):
    found = examples(
        system.measure(PIPELINE, BENCHMARK, 8),
        system.measure(DRAFTER, BENCHMARK, None),
        source="nano",
        system="nano",
        problems=system.benchmark(BENCHMARK).problems,
    )
    assert [e.kind for e in found] == list(KINDS[:4])
    broken = found[0]
    assert (broken.task_id, broken.prompt, broken.expected, broken.failure) == ("t/1", "prompt 1", "7", "wrong-answer")
    assert [e.right for e in found] == [False, True, True, False]
    assert broken.draft == (DraftToken("ab", 0.5), DraftToken("\n", None), DraftToken("", 0.0))
    assert broken.positions[0] == Position("ab", "xy", 0.1, masked=True, committed_at=2)
    assert broken.last_step == 2


def test_without_a_judged_draft_examples_are_right_or_wrong(system):
    found = examples(system.measure(PIPELINE, BENCHMARK, 8), None, source="nano", system="nano")
    assert [e.kind for e in found] == ["right", "wrong"]
    assert found[0].prompt == ""


@pytest.mark.parametrize(
    "trace",
    [
        None,
        "a trace",
        replace(TRACE, masked=(True,)),
        replace(TRACE, masked=(), initial_tokens=(), scores=(), final_tokens=(), committed_at=()),
        replace(TRACE, committed_at=("first", None, 2)),
        replace(TRACE, masked=None),
    ],
)
def test_a_trace_that_does_not_hang_together_gives_no_example(system, trace):
    system.traces[PIPELINE, BENCHMARK, 8] = [trace] * 4
    assert examples(system.measure(PIPELINE, BENCHMARK, 8), None, source="", system="") == []


def test_harvest_tells_everything_once_and_adds_what_becomes_known(system):
    done = set()
    seen = Harvested(system)
    assert list(harvest(seen, done)) == []
    system.measure(PIPELINE, BENCHMARK, 8)
    first = list(harvest(seen, done))
    assert [type(e) for e in first] == [Measurement, Example, Example]
    assert list(harvest(seen, done)) == []
    system.measure(DRAFTER, BENCHMARK, None)
    second = list(harvest(seen, done))
    assert [type(e) for e in second] == [Flow, *[Example] * 4, Measurement]
    system.measure(REFINER, BENCHMARK, 8)
    third = list(harvest(seen, done))
    assert third[0].refiner_right == 2
    measured, flows, shown = latest([*second, *third, *first])
    assert [m.part for m in measured] == ["drafter", "pipeline", "refiner"]
    assert [f.oracle_right for f in flows] == [3]
    assert [e.kind for e in shown] == list(KINDS[:4])  # "right" and "wrong" say less


def test_latest_orders_steps_by_number():
    system = System({(PIPELINE, BENCHMARK, s): shares(4, 8) for s in (64, 8, 16)})
    told = [
        measurement(system.measure(PIPELINE, BENCHMARK, s), source="nano", system="nano", part="pipeline")
        for s in (64, 8, 16)
    ]
    assert [m.steps for m in latest(told)[0]] == [8, 16, 64]
    assert latest(reversed(told))[0] == latest(told)[0]
