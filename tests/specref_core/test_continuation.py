from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from specref_core import continuation
from specref_core.continuation import decode_continuation, encode_continuation
from tests import small_tokenizers
from tests.specref_core.test_alignment import check_spans_lawful
from tests.strategies import texts

REAL = ("phi-2", "gpt2", "cl100k_base")
LOSSLESS = ("byte-level", "byte-level, space before, trimmed offsets", "byte fallback")


@pytest.fixture(params=[*small_tokenizers.ALL, *REAL])
def tokenizer(request):
    if request.param in small_tokenizers.ALL:
        return small_tokenizers.ALL[request.param]()
    folder = request.getfixturevalue("data_dir") / "tokenizers" / request.param
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


class TestDecode:
    """From tokens to text and spans."""

    def test_the_text_is_what_the_tokenizer_decodes(self, tokenizer):
        @settings(deadline=None, max_examples=60)
        @given(st.lists(st.integers(0, tokenizer.get_vocab_size() + 3), max_size=25))
        def law(ids):
            known = [i for i in ids if tokenizer.id_to_token(i) is not None]
            assert decode_continuation(tokenizer, ids).text == tokenizer.decode(known, skip_special_tokens=True)

        law()

    def test_spans_are_lawful_and_pieces_add_up(self, tokenizer):
        @settings(deadline=None, max_examples=60)
        @given(st.lists(st.integers(0, tokenizer.get_vocab_size() - 1), max_size=25))
        def law(ids):
            decoded = decode_continuation(tokenizer, ids)
            assert "".join(decoded.pieces()) == decoded.text
            check_spans_lawful(decoded.spans, len(decoded.text), complete=True)

        law()

    @pytest.mark.parametrize("kind", LOSSLESS)
    def test_pieces_of_one_character_share_its_span(self, kind):
        tokenizer = small_tokenizers.ALL[kind]()
        tokens = encode_continuation(tokenizer, "a🙂b")
        decoded = decode_continuation(
            tokenizer, tokens.token_ids, context=encode_continuation(tokenizer, "x").token_ids
        )
        assert decoded.text == "a🙂b"
        assert decoded.spans.tolist() == [[0, 1], *[[1, 2]] * 4, [2, 3]]
        assert decoded.pieces() == ("a", "🙂", "", "", "", "b")

    @pytest.mark.parametrize("text", [" \ufffd", "\ufffd\ufffdé\ufffd", "a\ufffd🙂"])
    def test_a_replacement_character_of_the_text_is_one_character(self, text):
        tokenizer = small_tokenizers.ALL["byte fallback"]()
        tokens = encode_continuation(tokenizer, text)
        decoded = decode_continuation(
            tokenizer, tokens.token_ids, context=encode_continuation(tokenizer, "x").token_ids
        )
        assert decoded.text == text
        assert decoded.spans.tolist() == tokens.spans.tolist()

    def test_bytes_that_are_no_text_become_replacement_characters(self):
        tokenizer = small_tokenizers.byte_level()
        pieces = tokenizer.encode("🙂").ids  # four bytes
        broken = [pieces[0], pieces[1], *tokenizer.encode("a").ids, pieces[3]]
        decoded = decode_continuation(tokenizer, broken)
        assert decoded.text == "�a�"
        assert decoded.spans.tolist() == [[0, 1], [0, 1], [1, 2], [2, 3]]

    def test_special_and_hidden_tokens_have_empty_spans(self):
        tokenizer = small_tokenizers.byte_level()
        a, b = (tokenizer.encode(c).ids[0] for c in "ab")
        end = tokenizer.token_to_id("<|endoftext|>")
        assert decode_continuation(tokenizer, [end, a, end]).spans.tolist() == [[0, 0], [0, 1], [1, 1]]
        hidden = decode_continuation(tokenizer, [a, b], hidden={b})
        assert (hidden.text, hidden.spans.tolist()) == ("a", [[0, 1], [1, 1]])

    def test_added_tokens_read_as_they_are_written(self, data_dir):
        tokenizer = Tokenizer.from_file(str(data_dir / "tokenizers" / "phi-2" / "tokenizer.json"))
        ids = tokenizer.encode("    def").ids
        assert len(ids) == 2  # four spaces are one added token
        assert decode_continuation(tokenizer, ids).spans.tolist() == [[0, 4], [4, 7]]

    @settings(deadline=None)
    @given(st.binary(max_size=40), st.sampled_from([4, 5, 7, 256]))
    def test_any_bytes_are_read_as_python_reads_them(self, data, window):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(continuation, "_WINDOW", window)
            character = continuation._character_of_byte(data)
        text = data.decode("utf-8", "replace")
        assert len(set(character.tolist())) == len(text)
        for i, c in enumerate(text):
            own = data[character.searchsorted(i) : character.searchsorted(i, "right")]
            assert own.decode("utf-8", "replace") == c


class TestEncode:
    """From text to tokens, at a seam."""

    @pytest.mark.parametrize("kind", [*LOSSLESS, *REAL])
    def test_a_continuation_comes_back_to_the_byte(self, kind, request):
        if kind in REAL:
            folder = request.getfixturevalue("data_dir") / "tokenizers" / kind
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        else:
            tokenizer = small_tokenizers.ALL[kind]()
        context = encode_continuation(tokenizer, "def f(x):").token_ids.tolist()

        @settings(deadline=None, max_examples=60)
        @given(texts.map(lambda text: text.replace("▁", "_").replace("<unk>", "")))
        def law(text):
            tokens = encode_continuation(tokenizer, text)
            decoded = decode_continuation(tokenizer, tokens.token_ids, context=context)
            assert decoded.text == text
            np.testing.assert_array_equal(decoded.spans, tokens.spans)

        law()

    @pytest.mark.parametrize("text", ["a", " a", "  a", "hello world"])
    def test_no_space_is_put_before_it_or_taken_away(self, text):
        tokenizer = small_tokenizers.metaspace()
        context = encode_continuation(tokenizer, "the end").token_ids.tolist()
        tokens = encode_continuation(tokenizer, text)
        assert decode_continuation(tokenizer, tokens.token_ids, context=context).text == text
        assert tokens.spans[-1, 1] == len(text)
