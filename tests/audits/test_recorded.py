"""The record of verdicts."""

from __future__ import annotations

import json

import pytest

from audits import recorded
from audits.verdicts import Outcome, Verdict
from specref_core.errors import InputError


@pytest.fixture(autouse=True)
def fresh_cache():
    recorded.load.cache_clear()
    yield
    recorded.load.cache_clear()


def verdict(system="s", outcome=Outcome.REPRODUCED, **changes):
    fields = {"effect": 1 / 3, "low": 0.1, "high": 0.5, "n": 9, "signature": "x:y", **changes}
    return Verdict(claim="step-swing", system=system, benchmark="b", outcome=outcome, **fields)


def entry(source="published", **changes):
    return {**verdict(**changes).as_dict(), "source": source}


def test_saved_verdicts_are_found_again(tmp_path):
    path = tmp_path / "record.json"
    assert recorded.recorded_outcome(verdict(), path) is None
    changes = recorded.save([entry()], complete=True, path=path)
    assert changes == ["step-swing · s · b: absent → reproduced"]
    assert recorded.recorded_outcome(verdict(), path) is Outcome.REPRODUCED
    assert recorded.recorded_outcome(verdict(system="other"), path) is None


def test_what_differs_between_machines_is_left_out(tmp_path):
    path = tmp_path / "record.json"
    recorded.save([entry()], complete=True, path=path)
    (saved,) = json.loads(path.read_text(encoding="utf-8"))["verdicts"]
    assert "signature" not in saved
    assert saved["effect"] == 0.333333


def test_a_partial_run_keeps_the_rest_and_a_complete_one_drops_it(tmp_path):
    path = tmp_path / "record.json"
    recorded.save([entry(system="a"), entry(system="b"), entry("data", system="c")], complete=True, path=path)
    recorded.save([entry(system="a", outcome=Outcome.INCONCLUSIVE)], complete=False, path=path)
    assert {key[1] for key in recorded.load(path)} == {"a", "b", "c"}
    changes = recorded.save([entry(system="a")], complete=True, path=path)
    # Benchmark files do not ship; a machine without them does not erase what another one found.
    assert {key[1] for key in recorded.load(path)} == {"a", "c"}
    assert changes == ["step-swing · a · b: inconclusive → reproduced", "step-swing · b · b: reproduced → absent"]


def test_a_complete_run_with_the_files_drops_what_it_no_longer_measures(tmp_path):
    path = tmp_path / "record.json"
    recorded.save([entry("data", system="old"), entry("data", system="new")], complete=True, path=path)
    recorded.save([entry("data", system="new")], complete=True, path=path)
    assert {key[1] for key in recorded.load(path)} == {"new"}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": "specref.recorded-verdicts", "version": 1}'])
def test_damage_is_named(tmp_path, content):
    path = tmp_path / "record.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"record\.json is damaged .* specref audit --record"):
        recorded.load(path)


def test_another_version_is_refused(tmp_path):
    path = tmp_path / "record.json"
    path.write_text('{"schema": "specref.recorded-verdicts", "version": 2, "verdicts": []}', encoding="utf-8")
    with pytest.raises(InputError, match="version 2; expected"):
        recorded.load(path)


def test_the_shipped_record_is_sound():
    for key, found in recorded.load().items():
        assert (found["claim"], found["system"], found["benchmark"]) == key
        assert found["source"] in ("published", "shipped", "nano", "data")
        if found["outcome"] == "inconclusive":
            assert found["n_needed"]
