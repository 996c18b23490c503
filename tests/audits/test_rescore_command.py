"""``specref rescore`` as a user types it."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from audits.cli import app, main
from protocols.loaders import DATA_VARIABLE, shipped_problems
from protocols.problems import CodeProblem

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_data_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def bodies(path: Path) -> Path:
    problems = [p for p in shipped_problems("humaneval") if isinstance(p, CodeProblem)]
    return write(path, *({"task_id": p.task_id, "completion": p.reference} for p in problems))


def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    """Run the installed command's own entry point, errors included."""
    monkeypatch.setattr("sys.argv", ["specref", "rescore", *arguments])
    monkeypatch.setenv("COLUMNS", "120")
    code = 0
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capfd.readouterr()
    return code, out, err


def test_table_signatures_and_json(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, target = bodies(tmp_path / "s.jsonl"), tmp_path / "out.json"
    arguments = ["--benchmark", "humaneval", "--samples", str(samples), "--shipped", "--json", str(target)]
    code, out, err = run(
        capfd, monkeypatch, *arguments, "--pipeline", "raw", "--pipeline", "strip", "--timeout", "7", "--workers", "1"
    )
    assert (code, err) == (0, "")
    assert "6/6" in out
    assert "0/6" in out
    assert "100.00" in out
    assert sum(line.startswith("system:s.jsonl|") and "timeout:7|" in line for line in out.splitlines()) == 2
    data = json.loads(target.read_text())
    assert list(data) == ["schema", "version", "signature", "samples", "pipelines"]
    assert [row["pipeline"] for row in data["pipelines"]] == ["raw", "strip"]
    assert len(data["samples"]) == 12
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    assert stat.S_IMODE(target.stat().st_mode) & 0o400


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"task_id": "SpecRef/0", "completion": "x"}\n{"task_id": \n', "line 2: not JSON"),
        (b'{"task_id": "SpecRef/0", "completion": null}\n', "line 1: field 'completion' is null"),
        (b'{"task_id": "SpecRef/99", "completion": ""}\n', "'SpecRef/99', which humaneval does not have"),
        (b"\xff\xfe", "not UTF-8"),
        (b"", "holds no sample"),
        (b"[]", "holds no sample"),
    ],
)
def test_bad_files_end_with_one_line_and_no_output(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, content: bytes, told: str
) -> None:
    samples, target = tmp_path / "s.jsonl", tmp_path / "out.json"
    samples.write_bytes(content)
    target.write_text("old")
    code, out, err = run(
        capfd,
        monkeypatch,
        *["--benchmark", "humaneval", "--samples", str(samples), "--shipped", "--json", str(target)],
    )
    assert (code, out) == (2, "")
    assert told in err
    assert "s.jsonl" in err
    assert "Traceback" not in err
    assert target.read_text() == "old"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--benchmark", "nope"], "unknown benchmark 'nope'; known: humaneval"),
        (["--pipeline", "nope"], "unknown pipeline 'nope'; known: raw"),
        (["--samples", "nowhere.jsonl"], "no file nowhere.jsonl (looked for /"),
        (["--samples", "."], "is a folder"),
        (["--json", "missing/out.json"], r"missing does not exist"),
        (["--json", "."], "is a folder"),
        (["--json", "./s.jsonl"], "is the sample file itself"),
        (["--timeout", "0"], "--timeout 0.0: expected a positive number"),
        (["--timeout", "nan"], "expected a positive number"),
        (["--workers", "0"], "expected at least one"),
        (["--limit", "0"], "limit=0"),
        (["--data-dir", "nowhere"], "no data folder nowhere"),
        (["--require-isolation", "perfect"], "perfect"),
    ],
)
def test_bad_options(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    bodies(tmp_path / "s.jsonl")
    given = {"--benchmark": "humaneval", "--samples": "s.jsonl", arguments[0]: arguments[1]}
    flat = [text for pair in given.items() for text in pair]
    code, _, err = run(capfd, monkeypatch, *flat, *([] if "--data-dir" in given else ["--shipped"]))
    assert code == 2
    assert told in err
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["s.jsonl"]


def test_ten_megabyte_completions_get_verdicts(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = shipped_problems("humaneval")[0]
    assert isinstance(problem, CodeProblem)
    long = problem.reference + "and so on, it's (endless\n" * 400_000
    samples = write(tmp_path / "s.jsonl", {"task_id": problem.task_id, "completion": long})
    arguments = ["--benchmark", "humaneval", "--samples", str(samples), "--shipped", "--workers", "1"]
    code, out, _ = run(capfd, monkeypatch, *arguments, "--pipeline", "raw", "--pipeline", "extract")
    assert code == 0
    assert "0/1" in out
    assert "1/1" in out


def test_uneven_tasks_are_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"output": r"\boxed{1}", "gold": "1", "id": name} for name in "aab"]
    samples = write(tmp_path / "s.jsonl", *rows)
    code, _, err = run(capfd, monkeypatch, "--benchmark", "math", "--samples", str(samples))
    assert code == 0
    assert "some tasks have more samples than others" in err


def test_help_says_what_the_json_holds() -> None:
    shown = CliRunner().invoke(app, ["rescore", "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert shown.exit_code == 0
    for word in ("--pipeline", "--json", "task_id", "failure", "specref rescore --benchmark humaneval"):
        assert word in shown.output
