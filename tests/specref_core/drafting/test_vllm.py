"""The vLLM drafter against the transformers backend: over a stand-in everywhere, over vLLM itself where it is there."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from fixtures.checkpoints import make_phi_checkpoint
from specref_core.drafting import vllm as drafting
from specref_core.drafting.checkpoint import check_causal_lm
from specref_core.drafting.transformers import TransformersDrafter
from specref_core.drafting.vllm import VllmDrafter
from specref_core.errors import CheckpointError, GeneratorError, InputError
from specref_core.generator import Budget, LikelihoodRequest, MonteCarlo
from tests import scripted_vllm

PROMPTS = ["def f(x):\n    return", "Question: 12 + 30", "東京 🙂", "", "a" * 60, "   ", "x y " * 200]
BUDGET = Budget(max_new_tokens=24)
SETTINGS = [
    {"temperature": 0.0, "top_p": 1.0},
    {"temperature": 1.0, "top_p": 0.9},
    {"temperature": 0.7, "top_p": 1.0},
]
WITHOUT = "vLLM is not installed; this runs where it is (docs/full-models.md)"
# vLLM's CPU build asks for little memory and no compilation; its attention wants heads of 32.
ON_CPU = {"engine_options": {"enforce_eager": True, "max_num_seqs": 4}}


@pytest.fixture(scope="module", params=["phi", "llama"])
def place(request, tmp_path_factory):
    """A phi-2 layout, sharded, and a Llama in one file."""
    folder = make_phi_checkpoint(tmp_path_factory.mktemp("phi"), hidden_size=128, scale=0.2)
    if request.param == "phi":
        return folder
    llama = tmp_path_factory.mktemp("llama")
    config = check_causal_lm(folder).config
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=2048,
            bos_token_id=config.bos_token_id,
            eos_token_id=config.eos_token_id,
            initializer_range=0.3,
        )
    )
    model.save_pretrained(llama)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / name, llama / name)
    return llama


@pytest.fixture(scope="module")
def theirs(place):
    """The other backend on the same files."""
    return TransformersDrafter.from_pretrained(place)


@pytest.fixture(
    scope="module",
    params=[
        "scripted",
        pytest.param("vllm", marks=[pytest.mark.skipif(find_spec("vllm") is None, reason=WITHOUT), pytest.mark.slow]),
    ],
)
def ours(request, place):
    """The drafter over the stand-in, and over vLLM."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "scripted":
            scripted_vllm.install(patch)
        else:
            patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        drafter = VllmDrafter.from_pretrained(place, **ON_CPU)
        yield drafter
        drafter.close()


def under(drafter, settings):
    """Give a loaded drafter other settings, which starts no engine."""
    drafter.temperature, drafter.top_p = settings.get("temperature", 0.0), settings.get("top_p", 1.0)
    drafter.stop = tuple(settings.get("stop", ()))
    return drafter


