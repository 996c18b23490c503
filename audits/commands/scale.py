"""``specref scale``: what a run on many GPUs costs and where it stops getting faster, from one's own numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from specref_core.errors import InputError

if TYPE_CHECKING:
    from protocols.scale import Estimate, Plan, QueryWork


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("scale")(scale)


def scale(
    *,
    problems: Annotated[int, typer.Option(min=1, help="Problems of the benchmark.")] = 10_000,
    gpus: Annotated[float, typer.Option(help="GPUs in all.")] = 16,
    gpus_per_worker: Annotated[float, typer.Option(help="GPUs of one generator; 0.5 to share one.")] = 1.0,
    samples_per_problem: Annotated[int, typer.Option(min=1, help="Seeds times step counts.")] = 1,
    batch_size: Annotated[int, typer.Option(min=1, help="Prompts a call of the generator.")] = 8,
    seconds_per_query: Annotated[
        float | None, typer.Option(help="Seconds of a worker for one sample, measured: `seconds` in the JSON of a run.")
    ] = None,
    sustained_tflops: Annotated[
        float | None, typer.Option(help="Instead: 10^12 operations a second of a worker: `flops` / `seconds` there.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Nominal steps S (with --sustained-tflops).")] = 64,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a prompt (with --sustained-tflops).")] = 150,
    new_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a completion (with --sustained-tflops).")] = 256,
    masked: Annotated[
        float | None, typer.Option(help="Share of the draft that is refined; left out, no drafter at all.")
    ] = None,
    load_seconds: Annotated[float, typer.Option(help="Seconds until a worker has its generator loaded.")] = 120.0,
    lost_workers: Annotated[int, typer.Option(min=0, help="Workers lost on the way.")] = 0,
    judges: Annotated[int, typer.Option(min=1, help="Judging processes.")] = 2,
    judged_per_second: Annotated[float | None, typer.Option(help="Programs a second and judging process.")] = None,
    written_per_second: Annotated[float | None, typer.Option(help="Samples a second into the ledger.")] = None,
    batches_per_second: Annotated[float | None, typer.Option(help="Batches a second through the driver.")] = None,
) -> None:
    """Estimate a run of --engine ray: hours, GPU hours, what it waits for, and where more GPUs stop helping.

    The speed of a worker is yours to give, by --seconds-per-query or --sustained-tflops: it depends on GPU, batch and
    canvas, and no number is assumed for it. The other rates are those of docs/scale.md unless given;
    `python benchmarks/scale_cost.py` measures them on your machine.

    Example: specref scale --problems 10000 --gpus 16 --gpus-per-worker 2 --seconds-per-query 6.79
    """
    from protocols.scale import HostRates, Plan, estimate, query_work

    if (seconds_per_query is None) == (sustained_tflops is None):
        raise InputError("give either --seconds-per-query or --sustained-tflops: a worker's speed cannot be guessed")
    work = None
    if sustained_tflops is not None:
        work = query_work(steps=steps, prompt=prompt_tokens, generated=new_tokens, masked=masked)
        seconds_per_query = work.seconds(sustained=sustained_tflops * 1e12)
    assert seconds_per_query is not None
    usual = HostRates()
    host = HostRates(
        judged=usual.judged if judged_per_second is None else judged_per_second,
        written=usual.written if written_per_second is None else written_per_second,
        batches=usual.batches if batches_per_second is None else batches_per_second,
    )
    plan = Plan(
        problems=problems,
        gpus=gpus,
        seconds_per_query=seconds_per_query,
        samples_per_problem=samples_per_problem,
        gpus_per_worker=gpus_per_worker,
        batch_size=batch_size,
        load_seconds=load_seconds,
        judges=judges,
        lost_workers=lost_workers,
    )
    typer.echo("\n".join(lines(plan, estimate(plan, host), work)))


def lines(plan: Plan, told: Estimate, work: QueryWork | None = None) -> list[str]:
    """Say an estimate in lines of plain text."""
    said = []
    if work is not None:
        share = work.draft / (work.draft + work.refine)
        said.append(
            f"one query     {(work.draft + work.refine) / 1e12:,.1f} TFLOP: draft {share:.1%}, refinement "
            f"{1 - share:.1%} in {work.passes} passes"
        )
    said += [
        f"workers       {plan.workers} of {plan.gpus_per_worker:g} GPUs, {plan.seconds_per_query:.3g} s a query each",
        f"samples       {plan.samples:,}",
        *(
            f"{station:13s} {_shown(rate)} samples/s{'  <- sets the pace' if station == told.bottleneck else ''}"
            for station, rate in told.rates.items()
        ),
        f"time          {told.hours:.2f} h"
        + (f", {told.retry_hours:.2f} h of it retries" if plan.lost_workers else ""),
        f"cost          {told.gpu_hours:.1f} GPU hours, {told.busy:.0%} of them generating",
        f"saturates at  {told.saturates_at:,.0f} GPUs",
    ]
    return said


def _shown(rate: float) -> str:
    """Spell a rate in three digits, without an exponent."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
