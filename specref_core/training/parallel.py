"""Several processes that share the micro-batches of every training step; one process is the plain case.

The gradient of a step is the mean over its micro-batches however they are shared, so the number of processes decides
the speed and not, up to the order of float additions, the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

from specref_core.errors import InputError

# A process that waits longer than this for another has lost it.
_PATIENCE = timedelta(minutes=10)

T = TypeVar("T")


def join(meeting: Path, rank: int, world: int) -> None:
    """Join the group of ``world`` processes that meet through the file ``meeting``, which must be new."""
    dist.init_process_group(
        "gloo", init_method=meeting.absolute().as_uri(), rank=rank, world_size=world, timeout=_PATIENCE
    )


def leave() -> None:
    """Leave the group, if there is one."""
    if _grouped():
        dist.destroy_process_group()


def wait() -> None:
    """Wait until every process of the group is here."""
    if _grouped():
        dist.barrier()


def rank() -> int:
    """Return this process's number; 0 where it is alone."""
    return dist.get_rank() if _grouped() else 0


def share(items: Sequence[T]) -> Sequence[T]:
    """Return this process's part of the items, equal in size for all.

    Raises:
        InputError: the items cannot be shared equally.
    """
    if not _grouped():
        return items
    world = dist.get_world_size()
    if len(items) % world:
        raise InputError(f"{len(items)} micro-batches cannot be shared equally by {world} processes")
    return items[rank() :: world]


def reduce_gradients(model: nn.Module, loss: float, tokens: int) -> tuple[float, int]:
    """Add up gradients, loss and token count over all processes; gradients in place."""
    if not _grouped():
        return loss, tokens
    parameters = [p for p in model.parameters() if p.grad is not None]
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
    totals = torch.tensor([loss, float(tokens)], dtype=torch.float64)
    dist.all_reduce(totals)
    return float(totals[0]), int(totals[1])


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized()
