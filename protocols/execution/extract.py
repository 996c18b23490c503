"""The ``extract`` pipeline: find the answer inside a completion and leave every character of it as it was written.

What a completion may be, and what becomes of it:

* a **body** that goes on with the prompt's function: kept from its first blank to its last statement;
* a **restated function**, alone or with imports, helpers, classes and decorators around it, as text or inside a fence:
  it replaces the prompt's own stub, while the prompt's imports and other functions stay;
* a **fenced body**.

Prose, tests, a second answer, special tokens and what follows them are left out. The first answer counts. Nothing is
ever repaired: a lost space, a dedented first line, a cut-off line, or a body of tabs after a docstring of spaces
(Python refuses that mixture) stay as they are and fail. Where no answer is found the completion is passed on unchanged
up to its first special token.

The answer must begin and, unless it is a body, end within the first :data:`WINDOW` characters, so that the cost of a
completion is bounded whatever its length.
"""

from __future__ import annotations

import ast
import keyword
import re
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from protocols.execution.lexical import Kind, LogicalLine, logical_lines, special_token
from protocols.execution.selection import (
    Block,
    bound_names,
    does_something,
    global_names,
    make_block,
    parse,
    select,
)
from protocols.execution.wrapping import answer_text, unquoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protocols.problems import CodeProblem

WINDOW = 200_000
"""Characters of a completion that are looked at; HumanEval's longest solution has about 900."""

_TAIL = 1000
_HIDDEN_FENCES = 4
_FENCE_START = re.compile(r"\n(?=[ \t]*(?:```|~~~))")
_LINE_LIMIT = 10_000
_PROSE = re.compile(
    r"(?:(?:[-*\u2022]|\d+[.)]) )?"
    r"(?:[A-Z][\w'\u2019]*[,:]?(?: [\w'\u2019`*(][\w'\u2019`*),.:;-]*){2}"
    r"|[a-z'\u2019]+,?(?: [A-Za-z'\u2019]+[,.:;]?){3})"
)
"""Three words of which the first is capitalised, or four words; only asked of lines that are not Python."""
_NEVER_FIRST = frozenset({"and", "as", "in", "is", "or"})
"""Keywords that begin no statement."""
_JOINS = re.compile(r"(?:else|elif|except|finally)\b")
_LANGUAGE = re.compile(r"(?:python3?|Python3?|py3?|pycon|ipython)(?=\s)[ \t]*")
_INFO = re.compile(r"[\w+.#-]*[ \t]*(?:\{[^\n]*\}|[\w-]+=\S+)?[ \t]*$")


class Region(NamedTuple):
    """A stretch of logical lines: the text of one fence, or the text between fences."""

    lines: list[LogicalLine]
    fenced: bool
    margin: int
    """Blanks before the fence; Markdown takes as many off each line of its content."""


def extract_program(problem: CodeProblem, completion: str) -> str:
    """Return the program that a completion stands for; never raises, whatever the text."""
    whole = answer_text(completion)
    text = _window(whole)
    cut = len(text) < len(whole)
    prompt = problem.prompt if problem.prompt_is_code else ""
    wanted = _names(problem)
    if problem.prompt_is_code:
        body = _leading_body(problem, text, cut=cut)
        if body is not None and not (cut and body == len(text)):
            return _with_body(problem, text, body, wanted)
        if body is not None:  # it goes on behind the window: nothing but a special token ends it
            return prompt + whole[: special_token(whole, body)]
    program = _elsewhere(problem, text, wanted, cut=cut)
    if program is None and (plain := unquoted(text, problem.entry_point)) is not None:
        program = _elsewhere(problem, plain, wanted, cut=cut)
    if program is not None:
        return program
    end = _content_end(text)
    return prompt + (whole[: special_token(whole, end)] if cut else text[:end])


