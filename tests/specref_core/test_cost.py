"""The formulas against the operations that torch counts."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM, PhiConfig, PhiForCausalLM

from fixtures.checkpoints import make_llada_checkpoint
from specref_core.cost import ModelShape, denoise_flops, forward_flops, generation_flops
from specref_core.decoding.denoise import DenoiseSettings, denoise
from specref_core.errors import InputError
from specref_core.models.llada import load_llada

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 96,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}


@pytest.fixture(scope="module")
def llada(tmp_path_factory):
    return load_llada(make_llada_checkpoint(tmp_path_factory.mktemp("llada"), kv_heads=2, layers=3)).model


def _counted(run):
    # the math kernel of attention is made of products that the counter sees one by one, on every platform
    with torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        counter = FlopCounterMode(display=False)
        with counter:
            run()
    return counter.get_total_flops()


@pytest.mark.parametrize(("length", "batch"), [(11, 1), (20, 3)])
def test_a_bidirectional_forward_pass(llada, length, batch):
    ids = torch.ones(batch, length, dtype=torch.int64)
    assert _counted(lambda: llada(ids)) == batch * forward_flops(ModelShape.of(llada.config), length=length)


@pytest.mark.parametrize("model", [LlamaForCausalLM(LlamaConfig(**SIZES)), PhiForCausalLM(PhiConfig(**SIZES))])
def test_a_causal_forward_pass_with_a_gated_or_a_plain_mlp(model):
    ids = torch.ones(2, 13, dtype=torch.int64)
    counted = _counted(lambda: model(ids, use_cache=False, logits_to_keep=1))
    assert counted == 2 * forward_flops(ModelShape.of(model.config), length=13, head_rows=1)


def test_a_generation_with_a_cache():
    model = LlamaForCausalLM(LlamaConfig(**SIZES)).eval()
    ids = torch.full((1, 9), 5)
    counted = _counted(lambda: model.generate(ids, max_new_tokens=6, min_new_tokens=6, do_sample=False, pad_token_id=1))
    assert counted == generation_flops(ModelShape.of(model.config), prompt=9, generated=6)
    assert generation_flops(ModelShape.of(model.config), prompt=9, generated=0) == 0


@pytest.mark.parametrize("options", [{}, {"block_length": 4}, {"cfg_scale": 1.0}])
def test_a_reverse_process(llada, options):
    ids = torch.full((1, 20), llada.config.mask_token_id)
    ids[0, :8] = 5
    out = []
    counted = _counted(lambda: out.append(denoise(llada, ids, settings=DenoiseSettings(steps=6, **options))))
    by_formula = denoise_flops(
        ModelShape.of(llada.config), length=20, row_forwards=int(out[0].row_forwards), head_rows=int(out[0].head_rows)
    )
    assert counted == by_formula


def test_a_configuration_without_sizes_is_named():
    class Bare:
        model_type = "mystery"

    with pytest.raises(InputError, match="hidden_size"):
        ModelShape.of(Bare())
