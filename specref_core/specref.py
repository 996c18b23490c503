"""Speculative refinement: an AR draft, its uncertain tokens hidden, a diffusion model that fills them (Algorithm 1).

The order below is the paper's; comments carry the line numbers of its Algorithm 1.
"""

from __future__ import annotations

from copy import copy
from dataclasses import fields, replace
from inspect import signature
from time import perf_counter
from typing import TYPE_CHECKING, Any

from specref_core.alignment import project
from specref_core.decoding.denoise import DenoiseSettings
from specref_core.errors import InputError
from specref_core.fingerprint import settings_digest
from specref_core.generator import Completion, Projection
from specref_core.masking import MaskPolicy, normalise
from specref_core.standalone import Drafter, RefinerSettings, StandaloneDrafter, StandaloneRefiner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from specref_core.generator import (
        Budget,
        Draft,
        Generator,
        LikelihoodRequest,
        LogLikelihood,
        MonteCarlo,
        Scaffold,
    )


BACKENDS = ("transformers", "vllm")
"""What may load a drafter; the first is the default."""


class SpecRef:
    """The hybrid pipeline as a generator.

    Args:
        drafter: the AR backend, q_phi.
        refiner: the masked diffusion model, p_theta, with the settings of its reverse process.
        policy: which draft tokens are hidden; the paper's choices by default.
        name: how it is called in tables.
    """

    def __init__(
        self,
        drafter: Drafter,
        refiner: StandaloneRefiner,
        policy: MaskPolicy | None = None,
        *,
        name: str = "specref",
    ) -> None:
        self.name = name
        self.drafter = StandaloneDrafter(drafter)
        self.refiner = refiner
        self.policy = policy or MaskPolicy()

    def generate(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Completion]:
        """Continue every prompt by Algorithm 1.

        Args:
            prompts: any texts.
            budget: ``steps`` is S, ``max_new_tokens`` bounds the draft.
            seed: with the prompt it decides every random choice, whatever shares the batch.
        """
        started = perf_counter()
        drafts = self.draft(prompts, budget=budget, seed=seed)  # lines 1 and 2
        canvases = []
        for prompt, draft in zip(prompts, drafts, strict=True):
            tokens = self.refiner.encode_draft(draft.text)
            scores = self._scores(draft, tokens.spans)
            masked = self.policy.mask(scores, draft.text, tokens.spans)  # lines 3 to 5
            canvases.append(  # line 6
                self.refiner.canvas(prompt, draft.text, tokens, masked, scores=scores, draft=draft)
            )
        seconds = (perf_counter() - started) / max(1, len(prompts))
        refined = self.refiner.fill(prompts, canvases, budget=budget, seed=seed)  # lines 7 to 10
        return [
            self._with_draft_cost(completion, prompt, draft, seconds)
            for completion, prompt, draft in zip(refined, prompts, drafts, strict=True)
        ]

    def draft(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Draft]:
        """Return the drafts that ``generate`` starts from (lines 1 and 2)."""
        return self.drafter.draft(prompts, budget=budget, seed=seed)

    def project(self, draft: Draft) -> Projection:
        """Return the refiner's tokens of a draft and the score of each, m_i of Eq. 6."""
        tokens = self.refiner.encode_draft(draft.text)
        return Projection(spans=tokens.spans, scores=self._scores(draft, tokens.spans))

    def refine(
        self, prompts: Sequence[str], scaffolds: Sequence[Scaffold], *, budget: Budget, seed: int
    ) -> list[Completion]:
        """Fill the hidden tokens of every scaffold, without drafting."""
        return self.refiner.refine(prompts, scaffolds, budget=budget, seed=seed)

    def components(self) -> Mapping[str, Generator]:
        """Return the drafter alone and the refiner alone, with the same weights and settings."""
        return {"drafter": self.drafter, "refiner": self.refiner}

    def with_end_rule(self, rule: str) -> SpecRef:
        """Return this pipeline, weights shared, whose refiner treats the end token by another rule.

        Raises:
            InputError: there is no such rule.
        """
        twin = copy(self)
        twin.refiner = self.refiner.with_end_rule(rule)
        twin.name = f"{self.name}, end token {rule}"
        return twin

    def log_likelihood(
        self, requests: Sequence[LikelihoodRequest], *, monte_carlo: MonteCarlo, seed: int
    ) -> list[list[LogLikelihood]]:
        """Return the refiner's estimates: a pipeline has no likelihood of its own (paper Table 2 scores it so too)."""
        return self.refiner.log_likelihood(requests, monte_carlo=monte_carlo, seed=seed)

    def chat_prompt(self, prompt: str) -> str | None:
        """Return the prompt as the refiner's chat template writes it: the likelihoods are the refiner's."""
        return self.refiner.chat_prompt(prompt)

    def fingerprint(self) -> str:
        """Name the weights and settings of both models, and the mask policy."""
        return settings_digest(self.drafter.fingerprint(), self.refiner.fingerprint(), self.policy.describe())

    def _scores(self, draft: Draft, spans: Any) -> Any:
        """Eq. 6: entropies through the characters to the refiner's tokens, then normalised by log |V|."""
        return normalise(project(draft.entropies, draft.spans, spans, how=self.policy.how), draft.vocab_size)

    def _with_draft_cost(self, completion: Completion, prompt: str, draft: Draft, seconds: float) -> Completion:
        assert completion.cost is not None  # the refiner always measures itself
        return replace(
            completion,
            cost=replace(
                completion.cost,
                drafted_tokens=len(draft.token_ids),
                seconds=completion.cost.seconds + seconds,
                flops=completion.cost.flops + self.drafter.drafter.flops(prompt, draft),
            ),
        )


