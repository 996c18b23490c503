"""The ``specref`` command: gathers the commands of ``audits.commands`` and prints errors raised on purpose."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import typer
from rich.console import Console

from audits import commands
from specref_core.errors import SpecRefError

app = typer.Typer(
    name="specref",
    help="Audits for text generators that are not purely left-to-right.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _module in sorted(module.name for module in pkgutil.iter_modules(commands.__path__)):
    importlib.import_module(f"{commands.__name__}.{_module}").register(app)


def main() -> None:
    """Run the command line; an error raised on purpose ends with exit code 2 and no traceback."""
    try:
        app()
    except SpecRefError as error:
        console = Console(stderr=True)
        console.print("specref:", style="bold red", end=" ")
        console.print(str(error), highlight=False, markup=False, soft_wrap=True)
        sys.exit(2)
