"""How benchmarks' tests run: across the boundary, with calls as written, or inside; and what calls are foreseen."""

# Programs and tables stay on one line, however long.
# ruff: noqa: E501

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from protocols.execution.judge import Judge, Limits
from protocols.execution.literals import Decoder
from protocols.execution.plan import read_plan
from protocols.execution.remote import bring_up_to_date
from protocols.problems import CodeProblem
from protocols.score import Failure


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge(workers=1, limits=Limits(timeout=20.0)) as judge:
        yield judge


def asserts(tests: str, reference: str, *, setup: str = "", name: str = "f") -> CodeProblem:
    return CodeProblem("mbpp", "MBPP/0", "", name, tests, "asserts", setup, reference, False)


PASSING = {
    "a list changed in place": ("a = [3, 1]\nassert f(a) is None\nassert a == [1, 3]", "def f(a): a.sort()"),
    "an inner list changed in place": ("i = [1]\na = [i]\nf(a)\nassert i == [1, 2]", "def f(a): a[0].append(2)"),
    "a dictionary changed in place": ("d = {1: [2]}\nf(d)\nassert d == {1: [2, 3], 4: 5}", "def f(d): d[1].append(3); d[4] = 5"),
    "a set changed in place": ("s = {1}\nf(s)\nassert s == {1, 2}", "def f(s): s.add(2)"),
    "the argument itself returned": ("a = [2, 1]\nassert f(a) is a\nassert a == [1, 2]", "def f(a): a.sort(); return a"),
    "a generator": ("assert list(f(3)) == [0, 1, 2]", "def f(n):\n    yield from range(n)"),
    "an endless generator": (
        "import itertools\nassert list(itertools.islice(f(), 70)) == list(range(70))",
        "import itertools\ndef f(): return itertools.count()",
    ),
    "an iterator": ("assert next(f([1, 2])) == 1", "def f(a): return iter(a)"),
    "a generator passed": ("assert f(i for i in range(4)) == 6", "def f(g): return sum(g)"),
    "a function returned": ("assert f(2)(3) == 5", "def f(a): return lambda b: a + b"),
    "a match object": ("m = f('ab')\nassert m and m.group() == 'a'\nassert not f('b')", "import re\ndef f(s): return re.match('a', s)"),
    "an expected exception": (
        "try:\n    f(0)\nexcept ZeroDivisionError as e:\n    assert 'division' in str(e)\nelse:\n    assert False",
        "def f(x): return 1 / x",
    ),
    "an expected own exception": (
        "try:\n    f()\nexcept E as e:\n    assert e.args == (1,)\nelse:\n    assert False",
        "class E(Exception): pass\ndef f(): raise E(1)",
    ),
    "infinities and not-a-number": ("import math\nassert f(float('inf')) == -math.inf\nassert math.isnan(f(float('nan')))", "def f(x): return -x"),
    "sets, tuples, bytes, complex": ("assert f({1}, (2,), b'3', 4j) == [{1}, (2,), b'3', 4j]", "def f(*a): return list(a)"),
    "keywords": ("assert f(1, b=2) == 3", "def f(a, b): return a + b"),
    "a counter": ("assert f('aa')['a'] == 2\nassert f('aa')['b'] == 0", "from collections import Counter\ndef f(s): return Counter(s)"),
    "a named tuple": ("assert f() == (1, 2)", "from collections import namedtuple\ndef f(): return namedtuple('P', 'a b')(1, 2)"),
    "one is true": ("assert f() == 1", "def f(): return True"),
    "names of the reference": ("assert f(helper(2)) == 5", "def helper(x): return 2 * x\ndef f(x): return x + 1"),
    "a built-in function passed": ("assert f(len, 'abc') == 3", "def f(g, x): return g(x)"),
    "a big number": ("assert f(2000) % 1000 == 0 and len(str(f(900))) == 2270", "import math\ndef f(n): return math.factorial(n)"),
    "set-up code": ("assert f() == 7", "def f(): return SEVEN"),
    "calls in a loop": ("for i in range(5):\n    assert f(i) == i * i", "def f(i): return i * i"),
    "calls in calls": ("assert f(f(2)) == 4", "def f(i): return i + 1"),
    "a memory between calls": ("assert f() == 1\nassert f() == 2\nx = f()\nassert x == 3", "n = 0\ndef f():\n    global n\n    n += 1\n    return n"),
    "a branch not taken": ("assert f() == 1 or f() == 9\nassert f() == 2", "n = 0\ndef f():\n    global n\n    n += 1\n    return n"),
}  # fmt: skip


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_in_one_process_passes_across_two(name: str, judge: Judge) -> None:
    tests, reference = PASSING[name]
    setup = "SEVEN = 7" if "SEVEN" in reference else ""
    space: dict[str, Any] = {}
    exec(f"{reference}\n{setup}\n{tests}", space)
    score = judge.score(asserts(tests, reference, setup=setup), reference)
    assert (score.correct, score.detail) == (True, "")


