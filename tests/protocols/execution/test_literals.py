"""Plain values survive the boundary; everything else is refused or becomes the plain value it holds."""

# Tables of values stay on one line, however long.
# ruff: noqa: E501

from __future__ import annotations

import contextlib
import enum
import json
import math
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.execution.literals import MAX_TEXT, Decoder, Encoder, NotPlainError

HASHABLE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.frozensets(inner, max_size=4),
    max_leaves=8,
)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.sets(HASHABLE, max_size=4)
    ),
    max_leaves=20,
)


def across(value: Any) -> Any:
    return Decoder().value(Encoder().text(value))


def same(left: Any, right: Any) -> bool:
    """Equal, of the same types all the way down, and of the same signs of zero."""
    return (
        repr(left) == repr(right) if isinstance(left, (float, complex)) else type(left) is type(right) and left == right
    )


@given(VALUES)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    assert same(value, across(value))


@given(st.text(st.characters(codec=None), max_size=20))
def test_any_text_crosses_lone_surrogates_too(text: str) -> None:
    assert across(text) == text


@pytest.mark.parametrize(
    "value",
    [
        math.inf, -math.inf, -0.0, 1e308, 5e-324, 2**53, -(2**53), 10**6000, -(10**6000), range(1, 9, 2), bytearray(b"\x00\xff"),
        Counter("abca"), OrderedDict([("b", 1), ("a", 2)]), deque([1, 2], 3), Decimal("1.10"), Fraction(1, 3), Ellipsis,
        NotImplemented, True, 1, 1.0, [True, 1, 1.0], {1: "a", "1": "b"}, {(1, (2,)): {3}}, "\x00", "\ud800", len, int,
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_special_values_come_back_with_their_type(value: Any) -> None:
    assert same(value, across(value))


def test_not_a_number_crosses() -> None:
    assert math.isnan(across(math.nan))
    assert math.isnan(across([{"a": math.nan}])[0]["a"])


def test_default_dictionaries_keep_a_plain_factory() -> None:
    value = across(defaultdict(list, {1: [2]}))
    assert (value, value["new"]) == ({1: [2], "new": []}, [])
    assert across(defaultdict(lambda: 3, {1: 2})).default_factory is None


class Sly(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


class SlyText(str):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


class Colour(enum.IntEnum):
    RED = 3


class SlyList(list[int]):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


Point = namedtuple("Point", "x y")  # noqa: PYI024 - the untyped form is what programs use


@pytest.mark.parametrize(
    ("value", "plain"),
    [(Sly(4), 4), (SlyText("a"), "a"), (Colour.RED, 3), (SlyList([1]), [1]), (Point(1, 2), (1, 2)), ({1: 2}.keys(), {1}),
     ({1: 2}.values(), [2]), ({1: 2}.items(), {(1, 2)})],
)  # fmt: skip
def test_subclasses_become_the_plain_value(value: Any, plain: Any) -> None:
    found = across(value)
    assert type(found) is type(plain)
    assert found == plain


def test_objects_are_refused_or_given_to_the_handle() -> None:
    with pytest.raises(NotPlainError, match="object"):
        Encoder().text([object()])
    assert json.loads(Encoder(lambda _value: ["h", 7]).text([object()])) == ["l", ["h", 7]]
    assert Decoder({"h": lambda tree: tree[0]}).value('["l",["h",7]]') == [7]


def test_values_that_hold_themselves_or_explode_are_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(NotPlainError, match="deeply"):
        Encoder().text(loop)
    wide: list[Any] = [1]
    for _ in range(40):
        wide = [wide, wide]
    with pytest.raises(NotPlainError, match="more than"):
        Encoder().text(wide)
    with pytest.raises(NotPlainError, match="more than"):
        Encoder().text("a" * (MAX_TEXT + 1))


@pytest.mark.parametrize(
    "text",
    ["", "{", "{}", "[]", '["?"]', '["d",1]', '["d",["l"],1]', '["s",["l"]]', '["i","x"]', '["i",3]', '["b","zz"]', '["f","eval"]',
     '["n","Decimal","x"]', '["n","os",""]', '["D","eval"]', '["v","x"]', '["r",1,2,0]', '["q",-1,1]', '["c","x",1]', '[["l"]]',
     "[" * 100_000, '["l",' * 5000 + "1" + "]" * 5000, '["n","Fraction","1/0"]', '["n","Decimal","' + "1" * 20_000 + '"]', "[null]", "nul"],
)  # fmt: skip
def test_hostile_texts_are_refused(text: str) -> None:
    with pytest.raises(NotPlainError):
        Decoder().value(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from(list("ltdszibBcrCODqvnf")),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
        max_leaves=15,
    )
)
def test_no_json_can_do_more_than_be_refused(tree: Any) -> None:
    with contextlib.suppress(NotPlainError):
        Decoder().value(json.dumps(tree))
