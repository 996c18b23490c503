"""A benchmark problem's tests, prepared once: compiled, with the names they need, and the ways in which they can run.

``values``  the tests run in the judge; arguments and results cross as plain values. The rule.
``calls``   as before, but each call is evaluated as written in the candidate's process, because an argument is no plain
            value (an object of a class that the program defines, a function); results are still judged here.
``inside``  the older way: tests run beside the program, in its process. Only where the two others fail with the
            reference solution; the score says so.
"""

from __future__ import annotations

import ast
import random
from typing import Any

from protocols.execution.remote import Candidate

VALUES = "values"
REFERENCE_NAME = "values, its own name the reference"
CALLS = "calls"
INSIDE = "inside"

_EVALUATE = "__specref_evaluate__"


class Tests:
    """The tests of one problem.

    Args:
        problem: the fields of a ``CodeProblem``.
    """

    def __init__(self, problem: dict[str, Any]) -> None:
        self.entry_point = str(problem["entry_point"])
        self.setup = str(problem["setup"])
        self._source = str(problem["tests"])
        self._check = problem["test_style"] == "check"
        prompt, reference = str(problem["prompt"]), str(problem["reference"])
        if problem["prompt_is_code"]:
            reference = prompt + (reference or "    pass\n")
        self.reference = reference
        tree = ast.parse(self._source)
        self._names_itself = self._check and any(
            isinstance(node, ast.Name) and node.id == self.entry_point for node in ast.walk(tree)
        )
        self._code = compile(self._source, "<tests>", "exec", dont_inherit=True)
        self._preparation = [
            compile(source, "<reference>", "exec", dont_inherit=True) for source in (reference, self.setup)
        ]

    def trials(self) -> list[str]:
        """Return the ways in which a program must pass, all of them."""
        return [REFERENCE_NAME, VALUES] if self._names_itself else [VALUES]

    def run(self, trial: str, candidate: Candidate) -> None:
        """Run the tests; returns when they pass and raises what they raise."""
        space: dict[str, Any] = {"__name__": "tests"}
        random.seed(0)  # the same inputs for every candidate
        for code in self._preparation:
            exec(code, space)
        function = candidate.function(self.entry_point)
        if trial != REFERENCE_NAME:
            space[self.entry_point] = function
        exec(self._code, space)
        if self._check:
            space["check"](function)
        if candidate.stop is not None:
            raise candidate.stop
