"""Are two answers equal? Rules of our own decide where they understand both; the rest is left to Math-Verify."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING

from protocols.exact_match.evaluation import compare_values, proportional
from protocols.exact_match.expression import Node, UnreadableError, number
from protocols.exact_match.normalize import clean
from protocols.exact_match.reading import read_answers, words_of
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
from protocols.exact_match.units import is_unit_word
from protocols.exact_match.workers import Equality

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LONGEST_LIST = 50
_PERCENT = (("percent", 1),)
_DEGREES = (("angle", 1),)
_RADIANS = (("radian", 1),)
_EMPTY = frozenset({"empty set", "no solution", "no solutions", "no real solutions", "none"})


# "(B) 42" names a choice and its value.
_CHOICE_LABEL = re.compile(r"\s*\\text\{\(([A-J])\)\}\s*(?=\S)|\s*\(([A-J])\)\s+(?=\S)")
_CHOICE_IN_TEXT = re.compile(r"\\text\{\(?[A-J]\)?\}|\([A-J]\)")
_CHOICE_LETTER = re.compile(r"(?:\\text\{)?\(?[A-J]\)?\}?")


def compare_answers(gold: str, answer: str, *, guarded: bool = True) -> Equality:
    r"""Compare two extracted answers by structure and exact value, without any process.

    Args:
        gold: the gold answer, LaTeX or plain.
        answer: the model's.
        guarded: let Math-Verify decide where a rule fails on a text that nobody thought of; the tests do without.

    Returns:
        ``UNKNOWN`` where one of them cannot be read and the two are not plainly different.
    """
    try:
        return _decide(gold, answer)
    except Exception:
        # One odd answer must not end a run of thousands.
        if guarded:
            return Equality.UNKNOWN
        raise


def _decide(gold: str, answer: str) -> Equality:
    gold, answer = clean(gold), clean(answer)
    if not answer:
        return Equality.DIFFERENT
    if _without_blanks(gold) == _without_blanks(answer):
        return Equality.EQUAL
    if _CHOICE_LETTER.fullmatch(gold):
        label = _CHOICE_LABEL.match(answer)
        answer = label.group(1) or label.group(2) if label else answer
    else:
        answer = _CHOICE_LABEL.sub("", answer)
    words = words_of(gold)
    if words and words == words_of(answer) and re.fullmatch(r"[^\W\d_]+(?: [^\W\d_]+)*", words):
        return Equality.EQUAL
    if _CHOICE_IN_TEXT.fullmatch(gold) and len(words_of(answer)) == 1:
        return Equality.EQUAL if words.upper() == words_of(answer).upper() else Equality.DIFFERENT
    try:
        golds = read_answers(gold)
    except (UnreadableError, RecursionError):
        return Equality.UNKNOWN
    try:
        answers = read_answers(answer)
    except (UnreadableError, RecursionError):
        # Words inside a formula that are no unit are a hedge or a condition; Math-Verify would overlook them.
        plain = all(isinstance(reading, Quantity | Numeral) for reading in golds)
        return (
            Equality.DIFFERENT
            if plain and re.search(r"\\text\{|[A-Za-z]{5,}(?<!\\)", _bare(answer))
            else Equality.UNKNOWN
        )
    try:
        found = [_compare(g, a) for g in golds for a in answers]
    except RecursionError:
        return Equality.UNKNOWN
    if Equality.EQUAL in found:
        return Equality.EQUAL
    return Equality.UNKNOWN if Equality.UNKNOWN in found else Equality.DIFFERENT


def _without_blanks(text: str) -> str:
    """Drop blanks, but for those between two digits."""
    return re.sub(r"(?<!\d) | (?!\d)", "", text)


def _bare(answer: str) -> str:
    return re.sub(r"\\(?!text\{)[a-zA-Z]+", " ", answer)


def _compare(gold: Answer, answer: Answer) -> Equality:
    if isinstance(gold, Equation) or isinstance(answer, Equation):
        return _compare_equations(gold, answer)
    if isinstance(gold, Listing) and isinstance(answer, Listing):
        return _unordered(gold.items, answer.items)
    if isinstance(gold, Listing) and len(gold.items) == 1:
        return _compare(gold.items[0], answer)
    if isinstance(gold, Bracketed) and isinstance(answer, Listing):
        return _compare_point(gold, answer)
    if isinstance(gold, Union) and isinstance(answer, Listing):
        return _unordered(gold.items, answer.items)
    if isinstance(answer, Listing) and not isinstance(gold, Union):
        # "1/2 or 0.5" says one thing twice; "3 or 4" does not.
        return _all([_compare(gold, item) for item in answer.items])
    if isinstance(gold, Union) and isinstance(answer, Union):
        return _unordered(gold.items, answer.items)
    if isinstance(gold, Quantity) and isinstance(answer, Quantity):
        return _compare_quantities(gold, answer)
    if isinstance(gold, Ratio) or isinstance(answer, Ratio):
        return _compare_ratios(gold, answer)
    if type(gold) is not type(answer):
        return Equality.DIFFERENT
    if isinstance(gold, Bracketed) and isinstance(answer, Bracketed):
        if gold.variable and answer.variable and gold.variable != answer.variable:
            return Equality.DIFFERENT
        if (gold.opener, gold.closer) != (answer.opener, answer.closer) or len(gold.items) != len(answer.items):
            return Equality.DIFFERENT
        return _all([_compare(g, a) for g, a in zip(gold.items, answer.items, strict=True)])
    if isinstance(gold, Matrix) and isinstance(answer, Matrix):
        return _compare_matrices(gold, answer)
    if isinstance(gold, Relation) and isinstance(answer, Relation):
        return _compare_relations(gold, answer)
    if isinstance(gold, Words) and isinstance(answer, Words):
        sets = [set(re.split(r",? and |, ", side.text)) for side in (gold, answer)]
        same = sets[0] == sets[1] or {gold.text, answer.text} <= _EMPTY
        return Equality.EQUAL if same else Equality.DIFFERENT
    return Equality.EQUAL if gold == answer else Equality.DIFFERENT


def _compare_quantities(gold: Quantity, answer: Quantity) -> Equality:
    mine, theirs = gold.unit, answer.unit
    my_dimensions = mine.dimensions if mine else None
    their_dimensions = theirs.dimensions if theirs else None
    if mine and theirs and my_dimensions is not None and their_dimensions is not None:
        if {my_dimensions, their_dimensions} == {_DEGREES, _RADIANS}:
            return compare_values(_radians(gold), _radians(answer))
        if my_dimensions != their_dimensions:
            return Equality.DIFFERENT
        if mine.factor != theirs.factor:
            return compare_values(_times(gold.node, mine.factor), _times(answer.node, theirs.factor))
        return compare_values(gold.node, answer.node)
    same = compare_values(gold.node, answer.node)
    if same is Equality.EQUAL:
        return same
    if mine is None and theirs is None and not gold.node.variables() and _is_measured(answer.node):
        return compare_values(gold.node, answer.node.arguments[0])
    # One side has no unit: a percent sign may also mean hundredths, and an angle may be in radians if it names pi.
    if _PERCENT in (my_dimensions, their_dimensions):
        hundredth = Fraction(1, 100)
        return compare_values(
            _times(gold.node, hundredth if my_dimensions == _PERCENT else 1),
            _times(answer.node, hundredth if their_dimensions == _PERCENT else 1),
        )
    if my_dimensions == _DEGREES and _names_pi(answer.node):
        return compare_values(_radians(gold), answer.node)
    if their_dimensions == _DEGREES and _names_pi(gold.node):
        return compare_values(gold.node, _radians(answer))
    return same


def _is_measured(node: Node) -> bool:
    """Tell whether a number stands before the letter of a unit: ``5m``, where the gold answer knows no variable."""
    if node.kind != "multiply" or node.arguments[0].variables() or node.arguments[1].kind != "variable":
        return False
    return is_unit_word(node.arguments[1].name)


def _compare_point(gold: Bracketed, answer: Listing) -> Equality:
    """Compare a point with its coordinates given by name: ``x = 3, y = 4`` for (3, 4)."""
    named = [_named_value(item) if isinstance(item, Equation) else None for item in answer.items]
    names = [str(value[0].node.name) for value in named if value and isinstance(value[0], Quantity)]
    if len(names) != len(gold.items) or sorted(set(names)) != names or gold.opener != "(" or gold.closer != ")":
        return _all([_compare(gold, item) for item in answer.items])
    return _all([_compare(item, value[1]) for item, value in zip(gold.items, named, strict=True) if value])


def _times(node: Node, factor: Fraction | int) -> Node:
    return Node("multiply", (node, number(factor)))


def _radians(quantity: Quantity) -> Node:
    if quantity.unit and quantity.unit.dimensions == _DEGREES:
        return Node("multiply", (quantity.node, Node("divide", (Node("pi"), number(180)))))
    return quantity.node


def _names_pi(node: Node) -> bool:
    return node.kind == "pi" or any(_names_pi(argument) for argument in node.arguments)


def _compare_equations(gold: Answer, answer: Answer) -> Equality:
    if isinstance(gold, Equation) and isinstance(answer, Equation):
        named = [_named_value(side) for side in (gold, answer)]
        if named[0] and named[1] and named[0][0] == named[1][0]:
            same = _compare(named[0][1], named[1][1])
            if same is Equality.EQUAL:
                return same
        forms = [_difference(side) for side in (gold, answer)]
        if forms[0] is None or forms[1] is None:
            return (
                _all([_compare(g, a) for g, a in zip(gold.sides, answer.sides, strict=False)])
                if len(gold.sides) == len(answer.sides)
                else Equality.DIFFERENT
            )
        if not forms[0].variables() and not forms[1].variables():
            return _compare(gold.sides[-1], answer.sides[-1])
        return proportional(forms[0], forms[1])
    if isinstance(gold, Equation):
        value = _named_value(gold)
        return _compare(value[1], answer) if value else Equality.DIFFERENT
    assert isinstance(answer, Equation)
    value = _named_value(answer)
    return _compare(gold, value[1]) if value else Equality.DIFFERENT


def _named_value(equation: Equation) -> tuple[Answer | None, Answer] | None:
    r"""Return what an equation says something is: ``x = 5`` is 5, ``2 + 2 = 4`` is 4, ``x = 1/3 \approx 0.33`` is 1/3.

    ``None`` where it is an equation between formulas, or where its sides contradict each other.
    """
    sides = list(equation.sides)
    if equation.approximate and len(sides) > 2:
        sides.pop()
    if _is_name(sides[-1]) and not _is_name(sides[0]):
        sides.reverse()
    name = sides[0] if _is_name(sides[0]) else None
    values = [side for side in sides if not _is_name(side)] if name is not None else sides
    values = values or sides[1:]
    if name is None and len(values) > 1 and any(_has_variables(value) for value in values):
        return None
    if any(_compare(value, values[-1]) is not Equality.EQUAL for value in values[:-1]):
        return None
    return name, values[-1]


def _is_name(side: Answer) -> bool:
    r"""Tell a name (``x``, ``AB``, ``f(x)``, ``(x, y)``, ``\text{area}``) from a formula."""
    if isinstance(side, Words):
        return True
    if isinstance(side, Bracketed):
        return all(_is_name(item) for item in side.items)
    if not isinstance(side, Quantity) or side.unit is not None:
        return False
    leaves = _factors(side.node.arguments[0] if side.node.kind == "abs" else side.node)
    return leaves[0].kind == "variable" and all(leaf.kind in ("variable", "number") for leaf in leaves)


def _factors(node: Node) -> list[Node]:
    if node.kind != "multiply":
        return [node]
    return [factor for argument in node.arguments for factor in _factors(argument)]


def _has_variables(answer: Answer) -> bool:
    return not isinstance(answer, Quantity) or bool(answer.node.variables())


def _difference(equation: Equation) -> Node | None:
    """Return left minus right of an equation of two formulas."""
    sides = equation.sides
    if len(sides) != 2:
        return None
    left, right = sides
    if not isinstance(left, Quantity) or not isinstance(right, Quantity):
        return None
    return Node("add", (left.node, Node("negate", (right.node,))))


def _compare_relations(gold: Relation, answer: Relation) -> Equality:
    sides = (gold.left, gold.right), (answer.left, answer.right)
    if gold.operator != answer.operator:
        return Equality.DIFFERENT
    same = _all([_compare(g, a) for g, a in zip(*sides, strict=True)])
    if same is Equality.DIFFERENT and gold.operator == "!=":
        same = _all([_compare(gold.left, answer.right), _compare(gold.right, answer.left)])
    # 2x < 4 is x < 2; whether two inequalities agree needs more than these rules.
    return same if same is Equality.EQUAL else Equality.UNKNOWN


def _compare_matrices(gold: Matrix, answer: Matrix) -> Equality:
    shapes = [[len(row) for row in matrix.rows] for matrix in (gold, answer)]
    if shapes[0] != shapes[1] or gold.determinant != answer.determinant:
        return Equality.DIFFERENT
    cells = [[cell for row in matrix.rows for cell in row] for matrix in (gold, answer)]
    return _all([_compare(g, a) for g, a in zip(*cells, strict=True)])


def _compare_ratios(gold: Answer, answer: Answer) -> Equality:
    """Compare ``a:b`` with a ratio or, for two parts, with the quotient."""
    parts = [
        list(side.items) if isinstance(side, Ratio) else _quotient(side) if isinstance(side, Quantity) else []
        for side in (gold, answer)
    ]
    if not parts[0] or len(parts[0]) != len(parts[1]):
        return Equality.DIFFERENT
    first, second = parts
    return _all(
        [
            compare_values(Node("multiply", (first[0], b)), Node("multiply", (second[0], a)))
            for a, b in zip(first[1:], second[1:], strict=True)
        ]
    )


def _quotient(side: Quantity) -> list[Node]:
    return [side.node, number(1)]


def _unordered(gold: Sequence[Answer], answer: Sequence[Answer]) -> Equality:
    """Match items one to one; a repeated item counts once."""
    if max(len(gold), len(answer)) > _LONGEST_LIST:
        return Equality.UNKNOWN
    unknown = False

    def covered(items: Sequence[Answer], by: Sequence[Answer], compare: Callable[[Answer, Answer], Equality]) -> bool:
        nonlocal unknown
        for item in items:
            found = [compare(item, other) for other in by]
            if Equality.EQUAL not in found:
                unknown = unknown or Equality.UNKNOWN in found
                return False
        return True

    if covered(gold, answer, _compare) and covered(answer, gold, lambda a, g: _compare(g, a)):
        return Equality.EQUAL
    return Equality.UNKNOWN if unknown else Equality.DIFFERENT


def _all(found: list[Equality]) -> Equality:
    if Equality.DIFFERENT in found:
        return Equality.DIFFERENT
    return Equality.UNKNOWN if Equality.UNKNOWN in found else Equality.EQUAL
