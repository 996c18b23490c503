from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits.report import model
from audits.report.model import Report, Run, plain_data
from specref_core.errors import InputError
from tests.audits.report_samples import HOSTILE, small_report, verdict

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "report-schema.md"
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def through_json(report):
    return json.loads(json.dumps(report.as_dict(), allow_nan=False))


def test_a_report_survives_json():
    report = small_report()
    assert Report.from_dict(through_json(report)) == report


@given(
    system=st.text(st.characters(exclude_categories=["Cs"])),
    effect=st.none() | st.floats(allow_nan=False, allow_infinity=False),
)
def test_any_text_and_any_finite_number_survive_json(system, effect):
    report = small_report(verdicts=(verdict(system=system, effect=effect),))
    assert Report.from_dict(through_json(report)) == report


@given(anything)
def test_plain_data_is_always_json_and_utf8(value):
    text = json.dumps(plain_data(value), allow_nan=False, ensure_ascii=False)
    assert plain_data(json.loads(text)) == plain_data(value)
    text.encode("utf-8")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float64("nan"), np.float32("inf")])
def test_what_is_not_a_number_becomes_null(value):
    report = small_report(verdicts=(verdict(effect=value),))
    assert through_json(report)["verdicts"][0]["effect"] is None


def test_numbers_of_numpy_become_plain():
    assert plain_data({"a": np.int64(3), "b": np.float32(0.5), "c": (np.bool_(True),)}) == {
        "a": 3,
        "b": 0.5,
        "c": [True],
    }


def test_fields_of_a_later_release_are_passed_over():
    data = through_json(small_report())
    data["verdicts"][0]["colour"] = "green"
    data["weather"] = []
    assert Report.from_dict(data) == small_report()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.update(schema="specref.scores/1"), "its schema is 'specref.scores/1'; expected 'specref.report'"),
        (lambda d: d.update(version=2), "version 2 of its schema; this package reads version 1"),
        (lambda d: d.pop("run"), "field 'run' is missing"),
        (lambda d: d["verdicts"][0].pop("claim"), "report.verdicts[0]: field 'claim' is missing"),
        (lambda d: d["verdicts"][0].update(n="80"), "report.verdicts[0].n is '80'; expected a whole number"),
        (lambda d: d["verdicts"][0].update(n=True), "report.verdicts[0].n is True; expected a whole number"),
        (lambda d: d["verdicts"][0].update(effect="x" * 99), "; expected a number"),
        (lambda d: d.update(flows={}), "report.flows is {}; expected a list"),
        (lambda d: d.update(run=[]), "report.run is []; expected an object"),
        (lambda d: d["measurements"][0].update(failures={"x": 0.5}), "measurements[0].failures.x is 0.5"),
        (
            lambda d: d["examples"][0]["positions"][1].update(masked=1),
            "positions[1].masked is 1; expected true or false",
        ),
    ],
)
def test_what_is_no_report_is_refused_by_its_place(change, told):
    data = through_json(small_report())
    change(data)
    with pytest.raises(InputError) as caught:
        Report.from_dict(data)
    assert told in str(caught.value)


@pytest.mark.parametrize("data", [None, [], "report", 3, {}])
def test_other_json_is_no_report(data):
    with pytest.raises(InputError, match="this is no report"):
        Report.from_dict(data)


def test_hostile_text_is_data_like_any_other():
    report = Report(run=Run(origin="ledger", version="0", remark=HOSTILE))
    assert Report.from_dict(through_json(report)).run.remark == HOSTILE


def test_every_field_is_documented():
    text = DOCUMENT.read_text(encoding="utf-8")
    kinds = [kind for kind in vars(model).values() if isinstance(kind, type) and is_dataclass(kind)]
    missing = [f"{kind.__name__}.{f.name}" for kind in kinds for f in fields(kind) if f"`{f.name}`" not in text]
    assert kinds
    assert not missing