def assert_same_drafts(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert (one.token_ids, one.text, one.spans, one.vocab_size) == (
            other.token_ids,
            other.text,
            other.spans,
            other.vocab_size,
        )
        np.testing.assert_allclose(one.entropies, other.entropies, atol=3e-5)
        np.testing.assert_allclose(one.log_probs, other.log_probs, atol=3e-5)


class TestSameDraft:
    """Tokens, text, offsets, entropies and log-probabilities of the transformers backend."""

    @pytest.mark.parametrize("settings", SETTINGS)
    def test_greedy_and_sampled(self, ours, theirs, settings):
        wanted = under(theirs, settings).draft(PROMPTS, budget=BUDGET, seed=3)
        assert_same_drafts(under(ours, settings).draft(PROMPTS, budget=BUDGET, seed=3), wanted)

    def test_whatever_shares_the_batch(self, ours):
        together = under(ours, SETTINGS[1]).draft(PROMPTS, budget=BUDGET, seed=3)
        alone = [ours.draft([prompt], budget=BUDGET, seed=3)[0] for prompt in PROMPTS]
        assert_same_drafts(alone, together)
        assert [d.token_ids for d in ours.draft(PROMPTS[:2], budget=BUDGET, seed=4)] != [
            d.token_ids for d in together[:2]
        ]

    def test_an_end_token_ends_it_and_is_counted(self, ours, theirs):
        whole = under(theirs, {}).draft(PROMPTS, budget=BUDGET, seed=3)
        end = whole[2].token_ids[9]
        for drafter in (ours, theirs):
            under(drafter, {})
        ends = ours.end_ids, theirs.end_ids
        try:
            ours.end_ids = theirs.end_ids = {*ends[1], end}
            assert_same_drafts(
                ours.draft(PROMPTS, budget=BUDGET, seed=3), cut := theirs.draft(PROMPTS, budget=BUDGET, seed=3)
            )
        finally:
            ours.end_ids, theirs.end_ids = ends
        assert len(cut[2].token_ids) <= 10
        assert cut[2].token_ids[-1] == end

    def test_a_stop_string_ends_it_before_the_string(self, ours, theirs):
        texts = [draft.text for draft in under(theirs, {}).draft(PROMPTS, budget=BUDGET, seed=3)]
        settings = {"stop": [texts[0][5:8], "never seen", texts[4][2:4]]}
        wanted = under(theirs, settings).draft(PROMPTS, budget=BUDGET, seed=3)
        assert_same_drafts(under(ours, settings).draft(PROMPTS, budget=BUDGET, seed=3), wanted)
        assert any(draft.text != text for draft, text in zip(wanted, texts, strict=True))

    def test_a_draft_ends_where_the_window_is_full(self, ours, theirs):
        long = "x " * 1018
        room = 2048 - len(theirs.tokenizer(long)["input_ids"])
        assert 0 < room < 24, "the prompt must nearly fill the window"
        drafts = [under(d, {}).draft([long, "a"], budget=BUDGET, seed=0) for d in (ours, theirs)]
        assert_same_drafts(*drafts)
        assert len(drafts[0][0].token_ids) == room

    def test_no_prompts_no_drafts(self, ours):
        assert ours.draft([], budget=BUDGET, seed=0) == []

    def test_one_token(self, ours, theirs):
        budget = Budget(max_new_tokens=1)
        wanted = under(theirs, {}).draft(PROMPTS, budget=budget, seed=0)
        assert_same_drafts(under(ours, {}).draft(PROMPTS, budget=budget, seed=0), wanted)

    def test_likelihoods(self, ours, theirs):
        requests = [
            LikelihoodRequest("def f(", ("x)", "y):\n    return 1", "")),
            LikelihoodRequest("", ("abc", "d")),
            LikelihoodRequest("Q: ", ("1",)),
        ]
        found, wanted = (d.log_likelihood(requests, monte_carlo=MonteCarlo(), seed=0) for d in (ours, theirs))
        for one, other in zip(chain(*found), chain(*wanted), strict=True):
            assert (one.tokens, one.samples, one.standard_error) == (other.tokens, other.samples, other.standard_error)
            assert one.value == pytest.approx(other.value, abs=1e-4)

    def test_a_pair_may_fill_the_window_and_no_more(self, ours, theirs):
        context = "x " * 1000
        continuation = "x " * 400
        both = [LikelihoodRequest(context, (continuation,))]
        length = len(ours.tokenizer(context + continuation)["input_ids"])
        while length > 2048:
            continuation = continuation[:-2]
            length = len(ours.tokenizer(context + continuation)["input_ids"])
        both = [LikelihoodRequest(context, (continuation,))]
        found, wanted = (d.log_likelihood(both, monte_carlo=MonteCarlo(), seed=0)[0][0] for d in (ours, theirs))
        assert found.value == pytest.approx(wanted.value, rel=1e-5)
        with pytest.raises(InputError, match="shorten the context"):
            ours.log_likelihood([LikelihoodRequest(context * 2, ("a",))], monte_carlo=MonteCarlo(), seed=0)

    def test_costs_and_names(self, ours, theirs):
        draft = under(theirs, {}).draft(PROMPTS[:1], budget=BUDGET, seed=3)[0]
        assert ours.flops(PROMPTS[0], draft) == theirs.flops(PROMPTS[0], draft)
        base = under(ours, {}).fingerprint()
        assert under(ours, {"temperature": 0.5}).fingerprint() != base
        assert under(ours, {"stop": ["x"]}).fingerprint() != base
        assert under(ours, {}).fingerprint() == base != theirs.fingerprint()

    @pytest.mark.parametrize(
        ("prompt", "told"), [("x " * 3000, "context window"), ("\udcff", "surrogate"), (b"", "bytes")]
    )
    def test_prompts_it_cannot_take(self, ours, prompt, told):
        with pytest.raises(InputError, match=told):
            ours.draft(["a", prompt], budget=BUDGET, seed=0)


class TestTopTwenty:
    """Why entropies are not summed from the most likely tokens."""

    @pytest.mark.parametrize(("scale", "lost"), [(1.0, 0.98), (3.0, 0.75), (5.0, 0.3)])
    def test_twenty_log_probabilities_lose_most_of_an_uncertain_distribution(self, scale, lost):
        logits = scale * torch.randn(20, 51_200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        log_p = logits.log_softmax(-1)
        exact = -(log_p.exp() * log_p).sum(-1)
        top = log_p.topk(20).values
        truncated = -(top.exp() * top).sum(-1)
        assert ((exact - truncated) / exact).mean() > lost
        renormalised = top - top.logsumexp(-1, keepdim=True)
        assert (-(renormalised.exp() * renormalised).sum(-1) <= np.log(20)).all()

    def test_the_loss_is_largest_where_the_model_is_least_certain(self, theirs):
        draft = under(theirs, {}).draft(PROMPTS[:1], budget=BUDGET, seed=0)[0]
        before = theirs.tokenizer(PROMPTS[0])["input_ids"]
        with torch.inference_mode():
            logits = theirs.model(torch.tensor([[*before, *draft.token_ids]])).logits[0, len(before) - 1 : -1]
        top = logits.log_softmax(-1).topk(20).values
        lost = np.array(draft.entropies) - (-(top.exp() * top).sum(-1)).numpy()
        assert (lost > 0).all()
        assert lost.max() > 0.1
        assert np.corrcoef(lost, draft.entropies)[0, 1] > 0.5


class TestLoading:
    """What ``from_pretrained`` refuses, and what it asks of the engine."""

    @pytest.fixture(autouse=True)
    def stand_in(self, monkeypatch):
        scripted_vllm.install(monkeypatch)
        monkeypatch.setattr(scripted_vllm.LLM, "started", [])

    def test_the_engine_gets_the_checkpoints_own_dtype_and_leaves_room_for_the_refiner(self, phi_dir):
        VllmDrafter.from_pretrained(phi_dir).close()
        options, end = scripted_vllm.LLM.started
        assert options["dtype"] == "float32"  # vLLM's own auto would narrow it
        assert options["gpu_memory_utilization"] == 0.4
        assert options["max_model_len"] == 2048
        assert not options["enable_prefix_caching"]
        assert end == "shut down"

    def test_options_of_the_engine_win(self, phi_dir):
        drafter = VllmDrafter.from_pretrained(
            phi_dir, context_window=100, dtype="bfloat16", devices=2, engine_options={"seed": 7}
        )
        options = scripted_vllm.LLM.started[0]
        assert drafter.context_window == 100
        assert {k: options[k] for k in ("dtype", "tensor_parallel_size", "max_model_len", "seed")} == {
            "dtype": "bfloat16",
            "tensor_parallel_size": 2,
            "max_model_len": 100,
            "seed": 7,
        }
        assert "distributed_executor_backend" not in options

    @pytest.mark.parametrize(
        ("wrong", "told"),
        [
            ({"memory_share": 0.0}, "memory_share=0.0"),
            ({"devices": 0}, "devices=0"),
            ({"context_window": 9999}, "context_window=9999: expected at most 2048"),
            ({"quantization": "8bit"}, "'8bit'"),
            ({"quantization": "4bit"}, "16-bit dtype"),
            ({"temperature": -1.0}, "temperature=-1.0"),
        ],
    )
    def test_settings_out_of_range(self, phi_dir, wrong, told):
        with pytest.raises(InputError, match=told):
            VllmDrafter.from_pretrained(phi_dir, **wrong)

    def test_four_bits_ask_for_bitsandbytes(self, phi_dir):
        VllmDrafter.from_pretrained(phi_dir, quantization="4bit", dtype="bfloat16")
        assert scripted_vllm.LLM.started[0]["quantization"] == "bitsandbytes"

    @pytest.mark.parametrize(("module", "told"), [("bitsandbytes", "bitsandbytes"), ("vllm_bnb_plugin", "plugin")])
    def test_four_bits_name_what_is_missing(self, phi_dir, monkeypatch, module, told):
        monkeypatch.setattr(drafting, "find_spec", lambda name: None if name == module else True)
        with pytest.raises(InputError, match=told):
            VllmDrafter.from_pretrained(phi_dir, quantization="4bit", dtype="bfloat16")

    def test_vllm_missing_names_the_extra(self, phi_dir, monkeypatch):
        monkeypatch.setattr(drafting, "find_spec", lambda _: None)
        with pytest.raises(InputError, match=r"specref\[vllm\]"):
            VllmDrafter.from_pretrained(phi_dir)

    @pytest.mark.parametrize("version", ["0.26.1", "0.31.0", "1.0.0+cpu"])
    def test_another_version_is_refused(self, phi_dir, monkeypatch, version):
        scripted_vllm.install(monkeypatch, version=version)
        with pytest.raises(InputError, match=r"its interface is known from 0\.27 to below 0\.31"):
            VllmDrafter.from_pretrained(phi_dir)

    def test_a_build_that_cannot_be_imported_says_so(self, phi_dir, monkeypatch):
        monkeypatch.setitem(sys.modules, "vllm", None)
        with pytest.raises(InputError, match="cannot be imported here"):
            VllmDrafter.from_pretrained(phi_dir)

    def test_a_damaged_checkpoint_is_refused_before_the_engine_starts(self, phi_dir, tmp_path):
        folder = shutil.copytree(phi_dir, tmp_path / "damaged")
        min(folder.glob("*.safetensors")).unlink()
        with pytest.raises(CheckpointError, match="is missing"):
            VllmDrafter.from_pretrained(folder)
        assert scripted_vllm.LLM.started == []

    def test_an_engine_that_does_not_start_is_told_with_its_settings(self, phi_dir, monkeypatch):
        def full(**_):
            raise ValueError("Free memory on device cuda:0 (3.1/24.0 GiB) is less than desired GPU memory utilization")

        monkeypatch.setattr(sys.modules["vllm"], "LLM", full)
        with pytest.raises(InputError, match=r"Free memory .*memory_share=0.4"):
            VllmDrafter.from_pretrained(phi_dir)

    def test_weights_that_are_no_numbers(self, phi_dir, tmp_path):
        folder = shutil.copytree(phi_dir, tmp_path / "nan")
        shard = max(folder.glob("*.safetensors"))
        tensors = load_file(shard)
        tensors["lm_head.bias"][3] = float("nan")
        save_file(tensors, shard, metadata={"format": "pt"})
        with pytest.raises(CheckpointError, match="not finite numbers"):
            VllmDrafter.from_pretrained(folder).draft(["a"], budget=BUDGET, seed=0)

    def test_an_engine_that_goes_its_own_way_is_noticed(self, phi_dir, monkeypatch):
        drafter = VllmDrafter.from_pretrained(phi_dir)
        monkeypatch.setattr(
            drafter.engine,
            "generate",
            lambda rows, *_, **__: [SimpleNamespace(outputs=[SimpleNamespace(token_ids=(1, 2))]) for _ in rows],
        )
        with pytest.raises(GeneratorError, match="take the transformers backend"):
            drafter.draft(["a"], budget=BUDGET, seed=0)

    def test_an_engine_that_fails_is_named(self, phi_dir, monkeypatch):
        def fail(*_, **__):
            raise RuntimeError("Unsupported CPU attention configuration: head_dim=8")

        drafter = VllmDrafter.from_pretrained(phi_dir)
        monkeypatch.setattr(drafter.engine, "generate", fail)
        with pytest.raises(GeneratorError, match=r"vLLM failed with 1 prompts .*head_dim=8"):
            drafter.draft(["a"], budget=BUDGET, seed=0)

    def test_what_an_interrupted_call_left_is_not_taken_for_this_one(self, phi_dir, monkeypatch):
        drafter = VllmDrafter.from_pretrained(phi_dir)
        wanted = drafter.draft(["a", "b"], budget=BUDGET, seed=0)
        generate = drafter.engine.generate
        left = SimpleNamespace(outputs=[SimpleNamespace(token_ids=(1, 2))])
        monkeypatch.setattr(drafter.engine, "generate", lambda *given, **how: [left, *generate(*given, **how)])
        assert drafter.draft(["a", "b"], budget=BUDGET, seed=0) == wanted
