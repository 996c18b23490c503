"""Sample files of human-eval, evalplus and lm-eval, and rows that carry their own gold answer."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest

from protocols.loaders import shipped_problems
from protocols.problems import AnswerProblem
from protocols.samples import read_samples, resolve, samples_digest
from specref_core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

DOC = {
    "task_id": "HumanEval/0",
    "prompt": "def f(x):\n",
    "entry_point": "f",
    "canonical_solution": "    return x\n",
    "test": "def check(candidate):\n    pass\n",
}


def lm_eval(doc: dict[str, object], *responses: str, **more: object) -> dict[str, object]:
    row = {"doc_id": 0, "doc": doc, "target": "", "resps": [list(responses)], "filtered_resps": ["x"], "filter": "none"}
    return {**row, **more}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_human_eval_rows_keep_their_order_and_bytes(tmp_path: Path) -> None:
    rows = [("B/1", "    return 1\r\n"), ("A/0", ""), ("B/1", "\t\u2028\ud800x")]
    path = write(tmp_path / "s.jsonl", *({"task_id": t, "completion": c} for t, c in rows))
    assert [(s.task_id, s.completion) for s in read_samples(path, "humaneval")] == rows
    assert [s.line for s in read_samples(path, "humaneval")] == [1, 2, 3]
    assert len(read_samples(path, "humaneval", limit=2)) == 2


def test_gzip_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl.gz"
    path.write_bytes(gzip.compress(b'\xef\xbb\xbf{"task_id": "a", "completion": "x"}\r\n\r\n'))
    assert [s.completion for s in read_samples(path, "humaneval")] == ["x"]


def test_evalplus_solution_is_a_whole_program(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", {"task_id": "Mbpp/2", "solution": "s"}, {"task_id": "Mbpp/3", "completion": "c"})
    assert [(s.completion, s.whole_program) for s in read_samples(path, "mbpp")] == [("s", True), ("c", False)]


def test_lm_eval_rows(tmp_path: Path) -> None:
    path = write(
        tmp_path / "samples_humaneval_2026.jsonl",
        lm_eval(DOC, "    return x", "    return 2"),
        lm_eval(DOC, "    return x", "    return 2", filter="create_test"),  # the same responses again
        lm_eval({"task_id": "HumanEval/1"}, "    return 3", doc_id=1),
    )
    samples = read_samples(path, "humaneval")
    assert [s.completion for s in samples] == ["    return x", "    return 2", "    return 3"]
    assert [s.task_id for s in samples] == ["HumanEval/0", "HumanEval/0", "HumanEval/1"]
    assert samples[0].problem is not None
    assert samples[2].problem is None


@pytest.mark.parametrize(
    ("benchmark", "doc", "target", "gold"),
    [
        ("gsm8k", {"question": "q", "answer": "1 + 1\n#### 1,002"}, "x", "1002"),
        ("math", {"problem": "p", "solution": r"$\boxed{\frac{1}{2}}$"}, "x", r"\frac{1}{2}"),
        ("bbh", {"input": "i", "target": "True"}, "x", "True"),
        ("gsm8k", {"mine": 1}, "so\n#### 7", "7"),
        ("math", {"mine": 1}, "42", "42"),
    ],
)
def test_lm_eval_answers_carry_their_gold(
    tmp_path: Path, benchmark: str, doc: dict[str, object], target: str, gold: str
) -> None:
    path = write(tmp_path / "s.jsonl", lm_eval(doc, "out", target=target))
    (sample,) = read_samples(path, benchmark)
    assert isinstance(sample.problem, AnswerProblem)
    assert sample.problem.gold == gold
    assert resolve([sample], []) == [sample.problem]


@pytest.mark.parametrize(("gold", "text"), [("18", "18"), (18, "18"), (True, "True"), (0.5, "0.5")])
def test_plain_rows_with_gold(tmp_path: Path, gold: object, text: str) -> None:
    path = write(tmp_path / "s.jsonl", {"output": "o", "gold": gold}, {"output": "o", "gold": gold, "id": "mine"})
    samples = read_samples(path, "gsm8k")
    found = resolve(samples, [])
    assert [p.gold for p in found if isinstance(p, AnswerProblem)] == [text, text]
    assert [p.task_id for p in found] == ["1", "mine"]


@pytest.mark.parametrize(
    ("benchmark", "row", "told"),
    [
        ("humaneval", {"task_id": "a", "completion": None}, "line 2: field 'completion' is null; expected a string"),
        ("humaneval", {"task_id": "a", "completion": ["x"]}, "line 2: field 'completion' is a list"),
        ("humaneval", {"task_id": "a"}, "line 2: field 'completion' or 'solution' or 'output' is missing"),
        ("humaneval", {"completion": "x"}, "line 2: field 'task_id' is missing"),
        ("humaneval", {"task_id": None, "completion": "x"}, "line 2: field 'task_id' is None"),
        ("humaneval", {"task_id": 1.5, "completion": "x"}, r"line 2: field 'task_id' is 1\.5"),
        ("humaneval", {"task_id": "a", "completion": "x", "gold": "1"}, "field 'gold' has no meaning for humaneval"),
        ("gsm8k", {"output": "x"}, "line 2: field 'task_id' or 'gold' is missing"),
        ("gsm8k", {"output": "x", "gold": None}, "line 2: field 'gold' is None"),
        ("gsm8k", {"output": "x", "gold": " "}, "line 2: field 'gold' is ' '"),
        ("gsm8k", {"gold": "1"}, "line 2: field .*'output' is missing"),
        ("humaneval", lm_eval(DOC, "x", resps="x"), "field 'resps' is a string; expected a list"),
        ("humaneval", lm_eval(DOC, "x", resps=["x"]), r"field 'resps'\[0\] is 'x'; expected a list of strings"),
        ("humaneval", lm_eval(DOC, "x", resps=[[["-1.0", "False"]]]), r"field 'resps'\[0\] holds"),
        ("humaneval", {**lm_eval(DOC, "x"), "doc": "d"}, "field 'doc' is a string; expected an object"),
        ("humaneval", lm_eval({"x": 1}, "x"), "field 'doc': field 'task_id' is missing"),
        ("gsm8k", lm_eval({"x": 1}, "x"), "field 'doc': field 'answer' is missing"),
        ("humaneval", lm_eval(DOC, "x", doc_id=[1]), "field 'doc_id' is"),
    ],
)
def test_broken_rows_name_line_and_field(tmp_path: Path, benchmark: str, row: object, told: str) -> None:
    good = {"task_id": "a", "completion": "x"} if benchmark == "humaneval" else {"output": "x", "gold": "1"}
    path = write(tmp_path / "broken.jsonl", good, row)
    with pytest.raises(InputError, match=told) as caught:
        read_samples(path, benchmark)
    assert str(path) in str(caught.value)


def test_missing_empty_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file .*none\.jsonl \(looked for /"):
        read_samples(tmp_path / "none.jsonl", "humaneval")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match="holds no sample"):
        read_samples(tmp_path / "empty.jsonl", "humaneval")
    with pytest.raises(InputError, match="is a folder"):
        read_samples(tmp_path, "humaneval")


@pytest.mark.parametrize("written", ["SpecRef/2", "specref/2", "2", "Other/2"])
def test_task_ids_are_found_as_people_write_them(tmp_path: Path, written: str) -> None:
    problems = shipped_problems("humaneval")
    path = write(tmp_path / "s.jsonl", {"task_id": written, "completion": ""})
    if written.startswith("Other"):
        with pytest.raises(InputError, match=r"'Other/2', which humaneval does not have; known: SpecRef/0 … SpecRef/5"):
            resolve(read_samples(path, "humaneval"), problems)
    else:
        assert resolve(read_samples(path, "humaneval"), problems) == [problems[2]]


def test_whole_numbers_are_task_ids_too(tmp_path: Path) -> None:
    problems = shipped_problems("mbpp")
    path = write(tmp_path / "s.jsonl", {"task_id": 3, "completion": ""})
    assert resolve(read_samples(path, "mbpp"), problems) == [problems[2]]


def test_digest_sees_every_output(tmp_path: Path) -> None:
    one = read_samples(write(tmp_path / "a", {"task_id": "a", "completion": "x"}), "humaneval")
    two = read_samples(write(tmp_path / "b", {"task_id": "a", "completion": "y\ud800"}), "humaneval")
    assert samples_digest(one) == samples_digest(list(one)) != samples_digest(two)
