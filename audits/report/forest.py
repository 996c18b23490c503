"""Forest plots: the effects of one claim with their intervals, one row a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audits.report import svg
from audits.verdict_table import effect_text, interval_text
from audits.verdicts import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from markupsafe import Markup

    from audits.report.model import ReportedClaim, ReportedVerdict

_LEFT, _RIGHT = 10.0, svg.WIDTH - 10.0
_LINE = 15.0
_BAND = 18.0
_CLASSES = {
    Outcome.REPRODUCED.value: "reproduced",
    Outcome.NOT_REPRODUCED.value: "not-reproduced",
    Outcome.INCONCLUSIVE.value: "inconclusive",
}
UNIT_WORDS = {
    "points": "percentage points",
    "share": "share",
    "area": "area under the ROC curve",
    "nats": "nats",
    "seconds": "seconds",
    "times": "ratio of times",
    "ratio": "ratio",
    "cells": "cells of a table",
    "prompts": "prompts that differ",
    "": "no unit",
}


def outcome_class(outcome: str) -> str:
    """Return the page's class for an outcome."""
    return _CLASSES.get(outcome, "inconclusive")


def forest_plots(claim: ReportedClaim | None, verdicts: Sequence[ReportedVerdict]) -> list[Markup]:
    """Return a plot for each source and unit, in the order of the verdicts; verdicts without an effect are left out."""
    groups: dict[tuple[str, str], list[ReportedVerdict]] = {}
    for verdict in verdicts:
        if verdict.effect is not None:
            groups.setdefault((verdict.source, verdict.unit), []).append(verdict)
    return [_plot(claim, source, unit, rows) for (source, unit), rows in groups.items()]


def _plot(claim: ReportedClaim | None, source: str, unit: str, rows: Sequence[ReportedVerdict]) -> Markup:
    # The margin is in the claim's own unit; elsewhere only zero can be drawn.
    margin = claim.margin * (claim.direction or 1) if claim is not None and claim.unit == unit else 0.0
    margins = [-margin, margin] if claim is not None and claim.direction == 0 and margin else [margin]
    ends = [end for row in rows for end in (row.effect, row.low, row.high) if end is not None]
    marks = svg.ticks(min(*ends, 0.0, *margins), max(*ends, 0.0, *margins))
    scale = (_RIGHT - _LEFT - 24) / (marks[-1] - marks[0])

    def x(value: float) -> float:
        return _LEFT + 12 + (value - marks[0]) * scale

    parts: list[Markup] = []
    y = 2.0
    for row in rows:
        # Lines stand in the rows' bands only, so that none runs through a label.
        label, y = _label(row, y)
        lines = {**dict.fromkeys(marks, "grid"), 0.0: "zero"} | (dict.fromkeys(margins, "margin") if margin else {})
        rules = [
            svg.element("line", x1=x(m), x2=x(m), y1=y + 4, y2=y + _BAND + 3, class_=kind) for m, kind in lines.items()
        ]
        parts += [*label, *rules, *_interval(row, x, y + _BAND / 2 + 3)]
        y += _BAND + 6
    bottom = y
    parts.append(svg.element("line", x1=x(marks[0]), x2=x(marks[-1]), y1=bottom, y2=bottom, class_="grid"))
    axis = [svg.label(x(m), bottom + 14, svg.short(m), class_="tick", anchor="middle") for m in marks]
    told = f"effect in {UNIT_WORDS.get(unit, unit)}; bar: interval, 95 % unless the table says otherwise; n in each row"
    if margin:
        told += f"; dashed: margin {'±' if len(margins) > 1 else ''}{svg.short(margin)}"
    captions = svg.wrap(told, int((_RIGHT - _LEFT) / svg.BOLD))
    axis += [
        svg.label(svg.WIDTH / 2, bottom + 32 + i * _LINE, line, class_="axis", anchor="middle")
        for i, line in enumerate(captions)
    ]
    name = "verdicts" if claim is None else claim.id
    return svg.figure(
        [*parts, *axis],
        height=bottom + 32 + len(captions) * _LINE,
        title=f"{name}, {source}: effects in {UNIT_WORDS.get(unit, unit)}",
        description="; ".join(f"{row.system} on {row.benchmark}: {_told(row)}" for row in rows),
    )


def _label(row: ReportedVerdict, y: float) -> tuple[list[Markup], float]:
    """Return a row's lines of text below ``y``, and where they end."""
    parts = []
    width = int((_RIGHT - _LEFT) / svg.CHARACTER)
    for text, kind in ((f"{row.system} · {row.benchmark}", "label"), (_told(row), "label muted")):
        for line in svg.wrap(text, width):
            y += _LINE
            parts.append(svg.label(_LEFT, y, line, class_=kind))
    return parts, y


def _interval(row: ReportedVerdict, x: Callable[[float], float], y: float) -> list[Markup]:
    """Return a row's mark and bar."""
    kind = outcome_class(row.outcome)
    parts = []
    if row.low is not None and row.high is not None:
        low, high = x(row.low), x(row.high)
        parts.append(svg.element("line", x1=low, x2=high, y1=y, y2=y, class_=f"bar {kind}"))
        parts += [svg.element("line", x1=end, x2=end, y1=y - 4, y2=y + 4, class_=f"bar {kind}") for end in (low, high)]
    return [*parts, mark(x(row.effect or 0.0), y, kind)]


def mark(x: float, y: float, kind: str) -> Markup:
    """Return an outcome's mark: a shape of its own for readers who do not tell the colours apart."""
    if kind == "reproduced":
        return svg.element("circle", cx=x, cy=y, r=5, class_=f"mark {kind}")
    if kind == "not-reproduced":
        return svg.element("rect", x=x - 4.5, y=y - 4.5, width=9, height=9, class_=f"mark {kind}")
    return svg.element("path", d=f"M{x:.5g} {y - 6:.5g} l6 6 l-6 6 l-6 -6 z", class_=f"mark {kind}")


def _told(row: ReportedVerdict) -> str:
    values = {"effect": row.effect, "unit": row.unit, "low": row.low, "high": row.high}
    interval = "" if row.low is None or row.high is None else f" {interval_text(values)}"
    return f"{effect_text(values)}{interval}, n = {row.n}, {row.outcome}"
