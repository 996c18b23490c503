"""The forty-two boxed answers on which public graders split, and the answers that make graders hang."""

import time
from collections.abc import Iterator

import pytest

from protocols.exact_match import Grader, grade
from protocols.score import Failure

# gold, output, wanted; None where a policy decides and no answer is the only right one.
CASES = [
    ("42", r"so \boxed{42}", True),
    (r"\frac{1}{2}", r"\boxed{\frac{1}{2}}", True),
    (r"\frac{1}{2}", r"\boxed{\dfrac{1}{2}}", True),
    (r"\frac{1}{2}", r"\boxed{0.5}", True),
    (r"\frac{1}{2}", r"\boxed{1/2}", True),
    (r"\frac{1}{4}", r"\boxed{0.25}", True),
    ("1000", r"\boxed{1,000}", True),
    ("1000", r"\boxed{1{,}000}", True),
    ("10000", r"\boxed{10,\!000}", True),
    ("42", r"\boxed{42.}", True),
    ("5", r"\boxed{5\text{ cm}}", True),
    ("18", r"\boxed{\$18}", True),
    ("5", r"\boxed{x=5}", True),
    ("90", r"\boxed{90^\circ}", True),
    ("42", r"the answer is $\boxed 42$", True),
    ("5", r"\boxed{5 cm}", True),
    (r"\text{Monday}", r"\boxed{Monday}", True),
    (r"2\sqrt{3}", r"\boxed{\sqrt{12}}", True),
    ("1", r"\boxed{1.0}", True),
    ("50", r"\boxed{50\%}", True),
    ("0.5", r"\boxed{50\%}", None),
    ("3", r"\boxed{-3}", False),
    ("(1,2)", r"\boxed{(2,1)}", False),
    ("[2,5)", r"\boxed{(2,5]}", False),
    ("3", r"\boxed{1,2,3,4,5}", False),
    ("0", r"\boxed{}", False),
    ("42", r"\boxed{42", False),
    ("-3", "\\boxed{\u22123}", True),
    ("42", r"\fbox{42}", True),
    ("42", r"\(\boxed{42}\)", True),
    ("42", r"\boxed{41} no, \boxed{42}", True),
    ("42", r"\boxed{42} no, \boxed{41}", False),
    ("42", r"\boxed{42} and then \boxed{41", None),
    ("42", "The answer is 42.", False),
    ("42", "Final Answer: The final answer is $42$. I hope it is correct.", None),
    ("(1,2)", r"\boxed{(1, 2)}", True),
    ("1,2", r"\boxed{2,1}", None),
    (r"\frac{1}{2}", r"\boxed{\frac{2}{4}}", None),
    ("4", r"\boxed{2+2}", None),
    (r"\frac{7}{2}", r"\boxed{3\frac{1}{2}}", True),
    ("101_2", r"\boxed{101}", False),
    ("3", r"\boxed{3 \text{ or } 4}", False),
]
HOSTILE = [
    r"\boxed{9^{9^{9}}}",
    r"\boxed{10^{10^{10}}}",
    r"\boxed{9^{9^{9^{9^{9}}}}}",
    r"\boxed{(1+x)^{999999}}",
    r"\boxed{1000000!}",
    r"\boxed{((((((1000000!)!)!)!)!)!)}",
    r"\boxed{\sin(10^{10^{10}})}",
    r"\boxed{\binom{10^{30}}{10^{29}}}",
    r"\boxed{2^{2^{2^{2^{2^{2}}}}}}",
    r"\boxed{\sqrt[10^9]{2}}",
    r"\boxed{" + "9" * 100_000 + "}",
    r"\boxed{" + "{" * 500_000 + "42" + "}" * 500_000 + "}",
    r"\boxed{" + "{" * 1_000_000,
    r"\boxed{" * 100_000,
    "}" * 1_000_000 + r"\boxed{41}",
    r"\boxed{" + "(" * 900 + "42" + ")" * 900 + "}",
    r"\boxed{" + r"\frac{1}{" * 150 + "2" + "}" * 150 + "}",
    r"\boxed{" + "-" * 1900 + "42}",
    r"\boxed{" + "x" * 1900 + "}",
    r"\boxed{" + "1," * 900 + "}",
    r"\boxed{" + "1+" * 900 + "1}",
    r"\boxed{" + r"\text{" * 300 + "}" * 300 + "}",
    r"\boxed{" + "9" * 1900 + "}",
    r"\boxed{9e999999999}",
    r"\boxed{0." + "3" * 1900 + r"\ldots}",
    r"\boxed{\pm" * 1 + r"\pm" * 200 + "1}",
    "#### " + "9," * 100_000,
    "####" * 250_000,
    "\\" * 1_000_001,
]


def test_hand_made_table_is_complete() -> None:
    assert len(CASES) == 42
    assert sum(wanted is not None for _, _, wanted in CASES) == 36


@pytest.mark.parametrize(("gold", "output", "wanted"), CASES)
def test_lenient_grader_decides_the_hand_made_cases(gold: str, output: str, wanted: bool | None) -> None:
    score = grade(output, gold, benchmark="math")
    if wanted is not None:
        assert score.correct is wanted
    assert (score.failure is None) is score.correct


@pytest.fixture(scope="module")
def warm_grader() -> Iterator[Grader]:
    with Grader(benchmark="math", timeout=2.0, workers=1) as grader:
        grader.grade(r"\boxed{\int_0^1 x dx}", "1")
        yield grader


@pytest.mark.parametrize("output", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_answers_cost_bounded_time_and_are_not_correct(output: str, warm_grader: Grader) -> None:
    start = time.monotonic()
    score = warm_grader.grade(output, r"\frac{7}{2}")
    # The limit, and the start of a worker that replaces a killed one, on a machine under heavy load.
    assert time.monotonic() - start < 60.0
    assert not score.correct


def test_hostile_gold_answer_costs_bounded_time() -> None:
    with Grader(benchmark="math", timeout=1.0) as grader:
        assert grader.grade(r"\boxed{9^{9^{9^{9}}}}", r"9^{9^{9^{9}}}").correct
        assert grader.grade(r"\boxed{9^{9^{9^{9}}}+1}", r"9^{9^{9^{9}}}").failure in (
            Failure.UNDECIDED,
            Failure.WRONG_ANSWER,
        )


def test_run_goes_on_after_a_hostile_answer() -> None:
    items = [(r"\boxed{2^{2^{2^{2^{2^{2^{2}}}}}}-2^{2^{2^{2^{2^{2^{3}}}}}}}", "3"), (r"\boxed{3}", "3")] * 3
    with Grader(benchmark="math", timeout=0.5, workers=2) as grader:
        scores = list(grader.grade_many(items))
    assert [score.correct for score in scores] == [False, True] * 3
