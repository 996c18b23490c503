"""Run work in batches that fit into memory: chosen from what is free, and halved whenever that was too much."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal, TypeVar

import torch

from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Result = TypeVar("Result")

BatchSize = int | Literal["auto"]
"""Items a batch, or ``auto``: as many as fit into the free memory of the device."""

# Most items an automatic batch has: by then the devices of interest are busy, and a batch is as slow as its last item.
_MOST = 64
# Items an automatic batch has where free memory cannot be told (on a CPU).
_UNTOLD = 8
# Share of the free memory that a batch may be planned to take: the formulas leave out small things, allocators round.
_SHARE = 0.8

# How allocators other than torch's own say that memory is short; they raise plain RuntimeErrors.
_SHORTAGES = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


class Batches:
    """Batches of a size that is halved, for good, whenever one does not fit into memory.

    Args:
        size: items a batch, or ``auto``.
        what: what the items are, for messages.

    Attributes:
        size: most items a batch may have now.
    """

    def __init__(self, size: BatchSize, what: str) -> None:
        if size != "auto" and (isinstance(size, (bool, str)) or size != int(size) or size < 1):
            raise InputError(f"batch_size={size!r}: expected a positive number of {what}, or auto")
        self.automatic = size == "auto"
        self.size: int = _MOST if size == "auto" else int(size)
        self.what = what

    def run(
        self,
        items: Sequence[int],
        work: Callable[[list[int]], Sequence[Result]],
        *,
        need: Callable[[int], float] | None = None,
        free: Callable[[], int | None] | None = None,
    ) -> dict[int, Result]:
        """Return the result of every item.

        Args:
            items: item numbers, in the order in which they are to share batches; the larger ones last.
            work: does one batch, one result an item. It may be called again with a part of a batch that did not fit.
            need: bytes that an item takes in a batch where it is the largest; for automatic sizes.
            free: bytes that are free on the device now, ``None`` where that cannot be told; for automatic sizes.

        Raises:
            InputError: a single item does not fit into memory.
        """
        results: dict[int, Result] = {}
        start = 0
        while start < len(items):
            batch = list(items[start : start + self._planned(items[start:], need, free)])
            shortage = None
            try:
                results.update(zip(batch, work(batch), strict=True))
                start += len(batch)
                continue
            except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise InputError(
                        f"out of memory with a single one of the {self.what} ({_first_line(error)}); make it shorter, "
                        "load the model with quantization='4bit', or spread it over more devices with device_map='auto'"
                    ) from error
                shortage = _first_line(error)
            # Outside the handler, so that the traceback no longer holds the batch's tensors.
            self.size = len(batch) // 2
            warnings.warn(
                f"out of memory with {len(batch)} {self.what} at once; going on with {self.size} ({shortage})",
                ResourceWarning,
                stacklevel=2,
            )
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return results

    def _planned(
        self,
        items: Sequence[int],
        need: Callable[[int], float] | None,
        free: Callable[[], int | None] | None,
    ) -> int:
        """Return how many of the items the next batch is to have."""
        if not self.automatic:
            return self.size
        room = free() if free is not None and need is not None else None
        if room is None or need is None:
            return min(self.size, _UNTOLD)
        fitting = 1
        # Every item is padded to the largest of its batch.
        while fitting < min(self.size, len(items)) and (fitting + 1) * need(items[fitting]) <= _SHARE * room:
            fitting += 1
        return fitting


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the machine, has no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SHORTAGES)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
