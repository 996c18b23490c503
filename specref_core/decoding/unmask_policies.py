"""Which hidden positions one forward's confidences allow to commit: the spatial axis of parallel decoding.

A policy sees the candidates of one row's current block and nothing else. It is a pure function, so that it can be asked
again about a state that no forward has seen yet, which is how drafts are built (``psd.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from specref_core.decoding.unmasking import choose, choose_as_script
from specref_core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The hidden positions of one row's current block.

    Attributes:
        confidence: (n,) float, in [0, 1].
        places: (n,) int64, ascending canvas columns.
        scheduled: how many the S-step schedule commits now.
        length: columns of the canvas.
        as_script: settle ties as LLaDA's script does, by ``topk`` over the whole canvas.
    """

    confidence: Tensor
    places: Tensor
    scheduled: int = 1
    length: int = 0
    as_script: bool = False

    def top(self, count: int) -> Tensor:
        """Return (count,) int64 indices of the most confident; of equal ones the lowest. All where there are fewer."""
        count = min(count, len(self.confidence))
        if self.as_script:
            return choose_as_script(self.confidence, count, places=self.places, length=self.length)
        return choose(self.confidence, count)

    def best_and(self, wanted: Tensor) -> Tensor:
        """Return the indices where ``wanted`` holds, and the most confident one in any case."""
        wanted = wanted.clone()
        wanted[self.top(1)] = True
        return wanted.nonzero().flatten()


class UnmaskPolicy(Protocol):
    """Chooses what to commit. Must be deterministic, and choose at least one position wherever there is one."""

    def select(self, candidates: Candidates) -> Tensor:
        """Return the chosen indices into ``candidates.confidence``, (m,) int64, in any order, without repetition."""
        ...


@dataclass(frozen=True, slots=True)
class Scheduled:
    """As many as the S-step schedule says: the sampler of :func:`specref_core.decoding.denoise.denoise`."""

    def select(self, candidates: Candidates) -> Tensor:
        """Return the most confident ``candidates.scheduled``."""
        return candidates.top(candidates.scheduled)


@dataclass(frozen=True, slots=True)
class FixedCount:
    """The same number of tokens at every step, whatever S is; 1 is greedy decoding.

    Attributes:
        count: tokens a step.
    """

    count: int = 1

    def __post_init__(self) -> None:
        _require_count(self.count)

    def select(self, candidates: Candidates) -> Tensor:
        """Return the most confident ``count``."""
        return candidates.top(self.count)


@dataclass(frozen=True, slots=True)
class LeftToRight:
    """The first hidden positions from the left, however sure the model is of them.

    Which position comes next is known beforehand, so a draft of the steps to come has only tokens to guess, never an
    order: under PSD this policy takes the longest strides. Whether a task bears that order is to be measured
    (``benchmarks/psd.py``): chains of reasoning do, answers that want their end first do not.

    Attributes:
        count: tokens a step.
    """

    count: int = 1

    def __post_init__(self) -> None:
        _require_count(self.count)

    def select(self, candidates: Candidates) -> Tensor:
        """Return the first ``count``."""
        return torch.arange(min(self.count, len(candidates.places)), device=candidates.places.device)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Every position at least this confident, and the most confident one in any case (Fast-dLLM, arXiv 2505.22618).

    Attributes:
        threshold: in [0, 1]; 0.9 is Fast-dLLM's and PSD's.
    """

    threshold: float = 0.9

    def __post_init__(self) -> None:
        _require_share("threshold", self.threshold)

    def select(self, candidates: Candidates) -> Tensor:
        """Return those at or above the threshold."""
        return candidates.best_and(candidates.confidence >= self.threshold)


@dataclass(frozen=True, slots=True)
class Factor:
    """The r most confident for the largest r with ``confidence_r >= 1 - factor / (r + 1)`` (Fast-dLLM, theorem 1).

    The more positions are committed together, the surer the least sure of them must be: that many marginals then have
    the same mode as their joint distribution.

    Attributes:
        factor: f, positive; larger commits more.
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.factor < float("inf"):
            raise InputError(f"factor={self.factor!r}: expected a positive number")

    def select(self, candidates: Candidates) -> Tensor:
        """Return the longest prefix of the ranking that meets the bound; one position at least."""
        order = candidates.top(len(candidates.confidence))
        ranks = torch.arange(1, len(order) + 1, device=order.device)
        met = candidates.confidence[order] >= 1 - self.factor / (ranks + 1)
        return order[: max(1, int(met.long().cumprod(0).sum()))]


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The best position of every run of neighbouring hidden positions, and every sure one (dInfer's hierarchy decoder).

    Runs that committed tokens separate depend little on each other, so each may commit at a lower bar. A draft of which
    scattered tokens are hidden has many short runs.

    Attributes:
        low: a run's best position needs more than this.
        high: any position above this is committed.
    """

    low: float = 0.4
    high: float = 0.92

    def __post_init__(self) -> None:
        _require_share("low", self.low)
        _require_share("high", self.high)
        if self.low > self.high:
            raise InputError(f"low={self.low!r} lies above high={self.high!r}; expected low <= high")

    def select(self, candidates: Candidates) -> Tensor:
        """Return the runs' best above ``low``, and all above ``high``."""
        confidence, places = candidates.confidence, candidates.places
        wanted = confidence > self.high
        starts = torch.cat([places.new_zeros(1), 1 + (places.diff() > 1).nonzero().flatten()]).tolist()
        for start, stop in zip(starts, [*starts[1:], len(places)], strict=True):
            if stop > start:
                best = start + int(choose(confidence[start:stop], 1))
                wanted[best] |= bool(confidence[best] > self.low)
        return candidates.best_and(wanted)


def _require_count(count: object) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InputError(f"count={count!r}: expected a positive number of tokens a step")


def _require_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InputError(f"{name}={value!r}: expected a probability between 0 and 1")
