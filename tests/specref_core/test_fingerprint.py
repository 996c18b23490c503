from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer

from specref_core.fingerprint import files_digest, settings_digest, tokenizer_digest, weights_digest
from tests import small_tokenizers


def model(seed=0, dtype=torch.float32):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).to(dtype)


def test_equal_weights_have_equal_digests():
    assert weights_digest(model()) == weights_digest(model())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_dtype_is_part_of_it(dtype):
    assert weights_digest(model(dtype=dtype)) != weights_digest(model())


@pytest.mark.parametrize("name", ["0.weight", "0.bias", "1.running_mean"])
def test_one_bit_of_any_weight_or_buffer_changes_it(name):
    changed = model()
    with torch.no_grad():
        changed.state_dict()[name].view(-1)[-1].add_(1e-6)
    assert weights_digest(changed) != weights_digest(model())


def test_a_tokenizer_is_named_by_its_whole_definition():
    tokenizer = Tokenizer.from_str(small_tokenizers.byte_level().to_str())
    before = tokenizer_digest(tokenizer)
    assert before == tokenizer_digest(small_tokenizers.byte_level())
    tokenizer.add_tokens(["new"])
    assert tokenizer_digest(tokenizer) != before


def test_settings_do_not_run_together():
    assert settings_digest("ab", "c") != settings_digest("a", "bc")


def test_files_are_named_by_place_and_bytes(tmp_path):
    def digest():
        return files_digest([tmp_path / "a", tmp_path / "b"], suffixes=(".py", ".json"), without=("record.json",))

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    seen = [digest()]
    for place, content in (("a/x.py", "1"), ("a/x.py", "2"), ("b/x.py", "2"), ("a/y.json", ""), ("b/sub", None)):
        path = tmp_path / place
        path.write_text(content, encoding="utf-8") if content is not None else path.mkdir()
        seen.append(digest())
    (tmp_path / "b/x.py").rename(tmp_path / "b/sub/x.py")
    seen.append(digest())
    assert seen[-2] == seen[-3], "a folder without files changed it"
    assert len(set(seen)) == len(seen) - 1
    for indifferent in ("a/record.json", "a/x.pyc", "b/notes.md"):
        (tmp_path / indifferent).write_text("1", encoding="utf-8")
        assert digest() == seen[-1]
