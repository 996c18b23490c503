"""Which tokens of a draft to hide from the refiner: steps 3 to 6 of Algorithm 1, as pure functions over arrays.

Everything here works on the refiner's tokens of one draft: ``scores`` are m_i of Eq. 6 and ``spans`` their characters.
A mask is an (n,) bool array, True where the token is replaced by ``[MASK]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING

import numpy as np

from specref_core.alignment import characters, check_spans
from specref_core.errors import InputError
from specref_core.scaffolds import SCAFFOLDS, content_tokens, reachable_count, scaffold_mask, structure_tokens

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "MATH_CHARACTERS",
    "SCAFFOLDS",
    "MaskPolicy",
    "adaptive_k",
    "content_tokens",
    "count_for",
    "expand_math",
    "math_tokens",
    "normalise",
    "reachable_count",
    "scaffold_mask",
    "structure_tokens",
    "top_k",
    "truncate_tail",
]

MATH_CHARACTERS = "0123456789+-*/=%^<>\u2212\u00d7\u00f7"
"""The numeric and operator characters of the math expansion; the last three are the minus, times and division signs."""


@dataclass(frozen=True, slots=True)
class MaskPolicy:
    """How Algorithm 1 chooses the tokens to regenerate. The defaults are the paper's.

    Attributes:
        k: percentage of tokens masked for their entropy, 0 to 100.
        window: e, tokens on each side of a math token that are masked with it.
        limit: M, the last token index (zero-based) that tail truncation leaves alone.
        math: whether math expansion (line 4) is on.
        tail: whether tail truncation (line 5) is on.
        how: how entropies that fall on one refiner token are combined, ``mean`` (by overlap) or ``max``.
        adaptive: the mean score from which the full k is used; a draft with a lower one gets proportionally less, see
            :func:`adaptive_k`. ``None`` uses k for every draft, as the paper does.
    """

    k: float = 60.0
    window: int = 2
    limit: int = 150
    math: bool = True
    tail: bool = True
    how: str = "mean"
    adaptive: float | None = None

    def __post_init__(self) -> None:
        _check_percentage(self.k)
        _check_count(self.window, "window")
        _check_count(self.limit, "limit")
        if self.how not in ("mean", "max"):
            raise InputError(f"how={self.how!r}: expected 'mean' or 'max'")
        if self.adaptive is not None and not 0 < self.adaptive <= 1:
            raise InputError(f"adaptive={self.adaptive!r}: expected a mean score above 0 and at most 1, or None")

    def describe(self) -> str:
        """Return the policy in one short line for signatures and fingerprints."""
        parts = [f"k={self.k:g}"]
        if self.adaptive is not None:
            parts.append(f"adaptive={self.adaptive:g}")
        parts.append(f"e={self.window},math={MATH_CHARACTERS}" if self.math else "math=off")
        parts.append(f"M={self.limit}" if self.tail else "tail=off")
        parts.append(f"how={self.how}")
        return ",".join(parts)

    def mask(self, scores: ArrayLike, text: str, spans: ArrayLike) -> NDArray[np.bool_]:
        """Return I of Algorithm 1, the union of the three rules.

        Args:
            scores: (n,) m_i of Eq. 6.
            text: the draft.
            spans: (n, 2) character offsets of the tokens in it.

        Returns:
            (n,) bool.
        """
        values = _check_scores(scores)
        offsets = check_spans(spans, "spans")
        if len(offsets) != len(values):
            raise InputError(f"{len(values)} scores and {len(offsets)} spans; expected one of each a token")
        k = self.k if self.adaptive is None else adaptive_k(values, self.k, self.adaptive)
        chosen = top_k(values, k)  # line 3
        if self.math:
            chosen = expand_math(chosen, math_tokens(text, offsets), self.window)  # line 4
        if self.tail:
            chosen = chosen | truncate_tail(len(values), self.limit)  # line 5
        return chosen


def normalise(entropies: ArrayLike, vocab_size: int) -> NDArray[np.float64]:
    """Return m_i = clip(u_i / log |V|, 0, 1), Eq. 6.

    Args:
        entropies: (n,) nats.
        vocab_size: |V| of the model that the entropies come from.

    Raises:
        InputError: the vocabulary has fewer than two entries, or an entropy is not a number.
    """
    if vocab_size < 2:
        raise InputError(f"vocab_size={vocab_size}: log |V| needs a vocabulary of at least two entries")
    scores: NDArray[np.float64] = np.clip(_check_scores(entropies) / np.log(vocab_size), 0.0, 1.0)
    return scores


def count_for(k: float, length: int) -> int:
    """Return round-half-up(k / 100 · length), in decimal arithmetic so that k = 0.1 means one in a thousand."""
    _check_percentage(k)
    return int((Decimal(repr(float(k))) * length / 100).to_integral_value(ROUND_HALF_UP))


def top_k(scores: ArrayLike, k: float) -> NDArray[np.bool_]:
    """Mask the k % highest scores (line 3); among equal scores, the lower position first.

    Args:
        scores: (n,) finite numbers.
        k: percentage, 0 to 100.
    """
    values = _check_scores(scores)
    return _highest(values, count_for(k, len(values)))


def math_tokens(text: str, spans: ArrayLike) -> NDArray[np.bool_]:
    """Return M of line 4: which tokens hold a numeric or operator character.

    Args:
        text: the draft.
        spans: (n, 2) character offsets of the tokens in it.
    """
    offsets = check_spans(spans, "spans")
    return _per_token(np.isin(characters(text), [ord(c) for c in MATH_CHARACTERS]), offsets) > 0


def expand_math(mask: ArrayLike, math: ArrayLike, window: int = 2) -> NDArray[np.bool_]:
    """Add to a mask every token within ``window`` positions of a math token (line 4).

    Args:
        mask: (n,) bool, the mask so far.
        math: (n,) bool, which tokens are math tokens.
        window: e; 0 adds the math tokens themselves.
    """
    _check_count(window, "window")
    chosen = np.asarray(mask, dtype=bool).reshape(-1)
    marks = np.asarray(math, dtype=bool).reshape(-1)
    if chosen.shape != marks.shape:
        raise InputError(f"a mask of {len(chosen)} tokens and math flags of {len(marks)}; expected equal lengths")
    total = np.concatenate([[0], np.cumsum(marks)])
    index = np.arange(len(marks))
    near = total[np.minimum(index + window + 1, len(marks))] - total[np.maximum(index - window, 0)]
    expanded: NDArray[np.bool_] = chosen | (near > 0)
    return expanded


def truncate_tail(length: int, limit: int = 150) -> NDArray[np.bool_]:
    """Mask every token past index ``limit`` (line 5): i > M, zero-based, so M + 1 tokens stay."""
    _check_count(length, "length")
    _check_count(limit, "limit")
    return np.arange(length) > limit


def adaptive_k(scores: ArrayLike, k: float, reference: float) -> float:
    """Lower k where the draft is confident: k · min(1, mean(m) / reference).

    The paper leaves the choice of k per instance open. This rule has one parameter: the mean normalised entropy from
    which a draft counts as uncertain and is masked in full. A draft half as uncertain has half as many tokens masked.

    Args:
        scores: (n,) m_i of Eq. 6.
        k: the percentage for an uncertain draft.
        reference: mean score from which the full k is used, in (0, 1].

    Returns:
        A percentage between 0 and ``k``; it grows with the mean score.
    """
    _check_percentage(k)
    if not 0 < reference <= 1:
        raise InputError(f"reference={reference!r}: expected a mean score above 0 and at most 1")
    values = _check_scores(scores)
    if not len(values):
        return 0.0
    return float(k * np.clip(values.mean() / reference, 0.0, 1.0))


def _highest(values: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    mask = np.zeros(len(values), dtype=bool)
    mask[np.argsort(-values, kind="stable")[:count]] = True
    return mask


def _per_token(flags: NDArray[np.bool_], spans: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the flagged characters of each span; characters past the text count as none."""
    total = np.concatenate([[0], np.cumsum(flags)])
    inside = np.minimum(spans, len(flags))
    return np.asarray(total[inside[:, 1]] - total[inside[:, 0]], dtype=np.int64)


def _check_scores(scores: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise InputError(f"scores have shape {values.shape}; expected (n,): one number a token")
    if not np.isfinite(values).all():
        position = int(np.argmin(np.isfinite(values)))
        raise InputError(f"the score of token {position} is {values[position]}; expected finite numbers")
    return values


def _check_percentage(k: float) -> None:
    if not 0 <= k <= 100:
        raise InputError(f"k={k!r}: expected a percentage from 0 to 100")


def _check_count(number: int, name: str) -> None:
    if number < 0:
        raise InputError(f"{name}={number!r}: expected 0 or more")
