"""What a run on the full models will cost, said before it starts: cells, problems, passes, tokens, hours.

The hours are a line through published or measured seconds, and say which. Counts are upper bounds: a canvas with fewer
hidden positions than steps takes fewer passes, a draft may end early, and cells that a ledger has cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from audits.live_systems import DRAFTER, KIND_OF, PIPELINE, REFINER, ROUNDS
from audits.refinement_tension import SWEEP
from audits.scaffold_lift import CONTROLS
from audits.statistics import fit_line
from fixtures.published import specref_latency
from protocols.problems import ChoiceProblem
from specref_core.generator import Budget

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from audits.live_systems import LiveBenchmark, LiveSystem

MASKED_VARIANT = "other masks"


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """One measurement to come.

    Attributes:
        benchmark: name.
        role: ``drafter``, ``refiner``, ``pipeline``, or ``other masks`` for a pipeline with another mask.
        steps: nominal S; ``None`` where nothing is denoised.
        problems: how many.
        passes: refiner passes of one row, at most.
        drafted: drafter tokens, at most; a choice scored by the drafter counts as one.
    """

    benchmark: str
    role: str
    steps: int | None
    problems: int
    passes: int
    drafted: int


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds that the parts of a run take.

    Attributes:
        source: where they come from, for a person.
        refiner_pass: of a standalone refiner.
        pipeline_fixed: a query before its first refinement step, drafting included.
        pipeline_pass: a refinement step after a warm start.
    """

    source: str
    refiner_pass: float
    pipeline_fixed: float
    pipeline_pass: float


def published_rates() -> Rates:
    """Return the rates behind the paper's Table 3, by least squares as in the audit of that table."""
    rows = specref_latency()
    steps = [float(row.steps) for row in rows]
    standalone = fit_line(steps, [float(row.refiner_printed) for row in rows], intercept=False)
    pipeline = fit_line(steps, [float(row.pipeline_printed) for row in rows])
    source = "the paper's Table 3: one query at a time on an RTX 4090"
    return Rates(source, standalone.slope, pipeline.intercept, pipeline.slope)


def plan(benchmarks: Mapping[str, LiveBenchmark], steps: Sequence[int], *, audits: bool = True) -> list[PlannedCell]:
    """Return the cells of the paper's Tables 1 and 2, and those that the live audits of findings 1 and 2 add.

    Args:
        benchmarks: by name.
        steps: nominal S, rising.
        audits: whether the masks that these audits compare at the fewest steps are counted too.
    """
    cells: list[PlannedCell] = []
    for name, benchmark in benchmarks.items():
        n, longest = len(benchmark.problems), benchmark.max_new_tokens
        if KIND_OF[name] == "choices":
            choices = sum(len(p.choices) for p in benchmark.problems if isinstance(p, ChoiceProblem))
            cells += [PlannedCell(name, DRAFTER, None, n, 0, choices)]
            cells += [PlannedCell(name, REFINER, None, n, choices * ROUNDS, 0)]
            continue
        cells.append(PlannedCell(name, DRAFTER, None, n, 0, n * longest))
        cells += [PlannedCell(name, REFINER, s, n, n * min(s, longest), 0) for s in steps]
        cells += [PlannedCell(name, PIPELINE, s, n, n * min(s, longest), n * longest) for s in steps]
        if audits:
            masks = len(SWEEP) + 1 + (len(CONTROLS) if KIND_OF[name] == "code" else 0)
            few = min(steps[0], longest)
            cells += [PlannedCell(name, MASKED_VARIANT, steps[0], n, n * few, n * longest)] * masks
    return cells


def hours(cells: Iterable[PlannedCell], rates: Rates) -> float:
    """Return the hours that these cells take one query after another; a likelihood's pass counts as a standalone one.

    A draft alone is charged what the pipeline takes before its first step, which bounds it from above; the drafter's
    likelihoods, one pass a choice, are charged as a refiner's pass, which bounds them too.
    """
    seconds = 0.0
    for cell in cells:
        choices = KIND_OF[cell.benchmark] == "choices"
        if cell.role == DRAFTER:
            seconds += cell.drafted * rates.refiner_pass if choices else cell.problems * rates.pipeline_fixed
        elif cell.role == REFINER:
            seconds += cell.passes * rates.refiner_pass
        else:
            seconds += cell.problems * rates.pipeline_fixed + cell.passes * rates.pipeline_pass
    return seconds / 3600


def lines(cells: Sequence[PlannedCell], rates: Rates) -> list[str]:
    """Return the estimate as lines of text: a total, then a line a benchmark."""
    total = f"up to {_counted(cells)}, about {hours(cells, rates):,.1f} hours"
    told = [f"{total} at {rates.source}; what the ledger has is free"]
    for name in dict.fromkeys(cell.benchmark for cell in cells):
        own = [cell for cell in cells if cell.benchmark == name]
        told.append(f"  {name}: {own[0].problems:,} problems, {_counted(own)}, {hours(own, rates):,.1f} hours")
    return told


def _counted(cells: Sequence[PlannedCell]) -> str:
    passes, drafted = sum(cell.passes for cell in cells), sum(cell.drafted for cell in cells)
    return f"{len(cells)} cells, {passes:,} refiner passes, {drafted:,} drafter tokens"


def measured_rates(system: LiveSystem) -> Rates | None:
    """Time one batch of drafts, standalone answers and warm starts of a benchmark here, after one to warm up.

    Returns:
        Seconds a query within a batch; ``None`` where the system generates nothing.
    """
    names = system.of_kind("answers", "code")
    if not names or not all(system.has_part(role) for role in (DRAFTER, REFINER)):
        return None
    benchmark = system.benchmark(names[0])
    prompts = [p.prompt for p in benchmark.problems[: system.batch_size] if not isinstance(p, ChoiceProblem)]
    budget = Budget(steps=system.fewest, max_new_tokens=benchmark.max_new_tokens)
    seconds, passes = {}, {}
    for role in (DRAFTER, REFINER, PIPELINE):
        part = system.part(role)
        part.generate(prompts[:1], budget=budget, seed=0)
        started = perf_counter()
        made = part.generate(prompts, budget=budget, seed=0)
        seconds[role] = (perf_counter() - started) / len(prompts)
        costs = [completion.cost for completion in made if completion.cost is not None]
        passes[role] = max(1.0, sum(cost.forward_passes for cost in costs) / len(prompts))
    refined = max(0.0, seconds[PIPELINE] - seconds[DRAFTER])
    return Rates(
        f"timed here on {len(prompts)} queries of {names[0]}, together, at S={system.fewest}",
        seconds[REFINER] / passes[REFINER],
        seconds[DRAFTER],
        refined / passes[PIPELINE],
    )
