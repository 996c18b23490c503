r"""What counts as the answer of an output: tables for each benchmark's form."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.exact_match import extract_answer, gold_answer
from protocols.exact_match.boxes import find_boxes
from specref_core.errors import InputError

MATH = [
    (r"\boxed{42}", "42"),
    (r"$\boxed{\frac{1}{\sqrt{2}}}$.", r"\frac{1}{\sqrt{2}}"),
    (r"\boxed{\left\{1,2\right\}}", r"\left\{1,2\right\}"),
    (r"\boxed{\{x : x > 0\}}", r"\{x : x > 0\}"),
    (r"\boxed {7}", "7"),
    ("\\boxed\n{7}", "7"),
    (r"\boxed 42", "42"),
    (r"so \boxed 42.", "42"),
    (r"$\boxed 4 2$", "4 2"),
    (r"$\boxed\frac12$", r"\frac12"),
    (r"\(\boxed 42\)", "42"),
    (r"\fbox{42}", "42"),
    (r"\boxed{1} then \boxed{2}", "2"),
    (r"\boxed{1} then \boxed{2", "1"),
    (r"\boxed{1} then \boxed{}", "1"),
    (r"\boxed{1 and then \boxed{2}", "2"),
    (r"\boxed{\boxed{3}}", r"\boxed{3}"),
    (r"\boxed{a}} b}", "a"),
    (r"{ \boxed{5}", "5"),
    (r"\boxed{\text{a \} b}}", r"\text{a \} b}"),
    ("\\boxed{\n 8 \n}", "8"),
    (r"\boxed{9}<|endoftext|>\boxed{10}", "9"),
    ("\\boxed{9}\n\nProblem: next\n\\boxed{10}", "9"),
    ("\\boxed{9}\n\n### Question: next\n\\boxed{10}", "9"),
    ("points\nQ: (1, 2)\nso \\boxed{10}", "10"),
    ("Problem: restated\n\\boxed{10}", "10"),
    ("", None),
    ("42", None),
    ("The answer is 42.", None),
    (r"\boxed{}", None),
    (r"\boxed{ }", None),
    (r"\boxed{42", None),
    (r"\boxed{{42}", None),
    (r"\boxed", None),
    (r"\boxedfoo{42}", None),
    (r"\boxed{\}", None),
]
GSM8K = [
    ("#### 18", "18"),
    ("so 9 * 2 = <<9*2=18>>18\n#### 18", "18"),
    ("#### $1,000.00", "$1,000.00"),
    ("####1000", "1000"),
    ("#### 1000.", "1000."),
    ("#### 1 000", "1 000"),
    ("#### -5", "-5"),
    ("#### \u22125", "\u22125"),
    ("#### **18**", "18"),
    ("**#### 18**", "18"),
    ("#### The answer is 18", "18"),
    ("#### Answer: 18", "18"),
    ("#### x = 18", "18"),
    ("#### 3/4", "3/4"),
    ("#### 18 dollars", "18 dollars"),
    ("#### 1000, i.e. 4*250.", "1000"),
    ("#### 3\nno:\n#### 4", "4"),
    ("#### 3\nso \\boxed{4}", "4"),
    ("\\boxed{3}\n#### 4", "4"),
    ("#### \\boxed{4}", "4"),
    ("\\boxed{4}\n#### ", "4"),
    ("\\boxed{4}\n#### Step 2: check", "4"),
    ("#### Step 1: add\n#### Step 2\n#### 7", "7"),
    ("\\boxed{4} and \\boxed{5", "4"),
    ("#### 18\n\nQ: next?\nA: #### 7", "18"),
    ("#### 18\nQuestion: next?\n#### 7", "18"),
    ("#### 18\n**Question 2:** next?\n#### 7", "18"),
    ("Question: restated\n#### 7", "7"),
    ("\n\nQ: restated\n#### 7", "7"),
    ("#### 18<|im_end|>\n#### 7", "18"),
    ("#### 5 or 6", "5 or 6"),
    ("#### .5", ".5"),
    ("", None),
    ("18", None),
    ("The answer is 18.", None),
    ("####", None),
    ("#### ", None),
    ("#### none", None),
    ("##### 18", None),
    ("\\boxed{18", None),
    ("\\boxed{}", None),
]
BBH = [
    ("True", "True"),
    ("False.", "False"),
    (" false", "false"),
    ("**True**", "True"),
    ("`False`", "False"),
    ("(True)", "True"),
    ("A: True", "True"),
    ("Answer: **False**", "False"),
    ("\\boxed{True}", "True"),
    ("$\\boxed{\\text{False}}$", "False"),
    ("so the answer is True.", "True"),
    ("So the answer is True", "True"),
    ("the answer is True. ", "True"),
    ("The answer is: **False**", "False"),
    ("The final answer is therefore False!", "False"),
    ("The answer to this expression is True.", "True"),
    ("the answer is False. Note: not True.", "False"),
    ("The answer is True, not False.", "True"),
    ("The answer is False because not True is False and True and False is False.", "False"),
    ("The answer is True. Wait, the answer is False.", "False"),
    ("not ( True ) and ( True ) is False", "False"),
    ("not True = False\nFalse and True = False\nSo False.", "False"),
    ("= True", "True"),
    ("evaluates to True.", "True"),
    ("True\n\nExplanation: not False is True, and not True is False", "True"),
    ("False\n\nQ: True and True is\nA: True", "False"),
    ("True and not False = True and True = True. So the answer is True.", "True"),
    ("False, since not True is False and so False and True is False", "False"),
    ('{"answer": true}', "true"),
    ("Therefore, the expression is False", "False"),
    ("", None),
    ("maybe", None),
    ("not False", None),
    ("not ( True )", None),
    ("True and False", None),
    ("True or False", None),
    ("not ( True ) and ( True ) is", None),
    ("The answer is True or False", None),
    ("The answer is not True", None),
    ("The answer is True and False", None),
    ("Truely", None),
]


@pytest.mark.parametrize(
    ("benchmark", "output", "answer"),
    [(name, *case) for name, cases in (("math", MATH), ("gsm8k", GSM8K), ("bbh", BBH)) for case in cases],
)
def test_the_answer_is_found_or_none(benchmark: str, output: str, answer: str | None) -> None:
    found = extract_answer(output, benchmark=benchmark)
    assert found.answer == answer
    assert found.answer is not None or found.detail


def test_unclosed_box_is_told() -> None:
    assert "unclosed" in extract_answer(r"\boxed{1} \boxed{2", benchmark="math").detail
    assert "unclosed" in extract_answer(r"\boxed{2", benchmark="gsm8k").detail


@pytest.mark.parametrize("name", ["math", "MATH-500", "hendrycks_math", "gsm8k", "bbh", "bbh_boolean_expressions"])
def test_benchmark_names_are_recognised(name: str) -> None:
    extract_answer("", benchmark=name)


def test_unknown_benchmark_is_refused() -> None:
    with pytest.raises(InputError, match="humaneval"):
        extract_answer("", benchmark="humaneval")


balanced = st.recursive(
    st.text(alphabet="ab1+ ", max_size=5) | st.sampled_from([r"\{", r"\}", r"\frac", r"\\"]),
    lambda inner: st.lists(inner, max_size=3).map("".join) | inner.map(lambda t: "{" + t + "}"),
    max_leaves=12,
)


@given(balanced, st.text(alphabet="xyz $.\n{", max_size=20), st.text(alphabet="xyz $.\n", max_size=20))
def test_nested_braces_survive_the_round_trip(content: str, before: str, after: str) -> None:
    box = find_boxes(before + "\\boxed{" + content + "}" + after).last()
    assert box is not None
    assert box.content == content.strip()


@given(st.lists(balanced.filter(str.strip), min_size=1, max_size=4))
def test_all_boxes_are_found_in_order(contents: list[str]) -> None:
    boxes = find_boxes(" and ".join(f"\\boxed{{{content}}}" for content in contents))
    assert [box.content for box in boxes.complete] == [content.strip() for content in contents]


@given(st.text())
def test_any_text_is_extracted_without_an_exception(text: str) -> None:
    for benchmark in ("math", "gsm8k", "bbh"):
        extract_answer(text, benchmark=benchmark)


@pytest.mark.parametrize(
    "unit",
    ["{", "}", "\\boxed{", "\\boxed", "####", "#### 1", "\nQ:", "answer is ", "the answer", "True ", "is (", "\\"],
)
def test_extraction_takes_linear_time(unit: str) -> None:
    seconds = []
    for size in (50_000, 200_000):
        text = unit * (size // len(unit))
        start = time.process_time()
        for benchmark in ("math", "gsm8k", "bbh"):
            extract_answer(text, benchmark=benchmark)
        seconds.append(time.process_time() - start)
    # Four times the text: a quadratic rule would take sixteen times as long.
    assert seconds[1] < 10 * seconds[0] + 0.5


def test_gold_answers_are_found_in_real_solutions(data_dir: Path) -> None:
    rows = [json.loads(line) for line in (data_dir / "gsm8k" / "test.jsonl").read_text().splitlines()]
    for row in rows:
        gold = gold_answer(row["answer"], benchmark="gsm8k")
        assert gold
        assert extract_answer(row["answer"], benchmark="gsm8k").answer == gold


def test_a_solution_without_an_answer_has_no_gold() -> None:
    with pytest.raises(InputError, match="no gold"):
        gold_answer("nothing here", benchmark="math")
