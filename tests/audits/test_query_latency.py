"""Seconds a query: one query at a time, in a ledger of its own, found again by the next run."""

from __future__ import annotations

import pytest

from audits.live_systems import LiveBenchmark, LiveSystem
from audits.query_latency import measure_latency
from protocols.problems import AnswerProblem
from specref_core.errors import InputError
from specref_core.generator import Completion, Cost


class Part:
    def __init__(self, name, seconds):
        self.name, self.seconds, self.asked = name, seconds, []

    def generate(self, prompts, *, budget, seed):
        del seed
        self.asked.append((len(prompts), budget.steps))
        cost = None if self.seconds is None else Cost(1, 1, 1, 0, self.seconds, 1.0)
        return [Completion("4", cost) for _ in prompts]

    def fingerprint(self):
        return self.name


class Pipeline(Part):
    def __init__(self, seconds, refiner):
        super().__init__("pipeline", seconds)
        self.parts = {"refiner": refiner}

    def components(self):
        return self.parts


def system(tmp_path, refiner_seconds=2.0):
    refiner = Part("refiner", refiner_seconds)
    live = LiveSystem("full", Pipeline(0.5, refiner), ("gsm8k",), ledger=tmp_path / "run.ledger")
    problems = tuple(AnswerProblem("gsm8k", f"t/{i}", f"q{i}", "4") for i in range(5))
    live.add_benchmark(LiveBenchmark("gsm8k", problems, 8))
    return live, refiner


def test_queries_go_one_at_a_time_and_are_found_again(tmp_path):
    live, refiner = system(tmp_path)
    found = measure_latency(live, "gsm8k", 16, queries=3)
    assert (found.n, found.refiner, found.pipeline, found.speedup) == (3, 2.0, 0.5, 4.0)
    assert refiner.asked == [(1, 16)] * 4  # one before the clock counts
    assert (tmp_path / "run.ledger-latency").exists()
    assert not (tmp_path / "run.ledger").exists()
    again, idle = system(tmp_path, refiner_seconds=99.0)
    assert measure_latency(again, "gsm8k", 16, queries=3).refiner == 2.0
    assert len(idle.asked) == 1


def test_a_part_that_does_not_say_what_it_costs_is_named(tmp_path):
    live, _ = system(tmp_path, refiner_seconds=None)
    with pytest.raises(InputError, match="'refiner' does not say"):
        measure_latency(live, "gsm8k", 16, queries=2)
