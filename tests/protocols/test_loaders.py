"""Loading problems: the public formats, the shipped records, and what is said about broken files."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest

from protocols import loaders
from protocols.json_lines import read_rows
from protocols.loaders import BENCHMARKS, data_digest, load_problems, shipped_problems
from protocols.problems import AnswerProblem, ChoiceProblem, CodeProblem
from specref_core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": "def f(x):\n",
    "entry_point": "f",
    "canonical_solution": "    return x\n",
    "test": "def check(candidate):\n    assert candidate(1) == 1\n",
}
MBPP = {
    "text": "Write it.",
    "code": "def g(x):\r\n\treturn [x]",
    "task_id": 11,
    "test_setup_code": "",
    "test_list": ["assert len(g(1)) == 1"],
    "challenge_test_list": [],
}

FIRST: dict[str, dict[str, object]] = {
    "gsm8k": {"question": "q", "answer": "1 + 1\n#### 2"},
    "math": {"problem": "p", "solution": r"$\boxed{2}$"},
    "bbh": {"input": "True is", "target": "True"},
    "arc_challenge": {"id": "a", "question": "q", "choices": {"text": ["a"], "label": ["A"]}, "answerKey": "A"},
    "hellaswag": {"query": "q", "choices": ["a", "b"], "gold": 0},
    "humaneval": HUMANEVAL,
    "mbpp": MBPP,
}


@pytest.fixture(autouse=True)
def _no_data_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(loaders.DATA_VARIABLE, raising=False)


def write(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_shipped_records_load(benchmark: str) -> None:
    problems = shipped_problems(benchmark)
    assert 4 <= len(problems) <= 8
    assert all(problem.benchmark == benchmark for problem in problems)
    assert load_problems(benchmark, shipped=True, limit=2) == problems[:2]


def test_shipped_code_solutions_pass_their_own_tests() -> None:
    for benchmark in ("humaneval", "mbpp"):
        for problem in shipped_problems(benchmark):
            assert isinstance(problem, CodeProblem)
            program = (problem.prompt if problem.prompt_is_code else "") + problem.reference
            check = f"check({problem.entry_point})" if problem.test_style == "check" else ""
            exec(f"{program}\n{problem.setup}\n{problem.tests}\n{check}", {})


@pytest.mark.parametrize(
    ("benchmark", "n", "first"),
    [
        ("humaneval", 164, "HumanEval/0"),
        ("mbpp", 474, "MBPP/1"),
        ("gsm8k", 1319, "GSM8K/0"),
        ("math", 500, "MATH/2890"),
        ("bbh", 250, "boolean_expressions/0"),
        ("arc_challenge", 600, "arc-c-test-0"),
        ("hellaswag", 4, "HellaSwag/0"),
    ],
)
def test_real_files_load_whole(data_dir: Path, benchmark: str, n: int, first: str) -> None:
    problems = load_problems(benchmark, data_dir=data_dir)
    assert len(problems) == len({problem.task_id for problem in problems}) == n
    assert sorted(p.task_id for p in problems if p.task_id == first) == [first]


def test_real_gold_answers(data_dir: Path) -> None:
    first = load_problems("gsm8k", data_dir=data_dir, limit=1)[0]
    assert isinstance(first, AnswerProblem)
    assert first.gold == "18"
    math = [p for p in load_problems("math", data_dir=data_dir) if isinstance(p, AnswerProblem)]
    assert math[0].gold == r"\text{ellipse}"
    assert all(problem.gold for problem in math)
    boolean = [p for p in load_problems("bbh", data_dir=data_dir) if isinstance(p, AnswerProblem)]
    assert {problem.gold for problem in boolean} == {"True", "False"}


@pytest.mark.parametrize(
    "name",
    ["HumanEval.jsonl", "humaneval.jsonl", "humaneval/HumanEval.jsonl", "HumanEval.jsonl.gz", "humaneval/x.jsonl"],
)
def test_public_file_names(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, HUMANEVAL)
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    (problem,) = load_problems("humaneval", data_dir=tmp_path)
    assert problem.task_id == "HumanEval/0"
    assert load_problems("humaneval", data_dir=path) == [problem]


def test_data_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "mbpp.jsonl", MBPP)
    monkeypatch.setenv(loaders.DATA_VARIABLE, str(tmp_path))
    (problem,) = load_problems("mbpp")
    assert isinstance(problem, CodeProblem)
    assert (problem.task_id, problem.entry_point, problem.reference) == ("MBPP/11", "g", MBPP["code"])


def test_sanitized_mbpp_array(tmp_path: Path) -> None:
    row = {
        "prompt": "Write it.",
        "code": "def g(x):\n    return x",
        "task_id": 2,
        "test_imports": ["import math"],
        "test_list": ["assert math.isclose(g(1), 1)"],
    }
    (tmp_path / "sanitized-mbpp.json").write_text(json.dumps([row], indent=2))
    (problem,) = load_problems("mbpp", data_dir=tmp_path)
    assert isinstance(problem, CodeProblem)
    assert (problem.entry_point, problem.setup) == ("g", "import math")


def test_math_folder_of_single_files(tmp_path: Path) -> None:
    for number in range(3):
        path = tmp_path / "MATH" / "test" / "algebra" / f"{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"problem": "P", "solution": rf"so $\boxed{{{number}}}$"}, indent=1))
    assert [p.gold for p in load_problems("math", data_dir=tmp_path) if isinstance(p, AnswerProblem)] == ["0", "1", "2"]


def test_arc_in_its_authors_schema(tmp_path: Path) -> None:
    choices = [{"text": "one", "label": "1"}, {"text": "two", "label": "2"}]
    question = {"stem": "Q?", "choices": choices}
    write(tmp_path / "ARC-Challenge-Test.jsonl", {"id": "a", "question": question, "answerKey": "2"})
    assert load_problems("arc_challenge", data_dir=tmp_path) == [
        ChoiceProblem("arc_challenge", "a", "Question: Q?\nAnswer:", ("one", "two"), 1)
    ]


def test_hellaswag_preprocessing() -> None:
    problem = shipped_problems("hellaswag")[2]
    assert isinstance(problem, ChoiceProblem)
    assert problem.context.startswith("Home and Garden:")
    assert "[" not in problem.context
    assert "fern. Choose the time of day. Ferns" in problem.context
    assert problem.choices[0] == " Throw the fern at noon."  # the field's own preprocessing leaves the blank
    assert problem.gold == 3


@pytest.mark.parametrize(
    ("benchmark", "row", "told"),
    [
        ("humaneval", {**HUMANEVAL, "prompt": None}, r"line 2: field 'prompt' is null; expected a string"),
        ("humaneval", {k: v for k, v in HUMANEVAL.items() if k != "test"}, r"line 2: field 'test' is missing"),
        ("humaneval", HUMANEVAL, r"line 2: task id 'HumanEval/0' was used before \(.*line 1\)"),
        ("mbpp", {**MBPP, "task_id": "x"}, r"line 2: field 'task_id' is a string; expected an integer"),
        ("mbpp", {**MBPP, "task_id": 2, "test_list": []}, r"field 'test_list' is empty"),
        ("mbpp", {**MBPP, "task_id": 2, "test_list": ["assert True"]}, r"no entry point"),
        ("mbpp", {**MBPP, "task_id": 2, "test_list": [1]}, r"'test_list'\[0\] is an integer"),
        ("gsm8k", {"question": "q", "answer": "no marker"}, r"line 2: field 'answer' has no '####"),
        ("math", {"problem": "p", "solution": r"\boxed{1"}, r"no complete \\boxed"),
        ("bbh", {"input": "x", "target": "maybe"}, r"'target' is 'maybe'; expected True or False"),
        ("arc_challenge", {"id": "x", "question": "q", "choices": ["a"], "answerKey": "A"}, "field 'choices' is not"),
        ("hellaswag", {"query": "q", "choices": ["a", "b"], "gold": 2}, r"expected 0 to 1"),
    ],
)
def test_broken_records_name_file_line_and_field(
    tmp_path: Path, benchmark: str, row: dict[str, object], told: str
) -> None:
    path = write(tmp_path / f"{benchmark}.jsonl", FIRST[benchmark], row)
    with pytest.raises(InputError, match=told) as caught:
        load_problems(benchmark, data_dir=path)
    assert path.name in str(caught.value)


def test_unknown_benchmark_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"humanevol.*humaneval, mbpp, gsm8k, math, bbh, arc_challenge, hellaswag"):
        load_problems("humanevol")


def test_missing_data_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no data folder .*nowhere"):
        load_problems("humaneval", data_dir=tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"looked for .*humaneval/"):
        load_problems("humaneval", data_dir=tmp_path)


def test_an_unreachable_hub_is_told_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(InputError, match=r"hub is not reachable.*--data-dir"):
        load_problems("humaneval")


def test_limit_must_be_positive() -> None:
    with pytest.raises(InputError, match="limit=0"):
        load_problems("humaneval", shipped=True, limit=0)


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "humaneval.jsonl").write_text("\n \n")
    with pytest.raises(InputError, match="no humaneval record"):
        load_problems("humaneval", data_dir=tmp_path)


def test_digest_changes_with_every_field_and_the_order() -> None:
    problems = shipped_problems("humaneval")
    digest = data_digest(problems)
    assert len(digest) == 12
    assert int(digest, 16) >= 0
    assert data_digest(problems) == digest
    assert data_digest(problems[::-1]) != digest
    assert data_digest(problems[:-1]) != digest


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"a": 1}\n{"a": \n', r"line 2: not JSON \(.*column 6"),
        (b'{"a": 1}\n{"a": "\xff"}\n', r"line 2: not UTF-8 \(byte 8: 0xff\)"),
        (b"[1]", r"record 1: an integer; expected a JSON object"),
        (b"3\n", r"line 1: an integer; expected a JSON object"),
        (b"\xff\xfe{\x00", r"line 1: not UTF-8"),
        (gzip.compress(b'{"a": 1}\n' * 1000, mtime=0)[:-20], r"cannot read"),
        (b"[" * 100_000, r"not usable JSON|not JSON"),
        (b'{"a":' * 100_000, r"line 1: not usable JSON|not JSON"),
    ],
)
def test_unreadable_files(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=told):
        list(read_rows(path))


@pytest.mark.parametrize(
    "content",
    [
        b'{"a": 1}\n{"a": 2}\n',
        b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"a": 2}\r\n',
        b'{"a": 1}\n\n   \n{"a": 2}',
        b'[{"a": 1}, {"a": 2}]',
        b'[\n {"a": 1},\n {"a": 2}\n]\n',
        gzip.compress(b'{"a": 1}\n{"a": 2}\n', mtime=0),
    ],
)
def test_readable_variants(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    assert [row.fields["a"] for row in read_rows(path)] == [1, 2]
