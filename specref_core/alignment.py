"""Carry per-token values from one tokenization of a text to another, through character offsets.

Two tokenizers cut the same text at different places, so "token 7" of one is not "token 7" of the other (paper section
3.3, pitfall 4). What they share is the text: a token is a half-open span of its characters, and a value moves from the
spans of the source to the spans of the target in proportion to the characters that they share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from specref_core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Pairs of overlapping tokens held at once. Real tokenizations have about one pair a token; only spans that all cover
# each other could make more, and then the work goes on in slices of this size.
_PAIRS_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class Tokenization:
    """A text as one tokenizer sees it.

    Attributes:
        token_ids: (n,) int64.
        spans: (n, 2) int64, character offsets of each token in the text, half open. Starts and ends never decrease (an
            empty span stands where the span before it ends), and where any token has text, every character lies in a
            span.
    """

    token_ids: NDArray[np.int64]
    spans: NDArray[np.int64]


def project(
    values: ArrayLike, source_spans: ArrayLike, target_spans: ArrayLike, *, how: str = "mean"
) -> NDArray[np.float64]:
    """Carry one value a source token to the target tokens of the same text.

    A target token gets the mean of the source tokens that it shares characters with, weighted by how many (or their
    largest value). Pieces of one multi-byte character each count with that character. A target token that shares no
    character with any source token (a gap, a special token, an empty span) gets what the nearest covered character
    before it would get, or, where there is none, the first covered character after it. With no source text at all the
    result is 0.

    Args:
        values: (n,) finite numbers, one a source token.
        source_spans: (n, 2) integers, half-open character offsets, in any order; empty spans carry nothing.
        target_spans: (m, 2) integers, half-open character offsets, in any order.
        how: ``mean`` (weighted by overlap) or ``max``.

    Returns:
        (m,) float64. Every entry lies between the least and the largest of the values it was made from.

    Raises:
        InputError: the shapes do not fit, a span ends before it starts, or ``how`` is unknown.
    """
    if how not in ("mean", "max"):
        raise InputError(f"how={how!r}: expected 'mean' or 'max'")
    try:
        value = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"values cannot be read as numbers ({error}); expected (n,) numbers, one a token") from error
    source = check_spans(source_spans, "source_spans")
    target = check_spans(target_spans, "target_spans")
    if value.shape != (len(source),):
        raise InputError(f"values has shape {value.shape} for {len(source)} source spans; expected one value a span")
    if not np.isfinite(value).all():
        raise InputError(f"values[{int(np.argmin(np.isfinite(value)))}] is not finite; expected finite numbers")

    carries = source[:, 1] > source[:, 0]
    value, source = value[carries], source[carries]
    if not len(source) or not len(target):
        return np.zeros(len(target))
    if (np.diff(source[:, 0]) < 0).any():
        order = np.argsort(source[:, 0], kind="stable")
        value, source = value[order], source[order]
    starts = source[:, 0]
    # Ends need not be sorted (one span may lie within another); the running maximum is, and bounds the search.
    reach = np.maximum.accumulate(source[:, 1])

    target = _onto_covered_characters(target, starts, reach)
    first = np.searchsorted(reach, target[:, 0], side="right")
    counts = np.searchsorted(starts, target[:, 1], side="left") - first
    result = np.empty(len(target))
    for low, high in _slices(counts):
        result[low:high] = _combine(
            value, source, target[low:high], first=first[low:high], counts=counts[low:high], how=how
        )
    return result


def token_spans(tokenizer: Any, text: str) -> Tokenization:
    """Tokenize a text without special tokens and tell which characters each token stands for.

    The offsets are those of the tokenizer, mended where they leave characters out: offsets that were trimmed of their
    whitespace, characters that a normalizer removed, special tokens that report ``(0, 0)``. A character that no token
    claims goes to the token after it if it is whitespace or follows whitespace (as in a leading space), otherwise to
    the token before it (as with a stripped accent). Text that spells a special token is tokenized as text.

    Args:
        tokenizer: a fast ``transformers`` tokenizer, or a ``tokenizers.Tokenizer``.
        text: any text that can be encoded as UTF-8.

    Raises:
        InputError: the tokenizer has no offsets (it is not a fast one), or the text holds a lone surrogate.
    """
    require_encodable(text)
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(backend, "encode_special_tokens"):
        raise InputError(
            f"{type(tokenizer).__name__} gives no character offsets; load a fast tokenizer (one with a tokenizer.json)"
        )
    encoding = _encode_as_text(backend, text)
    spans = np.asarray(encoding.offsets, dtype=np.int64).reshape(-1, 2)
    return Tokenization(np.asarray(encoding.ids, dtype=np.int64), mend_spans(spans, text))


def mend_spans(spans: ArrayLike, text: str) -> NDArray[np.int64]:
    """Make raw tokenizer offsets lawful: within the text, never decreasing, no character left out.

    Args:
        spans: (n, 2) integers, in token order.
        text: the text they refer to.

    Returns:
        (n, 2) int64. Spans that were lawful are unchanged. Empty spans stay empty; they move to the end of the token
        before them. Where no span has text, nothing is mended but that.
    """
    raw = np.clip(np.asarray(spans, dtype=np.int64).reshape(-1, 2), 0, len(text))
    filled = raw[:, 1] > raw[:, 0]
    mended = np.maximum.accumulate(raw[filled], axis=0)
    if len(mended):
        # A gap before token i reaches from the end of what came before to its start.
        ends = mended[:, 1]
        gap_start = np.concatenate([[0], ends[:-1]])
        gap_end = np.maximum(mended[:, 0], gap_start)
        cut = np.minimum(_next_space(text, gap_start), gap_end)
        cut[0] = 0
        is_gap = gap_end > gap_start
        starts = np.where(is_gap, cut, mended[:, 0])
        # What precedes the cut belongs to the token before. Byte pieces of one character share its end, so all the
        # tokens that end there grow together: otherwise the order of the ends would be lost.
        grown = ends.copy()
        grown[:-1] = np.where(is_gap[1:], cut[1:], ends[:-1])
        grown[-1] = len(text)
        last = np.searchsorted(ends, ends, side="right") - 1
        mended = np.stack([starts, np.where(grown[last] > ends, grown[last], ends)], axis=1)
    result = np.empty_like(raw)
    result[filled] = mended
    # An empty span stands where the last token with text ended.
    before = np.cumsum(filled)
    ends_so_far = np.concatenate([[0], mended[:, 1]])
    result[~filled] = ends_so_far[before[~filled], None]
    return result


def check_spans(spans: ArrayLike, name: str) -> NDArray[np.int64]:
    """Return spans as an (n, 2) int64 array.

    Raises:
        InputError: they are not integers, not of shape (n, 2), negative, or one ends before it starts.
    """
    try:
        array = np.asarray(spans)
    except ValueError as error:
        raise InputError(f"{name} is ragged; expected (n, 2): a start and an end for each token") from error
    if array.size == 0:
        return np.zeros((0, 2), dtype=np.int64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise InputError(f"{name} has shape {array.shape}; expected (n, 2): a start and an end for each token")
    if array.dtype.kind not in "iu":
        raise InputError(f"{name} has dtype {array.dtype}; expected integer character offsets")
    array = array.astype(np.int64, copy=False)
    wrong = (array[:, 0] < 0) | (array[:, 1] < array[:, 0])
    if wrong.any():
        position = int(np.argmax(wrong))
        raise InputError(f"{name}[{position}] = {tuple(array[position].tolist())}: expected 0 <= start <= end")
    return array


def require_encodable(text: str, name: str = "the text") -> None:
    """Refuse a text that UTF-8, and so every tokenizer, cannot hold.

    Raises:
        InputError: it has a lone surrogate.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{name} holds a lone surrogate (U+{ord(text[error.start]):04X}) at character {error.start}; "
            "no tokenizer can read it: replace it first"
        ) from error


