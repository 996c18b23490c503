"""Laws of the comparison: no text makes it raise, equality is reflexive and mostly symmetric, numbers are exact."""

from fractions import Fraction

from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocols.exact_match.equivalence import compare_answers
from protocols.exact_match.normalize import clean
from protocols.exact_match.workers import Equality

TEXT = r"""
\frac \sqrt \text{ \text{cm} \text{or} \left \right \{ \} { } ( ) [ ] | , ; : = < > \le \in \cup \pm \cdot + - * / ^ _
! % & \\ \, \! \$ $ 0 1 2 12 3.5 .5 1,000 x y e i \pi \infty \circ ^\circ \sin \log \overline ... \ldots cm or and am
p.m. to \begin{pmatrix} \end{pmatrix} \begin{array}{cc} \end{array} \mathbb{R} \emptyset \binom \angle ABC \mid Rs. €
° π √ ½ − 10 base \over \choose {3 \over4} \boxed \textdollar
"""
PIECES = TEXT.split()
soup = st.lists(st.sampled_from([*PIECES, " "]), max_size=12).map("".join) | st.lists(
    st.sampled_from(PIECES), max_size=8
).map(" ".join)


@given(soup, soup)
@settings(max_examples=400, deadline=None)
@example("1,000", "Rs. 18")
@example("x", r"\frac1")
def test_no_text_makes_the_comparison_raise(gold: str, answer: str) -> None:
    assert compare_answers(gold, answer, guarded=False) in Equality


@given(soup)
@settings(max_examples=200, deadline=None)
def test_what_can_be_cleaned_equals_itself(answer: str) -> None:
    if clean(answer):
        assert compare_answers(answer, answer) is Equality.EQUAL


@given(st.text(max_size=40), st.text(max_size=40))
@settings(deadline=None)
def test_any_text_is_compared(gold: str, answer: str) -> None:
    assert compare_answers(gold, answer, guarded=False) in Equality


@given(st.fractions(max_denominator=10**6), st.fractions(max_denominator=10**6))
@settings(deadline=None)
def test_rationals_are_compared_exactly(gold: Fraction, answer: Fraction) -> None:
    found = compare_answers(
        rf"\frac{{{gold.numerator}}}{{{gold.denominator}}}", f"{answer.numerator}/{answer.denominator}"
    )
    assert found is (Equality.EQUAL if gold == answer else Equality.DIFFERENT)


@given(st.integers(10**30, 10**60), st.integers(1, 10**3))
def test_large_integers_are_compared_to_the_last_digit(number: int, difference: int) -> None:
    assert compare_answers(str(number), str(number + difference)) is Equality.DIFFERENT
    assert compare_answers(str(number), f"{number}.0") is Equality.EQUAL


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=5), st.integers(-5, 5))
@settings(deadline=None)
def test_a_product_of_roots_equals_its_expansion(roots: list[int], shift: int) -> None:
    factored = "".join(f"(x-({root}))" for root in roots)
    coefficients = [1]
    for root in roots:
        coefficients = [a - root * b for a, b in zip([*coefficients, 0], [0, *coefficients], strict=True)]
    powers = range(len(coefficients) - 1, -1, -1)
    expanded = "+".join(f"({c})x^{{{p}}}" for c, p in zip(coefficients, powers, strict=True))
    assert compare_answers(factored, expanded) is Equality.EQUAL
    found = compare_answers(factored, f"{expanded}+({shift})")
    assert found is (Equality.EQUAL if shift == 0 else Equality.DIFFERENT)


@given(st.integers(1, 500), st.integers(1, 40))
@settings(deadline=None)
def test_square_factors_come_out_of_roots(inside: int, outside: int) -> None:
    gold = rf"{outside}\sqrt{{{inside}}}"
    assert compare_answers(gold, rf"\sqrt{{{inside * outside**2}}}") is Equality.EQUAL
    assert compare_answers(gold, rf"\sqrt{{{inside * outside**2 + 1}}}") is Equality.DIFFERENT


@given(st.integers(2, 36).filter(lambda base: base != 10), st.text(alphabet="01", min_size=1, max_size=8))
def test_a_numeral_needs_its_base(base: int, digits: str) -> None:
    numeral = f"1{digits}_{{{base}}}"
    assert compare_answers(numeral, numeral.replace("{", "").replace("}", "")) is Equality.EQUAL
    assert compare_answers(numeral, f"1{digits}") is Equality.DIFFERENT
    assert compare_answers(numeral, f"1{digits}_{{{base + 1}}}") is Equality.DIFFERENT
