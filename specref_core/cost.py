"""Floating-point operations by formula: what a forward pass, a denoising run or a cached generation must compute.

Counted are matrix products, two operations a multiply-add; norms, activations, softmaxes and embeddings are left out
(under one percent at the sizes of interest). Attention is counted as dense kernels execute it: every query against
every key, causal or not.

=====================  ==========================================================
a layer, per query     ``2 d (2 H h) + 2 m d f`` and ``4 H h`` for every key
a layer, per new key   ``2 d (2 K h)``
the head, per row      ``2 d V``
=====================  ==========================================================

with d the width, H heads and K key-value heads of size h, f the inner width of the MLP, m its matrices (3 gated, 2
plain) and V the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from specref_core.errors import InputError

# Architectures whose MLP has two matrices instead of three.
_PLAIN_MLP = frozenset({"phi", "gpt2", "gpt_neox", "gptj", "opt", "bloom"})


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes of a transformer that its operation count depends on.

    Attributes:
        width: hidden size d.
        layers: number of layers.
        heads: attention heads H.
        kv_heads: key-value heads K.
        head_size: h.
        mlp_width: inner width f.
        mlp_matrices: 3 for a gated MLP, 2 for a plain one.
        vocab: rows of the output head V.
    """

    width: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    mlp_width: int
    mlp_matrices: int
    vocab: int

    @classmethod
    def of(cls, config: Any) -> ModelShape:
        """Read the sizes from a model configuration of transformers.

        Raises:
            InputError: the configuration lacks one of them.
        """
        try:
            width, heads = config.hidden_size, config.num_attention_heads
            inner = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * width
            return cls(
                width=width,
                layers=config.num_hidden_layers,
                heads=heads,
                kv_heads=getattr(config, "num_key_value_heads", None) or heads,
                head_size=getattr(config, "head_dim", None) or width // heads,
                mlp_width=inner,
                mlp_matrices=2 if config.model_type in _PLAIN_MLP else 3,
                vocab=config.vocab_size,
            )
        except AttributeError as error:
            raise InputError(f"{type(config).__name__} has no {error.name!r}: its cost cannot be computed") from error

    def layer(self, *, queries: int, keys: int, new_keys: int) -> float:
        """Return the operations of one layer.

        Args:
            queries: positions that go through the layer.
            keys: positions they attend to.
            new_keys: keys and values projected now; the rest comes from a cache.
        """
        attended = self.heads * self.head_size
        per_query = 4 * self.width * attended + 2 * self.mlp_matrices * self.width * self.mlp_width
        per_key = 4 * self.width * self.kv_heads * self.head_size
        return float(queries * (per_query + 4 * attended * keys) + new_keys * per_key)

    def head(self, rows: int) -> float:
        """Return the operations of the output head at ``rows`` positions."""
        return float(2 * self.width * self.vocab * rows)


def forward_flops(shape: ModelShape, *, length: int, head_rows: int | None = None) -> float:
    """Return the operations of one row's forward pass without a cache.

    Args:
        shape: the model's sizes.
        length: positions of the row.
        head_rows: positions at which logits are computed; all if not given.
    """
    rows = length if head_rows is None else head_rows
    return shape.layers * shape.layer(queries=length, keys=length, new_keys=length) + shape.head(rows)


def denoise_flops(shape: ModelShape, *, length: int, row_forwards: int, head_rows: int) -> float:
    """Return the operations of a reverse process, as ``Denoised`` counts its row-forwards and head rows.

    The last layer runs, and the head is computed, only for positions that can be committed; all layers before it run on
    the whole canvas.
    """
    inner = (shape.layers - 1) * shape.layer(queries=length, keys=length, new_keys=length)
    last_keys = shape.layer(queries=0, keys=length, new_keys=length)
    last = head_rows * shape.layer(queries=1, keys=length, new_keys=0)
    return row_forwards * (inner + last_keys) + last + shape.head(head_rows)


def generation_flops(shape: ModelShape, *, prompt: int, generated: int) -> float:
    """Return the operations of a left-to-right generation with a key-value cache.

    The prompt is one pass; every generated token but the last is fed back once; the head runs once a generated token.
    """
    if generated == 0:
        return 0.0
    prefill = shape.layer(queries=prompt, keys=prompt, new_keys=prompt)
    steps = sum(shape.layer(queries=1, keys=prompt + fed, new_keys=1) for fed in range(1, generated))
    return shape.layers * (prefill + steps) + shape.head(generated)
