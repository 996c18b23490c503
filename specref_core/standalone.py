"""The two components of the pipeline as generators of their own: the drafter alone, and the refiner alone."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from specref_core.alignment import require_encodable
from specref_core.batching import Batches, BatchSize
from specref_core.canvas import Canvas, blank, read, warm_start
from specref_core.continuation import encode_continuation
from specref_core.cost import ModelShape, denoise_flops
from specref_core.decoding.denoise import DenoiseSettings, denoise
from specref_core.errors import InputError
from specref_core.fingerprint import settings_digest, tokenizer_digest, weights_digest
from specref_core.generator import END_RULES, Completion, Cost, Trace
from specref_core.masking import normalise
from specref_core.memory import denoise_bytes, free_bytes, number_bytes
from specref_core.seeding import row_seed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from specref_core.alignment import Tokenization
    from specref_core.decoding.denoise import Denoised
    from specref_core.generator import Budget, Draft, LikelihoodRequest, LogLikelihood, MonteCarlo, Scaffold


class Drafter(Protocol):
    """What the pipeline needs of an AR backend."""

    def draft(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Draft]:
        """Draft every prompt, in order, with the exact entropy of each token."""
        ...

    def flops(self, prompt: str, draft: Draft) -> float:
        """Return the operations that this draft took, by formula."""
        ...

    def log_likelihood(
        self, requests: Sequence[LikelihoodRequest], *, monte_carlo: MonteCarlo, seed: int
    ) -> list[list[LogLikelihood]]:
        """Score continuations exactly."""
        ...

    def fingerprint(self) -> str:
        """Name weights and settings."""
        ...


class StandaloneDrafter:
    """The AR drafter as a generator: its draft is the answer.

    Args:
        drafter: the backend.
        name: how it is called in tables.
    """

    def __init__(self, drafter: Drafter, *, name: str = "drafter") -> None:
        self.name = name
        self.drafter = drafter

    def generate(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Completion]:
        """Draft every prompt. ``budget.steps`` means nothing to an AR model."""
        started = perf_counter()
        drafts = self.draft(prompts, budget=budget, seed=seed)
        seconds = (perf_counter() - started) / max(1, len(prompts))
        return [
            Completion(draft.text, self.cost(prompt, draft, seconds), draft_trace(draft))
            for prompt, draft in zip(prompts, drafts, strict=True)
        ]

    def draft(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Draft]:
        """Return the drafts themselves."""
        return self.drafter.draft(prompts, budget=budget, seed=seed)

    def cost(self, prompt: str, draft: Draft, seconds: float) -> Cost:
        """Return the cost of a draft as an AR generator's: one forward pass a token."""
        drafted = len(draft.token_ids)
        return Cost(0, drafted, drafted, drafted, seconds, self.drafter.flops(prompt, draft))

    def chat_prompt(self, prompt: str) -> str | None:
        """Return the prompt as the tokenizer's chat template writes it; ``None`` where there is no template."""
        return chat_prompt(getattr(self.drafter, "tokenizer", None), prompt)

    def log_likelihood(
        self, requests: Sequence[LikelihoodRequest], *, monte_carlo: MonteCarlo, seed: int
    ) -> list[list[LogLikelihood]]:
        """Score continuations exactly; ``monte_carlo`` and ``seed`` change nothing."""
        return self.drafter.log_likelihood(requests, monte_carlo=monte_carlo, seed=seed)

    def fingerprint(self) -> str:
        """Name weights and settings."""
        return self.drafter.fingerprint()


@dataclass(frozen=True, slots=True)
class RefinerSettings:
    """How a refiner is run.

    Attributes:
        denoise: the reverse process; a budget that names steps overrides its ``steps``.
        slack: hidden positions after a draft; 0 keeps the draft's length.
        canvas_length: a fixed answer length in refiner tokens. ``None`` means the draft's own length for a warm start
            and the budget's ``max_new_tokens`` for a standalone run.
        chat: wrap prompts in the tokenizer's chat template, as instruction-tuned refiners expect.
        batch_size: canvases denoised together, ``auto`` for as many as fit into the GPU's free memory; results do not
            depend on it beyond float noise.
    """

    denoise: DenoiseSettings = field(default_factory=DenoiseSettings)
    slack: int = 0
    canvas_length: int | None = None
    chat: bool = False
    batch_size: BatchSize = "auto"

    def __post_init__(self) -> None:
        if self.slack < 0:
            raise InputError(f"slack={self.slack!r}: expected 0 or more positions")
        if self.canvas_length is not None and self.canvas_length < 1:
            raise InputError(f"canvas_length={self.canvas_length!r}: expected a positive length, or None")
        Batches(self.batch_size, "canvases")


