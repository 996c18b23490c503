"""A signature names every choice, can be read back, and refuses comparisons that nobody asked for."""

from __future__ import annotations

from importlib.metadata import version

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.signature import Signature
from specref_core.errors import InputError

KEYS = st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True).filter(lambda key: key not in {"cls", "version"})
TEXTS = st.text(st.sampled_from("\ud800\u2028\x0b\r\n|:%,") | st.characters(exclude_categories=()), max_size=20)
VALUES = TEXTS | st.integers() | st.floats(allow_nan=False) | st.booleans() | st.lists(st.integers())


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_what_is_printed_can_be_read_back(choices):
    signature = Signature.of(**choices)
    assert Signature.parse(str(signature)) == signature


@given(st.dictionaries(KEYS, TEXTS, max_size=6))
def test_a_signature_is_one_line(choices):
    assert len(str(Signature.of(**choices)).splitlines()) == 1


@given(TEXTS, TEXTS)
def test_distinct_texts_print_differently(one, two):
    assert (str(Signature.of(a=one)) == str(Signature.of(a=two))) == (one == two)


@given(st.dictionaries(KEYS, VALUES, max_size=5), st.dictionaries(KEYS, VALUES, max_size=5))
def test_differences_are_symmetric_and_empty_only_between_equals(one, two):
    first, second = Signature.of(**one), Signature.of(**two)
    there, back = first.differences(second), second.differences(first)
    assert {key: pair[::-1] for key, pair in there.items()} == back
    assert (not there) == (first.as_dict() == second.as_dict())


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (True, "yes"),
        (False, "no"),
        (0.5, "0.5"),
        (10.0, "10"),
        (1 / 3, "0.3333333333333333"),
        ([1, 2], "1,2"),
        ((8, 16.5, True), "8,16.5,yes"),
        ("a|b:c\nd", "a%7cb%3ac%0ad"),
        ("100%", "100%25"),
        ("\u2028", "%e2%80%a8"),
        ("", ""),
    ],
)
def test_values(value, printed):
    assert Signature.of(x=value).as_dict()["x"] == printed


def test_order_underscores_nothing_and_the_version():
    signature = Signature.of(benchmark="humaneval", max_new_tokens=256, left_out=None)
    assert str(signature) == f"benchmark:humaneval|max-new-tokens:256|version:{version('specref')}"


@pytest.mark.parametrize("text", ["", "a", "a:1|", ":1", "a:1||b:2"])
def test_a_broken_signature_is_named(text):
    with pytest.raises(InputError, match="not key:value"):
        Signature.parse(text)


class TestComparison:
    def test_two_systems_may_be_compared(self):
        Signature.of(system="a", n=3).require_comparable(Signature.of(system="b", n=3))

    def test_another_difference_is_refused_by_name(self):
        with pytest.raises(InputError, match="timeout: 3 against 10"):
            Signature.of(system="a", timeout=3.0).require_comparable(Signature.of(system="b", timeout=10.0))

    def test_a_choice_that_one_side_lacks_is_a_difference(self):
        with pytest.raises(InputError, match="grader: strict against absent"):
            Signature.of(grader="strict").require_comparable(Signature.of())

    def test_an_empty_choice_is_told_from_an_absent_one(self):
        with pytest.raises(InputError, match="stop: empty against absent"):
            Signature.of(stop="").require_comparable(Signature.of())

    def test_a_named_difference_is_allowed(self):
        one, two = Signature.of(steps=8), Signature.of(steps=16)
        one.require_comparable(two, named=("steps",))

    def test_a_difference_is_named_as_it_was_given_or_as_it_is_printed(self):
        one, two = Signature.of(max_new_tokens=8), Signature.of(max_new_tokens=16)
        one.require_comparable(two, named=("max_new_tokens",))
        one.require_comparable(two, named=("max-new-tokens",))
