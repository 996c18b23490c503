from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from fixtures.checkpoints import make_phi_checkpoint
from specref_core.drafting.checkpoint import _check_weight_files, check_causal_lm, load_causal_lm
from specref_core.errors import CheckpointError, InputError
from tests.hollow_weights import write_hollow

WORDS = "model.embed_tokens.weight"

# config.json of microsoft/phi-2, the keys that matter to a forward pass
HUB_PHI_2 = {
    "architectures": ["PhiForCausalLM"],
    "bos_token_id": 50256,
    "eos_token_id": 50256,
    "hidden_act": "gelu_new",
    "hidden_size": 2560,
    "intermediate_size": 10240,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 2048,
    "model_type": "phi",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "partial_rotary_factor": 0.4,
    "qk_layernorm": False,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "vocab_size": 51200,
}


@pytest.fixture
def copy(phi_dir, tmp_path):
    """A copy of the checkpoint, to be damaged."""
    return shutil.copytree(phi_dir, tmp_path / "damaged")


def shards(folder):
    return sorted(folder.glob("*.safetensors"))


def edit_shard(folder, change):
    """Rewrite the first shard after ``change`` has been at its tensors."""
    tensors = load_file(shards(folder)[0])
    change(tensors)
    save_file(tensors, shards(folder)[0], metadata={"format": "pt"})


def edit_index(folder, file):
    """Let the index name another file for the first key."""
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"][WORDS] = file
    index.write_text(json.dumps(content))


def edit_json(file, **changes):
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**content, **changes}), encoding="utf-8")


def test_loads_every_weight_as_it_is(phi_dir):
    model, tokenizer = load_causal_lm(phi_dir)
    assert not model.training
    assert tokenizer.is_fast
    stored = {name: tensor for shard in shards(phi_dir) for name, tensor in load_file(shard).items()}
    loaded = model.state_dict()
    assert stored.keys() == loaded.keys()
    assert all(torch.equal(stored[name], loaded[name]) for name in stored)


def test_dtype_can_be_chosen(phi_dir):
    assert load_causal_lm(phi_dir, dtype="bfloat16")[0].dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "config.json").unlink(), "no config.json"),
        (lambda d: (d / "config.json").write_text("{"), "config.json"),
        (lambda d: edit_json(d / "config.json", model_type="t5"), "'t5' checkpoint"),
        (lambda d: edit_json(d / "config.json", model_type="no-such"), "config.json"),
        (lambda d: edit_json(d / "config.json", vocab_size=64), "vocabulary of 64"),
        (lambda d: edit_json(d / "config.json", hidden_size=64), "weights"),
        (lambda d: edit_json(d / "config.json", num_hidden_layers=3), "missing keys"),
        (lambda d: edit_json(d / "config.json", num_hidden_layers=1), "unexpected keys"),
        (lambda d: shards(d)[1].unlink(), "shard model-00002-of-00002.safetensors is missing"),
        (lambda d: shards(d)[1].write_bytes(shards(d)[1].read_bytes()[:1000]), "not a readable safetensors"),
        (lambda d: (d / "model.safetensors.index.json").write_text("[]"), "index.json: holds a list"),
        (lambda d: edit_shard(d, lambda t: t.pop("model.embed_tokens.weight")), "embed_tokens"),
        (lambda d: edit_shard(d, lambda t: t.update(extra=torch.zeros(1))), "extra"),
        (lambda d: [f.unlink() for f in d.glob("tokenizer*")], "no tokenizer"),
        (lambda d: (d / "tokenizer.json").write_text("{}"), "tokenizer"),
        (lambda d: (d / "tokenizer.json").unlink(), "no tokenizer"),
        (lambda d: (d / "config.json").write_text("[]"), "config.json"),
        (lambda d: edit_json(d / "config.json", num_hidden_layers=24), "308 missing keys"),
        (lambda d: edit_json(d / "config.json", eos_token_id=70), r"ends texts with \[70\].*\['g'\], no end token"),
        (lambda d: edit_json(d / "config.json", eos_token_id=[9999]), "expected ids below"),
        (lambda d: (d / "generation_config.json").write_text("{"), "generation_config.json is damaged"),
        (lambda d: shards(d)[0].write_text("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
        (lambda d: edit_index(d, "model-9.safetensors"), "shard model-9.safetensors is missing"),
        (lambda d: edit_index(d, shards(d)[1].name), "the index promises model.embed_tokens.weight here"),
        (lambda d: edit_index(d, 3), "no weight_map"),
        (lambda d: [file.unlink() for file in d.glob("model*")], "neither model.safetensors nor"),
        (lambda d: edit_shard(d, lambda t: t.update({WORDS: torch.zeros(4, 4)})), f"{WORDS} has shape"),
    ],
)
def test_a_damaged_directory_is_refused_by_name(copy, damage, message):
    damage(copy)
    with pytest.raises(CheckpointError, match=message) as raised:
        load_causal_lm(copy)
    assert str(copy) in str(raised.value)


def test_a_damaged_directory_is_refused_before_a_weight_is_read(copy, monkeypatch):
    shards(copy)[1].write_bytes(shards(copy)[1].read_bytes()[:-8])
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(CheckpointError, match="not a readable safetensors"):
        load_causal_lm(copy)


def test_another_models_tokenizer_is_refused(copy, llada_dir):
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(llada_dir / name, copy / name)
    with pytest.raises(CheckpointError, match="no end token; one of them belongs to another checkpoint"):
        load_causal_lm(copy)


@pytest.mark.parametrize("options", [{"shards": 1}, {"shards": 5}, {"dtype": "bfloat16"}, {"dtype": "float16"}])
def test_every_layout_of_the_hub_is_accepted(tmp_path, options):
    model, _ = load_causal_lm(make_phi_checkpoint(tmp_path, **options))
    assert str(model.dtype) == f"torch.{options.get('dtype', 'float32')}"


def test_a_tied_head_and_old_buffers_are_no_wrong_keys(tmp_path, phi):
    from transformers import GPT2Config, GPT2LMHeadModel

    small = GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=384, bos_token_id=330, eos_token_id=330)
    GPT2LMHeadModel(small).save_pretrained(tmp_path)
    phi[1].save_pretrained(tmp_path)
    load_causal_lm(tmp_path)
    edit_shard(tmp_path, lambda t: t.update({"transformer.h.0.attn.bias": torch.zeros(1, 1, 4, 4)}))
    check_causal_lm(tmp_path)


def test_the_published_checkpoint_is_checked_from_its_headers(tmp_path):
    """Files of the true sizes, without a byte of weights in them."""
    (tmp_path / "config.json").write_text(json.dumps(HUB_PHI_2))
    config = AutoConfig.from_pretrained(tmp_path)
    with torch.device("meta"):
        weights = AutoModelForCausalLM.from_config(config).state_dict()
    assert sum(weight.numel() for weight in weights.values()) == 2_779_683_840
    write_hollow(tmp_path, {name: tuple(weight.shape) for name, weight in weights.items()}, shards=2)
    _check_weight_files(tmp_path, config)
    write_hollow(tmp_path, dict.fromkeys(list(weights)[:-1], (1,)), shards=2)
    with pytest.raises(CheckpointError, match=f"1 missing keys for 'phi': {list(weights)[-1]}"):
        _check_weight_files(tmp_path, config)


def test_a_missing_directory_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such directory"):
        load_causal_lm(tmp_path / "nowhere")


def test_unknown_quantization_is_refused(phi_dir):
    with pytest.raises(InputError, match="'3bit'"):
        load_causal_lm(phi_dir, quantization="3bit")
