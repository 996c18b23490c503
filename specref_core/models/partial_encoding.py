"""A bidirectional Llama's hidden states at chosen positions, with the last layer run only there.

Keys and values of the last layer are needed everywhere; its queries, its MLP and the final norm only where something is
to be predicted. The result is the whole model's, up to float noise: nothing is approximated or reused between passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.llama.modeling_llama import rotate_half

if TYPE_CHECKING:
    from torch import Tensor


def supports(model: Any) -> bool:
    """Whether the last layer's parts may be called by themselves.

    Not while training (gradient checkpointing and output capture hang on whole layers), not where accelerate's hooks
    move weights or activations around a layer, and not with another attention than SDPA.
    """
    return (
        model.config._attn_implementation == "sdpa"  # noqa: SLF001  # the library has no public name for it
        and not model.training
        and not any(hasattr(part, "_hf_hook") for part in (model, model.layers[-1], model.layers[-1].mlp))
    )


def encode_at(
    model: Any,
    input_ids: Tensor,
    rows: Tensor,
    columns: Tensor,
    *,
    attention_mask: Tensor | None = None,
    position_ids: Tensor | None = None,
) -> Tensor:
    """Return the final hidden states at chosen positions.

    Args:
        model: a ``LlamaModel`` whose configuration says ``is_causal=False``.
        input_ids: (batch, length) int64.
        rows: (n,) int64, ascending.
        columns: (n,) int64.
        attention_mask: (batch, length), 0 at padding.
        position_ids: (batch, length) int64; 0, 1, 2 … if not given.

    Returns:
        (n, hidden), in the order given.
    """
    hidden = model.embed_tokens(input_ids)
    if position_ids is None:
        position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
    mask = create_bidirectional_mask(config=model.config, inputs_embeds=hidden, attention_mask=attention_mask)
    rotary = model.rotary_emb(hidden, position_ids=position_ids)
    *before, last = model.layers
    for layer in before:
        hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary)

    attention, normed = last.self_attn, last.input_layernorm(hidden)
    cos, sin = (part.expand(len(hidden), -1, -1) for part in rotary)
    # Rows want different numbers of positions: they are packed to the left of (batch, most); the rest is waste.
    counts = torch.bincount(rows, minlength=len(hidden))
    slots = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    packed = columns.new_zeros((len(hidden), int(counts.max()))).index_put((rows, slots), columns)[..., None]
    queries = _rotate(
        _heads(attention.q_proj(normed.take_along_dim(packed, dim=1)), attention.head_dim),
        cos.take_along_dim(packed, dim=1),
        sin.take_along_dim(packed, dim=1),
    )
    mixed = scaled_dot_product_attention(
        queries,
        _rotate(_heads(attention.k_proj(normed), attention.head_dim), cos, sin),
        _heads(attention.v_proj(normed), attention.head_dim),
        # Without a causal mask every query of a row sees the same keys, so one line of the square mask is enough.
        attn_mask=None if mask is None else cast("Tensor", mask)[:, :, :1],
        scale=attention.scaling,
        enable_gqa=attention.num_key_value_groups > 1,
    )
    chosen = hidden[rows, columns] + attention.o_proj(mixed.transpose(1, 2).flatten(2)[rows, slots])
    return cast("Tensor", model.norm(chosen + last.mlp(last.post_attention_layernorm(chosen))))


def _heads(projected: Tensor, size: int) -> Tensor:
    """Return (batch, heads, length, size) of (batch, length, heads * size)."""
    return projected.reshape(*projected.shape[:-1], -1, size).transpose(1, 2)


def _rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return states * cos[:, None] + cast("Tensor", rotate_half(states)) * sin[:, None]  # type: ignore[no-untyped-call]  # the library's
