"""What a warm start really costs: counted passes and operations, the model L*C_AR + S*C_D, and the published speed-up.

Claims are decided by what is counted (executed passes, operations by formula), which no busy machine can move. Seconds
are printed beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from audits.claims import claim
from audits.live_systems import DRAFTER, PIPELINE, REFINER, MissingCapabilityError
from audits.statistics import decide, fit_line
from audits.statistics.bounded import mean_difference
from audits.statistics.clustered import FEWEST, CostFit, fit_cost, ratio_of_rates, relative_saving
from fixtures.published.tables import specref_latency
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audits.live_systems import LiveSystem
    from audits.statistics import Comparison, Interval
    from audits.verdicts import Verdict
    from protocols.scores import Scores

FEWEST_TIMINGS = 3
"""A line has two coefficients; the third point is the first that tells how well it fits."""
LARGEST_ERROR = 1.0
"""A relative error is cut here, so that its mean has bounded parts."""


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The costs of one cell, a row a problem, in the order of the problems.

    Attributes:
        passes: (n,) executed passes of the model that writes the final text.
        drafted: (n,) tokens drafted.
        operations: (n,) floating-point operations.
        seconds: (n,) wall clock.
    """

    passes: np.ndarray[tuple[int], np.dtype[np.float64]]
    drafted: np.ndarray[tuple[int], np.dtype[np.float64]]
    operations: np.ndarray[tuple[int], np.dtype[np.float64]]
    seconds: np.ndarray[tuple[int], np.dtype[np.float64]]


def columns(scores: Scores) -> Columns:
    """Return the costs of a cell.

    Raises:
        MissingCapabilityError: a completion does not say what it cost, or how many operations it took.
    """
    costs = [sample.cost for sample in scores.samples if sample.cost is not None]
    if len(costs) < scores.n:
        raise MissingCapabilityError(
            f"{scores.system!r} does not say what its completions cost; return Completion.cost to enable this"
        )
    if scores.n < FEWEST:
        raise MissingCapabilityError(f"{scores.n} problem tells no spread of costs; give at least --limit {FEWEST}")
    operations = np.array([cost.flops for cost in costs], dtype=np.float64)
    if not (np.isfinite(operations).all() and operations.sum() > 0):
        raise MissingCapabilityError(
            f"{scores.system!r} does not count its operations; set Cost.flops (specref_core.cost) to enable this"
        )
    return Columns(
        passes=np.array([cost.forward_passes for cost in costs], dtype=np.float64),
        drafted=np.array([cost.drafted_tokens for cost in costs], dtype=np.float64),
        operations=operations,
        seconds=np.array([cost.seconds for cost in costs], dtype=np.float64),
    )


def fewer_passes(system: LiveSystem, benchmark: str) -> Verdict:
    """Judge how many of standalone diffusion's passes a warm start saves at the same nominal steps."""
    pipeline, refiner = (system.measure(role, benchmark, system.most) for role in (PIPELINE, REFINER))
    run, alone = columns(pipeline), columns(refiner)
    _require_passes(refiner, alone)
    return _decide(
        relative_saving(run.passes.tolist(), alone.passes.tolist()),
        claim_id="fewer-passes",
        system=f"{system.name} against its refiner, S={system.most}",
        benchmark=benchmark,
        reason=f"{run.passes.mean():.1f} passes a query against {alone.passes.mean():.1f}, and "
        f"{run.drafted.mean():.1f} tokens drafted before them",
        signature=pipeline.signature,
    )


def speed_up(system: LiveSystem, benchmark: str, steps: int) -> Verdict:
    """Judge what share of a standalone query's operations the pipeline saves, its drafting included."""
    pipeline, refiner = (system.measure(role, benchmark, steps) for role in (PIPELINE, REFINER))
    run, alone = columns(pipeline), columns(refiner)
    _require_passes(refiner, alone)
    times = alone.operations.sum() / run.operations.sum()
    published = _published().get(steps)
    beside = "" if published is None else f"; the paper's seconds on GSM8K give {published}"
    return _decide(
        relative_saving(run.operations.tolist(), alone.operations.tolist()),
        claim_id="speed-up",
        system=f"{system.name} against its refiner, S={steps}",
        benchmark=benchmark,
        reason=f"{times:.2f} times fewer operations a query, drafting included{beside}",
        signature=pipeline.signature,
    )


