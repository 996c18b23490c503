"""A block-diffusion drafter for a left-to-right target (after DFlash, arXiv 2602.06036).

It has a few layers and neither embedding nor head: those are the target's, frozen. The target's own hidden features of
all tokens so far enter every layer as keys and values; queries come from one block, whose first slot holds the last
accepted token and whose other slots are hidden. One pass fills all of them; slot i predicts its own token.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import silu

from specref_core.errors import CheckpointError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor


@dataclass(frozen=True, slots=True)
class BlockDrafterConfig:
    """Sizes of a drafter.

    Attributes:
        hidden: width, the target's.
        heads: attention heads; the width must be a multiple of twice as many.
        block_size: slots a block, the anchor included.
        feature_layers: the target's layers whose outputs are read, 0-based.
        layers: of the drafter.
        mlp: inner width; three times the width if not given.
        rope_theta: base of the rotary positions.
    """

    hidden: int
    heads: int
    block_size: int
    feature_layers: tuple[int, ...]
    layers: int = 1
    mlp: int | None = None
    rope_theta: float = 10_000.0

    def __post_init__(self) -> None:
        for name in ("hidden", "heads", "layers"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)!r}: expected a positive number")
        if self.block_size < 2:
            raise InputError(f"block_size={self.block_size!r}: a block is an anchor and at least one slot to fill")
        if self.hidden % (2 * self.heads):
            raise InputError(f"hidden={self.hidden} is no multiple of twice the {self.heads} heads")
        if not self.feature_layers or min(self.feature_layers) < 0:
            raise InputError(f"feature_layers={self.feature_layers!r}: name at least one layer of the target, from 0")

    @classmethod
    def for_target(cls, target: Any, *, features: int = 3, **sizes: Any) -> BlockDrafterConfig:
        """Return a configuration that fits a causal model of the library; ``sizes`` are this class's own fields."""
        config = target.config.get_text_config()
        rope = getattr(config, "rope_parameters", None) or {}
        given = {
            "hidden": config.hidden_size,
            "heads": config.num_attention_heads,
            "feature_layers": feature_layers(config.num_hidden_layers, features),
            "rope_theta": float(rope.get("rope_theta", 10_000.0)),
        }
        return cls(**{**given, **sizes})


