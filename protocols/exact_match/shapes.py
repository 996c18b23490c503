"""The shapes an answer can have: plain data that :mod:`protocols.exact_match.reading` makes and the rules compare."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.exact_match.expression import Node
from protocols.exact_match.units import Unit


@dataclass(frozen=True, slots=True)
class Quantity:
    """A scalar expression and its unit."""

    node: Node
    unit: Unit | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """An answer in words, lower case, without articles and punctuation."""

    text: str


@dataclass(frozen=True, slots=True)
class Numeral:
    """Digits in a base other than ten."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Bracketed:
    """Items in brackets whose order counts: a point, a vector, an interval.

    An interval that was written as an inequality keeps its ``variable``.
    """

    opener: str
    closer: str
    items: tuple[Answer, ...]
    variable: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """Items whose order does not count: a comma list, a set, alternatives."""

    items: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Union:
    """A union of sets."""

    items: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of scalar expressions; ``determinant`` tells vertical bars from brackets."""

    rows: tuple[tuple[Answer, ...], ...]
    determinant: bool = False


@dataclass(frozen=True, slots=True)
class Equation:
    """Two or more sides said to be equal, ``approximate`` where the last step is a rounding."""

    sides: tuple[Answer, ...]
    approximate: bool = False


@dataclass(frozen=True, slots=True)
class Relation:
    """An inequality that is no interval, or any other relation of two sides."""

    operator: str
    left: Answer
    right: Answer


@dataclass(frozen=True, slots=True)
class Ratio:
    """``a:b:c``."""

    items: tuple[Node, ...]


Answer = Quantity | Words | Numeral | Bracketed | Listing | Union | Matrix | Equation | Relation | Ratio
