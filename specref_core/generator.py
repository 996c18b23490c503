"""The contract every text generator meets, the optional capabilities, and what a generation returns.

A generator is anything with a ``name`` and a ``generate`` method. What an audit needs beyond that is a *capability*: a
Protocol of one method, found with ``isinstance``. A generator without it still gets every audit that does not need it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Budget:
    """What a generator may spend on one prompt.

    Attributes:
        steps: nominal denoising steps S; ``None`` leaves the choice to the generator. AR generators ignore it.
        max_new_tokens: most tokens a draft or canvas may have.
    """

    steps: int | None = None
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        for name, value in (("steps", self.steps), ("max_new_tokens", self.max_new_tokens)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer, type(None))):
                raise InputError(f"{name}={value!r}: expected a whole number")
        if self.steps is not None and self.steps < 1:
            raise InputError(f"steps={self.steps!r}: a budget needs at least one denoising step, or None")
        if self.max_new_tokens is None or self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens={self.max_new_tokens!r}: expected a positive number of tokens")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one completion cost. The six figures belong together; none is reported alone.

    Attributes:
        nominal_steps: the S asked for; 0 where nothing is denoised.
        forward_passes: executed passes (NFE) of the model that writes the final text: the denoiser of a diffusion
            model or pipeline, the AR model of an AR generator. One batched pass is one pass. A pipeline's AR passes are
            counted by ``drafted_tokens``, one a token.
        row_forwards: rows of those passes that belonged to this prompt (guidance and speculation use several a pass).
        drafted_tokens: tokens written by an AR drafter, the end token included.
        seconds: wall-clock seconds; for a batch, the batch's seconds divided by its prompts.
        flops: floating-point operations by formula (``specref_core.cost``), not by measurement.
    """

    nominal_steps: int
    forward_passes: int
    row_forwards: int
    drafted_tokens: int
    seconds: float
    flops: float

    def __add__(self, other: Cost) -> Cost:
        """Add figure by figure, as for two stages of a pipeline or many completions of a run."""
        return Cost(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Draft:
    """An AR draft with the exact uncertainty of each of its tokens (paper Eq. 1 and 2).

    Attributes:
        text: the continuation, byte for byte, without special tokens.
        token_ids: (n,) drafter token ids.
        spans: (n, 2) character offsets of each token in ``text``, half open; a token without text has an empty span.
        entropies: (n,) Shannon entropy of the full next-token distribution, nats.
        vocab_size: |V| of the drafter, the normaliser of Eq. 6 is log |V|.
        log_probs: (n,) log-probability of each token under that same raw distribution, nats; empty where not known.
    """

    text: str
    token_ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    entropies: tuple[float, ...]
    vocab_size: int
    log_probs: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.token_ids) == len(self.spans) == len(self.entropies):
            raise InputError(
                f"a draft needs one span and one entropy a token; got {len(self.token_ids)} tokens, "
                f"{len(self.spans)} spans, {len(self.entropies)} entropies"
            )
        if len(self.log_probs) not in (0, len(self.token_ids)):
            raise InputError(
                f"a draft has one log-probability a token or none at all; got {len(self.log_probs)} for "
                f"{len(self.token_ids)} tokens"
            )


@dataclass(frozen=True, slots=True)
class Trace:
    """How one completion came to be: enough to draw Figure 1 of the paper.

    All tuples but the draft have one entry a position of the refiner's canvas.

    Attributes:
        draft: the AR draft, or ``None`` for a generator that starts from nothing.
        initial_tokens: text of each canvas token before masking; ``""`` where there was none (slack, standalone).
        scores: m_i of Eq. 6, in [0, 1]; 0 where the canvas has no draft.
        masked: whether the position was masked before the first step.
        final_tokens: text of each canvas token at the end.
        committed_at: the 1-based executed step at which the position was committed; 0 where it was kept.
    """

    draft: Draft | None
    initial_tokens: tuple[str, ...]
    scores: tuple[float, ...]
    masked: tuple[bool, ...]
    final_tokens: tuple[str, ...]
    committed_at: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """One continuation of one prompt.

    Attributes:
        text: the raw continuation, never stripped: no prompt, no special tokens.
        cost: what it cost, or ``None`` where the generator does not measure itself.
        trace: how it came to be, where the generator records it.
    """

    text: str
    cost: Cost | None = None
    trace: Trace | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """A draft seen by the refiner: its own tokens of the draft's text and the score of each.

    Attributes:
        spans: (n, 2) int64, character offsets of the refiner's tokens in the draft's text.
        scores: (n,) float64, m_i of Eq. 6, in [0, 1].
    """

    spans: NDArray[np.int64]
    scores: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Scaffold:
    """A partly masked draft to start refinement from.

    Attributes:
        text: the draft.
        spans: (n, 2) int64, character offsets of the refiner's tokens, as ``project`` returned them.
        masked: (n,) bool, which of those tokens are hidden from the refiner.
    """

    text: str
    spans: NDArray[np.int64]
    masked: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.spans.shape != (len(self.masked), 2):
            raise InputError(
                f"a scaffold needs one mask flag a span; got spans of shape {self.spans.shape} "
                f"and {len(self.masked)} flags"
            )