NODE = "class Node:\n    def __init__(self, v): self.v = v\ndef f(n): return n.v + 1\n"


def test_objects_of_the_programs_own_classes_cross_as_written_calls(judge: Judge) -> None:
    problem = asserts("assert f(Node(1)) == 2\nassert f(Node(4)) == 5", NODE)
    score = judge.score(problem, NODE)
    assert score.correct
    assert "as written" in score.detail
    sly = NODE.replace("return n.v + 1", "return type('A', (), {'__eq__': lambda s, o: True})()")
    assert judge.score(problem, sly).failure is Failure.WRONG_ANSWER
    assert judge.score(problem, NODE.replace("+ 1", "- 1")).failure is Failure.WRONG_ANSWER


def test_set_up_code_that_needs_the_programs_classes(judge: Judge) -> None:
    score = judge.score(asserts("assert f(root) == 2", NODE, setup="root = Node(1)"), NODE)
    assert score.correct


def test_tests_that_cannot_cross_run_inside_and_say_so(judge: Judge) -> None:
    reference = "def f(g): return g(1)\n"
    problem = CodeProblem(
        "mine",
        "1",
        "",
        "f",
        "def check(c):\n    for k in (1, 2):\n        assert c(lambda x: x + k) == 1 + k\n",
        "check",
        "",
        reference,
        False,
    )
    right = judge.score(problem, reference)
    assert right.correct
    assert "inside the candidate's process" in right.detail
    wrong = judge.score(problem, "def f(g): return g(2)\n")
    assert wrong.failure is Failure.WRONG_ANSWER
    assert "inside the candidate's process" in wrong.detail


def test_a_test_that_compares_the_function_with_itself_meets_the_reference(judge: Judge) -> None:
    tests = "def check(candidate):\n    assert candidate([2, 1]) == f([2, 1])\n"
    problem = CodeProblem("mine", "1", "", "f", tests, "check", "", "def f(a): return sorted(a)\n", False)
    assert judge.score(problem, "def f(a): return sorted(a)\n").correct
    assert judge.score(problem, "def f(a): return 0\n").failure is Failure.WRONG_ANSWER


def test_a_test_that_ignores_its_argument_still_judges_the_candidate(judge: Judge) -> None:
    tests = "def check(candidate):\n    assert f(1) == 2\n"
    problem = CodeProblem("mine", "1", "", "f", tests, "check", "", "def f(a): return 2 * a\n", False)
    assert judge.score(problem, "def f(a): return a + a\n").correct
    assert judge.score(problem, "def f(a): return 0\n").failure is Failure.WRONG_ANSWER


def test_a_program_cannot_end_the_tests_loop(judge: Judge) -> None:
    problem = asserts("assert all(map(f, [1, 2]))\nassert list(map(f, [1])) != [0]", "def f(x): return x")
    assert judge.score(problem, "def f(x): return x").correct
    assert judge.score(problem, "def f(x): raise StopIteration").failure is Failure.EXCEPTION
    assert judge.score(problem, "def f(x): raise GeneratorExit").failure is Failure.EXCEPTION


