"""Impossible cells, fitting sizes and noise."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits.granularity import Percentage
from audits.score_table import Cell
from audits.statistics import fisher_exact
from audits.table_check import MANY_SYSTEMS, check_cell, check_table, differences
from fixtures.published import specref_scores


def cell(system, score, n, benchmark="HumanEval"):
    return Cell(system, benchmark, Percentage.parse(score), n, 2)


@pytest.fixture(scope="module")
def paper():
    return check_table([cell(c.system, c.printed, c.n, c.benchmark) for c in specref_scores()])


def test_exactly_four_cells_of_the_paper_are_impossible(paper):
    impossible = [(c.cell.benchmark, str(c.cell.score)) for c in paper.cells if not c.possible]
    assert impossible == [
        ("HumanEval", "1.74"),
        ("HumanEval", "8.70"),
        ("ARC-Challenge", "58.10"),
        ("ARC-Challenge", "51.50"),
    ]


def test_115_is_among_the_common_sizes_of_humaneval(paper):
    group = next(g for g in paper.benchmarks if g.benchmark == "HumanEval")
    assert group.impossible == 2
    assert group.common_n[:2] == (115, 230)
    assert all(115 in c.fitting_n for c in paper.cells if c.cell.benchmark == "HumanEval" and not c.possible)


@pytest.mark.parametrize(
    ("benchmark", "first", "second", "p_value", "noise"),
    [
        ("BBH (Bool)", "Phi-2 (draft)", "SpecRef S=64", 0.56, True),
        ("MATH", "LLaDA S=64", "SpecRef S=64", 0.27, True),
        ("HumanEval", "Phi-2 (draft)", "SpecRef S=64", 0.0005, False),
        ("MBPP", "Phi-2 (draft)", "SpecRef S=64", 0.0014, False),
    ],
)
def test_the_papers_comparisons(paper, benchmark, first, second, p_value, noise):  # noqa: PLR0917  # a table's columns
    (pair,) = [
        d
        for d in paper.differences
        if (d.first.benchmark, d.first.system, d.second.system) == (benchmark, first, second)
    ]
    assert pair.p_value == pytest.approx(p_value, rel=0.03)
    assert pair.noise is noise
    assert pair.p_holm >= pair.p_value


def test_json_holds_the_documented_fields(paper):
    data = json.loads(json.dumps(paper.as_dict(), allow_nan=False))
    assert (data["schema"], data["version"]) == ("specref.check-table", 1)
    assert len(data["cells"]) == 51
    assert len(data["differences"]) == 5 * 36 + 2 * 3
    found = next(c for c in data["cells"] if not c["possible"])
    assert found.keys() >= {"system", "benchmark", "score", "n", "possible", "nearest", "fitting_n"}
    assert (found["score"], found["printed"], found["nearest"]) == (1.74, "1.74", [1.22, 1.83])


def test_printed_decimals_decide():
    assert check_cell(cell("A", "33.3", 3)).possible
    refused = check_cell(cell("A", "33.30", 3))
    assert not refused.possible
    assert [str(value) for value in refused.nearest] == ["0.00", "33.33"]
    assert refused.fitting_n == ()  # no size up to ten times three


def test_possible_cell_names_itself():
    checked = check_cell(cell("A", "50.0", 10))
    assert ([str(v) for v in checked.nearest], checked.fitting_n) == (["50.0"], (10,))


def test_sizes_may_differ_between_systems():
    (pair,) = differences([cell("small", "50", 10), cell("large", "60", 1000)])
    assert (pair.first.system, pair.p_value) == ("large", fisher_exact(600, 1000, 5, 10))
    assert pair.difference == 10


def test_higher_score_comes_first_and_equal_scores_keep_their_order():
    pairs = differences([cell("low", "10", 50), cell("high", "90", 50), cell("again", "90", 50)])
    assert [(p.first.system, p.second.system) for p in pairs] == [("high", "low"), ("again", "low"), ("high", "again")]
    assert [p.noise for p in pairs] == [False, False, True]


def test_benchmarks_are_not_mixed():
    assert check_table([cell("A", "10", 50, "X"), cell("B", "90", 50, "Y")]).differences == ()


def test_a_crowd_is_compared_with_its_neighbours_only():
    crowd = [cell(str(i), str(i % 100), 100) for i in range(MANY_SYSTEMS + 1)]
    assert len(differences(crowd)) == MANY_SYSTEMS


def test_known_sizes_belong_to_the_benchmark_or_are_round():
    check = check_table([cell("A", "48.95", 500, "MBPP (test)")])  # 209 of 427, the sanitized problems
    names = {(k.benchmark, k.n) for k in check.benchmarks[0].known_n}
    assert ("MBPP", 427) in names
    assert all(benchmark in ("MBPP", "Any") for benchmark, _ in names)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 60)), min_size=1, max_size=5))
def test_checks_agree_with_themselves(rows):
    check = check_table([cell(str(i), f"{score / 10:.1f}", n) for i, (score, n) in enumerate(rows)])
    assert len(check.differences) == len(rows) * (len(rows) - 1) // 2
    assert check.benchmarks[0].impossible == sum(not c.possible for c in check.cells)
    for checked in check.cells:
        assert checked.possible == (checked.cell.n in checked.fitting_n)
    for pair in check.differences:
        assert pair.difference >= 0
        assert pair.low <= pair.high
        assert pair.noise == (pair.p_holm >= 0.05)
    json.dumps(check.as_dict(), allow_nan=False)
