"""The proxy metric: does the output begin as the target does, over the first forty characters?

It needs no execution and no answer extraction, which is why it is used, and why the audits compare it with the true
metric: a text can begin like the reference and be wrong, or begin otherwise and be right.
"""

from __future__ import annotations

from protocols.score import Failure, Score
from specref_core.errors import InputError

# The length the paper uses.
CHARACTERS = 40


def proxy_match(output: str, target: str, *, characters: int = CHARACTERS) -> Score:
    """Score one output by string match with the beginning of its target.

    Blanks around both texts are dropped first; everything else must match, case and inner blanks included. A target
    shorter than ``characters`` must match as a whole beginning.

    Args:
        output: the raw completion.
        target: the benchmark's reference, in the form of a completion.
        characters: how many characters of the target count.

    Returns:
        Correct where the output begins with that part of the target; ``extracted`` is the part of the output that was
        compared.

    Raises:
        InputError: the target is blank, so that every output would match, or ``characters`` is not positive.
    """
    if characters < 1:
        raise InputError(f"characters={characters}: expected a positive number of characters")
    expected = target.strip()[:characters]
    if not expected:
        raise InputError("a blank target matches everything; give the reference text")
    begun = output.strip()[: len(expected)]
    if not begun:
        return Score(False, Failure.NO_ANSWER, None, "the output is blank")
    if begun == expected:
        return Score(True, None, begun)
    return Score(False, Failure.WRONG_ANSWER, begun)
