"""The list of claims."""

from __future__ import annotations

import pytest

from audits import recorded
from audits.claims import CLAIMS, claim
from audits.post_processing import CLAIM_OF
from specref_core.errors import InputError


def test_every_claim_says_what_a_reader_needs():
    for about in CLAIMS.values():
        assert about.statement.endswith(".")
        assert about.source
        assert about.decided_by
        assert about.needs
        assert about.direction in (-1, 0, 1)
        assert about.margin >= 0


def test_every_pipeline_claim_and_every_recorded_verdict_is_a_known_claim():
    assert set(CLAIM_OF.values()) <= set(CLAIMS)
    assert {key[0] for key in recorded.load()} <= set(CLAIMS)


def test_unknown_claims_are_refused_with_the_known_ones():
    with pytest.raises(InputError, match="known claims: strip-destroys"):
        claim("nothing")
