"""``specref check-table``: which cells of a table of scores are impossible, and which differences are noise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from audits.json_output import check_target, write_json
from audits.score_table import read_table
from audits.table_check import MANY_SYSTEMS, CheckedBenchmark, CheckedCell, Difference, TableCheck, check_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audits.score_table import Cell

_SHOWN_SIZES = 8
_SHOWN_PAIRS = 25


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("check-table")(command)


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="Columns system, benchmark, score (percent), n.")],
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Also write the result as JSON.", show_default=False)
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 1 if a cell is impossible.")] = False,
) -> None:
    """Check a table of published scores by arithmetic.

    A score of c solved among n problems is 100·c/n percent, so most percentages cannot occur at a given n. The
    printed decimals count: 33.3 may be 1/3, 33.30 may not. Exact ties may be rounded either way; cut-off digits are
    not accepted.

    Prints the impossible cells with the nearest possible scores and the sizes n that would fit them, and the
    differences between systems that are noise: Fisher's exact test, two-sided, Holm-adjusted within a benchmark, at
    5 %. A table does not say who solved which problem, so the test is unpaired; paired samples may tell more.

    JSON: {"schema", "version", "cells": [{"system", "benchmark", "score", "printed", "n", "line", "possible",
    "nearest", "fitting_n"}], "benchmarks": [{"benchmark", "impossible", "common_n", "known_n"}], "differences":
    [{"benchmark", "first", "second", "difference", "low", "high", "p_value", "p_holm", "noise", …}]}. Differences are
    in points, first minus second.

    Example: specref check-table scores.csv --json check.json
    """
    if json_path is not None:
        check_target(json_path, source=file)
    check = check_table(read_table(file))
    if json_path is not None:
        write_json(json_path, {**check.as_dict(), "file": str(file)})
    print_check(check, Console(highlight=False))
    if strict and not all(checked.possible for checked in check.cells):
        raise typer.Exit(1)


def print_check(check: TableCheck, console: Console) -> None:
    """Print a check for a person."""
    impossible = [checked for checked in check.cells if not checked.possible]
    console.print(_summary(check, impossible))
    if impossible:
        console.print(_impossible_table(impossible))
        for group in check.benchmarks:
            if group.impossible:
                console.print(_common_sizes(group), soft_wrap=True)
    noise = sorted((pair for pair in check.differences if pair.noise), key=lambda pair: -pair.p_value)
    if noise:
        console.print(_noise_table(noise[:_SHOWN_PAIRS]))
        if len(noise) > _SHOWN_PAIRS:
            console.print(f"and {len(noise) - _SHOWN_PAIRS} more differences that are noise; --json OUT lists all")
    sizes = [group.benchmark for group in check.benchmarks]
    crowded = [name for name in sizes if sum(1 for c in check.cells if c.cell.benchmark == name) > MANY_SYSTEMS]
    for name in crowded:
        console.print(Text(f"{name}: more than {MANY_SYSTEMS} systems; only neighbours in the ranking were compared"))


def _summary(check: TableCheck, impossible: Sequence[CheckedCell]) -> Text:
    noise = sum(1 for pair in check.differences if pair.noise)
    text = Text()
    text.append(
        f"{len(impossible)} of {len(check.cells)} cells impossible", style="bold red" if impossible else "green"
    )
    text.append("; ")
    if check.differences:
        text.append(f"{noise} of {len(check.differences)} pairwise differences are noise")
    else:
        text.append("no two systems share a benchmark, so nothing is compared")
    return text


def _impossible_table(impossible: Sequence[CheckedCell]) -> Table:
    table = Table(title="Impossible cells", title_justify="left", title_style="bold")
    for name, justify in (("benchmark", "left"), ("system", "left"), ("score", "right"), ("n", "right")):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]  # a literal in a tuple
    table.add_column("nearest possible", overflow="fold")
    table.add_column("sizes n that fit", overflow="fold")
    for checked in impossible:
        cell = checked.cell
        table.add_row(
            Text(cell.benchmark),
            Text(cell.system),
            str(cell.score),
            str(cell.n),
            " or ".join(str(value) for value in checked.nearest),
            _sizes(checked.fitting_n),
        )
    return table


def _common_sizes(group: CheckedBenchmark) -> Text:
    which = {1: "the impossible cell", 2: "both impossible cells"}.get(
        group.impossible, f"all {group.impossible} impossible cells"
    )
    if not group.common_n:
        return Text(f"{group.benchmark}: no size tried fits {which}")
    told = f"{group.benchmark}: sizes that fit {which}: {_sizes(group.common_n)}"
    if group.known_n:
        told += "; known sizes among them: " + ", ".join(f"{k.n} ({k.benchmark}, {k.part})" for k in group.known_n[:6])
    return Text(told)


def _noise_table(pairs: Sequence[Difference]) -> Table:
    table = Table(title="Differences that are noise", title_justify="left", title_style="bold")
    for name in ("benchmark", "higher", "lower"):
        table.add_column(name, overflow="fold")
    for name in ("points", "95 % interval", "p", "p (Holm)"):
        table.add_column(name, justify="right", overflow="fold")
    for pair in pairs:
        table.add_row(
            Text(pair.first.benchmark),
            Text(f"{pair.first.system} {pair.first.score}{_line(pair, pair.first)}"),
            Text(f"{pair.second.system} {pair.second.score}{_line(pair, pair.second)}"),
            f"{pair.difference:+.2f}",
            f"[{pair.low:+.1f}, {pair.high:+.1f}]",
            f"{pair.p_value:.2g}",
            f"{pair.p_holm:.2g}",
        )
    return table


def _line(pair: Difference, cell: Cell) -> str:
    return f" (line {cell.line})" if pair.first.system == pair.second.system else ""


def _sizes(sizes: Sequence[int]) -> str:
    if not sizes:
        return "none tried"
    shown = ", ".join(str(size) for size in sizes[:_SHOWN_SIZES])
    return shown if len(sizes) <= _SHOWN_SIZES else f"{shown}, … ({len(sizes)} up to {sizes[-1]})"
