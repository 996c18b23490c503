from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from specref_core.drafting.checkpoint import load_causal_lm
from specref_core.errors import CheckpointError, InputError


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
    ],
)
def test_a_damaged_directory_is_refused_by_name(copy, damage, message):
    damage(copy)
    with pytest.raises(CheckpointError, match=message) as raised:
        load_causal_lm(copy)
    assert str(copy) in str(raised.value)


def test_a_missing_directory_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such directory"):
        load_causal_lm(tmp_path / "nowhere")


def test_unknown_quantization_is_refused(phi_dir):
    with pytest.raises(InputError, match="'3bit'"):
        load_causal_lm(phi_dir, quantization="3bit")
