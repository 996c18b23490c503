"""What is read from one next-token distribution: its entropy, its log-probabilities, and a token drawn from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from specref_core.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor


def shannon_entropy(logits: Tensor) -> Tensor:
    """Return the Shannon entropy of each distribution, Eq. 2, over the whole vocabulary.

    Args:
        logits: (..., vocab) of any float dtype, raw: before temperature and truncation. ``-inf`` is probability 0.

    Returns:
        (...,) float32, nats, in [0, log vocab].

    Raises:
        CheckpointError: the logits hold NaN or +inf, or nothing but ``-inf``.
    """
    return checked_entropy(read(logits)[1])


def read(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-probabilities and the entropy of each distribution, NaN where the logits are no numbers.

    Args:
        logits: (..., vocab) of any float dtype, raw.

    Returns:
        (..., vocab) float32 log-probabilities and (...,) float32 entropies, nats.
    """
    log_p = torch.log_softmax(logits.float(), dim=-1)
    # -p log p, which is 0 at p = 0.
    return log_p, torch.special.entr(log_p.exp()).sum(dim=-1)


def checked_entropy(entropy: Tensor) -> Tensor:
    """Return entropies that are numbers, never below 0.

    Raises:
        CheckpointError: one of them is NaN.
    """
    if torch.isnan(entropy).any():
        raise CheckpointError(not_numbers())
    return entropy.clamp(min=0.0)


def not_numbers() -> str:
    """Return what to say of a model whose logits are NaN."""
    return (
        "the model's logits are not finite numbers: its weights are damaged, or the dtype is too narrow for them "
        "(try dtype='float32')"
    )


def choose(logits: Tensor, *, temperature: float, top_p: float, uniform: Tensor) -> Tensor:
    """Choose a token a row: the most likely one at temperature 0, else a draw from the truncated distribution.

    Args:
        logits: (batch, vocab), raw.
        temperature: 0 is greedy (among equals, the lowest id).
        top_p: nucleus: the smallest set of most likely tokens whose probability reaches ``top_p``, after temperature.
        uniform: (batch,) float64 in [0, 1), one number a row; each row's draw depends on its own number only.

    Returns:
        (batch,) int64.
    """
    if temperature == 0:
        return logits.float().argmax(dim=-1)
    # Sorted descending, so that the nucleus is a prefix and the draw a search in its cumulative sum.
    probability, order = torch.softmax(logits.double() / temperature, dim=-1).sort(dim=-1, descending=True, stable=True)
    total = probability.cumsum(dim=-1)
    if top_p < 1:
        probability = probability.masked_fill(total - probability >= top_p, 0.0)
        total = probability.cumsum(dim=-1)
    place = torch.searchsorted(total, (uniform.to(total) * total[:, -1])[:, None], right=True)
    last = (probability > 0).sum(dim=-1, keepdim=True) - 1
    return order.gather(-1, torch.minimum(place, last))[:, 0]
