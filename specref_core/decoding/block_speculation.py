"""Block speculation: a diffusion drafter proposes a block, the left-to-right target verifies it in one pass.

The loop is DFlash's (arXiv 2602.06036): after a pass of the target over the prompt, every round drafts one block behind
the last accepted token, runs the target over anchor and drafts, and keeps drafts up to the first that the target
refuses, plus one token of the target's own. The target decides every token; the drafter decides only how many passes
that takes. Rows are decoded one by one, so that nothing of one can reach another.

Two ways to verify, both exact:

*match*: at each position the target chooses its own token, with the random number that it would use alone; a draft is
kept where it is the same. The text is that of the target alone, token for token, at every temperature.

*rejection*: drafts are drawn from the drafter's distribution q and kept with probability min(1, p/q); a refused one is
replaced by a draw from the rest of p (Leviathan et al., arXiv 2211.17192). The text has the target's distribution, and
at temperature 0 it is the target's. More drafts survive a temperature than by matching.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from specref_core.drafting.distribution import choose, shannon_entropy
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from torch import Tensor

    from specref_core.models.block_drafter import BlockDrafter

Verification = Literal["match", "rejection"]


@dataclass(frozen=True, slots=True)
class Round:
    """One verified block.

    Attributes:
        start: index of its first draft among the tokens written.
        drafted: the drafts.
        accepted: how many of them were kept. The round wrote one token more, the target's own, unless the text ended.
    """

    start: int
    drafted: tuple[int, ...]
    accepted: int


@dataclass(frozen=True, slots=True)
class Speculated:
    """A continuation and how it came about.

    Attributes:
        tokens: what was written, the end token included.
        entropies: of the target's raw distribution before each token, nats.
        rounds: the verified blocks, in order; empty where the first token ended the text.
        forward_passes: of the target: one over the prompt and one a round.
        positions: token positions that went through the target.
    """

    tokens: tuple[int, ...]
    entropies: tuple[float, ...]
    rounds: tuple[Round, ...]
    forward_passes: int
    positions: int


@torch.inference_mode()
def speculate(
    target: Any,
    drafter: BlockDrafter,
    prompt: Sequence[int],
    *,
    room: int,
    stream: np.random.Generator,
    stopped: Callable[[list[int]], bool],
    temperature: float = 0.0,
    top_p: float = 1.0,
    verification: Verification = "match",
) -> Speculated:
    """Continue one prompt.

    Args:
        target: a causal model of the library whose cache can be cropped.
        drafter: made for this target.
        prompt: at least one token.
        room: most tokens to write; prompt and room together must fit the target's context window.
        stream: of this row. Matching takes one number a token from it, as the target alone does.
        stopped: whether the text ends with the last of these tokens.
        temperature: 0 is greedy.
        top_p: nucleus of the target's draws.
        verification: see the module.

    Raises:
        InputError: the prompt is empty, the room is none, or the target's cache cannot be cropped.
    """
    if not prompt or room < 1:
        raise InputError(f"a prompt of {len(prompt)} tokens and room for {room}: expected at least one of each")
    if verification not in ("match", "rejection"):
        raise InputError(f"verification={verification!r}: expected match or rejection")
    sampling = _Sampling(temperature, top_p, stream)
    read = _Reader(target, drafter)
    tokens: list[int] = []
    entropies: list[float] = []
    rounds: list[Round] = []

    def write(token: int, logits: Tensor) -> bool:
        tokens.append(token)
        entropies.append(float(shannon_entropy(logits)))
        return len(tokens) >= room or stopped(tokens)

    logits = read(list(prompt))
    done = write(sampling.own(logits[-1]), logits[-1])
    while not done:
        start = len(tokens)
        # The last token of the room is the target's own, so a draft of it would be idle.
        proposal = read.draft(tokens[-1])[: room - start - 1]
        drafts = sampling.drafts(proposal, deterministic=verification == "match")
        logits = read([tokens[-1], *drafts])
        accepted = 0
        while not done:
            last = accepted == len(drafts)
            if verification == "match" or last:
                token = sampling.own(logits[accepted])
                kept = not last and token == drafts[accepted]
            else:
                kept, token = sampling.verified(logits[accepted], proposal[accepted], drafts[accepted])
            done = write(token, logits[accepted])
            if not kept:
                break
            accepted += 1
        rounds.append(Round(start, tuple(drafts), accepted))
        read.keep(len(prompt) + len(tokens) - 1)
    return Speculated(tuple(tokens), tuple(entropies), tuple(rounds), read.passes, read.positions)


class _Sampling:
    """How tokens are drawn from the target's distribution, and drafts from the drafter's."""

    def __init__(self, temperature: float, top_p: float, stream: np.random.Generator) -> None:
        self.temperature, self.top_p, self.stream = temperature, top_p, stream

    def own(self, logits: Tensor) -> int:
        """Return the target's own token, by the code that the target alone runs."""
        uniform = torch.tensor([self.stream.random()], dtype=torch.float64)
        return int(choose(logits[None], temperature=self.temperature, top_p=self.top_p, uniform=uniform))

    def drafts(self, proposal: Tensor, *, deterministic: bool) -> list[int]:
        """Return a draft a slot: the likeliest, or a draw at the target's temperature."""
        if deterministic or self.temperature == 0 or len(proposal) == 0:
            return [int(i) for i in proposal.argmax(dim=-1)] if len(proposal) else []
        uniform = torch.from_numpy(self.stream.random(len(proposal)))
        return [int(i) for i in choose(proposal, temperature=self.temperature, top_p=1.0, uniform=uniform)]

    def verified(self, logits: Tensor, proposal: Tensor, draft: int) -> tuple[bool, int]:
        """Return whether a drawn draft is kept, and the token that is written."""
        if self.temperature == 0:
            token = self.own(logits)
            return token == draft, token
        p = truncated(logits, self.temperature, self.top_p)
        q = truncated(proposal, self.temperature, 1.0)
        if self.stream.random() * float(q[draft]) < float(p[draft]):
            return True, draft
        return False, draw((p - q).clamp_min(0), self.stream.random())


