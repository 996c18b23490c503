r"""The shape of an answer: a quantity, words, a list, a tuple or interval, a union, a matrix, an equation, a ratio.

:func:`read_answers` turns cleaned LaTeX into that shape; an ambiguous spelling (``1,234``) has more than one reading.

A few lines over 400 so that the order in which shapes are tried, which decides ambiguous cases, stands in one place.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from protocols.exact_match.brackets import closing, join_thousands, nesting, split
from protocols.exact_match.expression import Node, Token, UnreadableError, lex, number, parse, word_set
from protocols.exact_match.shapes import (
    Answer,
    Bracketed,
    Equation,
    Listing,
    Matrix,
    Numeral,
    Quantity,
    Ratio,
    Relation,
    Union,
    Words,
)
from protocols.exact_match.units import is_unit_word, read_unit

if TYPE_CHECKING:
    from collections.abc import Sequence

_RELATIONS = {
    "=": "=",
    "<": "<",
    ">": ">",
    "\\lt": "<",
    "\\gt": ">",
    "\\le": "<=",
    "\\leq": "<=",
    "\\leqslant": "<=",
    "\\ge": ">=",
    "\\geq": ">=",
    "\\geqslant": ">=",
    "\\ne": "!=",
    "\\neq": "!=",
    "\\in": "in",
    "\\approx": "~",
    "\\sim": "~",
    "\\simeq": "~",
    "\\equiv": "mod",
}
_SUCH_THAT = frozenset({"\\mid", "|", ":", "\\colon"})
_CONJUNCTION = re.compile(r"\b(and|or)\b", re.IGNORECASE)
_LEADING_WORDS = word_set(
    "the a an usd answer final is are value values of exactly about approximately approx roughly around "
    "equals so thus we get have area length number total probability it x y only just simply either "
    "both"
)
_ARTICLES = re.compile(r"\b(?:the|an?)\s+(?=\w)")
_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_BASE_WORDS = dict(
    zip(
        ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve", "sixteen"],
        ["2", "3", "4", "5", "6", "7", "8", "9", "10", "12", "16"],
        strict=True,
    )
)
_NUMBER_WORDS = {
    word: value
    for value, word in enumerate(
        re.split(
            r"\s+",
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen twenty",
        )
    )
}
_INFINITY = Node("infinity")
_REALS = Bracketed("(", ")", (Quantity(Node("negate", (_INFINITY,))), Quantity(_INFINITY)))


def read_answers(text: str) -> list[Answer]:
    """Return all readings of a cleaned answer, the likeliest first.

    Raises:
        UnreadableError: there is none.
    """
    text = re.sub(r"^\](.*)\[$", r"(\1)", text)
    text = re.sub(r"^\](.*\])$", r"(\1", text)
    text = re.sub(r"^(\[.*)\[$", r"\1)", text)
    tokens = lex(text)
    joined = join_thousands(tokens)
    if joined is None:
        return [_read(tokens)]
    try:
        return [_read(joined), _read(tokens)]
    except UnreadableError:
        return [_read(joined)]


def words_of(text: str) -> str:
    """Return the words of a cleaned answer as they are compared: lower case, no articles, fonts or punctuation."""
    plain = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text)
    plain = re.sub(r"[\s.,;:!?\"'()\[\]{}$-]+", " ", plain).strip()
    plain = re.sub(r"^(?:[Oo]ption|[Cc]hoice|[Aa]nswer) (?=[A-J]$)", "", plain)
    plain = _ARTICLES.sub("", plain.lower() if len(plain) > 1 else plain).strip()
    return {"dne": "does not exist"}.get(plain, plain)


def _read(tokens: Sequence[Token]) -> Answer:
    tokens = _unwrap(_without_lead(tokens))
    if not tokens:
        raise UnreadableError("nothing to read")
    texts = [token.text for token in tokens]
    if texts in (["\\emptyset"], ["\\varnothing"]):
        return Words("empty set")
    if "\\pm" in texts or "\\mp" in texts:
        return _plus_minus(tokens)
    if texts == ["\\mathbb", "{", "R", "}"]:
        return _REALS
    if _is_prose(tokens):
        words = words_of(" ".join(texts))
        if words in _NUMBER_WORDS:
            return Quantity(number(_NUMBER_WORDS[words]))
        return _REALS if words in ("all real numbers", "all reals", "real numbers") else Words(words)
    for splitter in (_as_listing, _as_union, _as_relation, _as_bracketed, _as_matrix, _as_numeral, _as_ratio):
        found = splitter(tokens)
        if found is not None:
            return found
    return _quantity(tokens)


def _unwrap(tokens: Sequence[Token]) -> Sequence[Token]:
    """Drop braces around the whole."""
    while len(tokens) >= 2 and tokens[0].text == "{" and closing(tokens) == len(tokens) - 1:
        tokens = tokens[1:-1]
    return tokens


def _without_lead(tokens: Sequence[Token]) -> Sequence[Token]:
    r"""Drop ``\approx`` and introductory words (``the answer is``) in front of a formula."""
    start = 0
    while start < len(tokens):
        token = tokens[start]
        words = re.findall(r"[a-z]+", token.text[6:-1].lower()) if token.kind == "text" else [token.text.lower()]
        prose = token.kind in ("text", "word") and all(word in _LEADING_WORDS for word in words)
        if not (prose or token.text in ("\\approx", "\\therefore", "\\sim", ":", "=")):
            break
        start += 1
    rest = tokens[start:]
    return rest if rest and not _is_prose(rest) else tokens


def _is_prose(tokens: Sequence[Token]) -> bool:
    """Tell whether the answer is words: text or long bare words, and nothing of a formula among them."""
    allowed = {"(", ")", ",", ".", "-", "'", '"', ":", "!", "?"}
    if not all(token.kind in ("text", "word", "letter") or token.text in allowed for token in tokens):
        return False
    return (
        any(token.kind == "text" or (token.kind == "word" and len(token.text) > 4) for token in tokens)
        or (sum(token.kind == "word" for token in tokens) > 1)
        or (len(tokens) == 1 and tokens[0].kind == "word" and len(tokens[0].text) > 2)
    )


def _plus_minus(tokens: Sequence[Token]) -> Listing:
    readings = []
    for plus, minus in (("+", "-"), ("-", "+")):
        swap = {"\\pm": plus, "\\mp": minus}
        readings.append(_read([Token("symbol", swap[t.text], t.spaced) if t.text in swap else t for t in tokens]))
    return Listing(tuple(_flatten(readings)))


def _flatten(items: Sequence[Answer]) -> list[Answer]:
    return [inner for item in items for inner in (item.items if isinstance(item, Listing) else (item,))]


def _as_listing(tokens: Sequence[Token]) -> Answer | None:
    parts = split(tokens, _separates)
    if len(parts) < 2:
        return None
    items = [_read(part) for part in parts if part]
    if not items:
        raise UnreadableError("a list of nothing")
    # "x < -1 or x > 3" is one set of two intervals.
    if len(items) > 1 and all(isinstance(item, Bracketed) for item in items) and not any(t.text == "," for t in tokens):
        return Union(tuple(items))
    return Listing(tuple(_flatten(items))) if len(items) > 1 else items[0]


def _separates(token: Token) -> bool:
    if token.kind in ("text", "word") and _CONJUNCTION.search(token.text):
        words = re.findall(r"[a-z]+", token.text.removeprefix("\\text").lower())
        return all(word in ("and", "or", *_LEADING_WORDS) for word in words)
    return token.text in (",", ";", "\\lor", "\\vee", "\\land", "\\wedge")


def _as_union(tokens: Sequence[Token]) -> Answer | None:
    parts = split(tokens, lambda token: token.text == "\\cup")
    return Union(tuple(_read(part) for part in parts)) if len(parts) > 1 else None


def _as_relation(tokens: Sequence[Token]) -> Answer | None:
    parts = split(tokens, lambda token: token.text in _RELATIONS)
    if len(parts) < 2:
        return None
    used = _operators(tokens)
    if len(parts) == 2 and used[0] not in ("=", "in") and not all(parts):
        return Relation(used[0], Words(""), _read(parts[0] or parts[1]))
    if not all(parts) or len(parts) > 6:
        raise UnreadableError("a relation with an empty side")
    if used[-1] == "in" and len(parts) == 2:
        return Equation((_side(parts[0]), _read(parts[1])))
    if all(operator in ("=", "~") for operator in used):
        return Equation(tuple(_side(part) for part in parts), approximate=used[-1] == "~")
    sides = [_side(part) for part in parts]
    interval = _interval(used, sides)
    if interval is not None:
        return interval
    if len(used) == 1:
        if used[0] in (">", ">="):
            return Relation(_MIRRORED[used[0]], sides[1], sides[0])
        return Relation(used[0], sides[0], sides[1])
    raise UnreadableError("a chain of relations")


def _side(tokens: Sequence[Token]) -> Answer:
    r"""Read one side of a relation; a name that is no formula (``AB``, ``\text{area}``) is words."""
    try:
        return _read(tokens)
    except UnreadableError:
        if any(token.kind == "number" for token in tokens):
            raise
        return Words(words_of(" ".join(token.text for token in tokens)))


def _operators(tokens: Sequence[Token]) -> list[str]:
    depth = 0
    found = []
    for token in tokens:
        depth += nesting(token)
        if depth == 0 and token.text in _RELATIONS:
            found.append(_RELATIONS[token.text])
    return found


def _interval(used: list[str], sides: list[Answer]) -> Bracketed | None:
    r"""Read ``2 \le x < 5`` and ``x \ge 3`` as the intervals they describe."""
    if len(used) == 2 and _is_variable(sides[1]):
        if all(operator in ("<", "<=") for operator in used):
            low, high, left, right = sides[0], sides[2], used[0], used[1]
        elif all(operator in (">", ">=") for operator in used):
            low, high, left, right = sides[2], sides[0], used[1], used[0]
        else:
            return None
        return Bracketed("[" if "=" in left else "(", "]" if "=" in right else ")", (low, high), _name(sides[1]))
    if len(used) == 1 and used[0] in _MIRRORED and _is_variable(sides[0]) != _is_variable(sides[1]):
        operator = used[0] if _is_variable(sides[0]) else _MIRRORED[used[0]]
        bound = sides[1] if _is_variable(sides[0]) else sides[0]
        infinite = Quantity(_INFINITY)
        name = _name(sides[0] if _is_variable(sides[0]) else sides[1])
        if operator in (">", ">="):
            return Bracketed("[" if "=" in operator else "(", ")", (bound, infinite), name)
        return Bracketed("(", "]" if "=" in operator else ")", (Quantity(Node("negate", (_INFINITY,))), bound), name)
    return None


def _name(side: Answer) -> str:
    return side.node.name if isinstance(side, Quantity) else ""


def _is_variable(side: Answer) -> bool:
    return isinstance(side, Quantity) and side.node.kind == "variable"


def _as_bracketed(tokens: Sequence[Token]) -> Answer | None:
    # A point has a name: P(3, 4).
    if re.fullmatch("[A-Z]", tokens[0].text) and len(tokens) > 3 and len(split(tokens[2:-1], _comma)) > 1:
        tokens = tokens[1:] if tokens[1].text == "(" else tokens
    opener, closer = tokens[0].text, tokens[-1].text
    if opener not in ("(", "[", "\\{", "\\langle", "\\lbrack", "\\lbrace") or closing(tokens) != len(tokens) - 1:
        return None
    inner = tokens[1:-1]
    if opener in ("\\{", "\\lbrace"):
        if any(token.text in _SUCH_THAT for token in inner):
            return _described_set(inner)
        return Listing(tuple(_read(part) for part in split(inner, _comma))) if inner else Words("empty set")
    parts = split(inner, _comma)
    if len(parts) == 1:
        # A bracket around one thing says nothing here: nothing stands beside it.
        return _read(inner) if inner else None
    opener = {"\\langle": "(", "\\lbrack": "["}.get(opener, opener)
    closer = {"\\rangle": ")", "\\rbrack": "]"}.get(closer, closer)
    return Bracketed(opener, closer, tuple(_read(part) for part in parts))


def _described_set(inner: Sequence[Token]) -> Answer:
    r"""Read ``\{x \mid 1 \le x \le 3\}`` as the interval its condition describes."""
    parts = split(inner, lambda token: token.text in _SUCH_THAT)
    if len(parts) != 2 or not parts[0] or parts[0][0].kind != "letter" or not parts[1]:
        raise UnreadableError("a set by a condition")
    described = _read(parts[1])
    if not isinstance(described, Bracketed | Union) or len(parts[0]) not in (1, 6):
        raise UnreadableError("a set by a condition")
    return described


def _comma(token: Token) -> bool:
    return token.text in (",", ";")


def _as_matrix(tokens: Sequence[Token]) -> Answer | None:
    begin = next((i for i, token in enumerate(tokens) if token.kind == "begin"), None)
    if begin is None:
        return None
    end = next((i for i, token in enumerate(tokens) if token.kind == "end"), None)
    # Brackets drawn by hand around an array belong to it.
    inside = tokens[begin + 1 : end]
    before, after = list(tokens[:begin]), list(tokens[(end or 0) + 1 :])
    if end is None or any(token.kind == "begin" for token in inside):
        raise UnreadableError("nested or unclosed environments")
    if before and after and before[-1].text in ("(", "[", "|") and after[0].text in (")", "]", "|"):
        before.pop()
        after.pop(0)
    if after:
        raise UnreadableError("something behind a matrix")
    rows = [row for row in split(inside, lambda token: token.kind == "row") if row]
    name = re.sub(r"\\begin\{(\w+).*", r"\1", tokens[begin].text)
    if name in ("cases", "aligned", "align", "gathered"):
        raise UnreadableError(f"the environment {name}")
    cells = [[_read(cell) for cell in split(row, lambda token: token.text == "&")] for row in rows]
    if before:
        while before and before[-1].text in ("\\cdot", "\\times", "*"):
            before.pop()
        scale = number(-1) if [t.text for t in before] == ["-"] else parse(before)
        cells = [[_scaled(scale, cell) for cell in row] for row in cells]
    return Matrix(tuple(tuple(row) for row in cells), determinant=name in ("vmatrix", "Vmatrix"))


def _scaled(scale: Node, cell: Answer) -> Answer:
    if not isinstance(cell, Quantity):
        raise UnreadableError("a factor before a matrix of something else than numbers")
    return Quantity(Node("multiply", (scale, cell.node)), cell.unit)


def _as_numeral(tokens: Sequence[Token]) -> Answer | None:
    at = next((i for i, token in enumerate(tokens) if token.text == "_"), 0)
    head, tail = list(tokens[:at]), _unwrap(tokens[at + 1 :])
    if not head or len(tail) != 1:
        return None
    if len(head) >= 3 and head[0].text in ("(", "{") and head[-1].text in (")", "}"):
        head = head[1:-1]
    digits, base = "".join(_plain(token) for token in head), _plain(tail[0]).lower()
    base = _BASE_WORDS.get(base, base)
    if not re.fullmatch(r"-?[\dA-Fa-f.]*\d[\dA-Fa-f.]*|[A-F]+", digits) or not re.fullmatch(r"\d{1,2}", base):
        return None
    return _quantity(head) if base == "10" else Numeral(digits.upper().lstrip("0") or "0", int(base))


def _plain(token: Token) -> str:
    return token.text[6:-1].strip() if token.kind == "text" else token.text


def _as_ratio(tokens: Sequence[Token]) -> Answer | None:
    parts = split(tokens, lambda token: token.text in (":", "\\colon"))
    if len(parts) < 2 or not all(parts):
        return None
    return Ratio(tuple(parse(_unwrap(part)) for part in parts))


def _quantity(tokens: Sequence[Token]) -> Quantity:
    """Read an expression and the unit behind it."""
    angles = any(token.text.lstrip("\\") in ("sin", "cos", "tan", "cot", "sec", "csc") for token in tokens)
    start = next(
        (
            i
            for i in range(1, len(tokens))
            if _opens_unit(tokens, i) and not (angles and tokens[i].text == "\\text{deg}")
        ),
        None,
    )
    unit = None
    if start is not None:
        written = " ".join(t.text[6:-1] if t.kind == "text" else t.text for t in tokens[start:])
        unit = read_unit(written)
        if unit is None or tokens[start - 1].text in ("/", "*", "^", "_", "+", "-"):
            raise UnreadableError(f"{written!r} is no unit")
        tokens = tokens[:start]
        while tokens and tokens[-1].text in ("\\cdot", "\\times", ","):
            tokens = tokens[:-1]
    node = parse(_unwrap(tokens))
    if unit is not None and unit.scale != 1:
        node = Node("multiply", (node, number(unit.scale)))
    return Quantity(node, unit)


def _opens_unit(tokens: Sequence[Token], position: int) -> bool:
    token, before = tokens[position], tokens[position - 1]
    if sum(nesting(t) for t in tokens[:position]) != 0:
        return False
    if token.kind == "text":
        return True
    if token.kind == "word":
        behind_number = before.kind == "number" or before.text in ("}", ")")
        return behind_number and (is_unit_word(token.text) or (token.spaced and len(token.text) > 3))
    if token.kind == "letter" and token.spaced and before.kind == "number":
        return is_unit_word(token.text)
    return False
