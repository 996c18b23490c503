"""Aggregates follow from the samples; intervals are Wilson's, at an honest number of independent samples."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy.stats import binomtest

from protocols.score import Failure, Score
from protocols.scores import SampleScore, Scores, table, wilson
from protocols.signature import Signature
from specref_core.errors import InputError
from specref_core.generator import Budget, Cost

RIGHT, WRONG = Score(correct=True), Score(correct=False, failure=Failure.WRONG_ANSWER)
COST = Cost(8, 7, 14, 3, 0.5, 2e12)


def scores(verdicts: dict[str, list[bool]], *, cost: Cost | None = COST, planned: int | None = None) -> Scores:
    samples = [
        SampleScore(task, seed, "text", RIGHT if seen else WRONG, cost)
        for task, row in verdicts.items()
        for seed, seen in enumerate(row)
    ]
    return Scores("toy", "gsm8k", Budget(8), tuple(samples), planned or len(samples), Signature.of(system="toy"))


@given(st.integers(0, 60), st.integers(1, 60))
def test_wilson_is_scipys(correct, n):
    correct = min(correct, n)
    ours = wilson(correct / n, n)
    theirs = binomtest(correct, n).proportion_ci(method="wilson")
    assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@given(st.floats(0, 1), st.floats(0.5, 1e6))
def test_an_interval_lies_in_the_unit_interval_around_its_value(share, n):
    low, high = wilson(share, n)
    assert 0 <= low <= share <= high <= 1


def test_no_samples_say_nothing():
    assert wilson(math.nan, 0) == (0.0, 1.0)
    assert math.isnan(scores({}).value)


def test_a_share_outside_the_unit_interval_is_refused():
    with pytest.raises(InputError, match=r"share=1\.5"):
        wilson(1.5, 10)


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=2, max_size=12))
def test_seeds_of_a_problem_never_count_for_more_than_samples_or_less_than_problems(rows):
    measured = scores({f"t{i}": row for i, row in enumerate(rows)})
    low, high = measured.interval
    widest, narrowest = wilson(measured.value, len(rows)), wilson(measured.value, 3 * len(rows))
    assert high - low <= widest[1] - widest[0] + 1e-12
    assert high - low >= narrowest[1] - narrowest[0] - 1e-12


def test_seeds_that_repeat_one_verdict_add_no_evidence():
    once = scores({f"t{i}": [i % 3 == 0] for i in range(30)})
    thrice = scores({f"t{i}": [i % 3 == 0] * 3 for i in range(30)})
    assert thrice.value == pytest.approx(once.value)
    assert thrice.interval == pytest.approx(once.interval, abs=0.005)


def test_seeds_that_differ_freely_add_evidence():
    free = scores({f"t{i}": [i % 2 == 0, i % 2 == 1] for i in range(10)} | {"x": [True, True], "y": [False, False]})
    assert free.interval == pytest.approx(wilson(free.value, 24))


def test_counts_failures_and_totals():
    measured = scores({"a": [True, False], "b": [False, False]})
    assert (measured.n, measured.correct, measured.value) == (4, 1, 0.25)
    assert measured.failures == {Failure.WRONG_ANSWER: 3}
    assert measured.cost == Cost(32, 28, 56, 12, 2.0, 8e12)
    assert measured.by_task() == {"a": (True, False), "b": (False, False)}
    assert measured.complete
    assert not scores({"a": [True]}, planned=2).complete


def test_a_cost_that_some_samples_lack_has_no_total():
    assert scores({"a": [True]}, cost=None).cost is None


def shown(*measured: Scores, width: int = 80) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115 - a sink
    console.print(table(measured))
    return console.export_text()


def test_the_table_fits_a_terminal_and_shows_every_cost():
    told = shown(scores({"a": [True, False]}))
    assert "…" not in told
    for part in ("toy on gsm8k", "50.00", "NFE", "rows", "drafted", "TFLOP", "1 wrong-answer"):
        assert part in told


def test_the_table_of_an_unfinished_measurement_says_so():
    assert "2/5" in shown(scores({"a": [True, False]}, planned=5))


def test_markup_in_names_is_text():
    odd = Scores("[red]x[/]\x1b[2J", "b", Budget(), (), 1, Signature.of())
    told = shown(odd)
    assert "[red]x[/]" in told
    assert "\x1b" not in told


@pytest.mark.parametrize("flops", [1e12, math.inf, math.nan])
def test_plain_data_is_strict_json(flops):
    measured = scores({"a\udc80": [True]}, cost=Cost(1, 1, 1, 0, 0.1, flops))
    data = measured.as_dict(texts=True)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["score"] == 1.0
    assert "text" not in measured.as_dict()["samples"][0]  # type: ignore[index]


def test_plain_data_of_nothing_is_strict_json():
    data = scores({}, planned=3).as_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["score"] is None
