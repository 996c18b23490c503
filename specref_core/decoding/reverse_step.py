"""What every sampler of the reverse process shares: checked canvases, the plan of steps, and one pass of the model."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from specref_core.decoding.float_noise import Margins
from specref_core.decoding.schedule import block_steps, num_transfer
from specref_core.decoding.unmasking import likeliest, predict
from specref_core.errors import CheckpointError, InputError
from specref_core.models.calling import features_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from specref_core.decoding.denoise import DenoiseSettings


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One executed step of one row: how many positions left of column ``end`` it commits."""

    end: int
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """What one pass says of n positions.

    Attributes:
        tokens: (n,) int64.
        confidence: (n,) float, in [0, 1].
        margins: how clear the choices of tokens were; ``None`` where nobody measured.
        likeliest: tokens (n, k) int64 and probabilities (n, k) float32, see
            :func:`specref_core.decoding.unmasking.likeliest`; ``None`` where nobody asked.
    """

    tokens: Tensor
    confidence: Tensor
    margins: Margins | None = None
    likeliest: tuple[Tensor, Tensor] | None = None

    def split(self, counts: list[int]) -> list[Predicted]:
        """Return the predictions of consecutive rows, ``counts`` positions each."""
        margins = [None] * len(counts) if self.margins is None else self.margins.split(counts)
        likeliest = (
            [None] * len(counts)
            if self.likeliest is None
            else list(zip(*(torch.split(part, counts) for part in self.likeliest), strict=True))
        )
        tokens, confidence = torch.split(self.tokens, counts), torch.split(self.confidence, counts)
        return [Predicted(*part) for part in zip(tokens, confidence, margins, likeliest, strict=True)]

    def to(self, device: torch.device) -> Predicted:
        """Return tokens, confidences and likeliest tokens on another device."""
        likeliest = self.likeliest and (self.likeliest[0].to(device), self.likeliest[1].to(device))
        return replace(self, tokens=self.tokens.to(device), confidence=self.confidence.to(device), likeliest=likeliest)


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Tokens with a role in the reverse process.

    Attributes:
        mask: of a hidden position, never written.
        banned: never written either.
        deferred: committed last.
    """

    mask: int
    banned: tuple[int, ...]
    deferred: tuple[int, ...]

    @classmethod
    def of(cls, model: Any, settings: DenoiseSettings) -> SpecialTokens:
        """Take the token ids from the settings, else from the model's configuration."""

        def find(name: str) -> tuple[int, ...]:
            value = getattr(settings, name)
            if value is None:
                value = getattr(getattr(model, "config", None), name, None)
            return () if value is None else (value,) if isinstance(value, int) else tuple(value)

        mask, eos, eot = find("mask_token_id"), find("eos_token_id"), find("eot_token_id")
        if not mask:
            raise InputError("the model's configuration has no mask_token_id; set DenoiseSettings.mask_token_id")
        if (settings.ban_eos or settings.defer_eos) and not eos:
            raise InputError("ban_eos and defer_eos need an end token; set DenoiseSettings.eos_token_id")
        banned = settings.suppress_tokens + (eos if settings.ban_eos else ())
        return cls(mask[0], banned, eos + eot if settings.defer_eos else ())


