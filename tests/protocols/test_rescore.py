"""Rescoring: the same outputs through every pipeline, in the order of the file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from protocols.execution.completion import PIPELINES
from protocols.loaders import DATA_VARIABLE, shipped_problems
from protocols.problems import CodeProblem
from protocols.rescore import SCHEMA, _in_order, prepare, rescore
from protocols.score import Failure, Score
from specref_core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_data_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def code() -> list[CodeProblem]:
    return [p for p in shipped_problems("humaneval") if isinstance(p, CodeProblem)]


def test_canonical_bodies_through_all_pipelines(tmp_path: Path) -> None:
    rows = [{"task_id": p.task_id, "completion": p.reference} for p in code()]
    outcome = rescore(prepare(write(tmp_path / "s.jsonl", *rows), "humaneval", shipped=True), workers=2)
    correct = {name: scores.correct for name, scores in outcome.pipelines}
    assert correct == {"raw": 6, "stop-sequences": 6, "strip": 0, "dedent": 0, "strip+dedent": 0, "extract": 6}


def test_order_repeated_tasks_and_schema(tmp_path: Path) -> None:
    first, second = code()[:2]
    rows = [
        {"task_id": second.task_id, "completion": second.reference},
        {"task_id": first.task_id, "completion": "    return (\n"},
        {"task_id": second.task_id, "completion": "    return 1\n"},
        {"task_id": second.task_id, "completion": second.reference},
    ]
    path = write(tmp_path / "s.jsonl", *rows)
    material = prepare(path, "humaneval", shipped=True, pipelines=["extract", "raw", "extract"])
    assert material.uneven
    seen: list[tuple[int, int]] = []
    data = rescore(material, workers=1, timeout=5, progress=lambda done, total: seen.append((done, total))).as_dict()
    assert seen == [(n, 8) for n in range(1, 9)]
    samples, pipelines = data["samples"], data["pipelines"]
    assert isinstance(samples, list)
    assert isinstance(pipelines, list)
    ids = [row["task_id"] for row in rows for _ in range(2)]
    assert [s["task_id"] for s in samples] == ids
    assert [s["pipeline"] for s in samples] == ["extract", "raw"] * 4
    assert [s["correct"] for s in samples] == [True, True, False, False, False, False, True, True]
    assert [s["failure"] for s in samples][2:6] == ["syntax", "syntax", "wrong-answer", "wrong-answer"]
    assert set(samples[0]) == {"task_id", "pipeline", "correct", "failure", "detail"}
    assert data["schema"] == SCHEMA
    for row in pipelines:
        assert (row["n"], row["correct"], row["score"], row["tasks"]) == (4, 2, 0.5, 2)
        assert 0 <= row["low"] < 0.5 < row["high"] <= 1
        assert f"pipeline:{row['pipeline']}" in row["signature"]
        assert "timeout:5|" in row["signature"]
    assert "isolation:" in str(data["signature"])
    json.dumps(data)


def test_equal_programs_run_once_and_are_told_in_order() -> None:
    good, bad = Score(correct=True), Score(correct=False, failure=Failure.TIMEOUT)
    order = [("a", b"1"), ("a", b"1"), ("b", b"1"), ("a", b"1"), ("b", b"1")]
    assert list(_in_order(iter([good, bad]), order)) == [good, good, bad, good, bad]


def test_whole_programs_are_not_put_behind_the_prompt(tmp_path: Path) -> None:
    rows = [{"task_id": p.task_id, "solution": p.prompt + p.reference} for p in code()[:3]]
    path = write(tmp_path / "s.jsonl", *rows)
    outcome = rescore(prepare(path, "humaneval", shipped=True, pipelines=["raw", "extract"]), workers=1)
    assert [scores.correct for _, scores in outcome.pipelines] == [3, 3]


def test_mbpp_ids_and_line_ends(tmp_path: Path) -> None:
    problems = [p for p in shipped_problems("mbpp") if isinstance(p, CodeProblem)]
    rows = [{"task_id": p.task_id.replace("MBPP", "Mbpp"), "completion": p.reference} for p in problems]
    path = write(tmp_path / "s.jsonl", *rows)
    outcome = rescore(prepare(path, "mbpp", shipped=True, pipelines=["raw", "extract"]), workers=1)
    assert [scores.correct for _, scores in outcome.pipelines] == [5, 5]


def test_lm_eval_rows_need_no_data_set(tmp_path: Path) -> None:
    p = code()[0]
    doc = {
        "task_id": p.task_id,
        "prompt": p.prompt,
        "entry_point": p.entry_point,
        "canonical_solution": p.reference,
        "test": p.tests,
    }
    path = write(tmp_path / "s.jsonl", {"doc_id": 0, "doc": doc, "resps": [[p.reference, "    return 0\n"]]})
    outcome = rescore(prepare(path, "humaneval", pipelines=["raw"]), workers=1)
    assert [s.score.correct for s in outcome.pipelines[0][1].samples] == [True, False]


def test_answers_strict_and_lenient(tmp_path: Path) -> None:
    rows = [
        {"output": r"so \boxed{\frac{1}{2}}", "gold": r"\frac{1}{2}"},
        {"output": r"so \boxed{0.5}", "gold": r"\frac{1}{2}"},
        {"output": r"so \boxed{3}", "gold": r"\frac{1}{2}"},
        {"output": "no idea", "gold": r"\frac{1}{2}"},
    ]
    outcome = rescore(prepare(write(tmp_path / "s.jsonl", *rows), "math"), workers=1)
    assert [(name, scores.correct) for name, scores in outcome.pipelines] == [("strict", 1), ("lenient", 2)]
    assert [s.score.failure for s in outcome.pipelines[1][1].samples][2:] == [Failure.WRONG_ANSWER, Failure.NO_ANSWER]
    data = outcome.as_dict()
    assert "grader:" in data["pipelines"][0]["signature"]  # type: ignore[index]
    assert [s["task_id"] for s in data["samples"]] == ["1", "1", "2", "2", "3", "3", "4", "4"]  # type: ignore[union-attr,index]


@pytest.mark.parametrize(
    ("benchmark", "pipelines", "told"),
    [
        ("humanevol", [], r"unknown benchmark 'humanevol'; known: humaneval, mbpp"),
        ("hellaswag", [], r"scored by likelihood.*humaneval, mbpp, gsm8k, math, bbh"),
        ("humaneval", ["stripp"], r"unknown pipeline 'stripp'; known: raw"),
        ("math", ["raw"], r"unknown grader 'raw' for math; known: strict, lenient"),
    ],
)
def test_choices_are_checked_before_the_file_is_read(
    tmp_path: Path, benchmark: str, pipelines: list[str], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        prepare(tmp_path / "absent.jsonl", benchmark, pipelines=pipelines)


def test_default_pipelines_are_all_of_them(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", {"task_id": "SpecRef/0", "completion": ""})
    assert prepare(path, "humaneval", shipped=True).pipelines == tuple(PIPELINES)
