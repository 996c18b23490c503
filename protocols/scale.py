"""What a run on many GPUs costs, how long it takes and what it waits for: arithmetic on rates, nothing is measured.

Samples go through four stations: the workers generate, the judging processes judge, the one writer stores, the driver's
loop hands batches out. They work at the same time, so the slowest sets the pace; only the start comes before them.
Generation is batches dealt to workers, each taking the next when it is done: with equal batches that is
``ceil(batches / workers)`` waves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from specref_core.cost import ModelShape, denoise_flops, generation_flops
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

# The two models of the paper; 8,015,581,184 parameters with the embedding, and 2.78 billion.
LLADA_8B = ModelShape(
    width=4096, layers=32, heads=32, kv_heads=32, head_size=128, mlp_width=12288, mlp_matrices=3, vocab=126464
)
PHI_2 = ModelShape(
    width=2560, layers=32, heads=32, kv_heads=32, head_size=80, mlp_width=10240, mlp_matrices=2, vocab=51200
)


@dataclass(frozen=True, slots=True)
class HostRates:
    """What the driver's machine can take in; the defaults are the measurements of ``docs/scale.md``.

    Attributes:
        judged: programs a second and judging process.
        written: samples a second through the one writer of the ledger.
        batches: batches a second through the driver's loop.
    """

    judged: float = 110.0
    written: float = 150.0
    batches: float = 130.0

    def __post_init__(self) -> None:
        _positive(self)


@dataclass(frozen=True, slots=True)
class Plan:
    """A run to be estimated.

    Attributes:
        problems: problems of the benchmark.
        samples_per_problem: seeds times budgets.
        gpus: GPUs in all.
        gpus_per_worker: GPUs of one generator.
        seconds_per_query: seconds a worker takes for one sample, at its batch size.
        batch_size: prompts a call.
        load_seconds: from nothing to a loaded generator; workers load at the same time.
        judges: judging processes of the driver.
        lost_workers: workers lost on the way.
    """

    problems: int
    gpus: float
    seconds_per_query: float
    samples_per_problem: int = 1
    gpus_per_worker: float = 1.0
    batch_size: int = 8
    load_seconds: float = 120.0
    judges: int = 2
    lost_workers: int = 0

    def __post_init__(self) -> None:
        _positive(self, besides=("load_seconds", "lost_workers"))
        if self.gpus < self.gpus_per_worker:
            raise InputError(f"{self.gpus:g} GPUs are fewer than the {self.gpus_per_worker:g} of one worker")

    @property
    def workers(self) -> int:
        """Generators at once."""
        return math.floor(self.gpus / self.gpus_per_worker + 1e-9)

    @property
    def samples(self) -> int:
        """Samples in all."""
        return self.problems * self.samples_per_problem


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a plan comes to.

    Attributes:
        rates: samples a second that each station could pass if it were alone, by its name.
        hours: from the command to the last verdict.
        gpu_hours: hours times the GPUs held, idle ones included.
        busy: share of the held GPU time in which a GPU generates.
        saturates_at: GPUs beyond which the slowest other station sets the pace, whatever the number of samples.
        retry_hours: of ``hours``, those that the lost workers cost.
    """

    rates: Mapping[str, float]
    hours: float
    gpu_hours: float
    busy: float
    saturates_at: float
    retry_hours: float

    @property
    def bottleneck(self) -> str:
        """The station that sets the pace."""
        return min(self.rates, key=lambda station: self.rates[station])


def estimate(plan: Plan, host: HostRates | None = None) -> Estimate:
    """Estimate a run.

    Args:
        plan: the run.
        host: what the driver's machine can take in.
    """
    host = host or HostRates()
    batches = math.ceil(plan.samples / plan.batch_size)
    batch_seconds = plan.batch_size * plan.seconds_per_query
    # The last batch may be smaller, but then so is its wave only where nothing else fills it.
    generating = min(math.ceil(batches / plan.workers) * batch_seconds, plan.samples * plan.seconds_per_query)
    others = {
        "judging": plan.judges * host.judged,
        "writing": host.written,
        "streaming": host.batches * min(plan.batch_size, plan.samples),
    }
    slowest = min(others.values())
    # A lost worker is loaded again and loses half a batch, on average; the others meanwhile take its share.
    lost = plan.lost_workers * (plan.load_seconds + batch_seconds / 2) / plan.workers
    seconds = plan.load_seconds + max(generating + lost, plan.samples / slowest)
    held = plan.workers * plan.gpus_per_worker
    return Estimate(
        rates={"generating": plan.workers / plan.seconds_per_query, **others},
        hours=seconds / 3600,
        gpu_hours=held * seconds / 3600,
        busy=min(1.0, plan.samples * plan.seconds_per_query / (plan.workers * seconds)),
        saturates_at=slowest * plan.seconds_per_query * plan.gpus_per_worker,
        retry_hours=lost / 3600,
    )


@dataclass(frozen=True, slots=True)
class QueryWork:
    """The operations of one sample, by ``specref_core.cost``.

    Attributes:
        draft: of the drafter, left to right with a cache; 0 without one.
        refine: of the refiner's passes.
        passes: passes of the refiner.
    """

    draft: float
    refine: float
    passes: int

    def seconds(self, *, sustained: float) -> float:
        """Return the seconds that this takes on a worker.

        Args:
            sustained: operations a second that the worker really does, all its GPUs together: the ratio of ``flops`` to
                ``seconds`` in the JSON of a short run.
        """
        if not (math.isfinite(sustained) and sustained > 0):
            raise InputError(f"sustained={sustained!r}: expected a positive number of operations a second")
        return (self.draft + self.refine) / sustained


def query_work(
    *,
    steps: int,
    prompt: int,
    generated: int,
    masked: float | None,
    drafter: ModelShape = PHI_2,
    refiner: ModelShape = LLADA_8B,
) -> QueryWork:
    """Return the operations of one query.

    Args:
        steps: nominal S.
        prompt: tokens of the prompt, the same for both models (their tokenizers differ by less than the estimate).
        generated: tokens of the canvas, and of the draft where there is one.
        masked: share of the canvas that the refiner fills; ``None`` for a refiner that starts from nothing.
        drafter: the drafter's sizes.
        refiner: the refiner's sizes.
    """
    for name, value in (("steps", steps), ("prompt", prompt), ("generated", generated)):
        if value < 1:
            raise InputError(f"{name}={value!r}: expected a positive number")
    if masked is not None and not 0 <= masked <= 1:
        raise InputError(f"masked={masked!r}: expected a share between 0 and 1")
    masks = generated if masked is None else math.floor(masked * generated + 0.5)
    passes = min(steps, masks)
    # The schedule commits evenly, so pass i of n still has (n - i) / n of the masks before it.
    head_rows = math.ceil(masks * (passes + 1) / 2)
    return QueryWork(
        draft=0.0 if masked is None else generation_flops(drafter, prompt=prompt, generated=generated),
        refine=denoise_flops(refiner, length=prompt + generated, row_forwards=passes, head_rows=head_rows),
        passes=passes,
    )


def _positive(data: Plan | HostRates, *, besides: tuple[str, ...] = ()) -> None:
    """Refuse numbers that are none, or not positive (not negative, for those named in ``besides``)."""
    for spec in fields(data):
        value = getattr(data, spec.name)
        if not math.isfinite(value) or value < 0 or (value == 0 and spec.name not in besides):
            raise InputError(f"{spec.name}={value!r}: expected a number above zero")
