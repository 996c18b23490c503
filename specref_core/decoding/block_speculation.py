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

A target that reads several tokens in one pass rounds differently from one that reads them one by one. Where that noise
could turn the target's choice (two tokens as likely as each other, a random number at the edge between two), the target
is asked as it would be alone, token by token behind a cache of its own, so that the choice is its own to the bit. That
needs float32 logits; with narrower ones, the text is the target's up to their rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from specref_core.decoding.float_noise import LOGIT_NOISE
from specref_core.drafting.distribution import checked_entropy, choose
from specref_core.drafting.distribution import read as read_distribution
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch import Tensor

    from specref_core.models.block_drafter import BlockDrafter

Verification = Literal["match", "rejection"]
ReadAlone = Callable[[list[int], int, Any], "tuple[Tensor, Any]"]
"""Reads tokens behind so many others in a cache, as the target does when alone; the cache is ``None`` at first.

Returns the (vocab,) logits behind the last of them, and the cache.
"""


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
        log_probs: of each token under that distribution, nats.
        rounds: the verified blocks, in order; empty where the first token ended the text.
        forward_passes: of the target: one over the prompt, one a round, and those for choices it was asked again.
        positions: token positions that went through the target.
    """

    tokens: tuple[int, ...]
    entropies: tuple[float, ...]
    log_probs: tuple[float, ...]
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
    alone: ReadAlone | None = None,
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
        alone: how the target reads tokens when nobody drafts for it; by a plain call if not given.

    Raises:
        InputError: the prompt is empty, the room is none, or the target's cache cannot be cropped.
    """
    if not prompt or room < 1:
        raise InputError(f"a prompt of {len(prompt)} tokens and room for {room}: expected at least one of each")
    if verification not in ("match", "rejection"):
        raise InputError(f"verification={verification!r}: expected match or rejection")
    sampling = Sampling(temperature, top_p, stream)
    read = _Reader(target, drafter)
    tokens: list[int] = []
    entropies: list[float] = []
    log_probs: list[float] = []
    rounds: list[Round] = []
    by_itself = _Alone(alone or read.alone, list(prompt), tokens)

    def write(token: int, logits: Tensor) -> bool:
        log_p, entropy = read_distribution(logits)
        tokens.append(token)
        entropies.append(float(checked_entropy(entropy)))
        log_probs.append(float(log_p[token]))
        return len(tokens) >= room or stopped(tokens)

    done = write(*sampling.own(read(list(prompt))[-1], by_itself))
    while not done:
        start = len(tokens)
        # The last token of the room is the target's own, so a draft of it would be idle.
        proposal = read.draft(tokens[-1])[: room - start - 1]
        drafts = sampling.drafts(proposal, deterministic=verification == "match")
        logits = read([tokens[-1], *drafts])
        accepted = 0
        while not done:
            seen = logits[accepted]
            last = accepted == len(drafts)
            if verification == "match" or last or temperature == 0:
                token, seen = sampling.own(seen, by_itself)
                kept = not last and token == drafts[accepted]
            else:
                kept, token = sampling.verified(seen, proposal[accepted], drafts[accepted])
            done = write(token, seen)
            if not kept:
                break
            accepted += 1
        rounds.append(Round(start, tuple(drafts), accepted))
        read.keep(len(prompt) + len(tokens) - 1)
    return Speculated(
        tuple(tokens),
        tuple(entropies),
        tuple(log_probs),
        tuple(rounds),
        read.passes + by_itself.passes,
        read.positions + by_itself.positions,
    )


