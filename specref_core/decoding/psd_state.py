"""States of a canvas on its way through parallel speculative decoding, and the drafts of states to come.

A state is a canvas some policy steps on. Drafts form a tree: its root is where the row stands, a child is where the
drafting policy may go from there, guessing with predictions that are a step old. Nothing here runs a model.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from specref_core.decoding.unmask_policies import Candidates
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from specref_core.decoding.reverse_step import Predicted
    from specref_core.decoding.unmask_policies import UnmaskPolicy


@dataclass(slots=True, eq=False)
class State:
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

    @property
    def complete(self) -> bool:
        """Whether nothing is hidden any more."""
        return not bool(self.hidden.any())

    def after(self, tokens: Tensor, places: Tensor) -> State:
        """Return the state with some positions committed."""
        canvas, hidden, at = self.canvas.clone(), self.hidden.clone(), self.committed_at.clone()
        canvas[places], hidden[places], at[places] = tokens, False, self.step + 1
        return State(canvas, hidden, at, self.step + 1, places)

    def same(self, other: State) -> bool:
        """Whether both hide the same positions and hold the same tokens elsewhere."""
        return torch.equal(self.hidden, other.hidden) and torch.equal(self.canvas, other.canvas)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What one forward said of the open positions of one state.

    Attributes:
        predicted: tokens and confidences, (n,) each.
        places: (n,) int64, their columns.
        noise: the state of the row's random numbers behind this forward; ``None`` where nothing is random.
    """

    predicted: Predicted
    places: Tensor
    noise: Any = None

    def left(self, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """Return tokens, confidences and columns of the positions that are still hidden in a state."""
        still = state.hidden[self.places]
        return self.predicted.tokens[still], self.predicted.confidence[still], self.places[still]


@dataclass(slots=True, eq=False)
class Row:
    """One canvas on its way.

    Attributes:
        state: the deepest state that was confirmed.
        plan: tokens a step by the schedule.
        ends: last columns of the blocks, plus one.
        body: (length,) bool, the answer.
        source: of random numbers, as they stand before the state's own forward.
        seen: what the forward of the state said; ``None`` before there was one.
        open: a tree of drafts whose verification waits for a pass of the state alone.
        passes, row_forwards, head_rows: the cost so far.
    """

    state: State
    plan: list[int]
    ends: list[int]
    body: Tensor
    source: torch.Generator | None
    seen: Seen | None = None
    open: Tree | None = None
    passes: int = 0
    row_forwards: int = 0
    head_rows: int = 0

    def block(self, state: State, columns: Tensor) -> Tensor:
        """Return (length,) bool: the hidden positions of a state's current block."""
        first = int(state.hidden.long().argmax())
        return state.hidden & (columns < next(end for end in self.ends if end > first))


@dataclass(slots=True, eq=False)
class Tree:
    """Drafted states, parents first.

    Attributes:
        states: the root first.
        parents: of each, its index; -1 for the root.
        seen: what a forward said of each; ``None`` for a complete one, which needs none.
        at: how far down verification has come.
    """

    states: list[State]
    parents: list[int] = field(default_factory=lambda: [-1])
    seen: list[Seen | None] = field(default_factory=list)
    at: int = 0

    def children(self, node: int) -> Iterator[int]:
        """Yield the indices of a state's drafted successors."""
        return (i for i, parent in enumerate(self.parents) if parent == node)

    def path(self, node: int) -> list[int]:
        """Return the states before a state, the root first."""
        above: list[int] = []
        while (node := self.parents[node]) >= 0:
            above.append(node)
        return above[::-1]


@dataclass(frozen=True, slots=True, eq=False)
class Guess:
    """A step that may follow a state.

    Attributes:
        tokens: (m,) int64.
        places: (m,) int64, their columns.
        surprisal: of its tokens together, nats: minus the sum of their log-probabilities.
    """

    tokens: Tensor
    places: Tensor
    surprisal: float


def drafted(
    root: State,
    guesses: Callable[[State], Sequence[Guess]],
    commit: Callable[[State, Guess], State],
    *,
    depth: int,
    most: int,
) -> Tree:
    """Return a tree of drafts, grown where it is likeliest to come true.

    The chance of a draft is the product of its guesses' chances, as if they were independent, and the likeliest draft
    always comes next; so does EAGLE-2 grow its trees (arXiv 2406.16858). With one guess a state it is a chain.

    Args:
        root: where the row stands.
        guesses: the steps that may follow a state, none where nothing is known of what is left.
        commit: makes a step.
        depth: levels below the root.
        most: states, the root included.
    """
    tree, levels = Tree([root]), [0]
    waiting: list[tuple[float, int, int, Guess]] = []  # nats, order of arrival, parent, step
    arrivals = itertools.count()
    surprisals = [0.0]
    node = 0
    while True:
        if levels[node] < depth:
            for guess in guesses(tree.states[node]):
                heapq.heappush(waiting, (surprisals[node] + guess.surprisal, next(arrivals), node, guess))
        if not waiting or len(tree.states) >= most:
            return tree
        surprisal, _, parent, guess = heapq.heappop(waiting)
        node = len(tree.states)
        tree.states.append(commit(tree.states[parent], guess))
        tree.parents.append(parent)
        levels.append(levels[parent] + 1)
        surprisals.append(surprisal)


def selected(
    policy: UnmaskPolicy, confidence: Tensor, places: Tensor, *, scheduled: int, length: int, as_script: bool
) -> Tensor:
    """Return what a policy chooses, (m,) int64 indices into ``confidence``.

    Raises:
        InputError: it chose nothing.
    """
    best = policy.select(Candidates(confidence, places, scheduled, length, as_script))
    if best.numel() == 0:
        raise InputError(f"{policy!r} chose nothing of {len(places)} hidden positions; choose at least 1")
    return best


def fill_behind_end(state: State, body: Tensor, ends: Tensor) -> None:
    """Fill what is still hidden behind a settled end, in place.

    Args:
        state: of the canvas.
        body: (length,) bool, the answer.
        ends: (n,) int64, tokens that end an answer.
    """
    ended = (body & ~state.hidden & torch.isin(state.canvas, ends)).nonzero().flatten()
    if len(ended) and not bool(state.hidden[: int(ended[0])].any()):
        state.canvas[state.hidden] = state.canvas[ended[0]]
        state.committed_at[state.hidden] = state.step
        state.hidden[:] = False
