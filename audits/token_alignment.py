"""Pitfall 4: uncertainty carried from drafter to refiner by token index instead of by characters.

Two tokenizers cut one text at different places, so the seventh token of one is not the seventh of the other. What the
pipeline's own ``draft`` and ``project`` give is enough to see the damage: both tokenizations as spans, the entropies on
one side and the pipeline's scores on the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from audits.live_systems import PIPELINE, MissingCapabilityError
from audits.live_verdicts import conclude, paired
from audits.statistics import decide
from audits.statistics.bounded import bounded_mean
from audits.warm_starts import CAPABILITIES, WarmStart
from protocols.problems import ChoiceProblem
from specref_core import loading
from specref_core.alignment import project
from specref_core.errors import GeneratorError
from specref_core.fingerprint import settings_digest
from specref_core.generator import Budget, Projection
from specref_core.masking import MaskPolicy, normalise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from audits.live_systems import LiveSystem
    from audits.verdicts import Verdict
    from specref_core.generator import Completion, Draft, Generator, Scaffold

ENTROPY_ONLY = MaskPolicy(math=False, tail=False)
"""The part of the paper's mask that reads entropies; the other two rules look at the refiner's own tokens."""


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """One draft, as its pipeline tokenizes and scores it for the refiner.

    Attributes:
        draft: the text with the drafter's tokens and entropies.
        seen: the refiner's tokens of the same text and the score that the pipeline gives each.
    """

    draft: Draft
    seen: Projection

    @property
    def by_characters(self) -> NDArray[np.float64]:
        """(n,) score of each refiner token, through the characters that it shares with the drafter's tokens.

        Where both tokenizers cut the text alike, a token is its own counterpart, pieces of one character included.
        """
        return self.by_index if self.same_tokens else _reference(self.draft, self.seen.spans, "mean")

    @property
    def by_index(self) -> NDArray[np.float64]:
        """(n,) score of each refiner token, taken from the drafter's token of the same number."""
        return index_transfer(self.draft, len(self.seen.spans))

    @property
    def same_tokens(self) -> bool:
        """Whether both tokenizers cut this text at the same places."""
        return np.array_equal(np.asarray(self.draft.spans).reshape(-1, 2), self.seen.spans)


def index_transfer(draft: Draft, count: int) -> NDArray[np.float64]:
    """Return (count,) scores in [0, 1] by token index; refiner tokens beyond the drafter's last get 0."""
    scores = np.zeros(count)
    given = normalise(draft.entropies, draft.vocab_size)[:count]
    scores[: len(given)] = given
    return scores


def drafts(system: LiveSystem, benchmark: str) -> list[Aligned]:
    """Draft every problem once more and have the pipeline project each draft; empty drafts are left out.

    Raises:
        MissingCapabilityError: the pipeline lacks ``draft`` or ``project``.
        GeneratorError: what it returned is no projection of its draft.
    """
    pipeline: Any = system.pipeline
    missing = [name for name in ("draft", "project") if not isinstance(pipeline, CAPABILITIES[name])]
    if missing:
        told = ", ".join(f"{name}()" for name in missing)
        raise MissingCapabilityError(
            f"{system.name!r} has no {told}; add what specref_core.generator describes under Has… to enable this"
        )
    chosen = system.benchmark(benchmark)
    prompts = [problem.prompt for problem in chosen.problems if not isinstance(problem, ChoiceProblem)]
    found = _drafts_on_record(system, benchmark)
    if found is None:
        budget = Budget(steps=system.fewest, max_new_tokens=chosen.max_new_tokens)
        found = _asked(system, "draft", lambda: list(pipeline.draft(prompts, budget=budget, seed=0)))
        if len(found) != len(prompts):
            raise GeneratorError(f"draft() of {system.name!r} returned {len(found)} drafts for {len(prompts)} prompts")
    found = [draft for draft in found if draft.token_ids]

    def project_all() -> list[tuple[Any, Any]]:
        every = [_projected(system, draft) for draft in found]
        return [(seen.spans.tolist(), seen.scores.tolist()) for seen in every]

    seen = system.recall(f"projections|{benchmark}|{settings_digest(*found)}", project_all)
    return [
        Aligned(draft, Projection(np.array(spans, np.int64).reshape(-1, 2), np.array(scores, np.float64)))
        for draft, (spans, scores) in zip(found, seen, strict=True)
    ]


