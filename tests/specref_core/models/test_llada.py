"""The LLaDA class against a plain forward pass, the library's registries and damaged checkpoints."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec

import pytest
import torch
from accelerate import infer_auto_device_map, init_empty_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

from fixtures.checkpoints import make_llada_checkpoint
from specref_core.errors import CheckpointError, InputError
from specref_core.models.calling import features_at
from specref_core.models.checkpoint import check_weights
from specref_core.models.llada import LladaConfig, LladaForMaskedLM, _expected_shapes, checkpoint_key, load_llada
from tests.hollow_weights import write_hollow
from tests.oracles import logits_from_files

IDS = torch.randint(0, 300, (3, 17), generator=torch.Generator().manual_seed(1))
LEFT_AND_RIGHT = torch.tensor([[1] * 17, [0] * 3 + [1] * 14, [1] * 10 + [0] * 7])

# config.json of GSAI-ML/LLaDA-8B-Instruct, the keys that matter to a forward pass
HUB_8B = {
    "d_model": 4096,
    "n_layers": 32,
    "n_heads": 32,
    "n_kv_heads": 32,
    "mlp_hidden_size": 12288,
    "mlp_ratio": 4,
    "max_sequence_length": 4096,
    "vocab_size": 126464,
    "embedding_size": 126464,
    "weight_tying": False,
    "rope_theta": 500000.0,
    "rms_norm_eps": 1e-05,
    "activation_type": "silu",
    "block_type": "llama",
    "layer_norm_type": "rms",
    "multi_query_attention": None,
    "mask_token_id": 126336,
    "eos_token_id": 126081,
    "pad_token_id": 126081,
}


@pytest.fixture(scope="module")
def model(llada_dir):
    return load_llada(llada_dir).model


@pytest.fixture(scope="module")
def shifted(tmp_path_factory):
    return load_llada(make_llada_checkpoint(tmp_path_factory.mktemp("shifted"), prediction_shift=True)).model


@torch.no_grad()
def test_logits_equal_a_plain_forward_pass(model, llada_dir):
    assert torch.allclose(model(IDS).logits, logits_from_files(llada_dir, IDS), atol=2e-5, rtol=0)


@torch.no_grad()
def test_padding_on_either_side_equals_a_plain_forward_pass(model, llada_dir):
    ours = model(IDS, attention_mask=LEFT_AND_RIGHT).logits
    theirs = logits_from_files(llada_dir, IDS, LEFT_AND_RIGHT)
    real = LEFT_AND_RIGHT.bool()
    assert torch.allclose(ours[real], theirs[real], atol=2e-5, rtol=0)


@torch.no_grad()
def test_padding_leaves_the_row_as_it_is_alone(model):
    padded = model(IDS, attention_mask=LEFT_AND_RIGHT).logits
    assert torch.allclose(padded[1, 3:], model(IDS[1:2, 3:]).logits[0], atol=2e-5, rtol=0)
    assert torch.allclose(padded[2, :10], model(IDS[2:3, :10]).logits[0], atol=2e-5, rtol=0)


@torch.no_grad()
def test_every_position_sees_both_directions(model):
    last, first = IDS[:1].clone(), IDS[:1].clone()
    last[0, -1], first[0, 0] = 5, 5
    plain = model(IDS[:1]).logits
    assert (model(last).logits[0, 0] - plain[0, 0]).abs().max() > 1e-3
    assert (model(first).logits[0, -1] - plain[0, -1]).abs().max() > 1e-3


@torch.no_grad()
def test_explicit_position_ids_are_used(model):
    moved = torch.arange(17)[None] * 3
    assert (model(IDS[:1], position_ids=moved).logits - model(IDS[:1]).logits).abs().max() > 1e-3
    assert torch.allclose(
        model(IDS[:1], position_ids=torch.arange(17)[None] + 100).logits, model(IDS[:1]).logits, atol=1e-4
    )


@torch.no_grad()
def test_a_shift_moves_every_prediction_by_one(shifted):
    here = shifted(IDS).logits
    shifted.config.prediction_shift = False
    unshifted = shifted(IDS).logits
    shifted.config.prediction_shift = True
    assert torch.equal(here[:, 1:], unshifted[:, :-1])
    assert torch.equal(here[:, 0], unshifted[:, 0])


@torch.no_grad()
def test_a_shifted_row_is_predicted_alike_with_padding_and_without(shifted):
    padded = shifted(IDS, attention_mask=LEFT_AND_RIGHT).logits
    assert torch.allclose(padded[1, 3:], shifted(IDS[1:2, 3:]).logits[0], atol=2e-5, rtol=0)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.booleans(), min_size=51, max_size=51).filter(any), st.booleans(), st.booleans())
@torch.no_grad()
def test_logits_at_chosen_positions_are_the_full_logits_there(model, shifted, flags, shift, padded):
    subject = shifted if shift else model
    attention_mask = LEFT_AND_RIGHT if padded else None
    positions = torch.tensor(flags).view(3, 17)
    if padded:
        positions &= LEFT_AND_RIGHT.bool()
    if not positions.any():
        return
    some = subject(IDS, attention_mask=attention_mask, head_positions=positions).logits
    assert torch.allclose(some, subject(IDS, attention_mask=attention_mask).logits[positions], atol=2e-5, rtol=0)


def test_a_model_under_hooks_or_in_training_gives_the_same_logits_at_chosen_positions(llada_dir):
    positions = torch.zeros_like(IDS, dtype=torch.bool)
    positions[0, 2:5] = positions[2, 1] = True
    plain = load_llada(llada_dir).model
    with torch.no_grad():
        wanted = plain(IDS).logits[positions]
        assert torch.allclose(plain.train()(IDS, head_positions=positions).logits, wanted, atol=2e-5)
        hooked = load_llada(llada_dir, device_map={"model.embed_tokens": "cpu", "model.layers": "cpu", "": "cpu"}).model
        assert torch.allclose(hooked(IDS, head_positions=positions).logits, wanted, atol=2e-5)


@pytest.mark.parametrize("padded", [False, True])
@torch.no_grad()
def test_a_model_split_over_two_devices_mixes_nothing_of_them(llada_dir, padded):
    """The meta device stands for the second: an operation on both at once fails there as it would between two GPUs."""
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module

    model = load_llada(llada_dir).model
    for part in (model.model.layers[-1], model.model.norm, model.lm_head):
        part.to("meta")
        add_hook_to_module(part, AlignDevicesHook(execution_device="meta", io_same_device=False))
    add_hook_to_module(model.model.layers[0], AlignDevicesHook(execution_device="cpu"))
    positions = torch.zeros_like(IDS, dtype=torch.bool)
    positions[0, 4:7] = positions[2, 5] = True
    features, head, _ = features_at(
        model, IDS, positions, attention_mask=LEFT_AND_RIGHT if padded else torch.ones_like(IDS)
    )
    logits = head(features)
    assert logits.device.type == "meta"
    assert logits.shape == (4, model.config.vocab_size)


@torch.no_grad()
def test_auto_places_whole_layers_and_computes_the_same(llada_dir, model):
    spread = load_llada(llada_dir, device_map="auto").model
    assert torch.equal(spread(IDS).logits, model(IDS).logits)
    with init_empty_weights():
        big = LladaForMaskedLM(LladaConfig.from_dict(HUB_8B))
    placed = infer_auto_device_map(
        big,
        max_memory={0: "9GiB", 1: "9GiB"},
        dtype=torch.bfloat16,
        no_split_module_classes=list(LladaForMaskedLM._no_split_modules),
    )
    assert set(placed.values()) == {0, 1}
    layers = {name: place for name, place in placed.items() if ".layers." in name}
    assert len(layers) == 32, "no layer is split"
    assert sorted(layers.values()) == [layers[f"model.layers.{i}"] for i in range(32)], "in one cut"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", torch.bfloat16])
def test_the_dtype_can_be_chosen(llada_dir, dtype):
    assert load_llada(llada_dir, dtype=dtype).model.dtype == (
        dtype if isinstance(dtype, torch.dtype) else getattr(torch, dtype)
    )


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed (the extra quantized)")
@torch.no_grad()
def test_four_bits_change_the_logits_little(tmp_path):
    directory = make_llada_checkpoint(tmp_path, hidden_size=64, mlp_size=128, dtype="bfloat16")
    packed = load_llada(directory, quantization="4bit", device_map="cpu").model
    assert any(type(part).__name__ == "Linear4bit" for part in packed.modules())
    plain, rough = (m(IDS).logits.float() for m in (load_llada(directory).model, packed))
    # Random weights have no outliers to spare and no redundancy: 0.85 here; another seed's model has 0.
    assert torch.corrcoef(torch.stack([plain.flatten(), rough.flatten()]))[0, 1] > 0.7


def test_labels_give_the_mean_cross_entropy(model):
    labels = torch.full_like(IDS, -100)
    labels[:, 4] = IDS[:, 4]
    out = model(IDS, labels=labels)
    assert torch.allclose(out.loss, torch.nn.functional.cross_entropy(out.logits[:, 4], IDS[:, 4]))
    with pytest.raises(InputError, match="not both"):
        model(IDS, labels=labels, head_positions=labels > 0)


def test_the_8b_configuration_has_the_published_number_of_parameters():
    with torch.device("meta"):
        big = LladaForMaskedLM(LladaConfig.from_dict(HUB_8B))
    assert sum(weight.numel() for weight in big.parameters()) == 8_015_581_184
    assert len(big.state_dict()) == 291
    assert big.config.head_dim == 128


def test_the_published_configuration_is_read_and_written_back():
    config = LladaConfig.from_dict(HUB_8B)
    assert (config.hidden_size, config.num_hidden_layers, config.intermediate_size) == (4096, 32, 12288)
    assert config.rope_parameters["rope_theta"] == 500000.0
    assert config.tie_word_embeddings is False
    assert config.is_causal is False
    written = config.to_dict()
    assert {key: written.get(key) for key in HUB_8B} == HUB_8B
    assert LladaConfig.from_dict(written).to_dict() == written


def test_missing_sizes_fall_back_as_in_the_published_code():
    config = LladaConfig.from_dict({**HUB_8B, "n_kv_heads": None, "mlp_hidden_size": None, "embedding_size": None})
    assert config.num_key_value_heads == 32
    assert config.intermediate_size == 4 * 4096
    assert config.vocab_size == 126464


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("alibi", True),
        ("attention_layer_norm", True),
        ("block_type", "sequential"),
        ("include_bias", True),
        ("include_qkv_bias", True),
        ("input_emb_norm", True),
        ("layer_norm_type", "default"),
        ("multi_query_attention", True),
        ("rope", False),
        ("scale_logits", True),
        ("activation_type", "gelu"),
    ],
)
def test_an_option_llada_does_not_have_is_refused_by_name(option, value):
    with pytest.raises(CheckpointError, match=option):
        LladaConfig.from_dict({**HUB_8B, option: value})


@pytest.mark.parametrize("factory", [AutoModel, AutoModelForMaskedLM])
def test_the_library_finds_the_class_by_model_type(factory, llada_dir):
    assert isinstance(AutoConfig.from_pretrained(llada_dir), LladaConfig)
    assert isinstance(factory.from_pretrained(llada_dir), LladaForMaskedLM)


@pytest.mark.parametrize("options", [{}, {"tie": True, "shards": 1}, {"dtype": "bfloat16"}, {"prediction_shift": True}])
def test_saving_writes_the_hubs_layout_and_loads_the_same(tmp_path, options):
    source = make_llada_checkpoint(tmp_path / "source", **options)
    loaded = load_llada(source)
    loaded.model.save_pretrained(tmp_path / "saved", max_shard_size="20KB")
    loaded.tokenizer.save_pretrained(tmp_path / "saved")

    def weights(directory):
        return {k: v for file in directory.glob("*.safetensors") for k, v in load_file(file).items()}

    before, after = weights(source), weights(tmp_path / "saved")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    written = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert (written["d_model"], written["n_layers"], written["mask_token_id"]) == (
        32,
        2,
        loaded.model.config.mask_token_id,
    )
    again = load_llada(tmp_path / "saved")
    assert again.model.config.prediction_shift is options.get("prediction_shift", False)
    assert torch.equal(again.model(IDS).logits, loaded.model(IDS).logits)


def test_loading_runs_no_code_of_the_checkpoint(tmp_path):
    directory = make_llada_checkpoint(tmp_path)
    for name in ("configuration_llada.py", "modeling_llada.py"):
        (directory / name).write_text("raise SystemExit('remote code ran')\n")
    assert load_llada(directory).model.config.model_type == "llada"


def test_loading_fills_in_what_only_the_tokenizer_knows(llada_dir):
    model, tokenizer = load_llada(llada_dir)
    assert tokenizer.mask_token_id == model.config.mask_token_id
    assert model.config.eot_token_id == tokenizer.convert_tokens_to_ids("<|eot_id|>")
    assert not model.training


def _edit_config(directory, **changes):
    file = directory / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def _edit_weights(directory, edit):
    file = min(directory.glob("*.safetensors"))
    weights = load_file(file)
    edit(weights)
    save_file(weights, file, metadata={"format": "pt"})
    index = directory / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"] = {k: f for k, f in content["weight_map"].items() if f != file.name} | dict.fromkeys(
        weights, file.name
    )
    index.write_text(json.dumps(content))


KEY = "model.transformer.blocks.0.q_proj.weight"


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda d: (d / "config.json").unlink(), "config.json"),
        (lambda d: (d / "config.json").write_text("{"), "config.json"),
        (lambda d: (d / "config.json").write_text("[]"), "expected an object"),
        (lambda d: _edit_config(d, model_type="dream"), "'dream'"),
        (lambda d: _edit_config(d, mask_token_id=9999), "mask_token_id=9999"),
        (lambda d: _edit_config(d, mask_token_id=None), "mask_token_id=None"),
        (lambda d: _edit_config(d, mask_token_id="x"), "mask_token_id='x'"),
        (lambda d: _edit_config(d, mask_token_id=70), "is the word 'g' of the tokenizer"),
        (lambda d: _edit_config(d, eos_token_id=70), "no end token; one of them belongs"),
        (lambda d: _edit_config(d, torch_dtype="float99"), "config.json"),
        (lambda d: _edit_config(d, d_model=0), "config.json: describes no model"),
        (lambda d: _edit_config(d, vocab_size="many", embedding_size="many"), "config.json"),
        (lambda d: _edit_config(d, mlp_hidden_size=128), "ff_proj"),
        (lambda d: _edit_config(d, n_layers=3), "missing: model.transformer.blocks.2"),
        (lambda d: _edit_config(d, n_layers=1), "unexpected: model.transformer.blocks.1"),
        (lambda d: _edit_config(d, n_heads=5), "config.json"),
        (lambda d: (d / "tokenizer.json").unlink(), "tokenizer.json"),
        (lambda d: (d / "tokenizer.json").write_text("{}"), "tokenizer.json"),
        (lambda d: (d / "model-00002-of-00003.safetensors").unlink(), "model-00002-of-00003.safetensors is missing"),
        (lambda d: (d / "model-00002-of-00003.safetensors").write_bytes(b"x" * 100), "not a readable safetensors"),
        (lambda d: (d / "model.safetensors.index.json").unlink(), "neither model.safetensors nor"),
        (lambda d: min(d.glob("*.safetensors")).write_text("version https://git-lfs.github.com/spec/v1"), "git lfs"),
        (lambda d: (d / "model.safetensors.index.json").write_text("{}"), "weight_map"),
        (lambda d: _edit_weights(d, lambda w: w.pop(KEY)), f"missing: {KEY}"),
        (lambda d: _edit_weights(d, lambda w: w.update({"extra.bias": torch.zeros(2)})), "unexpected: extra.bias"),
        (lambda d: _edit_weights(d, lambda w: w.update({KEY: torch.zeros(4, 4)})), f"{KEY} has shape"),
    ],
)
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path, llada_dir, damage, told):
    directory = tmp_path / "damaged"
    shutil.copytree(llada_dir, directory)
    damage(directory)
    with pytest.raises(CheckpointError, match=told.replace("(", r"\(")):
        load_llada(directory)


def test_a_damaged_checkpoint_is_refused_before_a_weight_is_read(tmp_path, llada_dir, monkeypatch):
    directory = shutil.copytree(llada_dir, tmp_path / "damaged")
    _edit_weights(directory, lambda w: w.pop(KEY))
    monkeypatch.setattr(LladaForMaskedLM, "from_pretrained", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(CheckpointError, match="missing"):
        load_llada(directory)


def test_a_configuration_silent_about_the_mask_takes_the_tokenizers_or_is_refused(tmp_path, llada_dir):
    directory = shutil.copytree(llada_dir, tmp_path / "silent")
    config = json.loads((directory / "config.json").read_text())
    wanted = config.pop("mask_token_id")
    (directory / "config.json").write_text(json.dumps(config))
    assert load_llada(directory).model.config.mask_token_id == wanted
    tokenizer = (directory / "tokenizer.json").read_text()
    (directory / "tokenizer.json").write_text(tokenizer.replace("<|mdm_mask|>", "<|no_mask|>"))
    with pytest.raises(CheckpointError, match="mask_token_id=None"):
        load_llada(directory)


def test_another_models_tokenizer_is_refused(tmp_path, llada_dir, phi_dir):
    directory = shutil.copytree(llada_dir, tmp_path / "swapped")
    _edit_config(directory, vocab_size=400, embedding_size=400)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(phi_dir / name, directory / name)
    with pytest.raises(CheckpointError, match=r"one of them belongs to another checkpoint|is the word"):
        load_llada(directory)


def test_the_published_checkpoint_is_checked_from_its_headers(tmp_path):
    """Files of the true sizes, without a byte of weights in them."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llada", **HUB_8B}))
    expected = _expected_shapes(LladaConfig.from_dict(HUB_8B), tmp_path)
    write_hollow(tmp_path, expected, shards=6)
    check_weights(tmp_path, expected)
    write_hollow(tmp_path, {**expected, KEY: (4096, 4095)}, shards=6)
    with pytest.raises(CheckpointError, match=f"{KEY} has shape"):
        check_weights(tmp_path, expected)


def test_a_device_without_room_for_the_weights_is_told_what_helps(llada_dir, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(LladaForMaskedLM, "from_pretrained", full)
    with pytest.raises(InputError, match="device_map='auto'"):
        load_llada(llada_dir)


def test_a_tokenizer_larger_than_the_vocabulary_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="the model 256"):
        load_llada(make_llada_checkpoint(tmp_path, vocab_size=256))


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="no such directory"):
        load_llada(tmp_path / "nowhere")


def test_quantization_without_bitsandbytes_says_what_to_install(llada_dir, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"specref\[quantized\]"):
        load_llada(llada_dir, quantization="4bit")
    with pytest.raises(InputError, match="4bit, 8bit or None"):
        load_llada(llada_dir, quantization="2bit")


def test_checkpoint_keys_tell_the_two_ff_outs_apart():
    assert checkpoint_key("lm_head.weight") == "model.transformer.ff_out.weight"
    assert checkpoint_key("model.layers.11.mlp.down_proj.weight") == "model.transformer.blocks.11.ff_out.weight"
    with pytest.raises(InputError, match="rotary"):
        checkpoint_key("model.rotary_emb.inv_freq")
