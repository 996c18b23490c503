"""Choose, among the top-level statements of an answer, those that belong to the solution.

The rule is need: a statement stays when the function asked for, the tests, or a statement that stays needs a name that
it binds, or when it changes data that they use. Tests, demonstrations, a second answer and prose are needed by nothing.
"""

from __future__ import annotations

import ast
import builtins
import symtable
import warnings
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITION = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IMPORT = (ast.Import, ast.ImportFrom)
_SCRIPT_CALLS = frozenset({"print", "input", "exit", "quit", "check", "breakpoint", "help", "main"})
_SCRIPT_MODULES = frozenset({"unittest", "doctest", "pytest"})
_SETTINGS = frozenset({"setrecursionlimit", "set_int_max_str_digits", "stack_size", "seed", "prec", "filterwarnings"})
_BUILT_INS = frozenset(dir(builtins))
_DYNAMIC = frozenset({"globals", "locals", "vars", "eval", "exec", "__import__"})


class Block(NamedTuple):
    """One top-level statement (or several on one line) with its text, as written but for a common margin."""

    text: str
    region: int
    """Which fence, or which text between fences, it came from."""
    binds: frozenset[str]
    """Names it binds in the module."""
    uses: frozenset[str]
    """Names of the module that it or any function in it refers to; a function's own variables are not among them."""
    changes: frozenset[str]
    """Names whose object it stores into: ``cache[0] = 1``, ``solve.limit = 3``."""
    definition: bool
    """Functions and classes only: running it runs nothing."""
    imports: bool
    setting: bool
    """An interpreter setting, ``sys.setrecursionlimit(…)`` say."""
    future: bool
    script: bool
    """Tests, output or ``if __name__ == …``."""
    stub: bool
    """Its only function does nothing: ``pass``, ``...`` or a docstring alone."""
    decorated: frozenset[str]
    """Names its decorators refer to."""


def parse(source: str) -> ast.Module | None:
    """Parse without a warning on any stream; ``None`` where Python would refuse, or the parser gives up."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def make_block(text: str, tree: ast.Module, region: int) -> Block:
    """Describe the statements of ``tree``, which was parsed from ``text``."""
    nodes = tree.body
    decorators = [d for node in nodes if isinstance(node, _DEFINITION) for d in node.decorator_list]
    return Block(
        text=text,
        region=region,
        binds=frozenset(bound_names(nodes)),
        uses=global_names(text, tree),
        changes=frozenset(_stored_into(nodes)),
        definition=all(isinstance(n, _DEFINITION) for n in nodes),
        imports=all(isinstance(n, _IMPORT) for n in nodes),
        setting=any(isinstance(n, ast.Attribute) and n.attr in _SETTINGS for node in nodes for n in _here(node)),
        future=any(isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in nodes),
        script=any(_is_script(n) for node in nodes for n in _here(node)),
        stub=all(isinstance(n, _FUNCTION) and not any(does_something(s) for s in n.body) for n in nodes),
        decorated=frozenset(n.id for d in decorators for n in ast.walk(d) if isinstance(n, ast.Name)),
    )


def global_names(source: str, tree: ast.Module) -> frozenset[str]:
    """Return the names of the module that a source, parsed as ``tree``, refers to at any depth.

    Python's own symbol tables tell them from local variables; where they refuse the source, every name counts.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tables = [symtable.symtable(source, "<answer>", "exec")]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    names: set[str] = set()
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            # To the module's table all that it binds is global; a class looks outside for what it has not bound yet.
            if symbol.is_referenced() if table.get_type() in {"module", "class"} else symbol.is_global():
                names.add(symbol.get_name())
    return frozenset(names)


def bound_names(nodes: Iterable[ast.stmt]) -> Iterator[str]:
    """Yield the names that statements bind in their own scope; ``*`` for a star import."""
    for statement in nodes:
        for node in _here(statement):
            if isinstance(node, _DEFINITION):
                yield node.name
            elif isinstance(node, _IMPORT):
                for alias in node.names:
                    yield alias.asname or alias.name.partition(".")[0]
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


