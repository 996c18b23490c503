"""Sample files of other harnesses as a source of audits."""

from __future__ import annotations

import json

import pytest

from audits import user_samples
from protocols.loaders import shipped_problems
from specref_core.errors import InputError


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("row", "benchmark"),
    [
        ({"task_id": "HumanEval/3", "completion": ""}, "humaneval"),
        ({"task_id": "Mbpp/11", "solution": ""}, "mbpp"),
        ({"task_id": "MBPP/11", "completion": ""}, "mbpp"),
        ({"doc_id": 0, "doc": {"task_id": "HumanEval/0"}, "resps": [[""]]}, "humaneval"),
        ({"doc_id": 0, "doc": {"task_id": 11, "test_list": []}, "resps": [[""]]}, "mbpp"),
        ({"output": "42", "gold": "42"}, None),
        ({"task_id": 7, "completion": ""}, None),
    ],
)
def test_benchmark_is_read_from_the_first_row(tmp_path, row, benchmark):
    assert user_samples.code_benchmark_of(write(tmp_path / "s.jsonl", [row])) == benchmark


def test_empty_file_is_named(tmp_path):
    with pytest.raises(InputError, match="empty"):
        user_samples.code_benchmark_of(write(tmp_path / "s.jsonl", []))


def test_a_folder_stands_for_its_sample_files(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.jsonl", "a.jsonl.gz", "deep/c.json", "notes.txt"):
        (tmp_path / name).touch()
    assert [file.name for file in user_samples.sample_files(tmp_path)] == ["a.jsonl.gz", "b.jsonl", "c.json"]
    assert user_samples.sample_files(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]


def test_missing_and_empty_folders_are_named(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        user_samples.sample_files(tmp_path / "nothing")
    with pytest.raises(InputError, match="holds no sample file"):
        user_samples.sample_files(tmp_path)


def test_samples_are_judged_under_every_pipeline(tmp_path, data_dir):
    problems = shipped_problems("humaneval")
    assert problems
    rows = [{"task_id": f"HumanEval/{i}", "completion": "    return None\n"} for i in (0, 0, 1)]
    found = user_samples.measure_samples(write(tmp_path / "s.jsonl", rows), "humaneval", data_dir=data_dir, limit=2)
    assert found.n == 2
    assert set(found.passed) >= {"raw", "strip", "extract"}
    assert found.share("raw") == 0
