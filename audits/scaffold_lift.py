"""Finding 1 and its controls: what a warm start adds at few steps, and which of the kept tokens add it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audits.live_systems import DRAFTER, PIPELINE, REFINER
from audits.live_verdicts import conclude, conclude_share, paired, right
from audits.statistics import holm
from fixtures.nano.analysis import answer_hidden
from protocols.score import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from audits.live_systems import LiveSystem
    from audits.verdicts import Verdict
    from protocols.scores import Scores

CONTROLS = ("structure", "content", "random", "low-entropy")
"""Scaffolds compared at equal count of kept tokens."""
ANSWER_FORM = {
    "gsm8k": "arithmetic",
    "math": "arithmetic",
    "nano-arithmetic": "arithmetic",
    "nano-booleans": "booleans",
}
"""How a benchmark's final answer is written, where :func:`fixtures.nano.analysis.answer_hidden` can find it."""
_DOES_NOT_PARSE = (Failure.SYNTAX, Failure.INDENTATION)


def lift(system: LiveSystem, benchmarks: Sequence[str]) -> list[Verdict]:
    """Compare pipeline and refiner alone at few steps, Holm-adjusted over the benchmarks, in their order."""
    pairs = [
        (system.measure(PIPELINE, b, system.fewest), system.measure(REFINER, b, system.fewest)) for b in benchmarks
    ]
    found = [paired(first, second) for first, second in pairs]
    verdicts = []
    for (pipeline, refiner), comparison, adjusted in zip(
        pairs, found, holm([comparison.p_value for comparison in found]), strict=True
    ):
        reason = f"{pipeline.correct} of {pipeline.n} against {refiner.correct}"
        if system.has_part(DRAFTER):
            reason += f"; the drafter alone solves {system.measure(DRAFTER, pipeline.benchmark, None).correct}"
        verdicts.append(
            conclude(
                comparison,
                claim_id="scaffold-lift",
                system=f"{system.name} against its refiner, S={system.fewest}",
                benchmark=pipeline.benchmark,
                reason=reason,
                signature=pipeline.signature,
                adjusted_p=adjusted,
            )
        )
    return verdicts


def control(system: LiveSystem, benchmark: str, claim_id: str, kept: str, against: str) -> Verdict:
    """Compare two controlled scaffolds that keep the same number of draft tokens."""
    first = system.measure(system.warm_start(kept), benchmark, system.fewest)
    second = system.measure(system.warm_start(against), benchmark, system.fewest)
    return conclude(
        paired(first, second),
        claim_id=claim_id,
        system=f"{system.name}, {kept} against {against}, S={system.fewest}",
        benchmark=benchmark,
        reason=f"{first.correct} of {first.n} with {kept} kept, {second.correct} with as many {against} tokens",
        signature=first.signature,
    )


def structural_failures(system: LiveSystem, benchmark: str) -> Verdict | None:
    """Judge what share of the lone refiner's failures are of form; ``None`` where nothing failed."""
    scores = system.measure(REFINER, benchmark, system.fewest)
    failed = [sample.score.failure for sample in scores.samples if sample.score.failure is not None]
    if not failed:
        return None
    structural = sum(failure.structural for failure in failed)
    told = ", ".join(f"{count} {failure.value}" for failure, count in scores.failures.items())
    return conclude_share(
        structural,
        len(failed),
        claim_id="structural-failures",
        system=f"{system.name}'s refiner, S={system.fewest}",
        benchmark=benchmark,
        reason=told,
        signature=scores.signature,
    )


def copied_answers(system: LiveSystem, benchmark: str) -> Verdict | None:
    """Judge what share of the pipeline's right answers the drafter wrote and the mask left alone.

    Returns:
        The verdict; ``None`` where no right answer can be traced to kept or hidden tokens.
    """
    scores = system.measure(PIPELINE, benchmark, system.fewest)
    form = ANSWER_FORM.get(benchmark, "")
    hidden = [
        answer_hidden(sample.trace, form)
        for sample in scores.samples
        if sample.score.correct and sample.trace is not None and sample.trace.initial_tokens
    ]
    known = [flag for flag in hidden if flag is not None]
    if not known:
        return None
    return conclude_share(
        known.count(False),
        len(known),
        claim_id="answers-copied",
        system=f"{system.name}, S={system.fewest}",
        benchmark=benchmark,
        reason=f"of {len(known)} right answers {known.count(False)} stood in the draft and were never hidden",
        signature=scores.signature,
    )


def decomposition(scores: Scores, *, code: bool) -> Mapping[str, str]:
    """Return the shares that parse, run and are right, and the failures by kind, in percent of all samples."""
    failures = [sample.score.failure for sample in scores.samples]

    def percent(count: int) -> str:
        return f"{100 * count / scores.n:.0f}"

    cells = {}
    if code:
        cells["parses"] = percent(sum(failure not in _DOES_NOT_PARSE for failure in failures))
        cells["runs"] = percent(sum(failure in (None, Failure.WRONG_ANSWER) for failure in failures))
    else:
        cells["answers"] = percent(sum(failure is not Failure.NO_ANSWER for failure in failures))
    cells["right"] = percent(sum(right(scores)))
    if code:
        cells["structural"] = percent(sum(failure is not None and failure.structural for failure in failures))
    cells["wrong answer"] = percent(failures.count(Failure.WRONG_ANSWER))
    return cells
