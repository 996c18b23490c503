"""The flow through a pipeline: drafts right or wrong on the left, final texts right or wrong on the right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audits.report import svg

if TYPE_CHECKING:
    from markupsafe import Markup

    from audits.report.model import Flow

_HEIGHT = 150.0
_GAP = 30.0
_TOP = 26.0
_LEFT, _RIGHT, _BAR = 96.0, svg.WIDTH - 110.0, 14.0


def flow_diagram(flow: Flow) -> Markup:
    """Draw one flow; bands are as thick as their problems are many."""
    scale = _HEIGHT / max(1, flow.n)
    right_before, wrong_before = flow.kept_right + flow.broken, flow.fixed + flow.kept_wrong
    right_after, wrong_after = flow.kept_right + flow.fixed, flow.broken + flow.kept_wrong
    ends = _LEFT + _BAR, _RIGHT
    lower_left, lower_right = _TOP + right_before * scale + _GAP, _TOP + right_after * scale + _GAP
    bands = (
        ("kept-right", flow.kept_right, _TOP, _TOP),
        ("broken", flow.broken, _TOP + flow.kept_right * scale, lower_right),
        ("fixed", flow.fixed, lower_left, _TOP + flow.kept_right * scale),
        ("kept-wrong", flow.kept_wrong, lower_left + flow.fixed * scale, lower_right + flow.broken * scale),
    )
    parts = [
        svg.label(_LEFT + _BAR, 14, "draft", class_="axis", anchor="end"),
        svg.label(_RIGHT, 14, "after refinement", class_="axis"),
    ]
    parts += [_band(ends, (y1, y2), number * scale, f"flow {name}") for name, number, y1, y2 in bands if number]
    sides = (
        (_LEFT, "end", _LEFT - 8, ((right_before, _TOP, "right"), (wrong_before, lower_left, "wrong"))),
        (_RIGHT, "start", _RIGHT + _BAR + 8, ((right_after, _TOP, "right"), (wrong_after, lower_right, "wrong"))),
    )
    for x, anchor, at, entries in sides:
        for number, top, word in entries:
            height = number * scale
            parts.append(svg.element("rect", x=x, y=top, width=_BAR, height=max(height, 1.0), class_=f"end {word}"))
            parts.append(svg.label(at, top + height / 2 + 4, f"{word}: {number}", anchor=anchor))
    bottom = _TOP + _HEIGHT + _GAP
    parts.append(
        svg.label(
            svg.WIDTH / 2, bottom + 24, f"thickness: number of problems, n = {flow.n}", class_="axis", anchor="middle"
        )
    )
    steps = "" if flow.steps is None else f", S={flow.steps}"
    return svg.figure(
        parts,
        height=bottom + 34,
        title=f"{flow.system} on {flow.benchmark}{steps}: what became of {flow.n} drafts",
        description=(
            f"{flow.kept_right} kept right, {flow.broken} broken, {flow.fixed} fixed, {flow.kept_wrong} kept wrong"
        ),
    )


def _band(across: tuple[float, float], down: tuple[float, float], height: float, name: str) -> Markup:
    (x1, x2), (y1, y2) = across, down
    half = (x1 + x2) / 2
    path = (
        f"M{x1:.5g} {y1:.5g} C{half:.5g} {y1:.5g} {half:.5g} {y2:.5g} {x2:.5g} {y2:.5g} "
        f"L{x2:.5g} {y2 + height:.5g} C{half:.5g} {y2 + height:.5g} {half:.5g} {y1 + height:.5g} {x1:.5g} "
        f"{y1 + height:.5g} Z"
    )
    return svg.element("path", d=path, class_=name)
