from __future__ import annotations

import shutil

import numpy as np
import pytest

from specref_core.alignment import project
from specref_core.drafting.transformers import TransformersDrafter
from specref_core.errors import CheckpointError, InputError
from specref_core.generator import (
    Budget,
    Generator,
    HasComponents,
    HasDraft,
    HasFingerprint,
    HasLogLikelihood,
    HasProjection,
    HasRefine,
    LikelihoodRequest,
    MonteCarlo,
    Scaffold,
)
from specref_core.masking import MaskPolicy, normalise
from specref_core.specref import SpecRef, from_pretrained
from specref_core.standalone import RefinerSettings, StandaloneRefiner

PROMPTS = ["def f(x):\n    return", "Question: 12 + 30 = ?", "", "東京 🙂", "a" * 50]
BUDGET = Budget(steps=6, max_new_tokens=20)
NOTHING = MaskPolicy(k=0, math=False, tail=False)


@pytest.fixture(scope="module")
def make(phi, llada):
    """Build a pipeline from the loaded models."""

    def build(policy=None, settings=None, **drafting):
        return SpecRef(TransformersDrafter(*phi, **drafting), StandaloneRefiner(*llada, settings), policy)

    return build


@pytest.fixture(scope="module")
def completions(make):
    return make().generate(PROMPTS, budget=BUDGET, seed=1)


class TestAlgorithm:
    """Algorithm 1, end to end on small random checkpoints."""

    def test_has_every_capability(self, make):
        pipeline = make()
        for capability in (
            *(Generator, HasComponents, HasDraft, HasRefine, HasProjection, HasLogLikelihood, HasFingerprint),
        ):
            assert isinstance(pipeline, capability)

    def test_the_trace_follows_the_algorithm_line_by_line(self, make, completions):
        pipeline = make()
        drafts = pipeline.draft(PROMPTS, budget=BUDGET, seed=1)
        for completion, draft in zip(completions, drafts, strict=True):
            trace = completion.trace
            assert trace.draft == draft
            tokens = pipeline.refiner.encode_draft(draft.text)
            n = len(tokens.token_ids)
            u = project(draft.entropies, draft.spans, tokens.spans)
            m = np.clip(u / np.log(draft.vocab_size), 0, 1)
            np.testing.assert_allclose(trace.scores[:n], m, atol=1e-12)
            np.testing.assert_array_equal(trace.masked[:n], MaskPolicy().mask(m, draft.text, tokens.spans))
            assert trace.masked[n:] == (False,)  # the end token after the draft is kept
            assert [step > 0 for step in trace.committed_at] == list(trace.masked)
            assert "".join(trace.initial_tokens) == draft.text
            assert "".join(trace.final_tokens) == completion.text

    def test_the_cost_counts_both_models(self, make, completions):
        alone = make().components()["drafter"].generate(PROMPTS, budget=BUDGET, seed=1)
        for completion, drafted in zip(completions, alone, strict=True):
            cost, masks = completion.cost, sum(completion.trace.masked)
            assert cost.nominal_steps == 6
            assert cost.forward_passes == cost.row_forwards == min(6, masks)
            assert cost.drafted_tokens == len(completion.trace.draft.token_ids)
            assert cost.flops > drafted.cost.flops > 0
            assert cost.seconds > 0

    def test_masking_nothing_returns_the_draft_without_a_pass(self, make):
        pipeline = make(NOTHING)
        drafts = pipeline.draft(PROMPTS, budget=BUDGET, seed=1)
        completions = pipeline.generate(PROMPTS, budget=BUDGET, seed=1)
        assert [c.text for c in completions] == [d.text for d in drafts]
        assert [c.cost.forward_passes for c in completions] == [0] * len(PROMPTS)

    def test_masking_everything_forgets_all_but_the_length(self, make):
        pipeline = make(MaskPolicy(k=100))
        completion = pipeline.generate(PROMPTS[:1], budget=BUDGET, seed=1)[0]
        draft = completion.trace.draft
        spans = pipeline.project(draft).spans
        other = Scaffold("z" * 3, pipeline.refiner.encode_draft("z" * 3).spans, np.ones(3, bool))
        blank = Scaffold(draft.text, spans, np.ones(len(spans), bool))
        same, shorter = pipeline.refine([PROMPTS[0]] * 2, [blank, other], budget=BUDGET, seed=1)
        assert same.text == completion.text
        assert shorter.text != completion.text

    @pytest.mark.parametrize("batch_size", [1, 2])
    @pytest.mark.parametrize("sampled", [{}, {"temperature": 1.0}])
    def test_results_do_not_depend_on_batch_or_order(self, make, batch_size, sampled):
        whole = make(**sampled).generate(PROMPTS, budget=BUDGET, seed=2)
        settings = RefinerSettings(batch_size=batch_size)
        again = make(None, settings, **sampled, batch_size=batch_size).generate(PROMPTS[::-1], budget=BUDGET, seed=2)
        assert [c.text for c in whole] == [c.text for c in again[::-1]]

    def test_equal_seeds_give_equal_results(self, make, completions):
        again = make().generate(PROMPTS, budget=BUDGET, seed=1)
        assert [c.trace for c in again] == [c.trace for c in completions]

    def test_slack_gives_room_after_the_draft(self, make):
        completion = make(NOTHING, RefinerSettings(slack=3)).generate(PROMPTS[:1], budget=BUDGET, seed=1)[0]
        assert completion.trace.masked[-4:] == (True, True, True, False)
        assert completion.text.startswith(completion.trace.draft.text)

    def test_a_fixed_canvas_is_filled_with_end_tokens(self, make):
        completion = make(None, RefinerSettings(canvas_length=64)).generate(PROMPTS[:1], budget=BUDGET, seed=1)[0]
        assert len(completion.trace.masked) == 64

    def test_a_draft_that_ends_at_once_is_an_empty_answer(self, make):
        pipeline = make()
        first = pipeline.draft(PROMPTS[:1], budget=BUDGET, seed=1)[0].token_ids[0]
        pipeline.drafter.drafter.end_ids = {first}
        completion = pipeline.generate(PROMPTS[:1], budget=BUDGET, seed=1)[0]
        assert (completion.text, completion.cost.drafted_tokens, completion.cost.forward_passes) == ("", 1, 0)

    def test_no_prompts_no_completions(self, make):
        assert make().generate([], budget=BUDGET, seed=0) == []


