"""A verdict carries its evidence and becomes plain data."""

from __future__ import annotations

import json

import pytest

from audits.verdicts import Outcome, Verdict


def verdict(**changes: object) -> Verdict:
    parts: dict[str, object] = {
        "claim": "strip-destroys",
        "system": "canonical",
        "benchmark": "humaneval",
        "outcome": Outcome.REPRODUCED,
        "effect": 1.0,
        "low": 0.9,
        "high": 1.0,
        "n": 164,
    }
    return Verdict(**{**parts, **changes})  # type: ignore[arg-type]


def test_the_key_is_claim_system_benchmark():
    assert verdict().key == ("strip-destroys", "canonical", "humaneval")


@pytest.mark.parametrize("outcome", Outcome)
def test_plain_data_survives_json(outcome):
    data = verdict(outcome=outcome).as_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["outcome"] == outcome.value
    assert Verdict(**{**data, "outcome": Outcome(data["outcome"])}) == verdict(outcome=outcome)


def test_outcomes_print_as_words():
    assert [outcome.value for outcome in Outcome] == ["reproduced", "not reproduced", "inconclusive"]
