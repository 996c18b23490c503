"""Small random checkpoints, made once a run."""

from __future__ import annotations

import hypothesis
import pytest

from fixtures.checkpoints import make_llada_checkpoint, make_phi_checkpoint

# A busy machine is slow; that is no reason to fail.
hypothesis.settings.register_profile("core", deadline=None, max_examples=60)
hypothesis.settings.load_profile("core")


@pytest.fixture(scope="session")
def phi_dir(tmp_path_factory):
    """A drafter in phi-2's layout; its scale makes some tokens likely and others not."""
    return make_phi_checkpoint(tmp_path_factory.mktemp("phi"), scale=0.4)


@pytest.fixture(scope="session")
def llada_dir(tmp_path_factory):
    """A refiner in LLaDA's layout."""
    return make_llada_checkpoint(tmp_path_factory.mktemp("llada"))


@pytest.fixture(scope="session")
def phi(phi_dir):
    """The drafter's model and tokenizer, loaded."""
    from specref_core.drafting.checkpoint import load_causal_lm

    return load_causal_lm(phi_dir)


@pytest.fixture(scope="session")
def llada(llada_dir):
    """The refiner's model and tokenizer, loaded."""
    from specref_core.models.llada import load_llada

    return load_llada(llada_dir)