class TestCapabilities:
    """What audits ask of it beyond generate."""

    def test_projection_shows_the_scores_that_generate_uses(self, make, completions):
        for completion in completions:
            projection = make().project(completion.trace.draft)
            np.testing.assert_array_equal(projection.scores, completion.trace.scores[: len(projection.scores)])

    def test_the_largest_entropy_can_be_taken_instead_of_the_mean(self, make, completions):
        draft = completions[1].trace.draft
        projection = make(MaskPolicy(how="max")).project(draft)
        wanted = normalise(project(draft.entropies, draft.spans, projection.spans, how="max"), draft.vocab_size)
        np.testing.assert_array_equal(projection.scores, wanted)
        assert not np.array_equal(projection.scores, make().project(draft).scores)

    def test_naive_index_transfer_would_score_other_tokens(self, make, completions):
        """The two small tokenizers cut texts differently too, so that the hazard is there to be found."""
        draft = completions[0].trace.draft
        projection = make().project(draft)
        naive = normalise(draft.entropies, draft.vocab_size)[: len(projection.scores)]
        assert len(naive) < len(projection.scores) or not np.allclose(naive, projection.scores, atol=0.05)

    def test_refine_with_the_policy_mask_equals_generate(self, make, completions):
        pipeline = make()
        scaffolds = []
        for completion in completions:
            projection = pipeline.project(completion.trace.draft)
            masked = np.array(completion.trace.masked[: len(projection.scores)], dtype=bool)
            scaffolds.append(Scaffold(completion.trace.draft.text, projection.spans, masked))
        refined = pipeline.refine(PROMPTS, scaffolds, budget=BUDGET, seed=1)
        assert [c.text for c in refined] == [c.text for c in completions]
        assert all(c.cost.drafted_tokens == 0 for c in refined)

    def test_likelihood_is_the_refiner_s(self, make):
        pipeline, request = make(), LikelihoodRequest("def", (" f", " g(x)"))
        both = [
            part.log_likelihood([request], monte_carlo=MonteCarlo(8, 8), seed=0)
            for part in (pipeline, pipeline.components()["refiner"])
        ]
        assert both[0] == both[1]

    def test_an_end_rule_is_the_refiner_s(self, make):
        pipeline = make()
        banned = pipeline.with_end_rule("banned")
        assert isinstance(banned, SpecRef)
        assert banned.refiner.settings.denoise.ban_eos
        assert not pipeline.refiner.settings.denoise.ban_eos
        assert banned.fingerprint() != pipeline.fingerprint()
        assert banned.name == "specref, end token banned"

    def test_the_fingerprint_names_every_choice(self, make):
        names = [
            make(),
            make(MaskPolicy(k=50)),
            make(MaskPolicy(adaptive=0.5)),
            make(None, RefinerSettings(slack=1)),
            make(temperature=0.5),
        ]
        assert len({pipeline.fingerprint() for pipeline in names}) == len(names)
        assert make(None, RefinerSettings(batch_size=2)).fingerprint() == make().fingerprint()


