r"""From a model's raw output to the answer it gives: one rule a benchmark's answer form.

- ``math``: the last complete box.
- ``gsm8k``: the last complete box or ``#### …`` line, whichever comes later.
- ``bbh`` (boolean expressions): a box, else the last "the answer is …", else a verdict that opens the output, else
  the last sentence that ends in a verdict. An expression that was only repeated (``not False``) is no answer.

Everything behind an end-of-text token or an invented further problem (a line that begins ``Q:`` or ``Question:``) is
not the answer to *this* problem and is cut first.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocols.exact_match.boxes import find_boxes
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocols.exact_match.boxes import Boxes

_END_TOKEN = re.compile(r"<\|(?:endoftext|end_of_text|eot_id|im_end|im_start|end|eot)\|>|</s>|<eos>|<end_of_turn>")
_TURN = re.compile(
    r"^[ \t]*(?:[#*]+[ \t]*)?(?:(?:Q|Question|Problem|User|Human)(?:[ \t]*\d+)?[ \t]*:|<\|user\|>)", re.MULTILINE
)
_LETTER_TURN = re.compile(r"^[ \t]*Q[ \t]*:", re.MULTILINE)

_NUMBER = r"(?:\d[\d,]*(?:\.\d*)?|\.\d+)"
_MARKER = re.compile(r"(?<!#)####(?!#)[ \t]*(?P<line>[^\n]*)")
_MARKER_LEAD = re.compile(
    r"(?:(?:the|so|final|correct|total|[\s*:])*\banswer\b(?:\s+is)?\s*[:=]?\s*)?(?:[a-z]\s*=\s*)?", re.IGNORECASE
)
_MARKER_ANSWER = re.compile(
    rf"[-+\u2212\u2013]?\s*(?:\\?[$€£¥]|\\\(|\\\[|USD|Rs\.?)*\s*(?:[-+\u2212\u2013]\s*)?(?:{_NUMBER}|\\d?frac|\\boxed)"
)
_MARKER_ASIDE = re.compile(
    r"(?<=\d)\s*[,;(]\s*(?:i\.\s?e\.|e\.\s?g\.|(?:that is|which|because|since|as|so)\b).*", re.IGNORECASE
)

_EMPHASIS = re.compile(
    r"[*_`$\"'“”]+|\\(?:text|textbf|textit|mathrm|mathbf|mathit|texttt|boxed|emph|operatorname)\b|[{}]|\\[()\[\],;! ]"
)
_WORD = r"(?P<word>true|false)\b"
_NOT_AN_OPERAND = r"(?!\s*(?:and|or|not|is|==?|→|->)\b|\s*(?:==?|→|->|&|\|))"
_ADVERBS = r"(?:\s*(?:therefore|thus|then|hence|simply|just|indeed|clearly|is|:|=|#+)\s*)*"
_PHRASE = re.compile(
    r"\b(?:answer|final result|conclusion)\b[^.\n]{0,100}?(?:\bis\b|\bbe\b|\bto\b|[:=])\s*"
    rf"{_ADVERBS}\(?\s*{_WORD}{_NOT_AN_OPERAND}",
    re.IGNORECASE,
)
_OPENING = re.compile(
    rf"\s*(?:(?:A|Answer|Output|Result|Response)\s*[:=]\s*)?\(?\s*{_WORD}\s*\)?\s*(?=[.,;:!\n]|$)", re.IGNORECASE
)
_VERDICT = re.compile(
    rf"(?P<before>\b\w+\b|[^\w\s]|^)[ \t]*\(?[ \t]*{_WORD}[ \t]*\)?[ \t]*(?=[.;!]?[ \t]*$|[.;!][ \t]|,[ \t]*not\b)",
    re.IGNORECASE | re.MULTILINE,
)
_OPERATORS = frozenset({"and", "or", "not", "(", "&", "|", "~", "!", "if", "whether"})


@dataclass(frozen=True, slots=True)
class Extraction:
    """What an output gives as its answer.

    Attributes:
        answer: the answer's text as written, or ``None`` where there is none.
        detail: one line for a person: what was ignored, or why nothing was found.
    """

    answer: str | None
    detail: str = ""


def extract_answer(output: str, *, benchmark: str) -> Extraction:
    """Find the answer that a model's output gives.

    Args:
        output: the raw completion.
        benchmark: ``gsm8k``, ``math``, ``bbh``, or a name that contains one of them.

    Raises:
        InputError: the benchmark has no answer form.
    """
    return _FORMS[answer_form(benchmark)](output)


def gold_answer(reference: str, *, benchmark: str) -> str:
    r"""Return the gold answer of a benchmark's worked solution: MATH's box, GSM8K's ``####`` line, BBH's target.

    Raises:
        InputError: the solution holds no answer.
    """
    form = answer_form(benchmark)
    found = find_boxes(reference).last() if form == "math" else None
    if form == "gsm8k" and "####" in reference:
        return reference.rpartition("####")[2].strip()
    if form == "bbh" and reference.strip():
        return reference.strip()
    if found is None or not found.content:
        raise InputError(f"no gold answer in {reference[-80:]!r}; expected the form of {benchmark}")
    return found.content


def answer_form(benchmark: str) -> str:
    """Return the answer form of a benchmark: ``gsm8k``, ``math`` or ``bbh``.

    Raises:
        InputError: none is known.
    """
    name = benchmark.lower()
    for form, marks in _FORM_MARKS.items():
        if any(mark in name for mark in marks):
            return form
    raise InputError(
        f"benchmark={benchmark!r} has no answer form; expected gsm8k, math, bbh or a name with one of them"
    )


def _math(output: str) -> Extraction:
    text = _cut(output)
    return _from_boxes(find_boxes(text))


def _gsm8k(output: str) -> Extraction:
    text = _cut(output, letters=True)
    boxes = find_boxes(text)
    marked: tuple[int, str] | None = None
    unfilled = False
    for match in _MARKER.finditer(text):
        answer = _marked_answer(match.group("line"))
        if answer:
            marked = (match.start(), answer)
        elif not match.group("line").strip():
            unfilled = True
    box = boxes.last()
    if marked and (box is None or not box.content or marked[0] > box.start):
        return Extraction(marked[1], _ignored(boxes))
    if unfilled and box is None:
        return Extraction(None, "nothing behind ####")
    if box is None and not boxes.truncated:
        return Extraction(None, "neither \\boxed{…} nor #### in the output")
    return _from_boxes(boxes)


def _boolean(output: str) -> Extraction:
    text = _cut(output, letters=True)
    box = find_boxes(text).last()
    boxed = _EMPHASIS.sub("", box.content).strip(" .()") if box else ""
    if boxed.lower() in ("true", "false"):
        return Extraction(boxed)
    plain = _EMPHASIS.sub("", text)
    phrase = _last(_PHRASE, plain)
    if phrase:
        return Extraction(phrase.group("word"))
    opening = _OPENING.match(plain)
    if opening:
        return Extraction(opening.group("word"))
    verdict = None
    for match in _VERDICT.finditer(plain):
        if match.group("before").lower() not in _OPERATORS:
            verdict = match
    if verdict:
        return Extraction(verdict.group("word"))
    return Extraction(None, "no True or False given as the answer")


_FORMS: dict[str, Callable[[str], Extraction]] = {"gsm8k": _gsm8k, "math": _math, "bbh": _boolean}
# The embedded pair's families use the forms of the benchmarks they resemble.
_FORM_MARKS = {"gsm8k": ("gsm8k", "arithmetic"), "bbh": ("bbh", "boolean"), "math": ("math",)}


def _cut(output: str, *, letters: bool = False) -> str:
    """Drop what lies behind an end-of-text token or an invented further problem.

    ``Q:`` alone opens a line of a geometry solution too (a point Q), so MATH keeps it: ``letters`` is for the others.
    """
    end = _END_TOKEN.search(output)
    text = output[: end.start()] if end else output
    begun = len(text) - len(text.lstrip())
    for match in _TURN.finditer(text):
        if match.start() > begun and (letters or not _LETTER_TURN.match(match.group())):
            return text[: match.start()]
    return text


def _from_boxes(boxes: Boxes) -> Extraction:
    box = boxes.last()
    if box is None:
        return Extraction(None, _ignored(boxes) or "no \\boxed{…} in the output")
    if not box.content:
        return Extraction(None, "the box is empty")
    return Extraction(box.content, _ignored(boxes))


def _ignored(boxes: Boxes) -> str:
    return f"{boxes.truncated} unclosed \\boxed ignored" if boxes.truncated else ""


def _marked_answer(line: str) -> str | None:
    """Return the answer of a ``####`` line, or ``None`` for a heading (``#### Step 2``) or an empty line."""
    plain = line.strip().strip("*`").strip()
    lead = _MARKER_LEAD.match(plain)
    plain = plain[lead.end() :].strip("*` \t") if lead else plain
    if not _MARKER_ANSWER.match(plain):
        return None
    return _MARKER_ASIDE.sub("", plain).strip()


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)
