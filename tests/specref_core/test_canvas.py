from __future__ import annotations

import numpy as np
import pytest

from specref_core.alignment import Tokenization, token_spans
from specref_core.canvas import blank, read, warm_start
from specref_core.errors import InputError
from tests import small_tokenizers

MASK, END = 900, 901
TEXT = "foo(a, b)"


@pytest.fixture
def tokens():
    return token_spans(small_tokenizers.byte_level(), TEXT)


def start(tokens, masked=None, **choices):
    n = len(tokens.token_ids)
    masked = np.zeros(n, bool) if masked is None else masked
    defaults = {"scores": np.linspace(0, 1, n), "mask_id": MASK, "end_id": END}
    return warm_start([7, 8], TEXT, tokens, masked, **{**defaults, **choices})


class TestWarmStart:
    """Line 6 of Algorithm 1."""

    @pytest.mark.parametrize(
        ("choices", "tail"),
        [
            ({}, [END]),
            ({"slack": 2}, [MASK, MASK, END]),
            ({"end_id": None}, []),
            ({"end_id": None, "slack": 1}, [MASK]),
            ({"length": 14}, None),
            ({"length": 14, "slack": 3}, None),
        ],
    )
    def test_the_draft_is_followed_by_slack_and_end(self, tokens, choices, tail):
        n = len(tokens.token_ids)
        canvas = start(tokens, **choices)
        if tail is None:
            slack = choices.get("slack", 0)
            tail = [MASK] * slack + [END] * (14 - n - slack)
        assert canvas.ids.tolist() == [*tokens.token_ids.tolist(), *tail]
        assert canvas.masked[n:].tolist() == [i == MASK for i in tail]
        assert len(canvas.initial) == len(canvas.scores) == len(canvas.ids) == len(canvas) - 2
        assert "".join(canvas.initial) == TEXT

    def test_a_fixed_canvas_cuts_a_longer_draft(self, tokens):
        canvas = start(tokens, length=2, slack=1)
        assert canvas.ids.tolist() == tokens.token_ids[:2].tolist()
        assert canvas.text is None  # it is no longer the whole draft

    def test_a_shared_character_is_shown_once(self):
        text = "a🙂"
        tokens = token_spans(small_tokenizers.byte_level(), text)
        n = len(tokens.token_ids)
        canvas = warm_start([], text, tokens, np.zeros(n, bool), scores=np.zeros(n), mask_id=MASK, end_id=None)
        assert canvas.initial == ("a", "🙂", "", "", "")

    def test_refuses_a_mask_of_another_length(self, tokens):
        with pytest.raises(InputError, match="expected one of each a token"):
            start(tokens, np.zeros(2, bool))


class TestRead:
    """From a filled canvas to the answer."""

    def test_the_answer_ends_at_the_first_end_token(self, tokens):
        canvas = start(tokens, np.arange(len(tokens.token_ids)) == 2)
        ids = canvas.ids.copy()
        ids[2] = END
        text, trace = read(
            canvas, ids, np.zeros(len(ids), np.int64), tokenizer=small_tokenizers.byte_level(), end_ids={END}
        )
        assert TEXT.startswith(text)
        assert "".join(trace.final_tokens) == text
        assert len(trace.final_tokens) == len(ids)

    def test_a_draft_kept_whole_is_kept_to_the_byte(self):
        text = "ﬁne ½"  # NFKC would rewrite it
        tokenizer = small_tokenizers.metaspace()
        tokens = token_spans(tokenizer, text)
        n = len(tokens.token_ids)
        canvas = warm_start([], text, tokens, np.zeros(n, bool), scores=np.zeros(n), mask_id=MASK, end_id=END)
        kept, _ = read(canvas, canvas.ids, np.zeros(n + 1, np.int64), tokenizer=tokenizer, end_ids={END})
        assert kept == text

    def test_an_empty_draft_is_an_empty_answer(self):
        empty = Tokenization(np.zeros(0, np.int64), np.zeros((0, 2), np.int64))
        canvas = warm_start([1], "", empty, np.zeros(0, bool), scores=np.zeros(0), mask_id=MASK, end_id=END)
        text, trace = read(
            canvas, canvas.ids, np.zeros(1, np.int64), tokenizer=small_tokenizers.byte_level(), end_ids={END}
        )
        assert text == ""
        assert trace.final_tokens == ("",)

    def test_a_blank_canvas_is_all_hidden(self):
        canvas = blank([1, 2], 3, mask_id=MASK)
        assert canvas.ids.tolist() == [MASK] * 3
        assert canvas.masked.all()
        assert canvas.initial == ("", "", "")
