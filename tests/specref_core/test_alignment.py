from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tokenizers import Tokenizer

from specref_core import alignment
from specref_core.alignment import mend_spans, project, token_spans
from specref_core.errors import InputError
from tests import small_tokenizers
from tests.strategies import loose_spans, numbers, partitions, texts

HOW = ("mean", "max")
REAL = ("phi-2", "gpt2", "cl100k_base")


def by_definition(values, sources, targets, how):
    """The rule of ``project``, character by character."""
    result = []
    for start, end in targets:
        shares = [(min(end, b) - max(start, a), v) for (a, b), v in zip(sources, values, strict=True)]
        shares = [(w, v) for w, v in shares if w > 0]
        if not shares:
            covered = sorted({c for a, b in sources for c in range(a, b)})
            if not covered:
                result.append(0.0)
                continue
            before = [c for c in covered if c < start]
            nearest = before[-1] if before else covered[0]
            shares = [(1, v) for (a, b), v in zip(sources, values, strict=True) if a <= nearest < b]
        total = sum(w for w, _ in shares)
        result.append(max(v for _, v in shares) if how == "max" else sum(w * v / total for w, v in shares))
    return result


class TestProject:
    """Values through characters."""

    @given(loose_spans(), loose_spans(), st.data(), st.sampled_from(HOW))
    def test_follows_its_definition_character_by_character(self, source, target, data, how):
        values = data.draw(hnp.arrays(np.float64, len(source), elements=st.floats(-100, 100)))
        wanted = by_definition(values, source.tolist(), target.tolist(), how)
        np.testing.assert_allclose(project(values, source, target, how=how), wanted, atol=1e-9)

    @given(loose_spans(), loose_spans(), st.data())
    def test_is_the_same_in_slices(self, source, target, data):
        values = data.draw(hnp.arrays(np.float64, len(source), elements=numbers))
        whole = project(values, source, target)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(alignment, "_PAIRS_AT_ONCE", 2)
            np.testing.assert_array_equal(project(values, source, target), whole)

    @given(st.integers(1, 30).flatmap(partitions), st.data(), st.sampled_from(HOW))
    def test_equal_spans_keep_their_values_exactly(self, spans, data, how):
        values = data.draw(hnp.arrays(np.float64, len(spans), elements=numbers))
        np.testing.assert_array_equal(project(values, spans, spans, how=how), values)

    @given(st.integers(1, 30).flatmap(partitions), st.data())
    def test_one_full_span_gets_the_mean_over_characters(self, spans, data):
        values = data.draw(hnp.arrays(np.float64, len(spans), elements=st.floats(-100, 100)))
        length = spans[-1, 1]
        wanted = np.repeat(values, spans[:, 1] - spans[:, 0]).mean()
        np.testing.assert_allclose(project(values, spans, [(0, length)]), [wanted], atol=1e-9)

    @given(loose_spans(), loose_spans(), numbers, st.sampled_from(HOW))
    def test_constants_stay_constant_exactly(self, source, target, constant, how):
        result = project(np.full(len(source), constant), source, target, how=how)
        has_text = (source[:, 1] > source[:, 0]).any()
        np.testing.assert_array_equal(result, np.full(len(target), constant if has_text else 0.0))

    @given(loose_spans(), loose_spans(), st.data(), st.sampled_from(HOW))
    def test_values_stay_within_the_range_of_the_source(self, source, target, data, how):
        values = data.draw(
            hnp.arrays(np.float64, len(source), elements=st.floats(-1e300, 1e300, allow_subnormal=False))
        )
        carried = values[source[:, 1] > source[:, 0]]
        result = project(values, source, target, how=how)
        if len(carried):
            assert ((result >= carried.min()) & (result <= carried.max())).all()

    @given(st.integers(1, 30).flatmap(lambda n: st.tuples(partitions(n), partitions(n))), st.data())
    def test_the_sum_over_characters_is_preserved(self, both, data):
        source, target = both
        values = data.draw(hnp.arrays(np.float64, len(source), elements=st.floats(0, 10)))
        before = (values * (source[:, 1] - source[:, 0])).sum()
        after = (project(values, source, target) * (target[:, 1] - target[:, 0])).sum()
        assert after == pytest.approx(before)

    @given(loose_spans(), loose_spans(), st.data())
    def test_the_largest_is_never_below_the_mean(self, source, target, data):
        values = data.draw(hnp.arrays(np.float64, len(source), elements=numbers))
        assert (project(values, source, target, how="max") >= project(values, source, target)).all()

    @given(loose_spans(), loose_spans(), st.data(), st.randoms(use_true_random=False))
    def test_the_order_of_source_tokens_does_not_matter(self, source, target, data, random):
        values = data.draw(hnp.arrays(np.float64, len(source), elements=st.floats(-100, 100)))
        order = list(range(len(source)))
        random.shuffle(order)
        np.testing.assert_allclose(
            project(values[order], source[order], target), project(values, source, target), atol=1e-9
        )

    @pytest.mark.parametrize(
        ("source", "values", "target", "mean"),
        [
            # weighted by overlap: two characters of the first, one of the second
            ([(0, 3), (3, 6)], [1.0, 4.0], [(1, 4)], [2.0]),
            # three byte pieces of one character count together as that character
            ([(0, 1), (1, 2), (1, 2), (1, 2)], [9.0, 1.0, 2.0, 3.0], [(1, 2)], [2.0]),
            # a gap takes the character before it
            ([(0, 2), (5, 7)], [1.0, 2.0], [(2, 5)], [1.0]),
            # nothing before: the first character after
            ([(3, 5), (5, 7)], [1.0, 2.0], [(0, 3), (0, 0)], [1.0, 1.0]),
            # an empty target inside a token takes the character before it; at 0, the one after
            ([(0, 4), (4, 8)], [1.0, 2.0], [(4, 4), (6, 6), (0, 0), (8, 8)], [1.0, 2.0, 1.0, 2.0]),
            # special tokens report (0, 0) wherever they stand
            ([(0, 0), (0, 2), (2, 4), (0, 0)], [9.0, 1.0, 2.0, 9.0], [(0, 2), (2, 4)], [1.0, 2.0]),
            # nothing at all to carry
            ([(2, 2)], [5.0], [(0, 4)], [0.0]),
            ([], [], [(0, 4), (4, 4)], [0.0, 0.0]),
            ([(0, 4)], [1.0], [], []),
            # a target that reaches past the text
            ([(0, 4)], [1.0], [(2, 9), (7, 9)], [1.0, 1.0]),
        ],
    )
    def test_cases(self, source, values, target, mean):
        np.testing.assert_allclose(project(values, source, target), mean)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (([1.0], [(0, 1), (1, 2)], [(0, 1)]), "one value a span"),
            (([[1.0]], [(0, 1)], [(0, 1)]), "one value a span"),
            (([1.0], [(2, 1)], [(0, 1)]), r"source_spans\[0\] = \(2, 1\)"),
            (([1.0], [(0, 1)], [(-1, 1)]), r"target_spans\[0\] = \(-1, 1\)"),
            (([1.0], [(0.0, 1.0)], [(0, 1)]), "integer"),
            (([1.0], [(0, 1, 2)], [(0, 1)]), r"expected \(n, 2\)"),
            (([np.nan], [(0, 1)], [(0, 1)]), "not finite"),
            (([1.0], [(0, 1), (2,)], [(0, 1)]), "source_spans is ragged"),
            (([1.0], [(0, 1)], [None, (0, 1)]), "target_spans"),
            ((["high"], [(0, 1)], [(0, 1)]), "cannot be read as numbers"),
        ],
    )
    def test_refuses_what_it_cannot_use(self, arguments, message):
        with pytest.raises(InputError, match=message):
            project(*arguments)

    def test_refuses_an_unknown_way(self):
        with pytest.raises(InputError, match="'median'"):
            project([1.0], [(0, 1)], [(0, 1)], how="median")

    def test_a_million_characters_take_less_than_a_second(self):
        rng = np.random.default_rng(0)
        source, target = (_random_partition(rng, 1_000_000) for _ in range(2))
        values = rng.random(len(source))
        started = time.process_time()  # of this process: what else runs on the machine is not its fault
        project(values, source, target)
        assert time.process_time() - started < 1


