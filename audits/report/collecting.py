"""From what was measured to what a report tells of it: accuracy and cost, the flow through the refiner, examples.

Everything here only reads scores that exist already; nothing is measured for the report's sake.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from audits.report.model import DraftToken, Example, Flow, MeanCost, Measurement, Position
from protocols.problems import AnswerProblem
from specref_core.generator import Draft, Trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from audits.live_systems import LiveSystem
    from protocols.problems import Problem
    from protocols.scores import SampleScore, Scores

KINDS = ("broken", "fixed", "kept right", "kept wrong", "right", "wrong")
"""What can become of a draft, in the order in which examples are shown."""
_SHORT = 200
_LONGEST_PROMPT = 8000
_KIND_OF = {(True, False): "broken", (False, True): "fixed", (True, True): "kept right", (False, False): "kept wrong"}


def measurement(scores: Scores, *, source: str, system: str, part: str, settings: str = "") -> Measurement:
    """Sum up one cell."""
    low, high = scores.interval
    total, n = scores.cost, scores.n
    cost = None
    if total is not None and n:
        parts = (total.forward_passes, total.row_forwards, total.drafted_tokens, total.seconds, total.flops / 1e9)
        cost = MeanCost(*(_finite(figure / n) for figure in parts))
    return Measurement(
        source=source,
        system=system,
        part=part,
        benchmark=scores.benchmark,
        settings=settings,
        steps=scores.budget.steps,
        n=n,
        planned=scores.planned,
        correct=scores.correct,
        score=scores.value if n else None,
        low=low if n else None,
        high=high if n else None,
        cost=cost,
        failures={failure.value: count for failure, count in scores.failures.items()},
        signature=str(scores.signature),
    )


def flow(pipeline: Scores, drafter: Scores, refiner: Scores | None, *, source: str, system: str) -> Flow | None:
    """Count what became of each draft; ``None`` where the two were not scored on the same problems."""
    after, before = _verdicts(pipeline), _verdicts(drafter)
    if not after or after.keys() != before.keys():
        return None
    kinds = [_KIND_OF[before[task], after[task]] for task in after]
    alone = _verdicts(refiner) if refiner is not None else {}
    comparable = alone.keys() == before.keys()
    return Flow(
        source=source,
        system=system,
        benchmark=pipeline.benchmark,
        steps=pipeline.budget.steps,
        kept_right=kinds.count("kept right"),
        broken=kinds.count("broken"),
        fixed=kinds.count("fixed"),
        kept_wrong=kinds.count("kept wrong"),
        refiner_right=sum(alone.values()) if comparable else None,
        oracle_right=sum(before[task] or alone[task] for task in before) if comparable else None,
        signature=str(pipeline.signature),
    )


def examples(
    pipeline: Scores, drafter: Scores | None, *, source: str, system: str, problems: Sequence[Problem] = ()
) -> list[Example]:
    """Return the first problem of every kind whose completion carries a trace, in the order of :data:`KINDS`."""
    known = {problem.task_id: problem for problem in problems}
    drafted = _verdicts(drafter) if drafter is not None else {}
    found: dict[str, Example] = {}
    for sample in pipeline.samples:
        before = drafted.get((sample.task_id, sample.seed))
        kind = (
            ("right" if sample.score.correct else "wrong") if before is None else _KIND_OF[before, sample.score.correct]
        )
        if kind in found:
            continue
        example = _example(sample, kind, known.get(sample.task_id), pipeline, source=source, system=system)
        if example is not None:
            found[kind] = example
    return [found[kind] for kind in KINDS if kind in found]


def harvest(system: LiveSystem, done: set[tuple[object, ...]]) -> Iterator[Measurement | Flow | Example]:
    """Tell what a live system measured since the last harvest.

    Args:
        system: a live system.
        done: what was told before; grows.
    """
    from audits.live_systems import DRAFTER, PIPELINE, REFINER

    for (role, benchmark, steps), scores in list(system.cells.items()):
        key = (system.source, role, benchmark, steps)
        if key not in done:
            done.add(key)
            yield measurement(scores, source=system.source, system=system.name, part=role)
        if role != PIPELINE:
            continue
        # A later audit may measure the drafter, which then tells what became of the drafts.
        drafter, refiner = system.cells.get((DRAFTER, benchmark, None)), system.cells.get((REFINER, benchmark, steps))
        told = (*key, drafter is None, refiner is None)
        if told in done:
            continue
        done.add(told)
        if drafter is not None:
            moved = flow(scores, drafter, refiner, source=system.source, system=system.name)
            if moved is not None:
                yield moved
        problems = system.benchmark(benchmark).problems
        yield from examples(scores, drafter, source=system.source, system=system.name, problems=problems)


def _example(
    sample: SampleScore, kind: str, problem: Problem | None, scores: Scores, *, source: str, system: str
) -> Example | None:
    positions = _positions(sample.trace)
    if not positions:
        return None
    short = isinstance(problem, AnswerProblem)
    failure = sample.score.failure
    told = "" if failure is None else failure.value + (f": {sample.score.detail}" if sample.score.detail else "")
    return Example(
        source=source,
        system=system,
        benchmark=scores.benchmark,
        steps=scores.budget.steps,
        task_id=sample.task_id,
        kind=kind,
        prompt=_cut(getattr(problem, "prompt", ""), _LONGEST_PROMPT),
        expected=_cut(problem.gold) if isinstance(problem, AnswerProblem) else "",
        answer=_cut(sample.score.extracted or "") if short else "",
        failure=_cut(told),
        draft=_draft(sample.trace),
        positions=positions,
    )


def _positions(trace: object) -> tuple[Position, ...]:
    """Return a trace's positions; none where a foreign generator's trace does not hang together."""
    if not isinstance(trace, Trace):
        return ()
    columns: Any = (trace.initial_tokens, trace.final_tokens, trace.scores, trace.masked, trace.committed_at)
    try:
        length = len(trace.masked)
        if any(len(column) != length for column in columns):
            return ()
        return tuple(
            Position(str(initial), str(final), _finite(score), bool(masked), max(0, int(step)))
            for initial, final, score, masked, step in zip(*columns, strict=True)
        )
    except (TypeError, ValueError):
        return ()


def _draft(trace: object) -> tuple[DraftToken, ...]:
    """Return the tokens of an AR draft; a character that several tokens share goes to the first."""
    draft = getattr(trace, "draft", None)
    if not isinstance(draft, Draft):
        return ()
    tokens, done = [], 0
    try:
        for (start, end), entropy in zip(draft.spans, draft.entropies, strict=True):
            tokens.append(DraftToken(str(draft.text[max(start, done) : end]), _finite(entropy)))
            done = max(done, end)
    except (TypeError, ValueError):
        return ()
    return tuple(tokens)


def _verdicts(scores: Scores) -> Mapping[tuple[str, int], bool]:
    return {(sample.task_id, sample.seed): sample.score.correct for sample in scores.samples}


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _cut(text: str, longest: int = _SHORT) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def latest(entries: Iterable[Measurement | Flow | Example]) -> tuple[list[Measurement], list[Flow], list[Example]]:
    """Sort what several processes told into its kinds; what was told twice counts once, the last and fullest word.

    Processes measure the same samples, but not all of them know the drafter's verdicts: the examples of one that does
    replace those of one that does not.
    """
    measured: dict[tuple[object, ...], Measurement] = {}
    moved: dict[tuple[object, ...], Flow] = {}
    shown: dict[tuple[object, ...], dict[str, Example]] = {}
    for entry in entries:
        where = (entry.source, entry.system, entry.benchmark, entry.steps is not None, entry.steps or 0)
        if isinstance(entry, Measurement):
            measured[(*where, entry.part, entry.settings)] = entry
        elif isinstance(entry, Flow):
            if where not in moved or entry.refiner_right is not None:
                moved[where] = entry
        else:
            shown.setdefault(where, {})[entry.kind] = entry
    examples_of = [
        example
        for where in sorted(shown, key=str)
        for example in (shown[where][kind] for kind in KINDS if kind in shown[where])
        if example.kind not in ("right", "wrong") or not _judged(shown[where])
    ]
    return (
        [measured[key] for key in sorted(measured, key=_order)],
        [moved[key] for key in sorted(moved, key=_order)],
        examples_of,
    )


def _judged(by_kind: Mapping[str, Example]) -> bool:
    return any(kind not in ("right", "wrong") for kind in by_kind)


def _order(key: tuple[Any, ...]) -> tuple[str, ...]:
    # Steps in their numeric order; everything else by name.
    return tuple(f"{part:09d}" if isinstance(part, int) and not isinstance(part, bool) else str(part) for part in key)
