"""Measuring and judging post-processing, with real runs on the shipped records."""

from __future__ import annotations

import pytest

from audits import post_processing as audit
from audits.verdicts import Outcome
from protocols.loaders import shipped_problems
from specref_core.errors import InputError

PROBLEMS = shipped_problems("humaneval")


@pytest.fixture(scope="module")
def judge():
    with audit.new_judge() as judge:
        yield judge


def made_up(**passed):
    return audit.Passed("humaneval", {k.replace("_", "-"): tuple(v) for k, v in passed.items()}, "0" * 12, "full", 10.0)


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        ("body", {"raw": 1, "stop-sequences": 1, "strip": 0, "dedent": 0, "strip+dedent": 0, "extract": 1}),
        (
            "restated function",
            {"raw": 1, "stop-sequences": 0, "strip": 1, "dedent": 1, "strip+dedent": 1, "extract": 1},
        ),
        ("fenced function + prose", {"raw": 0, "stop-sequences": 0, "strip": 0, "dedent": 0, "extract": 1}),
    ],
)
def test_shares_on_the_shipped_records(judge, form, wanted):
    found = audit.measure_form(PROBLEMS, form, judge)
    assert found.n == len(PROBLEMS)
    assert {name: found.share(name) for name in wanted} == wanted


def test_wrong_completions_pass_nowhere_and_nothing_is_destroyed(judge):
    found = audit.measure([(problem, "    return object()\n") for problem in PROBLEMS], judge)
    assert not any(audit.correct_somehow(found))
    assert audit.judge_pipeline(found, "strip", system="s", correct=audit.correct_as_they_stand(found)) is None


class CountingJudge:
    """Passes everything and counts what it was asked."""

    isolation = "none"

    def __init__(self):
        self.asked = []

    @property
    def limits(self):
        return type("Limits", (), {"timeout": 1.0})

    def score_many(self, items):
        for item in items:
            self.asked.append(item)
            yield type("Score", (), {"correct": True})


def test_equal_programs_run_once():
    judge, known = CountingJudge(), {}
    for _ in range(2):
        audit.measure([(problem, problem.reference) for problem in PROBLEMS] * 2, judge, known=known)
    asked = [(problem.task_id, program) for problem, program in judge.asked]
    assert len(asked) == len(set(asked)) == len(known)
    assert len(asked) <= 4 * len(PROBLEMS)


def test_only_correct_completions_count():
    found = made_up(raw=[True] * 80 + [False] * 20, strip=[False] * 100)
    verdict = audit.judge_pipeline(found, "strip", system="s", correct=audit.correct_as_they_stand(found))
    assert (verdict.claim, verdict.outcome, verdict.effect, verdict.n) == (
        "strip-destroys",
        Outcome.REPRODUCED,
        100,
        80,
    )
    assert "pipeline:strip" in verdict.signature


@pytest.mark.parametrize(
    ("n", "outcome", "needed"), [(71, Outcome.INCONCLUSIVE, 72), (72, Outcome.NOT_REPRODUCED, None)]
)
def test_72_unharmed_completions_exclude_a_loss_of_five_points(n, outcome, needed):
    found = made_up(raw=[True] * n, dedent=[True] * n)
    verdict = audit.judge_pipeline(found, "dedent", system="s", correct=[True] * n)
    assert (verdict.outcome, verdict.n_needed) == (outcome, needed)


def test_extraction_is_a_claim_of_keeping():
    kept = audit.judge_pipeline(made_up(extract=[True] * 90), "extract", system="s", correct=[True] * 90)
    lost = audit.judge_pipeline(made_up(extract=[False] * 90), "extract", system="s", correct=[True] * 90)
    assert (kept.claim, kept.outcome, lost.outcome) == ("extract-keeps", Outcome.REPRODUCED, Outcome.NOT_REPRODUCED)


@pytest.mark.parametrize(("limit", "n"), [(None, audit.USUAL_PROBLEMS), (0, 200), (7, 7), (999, 200)])
def test_subset_is_seeded_and_in_order(limit, n):
    chosen = audit.choose(list(range(200)), limit=limit, seed=3)
    assert len(chosen) == n
    assert chosen == sorted(chosen) == audit.choose(list(range(200)), limit=limit, seed=3)
    if n in (7, audit.USUAL_PROBLEMS):
        assert chosen != audit.choose(list(range(200)), limit=limit, seed=4)


def test_nothing_to_measure_is_refused(judge):
    with pytest.raises(InputError, match="nothing to post-process"):
        audit.measure([], judge)
    with pytest.raises(InputError, match="nothing to write"):
        audit.measure_form([], "body", judge)
    with pytest.raises(InputError, match="known: body"):
        audit.measure_form(PROBLEMS, "poem", judge)


def test_workers_share_the_processors_with_xdist(monkeypatch):
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "10000")
    assert audit.workers() == 1
