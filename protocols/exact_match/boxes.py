r"""Find ``\boxed{…}`` answers in LaTeX-ish text, in time linear in its length.

Braces are matched as TeX does: ``\{`` and ``\}`` are characters, not groups. A box whose brace never closes is
*truncated* and never an answer; a stray brace elsewhere does no harm.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])[ \t\n]*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BARE_END = re.compile(r"\$|\\\)|\\\]|\n")


@dataclass(frozen=True, slots=True)
class Box:
    r"""One boxed answer.

    Attributes:
        content: the text inside, outer blanks removed.
        start: offset of the backslash of ``\boxed`` in the text.
        end: offset just behind the box.
    """

    content: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Boxes:
    """All outermost boxes of a text.

    Attributes:
        complete: in order of appearance, none inside another.
        truncated: boxes that were opened and never closed.
    """

    complete: tuple[Box, ...]
    truncated: int

    def last(self) -> Box | None:
        """Return the last complete box that is not empty, else the last empty one, else ``None``."""
        filled = next((box for box in reversed(self.complete) if box.content), None)
        return filled or (self.complete[-1] if self.complete else None)


def find_boxes(text: str) -> Boxes:
    r"""Return the outermost complete boxes: ``\boxed{…}``, ``\fbox{…}``, and TeX's bare ``\boxed 42``.

    A bare box reaches to the end of its formula (``$``, ``\)``, ``\]``) where the line has one; else it is one word.
    """
    heads = list(_BOX.finditer(text))
    if not heads:
        return Boxes((), 0)
    closing = _closing_braces(text, heads[0].start())
    complete: list[Box] = []
    truncated = 0
    behind = 0
    for head in heads:
        if head.start() < behind:
            continue
        if text.startswith("{", head.end()):
            close = closing.get(head.end())
            if close is None:
                truncated += 1
                continue
            box = Box(text[head.end() + 1 : close].strip(), head.start(), close + 1)
        else:
            box = _bare_box(text, head)
        behind = box.end
        complete.append(box)
    return Boxes(tuple(complete), truncated)


def _closing_braces(text: str, start: int) -> dict[int, int]:
    """Map the offset of every opening brace from ``start`` on to that of its closing one; unclosed ones are absent."""
    closing: dict[int, int] = {}
    opened: list[int] = []
    for match in _BRACE.finditer(text, start):
        if match.group() == "{":
            opened.append(match.start())
        elif match.group() == "}" and opened:
            closing[opened.pop()] = match.start()
    return closing


def _bare_box(text: str, head: re.Match[str]) -> Box:
    end = _BARE_END.search(text, head.end())
    stop = end.start() if end else len(text)
    content = text[head.end() : stop]
    if not end or end.group() == "\n":
        words = content.split(None, 1)
        content = words[0].rstrip(".,;:") if words else ""
        stop = head.end() + len(content)
    return Box(content.strip(), head.start(), max(stop, head.end()))
