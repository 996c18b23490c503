"""Which target tokens are hidden in each draw of a Monte Carlo likelihood: pure functions on arrays.

A masked model's likelihood bound is ``L * E_x E_S [mean of -log p over S]``: x uniform on 1..L, S uniform among the
subsets of size x (LLaDA, eq. 6). The schemes differ in how the counts x of one batch of draws hang together.
"""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING

import numpy as np

from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from specref_core.generator import MonteCarlo

LONGEST_ENUMERATED = 7
"""Targets of up to this many tokens have at most 127 masks, fewer than the usual 128 draws."""


def systematic_counts(length: int, batch: int, offset: float) -> NDArray[np.int64]:
    """Return the mask counts of one batch as LLaDA's evaluation script makes them.

    Counts advance by L/batch from one random start and are rounded, ties to even; so for some lengths even counts
    come up more often than odd ones, and the estimate does not converge to the bound.

    Args:
        length: target tokens L, at least 1.
        batch: draws stratified together.
        offset: in [0, 1), the random start as a share of L.

    Returns:
        (batch,) int64 in 1..L.
    """
    import torch  # its linspace and round decide the ties; another library's would not be the script's

    start = int(offset * length) + 1
    counts = torch.linspace(float(start), start + (batch - 1) * (length / batch), steps=batch).round().long()
    return np.asarray((counts - 1) % length + 1, dtype=np.int64)


def uniform_counts(length: int, batch: int, offset: float) -> NDArray[np.int64]:
    """Return mask counts stratified over 1..L, each exactly uniform.

    Args:
        length: target tokens L, at least 1.
        batch: draws stratified together.
        offset: in [0, 1), one random number for the batch.

    Returns:
        (batch,) int64 in 1..L, ascending.
    """
    strata = (np.arange(batch) + offset) / batch
    return np.minimum((strata * length).astype(np.int64), length - 1) + 1


def draw_masks(
    lengths: Sequence[int], monte_carlo: MonteCarlo, generator: np.random.Generator
) -> list[NDArray[np.bool_]]:
    """Draw the masks of every continuation of one request.

    The continuations share their random numbers: those of equal length get the same masks, those of other lengths masks
    made from the same draws. A continuation's masks do not depend on which others are there.

    Args:
        lengths: target tokens of each continuation, at least 1 each.
        monte_carlo: samples, batch and scheme (``systematic`` or ``uniform``).
        generator: the source of randomness.

    Returns:
        for each continuation (samples, L) bool, batch after batch.
    """
    rounds, batch = monte_carlo.samples // monte_carlo.batch, monte_carlo.batch
    offsets = generator.random(rounds)
    # The token axis comes first, so that the numbers of the first tokens do not depend on how many follow.
    order = generator.random((max(lengths), rounds, batch))
    drawn = []
    for length in lengths:
        keys = np.moveaxis(order[:length], 0, -1)
        if monte_carlo.scheme == "systematic":
            counts = np.stack([systematic_counts(length, batch, offset) for offset in offsets])
            ranks = keys.argsort(axis=-1).argsort(axis=-1)
        else:
            counts = np.stack([uniform_counts(length, batch, offset) for offset in offsets])
            ranks = _end_to_end(keys[:, 0], counts)
        drawn.append((ranks < counts[..., None]).reshape(-1, length))
    return drawn


def _end_to_end(keys: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ranks such that the masks of a batch follow one another around one random circle of the tokens.

    Each mask by itself is a uniform subset of its size; together they cover every token about equally often.
    """
    length = keys.shape[-1]
    places = keys.argsort(axis=-1).argsort(axis=-1)  # (rounds, L): each token's place on the circle
    starts = counts.cumsum(axis=-1) - counts
    ranks: NDArray[np.int64] = (places[:, None] - starts[..., None]) % length
    return ranks


def all_masks(length: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return every non-empty mask of a short target and its weight in the exact bound.

    Args:
        length: target tokens L, 1 to 7.

    Returns:
        masks (2**L - 1, L) and weights (2**L - 1,): the bound is minus the weighted sum of the cross-entropies of the
        masked tokens, with weight 1 / (x * C(L, x)) for a mask of x tokens.

    Raises:
        InputError: the target is too long.
    """
    if not 1 <= length <= LONGEST_ENUMERATED:
        raise InputError(
            f"scheme='exact' enumerates targets of 1 to {LONGEST_ENUMERATED} tokens, this one has {length}; "
            "use scheme='uniform' or 'systematic'"
        )
    masks = (np.arange(1, 2**length)[:, None] >> np.arange(length)) % 2 == 1
    return masks, np.array([1 / (x * comb(length, x)) for x in masks.sum(axis=1)])
