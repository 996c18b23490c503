"""Plain values as text: what may cross between the judge and a candidate, and nothing else.

A value becomes a JSON tree. None, booleans, strings, finite and non-finite floats and small integers are themselves;
everything else is a list whose first item is a tag. Decoding builds only the types named here, with no way to name
code, so that a hostile text can at worst be a wrong value. JSON is used rather than ``ast.literal_eval`` because its
cost is linear in the text, and because it can carry ``inf``, ``nan``, sets and integers of any size.

Subclasses of the plain types (``class Sly(int)``, enum members, named tuples) cross as the plain value that they hold.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

MAX_NODES = 2_000_000
"""How many values one message may hold: a list that holds itself twice, forty deep, must not take the memory."""

MAX_TEXT = 8 << 20
"""Characters of one text or bytes of one byte string."""

_SMALL = 1 << 53
_FACTORIES: dict[str, Callable[[], Any]] = {
    "int": int,
    "float": float,
    "str": str,
    "list": list,
    "dict": dict,
    "set": set,
    "bool": bool,
    "tuple": tuple,
}
# Built-in functions and types that a test may pass as an argument (``key=len``); they cross by name.
_NAMED: dict[str, Any] = {
    f.__name__: f
    for f in (
        abs, all, any, bin, bool, bytes, callable, chr, complex, dict, divmod, float, frozenset, hash, hex, int,
        isinstance, len, list, max, min, oct, ord, pow, repr, round, set, sorted, str, sum, tuple, type, zip,
    )
}  # fmt: skip


class NotPlainError(Exception):
    """A value cannot cross as a literal; the text says which type stood in the way."""


class TooLargeError(NotPlainError):
    """A value holds more items than a message may carry."""


class Encoder:
    """Turns values into trees.

    Args:
        handle: called for an object that is not plain; returns the tree that stands for it. Without it such an object
            raises :class:`NotPlainError`.
    """

    def __init__(self, handle: Callable[[Any], Any] | None = None) -> None:
        self._handle = handle
        self._nodes = 0

    def tree(self, value: Any) -> Any:
        """Return the tree of ``value``.

        Raises:
            NotPlainError: some part is not plain, or it is nested too deeply or too large.
        """
        self._nodes = 0
        try:
            return self._tree(value)
        except RecursionError:
            raise NotPlainError("it is nested too deeply, or contains itself") from None

    def text(self, value: Any) -> str:
        """Return the tree of ``value`` as one line of JSON.

        Raises:
            NotPlainError: as for :meth:`tree`.
        """
        return as_text(self.tree(value))

    def _tree(self, value: Any) -> Any:
        kind = type(value)
        if kind is str and len(value) > MAX_TEXT:
            raise TooLargeError(f"a text of {len(value)} characters, more than {MAX_TEXT}")
        if value is None or kind is bool or kind is str or kind is float:
            return value
        if kind is int:
            return value if -_SMALL < value < _SMALL else ["i", hex(value)]
        self._nodes += 1
        if kind is list or kind is tuple or kind is set or kind is frozenset:
            self._count(len(value))
            if _FLAT.issuperset(map(type, value)):
                return [_TAGS[kind], *value]
            return [_TAGS[kind], *map(self._tree, value)]
        if kind is dict:
            return ["d", *self._pairs(value)]
        return self._rarer(value, kind)

    def _count(self, items: int) -> None:
        self._nodes += items
        if self._nodes > MAX_NODES:
            raise TooLargeError(f"it holds more than {MAX_NODES} items")

    def _pairs(self, value: dict[Any, Any]) -> list[Any]:
        self._count(2 * len(value))
        tree = self._tree
        return [tree(part) for pair in dict.items(value) for part in pair]

    def _rarer(self, value: Any, kind: type) -> Any:
        if kind is complex:
            return ["c", value.real, value.imag]
        if kind is bytes or kind is bytearray:
            if len(value) > MAX_TEXT:
                raise TooLargeError(f"{len(value)} bytes, more than {MAX_TEXT}")
            return ["b" if kind is bytes else "B", value.hex()]
        if kind is range:
            return ["r", *map(self._tree, (value.start, value.stop, value.step))]
        if kind is Counter:
            return ["C", *self._pairs(value)]
        if kind is OrderedDict:
            return ["O", *self._pairs(value)]
        if kind is defaultdict:
            factory = value.default_factory
            name = (
                getattr(factory, "__name__", None)
                if _FACTORIES.get(getattr(factory, "__name__", "")) is factory
                else None
            )
            return ["D", name, *self._pairs(value)]
        if kind is deque:
            self._count(len(value))
            return ["q", self._tree(value.maxlen), *map(self._tree, value)]
        if value is Ellipsis or value is NotImplemented:
            return ["v", "Ellipsis" if value is Ellipsis else "NotImplemented"]
        for name, numeric in (("decimal", "Decimal"), ("fractions", "Fraction")):
            if kind.__module__ == name and kind.__name__ == numeric:
                return ["n", numeric, str(value)]
        for base, plain in _SUBCLASSED:
            if isinstance(value, base):
                return self._tree(plain(value))
        if isinstance(value, (type({}.keys()), type({}.values()), type({}.items()))):
            return self._tree(set(value) if not isinstance(value, type({}.values())) else list(value))
        name = getattr(value, "__name__", None) if callable(value) else None
        if isinstance(name, str) and _NAMED.get(name) is value:
            return ["f", name]
        if self._handle is None:
            raise NotPlainError(f"a {kind.__name__} is not a plain value")
        return self._handle(value)


def as_text(tree: Any) -> str:
    """Return a tree as JSON.

    Raises:
        NotPlainError: it is nested too deeply.
    """
    try:
        return _JSON.encode(tree)
    except RecursionError:
        raise NotPlainError("it is nested too deeply, or contains itself") from None


_JSON = json.JSONEncoder(separators=(",", ":"), check_circular=False)
_FLAT = frozenset((str, bool, float, type(None)))
_TAGS: dict[type, str] = {list: "l", tuple: "t", set: "s", frozenset: "z"}


def _plain_dict(value: dict[Any, Any]) -> dict[Any, Any]:
    return dict(dict.items(value))


_SUBCLASSED: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (int, int.__pos__),
    (float, float.__pos__),
    (str, lambda v: str.__getitem__(v, slice(None))),
    (tuple, lambda v: tuple(tuple.__iter__(v))),
    (list, lambda v: list(list.__iter__(v))),
    (dict, _plain_dict),
    (set, lambda v: set(set.__iter__(v))),
    (frozenset, lambda v: frozenset(frozenset.__iter__(v))),
    (bytes, lambda v: bytes.__getitem__(v, slice(None))),
    (complex, complex.__pos__),
)


class Decoder:
    """Turns trees back into values.

    Args:
        handles: makers by tag for the trees that an :class:`Encoder` with a handle has written; they get the rest of
            the list, not decoded.
    """

    def __init__(self, handles: dict[str, Callable[[list[Any]], Any]] | None = None) -> None:
        self._handles = handles or {}

    def value(self, text: str) -> Any:
        """Return the value that ``text`` stands for.

        Raises:
            NotPlainError: the text is not a tree of this module's making, or is nested too deeply.
        """
        try:
            return self.of_tree(json.loads(text))
        except RecursionError:
            raise NotPlainError("it is nested too deeply") from None
        except ValueError as error:
            raise NotPlainError(f"not a plain value: {type(error).__name__}") from None

    def of_tree(self, tree: Any) -> Any:
        """Return the value that a tree stands for.

        Raises:
            NotPlainError: as for :meth:`value`.
        """
        try:
            return self._value(tree)
        except RecursionError:
            raise NotPlainError("it is nested too deeply") from None
        except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, ArithmeticError) as error:
            raise NotPlainError(f"not a plain value: {type(error).__name__}") from None

    def _value(self, tree: Any) -> Any:
        if type(tree) is not list:
            if type(tree) is dict:
                raise NotPlainError("not a tree of plain values")
            return tree
        tag = tree[0]
        value = self._value
        if tag == "l":
            return [value(item) for item in tree[1:]]
        if tag == "t":
            return tuple([value(item) for item in tree[1:]])
        if tag == "d":
            return self._dict(tree[1:])
        if tag == "i":
            return int(tree[1], 16)
        if tag == "s":
            return {value(item) for item in tree[1:]}
        if tag == "z":
            return frozenset([value(item) for item in tree[1:]])
        if tag in self._handles:
            return self._handles[tag](tree[1:])
        return self._rarer(tag, tree)

    def _dict(self, items: list[Any]) -> dict[Any, Any]:
        if len(items) % 2:
            raise NotPlainError("a dictionary with a key and no value")
        return {self._value(items[i]): self._value(items[i + 1]) for i in range(0, len(items), 2)}

    def _rarer(self, tag: Any, tree: list[Any]) -> Any:
        if tag == "c":
            return complex(float(tree[1]), float(tree[2]))
        if tag == "b":
            return bytes.fromhex(tree[1])
        if tag == "B":
            return bytearray.fromhex(tree[1])
        if tag == "r":
            return range(*[self._value(item) for item in tree[1:]])
        if tag == "C":
            return Counter(self._dict(tree[1:]))
        if tag == "O":
            return OrderedDict(self._dict(tree[1:]))
        if tag == "D":
            return defaultdict(_FACTORIES[tree[1]] if tree[1] is not None else None, self._dict(tree[2:]))
        if tag == "q":
            return deque([self._value(item) for item in tree[2:]], self._value(tree[1]))
        if tag == "v":
            return {"Ellipsis": Ellipsis, "NotImplemented": NotImplemented}[tree[1]]
        if tag == "n":
            return _number(tree[1], tree[2])
        if tag == "f":
            return _NAMED[tree[1]]
        raise NotPlainError(f"unknown tag {str(tag)[:20]!r}")


def _number(name: str, text: str) -> Any:
    if len(text) > 10_000:
        raise NotPlainError(f"a {name} of {len(text)} digits")
    if name == "Decimal":
        from decimal import Decimal

        return Decimal(text)
    if name == "Fraction":
        from fractions import Fraction

        return Fraction(text)
    raise NotPlainError(f"unknown number {name[:20]!r}")