class StandaloneRefiner:
    """The masked diffusion model as a generator: it starts from hidden positions only.

    Args:
        model: a masked language model whose configuration names its mask token.
        tokenizer: its fast tokenizer.
        settings: how it is run.
        name: how it is called in tables.
    """

    def __init__(
        self, model: Any, tokenizer: Any, settings: RefinerSettings | None = None, *, name: str = "refiner"
    ) -> None:
        self.name = name
        self.model = model
        self.tokenizer = tokenizer
        self.settings = settings or RefinerSettings()
        named = self.settings.denoise.mask_token_id
        self.mask_id: int = model.config.mask_token_id if named is None else named
        self.end_ids = _end_ids(model.config, tokenizer)
        eos = model.config.eos_token_id
        eos = getattr(tokenizer, "eos_token_id", None) if eos is None else eos
        self.end_id: int | None = eos[0] if isinstance(eos, (list, tuple)) else eos
        self.context_window: int | None = getattr(model.config, "max_position_embeddings", None)
        if self.settings.chat and not getattr(tokenizer, "chat_template", None):
            raise InputError("chat=True, but the refiner's tokenizer has no chat template")
        self._weights: str | None = None
        self._batches = Batches(self.settings.batch_size, "canvases")

    @classmethod
    def from_pretrained(
        cls,
        place: str | Path,
        settings: RefinerSettings | None = None,
        *,
        name: str = "refiner",
        **loading: Any,
    ) -> StandaloneRefiner:
        """Load a refiner in the LLaDA layout; ``loading`` goes to :func:`specref_core.models.llada.load_llada`."""
        from specref_core.models.llada import load_llada

        model, tokenizer = load_llada(place, **loading)
        return cls(model, tokenizer, settings, name=name)

    def generate(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Completion]:
        """Write every answer from nothing, on ``canvas_length`` or ``budget.max_new_tokens`` positions."""
        length = self.settings.canvas_length or budget.max_new_tokens
        canvases = [blank(self.encode_prompt(prompt), length, mask_id=self.mask_id) for prompt in prompts]
        return self.fill(prompts, canvases, budget=budget, seed=seed)

    def refine(
        self, prompts: Sequence[str], scaffolds: Sequence[Scaffold], *, budget: Budget, seed: int
    ) -> list[Completion]:
        """Fill the hidden tokens of every scaffold.

        Raises:
            InputError: a scaffold's spans are not this refiner's tokens of its text, or the numbers differ.
        """
        if len(scaffolds) != len(prompts):
            raise InputError(f"{len(prompts)} prompts and {len(scaffolds)} scaffolds; expected one a prompt")
        canvases = []
        for i, (prompt, scaffold) in enumerate(zip(prompts, scaffolds, strict=True)):
            tokens = self.encode_draft(scaffold.text)
            if not np.array_equal(tokens.spans, scaffold.spans):
                raise InputError(
                    f"scaffold {i}: its {len(scaffold.spans)} spans are not this refiner's {len(tokens.spans)} tokens "
                    "of the text; take the spans from project()"
                )
            canvases.append(self.canvas(prompt, scaffold.text, tokens, scaffold.masked))
        return self.fill(prompts, canvases, budget=budget, seed=seed)

    def encode_prompt(self, prompt: str) -> list[int]:
        """Return the refiner's tokens of a prompt, in the chat template where the settings say so.

        An empty prompt becomes the begin token where there is one: before nothing, all hidden positions look alike.
        """
        require_encodable(prompt, "the prompt")
        if self.settings.chat:
            text = self.chat_prompt(prompt)
            return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        ids = list(self.tokenizer(prompt, verbose=False)["input_ids"])
        begin = getattr(self.tokenizer, "bos_token_id", None)
        return ids if ids or begin is None else [begin]

    def chat_prompt(self, prompt: str) -> str | None:
        """Return the prompt as the tokenizer's chat template writes it; ``None`` where there is no template."""
        return chat_prompt(self.tokenizer, prompt)

    def encode_draft(self, text: str) -> Tokenization:
        """Return the refiner's tokens of a draft and their characters."""
        return encode_continuation(self.tokenizer, text)

    def canvas(
        self,
        prompt: str,
        text: str,
        tokens: Tokenization,
        masked: np.ndarray[Any, np.dtype[np.bool_]],
        *,
        scores: np.ndarray[Any, np.dtype[np.float64]] | None = None,
        draft: Draft | None = None,
    ) -> Canvas:
        """Return the canvas of a partly hidden draft, laid out as the settings say."""
        return warm_start(
            self.encode_prompt(prompt),
            text,
            tokens,
            masked,
            scores=np.zeros(len(masked)) if scores is None else scores,
            mask_id=self.mask_id,
            end_id=self.end_id,
            slack=self.settings.slack,
            length=self.settings.canvas_length,
            draft=draft,
        )

    def fill(
        self, prompts: Sequence[str], canvases: Sequence[Canvas], *, budget: Budget, seed: int
    ) -> list[Completion]:
        """Run the reverse process on canvases (lines 7 to 10 of Algorithm 1): one completion a canvas, in order.

        Raises:
            InputError: a canvas is longer than the refiner's context window.
        """
        settings = self.settings.denoise
        if budget.steps is not None:
            settings = replace(settings, steps=budget.steps)
        for i, canvas in enumerate(canvases):
            if self.context_window is not None and len(canvas) > self.context_window:
                raise InputError(
                    f"prompt {i} has {len(canvas.prompt_ids)} tokens and its canvas {len(canvas.ids)}; together they "
                    f"exceed the refiner's context window of {self.context_window}"
                )
        seeds = [row_seed(seed, prompt, "refine") for prompt in prompts]

        def work(batch: list[int]) -> list[Completion]:
            return self._fill_batch([canvases[i] for i in batch], [seeds[i] for i in batch], settings)

        done = self._batches.run(
            sorted(range(len(canvases)), key=lambda i: len(canvases[i])),
            work,
            need=lambda i: self._bytes(len(canvases[i]), settings),
            free=lambda: free_bytes(self.model),
        )
        return [done[i] for i in range(len(canvases))]

    def with_end_rule(self, rule: str) -> StandaloneRefiner:
        """Return this refiner, weights shared, under another treatment of the end token.

        Args:
            rule: one of :data:`specref_core.generator.END_RULES`. ``deferred`` and ``banned`` are switches of LLaDA's
                evaluation (``confidence_eos_eot_inf``, ``logits_eos_inf``); ``free`` is neither.

        Raises:
            InputError: there is no such rule, or the model has no end token to treat.
        """
        if rule not in END_RULES:
            raise InputError(f"end rule {rule!r}: expected one of {', '.join(END_RULES)}")
        process = self.settings.denoise
        if process.eos_token_id is None and self.model.config.eos_token_id is None:
            raise InputError(f"{self.name!r} has no end token; set DenoiseSettings.eos_token_id")
        self.fingerprint()  # the weights are read once, for this one and all its twins
        twin = copy(self)
        process = replace(process, ban_eos=rule == "banned", defer_eos=rule == "deferred")
        twin.settings = replace(self.settings, denoise=process)
        twin.name = f"{self.name}, end token {rule}"
        return twin

    def log_likelihood(
        self, requests: Sequence[LikelihoodRequest], *, monte_carlo: MonteCarlo, seed: int
    ) -> list[list[LogLikelihood]]:
        """Estimate the likelihood of every continuation (paper section 3.2, protocol C)."""
        from specref_core.likelihood import masked_log_likelihood

        return masked_log_likelihood(self.model, self.tokenizer, requests, monte_carlo=monte_carlo, seed=seed)

    def fingerprint(self) -> str:
        """Name weights, tokenizer and settings; the batch size is no part, it changes nothing."""
        if self._weights is None:
            self._weights = weights_digest(self.model)
        return settings_digest(
            self._weights, tokenizer_digest(self.tokenizer), replace(self.settings, batch_size=1), self.model.dtype
        )

    def _bytes(self, length: int, settings: DenoiseSettings) -> int:
        """Return what a canvas of this length takes in a batch."""
        return denoise_bytes(
            ModelShape.of(self.model.config),
            length=length,
            number_bytes=number_bytes(self.model),
            copies=2 if settings.cfg_scale > 0 else 1,
        )

    def _reverse(self, ids: Tensor, masked: Tensor, **how: Any) -> Denoised:
        """Run the reverse process on one batch; a faster sampler takes its place here."""
        return denoise(self.model, ids, masked, **how)

    def _fill_batch(self, canvases: list[Canvas], seeds: list[int], settings: DenoiseSettings) -> list[Completion]:
        import torch

        started = perf_counter()
        width = max(map(len, canvases))
        ids = torch.full((len(canvases), width), self.mask_id, dtype=torch.int64)
        masked, prompt, attended = (torch.zeros(len(canvases), width, dtype=torch.bool) for _ in range(3))
        for row, canvas in enumerate(canvases):
            seam = len(canvas.prompt_ids)
            ids[row, :seam] = torch.tensor(canvas.prompt_ids, dtype=torch.int64)
            ids[row, seam : len(canvas)] = torch.from_numpy(canvas.ids)
            masked[row, seam : len(canvas)] = torch.from_numpy(canvas.masked)
            prompt[row, :seam] = True
            attended[row, : len(canvas)] = True
        out = self._reverse(ids, masked, attention_mask=attended, prompt_mask=prompt, settings=settings, seeds=seeds)
        seconds = (perf_counter() - started) / len(canvases)
        shape = ModelShape.of(self.model.config)
        completions = []
        for row, canvas in enumerate(canvases):
            answer = slice(len(canvas.prompt_ids), len(canvas))
            text, trace = read(
                canvas,
                out.ids[row, answer].numpy(),
                out.committed_at[row, answer].numpy(),
                tokenizer=self.tokenizer,
                end_ids=self.end_ids,
            )
            passes, rows, heads = (int(t[row]) for t in (out.forward_passes, out.row_forwards, out.head_rows))
            flops = denoise_flops(shape, length=len(canvas), row_forwards=rows, head_rows=heads)
            completions.append(Completion(text, Cost(settings.steps, passes, rows, 0, seconds, flops), trace))
        return completions


