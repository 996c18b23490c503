from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from specref_core.alignment import token_spans
from specref_core.errors import InputError
from specref_core.masking import top_k
from specref_core.scaffolds import SCAFFOLDS, content_tokens, reachable_count, scaffold_mask, structure_tokens
from tests.strategies import partitions, scores, texts

CODE = '''def area(r, pi=3):
    """Say: if (x)"""
    for i in [1, 2]:  # a (note)
        total = r * "a:b(" if r else None
    return total
'''


@st.composite
def cases(draw):
    text = draw(texts.filter(bool))
    spans = draw(partitions(len(text)))
    return text, spans, draw(scores(len(spans))), draw(st.integers(0, len(spans)))


def words(text, flag):
    """The characters of a text that ``flag`` marks, one token a character."""
    marks = flag(text, [(i, i + 1) for i in range(len(text))])
    return "".join(c for c, m in zip(text, marks, strict=True) if m)


class TestClasses:
    """What is structure and what is content."""

    @pytest.mark.parametrize(
        ("text", "structure"),
        [
            ("    return x + 1\n", "    return\n"),
            ("for i in xs:\n  y", "forin:\n  "),
            ("def f(a, b=1):", "def f(a, b=1):"),
            ("  async def f():\n", "  async def f():\n"),
            ("x\n\n    def f(a):\n\ty", "\n\n    def f(a):\n\t"),
            ("class A:\n    pass", "class A:\n    pass"),
            ("x = {'if': [None, True]}", "{:[]}"),
            ("# if (a): b\ny", "\n"),
            ("s = 'unclosed (if\ny()", "\n()"),
            ('"""doc (if\n', ""),
            ("a = 'it\\'s (' + b", ""),
            ("definition classify iffy", ""),
        ],
    )
    def test_cases(self, text, structure):
        assert words(text, structure_tokens) == structure

    def test_tokens_of_a_real_tokenizer(self, data_dir):
        tokenizer = Tokenizer.from_file(str(data_dir / "tokenizers" / "cl100k_base" / "tokenizer.json"))
        spans = token_spans(tokenizer, CODE).spans
        kept = [CODE[a:b] for (a, b), s in zip(spans, structure_tokens(CODE, spans), strict=True) if s]
        assert {"def", " area", " for", " in", " if", " else", "   "} <= set(kept)
        assert not {" total", " r", " None", " *", "Say"} & set(kept)

    @given(cases())
    def test_every_token_with_text_is_of_exactly_one_class(self, case):
        text, spans, _, _ = case
        np.testing.assert_array_equal(structure_tokens(text, spans), ~content_tokens(text, spans))

    def test_a_token_without_text_is_of_none(self):
        spans = [(0, 1), (1, 1)]
        assert not structure_tokens(":", spans)[1]
        assert not content_tokens(":", spans)[1]


class TestScaffoldMask:
    """Equal counts, chosen differently."""

    @given(cases(), st.sampled_from(["random", "low-entropy"]), st.integers(0, 99))
    def test_keeps_exactly_the_count(self, case, policy, seed):
        text, spans, values, count = case
        hidden = scaffold_mask(policy, text, spans, values, count, np.random.default_rng(seed))
        assert (~hidden).sum() == count

    @given(cases(), st.sampled_from(["structure", "content"]), st.integers(0, 99))
    def test_keeps_members_of_its_class_only_and_all_of_them_when_too_few(self, case, policy, seed):
        text, spans, values, count = case
        members = (structure_tokens if policy == "structure" else content_tokens)(text, spans)
        kept = ~scaffold_mask(policy, text, spans, values, count, np.random.default_rng(seed))
        assert not (kept & ~members).any()
        assert kept.sum() == min(count, members.sum())

    @given(cases(), st.integers(0, 99))
    def test_all_policies_keep_the_reachable_count(self, case, seed):
        text, spans, values, count = case
        reachable = reachable_count(text, spans, count)
        for policy in set(SCAFFOLDS) - {"all", "none"}:
            hidden = scaffold_mask(policy, text, spans, values, reachable, np.random.default_rng(seed))
            assert (~hidden).sum() == reachable

    @given(cases())
    def test_low_entropy_is_the_complement_of_top_k(self, case):
        text, spans, values, _ = case
        hidden = top_k(values, 60)
        kept = int((~hidden).sum())
        rng = np.random.default_rng(0)
        np.testing.assert_array_equal(scaffold_mask("low-entropy", text, spans, values, kept, rng), hidden)

    @given(cases())
    def test_the_two_ends_ignore_the_count(self, case):
        text, spans, values, count = case
        rng = np.random.default_rng(0)
        assert scaffold_mask("none", text, spans, values, count, rng).all()
        assert not scaffold_mask("all", text, spans, values, count, rng).any()

    @given(cases(), st.sampled_from(SCAFFOLDS), st.integers(0, 99))
    def test_equal_seeds_give_equal_masks(self, case, policy, seed):
        first, second = (scaffold_mask(policy, *case, np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(first, second)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("syntax", "ab", [(0, 1)], [0.5], 1), "'syntax': expected one of none"),
            (("random", "ab", [(0, 1)], [0.5], 2), "keep_count=2"),
            (("random", "ab", [(0, 1)], [0.5], -1), "keep_count=-1"),
            (("random", "ab", [(0, 1)], [], 0), "0 scores and 1 spans"),
        ],
    )
    def test_refuses_what_it_cannot_use(self, arguments, message):
        with pytest.raises(InputError, match=message):
            scaffold_mask(*arguments, np.random.default_rng(0))
