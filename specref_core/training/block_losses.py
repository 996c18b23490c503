r"""Losses of a block drafter that is verified from left to right (arXiv 2606.11552).

A drafter fills a block in both directions, but a verifier reads it from the left and drops everything behind the first
error. Three changes to the plain cross-entropy bring training closer to that: weights that fall with the position, an
extra term at each block's first error, and the expected length of the accepted prefix itself.

.. math:: L = \frac{\sum_k w_k CE_k}{\sum_k w_k} + \alpha_f L_f + \alpha_c L_c, \qquad w_k = e^{-(k-1)/\gamma}

The paper's normalisations are not public; those here are stated with each function. Positions k = 1, 2, ... J are the
drafted ones; the anchor before them is no part of the loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy

from specref_core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


def position_weights(slots: int, gamma: float | None) -> Tensor:
    """Return (slots,) float32 weights ``exp(-(k-1)/gamma)``, k = 1, 2, ...; all 1 where gamma is ``None``.

    DFlash (arXiv 2602.06036, Eq. 4) takes gamma 7 for 15 slots.
    """
    if gamma is not None and not gamma > 0:
        raise InputError(f"gamma={gamma!r}: expected a positive number of positions, or None for equal weights")
    k = torch.arange(slots, dtype=torch.float32)
    return torch.ones(slots) if gamma is None else torch.exp(-k / gamma)


def weighted_loss(nats: Tensor, weights: Tensor, valid: Tensor) -> Tensor:
    """Return the weighted mean of the cross-entropies, nats.

    Args:
        nats: (blocks, slots) float, cross-entropy at each position.
        weights: (slots,) float.
        valid: (blocks, slots) bool, the positions that have a label.
    """
    each = weights * valid
    return (each * nats).sum() / each.sum().clamp_min(torch.finfo(nats.dtype).tiny)


def first_errors(right: Tensor, valid: Tensor) -> Tensor:
    """Return (blocks, slots) bool: True at each block's first position that is valid and wrong, where there is one."""
    wrong = valid & ~right
    return wrong & (wrong.long().cumsum(dim=1) == 1)


def first_error_focal_loss(nats: Tensor, weights: Tensor, right: Tensor, valid: Tensor) -> Tensor:
    """Return the cross-entropy at first errors: ``sum_b w_e CE_(b,e) / sum_b w_e`` over blocks that have one.

    Which position breaks a block's accepted prefix is a fact of the current weights and carries no gradient.

    Args:
        nats: (blocks, slots) float.
        weights: (slots,) float.
        right: (blocks, slots) bool, whether the likeliest token is the label.
        valid: (blocks, slots) bool.

    Returns:
        A scalar, nats; 0 where no block has an error.
    """
    return weighted_loss(nats, weights, first_errors(right, valid))


def chain_loss(nats: Tensor, valid: Tensor) -> Tensor:
    """Return minus the expected share of a block that is accepted, in [-1, 0].

    ``-(1/J) sum_k prod_(j<=k) p_j``, p_j the probability of the label at j, read as an independent chance of
    acceptance. J counts a block's valid positions, which must come first; the mean is over blocks that have any. The
    derivative by ``log p_j`` is ``-(1/J) sum_(k>=j) prod_(i<=k) p_i``: a position is worth the accepted tokens that
    depend on it.

    Args:
        nats: (blocks, slots) float, ``-log p_j``.
        valid: (blocks, slots) bool.
    """
    reached = torch.exp(-(nats * valid).cumsum(dim=1)) * valid
    slots = valid.sum(dim=1)
    share = reached.sum(dim=1) / slots.clamp_min(1)
    return -share.sum() / (slots > 0).sum().clamp_min(1)


@dataclass(frozen=True, slots=True)
class BlockLoss:
    """One step of the ladder: uniform, position-weighted, with the focal term, with the chain term.

    Attributes:
        gamma: decay of the position weights; ``None`` is the position-uniform baseline.
        focal: alpha_f; 0.3 in the paper.
        chain: alpha_c; 40 in the paper, for 15 slots and losses scaled in its own way.
    """

    gamma: float | None = None
    focal: float = 0.0
    chain: float = 0.0

    def __post_init__(self) -> None:
        position_weights(1, self.gamma)
        for name in ("focal", "chain"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name}={getattr(self, name)!r}: expected a weight of 0 or more")

    def __call__(self, logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
        """Return the loss of a batch of blocks.

        Args:
            logits: (blocks, slots, vocab) float, nats.
            labels: (blocks, slots) int64; anything where ``valid`` is false.
            valid: (blocks, slots) bool.

        Raises:
            InputError: no block has a valid position, or the shapes do not fit.
        """
        if labels.shape != valid.shape or logits.shape[:-1] != labels.shape:
            raise InputError(
                f"logits {tuple(logits.shape)}, labels {tuple(labels.shape)}, valid {tuple(valid.shape)}: expected "
                "(blocks, slots, vocab) and twice (blocks, slots)"
            )
        if not bool(valid.any()):
            raise InputError("no block of the batch has a position with a label")
        known = labels.masked_fill(~valid, 0)
        nats = cross_entropy(logits.float().flatten(0, -2), known.flatten(), reduction="none").view(labels.shape)
        weights = position_weights(labels.shape[1], self.gamma).to(nats.device)
        loss = weighted_loss(nats, weights, valid)
        if self.focal:
            right = logits.detach().argmax(dim=-1) == labels
            loss = loss + self.focal * first_error_focal_loss(nats, weights, right, valid)
        if self.chain:
            loss = loss + self.chain * chain_loss(nats, valid)
        return loss