def characters(text: str) -> NDArray[np.uint32]:
    """Return the code points of a text, (len(text),) uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def _onto_covered_characters(
    target: NDArray[np.int64], starts: NDArray[np.int64], reach: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Replace every target span without a covered character by the one character whose value it takes."""
    before = np.searchsorted(starts, target[:, 0], side="left")  # sources that start before the target does
    reached = np.where(before > 0, reach[np.maximum(before - 1, 0)], 0)
    covered = (reached > target[:, 0]) | (np.searchsorted(starts, target[:, 1], side="left") > before)
    bare = ~covered | (target[:, 1] == target[:, 0])
    # The covered character nearest before is the last one that the sources before reach; else the first of all after.
    end = np.where(before > 0, np.minimum(reached, target[:, 0]), starts[np.minimum(before, len(starts) - 1)] + 1)
    return np.where(bare[:, None], np.stack([end - 1, end], axis=1), target)


def _combine(
    value: NDArray[np.float64],
    source: NDArray[np.int64],
    target: NDArray[np.int64],
    *,
    first: NDArray[np.int64],
    counts: NDArray[np.int64],
    how: str,
) -> NDArray[np.float64]:
    """Combine the values of the sources ``first .. first + count`` of each target; all arrays are (m,) or (m, 2)."""
    begin = np.concatenate([[0], np.cumsum(counts)[:-1]])  # first pair of each target
    owner = np.repeat(np.arange(len(target)), counts)
    index = np.arange(len(owner)) - begin[owner] + first[owner]
    overlap = np.minimum(source[index, 1], target[owner, 1]) - np.maximum(source[index, 0], target[owner, 0])
    shares = overlap > 0
    pair_value = value[index]
    largest = np.maximum.reduceat(np.where(shares, pair_value, -np.inf), begin)
    if how == "max":
        return largest
    least = np.minimum.reduceat(np.where(shares, pair_value, np.inf), begin)
    weight = np.where(shares, overlap, 0).astype(np.float64)
    weight /= np.add.reduceat(weight, begin)[owner]
    # The clip takes away rounding: a mean of equal values is that value, exactly.
    return np.clip(np.add.reduceat(weight * pair_value, begin), least, largest)


