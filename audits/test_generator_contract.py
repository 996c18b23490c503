"""Does a generator keep its contract? What breaks it is no finding about a model: it fails in both modes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from audits import generator_contract as contract
from audits.live_systems import PIPELINE
from protocols.problems import CodeProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from audits.live_systems import LiveSystem


def test_generator_answers_every_prompt(live_system: LiveSystem) -> None:
    """One completion of text a prompt, in time, without raising."""
    contract.answers(live_system.part(PIPELINE), _probe(live_system))


def test_equal_seeds_give_equal_results(
    live_system: LiveSystem, record_row: Callable[[str, str, Mapping[str, str]], None]
) -> None:
    """A generator that ignores its seed for some other source of randomness cannot be measured twice."""
    part, probe = live_system.part(PIPELINE), _probe(live_system)
    broken = contract.repeats(part, probe)
    if broken is not None:
        pytest.fail(broken, pytrace=False)
    moved = contract.responds_to_seed(part, probe)
    told = "changes completions" if moved else "changes nothing (greedy, or ignored): more seeds are no new evidence"
    record_row("generators", live_system.name, {"another seed": told})


def test_results_do_not_depend_on_the_batch(live_system: LiveSystem) -> None:
    """A score must not move with the batch size or the order of the problems."""
    broken = contract.batch_invariant(live_system.part(PIPELINE), _probe(live_system))
    if broken is not None:
        pytest.fail(broken, pytrace=False)


@pytest.mark.benchmarks("code")
def test_completions_are_raw(live_system: LiveSystem) -> None:
    """Pitfall 1 inside the generator: a completion that was stripped has lost its indentation for good."""
    names = [name for name in live_system.of_kind("code") if name != "mbpp"]  # whose prompts are no program text
    if not names:
        pytest.skip("no benchmark whose prompts are program text; name one with --benchmark humaneval")
    problems = [p for p in live_system.benchmark(names[0]).problems if isinstance(p, CodeProblem)][:PROBED]
    probe = contract.probe_of(problems, live_system.benchmark(names[0]).max_new_tokens)
    texts = [completion.text for completion in contract.answers(live_system.part(PIPELINE), probe)]
    broken = contract.strips(live_system.name, problems, texts)
    if broken is not None:
        pytest.fail(broken, pytrace=False)


PROBED = 12
"""Prompts a probe: enough for whatever happens only now and then, few enough for slow generators."""


def _probe(system: LiveSystem) -> contract.Probe:
    """Ask from every generative benchmark in turn."""
    names = system.of_kind("code", "answers")
    if not names:
        pytest.skip("no benchmark with prompts to continue; name one with --benchmark humaneval")
    chosen = [system.benchmark(name) for name in names]
    share = -(-PROBED // len(chosen))
    problems = [problem for benchmark in chosen for problem in benchmark.problems[:share]]
    return contract.probe_of(problems, max(benchmark.max_new_tokens for benchmark in chosen))
