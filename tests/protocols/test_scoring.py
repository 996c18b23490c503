"""The seam between measuring and the protocols: what starts when, and under which isolation verdicts stand."""

from __future__ import annotations

import pytest

from protocols import scoring
from protocols.execution.judge import Judge
from protocols.problems import CodeProblem
from protocols.score import Score
from protocols.scoring import ScoringSettings, open_scorer
from specref_core.errors import InputError, SpecRefError

PROBLEM = CodeProblem(
    "humaneval",
    "t/0",
    prompt="def one():\n",
    entry_point="one",
    tests="def check(candidate):\n    assert candidate() == 1\n",
    test_style="check",
    setup="",
    reference="    return 1\n",
    prompt_is_code=True,
)
ONE = ScoringSettings(pipeline="raw", workers=1)


@pytest.fixture
def started(monkeypatch):
    """Count judges that start, each of which reaches the next level told (the last one again and again)."""
    count, levels = [], ["limits"]

    def start(self):
        if not self._level:
            count.append(self)
            if isinstance(level := levels[min(len(count), len(levels)) - 1], Exception):
                raise level
            self._refuse_below(level)
            self._level = self._reached = level

    monkeypatch.setattr(Judge, "_start", start)
    monkeypatch.setattr(Judge, "score_many", lambda _, items: (Score(correct=True) for _ in items))
    monkeypatch.setattr(scoring, "_LEVELS", {})
    return count, levels


def parts(settings, texts=()):
    with open_scorer([PROBLEM], settings) as scorer:
        return scorer.scoring_parts(), list(scorer.score_many((PROBLEM, text) for text in texts))


def test_a_level_is_learned_once_a_process_and_a_judge_starts_where_it_judges(started):
    count, _ = started
    assert parts(ONE)[0]["isolation"] == "limits"
    assert len(count) == 1
    assert parts(ONE)[0]["isolation"] == "limits"
    assert len(count) == 1, "a second judge started, and judged nothing"
    assert parts(ONE, ["    return 1\n"])[1] == [Score(correct=True)]
    assert len(count) == 2


def test_a_judge_that_reaches_another_level_than_the_signature_says_scores_nothing(started):
    _, levels = started
    levels[:] = ["full", "limits"]
    parts(ONE)
    with pytest.raises(SpecRefError, match="reaches isolation level 'limits' after 'full'"):
        parts(ONE, ["    return 1\n"])


@pytest.mark.parametrize("other", [{"timeout": 3.0}, {"workers": 2}, {"require_isolation": "process"}])
def test_other_settings_are_learned_by_themselves(started, other):
    count, _ = started
    parts(ONE)
    parts(ScoringSettings(**{"pipeline": "raw", "workers": 1, **other}))
    assert len(count) == 2


def test_a_level_too_weak_is_refused_every_time(started):
    started[1][:] = ["namespaces"]
    for _ in range(2):
        with pytest.raises(InputError, match="'full' is required"):
            parts(ScoringSettings(pipeline="raw", workers=1, require_isolation="full"))


@pytest.mark.parametrize(("failures", "held"), [(0, True), (3, True), (4, False)])
def test_a_judge_whose_processes_are_killed_while_they_start_is_started_again(started, failures, held):
    _, levels = started
    levels[:] = [*[SpecRefError("could not be started")] * failures, "limits"]
    if held:
        assert parts(ONE)[0]["isolation"] == "limits"
    else:
        with pytest.raises(SpecRefError, match="could not be started"):
            parts(ONE)
