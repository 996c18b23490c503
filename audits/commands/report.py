"""``specref report``: the page and the JSON of a run, made again from what the run left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audits.json_output import check_target, write_json, write_text
from specref_core.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("report")(command)


def command(
    source: Annotated[
        Path, typer.Argument(metavar="LEDGER_OR_JSON", help="A ledger, a report's JSON, or the folder of a run.")
    ],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="OUT", help="Write the page: one file.", show_default=False)
    ] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Write the data as JSON.", show_default=False)
    ] = None,
) -> None:
    """Make the report of a run again, without measuring anything.

    From a report's JSON (`specref audit --json OUT`) the page is made as the run would have made it. The audits leave
    the report of their last run beside their ledger, in .pytest_cache/d/specref-audits; name that folder or the ledger.
    From any other ledger (`specref run --ledger`) the report tells what the samples tell: accuracy against compute, the
    flow from draft to final text and, where traces were kept (--traces), the token view; a ledger holds no verdicts.
    The JSON of `specref run` gives its scores.

    Exit codes: 0 written, 2 the source cannot be read or a file cannot be written.

    Example: specref report report.json --html report.html
    """
    from rich.console import Console

    if html is None and json_path is None:
        raise InputError("nothing to write: name --html OUT, --json OUT, or both")
    if html is not None:
        check_target(html, source=source, what="report")
    if json_path is not None:
        check_target(json_path, source=source)
        if html is not None and html.resolve() == json_path.resolve():
            raise InputError(f"{html} is named for both the page and the JSON; name two files")

    from audits.report.page import render
    from audits.report.sources import read_report

    report = read_report(source)
    if json_path is not None:
        write_json(json_path, report.as_dict())
    if html is not None:
        write_text(html, render(report), what="report")
    counted = (
        (len(report.verdicts), "verdicts"),
        (len(report.measurements), "measurements"),
        (len(report.examples), "token views"),
    )
    Console(highlight=False).print(", ".join(f"{number} {word}" for number, word in counted), markup=False)
