"""A left-to-right model that a block drafter speeds up: as the drafter of a pipeline, and as a generator of its own."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from specref_core.cost import ModelShape, generation_flops
from specref_core.decoding.block_speculation import Speculated, Verification, speculate
from specref_core.drafting.transformers import TransformersDrafter
from specref_core.errors import InputError
from specref_core.fingerprint import settings_digest, weights_digest
from specref_core.generator import Completion, Cost
from specref_core.seeding import row_seed
from specref_core.standalone import StandaloneDrafter, draft_trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from specref_core.generator import Budget, Draft
    from specref_core.models.block_drafter import BlockDrafter


class BlockSpeculativeDrafter(TransformersDrafter):
    """``TransformersDrafter`` with fewer passes: the same drafts, entropies, stop strings and seeds.

    Verified by matching, its drafts are the target's own at every temperature; verified by rejection, they have the
    same distribution. ``batch_size`` means nothing here: rows are decoded one by one.

    Args:
        model: the target, a causal LM of the library.
        tokenizer: its fast tokenizer.
        block_drafter: made for this target.
        verification: ``match`` or ``rejection``, see :mod:`specref_core.decoding.block_speculation`.
        **settings: those of ``TransformersDrafter``.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        block_drafter: BlockDrafter,
        *,
        verification: Verification = "match",
        **settings: Any,
    ) -> None:
        super().__init__(model, tokenizer, **settings)
        if verification not in ("match", "rejection"):
            raise InputError(f"verification={verification!r}: expected match or rejection")
        width = model.config.get_text_config().hidden_size
        if block_drafter.config.hidden != width:
            raise InputError(
                f"the block drafter is {block_drafter.config.hidden} wide, the target {width}; "
                "it was made for another target"
            )
        self.block_drafter = block_drafter.eval()
        self.verification: Verification = verification
        self._speculated: dict[tuple[str, tuple[int, ...]], Speculated] = {}
        self._drafter_weights: str | None = None

    def speculate(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Speculated]:
        """Return the continuations as tokens, with the rounds that made them."""
        found = []
        for prompt, ids in zip(prompts, self._encode_prompts(prompts), strict=True):
            found.append(
                speculate(
                    self.model,
                    self.block_drafter,
                    ids,
                    room=self._room(len(ids), budget.max_new_tokens),
                    stream=np.random.default_rng(row_seed(seed, prompt, "draft")),
                    stopped=lambda tokens: tokens[-1] in self.end_ids or self._stopped(tokens),
                    temperature=self.temperature,
                    top_p=self.top_p,
                    verification=self.verification,
                    alone=self._read_alone,
                )
            )
        return found

    def _read_alone(self, ids: list[int], before: int, cache: Any) -> tuple[Tensor, Any]:
        """Read tokens as :class:`TransformersDrafter` does with a batch of one."""
        mask = torch.ones(1, before + len(ids), dtype=torch.int64)
        logits, cache = self._forward(torch.tensor([ids]), mask, cache)
        return logits[0, -1], cache

    def draft(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Draft]:
        """Continue every prompt; see :meth:`TransformersDrafter.draft`."""
        speculated = self.speculate(prompts, budget=budget, seed=seed)
        drafts = self.drafts_of(prompts, speculated)
        self._speculated = {
            (prompt, draft.token_ids): made for prompt, draft, made in zip(prompts, drafts, speculated, strict=True)
        }
        return drafts

    def drafts_of(self, prompts: Sequence[str], speculated: Sequence[Speculated]) -> list[Draft]:
        """Return the drafts that continuations stand for."""
        return [
            self._as_draft(ids, made.tokens, made.entropies, made.log_probs)
            for ids, made in zip(self._encode_prompts(prompts), speculated, strict=True)
        ]

    def flops(self, prompt: str, draft: Draft) -> float:
        """Return the operations of a draft: of its rounds if it is of the latest call, else of the target alone."""
        made = self._speculated.get((prompt, draft.token_ids))
        return super().flops(prompt, draft) if made is None else self.speculation_flops(prompt, made)

    def speculation_flops(self, prompt: str, made: Speculated) -> float:
        """Return the operations of target and block drafter together, by formula (``specref_core.cost``)."""
        target = ModelShape.of(self.model.config)
        config = self.block_drafter.config
        own = ModelShape(
            width=config.hidden,
            layers=config.layers,
            heads=config.heads,
            kv_heads=config.heads,
            head_size=config.hidden // config.heads,
            mlp_width=config.mlp or 3 * config.hidden,
            mlp_matrices=3,
            vocab=target.vocab,
        )
        length = len(self._encode_prompts([prompt])[0])
        total = generation_flops(target, prompt=length, generated=1)
        for one in made.rounds:
            fed = len(one.drafted) + 1
            before = length + one.start - 1
            total += target.layers * target.layer(queries=fed, keys=before + fed, new_keys=fed) + target.head(fed)
            # Keys of the context are projected anew in every round.
            keys = before + config.block_size
            total += own.layers * own.layer(queries=config.block_size, keys=keys, new_keys=keys)
            total += own.head(config.block_size - 1)
        # Every position that the target computed is read once.
        return total + 2 * made.positions * len(config.feature_layers) * config.hidden**2

    def fingerprint(self) -> str:
        """Name the weights of both models, tokenizer and settings."""
        if self._drafter_weights is None:
            self._drafter_weights = weights_digest(self.block_drafter)
        return settings_digest(
            super().fingerprint(), self._drafter_weights, self.block_drafter.config, self.verification
        )


class BlockSpeculator(StandaloneDrafter):
    """Block speculation as a generator: the draft is the answer, and its cost is that of its rounds.

    ``Cost.forward_passes`` counts the target's passes, ``row_forwards`` is the same number (rows are decoded one by
    one), ``drafted_tokens`` the tokens written. Mean acceptance length is tokens written a round.

    Args:
        drafter: target and block drafter.
        name: how it is called in tables.
    """

    def __init__(self, drafter: BlockSpeculativeDrafter, *, name: str = "block-speculation") -> None:
        super().__init__(drafter, name=name)
        self.speculative = drafter

    def generate(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Completion]:
        """Continue every prompt. ``budget.steps`` means nothing to an AR model."""
        completions = []
        for prompt in prompts:
            started = perf_counter()
            made = self.speculative.speculate([prompt], budget=budget, seed=seed)
            draft = self.speculative.drafts_of([prompt], made)[0]
            passes = made[0].forward_passes
            cost = Cost(
                nominal_steps=0,
                forward_passes=passes,
                row_forwards=passes,
                drafted_tokens=len(draft.token_ids),
                seconds=perf_counter() - started,
                flops=self.speculative.speculation_flops(prompt, made[0]),
            )
            completions.append(Completion(draft.text, cost, draft_trace(draft)))
        return completions