def misplaced(system: LiveSystem, benchmark: str, aligned: Sequence[Aligned]) -> Verdict:
    """Judge the pipeline's own projection against one through characters, the nearer of mean and maximum."""
    shares = []
    for one in aligned:
        own = flags(one, one.seen.scores)
        references = [_reference(one.draft, one.seen.spans, how) for how in ("mean", "max")]
        references += [one.by_index] if one.same_tokens else []
        shares.append(min(float((own != flags(one, scores)).mean()) for scores in references))
    return _judge_shares(
        system,
        benchmark,
        shares,
        claim_id="projection-misplaced",
        told=f"{system.name}'s own projection",
        reason=f"of {len(shares)} drafts {sum(share > 0 for share in shares)} have tokens hidden or kept in error",
    )


def moved(system: LiveSystem, benchmark: str, aligned: Sequence[Aligned]) -> Verdict:
    """Judge how much of the entropy mask index transfer would get wrong."""
    shares = [float((flags(one, one.by_index) != flags(one, one.by_characters)).mean()) for one in aligned]
    whole = [float((_whole(one, one.by_index) != _whole(one, one.by_characters)).mean()) for one in aligned]
    same = sum(one.same_tokens for one in aligned)
    return _judge_shares(
        system,
        benchmark,
        shares,
        claim_id="index-transfer-moves-mask",
        told=f"{system.name}'s two tokenizers",
        reason=f"{same} of {len(aligned)} drafts are cut alike by both; with math expansion and tail truncation on top "
        f"{100 * np.mean(whole):.0f} points of the mask still differ",
    )


def costs(system: LiveSystem, benchmark: str) -> Verdict:
    """Compare a pipeline that transfers by index with one that transfers by characters, same drafts, same policy."""
    policy = getattr(system.pipeline, "policy", None)
    by_characters = PIPELINE
    if not isinstance(policy, MaskPolicy):
        # Whatever the pipeline's own mask is made of, the comparison must differ in the transfer only.
        policy = MaskPolicy()
        by_characters = system.warm_start(policy)
    system.warm_start(policy)  # says which method is missing
    by_index = system.add_part(IndexTransfer(system.pipeline, policy))
    part = system.part(by_index)
    variant = getattr(part, "inner", part)
    assert isinstance(variant, IndexTransfer)
    variant.remember(_drafts_by_prompt(system, benchmark))
    first, second = (system.measure(role, benchmark, system.fewest) for role in (by_index, by_characters))
    return conclude(
        paired(first, second),
        claim_id="index-transfer-costs",
        system=f"{system.name}, by index against by characters, S={system.fewest}",
        benchmark=benchmark,
        reason=f"{first.correct} of {first.n} by index, {second.correct} by characters",
        signature=first.signature,
    )


def figures(aligned: Sequence[Aligned]) -> Mapping[str, str]:
    """Return what index transfer does to the drafts of one benchmark, in tokens."""
    right = np.concatenate([flags(one, one.by_characters) for one in aligned])
    naive = np.concatenate([flags(one, one.by_index) for one in aligned])
    return {
        "drafts": str(len(aligned)),
        "cut alike": str(sum(one.same_tokens for one in aligned)),
        "drafter tokens": str(sum(len(one.draft.token_ids) for one in aligned)),
        "refiner tokens": str(len(right)),
        "hidden": str(int(right.sum())),
        "missed by index": str(int((right & ~naive).sum())),
        "hidden in vain": str(int((naive & ~right).sum())),
    }


