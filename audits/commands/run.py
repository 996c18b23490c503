"""``specref run``: measure a generator on a benchmark, with a ledger that an interrupted run continues from."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audits.json_output import check_target, write_json
from specref_core.errors import InputError, SpecRefError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from protocols.engines.engine import Engine
    from protocols.measure import Status
    from protocols.scores import Scores

SCHEMA = "specref.run/1"
_INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


def run(
    *,
    generator: Annotated[str, typer.Option(help="What to measure: pkg.mod:factory or path/to/file.py:factory.")],
    benchmark: Annotated[str, typer.Option(help="humaneval, mbpp, gsm8k, math, bbh, arc_challenge or hellaswag.")],
    steps: Annotated[
        str, typer.Option(help="Nominal denoising steps, as 8,16,32,64; left out, the generator chooses.")
    ] = "",
    seeds: Annotated[str, typer.Option(help="Seeds, as 0,1,2: one completion a problem for each.")] = "0",
    ledger: Annotated[
        Path | None, typer.Option(help="Keep every sample in this file; run again to continue from it.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many problems.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of benchmark files; else $SPECREF_DATA.")] = None,
    pipeline: Annotated[str, typer.Option(help="From completion to program (code benchmarks).")] = "extract",
    timeout: Annotated[float, typer.Option(help="Seconds a program may run.")] = 10.0,
    require_isolation: Annotated[
        str | None, typer.Option(help="Refuse to run programs below this isolation level.")
    ] = None,
    grader: Annotated[str, typer.Option(help="strict or lenient (answer benchmarks).")] = "lenient",
    metric: Annotated[str, typer.Option(help="acc_norm or acc (multiple choice).")] = "acc_norm",
    monte_carlo: Annotated[
        str, typer.Option(help="Likelihood estimate as samples,batch,scheme (multiple choice).")
    ] = "128,8,systematic",
    batch_size: Annotated[int, typer.Option(min=1, help="Prompts a call of the generator.")] = 8,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens a completion may have.")] = 256,
    engine: Annotated[str, typer.Option(help="Where samples are made: local (this process) or ray.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Ray: host:port of the head node, or auto; left out, one starts on this machine.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Ray: generators at once; left out, as many as fit. Else the same as --judges."),
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(help="Ray: GPUs of each generator, 0.5 to share one; left out, 1 where there are any."),
    ] = None,
    judges: Annotated[int | None, typer.Option(min=1, help="Judging processes; 2 if not given.")] = None,
    traces: Annotated[bool, typer.Option("--traces", help="Keep each completion's trace in the ledger.")] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the scores here, samples included.")] = None,
) -> None:
    """Measure a generator: score, 95 % interval and cost at each step count.

    Every sample is stored in --ledger as soon as it is scored. A run that was stopped, by Ctrl-C or by kill -9,
    continues where it was; several runs may share one ledger and its work.

    With --engine ray, workers on a cluster hold one generator each and this process alone writes the ledger: a lost
    worker or node costs a retry, and the scores are those of the local engine.

    Exit codes: 0 measured, 2 an input, ledger or generator cannot be used, 130 stopped by Ctrl-C.
    """
    from rich.console import Console

    from protocols.ledger import Ledger, check_ledger
    from protocols.loaders import load_problems
    from protocols.measure import check_plan, sweep
    from protocols.scores import table
    from protocols.scoring import ScoringSettings
    from specref_core.generator import Budget, MonteCarlo
    from specref_core.loading import load

    seed_list = _numbers("--seeds", seeds)
    step_counts: list[int | None] = [*_numbers("--steps", steps)] or [None]
    budgets = [Budget(steps=count, max_new_tokens=max_new_tokens) for count in step_counts]
    if len(set(budgets)) != len(budgets):
        raise InputError(f"--steps {steps}: a step count is given twice")
    settings = ScoringSettings(
        pipeline=pipeline,
        timeout=timeout,
        require_isolation=require_isolation,
        grader=grader,
        monte_carlo=MonteCarlo(*_monte_carlo(monte_carlo)),
        choice_metric=metric,
        workers=judges or (workers if engine == "local" else None) or 2,
    )
    check_engine(engine, address=address, gpus_per_worker=gpus_per_worker)
    if json_path is not None:
        check_target(json_path, source=ledger)
    problems = load_problems(benchmark, data_dir=data_dir, limit=limit)
    check_plan(problems, seed_list, batch_size, settings)
    if ledger is not None:
        check_ledger(ledger)
    out, err = Console(), Console(stderr=True)
    measured: list[Scores] = []
    status = 0
    failure: SpecRefError | None = None
    with ExitStack() as stack:
        try:
            measured_with = (
                load(generator)
                if engine == "local"
                else stack.enter_context(_on_ray(generator, address, workers, gpus_per_worker, err))
            )
            book = stack.enter_context(Ledger(ledger))
            with _bar(err, len(budgets) * len(problems) * len(seed_list)) as progress:
                sweep(
                    measured_with,
                    problems,
                    budgets=budgets,
                    seeds=seed_list,
                    ledger=book,
                    settings=settings,
                    batch_size=batch_size,
                    traces=traces,
                    progress=progress,
                    on_scores=measured.append,
                )
        except KeyboardInterrupt:
            status = _INTERRUPTED
        except SpecRefError as error:
            failure = error
    measured = [scores for scores in measured if scores.n]
    if measured:
        out.print(table(measured))
        for scores in measured:
            out.print(str(scores.signature), highlight=False, markup=False, soft_wrap=True)
    if json_path is not None and measured and failure is None:
        write_json(json_path, {"schema": SCHEMA, "scores": [scores.as_dict() for scores in measured]})
    if failure is not None:
        raise failure
    if status == _INTERRUPTED:
        kept = f"run again with --ledger {ledger} to continue" if ledger else "give --ledger to keep samples next time"
        err.print(f"stopped: {kept}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(status)


def check_engine(engine: str, *, address: str | None, gpus_per_worker: float | None) -> None:
    """Refuse options that do not fit the engine, before anything is started.

    Raises:
        InputError: naming the option.
    """
    if engine not in ("local", "ray"):
        raise InputError(f"--engine {engine}: expected local or ray")
    if engine == "local" and (address is not None or gpus_per_worker is not None):
        raise InputError("--address and --gpus-per-worker belong to --engine ray")


def _on_ray(
    generator: str, address: str | None, workers: int | None, gpus_per_worker: float | None, err: Console
) -> Engine:
    from protocols.engines.ray_engine import RayEngine

    def tell(line: str) -> None:
        err.print(line, highlight=False, markup=False, soft_wrap=True)

    return RayEngine(generator, address=address, workers=workers, gpus_per_worker=gpus_per_worker, notice=tell)


def _numbers(option: str, text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    for part in parts:
        if not part.removeprefix("-").isdecimal():
            raise InputError(f"{option} {text}: {part!r} is not a whole number; expected a list as 8,16,32")
    return [int(part) for part in parts]


def _monte_carlo(text: str) -> tuple[int, int, str]:
    parts = [part.strip() for part in text.split(",")]
    try:
        samples, batch, scheme = int(parts[0]), int(parts[1]), parts[2]
    except (ValueError, IndexError):
        raise InputError(f"--monte-carlo {text}: expected samples,batch,scheme as 128,8,systematic") from None
    return samples, batch, scheme


@contextmanager
def _bar(console: Console, total: int) -> Iterator[Callable[[Status], None]]:
    """Show one bar over all budgets; without a terminal nothing is drawn."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("samples", total=total)
        done: dict[object, int] = {}

        def show(status: Status) -> None:
            done[status.budget] = status.done
            share = 100 * status.correct / status.done if status.done else 0.0
            name = "samples" if status.budget.steps is None else f"S={status.budget.steps}"
            bar.update(task, completed=sum(done.values()), description=f"{name}  {share:.1f} %")

        yield show
