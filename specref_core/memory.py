"""Device memory by formula: what one row of a batch takes, beside the weights, and what is free.

====================  =======================================================================================
a layer's pass        ``b L (3 f + 4 w)`` with a gated MLP: gate, up and their product live at once, and four
                      hidden states; ``b L (4 f + 6 w)`` with a plain one: the steps of its activation
the attention mask    ``(1 + b) L^2``: as booleans, and as the bias that the kernel adds
a key-value cache     ``2 b n K h L``
one row of logits     ``64 V``: raw, in float32, as log-probabilities, and sorted in float64
====================  =======================================================================================

with b bytes a number, L the row's length, f the inner width of the MLP, w the larger of hidden size and the heads'
total width, n layers, K key-value heads of size h and V the vocabulary. Layers run one after the other, so their number
does not matter without a cache. The refiner's head works through its positions in slices of fixed size, which are set
aside once and not by the row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from specref_core.models.calling import LOGITS_AT_ONCE

if TYPE_CHECKING:
    from specref_core.cost import ModelShape

# Slices of logits that live at once while tokens are chosen, in float32.
_HEAD_SLICES = 4
_LOGIT_BYTES = 64


def denoise_bytes(shape: ModelShape, *, length: int, number_bytes: int, copies: int = 1) -> int:
    """Return what one canvas takes in a pass of the refiner.

    Args:
        shape: the refiner's sizes.
        length: positions of the longest row in its batch.
        number_bytes: of an activation: 2 for bfloat16.
        copies: rows a canvas has in a pass: 2 under guidance.
    """
    return copies * (_pass_bytes(shape, length, number_bytes) + (1 + number_bytes) * length**2)


def generation_bytes(shape: ModelShape, *, prompt: int, generated: int, number_bytes: int) -> int:
    """Return what one prompt takes while a draft of it is written.

    Args:
        shape: the drafter's sizes.
        prompt: tokens of the longest prompt in its batch.
        generated: most tokens of the draft.
        number_bytes: of an activation and of a cached key: 2 for bfloat16.
    """
    cached = 2 * number_bytes * shape.layers * shape.kv_heads * shape.head_size * (prompt + generated)
    mask = (1 + number_bytes) * prompt**2
    return cached + _pass_bytes(shape, prompt, number_bytes) + mask + _LOGIT_BYTES * shape.vocab


def free_bytes(model: Any) -> int | None:
    """Return what a batch may use of the fullest device that a model lies on, or ``None`` on a CPU.

    Counted are the device's free memory and what torch keeps there for itself without using it.
    """
    parameters = getattr(model, "parameters", None)
    if not torch.cuda.is_available() or parameters is None:
        return None
    on_gpu = {tensor.device for tensor in parameters() if tensor.device.type == "cuda"}
    if not on_gpu:
        return None
    room = []
    for device in on_gpu:
        free, _total = torch.cuda.mem_get_info(device)
        room.append(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    return max(0, min(room) - 4 * _HEAD_SLICES * LOGITS_AT_ONCE)


def number_bytes(model: Any) -> int:
    """Return the size of a model's activations: that of its dtype, and 2 where its weights are packed."""
    dtype = model.dtype
    return dtype.itemsize if dtype.is_floating_point else 2


def _pass_bytes(shape: ModelShape, length: int, number_bytes: int) -> int:
    width = max(shape.width, shape.heads * shape.head_size)
    inner, hidden = (3, 4) if shape.mlp_matrices == 3 else (4, 6)
    return number_bytes * length * (inner * shape.mlp_width + hidden * width)
