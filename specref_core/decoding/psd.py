"""Parallel speculative decoding (PSD, arXiv 2605.15609): several steps of the reverse process for one forward pass.

*Spatial*: an ``UnmaskPolicy`` (``unmask_policies.py``) says what a step commits. *Temporal*: from the confidences of
one forward the policy is asked again and again, which gives the states that the next 1, 2, ... d steps would reach if
nothing changed. All of them go through the model as one batch; the deepest that the model confirms is adopted, and its
own predictions open the next step.

The paper has no public code. What is decided here: *strict* acceptance takes a state only if the policy, asked with the
predictions at the state before, makes exactly this step (as FreeDave does, arXiv 2510.00294), so the result is that of
the undrafted sampler, token for token; *relaxed* acceptance asks only that every drafted token is the likeliest at its
position. Drafts end with their block, whose successor no forward has seen. A batched pass counts as one forward.

Strictness meets one obstacle: a batch of d states and a batch of one round differently, by about 1e-6, and the order of
two positions closer than that is noise. A strict run that meets such a choice makes it again, in a pass of the row
alone, as the undrafted sampler would. What a token is (not where the next one goes) is not made again: of two equally
likely tokens a batch may write the other.

Longer than 400 lines because drafting, verification and adoption share one round's state and are read as one algorithm.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import torch

from specref_core.decoding.denoise import (
    Denoised,
    DenoiseSettings,
    _checked,
    _extent,
    _plans,
    _predictions,
    _sources_of_noise,
    _Tokens,
)
from specref_core.decoding.unmask_policies import Candidates, Scheduled, UnmaskPolicy
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from torch import Tensor

# Two batches of one float32 model differ by about 2e-6 in their logits; five times that is on the safe side.
_LOGIT_NOISE = 1e-5
# A float32 probability just below 1 is known to one or two units in the last place only.
_ROUNDING = 2.0**-22


@dataclass(frozen=True, slots=True)
class PsdSettings:
    """How steps are chosen, drafted and accepted.

    Attributes:
        policy: what a step commits. The default follows the S-step schedule, as the undrafted sampler does.
        depth: d, drafted states beyond the next one; 0 drafts nothing. The paper recommends 3.
        acceptance: ``strict`` (the undrafted trajectory, lossless) or ``relaxed`` (agreement of tokens, order-free).
        drafting: the policy that guesses the steps to come; ``policy`` itself if not given. Confidences rise as a
            canvas fills, so a policy with a threshold is guessed well by the same policy with a lower one.
        early_end: stop once everything before the first end token of the answer is filled. The text is the same.
        recheck_ties: under strict acceptance, repeat choices that float noise could turn in a pass of their own.
    """

    policy: UnmaskPolicy = field(default_factory=Scheduled)
    depth: int = 3
    acceptance: Literal["strict", "relaxed"] = "strict"
    drafting: UnmaskPolicy | None = None
    early_end: bool = True
    recheck_ties: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.depth, bool) or not isinstance(self.depth, int) or self.depth < 0:
            raise InputError(f"depth={self.depth!r}: expected a whole number of drafted states, 0 or more")
        if self.acceptance not in ("strict", "relaxed"):
            raise InputError(f"acceptance={self.acceptance!r}: expected strict or relaxed")
        for name, policy in (("policy", self.policy), ("drafting", self.drafting)):
            if policy is not None and not callable(getattr(policy, "select", None)):
                raise InputError(f"{name}={policy!r}: expected an UnmaskPolicy, which has a select method")


@torch.no_grad()
def psd(
    model: Any,
    ids: Tensor,
    masked: Tensor | None = None,
    *,
    attention_mask: Tensor | None = None,
    prompt_mask: Tensor | None = None,
    settings: DenoiseSettings | None = None,
    speculation: PsdSettings | None = None,
    seeds: Sequence[int] | None = None,
    end_token_ids: Collection[int] = (),
) -> Denoised:
    """Fill the hidden positions of every canvas, as ``denoise`` does, with fewer passes.

    Under strict acceptance and the default policy the canvases, and the steps at which positions were filled, are those
    of ``denoise`` with the same settings and seeds, row by row; other policies equal their own undrafted run, which is
    ``depth=0``. Sampling (a temperature, random remasking) is reproduced too, but drafts then rarely come true.

    Args:
        model: see :func:`specref_core.decoding.denoise.denoise`; so are the next four.
        ids: (batch, length) int64.
        masked: (batch, length) bool.
        attention_mask: (batch, length).
        prompt_mask: (batch, length) bool.
        settings: of the reverse process.
        speculation: the defaults if not given.
        seeds: one a row; needed where the settings draw random numbers.
        end_token_ids: tokens that end an answer, for ``early_end``: an answer ends at the first of them behind the
            prompt (behind the first hidden position where no prompt is given), and what is still hidden then becomes
            this token. Without any, every position is filled by the model.

    Returns:
        As ``denoise``; ``committed_at`` counts steps of the policy, of which one pass may make several.

    Raises:
        InputError: a shape, dtype, token id, seed or policy cannot be used.
        CheckpointError: the model's logits are not numbers.
    """
    settings, speculation = settings or DenoiseSettings(), speculation or PsdSettings()
    run = _Run(
        model,
        ids,
        masked,
        attention_mask,
        prompt_mask=prompt_mask,
        settings=settings,
        speculation=speculation,
        seeds=seeds,
        end_token_ids=frozenset(end_token_ids),
    )
    while run.step():
        pass
    return run.result(ids.device)


@dataclass(slots=True, eq=False)
class _State:
    """One state of one canvas.

    Attributes:
        canvas: (length,) int64.
        hidden: (length,) bool.
        committed_at: (length,) int64.
        step: policy steps made so far.
        last: (n,) int64, the positions that the last of them committed.
    """

    canvas: Tensor
    hidden: Tensor
    committed_at: Tensor
    step: int = 0
    last: Tensor | None = None

    def after(self, tokens: Tensor, places: Tensor) -> _State:
        """Return the state with some positions committed."""
        canvas, hidden, at = self.canvas.clone(), self.hidden.clone(), self.committed_at.clone()
        canvas[places], hidden[places], at[places] = tokens, False, self.step + 1
        return _State(canvas, hidden, at, self.step + 1, places)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _State)
            and torch.equal(self.hidden, other.hidden)
            and torch.equal(self.canvas, other.canvas)
        )

    __hash__ = None  # type: ignore[assignment]  # a state is compared, never looked up


@dataclass(frozen=True, slots=True, eq=False)
class _Prediction:
    """What one forward said of the open positions of one state: (n,) each."""

    tokens: Tensor
    confidence: Tensor
    places: Tensor


@dataclass(slots=True, eq=False)
class _Row:
    """One canvas on its way.

    Attributes:
        state: s_0, the deepest state that was confirmed.
        prediction: at s_0; ``None`` before a pass of it.
        plan: tokens a step by the schedule.
        ends: last columns of the blocks, plus one.
        body: (length,) bool, the answer.
        source: of random numbers, at s_0.
        passes, row_forwards, head_rows: the cost so far.
        alone: passes of its own that are due.
    """

    state: _State
    plan: list[int]
    ends: list[int]
    body: Tensor
    source: torch.Generator | None
    prediction: _Prediction | None = None
    passes: int = 0
    row_forwards: int = 0
    head_rows: int = 0
    alone: int = 0


class _Run:
    """The rows of one call and what they share."""

    def __init__(
        self,
        model: Any,
        ids: Tensor,
        masked: Tensor | None,
        attention_mask: Tensor | None,
        *,
        prompt_mask: Tensor | None,
        settings: DenoiseSettings,
        speculation: PsdSettings,
        seeds: Sequence[int] | None,
        end_token_ids: frozenset[int],
    ) -> None:
        self.model, self.settings, self.speculation = model, settings, speculation
        self.tokens = _Tokens.of(model, settings)
        device = getattr(model, "device", ids.device)
        canvas, hidden, attended = _checked(ids, masked, attention_mask, self.tokens.mask, device)
        plans = _plans(hidden, attended, prompt_mask, settings)
        sources = _sources_of_noise(model, settings, seeds, len(ids), device)
        self.canvas, self.attended, self.kept = canvas, attended, ~hidden
        self.position_ids = (attended.long().cumsum(dim=1) - 1).clamp_min(0)
        self.extents = [_extent(row) for row in attended.cpu()]
        self.copies = 2 if settings.cfg_scale > 0 else 1
        self.ends = torch.tensor(sorted(end_token_ids), dtype=torch.int64, device=device)
        self.early_end = speculation.early_end and bool(end_token_ids)
        columns = torch.arange(ids.shape[1], device=device)
        self.columns = columns
        self.rows = []
        for row, plan in enumerate(plans):
            first = int(hidden[row].long().argmax()) if bool(hidden[row].any()) else ids.shape[1]
            body = columns >= first if prompt_mask is None else ~prompt_mask[row].to(device).bool()
            blocks = [step.end for step in plan]
            self.rows.append(
                _Row(
                    _State(canvas[row], hidden[row], torch.zeros_like(canvas[row])),
                    [step.count for step in plan],
                    sorted(set(blocks)),
                    body & attended[row],
                    sources[row] if sources else None,
                )
            )
        for row_ in self.rows:
            self._end_early(row_.state, row_)

    def step(self) -> bool:
        """Advance every unfinished row by one pass; return whether there was one."""
        chains: dict[int, list[_State]] = {}
        for number, row in enumerate(self.rows):
            if not bool(row.state.hidden.any()):
                continue
            chain = self._chain(row)
            if chain:
                chains[number] = chain
        alone = [number for number in chains if self.rows[number].alone]
        batches = [[number] for number in alone]
        if len(alone) < len(chains):
            batches.append([number for number in chains if number not in alone])
        for batch in batches:
            self._pass({number: chains[number] for number in batch})
        return bool(chains)

    def result(self, device: torch.device) -> Denoised:
        """Return all rows' canvases and costs."""

        def numbers(name: str) -> Tensor:
            return torch.tensor([getattr(row, name) for row in self.rows], dtype=torch.int64)

        canvas, committed_at = self.canvas.clone(), torch.zeros_like(self.canvas)
        for number, row in enumerate(self.rows):
            canvas[number], committed_at[number] = row.state.canvas, row.state.committed_at
        return Denoised(
            canvas.to(device),
            committed_at.to(device),
            numbers("passes"),
            numbers("row_forwards"),
            numbers("head_rows"),
        )

    def _chain(self, row: _Row) -> list[_State]:
        """Adopt the step that the row's predictions make, and return the states to put through the model.

        The first is the row's state, the others are drafts of its successors; the last may be complete. Empty where
        the row is done.
        """
        if row.prediction is None:
            return [row.state]
        stale = row.prediction
        row.state = self._after(row, row.state, stale, self.speculation.policy)
        row.prediction = None
        if not bool(row.state.hidden.any()):
            return []
        chain = [row.state]
        drafting = self.speculation.drafting or self.speculation.policy
        while len(chain) <= self.speculation.depth and not row.alone:
            state = chain[-1]
            left = state.hidden[stale.places]
            if not bool(left.any()):
                break
            rest = _Prediction(stale.tokens[left], stale.confidence[left], stale.places[left])
            chain.append(self._after(row, state, rest, drafting))
        return chain

    def _pass(self, chains: dict[int, list[_State]]) -> None:
        """Put the chains of some rows through the model as one batch, and adopt what it confirms."""
        open_states = {number: [s for s in chain if bool(s.hidden.any())] for number, chain in chains.items()}
        flat = [(number, state) for number, states in open_states.items() for state in states]
        predictions = self._forward(flat)
        together = len(flat) > 1
        for number, chain in chains.items():
            row = self.rows[number]
            mine = [predictions.pop(0) for _ in open_states[number]]
            row.passes += 1
            row.row_forwards += len(mine) * self.copies
            row.head_rows += sum(len(p.places) for p, _ in mine) * self.copies
            self._adopt(row, chain, mine, together=together)

    def _adopt(
        self, row: _Row, chain: list[_State], predictions: list[tuple[_Prediction, Any]], *, together: bool
    ) -> None:
        """Walk down the chain while each state is confirmed by the predictions at the one before."""
        strict = self.speculation.acceptance == "strict"
        row.alone = max(0, row.alone - 1)
        for depth, state in enumerate(chain):
            row.state, row.prediction = state, None
            if not bool(state.hidden.any()):
                return
            prediction, noise = predictions[depth]
            if strict and together and self.speculation.recheck_ties and self._doubtful(row, state, prediction):
                row.alone = 2  # this state once more, and its successor, where the same tie is likely
                return
            row.prediction = prediction
            if row.source is not None:
                row.source.set_state(noise)
            if depth + 1 == len(chain):
                return
            drafted = chain[depth + 1]
            if strict:
                if self._after(row, state, prediction, self.speculation.policy) != drafted:
                    return
            elif drafted.last is not None:
                now = prediction.tokens[torch.searchsorted(prediction.places, drafted.last)]
                if not torch.equal(now, drafted.canvas[drafted.last]):
                    return

    def _forward(self, flat: list[tuple[int, _State]]) -> list[tuple[_Prediction, Any]]:
        """Run one pass and return each state's predictions, and the row's stream of random numbers behind them."""
        numbers = [number for number, _ in flat]
        window = slice(
            min(self.extents[n].start for n in numbers), max(self.extents[n].stop for n in numbers)
        )  # as wide as the rows need
        rows = torch.tensor(numbers, device=self.columns.device)
        candidates = torch.stack([self._open(self.rows[n], state) for n, state in flat])[:, window]
        inputs = [torch.stack([state.canvas for _, state in flat])[:, window]]
        if self.copies == 2:
            inputs.append(inputs[0].masked_fill(self.kept[rows, window], self.tokens.mask))
        counts = candidates.sum(dim=1).tolist()
        noises = self._noises(numbers, counts)
        predicted, confidence = _predictions(
            self.model,
            torch.cat(inputs),
            attention_mask=self.attended[rows, window].repeat(self.copies, 1),
            position_ids=self.position_ids[rows, window].repeat(self.copies, 1),
            candidates=candidates.repeat(self.copies, 1),
            settings=self.settings,
            tokens=self.tokens,
            generators=[g for g, n in zip(noises, counts, strict=True) for _ in range(n)] if noises else [],
        )
        predicted, confidence = predicted.to(self.columns.device), confidence.to(self.columns.device)
        places = candidates.nonzero()[:, 1] + window.start
        out: list[tuple[_Prediction, Any]] = []
        for i, parts in enumerate(zip(*(t.split(counts) for t in (predicted, confidence, places)), strict=True)):
            its_tokens, its_confidence, its_places = parts
            if self.settings.remasking == "random":
                its_confidence = _uniform(noises[i], counts[i]).to(its_confidence.device)
            out.append((_Prediction(its_tokens, its_confidence, its_places), noises[i].get_state() if noises else None))
        return out

    def _noises(self, numbers: list[int], counts: list[int]) -> list[torch.Generator]:
        """Return a generator a state: where the undrafted sampler's would stand had it come to this state."""
        made: list[torch.Generator] = []
        for i, (number, _) in enumerate(zip(numbers, counts, strict=True)):
            source = self.rows[number].source
            if source is None:
                return []
            mine = torch.Generator(source.device)
            mine.set_state(source.get_state())
            for j in range(i):  # the steps that lead here draw first
                if numbers[j] == number:
                    if self.settings.temperature > 0:
                        for _ in range(counts[j]):
                            torch.rand(self._vocab(), dtype=torch.float64, generator=mine, device=mine.device)
                    if self.settings.remasking == "random":
                        _uniform(mine, counts[j])
            made.append(mine)
        return made

    def _vocab(self) -> int:
        head = getattr(self.model, "lm_head", None)
        return int(getattr(head, "out_features", None) or self.model.config.vocab_size)

    def _open(self, row: _Row, state: _State) -> Tensor:
        """Return (length,) bool: the hidden positions of the state's current block."""
        first = int(state.hidden.long().argmax())
        end = next(end for end in row.ends if end > first)
        return state.hidden & (self.columns < end)

    def _after(self, row: _Row, state: _State, prediction: _Prediction, policy: UnmaskPolicy) -> _State:
        """Return f(state): the state one step of the policy further."""
        best = self._select(row, state, prediction, policy)
        after = state.after(prediction.tokens[best], prediction.places[best])
        self._end_early(after, row)
        return after

    def _select(self, row: _Row, state: _State, prediction: _Prediction, policy: UnmaskPolicy) -> Tensor:
        candidates = Candidates(
            prediction.confidence,
            prediction.places,
            scheduled=row.plan[state.step] if state.step < len(row.plan) else 1,
            length=len(state.canvas),
            as_script=self.settings.confidence_dtype == "model",
        )
        best = policy.select(candidates)
        if best.numel() == 0:
            raise InputError(
                f"{policy!r} chose nothing of {len(prediction.places)} hidden positions; choose at least 1"
            )
        return best

    def _doubtful(self, row: _Row, state: _State, prediction: _Prediction) -> bool:
        """Return whether float noise could change which positions are committed here."""
        if self.settings.remasking == "random":
            return False
        policy, confidence = self.speculation.policy, prediction.confidence
        noise = _LOGIT_NOISE * confidence * (1 - confidence) + _ROUNDING
        chosen = torch.zeros_like(confidence, dtype=torch.bool)
        chosen[self._select(row, state, prediction, policy)] = True
        # The worst that noise can do: lower all that was chosen and raise all that was not.
        moved = replace(prediction, confidence=confidence + torch.where(chosen, -noise, noise))
        again = torch.zeros_like(chosen)
        again[self._select(row, state, moved, policy)] = True
        return not torch.equal(again, chosen)

    def _end_early(self, state: _State, row: _Row) -> None:
        """Fill what is still hidden behind a settled end, in place."""
        if not self.early_end or not bool(state.hidden.any()):
            return
        ended = (row.body & ~state.hidden & torch.isin(state.canvas, self.ends)).nonzero().flatten()
        if len(ended) and not bool(state.hidden[: int(ended[0])].any()):
            state.canvas[state.hidden] = state.canvas[ended[0]]
            state.committed_at[state.hidden] = state.step
            state.hidden[:] = False


def _uniform(generator: torch.Generator, count: int) -> Tensor:
    return torch.rand(count, generator=generator, device=generator.device)