def pass_cost(system: LiveSystem, benchmark: str) -> Verdict:
    """Compare the operations of an executed refinement pass with those of a standalone pass.

    The drafter's operations are taken off as the drafter alone spends them on the same problems.
    """
    pipeline, refiner = (system.measure(role, benchmark, system.most) for role in (PIPELINE, REFINER))
    run, alone = columns(pipeline), columns(refiner)
    drafts = columns(system.measure(DRAFTER, benchmark, None))
    refining = run.operations - drafts.operations
    if run.passes.sum() == 0 or not (refining >= 0).all():
        raise MissingCapabilityError(
            f"{system.name!r} runs no refinement pass here, or counts fewer operations than its drafter alone: the "
            "cost of a pass cannot be told"
        )
    _require_passes(refiner, alone)
    found = ratio_of_rates(refining, run.passes, alone.operations, alone.passes)
    less_one = type(found)(found.effect - 1, found.low - 1, found.high - 1, found.p_value, found.n, found.test)
    own, other = refining.sum() / run.passes.sum(), alone.operations.sum() / alone.passes.sum()
    return _decide(
        less_one,
        claim_id="pass-cost",
        system=f"{system.name} against its refiner, S={system.most}",
        benchmark=benchmark,
        reason=f"{own / 1e6:.3g} million operations a refinement pass, {other / 1e6:.3g} a standalone pass "
        "(shorter canvases, fewer hidden positions)",
        signature=pipeline.signature,
        scale=1.0,
    )


def cost_model(system: LiveSystem, benchmark: str) -> Verdict:
    """Judge how far a query's operations lie from the fitted L*C_AR + S*C_D, S the executed passes."""
    fit, _ = fits(system, benchmark)
    found = mean_difference(fit.by_problem.clip(max=LARGEST_ERROR).tolist())
    largest = float(np.abs(fit.errors).max())
    return _decide(
        found,
        claim_id="cost-model",
        system=f"{system.name}, S={' and '.join(map(str, _budgets(system)))}",
        benchmark=benchmark,
        reason=f"{len(fit.errors)} queries: {_coefficient(fit.per_first)} million operations a drafted token, "
        f"{_coefficient(fit.per_second)} a pass; mean error {100 * found.effect:.1f} %, largest {100 * largest:.0f} %",
        signature=system.measure(PIPELINE, benchmark, system.most).signature,
    )


def fits(system: LiveSystem, benchmark: str) -> tuple[CostFit, CostFit]:
    """Fit the pipeline's operations on drafted tokens and passes, executed ones and nominal steps.

    Raises:
        MissingCapabilityError: nothing is drafted, or the two parts of the cost cannot be told apart.
    """
    cells = [system.measure(PIPELINE, benchmark, steps) for steps in _budgets(system)]
    costs = [columns(scores) for scores in cells]
    drafted = np.concatenate([cost.drafted for cost in costs])
    if not drafted.any():
        raise MissingCapabilityError(
            f"{system.name!r} drafts nothing, so that L*C_AR has no part in its cost; count Cost.drafted_tokens if it "
            "does"
        )
    operations = np.concatenate([cost.operations for cost in costs])
    executed = np.concatenate([cost.passes for cost in costs])
    nominal = np.array([scores.budget.steps or 0 for scores in cells for _ in scores.samples], dtype=np.float64)
    problems = [sample.task_id for scores in cells for sample in scores.samples]
    spent = np.flatnonzero(operations)  # a query that cost nothing has no relative error
    tasks = [problems[i] for i in spent]
    try:
        on_executed, on_nominal = (
            fit_cost(drafted[spent].tolist(), steps[spent].tolist(), operations[spent].tolist(), tasks)
            for steps in (executed, nominal)
        )
    except InputError as error:
        raise MissingCapabilityError(f"the cost of {system.name!r} has no two parts to fit: {error}") from error
    return on_executed, on_nominal


def figures(scores: Scores) -> Mapping[str, str]:
    """Return one point of accuracy against cost; seconds come from whoever made the samples, n queries in batches."""
    cost, low_high = columns(scores), scores.interval
    return {
        "right %": f"{100 * scores.value:.0f}",
        "95 %": f"{100 * low_high[0]:.0f}-{100 * low_high[1]:.0f}",
        "passes": f"{cost.passes.mean():.1f}",
        "drafted": f"{cost.drafted.mean():.1f}",
        "GFLOP": f"{cost.operations.mean() / 1e9:.3g}",
        "s a query": f"{cost.seconds.mean():.3g}",
        "n": str(scores.n),
    }


