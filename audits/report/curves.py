"""Accuracy against compute: one figure a benchmark and measure of compute, one line a part of a system."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audits.report import svg

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from markupsafe import Markup

    from audits.report.model import Measurement

_LEFT, _RIGHT = 40.0, svg.WIDTH - 14.0
_TOP, _BOTTOM = 24.0, 220.0
_SERIES = 8
"""Lines that can be told apart in one figure; the rest stays in the table below it."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A measure of compute: its name on the axis, how a measurement is read, and whether the scale is logarithmic."""

    name: str
    read: Callable[[Measurement], float | None]


AXES = (
    Axis(
        "executed forward passes of the writing model, mean a sample",
        lambda m: None if m.cost is None else m.cost.forward_passes,
    ),
    Axis("GFLOP a sample by formula, drafter included", lambda m: None if m.cost is None else m.cost.gflop),
    Axis("nominal denoising steps S", lambda m: None if m.steps is None else float(m.steps)),
)


@dataclass(frozen=True, slots=True)
class CurveGroup:
    """The measurements of one benchmark, and the figures that show them."""

    title: str
    measurements: tuple[Measurement, ...]
    figures: tuple[Markup, ...]
    left_out: tuple[str, ...]


def curve_groups(measurements: Sequence[Measurement]) -> list[CurveGroup]:
    """Group measurements by benchmark (scores of different settings are never in one figure) and draw them."""
    groups: dict[tuple[str, str, str], list[Measurement]] = {}
    for measured in measurements:
        if measured.n:
            groups.setdefault((measured.source, measured.benchmark, measured.settings), []).append(measured)
    drawn = []
    for (source, benchmark, settings), rows in groups.items():
        title = f"{benchmark} ({source})" + (f", {settings}" if settings else "")
        shown, left_out = _series(rows)
        axes = [axis for axis in AXES if any((axis.read(m) or 0) > 0 for line in shown.values() for m in line)]
        # Nominal steps say nothing that executed passes do not say better.
        axes = [axis for axis in axes if axis is not AXES[2]] or axes
        figures = tuple(_figure(title, axis, shown) for axis in axes)
        drawn.append(CurveGroup(title, tuple(sorted(rows, key=_order)), figures, tuple(left_out)))
    return drawn


def part_name(measured: Measurement) -> str:
    """Return what a line is called: the system, and its part where that says more."""
    if not measured.part or measured.part.startswith(measured.system):
        return measured.part or measured.system
    return f"{measured.system} {measured.part}"


def _series(rows: Sequence[Measurement]) -> tuple[dict[str, list[Measurement]], list[str]]:
    """Return the lines to draw; where some have several budgets, stepped ones with a single budget stay out."""
    lines: dict[str, list[Measurement]] = {}
    for measured in sorted(rows, key=_order):
        lines.setdefault(part_name(measured), []).append(measured)
    curves = any(len(line) > 1 for line in lines.values())
    kept = {name: line for name, line in lines.items() if not curves or len(line) > 1 or line[0].steps is None}
    kept = dict(list(kept.items())[:_SERIES])
    return kept, [name for name in lines if name not in kept]


def _order(measured: Measurement) -> tuple[int, str, int]:
    parts = ("pipeline", "drafter", "refiner")
    place = parts.index(measured.part) if measured.part in parts else len(parts)
    return (place, part_name(measured), measured.steps or 0)


