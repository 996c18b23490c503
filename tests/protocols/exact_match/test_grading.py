"""Graders: strict and lenient, names, order, and what the two disagree on."""

import itertools
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.exact_match import GRADERS, Grader, disagreement, gold_answer, grade, grader_name
from protocols.score import Failure
from specref_core.errors import InputError

TABLE = [
    # benchmark, output, gold, strict, lenient
    ("gsm8k", "#### 1000", "1000", True, True),
    ("gsm8k", "#### $1,000", "1000", True, True),
    ("gsm8k", "#### 1000.", "1000", True, True),
    ("gsm8k", "#### 1,000", "1,000", True, True),
    ("gsm8k", "#### 1000.00", "1000", False, True),
    ("gsm8k", "#### $1,000.00", "1000", False, True),
    ("gsm8k", "#### 1 000", "1000", False, True),
    ("gsm8k", "####1000", "1000", True, True),
    ("gsm8k", "#### \u22125", "-5", False, True),
    ("gsm8k", "#### 18 dollars", "18", False, True),
    ("gsm8k", "#### 3/4", "0.75", False, True),
    ("gsm8k", "#### 10%", "10", False, True),
    ("gsm8k", "#### 16 - 3 - 4 = 9", "9", False, True),
    ("gsm8k", "#### 5 or 6", "5", False, False),
    ("gsm8k", "#### 5, 6", "5", False, False),
    ("gsm8k", "#### 1001", "1000", False, False),
    ("gsm8k", "\\boxed{1000}", "1000", True, True),
    ("gsm8k", "\\boxed{\\$1{,}000 \\text{ dollars}}", "1000", False, True),
    ("gsm8k", "#### 4 2", "42", False, False),
    ("math", r"\boxed{\frac12}", r"\frac{1}{2}", False, True),
    ("math", r"\boxed{ \frac{1}{2} }", r"\frac{1}{2}", True, True),
    ("math", r"\boxed{$x$}", "x", True, True),
    ("math", r"\boxed{4 2}", "42", False, False),
    ("bbh", "True", "True", True, True),
    ("bbh", "true", "True", False, True),
    ("bbh", "False", "True", False, False),
    ("bbh", "the answer is **FALSE**.", "False", False, True),
]


@pytest.mark.parametrize(("benchmark", "output", "gold", "strict", "lenient"), TABLE)
def test_strict_and_lenient_verdicts(benchmark: str, output: str, gold: str, strict: bool, lenient: bool) -> None:
    found = {name: grade(output, gold, benchmark=benchmark, grader=name).correct for name in GRADERS}
    assert found == {"strict": strict, "lenient": lenient}


def test_no_answer_is_told_from_a_wrong_one() -> None:
    assert grade("no idea", "42", benchmark="math").failure is Failure.NO_ANSWER
    assert grade(r"\boxed{41}", "42", benchmark="math").failure is Failure.WRONG_ANSWER
    assert grade(r"\boxed{41}", "42", benchmark="math").extracted == "41"
    assert grade("#### ", "42", benchmark="gsm8k").failure is Failure.NO_ANSWER
    assert grade("not False", "True", benchmark="bbh").failure is Failure.NO_ANSWER


@pytest.mark.parametrize(
    ("gold", "answer", "correct"),
    [
        (r"[0,1)\cup(1,2]", r"[0,2] \setminus \{1\}", True),
        ("n!", r"n\cdot(n-1)!", True),
        (r"\frac13", r"\int_0^1 x^2\,dx", True),
        (r"\frac12", r"\int_0^1 x^2\,dx", False),
        ("42", "42 43", False),
        ("x", "|x|", False),
    ],
)
def test_math_verify_decides_what_the_rules_cannot_read(gold: str, answer: str, correct: bool) -> None:
    assert grade(rf"\boxed{{{answer}}}", gold, benchmark="math").correct is correct