@dataclass(frozen=True, slots=True)
class LikelihoodRequest:
    """One question: a context and the continuations to score after it.

    Masks are shared across the continuations of one request, so that their differences are less noisy than they are.
    """

    context: str
    continuations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MonteCarlo:
    """How a likelihood is estimated; every field can move the number and stands in the signature.

    Attributes:
        samples: mask draws for each continuation (LLaDA: 128; the paper: 8 rounds).
        batch: draws stratified together (LLaDA's script: 8 or 32); ``samples`` must be a multiple of it.
        scheme: ``systematic`` (LLaDA's script, mask counts from one offset, ties rounded to even), ``uniform`` (exactly
            uniform counts), or ``exact`` (enumeration of all masks, targets of at most 7 tokens).
    """

    samples: int = 128
    batch: int = 8
    scheme: str = "systematic"

    def __post_init__(self) -> None:
        if self.scheme not in ("systematic", "uniform", "exact"):
            raise InputError(f"scheme={self.scheme!r}: expected systematic, uniform or exact")
        if self.samples < 1 or self.batch < 1 or self.samples % self.batch:
            raise InputError(
                f"samples={self.samples}, batch={self.batch}: both must be positive and samples a multiple of batch"
            )


@dataclass(frozen=True, slots=True)
class LogLikelihood:
    """An estimate of log p(continuation | context).

    Attributes:
        value: nats. Exact for AR models; a Monte Carlo estimate of a lower bound for masked models.
        standard_error: nats, of the Monte Carlo estimate; 0 where the value is exact, NaN where one batch gives none.
        samples: mask draws used; 0 where the value is exact.
        tokens: length of the scored target in the model's tokens.
        rounds: nats, the independent estimates that ``value`` is the mean of, one for each batch of draws; empty where
            the value is exact or they were not kept. Continuations of one request share their masks, so the noise of
            their difference is read from equal positions, and is much smaller than two standard errors suggest.
    """

    value: float
    standard_error: float
    samples: int
    tokens: int
    rounds: tuple[float, ...] = ()


@runtime_checkable
class Generator(Protocol):
    """Anything that continues prompts."""

    name: str

    def generate(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Completion]:
        """Continue every prompt: one completion a prompt, in order; equal seeds give equal results.

        A prompt's completion must not depend on the prompts that share its batch: draw its randomness from the seed
        and the prompt, not from its place in the batch or from what was drawn before.
        """
        ...


@runtime_checkable
class HasComponents(Protocol):
    """A pipeline that can hand out the generators it is made of."""

    def components(self) -> Mapping[str, Generator]:
        """Return the parts by role, ``drafter`` and ``refiner`` for SpecRef."""
        ...


@runtime_checkable
class HasLogLikelihood(Protocol):
    """A model that can score given continuations."""

    def log_likelihood(
        self, requests: Sequence[LikelihoodRequest], *, monte_carlo: MonteCarlo, seed: int
    ) -> list[list[LogLikelihood]]:
        """Score every continuation of every request, in order. Exact models ignore ``monte_carlo`` and ``seed``."""
        ...


@runtime_checkable
class HasRefine(Protocol):
    """A refiner that accepts a partly masked draft."""

    def refine(
        self, prompts: Sequence[str], scaffolds: Sequence[Scaffold], *, budget: Budget, seed: int
    ) -> list[Completion]:
        """Fill the hidden tokens of every scaffold: one completion a prompt, in order."""
        ...


@runtime_checkable
class HasDraft(Protocol):
    """A generator whose AR draft, with entropies, can be had by itself."""

    def draft(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Draft]:
        """Draft every prompt: one draft a prompt, in order."""
        ...


@runtime_checkable
class HasProjection(Protocol):
    """A pipeline that can show its map from draft entropies to refiner tokens."""

    def project(self, draft: Draft) -> Projection:
        """Project a draft's entropies onto the refiner's tokens of the same text."""
        ...


END_RULES = ("free", "deferred", "banned")
"""Treatments of the end token: written like any other, committed last, or never written."""


@runtime_checkable
class HasEndRule(Protocol):
    """A diffusion generator whose treatment of the end token can be chosen."""

    def with_end_rule(self, rule: str) -> Generator:
        """Return the same generator under one of :data:`END_RULES`, with a name and a fingerprint that tell."""
        ...


@runtime_checkable
class HasChatPrompt(Protocol):
    """A model that can show what its chat template makes of a prompt."""

    def chat_prompt(self, prompt: str) -> str | None:
        """Return the prompt as the user's turn with the assistant's opened; ``None`` without a chat template."""
        ...


@runtime_checkable
class HasFingerprint(Protocol):
    """A generator that can say which weights and settings it runs with."""

    def fingerprint(self) -> str:
        """Return a short stable text that differs whenever outputs may differ (weights, policy, dtype)."""
        ...