def does_something(statement: ast.stmt) -> bool:
    """Tell a statement that can answer from one that cannot: a docstring, ``pass``, a lone word, an import."""
    if isinstance(statement, (ast.Pass, *_IMPORT, *_DEFINITION)):
        return False
    if isinstance(statement, ast.AnnAssign):
        return statement.value is not None
    if isinstance(statement, ast.Raise):
        return "NotImplemented" not in ast.unparse(statement)
    if isinstance(statement, ast.Expr):
        return any(
            isinstance(n, (ast.Call, ast.Yield, ast.YieldFrom, ast.Await, ast.NamedExpr)) for n in ast.walk(statement)
        )
    return True


def select(
    blocks: Sequence[Block], *, name: str, entry: int | None, roots: Iterable[str], provided: frozenset[str]
) -> list[Block]:
    """Return the blocks that belong to the answer, those of other regions first, each group in its order.

    Args:
        blocks: top-level statements in the order of the text.
        name: the function asked for.
        entry: index of the block that answers; ``None`` where the answer is a body that stands before all of them.
        roots: names that are needed from the start.
        provided: names that are there already and never taken from ``blocks`` unless the answering region has them.
    """
    return _Selection(blocks, name, entry, provided).run(roots)


class _Selection:
    """The fixed point of need over one list of blocks."""

    def __init__(self, blocks: Sequence[Block], name: str, entry: int | None, provided: frozenset[str]) -> None:
        self.blocks = blocks
        self.name = name
        self.entry = entry
        self.provided = provided
        self.region = blocks[entry].region if entry is not None else -1
        self.kept: set[int] = set()
        self.data: set[str] = set()
        self.todo: list[str] = []
        self.binders: dict[str, list[int]] = {}
        self.second = self._second_answer()
        for index, block in enumerate(blocks):
            for bound in block.binds:
                self.binders.setdefault(bound, []).append(index)
        self.tainted = self._tainted()

    def run(self, roots: Iterable[str]) -> list[Block]:
        self.todo.extend(roots)
        if self.entry is not None:
            self._keep(self.entry)
            for index, block in enumerate(self.blocks):
                always = block.region == self.region and (block.future or "*" in block.binds)
                if always or (index > self.entry and self._wraps_answer(index)):
                    self._keep(index)
        effects = [i for i, block in enumerate(self.blocks) if self._is_effect(i, block)]
        seen: set[str] = set()
        while True:
            while self.todo:
                wanted = self.todo.pop()
                if wanted not in seen:
                    seen.add(wanted)
                    for index in self._binders_of(wanted):
                        self._keep(index)
            waiting = [i for i in effects if i not in self.kept and self._touches(self.blocks[i])]
            if not waiting:
                break
            for index in waiting:
                self._keep(index)
        if any(self.blocks[i].uses & _DYNAMIC for i in self.kept):
            self.kept.update(i for i, block in enumerate(self.blocks) if self._may_stay(i, block))
        chosen = [self.blocks[i] for i in sorted(self.kept)]
        chosen.sort(key=lambda block: (not block.future, block.region == self.region))
        return chosen

    def _keep(self, index: int) -> None:
        if index in self.kept:
            return
        block = self.blocks[index]
        self.kept.add(index)
        self.todo.extend(block.uses)
        if not block.definition and not block.imports:
            self.data |= block.binds
        self.data |= block.changes

    def _binders_of(self, wanted: str) -> list[int]:
        if wanted == self.name:
            return []
        found = [i for i in self.binders.get(wanted, ()) if i < self.second and not self._demonstrates(i, wanted)]
        own = [i for i in found if self.blocks[i].region == self.region]
        if not own and wanted in self.provided:
            return []
        found = own or found[:1]
        first = self.blocks[found[0]] if found else None
        if first is None or first.definition:
            return found[:1]
        before = [i for i in found if self.entry is not None and i < self.entry]
        return before or found[:1]

    def _demonstrates(self, index: int, bound: str) -> bool:
        """Whether the block only shows the answer at work, so that its names are its own: ``sum = solve([1, 2])``."""
        block = self.blocks[index]
        if block.script:
            return True
        behind = self.entry is None or index > self.entry
        return behind and not block.definition and (bool(block.uses & self.tainted) or bound in _BUILT_INS)

    def _second_answer(self) -> int:
        """Index of the second definition of the function in the answering region; what follows is another answer."""
        for index, block in enumerate(self.blocks):
            later = self.entry is None or (index > self.entry and block.region == self.region)
            if later and self.name in block.binds and block.definition:
                return index
        return len(self.blocks)

    def _wraps_answer(self, index: int) -> bool:
        """Whether the block rebinds the answer around itself: ``solve = lru_cache(None)(solve)``."""
        block = self.blocks[index]
        return (
            index < self.second
            and block.region == self.region
            and not block.script
            and not block.definition
            and ((self.name in block.binds and self.name in block.uses) or self.name in block.changes)
        )

    def _tainted(self) -> set[str]:
        """Names of functions that run the answer: tests and demonstrations."""
        users: dict[str, list[Block]] = {}
        for block in self.blocks:
            if block.definition:
                for used in block.uses:
                    users.setdefault(used, []).append(block)
        tainted = {self.name}
        todo = [self.name]
        while todo:
            for block in users.pop(todo.pop(), ()):
                fresh = block.binds - tainted
                tainted |= fresh
                todo.extend(fresh)
        return tainted

    def _is_effect(self, index: int, block: Block) -> bool:
        if block.definition and not block.decorated:
            return False
        if block.imports or not self._may_stay(index, block):
            return False
        return self.entry is not None or index < self.second

    def _may_stay(self, index: int, block: Block) -> bool:
        if block.script or index >= self.second or (self.region >= 0 and block.region != self.region):
            return False
        if block.definition:
            return self.name not in block.binds
        if self.name in block.binds:
            return False
        return not block.uses & self.tainted

    def _touches(self, block: Block) -> bool:
        if block.definition:  # a registration: @solve.register
            return any(self._kept_function(used) for used in block.decorated)
        if block.setting:
            return True
        uses = set(block.uses)
        for used in block.uses:
            for index in self.binders.get(used, ())[:1]:
                if self.blocks[index].definition:
                    uses |= self.blocks[index].uses | self.blocks[index].binds
        # A rebinding of a name after the answer is a demonstration's own variable, a change of its object is not.
        return bool((uses - block.binds) & self.data)

    def _kept_function(self, used: str) -> bool:
        return any(i in self.kept and self.blocks[i].definition for i in self.binders.get(used, ())[:1])


def _here(statement: ast.stmt) -> Iterator[ast.AST]:
    """Yield the nodes of a statement that run in its own scope, not those of functions and classes inside it."""
    todo: list[ast.AST] = [statement]
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, (*_DEFINITION, ast.Lambda, ast.GeneratorExp, ast.ListComp, ast.SetComp, ast.DictComp)):
            todo.extend(ast.iter_child_nodes(node))


def _stored_into(nodes: Iterable[ast.stmt]) -> Iterator[str]:
    for statement in nodes:
        for node in _here(statement):
            if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, ast.Store):
                root: ast.expr = node
                while isinstance(root, (ast.Attribute, ast.Subscript)):
                    root = root.value
                if isinstance(root, ast.Name):
                    yield root.id


def _is_script(node: ast.AST) -> bool:
    if isinstance(node, ast.Assert):
        return True
    if isinstance(node, ast.If):
        return any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(node.test))
    if isinstance(node, ast.Call):
        target = node.func
        if isinstance(target, ast.Name):
            return target.id in _SCRIPT_CALLS
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
            return target.value.id in _SCRIPT_MODULES or (target.value.id, target.attr) == ("sys", "exit")
    return False
