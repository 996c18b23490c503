"""The value of an expression: exact in rationals where it can be, else to fifty digits, and never at unbounded cost.

Two expressions are compared by their values at fixed rational points. Agreement of two formulas at all of them to forty
digits is taken as equality; a difference at a point where all variables are positive is one.
"""

from __future__ import annotations

import threading
from fractions import Fraction
from itertools import cycle
from math import isqrt
from typing import TYPE_CHECKING, Any

from protocols.exact_match.expression import Node
from protocols.exact_match.workers import Equality

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_DIGITS = 50
_RELATIVE_ERROR = 1e-35
_ABSOLUTE_ERROR = 1e-40
# Bits of the largest exact power; beyond, fifty digits do.
_EXACT_BITS = 1 << 13
_LARGEST_EXACT_FACTORIAL = 500
# Functions whose argument must be reduced (sine) or whose value explodes (exponential) get no larger arguments.
_LARGEST_ARGUMENT = 1e15

# Large primes over primes: a non-zero polynomial of an answer's degree does not vanish there by accident.
_VALUES = tuple(
    Fraction(a, b) for a, b in ((7919, 5003), (6151, 8209), (9973, 3571), (4441, 6007), (5569, 2903), (3001, 7333))
)
_POINTS = (
    (1, 1, 1, 1, 1, 1),
    (1, 1, 1, 1, 1, 1),
    (-1, 1, -1, -1, 1, 1),
    (1, -1, -1, 1, -1, 1),
    (-1, -1, -1, -1, -1, -1),
)
_POSITIVE_POINTS = 2

_local = threading.local()


class NoValueError(Exception):
    """The expression has no finite value here, or one too large to be worked with."""


class TooLargeError(NoValueError):
    """A power or a factorial beyond what can be worked with."""


def compare_values(gold: Node, answer: Node) -> Equality:
    """Compare two scalar expressions by value; ``UNKNOWN`` where only signs or branches could tell them apart."""
    names = sorted(gold.variables() | answer.variables())
    if not names:
        return _at_point(gold, answer, {})
    found = [_at_point(gold, answer, point) for point in _points(names)]
    if Equality.DIFFERENT in found[:_POSITIVE_POINTS]:
        return Equality.DIFFERENT
    decided = [outcome for outcome in found if outcome is not Equality.UNKNOWN]
    if Equality.EQUAL not in found[:_POSITIVE_POINTS] or Equality.DIFFERENT in decided:
        return Equality.UNKNOWN
    return Equality.EQUAL


def proportional(gold: Node, answer: Node) -> Equality:
    """Tell whether one expression is a non-zero constant times the other, as two forms of one equation are."""
    names = sorted(gold.variables() | answer.variables())
    ratios = []
    for point in _points(names) if names else [{}]:
        try:
            below, above = evaluate(answer, point), evaluate(gold, point)
            if _near(below, Fraction(0)) or _near(above, Fraction(0)):
                if _near(below, Fraction(0)) and _near(above, Fraction(0)):
                    continue
                return Equality.DIFFERENT
            ratios.append(_divide(above, below))
        except NoValueError:
            continue
    if len(ratios) < 2:
        return Equality.UNKNOWN
    return Equality.EQUAL if all(_near(ratio, ratios[0]) for ratio in ratios[1:]) else Equality.DIFFERENT


