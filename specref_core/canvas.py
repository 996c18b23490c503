"""What the reverse process works on: a prompt, and an answer of which some tokens are hidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from specref_core.continuation import decode_continuation
from specref_core.errors import InputError
from specref_core.generator import Trace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

    from specref_core.alignment import Tokenization
    from specref_core.generator import Draft


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """One prompt and its answer's tokens, some of them hidden (x_tau of Algorithm 1, line 6).

    Attributes:
        prompt_ids: the refiner's tokens of the prompt.
        ids: (n,) int64, the answer's tokens; what stands at hidden positions does not matter.
        masked: (n,) bool, the hidden positions.
        scores: (n,) float64, m_i of Eq. 6; 0 where there is no draft.
        initial: (n,) text of each token before masking.
        text: the draft's text; ``None`` where the canvas did not start from one.
        draft: the draft itself, for the trace.
    """

    prompt_ids: tuple[int, ...]
    ids: NDArray[np.int64]
    masked: NDArray[np.bool_]
    scores: NDArray[np.float64]
    initial: tuple[str, ...]
    text: str | None = None
    draft: Draft | None = None

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.ids)


def blank(prompt_ids: Sequence[int], length: int, *, mask_id: int) -> Canvas:
    """Return a canvas of nothing but hidden positions, from which a standalone refiner starts."""
    return Canvas(
        prompt_ids=tuple(prompt_ids),
        ids=np.full(length, mask_id, dtype=np.int64),
        masked=np.ones(length, dtype=bool),
        scores=np.zeros(length),
        initial=("",) * length,
    )


def warm_start(
    prompt_ids: Sequence[int],
    text: str,
    tokens: Tokenization,
    masked: NDArray[np.bool_],
    *,
    scores: NDArray[np.float64],
    mask_id: int,
    end_id: int | None,
    slack: int = 0,
    length: int | None = None,
    draft: Draft | None = None,
) -> Canvas:
    """Return a canvas that starts from a draft: its tokens, ``slack`` hidden positions, then the end token.

    Args:
        prompt_ids: the refiner's tokens of the prompt.
        text: the draft.
        tokens: the refiner's tokens of the draft.
        masked: (n,) bool, which of them are hidden.
        scores: (n,) m_i of Eq. 6.
        mask_id: the token of a hidden position.
        end_id: the end token; ``None`` where the model has none, and nothing follows the draft then.
        slack: hidden positions after the draft, room for an answer that is longer than it.
        length: a fixed canvas: a longer answer is cut there, a shorter one is followed by end tokens up to it.
            ``None`` puts one end token.
        draft: the draft with its entropies, for the trace.
    """
    drafted = len(tokens.token_ids)
    if masked.shape != (drafted,) or scores.shape != (drafted,):
        raise InputError(
            f"the draft has {drafted} refiner tokens, the mask {masked.shape} and the scores {scores.shape}; "
            "expected one of each a token"
        )
    closing = 1 if length is None else max(0, length - drafted - slack)
    if end_id is None:
        closing = 0
    ends = np.maximum.accumulate(np.append(0, tokens.spans[:, 1]))
    pieces = [text[max(start, done) : end] for (start, end), done in zip(tokens.spans, ends, strict=False)]
    cut = slice(None, length)
    return Canvas(
        prompt_ids=tuple(prompt_ids),
        ids=np.concatenate([tokens.token_ids, [mask_id] * slack, [end_id or 0] * closing]).astype(np.int64)[cut],
        masked=np.concatenate([masked, np.ones(slack, dtype=bool), np.zeros(closing, dtype=bool)])[cut],
        scores=np.concatenate([scores, np.zeros(slack + closing)])[cut],
        initial=tuple([*pieces, *[""] * (slack + closing)][cut]),
        text=text if length is None or drafted <= length else None,
        draft=draft,
    )


def read(
    canvas: Canvas,
    ids: NDArray[np.int64],
    committed_at: NDArray[np.int64],
    *,
    tokenizer: Any,
    end_ids: AbstractSet[int],
) -> tuple[str, Trace]:
    """Return the answer on a filled canvas, up to its first end token, and how it came to be.

    Args:
        canvas: as it was before the first step.
        ids: (n,) int64, the answer's tokens now.
        committed_at: (n,) int64, the executed step of each position, 0 where it was kept.
        tokenizer: the refiner's.
        end_ids: tokens that end an answer.
    """
    ended = np.flatnonzero(np.isin(ids, list(end_ids)))
    end = int(ended[0]) if len(ended) else len(ids)
    decoded = decode_continuation(tokenizer, ids[:end].tolist(), context=canvas.prompt_ids)
    text, pieces = decoded.text, decoded.pieces()
    if canvas.text is not None and not canvas.masked.any():
        # A draft that is kept whole is kept to the byte, also by a tokenizer that would normalize it.
        text, pieces = canvas.text, canvas.initial[:end]
    trace = Trace(
        draft=canvas.draft,
        initial_tokens=canvas.initial,
        scores=tuple(canvas.scores.tolist()),
        masked=tuple(canvas.masked.tolist()),
        final_tokens=(*pieces, *[""] * (len(ids) - end)),
        committed_at=tuple(committed_at.tolist()),
    )
    return text, trace
