"""Finding 2: a pipeline can score below its own parts. Who was broken, who was fixed, and what a gentler mask does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from audits.live_systems import DRAFTER, PIPELINE, REFINER
from audits.live_verdicts import conclude, paired, right
from audits.statistics import auroc, decide, holm
from fixtures.nano.analysis import transitions
from specref_core.masking import MaskPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from audits.live_systems import LiveSystem
    from audits.verdicts import Verdict
    from protocols.scores import Scores

SWEEP = tuple(MaskPolicy(k=k, math=False) for k in (20.0, 60.0))
"""Entropy alone, less and more of it."""
ADAPTIVE = MaskPolicy(adaptive=0.05)
"""The paper's mask with k lowered for drafts whose mean score is below one in twenty; chosen once, never tuned."""


def tension(system: LiveSystem, benchmarks: Sequence[str]) -> list[Verdict]:
    """Compare the pipeline with its better component, in the order of the benchmarks.

    Which component is better is seen on the same problems, so both comparisons count: the p-value is Holm's over the
    components of every benchmark.
    """
    parts = [role for role in (DRAFTER, REFINER) if system.has_part(role)]
    if not parts:
        system.part(DRAFTER)  # says which method is missing
    pipelines = {b: system.measure(PIPELINE, b, system.most) for b in benchmarks}
    cells = {(b, role): system.measure(role, b, _steps(system, role)) for b in benchmarks for role in parts}
    found = {key: paired(pipelines[key[0]], scores) for key, scores in cells.items()}
    adjusted = dict(zip(found, holm([comparison.p_value for comparison in found.values()]), strict=True))
    verdicts = []
    for benchmark in benchmarks:
        role = max(parts, key=lambda role: cells[benchmark, role].correct)
        told = ", ".join(f"{role} {cells[benchmark, role].correct}" for role in parts)
        verdicts.append(
            conclude(
                found[benchmark, role],
                claim_id="refinement-tension",
                system=f"{system.name} against its better component, S={system.most}",
                benchmark=benchmark,
                reason=f"of {pipelines[benchmark].n} problems: pipeline {pipelines[benchmark].correct}, {told}",
                signature=pipelines[benchmark].signature,
                adjusted_p=adjusted[benchmark, role],
            )
        )
    return verdicts


def flow(system: LiveSystem, benchmark: str) -> Mapping[str, str]:
    """Return how many problems each part solves, the oracle of both, and what refinement did to the drafts."""
    pipeline = right(system.measure(PIPELINE, benchmark, system.most))
    drafter = right(system.measure(DRAFTER, benchmark, None))
    cells = {"n": str(len(pipeline)), "drafter": str(sum(drafter))}
    oracle = drafter
    if system.has_part(REFINER):
        refiner = right(system.measure(REFINER, benchmark, system.most))
        cells["refiner"] = str(sum(refiner))
        oracle = [a or b for a, b in zip(drafter, refiner, strict=True)]
    moved = transitions(drafter, pipeline)
    return {
        **cells,
        "pipeline": str(sum(pipeline)),
        "oracle of parts": str(sum(oracle)),
        "right to wrong": str(moved.broken),
        "wrong to right": str(moved.fixed),
        "stays right": str(moved.kept_right),
        "stays wrong": str(moved.kept_wrong),
    }


def masked_share_in_right_drafts(drafter: Scores, pipeline: Scores) -> tuple[int, int] | None:
    """Count the hidden tokens, and those of drafts that were right as a whole; ``None`` without traces.

    Every token of a right draft was right, so the first share is a lower bound of the tokens hidden in vain.

    Returns:
        (hidden in right drafts, hidden in all).
    """
    hidden = [
        (was_right, sum(sample.trace.masked))
        for was_right, sample in zip(right(drafter), pipeline.samples, strict=True)
        if sample.trace is not None
    ]
    total = sum(count for _, count in hidden)
    return (sum(count for was_right, count in hidden if was_right), total) if total else None