def test_grader_is_named_with_versions() -> None:
    assert grader_name("strict") == "strict-1"
    assert grader_name("lenient").startswith("lenient-1/math-verify-0.")
    with Grader(benchmark="math") as grader:
        assert grader.name == grader_name("lenient")


@pytest.mark.parametrize(
    "arguments",
    [{"grader": "loose"}, {"workers": 0}, {"timeout": 0.0}, {"timeout": float("nan")}, {"benchmark": "mbpp"}],
)
def test_wrong_arguments_are_refused(arguments: dict) -> None:
    with pytest.raises(InputError):
        Grader(**{"benchmark": "math", **arguments})


def test_disagreement_counts_and_lists() -> None:
    found = disagreement([r"\boxed{1}", r"\boxed{1.0}", r"\boxed{2}", "1"], ["1"] * 4, "math")
    assert (found.n, found.count, found.share) == (4, 1, 0.25)
    assert found.lenient_only == (1,)
    assert found.strict_only == ()
    assert disagreement([], [], "math").share == 0.0
    with pytest.raises(InputError, match="one gold an output"):
        disagreement(["a"], [], "math")


def test_scores_stream_in_order_from_an_endless_input() -> None:
    def endless() -> Iterator[tuple[str, str]]:
        for number in itertools.count():
            # Every third one needs Math-Verify.
            yield (r"\boxed{\int_0^1 2x\,dx}" if number % 3 == 0 else rf"\boxed{{{number % 2}}}", "1")

    with Grader(benchmark="math", workers=2) as grader:
        scores = list(itertools.islice(grader.grade_many(endless()), 12))
    assert [s.correct for s in scores] == [n % 3 == 0 or n % 2 == 1 for n in range(12)]


def test_an_error_of_the_input_passes_through_and_leaves_the_grader_usable() -> None:
    def failing() -> Iterator[tuple[str, str]]:
        yield r"\boxed{1}", "1"
        raise KeyboardInterrupt

    with Grader(benchmark="math") as grader:
        with pytest.raises(KeyboardInterrupt):
            list(grader.grade_many(failing()))
        assert grader.grade(r"\boxed{1}", "1").correct


