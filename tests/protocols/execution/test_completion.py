"""Output forms of a correct answer through ``extract``, and what the other pipelines make of them."""

from __future__ import annotations

import ast
import contextlib
import io
import textwrap
import time
import warnings
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.execution.completion import PIPELINES, build_program, pipeline_version, require_pipeline
from protocols.execution.lexical import Kind, logical_lines
from protocols.loaders import load_problems, shipped_problems
from protocols.problems import CodeProblem
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Form = "Callable[[CodeProblem], str]"


def passes(problem: CodeProblem, program: str) -> bool:
    """Run a trusted program in this process: these tests are about text, the judge has its own."""
    check = f"\ncheck({problem.entry_point})\n" if problem.test_style == "check" else "\n"
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            exec(f"{program}\n{problem.setup}\n{problem.tests}{check}", {"__name__": "candidate"})
    except (Exception, SystemExit):
        return False
    return True


def code_problem(prompt: str, tests: str, reference: str = "", entry_point: str = "f") -> CodeProblem:
    return CodeProblem("humaneval", "T/0", prompt, entry_point, tests, "check", "", reference, prompt_is_code=True)


def wrong(p: CodeProblem) -> str:
    return f"def {p.entry_point}(*args, **kwargs):\n    return 'wrong'\n"


def full(p: CodeProblem) -> str:
    return p.prompt + p.reference


def bare(p: CodeProblem) -> str:
    """Only the function, without the prompt's imports and helpers."""
    return full(p)[full(p).rindex(f"def {p.entry_point}(") :]


