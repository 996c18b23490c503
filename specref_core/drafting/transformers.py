"""Drafting with a causal language model of the transformers library (lines 1 and 2 of Algorithm 1).

One loop of its own: left padding, explicit positions, a key-value cache, and of each step's logits nothing is kept but
the chosen token and the entropy.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from specref_core.alignment import require_encodable
from specref_core.batching import Batches
from specref_core.continuation import decode_continuation, encode_continuation
from specref_core.cost import ModelShape, generation_flops
from specref_core.drafting.checkpoint import load_causal_lm
from specref_core.drafting.distribution import choose, shannon_entropy
from specref_core.errors import CheckpointError, InputError
from specref_core.fingerprint import settings_digest, tokenizer_digest, weights_digest
from specref_core.generator import Draft
from specref_core.seeding import row_seed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from specref_core.generator import Budget, LikelihoodRequest, LogLikelihood, MonteCarlo

# Logits of a teacher-forced slice: at most this many numbers at once (256 MB in float32).
_LOGITS_AT_ONCE = 1 << 26


class TransformersDrafter:
    """A causal language model that drafts and knows how sure it was of each token.

    Args:
        model: a causal LM of the library, already on its device.
        tokenizer: its fast tokenizer.
        temperature: 0 drafts greedily; otherwise tokens are drawn from the tempered distribution.
        top_p: nucleus of the draw; entropies are always of the full, raw distribution.
        batch_size: prompts drafted together; results do not depend on it beyond float noise.
        stop: strings that end a draft, which then stops before the first of them; none by default.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        temperature: float = 0.0,
        top_p: float = 1.0,
        batch_size: int = 8,
        stop: Sequence[str] = (),
    ) -> None:
        if tokenizer is None:
            raise CheckpointError("the drafter has no tokenizer; load it from the model's own directory")
        if not temperature >= 0:
            raise InputError(f"temperature={temperature!r}: expected 0 (greedy) or more")
        if not 0 < top_p <= 1:
            raise InputError(f"top_p={top_p!r}: expected more than 0 and at most 1")
        if isinstance(stop, str) or not all(stop):
            raise InputError(f"stop={stop!r}: expected a sequence of non-empty strings")
        self.model = model
        self.tokenizer = tokenizer
        self.temperature = temperature
        self.top_p = top_p
        self._batches = Batches(batch_size, "prompts")
        self.stop = tuple(stop)
        config = model.config.get_text_config()
        self.vocab_size = int(config.vocab_size)
        self.context_window: int | None = getattr(config, "max_position_embeddings", None)
        self.end_ids = _end_ids(model, tokenizer)
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

        drafts = self._batches.run(_by_length(encoded), write)
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
            entropies = self._score([encoded[i] for i in batch], [targets[i] for i in batch])
            for i, values in zip(batch, entropies, strict=True):
                if token_ids is None:
                    text, spans = texts[i], tokenized[i].spans
                else:
                    hidden = self._hidden(targets[i])
                    decoded = decode_continuation(self.tokenizer, targets[i], context=encoded[i], hidden=hidden)
                    text, spans = decoded.text, decoded.spans
                drafts.append(_draft(text, targets[i], spans, values, self.vocab_size))
            return drafts

        order = _by_length([[*before, *after] for before, after in zip(encoded, targets, strict=True)])
        drafts = self._batches.run(order, score)
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

    @torch.inference_mode()
    def _write(self, rows: list[_Row]) -> None:
        """Lines 1 and 2: sample the draft and record the entropy of each of its distributions."""
        ids, mask = _left_padded([row.prompt for row in rows], self._pad_id())
        cache: Any = None
        while True:
            logits, cache = self._forward(ids, mask, cache)
            logits = logits[:, -1]
            entropies = shannon_entropy(logits).tolist()
            uniform = torch.tensor([row.stream.random() for row in rows], dtype=torch.float64)
            chosen = choose(logits, temperature=self.temperature, top_p=self.top_p, uniform=uniform).tolist()
            for row, token, entropy in zip(rows, chosen, entropies, strict=True):
                if not row.done:
                    row.tokens.append(token)
                    row.entropies.append(entropy)
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
    def _score(self, prompts: list[list[int]], targets: list[list[int]]) -> list[list[float]]:
        """Return the entropies before each target token, the logits taken slice by slice over the cache."""
        whole = [[*prompt, *target][:-1] if target else prompt for prompt, target in zip(prompts, targets, strict=True)]
        ids, mask = _left_padded(whole, self._pad_id())
        width = ids.shape[1]
        # Everything before the earliest target goes through at once; only its last position's logits are kept.
        first = width - max(max(len(target), 1) for target in targets)
        size = max(1, _LOGITS_AT_ONCE // (len(prompts) * self.vocab_size))
        pieces: list[Tensor] = []
        cache: Any = None
        start, end = 0, first + 1
        while start < width:
            logits, cache = self._forward(ids[:, start:end], mask[:, :end], cache, keep=end - max(start, first))
            pieces.append(shannon_entropy(logits[:, max(start, first) - end :]).cpu())
            start, end = end, min(end + size, width)
        entropies = torch.cat(pieces, dim=1)
        return [row[len(row) - len(target) :].tolist() for row, target in zip(entropies, targets, strict=True)]

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
        decoded = decode_continuation(self.tokenizer, row.tokens, context=row.prompt, hidden=self._hidden(row.tokens))
        text, spans = decoded.text, decoded.spans
        cuts = [place for place in (text.find(stop) for stop in self.stop) if place >= 0]
        if cuts:
            text, spans = text[: min(cuts)], np.minimum(spans, min(cuts))
        return _draft(text, row.tokens, spans, row.entropies, self.vocab_size)

    def _encode_prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        encoded = []
        for i, prompt in enumerate(prompts):
            if not isinstance(prompt, str):
                raise InputError(f"prompt {i} is a {type(prompt).__name__}; expected str")
            require_encodable(prompt, f"prompt {i}")
            ids = list(self.tokenizer(prompt, verbose=False)["input_ids"]) if prompt else []
            if not ids:
                begin = getattr(self.tokenizer, "bos_token_id", None)
                if begin is None:
                    raise InputError(
                        f"prompt {i} is empty and the drafter's tokenizer has no begin token to start from"
                    )
                ids = [begin]
            if self.context_window is not None and len(ids) >= self.context_window:
                raise InputError(
                    f"prompt {i} has {len(ids)} tokens and the drafter's context window is {self.context_window}: "
                    "no room is left for a draft; shorten the prompt or take a drafter with a longer window"
                )
            encoded.append(ids)
        return encoded

    def _room(self, prompt_length: int, wanted: int) -> int:
        return wanted if self.context_window is None else min(wanted, self.context_window - prompt_length)

    def _stopped(self, tokens: list[int]) -> bool:
        if not self.stop:
            return False
        # A character has at most four byte tokens, so this many tokens hold any stop string that just ended.
        tail = tokens[-4 * max(map(len, self.stop)) - 1 :]
        return any(stop in decode_continuation(self.tokenizer, tail).text for stop in self.stop)

    def _hidden(self, tokens: Sequence[int]) -> set[int]:
        return self.end_ids if tokens and tokens[-1] in self.end_ids else set()

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
    done: bool = False


def _by_length(rows: list[list[int]]) -> list[int]:
    """Return the positions of rows so that those of like length come together and little is padded."""
    return sorted(range(len(rows)), key=lambda i: len(rows[i]))


def _left_padded(rows: list[list[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Return (batch, width) int64 ids and their attention mask."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def _draft(text: str, tokens: Sequence[int], spans: Any, entropies: Sequence[float], vocab_size: int) -> Draft:
    return Draft(
        text=text,
        token_ids=tuple(tokens),
        spans=tuple((int(start), int(end)) for start, end in spans),
        entropies=tuple(entropies),
        vocab_size=vocab_size,
    )


def _end_ids(model: Any, tokenizer: Any) -> set[int]:
    """Return every id that ends a text, whichever of the checkpoint's files says so."""
    generation = getattr(model, "generation_config", None)
    named = [
        getattr(generation, "eos_token_id", None),
        getattr(model.config, "eos_token_id", None),
        getattr(tokenizer, "eos_token_id", None),
    ]
    return {int(i) for entry in named if entry is not None for i in (entry if isinstance(entry, list) else [entry])}
