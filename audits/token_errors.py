"""Finding 2, token by token: which tokens of a draft were wrong, which of them entropy finds, and which the mask hides.

A token of a right draft is right. A token of a wrong draft is wrong where it must change to reach the nearest right
text that is known: the benchmark's own solution, or a right completion of any part of the system. Drafts that no right
text resembles (:data:`NEAR`) are left out: another way to say the same is no error, and the two cannot be told apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

import numpy as np

from audits.claims import claim
from audits.live_systems import DRAFTER, PIPELINE, REFINER
from audits.statistics import auroc, decide
from audits.statistics.bounded import bounded_mean
from fixtures.nano.analysis import draft_spans

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from audits.live_systems import LiveSystem
    from audits.verdicts import Verdict
    from protocols.scores import SampleScore
    from specref_core.generator import Draft, Trace

NEAR = 0.75
"""Share of characters that a wrong draft must have in common with a right text to be compared with it."""
RESAMPLES = 400


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One draft whose errors are known.

    Attributes:
        problem: place in the benchmark.
        draft: with the entropy of each of its tokens.
        wrong: (characters,) bool, those that must change; one more entry for what is missing at the end.
        traces: of the pipeline on this draft, one a budget that was asked for.
    """

    problem: int
    draft: Draft
    wrong: NDArray[np.bool_]
    traces: tuple[Trace, ...]


def judged_drafts(system: LiveSystem, benchmark: str) -> tuple[list[Judged], int]:
    """Return the drafts whose wrong characters are known, and how many wrong drafts resemble no right text.

    Raises:
        MissingCapabilityError: the system hands out no drafter.
    """
    drafter = system.measure(DRAFTER, benchmark, None).samples
    runs = [system.measure(PIPELINE, benchmark, steps).samples for steps in (system.fewest, system.most)]
    others = [*runs]
    if system.has_part(REFINER):
        others.append(system.measure(REFINER, benchmark, system.most).samples)
    references = [getattr(problem, "reference", "") for problem in system.benchmark(benchmark).problems]
    found, unlike = [], 0
    for place, sample in enumerate(drafter):
        draft = None if sample.trace is None else sample.trace.draft
        if draft is None or not draft.text:
            continue
        if sample.score.correct:
            wrong: NDArray[np.bool_] | None = np.zeros(len(draft.text) + 1, dtype=bool)
        else:
            rows = [samples[place] for samples in others]
            right_texts = {row.text for row in rows if row.score.correct} | {references[place]}
            wrong = wrong_characters(draft.text, sorted(right_texts - {""}))
        if wrong is None:
            unlike += 1
            continue
        traces = tuple(trace for samples in runs if (trace := _same_draft(samples[place], draft)) is not None)
        found.append(Judged(place, draft, wrong, traces))
    return found, unlike


def wrong_characters(text: str, right_texts: Sequence[str]) -> NDArray[np.bool_] | None:
    """Return which characters must change to reach the nearest right text, a last entry for a missing end.

    Args:
        text: of a wrong draft.
        right_texts: known right ones.

    Returns:
        (len(text) + 1,) bool: characters replaced or taken away, and the one before which something is missing.
        ``None`` where no right text is near.
    """
    matches = [(SequenceMatcher(None, text, other, autojunk=False), other) for other in right_texts]
    near = [(match.ratio(), other) for match, other in matches if match.real_quick_ratio() >= NEAR]
    best = max(near, default=None)
    return must_change(text, best[1]) if best is not None and best[0] >= NEAR else None


def must_change(text: str, other: str) -> NDArray[np.bool_]:
    """Return the characters that a shortest edit of one text into another touches (Levenshtein, Wagner and Fischer).

    Args:
        text: to be edited.
        other: to arrive at.

    Returns:
        (len(text) + 1,) bool: characters replaced or taken away, and each before which something is put in.
    """
    n, m = len(text), len(other)
    ones, others = (np.array([ord(c) for c in reversed(t)], dtype=np.int64) for t in (text, other))
    steps = np.arange(m + 1)
    rows = [steps]  # rows[a][b]: edits between the last a characters of one and the last b of the other
    for i, character in enumerate(ones, start=1):
        row = np.minimum(rows[-1] + 1, np.append(i, rows[-1][:-1] + (others != character)))
        # Putting in characters runs along the row: the best of all places it may have started from.
        rows.append(np.minimum.accumulate(row - steps) + steps)
    wrong = np.zeros(n + 1, dtype=bool)
    i = j = 0
    # From the start: of two shortest edits the one that agrees for longer is taken, as drafts are written forwards.
    while i < n or j < m:
        left = rows[n - i][m - j]
        if i < n and j < m and left == rows[n - i - 1][m - j - 1] + (text[i] != other[j]):
            wrong[i] |= text[i] != other[j]
            i, j = i + 1, j + 1
        elif i < n and left == rows[n - i - 1][m - j] + 1:
            wrong[i] = True
            i += 1
        else:
            wrong[i] = True
            j += 1
    return wrong