def flags(one: Aligned, scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return (n,) which refiner tokens the entropy part of the paper's mask hides under these scores."""
    return ENTROPY_ONLY.mask(scores, one.draft.text, one.seen.spans)


class IndexTransfer(WarmStart):
    """A pipeline whose entropies reach the refiner by token index.

    Args:
        pipeline: with ``draft``, ``project`` and ``refine``.
        policy: which tokens are hidden.
    """

    def __init__(self, pipeline: Generator, policy: MaskPolicy) -> None:
        self._drafting = _Remembering(pipeline)
        super().__init__(self._drafting, policy)
        self.told = f"{self.told}, by token index"
        self.name = f"{pipeline.name} with {self.told}"

    def remember(self, drafts: Mapping[str, Draft]) -> None:
        """Take drafts that the pipeline made before with seed 0, by prompt, instead of having them made again."""
        self._drafting.known.update(drafts)

    def fingerprint(self) -> str:
        """Name the pipeline, the policy and the transfer."""
        return f"{loading.fingerprint(self._drafting.pipeline)}+{self.told}"

    def scores(self, draft: Draft, seen: Projection) -> NDArray[np.float64]:
        """Take the entropy of the drafter's token of the same number."""
        return index_transfer(draft, len(seen.spans))


class _Remembering:
    """A pipeline that hands out drafts it made before."""

    def __init__(self, pipeline: Any) -> None:
        self.name: str = pipeline.name
        self.pipeline = pipeline
        self.known: dict[str, Draft] = {}

    def generate(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Completion]:
        """Ask the pipeline."""
        done: list[Completion] = self.pipeline.generate(prompts, budget=budget, seed=seed)
        return done

    def draft(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Draft]:
        """Return the drafts of these prompts, from memory where it holds all of them."""
        if seed == 0 and all(prompt in self.known for prompt in prompts):
            return [self.known[prompt] for prompt in prompts]
        drafted: list[Draft] = self.pipeline.draft(prompts, budget=budget, seed=seed)
        return drafted

    def project(self, draft: Draft) -> Projection:
        """Ask the pipeline."""
        seen: Projection = self.pipeline.project(draft)
        return seen

    def refine(
        self, prompts: Sequence[str], scaffolds: Sequence[Scaffold], *, budget: Budget, seed: int
    ) -> list[Completion]:
        """Ask the pipeline."""
        done: list[Completion] = self.pipeline.refine(prompts, scaffolds, budget=budget, seed=seed)
        return done


def _whole(one: Aligned, scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    return MaskPolicy().mask(scores, one.draft.text, one.seen.spans)


def _reference(draft: Draft, spans: NDArray[np.int64], how: str) -> NDArray[np.float64]:
    return normalise(project(draft.entropies, draft.spans, spans, how=how), draft.vocab_size)


def _drafts_on_record(system: LiveSystem, benchmark: str) -> list[Draft] | None:
    """Return the drafts that the pipeline's own completions carry, where each of them carries one."""
    samples = system.measure(PIPELINE, benchmark, system.fewest).samples
    found = [sample.trace.draft for sample in samples if sample.trace is not None and sample.trace.draft is not None]
    return found if len(found) == len(samples) else None


def _drafts_by_prompt(system: LiveSystem, benchmark: str) -> dict[str, Draft]:
    found = _drafts_on_record(system, benchmark)
    problems = system.benchmark(benchmark).problems
    prompts = [problem.prompt for problem in problems if not isinstance(problem, ChoiceProblem)]
    return dict(zip(prompts, found, strict=True)) if found is not None else {}


def _projected(system: LiveSystem, draft: Draft) -> Projection:
    pipeline: Any = system.pipeline
    seen = _asked(system, "project", lambda: pipeline.project(draft))
    if not isinstance(seen, Projection):
        raise GeneratorError(f"project() of {system.name!r} returned a {type(seen).__name__}; expected a Projection")
    spans, scores = np.asarray(seen.spans), np.asarray(seen.scores, dtype=np.float64)
    if spans.shape != (len(scores), 2) or not np.isfinite(scores).all():
        raise GeneratorError(
            f"project() of {system.name!r} returned spans of shape {spans.shape} and {len(scores)} scores; expected "
            "(n, 2) character offsets and one finite score each"
        )
    return Projection(spans, scores)


def _asked(system: LiveSystem, method: str, call: Callable[[], Any]) -> Any:
    """Call a method of the pipeline, behind the clock where the system is not trusted to come back."""
    timed = getattr(system.part(PIPELINE), "timed", None)
    try:
        return call() if timed is None else timed(call, f"{method}()")
    except Exception as error:
        if isinstance(error, GeneratorError):
            raise
        raise GeneratorError(f"{method}() of {system.name!r} raised {type(error).__name__}: {error}") from error


def _judge_shares(
    system: LiveSystem, benchmark: str, shares: Sequence[float], *, claim_id: str, told: str, reason: str
) -> Verdict:
    return decide(
        bounded_mean(shares),
        claim=claim_id,
        system=told,
        benchmark=benchmark,
        margin=0.05,
        direction=1,
        reason=reason,
        signature=str(system.measure(PIPELINE, benchmark, system.fewest).signature),
        worthwhile=0.05,
    )
