"""Least squares with and without intercept."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from audits.statistics import fit_line
from specref_core.errors import InputError

points = st.lists(st.tuples(st.integers(0, 50), st.floats(-100, 100)), min_size=3, max_size=20).filter(
    lambda p: len({x for x, _ in p}) > 1
)


@settings(max_examples=30, deadline=None)
@given(points)
def test_line_equals_scipys(given_points):
    x = [point[0] for point in given_points]
    y = [point[1] + 0.1 * place for place, point in enumerate(given_points)]  # a perfect fit has no error to compare
    wanted, found = stats.linregress(x, y), fit_line(x, y)
    reach = stats.t.ppf(0.975, len(x) - 2)
    assert found.slope == pytest.approx(wanted.slope, abs=1e-6)
    assert found.intercept == pytest.approx(wanted.intercept, abs=1e-6)
    if math.isnan(wanted.stderr):
        return
    assert found.slope_interval.high - found.slope == pytest.approx(reach * wanted.stderr, rel=1e-4, abs=1e-6)
    assert found.intercept_interval.high - found.intercept == pytest.approx(
        reach * wanted.intercept_stderr, rel=1e-4, abs=1e-5
    )


@settings(max_examples=30, deadline=None)
@given(points)
def test_line_through_the_origin_minimises_the_squares(given_points):
    x, y = (np.array(column, dtype=float) for column in zip(*given_points, strict=True))
    found = fit_line(x, y, intercept=False)
    assert (found.intercept, found.intercept_interval) == (0.0, None)

    def squares(slope):
        return float(((y - slope * x) ** 2).sum())

    assert squares(found.slope) <= squares(found.slope + 1e-3) + 1e-9
    assert squares(found.slope) <= squares(found.slope - 1e-3) + 1e-9


def test_the_papers_latencies():
    steps = [16, 32, 64]
    standalone = fit_line(steps, [4.12, 8.24, 16.49], intercept=False)
    pipeline = fit_line(steps, [5.18, 5.95, 6.79])
    assert standalone.slope == pytest.approx(0.258, abs=5e-4)
    assert (pipeline.intercept, pipeline.slope) == (pytest.approx(4.76, abs=5e-3), pytest.approx(0.0325, abs=5e-5))
    assert standalone.slope / pipeline.slope == pytest.approx(7.9, abs=0.05)


def test_no_freedom_leaves_the_intervals_open():
    found = fit_line([1, 2], [1, 3])
    assert (found.slope, found.intercept) == (2, -1)
    assert math.isinf(found.slope_interval.high)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1], [1], "at least 2"),
        ([1, 2], [1], "equal numbers"),
        ([2, 2, 2], [1, 2, 3], "all abscissae are 2.0"),
        ([1, float("nan")], [1, 2], "not finite"),
    ],
)
def test_points_that_make_no_line_are_refused(x, y, message):
    with pytest.raises(InputError, match=message):
        fit_line(x, y)


def test_coverage_of_the_slope():
    rng = np.random.default_rng(5)
    x = np.arange(6.0)
    covered = sum(0.7 in fit_line(x, 2 + 0.7 * x + rng.normal(size=6)).slope_interval for _ in range(1000))
    assert 0.93 <= covered / 1000 <= 0.97
