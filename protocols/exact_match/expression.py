r"""Read a formula: a lexer for cleaned LaTeX and a recursive-descent parser of scalar expressions.

The grammar is that of written answers, not of TeX: implicit products, mixed numbers (``3\frac{1}{2}``), ``\sin 2x``,
``\log_2 8``. What it does not know raises :class:`UnreadableError`, and the caller asks somebody else.

Longer than 400 lines because lexer, grammar and tree are one thing: a rule of the grammar cannot be read without the
tokens it takes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_DEEPEST = 60
# A chain of so many factors makes a tree as deep; MATH's longest gold answer has 60 tokens.
_MOST_TOKENS = 300
# Longer literals are no answers, and Python refuses to read integers beyond 4300 digits.
_LONGEST_NUMBER = 1000
_LARGEST_EXPONENT = 1000

_TOKEN = re.compile(
    r"(?P<blank>\s+)"
    r"|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+(?![\w^]))?)"
    r"|(?P<text>\\text\{[^{}]*\})"
    r"|(?P<begin>\\begin\{\w+\*?\}(?:\{[clr|]*\})?)"
    r"|(?P<end>\\end\{\w+\*?\})"
    r"|(?P<row>\\\\)"
    r"|(?P<command>\\[a-zA-Z]+|\\[{}|])"
    r"|(?P<word>[A-Za-z]{2,})"
    r"|(?P<letter>[A-Za-z])"
    r"|(?P<symbol>.)",
    re.DOTALL,
)


def word_set(words: str) -> frozenset[str]:
    """Return the set of the blank-separated words."""
    return frozenset(words.split())


_GREEK = word_set(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho "
    "sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi "
    "Omega ell hbar angle triangle"
)
_FUNCTIONS = {
    **{name: name for name in word_set("sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln exp")},
    "log": "log",
    "lg": "log",
    "sqrt": "sqrt",
    "abs": "abs",
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
}
_CONSTANTS = {"pi": "pi", "infty": "infinity", "imath": "i"}
_ACCENTS = frozenset({"overline", "vec", "hat", "bar", "tilde", "widehat", "overrightarrow", "widetilde"})
_OPENERS = {
    "(": ")",
    "[": "]",
    "{": "}",
    "\\{": "\\}",
    "\\lfloor": "\\rfloor",
    "\\lceil": "\\rceil",
    "\\lvert": "\\rvert",
}


class UnreadableError(Exception):
    """The text is outside of what these rules understand."""


@dataclass(frozen=True, slots=True)
class Token:
    """One lexical unit; ``spaced`` says whether a blank stood before it."""

    kind: str
    text: str
    spaced: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """One node of an expression tree.

    Attributes:
        kind: ``number``, ``variable``, ``pi``, ``e``, ``i``, ``infinity``, ``add``, ``multiply``, ``divide``,
            ``power``, ``negate``, ``root`` (radicand, degree), ``factorial``, ``binomial``, ``floor``, ``ceil``,
            ``log`` (argument, base), or a function's name.
        arguments: the operands.
        value: of a number.
        name: of a variable.
    """

    kind: str
    arguments: tuple[Node, ...] = ()
    value: Fraction = Fraction(0)
    name: str = ""

    def variables(self) -> frozenset[str]:
        """Return the names of all variables in the tree."""
        names = {self.name} if self.kind == "variable" else set()
        return frozenset(names.union(*(argument.variables() for argument in self.arguments)))


def number(value: Fraction | int) -> Node:
    """Return a number's node."""
    return Node("number", value=Fraction(value))


def lex(text: str) -> list[Token]:
    """Split cleaned LaTeX into tokens.

    Raises:
        UnreadableError: braces nest deeper than any answer's.
    """
    tokens: list[Token] = []
    spaced = False
    depth = 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "symbol"
        if kind == "blank":
            spaced = True
            continue
        token = match.group()
        depth += (token in ("{", "(", "[")) - (token in ("}", ")", "]"))
        if depth > _DEEPEST:
            raise UnreadableError(f"nested deeper than {_DEEPEST}")
        tokens.append(Token(kind, token, spaced))
        spaced = False
    return tokens


def read_number(text: str) -> Fraction:
    """Read a decimal literal exactly.

    Raises:
        UnreadableError: it is longer or its exponent larger than an answer's can be.
    """
    mantissa, _, exponent = text.lower().partition("e")
    if len(mantissa) > _LONGEST_NUMBER or (exponent and abs(int(exponent)) > _LARGEST_EXPONENT):
        raise UnreadableError("a number too long to be an answer")
    return Fraction(text)


def parse(tokens: Sequence[Token]) -> Node:
    """Parse a scalar expression.

    Raises:
        UnreadableError: the tokens are not one.
    """
    if not tokens:
        raise UnreadableError("nothing to read")
    if len(tokens) > _MOST_TOKENS:
        raise UnreadableError(f"more than {_MOST_TOKENS} tokens")
    parser = _Parser(tokens)
    node = parser.sum()
    if parser.position != len(parser.tokens):
        raise UnreadableError(f"unexpected {parser.peek()!r}")
    return node


