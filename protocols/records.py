"""From one record in a benchmark's public format to one typed problem, benchmark by benchmark."""

from __future__ import annotations

import ast
import builtins
import re
from typing import TYPE_CHECKING, Any

from protocols.exact_match.boxes import find_boxes
from protocols.problems import AnswerProblem, ChoiceProblem, CodeProblem
from specref_core.errors import InputError

if TYPE_CHECKING:
    from protocols.json_lines import Row

_MARKER = "####"
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3})")
_BUILT_INS = frozenset(dir(builtins))


def humaneval(row: Row, _index: int) -> CodeProblem:
    """Read a record of HumanEval: ``task_id``, ``prompt``, ``entry_point``, ``canonical_solution``, ``test``."""
    return CodeProblem(
        benchmark="humaneval",
        task_id=row.text("task_id"),
        prompt=row.text("prompt"),
        entry_point=row.text("entry_point"),
        tests=row.text("test"),
        test_style="check",
        setup="",
        reference=row.text("canonical_solution", default=""),
        prompt_is_code=True,
    )


def mbpp(row: Row, _index: int) -> CodeProblem:
    """Read a record of MBPP, full (``text``, ``test_setup_code``) or sanitized (``prompt``, ``test_imports``).

    The function to write is named by the tests alone. The prompt is the one of the benchmark's paper, up to its
    ``[BEGIN]`` marker, without worked examples.
    """
    number = row.typed("task_id", int)
    asserts: list[str] = row.typed("test_list", list, of=str)
    if not asserts:
        raise InputError(f"{row.place}: field 'test_list' is empty; expected assert statements")
    imports: list[str] = row.typed("test_imports", list, of=str) if "test_imports" in row.fields else []
    reference = row.text("code", default="")
    setup = "\n".join([*imports, row.text("test_setup_code", default="")]).strip("\n")
    task = row.text("text", "prompt")
    shown = "\n".join(asserts)
    return CodeProblem(
        benchmark="mbpp",
        task_id=f"MBPP/{number}",
        prompt=(
            f"You are an expert Python programmer, and here is your task: {task} "
            f"Your code should pass these tests:\n\n{shown}\n[BEGIN]\n"
        ),
        entry_point=entry_point_of(asserts, reference, row.place),
        tests=shown + "\n",
        test_style="asserts",
        setup=setup,
        reference=reference,
        prompt_is_code=False,
    )


