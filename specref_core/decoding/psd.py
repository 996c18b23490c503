"""Parallel speculative decoding (PSD, arXiv 2605.15609): several steps of the reverse process for one forward pass.

*Spatial*: an ``UnmaskPolicy`` (``unmask_policies.py``) says what a step commits. *Temporal*: from the confidences of
one forward a drafting policy is asked again and again, which gives the states that the next 1, 2, ... d steps would
reach if nothing changed, and, where a token is not sure, the states that the next likeliest ones would lead to
(``psd_state.py``). All of them go through the model as one batch; the deepest that the model confirms is adopted, and
its own predictions open the next step.

The paper has no public code. What is decided here: *strict* acceptance takes a state only if the policy, asked with the
predictions at the state before, makes exactly this step (as FreeDave does, arXiv 2510.00294), so the result is that of
the undrafted sampler, token for token; *relaxed* acceptance asks only that every drafted token is the likeliest at its
position, and prefers, of several such states, the one that is filled most. Drafts end with their block, whose successor
no forward has seen. A batched pass counts as one forward.

Strictness meets one obstacle: rows of a batch round differently from a row alone, and a choice nearer than that is
noise. A strict run that meets one makes it in a pass of the row alone, as ``denoise`` does (``float_noise.py``), and
goes on with the drafts it has. So the two agree to the bit at float32; a narrower dtype has no margins to speak of, and
agrees up to its own rounding.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from specref_core.decoding.denoise import Denoised, DenoiseSettings
from specref_core.decoding.float_noise import could_turn
from specref_core.decoding.psd_settings import PsdSettings
from specref_core.decoding.psd_state import Guess, Row, Seen, State, Tree, drafted, fill_behind_end, selected
from specref_core.decoding.reverse_step import (
    SpecialTokens,
    checked_canvas,
    drawn,
    extent,
    noise_sources,
    planned_steps,
    predict_at,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from torch import Tensor

    from specref_core.decoding.unmask_policies import UnmaskPolicy

__all__ = ["PsdSettings", "psd"]

_LEAST = 1e-30
"""Probabilities below this are taken for it, so that their logarithm is a number."""


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
        self.tokens = SpecialTokens.of(model, settings)
        device = getattr(model, "device", ids.device)
        canvas, hidden, attended = checked_canvas(ids, masked, attention_mask, self.tokens.mask, device)
        plans = planned_steps(hidden, attended, prompt_mask, settings)
        sources = noise_sources(model, settings, seeds, len(ids), device)
        self.canvas, self.attended, self.kept = canvas, attended, ~hidden
        self.position_ids = (attended.long().cumsum(dim=1) - 1).clamp_min(0)
        self.extents = [extent(row) for row in attended.cpu()]
        self.copies = 2 if settings.cfg_scale > 0 else 1
        self.ends = torch.tensor(sorted(end_token_ids), dtype=torch.int64, device=device)
        self.early_end = speculation.early_end and bool(end_token_ids)
        self.strict = speculation.acceptance == "strict"
        self.columns = torch.arange(ids.shape[1], device=device)
        self.rows = []
        for number, plan in enumerate(plans):
            first = int(hidden[number].long().argmax()) if bool(hidden[number].any()) else ids.shape[1]
            body = self.columns >= first if prompt_mask is None else ~prompt_mask[number].to(device).bool()
            row = Row(
                State(canvas[number], hidden[number], torch.zeros_like(canvas[number])),
                [step.count for step in plan],
                sorted({step.end for step in plan}),
                body & attended[number],
                sources[number] if sources else None,
            )
            self._end_early(row, row.state)
            self.rows.append(row)

    def step(self) -> bool:
        """Advance every unfinished row by one pass; return whether there was one."""
        trees: dict[int, Tree] = {}
        for number, row in enumerate(self.rows):
            if not row.state.complete:
                tree = self._drafts(row)
                if not row.state.complete:
                    trees[number] = tree
        alone = [number for number in trees if self.rows[number].open is not None]
        batches = [[number] for number in alone]
        if len(alone) < len(trees):
            batches.append([number for number in trees if number not in alone])
        for batch in batches:
            self._pass({number: trees[number] for number in batch})
        return bool(trees)

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

    def _drafts(self, row: Row) -> Tree:
        """Make the step that the row's predictions allow, and return the states to put through the model next."""
        if row.seen is None:
            return Tree([row.state])
        stale = row.seen
        row.state, row.seen = self._after(row, row.state, stale, self.speculation.policy), None

        return drafted(
            row.state,
            lambda state: self._guesses(row, state, stale),
            lambda state, guess: self._commit(row, state, guess.tokens, guess.places),
            depth=self.speculation.depth,
            most=self.speculation.states,
        )

    def _guesses(self, row: Row, state: State, stale: Seen) -> list[Guess]:
        """Return the steps that may follow a drafted state, by predictions that are older than it."""
        tokens, confidence, places = stale.left(state)
        if not len(places):
            return []
        best = self._select(row, state, self.speculation.guess, confidence, places)
        step, nats = tokens[best], -confidence[best].clamp_min(_LEAST).log()
        guesses = [Guess(step, places[best], float(nats.sum()))]
        if stale.predicted.likeliest is None:
            return guesses
        weakest = int(nats.argmax())
        tried, shares = (part[state.hidden[stale.places]][best[weakest]] for part in stale.predicted.likeliest)
        others = float(nats.sum() - nats[weakest])
        for token, share in zip(tried, shares.clamp_min(_LEAST).tolist(), strict=True):
            if len(guesses) < self.speculation.alternatives and token != step[weakest]:
                other = step.clone()
                other[weakest] = token
                guesses.append(Guess(other, places[best], others - math.log(share)))
        return guesses

    def _pass(self, trees: dict[int, Tree]) -> None:
        """Put the trees of some rows through the model as one batch, and adopt what it confirms."""
        flat = [
            (number, tree, node)
            for number, tree in trees.items()
            for node, state in enumerate(tree.states)
            if not state.complete
        ]
        seen = iter(self._forward(flat))
        for number, tree in trees.items():
            row = self.rows[number]
            tree.seen = [None if state.complete else next(seen) for state in tree.states]
            row.passes += 1
            for each in tree.seen:
                if each is not None:
                    row.row_forwards += self.copies
                    row.head_rows += len(each.places) * self.copies
            if row.open is None:
                self._adopt(row, tree)
            else:  # this was a state alone; go on with the drafts of the pass before
                waiting, row.open = row.open, None
                waiting.seen[waiting.at] = tree.seen[0]
                self._adopt(row, waiting)

    def _adopt(self, row: Row, tree: Tree) -> None:
        """Walk down the tree while each state is confirmed by the predictions at the one before."""
        node: int | None = tree.at
        while node is not None:
            row.state, row.seen, tree.at = tree.states[node], None, node
            seen = tree.seen[node]
            if seen is None:  # complete
                return
            if self.strict and self._doubtful(row, row.state, seen):
                row.open = tree
                return
            row.seen = seen
            if row.source is not None:
                row.source.set_state(seen.noise)
            node = self._confirmed(row, tree, node, seen)

    def _confirmed(self, row: Row, tree: Tree, node: int, seen: Seen) -> int | None:
        """Return the drafted successor of a state that its own predictions confirm, if one is."""
        children = list(tree.children(node))
        if not children:
            return None
        if self.strict:
            wanted = self._after(row, tree.states[node], seen, self.speculation.policy)
            return next((child for child in children if tree.states[child].same(wanted)), None)

        def agrees(child: int) -> bool:
            state = tree.states[child]
            assert state.last is not None
            places = torch.searchsorted(seen.places, state.last)
            sure = bool((seen.predicted.confidence[places] >= self.speculation.floor).all())
            return sure and torch.equal(seen.predicted.tokens[places], state.canvas[state.last])

        return min(filter(agrees, children), key=lambda child: int(tree.states[child].hidden.sum()), default=None)

    def _forward(self, flat: list[tuple[int, Tree, int]]) -> list[Seen]:
        """Run one pass and return what it says of each state."""
        numbers = [number for number, _, _ in flat]
        states = [tree.states[node] for _, tree, node in flat]
        window = slice(
            min(self.extents[n].start for n in numbers), max(self.extents[n].stop for n in numbers)
        )  # as wide as the rows need
        rows = torch.tensor(numbers, device=self.columns.device)
        candidates = torch.stack([self.rows[n].block(s, self.columns) for n, s in zip(numbers, states, strict=True)])
        candidates = candidates[:, window]
        inputs = [torch.stack([state.canvas for state in states])[:, window]]
        if self.copies == 2:
            inputs.append(inputs[0].masked_fill(self.kept[rows, window], self.tokens.mask))
        counts = candidates.sum(dim=1).tolist()
        noises = self._noises(flat, counts)
        predicted = predict_at(
            self.model,
            torch.cat(inputs),
            attention_mask=self.attended[rows, window].repeat(self.copies, 1),
            position_ids=self.position_ids[rows, window].repeat(self.copies, 1),
            candidates=candidates.repeat(self.copies, 1),
            settings=self.settings,
            tokens=self.tokens,
            generators=[g for g, n in zip(noises, counts, strict=True) for _ in range(n)] if noises else [],
            with_margins=self.strict and self.speculation.recheck_ties and len(flat) > 1,
            alternatives=self.speculation.alternatives,
        ).to(self.columns.device)
        places = (candidates.nonzero()[:, 1] + window.start).split(counts)
        out: list[Seen] = []
        for i, its in enumerate(predicted.split(counts)):
            if self.settings.remasking == "random":
                its = replace(its, confidence=drawn(counts[i], noises[i]).to(its.confidence.device))  # noqa: PLW2901  # as the step sees it
            out.append(Seen(its, places[i], noises[i].get_state() if noises else None))
        return out

    def _noises(self, flat: list[tuple[int, Tree, int]], counts: list[int]) -> list[torch.Generator]:
        """Return a generator a state: where the undrafted sampler's would stand had it come to this state."""
        made: list[torch.Generator] = []
        count_of = {(number, node): count for (number, _, node), count in zip(flat, counts, strict=True)}
        for number, tree, node in flat:
            source = self.rows[number].source
            if source is None:
                return []
            mine = torch.Generator(source.device)
            mine.set_state(source.get_state())
            for before in tree.path(node):  # the steps that lead here draw first
                if self.settings.temperature > 0:
                    for _ in range(count_of[number, before]):
                        torch.rand(self._vocab(), dtype=torch.float64, generator=mine, device=mine.device)
                if self.settings.remasking == "random":
                    drawn(count_of[number, before], mine)
            made.append(mine)
        return made

    def _vocab(self) -> int:
        head = getattr(self.model, "lm_head", None)
        return int(getattr(head, "out_features", None) or self.model.config.vocab_size)

    def _after(self, row: Row, state: State, seen: Seen, policy: UnmaskPolicy) -> State:
        """Return f(state): the state one step of the policy further."""
        tokens, confidence, places = seen.left(state)
        best = self._select(row, state, policy, confidence, places)
        return self._commit(row, state, tokens[best], places[best])

    def _commit(self, row: Row, state: State, tokens: Tensor, places: Tensor) -> State:
        after = state.after(tokens, places)
        self._end_early(row, after)
        return after

    def _select(self, row: Row, state: State, policy: UnmaskPolicy, confidence: Tensor, places: Tensor) -> Tensor:
        return selected(
            policy,
            confidence,
            places,
            scheduled=row.plan[state.step] if state.step < len(row.plan) else 1,
            length=len(state.canvas),
            as_script=self.settings.confidence_dtype == "model",
        )

    def _doubtful(self, row: Row, state: State, seen: Seen) -> bool:
        """Return whether float noise could change what is committed here; a pass of the row alone has no margins."""
        margins = seen.predicted.margins
        return margins is not None and could_turn(
            lambda confidence: self._select(row, state, self.speculation.policy, confidence, seen.places),
            seen.predicted.confidence,
            margins,
            random_order=self.settings.remasking == "random",
        )

    def _end_early(self, row: Row, state: State) -> None:
        if self.early_end and not state.complete:
            fill_behind_end(state, row.body, self.ends)