def entropy_predicts_error(system: LiveSystem, benchmark: str) -> Verdict | None:
    """Judge how well a draft's mean entropy tells wrong drafts from right ones.

    Returns:
        The verdict; ``None`` where no draft carries entropies, or all are right, or all are wrong.
    """
    drafter = system.measure(DRAFTER, benchmark, None)
    seen = [
        (float(np.mean(sample.trace.draft.entropies)), not sample.score.correct)
        for sample in drafter.samples
        if sample.trace is not None and sample.trace.draft is not None and sample.trace.draft.entropies
    ]
    wrong = sum(is_wrong for _, is_wrong in seen)
    if wrong in (0, len(seen)):
        return None
    found = auroc([entropy for entropy, _ in seen], [is_wrong for _, is_wrong in seen])
    return decide(
        found,
        claim="entropy-predicts-error",
        system=f"{system.name}'s drafter",
        benchmark=benchmark,
        margin=0.5,
        direction=1,
        scale=1.0,
        unit="area",
        reason=f"mean entropy of {wrong} wrong and {len(seen) - wrong} right drafts; 0.5 is chance",
        signature=str(drafter.signature),
        worthwhile=0.05,
    )


def adaptive(system: LiveSystem, benchmark: str) -> Verdict:
    """Compare the paper's mask with k adapted to each draft with the pipeline's own mask, at few steps."""
    fixed = system.measure(PIPELINE, benchmark, system.fewest)
    lowered = system.measure(system.warm_start(ADAPTIVE), benchmark, system.fewest)
    reason = f"{lowered.correct} of {lowered.n} against {fixed.correct} with the pipeline's own mask"
    if system.has_part(DRAFTER):
        reason += f"; the drafter alone solves {system.measure(DRAFTER, benchmark, None).correct}"
    return conclude(
        paired(lowered, fixed),
        claim_id="adaptive-k-helps",
        system=f"{system.name}, adaptive k against its own mask, S={system.fewest}",
        benchmark=benchmark,
        reason=reason,
        signature=lowered.signature,
    )


def adaptive_tension(system: LiveSystem, benchmark: str) -> Verdict:
    """Ask whether the tension is left when k adapts to each draft: that pipeline against its better component.

    As in :func:`tension` both comparisons count, so the p-value is Holm's over the components.
    """
    lowered = system.measure(system.warm_start(ADAPTIVE), benchmark, system.fewest)
    parts = [role for role in (DRAFTER, REFINER) if system.has_part(role)]
    if not parts:
        system.part(DRAFTER)  # says which method is missing
    cells = {role: system.measure(role, benchmark, None if role == DRAFTER else system.fewest) for role in parts}
    found = {role: paired(lowered, scores) for role, scores in cells.items()}
    adjusted = dict(zip(found, holm([comparison.p_value for comparison in found.values()]), strict=True))
    better = max(parts, key=lambda role: cells[role].correct)
    told = ", ".join(f"{role} {cells[role].correct}" for role in parts)
    return conclude(
        found[better],
        claim_id="adaptive-k-keeps-tension",
        system=f"{system.name}, adaptive k against its better component, S={system.fewest}",
        benchmark=benchmark,
        reason=f"of {lowered.n} problems: with adaptive k {lowered.correct}, {told}; with its own mask the pipeline "
        f"solves {system.measure(PIPELINE, benchmark, system.fewest).correct}",
        signature=lowered.signature,
        adjusted_p=adjusted[better],
    )


def sweep(system: LiveSystem, benchmark: str) -> list[tuple[str, Mapping[str, str]]]:
    """Return a row for each mask of the sweep: share hidden, share right, broken and fixed drafts."""
    drafter = system.measure(DRAFTER, benchmark, None)
    rows: list[tuple[str, Mapping[str, str]]] = []
    roles = {policy.describe(): system.warm_start(policy) for policy in (*SWEEP, ADAPTIVE)}
    for name, role in {"its own": PIPELINE, **roles}.items():
        scores = system.measure(role, benchmark, system.fewest)
        moved = transitions(right(drafter), right(scores))
        tokens = sum(len(sample.trace.masked) for sample in scores.samples if sample.trace is not None)
        hidden = sum(sum(sample.trace.masked) for sample in scores.samples if sample.trace is not None)
        cells = {
            "hidden %": f"{100 * hidden / tokens:.0f}" if tokens else "-",
            "right %": f"{100 * scores.value:.0f}",
            "broken": str(moved.broken),
            "fixed": str(moved.fixed),
        }
        rows.append((name, cells))
    return rows


def _steps(system: LiveSystem, role: str) -> int | None:
    return None if role == DRAFTER else system.most
