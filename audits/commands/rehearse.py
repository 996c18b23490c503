"""``specref rehearse``: the gpu path on tiny random models, to know that it runs before the real ones are there."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from audits.rehearsal import Stage


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rehearse")(rehearse)


def rehearse(
    *,
    out: Annotated[
        Path | None, typer.Option(help="Keep models, ledgers, logs and pages in this new or empty folder.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Problems a benchmark.")] = 2,
    steps: Annotated[str, typer.Option(help="Nominal denoising steps.")] = "2,4",
    device: Annotated[
        str | None, typer.Option(help="A torch device, or auto; left out, CUDA where there is some, else cpu.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of benchmark files; what it lacks comes from the records that ship.")
    ] = None,
    report: Annotated[bool, typer.Option(help="Write the report too.")] = True,
) -> None:
    """Rehearse `specref audit -m gpu` on two tiny random models in the formats of the real ones.

    Checkpoints are read and damaged ones refused, drafts are made by every backend that is installed, the three
    protocols are scored into a ledger, every live audit runs on the pair, the paper's tables and the report are
    written. The verdicts mean nothing; that they are reached is the point.

    Exit codes: 0 the path is sound, 1 a stage broke (its line says how), 2 an option cannot be used.
    """
    import pytest
    from rich.console import Console

    from audits.full_models import absent_device, parse_steps
    from audits.plugin import find_data_dir
    from audits.rehearsal import Rehearsal

    console = Console(file=sys.stdout, highlight=False)  # the stream as it is now: stages redirect it
    counts = parse_steps(steps)
    if out is not None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"--out {out}: expected a new or an empty folder")
        out.mkdir(parents=True, exist_ok=True)
    try:
        data = find_data_dir(data_dir)
    except pytest.UsageError as error:
        raise InputError(str(error)) from error

    def say(stage: Stage) -> None:
        mark = "[green]sound[/green] " if stage.sound else "[red]broken[/red]"
        console.print(f"{mark} {stage.seconds:6.1f} s  {stage.name}: ", end="")
        console.print(stage.told, markup=False, soft_wrap=True)

    with (
        tempfile.TemporaryDirectory(prefix="specref-rehearsal-", ignore_cleanup_errors=True) as passing,
        _torch_cache(passing),
    ):
        rehearsal = Rehearsal(
            folder=(out or Path(passing)).resolve(),
            limit=limit,
            steps=counts,
            device=device,
            dtype=dtype,
            data_dir=data,
            report=report,
            say=say,
        )
        absent = absent_device(rehearsal.settings.device)
        if absent is not None:
            raise InputError(absent)
        stages = rehearsal.run()
        seconds = sum(stage.seconds for stage in stages)
        if rehearsal.sound:
            console.print(f"the gpu path is sound: {len(stages)} stages in {seconds:.0f} s")
        else:
            broken = ", ".join(stage.name for stage in stages if not stage.sound)
            kept = f"logs in {out}" if out else "run again with --out DIR to keep the logs"
            console.print(f"the gpu path is broken in: {broken}; {kept}", markup=False, soft_wrap=True)
    if not rehearsal.sound:
        raise typer.Exit(1)


@contextmanager
def _torch_cache(folder: str) -> Iterator[None]:
    """Keep the cache folder that torch makes on import inside a folder that goes away, unless the user chose one."""
    name = "TORCHINDUCTOR_CACHE_DIR"
    if name in os.environ:
        yield
        return
    os.environ[name] = str(Path(folder) / "torch")
    try:
        yield
    finally:
        del os.environ[name]