def from_pretrained(
    drafter: str | Path | Drafter,
    refiner: str | Path,
    *,
    name: str = "specref",
    backend: str | None = None,
    backend_options: Mapping[str, Any] | None = None,
    drafter_temperature: float = 0.0,
    drafter_top_p: float = 1.0,
    drafter_quantization: str | None = None,
    drafter_revision: str | None = None,
    refiner_quantization: Any = None,
    refiner_revision: str | None = None,
    dtype: str = "auto",
    device_map: Any = None,
    **overrides: Any,
) -> SpecRef:
    """Load a pipeline from two checkpoint directories or hub names.

    Args:
        drafter: a causal LM, or a drafter already made. ``vllm:PLACE`` and ``transformers:PLACE`` name the backend too.
        refiner: a checkpoint in the LLaDA layout.
        name: how it is called in tables.
        backend: of the drafter, ``transformers`` (the default) or ``vllm``.
        backend_options: further arguments of the backend's own ``from_pretrained`` (vLLM: ``devices``,
            ``memory_share``, ``context_window``, ``engine_options``).
        drafter_temperature: 0 drafts greedily.
        drafter_top_p: nucleus of a sampled draft.
        drafter_quantization: ``4bit``, ``8bit`` or ``None``.
        drafter_revision: of a hub name.
        refiner_quantization: as the drafter's.
        refiner_revision: of a hub name.
        dtype: of both models.
        device_map: of both models; ``auto`` spreads each over the GPUs there are. vLLM places its model itself.
        **overrides: any field of :class:`MaskPolicy` (``k``, ``window`` …), :class:`RefinerSettings` (``slack``,
            ``chat``, ``batch_size`` …) or :class:`DenoiseSettings` (``steps``, ``temperature`` …), by name.

    Raises:
        InputError: an override is no such field, a value cannot be used, or the backend is not installed.
        CheckpointError: a checkpoint is missing or damaged.
    """
    kinds = (MaskPolicy, RefinerSettings, DenoiseSettings)
    known = {f.name: kind for kind in kinds for f in fields(kind)} | {"denoise": None}
    unknown = sorted(key for key in overrides if known.get(key) is None)
    if unknown:
        accepted = ", ".join(sorted(key for key, kind in known.items() if kind))
        raise InputError(f"{', '.join(unknown)}: no such setting; expected some of: {accepted}")
    given: dict[Any, dict[str, Any]] = {
        kind: {key: value for key, value in overrides.items() if known[key] is kind} for kind in kinds
    }
    policy = MaskPolicy(**given[MaskPolicy])
    settings = RefinerSettings(denoise=DenoiseSettings(**given[DenoiseSettings]), **given[RefinerSettings])
    made = hasattr(drafter, "draft")
    kind, place = ("", "") if made else _backend(drafter, backend)
    if made and (backend or backend_options):
        raise InputError("backend and backend_options are for a drafter that is loaded here; this one is made already")
    from specref_core.drafting.checkpoint import check_causal_lm
    from specref_core.models.llada import check_llada

    # Both directories are looked at before anything heavy is loaded.
    if not made:
        check_causal_lm(place, revision=drafter_revision)
    check_llada(refiner, revision=refiner_revision)
    if made:
        drafting: Any = drafter
    else:
        common: dict[str, Any] = {
            "dtype": dtype,
            "quantization": drafter_quantization,
            "revision": drafter_revision,
            "temperature": drafter_temperature,
            "top_p": drafter_top_p,
        }
        # The drafter first: vLLM takes its share of a GPU before anybody else is there.
        drafting = (
            _under_vllm(place, {**common, **(backend_options or {})})
            if kind == "vllm"
            else _under_transformers(
                place,
                {**common, "device_map": device_map, "batch_size": settings.batch_size, **(backend_options or {})},
            )
        )
    loaded = StandaloneRefiner.from_pretrained(
        refiner,
        settings,
        dtype=dtype,
        device_map=device_map,
        quantization=refiner_quantization,
        revision=refiner_revision,
    )
    return SpecRef(drafting, loaded, policy, name=name)


def _backend(drafter: Any, named: str | None) -> tuple[str, str]:
    """Return the backend and the place of a drafter that is yet to be loaded."""
    kind, separator, place = str(drafter).partition(":")
    if not separator or kind not in BACKENDS:
        kind, place = "", str(drafter)
    if named is not None and named not in BACKENDS:
        raise InputError(f"backend={named!r}: expected one of {', '.join(BACKENDS)}")
    if kind and named and kind != named:
        raise InputError(f"drafter={str(drafter)!r} and backend={named!r}: name one backend")
    return kind or named or BACKENDS[0], place


def _under_vllm(place: str, options: Mapping[str, Any]) -> Any:
    from specref_core.drafting.vllm import VllmDrafter

    return _load(VllmDrafter, place, options)


def _under_transformers(place: str, options: Mapping[str, Any]) -> Any:
    from specref_core.drafting.transformers import TransformersDrafter

    return _load(TransformersDrafter, place, options)


def _load(kind: Any, place: str, options: Mapping[str, Any]) -> Any:
    """Load a drafter, after a look at the names of its options."""
    known: set[str] = set()
    for method in (kind.from_pretrained, kind.__init__):
        known |= {p.name for p in signature(method).parameters.values() if p.kind is p.KEYWORD_ONLY}
    unknown = sorted(options.keys() - known)
    if unknown:
        raise InputError(
            f"backend_options: {', '.join(unknown)}: no such option of {kind.__name__}; "
            f"expected some of: {', '.join(sorted(known - {'identity'}))}"
        )
    return kind.from_pretrained(place, **options)
