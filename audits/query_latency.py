"""Seconds a query, one query at a time: the measurement behind Table 3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audits.live_systems import PIPELINE, REFINER
from audits.paper_tables import latency
from specref_core.errors import InputError
from specref_core.generator import Budget

if TYPE_CHECKING:
    from audits.live_systems import LiveSystem
    from audits.paper_tables import Latency
    from protocols.scores import Scores


def measure_latency(system: LiveSystem, benchmark: str, steps: int, *, queries: int) -> Latency:
    """Time the refiner alone and the pipeline on the same first queries of a benchmark, each by itself.

    The samples go to a ledger of their own beside the system's, whose samples were made in batches; a run that
    continues finds its seconds there. Each part answers one query before the clock counts.

    Args:
        system: with both parts.
        benchmark: name.
        steps: nominal S.
        queries: how many, at least one.

    Raises:
        InputError: a part does not say what a query cost.
    """
    return latency(
        benchmark,
        steps,
        _seconds(_timed(system, REFINER, benchmark, steps, queries)),
        _seconds(_timed(system, PIPELINE, benchmark, steps, queries)),
    )


def _timed(system: LiveSystem, role: str, benchmark: str, steps: int, queries: int) -> Scores:
    from protocols.measure import measure

    part, chosen = system.part(role), system.benchmark(benchmark)
    problems = chosen.problems[:queries]
    budget = Budget(steps=steps, max_new_tokens=chosen.max_new_tokens)
    part.generate([getattr(problems[0], "prompt", "")], budget=budget, seed=0)
    ledger = system.ledger
    return measure(
        part,
        problems,
        budget=budget,
        ledger=None if ledger is None else ledger.with_name(f"{ledger.name}-latency"),
        batch_size=1,
    )


def _seconds(scores: Scores) -> list[float]:
    costs = [sample.cost for sample in scores.samples]
    if any(cost is None for cost in costs):
        raise InputError(f"{scores.system!r} does not say what its completions cost; return Completion.cost")
    return [cost.seconds for cost in costs if cost is not None]