def checked_canvas(
    ids: Tensor, masked: Tensor | None, attention_mask: Tensor | None, mask_token_id: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return canvas, hidden positions and attended positions, as copies on the model's device."""
    if ids.dim() != 2 or ids.dtype != torch.int64:
        raise InputError(f"ids of shape {tuple(ids.shape)} and {ids.dtype}: expected (batch, length) int64")
    for name, given in (("masked", masked), ("attention_mask", attention_mask)):
        if given is not None and given.shape != ids.shape:
            raise InputError(f"{name} of shape {tuple(given.shape)}: expected that of ids, {tuple(ids.shape)}")
    attended = (
        torch.ones_like(ids, dtype=torch.bool) if attention_mask is None else attention_mask.to(ids.device).bool()
    )
    hidden = (ids == mask_token_id) & attended if masked is None else masked.to(ids.device).bool()
    if bool((hidden & ~attended).any()):
        raise InputError("a position is both masked and padding; set attention_mask to 1 wherever masked is true")
    return ids.masked_fill(hidden, mask_token_id).to(device), hidden.to(device, copy=True), attended.to(device)


def planned_steps(
    hidden: Tensor, attended: Tensor, prompt_mask: Tensor | None, settings: DenoiseSettings
) -> list[list[PlannedStep]]:
    """Return each row's executed steps, block after block."""
    if prompt_mask is not None and prompt_mask.shape != hidden.shape:
        raise InputError(f"prompt_mask of shape {tuple(prompt_mask.shape)}: expected {tuple(hidden.shape)}")
    body = hidden if prompt_mask is None else attended & ~prompt_mask.to(hidden.device).bool()
    plans = []
    for row_hidden, row_body in zip(hidden.cpu(), body.cpu(), strict=True):
        places, length = row_hidden.nonzero().flatten(), len(row_hidden)
        start = int(row_body.long().argmax()) if bool(row_body.any()) else 0
        ends = [length]
        if settings.block_length is not None:
            ends = [*range(start + settings.block_length, length, settings.block_length), length]
        below = [0, *torch.searchsorted(places, torch.tensor(ends)).tolist()]
        masks = [after - before for before, after in itertools.pairwise(below)]
        steps = block_steps(masks, settings.steps)
        plans.append(
            [
                PlannedStep(end, count)
                for end, inside, share in zip(ends, masks, steps, strict=True)
                if inside
                for count in num_transfer(inside, share)
            ]
        )
    return plans


def noise_sources(
    model: Any, settings: DenoiseSettings, seeds: Sequence[int] | None, rows: int, device: torch.device
) -> list[torch.Generator]:
    """Return one generator a row, on the device of the head, or none where nothing is random."""
    if settings.temperature == 0 and settings.remasking != "random":
        return []
    if seeds is None or len(seeds) != rows:
        raise InputError(
            f"seeds={seeds!r}: temperature > 0 and random remasking need one seed for each of the {rows} rows"
        )
    weight = getattr(getattr(model, "lm_head", None), "weight", None)
    place = device if weight is None or weight.is_meta else weight.device
    # Torch's CPU generator reads 32 bits of a seed, so the upper half is folded in.
    return [torch.Generator(place).manual_seed((seed ^ (seed >> 32)) % 2**64) for seed in seeds]


def extent(attended: Tensor) -> slice:
    """Return the columns of one row from its first to its last real token."""
    real = attended.nonzero().flatten().tolist()
    return slice(real[0], real[-1] + 1) if real else slice(0, 0)


def drawn(count: int, source: torch.Generator) -> Tensor:
    """Return (count,) float32 random confidences, of remasking at random, on the source's device."""
    return torch.rand(count, generator=source, device=source.device)


def predict_at(
    model: Any,
    inputs: Tensor,
    *,
    attention_mask: Tensor,
    position_ids: Tensor,
    candidates: Tensor,
    settings: DenoiseSettings,
    tokens: SpecialTokens,
    generators: Sequence[torch.Generator],
    with_margins: bool = False,
    alternatives: int = 1,
) -> Predicted:
    """Run one pass and return what it predicts for each candidate, in row-major order.

    Args:
        model: as ``denoise``'s.
        inputs: (rows, length) int64; under guidance the conditional rows, then as many unconditional ones.
        attention_mask: (rows, length).
        position_ids: (rows, length) int64.
        candidates: (rows, length) bool.
        settings: of the reverse process.
        tokens: found for this model.
        generators: one a candidate, where the temperature is above 0.
        with_margins: measure how clear the choices of tokens were. Logits narrower than float32 have no margins: every
            choice of theirs may be float noise.
        alternatives: likeliest tokens to return beside the chosen one; 1 returns none.

    Raises:
        CheckpointError: the logits are not numbers.
    """
    features, head, chunk = features_at(
        model, inputs, candidates, attention_mask=attention_mask, position_ids=position_ids
    )
    guided = settings.cfg_scale > 0
    wanted = len(features) // 2 if guided else len(features)
    chosen, confidences, margins = [], [], list[Margins]()
    tried: list[tuple[Tensor, Tensor]] = []
    for start in range(0, wanted, chunk):
        part = slice(start, min(start + chunk, wanted))
        logits = head(features[part])
        if guided:
            unconditional = head(features[part.start + wanted : part.stop + wanted])
            logits = unconditional + (settings.cfg_scale + 1) * (logits - unconditional)
        if alternatives > 1:
            tried.append(likeliest(logits, alternatives, (tokens.mask, *tokens.banned)))
        measured = with_margins and logits.dtype in (torch.float32, torch.float64)
        token, confidence = predict(
            logits,
            mask_token_id=tokens.mask,
            banned=tokens.banned,
            deferred=tokens.deferred,
            temperature=settings.temperature,
            generators=generators[part],
            model_dtype=settings.confidence_dtype == "model",
            margins=margins if measured else None,
        )
        chosen.append(token)
        confidences.append(confidence)
    confidence = torch.cat(confidences)
    if bool(confidence.isnan().any()):
        raise CheckpointError(
            "the model's logits are not numbers: the checkpoint is damaged, or its dtype overflows; try bfloat16"
        )
    found = None
    if margins:
        # Guidance adds w + 1 times one logit's error to w times another's.
        size = torch.cat([m.size for m in margins]) * (2 * settings.cfg_scale + 1)
        found = Margins(torch.cat([m.gap for m in margins]), size)
    most = (torch.cat([t for t, _ in tried]), torch.cat([p for _, p in tried])) if tried else None
    return Predicted(torch.cat(chosen), confidence, found, most)
