"""What a measurement returns: every sample's verdict, their aggregate with its interval, the cost and the signature."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from statistics import NormalDist
from typing import TYPE_CHECKING

from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from protocols.score import Failure, Score
    from protocols.signature import Signature
    from specref_core.generator import Budget, Cost, Trace

SCHEMA = "specref.scores/1"


@dataclass(frozen=True, slots=True)
class SampleScore:
    """One scored sample.

    Attributes:
        task_id: the problem.
        seed: the generator's seed.
        text: the raw completion; for choices the JSON of their likelihoods.
        score: the verdict.
        cost: what the completion cost, where the generator says.
        trace: how it came to be, where it was asked for.
    """

    task_id: str
    seed: int
    text: str
    score: Score
    cost: Cost | None = None
    trace: Trace | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """One generator on one benchmark at one budget.

    Attributes:
        system: the generator's name.
        benchmark: the benchmark's name.
        budget: what a completion was allowed.
        samples: what was scored, seed by seed, each in the order of the problems.
        planned: samples that a complete measurement has.
        signature: every choice that can move the number.
    """

    system: str
    benchmark: str
    budget: Budget
    samples: tuple[SampleScore, ...]
    planned: int
    signature: Signature

    @property
    def n(self) -> int:
        """Samples scored."""
        return len(self.samples)

    @property
    def complete(self) -> bool:
        """Whether every planned sample was scored."""
        return self.n == self.planned

    @property
    def correct(self) -> int:
        """Samples that are correct."""
        return sum(sample.score.correct for sample in self.samples)

    @property
    def value(self) -> float:
        """Share of the samples that are correct: pass@1, exact match or accuracy; NaN where nothing was scored."""
        return self.correct / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of :attr:`value`, at the effective number of independent samples.

        Samples of one problem under several seeds are not independent: n is divided by the design effect, estimated
        from the spread of the problems' own shares, and never taken below the number of problems.
        """
        return wilson(self.value, _effective_n(self.samples))

    @property
    def failures(self) -> Mapping[Failure, int]:
        """How often each kind of failure occurred, the most frequent first."""
        counted = Counter(sample.score.failure for sample in self.samples if sample.score.failure is not None)
        return dict(counted.most_common())

    @property
    def cost(self) -> Cost | None:
        """The sum over all samples; ``None`` where a sample does not say what it cost."""
        costs = [sample.cost for sample in self.samples if sample.cost is not None]
        return reduce(add, costs) if costs and len(costs) == self.n else None

    def by_task(self) -> dict[str, tuple[bool, ...]]:
        """Return each problem's verdicts, seed by seed: what a paired test needs."""
        verdicts: dict[str, list[bool]] = {}
        for sample in self.samples:
            verdicts.setdefault(sample.task_id, []).append(sample.score.correct)
        return {task: tuple(seen) for task, seen in verdicts.items()}

    def table(self) -> Table:
        """Return the table of this one measurement (:func:`table` for several)."""
        return table([self])

    def as_dict(self, *, texts: bool = False) -> dict[str, object]:
        """Return plain data for JSON; the completions themselves only when asked for."""
        low, high = self.interval
        samples: list[dict[str, object]] = []
        for sample in self.samples:
            score = sample.score
            row: dict[str, object] = {
                "task_id": sample.task_id,
                "seed": sample.seed,
                "correct": score.correct,
                "failure": None if score.failure is None else score.failure.value,
                "detail": score.detail,
                "cost": _plain(sample.cost),
            }
            samples.append({**row, "text": sample.text} if texts else row)
        return {
            "system": self.system,
            "benchmark": self.benchmark,
            "budget": asdict(self.budget),
            "n": self.n,
            "planned": self.planned,
            "correct": self.correct,
            "score": None if not self.n else self.value,
            "low": None if not self.n else low,
            "high": None if not self.n else high,
            "failures": {failure.value: count for failure, count in self.failures.items()},
            "cost": _plain(self.cost),
            "signature": str(self.signature),
            "samples": samples,
        }


def wilson(share: float, n: float) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share seen in ``n`` independent samples (Wilson 1927).

    Args:
        share: in [0, 1].
        n: how many samples, possibly an effective number that is not whole; (0, 1) is returned for none.
    """
    if n <= 0 or math.isnan(share):
        return (0.0, 1.0)
    if not 0 <= share <= 1:
        raise InputError(f"share={share!r}: expected a value in [0, 1]")
    z = NormalDist().inv_cdf(0.975)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def table(measured: Sequence[Scores]) -> Table:
    """Return a table of several measurements, a row each, costs as means a sample; fits 80 columns for one system.

    Signatures are for the caller to print under it: they are longer than any table is wide.
    """
    from rich import box
    from rich.table import Table

    names = [f"{_printable(scores.system)} on {_printable(scores.benchmark)}" for scores in measured]
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    if several := len(set(names)) > 1:
        shown.add_column("system and benchmark", overflow="fold")
    elif names:
        shown.title = names[0]
    for column in ("S", "n", "score %", "95 %", "NFE", "rows", "drafted", "s", "TFLOP"):
        shown.add_column(column, justify="right", no_wrap=True)
    remarks = []
    for name, scores in zip(names, measured, strict=True):
        low, high = scores.interval
        figures = ["–"] * 5
        if (cost := scores.cost) is not None:
            # A sample's mean: totals of runs of different size could not be compared.
            parts = (cost.forward_passes, cost.row_forwards, cost.drafted_tokens, cost.seconds, cost.flops / 1e12)
            figures = [f"{part / scores.n:.4g}" for part in parts]
        steps = "–" if scores.budget.steps is None else str(scores.budget.steps)
        shown.add_row(
            *([name] if several else []),
            steps,
            f"{scores.n}" if scores.complete else f"{scores.n}/{scores.planned}",
            f"{100 * scores.value:.2f}" if scores.n else "–",
            f"{100 * low:.2f}–{100 * high:.2f}" if scores.n else "–",
            *figures,
        )
        if scores.failures:
            told = ", ".join(f"{count} {failure.value}" for failure, count in scores.failures.items())
            remarks.append(f"S={steps}: {told}" if scores.budget.steps else told)
    if not several:
        shown.caption = "\n".join(remarks) or None
        shown.caption_justify = "left"
    return shown


def _plain(cost: Cost | None) -> dict[str, float | None] | None:
    """JSON knows no infinity; a figure that is not finite is left empty."""
    return None if cost is None else {name: v if math.isfinite(v) else None for name, v in asdict(cost).items()}


def _printable(text: str) -> str:
    from rich.markup import escape

    return escape("".join(c if c.isprintable() else "?" for c in text))


def _effective_n(samples: Sequence[SampleScore]) -> float:
    verdicts: dict[str, list[bool]] = {}
    for sample in samples:
        verdicts.setdefault(sample.task_id, []).append(sample.score.correct)
    tasks, n = len(verdicts), len(samples)
    if tasks in {n, 0, 1}:
        return float(tasks)
    shares = [sum(seen) / len(seen) for seen in verdicts.values()]
    mean = sum(shares) / tasks
    variance = sum((share - mean) ** 2 for share in shares) / (tasks * (tasks - 1))
    if variance == 0:
        return float(tasks)
    return min(float(n), max(float(tasks), mean * (1 - mean) / variance))
