"""The paper's Tables 1 to 3 beside a run's own, cell by cell: both values, both intervals, both n, and their verdict.

Pure functions of measured scores and of the tables in ``fixtures/published``; the run itself is elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from audits.claims import claim
from audits.granularity import Percentage, possible_counts
from audits.live_systems import DRAFTER, KIND_OF, PIPELINE, REFINER
from audits.statistics import compare_unpaired, decide, holm, wilson
from audits.statistics.judging import ALPHA
from audits.verdicts import Outcome
from fixtures.published import specref_latency, specref_scores
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audits.verdicts import Verdict
    from fixtures.published import PublishedLatency, PublishedScore
    from protocols.scores import Scores

ROWS = {
    "gsm8k": "GSM8K",
    "humaneval": "HumanEval",
    "mbpp": "MBPP",
    "math": "MATH",
    "bbh": "BBH (Bool)",
    "arc_challenge": "ARC-Challenge",
    "hellaswag": "HellaSwag",
}
"""Benchmark → row of the paper's tables, in their order."""
LATENCY_BENCHMARK = "gsm8k"
_SYSTEMS = {DRAFTER: "Phi-2 (draft)", REFINER: "LLaDA", PIPELINE: "SpecRef"}


@dataclass(frozen=True, slots=True)
class Place:
    """A cell of the tables, the paper's or one more.

    Attributes:
        benchmark: our name.
        role: ``drafter``, ``refiner`` or ``pipeline``.
        steps: nominal S of the measurement; ``None`` where nothing is denoised.
        published: the paper's cell; ``None`` where the paper has none.
    """

    benchmark: str
    role: str
    steps: int | None
    published: PublishedScore | None

    @property
    def label(self) -> str:
        """The column, as the paper writes it."""
        if self.published is not None:
            return self.published.system
        return _SYSTEMS[self.role] + (f" S={self.steps}" if self.steps else "")

    @property
    def table(self) -> int:
        """1 for generated answers, 2 for likelihoods."""
        return 2 if KIND_OF[self.benchmark] == "choices" else 1


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell measured, beside the paper's. Shares are in percent.

    Attributes:
        benchmark: our name.
        row: the paper's name of it.
        column: system and steps.
        table: 1 or 2.
        role: of the system.
        steps: nominal S, or ``None``.
        here: measured here.
        low: lower end of its 95 % Wilson interval.
        high: upper end.
        correct: problems solved here.
        n: problems here.
        printed: by the paper; empty where it has no such cell.
        published_n: problems of the paper's.
        published_low: lower end of the paper's cell's own Wilson interval at its n.
        published_high: upper end.
        possible: whether the printed share is a whole number of its n problems at all.
        inside: whether the paper's share lies in the interval measured here.
        difference: here minus the paper, points.
        difference_low: lower end of Newcombe's 95 % interval of the difference.
        difference_high: upper end.
        p_value: Fisher's exact test of both counts.
        signature: of the measurement.
    """

    benchmark: str
    row: str
    column: str
    table: int
    role: str
    steps: int | None
    here: float
    low: float
    high: float
    correct: int
    n: int
    printed: str = ""
    published_n: int | None = None
    published_low: float | None = None
    published_high: float | None = None
    possible: bool | None = None
    inside: bool | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p_value: float | None = None
    signature: str = ""

    def shown(self) -> dict[str, str]:
        """Return the cell as columns of a printed table."""
        shown = {
            "paper": self.printed or "–",
            "n (paper)": f"{self.published_n}{'' if self.possible else ' (impossible)'}" if self.printed else "–",
            "here": f"{self.here:.2f}",
            "95 %": f"{self.low:.2f}–{self.high:.2f}",
            "n": str(self.n),
        }
        if not self.printed:
            return {**shown, "paper's is": "not measured there", "difference": "–"}
        return {
            **shown,
            "paper's is": "inside" if self.inside else "outside",
            "difference": f"{self.difference:+.2f} [{self.difference_low:+.2f}, {self.difference_high:+.2f}]",
        }


@dataclass(frozen=True, slots=True)
class Latency:
    """A row of Table 3 measured, beside the paper's: one query at a time.

    Attributes:
        benchmark: our name.
        steps: nominal S.
        n: queries timed.
        refiner: mean seconds of standalone diffusion.
        refiner_low: lower end of its 95 % Student-t interval over queries.
        refiner_high: upper end.
        pipeline: mean seconds of the pipeline, drafting included.
        pipeline_low: lower end.
        pipeline_high: upper end.
        speedup: refiner over pipeline, of the means.
        speedup_low: lower end of Fieller's 95 % interval, paired by query; infinite or NaN where there is none.
        speedup_high: upper end.
        printed: the paper's refiner, pipeline and speed-up as printed; empty where it has no such row.
        inside: whether the paper's speed-up lies in the interval; seconds are another machine's and are not compared.
    """

    benchmark: str
    steps: int
    n: int
    refiner: float
    refiner_low: float
    refiner_high: float
    pipeline: float
    pipeline_low: float
    pipeline_high: float
    speedup: float
    speedup_low: float
    speedup_high: float
    printed: tuple[str, ...] = ()
    inside: bool | None = None

    def shown(self) -> dict[str, str]:
        """Return the row as columns of a printed table."""
        seconds = "s, 95 %"
        paper = dict(zip(("refiner", "pipeline", "speed-up"), self.printed or ("–",) * 3, strict=True))
        return {
            "refiner, paper": paper["refiner"],
            f"refiner, {seconds}": _ends(self.refiner, self.refiner_low, self.refiner_high),
            "pipeline, paper": paper["pipeline"],
            f"pipeline, {seconds}": _ends(self.pipeline, self.pipeline_low, self.pipeline_high),
            "speed-up, paper": paper["speed-up"],
            "speed-up, 95 %": _ends(self.speedup, self.speedup_low, self.speedup_high),
            "n": str(self.n),
            "paper's is": "–" if self.inside is None else "inside" if self.inside else "outside",
        }


def places(benchmark: str, steps: Sequence[int]) -> list[Place]:
    """Return the cells of a benchmark's row: the paper's at these step counts, and those that it has not.

    Args:
        benchmark: a key of :data:`ROWS`.
        steps: nominal S wanted; Table 2 has none, so that its cells are there at any.

    Raises:
        InputError: the benchmark has no row.
    """
    if benchmark not in ROWS:
        raise InputError(f"{benchmark!r} has no row in the paper's tables; rows: {', '.join(ROWS)}")
    row = [cell for cell in specref_scores() if cell.benchmark == ROWS[benchmark]]
    if KIND_OF[benchmark] == "choices":
        by_role = {cell.role: cell for cell in row}
        return [Place(benchmark, role, None, by_role.get(role)) for role in (DRAFTER, REFINER, PIPELINE)]
    known = {(cell.role, cell.steps): cell for cell in row}
    wanted = [(DRAFTER, None), *((role, s) for role in (REFINER, PIPELINE) for s in steps)]
    return [Place(benchmark, role, s, known.get((role, s))) for role, s in wanted]


def compare(place: Place, scores: Scores) -> Cell:
    """Put a measurement beside the paper's cell.

    Raises:
        InputError: nothing was measured.
    """
    if not scores.n:
        raise InputError(f"{place.label} on {place.benchmark}: nothing was measured")
    own = wilson(scores.correct, scores.n)
    cell = {
        "benchmark": place.benchmark,
        "row": ROWS[place.benchmark],
        "column": place.label,
        "table": place.table,
        "role": place.role,
        "steps": place.steps,
        "here": 100 * scores.correct / scores.n,
        "low": 100 * own.low,
        "high": 100 * own.high,
        "correct": scores.correct,
        "n": scores.n,
        "signature": str(scores.signature),
    }
    published = place.published
    if published is None:
        return Cell(**cell)  # type: ignore[arg-type]  # names and types are those of the class, a few lines above
    theirs = wilson(published.solved, published.n)
    compared = compare_unpaired(scores.correct, scores.n, published.solved, published.n)
    printed = float(published.printed)
    return Cell(
        **cell,  # type: ignore[arg-type]  # as above
        printed=published.printed,
        published_n=published.n,
        published_low=100 * theirs.low,
        published_high=100 * theirs.high,
        possible=bool(possible_counts(Percentage.parse(published.printed), published.n)),
        inside=100 * own.low <= printed <= 100 * own.high,
        difference=100 * compared.effect,
        difference_low=100 * compared.low,
        difference_high=100 * compared.high,
        p_value=compared.p_value,
    )


def as_published(cells: Sequence[Cell], *, system: str) -> Verdict | None:
    """Judge whether a row of the tables came out as published: every cell within the claim's margin, both ways.

    The cell that is furthest off decides, at an interval that allows for having looked at all of them (Bonferroni);
    Holm's p-value over the cells is beside it.

    Args:
        cells: of one benchmark.
        system: name for the verdict.

    Returns:
        The verdict; ``None`` where the paper has none of these cells.
    """
    about = claim("tables-as-published")
    known = [cell for cell in cells if cell.printed]
    if not known:
        return None
    level = 1 - ALPHA / len(known)
    compared = []
    for cell in known:
        assert cell.published_n is not None
        solved = round(float(cell.printed) * cell.published_n / 100)
        compared.append(compare_unpaired(cell.correct, cell.n, solved, cell.published_n, level=level))
    adjusted = holm([comparison.p_value for comparison in compared])
    worst = max(range(len(known)), key=lambda index: abs(compared[index].effect))
    # A cell that is surely off decides even where another one's point estimate is further away.
    verdicts = [
        decide(
            comparison,
            claim=about.id,
            system=system,
            benchmark=cell.row,
            margin=about.margin / 100,
            direction=0,
            reason=f"furthest of {len(known)} cells: {cell.column} {cell.here:.2f} (n={cell.n}) against "
            f"{cell.printed} (n={cell.published_n}); {sum(bool(c.inside) for c in known)} of {len(known)} published "
            f"cells lie inside the interval measured here; Holm p={p:.2g}; interval at {100 * level:.1f} %",
            signature=cell.signature,
        )
        for cell, comparison, p in zip(known, compared, adjusted, strict=True)
    ]
    off = [index for index, verdict in enumerate(verdicts) if verdict.outcome is Outcome.NOT_REPRODUCED]
    if off:
        return verdicts[max(off, key=lambda index: abs(compared[index].effect))]
    open_ = [index for index, verdict in enumerate(verdicts) if verdict.outcome is Outcome.INCONCLUSIVE]
    if open_:
        return verdicts[max(open_, key=lambda index: abs(compared[index].effect))]
    return verdicts[worst]


def latency(benchmark: str, steps: int, refiner: Sequence[float], pipeline: Sequence[float]) -> Latency:
    """Compare the seconds of the same queries, answered one at a time by the refiner alone and by the pipeline.

    Args:
        benchmark: our name.
        steps: nominal S.
        refiner: (n,) seconds a query.
        pipeline: (n,) seconds of the same queries.

    Raises:
        InputError: the numbers differ, there are none, or a time is not positive.
    """
    first, second = np.asarray(refiner, np.float64), np.asarray(pipeline, np.float64)
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise InputError(f"{first.size} and {second.size} timed queries: expected as many of both, at least one")
    if not (np.isfinite(first).all() and np.isfinite(second).all() and (first > 0).all() and (second > 0).all()):
        raise InputError("seconds a query must be positive and finite")
    row = next((r for r in specref_latency() if (r.benchmark, r.steps) == (ROWS.get(benchmark), steps)), None)
    speedup, low, high = _ratio(first, second)
    refiner_low, refiner_high = _mean_interval(first)
    pipeline_low, pipeline_high = _mean_interval(second)
    return Latency(
        benchmark=benchmark,
        steps=steps,
        n=len(first),
        refiner=float(first.mean()),
        refiner_low=refiner_low,
        refiner_high=refiner_high,
        pipeline=float(second.mean()),
        pipeline_low=pipeline_low,
        pipeline_high=pipeline_high,
        speedup=speedup,
        speedup_low=low,
        speedup_high=high,
        printed=_printed(row),
        inside=None if row is None or len(first) < 2 else bool(low <= float(row.speedup_printed) <= high),
    )


def plain(found: Cell | Latency) -> dict[str, Any]:
    """Return plain data for JSON and for reports; what is not finite becomes ``None``."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(found).items()}


