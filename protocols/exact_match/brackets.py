"""Tokens and their brackets: splitting at the top level, finding the partner, joining thousands."""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING

from protocols.exact_match.expression import Token

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_OPEN = frozenset({"(", "[", "{", "\\{", "\\langle", "\\lbrack", "\\lfloor", "\\lceil", "\\lvert", "\\lbrace"})
_CLOSE = frozenset({")", "]", "}", "\\}", "\\rangle", "\\rbrack", "\\rfloor", "\\rceil", "\\rvert", "\\rbrace"})


def join_thousands(tokens: list[Token]) -> list[Token] | None:
    """Read ``1,234,567`` at the top level as one number; ``None`` where there is no such spelling."""
    joined: list[Token] = []
    depth = 0
    position = 0
    changed = False
    while position < len(tokens):
        token = tokens[position]
        depth += nesting(token)
        if depth == 0 and token.kind == "number" and re.fullmatch(r"[1-9]\d{0,2}", token.text):
            digits = token.text
            ahead = position + 1
            while (
                ahead + 1 < len(tokens)
                and tokens[ahead].text == ","
                and not tokens[ahead].spaced
                and not tokens[ahead + 1].spaced
                and re.fullmatch(r"\d{3}(\.\d+)?", tokens[ahead + 1].text)
                and "." not in digits
            ):
                digits += tokens[ahead + 1].text
                ahead += 2
            if ahead > position + 1:
                changed = True
                token = Token("number", digits, token.spaced)
                position = ahead - 1
        joined.append(token)
        position += 1
    return joined if changed else None


def split(tokens: Sequence[Token], separates: Callable[[Token], bool]) -> list[Sequence[Token]]:
    """Split at the separators outside of all brackets; separators side by side (", and") are one."""
    depth = 0
    marks = []
    for token in tokens:
        depth += nesting(token)
        marks.append(depth == 0 and separates(token))
    parts: list[Sequence[Token]] = []
    position = 0
    for is_separator, run in groupby(marks):
        length = len(list(run))
        if not is_separator:
            parts.append(tokens[position : position + length])
        elif position == 0 or position + length == len(tokens):
            parts.append([])
        position += length
    return parts


def nesting(token: Token) -> int:
    """Return 1 for an opening bracket or environment, -1 for a closing one, else 0."""
    if token.text in _OPEN or token.kind == "begin":
        return 1
    return -1 if token.text in _CLOSE or token.kind == "end" else 0


def closing(tokens: Sequence[Token]) -> int:
    """Return the position of the bracket that closes the first one; -1 where none does."""
    depth = 0
    for position, token in enumerate(tokens):
        depth += nesting(token)
        if depth == 0:
            return position
    return -1
