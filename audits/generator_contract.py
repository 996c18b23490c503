"""Does a generator keep its contract? Each check returns what it broke, in words that name the culprit, or nothing.

What is checked is what every score relies on: one completion a prompt, text that is raw and a continuation, equal
results for equal seeds, and results that do not depend on what shares the batch.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocols.problems import ChoiceProblem
from specref_core.errors import GeneratorError
from specref_core.generator import Budget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protocols.problems import CodeProblem, Problem
    from specref_core.generator import Completion, Generator

STEPS = 8
"""Nominal steps of a probe."""
SINGLES = 4
"""Prompts asked one by one, to be compared with the same prompts in a batch."""
FEWEST_BARE = 3
"""Completions that must have lost their indentation before a generator is said to strip: fewer could be chance."""


LONGEST_TOKEN = 128
"""Characters that no token of the usual vocabularies exceeds, runs of blanks included."""
NAMED = 3
"""Prompts named in a message."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What a generator is asked.

    Attributes:
        names: of the prompts, for messages.
        prompts: all different.
        budget: of every call.
        seed: of every call.
    """

    names: tuple[str, ...]
    prompts: tuple[str, ...]
    budget: Budget
    seed: int = 0


def probe_of(problems: Sequence[Problem], max_new_tokens: int) -> Probe:
    """Ask what problems ask, each prompt once, at few steps."""
    prompts = {p.prompt: p.task_id for p in problems if not isinstance(p, ChoiceProblem)}
    return Probe(tuple(prompts.values()), tuple(prompts), Budget(steps=STEPS, max_new_tokens=max_new_tokens))


def answers(generator: Generator, probe: Probe) -> list[Completion]:
    """Ask all prompts at once.

    Raises:
        GeneratorError: the generator raised, hung, or broke the form of its answer; the message names the prompts on
            which it fails alone too.
    """
    from specref_core.loading import generate

    try:
        return generate(generator, probe.prompts, budget=probe.budget, seed=probe.seed)
    except GeneratorError as error:
        if "hangs" in str(error):
            raise
        if len(probe.prompts) == 1:
            raise
        alone = _failing_alone(generator, probe)
        told = f"alone it fails on {_some(alone)}" if alone else "each prompt alone is answered"
        raise GeneratorError(f"{error} (asked {len(probe.prompts)} prompts at once; {told})") from error


def repeats(generator: Generator, probe: Probe) -> str | None:
    """Ask twice with one seed; return how the answers differ, or ``None``.

    Raises:
        GeneratorError: as :func:`answers`.
    """
    first, second = answers(generator, probe), answers(generator, probe)
    moved = _moved(probe.names, first, second)
    if not moved:
        return None
    return (
        f"generator {generator.name!r} gives different results for equal seeds: {len(moved)} of {len(first)} "
        f"completions changed when asked again with seed {probe.seed} ({_some(moved)}); draw randomness from "
        "the seed and the prompt only"
    )


def batch_invariant(generator: Generator, probe: Probe) -> str | None:
    """Ask the first prompts one by one, and all in another order; return what depends on the batch, or ``None``.

    Raises:
        GeneratorError: as :func:`answers`.
    """
    together = answers(generator, probe)
    count = min(SINGLES, len(probe.prompts))
    singles = [answers(generator, _part(probe, [place]))[0] for place in range(count)]
    backwards = answers(generator, _part(probe, range(len(probe.prompts))[::-1]))[::-1]
    alone = _moved(probe.names[:count], together[:count], singles)
    turned = _moved(probe.names, together, backwards)
    if not alone and not turned:
        return None
    return (
        f"the completions of generator {generator.name!r} depend on what shares their batch: {len(alone)} of {count} "
        f"change when asked alone, {len(turned)} of {len(together)} in another order "
        f"({_some(list(dict.fromkeys([*alone, *turned])))}); its scores would change with the batch size"
    )


def responds_to_seed(generator: Generator, probe: Probe) -> bool:
    """Tell whether another seed gives other completions; a greedy generator does not respond, which is no fault.

    Raises:
        GeneratorError: as :func:`answers`.
    """
    other = Probe(probe.names, probe.prompts, probe.budget, probe.seed + 1)
    return bool(_moved(probe.names, answers(generator, probe), answers(generator, other)))


def strips(name: str, problems: Sequence[CodeProblem], texts: Sequence[str]) -> str | None:
    """Return how completions of open function headers lost their whitespace, or ``None``.

    The evidence is a program that does not parse as it stands and does as soon as the indentation is put back.

    Args:
        name: of the generator.
        problems: whose prompts are code; others are passed over.
        texts: their completions, in the same order.
    """
    pairs = [(p, t) for p, t in zip(problems, texts, strict=True) if p.prompt_is_code and t.strip()]
    repaired = [
        problem.task_id
        for problem, text in pairs
        if not text[0].isspace() and not _parses(problem.prompt + text) and _parses_indented(problem.prompt, text)
    ]
    if len(repaired) < FEWEST_BARE or 2 * len(repaired) < len(pairs):
        return None
    return (
        f"generator {name!r} strips its own output: {len(repaired)} of {len(pairs)} completions do not parse as they "
        f"stand and do once their indentation is put back ({_some(repaired)}); return the raw continuation, "
        "never .strip() or dedent it"
    )


def no_continuations(name: str, probe: Probe, texts: Sequence[str]) -> str | None:
    """Return how completions are something else than continuations that fit the budget, or ``None``.

    Args:
        name: of the generator.
        probe: what was asked.
        texts: the completions, in the order of the prompts.
    """
    nothing = [named for named, text in zip(probe.names, texts, strict=True) if not text.strip()]
    if len(nothing) == len(texts):
        return f"generator {name!r} writes nothing: all {len(texts)} completions are empty or blank ({_some(nothing)})"
    echoed = [
        named
        for named, prompt, text in zip(probe.names, probe.prompts, texts, strict=True)
        if prompt.strip() and text.lstrip().startswith(prompt.strip())
    ]
    if 2 * len(echoed) >= len(texts):
        return (
            f"generator {name!r} returns the prompt too: {len(echoed)} of {len(texts)} completions begin with it "
            f"({_some(echoed)}); return the continuation alone"
        )
    most = probe.budget.max_new_tokens * LONGEST_TOKEN
    long = [named for named, text in zip(probe.names, texts, strict=True) if len(text) > most]
    if long:
        return (
            f"generator {name!r} ignores its budget: {len(long)} of {len(texts)} completions are longer than "
            f"{probe.budget.max_new_tokens} tokens can be, up to {max(map(len, texts)):,} characters ({_some(long)}); "
            "stop at budget.max_new_tokens"
        )
    return None


def _failing_alone(generator: Generator, probe: Probe) -> list[str]:
    from specref_core.loading import generate

    failing = []
    for name, prompt in zip(probe.names, probe.prompts, strict=True):
        try:
            generate(generator, [prompt], budget=probe.budget, seed=probe.seed)
        except GeneratorError as error:  # noqa: PERF203 - one handler a prompt is the point
            failing.append(name)
            if "hangs" in str(error):
                break
    return failing


def _some(names: Sequence[str]) -> str:
    """Name the first few."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _part(probe: Probe, places: Sequence[int]) -> Probe:
    return Probe(
        tuple(probe.names[i] for i in places), tuple(probe.prompts[i] for i in places), probe.budget, probe.seed
    )


def _moved(names: Sequence[str], first: Sequence[Completion], second: Sequence[Completion]) -> list[str]:
    return [name for name, a, b in zip(names, first, second, strict=True) if a.text != b.text]


def _parses_indented(prompt: str, text: str) -> bool:
    # .strip() takes the first line's indentation, a dedent that of every line.
    return _parses(f"{prompt}    {text}") or _parses(prompt + textwrap.indent(text, "    "))


def _parses(program: str) -> bool:
    try:
        compile(program, "<completion>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return False
    return True