def evaluate(node: Node, point: Mapping[str, Fraction]) -> Any:
    """Return the value as a Fraction where it is exact, else as an mpmath number of fifty digits.

    Raises:
        NoValueError: it is undefined at this point or too large.
    """
    try:
        return _value(node, point)
    except (ZeroDivisionError, OverflowError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise NoValueError(str(error)) from error


def _points(names: list[str]) -> list[dict[str, Fraction]]:
    points = []
    for shift, signs in enumerate(_POINTS):
        values = cycle(_VALUES[shift % len(_VALUES) :] + _VALUES[: shift % len(_VALUES)])
        # Beyond six variables the values repeat with an added integer, so that no two variables share one.
        points.append(
            {
                name: sign * (value + rank // len(_VALUES))
                for rank, (name, value, sign) in enumerate(zip(names, values, cycle(signs), strict=False))
            }
        )
    return points


def _at_point(gold: Node, answer: Node, point: Mapping[str, Fraction]) -> Equality:
    values: list[Any] = []
    towers = 0
    for node in (gold, answer):
        try:
            values.append(evaluate(node, point))
        except TooLargeError:  # noqa: PERF203  # two rounds
            towers += _grows(node)
        except NoValueError:
            pass
    if len(values) < 2:
        # A tower of powers that cannot be computed is still known to differ from an ordinary number.
        small = values and abs(_inexact(values[0])) < _LARGEST_ARGUMENT
        return Equality.DIFFERENT if small and towers else Equality.UNKNOWN
    return Equality.EQUAL if _near(values[0], values[1]) else Equality.DIFFERENT


def _grows(node: Node) -> bool:
    """Tell whether every operation can only enlarge: powers, factorials, products and sums of numbers from 1 on."""
    if node.kind == "number":
        return node.value >= 1
    growing = node.kind in ("add", "multiply", "power", "factorial")
    return growing and all(_grows(argument) for argument in node.arguments)


def _near(a: Any, b: Any) -> bool:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a == b
    mp = _mp()
    a, b = _inexact(a), _inexact(b)
    if mp.isinf(a) or mp.isinf(b):
        return bool(a == b)
    difference = abs(a - b)
    return bool(difference <= _RELATIVE_ERROR * max(abs(a), abs(b)) or difference <= _ABSOLUTE_ERROR)


def _mp() -> Any:
    """Return this thread's mpmath context; a context's precision is not safe to share."""
    context = getattr(_local, "context", None)
    if context is None:
        import mpmath  # type: ignore[import-untyped]  # mpmath ships no types

        context = _local.context = mpmath.MPContext()
        context.dps = _DIGITS
    return context


def _inexact(value: Any) -> Any:
    return _mp().mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def _bounded(value: Any) -> Any:
    if abs(_inexact(value)) > _LARGEST_ARGUMENT:
        raise TooLargeError("an argument too large")
    return _inexact(value)


def _value(node: Node, point: Mapping[str, Fraction]) -> Any:
    kind = node.kind
    if kind == "number":
        return node.value
    if kind == "variable":
        return point[node.name]
    if kind in ("pi", "e"):
        return +getattr(_mp(), kind)
    if kind == "i":
        return _mp().mpc(0, 1)
    if kind == "infinity":
        return _mp().inf
    arguments = [_value(argument, point) for argument in node.arguments]
    return _OPERATIONS[kind](*arguments) if kind in _OPERATIONS else _function(kind, arguments[0])


def _function(kind: str, argument: Any) -> Any:
    mp = _mp()
    name = {"arcsin": "asin", "arccos": "acos", "arctan": "atan"}.get(kind, kind)
    return getattr(mp, name)(_bounded(argument))


def _both(a: Any, b: Any) -> tuple[Any, Any]:
    return (a, b) if isinstance(a, Fraction) and isinstance(b, Fraction) else (_inexact(a), _inexact(b))


def _add(a: Any, b: Any) -> Any:
    a, b = _both(a, b)
    return a + b


def _multiply(a: Any, b: Any) -> Any:
    a, b = _both(a, b)
    return a * b


def _divide(a: Any, b: Any) -> Any:
    a, b = _both(a, b)
    if b == 0:
        raise NoValueError("division by zero")
    return a / b


def _power(base: Any, exponent: Any) -> Any:
    if base == 0 and not isinstance(exponent, Fraction):
        raise NoValueError("a power of zero")
    if isinstance(exponent, Fraction) and exponent.denominator == 1 and isinstance(base, Fraction):
        size = max(base.numerator.bit_length(), base.denominator.bit_length())
        if size * abs(exponent.numerator) <= _EXACT_BITS or base in (0, 1, -1):
            power = abs(exponent.numerator)
            raised = Fraction(base.numerator**power, base.denominator**power) if base not in (1, -1) else None
            if raised is None:
                return base if power % 2 else Fraction(1)
            return raised if exponent >= 0 else _divide(Fraction(1), raised)
    if isinstance(exponent, Fraction) and exponent.denominator == 2 and isinstance(base, Fraction) and base >= 0:
        return _power(_root(base, Fraction(2)), Fraction(exponent.numerator))
    mp = _mp()
    base, exponent = _inexact(base), _inexact(exponent)
    if mp.isinf(base) or mp.isinf(exponent):
        raise NoValueError("a power with infinity")
    if base != 0 and abs(mp.log(abs(base))) * abs(exponent) > _LARGEST_ARGUMENT:
        raise TooLargeError("a power too large")
    return mp.power(base, exponent)


def _root(radicand: Any, degree: Any) -> Any:
    if not isinstance(degree, Fraction) or degree.denominator != 1 or not 1 <= degree <= 1000:
        return _power(radicand, _divide(Fraction(1), degree))
    n = int(degree)
    if isinstance(radicand, Fraction) and radicand < 0 and n % 2:
        return -_root(-radicand, degree)
    if isinstance(radicand, Fraction) and radicand >= 0 and n == 2:
        above, below = isqrt(radicand.numerator), isqrt(radicand.denominator)
        if above**2 == radicand.numerator and below**2 == radicand.denominator:
            return Fraction(above, below)
    mp = _mp()
    value = _inexact(radicand)
    # The odd root of a negative real number is real, as it is at school.
    if n % 2 and not hasattr(value, "imag") and value < 0:
        return -mp.root(-value, n)
    if n % 2 and mp.im(value) == 0 and mp.re(value) < 0:
        return -mp.root(-mp.re(value), n)
    return mp.root(value, n)


def _factorial(n: Any) -> Any:
    if not isinstance(n, Fraction):
        _bounded(n)
        raise NoValueError("a factorial of no natural number")
    if n.denominator != 1 or n < 0:
        raise NoValueError("a factorial of no natural number")
    if n <= _LARGEST_EXACT_FACTORIAL:
        product = 1
        for factor in range(2, int(n) + 1):
            product *= factor
        return Fraction(product)
    return _mp().gamma(_bounded(n) + 1)


def _binomial(n: Any, k: Any) -> Any:
    whole = all(isinstance(v, Fraction) and v.denominator == 1 for v in (n, k))
    if whole and 0 <= k <= n <= _LARGEST_EXACT_FACTORIAL:
        return _factorial(n) / (_factorial(k) * _factorial(n - k))
    return _mp().binomial(_bounded(n), _bounded(k))


def _logarithm(argument: Any, base: Any) -> Any:
    mp = _mp()
    return mp.log(_inexact(argument)) / mp.log(_inexact(base))


def _floor(value: Any) -> Any:
    if isinstance(value, Fraction):
        return Fraction(value.numerator // value.denominator)
    return Fraction(int(_mp().floor(_bounded(value))))


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": _add,
    "multiply": _multiply,
    "divide": _divide,
    "power": _power,
    "negate": lambda a: -a,
    "root": _root,
    "abs": abs,
    "factorial": _factorial,
    "binomial": _binomial,
    "log": _logarithm,
    "floor": _floor,
    "ceil": lambda a: -_floor(-a),
}