def _slices(counts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Cut the targets into runs of bounded pair counts."""
    total = np.cumsum(counts)
    if total[-1] <= _PAIRS_AT_ONCE:
        return [(0, len(counts))]
    edges = np.unique(np.searchsorted(total, np.arange(_PAIRS_AT_ONCE, int(total[-1]), _PAIRS_AT_ONCE)))
    inner = [int(edge) for edge in edges if 0 < edge < len(counts)]
    return list(zip([0, *inner], [*inner, len(counts)], strict=True))


def _next_space(text: str, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each position the first whitespace character at or after it, (len(text)) where there is none."""
    points = characters(text)
    spaces = np.flatnonzero(np.isin(points, [ord(c) for c in set(text) if c.isspace()]))
    return np.append(spaces, len(text))[np.searchsorted(spaces, positions)]


def _encode_as_text(backend: Any, text: str) -> Any:
    """Encode with everything off that hides characters or adds tokens, and put the settings back.

    Off are truncation, padding, the reading of special tokens in the text, and the post-processor, whose only effect
    without special tokens is to trim whitespace out of the offsets.
    """
    truncation, padding = backend.truncation, backend.padding
    special, post_processor = backend.encode_special_tokens, backend.post_processor
    try:
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        backend.post_processor = None
        return backend.encode(text, add_special_tokens=False)
    finally:
        backend.post_processor = post_processor
        backend.encode_special_tokens = special
        if truncation is not None:
            backend.enable_truncation(**truncation)
        if padding is not None:
            backend.enable_padding(**padding)