def entry_point_of(asserts: list[str], reference: str, place: str) -> str:
    """Return the function that the asserts call.

    The first called name that is not a built-in and, where the reference defines some of the called names, is one of
    those: ``assert set(similar((3, 4))) == …`` names ``similar``.

    Raises:
        InputError: no assert calls a function by name.
    """
    called: list[str] = []
    for text in asserts:
        try:
            tree = ast.parse(text.strip())
        except (SyntaxError, ValueError):
            continue
        called += [n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    defined = [name for name in called if re.search(rf"^\s*def\s+{name}\b", reference, re.MULTILINE)]
    for name in [*defined, *called]:
        if name in defined or name not in _BUILT_INS:
            return name
    raise InputError(f"{place}: field 'test_list' calls no function by name, so there is no entry point to judge")


def gsm8k(row: Row, index: int) -> AnswerProblem:
    """Read a record of GSM8K: ``question``, ``answer`` ending in ``#### GOLD``; commas in the gold are dropped."""
    answer = row.text("answer")
    worked, marker, gold = answer.rpartition(_MARKER)
    if not marker or not gold.strip():
        raise InputError(f"{row.place}: field 'answer' has no '#### …' line; it ends in {answer[-40:]!r}")
    return AnswerProblem(
        benchmark="gsm8k",
        task_id=f"GSM8K/{index}",
        prompt=f"Question: {row.text('question')}\nAnswer:",
        gold=_THOUSANDS.sub("", gold.strip()),
        reference=worked + marker + gold,
    )


def math(row: Row, index: int) -> AnswerProblem:
    r"""Read a record of MATH: ``problem``, ``solution`` with its last ``\boxed{}``, or an ``answer`` of its own."""
    solution = row.text("solution", default="")
    box = find_boxes(solution).last()
    gold = row.text("answer", default="") or (box.content if box else "")
    if not gold:
        raise InputError(f"{row.place}: field 'solution' has no complete \\boxed{{}} and there is no field 'answer'")
    name = row.fields.get("unique_id", row.fields.get("idx", index))
    return AnswerProblem(
        benchmark="math",
        task_id=f"MATH/{name}",
        prompt=f"Problem:\n{row.text('problem')}\n\nSolution:",
        gold=gold,
        reference=solution,
    )


def bbh(row: Row, index: int) -> AnswerProblem:
    """Read one example of BIG-Bench Hard's boolean expressions: ``input``, ``target``."""
    target = row.text("target")
    if target.strip() not in {"True", "False"}:
        raise InputError(f"{row.place}: field 'target' is {target!r}; expected True or False (boolean_expressions)")
    return AnswerProblem(
        benchmark="bbh",
        task_id=f"boolean_expressions/{index}",
        prompt=f"Q: {row.text('input')}\nA:",
        gold=target.strip(),
    )


def arc_challenge(row: Row, _index: int) -> ChoiceProblem:
    """Read a record of ARC in the hub's schema, or in its authors' (``question.stem``, a list of choices)."""
    fields = row.fields
    question, choices = fields.get("question"), fields.get("choices")
    if isinstance(question, dict):
        nested: dict[str, Any] = question
        question, choices = nested.get("stem"), nested.get("choices")
    if isinstance(choices, list) and all(isinstance(c, dict) for c in choices):
        choices = {"text": [c.get("text") for c in choices], "label": [c.get("label") for c in choices]}
    if not isinstance(question, str):
        raise row.missing("question")
    if not isinstance(choices, dict) or not _strings(choices.get("text")) or not _strings(choices.get("label")):
        raise InputError(f"{row.place}: field 'choices' is not {{'text': […], 'label': […]}} with strings")
    key = row.text("answerKey")
    if key not in choices["label"] or len(choices["label"]) != len(choices["text"]):
        raise InputError(f"{row.place}: field 'answerKey' is {key!r}; expected one of {choices['label']}")
    return ChoiceProblem(
        benchmark="arc_challenge",
        task_id=row.text("id"),
        context=f"Question: {question}\nAnswer:",
        choices=tuple(choices["text"]),
        gold=choices["label"].index(key),
    )


def hellaswag(row: Row, index: int) -> ChoiceProblem:
    """Read a record of HellaSwag: its authors' schema, or an already joined ``query``, ``choices``, ``gold``."""
    if "query" in row.fields:
        context, choices, gold = row.text("query"), row.typed("choices", list, of=str), row.fields.get("gold")
    else:
        endings = row.typed("endings", list, of=str)
        ctx = f"{row.text('ctx_a')} {row.text('ctx_b', default='').capitalize()}"
        context = _hellaswag_text(f"{row.text('activity_label')}: {ctx}")
        choices, gold = [_hellaswag_text(ending) for ending in endings], row.fields.get("label")
    if isinstance(gold, str) and gold.isdecimal():
        gold = int(gold)
    if not isinstance(gold, int) or isinstance(gold, bool) or not 0 <= gold < len(choices):
        raise InputError(f"{row.place}: field 'label' or 'gold' is {gold!r}; expected 0 to {len(choices) - 1}")
    return ChoiceProblem(
        benchmark="hellaswag",
        task_id=f"HellaSwag/{row.fields.get('ind', index)}",
        context=context,
        choices=tuple(choices),
        gold=gold,
    )


def _hellaswag_text(text: str) -> str:
    # lm-eval's preprocessing: WikiHow's bracketed headings become sentence breaks or vanish.
    joined = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", joined).replace("  ", " ")


def _strings(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)
