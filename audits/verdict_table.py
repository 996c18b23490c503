"""The table of verdicts that ends a run: claim, system, benchmark, verdict, effect, interval, n."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from audits.claims import CLAIMS
from audits.verdicts import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_STYLES = {
    Outcome.REPRODUCED.value: "green",
    Outcome.NOT_REPRODUCED.value: "red",
    Outcome.INCONCLUSIVE.value: "yellow",
}
_NARROW = 100


def render(verdicts: Iterable[Mapping[str, Any]], *, width: int, colour: bool) -> str:
    """Return the table as text for a terminal.

    Args:
        verdicts: as ``Verdict.as_dict`` gives them, in any order.
        width: columns of the terminal; below 100 the table is stacked, two lines a verdict.
        colour: whether escape codes may be used.
    """
    rows = sort(verdicts)
    table = _stacked(rows) if width < _NARROW else _wide(rows)
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colour,
        no_color=not colour,
        highlight=False,
        legacy_windows=False,
    )
    with console.capture() as capture:
        console.print(table)
        console.print(Text(_count(rows)))
    # Trailing blanks make copied output untidy.
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def render_rows(rows: Sequence[Mapping[str, Any]], *, width: int, colour: bool) -> str:
    """Return tables of measured values, one a title.

    Args:
        rows: each with ``title``, ``name`` and ``cells`` (column → text); rows of one title share their columns.
        width: columns of the terminal.
        colour: whether escape codes may be used.
    """
    printed = []
    for title in dict.fromkeys(row["title"] for row in rows):
        chosen = {row["name"]: row["cells"] for row in rows if row["title"] == title}
        columns = list(dict.fromkeys(column for cells in chosen.values() for column in cells))
        table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
        table.add_column("", overflow="fold")
        for column in columns:
            table.add_column(column, justify="right", overflow="fold")
        for name, cells in chosen.items():
            table.add_row(Text(name), *(Text(cells.get(column, "-")) for column in columns))
        printed.append(_print(table, width=width, colour=colour))
    return "\n".join(printed)


def sort(verdicts: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Order verdicts as the claims are listed, then as measured; a repeated key keeps its last verdict."""
    order = {name: place for place, name in enumerate(CLAIMS)}
    latest = {(v["claim"], v["system"], v["benchmark"]): v for v in verdicts}
    return sorted(latest.values(), key=lambda v: (order.get(v["claim"], len(order)), v["system"], v["benchmark"]))


def effect_text(verdict: Mapping[str, Any]) -> str:
    """Return the effect with its unit, ``+25.8 points``; a dash where there is none."""
    if verdict["effect"] is None:
        return "-"
    unit = f" {verdict['unit']}" if verdict["unit"] else ""
    number = f"{verdict['effect']:g}" if verdict["unit"] == "cells" else f"{verdict['effect']:+.4g}"
    return f"{number}{unit}"


def interval_text(verdict: Mapping[str, Any]) -> str:
    """Return the 95 % interval; a dash where arithmetic decided without one."""
    if verdict["low"] is None or verdict["high"] is None:
        return "-"
    return f"[{verdict['low']:+.3g}, {verdict['high']:+.3g}]"


def _print(*parts: Table | Text, width: int, colour: bool) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=colour, no_color=not colour, highlight=False)
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    # Trailing blanks make copied output untidy.
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _wide(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("claim", "system", "benchmark", "verdict"):
        table.add_column(name, overflow="fold")
    for name in ("effect", "95 % interval", "n"):
        table.add_column(name, justify="right", overflow="fold")
    for verdict in rows:
        table.add_row(
            Text(verdict["claim"]),
            Text(verdict["system"]),
            Text(verdict["benchmark"]),
            _outcome(verdict),
            effect_text(verdict),
            interval_text(verdict),
            str(verdict["n"]),
        )
    return table


def _stacked(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("claim: system on benchmark", overflow="fold", ratio=3)
    table.add_column("verdict: effect, 95 % interval, n", overflow="fold", ratio=2)
    for verdict in rows:
        found = Text.assemble(
            _outcome(verdict), f"\n{effect_text(verdict)}, {interval_text(verdict)}, n={verdict['n']}"
        )
        table.add_row(Text(f"{verdict['claim']}\n{verdict['system']} on {verdict['benchmark']}"), found)
    return table


def _outcome(verdict: Mapping[str, Any]) -> Text:
    told = verdict["outcome"]
    if verdict.get("n_needed"):
        told += f" (n {verdict['n_needed']} would decide)"
    return Text(told, style=_STYLES.get(verdict["outcome"], ""))


def _count(rows: Sequence[Mapping[str, Any]]) -> str:
    outcomes = [verdict["outcome"] for verdict in rows]
    told = ", ".join(f"{outcomes.count(outcome.value)} {outcome.value}" for outcome in Outcome)
    return f"{len(rows)} verdict{'' if len(rows) == 1 else 's'}: {told}"
