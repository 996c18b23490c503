"""The wall clock around a user's generator."""

from __future__ import annotations

import threading
import time

import pytest

from audits.guarded_generator import GuardedGenerator, GuardedLikelihoodGenerator, guard, raised_at
from specref_core.errors import GeneratorError
from specref_core.generator import Budget, Completion, HasLogLikelihood


class Doing:
    name = "doing"

    def __init__(self, work):
        self.work = work
        self.calls = 0

    def generate(self, prompts, *, budget, seed):  # noqa: ARG002 - not needed here
        self.calls += 1
        return self.work(prompts)


def ask(guarded, prompts=("a", "b")):
    return guarded.generate(list(prompts), budget=Budget(), seed=0)


def test_answers_come_through():
    made = [Completion("1"), Completion("2")]
    assert ask(guard(Doing(lambda _: made), limit=5)) == made


def test_a_hang_costs_one_limit_and_later_calls_are_refused_at_once():
    release = threading.Event()
    inner = Doing(lambda _: release.wait(100))
    guarded = guard(inner, limit=0.2)
    try:
        with pytest.raises(GeneratorError, match=r"'doing' hangs: generate\(2 prompts\) did not return within 0.2 s"):
            ask(guarded)
        started = time.monotonic()
        with pytest.raises(GeneratorError, match=r"hangs.*not asked again"):
            ask(guarded)
        assert time.monotonic() - started < 5
        assert inner.calls == 1
    finally:
        release.set()


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)])
def test_what_it_raises_is_its_own_fault(error):
    def work(_):
        raise error

    with pytest.raises(GeneratorError, match=f"'doing' raised {type(error).__name__}"):
        ask(guard(Doing(work), limit=5))


def test_a_fingerprint_that_raises_is_named():
    class Bad(Doing):
        def fingerprint(self):
            raise OSError("gone")

    with pytest.raises(GeneratorError, match=r"fingerprint.*'doing' raised OSError: gone"):
        guard(Bad(list), limit=5).fingerprint()


def test_likelihoods_pass_only_where_there_are_any():
    class Scoring(Doing):
        def log_likelihood(self, requests, *, monte_carlo, seed):  # noqa: ARG002 - not needed here
            return ["scored", *requests]

    assert type(guard(Doing(list), limit=1)) is GuardedGenerator
    guarded = guard(Scoring(list), limit=1)
    assert type(guarded) is GuardedLikelihoodGenerator
    assert isinstance(guarded, HasLogLikelihood)
    assert guarded.log_likelihood(["r"], monte_carlo=None, seed=0) == ["scored", "r"]
    assert guard(guarded, limit=9) is guarded


def test_an_error_says_which_line_of_the_generator_raised_it(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("import json\n\ndef work(_):\n    return json.loads('{')\n", encoding="utf-8")
    namespace: dict[str, object] = {}
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), namespace)
    with pytest.raises(GeneratorError) as caught:
        ask(guard(Doing(namespace["work"]), limit=5))
    assert raised_at(caught.value) == " (mine.py, line 4, in work)"  # not json's own line


def test_what_a_generator_returns_wrong_has_no_line():
    with pytest.raises(GeneratorError) as caught:
        ask(guard(Doing(lambda _: []), limit=5))
    assert raised_at(caught.value) == ""
    assert str(caught.value).startswith("generator 'doing' returned 0 completions")
