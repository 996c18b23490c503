"""Pitfall 3: a match of the first forty characters in place of the true metric, over the same outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audits.live_systems import DRAFTER, PIPELINE, REFINER
from audits.live_verdicts import right
from audits.metric_reversals import judge_orders
from audits.statistics import decide
from audits.statistics.bounded import bounded_mean
from protocols.problems import ChoiceProblem
from protocols.proxy_metric import CHARACTERS, proxy_match

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from audits.live_systems import LiveSystem
    from audits.verdicts import Verdict
    from protocols.problems import Problem
    from protocols.scores import Scores


def cells(system: LiveSystem, benchmark: str) -> dict[str, Scores]:
    """Measure every part of the system that writes text, at the fewest and the most steps, by name."""
    budgets = tuple(dict.fromkeys((system.fewest, system.most)))
    wanted: list[tuple[str, int | None]] = [(DRAFTER, None)]
    wanted += [(role, steps) for role in (REFINER, PIPELINE) for steps in budgets]
    return {
        role if steps is None else f"{role} S={steps}": system.measure(role, benchmark, steps)
        for role, steps in wanted
        if system.has_part(role)
    }


def begins_right(problems: Sequence[Problem], scores: Scores) -> list[bool] | None:
    """Return (n,) whether each output begins as its reference does; ``None`` where a problem gives no reference."""
    targets = {problem.task_id: _target(problem) for problem in problems}
    if not all(targets.values()):
        return None
    return [proxy_match(sample.text, targets[sample.task_id]).correct for sample in scores.samples]


def misjudged(system: LiveSystem, benchmark: str) -> Verdict | None:
    """Judge the share of outputs on which proxy and true metric differ, all parts and budgets together.

    Outputs of different parts for one problem are not independent, so that each problem counts once, with its share.

    Returns:
        The verdict; ``None`` where the benchmark gives no reference texts.
    """
    measured = cells(system, benchmark)
    both = judged(system, benchmark, measured)
    if both is None:
        return None
    first, second = both
    rows = list(zip(*([a != b for a, b in zip(first[name], second[name], strict=True)] for name in first), strict=True))
    passed = sum(b and not a for name in first for a, b in zip(first[name], second[name], strict=True))
    missed = sum(a and not b for name in first for a, b in zip(first[name], second[name], strict=True))
    return decide(
        bounded_mean([sum(row) / len(row) for row in rows]),
        claim="proxy-misjudges",
        system=system.name,
        benchmark=benchmark,
        margin=0.05,
        direction=1,
        reason=f"of {sum(map(len, rows))} outputs of {len(first)} parts and budgets the proxy passes {passed} wrong "
        f"ones and fails {missed} right ones",
        signature=str(_any(measured).signature),
        worthwhile=0.05,
    )


def reversal(system: LiveSystem, benchmark: str) -> Verdict | None:
    """Judge whether the proxy puts two parts or budgets in another order.

    Returns:
        The verdict; ``None`` where the benchmark gives no reference texts or there is nothing to rank.
    """
    measured = cells(system, benchmark)
    both = judged(system, benchmark, measured)
    if both is None or len(measured) < 2:
        return None
    return judge_orders(
        *both,
        claim_id="proxy-reverses",
        system=f"{system.name}'s parts",
        benchmark=benchmark,
        metrics=("the true metric", "the proxy"),
        signature=_any(measured).signature,
    )


def judged(
    system: LiveSystem, benchmark: str, measured: Mapping[str, Scores]
) -> tuple[dict[str, list[bool]], dict[str, list[bool]]] | None:
    """Return each part's outputs under the true metric and under the proxy."""
    problems = system.benchmark(benchmark).problems
    proxy = {name: begins_right(problems, scores) for name, scores in measured.items()}
    known = {name: flags for name, flags in proxy.items() if flags is not None}
    if len(known) < len(measured):
        return None
    return {name: right(scores) for name, scores in measured.items()}, known


def figures(first: Sequence[bool], second: Sequence[bool]) -> Mapping[str, str]:
    """Return both metrics of one part's outputs and how often they agree, in percent."""
    same = bounded_mean([float(a == b) for a, b in zip(first, second, strict=True)])
    return {
        "n": str(same.n),
        "right %": f"{100 * sum(first) / same.n:.0f}",
        f"first {CHARACTERS} %": f"{100 * sum(second) / same.n:.0f}",
        "agree %": f"{100 * same.effect:.0f}",
        "95 %": f"{100 * same.low:.0f}-{100 * same.high:.0f}",
    }


def _target(problem: Problem) -> str:
    if isinstance(problem, ChoiceProblem):
        return problem.choices[problem.gold].strip()
    return problem.reference.strip()


def _any(measured: Mapping[str, Scores]) -> Scores:
    return measured.get(f"{PIPELINE} S={_steps(measured)}") or next(iter(measured.values()))


def _steps(measured: Mapping[str, Scores]) -> int | None:
    return min((s.budget.steps for s in measured.values() if s.budget.steps is not None), default=None)