class Sampling:
    """How tokens are drawn from the target's distribution, and drafts from the drafter's.

    Args:
        temperature: 0 is greedy.
        top_p: nucleus of the target's draws.
        stream: of this row.
    """

    def __init__(self, temperature: float, top_p: float, stream: np.random.Generator) -> None:
        self.temperature, self.top_p, self.stream = temperature, top_p, stream

    def own(self, logits: Tensor, alone: Callable[[], Tensor]) -> tuple[int, Tensor]:
        """Return the target's own token, by the code that the target alone runs, and the logits that decided.

        Args:
            logits: (vocab,) raw, from a pass over several tokens.
            alone: gives the logits of the target alone, where those leave the choice to float noise.
        """
        uniform = self.stream.random()
        if could_turn(logits, self.temperature, self.top_p, uniform):
            logits = alone()
        number = torch.tensor([uniform], dtype=torch.float64)
        token = choose(logits[None], temperature=self.temperature, top_p=self.top_p, uniform=number)
        return int(token), logits

    def drafts(self, proposal: Tensor, *, deterministic: bool) -> list[int]:
        """Return a draft a slot: the likeliest, or a draw at the target's temperature."""
        if deterministic or self.temperature == 0 or len(proposal) == 0:
            return [int(i) for i in proposal.argmax(dim=-1)] if len(proposal) else []
        uniform = torch.from_numpy(self.stream.random(len(proposal)))
        return [int(i) for i in choose(proposal, temperature=self.temperature, top_p=1.0, uniform=uniform)]

    def verified(self, logits: Tensor, proposal: Tensor, draft: int) -> tuple[bool, int]:
        """Return whether a drawn draft is kept, and the token that is written; for temperatures above 0.

        Args:
            logits: (vocab,) the target's.
            proposal: (vocab,) the drafter's, from which the draft was drawn.
            draft: a token.
        """
        p = truncated(logits, self.temperature, self.top_p)
        q = truncated(proposal, self.temperature, 1.0)
        if self.stream.random() < self.acceptance(float(p[draft]), float(q[draft])):
            return True, draft
        return False, draw((p - q).clamp_min(0), self.stream.random())

    def acceptance(self, p: float, q: float) -> float:
        """Return the chance that a draft is kept: ``p / q``, where more than 1 is certainty.

        Args:
            p: the target's probability of it.
            q: the drafter's, above 0.
        """
        return p / q


def could_turn(logits: Tensor, temperature: float, top_p: float, uniform: float) -> bool:
    """Return whether float noise of the logits could turn what ``choose`` makes of them.

    Logits narrower than float32 are never asked about: all their choices could.

    Args:
        logits: (vocab,) raw.
        temperature: 0 is greedy.
        top_p: nucleus.
        uniform: the random number of this draw.
    """
    if logits.dtype not in (torch.float32, torch.float64) or len(logits) < 2:
        return False
    finite = logits.masked_fill(logits.isinf(), 0.0)
    noise = LOGIT_NOISE * max(1.0, float(finite.abs().max()))
    if temperature == 0:
        best = logits.topk(2).values
        return bool(best[0] - best[1] <= 2 * noise)
    noise = 2 * noise / temperature  # of a probability, relative
    ranked = torch.softmax(logits.double() / temperature, dim=-1).sort(descending=True, stable=True).values
    p, total = ranked, ranked.cumsum(dim=-1)
    if top_p < 1:
        if bool(((total - p - top_p).abs() <= noise).any()):  # who belongs to the nucleus
            return True
        p = p.masked_fill(total - p >= top_p, 0.0)
        total = p.cumsum(dim=-1)
    # The one beside may stand outside the nucleus: of two equals at its edge, noise says which is in.
    place = uniform * float(total[-1])
    if bool(((total - place).abs() <= 2 * noise * total[-1]).any()):  # an edge between two tokens
        return True
    at = min(int(torch.searchsorted(total, total.new_tensor([place]), right=True)), len(p) - 1)
    beside = ranked[max(0, at - 1) : at + 2]  # who stands at this place of the ranking
    return bool(((beside - ranked[at]).abs() <= noise * ranked[at]).sum() > 1)


class _Alone:
    """The target as it reads when nobody drafts: the prompt at once, then token by token; only as far as asked."""

    def __init__(self, read: ReadAlone, prompt: list[int], tokens: list[int]) -> None:
        self.read, self.prompt, self.tokens = read, prompt, tokens
        self.cache: Any = None
        self.logits: Tensor | None = None
        self.done = -1  # written tokens that were read; -1 before the prompt
        self.passes = self.positions = 0

    def __call__(self) -> Tensor:
        """Return (vocab,) logits of the token behind those written so far."""
        while self.done < len(self.tokens):
            ids = self.prompt if self.done < 0 else [self.tokens[self.done]]
            self.logits, self.cache = self.read(ids, self.positions, self.cache)
            self.done += 1
            self.passes += 1
            self.positions += len(ids)
        assert self.logits is not None
        return self.logits


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

    def alone(self, ids: list[int], before: int, cache: Any) -> tuple[Tensor, Any]:
        """Read tokens for the target only; see ``ReadAlone``."""
        out = self.target(
            input_ids=torch.tensor([ids], device=self.device),
            attention_mask=torch.ones(1, before + len(ids), dtype=torch.int64, device=self.device),
            past_key_values=cache,
            use_cache=True,
        )
        return out.logits[0, -1], out.past_key_values

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