def local_names(p: CodeProblem) -> set[str]:
    """The variables of the prompt's function, and some that tests and demonstrations use."""
    stored = [n.id for n in ast.walk(ast.parse(full(p))) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return {*stored, "result", "sum", "x", "n", "candidate"} - {p.entry_point}


def indented(text: str, by: str) -> str:
    return "".join(by + line if line.strip() else line for line in text.splitlines(keepends=True))


# Every form holds a correct body; `extract` must bring all of them to a pass.
CORRECT_FORMS: dict[str, Callable[[CodeProblem], str]] = {
    "body": lambda p: p.reference,
    "body without its last line break": lambda p: p.reference.rstrip("\n"),
    "line break + body": lambda p: "\n" + p.reference,
    "blank lines with blanks + body": lambda p: "  \n\t\n" + p.reference,
    "body with CRLF": lambda p: p.reference.replace("\n", "\r\n"),
    "byte order mark + body": lambda p: "\ufeff" + p.reference,
    "begin token + body": lambda p: "<s>" + p.reference,
    "comment at column 0 + body": lambda p: "# solution\n" + p.reference,
    "body + unused helper": lambda p: p.reference + "\n\ndef unused(x):\n    return undefined_name + x\n",
    "body + main block": lambda p: p.reference + '\n\nif __name__ == "__main__":\n    raise SystemExit(1)\n',
    "body + wrong second definition": lambda p: p.reference + "\n\n" + wrong(p),
    "body + print of an undefined name": lambda p: p.reference + "\n\nprint(undefined_name)\n",
    "body + comment + failing assert": lambda p: p.reference + "\n# Test\nassert False\n",
    "body + failing assert": lambda p: p.reference + "\nassert False\n",
    "body + check call": lambda p: p.reference + f"\ncheck({p.entry_point}, 1, 2)\n",
    "body + failing loop over the answer": lambda p: (
        p.reference + f"\nfor case in [1]:\n    {p.entry_point}(1, 2, 3, 4)\n"
    ),
    "body + missing test library": lambda p: p.reference + "\nimport no_such_library\nno_such_library.main()\n",
    "body + prose": lambda p: p.reference + "\nThis function doesn't need more (see above.\n",
    "body + one-word prose": lambda p: p.reference + "\nExplanation\n",
    "body + annotated prose": lambda p: p.reference + "\nNote: done\n",
    "body + indented prose": lambda p: p.reference + "\n    This returns what was asked for.\n",
    "body + fence + prose": lambda p: p.reference + "```\nIt works because it's right.\n",
    "body + fence on its last line": lambda p: p.reference.rstrip("\n") + "```\nDone.\n",
    "body + fence + another answer": lambda p: p.reference + "```\nOr:\n```python\n" + wrong(p) + "```\n",
    "body + <|endoftext|>": lambda p: p.reference.rstrip("\n") + "<|endoftext|>",
    "body + <|eot_id|> + garbage": lambda p: p.reference.rstrip("\n") + "<|eot_id|>)) def ''' x\n  y",
    "body + <|im_end|> + next turn": lambda p: p.reference + "<|im_end|>\n<|im_start|>user\nThanks\n",
    "body + </s></s>": lambda p: p.reference + "</s></s>",
    "body + mask tokens": lambda p: p.reference + "<|mdm_mask|>" * 9,
    "body + full-width end token": lambda p: p.reference + "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "body + NULs": lambda p: p.reference + "\x00\x00",
    "body + bracketed pads": lambda p: p.reference + "[PAD][PAD]\n[PAD]",
    "restated": full,
    "line break + restated": lambda p: "\n" + full(p),
    "restated with CRLF": lambda p: full(p).replace("\n", "\r\n"),
    "restated without the prompt's surroundings": bare,
    "restated + tests": lambda p: full(p) + f"\n\nprint({p.entry_point}(1, 2, 3))\nassert False\n",
    "restated + wrong second definition": lambda p: full(p) + "\n\n" + wrong(p),
    "restated + prose": lambda p: full(p) + "\nThis doesn't look at anything twice.\n",
    "restated + test class": lambda p: (
        full(p) + "\nimport unittest\nclass T(unittest.TestCase):\n    pass\nunittest.main()\n"
    ),
    "prose + restated": lambda p: "Here's the function:\n\n" + full(p) + "\nIt's done.\n",
    "prose + body": lambda p: "Here's the rest of it:\n\n" + p.reference,
    "prose + indented restated": lambda p: "Here's the function:\n\n" + indented(bare(p), "    "),
    "indented restated": lambda p: indented(bare(p), "  "),
    "fenced restated": lambda p: f"```python\n{full(p)}```",
    "fenced restated, spelled py": lambda p: f"```py\n{full(p)}```",
    "fenced restated without a language": lambda p: f"Sure! Here's it:\n\n```\n{full(p)}```\nIt's quick; isn't it?\n",
    "fenced restated with attributes": lambda p: f"``` {{.python .numberLines}}\n{full(p)}\n```\n",
    "fenced restated, never closed": lambda p: f"Sure:\n```python\n{full(p)}",
    "fenced by tildes": lambda p: f"~~~python\n{full(p)}\n~~~\nBye.\n",
    "fenced by four backticks": lambda p: f"````python\n{full(p)}\n````\nBye.\n",
    "fence in a list": lambda p: f"1. Code:\n\n{indented('```python' + chr(10) + full(p) + '```', '   ')}\n2. Done\n",
    "fence + end token + next turn": lambda p: f"```python\n{full(p)}```<|im_end|>\n```python\n{wrong(p)}```",
    "usage fence before the answer": lambda p: f"```python\nprint('usage')\n```\nand\n```python\n{full(p)}```\n",
    "shell fence before the answer": lambda p: f"```bash\npip install it\n```\n```python\n{full(p)}```\n",
    "stub fence before the answer": lambda p: f"```python\n{p.prompt}    pass\n```\nso\n```python\n{full(p)}```\n",
    "two answers, the second wrong": lambda p: f"```python\n{full(p)}```\nor\n```python\n{wrong(p)}```\n",
    "leading blank + prose + fence": lambda p: f" Sure, this is it:\n```python\n{full(p)}```",
    "fenced body": lambda p: f"```python\n{p.reference}```\n",
    "prose + fenced body + prose": lambda p: f"It's this:\n```\n{p.reference}```\nDone.",
    "fence opened on a line of blanks": lambda p: f"   ```python\n{full(p)}\n   ```\n",
    "quote marks in the prose": lambda p: f'It has a """ in it:\n```python\n{bare(p)}```\n',
    "role header + restated": lambda p: f"<|start_header_id|>assistant<|end_header_id|>\n\n{full(p)}<|eot_id|>",
    "role header + body": lambda p: f"<start_of_turn>model\n{p.reference}<end_of_turn>",
    "session": lambda p: ">>> " + bare(p).rstrip("\n").replace("\n", "\n... ") + f"\n...\n>>> {p.entry_point}()\n1\n",
    "fenced session": lambda p: "```pycon\n>>> " + bare(p).rstrip("\n").replace("\n", "\n... ") + "\n```\n",
    "quoted fence": lambda p: "Here:\n\n" + "".join(f"> {line}\n" for line in f"```python\n{full(p)}```".split("\n")),
    "fence behind prose on its line": lambda p: f"This is it: ```python\n{full(p)}```\nDone.",
    "prose behind the closing fence": lambda p: f"```python\n{full(p).rstrip()}```That's it\n\nIt's (done\n",
    "body + uncapitalised indented prose": lambda p: p.reference + "    and that is what it's about\n",
    "body + indented explanation": lambda p: p.reference + "\n    Explanation: the function does it\n",
    "body + indented list": lambda p: p.reference + "    - The rest is easy\n",
    "body + bracketed end on its last line": lambda p: p.reference.rstrip("\n") + "[DONE]\n\nNext (task",
    "body + bracketed masks": lambda p: p.reference.rstrip("\n") + "[MASK][MASK]",
    "demonstration named like the answer's own variables": lambda p: (
        full(p) + "".join(f"\n{name} = {p.entry_point}()" for name in sorted(local_names(p))) + "\n"
    ),
    "body + demonstration named like its own variables": lambda p: (
        p.reference + "".join(f"\n{name} = {p.entry_point}()" for name in sorted(local_names(p))) + "\n"
    ),
    "thought + restated": lambda p: f"<think>\nSay\n```python\n{wrong(p)}```\n</think>\n{full(p)}",
    "thought without its opening + body": lambda p: f"hmm\n</think>\n{p.reference}",
}

# None of these holds a correct answer; repairing one would be inventing code.
WRONG_FORMS: dict[str, Callable[[CodeProblem], str]] = {
    "body cut at 70 %": lambda p: p.reference[: int(len(p.reference) * 0.7)],
    "restated and cut": lambda p: p.prompt + p.reference[: int(len(p.reference) * 0.7)],
    "fenced and cut": lambda p: f"```python\n{p.prompt}{p.reference[: int(len(p.reference) * 0.7)]}\n```\n",
    "stripped body": lambda p: p.reference.strip(),
    "fenced stripped body": lambda p: f"```python\n{p.reference.strip()}\n```",
    "dedented body": lambda p: textwrap.dedent(p.reference),
    "first space lost": lambda p: p.reference[1:],
    "body of tabs after a docstring of blanks": lambda p: p.reference.replace("    ", "\t"),
    "wrong body, right second answer": lambda p: "    return 'wrong'\n\n\n" + full(p),
    "wrong first fence, right second": lambda p: f"```python\n{wrong(p)}```\n```python\n{full(p)}```",
    "broken answer, right second": lambda p: f"def {p.entry_point}(:\n    return 1\n\n{full(p)}",
    "right answer after the end token": lambda p: "    return 'wrong'<|endoftext|>\n" + full(p),
    "class with the function as a method": lambda p: "class Solution:\n" + indented(bare(p), "    "),
    "prompt echoed, no answer": lambda p: p.prompt,
    "nothing": lambda _p: "",
    "refusal": lambda _p: "I'm sorry, but I can't help with that.",
}


@pytest.mark.parametrize("form", CORRECT_FORMS.values(), ids=CORRECT_FORMS)
def test_extract_finds_the_answer_in_every_form(form: Callable[[CodeProblem], str]) -> None:
    for problem in shipped_problems("humaneval"):
        assert isinstance(problem, CodeProblem)
        program = build_program(problem, form(problem), "extract")
        assert passes(problem, program), f"{problem.task_id}:\n{program}"


@pytest.mark.parametrize("form", WRONG_FORMS.values(), ids=WRONG_FORMS)
def test_extract_repairs_nothing(form: Callable[[CodeProblem], str]) -> None:
    for problem in shipped_problems("humaneval"):
        assert isinstance(problem, CodeProblem)
        assert not passes(problem, build_program(problem, form(problem), "extract")), problem.task_id


@pytest.mark.parametrize(
    ("pipeline", "form", "expected"),
    [
        ("raw", "body", True),
        ("stop-sequences", "body", True),
        ("strip", "body", False),
        ("dedent", "body", False),
        ("strip+dedent", "body", False),
        ("stop-sequences", "line break + restated", False),
        ("raw", "restated", True),
        ("strip", "restated", True),
        ("stop-sequences", "body + wrong second definition", True),
        ("raw", "body + wrong second definition", False),
    ],
)
def test_what_the_other_pipelines_do(pipeline: str, form: str, expected: bool) -> None:
    for problem in shipped_problems("humaneval"):
        assert isinstance(problem, CodeProblem)
        program = build_program(problem, CORRECT_FORMS[form](problem), pipeline)
        assert passes(problem, program) is expected, problem.task_id


@pytest.mark.parametrize("form", ["body", "restated", "prose + fenced body + prose"])
def test_humaneval_canonical_solutions_pass_in_every_form(data_dir: Path, form: str) -> None:
    problems = [p for p in load_problems("humaneval", data_dir=data_dir) if isinstance(p, CodeProblem)]
    failed = [p.task_id for p in problems if not passes(p, build_program(p, CORRECT_FORMS[form](p), "extract"))]
    assert failed == []


@pytest.mark.parametrize(("form", "expected"), [("first space lost", 4), ("stripped body", 0), ("dedented body", 0)])
def test_humaneval_bodies_of_lost_indentation_stay_broken(data_dir: Path, form: str, expected: int) -> None:
    problems = [p for p in load_problems("humaneval", data_dir=data_dir) if isinstance(p, CodeProblem)]
    assert sum(passes(p, build_program(p, WRONG_FORMS[form](p), "extract")) for p in problems) == expected


def test_mbpp_references_keep_their_verdict(data_dir: Path) -> None:
    for problem in load_problems("mbpp", data_dir=data_dir, limit=60):
        assert isinstance(problem, CodeProblem)
        fenced = f"Here's the code:\n```python\n{problem.reference}\n```\nIt's done."
        marked = f"[BEGIN]\n{problem.reference}\n[DONE]\nNext (task\n[BEGIN]\n{wrong(problem)}"
        for completion in (problem.reference, fenced, marked, problem.reference + "\n" + problem.tests + "assert 0\n"):
            assert passes(problem, build_program(problem, completion, "extract")), problem.task_id


PROMPT = "import math\n\n\ndef helper(x):\n    return x + 1\n\n\ndef f(x):\n    '''Return x + 2.'''\n"
TESTS = "def check(candidate):\n    assert [candidate(x) for x in range(4)] == [2, 3, 4, 5]\n"

# Completions that solve PROMPT, each with something that a simpler rule would lose.
AWKWARD = {
    "needs the prompt's helper": "def f(x):\n    return helper(helper(x))\n",
    "needs the prompt's import": "def f(x):\n    return x + math.floor(2.5)\n",
    "helper behind the body": "    return late(x)\n\ndef late(x):\n    return x + 2\n",
    "constant behind the body": "    return x + TWO\n\nTWO = 2\n",
    "helper behind tests": "    return late(x)\n\nassert False\n\ndef late(x):\n    return x + 2\n",
    "helper of a helper": "    return a(x)\n\ndef a(x):\n    return b(x)\n\ndef b(x):\n    return x + 2\n",
    "mutual recursion": "def f(x):\n    return g(x, 2)\n\ndef g(x, n):\n    return x if not n else g(x, n - 1) + 1\n",
    "recursion through a global function": "    return x + 2 if x <= 0 else f(x - 1) + 1\n",
    "decorated": "from functools import lru_cache\n\n@lru_cache(maxsize=None)\ndef f(x):\n    return x + 2\n",
    "wrapped afterwards": "import functools\ndef f(x):\n    return x + 2\nf = functools.lru_cache(None)(f)\n",
    "attribute set afterwards": "def f(x):\n    return x + f.two\nf.two = 2\n",
    "table filled by a loop": "TABLE = {}\nfor i in range(9):\n    TABLE[i] = i + 2\ndef f(x):\n    return TABLE[x]\n",
    "table filled afterwards": "TABLE = {}\ndef f(x):\n    return TABLE[x]\nfor i in range(9):\n    TABLE[i] = i + 2\n",
    "table filled by a call": (
        "T = []\ndef fill():\n    for i in range(9):\n        T.append(i + 2)\ndef f(x):\n    return T[x]\nfill()\n"
    ),
    "recursion limit": "import sys\nsys.setrecursionlimit(5000)\ndef f(x):\n    return x + 2\n",
    "assigned lambda": "f = lambda x: x + 2\n",
    "alias": "def solve(x):\n    return x + 2\n\nf = solve\n",
    "class": "class Adder:\n    two = 2\n    def __call__(self, x):\n        return x + self.two\n\nf = Adder()\n",
    "conditional definition": "if math.pi > 3:\n    def f(x):\n        return x + 2\nelse:\n    f = None\n",
    "guarded import": (
        "try:\n    import no_such_library as lib\nexcept ImportError:\n    lib = 2\ndef f(x):\n    return x + lib\n"
    ),
    "future import": "from __future__ import annotations\ndef f(x: Unknown) -> Unknown:\n    return x + 2\n",
    "star import": "from math import *\ndef f(x):\n    return x + int(floor(2.5))\n",
    "eval by name": "def two():\n    return 2\ndef f(x):\n    return x + eval('two()')\n",
    "restated helper": "def helper(x):\n    return x + 2\n\ndef f(x):\n    return helper(x)\n",
    "helper in an earlier fence": (
        "First:\n```python\ndef g(x):\n    return x + 2\n```\nThen:\n```python\ndef f(x):\n    return g(x)\n```\n"
    ),
    "helper in a later fence": (
        "```python\ndef f(x):\n    return g(x)\n```\nwith\n```python\ndef g(x):\n    return x + 2\n```\n"
    ),
    "data reused by tests": "data = 2\ndef f(x):\n    return x + data\ndata = [1]\nfor d in data:\n    print(f(d))\n",
    "special token in a string": "    s = '<|endoftext|></s>'\n    return x + len(s) - 15\n",
    "special token in a triple string": "    s = '''\n<|im_end|>\n```\n'''\n    return x + s.count('```') + 1\n",
    "special token in a comment": "    return x + 2  # <|endoftext|> not here\n    nonsense (",
    "index that looks like a token": "    PAD, row = 0, [2]\n    return x + row[PAD]\n",
    "fence in the docstring": "def f(x):\n    '''Do.\n\n```python\nf(1)\n```\n    '''\n    return x + 2\n",
    "fence in the docstring of a fence": (
        "```python\ndef f(x):\n    '''Do.\n\n```\nf(1)\n```\n    '''\n    return x + 2\n```\nBye\n"
    ),
    "def in the docstring": "def f(x):\n    '''\ndef f(x): no\n    '''\n    return x + 2\n",
    "text at column 0 in a string": "    s = '''\nassert False\n'''\n    return x + 2\n",
    "comment at column 0": "    y = x\n# and then\n    return y + 2\n",
    "bracket at column 0": "    return sum([\nx,\n2,\n])\n",
    "backslash continuation": "    return x + \\\n2\n",
    "string continued": "    s = 'a\\\nb'\n    return x + len(s)\n",
    "apostrophe in a comment": "    # don't\n    return x + 2\nDon't\n",
    "nested function and class": "    class A:\n        n = 1\n    def g():\n        return 2\n    return x + g()\n",
    "nested function of the same name": "    def f(y):\n        return y + 2\n    return f(x)\n",
    "generator expression over lines": "    return x + sum(1\n        for _ in range(2)\n    )\n",
    "decorator inside": "    @staticmethod\n    def g():\n        return 2\n    return x + 2\n",
    "one line": "def f(x): return x + 2",
    "code on the fence's line": "```python def f(x): return x + 2```",
    "fence without line breaks": "```def f(x): return x + 2```",
    "built-in rebound by a demonstration": "def f(x):\n    return sum([x, 2])\n\nsum = f(1)\nlist = [1]\n",
    "answer rebound by a demonstration": "def f(x):\n    return x + 2\n\nf = None\n",
    "inline code in the prose": "Use ```g``` (or ```h```):\n\ndef f(x):\n    return x + 2\n",
    "index at a line's end": "    DONE, row = 0, [2]\n    y = row[DONE]\n    return x + y\n",
    "async helper unused": "async def g():\n    pass\n\ndef f(x):\n    return x + 2\n",
    "tabs throughout": "def f(x):\n\tif x:\n\t\treturn x + 2\n\treturn 2\n",
    "semicolons": "    y = 2; return x + y\n",
    "form feed": "\fdef f(x):\n    return x + 2\n",
    "match statement": "    match x:\n        case _:\n            return x + 2\n",
    "try over the whole body": "    try:\n        return x + 2\n    finally:\n        pass\n",
    "hints the prompt does not import": "from typing import List\ndef f(x: List) -> List:\n    return x + 2\n",
    "doctest lines": ">>> f(1)\n3\n\ndef f(x):\n    return x + 2\n",
    "html comment": "<!-- code -->\ndef f(x):\n    return x + 2\n",
    "bold heading": "**Solution:**\n\ndef f(x):\n    return x + 2\n",
    "markdown heading": "# Solution\n\n```python\ndef f(x):\n    return x + 2\n```\n",
    "unclosed bracket in the prose": "Well (see below\ndef f(x):\n    return x + 2\n",
}


@pytest.mark.parametrize("completion", AWKWARD.values(), ids=AWKWARD)
def test_extract_keeps_what_the_answer_needs(completion: str) -> None:
    problem = code_problem(PROMPT, TESTS)
    program = build_program(problem, completion, "extract")
    assert passes(problem, program), program


def test_a_kept_answer_is_verbatim() -> None:
    """Behind the prompt every line of an extracted program is a line of the completion."""
    problem = code_problem(PROMPT, TESTS)
    for completion in AWKWARD.values():
        program = build_program(problem, completion, "extract")
        prompt = PROMPT if program.startswith(PROMPT) else PROMPT[: PROMPT.index("def f")].rstrip("\n")
        rest = program.replace(prompt, "", 1)
        for line in rest.splitlines():
            assert line.strip() in completion, (line, program)


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [
        ("def f(x):\n    return", " x + 2\n"),
        ("def f(x):\n    ", "return x + 2\n"),
        ("def f(x):", " return x + 2"),
        ("def f(x):", "\n    return x + 2\n\nassert False\n"),
        ("def f(x):\n    '''Doc.'''", "\n    return x + 2\n"),
        ("def f(x):\n    '''Doc.'''", "```python\ndef f(x):\n    return x + 2\n```"),
        ("def f(x):\n\t'''Doc.'''\n", "\treturn x + 2\nDone.\n"),
        ("def f(x):\n", "    return x + 2\n\nprint(undefined)"),
        ("def f(x):\r\n    '''Doc.'''\r\n", "    return x + 2\r\n"),
    ],
)
def test_prompts_that_end_elsewhere(prompt: str, completion: str) -> None:
    problem = code_problem(prompt, TESTS)
    program = build_program(problem, completion, "extract")
    assert passes(problem, program), program


