"""One small random LLaDA on disk, shared by the tests of this folder."""

from __future__ import annotations

import pytest

from fixtures.checkpoints import make_llada_checkpoint


@pytest.fixture(scope="session")
def llada_dir(tmp_path_factory):
    return make_llada_checkpoint(tmp_path_factory.mktemp("llada"), kv_heads=2)
