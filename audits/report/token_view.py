"""The token view of one problem, like the paper's Figure 1: what the page needs of each token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from audits.report.svg import short

if TYPE_CHECKING:
    from audits.report.model import Example, Position

_LEAST_NATS = 0.1
"""Top of the colour scale of a draft that is sure of everything: its noise shall not look like doubt."""
_END = "⟨end⟩"
_NOTHING = "∅"


@dataclass(frozen=True, slots=True)
class DrawnToken:
    """One token of the draft: its text, how hot it is in [0, 1], and what is said of it."""

    text: str
    heat: float
    hint: str


@dataclass(frozen=True, slots=True)
class DrawnPosition:
    """One position of the canvas.

    Attributes:
        text: at the end.
        hidden: what stands there while it is hidden.
        kind: ``kept``, ``same`` (hidden, and written again as it was), ``changed``, ``written`` (there was nothing
            before).
        step: that wrote it; 0 where it was kept.
        hint: what is said of it.
    """

    text: str
    hidden: str
    kind: str
    step: int
    hint: str


@dataclass(frozen=True, slots=True)
class TokenView:
    """One problem, ready to be drawn."""

    example: Example
    title: str
    verdict: str
    draft: tuple[DrawnToken, ...]
    hottest: str
    positions: tuple[DrawnPosition, ...]
    last_step: int
    hidden: int
    counts: str


def token_view(example: Example) -> TokenView:
    """Prepare one example."""
    entropies = [token.entropy for token in example.draft if token.entropy is not None]
    hottest = max([_LEAST_NATS, *entropies])
    draft = tuple(
        DrawnToken(
            _visible(token.text) or _END,
            0.0 if token.entropy is None else min(1.0, max(0.0, token.entropy / hottest)),
            f"draft token {_quoted(token.text)}: "
            + ("entropy not told" if token.entropy is None else f"entropy {token.entropy:.3g} nats"),
        )
        for token in example.draft
    )
    positions = tuple(_drawn(i, position) for i, position in enumerate(example.positions))
    kinds = [position.kind for position in positions]
    hidden = sum(position.masked for position in example.positions)
    counts = f"{kinds.count('kept')} positions kept, {hidden} hidden"
    if hidden:
        told = [(kinds.count(kind), word) for kind, word in (("same", "written as before"), ("changed", "changed"))]
        told.append((kinds.count("written"), "written where nothing was"))
        counts += ": " + ", ".join(f"{number} {word}" for number, word in told if number)
    at = "" if example.steps is None else f", S={example.steps}"
    return TokenView(
        example=example,
        title=f"{example.system} on {example.benchmark}{at}: {example.task_id}",
        verdict="right at the end" if example.right else f"wrong at the end ({example.failure})",
        draft=draft,
        hottest=short(hottest),
        positions=positions,
        last_step=example.last_step,
        hidden=hidden,
        counts=counts,
    )


def _drawn(place: int, position: Position) -> DrawnPosition:
    step = position.committed_at if position.masked else 0
    if not position.masked:
        kind = "kept"
    elif not position.initial:
        kind = "written"
    else:
        kind = "same" if position.initial == position.final else "changed"
    before = _quoted(position.initial) if position.initial else "nothing"
    after = _quoted(position.final) if position.final else "the end, or nothing"
    hint = f"position {place + 1}: "
    if kind == "kept":
        hint += f"{after}, kept from the draft"
    else:
        hint += f"before {before}, hidden, {after} written at step {step}"
    if position.score is not None and position.initial:
        hint += f"; score m = {position.score:.3g}"
    return DrawnPosition(
        text=_visible(position.final) or (_END if not position.initial else _NOTHING),
        hidden=_cover(position),
        kind=kind,
        step=step,
        hint=hint,
    )


def _cover(position: Position) -> str:
    """Return blocks as long as what stood there, so that the text moves little when they are lifted; breaks stay."""
    shown = position.initial or position.final
    width = max(1, min(12, len(shown.strip("\n")))) if shown else 3
    return "░" * width + "\n" * min(shown.count("\n"), 1)


def _visible(text: str) -> str:
    """Mark line breaks and tabs, which carry meaning in programs."""
    return text.replace("\r", "␍").replace("\t", "→\t").replace("\n", "↵\n")


def _quoted(text: str) -> str:
    return f"“{text}”".replace("\n", "↵")