def test_unknown_pipeline_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"stripp.*raw, stop-sequences, strip, dedent, strip\+dedent, extract"):
        require_pipeline("stripp")


def test_pipeline_version_names_hidden_choices() -> None:
    assert "__name__" in pipeline_version("stop-sequences")
    assert pipeline_version("extract") != "extract"
    assert len({pipeline_version(name) for name in PIPELINES}) == len(PIPELINES)


PIECES = st.sampled_from(
    [
        *[
            "def f(x):\n",
            "    return x\n",
            "```",
            "```python\n",
            "~~~\n",
            "'",
            '"""',
            "'''",
            "(",
            "]",
            "\\",
            "\n",
            "\r\n",
        ],
        *["\t", "<|endoftext|>", "</think>", "[DONE]", "#", " ", "assert f(1)\n", "import os\n", "class A:\n", "@x\n"],
        *[
            "else:\n",
            "\x00",
            "\ud800",
            "\f",
            "é",
            "if 1:\n",
            "Prose it's here:\n",
            "f = f\n",
            "x: int\n",
            "lambda",
            "{",
        ],
        *["f'{", "0" * 50],
    ]
)


@settings(max_examples=100, deadline=None)
@given(st.lists(PIECES | st.text(max_size=5), max_size=25).map("".join), st.sampled_from(sorted(PIPELINES)))
def test_no_text_raises(completion: str, pipeline: str) -> None:
    for problem in (code_problem(PROMPT, TESTS), *shipped_problems("mbpp")[:1]):
        assert isinstance(problem, CodeProblem)
        assert isinstance(build_program(problem, completion, pipeline), str)