class _Parser:
    """Recursive descent: sum > product > power > atom."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.position = 0
        self.depth = 0
        self.bars = 0

    def peek(self) -> str:
        return self.tokens[self.position].text if self.position < len(self.tokens) else ""

    def kind(self) -> str:
        return self.tokens[self.position].kind if self.position < len(self.tokens) else ""

    def take(self) -> Token:
        if self.position >= len(self.tokens):
            raise UnreadableError("the expression ends early")
        self.position += 1
        return self.tokens[self.position - 1]

    def expect(self, text: str) -> None:
        if self.take().text != text:
            raise UnreadableError(f"expected {text}")

    def sum(self) -> Node:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise UnreadableError(f"nested deeper than {_DEEPEST}")
        node = self.product()
        while self.peek() in ("+", "-"):
            sign = self.take().text
            term = self.product()
            node = Node("add", (node, term if sign == "+" else Node("negate", (term,))))
        self.depth -= 1
        return node

    def product(self) -> Node:
        negative = False
        signs = 0
        while self.peek() in ("+", "-"):
            negative ^= self.take().text == "-"
            signs += 1
        # "3--2" and "-(-2)" are written, "---2" is not.
        if signs > 2:
            raise UnreadableError("a row of signs")
        node = self.power()
        while True:
            text = self.peek()
            if text in ("*", "\\cdot", "\\times", "\\ast", "\\bullet"):
                self.take()
                node = Node("multiply", (node, self.signed_power()))
            elif text in ("/", "\\div"):
                self.take()
                node = Node("divide", (node, self.signed_power()))
            elif self.starts_factor():
                if self.kind() == "number" and self.tokens[self.position - 1].kind == "number":
                    raise UnreadableError("two numbers side by side")
                node = Node("multiply", (node, self.power()))
            else:
                break
        return Node("negate", (node,)) if negative else node

    def signed_power(self) -> Node:
        if self.peek() in ("+", "-"):
            sign = self.take().text
            node = self.power()
            return Node("negate", (node,)) if sign == "-" else node
        return self.power()

    def starts_factor(self) -> bool:
        text, kind = self.peek(), self.kind()
        if kind in ("number", "letter", "word"):
            return True
        if text == "|":
            return self.bars == 0
        if kind == "command":
            name = text[1:]
            known = name in _GREEK or name in _FUNCTIONS or name in _ACCENTS or name in _CONSTANTS
            return known or name in ("frac", "binom") or text in _OPENERS
        return text in ("(", "[", "{")

    def power(self) -> Node:
        base = self.postfix()
        if self.peek() == "^":
            self.take()
            if self.peek() in ("\\prime", "'"):
                raise UnreadableError("a derivative")
            exponent = self.script()
            base = Node("power", (base, exponent))
            if self.peek() == "!":
                base = self.factorials(base)
        return base

    def postfix(self) -> Node:
        node = self.factorials(self.atom())
        if self.peek() == "\\text{deg}":
            self.take()
            node = Node("multiply", (node, Node("divide", (Node("pi"), number(180)))))
        return node

    def factorials(self, node: Node) -> Node:
        while self.peek() == "!":
            self.take()
            if self.peek() == "!":
                raise UnreadableError("a double factorial")
            node = Node("factorial", (node,))
        return node

    def script(self) -> Node:
        """Read an exponent or an index: a group, or one token; ``x^-2`` is read as it is meant."""
        if self.peek() == "{":
            return self.group()
        if self.peek() in ("+", "-"):
            return self.signed_power()
        if self.peek() == "(":
            return self.group()
        # TeX would raise the first digit only; who writes 10^23 means 23.
        if self.kind() == "number":
            return number(read_number(self.take().text))
        return self.single()

    def single(self) -> Node:
        r"""Read TeX's one-token argument: ``\frac12`` has the arguments 1 and 2."""
        token = self.take()
        if token.kind == "number" and len(token.text) > 1 and token.text.isdigit():
            self.position -= 1
            tokens = list(self.tokens)
            tokens[self.position : self.position + 1] = [Token("number", d) for d in token.text]
            self.tokens = tokens
            token = self.take()
        self.position -= 1
        return self.atom()

    def group(self) -> Node:
        opener = self.take().text
        bars, self.bars = self.bars, 0
        node = self.sum()
        self.expect(_OPENERS[opener])
        self.bars = bars
        return node

    def argument(self) -> Node:
        return self.group() if self.peek() == "{" else self.single()

    def atom(self) -> Node:
        token = self.take()
        text = token.text
        if token.kind == "number":
            return self.mixed(token)
        if token.kind == "letter":
            return self.variable(text)
        if token.kind == "word":
            return self.word(text)
        if text in ("(", "[", "{"):
            self.position -= 1
            return self.group()
        if text == "|":
            self.bars += 1
            node = self.sum()
            self.expect("|")
            self.bars -= 1
            return Node("abs", (node,))
        if token.kind == "command":
            return self.command(text)
        raise UnreadableError(f"unexpected {text!r}")

    def variable(self, name: str) -> Node:
        if self.peek() == "_":
            self.take()
            return Node("variable", name=f"{name}_{self.raw_group()}")
        if name in ("e", "i"):
            return Node(name)
        return Node("variable", name=name)

    def raw_group(self) -> str:
        if self.peek() != "{":
            return self.take().text
        depth = 0
        texts: list[str] = []
        while True:
            text = self.take().text
            depth += (text == "{") - (text == "}")
            if depth == 0:
                return "".join(texts[1:])
            texts.append(text)

    def word(self, text: str) -> Node:
        if text in _FUNCTIONS:
            return self.function(_FUNCTIONS[text])
        if text == "pi":
            return Node("pi")
        if text.lower() in ("infinity", "inf"):
            return Node("infinity")
        if len(text) > 4:
            raise UnreadableError(f"the word {text!r}")
        # Letters side by side are factors, and what follows ("xy^2") belongs to the last one.
        tokens = list(self.tokens)
        tokens[self.position - 1 : self.position] = [Token("letter", letter) for letter in text]
        self.tokens = tokens
        return self.variable(text[0])

    def command(self, text: str) -> Node:
        name = text[1:]
        if name in _CONSTANTS:
            return Node(_CONSTANTS[name])
        if name == "frac":
            return Node("divide", (self.argument(), self.argument()))
        if name == "binom":
            return Node("binomial", (self.argument(), self.argument()))
        if name == "sqrt":
            return self.radical()
        if name in _FUNCTIONS:
            return self.function(_FUNCTIONS[name])
        if name in _ACCENTS:
            return Node("variable", name=f"{name} {self.raw_group()}")
        if name in _GREEK:
            return self.variable(text)
        if text in _OPENERS and text != "\\{":
            self.position -= 1
            node = self.group()
            return Node({"\\lfloor": "floor", "\\lceil": "ceil"}.get(text, "abs"), (node,))
        raise UnreadableError(f"the command {text}")

    def radical(self) -> Node:
        degree = number(2)
        if self.peek() == "[":
            degree = self.group()
        return Node("root", (self.radicand(), degree))

    def radicand(self) -> Node:
        r"""Read what stands under a root; TeX would take one digit of ``\sqrt12``, who writes it means twelve."""
        if self.kind() == "number":
            return number(read_number(self.take().text))
        return self.group() if self.peek() in ("{", "(") else self.single()

    def function(self, name: str) -> Node:
        if name == "sqrt":
            return Node("root", (self.radicand(), number(2)))
        base = Node("e") if name == "ln" else number(10)
        exponent: Node | None = None
        while self.peek() in ("^", "_"):
            if self.take().text == "^":
                exponent = self.script()
            else:
                base = self.script()
        if self.peek() in ("(", "{", "["):
            argument = self.group()
            if self.peek() == "^" and exponent is None:
                self.take()
                exponent = self.script()
        else:
            argument = self.bare_argument()
        if exponent == Node("negate", (number(1),)) and name in ("sin", "cos", "tan"):
            return Node(f"arc{name}", (argument,))
        node = Node("log", (argument, base)) if name in ("ln", "log") else Node(name, (argument,))
        return Node("power", (node, exponent)) if exponent else node

    def bare_argument(self) -> Node:
        r"""Read the argument of ``\sin 2x``: factors up to the next sign, fraction bar or function."""
        negative = self.peek() == "-"
        if negative:
            self.take()
        node = self.power()
        while self.starts_factor() and self.kind() != "number" and self.peek().lstrip("\\") not in _FUNCTIONS:
            if self.peek() in ("(", "[", "{", "|"):
                break
            node = Node("multiply", (node, self.power()))
        return Node("negate", (node,)) if negative else node

    def mixed(self, token: Token) -> Node:
        r"""Read a number; an integer directly before a proper fraction of integers is a mixed number."""
        whole = number(read_number(token.text))
        if not token.text.isdigit():
            return whole
        rest = self.tokens[self.position : self.position + 7]
        texts = [t.text for t in rest]
        parts: tuple[str, str] | None = None
        used = 0
        if (
            len(texts) == 7
            and texts[0] == "\\frac"
            and (texts[1], texts[3], texts[4], texts[6]) == ("{", "}", "{", "}")
        ):
            parts, used = (texts[2], texts[5]), 7
        elif len(texts) >= 2 and texts[0] == "\\frac" and re.fullmatch(r"[1-9]{2}", texts[1]):
            parts, used = (texts[1][0], texts[1][1]), 2
        elif len(texts) >= 3 and rest[0].spaced and rest[0].kind == rest[2].kind == "number" and texts[1] == "/":
            parts, used = (texts[0], texts[2]), 3
        if parts and all(p.isdigit() and len(p) < 20 for p in parts) and 0 < int(parts[0]) < int(parts[1]):
            self.position += used
            return number(whole.value + Fraction(int(parts[0]), int(parts[1])))
        return whole