def wrong_tokens(wrong: NDArray[np.bool_], spans: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (n,) which tokens hold a wrong character; what is missing at the end is the last token's."""
    if not len(spans):
        return np.zeros(0, dtype=bool)
    total = np.concatenate([[0], np.cumsum(wrong)])
    ends = np.where(spans[:, 1] == len(wrong) - 1, len(wrong), spans[:, 1])
    flags: NDArray[np.bool_] = (total[ends] - total[spans[:, 0]] > 0) & (spans[:, 1] > spans[:, 0])
    return flags


def entropy_finds(system: LiveSystem, benchmark: str, drafts: Sequence[Judged], unlike: int) -> Verdict | None:
    """Judge how well a token's entropy tells whether it is wrong; whole problems are resampled.

    Returns:
        The verdict; ``None`` where all tokens are right, or all wrong.
    """
    entropies: list[float] = []
    labels: list[bool] = []
    groups: list[int] = []
    for one in drafts:
        spans = np.asarray(one.draft.spans, dtype=np.int64).reshape(-1, 2)
        shown = spans[:, 1] > spans[:, 0]
        entropies += np.asarray(one.draft.entropies)[shown].tolist()
        labels += wrong_tokens(one.wrong, spans)[shown].tolist()
        groups += [one.problem] * int(shown.sum())
    if sum(labels) in (0, len(labels)):
        return None
    about = claim("entropy-finds-wrong-tokens")
    # Few problems make a bootstrap too sure of itself, and many tokens of one problem the other: the wider end counts.
    by_problem, by_token = auroc(entropies, labels, groups=groups, resamples=RESAMPLES), auroc(entropies, labels)
    found = replace(
        by_problem,
        low=min(by_problem.low, by_token.low),
        high=max(by_problem.high, by_token.high),
        test="Mann-Whitney, wider of bootstrap over problems and Newcombe interval",
    )
    return decide(
        found,
        claim=about.id,
        system=f"{system.name}'s drafter",
        benchmark=benchmark,
        margin=about.margin,
        direction=about.direction,
        scale=1.0,
        unit=about.unit,
        reason=f"{sum(labels)} of {len(labels)} tokens of {len(drafts)} drafts are wrong; {unlike} wrong drafts "
        "resemble no right text; 0.5 is chance",
        signature=str(system.measure(DRAFTER, benchmark, None).signature),
        worthwhile=0.05,
    )


def hides_right(system: LiveSystem, benchmark: str, drafts: Sequence[Judged], unlike: int) -> Verdict | None:
    """Judge the share of hidden tokens that were right, problem by problem.

    Returns:
        The verdict; ``None`` where no trace tells what was hidden, or nothing was.
    """
    shares = []
    for one in drafts:
        if one.traces and (hidden := _hidden(one, one.traces[0])) is not None:
            was_hidden, was_wrong, _ = hidden
            if was_hidden.any():
                shares.append(float((~was_wrong)[was_hidden].mean()))
    if not shares:
        return None
    about = claim("hides-right-tokens")
    return decide(
        bounded_mean(shares),
        claim=about.id,
        system=system.name,
        benchmark=benchmark,
        margin=about.margin / 100,
        direction=about.direction,
        reason=f"{len(shares)} drafts with hidden tokens; {unlike} wrong drafts resemble no right text",
        signature=str(system.measure(PIPELINE, benchmark, system.fewest).signature),
        worthwhile=0.05,
    )


def figures(system: LiveSystem, drafts: Sequence[Judged]) -> Mapping[str, str]:
    """Return what the mask hid and what the refiner did to it, in percent of the refiner's tokens of all drafts."""
    followed = [one for one in drafts if len(one.traces) > 1]
    cells: dict[str, str] = {}
    for place, steps in enumerate((system.fewest, system.most)):
        rows = [row for one in followed if (row := _hidden(one, one.traces[place])) is not None]
        if not rows:
            return cells
        hidden, wrong, changed = (np.concatenate(column) for column in zip(*rows, strict=True))
        if not cells:
            cells["tokens"] = str(len(hidden))
            cells["wrong"] = _percent(wrong)
            cells["hidden"] = _percent(hidden)
            cells["of hidden: right before"] = _percent(~wrong[hidden])
            cells["of wrong: kept"] = _percent(~hidden[wrong])
        cells[f"of hidden right: changed, S={steps}"] = _percent(changed[hidden & ~wrong])
    return cells


def _hidden(one: Judged, trace: Trace) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Return which refiner tokens of a draft were hidden, wrong, and changed; ``None`` without tokens."""
    spans = draft_spans(trace)
    shown = spans[:, 1] > spans[:, 0]
    if not shown.any():
        return None
    changed = np.array([a != b for a, b in zip(trace.initial_tokens, trace.final_tokens, strict=True)])
    return np.array(trace.masked)[shown], wrong_tokens(one.wrong, spans)[shown], changed[shown]


def _same_draft(sample: SampleScore, draft: Draft) -> Trace | None:
    """Return the pipeline's trace if it tells what it hid and started from this very draft, whole."""
    trace = sample.trace
    return trace if trace is not None and "".join(trace.initial_tokens) == draft.text else None


def _percent(flags: NDArray[np.bool_]) -> str:
    return f"{100 * flags.mean():.0f} %" if len(flags) else "-"