def _figure(title: str, axis: Axis, shown: dict[str, list[Measurement]]) -> Markup:
    points = {
        name: [(found, m) for m in line if (found := axis.read(m)) is not None and found > 0 and m.score is not None]
        for name, line in shown.items()
    }
    values = [value for line in points.values() for value, _ in line]
    marks = svg.log_ticks(min(values), max(values))
    low, high = math.log(marks[0]), math.log(marks[-1])

    def x(value: float) -> float:
        return _LEFT + 10 + (math.log(value) - low) / (high - low) * (_RIGHT - _LEFT - 24)

    def y(share: float) -> float:
        return _BOTTOM - share * (_BOTTOM - _TOP)

    sizes = sorted({m.n for line in shown.values() for m in line})
    n = str(sizes[0]) if len(sizes) == 1 else "as in the legend"
    parts = [svg.label(4, 13, f"right, % of samples, n = {n}; bar: 95 % interval", class_="axis")]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(svg.element("line", x1=_LEFT, x2=_RIGHT, y1=y(share), y2=y(share), class_="grid"))
        parts.append(svg.label(_LEFT - 6, y(share) + 4, f"{100 * share:.0f}", class_="tick", anchor="end"))
    for mark in marks:
        parts.append(svg.element("line", x1=x(mark), x2=x(mark), y1=_TOP, y2=_BOTTOM, class_="grid"))
        parts.append(svg.label(x(mark), _BOTTOM + 15, svg.short(mark), class_="tick", anchor="middle"))
    told = svg.wrap(f"{axis.name} (log scale)", int((svg.WIDTH - 10) / svg.BOLD))
    parts += [
        svg.label(svg.WIDTH / 2, _BOTTOM + 33 + 15 * i, line, class_="axis", anchor="middle")
        for i, line in enumerate(told)
    ]
    bottom = _BOTTOM + 33 + 15 * len(told)
    for place, (name, line) in enumerate(points.items()):
        parts += _line(place, line, x, y)
        legend = name if len(sizes) == 1 else f"{name}, n = {'/'.join(str(m.n) for m in shown[name])}"
        if not line:
            legend += " (cost not told)"
        parts.append(_marker(place, 14.0, bottom + 3.0 + 16 * place))
        parts.append(svg.label(26, bottom + 7 + 16 * place, svg.clip(legend, int((svg.WIDTH - 30) / svg.CHARACTER))))
    described = "; ".join(
        f"{name}: " + ", ".join(f"{100 * (m.score or 0):.0f} % at {svg.short(value)}" for value, m in line)
        for name, line in points.items()
    )
    return svg.figure(
        parts,
        height=bottom + 16 * len(points) + 4,
        title=f"{title}: accuracy against {axis.name}",
        description=described,
    )


def _line(
    place: int,
    line: Sequence[tuple[float, Measurement]],
    x: Callable[[float], float],
    y: Callable[[float], float],
) -> list[Markup]:
    parts = []
    # Lines that share their budgets would hide each other's intervals; a small shift shows both.
    shift = 3.0 * ((place + 1) // 2) * (-1 if place % 2 else 1)
    path = " ".join(f"{x(value) + shift:.5g},{y(m.score or 0):.5g}" for value, m in line)
    parts.append(svg.element("polyline", points=path, class_=f"line series-{place}"))
    for value, m in line:
        at, score = x(value) + shift, m.score or 0.0
        if m.low is not None and m.high is not None:
            parts.append(svg.element("line", x1=at, x2=at, y1=y(m.low), y2=y(m.high), class_=f"whisker series-{place}"))
        hint = f"{part_name(m)}" + ("" if m.steps is None else f", S={m.steps}")
        hint += f": {100 * score:.1f} % of {m.n}"
        parts.append(svg.element("g", [svg.element("title", hint), _marker(place, at, y(score))]))
    return parts


def _marker(place: int, x: float, y: float) -> Markup:
    name = f"point series-{place}"
    shape = place % 4
    if shape == 0:
        return svg.element("circle", cx=x, cy=y, r=4.5, class_=name)
    if shape == 1:
        return svg.element("rect", x=x - 4, y=y - 4, width=8, height=8, class_=name)
    turn = "l5.5 5.5 l-5.5 5.5 l-5.5 -5.5 z" if shape == 2 else "l5.5 9 l-11 0 z"
    return svg.element("path", d=f"M{x:.5g} {y - 5.5:.5g} {turn}", class_=name)
