"""How many tokens each step of the reverse process commits: pure integer arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


def num_transfer(masks: int, steps: int) -> tuple[int, ...]:
    """Spread ``masks`` commitments over at most ``steps`` steps, as evenly as integers allow.

    The first ``masks % steps`` steps commit one more, as in LLaDA's ``get_num_transfer_tokens``. A step that would
    commit nothing is left out, so the result has ``min(steps, masks)`` entries, each at least 1.

    Args:
        masks: hidden positions to fill, at least 0.
        steps: nominal steps S, at least 1.

    Raises:
        InputError: a count is out of range.
    """
    if masks < 0:
        raise InputError(f"masks={masks!r}: a number of hidden positions cannot be negative")
    if steps < 1:
        raise InputError(f"steps={steps!r}: the reverse process needs at least one step")
    executed = min(steps, masks)
    if executed == 0:
        return ()
    base, more = divmod(masks, executed)
    return (base + 1,) * more + (base,) * (executed - more)


def block_steps(masks: Sequence[int], steps: int) -> tuple[int, ...]:
    """Divide S nominal steps among blocks in proportion to the masks each holds.

    Blocks of equal size get ``steps / len(masks)`` each, which is LLaDA's rule. A block without masks gets no step, any
    other at least one and at most one a mask; so ``min(S, sum(masks))`` steps are executed, or one a block where S is
    smaller than the number of blocks. What rounding leaves over goes where most is lacking, to the
    earlier block of equals.

    Args:
        masks: hidden positions of each block, in decoding order.
        steps: nominal steps S, at least 1.

    Raises:
        InputError: ``steps`` or a count is out of range.
    """
    if steps < 1:
        raise InputError(f"steps={steps!r}: the reverse process needs at least one step")
    if any(count < 0 for count in masks):
        raise InputError(f"masks={list(masks)!r}: a number of hidden positions cannot be negative")
    total = sum(masks)
    if total == 0:
        return (0,) * len(masks)
    budget = min(steps, total)
    given = [min(count, max(1, budget * count // total)) if count else 0 for count in masks]

    def deficit(block: int) -> tuple[int, int]:
        return budget * masks[block] - given[block] * total, -block

    while sum(given) < budget:
        given[max((b for b, count in enumerate(masks) if given[b] < count), key=deficit)] += 1
    # One step a block at least may already be more than the budget; the best provided pay, down to one step each.
    while sum(given) > budget and max(given) > 1:
        given[min((b for b in range(len(masks)) if given[b] > 1), key=deficit)] -= 1
    return tuple(given)
