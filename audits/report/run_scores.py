"""A report from the JSON of ``specref run``: scores become measurements; there are no traces and no verdicts in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from audits.report.model import MeanCost, Measurement, Report, Run
from audits.report.reading import parse

SCHEMA = "specref.run/1"


@dataclass(frozen=True, slots=True)
class _Budget:
    steps: int | None


@dataclass(frozen=True, slots=True)
class _Total:
    """What all samples cost together."""

    forward_passes: float | None
    row_forwards: float | None
    drafted_tokens: float | None
    seconds: float | None
    flops: float | None


@dataclass(frozen=True, slots=True)
class _Scores:
    """The part of :meth:`protocols.scores.Scores.as_dict` that a report shows."""

    system: str
    benchmark: str
    budget: _Budget
    n: int
    planned: int
    correct: int
    score: float | None
    low: float | None
    high: float | None
    failures: Mapping[str, int]
    cost: _Total | None
    signature: str


@dataclass(frozen=True, slots=True)
class _File:
    scores: tuple[_Scores, ...]


def from_scores(data: object) -> Report:
    """Make a report of what ``specref run --json`` wrote.

    Raises:
        InputError: a field is missing or of the wrong kind.
    """
    from importlib.metadata import version

    cells = parse(_File, data, "scores").scores
    remark = "Made from the scores of `specref run`: they hold no verdicts; `specref audit --report` makes them."
    return Report(
        run=Run(
            origin="ledger", version=version("specref"), remark=remark, complete=all(c.n == c.planned for c in cells)
        ),
        measurements=tuple(map(_measurement, cells)),
    )


def _measurement(cell: _Scores) -> Measurement:
    def mean(total: float | None) -> float | None:
        return None if total is None or not cell.n else total / cell.n

    cost = cell.cost
    flops = None if cost is None else mean(cost.flops)
    return Measurement(
        source="ledger",
        system=cell.system,
        part="",
        benchmark=cell.benchmark,
        settings="",
        steps=cell.budget.steps,
        n=cell.n,
        planned=cell.planned,
        correct=cell.correct,
        score=cell.score,
        low=cell.low,
        high=cell.high,
        cost=None
        if cost is None
        else MeanCost(
            mean(cost.forward_passes),
            mean(cost.row_forwards),
            mean(cost.drafted_tokens),
            mean(cost.seconds),
            None if flops is None else flops / 1e9,
        ),
        failures=cell.failures,
        signature=cell.signature,
    )
