"""Split text that may hold Python, prose, Markdown fences and special tokens into logical lines, in linear time.

This is the part of Python's tokenizer that extraction needs: strings, comments, brackets and continuations, so that a
fence or an end-of-text token inside a string literal is text, and one outside of it is not code.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

SPECIAL_TOKENS = (
    r"<\|[^|<>\s]{1,48}\|>",  # <|endoftext|>, <|eot_id|>, <|im_end|>, <|mdm_mask|>: GPT-2, Llama, Qwen, LLaDA, Dream
    r"<\uff5c[^\uff5c<>\s]{1,48}\uff5c>",  # DeepSeek's full-width bars
    r"</s>",
    r"<(?:eos|bos|pad|unk|mask|MASK|end_of_turn|start_of_turn|end_of_text|EOT|eot)>",
    r"\[/INST\]",
    # In brackets these are also Python: `vocabulary[PAD]`. Only at the start of a line can they be nothing but tokens.
    r"(?<=\n)\[(?:DONE|PAD|MASK|EOS|SEP|UNK)\](?=[\s\[]|\Z)",
    r"\x00",
)
"""Patterns of tokens after which nothing belongs to the answer, unless they stand in a string literal."""

_SPECIAL = re.compile("|".join(SPECIAL_TOKENS))
_INTEREST = re.compile(rf"{_SPECIAL.pattern}|```|[\n#\"'()\[\]{{}}\\]")
_BLANKS = re.compile(r"[ \t\f\n]*")
_FENCE_LINE = re.compile(r"(?:`{3,}|~{3,})")
# Behind code or prose a fence opens or closes, unless it is one of a pair in the line.
_FENCE_INLINE = re.compile(r"`{3,}(?![^\n]*?```)")
# At the end of a line of code: a token, unless the text has that name for something.
_BRACKETED = re.compile(r"\[(DONE|PAD|MASK|EOS|SEP|UNK)\][ \t]*(?=[\n\[<]|\Z)")
_COMMENT_END = re.compile(rf"\n|{_SPECIAL.pattern}")
_QUOTED = {quote: re.compile(rf"\\.|{quote}|\n", re.DOTALL) for quote in "\"'"}
# No Python expression goes on with one of these at column 0: an open bracket before it was prose or broken.
_RESTART = re.compile(
    r"(?:async[ \t]+def|def|class)[ \t]+\w|import[ \t]+\w|from[ \t]+[\w.]+[ \t]+import\b|@\w|`{3}|~{3}"
)


class Kind(Enum):
    """What a logical line is."""

    CODE = "code"
    """A statement, or prose: anything that is not of the other kinds."""
    COMMENT = "comment"
    FENCE = "fence"
    """A line that opens or closes a Markdown fence; it is one physical line."""


class LogicalLine(NamedTuple):
    """One logical line: offsets into the text."""

    kind: Kind
    start: int
    """Where its first physical line starts."""
    content: int
    """Its first character that is not blank."""
    end: int
    """Behind its line break, or where a special token or the text ends it."""

    @property
    def indent(self) -> int:
        """Blanks before the content, in characters."""
        return self.content - self.start


def logical_lines(text: str, start: int = 0) -> Iterator[LogicalLine]:
    r"""Yield the logical lines that are not blank, up to the first special token outside a string literal.

    Lazy: asking for the first lines of a long text costs no more than those. A string that is never closed ends with
    its line, so that an apostrophe in prose swallows nothing.

    Args:
        text: with ``\n`` line ends only.
        start: where to begin; a line start.
    """
    position = start
    absent: set[str] = set()
    while position < len(text):
        content = _blank_end(text, position)
        if content >= len(text):
            return
        position = max(position, text.rfind("\n", position, content) + 1)
        if text[content] == "#":
            end, stopped = _comment_end(text, content)
            yield LogicalLine(Kind.COMMENT, position, content, end)
        elif _FENCE_LINE.match(text, content):
            end, stopped = _line_end(text, content), False
            yield LogicalLine(Kind.FENCE, position, content, end)
        else:
            end, stopped = _statement_end(text, content, absent)
            if end > content:
                yield LogicalLine(Kind.CODE, position, content, end)
        if stopped:
            return
        position = end


def special_token(text: str, start: int) -> int:
    """Return where the first special token behind ``start`` begins, string literal or not; else the text's end."""
    found = _SPECIAL.search(text, start)
    return found.start() if found else len(text)


def _blank_end(text: str, position: int) -> int:
    found = _BLANKS.match(text, position)
    assert found is not None
    return found.end()


def _line_end(text: str, position: int) -> int:
    found = text.find("\n", position)
    return len(text) if found < 0 else found + 1


def _comment_end(text: str, position: int) -> tuple[int, bool]:
    found = _COMMENT_END.search(text, position)
    if found is None:
        return len(text), True
    return (found.end(), False) if found.group() == "\n" else (found.start(), True)


def _statement_end(text: str, position: int, absent: set[str]) -> tuple[int, bool]:
    """Return where the logical line ends and whether the text ends with it."""
    depth = 0
    while True:
        found = _INTEREST.search(text, position)
        if found is None:
            return len(text), True
        mark, position = found.group(), found.end()
        if mark == "\n":
            if depth == 0 or _RESTART.match(text, position):
                return position, False
        elif mark in "([{":
            if mark == "[" and _is_token(text, found.start(), absent):
                return found.start(), True
            depth += 1
        elif mark in ")]}":
            depth = max(0, depth - 1)
        elif mark in "\"'":
            position = _string_end(text, found.start(), absent)
        elif mark == "#":
            position, stopped = _comment_end(text, found.start())
            if stopped:
                return position, True
            if depth == 0 or _RESTART.match(text, position):
                return position, False
        elif mark == "\\":
            position += 1  # joins the lines, or, before anything else, is an error that must not open a string
        elif mark == "```":
            if _FENCE_INLINE.match(text, found.start()):
                return found.start(), False
        else:
            return found.start(), True


def _is_token(text: str, position: int, absent: set[str]) -> bool:
    """Whether ``[DONE]`` or its like ends an answer here; an index of that name is bound somewhere in the text."""
    found = _BRACKETED.match(text, position)
    if found is None or found[1] in absent:
        return False
    if re.search(rf"(?<!\[)\b{found[1]}\b|\b{found[1]}\b(?!\])", text):
        absent.add(found[1])
        return False
    return True


def _string_end(text: str, start: int, absent: set[str]) -> int:
    """Return where the string literal that opens at ``start`` ends; an unclosed one is a lone quote."""
    quote = text[start]
    triple = quote * 3
    if text.startswith(triple, start):
        position = start + 3
        while triple not in absent:
            found = text.find(triple, position)
            if found < 0:
                absent.add(triple)
                break
            if _escaped(text, found, start + 3):
                position = found + 1
                continue
            return found + 3
        return start + 3
    position = start + 1
    pattern = _QUOTED[quote]
    while (found_end := pattern.search(text, position)) is not None:
        mark, position = found_end.group(), found_end.end()
        if mark == quote:
            return position
        if mark == "\n":
            return start + 1
    return start + 1


def _escaped(text: str, position: int, floor: int) -> bool:
    first = position
    while first > floor and text[first - 1] == "\\":
        first -= 1
    return (position - first) % 2 == 1
