"""``specref check-table`` from a user's side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import fixtures.published
from audits.cli import app

PAPER = Path(fixtures.published.__file__).with_name("specref_scores.csv")
HEAD = "system,benchmark,score,n\n"


def run(*arguments):
    return CliRunner(env={"COLUMNS": "140", "NO_COLOR": "1"}).invoke(app, ["check-table", *map(str, arguments)])


@pytest.fixture
def table(tmp_path):
    def write(rows):
        path = tmp_path / "scores.csv"
        path.write_text(HEAD + rows, encoding="utf-8")
        return path

    return write


def test_the_paper(tmp_path):
    out = tmp_path / "check.json"
    result = run(PAPER, "--json", out)
    assert result.exit_code == 0
    assert "4 of 51 cells impossible" in result.output
    assert "HumanEval: sizes that fit both impossible cells: 115, 230" in result.output
    data = json.loads(out.read_text(encoding="utf-8"))
    assert {(c["benchmark"], c["printed"]) for c in data["cells"] if not c["possible"]} == {
        ("HumanEval", "1.74"),
        ("HumanEval", "8.70"),
        ("ARC-Challenge", "58.10"),
        ("ARC-Challenge", "51.50"),
    }


def test_strict_turns_impossible_cells_into_an_exit_code(table):
    assert run(table("A,B,33.33,3\n"), "--strict").exit_code == 0
    assert run(table("A,B,33.30,3\n")).exit_code == 0
    assert run(table("A,B,33.30,3\n"), "--strict").exit_code == 1


def test_nothing_to_say(table):
    result = run(table("A,B,50.0,10\n"))
    assert "0 of 1 cells impossible" in result.output
    assert "nothing is compared" in result.output
    assert "noise" not in result.output.replace("nothing", "")


def test_names_are_printed_as_they_are(table):
    assert "[bold]x[/bold]" in run(table("[bold]x[/bold],[i]B,33.30,3\n")).output


def test_no_size_fits(table):
    assert "no size tried fits the impossible cell" in run(table("A,B,33.30,3\n")).output


def test_wrong_input_writes_nothing(table, tmp_path):
    out = tmp_path / "out.json"
    result = run(table("A,B,133,3\n"), "--json", out)
    assert result.exit_code != 0
    assert "line 2, field score" in str(result.exception)
    assert not out.exists()


@pytest.mark.parametrize("target", [".", "missing/out.json"])
def test_unwritable_target_is_refused_first(tmp_path, target):
    result = run(tmp_path / "not-there.csv", "--json", tmp_path / target)
    assert "out.json" in str(result.exception) or "is a folder" in str(result.exception)


def test_json_replaces_an_older_file_whole(table, tmp_path):
    out = tmp_path / "out.json"
    out.write_text("old", encoding="utf-8")
    run(table("A,B,50,10\n"), "--json", out)
    assert json.loads(out.read_text(encoding="utf-8"))["cells"][0]["score"] == 50.0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.json", "scores.csv"]


def test_help_explains_the_columns():
    result = run("--help")
    assert result.exit_code == 0
    for word in ("system", "benchmark", "score", "fitting_n", "--json", "--strict"):
        assert word in result.output


def test_the_table_itself_is_never_overwritten(table, tmp_path):
    path = table("A,B,33,100\n")
    link = tmp_path / "link.json"
    link.symlink_to(path)
    for target in (path, link):
        result = run(path, "--json", target)
        assert result.exit_code != 0
        assert "is the file that is read" in str(result.exception)
    assert path.read_text(encoding="utf-8").startswith(HEAD)


def test_rows_of_one_name_are_told_apart_by_their_lines(table, tmp_path):
    out = tmp_path / "check.json"
    result = run(table("A,B,33,100\nA,B,34,100\nA,B,34,100\n"), "--json", out)
    assert result.exit_code == 0
    assert "A 34 (line 3)" in result.output
    data = json.loads(out.read_text(encoding="utf-8"))
    assert [cell["line"] for cell in data["cells"]] == [2, 3, 4]
    assert [(d["first_line"], d["second_line"]) for d in data["differences"]] == [(3, 2)]
