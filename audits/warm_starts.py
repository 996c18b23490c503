"""Warm starts as generators: one pipeline's draft and refiner, and a choice of which draft tokens the refiner sees.

Everything goes through the capabilities ``draft``, ``project`` and ``refine``, so that the controlled scaffolds run on
anybody's pipeline that has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from specref_core import loading
from specref_core.generator import HasDraft, HasProjection, HasRefine, Scaffold
from specref_core.masking import MaskPolicy, count_for
from specref_core.scaffolds import reachable_count, scaffold_mask
from specref_core.seeding import row_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from specref_core.generator import Budget, Completion, Draft, Generator, Projection

Drafts: TypeAlias = "dict[tuple[tuple[str, ...], Budget, int], list[Draft]]"
"""Drafts by prompts of a call, budget and seed."""
KEPT_PERCENT = 40.0
"""Share of a draft that every controlled scaffold keeps at most: what k = 60 leaves (paper, section 3.1)."""
CAPABILITIES = {"draft": HasDraft, "project": HasProjection, "refine": HasRefine}


class WarmStart:
    """A pipeline whose choice of hidden tokens is replaced.

    Args:
        pipeline: with ``draft``, ``project`` and ``refine``.
        rule: a mask policy, or the name of a controlled scaffold (:data:`specref_core.scaffolds.SCAFFOLDS`). All
            scaffolds of one draft keep the same number of tokens: the largest, up to :data:`KEPT_PERCENT`, that
            structure and content can both reach.
        drafts: where drafts are looked up and left, so that warm starts of one pipeline draft a batch once.
    """

    def __init__(self, pipeline: Generator, rule: MaskPolicy | str, drafts: Drafts | None = None) -> None:
        self._pipeline: Any = pipeline
        self._drafts: Drafts = {} if drafts is None else drafts
        self.rule = rule
        self.told = rule if isinstance(rule, str) else rule.describe()
        self.name = f"{pipeline.name} with {self.told}"

    def generate(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Completion]:
        """Draft, hide what the rule hides, refine."""
        batch = (tuple(prompts), budget, seed)
        if batch not in self._drafts:
            self._drafts[batch] = self._pipeline.draft(prompts, budget=budget, seed=seed)
        drafts = self._drafts[batch]
        scaffolds = []
        for prompt, draft in zip(prompts, drafts, strict=True):
            seen = self._pipeline.project(draft)
            scores = self.scores(draft, seen)
            masked = self._mask(draft.text, seen.spans, scores, row_seed(seed, prompt, "scaffold"))
            scaffolds.append(Scaffold(draft.text, seen.spans, masked))
        refined: list[Completion] = self._pipeline.refine(prompts, scaffolds, budget=budget, seed=seed)
        return refined

    def scores(self, draft: Draft, seen: Projection) -> NDArray[np.float64]:
        """Return (n,) scores of the refiner's tokens: the pipeline's own; a variant may transfer them otherwise."""
        del draft
        return seen.scores

    def fingerprint(self) -> str:
        """Name the pipeline and the rule."""
        return f"{loading.fingerprint(self._pipeline)}+{self.told}"

    def _mask(self, text: str, spans: NDArray[np.int64], scores: NDArray[np.float64], seed: int) -> NDArray[np.bool_]:
        if isinstance(self.rule, MaskPolicy):
            return self.rule.mask(scores, text, spans)
        kept = reachable_count(text, spans, count_for(KEPT_PERCENT, len(spans)))
        return scaffold_mask(self.rule, text, spans, scores, kept, np.random.default_rng(seed))


def missing_capabilities(pipeline: object) -> list[str]:
    """Return the methods that a pipeline lacks for its tokens to be hidden by another rule."""
    return [name for name, kind in CAPABILITIES.items() if not isinstance(pipeline, kind)]
