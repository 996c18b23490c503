"""Typed problem records of every benchmark, and their loaders for local files and for the hub."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CodeProblem:
    """One problem of Protocol A.

    Attributes:
        benchmark: ``humaneval``, ``mbpp`` or the name of a family of the embedded pair.
        task_id: as the benchmark names it, ``HumanEval/0`` or ``MBPP/11``.
        prompt: what the generator sees. A completion of HumanEval's kind continues it as program text.
        entry_point: the function the tests call.
        tests: Python source. With ``test_style`` ``check`` it defines ``check(candidate)``; with ``asserts`` it is a
            sequence of assert statements that call ``entry_point`` by name.
        test_style: ``check`` or ``asserts``.
        setup: Python source that must run before the tests (MBPP's ``test_setup_code``).
        reference: the benchmark's own solution, in the form of a completion of ``prompt``.
        prompt_is_code: whether ``prompt + completion`` is the program (HumanEval) or the completion alone is (MBPP).
    """

    benchmark: str
    task_id: str
    prompt: str
    entry_point: str
    tests: str
    test_style: str
    setup: str
    reference: str
    prompt_is_code: bool


@dataclass(frozen=True, slots=True)
class AnswerProblem:
    r"""One problem of Protocol B.

    Attributes:
        benchmark: ``gsm8k``, ``math``, ``bbh`` or a family of the embedded pair.
        task_id: unique in its benchmark.
        prompt: what the generator sees.
        gold: the reference answer, extracted (``18``, ``\frac{1}{2}``, ``True``).
        reference: the benchmark's worked solution, the gold answer included; ``""`` where it gives none.
    """

    benchmark: str
    task_id: str
    prompt: str
    gold: str
    reference: str = ""


@dataclass(frozen=True, slots=True)
class ChoiceProblem:
    """One problem of Protocol C.

    Attributes:
        benchmark: ``arc_challenge``, ``hellaswag`` or a family of the embedded pair.
        task_id: unique in its benchmark.
        context: the text before the choices, in the field's exact format, without the delimiter.
        choices: the choice texts, preprocessed as the field does; scored after ``context + delimiter``.
        gold: index of the right choice.
        delimiter: between context and choice, one space in the field's format.
    """

    benchmark: str
    task_id: str
    context: str
    choices: tuple[str, ...]
    gold: int
    delimiter: str = " "


Problem = CodeProblem | AnswerProblem | ChoiceProblem
