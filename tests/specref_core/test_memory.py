"""The formulas of memory against the bytes that passes really held, on small models and on the published sizes."""

from __future__ import annotations

import weakref
from itertools import chain
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fixtures.checkpoints import make_llada_checkpoint, make_phi_checkpoint
from specref_core import memory
from specref_core.batching import Batches
from specref_core.cost import ModelShape
from specref_core.decoding.denoise import DenoiseSettings
from specref_core.drafting.checkpoint import load_causal_lm
from specref_core.drafting.transformers import TransformersDrafter
from specref_core.errors import InputError
from specref_core.generator import Budget, LikelihoodRequest, MonteCarlo
from specref_core.likelihood import masked_log_likelihood
from specref_core.memory import denoise_bytes, free_bytes, generation_bytes, number_bytes
from specref_core.models.llada import LladaConfig, LladaForMaskedLM, load_llada
from specref_core.standalone import RefinerSettings, StandaloneRefiner

LLADA_8B = {"d_model": 4096, "n_layers": 32, "n_heads": 32, "mlp_hidden_size": 12288, "vocab_size": 126464}


class Held(TorchDispatchMode):
    """Counts the bytes of tensors alive that operations made while it is on."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.known = weakref.WeakKeyDictionary()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # torch's name
        given = {id(t.untyped_storage()) for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage(), given)
        return out

    def _count(self, storage, given):
        if id(storage) in given or storage in self.known:
            return
        size = storage.nbytes()
        self.known[storage] = size
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, size)

    def _free(self, size):
        self.now -= size


def held(work):
    with torch.inference_mode(), Held() as mode:
        work()
    return mode.peak


@pytest.mark.parametrize("length", [256, 1024])
def test_a_pass_of_the_8b_model_holds_what_the_formula_says(length):
    """On the meta device: shapes without numbers."""
    config = LladaConfig.from_dict({**LLADA_8B, "n_layers": 3, "embedding_size": 126464})
    with torch.device("meta"):
        model = LladaForMaskedLM(config).to(torch.bfloat16).eval()

    def one_pass(rows):
        return held(lambda: model.encode(torch.zeros(rows, length, dtype=torch.int64, device="meta")))

    each = one_pass(9) - one_pass(8)
    formula = denoise_bytes(ModelShape.of(config), length=length, number_bytes=2)
    assert each <= formula <= 1.5 * each


@pytest.mark.parametrize("guided", [False, True])
def test_a_denoising_run_holds_what_the_formula_says_of_a_canvas(tmp_path, guided):
    llada = load_llada(make_llada_checkpoint(tmp_path, hidden_size=256, mlp_size=768, heads=8))
    refiner = StandaloneRefiner(*llada, RefinerSettings(DenoiseSettings(cfg_scale=0.5 * guided), batch_size=99))

    def run(rows):
        prompts = [f"{i:02}" + "x " * 60 for i in range(rows)]
        return held(lambda: refiner.generate(prompts, budget=Budget(steps=2, max_new_tokens=64), seed=0))

    length = len(refiner.encode_prompt("00" + "x " * 60)) + 64
    each = (run(24) - run(8)) / 16
    formula = denoise_bytes(ModelShape.of(llada.model.config), length=length, number_bytes=4, copies=1 + guided)
    assert each <= formula <= 1.5 * each


def test_a_draft_holds_no_more_a_prompt_than_the_formula(tmp_path):
    phi = load_causal_lm(make_phi_checkpoint(tmp_path, hidden_size=256))
    drafter = TransformersDrafter(*phi, batch_size=99, temperature=1.0, top_p=0.9)
    drafter.end_ids = set()

    def run(rows):
        prompts = [f"{i:02}" + "x " * 60 for i in range(rows)]
        return held(lambda: drafter.draft(prompts, budget=Budget(max_new_tokens=8), seed=0))

    prompt = len(phi[1]("00" + "x " * 60)["input_ids"])
    each = (run(24) - run(8)) / 16
    shape = ModelShape.of(phi[0].config)
    formula = generation_bytes(shape, prompt=prompt, generated=8, number_bytes=4)
    assert each <= formula <= 2 * each


def test_what_the_page_says_of_the_published_pair():
    page = (Path(__file__).parents[2] / "docs" / "full-models.md").read_text(encoding="utf-8")
    llada = ModelShape(4096, 32, 32, 32, 128, 12288, 3, 126464)
    phi = ModelShape(2560, 32, 32, 32, 80, 10240, 2, 51200)
    canvas = denoise_bytes(llada, length=1024, number_bytes=2)
    draft = generation_bytes(phi, prompt=512, generated=512, number_bytes=2)
    assert f"L = 1024, bfloat16: {canvas / 1e6:.0f} MB" in page
    assert f"{draft / 1e6:.0f} MB for 512 tokens after 512 in Phi-2" in page
    assert abs(8_015_581_184 * 2 - 16.0e9) < 0.05e9
    assert abs(2_779_683_840 * 2 - 5.6e9) < 0.05e9


class TestFree:
    """What is free on the fullest device."""

    def test_on_a_cpu_it_cannot_be_told(self, llada):
        assert free_bytes(llada.model) is None
        assert free_bytes(object()) is None

    def test_the_fullest_of_several_devices_counts(self, monkeypatch):
        first, second = torch.device("cuda:0"), torch.device("cuda:1")

        class Weight:
            def __init__(self, device):
                self.device = device

        class Model:
            def parameters(self):
                return [Weight(first), Weight(second), Weight(torch.device("cpu"))]

        gib = 1 << 30
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda d: ((10 if d == first else 5) * gib, 24 * gib))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 3 * gib)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 2 * gib)
        assert free_bytes(Model()) == 6 * gib - 4 * 4 * memory.LOGITS_AT_ONCE

    def test_numbers_of_packed_weights_are_taken_for_16_bits(self):
        class Packed:
            dtype = torch.uint8

        assert number_bytes(Packed()) == 2


def test_results_do_not_depend_on_a_batch_size_that_memory_chose(llada, monkeypatch):
    prompts = ["a", "b c d e", "f" * 50, "", "g h", "i", "j k l"]
    budget = Budget(steps=3, max_new_tokens=12)
    fixed = StandaloneRefiner(*llada, RefinerSettings(DenoiseSettings(temperature=0.7), batch_size=1))
    wanted = [c.text for c in fixed.generate(prompts, budget=budget, seed=5)]
    sizes = []
    planned = Batches._planned

    def watch(self, *given):
        sizes.append(planned(self, *given))
        return sizes[-1]

    monkeypatch.setattr(Batches, "_planned", watch)
    monkeypatch.setattr("specref_core.standalone.free_bytes", lambda _: 400_000)
    chosen = StandaloneRefiner(*llada, RefinerSettings(DenoiseSettings(temperature=0.7)))
    assert [c.text for c in chosen.generate(prompts, budget=budget, seed=5)] == wanted
    assert len(set(sizes)) > 1, "the memory must have chosen different sizes"
    assert chosen.fingerprint() == fixed.fingerprint()


class TestShortage:
    """A device that holds two rows and no third."""

    @pytest.fixture(autouse=True)
    def small_device(self, monkeypatch):
        passes = LladaForMaskedLM.encode

        def encode(self, input_ids, **how):
            if len(input_ids) > self.rows_that_fit:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return passes(self, input_ids, **how)

        monkeypatch.setattr(LladaForMaskedLM, "encode", encode)
        monkeypatch.setattr(LladaForMaskedLM, "rows_that_fit", 2, raising=False)

    def test_refining_goes_on_with_the_same_texts(self, llada):
        prompts = ["a", "b c d e", "f" * 50, "", "g h", "i", "j k l"]
        budget = Budget(steps=3, max_new_tokens=12)
        settings = DenoiseSettings(temperature=0.7)
        wanted = StandaloneRefiner(*llada, RefinerSettings(settings, batch_size=1)).generate(
            prompts, budget=budget, seed=5
        )
        with pytest.warns(ResourceWarning, match="out of memory with 7 canvases at once; going on with 3"):
            found = StandaloneRefiner(*llada, RefinerSettings(settings)).generate(prompts, budget=budget, seed=5)
        assert [c.text for c in found] == [c.text for c in wanted]

    def test_likelihoods_go_on_with_the_same_values(self, llada, monkeypatch):
        requests = [LikelihoodRequest("a b c", (" d e f g", " h")), LikelihoodRequest("x", ("y z w",))]
        with pytest.warns(ResourceWarning, match="masked rows at once"):
            found = masked_log_likelihood(*llada, requests, monte_carlo=MonteCarlo(16, 8), seed=1)
        monkeypatch.setattr(LladaForMaskedLM, "rows_that_fit", 99)
        wanted = masked_log_likelihood(*llada, requests, monte_carlo=MonteCarlo(16, 8), seed=1)
        for one, other in zip(chain(*found), chain(*wanted), strict=True):
            assert one.value == pytest.approx(other.value, abs=1e-4)

    def test_where_not_even_one_fits_it_says_what_helps(self, llada, monkeypatch):
        monkeypatch.setattr(LladaForMaskedLM, "rows_that_fit", 0)
        with (
            pytest.warns(ResourceWarning),
            pytest.raises(InputError, match=r"a single one of the canvases .*2\.00 GiB.*quantization='4bit'"),
        ):
            StandaloneRefiner(*llada).generate(["a", "b"], budget=Budget(steps=2, max_new_tokens=4), seed=0)
