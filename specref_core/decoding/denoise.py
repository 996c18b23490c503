"""The reverse process of masked diffusion: fill the hidden positions of a canvas, some at every step.

The algorithm is LLaDA's ``generate.py``, freed of the assumption that the canvas is a prompt and nothing but masks: any
subset of any row may be hidden, rows may differ in length, and each ends when it has nothing left to fill. Work is done
only where it can matter: the head runs on hidden positions of the current block, never on the whole canvas.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from specref_core.decoding.schedule import block_steps, num_transfer
from specref_core.decoding.unmasking import choose, choose_as_script, predict
from specref_core.errors import CheckpointError, InputError
from specref_core.models.calling import features_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor


@dataclass(frozen=True, slots=True)
class DenoiseSettings:
    """Every choice of the reverse process.

    Attributes:
        steps: nominal steps S over the whole canvas.
        block_length: positions decoded together, counted from the end of the prompt; ``None`` is one block. The length
            of the canvas need not be a multiple.
        temperature: of the Gumbel noise; 0 is greedy.
        remasking: commit by confidence, or at random.
        cfg_scale: classifier-free guidance w: logits are ``u + (w + 1)(c - u)``; 0 is off and costs nothing.
        ban_eos: never write the end token (LLaDA's ``logits_eos_inf``).
        defer_eos: commit end-of-text and end-of-turn tokens last (``confidence_eos_eot_inf``), at every temperature.
        suppress_tokens: further token ids never to write.
        confidence_dtype: ``float32``, ties to the lower position; or ``model``, the official script's: softmax in the
            model's own dtype, ties as ``topk`` leaves them.
        mask_token_id: ``None`` takes the model's configuration; so do the next two.
        eos_token_id: end of text.
        eot_token_id: end of turn.
    """

    steps: int = 128
    block_length: int | None = None
    temperature: float = 0.0
    remasking: Literal["low_confidence", "random"] = "low_confidence"
    cfg_scale: float = 0.0
    ban_eos: bool = False
    defer_eos: bool = False
    suppress_tokens: tuple[int, ...] = ()
    confidence_dtype: Literal["float32", "model"] = "float32"
    mask_token_id: int | None = None
    eos_token_id: int | None = None
    eot_token_id: int | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"steps={self.steps!r}: the reverse process needs at least one step")
        if self.block_length is not None and self.block_length < 1:
            raise InputError(f"block_length={self.block_length!r}: expected a positive length, or None for one block")
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise InputError(f"temperature={self.temperature!r}: expected a finite number, 0 or more")
        if not (self.cfg_scale >= 0 and math.isfinite(self.cfg_scale)):
            raise InputError(f"cfg_scale={self.cfg_scale!r}: expected a finite number, 0 or more; 0 turns guidance off")
        if self.remasking not in ("low_confidence", "random"):
            raise InputError(f"remasking={self.remasking!r}: expected low_confidence or random")
        if self.confidence_dtype not in ("float32", "model"):
            raise InputError(f"confidence_dtype={self.confidence_dtype!r}: expected float32 or model")


@dataclass(frozen=True, slots=True, eq=False)
class Denoised:
    """What the reverse process made of a batch of canvases, and what it cost.

    Attributes:
        ids: (batch, length) int64, the filled canvases.
        committed_at: (batch, length) int64, the 1-based executed step that filled a position; 0 where it was kept.
        forward_passes: (batch,) int64, executed passes (NFE) that the row took part in.
        row_forwards: (batch,) int64, rows of those passes that were this row's; twice as many under guidance.
        head_rows: (batch,) int64, positions at which the output head was computed for this row.
    """

    ids: Tensor
    committed_at: Tensor
    forward_passes: Tensor
    row_forwards: Tensor
    head_rows: Tensor


@torch.no_grad()
def denoise(
    model: Any,
    ids: Tensor,
    masked: Tensor | None = None,
    *,
    attention_mask: Tensor | None = None,
    prompt_mask: Tensor | None = None,
    settings: DenoiseSettings | None = None,
    seeds: Sequence[int] | None = None,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> Denoised:
    """Fill the hidden positions of every canvas.

    A row's result does not depend on the rows beside it, on padding, or on the batch size, up to the float noise of
    batched matrix products. Positions that are not masked never change, and the mask token is never written.

    Args:
        model: a masked language model; one with an ``encode`` method (``LladaForMaskedLM``) computes its head only
            where needed, any other is called for full logits.
        ids: (batch, length) int64 token ids; what stands at hidden positions does not matter.
        masked: (batch, length) bool, the positions to fill; where ``ids`` is the mask token if not given.
        attention_mask: (batch, length) bool or 0/1, false at padding, on either side; ``None`` means no padding.
        prompt_mask: (batch, length) bool, the prompt: blocks are counted from its end. If not given, from the first
            hidden position.
        settings: the defaults if not given.
        seeds: one a row; needed where the settings draw random numbers.
        on_step: called after each pass with the 1-based step and the canvases so far, for progress and traces.

    Raises:
        InputError: a shape, dtype, token id or seed cannot be used.
        CheckpointError: the model's logits are not numbers.
    """
    settings = settings or DenoiseSettings()
    tokens = _Tokens.of(model, settings)
    device = getattr(model, "device", ids.device)
    canvas, hidden, attended = _checked(ids, masked, attention_mask, tokens.mask, device)
    plans = _plans(hidden, attended, prompt_mask, settings)
    sources = _sources_of_noise(model, settings, seeds, len(ids), device)
    extents = [_extent(row) for row in attended.cpu()]
    position_ids = (attended.long().cumsum(dim=1) - 1).clamp_min(0)
    kept = ~hidden  # what guidance hides from the unconditional input, pads included
    columns = torch.arange(ids.shape[1], device=device)
    copies = 2 if settings.cfg_scale > 0 else 1
    committed_at = torch.zeros_like(canvas)
    passes = torch.tensor([len(plan) for plan in plans], dtype=torch.int64)
    head_rows = torch.zeros_like(passes)

    for step in range(max(map(len, plans), default=0)):
        # Rows that are done leave the batch, and columns that only they used leave with them.
        active = [row for row, plan in enumerate(plans) if len(plan) > step]
        window = slice(min(extents[row].start for row in active), max(extents[row].stop for row in active))
        rows = torch.tensor(active, device=device)
        block_ends = torch.tensor([plans[row][step].end for row in active], device=device)
        candidates = hidden[rows, window] & (columns[window] < block_ends[:, None])
        inputs = [canvas[rows, window]]
        if copies == 2:
            inputs.append(inputs[0].masked_fill(kept[rows, window], tokens.mask))
        counts = candidates.sum(dim=1).tolist()
        predicted, confidence = _predictions(
            model,
            torch.cat(inputs),
            attention_mask=attended[rows, window].repeat(copies, 1),
            position_ids=position_ids[rows, window].repeat(copies, 1),
            candidates=candidates.repeat(copies, 1),
            settings=settings,
            tokens=tokens,
            generators=[sources[row] for row, n in zip(active, counts, strict=True) for _ in range(n)]
            if sources
            else [],
        )
        predicted, confidence = predicted.to(device), confidence.to(device)
        places = candidates.nonzero()[:, 1] + window.start
        for row, count, *its in zip(
            active, counts, *(t.split(counts) for t in (predicted, confidence, places)), strict=True
        ):
            its_tokens, its_confidence, its_places = its
            if settings.remasking == "random":
                its_confidence = torch.rand(count, generator=sources[row], device=sources[row].device).to(device)
            commit = plans[row][step].count
            if settings.confidence_dtype == "model":
                best = choose_as_script(its_confidence, commit, places=its_places, length=ids.shape[1])
            else:
                best = choose(its_confidence, commit)
            canvas[row, its_places[best]] = its_tokens[best]
            hidden[row, its_places[best]] = False
            committed_at[row, its_places[best]] = step + 1
            head_rows[row] += count * copies
        if on_step is not None:
            on_step(step + 1, canvas.to(ids.device, copy=True))

    return Denoised(canvas.to(ids.device), committed_at.to(ids.device), passes, passes * copies, head_rows)


@dataclass(frozen=True, slots=True)
class _Step:
    """One executed step of one row: how many positions left of column ``end`` it commits."""

    end: int
    count: int


@dataclass(frozen=True, slots=True)
class _Tokens:
    mask: int
    banned: tuple[int, ...]
    deferred: tuple[int, ...]

    @classmethod
    def of(cls, model: Any, settings: DenoiseSettings) -> _Tokens:
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


def _checked(
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


def _plans(
    hidden: Tensor, attended: Tensor, prompt_mask: Tensor | None, settings: DenoiseSettings
) -> list[list[_Step]]:
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
                _Step(end, count)
                for end, inside, share in zip(ends, masks, steps, strict=True)
                if inside
                for count in num_transfer(inside, share)
            ]
        )
    return plans


def _sources_of_noise(
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


def _extent(attended: Tensor) -> slice:
    """Return the columns of one row from its first to its last real token."""
    real = attended.nonzero().flatten().tolist()
    return slice(real[0], real[-1] + 1) if real else slice(0, 0)


def _predictions(
    model: Any,
    inputs: Tensor,
    *,
    attention_mask: Tensor,
    position_ids: Tensor,
    candidates: Tensor,
    settings: DenoiseSettings,
    tokens: _Tokens,
    generators: Sequence[torch.Generator],
) -> tuple[Tensor, Tensor]:
    """Run one pass and return a token and its confidence for each candidate, in row-major order."""
    features, head, chunk = features_at(
        model, inputs, candidates, attention_mask=attention_mask, position_ids=position_ids
    )
    guided = settings.cfg_scale > 0
    wanted = len(features) // 2 if guided else len(features)
    chosen, confidences = [], []
    for start in range(0, wanted, chunk):
        part = slice(start, min(start + chunk, wanted))
        logits = head(features[part])
        if guided:
            unconditional = head(features[part.start + wanted : part.stop + wanted])
            logits = unconditional + (settings.cfg_scale + 1) * (logits - unconditional)
        token, confidence = predict(
            logits,
            mask_token_id=tokens.mask,
            banned=tokens.banned,
            deferred=tokens.deferred,
            temperature=settings.temperature,
            generators=generators[part],
            model_dtype=settings.confidence_dtype == "model",
        )
        chosen.append(token)
        confidences.append(confidence)
    confidence = torch.cat(confidences)
    if bool(confidence.isnan().any()):
        raise CheckpointError(
            "the model's logits are not numbers: the checkpoint is damaged, or its dtype overflows; try bfloat16"
        )
    return torch.cat(chosen), confidence