def _elsewhere(problem: CodeProblem, text: str, wanted: frozenset[str], *, cut: bool) -> str | None:
    """Assemble the program from an answer that the text does not begin with; ``None`` where there is none."""
    for _ in range(_HIDDEN_FENCES):
        regions = _regions(text)
        program = _restated(problem, text, regions, wanted, cut=cut)
        if program is not None:
            return program
        hidden = _hidden_fence(text, regions, problem.entry_point)
        if hidden is None:
            return _enclosed_body(problem, text, regions, wanted) if problem.prompt_is_code else None
        text = text[hidden:]
    return None


def _hidden_fence(text: str, regions: Sequence[Region], name: str) -> int | None:
    """Return where a fence begins that lies in a line of prose, behind a triple quote that looked like a string's."""
    for line in (line for region in regions if not region.fenced for line in region.lines):
        if _is_definition_of(text, line, name):
            return None
        found = _FENCE_START.search(text, line.content, line.end)
        if found and line.kind is Kind.CODE and _is_prose(text, line):
            return found.end()
    return None


def _window(text: str) -> str:
    """Return the lines that are looked at."""
    if len(text) <= WINDOW:
        return text
    return text[: text.rfind("\n", 0, WINDOW) + 1 or WINDOW]


def _content_end(text: str) -> int:
    end = 0
    for line in logical_lines(text):
        end = line.end
    return end


def _names(problem: CodeProblem) -> frozenset[str]:
    """Names that the tests and the prompt's own definitions may need from the answer."""
    names = {problem.entry_point}
    for source in (problem.tests, problem.setup):
        tree = parse(source)
        if tree is not None:
            names |= global_names(source, tree)
    return frozenset(names)


def _leading_body(problem: CodeProblem, text: str, *, cut: bool = False) -> int | None:
    """Return where the body ends that the text begins with; ``None`` where it begins with something else.

    A body that fills a ``cut`` text to its end is taken for one without a look at its syntax.
    """
    prompt = problem.prompt
    joined = not prompt.endswith("\n")
    first: LogicalLine | None = None
    end = 0
    for line in logical_lines(text):
        if line.kind is Kind.FENCE:
            break
        if line.kind is Kind.CODE:
            if line.indent == 0 and not (joined and line.start == 0):
                break
            first = first or line
        end = line.end
    if first is None:
        return None
    if cut and end == len(text):
        return end
    tree = parse(prompt + text[:end])
    if tree is not None:
        return end if _answers(tree, prompt, problem.entry_point) else None
    if _is_definition_of(text, first, problem.entry_point) or (not joined and _is_prose(text, first)):
        return None
    trimmed = _without_prose(text, end)
    if trimmed is not None and parse(prompt + text[:trimmed]) is not None:
        return trimmed
    if joined and _is_prose(text, first):
        return None
    return end