class TestFromPretrained:
    """Two directories in, a pipeline out."""

    def test_overrides_go_where_they_belong(self, phi_dir, llada_dir):
        pipeline = from_pretrained(phi_dir, llada_dir, k=30, slack=2, steps=7, chat=True, drafter_temperature=0.5)
        assert pipeline.policy == MaskPolicy(k=30)
        assert pipeline.refiner.settings.slack == 2
        assert pipeline.refiner.settings.denoise.steps == 7
        assert pipeline.refiner.settings.chat
        assert pipeline.drafter.drafter.temperature == 0.5
        assert pipeline.generate(["a"], budget=Budget(max_new_tokens=8), seed=0)[0].cost.nominal_steps == 7

    def test_another_backend_s_drafter_is_taken_as_it_is(self, phi, llada_dir):
        drafter = TransformersDrafter(*phi)
        assert from_pretrained(drafter, llada_dir).drafter.drafter is drafter

    @pytest.mark.parametrize("wrong", ["percent", "denoise"])
    def test_an_unknown_override_is_refused_with_the_known_ones(self, phi_dir, llada_dir, wrong):
        with pytest.raises(InputError, match=rf"{wrong}: no such setting; .*\bk\b.*\bsteps\b"):
            from_pretrained(phi_dir, llada_dir, **{wrong: 3})

    @pytest.mark.parametrize("half", [0, 1])
    def test_a_damaged_half_is_refused_by_name(self, phi_dir, llada_dir, tmp_path, half):
        places = [phi_dir, llada_dir]
        places[half] = shutil.copytree(places[half], tmp_path / "damaged")
        min(places[half].glob("*.safetensors")).unlink()
        with pytest.raises(CheckpointError, match="damaged"):
            from_pretrained(*places)

    def test_the_halves_cannot_be_swapped(self, phi_dir, llada_dir):
        with pytest.raises(CheckpointError, match="'llada' checkpoint"):
            from_pretrained(llada_dir, phi_dir)

    def test_a_damaged_refiner_is_refused_before_the_drafter_is_loaded(self, phi_dir, llada_dir, tmp_path, monkeypatch):
        damaged = shutil.copytree(llada_dir, tmp_path / "damaged")
        min(damaged.glob("*.safetensors")).unlink()
        monkeypatch.setattr(TransformersDrafter, "from_pretrained", lambda *_, **__: pytest.fail("loaded"))
        with pytest.raises(CheckpointError, match="damaged: shard"):
            from_pretrained(phi_dir, damaged)

    def test_a_backend_is_named_beside_the_place_or_before_it(self, phi_dir, llada_dir, monkeypatch):
        taken = []

        class Engine:
            @classmethod
            def from_pretrained(cls, place, *, dtype, quantization, revision, temperature, top_p, devices=1):
                taken.append((str(place), dtype, quantization, revision, temperature, top_p, devices))
                return TransformersDrafter.from_pretrained(place)

        monkeypatch.setattr("specref_core.drafting.vllm.VllmDrafter", Engine)
        common = {"dtype": "float32", "drafter_temperature": 0.5, "backend_options": {"devices": 2}}
        from_pretrained(phi_dir, llada_dir, backend="vllm", **common)
        from_pretrained(f"vllm:{phi_dir}", llada_dir, **common)
        assert taken == [(str(phi_dir), "float32", None, None, 0.5, 1.0, 2)] * 2
        pipeline = from_pretrained(f"transformers:{phi_dir}", llada_dir)
        assert isinstance(pipeline.drafter.drafter, TransformersDrafter)

    @pytest.mark.parametrize(
        ("wrong", "told"),
        [
            ({"backend": "llama.cpp"}, "backend='llama.cpp': expected one of transformers, vllm"),
            ({"backend_options": {"gpus": 2}}, "gpus: no such option of TransformersDrafter"),
            ({"batch_size": 0}, "batch_size=0"),
        ],
    )
    def test_a_backend_that_is_none_is_refused(self, phi_dir, llada_dir, wrong, told):
        with pytest.raises(InputError, match=told):
            from_pretrained(phi_dir, llada_dir, **wrong)

    def test_two_backends_for_one_drafter_are_refused(self, phi, phi_dir, llada_dir):
        with pytest.raises(InputError, match="name one backend"):
            from_pretrained(f"vllm:{phi_dir}", llada_dir, backend="transformers")
        with pytest.raises(InputError, match="made already"):
            from_pretrained(TransformersDrafter(*phi), llada_dir, backend="vllm")

    def test_vllm_missing_is_told_with_the_extra(self, phi_dir, llada_dir, monkeypatch):
        monkeypatch.setattr("specref_core.drafting.vllm.find_spec", lambda _: None)
        with pytest.raises(InputError, match=r"specref\[vllm\]"):
            from_pretrained(phi_dir, llada_dir, backend="vllm")

    def test_a_windows_drive_is_no_backend(self, llada_dir):
        with pytest.raises(CheckpointError, match="C:/models/phi: no such directory"):
            from_pretrained("C:/models/phi", llada_dir)