def _ratio(first: Any, second: Any) -> tuple[float, float, float]:
    """Return the ratio of two paired means and Fieller's interval; infinite where the denominator may be 0."""
    n, ratio = len(first), float(first.mean() / second.mean())
    if n < 2:
        return ratio, 0.0, math.inf
    t = float(scipy.stats.t.ppf(1 - ALPHA / 2, n - 1))
    covariance = np.cov(first, second) / n
    a = second.mean() ** 2 - t * t * covariance[1, 1]
    b = first.mean() * second.mean() - t * t * covariance[0, 1]
    c = first.mean() ** 2 - t * t * covariance[0, 0]
    if a <= 0:
        return ratio, 0.0, math.inf
    reach = math.sqrt(max(0.0, b * b - a * c))
    return ratio, max(0.0, float((b - reach) / a)), float((b + reach) / a)


def _mean_interval(values: Any) -> tuple[float, float]:
    if len(values) < 2:
        return 0.0, math.inf
    reach = float(scipy.stats.t.ppf(1 - ALPHA / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return max(0.0, float(values.mean()) - reach), float(values.mean()) + reach


def _printed(row: PublishedLatency | None) -> tuple[str, ...]:
    return () if row is None else (row.refiner_printed, row.pipeline_printed, row.speedup_printed)


def _ends(value: float, low: float | None, high: float | None) -> str:
    if low is None:
        return f"{value:.3g}"
    if high is None or not math.isfinite(high):
        return f"{value:.3g} [{low:.3g}, no upper end]"
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"
