"""What the two commands hand to the processes they start."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
KEPT = {"OMP_NUM_THREADS": "1", "MALLOC_TRIM_THRESHOLD_": "268435456", "MALLOC_MMAP_THRESHOLD_": "33554432"}


def environment(tmp_path, **given):
    """Return the variables that a recipe of the Makefile sees."""
    extra = tmp_path / "extra.mk"
    extra.write_text("show:\n\t@env\n", encoding="utf-8")
    own = {name: value for name, value in os.environ.items() if name not in KEPT}
    done = subprocess.run(
        ["make", "-f", "Makefile", "-f", str(extra), "show"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**own, **given},
        timeout=60,
        check=True,
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
class TestEnvironment:
    def test_workers_find_what_others_compiled(self, tmp_path):
        assert "PYTHONDONTWRITEBYTECODE" not in environment(tmp_path, PYTHONDONTWRITEBYTECODE="1")

    def test_threads_and_memory_suit_small_machines(self, tmp_path):
        assert KEPT.items() <= environment(tmp_path).items()

    @pytest.mark.parametrize("name", KEPT)
    def test_what_the_caller_says_holds(self, tmp_path, name):
        assert environment(tmp_path, **{name: "7"})[name] == "7"
