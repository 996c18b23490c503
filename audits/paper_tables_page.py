"""The page of the paper's tables beside a run's own, as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audits.paper_tables import ROWS, Cell, Latency

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The share of equal cells that fall outside: P(|Z| > 1.96 / sqrt 2) = 0.166 where both n are the same.
_NOTE = (
    "A published cell is *inside* where it lies in the 95 % interval measured here. Both are samples, so about one "
    "cell in six is outside even where both measure the same thing; the interval of the difference allows for that."
)


def markdown(
    cells: Sequence[Mapping[str, Any]],
    latencies: Sequence[Mapping[str, Any]],
    verdicts: Sequence[Mapping[str, Any]],
    *,
    about: Sequence[str],
) -> str:
    """Return the page: the paper's tables beside this run's, the verdicts, and what was run.

    Args:
        cells: :class:`Cell` as plain data, in any order.
        latencies: :class:`Latency` as plain data.
        verdicts: as ``Verdict.as_dict`` gives them.
        about: lines on models, settings, machine and time.
    """
    page = ["# The paper's tables beside this run", "", *(f"- {_escaped(line)}" for line in about), ""]
    page += [
        _NOTE,
        "",
    ]
    order = list(ROWS)
    for table, title in ((1, "Table 1: generated answers"), (2, "Table 2: likelihood")):
        chosen = sorted((Cell(**c) for c in cells if c["table"] == table), key=lambda c: order.index(c.benchmark))
        if chosen:
            page += [f"## {title}", "", *_table([{"": f"{c.row}, {c.column}", **c.shown()} for c in chosen]), ""]
    if latencies:
        timed = [Latency(**{**row, "printed": tuple(row["printed"])}) for row in latencies]
        shown = [{"": f"{ROWS[row.benchmark]}, S={row.steps}", **row.shown()} for row in timed]
        page += ["## Table 3: seconds a query, one query at a time", "", *_table(shown), ""]
    if verdicts:
        rows = [
            {
                "claim": str(v["claim"]),
                "system": str(v["system"]),
                "benchmark": str(v["benchmark"]),
                "verdict": str(v["outcome"]),
                "effect": "" if v["effect"] is None else f"{v['effect']:+.4g} {v['unit']}",
                "95 %": "" if v["low"] is None else f"{v['low']:+.4g} to {v['high']:+.4g}",
                "n": str(v["n"]),
                "reason": str(v["reason"]),
            }
            for v in verdicts
        ]
        page += ["## Verdicts", "", *_table(rows), ""]
    signatures = sorted({str(c["signature"]) for c in cells if c["signature"]})
    if signatures:
        page += ["## Signatures", "", *(f"- `{signature}`" for signature in signatures), ""]
    return "\n".join(page)


def _table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[_escaped(row.get(column, "")) for column in columns] for row in rows]
    return [
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(row) + " |" for row in cells),
    ]


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