def test_a_problem_without_a_reference_is_judged(judge: Judge) -> None:
    problem = replace(asserts("assert f(2) == 4", ""), reference="")
    assert judge.score(problem, "def f(x): return 2 * x").correct
    assert judge.score(problem, "def f(x): return x").failure is Failure.WRONG_ANSWER


def test_tests_that_do_not_parse_are_the_benchmarks_fault(judge: Judge) -> None:
    score = judge.score(asserts("assert f( ==", "def f(): pass"), "def f(): pass")
    assert score.failure is Failure.UNDECIDED
    assert "benchmark" in score.detail


def test_tests_that_never_end_are_a_timeout() -> None:
    with Judge(workers=1, limits=Limits(timeout=1.0)) as hasty:
        problem = asserts("while f() != 2: pass", "def f(): return 2")
        assert hasty.score(problem, "def f(): return 1").failure is Failure.TIMEOUT
        assert (
            hasty.score(asserts("assert f() == 1\nwhile True: pass", "def f(): return 1"), "def f(): return 1").failure
            is Failure.TIMEOUT
        )
        assert hasty.score(asserts("assert f() == 1", ""), "def f(): return 1").correct


def test_a_wrong_answer_before_an_endless_call_is_told_at_once(judge: Judge) -> None:
    problem = asserts("assert f(1) == 1\nassert f(2) == 2", "def f(x): return x")
    assert judge.score(problem, "def f(x):\n    while x == 2: pass\n    return 0").failure is Failure.WRONG_ANSWER


@pytest.mark.parametrize(
    ("source", "check", "expected"),
    [
        ("assert f(1) == 2\nassert f([1], k='a')", False, [((1,), {}), (([1],), {"k": "a"})]),
        ("assert f(1)\nassert f(x)\nassert f(2)", False, [((1,), {})]),
        ("assert f(f(1))", False, []),
        ("assert abs(f(1.5) - f(-2)) < 1", False, [((1.5,), {}), ((-2,), {})]),
        ("assert f(1) or f(2)", False, []),
        ("for i in range(2):\n    f(i)\nf(3)", False, []),
        ("for i in range(2):\n    g(i)\nf(3)", False, [((3,), {})]),
        ("x = [f(1) for _ in range(3)]", False, []),
        ("assert f(*[1])", False, []),
        ("assert f(**{'a': 1})", False, []),
        ("f = 3\nassert f(1)", False, []),
        ("def check(c):\n    assert c(1) == f(2)\n    assert c(3)", True, [((1,), {}), ((3,), {})]),
        ("def check(c, d):\n    assert c(1)", True, []),
        ("def other(c):\n    assert c(1)", True, []),
    ],
)
def test_plan_is_the_straight_line_of_literal_calls(source: str, check: bool, expected: list[Any]) -> None:
    plan = read_plan(ast.parse(source), entry_point="f", check=check)
    assert [Decoder().of_tree(tree) for tree in plan] == expected


def test_inner_objects_keep_their_identity_where_they_match() -> None:
    inner = [1]
    mine: list[Any] = [inner, {"a": inner}, 5]
    bring_up_to_date(mine, [[1, 2], {"a": [1, 2]}, 6])
    assert mine == [[1, 2], {"a": [1, 2]}, 6]
    assert mine[0] is inner


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:invalid escape")
def test_mbpp_reference_solutions_pass(data_dir: Path) -> None:
    path = data_dir / "mbpp" / "mbpp_not_test.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    problems = [
        asserts(
            "\n".join(r["test_list"]), r["code"], setup=r["test_setup_code"], name=_tested(r["code"], r["test_list"][0])
        )
        for r in rows
    ]
    with Judge(limits=Limits(timeout=30.0)) as judge:
        scores = list(judge.score_many((p, p.reference) for p in problems))
    assert [s.detail for s in scores if not s.correct] == []  # all 474 pass under a plain interpreter too
    assert not any("inside" in s.detail for s in scores)


def _tested(code: str, test: str) -> str:
    defined = {node.name for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef)}
    calls = [
        node.func.id
        for node in ast.walk(ast.parse(test))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    return next(name for name in calls if name in defined)
