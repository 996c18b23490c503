"""Credit copied from the draft: how much of a pipeline's text and of its right answers the drafter wrote.

A right answer that stood in the draft is the drafter's. What is left of the lift without such answers is refinement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from audits.claims import claim
from audits.live_systems import DRAFTER, PIPELINE, REFINER
from audits.live_verdicts import conclude, conclude_share, right
from audits.scaffold_lift import ANSWER_FORM
from audits.statistics import compare_paired, decide
from audits.statistics.bounded import bounded_mean
from fixtures.nano.analysis import answer_hidden

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audits.live_systems import LiveSystem
    from audits.verdicts import Verdict
    from specref_core.generator import Trace


def text_kept(system: LiveSystem, benchmark: str) -> Verdict | None:
    """Judge the share of final characters that stand on positions which were never hidden.

    Returns:
        The verdict; ``None`` where no completion tells which of its tokens were drafted and kept.
    """
    scores = system.measure(PIPELINE, benchmark, system.fewest)
    traces = [
        sample.trace for sample in scores.samples if sample.trace is not None and _starts_from_draft(sample.trace)
    ]
    origins = [origin for origin in map(origin_of_text, traces) if sum(origin)]
    if not origins:
        return None
    shares = [kept / (kept + same + changed) for kept, same, changed in origins]
    total = sum(map(sum, origins))
    same, changed = (sum(origin[i] for origin in origins) for i in (1, 2))
    about = claim("draft-text-kept")
    return decide(
        bounded_mean(shares),
        claim=about.id,
        system=f"{system.name}, S={system.fewest}",
        benchmark=benchmark,
        margin=about.margin / 100,
        direction=about.direction,
        reason=f"of the other characters {100 * same / total:.0f} points were hidden and written again as they were, "
        f"{100 * changed / total:.0f} points are new",
        signature=str(scores.signature),
        worthwhile=0.05,
    )


def origin_of_text(trace: Trace) -> tuple[int, int, int]:
    """Count the characters of a final text by where they come from: (kept, hidden and written again, new)."""
    counts = [0, 0, 0]
    for hidden, before, after in zip(trace.masked, trace.initial_tokens, trace.final_tokens, strict=True):
        counts[0 if not hidden else 1 if before == after else 2] += len(after)
    return counts[0], counts[1], counts[2]


def credit(system: LiveSystem, benchmark: str) -> Verdict | None:
    """Judge what share of the pipeline's right answers the drafter has right as well.

    Returns:
        The verdict; ``None`` where the pipeline has no right answer.
    """
    scores = system.measure(PIPELINE, benchmark, system.fewest)
    pairs = list(zip(right(scores), right(system.measure(DRAFTER, benchmark, None)), strict=True))
    earned = pairs.count((True, True)) + pairs.count((True, False))
    if not earned:
        return None
    return conclude_share(
        pairs.count((True, True)),
        earned,
        claim_id="credit-is-the-draft-s",
        system=f"{system.name}, S={system.fewest}",
        benchmark=benchmark,
        reason=f"of {earned} right answers {pairs.count((True, True))} were right in the draft, "
        f"{pairs.count((True, False))} were not; {pairs.count((False, True))} right drafts were lost",
        signature=scores.signature,
    )


def lift_without_copies(system: LiveSystem, benchmark: str) -> Verdict | None:
    """Compare pipeline and refiner on the problems that the drafter does not solve: no right answer there is a copy.

    Returns:
        The verdict; ``None`` where the drafter solves every problem.
    """
    scores = system.measure(PIPELINE, benchmark, system.fewest)
    alone = system.measure(REFINER, benchmark, system.fewest)
    scores.signature.require_comparable(alone.signature, named=("system", "steps"))
    drafted = right(system.measure(DRAFTER, benchmark, None))
    pairs = [(mine, its) for mine, its, solved in zip(right(scores), right(alone), drafted, strict=True) if not solved]
    if not pairs:
        return None
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    return conclude(
        compare_paired(first, second),
        claim_id="lift-without-copies",
        system=f"{system.name} against its refiner, S={system.fewest}",
        benchmark=benchmark,
        reason=f"of {len(pairs)} problems that the drafter gets wrong the pipeline solves {sum(first)}, the refiner "
        f"alone {sum(second)}; of all {scores.n} they solve {scores.correct} and {alone.correct}",
        signature=scores.signature,
    )


def figures(system: LiveSystem, benchmark: str) -> Mapping[str, str]:
    """Return where the right answers come from, and what is left of the lift without each kind of copy."""
    scores = system.measure(PIPELINE, benchmark, system.fewest)
    mine = right(scores)
    drafted = right(system.measure(DRAFTER, benchmark, None))
    untouched = [_is_the_draft(sample.text, sample.trace) for sample in scores.samples]
    form = ANSWER_FORM.get(benchmark, "")
    cells = {
        "right": str(sum(mine)),
        "the draft, byte for byte": str(sum(a and b for a, b in zip(mine, untouched, strict=True))),
        "draft right too": str(sum(a and b for a, b in zip(mine, drafted, strict=True))),
    }
    if form:
        kept = [
            sample.trace is not None and _starts_from_draft(sample.trace) and answer_hidden(sample.trace, form) is False
            for sample in scores.samples
        ]
        cells["answer never hidden"] = str(sum(a and b for a, b in zip(mine, kept, strict=True)))
    cells["fixed by refinement"] = str(sum(a and not b for a, b in zip(mine, drafted, strict=True)))
    if system.has_part(REFINER):
        alone = right(system.measure(REFINER, benchmark, system.fewest))
        unsolved = [place for place, solved in enumerate(drafted) if not solved]
        cells["lift, points"] = f"{100 * (sum(mine) - sum(alone)) / len(mine):+.0f}"
        if unsolved:
            left = sum(mine[place] - alone[place] for place in unsolved)
            cells["lift where the draft is wrong"] = f"{100 * left / len(unsolved):+.0f} (n={len(unsolved)})"
    return cells


def _starts_from_draft(trace: Trace) -> bool:
    return any(trace.initial_tokens)


def _is_the_draft(text: str, trace: Trace | None) -> bool:
    return trace is not None and trace.draft is not None and trace.draft.text == text
