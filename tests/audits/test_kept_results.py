"""Results that later runs find again."""

from __future__ import annotations

import json

import pytest

from audits import kept_results
from audits.kept_results import KeptResults, source_digest


class Counting:
    def __init__(self, result):
        self.result = result
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.result


@pytest.mark.parametrize("result", [None, 0, "text", [1, [2.5, None]], {"a": [True]}])
def test_a_second_run_computes_nothing(tmp_path, result):
    compute = Counting(result)
    assert KeptResults(tmp_path).recall("key", compute) == result
    assert KeptResults(tmp_path).recall("key", compute) == result
    assert compute.calls == 1


def test_another_key_or_other_sources_are_other_results(tmp_path, monkeypatch):
    compute = Counting(1)
    KeptResults(tmp_path).recall("key", compute)
    KeptResults(tmp_path).recall("other", compute)
    assert compute.calls == 2
    monkeypatch.setattr(kept_results, "source_digest", lambda: "changed")
    KeptResults(tmp_path).recall("key", compute)
    assert compute.calls == 3


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"key": "another", "result": 5}', '{"key": "key"}'])
def test_a_damaged_file_is_computed_again(tmp_path, damage):
    kept = KeptResults(tmp_path)
    kept.recall("key", Counting(1))
    (file,) = tmp_path.rglob("*.json")
    file.write_text(damage, encoding="utf-8")
    assert kept.recall("key", Counting(2)) == 2
    assert json.loads(file.read_text(encoding="utf-8"))["result"] == 2


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path):
    file = tmp_path / "no folder"
    file.write_text("", encoding="utf-8")
    assert KeptResults(file).recall("key", Counting(3)) == 3


def test_what_raises_is_not_kept(tmp_path):
    def broken():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        KeptResults(tmp_path).recall("key", broken)
    assert not list(tmp_path.rglob("*.json"))


def test_the_digest_sees_code_and_weights_and_not_the_record(tmp_path, monkeypatch):
    seen = set()
    for package in ("specref_core", "protocols", "fixtures", "audits"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("", encoding="utf-8")
        module = pytest.importorskip(package)
        monkeypatch.setattr(module, "__file__", str(tmp_path / package / "__init__.py"))

    def digest():
        source_digest.cache_clear()
        return source_digest()

    seen.add(digest())
    for place, content in (
        ("fixtures/model.safetensors", "1"),
        ("fixtures/model.safetensors", "2"),
        ("audits/a.py", ""),
    ):
        (tmp_path / place).write_text(content, encoding="utf-8")
        seen.add(digest())
    assert len(seen) == 4
    (tmp_path / "audits" / "recorded_verdicts.json").write_text("{}", encoding="utf-8")
    assert digest() in seen
    source_digest.cache_clear()