def chat_prompt(tokenizer: Any, prompt: str) -> str | None:
    """Return a prompt as the user's turn of a tokenizer's chat template, with the assistant's turn opened.

    Args:
        tokenizer: of transformers.
        prompt: the user's turn.

    Returns:
        The text with the template's special tokens spelled out; ``None`` where the tokenizer has no chat template.
    """
    if not getattr(tokenizer, "chat_template", None):
        return None
    message = [{"role": "user", "content": prompt}]
    text: str = tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    return text


def draft_trace(draft: Draft) -> Trace:
    """Return the trace of an answer that is a draft: nothing was hidden."""
    pieces, done = [], 0
    for start, end in draft.spans:
        pieces.append(draft.text[max(start, done) : end])
        done = max(done, end)
    count = len(pieces)
    return Trace(
        draft=draft,
        initial_tokens=tuple(pieces),
        scores=tuple(normalise(draft.entropies, draft.vocab_size).tolist()),
        masked=(False,) * count,
        final_tokens=tuple(pieces),
        committed_at=(0,) * count,
    )


def _end_ids(config: Any, tokenizer: Any) -> frozenset[int]:
    """Return every id that ends an answer, whichever of the checkpoint's files says so."""
    named = [config.eos_token_id, getattr(config, "eot_token_id", None), getattr(tokenizer, "eos_token_id", None)]
    ids = [i for entry in named if entry is not None for i in (entry if isinstance(entry, (list, tuple)) else [entry])]
    return frozenset(int(i) for i in ids)
