"""Which percentages a number of problems can give."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits.granularity import (
    LARGEST_N,
    Percentage,
    fitting_sizes,
    nearest_count,
    nearest_values,
    possible_counts,
)
from specref_core.errors import InputError

cells = st.tuples(st.integers(0, 10_000), st.integers(0, 3)).flatmap(
    lambda c: st.builds(Percentage, st.just(min(c[0], 100 * 10 ** c[1])), st.just(c[1]))
)


@pytest.mark.parametrize(
    ("text", "shown", "decimals"),
    [
        ("8.70", "8.70", 2),
        ("8.7", "8.7", 1),
        ("9", "9", 0),
        (" 33.00% ", "33.00", 2),
        ("5 %", "5", 0),
        (".5", "0.5", 1),
        ("0.05", "0.05", 2),
        ("100.000", "100.000", 3),
        ("007.5", "7.5", 1),
    ],
)
def test_parse_keeps_the_printed_decimals(text, shown, decimals):
    read = Percentage.parse(text)
    assert (str(read), read.decimals) == (shown, decimals)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("%", "is empty"),
        ("nan", "is not a number"),
        ("-inf", "is not a number"),
        ("-1", "is negative"),
        ("\u22121", "is negative"),
        ("1e1", "exponent"),
        ("33,3", "comma"),
        ("1,234.5", "comma"),
        ("100.01", "above 100"),
        ("101", "above 100"),
        ("1.2.3", "is not a percentage"),
        ("8.70%%", "is not a percentage"),
        ("~8", "is not a percentage"),
        ("\u0663\u0663", "is not a percentage"),
        ("1_0", "is not a percentage"),
        ("1." + "0" * 13, "decimals"),
        ("9" * 400, "above 100"),
    ],
)
def test_parse_says_what_is_wrong(text, told):
    with pytest.raises(InputError, match=told):
        Percentage.parse(text)


@pytest.mark.parametrize(
    ("text", "n", "counts"),
    [
        ("33.3", 3, [1]),
        ("33.30", 3, []),
        ("33.33", 3, [1]),
        ("33.34", 3, []),  # neither rounding gives it
        ("66.66", 3, []),  # truncation is not accepted
        ("1.74", 164, []),
        ("8.70", 164, []),
        ("1.74", 115, [2]),
        ("8.70", 115, [10]),
        ("58.10", 1172, []),
        ("51.50", 1172, []),
        ("51.45", 1172, [603]),
        ("12.5", 8, [1]),
        ("0.62", 160, [1]),  # 0.625 half to even
        ("0.63", 160, [1]),  # 0.625 half up
        ("100", 7, [7]),
        ("0", 300, [0, 1]),  # 1/300 rounds to 0
        ("50", 1, []),
        ("1", 50, []),  # 0.5 lies between 0 and 2 of 50; 1 of 50 is 2
        ("45.62", 10042, [4581]),
    ],
)
def test_known_cells(text, n, counts):
    assert list(possible_counts(Percentage.parse(text), n)) == counts


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.integers(0, 4))
def test_every_rounded_share_is_possible(count, decimals):
    solved, n = count
    with localcontext() as context:
        context.prec = 60
        share = Decimal(100 * solved) / n
        for rounding in (ROUND_HALF_UP, ROUND_HALF_EVEN):
            printed = str(share.quantize(Decimal(1).scaleb(-decimals), rounding=rounding))
            assert solved in possible_counts(Percentage.parse(printed), n)
    # What Python's own formatting prints is possible too, whichever way binary floating point breaks a tie.
    assert solved in possible_counts(Percentage.parse(f"{100 * solved / n:.{decimals}f}"), n)


@given(cells, st.integers(1, 400))
def test_possible_counts_are_those_that_round_to_the_score(cell, n):
    half = Decimal(1).scaleb(-cell.decimals) / 2
    value = Decimal(cell.units).scaleb(-cell.decimals)
    with localcontext() as context:
        context.prec = 60
        wanted = [c for c in range(n + 1) if abs(Decimal(100 * c) - value * n) <= half * n]
    assert list(possible_counts(cell, n)) == wanted


@given(cells, st.integers(1, 400))
def test_nearest_values_are_possible_and_surround_the_score(cell, n):
    nearest = nearest_values(cell, n)
    assert all(possible_counts(value, n) for value in nearest)
    if possible_counts(cell, n):
        assert nearest == [cell]
    else:
        assert nearest[0].units < cell.units < nearest[-1].units
        # Nothing possible lies between them.
        between = range(nearest[0].units + 1, nearest[-1].units)
        closer = [u for u in between if abs(u - cell.units) <= 30 and possible_counts(Percentage(u, cell.decimals), n)]
        # A tie may be printed in two ways; the other way is as near as its neighbour.
        assert all(u in (nearest[0].units - 1, nearest[-1].units - 1) for u in closer)


@given(cells, st.integers(1, 300))
def test_fitting_sizes_are_the_sizes_at_which_the_cell_is_possible(cell, largest):
    assert fitting_sizes(cell, largest) == [n for n in range(1, largest + 1) if possible_counts(cell, n)]


def test_many_decimals_do_not_overflow():
    cell = Percentage.parse("33.333333333333")
    assert fitting_sizes(cell, 10) == [3, 6, 9]
    assert list(possible_counts(cell, LARGEST_N - 1)) == [(LARGEST_N - 1) // 3]


def test_115_fits_both_impossible_humaneval_cells():
    both = set(fitting_sizes(Percentage.parse("1.74"), 328)) & set(fitting_sizes(Percentage.parse("8.70"), 328))
    assert both == {115, 230}


@given(cells, st.integers(1, 500))
def test_nearest_count_is_nearest(cell, n):
    found = nearest_count(cell, n)
    distance = abs(cell.value * n / 100 - found)
    assert 0 <= found <= n
    assert all(distance <= abs(cell.value * n / 100 - c) for c in (found - 1, found + 1) if 0 <= c <= n)


@pytest.mark.parametrize("n", [0, -3, LARGEST_N + 1])
def test_impossible_sizes_are_refused(n):
    with pytest.raises(InputError, match="number of problems"):
        possible_counts(Percentage(0, 0), n)