def fit_rows(system: LiveSystem, benchmark: str) -> list[tuple[str, Mapping[str, str]]]:
    """Return the cost model of operations, fitted on executed passes and on nominal steps."""
    rows: list[tuple[str, Mapping[str, str]]] = []
    for name, fit in zip(("executed passes", "nominal steps"), fits(system, benchmark), strict=True):
        rows.append(
            (
                f"operations on {name}",
                {
                    "a drafted token": f"{_coefficient(fit.per_first)} M",
                    "a step": f"{_coefficient(fit.per_second)} M",
                    "mean error": f"{100 * np.abs(fit.errors).mean():.1f} %",
                    "n": f"{len(fit.errors)} queries",
                },
            )
        )
    return rows


def seconds_row(system: LiveSystem, benchmark: str) -> Mapping[str, str] | None:
    """Return the seconds of a query before its first pass and for each pass; ``None`` for too few timings.

    Queries of one batch share one timing. Whoever made the samples took it, on a machine as busy as it was.
    """
    points: dict[tuple[int, float], list[float]] = {}
    for steps in _budgets(system):
        cost = columns(system.measure(PIPELINE, benchmark, steps))
        for timing, count in zip(cost.seconds.tolist(), cost.passes.tolist(), strict=True):
            points.setdefault((steps, timing), []).append(count)
    if len(points) < FEWEST_TIMINGS:
        return None
    try:
        line = fit_line([float(np.mean(counts)) for counts in points.values()], [timing for _, timing in points])
    except InputError:
        return None
    assert line.intercept_interval is not None
    start, slope = line.intercept_interval, line.slope_interval
    return {
        "before the first": f"{line.intercept:.2g} ({start.low:.2g} to {start.high:.2g}) s",
        "a pass": f"{line.slope:.2g} ({slope.low:.2g} to {slope.high:.2g}) s",
        "n": f"{line.n} timings",
    }


def speed_up_row(system: LiveSystem, benchmark: str) -> Mapping[str, str]:
    """Return the speed-up that the fitted costs give at each of the paper's budgets, beside the published one.

    A pipeline query runs as many passes as it has hidden tokens, or S of them if that is fewer.
    """
    fit, _ = fits(system, benchmark)
    run = columns(system.measure(PIPELINE, benchmark, system.most))
    alone = columns(system.measure(REFINER, benchmark, system.most))
    a_pass = alone.operations.sum() / alone.passes.sum()
    shown = {}
    for steps, published in _published().items():
        if steps > system.most:
            continue
        passes = np.minimum(run.passes, steps).mean()
        query = run.drafted.mean() * fit.per_first[0] + passes * fit.per_second[0]
        standalone = np.minimum(alone.passes, steps).mean() * a_pass
        shown[f"S={steps}"] = f"{standalone / query:.2f} (paper {published})"
    return shown


def _budgets(system: LiveSystem) -> tuple[int, ...]:
    return tuple(dict.fromkeys((system.fewest, system.most)))


def _published() -> dict[int, str]:
    return {row.steps: row.speedup_printed for row in specref_latency()}


def _coefficient(value: tuple[float, Interval]) -> str:
    return f"{value[0] / 1e6:.3g} ({value[1].low / 1e6:.3g} to {value[1].high / 1e6:.3g})"


def _require_passes(scores: Scores, cost: Columns) -> None:
    if cost.passes.sum() == 0:
        raise MissingCapabilityError(f"{scores.system!r} counts no passes; set Cost.forward_passes to enable this")


def _decide(
    found: Comparison, *, claim_id: str, system: str, benchmark: str, reason: str, signature: object, scale: float = 100
) -> Verdict:
    about = claim(claim_id)
    return decide(
        found,
        claim=claim_id,
        system=system,
        benchmark=benchmark,
        margin=about.margin / scale,
        direction=about.direction,
        scale=scale,
        unit=about.unit,
        reason=reason,
        signature=str(signature),
        worthwhile=0.05,
    )
