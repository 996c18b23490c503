"""Reading a table of scores: every mistake is named with file, line and field."""

from __future__ import annotations

import contextlib

import pytest

from audits.score_table import read_table
from specref_core.errors import InputError

HEAD = "system,benchmark,score,n\n"


def write(tmp_path, content):
    path = tmp_path / "scores.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        HEAD + "A,HumanEval,8.70,164\n",
        HEAD + "A,HumanEval,8.70,164",
        HEAD + "A,HumanEval,8.70%,164\n",
        HEAD + ' A , HumanEval ,"8.70", 164 \n',
        HEAD.replace("\n", "\r\n") + "A,HumanEval,8.70,164\r\n",
        "\ufeff" + HEAD + "A,HumanEval,8.70,164\n",
        "System,BENCHMARK,Score,N\nA,HumanEval,8.70,164\n",
        "n,score,note,benchmark,system\n164,8.70,anything,HumanEval,A\n",
        "\n" + HEAD + "\n,,,\nA,HumanEval,8.70,164\n\n",
        (HEAD + "A,HumanEval,8.70,164\n").replace("\n", "\r"),
    ],
)
def test_one_cell_in_many_spellings(tmp_path, content):
    (cell,) = read_table(write(tmp_path, content))
    assert (cell.system, cell.benchmark, str(cell.score), cell.n) == ("A", "HumanEval", "8.70", 164)


def test_names_may_hold_anything(tmp_path):
    content = HEAD + '"A, ""the"" [red]model[/]",MATH,22.0,100\n"two\nlines",MATH,22,100\nC,MATH,1,100\n'
    cells = read_table(write(tmp_path, content))
    assert [(cell.system, cell.line) for cell in cells] == [('A, "the" [red]model[/]', 2), ("two\nlines", 3), ("C", 5)]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        (HEAD, "a header and no rows"),
        ("system,benchmark,score\nA,B,1\n", "line 1: no column n; found system, benchmark, score"),
        ("system;benchmark;score;n\nA;B;1;2\n", "semicolons"),
        ("system\tbenchmark\tscore\tn\nA\tB\t1\t2\n", "tabs"),
        ("A,B,33.0,100\n", "must be the header"),
        ("system,benchmark,score,n,n\nA,B,1,2,3\n", "column n stands 2 times"),
        (HEAD + "A,B,33,0,100\n", "line 2: 5 fields, the header has 4"),
        (HEAD + "A,B,33\n", "line 2: 3 fields"),
        (HEAD + "A;B;33;100\n", "semicolons"),
        (HEAD + ",B,33,100\n", "line 2, field system: is empty"),
        (HEAD + "A,,33,100\n", "line 2, field benchmark: is empty"),
        (HEAD + "A,B,,100\n", "line 2, field score: '' is empty"),
        (HEAD + "A,B,133,100\n", "line 2, field score: '133' is above 100"),
        (HEAD + "A,B,-1,100\n", "line 2, field score: '-1' is negative"),
        (HEAD + "A,B,nan,100\n", "line 2, field score: 'nan' is not a number"),
        (HEAD + "A,B,1e1,100\n", "line 2, field score: '1e1' uses an exponent"),
        (HEAD + 'A,B,"33,3",100\n', "line 2, field score: '33,3' holds a comma"),
        (HEAD + "A,B,33,0\n", "line 2, field n: '0' is outside 1"),
        (HEAD + "A,B,33,-5\n", "line 2, field n: '-5' is not a whole number"),
        (HEAD + "A,B,33,164.5\n", "line 2, field n: '164.5' is not a whole number"),
        (HEAD + "A,B,33,.0\n", "line 2, field n: is empty"),
        (HEAD + "A,B,33,\n", "line 2, field n: is empty"),
        (HEAD + 'A,B,33,"1,319"\n', "thousands separator; write 1319"),
        (HEAD + "A,B,33," + "9" * 5000 + "\n", "line 2, field n: '99999999999999999999…' is outside"),
        (HEAD + 'A,"B,33,100\n', "line 2: not CSV"),
        (HEAD + 'A,"B"x,33,100\n', "line 2: not CSV"),
        (HEAD.encode() + b"A,B\xff,33,100\n", "line 2: byte 0xff is not UTF-8"),
        ((HEAD + "A,B,33,100\n").encode("utf-16"), "not UTF-8"),
        (HEAD + "A,B," + "1" * 200_000 + ",100\n", "not CSV"),
    ],
)
def test_mistakes_are_named(tmp_path, content, told):
    path = write(tmp_path, content)
    with pytest.raises(InputError) as caught:
        read_table(path)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)


def test_all_mistakes_are_named_at_once_up_to_twenty(tmp_path):
    with pytest.raises(InputError) as caught:
        read_table(write(tmp_path, HEAD + "".join(f"A{i},B,200,0\n" for i in range(15))))
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[0].endswith("'200' is above 100; expected a percentage from 0 to 100")
    assert lines[-1] == "and 10 more"


def test_nul_bytes_get_a_message_or_stay_in_the_name(tmp_path):
    """Python 3.10's reader refuses them, later ones do not."""
    path = write(tmp_path, HEAD.encode() + b"A,B\0,33,100\n")
    with contextlib.suppress(InputError):
        assert read_table(path)[0].benchmark == "B\0"


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_table(tmp_path / "nothing.csv")
    with pytest.raises(InputError, match="is a folder"):
        read_table(tmp_path)


def test_a_system_may_stand_on_a_benchmark_more_than_once(tmp_path):
    path = write(tmp_path, "system,steps,benchmark,score,n\nA,8,B,33,100.0\nA,16,B,34,100\nA,16,B,34,100\n")
    assert [(cell.system, str(cell.score), cell.n, cell.line) for cell in read_table(path)] == [
        ("A", "33", 100, 2),
        ("A", "34", 100, 3),
        ("A", "34", 100, 4),
    ]
