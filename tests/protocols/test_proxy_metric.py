"""The proxy metric is a string match on the beginning, no more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.proxy_metric import CHARACTERS, proxy_match
from protocols.score import Failure
from specref_core.errors import InputError

TARGET = "    for idx, elem in enumerate(numbers):\n        return True\n"

TABLE = [
    (TARGET, True, None),
    (TARGET + "anything", True, None),
    (TARGET.strip()[:CHARACTERS] + "and then nonsense", True, None),
    ("\n\n" + TARGET, True, None),
    (TARGET.strip()[: CHARACTERS - 1], False, Failure.WRONG_ANSWER),
    (TARGET.replace("idx", "i"), False, Failure.WRONG_ANSWER),
    (TARGET.upper(), False, Failure.WRONG_ANSWER),
    ("def f():\n" + TARGET, False, Failure.WRONG_ANSWER),
    ("", False, Failure.NO_ANSWER),
    (" \n", False, Failure.NO_ANSWER),
]


@pytest.mark.parametrize(("output", "correct", "failure"), TABLE)
def test_only_the_first_forty_characters_count(output: str, correct: bool, failure: Failure | None) -> None:
    score = proxy_match(output, TARGET)
    assert (score.correct, score.failure) == (correct, failure)


def test_a_short_target_counts_whole() -> None:
    assert proxy_match("18 and more", "18").correct
    assert not proxy_match("1", "18").correct


@pytest.mark.parametrize(("target", "characters"), [("", 40), ("  ", 40), ("x", 0)])
def test_what_would_match_everything_is_refused(target: str, characters: int) -> None:
    with pytest.raises(InputError):
        proxy_match("x", target, characters=characters)


@given(st.text(min_size=1).filter(str.strip), st.text())
def test_a_text_matches_itself_whatever_follows(target: str, tail: str) -> None:
    assert proxy_match(target.strip() + tail, target).correct
