"""The reverse process of masked diffusion: fill the hidden positions of a canvas, some at every step.

The algorithm is LLaDA's ``generate.py``, freed of the assumption that the canvas is a prompt and nothing but masks: any
subset of any row may be hidden, rows may differ in length, and each ends when it has nothing left to fill. Work is done
only where it can matter: the head runs on hidden positions of the current block, never on the whole canvas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch

from specref_core.decoding.float_noise import could_turn
from specref_core.decoding.reverse_step import (
    SpecialTokens,
    checked_canvas,
    drawn,
    extent,
    noise_sources,
    planned_steps,
    predict_at,
)
from specref_core.decoding.unmasking import choose, choose_as_script
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from specref_core.decoding.reverse_step import Predicted


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
        recheck_ties: make a choice that the float noise of a batch could turn again in a pass of the row alone, where
            logits are float32. A model that is sure of many tokens at once pays up to three quarters more for it.
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
    recheck_ties: bool = True
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
        forward_passes: (batch,) int64, passes (NFE) of the row's reverse process, whatever stands beside it.
        row_forwards: (batch,) int64, rows that were computed for this row: one a pass, twice as many under guidance,
            and what was computed again because the batch left it open.
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

    A row's result does not depend on the rows beside it, on padding, or on the batch size: with float32 logits, what
    the noise of a batched matrix product could turn is decided by a pass of the row alone (``float_noise.py``). With
    narrower ones, or without ``recheck_ties``, ties are the batch's. Positions that are not masked never change; the
    mask token is never written.

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
    tokens = SpecialTokens.of(model, settings)
    device = getattr(model, "device", ids.device)
    canvas, hidden, attended = checked_canvas(ids, masked, attention_mask, tokens.mask, device)
    plans = planned_steps(hidden, attended, prompt_mask, settings)
    sources = noise_sources(model, settings, seeds, len(ids), device)
    extents = [extent(row) for row in attended.cpu()]
    position_ids = (attended.long().cumsum(dim=1) - 1).clamp_min(0)
    kept = ~hidden  # what guidance hides from the unconditional input, pads included
    columns = torch.arange(ids.shape[1], device=device)
    copies = 2 if settings.cfg_scale > 0 else 1
    committed_at = torch.zeros_like(canvas)
    passes = torch.tensor([len(plan) for plan in plans], dtype=torch.int64)
    row_forwards = passes * copies
    head_rows = torch.zeros_like(passes)

    def look(active: list[int], step: int) -> Iterator[tuple[Predicted, Tensor]]:
        """Run one pass of some rows; yield each row's predictions and their columns."""
        # Columns that none of these rows uses leave the batch.
        window = slice(min(extents[row].start for row in active), max(extents[row].stop for row in active))
        rows = torch.tensor(active, device=device)
        block_ends = torch.tensor([plans[row][step].end for row in active], device=device)
        candidates = hidden[rows, window] & (columns[window] < block_ends[:, None])
        inputs = [canvas[rows, window]]
        if copies == 2:
            inputs.append(inputs[0].masked_fill(kept[rows, window], tokens.mask))
        counts = candidates.sum(dim=1).tolist()
        predicted = predict_at(
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
            with_margins=settings.recheck_ties and len(active) > 1,
        ).to(device)
        places = candidates.nonzero()[:, 1] + window.start
        for row, count, its, its_places in zip(
            active, counts, predicted.split(counts), places.split(counts), strict=True
        ):
            head_rows[row] += count * copies
            if settings.remasking == "random":
                its = replace(its, confidence=drawn(count, sources[row]).to(device))  # noqa: PLW2901  # as the step sees it
            yield its, its_places

    for step in range(max(map(len, plans), default=0)):
        active = [row for row, plan in enumerate(plans) if len(plan) > step]  # rows that are done leave the batch
        before = {row: sources[row].get_state() for row in active} if sources and len(active) > 1 else {}
        for row, (its, its_places) in zip(active, list(look(active, step)), strict=True):
            commit = plans[row][step].count

            def select(confidence: Tensor, commit: int = commit, its_places: Tensor = its_places) -> Tensor:
                if settings.confidence_dtype == "model":
                    return choose_as_script(confidence, commit, places=its_places, length=ids.shape[1])
                return choose(confidence, commit)

            if its.margins is not None and could_turn(
                select, its.confidence, its.margins, random_order=settings.remasking == "random"
            ):
                if sources:
                    sources[row].set_state(before[row])
                [(its, _)] = look([row], step)  # noqa: PLW2901  # the same positions, seen alone
                row_forwards[row] += copies
            best = select(its.confidence)
            canvas[row, its_places[best]] = its.tokens[best]
            hidden[row, its_places[best]] = False
            committed_at[row, its_places[best]] = step + 1
        if on_step is not None:
            on_step(step + 1, canvas.to(ids.device, copy=True))

    return Denoised(canvas.to(ids.device), committed_at.to(ids.device), passes, row_forwards, head_rows)