class _Reader:
    """The target with its cache, and what the drafter has seen of it."""

    def __init__(self, target: Any, drafter: BlockDrafter) -> None:
        self.target, self.drafter = target, drafter
        self.embed = target.get_input_embeddings()
        self.head = target.get_output_embeddings()
        self.device = self.embed.weight.device
        self.cache: Any = None
        self.context: Tensor | None = None
        self.length = self.passes = self.positions = 0

    def __call__(self, ids: list[int]) -> Tensor:
        """Run the target over the next tokens and return (n, vocab) logits; the drafter reads along."""
        whole = self.length + len(ids)
        out = self.target(
            input_ids=torch.tensor([ids], device=self.device),
            attention_mask=torch.ones(1, whole, dtype=torch.int64, device=self.device),
            past_key_values=self.cache,
            use_cache=True,
            output_hidden_states=True,
        )
        self.cache = out.past_key_values
        if not hasattr(self.cache, "crop"):
            raise InputError(
                f"{type(self.target).__name__} keeps a {type(self.cache).__name__}, which cannot be cropped; "
                "block speculation needs a target with a key-value cache"
            )
        seen = self.drafter.read(out.hidden_states)
        self.context = seen if self.context is None else torch.cat([self.context, seen], dim=1)
        self.length, self.passes, self.positions = whole, self.passes + 1, self.positions + len(ids)
        logits: Tensor = out.logits[0]
        return logits

    def draft(self, anchor: int) -> Tensor:
        """Return (block_size - 1, vocab) logits of the tokens behind the anchor, float32."""
        assert self.context is not None
        token = self.embed(torch.tensor([[anchor]], device=self.device))
        starts = torch.tensor([[self.length]], device=self.device)
        hidden = self.drafter(token, starts, self.context)[0, 0]
        logits: Tensor = self.head(hidden.to(self.head.weight.dtype)).float()
        return logits

    def keep(self, length: int) -> None:
        """Forget what lies behind the first ``length`` positions."""
        assert self.context is not None
        if length < self.length:
            self.cache.crop(length - self.length)  # negative: how many to drop
            self.context, self.length = self.context[:, :length], length


def truncated(logits: Tensor, temperature: float, top_p: float) -> Tensor:
    """Return (vocab,) float64, what ``choose`` draws from: tempered, cut to the nucleus, normalised."""
    p = torch.softmax(logits.double() / temperature, dim=-1)
    if top_p < 1:
        ranked, order = p.sort(descending=True, stable=True)
        outside = ranked.cumsum(dim=-1) - ranked >= top_p
        p = p.scatter(-1, order[outside], 0.0)
    return p / p.sum()


def draw(weights: Tensor, uniform: float) -> int:
    """Return an index with probability proportional to its weight; a zero weight is never drawn.

    Args:
        weights: (vocab,) float64, not negative. Where rounding left nothing, the index 0 is returned.
        uniform: in [0, 1).
    """
    total = weights.cumsum(dim=-1)
    place = int(torch.searchsorted(total, total.new_tensor([uniform * float(total[-1])]), right=True))
    positive = weights.nonzero()
    return min(place, int(positive[-1])) if len(positive) else 0
