"""Drafting with a causal language model of the transformers library (lines 1 and 2 of Algorithm 1).

One loop of its own: left padding, explicit positions, a key-value cache, and of each step's logits nothing is kept but
the chosen token, its log-probability and the entropy.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from specref_core.batching import Batches, BatchSize
from specref_core.continuation import decode_continuation, encode_continuation
from specref_core.cost import ModelShape, generation_flops
from specref_core.drafting.checkpoint import load_causal_lm
from specref_core.drafting.distribution import checked_entropy, choose, read
from specref_core.drafting.text_side import TextSide, by_length
from specref_core.errors import InputError
from specref_core.fingerprint import settings_digest, tokenizer_digest, weights_digest
from specref_core.memory import free_bytes, generation_bytes, number_bytes
from specref_core.models.vocabulary import end_ids
from specref_core.seeding import row_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from specref_core.generator import Budget, Draft, LikelihoodRequest, LogLikelihood, MonteCarlo

# Logits of a teacher-forced slice: at most this many numbers at once (256 MB in float32).
_LOGITS_AT_ONCE = 1 << 26


class TransformersDrafter(TextSide):
    """A causal language model that drafts and knows how sure it was of each token.

    Args:
        model: a causal LM of the library, already on its device.
        tokenizer: its fast tokenizer.
        temperature: 0 drafts greedily; otherwise tokens are drawn from the tempered distribution.
        top_p: nucleus of the draw; entropies are always of the full, raw distribution.
        batch_size: prompts drafted together, ``auto`` for as many as fit into the GPU's free memory; results do not
            depend on it beyond float noise.
        stop: strings that end a draft, which then stops before the first of them; none by default.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        batch_size: BatchSize = "auto",
        stop: Sequence[str] = (),
    ) -> None:
        config = model.config.get_text_config()
        generation = getattr(model, "generation_config", None)
        super().__init__(
            tokenizer,
            vocab_size=int(config.vocab_size),
            context_window=getattr(config, "max_position_embeddings", None),
            end_ids=end_ids(
                getattr(generation, "eos_token_id", None),
                getattr(model.config, "eos_token_id", None),
                getattr(tokenizer, "eos_token_id", None),
            ),
            temperature=temperature,
            top_p=top_p,
            stop=stop,
        )
        self.model = model
        self._batches = Batches(batch_size, "prompts")
        self._weights: str | None = None
        accepted = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._takes_logits_to_keep = "logits_to_keep" in accepted

    @classmethod
    def from_pretrained(
        cls,
        place: str | Path,
        *,
        dtype: str = "auto",
        device_map: Any = None,
        quantization: str | None = None,
        revision: str | None = None,
        **settings: Any,
    ) -> TransformersDrafter:
        """Load a drafter from a directory or the hub; ``settings`` are those of the constructor.

        Raises:
            CheckpointError: see :func:`specref_core.drafting.checkpoint.load_causal_lm`.
        """
        model, tokenizer = load_causal_lm(
            place, dtype=dtype, device_map=device_map, quantization=quantization, revision=revision
        )
        return cls(model, tokenizer, **settings)

    def draft(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Draft]:
        """Continue every prompt by at most ``budget.max_new_tokens`` tokens.

        A draft ends at the end token (which it contains, with an empty span), before a stop string (tokens past it have
        empty spans), at the budget, or where the model's context window is full.

        Args:
            prompts: any texts; an empty one starts from the model's begin token.
            budget: how many tokens.
            seed: with the prompt it decides a sampled draft, whatever shares the batch.

        Returns:
            One draft a prompt, in order.

        Raises:
            InputError: a prompt fills the context window, or is empty and there is no begin token.
        """
        encoded = self._encode_prompts(prompts)

        def write(batch: list[int]) -> list[Draft]:
            rows = []
            for i in batch:
                # One number a step from the row's own stream, whoever shares the batch.
                stream = np.random.default_rng(row_seed(seed, prompts[i], "draft"))
                rows.append(_Row(encoded[i], stream, self._room(len(encoded[i]), budget.max_new_tokens)))
            self._write(rows)
            return [self._finish(row) for row in rows]

        drafts = self._run(by_length(encoded), write, [len(ids) for ids in encoded], budget.max_new_tokens)
        return [drafts[i] for i in range(len(prompts))]

    def teacher_forced(
        self, prompts: Sequence[str], texts: Sequence[str], *, token_ids: Sequence[Sequence[int]] | None = None
    ) -> list[Draft]:
        """Return given continuations as drafts: the entropy of the next-token distribution before each token.

        Args:
            prompts: the texts before.
            texts: one continuation a prompt, tokenized by themselves.
            token_ids: the continuations' tokens where they are known (a draft's); ``texts`` is then ignored.

        Raises:
            InputError: the numbers of prompts and texts differ, or one pair does not fit the context window.
        """
        given = len(texts) if token_ids is None else len(token_ids)
        if given != len(prompts):
            raise InputError(f"{len(prompts)} prompts and {given} continuations; expected one a prompt")
        encoded = self._encode_prompts(prompts)
        if token_ids is None:
            tokenized = [encode_continuation(self.tokenizer, text) for text in texts]
            targets = [t.token_ids.tolist() for t in tokenized]
        else:
            targets = [[int(i) for i in ids] for ids in token_ids]
        for i, (before, after) in enumerate(zip(encoded, targets, strict=True)):
            if self.context_window is not None and len(before) + len(after) > self.context_window:
                raise InputError(
                    f"prompt {i} has {len(before)} tokens and its continuation {len(after)}; together they exceed the "
                    f"drafter's context window of {self.context_window}"
                )

        def score(batch: list[int]) -> list[Draft]:
            drafts = []
            scored = self._score([encoded[i] for i in batch], [targets[i] for i in batch])
            for i, (entropies, log_probs) in zip(batch, scored, strict=True):
                if token_ids is None:
                    text, spans = texts[i], tokenized[i].spans
                else:
                    hidden = self._hidden(targets[i])
                    decoded = decode_continuation(self.tokenizer, targets[i], context=encoded[i], hidden=hidden)
                    text, spans = decoded.text, decoded.spans
                drafts.append(self._draft(text, targets[i], spans, entropies, log_probs))
            return drafts

        both = [[*before, *after] for before, after in zip(encoded, targets, strict=True)]
        drafts = self._run(by_length(both), score, [len(ids) for ids in both], 0)
        return [drafts[i] for i in range(len(prompts))]

    def log_likelihood(
        self, requests: Sequence[LikelihoodRequest], *, monte_carlo: MonteCarlo, seed: int
    ) -> list[list[LogLikelihood]]:
        """Score every continuation of every request exactly; ``monte_carlo`` and ``seed`` change nothing."""
        del monte_carlo, seed
        from specref_core.likelihood import ar_log_likelihood

        return ar_log_likelihood(self.model, self.tokenizer, requests)

    def flops(self, prompt: str, draft: Draft) -> float:
        """Return the operations of one cached generation, by the formulas of :mod:`specref_core.cost`."""
        shape = ModelShape.of(self.model.config)
        return generation_flops(shape, prompt=len(self._encode_prompts([prompt])[0]), generated=len(draft.token_ids))

    def fingerprint(self) -> str:
        """Name weights, tokenizer and settings; the batch size is no part, it changes nothing."""
        if self._weights is None:
            self._weights = weights_digest(self.model)
        choices = (self.temperature, self.top_p, self.stop, self.model.dtype)
        return settings_digest(self._weights, tokenizer_digest(self.tokenizer), *choices)

    def _run(
        self, order: list[int], work: Callable[[list[int]], list[Draft]], lengths: list[int], generated: int
    ) -> dict[int, Draft]:
        """Run work in batches; ``lengths`` are the tokens that every item begins with."""

        def need(item: int) -> int:
            shape, width = ModelShape.of(self.model.config), number_bytes(self.model)
            return generation_bytes(shape, prompt=lengths[item], generated=generated, number_bytes=width)

        return self._batches.run(order, work, need=need, free=lambda: free_bytes(self.model))

    @torch.inference_mode()
    def _write(self, rows: list[_Row]) -> None:
        """Lines 1 and 2: sample the draft and record the entropy of each of its distributions."""
        ids, mask = _left_padded([row.prompt for row in rows], self._pad_id())
        cache: Any = None
        while True:
            logits, cache = self._forward(ids, mask, cache)
            logits = logits[:, -1]
            log_p, entropies = read(logits)
            uniform = torch.tensor([row.stream.random() for row in rows], dtype=torch.float64)
            tokens = choose(logits, temperature=self.temperature, top_p=self.top_p, uniform=uniform)
            numbers = checked_entropy(entropies).tolist(), _at(log_p, tokens).tolist()
            chosen = tokens.tolist()
            for row, token, entropy, log_prob in zip(rows, chosen, *numbers, strict=True):
                if not row.done:
                    row.tokens.append(token)
                    row.entropies.append(entropy)
                    row.log_probs.append(log_prob)
                    row.done = token in self.end_ids or len(row.tokens) >= row.room or self._stopped(row.tokens)
            running = [i for i, row in enumerate(rows) if not row.done]
            if not running:
                return
            if 2 * len(running) <= len(rows) and hasattr(cache, "batch_select_indices"):
                # Rows that are finished leave the batch once they are the larger part of it.
                cache.batch_select_indices(torch.tensor(running, device=self._device))
                rows, mask = [rows[i] for i in running], mask[running]
                chosen = [chosen[i] for i in running]
            ids = torch.tensor(chosen)[:, None]
            mask = torch.cat([mask, torch.ones(len(rows), 1, dtype=torch.int64)], dim=1)

    @torch.inference_mode()
    def _score(self, prompts: list[list[int]], targets: list[list[int]]) -> list[tuple[list[float], list[float]]]:
        """Return the entropy before each target token and its log-probability, slice by slice over the cache."""
        # The last token is predicted and never fed; a row without a target predicts nothing, so any token will do.
        rows = [[*prompt, *(target or [0])] for prompt, target in zip(prompts, targets, strict=True)]
        ids, mask = _left_padded(rows, self._pad_id())
        width = ids.shape[1] - 1
        # Everything before the earliest target goes through at once; only its last position's logits are kept.
        first = width - max(max(len(target), 1) for target in targets)
        size = max(1, _LOGITS_AT_ONCE // (len(prompts) * self.vocab_size))
        pieces: list[Tensor] = []
        cache: Any = None
        start, end = 0, first + 1
        while start < width:
            logits, cache = self._forward(ids[:, start:end], mask[:, :end], cache, keep=end - max(start, first))
            log_p, entropies = read(logits[:, max(start, first) - end :])
            wanted = ids[:, max(start, first) + 1 : end + 1]
            pieces.append(torch.stack([checked_entropy(entropies), _at(log_p, wanted)]).cpu())
            start, end = end, min(end + size, width)
        scored = torch.cat(pieces, dim=2)
        found = []
        for row, target in enumerate(targets):
            entropies, log_probs = scored[:, row, scored.shape[2] - len(target) :].tolist()
            found.append((entropies, log_probs))
        return found

    def _forward(self, ids: Tensor, mask: Tensor, cache: Any, keep: int = 1) -> tuple[Tensor, Any]:
        """Return the logits of the last ``keep`` positions (more where the model cannot keep fewer) and the cache."""
        positions = (mask.cumsum(dim=1) - 1).clamp_(min=0)[:, -ids.shape[1] :]
        extra: dict[str, Any] = {}
        if self._takes_positions:
            extra["position_ids"] = positions.to(self._device)
        if self._takes_logits_to_keep:
            extra["logits_to_keep"] = keep
        out = self.model(
            input_ids=ids.to(self._device),
            attention_mask=mask.to(self._device),
            past_key_values=cache,
            use_cache=True,
            **extra,
        )
        return out.logits, out.past_key_values

    def _finish(self, row: _Row) -> Draft:
        return self._as_draft(row.prompt, row.tokens, row.entropies, row.log_probs)

    def _pad_id(self) -> int:
        # Padded places are masked, so any id does; phi-2 has no pad token.
        for candidate in (self.tokenizer.pad_token_id, *sorted(self.end_ids)):
            if candidate is not None:
                return int(candidate)
        return 0

    @property
    def _device(self) -> Any:
        return self.model.get_input_embeddings().weight.device


@dataclass(slots=True)
class _Row:
    """A draft being written."""

    prompt: list[int]
    stream: np.random.Generator
    room: int
    tokens: list[int] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    done: bool = False


def _left_padded(rows: list[list[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Return (batch, width) int64 ids and their attention mask."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def _at(log_p: Tensor, tokens: Tensor) -> Tensor:
    """Return (...,) the entries of (..., vocab) log-probabilities at (...,) tokens."""
    return log_p.gather(-1, tokens.to(log_p.device)[..., None])[..., 0]
