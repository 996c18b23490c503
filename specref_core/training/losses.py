"""Training losses: next-token cross-entropy, and the masked diffusion bound with stratified mask counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from specref_core.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class MaskedBatch:
    """A batch with part of every target hidden.

    Attributes:
        ids: (batch, length) int64, the mask token at hidden positions.
        masked: (batch, length) bool, the hidden positions.
        weights: (batch,) float32, C / l: target length over mask count, the weight of a row's hidden positions.
    """

    ids: Tensor
    masked: Tensor
    weights: Tensor


def hide_targets(ids: Tensor, target: Tensor, *, mask_token_id: int, generator: torch.Generator) -> MaskedBatch:
    """Hide a random part of every target; contexts stay whole.

    Each row's mask count l is uniform on {1, ..., C}, C its target length (LLaDA, Algorithm 2 with counts in place of
    rates); rows of a batch are stratified, so that every batch sees low and high rates alike.

    Args:
        ids: (batch, length) int64.
        target: (batch, length) bool, True on each row's target; at least one position a row.
        mask_token_id: what a hidden position shows.
        generator: source of the masks, on the CPU.

    Raises:
        InputError: a row without target.
    """
    lengths = target.sum(1)
    if bool((lengths == 0).any()):
        raise InputError(f"row {int((lengths == 0).nonzero()[0])} of the batch has no target position to hide")
    rows = ids.shape[0]
    offset = torch.rand(1, generator=generator)
    order = torch.randperm(rows, generator=generator)
    quantiles = ((order + offset) / rows).to(ids.device)
    counts = (1 + (quantiles * lengths).floor().long()).clamp(max=lengths)
    noise = torch.rand(ids.shape, generator=generator).to(ids.device).masked_fill(~target, 2.0)
    ranks = noise.argsort(1).argsort(1)
    masked = ranks < counts[:, None]
    return MaskedBatch(ids.masked_fill(masked, mask_token_id), masked, lengths / counts)


def masked_diffusion_loss(logits: Tensor, ids: Tensor, target: Tensor, batch: MaskedBatch) -> Tensor:
    """Return the bound on -log p(target | context), averaged over target tokens.

    Args:
        logits: (hidden positions, vocab) float, in the order of ``batch.masked.nonzero()``, nats.
        ids: (batch, length) int64, the whole text.
        target: (batch, length) bool.
        batch: what ``hide_targets`` made of them.

    Returns:
        A scalar, nats a target token: sum over rows of C/l times the hidden positions' cross-entropy, over all C.
    """
    nats = cross_entropy(logits.float(), ids[batch.masked], reduction="none")
    weights = batch.weights[:, None].expand(ids.shape)[batch.masked]
    return (nats * weights).sum() / target.sum()


def next_token_loss(logits: Tensor, ids: Tensor, counted: Tensor) -> Tensor:
    """Return the mean cross-entropy of tokens given all tokens before them.

    Args:
        logits: (counted tokens, vocab) float, nats, taken one position before each counted token, in row-major order.
        ids: (batch, length) int64.
        counted: (batch, length) bool, the tokens that count; the first of a row cannot.

    Returns:
        A scalar, nats a counted token.
    """
    return cross_entropy(logits.float(), ids[:, 1:][counted[:, 1:]])


def autoregressive(model: Any, ids: Tensor, counted: Tensor) -> Tensor:
    """Return the next-token loss of a causal model of the library; its head runs on counted tokens only."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    return next_token_loss(model.lm_head(hidden[:, :-1][counted[:, 1:]]), ids, counted)


def diffusion(model: Any, ids: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
    """Return the masked diffusion loss of a ``LladaForMaskedLM``; its head runs on hidden positions only.

    Raises:
        InputError: a target at the first position of a row, which a shifted model cannot predict.
    """
    batch = hide_targets(ids, target, mask_token_id=model.config.mask_token_id, generator=generator)
    hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
    if model.config.prediction_shift:
        if bool(target[:, 0].any()):
            raise InputError("the first token of a row is in the target; a shifted model needs a token before it")
        logits = model.lm_head(hidden[:, :-1][batch.masked[:, 1:]])
    else:
        logits = model.lm_head(hidden[batch.masked])
    return masked_diffusion_loss(logits, ids, target, batch)
