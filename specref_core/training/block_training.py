"""Batches and loss of a block drafter for the shared trainer: random anchors in texts that the target wrote itself.

The target is frozen, so its features are computed once. A drafter that is verified by the target has the target's own
text to learn: what it is asked at run time is what the target writes next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from specref_core.models.block_drafter import BlockDrafter
    from specref_core.training.block_losses import BlockLoss


@dataclass(frozen=True, slots=True, eq=False)
class BlockTexts:
    """Texts and what the target makes of them, right-padded.

    Attributes:
        ids: (texts, length) int64, prompt and continuation, the end token included.
        prompts: (texts,) int64, tokens of each prompt.
        lengths: (texts,) int64, tokens of each text.
        features: (texts, length, layers read times hidden) float32, the target's hidden states.
    """

    ids: Tensor
    prompts: Tensor
    lengths: Tensor
    features: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Tensor) -> BlockTexts:
        """Return some of the texts, cut to the longest of them."""
        width = int(self.lengths[rows].max())
        return BlockTexts(self.ids[rows, :width], self.prompts[rows], self.lengths[rows], self.features[rows, :width])


@torch.inference_mode()
def read_texts(
    target: Any,
    drafter: BlockDrafter,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    *,
    batch_size: int = 32,
) -> BlockTexts:
    """Run the target over texts and keep the hidden states that the drafter reads.

    Args:
        target: a causal model of the library.
        drafter: any with the layers to read; its weights are not used.
        prompts: tokens before.
        continuations: the target's own tokens after, the end token included.
        batch_size: texts a pass.

    Raises:
        InputError: there is no text, or one without prompt or without two tokens after it.
    """
    if not prompts or any(not p for p in prompts) or not any(len(c) > 1 for c in continuations):
        raise InputError("expected texts, each with a prompt, and one at least with two tokens after it")
    texts = [[*p, *c] for p, c in zip(prompts, continuations, strict=True)]
    lengths = torch.tensor([len(text) for text in texts])
    ids = torch.zeros(len(texts), int(lengths.max()), dtype=torch.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
    parts = []
    device = target.get_input_embeddings().weight.device
    for start in range(0, len(texts), batch_size):
        # Padding stands on the right, where no token of a causal model looks.
        states = target(
            input_ids=ids[start : start + batch_size].to(device), output_hidden_states=True, use_cache=False
        ).hidden_states
        parts.append(torch.cat([states[i + 1] for i in drafter.config.feature_layers], dim=-1).float().cpu())
    features = torch.cat(parts).clone()
    return BlockTexts(ids, torch.tensor([len(p) for p in prompts]), lengths, features)


def block_training_loss(
    target: Any, loss: BlockLoss, *, anchors: int
) -> Callable[[Any, BlockTexts, torch.Generator], Tensor]:
    """Return the loss for the trainer: random anchors in every continuation, the blocks behind them against the text.

    Args:
        target: frozen; lends its embedding and head.
        loss: of blocks.
        anchors: blocks a text.
    """
    embed, head = target.get_input_embeddings(), target.get_output_embeddings()

    def compute(drafter: Any, batch: BlockTexts, generator: torch.Generator) -> Tensor:
        # An anchor is a written token with at least one behind it: prompts <= anchor <= lengths - 2.
        choices = (batch.lengths - 1 - batch.prompts).clamp_min(1)
        places = (torch.rand(len(batch), anchors, generator=generator) * choices[:, None]).long()
        starts = batch.prompts[:, None] + places
        slots = drafter.config.block_size - 1
        columns = starts[..., None] + torch.arange(1, slots + 1)
        valid = columns < batch.lengths[:, None, None]
        rows = torch.arange(len(batch))[:, None, None]
        labels = batch.ids[rows, columns.clamp_max(batch.ids.shape[1] - 1)]
        with torch.no_grad():
            tokens = embed(batch.ids.gather(1, starts.clamp_max(batch.ids.shape[1] - 1))).float()
        logits = head(drafter(tokens, starts, drafter.project(batch.features)))
        return loss(logits.flatten(0, 1), labels.flatten(0, 1), valid.flatten(0, 1))

    return compute


@dataclass(frozen=True, slots=True, eq=False)
class Acceptance:
    """How greedy verification went over some texts.

    Attributes:
        lengths: (texts,) float64, tokens written a round, the target's own included: mean over the text's rounds; NaN
            where a text has no round.
        accepted: (slots,) float64, share of rounds that kept the draft at each slot, of those that had one.
        right: (slots,) float64, share of rounds whose draft there is the target's token, whatever stands before it.
        wasted: share of right drafts that stood behind a first error.
        rounds: verified blocks in all.
    """

    lengths: Tensor
    accepted: Tensor
    right: Tensor
    wasted: float
    rounds: int


@torch.inference_mode()
def greedy_acceptance(target: Any, drafter: BlockDrafter, texts: BlockTexts) -> Acceptance:
    """Replay greedy block speculation over texts that the target wrote greedily, all of them side by side.

    Greedy verification writes the target's own text, so its rounds follow from that text without running the target.
    """
    embed, head = target.get_input_embeddings(), target.get_output_embeddings()
    slots = drafter.config.block_size - 1
    context = drafter.project(texts.features)
    at = texts.prompts.clone()  # the anchor: first the token that the target writes by itself
    rounds, kept, agreed, offered = (torch.zeros(len(texts), dtype=torch.float64) for _ in range(4))
    per_slot = torch.zeros(3, slots, dtype=torch.float64)
    ahead = torch.arange(1, slots + 1)
    while bool((active := at < texts.lengths - 1).any()):
        rows = active.nonzero().flatten()
        starts = at[rows]
        tokens = embed(texts.ids[rows, starts])[:, None].float()
        drafts = head(drafter(tokens, starts[:, None], context[rows]))[:, 0].argmax(dim=-1)
        columns = starts[:, None] + ahead
        # The last token of a text is the target's own where the budget, not an end, was reached; as a draft it counts.
        there = columns < texts.lengths[rows, None]
        right = there & (drafts == texts.ids[rows[:, None], columns.clamp_max(texts.ids.shape[1] - 1)])
        accepted = right.long().cumprod(dim=1).bool()
        count = accepted.sum(dim=1)
        for row, measure in enumerate((there, right, accepted)):
            per_slot[row] += measure.sum(dim=0)
        rounds[rows] += 1
        kept[rows] += count
        agreed[rows] += right.sum(dim=1)
        written = torch.minimum(count + 1, texts.lengths[rows] - 1 - starts)
        offered[rows] += written
        at[rows] = starts + written
    total = float(agreed.sum())
    return Acceptance(
        offered / rounds.masked_fill(rounds == 0, torch.nan),
        per_slot[2] / per_slot[0].clamp_min(1),
        per_slot[1] / per_slot[0].clamp_min(1),
        (total - float(kept.sum())) / total if total else 0.0,
        int(rounds.sum()),
    )
