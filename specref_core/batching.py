"""Run work in batches that shrink when the device runs out of memory."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, TypeVar

import torch

from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Result = TypeVar("Result")


class Batches:
    """Batches of a size that is halved, for good, whenever one does not fit into memory.

    Args:
        size: items a batch.
        what: what the items are, for messages.
    """

    def __init__(self, size: int, what: str) -> None:
        if size < 1:
            raise InputError(f"batch_size={size!r}: expected a positive number of {what}")
        self.size = size
        self.what = what

    def run(self, items: Sequence[int], work: Callable[[list[int]], Sequence[Result]]) -> dict[int, Result]:
        """Return the result of every item.

        Args:
            items: item numbers, in the order in which they are to share batches.
            work: does one batch, one result an item. It may be called again with a part of a batch that did not fit.

        Raises:
            torch.OutOfMemoryError: a single item does not fit.
        """
        results: dict[int, Result] = {}
        start = 0
        while start < len(items):
            batch = list(items[start : start + self.size])
            try:
                results.update(zip(batch, work(batch), strict=True))
                start += len(batch)
                continue
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
            # Outside the handler, so that the traceback no longer holds the batch's tensors.
            self.size = len(batch) // 2
            warnings.warn(
                f"out of memory with {len(batch)} {self.what} at once; going on with {self.size}",
                ResourceWarning,
                stacklevel=2,
            )
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return results
