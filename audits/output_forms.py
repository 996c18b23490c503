"""The forms in which models hand over one and the same correct solution.

Every form holds the benchmark's own reference, so that whatever fails afterwards was broken by post-processing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocols.problems import CodeProblem


@dataclass(frozen=True, slots=True)
class OutputForm:
    """One way to write a correct solution.

    Attributes:
        name: short name, as verdicts and tables carry it.
        description: what the output looks like.
        write: problem → raw completion.
        stands: whether it runs as it is; the other forms need an extraction.
    """

    name: str
    description: str
    write: Callable[[CodeProblem], str]
    stands: bool = False


def _restated(problem: CodeProblem) -> str:
    """Return imports, helpers, signature, docstring and body again, after a blank line as models put it."""
    return "\n" + problem.prompt.lstrip("\n") + problem.reference


def _fenced(code: str) -> str:
    return f"```python\n{code.strip(chr(10))}\n```"


def _with_prose(fenced: str) -> str:
    return f"Here is the completed function:\n\n{fenced}\n\nIt handles the edge cases named in the task.\n"


def _closed(code: str) -> str:
    return code if code.endswith("\n") else code + "\n"


def _crlf(code: str) -> str:
    # MBPP's references have some Windows line ends already; they are not to become \r\r\n.
    return code.replace("\r\n", "\n").replace("\n", "\r\n")


_CONTINUATIONS = (
    OutputForm("body", "the indented body alone, as a base model continues the prompt", lambda p: p.reference, True),
    OutputForm("blank line + body", "a blank line, then the body", lambda p: "\n" + p.reference, True),
    OutputForm("body, CRLF", "the body with Windows line ends", lambda p: _crlf(p.reference), True),
    OutputForm("restated function", "imports, signature, docstring and body once more", _restated, True),
    OutputForm("fenced function + prose", "a chat answer", lambda p: _with_prose(_fenced(_restated(p)))),
    OutputForm("fenced body", "the body alone between fences", lambda p: _fenced(p.reference) + "\n"),
    OutputForm(
        "body + tests",
        "the body, then assertions and calls at the left margin",
        lambda p: f"{_closed(p.reference)}\n\nassert {p.entry_point} is None\nprint(undefined_result)\n",
    ),
    OutputForm(
        "body + prose",
        "the body, then an explanation",
        lambda p: f"{_closed(p.reference)}\nThis solution runs in linear time.\n",
    ),
    OutputForm(
        "body + end token",
        "the body, then a special token and what follows it",
        lambda p: p.reference.rstrip("\n") + "<|endoftext|>Question: what is next?\n",
    ),
)

_PROGRAMS = (
    OutputForm("program", "the whole program, as the task asks for", lambda p: p.reference, True),
    OutputForm("program, CRLF", "the program with Windows line ends", lambda p: _crlf(p.reference), True),
    OutputForm("fenced program + prose", "a chat answer", lambda p: _with_prose(_fenced(p.reference))),
    OutputForm(
        "program + prose",
        "the program, then an explanation",
        lambda p: f"{_closed(p.reference)}\nThis solution runs in linear time.\n",
    ),
)


def forms_for(problem: CodeProblem) -> tuple[OutputForm, ...]:
    """Return the forms that make sense for a problem: continuations of a prompt, or whole programs."""
    return _CONTINUATIONS if problem.prompt_is_code else _PROGRAMS


CONTINUATION_FORMS = _CONTINUATIONS
"""The forms of benchmarks whose prompt is program text, HumanEval's kind."""
PROGRAM_FORMS = _PROGRAMS
"""The forms of benchmarks that ask for a whole program, MBPP's kind."""
PRINCIPAL = ("body", "restated function", "fenced function + prose", "program", "fenced program + prose")
"""The forms that tell most, for sets of a few problems on which the others would only repeat them."""