def test_grading_works_in_threads() -> None:
    verdicts: list[bool] = []
    threads = [
        threading.Thread(
            target=lambda: verdicts.append(grade(r"\boxed{\int_0^1 2x\,dx}", "1", benchmark="math").correct)
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdicts == [True] * 3


def test_grading_works_in_a_forked_child() -> None:
    assert grade(r"\boxed{\int_0^1 2x\,dx}", "1", benchmark="math").correct
    child = os.fork()
    if child == 0:
        correct = False
        try:
            correct = grade(r"\boxed{\int_0^1 2x\,dx}", "1", benchmark="math").correct
        finally:
            os._exit(0 if correct else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert grade(r"\boxed{\int_0^2 x\,dx}", "2", benchmark="math").correct


def test_gold_solutions_of_math_are_right_against_themselves(data_dir: Path) -> None:
    rows = [json.loads(line) for line in (data_dir / "math" / "math_500.jsonl").read_text().splitlines()]
    golds = [gold_answer(row["solution"], benchmark="math") for row in rows]
    outputs = [row["solution"] for row in rows]
    with Grader(benchmark="math") as grader:
        assert all(score.correct for score in grader.grade_many(zip(outputs, golds, strict=True)))
        # Braces around the answer take string equality away: the rules themselves must hold.
        braced = [rf"\boxed{{{{{gold}}}\ }}" for gold in golds]
        right = sum(score.correct for score in grader.grade_many(zip(braced, golds, strict=True)))
    assert right >= 0.995 * len(golds)


def test_gold_answers_of_math_are_wrong_for_other_problems(data_dir: Path) -> None:
    rows = [json.loads(line) for line in (data_dir / "math" / "math_500.jsonl").read_text().splitlines()]
    golds = sorted({gold_answer(row["solution"], benchmark="math") for row in rows})
    # Neighbours in the sorted list look most alike.
    items = [(rf"\boxed{{{answer}}}", gold) for gold, answer in itertools.pairwise(golds)]
    with Grader(benchmark="math") as grader:
        accepted = [
            pair
            for pair, score in zip(itertools.pairwise(golds), grader.grade_many(items), strict=True)
            if score.correct
        ]
    assert accepted == SAME_VALUE


# Gold answers of different problems: a unit that is no known one, a unit on one side, the same number in two spellings.
SAME_VALUE = [
    (r"12\text{ degrees}", r"12\text{ square units}"),
    ("25", r"25 \, \text{km}"),
    (r"\sqrt2", r"\sqrt{2}"),
]


numbers = st.integers(-999, 999).map(str) | st.decimals(-99, 99, places=2).map(str)
atoms = numbers | st.sampled_from([r"\pi", "x", "n", r"\sqrt{2}", r"\sqrt[3]{5}", "e"])
formulas = st.recursive(
    atoms,
    lambda inner: (
        st.tuples(inner, inner).map(lambda p: rf"\frac{{{p[0]}}}{{{p[1]}}}")
        | st.tuples(inner, inner).map(lambda p: rf"\left({p[0]}\right)\left({p[1]}\right)")
        | st.tuples(inner, inner).map(lambda p: f"{p[0]} + ({p[1]})")
        | inner.map(lambda t: rf"\sqrt{{{t}}}")
        | inner.map(lambda t: f"({t})^{{2}}")
    ),
    max_leaves=6,
)
answers = (
    formulas
    | st.lists(formulas, min_size=2, max_size=3).map(lambda items: f"({', '.join(items)})")
    | st.lists(formulas, min_size=2, max_size=3).map(", ".join)
    | st.text(alphabet="abcdefgh", min_size=3, max_size=8).map(lambda t: rf"\text{{{t}}}")
    | st.lists(numbers, min_size=2, max_size=3).map(
        lambda items: r"\begin{pmatrix} " + r" \\ ".join(items) + r" \end{pmatrix}"
    )
)


@given(answers)
@settings(max_examples=60, deadline=None)
def test_every_answer_equals_itself(answer: str) -> None:
    for grader in GRADERS:
        assert grade(rf"so \boxed{{{answer}}}.", answer, benchmark="math", grader=grader).correct


@settings(deadline=None)
@given(st.integers(-(10**6), 10**6), st.integers(1, 10**4), st.integers(1, 50))
def test_a_fraction_equals_its_expansion_and_nothing_else(numerator: int, denominator: int, factor: int) -> None:
    gold = rf"\frac{{{numerator}}}{{{denominator}}}"
    wide = rf"\boxed{{\dfrac{{{numerator * factor}}}{{{denominator * factor}}}}}"
    assert grade(wide, gold, benchmark="math").correct
    other = rf"\boxed{{\dfrac{{{numerator * factor + 1}}}{{{denominator * factor}}}}}"
    assert not grade(other, gold, benchmark="math").correct


@settings(deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=2, max_size=5, unique=True), st.randoms())
def test_order_counts_in_tuples_and_not_in_lists(items: list[int], random: object) -> None:
    shuffled = items[:]
    random.shuffle(shuffled)
    listed, mixed = ", ".join(map(str, items)), ", ".join(map(str, shuffled))
    assert grade(rf"\boxed{{{mixed}}}", listed, benchmark="math").correct
    assert grade(rf"\boxed{{({mixed})}}", f"({listed})", benchmark="math").correct is (items == shuffled)


@settings(deadline=None)
@given(st.integers(0, 10**9))
def test_thousands_separators_do_not_count(number: int) -> None:
    for separator in (",", "{,}", r",\!", r"\,", " "):
        spelled = f"{number:,}".replace(",", separator)
        assert grade(rf"\boxed{{{spelled}}}", str(number), benchmark="math").correct


@settings(deadline=None)
@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_integers_are_equal_only_to_themselves(gold: int, answer: int) -> None:
    assert grade(f"#### {answer}", str(gold), benchmark="gsm8k").correct is (gold == answer)
