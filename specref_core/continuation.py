"""Text that continues other text: to tokens and back, without a character gained or lost at the seam.

Tokenizers are made for whole texts. Some put a space before the first word and take it away again when they decode; a
continuation must be spared both. Byte-level ones cut characters into bytes, so that a token may hold part of a
character, or bytes that are no text at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import groupby, pairwise
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

import numpy as np

from specref_core.alignment import Tokenization, mend_spans, token_spans

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

# Bytes decoded at a time.
_WINDOW = 256

# A line break is its own token almost everywhere, so what follows it is tokenized as the middle of a text.
_ANCHOR = "\n"

# A token of one byte, as tokenizers with byte fallback name it.
_BYTE_TOKEN = re.compile("<0x([0-9A-F]{2})>")
_REPLACEMENT = "\ufffd".encode()


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """The text of some tokens.

    Attributes:
        text: exactly what the tokenizer decodes, special tokens left out, never stripped or cleaned up.
        spans: (n, 2) int64, the characters of each token in ``text``. A token that holds some bytes of a character has
            that character's span, like its other pieces. A special token, or an id without a token, has an empty one.
    """

    text: str
    spans: NDArray[np.int64]

    def pieces(self) -> tuple[str, ...]:
        """Return a text for each token so that they add up to the whole: a shared character goes to its first piece."""
        ends = [0, *np.maximum.accumulate(self.spans[:, 1]).tolist()]
        starts = np.maximum(self.spans[:, 0], ends[:-1]).tolist()
        return tuple(self.text[start:end] for start, end in zip(starts, ends[1:], strict=True))


def encode_continuation(tokenizer: Any, text: str) -> Tokenization:
    """Tokenize a text as the continuation of another: no special tokens, no space put before it.

    Args:
        tokenizer: a fast tokenizer.
        text: what follows the prompt.

    Raises:
        InputError: the tokenizer is not a fast one, or the text cannot be encoded.
    """
    plain = token_spans(tokenizer, text)
    if not text or _joins(tokenizer):
        return plain
    anchored = token_spans(tokenizer, _ANCHOR + text)
    seam = len(_ANCHOR)
    # Where a token straddles the seam, or none ends before it, the anchor does not separate: the plain form is better.
    straddles = (anchored.spans[:, 0] < seam) & (anchored.spans[:, 1] > seam)
    after = anchored.spans[:, 0] >= seam
    if straddles.any() or not after.any():
        return plain
    return Tokenization(anchored.token_ids[after], mend_spans(anchored.spans[after] - seam, text))


def decode_continuation(
    tokenizer: Any, token_ids: Sequence[int], *, context: Sequence[int] = (), hidden: Collection[int] = ()
) -> Decoded:
    """Decode tokens that follow others, and tell which characters each of them stands for.

    Args:
        tokenizer: a ``transformers`` tokenizer or a ``tokenizers.Tokenizer``.
        token_ids: the continuation.
        context: the tokens before it; the last few are enough.
        hidden: ids that stand for no text although the tokenizer does not call them special (an end token, say).
    """
    ids = [int(i) for i in token_ids]
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    added = backend.get_added_tokens_decoder() if hasattr(backend, "get_added_tokens_decoder") else {}
    special = {i for i, token in added.items() if token.special} | set(getattr(tokenizer, "all_special_ids", ()))
    silent = np.array([i in special or i in hidden for i in ids], dtype=bool)
    if _is_byte_level(backend):
        return _decode_bytes(backend, ids, silent)
    return _decode_by_prefixes(tokenizer, ids, silent, list(context)[-8:])


def _is_byte_level(backend: Any) -> bool:
    from tokenizers import decoders

    return isinstance(getattr(backend, "decoder", None), decoders.ByteLevel)


def _decode_bytes(backend: Any, ids: list[int], silent: NDArray[np.bool_]) -> Decoded:
    table = _byte_of_character()
    parts = []
    for token_id, hide in zip(ids, silent, strict=True):
        token = None if hide else backend.id_to_token(token_id)
        if token is None:
            parts.append(b"")
        elif all(c in table for c in token):
            parts.append(bytes(table[c] for c in token))
        else:  # an added token that is written as it reads
            parts.append(token.encode())
    data = b"".join(parts)
    text = data.decode("utf-8", "replace")
    character = _character_of_byte(data)
    edges = np.concatenate([[0], np.cumsum([len(part) for part in parts], dtype=np.int64)])
    starts = np.append(character, len(text))[edges[:-1]]
    # The last byte of a token tells its last character; a token without bytes stays empty.
    ends = np.where(edges[1:] > edges[:-1], np.append(character, len(text) - 1)[edges[1:] - 1] + 1, 0)
    ends = np.maximum.accumulate(np.concatenate([[0], ends]))
    empty = edges[1:] == edges[:-1]
    starts = np.where(empty, ends[:-1], starts)
    return Decoded(text, np.stack([starts, np.where(empty, ends[:-1], ends[1:])], axis=1))


def _character_of_byte(data: bytes) -> NDArray[np.int64]:
    """Return for each byte the index of its character in ``data.decode("utf-8", "replace")``."""
    starts_character = np.ones(len(data), dtype=bool)
    position = 0
    while position < len(data):
        window = data[position : position + _WINDOW]  # bounded, so that bytes that are no text cost linear time too
        bad = None
        try:
            window.decode("utf-8")
        except UnicodeDecodeError as error:
            bad = (position + error.start, position + error.end)
        if bad and bad[0] > position and bad[1] == position + _WINDOW < len(data):
            bad = (bad[0], bad[0])  # a character cut by the window: it is read again from its start
        start, end = bad or (position + len(window),) * 2
        valid = np.frombuffer(data[position:start], dtype=np.uint8)
        starts_character[position:start] = (valid & 0xC0) != 0x80
        starts_character[start + 1 : end] = False  # each undecodable run becomes one replacement character
        position = end
    return np.cumsum(starts_character, dtype=np.int64) - 1


@cache
def _byte_of_character() -> dict[str, int]:
    """Return the byte that each character of a byte-level token stands for (the table of GPT-2's tokenizer).

    Printable Latin-1 characters stand for themselves; the other bytes, in order, for U+0100 and what follows.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(others)}


