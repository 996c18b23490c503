"""What stands around an answer as a whole: opening tokens, a thought before it, quote marks before every line of it."""

from __future__ import annotations

import re

LEADING_TOKENS = re.compile(
    r"(?:\s*(?:<s>|<bos>|<pad>|\ufeff|<\|(?:begin_of_text|startoftext|begin_of_sentence)\|>"
    r"|<\uff5cbegin\u2581of\u2581sentence\uff5c>"
    r"|(?:\[BEGIN\]|\[/INST\]|<\|(?:assistant|Assistant|ASSISTANT)\|>|<\uff5cAssistant\uff5c>"
    r"|<\|im_start\|>(?:assistant\b)?|<start_of_turn>(?:model\b)?|<\|start_header_id\|>(?:\w+<\|end_header_id\|>)?)"
    r"(?:[ \t]*\n)*))+"
)
"""Tokens and role headers that open a text; they are dropped, but never the blanks of a line that goes on."""

_THOUGHT = re.compile(r"\s*(?:<(?:think|thinking|thoughts?|reasoning|scratchpad)>|\[THINK\]|<\|begin_of_thought\|>)")
_THOUGHT_END = re.compile(
    r"(?:</(?:think|thinking|thoughts?|reasoning|scratchpad)>|\[/THINK\]|<\|end_of_thought\|>"
    r"|<\|channel\|>final<\|message\|>)(?:[ \t]*\n)?"
)
_MARKS = (
    re.compile(r"^[ \t]*(?:>>>|\.\.\.)(?: (.*)|)$", re.MULTILINE),  # a Python session: other lines are its output
    re.compile(r"^[ \t]*(?:> ?)(.*)$", re.MULTILINE),  # a quotation in Markdown
)


def answer_text(completion: str) -> str:
    r"""Return the text in which the answer stands, with ``\n`` line ends: no opening tokens, no thought before it."""
    text = completion.replace("\r\n", "\n").replace("\r", "\n")  # as Python's own reader does
    text = _without_opening(text)
    end = _thought_end(text)
    return _without_opening(text[end:]) if end else text


def unquoted(text: str, name: str) -> str | None:
    """Return the lines behind ``>>>`` and ``...``, or behind ``>``, where only they define the function ``name``.

    ``None`` where the text defines it without marks, or not at all.
    """
    definition = re.compile(rf"^[ \t]*(?:async[ \t]+)?def[ \t]+{re.escape(name)}\b", re.MULTILINE)
    if definition.search(text):
        return None
    for mark in _MARKS:
        plain = "".join(f"{match[1] or ''}\n" for match in mark.finditer(text))
        if definition.search(plain):
            return plain
    return None


def _without_opening(text: str) -> str:
    opening = LEADING_TOKENS.match(text)
    return text[opening.end() :] if opening else text


def _thought_end(text: str) -> int:
    """Return where the thought ends that the text begins with, whether or not its opening tag is there; else 0."""
    ends = list(_THOUGHT_END.finditer(text))
    while ends and not text[ends[-1].end() :].strip():
        ends.pop()  # nothing follows
    for end in reversed(ends):
        if not _inside_string(text, end.start()):
            return end.end()
    return ends[0].end() if ends and _THOUGHT.match(text) else 0


def _inside_string(text: str, position: int) -> bool:
    line = text[text.rfind("\n", 0, position) + 1 : position]
    if "'" in line or '"' in line:
        return True
    return any(text.count(quotes, 0, position) % 2 for quotes in ('"""', "'''"))
