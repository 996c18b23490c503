"""The README's own example of a generator, run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fixtures.nano import drafter_dir, refiner_dir
from fixtures.nano.tasks import CANVAS, problems
from protocols.loaders import shipped_problems
from protocols.measure import measure
from specref_core.generator import Budget
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


def test_the_neighbouring_systems_load_as_they_stand_there(tmp_path):
    source = re.search(r"```python\n(# neighbours\.py\n.*?)```", README.read_text(encoding="utf-8"), re.DOTALL).group(1)
    for place, folder in (("GSAI-ML/LLaDA-8B-Instruct", refiner_dir()), ("microsoft/phi-2", drafter_dir())):
        assert source.count(place) == 1
        source = source.replace(place, str(folder))
    path = tmp_path / "neighbours.py"
    path.write_text(source, encoding="utf-8")
    [problem] = problems("code", "dev", 0, 1)
    for factory in ("psd", "specref_psd"):
        generator = load(f"{path}:{factory}")
        [completion] = generator.generate([problem.prompt], budget=Budget(max_new_tokens=CANVAS["code"]), seed=0)
        assert completion.cost.row_forwards > completion.cost.forward_passes > 0
