"""The controlled scaffolds of finding 1: the same number of kept draft tokens, chosen in different ways.

The paper lifts code accuracy with a draft and concludes that structure was missing, but its scaffold keeps the answer
of the drafter too. Here only *which* tokens are kept changes: structure, content, any, or those that SpecRef keeps.
"""

from __future__ import annotations

import keyword
import re
from typing import TYPE_CHECKING

import numpy as np

from specref_core.alignment import check_spans
from specref_core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

SCAFFOLDS = ("none", "structure", "content", "random", "low-entropy", "all")
"""The policies of :func:`scaffold_mask`."""

# Text whose brackets, colons and keywords are no structure: strings (also unclosed ones, to the end of their line) and
# comments. Tried first.
_OPAQUE = r'"""[\s\S]*?(?:"""|\Z)|\'\'\'[\s\S]*?(?:\'\'\'|\Z)|"(?:\\.|[^"\\\n])*"?|\'(?:\\.|[^\'\\\n])*\'?|#[^\n]*'
_SIGNATURE = r"^[ \t]*(?:async[ \t]+)?(?:def|class)\b[^\n]*"
_KEYWORDS = r"\b(?:" + "|".join(sorted(set(keyword.kwlist) - {"True", "False", "None"})) + r")\b"
_STRUCTURE = re.compile(
    rf"(?P<structure>{_SIGNATURE}|^[ \t]+|\n|[()\[\]{{}}:]|{_KEYWORDS})|(?P<opaque>{_OPAQUE})", re.MULTILINE
)


def structure_tokens(text: str, spans: ArrayLike) -> NDArray[np.bool_]:
    """Tell the tokens that carry Python's form: keywords, indentation, line ends, brackets, colons, signatures.

    A token counts as structure if more than half of its visible characters do; a token of whitespace, if more than half
    of that does. Strings and comments are content; so are the literals ``True``, ``False`` and ``None``.

    Args:
        text: the draft; it need not parse.
        spans: (n, 2) character offsets of the tokens in it.

    Returns:
        (n,) bool; a token without text is neither structure nor content and is False.
    """
    offsets = np.minimum(check_spans(spans, "spans"), len(text))
    structural = np.zeros(len(text), dtype=bool)
    for match in _STRUCTURE.finditer(text):
        if match.group("structure") is not None:
            structural[match.start() : match.end()] = True
    visible = np.fromiter((not c.isspace() for c in text), dtype=bool, count=len(text))

    def count(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
        total = np.concatenate([[0], np.cumsum(flags)])
        return np.asarray(total[offsets[:, 1]] - total[offsets[:, 0]], dtype=np.int64)

    seen = count(visible)
    size = np.where(seen > 0, seen, offsets[:, 1] - offsets[:, 0])
    part = np.where(seen > 0, count(structural & visible), count(structural))
    return np.asarray(2 * part > size)


def content_tokens(text: str, spans: ArrayLike) -> NDArray[np.bool_]:
    """Tell the tokens that carry the answer (names, literals, operators): all with text that are not structure."""
    offsets = check_spans(spans, "spans")
    return ~structure_tokens(text, offsets) & (offsets[:, 1] > offsets[:, 0])


def scaffold_mask(  # noqa: PLR0917 - the order is that of the data: text, its tokens, their scores, how many, by chance
    policy: str,
    text: str,
    spans: ArrayLike,
    scores: ArrayLike,
    keep_count: int,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Hide all tokens of a draft but ``keep_count``, chosen by a policy.

    ``random`` keeps any tokens, ``low-entropy`` those of the lowest scores (among equal scores the higher position, the
    complement of ``top_k``), ``structure`` and ``content`` a random part of their class. A class with fewer tokens than
    ``keep_count`` is kept whole and nothing else is: the mask then keeps fewer, and the caller compares policies at the
    count that all of them reach (:func:`reachable_count`). ``none`` and ``all`` are the two ends and ignore the count.

    Args:
        policy: one of :data:`SCAFFOLDS`.
        text: the draft.
        spans: (n, 2) character offsets of the refiner's tokens in it.
        scores: (n,) m_i of Eq. 6.
        keep_count: tokens to keep, 0 to n.
        rng: source of the random choices.

    Returns:
        (n,) bool, True where the token is hidden.
    """
    offsets = check_spans(spans, "spans")
    values = np.asarray(scores, dtype=np.float64).reshape(-1)
    if policy not in SCAFFOLDS:
        raise InputError(f"scaffold {policy!r}: expected one of {', '.join(SCAFFOLDS)}")
    if len(values) != len(offsets):
        raise InputError(f"{len(values)} scores and {len(offsets)} spans; expected one of each a token")
    if not 0 <= keep_count <= len(offsets):
        raise InputError(f"keep_count={keep_count!r}: expected 0 to {len(offsets)}, the number of tokens")
    if policy in ("none", "all"):
        return np.full(len(offsets), policy == "none")
    if policy == "low-entropy":
        kept = np.argsort(-values, kind="stable")[len(values) - keep_count :]
    else:
        members = np.arange(len(offsets))
        if policy != "random":
            members = np.flatnonzero((structure_tokens if policy == "structure" else content_tokens)(text, offsets))
        kept = rng.choice(members, size=min(keep_count, len(members)), replace=False)
    hidden = np.ones(len(offsets), dtype=bool)
    hidden[kept] = False
    return hidden


def reachable_count(text: str, spans: ArrayLike, keep_count: int) -> int:
    """Return the largest count up to ``keep_count`` that structure, content and random can all keep."""
    classes = (structure_tokens(text, spans), content_tokens(text, spans))
    return min(keep_count, *(int(members.sum()) for members in classes))
