"""Does a generator keep its contract? What breaks it is no finding about a model: it fails in both modes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from audits import generator_contract as contract
from audits.live_systems import PIPELINE
from protocols.problems import CodeProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from audits.kept_results import KeptResults
    from audits.live_systems import LiveSystem

    Check = Callable[[LiveSystem], str | None]

PROBED = 12
"""Prompts a probe: enough for whatever happens only now and then, few enough for slow generators."""


def test_generator_answers_every_prompt(live_system: LiveSystem, kept: KeptResults) -> None:
    """One completion of text a prompt, in time, without raising; a continuation of it, within the budget."""
    _hold(live_system, "answers", _is_answered, kept)


def test_equal_seeds_give_equal_results(
    live_system: LiveSystem, kept: KeptResults, record_row: Callable[[str, str, Mapping[str, str]], None]
) -> None:
    """A generator that ignores its seed for some other source of randomness cannot be measured twice."""
    _hold(live_system, "repeats", lambda system: contract.repeats(system.part(PIPELINE), _probe(system)), kept)
    if _check(live_system, "another seed", _responds, kept):
        told = "changes completions"
    else:
        told = "changes nothing (greedy, or ignored): more seeds are no new evidence"
    record_row("generators", live_system.name, {"another seed": told})


def test_results_do_not_depend_on_the_batch(live_system: LiveSystem, kept: KeptResults) -> None:
    """A score must not move with the batch size or the order of the problems."""
    _hold(live_system, "batches", lambda system: contract.batch_invariant(system.part(PIPELINE), _probe(system)), kept)


@pytest.mark.benchmarks("code")
def test_completions_are_raw(live_system: LiveSystem, kept: KeptResults) -> None:
    """Pitfall 1 inside the generator: a completion that was stripped has lost its indentation for good."""
    names = [name for name in live_system.of_kind("code") if name != "mbpp"]  # whose prompts are no program text
    if not names:
        pytest.skip("no benchmark whose prompts are program text; name one with --benchmark humaneval")

    def stripped(system: LiveSystem) -> str | None:
        problems = [p for p in system.benchmark(names[0]).problems if isinstance(p, CodeProblem)][:PROBED]
        probe = contract.probe_of(problems, system.benchmark(names[0]).max_new_tokens)
        texts = [completion.text for completion in contract.answers(system.part(PIPELINE), probe)]
        return contract.strips(system.name, problems, texts)

    _hold(live_system, "raw", stripped, kept)


def _is_answered(system: LiveSystem) -> str | None:
    probe = _probe(system)
    texts = [completion.text for completion in contract.answers(system.part(PIPELINE), probe)]
    return contract.no_continuations(system.name, probe, texts)


def _responds(system: LiveSystem) -> str | None:
    return "it does" if contract.responds_to_seed(system.part(PIPELINE), _probe(system)) else None


def _hold(system: LiveSystem, name: str, check: Check, kept: KeptResults) -> None:
    """Fail where a check finds the contract broken."""
    broken = _check(system, name, check, kept)
    if broken is not None:
        pytest.fail(broken, pytrace=False)


def _check(system: LiveSystem, name: str, check: Check, kept: KeptResults) -> str | None:
    """Check, or recall what an earlier run found; of anybody else's generator nobody can tell whether it changed."""
    if system.source != "nano":
        return check(system)
    return kept.recall(f"contract|{name}|{PROBED}|{system.limit}|{system.seed}", lambda: check(system))


def _probe(system: LiveSystem) -> contract.Probe:
    """Ask from every generative benchmark in turn."""
    names = system.of_kind("code", "answers")
    if not names:
        pytest.skip("no benchmark with prompts to continue; name one with --benchmark humaneval")
    chosen = [system.benchmark(name) for name in names]
    share = -(-PROBED // len(chosen))
    problems = [problem for benchmark in chosen for problem in benchmark.problems[:share]]
    return contract.probe_of(problems, max(benchmark.max_new_tokens for benchmark in chosen))