class TestTokenSpans:
    """Lawful spans from any fast tokenizer."""

    @pytest.mark.parametrize("kind", small_tokenizers.ALL)
    @settings(deadline=None, max_examples=60)
    @given(text=texts)
    def test_spans_are_monotone_within_the_text_and_account_for_every_character(self, kind, text):
        check_laws(token_spans(small_tokenizers.ALL[kind](), text), text)

    @pytest.mark.parametrize("name", REAL)
    def test_laws_hold_for_published_tokenizers(self, name, data_dir):
        tokenizer = Tokenizer.from_file(str(data_dir / "tokenizers" / name / "tokenizer.json"))

        @settings(deadline=None, max_examples=60)
        @given(texts)
        def law(text):
            tokens = token_spans(tokenizer, text)
            check_laws(tokens, text)
            assert tokenizer.decode(tokens.token_ids.tolist(), skip_special_tokens=False) == text

        law()

    @pytest.mark.parametrize("kind", ["byte-level", "byte fallback"])
    def test_pieces_of_one_character_all_have_its_span(self, kind):
        tokens = token_spans(small_tokenizers.ALL[kind](), "a🙂")
        assert tokens.spans[-4:].tolist() == [[1, 2]] * 4

    def test_trimmed_offsets_get_their_space_back(self):
        tokens = token_spans(small_tokenizers.byte_level(prefix_space=True, trim_offsets=True), "the  end")
        assert tokens.spans.tolist() == [[0, 3], [3, 4], [4, 8]]

    def test_dropped_whitespace_goes_to_the_next_token_and_a_stripped_mark_to_the_one_before(self):
        tokens = token_spans(small_tokenizers.word_piece(), "the  e\u0301nd\n")
        assert tokens.spans[0].tolist() == [0, 3]
        assert tokens.spans[1, 0] == 3
        assert tokens.spans[-1, 1] == 10

    def test_text_that_spells_a_special_token_stays_text(self):
        tokenizer = small_tokenizers.byte_level()
        special = tokenizer.token_to_id("<|endoftext|>")
        tokens = token_spans(tokenizer, "a<|endoftext|>b")
        assert special not in tokens.token_ids
        assert special in tokenizer.encode("a<|endoftext|>b").ids  # the tokenizer's own setting is back in place

    def test_truncation_and_padding_do_not_hide_text_and_come_back(self):
        tokenizer = Tokenizer.from_str(small_tokenizers.byte_level().to_str())
        tokenizer.enable_truncation(2)
        tokenizer.enable_padding(length=5)
        tokens = token_spans(tokenizer, "abcdef")
        assert tokens.spans[-1, 1] == 6
        assert tokenizer.truncation["max_length"] == 2
        assert tokenizer.padding["length"] == 5

    def test_empty_text_has_no_tokens(self):
        assert token_spans(small_tokenizers.byte_level(), "").spans.shape == (0, 2)

    def test_refuses_a_lone_surrogate_by_name(self):
        with pytest.raises(InputError, match=r"U\+D800\) at character 1"):
            token_spans(small_tokenizers.byte_level(), "a\ud800")

    def test_refuses_a_tokenizer_without_offsets(self):
        with pytest.raises(InputError, match="object gives no character offsets"):
            token_spans(object(), "a")