@settings(max_examples=100, deadline=None)
@given(st.lists(PIECES, max_size=25).map("".join))
def test_logical_lines_are_ordered_and_inside_the_text(text: str) -> None:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    position = 0
    for line in logical_lines(text):
        assert position <= line.start <= line.content < line.end <= len(text)
        assert not text[line.start : line.content].strip()
        position = line.end


def test_logical_lines_agree_with_python() -> None:
    source = "x = (1,\n  2)\ny = '''a\nb'''  # c\n# d\n\nif x:\n    z = 'it''s' \\\n  'q'\n"
    starts = [source.count("\n", 0, line.start) + 1 for line in logical_lines(source) if line.kind is Kind.CODE]
    assert starts == sorted({node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)})


@pytest.mark.parametrize(
    "unit",
    [
        "    best = best\n",
        "(",
        '"""\n',
        "\\'",
        "```\n",
        "It's prose\n",
        "x = 1\n",
        "<|",
    ],
)
def test_ten_megabytes_cost_seconds(unit: str) -> None:
    problem = shipped_problems("humaneval")[0]
    assert isinstance(problem, CodeProblem)
    completion = problem.reference + unit * (10_000_000 // len(unit))
    start = time.process_time()
    program = build_program(problem, completion, "extract")
    assert time.process_time() - start < 8
    assert program.startswith(problem.prompt)


def test_an_answer_before_ten_megabytes_of_noise_is_found() -> None:
    problem = shipped_problems("humaneval")[0]
    assert isinstance(problem, CodeProblem)
    for answer in (problem.reference, full(problem), f"```python\n{full(problem)}```\n"):
        program = build_program(problem, answer + "noise ( here '\n" * 600_000, "extract")
        assert len(program) < 10_000
        assert passes(problem, program)
