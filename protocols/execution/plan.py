"""Which calls a test will make first, read off its text, so that a candidate can answer them in one go.

Each question and answer between two processes costs more than most answers. Benchmarks' tests are mostly straight
lines of asserts on literal arguments; those calls are sent along with the program, and the tests then find their
answers waiting.
It is a guess and is treated as one: the tests ask as they always do, and the first question that differs from the guess
makes the judge start again with a fresh candidate and no guess.
"""

from __future__ import annotations

import ast
from typing import Any

from protocols.execution.literals import Encoder, NotPlainError, as_text

_MOST_CALLS = 1000
_MOST_TEXT = 1 << 18


class _EndOfLineError(Exception):
    """From here on the calls cannot be read off."""


def read_plan(tree: ast.Module, *, entry_point: str, check: bool) -> list[Any]:
    """Return the argument trees of the calls that the tests make first, in order.

    Args:
        tree: the tests.
        entry_point: the function's name in ``asserts`` tests.
        check: whether the tests are in ``check(candidate)``.
    """
    statements, name = tree.body, entry_point
    if check:
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "check"]
        if len(functions) != 1 or len(functions[0].args.args) != 1 or functions[0].decorator_list:
            return []
        statements, name = functions[0].body, functions[0].args.args[0].arg
    reader = _Reader(name)
    try:
        for statement in statements:
            reader.statement(statement)
    except _EndOfLineError:
        pass
    return reader.calls


class _Reader:
    def __init__(self, name: str) -> None:
        self._name = name
        self._size = 0
        self.calls: list[Any] = []

    def statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Assert):
            self._expression(node.test)
        elif isinstance(node, (ast.Expr, ast.Assign, ast.AnnAssign, ast.AugAssign)):
            if isinstance(node, ast.Assign) and any(self._mentions(target) for target in node.targets):
                raise _EndOfLineError
            if node.value is not None:
                self._expression(node.value)
        elif self._mentions(node):
            raise _EndOfLineError

    def _expression(self, node: ast.AST) -> None:
        """Collect the calls in the order of their evaluation."""
        if not self._mentions(node):
            return
        if isinstance(
            node, (ast.Compare, ast.BinOp, ast.UnaryOp, ast.Tuple, ast.List, ast.Set, ast.Subscript, ast.Call)
        ):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == self._name:
                self._call(node)
                return
            for child in ast.iter_child_nodes(node):
                self._expression(child)
            return
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
            for child in node.values:
                self._expression(child)
            return
        raise _EndOfLineError

    def _call(self, node: ast.Call) -> None:
        try:
            arguments = tuple(ast.literal_eval(argument) for argument in node.args)
            keywords = {str(word.arg): ast.literal_eval(word.value) for word in node.keywords if word.arg is not None}
            tree = Encoder().tree((arguments, keywords))
            self._size += len(as_text(tree))
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, NotPlainError):
            raise _EndOfLineError from None
        if len(keywords) != len(node.keywords) or len(self.calls) >= _MOST_CALLS or self._size > _MOST_TEXT:
            raise _EndOfLineError
        self.calls.append(tree)

    def _mentions(self, node: ast.AST) -> bool:
        return any(isinstance(inner, ast.Name) and inner.id == self._name for inner in ast.walk(node))
