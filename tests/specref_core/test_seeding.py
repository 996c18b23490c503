from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from specref_core.seeding import row_seed


@given(st.integers(), st.text(), st.sampled_from(["draft", "refine"]))
def test_fits_the_generators_and_repeats(seed, prompt, purpose):
    first = row_seed(seed, prompt, purpose)
    assert 0 <= first < 2**63
    assert row_seed(seed, prompt, purpose) == first


def test_differs_by_seed_prompt_and_purpose():
    assert len({row_seed(s, p, w) for s in (0, 1) for p in ("", "a", "\ud800") for w in ("draft", "refine")}) == 12