def _decode_by_prefixes(tokenizer: Any, ids: list[int], silent: NDArray[np.bool_], context: list[int]) -> Decoded:
    """Decode by comparing growing prefixes, for tokenizers whose tokens are not bytes."""
    shown = [i for i, hide in zip(ids, silent, strict=True) if not hide]
    before = _decode(tokenizer, context)
    whole = _decode(tokenizer, context + shown)
    if not whole.startswith(before):
        before, context, whole = "", [], _decode(tokenizer, shown)
    seam = len(before)
    ends, spoken = [], list(context)
    for token_id, hide in zip(ids, silent, strict=True):
        if not hide:
            spoken.append(token_id)
        ends.append(len(commonprefix([whole, _decode(tokenizer, spoken)])))  # noqa: RUF071 - any strings, not paths
    _settle_byte_runs(tokenizer, ids, silent, ends, seam)
    edges = np.maximum.accumulate(np.clip(np.array([seam, *ends], dtype=np.int64), seam, len(whole))) - seam
    if shown:
        edges[1 + int(np.flatnonzero(~silent)[-1]) :] = len(whole) - seam
    spans = np.array(list(pairwise(edges.tolist())), dtype=np.int64).reshape(-1, 2)
    # A token that completes nothing holds part of the next character to be completed.
    pending = (spans[:, 0] == spans[:, 1]) & ~silent & (spans[:, 1] < len(whole) - seam)
    spans[pending, 1] += 1
    reach = np.maximum.accumulate(np.append(0, spans[:, 1]))[:-1]
    empty = spans[:, 0] == spans[:, 1]
    spans[empty] = reach[empty, None]
    return Decoded(whole[seam:], spans)


def _settle_byte_runs(tokenizer: Any, ids: list[int], silent: NDArray[np.bool_], ends: list[int], seam: int) -> None:
    """Correct, in place, where prefixes that end with byte tokens end: an unfinished U+FFFD looks like a whole one."""
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    named = [None if hide else backend.id_to_token(i) for i, hide in zip(ids, silent, strict=True)]
    found = [_BYTE_TOKEN.fullmatch(name or "") for name in named]
    for is_byte, group in groupby(range(len(ids)), key=lambda i: found[i] is not None):
        run = list(group)
        data = bytes(int(match[1], 16) for i in run if (match := found[i]))
        if not is_byte or _REPLACEMENT not in data:
            continue
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            continue  # each byte stands for a replacement character of its own
        start = ends[run[0] - 1] if run[0] else seam
        for count, i in enumerate(run, start=1):
            ends[i] = start + len(data[:count].decode("utf-8", "ignore"))


def _decode(tokenizer: Any, ids: list[int]) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None or not hasattr(tokenizer, "all_special_ids"):
        return str((backend or tokenizer).decode(ids, skip_special_tokens=True))
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _joins(tokenizer: Any) -> bool:
    """Whether tokens of two texts, one after the other, read as the two texts joined."""
    first, second = (token_spans(tokenizer, text).token_ids.tolist() for text in ("x", "a"))
    spaced = token_spans(tokenizer, " a").token_ids.tolist()
    return _decode(tokenizer, first + second) == "xa" and _decode(tokenizer, first + spaced) == "x a"