def feature_layers(layers: int, count: int) -> tuple[int, ...]:
    """Return which layers of a target to read: spread over [1, layers - 3], as DFlash does.

    A target with fewer than eight layers has no such middle; its deepest ``count`` layers are read.
    """
    if layers < 1 or count < 1:
        raise InputError(f"layers={layers!r}, count={count!r}: expected positive numbers")
    if layers < 8:
        return tuple(range(max(0, layers - count), layers))
    if count == 1:
        return (layers // 2,)
    return tuple(dict.fromkeys(round(1 + i * (layers - 4) / (count - 1)) for i in range(count)))


class BlockDrafter(nn.Module):
    """The drafter's own weights.

    Args:
        config: its sizes.
    """

    def __init__(self, config: BlockDrafterConfig) -> None:
        super().__init__()
        self.config = config
        width = config.hidden
        self.fc = nn.Linear(len(config.feature_layers) * width, width, bias=False)
        self.context_norm = nn.RMSNorm(width, eps=1e-6)
        self.mask_embedding = nn.Parameter(0.02 * torch.randn(width))
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(width, eps=1e-6)

    def read(self, hidden_states: Sequence[Tensor]) -> Tensor:
        """Return the context that the target's hidden states are to the drafter.

        Args:
            hidden_states: the target's, embeddings first, each (batch, length, hidden).

        Returns:
            (batch, length, hidden).

        Raises:
            InputError: the target has fewer layers than the configuration names.
        """
        if max(self.config.feature_layers) + 1 >= len(hidden_states):
            raise InputError(
                f"the drafter reads layers {self.config.feature_layers}, the target has {len(hidden_states) - 1}; "
                "it was made for another target"
            )
        features = torch.cat([hidden_states[layer + 1] for layer in self.config.feature_layers], dim=-1)
        return self.project(features)

    def project(self, features: Tensor) -> Tensor:
        """Return the context of features already put together: (..., layers read times hidden) to (..., hidden)."""
        projected: Tensor = self.context_norm(self.fc(features.to(self.fc.weight.dtype)))
        return projected

    def save(self, place: Path) -> None:
        """Write configuration and weights to a directory, made where it is missing."""
        from safetensors.torch import save_file

        place.mkdir(parents=True, exist_ok=True)
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        save_file(weights, place / "model.safetensors")
        (place / "config.json").write_text(json.dumps(asdict(self.config), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, place: Path) -> BlockDrafter:
        """Read what ``save`` wrote, in evaluation mode and float32.

        Raises:
            CheckpointError: a file is missing, damaged or does not fit the other.
        """
        from safetensors.torch import load_file

        try:
            sizes = json.loads((place / "config.json").read_text(encoding="utf-8"))
            drafter = cls(BlockDrafterConfig(**{**sizes, "feature_layers": tuple(sizes["feature_layers"])}))
            drafter.load_state_dict({name: t.float() for name, t in load_file(place / "model.safetensors").items()})
        except Exception as error:
            raise CheckpointError(
                f"{place} holds no block drafter that can be read ({type(error).__name__}: {error}); write it anew"
            ) from error
        return drafter.eval()

    def forward(self, anchors: Tensor, starts: Tensor, context: Tensor) -> Tensor:
        """Return what the head turns into logits of the hidden slots.

        Args:
            anchors: (batch, blocks, hidden) embeddings of the blocks' first tokens.
            starts: (batch, blocks) int64, their positions. A block sees the context strictly before its own.
            context: (batch, length, hidden) from ``read``; position i is token i.

        Returns:
            (batch, blocks, block_size - 1, hidden); slot k, from 0, predicts the token at ``starts + 1 + k``.
        """
        slots = self.config.block_size - 1
        anchors = anchors.to(self.mask_embedding.dtype)
        masks = self.mask_embedding.expand(*anchors.shape[:2], slots, -1)
        x = torch.cat([anchors[:, :, None], masks], dim=2)
        places = torch.arange(context.shape[1], device=context.device)
        visible = places < starts[..., None]  # (batch, blocks, length)
        block_places = starts[..., None] + torch.arange(slots + 1, device=starts.device)
        for layer in self.layers:
            x = layer(x, context, visible, places, block_places)
        hidden: Tensor = self.norm(x[:, :, 1:])
        return hidden


class _Layer(nn.Module):
    """One decoder layer without a causal mask; a block attends to the context before it and to itself."""

    def __init__(self, config: BlockDrafterConfig) -> None:
        super().__init__()
        width, inner = config.hidden, config.mlp or 3 * config.hidden
        self.heads, self.theta = config.heads, config.rope_theta
        self.input_norm, self.mlp_norm = (nn.RMSNorm(width, eps=1e-6) for _ in range(2))
        self.q_norm, self.k_norm = (nn.RMSNorm(width // config.heads, eps=1e-6) for _ in range(2))
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.gate_proj, self.up_proj = (nn.Linear(width, inner, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor, context: Tensor, visible: Tensor, places: Tensor, block_places: Tensor) -> Tensor:
        normed = self.input_norm(x)
        query = _rotate(self.q_norm(self._split(self.q_proj(normed))), block_places[..., None], self.theta)
        own_key = _rotate(self.k_norm(self._split(self.k_proj(normed))), block_places[..., None], self.theta)
        key = _rotate(self.k_norm(self._split(self.k_proj(context))), places[None, :, None], self.theta)
        own_value, value = self._split(self.v_proj(normed)), self._split(self.v_proj(context))
        # b batch, n block, s slot, h head, l context, t slot of the same block, e size of a head
        before = torch.einsum("bnshe,blhe->bnhsl", query, key).masked_fill(
            ~visible[:, :, None, None], torch.finfo(x.dtype).min
        )
        inside = torch.einsum("bnshe,bnthe->bnhst", query, own_key)
        weights = (torch.cat([before, inside], dim=-1) * query.shape[-1] ** -0.5).softmax(dim=-1)
        length = context.shape[1]
        mixed = torch.einsum("bnhsl,blhe->bnshe", weights[..., :length], value)
        mixed = mixed + torch.einsum("bnhst,bnthe->bnshe", weights[..., length:], own_value)
        x = x + self.o_proj(mixed.flatten(-2))
        normed = self.mlp_norm(x)
        out: Tensor = x + self.down_proj(silu(self.gate_proj(normed)) * self.up_proj(normed))
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], self.heads, x.shape[-1] // self.heads)


def _rotate(x: Tensor, places: Tensor, theta: float) -> Tensor:
    """Turn pairs of coordinates (i, i + half) by angles that grow with the place; float32 angles."""
    half = x.shape[-1] // 2
    rates = theta ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angles = places[..., None].float() * rates
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
