"""One way to call any masked language model for predictions at chosen positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

# Logits held at a time by whoever applies the head: 2**24 float32 values are 64 MiB.
LOGITS_AT_ONCE = 2**24


def features_at(
    model: Any, input_ids: Tensor, positions: Tensor, *, attention_mask: Tensor, position_ids: Tensor | None = None
) -> tuple[Tensor, Callable[[Tensor], Tensor], int]:
    """Run one pass and return what predicts the tokens at chosen positions.

    Args:
        model: one with an ``encode`` method, which leaves the head to the caller, or any model that returns logits.
        input_ids: (batch, length) int64.
        positions: (batch, length) bool.
        attention_mask: (batch, length), 0 at padding.
        position_ids: (batch, length) int64.

    Returns:
        features (n, hidden) in row-major order; the head that turns rows of them into logits; how many of them make
        ``LOGITS_AT_ONCE`` logits.
    """
    if hasattr(model, "encode"):
        features = model.encode(
            input_ids, attention_mask=attention_mask, position_ids=position_ids, positions=positions
        )
        head = model.lm_head
        return features, head, max(1, LOGITS_AT_ONCE // head.out_features)
    logits = model(input_ids, attention_mask=attention_mask, position_ids=position_ids).logits[positions]
    return logits, nn.Identity(), max(1, LOGITS_AT_ONCE // logits.shape[-1])
