"""How often the verdicts of live audits are wrong: the audits' own rules on made-up measurements.

Run ``python -m benchmarks.verdict_simulation``. For every rule the table gives the share of runs that say *reproduced*
where the claim does not hold, at the edge of its margin too (at most 5 % is asked), how often an effect that is there
is found, and whether the n that an inconclusive verdict names decides four times in five.

Long by its table of situations, one entry for every rule, its nulls and its planted effects.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from audits import live_verdicts, metric_reversals, rankings, refinement_tension, scaffold_lift, step_sensitivity
from audits.claim_families import corrected, evidence
from audits.live_verdicts import conclude, conclude_share
from audits.statistics import (
    auroc,
    compare_paired,
    decide,
    decide_paired,
    decide_share,
)
from audits.statistics.bounded import bounded_mean, mean_difference
from audits.statistics.comparison import Comparison
from audits.statistics.judging import ALPHA
from audits.verdicts import Outcome, Verdict

RUNS = 2000
PROBLEMS = 80
"""As the live audits of the embedded pair have."""
LARGEST_FALSE = 0.05
NULL, PLANTED = "null", "planted"
Draw = Callable[[np.random.Generator], Outcome]


@dataclass(frozen=True, slots=True)
class Situation:
    """One rule on one kind of made-up data.

    Attributes:
        rule: the audit or rule that decides.
        truth: what the data are, in words.
        kind: ``null`` where the claim does not hold, ``planted`` where it does.
        draw: makes one measurement and judges it.
        slow: whether a run takes tens of milliseconds (a bootstrap); left out of quick tables.
    """

    rule: str
    truth: str
    kind: str
    draw: Draw
    slow: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """What the audits read of one measured cell: which of the problems are right."""

    verdicts: tuple[bool, ...]
    benchmark: str = "b"
    system: str = "made up"
    signature: Any = field(default_factory=lambda: SimpleNamespace(require_comparable=lambda *_, **__: None))

    @property
    def n(self) -> int:
        """Problems."""
        return len(self.verdicts)

    @property
    def correct(self) -> int:
        """Right ones."""
        return sum(self.verdicts)

    @property
    def samples(self) -> list[Any]:
        """One sample a problem."""
        return [_SAMPLES[right] for right in self.verdicts]


_SAMPLES = {v: SimpleNamespace(task_id="t", score=SimpleNamespace(correct=v)) for v in (True, False)}


class MadeUp:
    """A system whose cells were drawn; keys are (role, benchmark, steps)."""

    name = "made up"

    def __init__(self, cells: dict[tuple[str, str, int | None], Cell], steps: tuple[int, ...] = (8, 64)) -> None:
        self.cells = cells
        self.steps = steps
        self.fewest, self.most = steps[0], steps[-1]

    def has_part(self, role: str) -> bool:
        """Whether a cell of that role was drawn."""
        return any(key[0] == role for key in self.cells)

    def part(self, role: str) -> str:
        """Return the role itself."""
        return role

    def measure(self, role: str, benchmark: str, steps: int | None) -> Cell:
        """Return the cell."""
        return self.cells[role, benchmark, steps]


def flags(rng: np.random.Generator, *shares: float, shared: float = 0.0, n: int = PROBLEMS) -> list[Cell]:
    """Draw systems with these accuracies; ``shared`` is the chance that two use the same luck on a problem."""
    common = rng.random(n)
    cells = []
    for share in shares:
        luck = np.where(rng.random(n) < shared, common, rng.random(n))
        cells.append(Cell(tuple((luck < share).tolist())))
    return cells


def paired_verdict(rng: np.random.Generator, claim_id: str, only_first: float, only_second: float) -> Verdict:
    """Draw one paired comparison from the shares of its discordant pairs and conclude from it."""
    b, c, _ = rng.multinomial(PROBLEMS, [only_first, only_second, 1 - only_first - only_second])
    return _concluded(claim_id, int(b), int(c))


@cache
def _concluded(claim_id: str, b: int, c: int) -> Verdict:
    """Conclude from counts, inside :func:`without_repetition`; equal counts have equal verdicts."""
    return conclude(_compared(b, c, PROBLEMS), claim_id=claim_id, **ABOUT)


@cache
def _compared(b: int, c: int, n: int, level: float = 0.95) -> Comparison:
    return compare_paired([True] * b + [False] * (n - b), [False] * b + [True] * c + [False] * (n - b - c), level=level)


def _cached_comparison(first: Sequence[bool], second: Sequence[bool], *, level: float = 0.95) -> Comparison:
    one, other = np.asarray(first), np.asarray(second)
    return _compared(int((one & ~other).sum()), int((other & ~one).sum()), len(one), level)


@contextmanager
def without_repetition() -> Iterator[None]:
    """Compare equal counts once, and name no n: it is simulated by itself."""
    with ExitStack() as stack:
        for module in (live_verdicts, metric_reversals):
            stack.enter_context(mock.patch.object(module, "compare_paired", _cached_comparison))
        for name in ("n_to_decide_paired", "n_to_decide_share"):
            stack.enter_context(mock.patch.object(live_verdicts, name, return_value=None))
        cached = cache(live_verdicts.clopper_pearson)
        stack.enter_context(mock.patch.object(live_verdicts, "clopper_pearson", cached))
        yield


ABOUT = {"system": "s", "benchmark": "b", "reason": "", "signature": ""}


def _paired(claim_id: str, only_first: float, only_second: float) -> Draw:
    return lambda rng: paired_verdict(rng, claim_id, only_first, only_second).outcome


def _share(claim_id: str, share: float, n: int = PROBLEMS) -> Draw:
    return lambda rng: conclude_share(int(rng.binomial(n, share)), n, claim_id=claim_id, **ABOUT).outcome


def _lift(*shares: float) -> Draw:
    def draw(rng: np.random.Generator) -> Outcome:
        cells: dict[Any, Cell] = {}
        for benchmark in "xy":
            for role, cell in zip(("pipeline", "refiner"), flags(rng, *shares, shared=0.5), strict=True):
                cells[role, benchmark, 8] = cell
        return _any(scaffold_lift.lift(MadeUp(cells), ["x", "y"]))  # type: ignore[arg-type]  # it has what lift reads

    return draw


def _tension(pipeline: float, drafter: float, refiner: float, shared: float = 0.5) -> Draw:
    def draw(rng: np.random.Generator) -> Outcome:
        drawn = flags(rng, pipeline, drafter, refiner, shared=shared)
        keys = (("pipeline", "x", 64), ("drafter", "x", None), ("refiner", "x", 64))
        return _any(refinement_tension.tension(MadeUp(dict(zip(keys, drawn, strict=True))), ["x"]))  # type: ignore[arg-type]  # as above

    return draw


def _swing(*shares: float) -> Draw:
    def draw(rng: np.random.Generator) -> Outcome:
        steps = tuple(8 * 2**i for i in range(len(shares)))
        cells: dict[Any, Cell] = {
            ("refiner", "x", s): cell for s, cell in zip(steps, flags(rng, *shares, shared=0.7), strict=True)
        }
        return step_sensitivity.swing(MadeUp(cells, steps), "x", "refiner").outcome  # type: ignore[arg-type]  # as above

    return draw


def _reversal(few: tuple[float, float], many: tuple[float, float]) -> Draw:
    def draw(rng: np.random.Generator) -> Outcome:
        cells: dict[Any, Cell] = {}
        for steps, shares in ((8, few), (64, many)):
            for role, cell in zip(("pipeline", "refiner"), flags(rng, *shares, shared=0.5), strict=True):
                cells[role, "x", steps] = cell
        return step_sensitivity.reversal(MadeUp(cells), "x").outcome  # type: ignore[arg-type]  # as above

    return draw


def _rankings(likelihood: tuple[float, float], generation: tuple[float, float]) -> Draw:
    def draw(rng: np.random.Generator) -> Outcome:
        (a, b), (c, d) = flags(rng, *likelihood), flags(rng, *generation)
        cells: dict[Any, Cell] = {
            ("drafter", "x", None): a,
            ("refiner", "x", None): b,
            ("drafter", "y", None): c,
            ("refiner", "y", 64): d,
        }
        return rankings.rankings(MadeUp(cells), "x", "y").outcome  # type: ignore[arg-type]  # as above

    return draw


def _orders(first: Sequence[float], second: Sequence[float]) -> Draw:
    def draw(rng: np.random.Generator) -> Outcome:
        one, two = ([cell.verdicts for cell in flags(rng, *shares, shared=0.5)] for shares in (first, second))
        names = "abcd"[: len(first)]
        return metric_reversals.judge_orders(
            dict(zip(names, one, strict=True)),
            dict(zip(names, two, strict=True)),
            claim_id="proxy-reverses",
            system="s",
            benchmark="b",
            metrics=("one", "two"),
            signature="",
        ).outcome

    return draw


def _mean(mean: float, margin: float, spread: float) -> Draw:
    """Shares that are 0 or 1 for a spread of 1, and nearer their mean for less."""

    def draw(rng: np.random.Generator) -> Outcome:
        if spread == 1:
            values = (rng.random(PROBLEMS) < mean).astype(float)
        else:
            values = rng.beta(mean / spread, (1 - mean) / spread, PROBLEMS)
        return decide(bounded_mean(values.tolist()), claim="c", system="s", benchmark="b", margin=margin).outcome

    return draw


def _agreement(difference: float, tolerance: float) -> Draw:
    def draw(rng: np.random.Generator) -> Outcome:
        values = np.clip(rng.normal(difference, 0.25, PROBLEMS), -1, 1)
        found = mean_difference(values.tolist())
        return decide(found, claim="c", system="s", benchmark="b", margin=tolerance, direction=0).outcome

    return draw


def _entropy(shift: float, wrong: int, *, tokens: int = 0) -> Draw:
    def draw(rng: np.random.Generator) -> Outcome:
        labels = np.arange(PROBLEMS) < wrong
        if tokens:
            luck = rng.normal(0, 1, PROBLEMS)  # tokens of one problem share theirs
            labels = np.repeat(labels, tokens)
            values = np.repeat(luck, tokens) + rng.normal(shift * labels, 1)
            groups = np.repeat(np.arange(PROBLEMS), tokens).tolist()
            found = auroc(values.tolist(), labels.tolist(), groups=groups, resamples=200)
        else:
            found = auroc(rng.normal(shift * labels, 1).tolist(), labels.tolist())
        return decide(found, claim="c", system="s", benchmark="b", margin=0.5, scale=1.0, unit="area").outcome

    return draw


def _family(*only_first: float, only_second: float = 0.1) -> Draw:
    """A family of tests on one system: reproduced where any test without an effect is."""

    def draw(rng: np.random.Generator) -> Outcome:
        found = [paired_verdict(rng, "structure-lifts", b, only_second) for b in only_first]
        values = [p for p in map(evidence, found) if p is not None]
        kept: list[Verdict] = []
        for i, verdict in enumerate(found):
            others = values[:i] + values[i + 1 :]
            if only_first[i] <= only_second:
                kept.append(corrected(verdict, len(found), lambda others=others: others))  # type: ignore[misc]  # bound now
        return _any(kept)

    return draw


def _any(verdicts: Sequence[Verdict]) -> Outcome:
    outcomes = {verdict.outcome for verdict in verdicts}
    return Outcome.REPRODUCED if Outcome.REPRODUCED in outcomes else verdicts[0].outcome


PAIRED = "paired difference: controls, adaptive k, end rules, graders"
SHARES = "share: never ends, structural, copied, batches, flips"

SITUATIONS = (
    Situation("scaffold lift, Holm over 2 benchmarks", "equal systems", NULL, _lift(0.3, 0.3)),
    Situation("scaffold lift, Holm over 2 benchmarks", "both near 0", NULL, _lift(0.03, 0.03)),
    Situation("scaffold lift, Holm over 2 benchmarks", "30 points", PLANTED, _lift(0.5, 0.2)),
    Situation(PAIRED, "equal, 30 % discordant", NULL, _paired("structure-lifts", 0.15, 0.15)),
    Situation(PAIRED, "equal, 6 % discordant", NULL, _paired("adaptive-k-helps", 0.03, 0.03)),
    Situation(PAIRED, "equal, 2 % discordant", NULL, _paired("confident-tokens-lift", 0.01, 0.01)),
    Situation(PAIRED, "25 points", PLANTED, _paired("structure-lifts", 0.30, 0.05)),
    Situation("refinement tension, better of 2 parts", "all three equal", NULL, _tension(0.5, 0.5, 0.5)),
    Situation("refinement tension, better of 2 parts", "equal, independent", NULL, _tension(0.5, 0.5, 0.5, 0.0)),
    Situation("refinement tension, better of 2 parts", "refiner far below", NULL, _tension(0.7, 0.7, 0.1)),
    Situation("refinement tension, better of 2 parts", "25 points below", PLANTED, _tension(0.5, 0.75, 0.5)),
    Situation("step swing, 2 budgets", "30 points, the margin", NULL, _swing(0.3, 0.6)),
    Situation("step swing, 2 budgets", "0 against 30 %", NULL, _swing(0.0, 0.3)),
    Situation("step swing, 2 budgets", "60 points", PLANTED, _swing(0.1, 0.7)),
    Situation("step swing, 4 budgets", "30 points, the margin", NULL, _swing(0.3, 0.6, 0.6, 0.6)),
    Situation("step swing, 4 budgets", "60 points", PLANTED, _swing(0.1, 0.3, 0.5, 0.7)),
    Situation("step reversal", "a lead that vanishes", NULL, _reversal((0.6, 0.2), (0.5, 0.5))),
    Situation("step reversal", "no lead anywhere", NULL, _reversal((0.5, 0.5), (0.5, 0.5))),
    Situation("step reversal", "no lead, then one", NULL, _reversal((0.5, 0.5), (0.8, 0.4))),
    Situation("step reversal", "30 points both ways", PLANTED, _reversal((0.5, 0.2), (0.5, 0.8))),
    Situation("rankings", "a lead that vanishes", NULL, _rankings((0.7, 0.3), (0.5, 0.5))),
    Situation("rankings", "no lead by likelihood", NULL, _rankings((0.5, 0.5), (0.3, 0.7))),
    Situation("rankings", "30 points both ways", PLANTED, _rankings((0.6, 0.3), (0.4, 0.75))),
    Situation("orders under two metrics, 3 pairs", "the second ties all", NULL, _orders((0.7, 0.5, 0.3), (0.5,) * 3)),
    Situation("orders under two metrics, 3 pairs", "both tie all", NULL, _orders((0.5,) * 3, (0.5,) * 3)),
    Situation("orders under two metrics, 3 pairs", "30 points", PLANTED, _orders((0.8, 0.5, 0.6), (0.4, 0.75, 0.6))),
    Situation(SHARES, "5 %, the margin", NULL, _share("programs-never-end", 0.05)),
    Situation(SHARES, "50 %, the margin", NULL, _share("answers-copied", 0.5)),
    Situation(SHARES, "50 % of 12", NULL, _share("structural-failures", 0.5, 12)),
    Situation(SHARES, "20 % against 5 %", PLANTED, _share("programs-never-end", 0.20)),
    Situation(SHARES, "75 % against 50 %", PLANTED, _share("answers-copied", 0.75)),
    Situation("mean share of problems", "5 %, all or nothing", NULL, _mean(0.05, 0.05, 1)),
    Situation("mean share of problems", "5 %, spread", NULL, _mean(0.05, 0.05, 0.3)),
    Situation("mean share of problems", "20 % against 5 %", PLANTED, _mean(0.20, 0.05, 0.3)),
    Situation("agreement within a tolerance", "off by the tolerance", NULL, _agreement(0.10, 0.10)),
    Situation("agreement within a tolerance", "no difference", PLANTED, _agreement(0.0, 0.10)),
    Situation("entropy predicts error", "20 wrong of 80, unrelated", NULL, _entropy(0.0, 20)),
    Situation("entropy predicts error", "5 wrong of 80, unrelated", NULL, _entropy(0.0, 5)),
    Situation("entropy predicts error", "one deviation apart", PLANTED, _entropy(1.0, 20)),
    Situation("entropy by token, by problems", "unrelated", NULL, _entropy(0.0, 20, tokens=8), slow=True),
    Situation("entropy by token, by problems", "a deviation apart", PLANTED, _entropy(1.2, 20, tokens=8), slow=True),
    Situation("Holm in a family of 6", "no effect in any", NULL, _family(*[0.1] * 6)),
    Situation("Holm in a family of 6", "an effect in 5 of 6", NULL, _family(*[0.4] * 5, 0.1)),
)
"""Every rule that live audits use. Audits that are not named apply one of these through ``conclude`` or ``decide``."""


def rate(situation: Situation, *, runs: int = RUNS, seed: int = 0) -> float:
    """Return the share of runs that say *reproduced*."""
    rng = np.random.default_rng([seed, SITUATIONS.index(situation)])
    with without_repetition():
        return sum(situation.draw(rng) is Outcome.REPRODUCED for _ in range(runs)) / runs


@dataclass(frozen=True, slots=True)
class Named:
    """An n that a verdict names, and how often a repeat at that n is decided.

    Attributes:
        seen: the measurement that was inconclusive, in words.
        n: that would decide.
        decided: share of repeats at n that are, in either direction.
    """

    seen: str
    n: int
    decided: float


PAIRED_SEEN = ((20, 4, 2), (80, 6, 2), (80, 0, 0), (40, 0, 0), (40, 3, 3), (80, 2, 6), (12, 4, 1), (80, 12, 8))
SWING_SEEN = ((80, 28, 0), (40, 16, 2), (20, 8, 0), (80, 20, 2), (12, 5, 0))
SHARES_SEEN = ((12, 0), (40, 0), (40, 4), (80, 6), (20, 2))
FAMILY = 4


def named_sizes(*, runs: int = RUNS, seed: int = 0) -> Iterator[Named]:
    """Repeat inconclusive measurements at the n that their verdicts name, what was seen taken for the truth."""
    rng = np.random.default_rng(seed)
    for claim_id, margin, seen in (("adaptive-k-helps", 0.0, PAIRED_SEEN), ("step-swing", 0.3, SWING_SEEN)):
        for n, b, c in seen:
            verdict = conclude(_compared(b, c, n), claim_id=claim_id, **ABOUT)
            if verdict.n_needed is None:
                continue
            for tests in (1, FAMILY):
                size = corrected(verdict, tests, list).n_needed
                assert size is not None
                drawn = rng.multinomial(size, [b / n, c / n, 1 - (b + c) / n], size=runs)
                yes, no = decide_paired(
                    drawn[:, 0],
                    drawn[:, 1],
                    size,
                    margin=margin,
                    worthwhile=live_verdicts.WORTHWHILE,
                    alpha=ALPHA / tests,
                )
                told = f"{claim_id}: {b} and {c} discordant of {n}" + (f", {tests} tests" if tests > 1 else "")
                yield Named(told, size, float((yes | no).mean()))
    for n, count in SHARES_SEEN:
        verdict = conclude_share(count, n, claim_id="programs-never-end", **ABOUT)
        if verdict.n_needed is None:
            continue
        for tests in (1, FAMILY):
            size = corrected(verdict, tests, list).n_needed
            assert size is not None
            yes, no = decide_share(rng.binomial(size, count / n, size=runs), size, margin=0.05, alpha=ALPHA / tests)
            told = f"programs-never-end: {count} of {n}" + (f", {tests} tests" if tests > 1 else "")
            yield Named(told, size, float((yes | no).mean()))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=RUNS, help=f"runs a situation ({RUNS})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="leave out what bootstraps")
    options = parser.parse_args()
    started = time.process_time()
    print(f"{'rule':60} {'truth':28} {'n':>4}  reproduced in {options.runs} runs")
    worst = 0.0
    for situation in SITUATIONS:
        if situation.slow and options.quick:
            continue
        found = rate(situation, runs=options.runs, seed=options.seed)
        said = f"{100 * found:5.1f} % {'false' if situation.kind == NULL else 'found'}"
        worst = max(worst, found) if situation.kind == NULL else worst
        print(f"{situation.rule:60} {situation.truth:28} {PROBLEMS:4}  {said}", flush=True)
    print(f"\nlargest share of false 'reproduced': {100 * worst:.1f} % (at most {100 * LARGEST_FALSE:g} % is asked)\n")
    print(f"{'inconclusive':60} {'n named':>8}  decided at that n (80 % is promised)")
    for size in named_sizes(runs=options.runs, seed=options.seed):
        print(f"{size.seen:60} {size.n:8}  {100 * size.decided:5.1f} %")
    print(f"\n{time.process_time() - started:.0f} CPU seconds")


if __name__ == "__main__":
    main()
