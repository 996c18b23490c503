"""Checks of the contract, each against generators that break it and one that does not."""

from __future__ import annotations

import pytest

from audits import generator_contract as contract
from audits.live_systems import load_benchmark
from specref_core.errors import GeneratorError
from specref_core.generator import Budget
from tests.audits import generators


@pytest.fixture(scope="module")
def problems():
    return load_benchmark("nano-code", limit=12, seed=0, data_dir=None).problems


@pytest.fixture(scope="module")
def probe(problems):
    return contract.probe_of(problems, 64)


def test_a_generator_that_keeps_its_contract_passes_every_check(problems, probe):
    perfect = generators.Lookup()
    texts = [completion.text for completion in contract.answers(perfect, probe)]
    assert texts == [problem.reference for problem in problems]
    assert contract.repeats(perfect, probe) is None
    assert contract.batch_invariant(perfect, probe) is None
    assert not contract.responds_to_seed(perfect, probe)
    assert contract.strips("perfect", problems, texts) is None


@pytest.mark.parametrize(
    ("culprit", "told"),
    [
        (generators.Crashing, "'crashing' raised RuntimeError: the seventh prompt .*each prompt alone is answered"),
        (generators.Short, "'short' returned 11 completions for 12 prompts.*alone it fails on nano-code"),
        (generators.Wordless, "'wordless' returned a int for prompt 0"),
    ],
)
def test_answers_name_the_culprit(probe, culprit, told):
    with pytest.raises(GeneratorError, match=told):
        contract.answers(culprit(), probe)


def test_different_results_for_equal_seeds_are_told(probe):
    assert "'unseeded' gives different results for equal seeds: 12 of 12" in contract.repeats(
        generators.Unseeded(), probe
    )


def test_results_that_depend_on_the_batch_are_told(probe):
    assert contract.repeats(generators.Batchy(), probe) is None
    told = contract.batch_invariant(generators.Batchy(), probe)
    assert "3 of 4 change when asked alone, 12 of 12 in another order" in told


@pytest.mark.parametrize("spoil", [str.strip, str.lstrip, lambda text: text.strip("\n").lstrip()])
def test_stripped_completions_are_told(problems, spoil):
    texts = [spoil(problem.reference) for problem in problems]
    assert "'x' strips its own output: 12 of 12" in contract.strips("x", problems, texts)


def test_dedented_completions_are_told(problems):
    texts = ["\n".join(line[4:] for line in problem.reference.split("\n")) for problem in problems]
    assert "strips" in contract.strips("x", problems, texts)


@pytest.mark.parametrize(
    "text",
    ["", "    return 1\n", "```python\ndef f():\n    return 1\n```\n", "no code at all", "return (", "\n    return 1"],
)
def test_other_outputs_are_not_called_stripped(problems, text):
    assert contract.strips("x", problems, [text] * len(problems)) is None


def test_two_bare_completions_could_be_chance(problems):
    texts = [problem.reference for problem in problems[:10]] + [p.reference.strip() for p in problems[10:]]
    assert contract.strips("x", problems, texts) is None


PROBE = contract.Probe(("a", "b", "c"), ("def f():\n", "def g():\n", "def h():\n"), Budget(max_new_tokens=4))


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["    return 1\n", "", " "], None),
        (["", " \n", "\t"], "writes nothing: all 3 completions are empty or blank (a, b, c)"),
        (["def f():\n    return 1", "def g():\n    1", "    2"], "returns the prompt too: 2 of 3 completions"),
        (["\n def f():\n  1", "def f():\n", "    2"], None),  # one, and another prompt's
        (["x" * 512] * 3, None),
        (["x", "y" * 513, "z"], "ignores its budget: 1 of 3 completions are longer than 4 tokens can be, up to 513"),
    ],
)
def test_what_is_no_continuation_is_told(texts, told):
    found = contract.no_continuations("g", PROBE, texts)
    assert found is None if told is None else f"generator 'g' {told}" in found


def test_only_a_few_prompts_are_named():
    found = contract.no_continuations("g", contract.Probe(tuple("abcde"), tuple("vwxyz"), Budget()), [""] * 5)
    assert found.endswith("(a, b, c and 2 more)")
