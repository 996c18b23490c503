"""Hypothesis strategies for texts, spans and scores."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

# Everything that tokenizers stumble over: runs of whitespace, code, several bytes a character, marks that combine,
# characters that a normalizer takes apart or joins, line ends of all kinds, text that spells special tokens.
PIECES = (
    " ", "  ", "\n", "\n\n    ", "\t", "\r\n", "\u00a0", "\u3000", "def f(x):", "return", "x**2", "== 12", "hello",
    "World", "é", "e\u0301", "ß", "ﬁ", "ﷺ", "Å", "你好", "東京", "🙂", "👩‍👩‍👧",
    "𝔘", "\u200d", "\u2212", "×", "<|endoftext|>",
    "<mask>", "[CLS]", "</s>", "\x00", "…", "...", "'s", "ı", "İ", "\ufeff", "�",
)  # fmt: skip

texts = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=25).map("".join)
"""Any text that UTF-8 can hold, mostly made of awkward pieces."""

numbers = st.floats(min_value=-1e12, max_value=1e12, allow_nan=False, width=64)
shares = st.floats(min_value=0, max_value=1, allow_nan=False)


def scores(size: int | st.SearchStrategy[int]) -> st.SearchStrategy[np.ndarray]:
    """Scores of Eq. 6, many of them equal."""
    return hnp.arrays(np.float64, size, elements=st.one_of(shares, st.sampled_from([0.0, 0.25, 0.5, 1.0])))


@st.composite
def loose_spans(draw: st.DrawFn, length: int = 20) -> np.ndarray:
    """Spans in any order, overlapping, nested, empty, with gaps."""
    pairs = draw(st.lists(st.tuples(st.integers(0, length), st.integers(0, length)), max_size=8))
    return np.array([sorted(pair) for pair in pairs], dtype=np.int64).reshape(-1, 2)


@st.composite
def partitions(draw: st.DrawFn, length: int) -> np.ndarray:
    """Spans that cut ``length`` characters into tokens without gap or overlap."""
    cuts = sorted(draw(st.sets(st.integers(1, length - 1)))) if length > 1 else []
    edges = [0, *cuts, length]
    return np.array(list(itertools.pairwise(edges)), dtype=np.int64)
