from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.report import svg
from audits.report.curves import AXES, curve_groups
from audits.report.flow_diagram import flow_diagram
from audits.report.forest import forest_plots
from audits.report.model import Flow
from tests.audits.report_samples import CLAIM, HOSTILE, LONG, measured, small_report, verdict

finite = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 6))


def texts(figure):
    return [element.text or "" for element in ET.fromstring(figure).iter("text")]


def inside(figure):
    """Tell whether every coordinate lies in the figure."""
    root = ET.fromstring(figure)
    _, _, width, height = map(float, root.get("viewBox").split())
    for element in root.iter():
        for name, end in (("x", width), ("x1", width), ("x2", width), ("cx", width), ("y", height), ("y1", height),
                          ("y2", height), ("cy", height)):  # fmt: skip
            value = element.get(name)
            if value is not None and not -0.5 <= float(value) <= end + 0.5:
                return False
    return True


@given(low=finite, span=st.floats(1e-6, 1e6))
def test_ticks_are_few_round_and_cover_the_range(low, span):
    found = svg.ticks(low, low + span)
    assert found[0] <= low + 1e-6 * max(1, abs(low))
    assert found[-1] >= low + span - 1e-6 * max(1, abs(low) + span)
    assert 2 <= len(found) <= 9
    assert found == sorted(set(found))


@given(st.floats(1e-9, 1e12), st.floats(1, 1e9))
def test_log_ticks_cover_the_range(low, factor):
    found = svg.log_ticks(low, low * factor)
    assert found[0] <= low * (1 + 1e-6)
    assert found[-1] >= low * factor * (1 - 1e-6)
    assert 2 <= len(found) <= 12


@given(st.text(), st.integers(4, 40))
def test_wrapped_lines_fit_and_lose_nothing_but_blanks(text, width):
    lines = svg.wrap(text, width)
    assert all(svg._columns(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == svg.printable(text).replace(" ", "")


@given(st.text(st.characters()))
def test_printable_text_prints_and_is_utf8(text):
    shown = svg.printable(text)
    assert all(c.isprintable() or c in "\n\t" or c.isspace() for c in shown)
    assert svg.printable(shown) == shown
    shown.encode("utf-8")


def test_characters_that_turn_or_hide_text_are_named():
    assert svg.printable("a\u202eb\x00c\x7f\udcff") == "a⟨U+202E⟩b␀c␡⟨U+DCFF⟩"


@given(st.lists(st.tuples(finite, finite, finite), min_size=1, max_size=6), st.text(max_size=80))
def test_a_forest_plot_holds_its_marks_whatever_the_effects(rows, name):
    verdicts = [
        verdict(effect=sorted(row)[1], low=min(row), high=max(row), system=name, benchmark=str(i))
        for i, row in enumerate(rows)
    ]
    [figure] = forest_plots(CLAIM, verdicts)
    assert inside(figure)


def test_marks_stand_below_their_labels_and_above_the_next():
    [figure] = forest_plots(CLAIM, [verdict(), verdict(benchmark=LONG), verdict("inconclusive", effect=-10.0)])
    root = ET.fromstring(figure)
    rows = [float(e.get("y")) for e in root.iter("text") if e.get("class", "").startswith("label")]
    marks = [float(e.get("cy")) for e in root.iter("circle")]
    assert marks
    for mark in marks:
        # A label's letters reach ten units above its line and three below.
        assert not any(label - 10 < mark + 5 and mark - 5 < label + 3 for label in rows)


def test_forest_plots_say_unit_n_interval_and_outcome():
    [live, published] = forest_plots(CLAIM, small_report().verdicts[:3])
    told = " ".join(texts(live))
    assert "percentage points" in told
    assert "margin 30" in told
    assert "n = 80" in told
    assert "+56.25 points [+45, +66.5], n = 80, reproduced" in told
    assert "inconclusive" in " ".join(texts(published))


def test_forest_plots_keep_units_and_sources_apart():
    rows = [verdict(), verdict(unit="nats"), verdict(source="custom"), verdict(effect=None, low=None, high=None)]
    assert len(forest_plots(CLAIM, rows)) == 3
    assert forest_plots(None, rows[:1])
    assert forest_plots(CLAIM, rows[3:]) == []


def test_a_two_sided_claim_shows_both_margins():
    [figure] = forest_plots(replace(CLAIM, direction=0, margin=5.0), [verdict(effect=0.0, low=-1.0, high=1.0)])
    assert figure.count('class="margin"') == 2
    assert "margin ±5" in " ".join(texts(figure))


def test_forest_labels_are_escaped_and_stay_inside():
    [figure] = forest_plots(CLAIM, [verdict(system=HOSTILE, benchmark=LONG)])
    assert "<script>" not in figure
    assert inside(figure)
    assert max(map(len, texts(figure))) <= svg.WIDTH / svg.CHARACTER


def test_curves_name_axes_units_and_n():
    [group] = curve_groups(small_report().measurements)
    passes, flop = group.figures
    told = " ".join(texts(passes))
    assert "executed forward passes" in told
    assert "(log scale)" in told
    assert "right, % of samples, n = 80" in told
    assert {"nano pipeline", "nano refiner", "nano drafter"} <= set(texts(passes))
    assert "GFLOP" in " ".join(texts(flop))
    assert all(map(inside, group.figures))
    assert group.left_out == (HOSTILE,) or HOSTILE in group.left_out[0]


def test_curves_without_costs_fall_back_to_nominal_steps():
    rows = [measured("pipeline", s, 10, None) for s in (8, 64)]
    [group] = curve_groups(rows)
    [figure] = group.figures
    assert AXES[2].name.split()[0] in " ".join(texts(figure))


def test_curves_of_choices_have_a_table_and_no_figure():
    [group] = curve_groups([measured("drafter", None, 10, None)])
    assert group.figures == ()
    assert len(group.measurements) == 1


def test_settings_that_differ_are_not_in_one_figure():
    rows = [measured("", 8, 10, 8.0, settings=f"max_new_tokens:{n}") for n in (48, 64)]
    assert len(curve_groups(rows)) == 2


@pytest.mark.parametrize("passes", [(8.0, 8.0), (0.5, 3000.0), (1e-7, 1e9)])
def test_curves_hold_any_cost(passes):
    rows = [measured("pipeline", s, 10, p) for s, p in zip((8, 64), passes, strict=True)]
    assert all(map(inside, curve_groups(rows)[0].figures))


def test_many_systems_stay_readable_and_the_rest_is_named():
    rows = [measured(f"part {i}", s, 10, float(s)) for i in range(12) for s in (8, 64)]
    [group] = curve_groups(rows)
    assert len(group.left_out) == 4
    assert len(group.measurements) == 24


@given(st.tuples(*[st.integers(0, 200)] * 4))
def test_a_flow_diagram_holds_any_counts(counts):
    figure = flow_diagram(Flow("nano", "nano", "b", None, *counts, None, None, ""))
    assert inside(figure)
    assert f"n = {sum(counts)}" in " ".join(texts(figure))
    assert figure.count('class="flow ') == sum(count > 0 for count in counts)
    numbers = [int(t.partition(": ")[2]) for t in texts(figure) if re.match(r"(right|wrong): \d+$", t)]
    assert numbers == [counts[0] + counts[1], counts[2] + counts[3], counts[0] + counts[2], counts[1] + counts[3]]
