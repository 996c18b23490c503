"""``specref audit``: the audits, run by pytest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

AUDITS = Path(__file__).resolve().parent.parent


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        "audit",
        # Everything after the command belongs to pytest, its --help included.
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": ["--help"]},
    )(command)


def command(
    context: typer.Context,
    record: Annotated[
        bool, typer.Option("--record", help="Rewrite the recorded verdicts of the shipped sources; review the diff.")
    ] = False,
) -> None:
    """Run the audits and print a table of verdicts: pytest underneath, with its options and its exit code.

    Options of the audits: --limit N (problems a benchmark, 0 for all), --seed N, --data-dir DIR (benchmark files),
    --samples FILE_OR_DIR (sample files of other harnesses), --generator pkg.mod:make or file.py:make (your own
    generator), --benchmark NAME (what to measure it on; repeatable), --call-limit SECONDS (of one call),
    --mode reproduce|guard, --report OUT.html (a page with figures and token views), --json OUT.json (its data). The
    full models: -m gpu, with --drafter, --refiner, --steps, --device and more (--help of pytest lists them). Every
    pytest option works too: -k post_processing, -n auto, -x, -v.

    reproduce, the default mode, asks whether a finding of the paper holds; guard asks whether its hazard is absent
    from your own generator or samples, which is what another project's CI wants. Inconclusive is a skip in both,
    never a pass.

    Examples: specref audit -k published · specref audit --generator mine.py:make --mode guard
    """
    import pytest

    arguments = list(context.args)
    if record:
        arguments.append("--record")
    sys.exit(pytest.main([*pytest_arguments(arguments), *arguments]))


def pytest_arguments(arguments: list[str]) -> list[str]:
    """Return what pytest needs to find the audits from any folder, installed or in a checkout."""
    return [
        *(() if any(map(_names_audits, arguments)) else (str(AUDITS),)),
        "-p",
        "audits.plugin",
        "--import-mode=importlib",
        "-o",
        "xfail_strict=true",
    ]


def _names_audits(argument: str) -> bool:
    """Tell a test module or folder from the values of options, which may be files too."""
    path = Path(argument.partition("::")[0])
    if argument.startswith("-") or not path.exists():
        return False
    return path.suffix == ".py" or path.resolve() == AUDITS or AUDITS in path.resolve().parents
