"""The README's own example of a generator, run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from protocols.loaders import shipped_problems
from protocols.measure import measure
from specref_core.loading import load

README = Path(__file__).resolve().parent.parent / "README.md"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    blocks = re.findall(r"```python\n(# my_generator\.py\n.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 1
    path = tmp_path / "my_generator.py"
    path.write_text(blocks[0], encoding="utf-8")
    return path


def test_the_example_is_a_generator_that_can_be_measured(example):
    scores = measure(load(f"{example}:make"), shipped_problems("humaneval"))
    assert scores.complete
    assert scores.n == len(shipped_problems("humaneval"))
    assert scores.correct < scores.n


def test_commands_named_in_the_readme_exist():
    from audits.cli import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    named = set(re.findall(r"^specref ([a-z-]+)", README.read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= known
    assert {"audit", "rescore", "check-table", "run"} <= named