def _answers(tree: ast.Module, prompt: str, entry_point: str) -> bool:
    """Whether the statements behind the prompt do something, apart from defining the function once more."""
    first_line = prompt.count("\n") + 1
    functions = [n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    added = [s for f in functions[-1:] for s in f.body if (s.end_lineno or s.lineno) >= first_line]
    if not added:
        added = [n for n in ast.walk(tree) if isinstance(n, ast.stmt) and n.lineno >= first_line]
    if any(does_something(statement) for statement in added):
        return True
    nested = {s.name for s in added if isinstance(s, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}
    return bool(nested) and entry_point not in nested


def _is_definition_of(text: str, line: LogicalLine, name: str) -> bool:
    return re.compile(rf"(?:async[ \t]+)?def[ \t]+{re.escape(name)}\b").match(text, line.content) is not None


def _is_prose(text: str, line: LogicalLine) -> bool:
    """Whether a logical line by itself is neither Python nor the head of a compound statement."""
    source = text[line.content : line.end].strip()
    word = re.match(r"@|[A-Za-z_]+", source)
    if word and (word.group() == "@" or keyword.iskeyword(word.group())) and word.group() not in _NEVER_FIRST:
        return False
    return parse(source) is None


def _without_prose(text: str, end: int) -> int | None:
    """Return where the first indented line of plain prose begins, if the body has one."""
    lines = [line for line in logical_lines(text[:end]) if line.kind is Kind.CODE]
    for line in lines[1:]:
        if _PROSE.match(text, line.content, line.end) and _is_prose(text, line):
            return line.start
    return None


def _with_body(problem: CodeProblem, text: str, end: int, wanted: frozenset[str]) -> str:
    """Assemble the prompt, the body, and whatever helpers written behind it the body needs."""
    program = problem.prompt + text[:end]
    if end >= len(text):
        return program
    tree = parse(program)
    if tree is None:
        return program
    uses = global_names(program, tree)
    blocks = _blocks(text, _regions(text, after=end), problem.entry_point)
    parsed = [block for block in blocks if isinstance(block, Block)]
    provided = frozenset(bound_names(tree.body)) | {problem.entry_point}
    kept = select(parsed, name=problem.entry_point, entry=None, roots=uses | wanted, provided=provided)
    if not kept:
        return program
    return "\n\n".join([program.rstrip("\n"), *(block.text.rstrip("\n") for block in kept)]) + "\n"


def _regions(text: str, after: int = 0) -> list[Region]:
    """Split the text behind ``after`` into its fences and what lies between them."""
    regions: list[Region] = []
    current: list[LogicalLine] = []
    fence: str | None = None
    margin = 0
    for line in islice(logical_lines(text, after), _LINE_LIMIT):
        if line.kind is not Kind.FENCE:
            current.append(line)
            continue
        mark, info = _fence(text, line)
        closes = fence is not None and mark.startswith(fence)
        if fence is not None and not closes:
            continue  # a shorter or another mark inside a fence is its content
        regions.append(Region(current, fenced=fence is not None, margin=margin))
        current = []
        if closes and not info:
            fence, margin = None, 0
            continue
        inline, closed = _code_on_fence(text, line, mark, info)
        if inline is not None:
            current.append(inline)
        if closed:
            regions.append(Region(current, fenced=True, margin=0))
            current = []
        fence, margin = (None, 0) if closed else (mark, line.indent)
    regions.append(Region(current, fenced=fence is not None, margin=margin))
    return [region for region in regions if region.lines]


def _fence(text: str, line: LogicalLine) -> tuple[str, str]:
    whole = text[line.content : line.end].strip()
    mark = whole[: len(whole) - len(whole.lstrip(whole[0]))]
    return mark, whole[len(mark) :].strip()


def _code_on_fence(text: str, line: LogicalLine, mark: str, info: str) -> tuple[LogicalLine | None, bool]:
    """Return the code that begins on the line of the opening fence itself, and whether the fence closes there too."""
    if _INFO.match(info):
        return None, False
    start = line.content + len(mark)
    language = _LANGUAGE.match(text, start, line.end)
    start = language.end() if language else start
    closed = info.endswith(mark)
    end = text.rindex(mark, start, line.end) if closed else line.end
    content = start + len(text[start:end]) - len(text[start:end].lstrip())
    return LogicalLine(Kind.CODE, start, content, end), closed


def _blocks(text: str, regions: Sequence[Region], name: str) -> list[Block | None]:
    """Return the top-level statements of all regions; ``None`` stands for a definition of ``name`` that does not parse.

    A statement that is indented as a whole (inside a list of Markdown, say) loses that margin. Prose is left out.
    """
    blocks: list[Block | None] = []
    budget = 2 * WINDOW  # prose is parsed more than once where its lines are indented ever deeper
    for number, region in enumerate(regions):
        lines = [line for line in region.lines if line.kind is Kind.CODE]
        index = 0
        while index < len(lines) and budget > 0:
            stop = _block_end(text, lines, index)
            group = lines[index:stop]
            source = _unindented(text, group)
            budget -= len(source)
            tree = parse(source) if budget > 0 else None
            if tree is not None:
                blocks.append(make_block(source, tree, number))
            elif len(group) > 1 and _is_prose(text, group[0]):
                stop = index + 1
            elif _defines(text, group, name):
                trimmed = _trimmed_block(text, group, number)
                blocks.append(trimmed)
            index = stop
    return blocks


def _block_end(text: str, lines: Sequence[LogicalLine], index: int) -> int:
    """Return the index behind the block that begins with a line: its suite, its ``else``, what it decorates."""
    base = lines[index].indent
    decorating = text.startswith("@", lines[index].content)
    stop = index + 1
    while stop < len(lines):
        line = lines[stop]
        if line.indent <= base:
            if line.indent < base or not (decorating or _JOINS.match(text, line.content)):
                break
            decorating = decorating and text.startswith("@", line.content)
        stop += 1
    return stop


def _unindented(text: str, group: Sequence[LogicalLine]) -> str:
    """Return the text of a block without the margin of its first line; strings stay as they are."""
    margin = group[0].indent
    if margin == 0:
        return text[group[0].start : group[-1].end]
    return "".join(text[min(line.start + margin, line.content) : line.end] for line in group)


def _trimmed_block(text: str, group: Sequence[LogicalLine], region: int) -> Block | None:
    for position, line in enumerate(group[1:], start=1):
        if _PROSE.match(text, line.content, line.end) and _is_prose(text, line):
            source = _unindented(text, group[:position])
            tree = parse(source)
            return make_block(source, tree, region) if tree is not None else None
    return None


def _defines(text: str, group: Sequence[LogicalLine], name: str) -> bool:
    return any(_is_definition_of(text, line, name) for line in group if line.indent == group[0].indent)


def _restated(
    problem: CodeProblem, text: str, regions: Sequence[Region], wanted: frozenset[str], *, cut: bool
) -> str | None:
    """Assemble the prompt's surroundings and the first definition of the function in the text, with what it needs.

    ``None`` where there is none, where the first does not parse, and where it reaches the end of a ``cut`` text.
    """
    name = problem.entry_point
    found = _blocks(text, regions, name)
    broken = next((i for i, block in enumerate(found) if block is None), len(found))
    blocks = [block for block in found[:broken] if block is not None]
    answers = [i for i, block in enumerate(blocks) if name in block.binds and not block.script]
    entry = next((i for i in answers if not blocks[i].stub), None)
    if entry is None:
        if broken < len(found) or not answers:
            return None  # the answer is there and does not parse, or there is none
        entry = answers[0]
    if cut and blocks[entry].text.endswith(text[-_TAIL:]):
        return None
    blocks += [block for block in found[broken:] if block is not None]
    surroundings = _surroundings(problem) if problem.prompt_is_code else ""
    tree = parse(surroundings)
    provided = frozenset(bound_names(tree.body)) if tree is not None else frozenset()
    kept = select(blocks, name=name, entry=entry, roots=wanted | provided, provided=provided)
    parts = [block.text.rstrip("\n") for block in kept if block.future]
    parts += [surroundings.rstrip("\n")] if surroundings.strip() else []
    parts += [block.text.rstrip("\n") for block in kept if not block.future]
    return "\n\n".join(parts) + "\n"


def _surroundings(problem: CodeProblem) -> str:
    """Return the prompt without its own stub of the function: its imports, constants and helper functions."""
    prompt = problem.prompt.replace("\r\n", "\n")
    lines = [line for line in logical_lines(prompt) if line.kind is Kind.CODE and line.indent == 0]
    for index in range(len(lines) - 1, -1, -1):
        if _is_definition_of(prompt, lines[index], problem.entry_point):
            while index > 0 and prompt.startswith("@", lines[index - 1].content):
                index -= 1  # noqa: PLW2901  # the decorators above the stub go with it
            return prompt[: lines[index].start]
    return prompt if parse(prompt) is not None else ""


def _enclosed_body(problem: CodeProblem, text: str, regions: Sequence[Region], wanted: frozenset[str]) -> str | None:
    """Assemble the prompt and a body that stands inside a fence or behind some lines of prose."""
    for region in regions:
        lines = [line for line in region.lines if line.kind is Kind.CODE]
        while lines and lines[0].indent == 0 and not region.fenced and _is_prose(text, lines[0]):
            lines.pop(0)
        if not lines or lines[0].indent == 0:
            continue
        inside = text[lines[0].start : lines[-1].end]
        end = _leading_body(problem, inside)
        if end is None or parse(problem.prompt + inside[:end]) is None:
            continue
        return _with_body(problem, inside, end, wanted)
    return None
