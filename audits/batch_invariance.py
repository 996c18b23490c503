"""Outputs that move with the batch: the same prompts, asked in other company, and what comes back different.

Padding, kernels chosen by shape and randomness drawn by place all make a completion depend on its neighbours. A score
then depends on a setting that nobody reports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from audits.live_systems import PIPELINE
from audits.live_verdicts import conclude_share, paired
from protocols.problems import ChoiceProblem
from specref_core import loading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from audits.live_systems import LiveSystem
    from audits.verdicts import Verdict
    from protocols.scores import Scores
    from specref_core.generator import Budget, Completion, Generator

ALONE = 4
"""Prompts asked one by one, which is slow; the others come backwards in two calls, every second one in each."""


class Regrouped:
    """A generator that is asked the same prompts in other calls.

    Some come alone. The others come in two calls a batch, in reverse order, so that every prompt has other neighbours,
    other padding and another place, in a batch of half the size.

    Args:
        inner: the generator, guarded where it is not trusted.
        alone: prompts to ask one by one.
    """

    def __init__(self, inner: Generator, alone: Sequence[str]) -> None:
        self.inner = inner
        self.alone = frozenset(alone)
        self.name = f"{inner.name}, {len(self.alone)} alone and the others backwards in halves"

    def generate(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Completion]:
        """Ask every prompt, and put the completions back in order.

        Raises:
            GeneratorError: a call broke the generator's contract.
        """
        others = [place for place in reversed(range(len(prompts))) if prompts[place] not in self.alone]
        calls = [[place] for place in range(len(prompts)) if prompts[place] in self.alone]
        calls += [half for half in (others[::2], others[1::2]) if half]
        found: dict[int, Completion] = {}
        for call in calls:
            asked = [prompts[place] for place in call]
            made = loading.generate(self.inner, asked, budget=budget, seed=seed)
            found.update(zip(call, made, strict=True))
        return [found[place] for place in range(len(prompts))]

    def fingerprint(self) -> str:
        """Name the generator and the calls."""
        return f"{loading.fingerprint(self.inner)}+{len(self.alone)} alone, others in halves"


def outputs_move(system: LiveSystem, benchmark: str) -> Verdict:
    """Judge the share of completions that change when they are asked in other company, at the fewest steps."""
    usual, other = _cells(system, benchmark)
    moved = changed(usual, other)
    example = next((sample.task_id for sample, flag in zip(usual.samples, moved, strict=True) if flag), None)
    found = paired(other, usual)
    return conclude_share(
        sum(moved),
        usual.n,
        claim_id="batch-moves-outputs",
        system=f"{system.name}, S={system.fewest}",
        benchmark=benchmark,
        reason=f"{sum(moved)} of {usual.n} completions differ"
        + (f" ({example} first)" if example else "")
        + f"; accuracy moves by {100 * found.effect:+.1f} points, from {usual.correct} right to {other.correct}",
        signature=usual.signature,
    )


def figures(system: LiveSystem, benchmark: str) -> Mapping[str, str]:
    """Return how many completions change alone and how many in other calls, and what the score makes of it."""
    usual, other = _cells(system, benchmark)
    moved = changed(usual, other)
    count = min(ALONE, usual.n)
    found = paired(other, usual)
    return {
        "usual batch": str(system.batch_size),
        "alone": f"{sum(moved[:count])} of {count} differ",
        "backwards in halves": f"{sum(moved[count:])} of {usual.n - count} differ",
        "right": f"{usual.correct} and {other.correct}",
        "points": f"{100 * found.effect:+.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})",
    }


def changed(first: Scores, second: Scores) -> list[bool]:
    """Return (n,) whether each completion differs, byte for byte."""
    return [a.text != b.text for a, b in zip(first.samples, second.samples, strict=True)]


def _cells(system: LiveSystem, benchmark: str) -> tuple[Scores, Scores]:
    problems = system.benchmark(benchmark).problems
    alone = [problem.prompt for problem in problems[:ALONE] if not isinstance(problem, ChoiceProblem)]
    role = system.add_part(Regrouped(system.part(PIPELINE), alone), guarded=True)
    steps = system.fewest
    return system.measure(PIPELINE, benchmark, steps), system.measure(role, benchmark, steps)
