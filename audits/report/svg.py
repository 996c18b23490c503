"""Small pieces of inline SVG: escaped elements, round axis ticks, wrapped labels. The page's classes give colours."""

from __future__ import annotations

import math
import unicodedata
from itertools import count
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Iterable

WIDTH = 380
"""Units of every figure's width; a unit is close to a pixel on a phone, so that 12 units of text stay readable."""
CHARACTER = 6.8
"""Units that a character of a label takes in a wide font."""
BOLD = 7.6
"""The same for the bold text of axes."""
_TICKS = 5


def printable(text: str) -> str:
    """Show what would not show, or would change what stands beside it: control, direction and surrogate characters."""
    if text.isprintable():
        return text
    return "".join(map(_shown, text))


def element(name: str, content: Iterable[Markup] | str = "", **attributes: object) -> Markup:
    """Return one element; ``class_`` and ``stroke_width`` become ``class`` and ``stroke-width``."""
    spelled = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(printable(_number(value)))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = escape(printable(content)) if isinstance(content, str) else Markup("").join(content)
    return Markup(f"<{name}{spelled}>{inner}</{name}>")  # noqa: S704  # every part was escaped above


def label(x: float, y: float, text: str, *, class_: str = "label", anchor: str = "start") -> Markup:
    """Return one line of text."""
    return element("text", text, x=x, y=y, class_=class_, text_anchor=anchor)


def figure(parts: Iterable[Markup], *, height: float, title: str, description: str) -> Markup:
    """Return a whole figure, with a name and a description for readers who do not see it."""
    inner = [element("title", title), element("desc", description), *parts]
    return element(
        "svg",
        inner,
        viewBox=f"0 0 {WIDTH} {_number(height)}",
        role="img",
        aria_label=title,
    )


def ticks(low: float, high: float, *, most: int = _TICKS) -> list[float]:
    """Return round numbers, 1, 2 or 5 times a power of ten apart, from at most ``low`` to at least ``high``."""
    if high <= low:
        low, high = low - (abs(low) * 0.1 or 1), high + (abs(high) * 0.1 or 1)
    rough = (high - low) / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return powers of two, or of ten where there would be many, around two positive numbers."""
    for base in (2, 10, 1000):
        first = math.floor(math.log(low, base) + 1e-9)
        last = max(first + 1, math.ceil(math.log(high, base) - 1e-9))
        if last - first <= 7:
            return [float(base) ** i for i in range(first, last + 1)]
    return [low, high]


def short(value: float) -> str:
    """Spell a number of an axis: no exponent between 0.001 and a million, no trailing zeros."""
    return f"{value:.0f}" if abs(value) >= 1000 and value < 1e6 else f"{value:.4g}"


def wrap(text: str, width: int) -> list[str]:
    """Break a label into lines of at most ``width`` columns, at blanks where there are any."""
    lines, line = [], ""
    for word in printable(text).split(" "):
        rest = word
        while rest:
            room = width - (_columns(line) + 1 if line else 0)
            if _columns(rest) <= room:
                line = f"{line} {rest}" if line else rest
                break
            if line:
                lines.append(line)
                line = ""
                continue
            cut = next(i for i in count(1) if _columns(rest[: i + 1]) > width)
            lines.append(rest[:cut])
            rest = rest[cut:]
    return [*lines, line] if line or not lines else lines


def clip(text: str, width: int) -> str:
    """Cut a label to ``width`` columns, with an ellipsis."""
    lines = wrap(text, width)
    return lines[0] if len(lines) == 1 else wrap(text, width - 1)[0] + "…"


def _columns(text: str) -> int:
    """Count columns: wide characters take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in ("W", "F") else 1 for c in text
    )


def _number(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _shown(character: str) -> str:
    code = ord(character)
    if character.isprintable() or character in "\n\t":
        return character
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    # A code of its own kind is named, so that it neither vanishes nor turns the text around it.
    return character if unicodedata.category(character) == "Zs" else f"⟨U+{code:04X}⟩"