class TestMendSpans:
    """Raw offsets made lawful."""

    @given(loose_spans(20))
    def test_any_offsets_become_lawful(self, spans):
        text = "ab c\u0301d  efgh ijk lmno"[:20]
        mended = mend_spans(spans, text)
        filled = mended[:, 1] > mended[:, 0]
        np.testing.assert_array_equal(filled, (np.clip(spans, 0, 20)[:, 1] > np.clip(spans, 0, 20)[:, 0]))
        check_spans_lawful(mended, len(text), complete=bool(filled.any()))

    @given(st.integers(1, 12).flatmap(partitions))
    def test_lawful_spans_are_unchanged(self, spans):
        np.testing.assert_array_equal(mend_spans(spans, "x y zé  w abc"[: spans[-1, 1]]), spans)


class TestIndexTransfer:
    """Naive transfer by token index is wrong on real tokenizers."""

    def test_naive_index_transfer_disagrees_with_offset_alignment(self, data_dir):
        text = "def total(values):\n    return sum(v**2 for v in values)  # 你好\n"
        drafter, refiner = (
            token_spans(Tokenizer.from_file(str(data_dir / "tokenizers" / name / "tokenizer.json")), text)
            for name in ("phi-2", "cl100k_base")
        )
        # The drafter is unsure of one thing only: the operator.
        operator = text.index("**")
        entropies = np.where((drafter.spans[:, 0] <= operator) & (operator < drafter.spans[:, 1]), 5.0, 0.0)
        aligned = project(entropies, drafter.spans, refiner.spans)
        shared = min(len(drafter.spans), len(refiner.spans))
        naive = np.zeros(len(refiner.spans))
        naive[:shared] = entropies[:shared]
        start, end = refiner.spans[int(aligned.argmax())]
        assert start <= operator < end
        assert naive.argmax() != aligned.argmax()
        wrong_start, wrong_end = refiner.spans[int(naive.argmax())]
        assert "**" not in text[wrong_start:wrong_end]


def check_laws(tokens, text):
    assert len(tokens.token_ids) == len(tokens.spans)
    filled = tokens.spans[:, 1] > tokens.spans[:, 0]
    check_spans_lawful(tokens.spans, len(text), complete=bool(filled.any()))


def check_spans_lawful(spans, length, *, complete):
    assert (spans >= 0).all()
    assert (spans <= length).all()
    assert (np.diff(spans[:, 1]) >= 0).all()
    filled = spans[spans[:, 1] > spans[:, 0]]
    assert (np.diff(filled, axis=0) >= 0).all()
    covered = np.zeros(length, dtype=bool)
    for start, end in filled:
        covered[start:end] = True
    assert covered.all() or not complete


def _random_partition(rng, length):
    edges = np.unique(np.concatenate([[0, length], rng.integers(1, length, length // 3)]))
    return np.stack([edges[:-1], edges[1:]], axis=1)


def test_importing_the_pure_modules_loads_no_heavy_library():
    names = "alignment, masking, scaffolds, continuation, loading, generator"
    code = f"import sys; from specref_core import {names}; print(*{{'torch', 'transformers'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
