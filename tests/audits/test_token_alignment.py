"""Index transfer against projection: laws over tokenizers and texts, and what the audit says of planted pipelines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits import token_alignment
from audits.kept_results import KeptResults
from audits.live_systems import LiveSystem, MissingCapabilityError
from audits.token_alignment import Aligned, IndexTransfer, index_transfer
from audits.verdicts import Outcome
from specref_core.alignment import project, token_spans
from specref_core.errors import GeneratorError
from specref_core.generator import Completion, Draft, Projection
from specref_core.masking import MaskPolicy, normalise
from tests import small_tokenizers
from tests.audits import generators
from tests.strategies import texts

REPRODUCED, NOT = Outcome.REPRODUCED, Outcome.NOT_REPRODUCED
VOCABULARY = 300
tokenizers = st.sampled_from(sorted(small_tokenizers.ALL))


def drafted(kind, text, entropies):
    tokens = token_spans(small_tokenizers.ALL[kind](), text)
    count = len(tokens.token_ids)
    spans = tuple(tuple(span) for span in tokens.spans.tolist())
    return Draft(text, tuple(tokens.token_ids.tolist()), spans, tuple(entropies[:count]), VOCABULARY)


def projected(draft, kind, how="mean"):
    spans = token_spans(small_tokenizers.ALL[kind](), draft.text).spans
    return Projection(spans, normalise(project(draft.entropies, draft.spans, spans, how=how), VOCABULARY))


class TestLaws:
    @settings(deadline=None)
    @given(texts, tokenizers, tokenizers, st.data())
    def test_every_uncertain_character_lies_in_an_uncertain_token(self, text, one, other, data):
        count = len(token_spans(small_tokenizers.ALL[one](), text).token_ids)
        entropies = data.draw(st.lists(st.sampled_from([0.0, 0.5, 3.0]), min_size=count, max_size=count))
        draft = drafted(one, text, entropies)
        aligned = Aligned(draft, projected(draft, other))
        uncertain = {c for (a, b), e in zip(draft.spans, entropies, strict=True) if e > 0 for c in range(a, b)}
        covered = {
            c
            for (a, b), score in zip(aligned.seen.spans.tolist(), aligned.by_characters, strict=True)
            if score > 0
            for c in range(a, b)
        }
        if len(aligned.seen.spans) and aligned.seen.spans.max() > 0:
            assert uncertain <= covered

    @settings(deadline=None)
    @given(texts, tokenizers, st.data())
    def test_equal_tokenizers_need_no_projection(self, text, kind, data):
        count = len(token_spans(small_tokenizers.ALL[kind](), text).token_ids)
        entropies = data.draw(st.lists(st.floats(0, 5), min_size=count, max_size=count))
        draft = drafted(kind, text, entropies)
        aligned = Aligned(draft, projected(draft, kind))
        assert aligned.same_tokens
        np.testing.assert_array_equal(aligned.by_index, aligned.by_characters)
        spans = [span for span in draft.spans if span[1] > span[0]]
        if len(set(spans)) == len(draft.spans) and (np.diff(np.ravel(spans)) >= 0).all():  # no pieces of characters
            np.testing.assert_allclose(aligned.by_index, aligned.seen.scores, atol=1e-12)

    @given(st.lists(st.floats(0, 5), max_size=12), st.integers(0, 20))
    def test_index_transfer_knows_nothing_beyond_the_drafters_last_token(self, entropies, count):
        n = len(entropies)
        draft = Draft("x" * n, (0,) * n, tuple((i, i + 1) for i in range(n)), tuple(entropies), VOCABULARY)
        scores = index_transfer(draft, count)
        assert scores.shape == (count,)
        np.testing.assert_allclose(scores[:n], normalise(entropies, VOCABULARY)[:count])
        assert not scores[n:].any()


class Pipeline(generators.Lookup):
    """Drafts the reference; its refiner spoils every text whose mask is not the one projection gives."""

    name = "planted"
    refiner = "word piece"
    naive = False

    def draft(self, prompts, *, budget, seed):  # noqa: ARG002 - the reference, whatever they are
        rng = np.random.default_rng(0)
        return [drafted("byte-level", self.known[p], rng.random(400).tolist()) for p in prompts]

    def project(self, draft):
        seen = projected(draft, self.refiner)
        return Projection(seen.spans, index_transfer(draft, len(seen.spans))) if self.naive else seen

    def refine(self, prompts, scaffolds, *, budget, seed):
        done = []
        for draft, scaffold in zip(self.draft(prompts, budget=budget, seed=seed), scaffolds, strict=True):
            right = MaskPolicy().mask(projected(draft, self.refiner).scores, draft.text, scaffold.spans)
            done.append(Completion(draft.text if np.array_equal(right, scaffold.masked) else "no"))
        return done

    def fingerprint(self):
        return f"{self.refiner}{self.naive}"


class Fixed(Pipeline):
    """Says that it is the first one."""

    def fingerprint(self):
        return "word pieceFalse"


class Naive(Pipeline):
    name, naive = "naive", True


class Alike(Pipeline):
    name, refiner = "alike", "byte-level"


def system(pipeline, **more):
    return LiveSystem("custom", pipeline, ("nano-code",), limit=40, post_processing="raw", **more)


class TestVerdicts:
    @pytest.mark.parametrize(
        ("kind", "misplaced", "moved"),
        [(Pipeline, NOT, REPRODUCED), (Naive, REPRODUCED, REPRODUCED), (Alike, Outcome.INCONCLUSIVE, None)],
    )
    def test_masks(self, kind, misplaced, moved):
        live = system(kind())
        live.limit = 80 if kind is Pipeline else 40
        found = token_alignment.drafts(live, "nano-code")
        own, naive = (judged(live, "nano-code", found) for judged in (token_alignment.misplaced, token_alignment.moved))
        assert own.outcome is misplaced
        if moved is None:  # cut alike: exactly nothing moves; forty drafts cannot exclude five points
            assert (own.effect, naive.effect) == (0, 0)
            assert naive.reason.startswith("40 of 40 drafts are cut alike")
        else:
            assert naive.outcome is moved
            assert naive.n == live.limit
        cells = token_alignment.figures(found)
        assert (cells["missed by index"] == "0") == (kind is Alike)

    def test_projections_of_an_earlier_run_are_those_of_the_same_drafts(self, tmp_path, monkeypatch):
        first = token_alignment.drafts(system(Pipeline(), kept=KeptResults(tmp_path)), "nano-code")
        with monkeypatch.context() as patched:
            patched.delattr(Pipeline, "refiner")  # projects no more
            again = token_alignment.drafts(system(Fixed(), kept=KeptResults(tmp_path)), "nano-code")
        for one, two in zip(first, again, strict=True):
            assert one.draft == two.draft
            np.testing.assert_array_equal(one.seen.spans, two.seen.spans)
            np.testing.assert_array_equal(one.seen.scores, two.seen.scores)
        shorter = Fixed()
        shorter.draft = lambda prompts, **_: [drafted("byte-level", "x = 1", [1.0] * 9) for _ in prompts]
        other = token_alignment.drafts(system(shorter, kept=KeptResults(tmp_path)), "nano-code")
        assert all(one.seen.spans.max() <= len("x = 1") for one in other)

    @pytest.mark.parametrize(("kind", "outcome"), [(Pipeline, REPRODUCED), (Alike, Outcome.INCONCLUSIVE)])
    def test_scores(self, kind, outcome):
        live = system(kind(), call_limit=60.0)
        verdict = token_alignment.costs(live, "nano-code")
        assert verdict.outcome is outcome
        assert verdict.effect == (-100 if kind is Pipeline else 0)

    def test_drafts_that_are_known_are_not_made_again(self):
        pipeline = Pipeline()
        variant = IndexTransfer(pipeline, MaskPolicy())
        prompt = next(iter(pipeline.known))
        known = pipeline.draft([prompt], budget=None, seed=0)
        variant.remember({prompt: known[0]})
        pipeline.draft = None
        assert variant._pipeline.draft([prompt], budget=None, seed=0) == known
        assert variant.fingerprint() == f"word pieceFalse+{variant.told}"

    def test_missing_methods_are_named(self):
        with pytest.raises(MissingCapabilityError, match=r"no draft\(\), project\(\); add what"):
            token_alignment.drafts(system(generators.Lookup()), "nano-code")
        with pytest.raises(MissingCapabilityError, match=r"refine\(\)"):
            token_alignment.costs(system(generators.Lookup()), "nano-code")

    @pytest.mark.parametrize(
        ("seen", "told"),
        [
            (Projection(np.zeros((3, 2), int), np.zeros(2)), r"spans of shape \(3, 2\) and 2 scores"),
            (Projection(np.zeros((1, 2), int), np.array([np.nan])), "one finite score each"),
            (None, r"project\(\) of 'planted' returned a NoneType; expected a Projection"),
        ],
    )
    def test_a_projection_that_is_none_is_the_pipelines_fault(self, seen, told):
        pipeline = Pipeline()
        pipeline.project = lambda draft: seen  # noqa: ARG005 - whatever the draft
        with pytest.raises(GeneratorError, match=told):
            token_alignment.drafts(system(pipeline, call_limit=20.0), "nano-code")
