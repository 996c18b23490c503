"""``--generator`` from outside: real pytest runs on generators that must be told for what they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GENERATORS = Path(__file__).with_name("generators.py")


def audit(target, *arguments, select="custom", cwd=ROOT, module=""):
    """Run the audits of one generator on sixteen problems and return exit code and output."""
    command = [sys.executable, "-m", "pytest", str(ROOT / "audits" / module), f"--rootdir={cwd}", "-rA"]
    command += ["-p", "audits.plugin", "-p", "no:cacheprovider", "-k", select, "--generator", target, "--limit", "16"]
    if "--benchmark" not in arguments:
        command += ["--benchmark", "nano-code"]
    done = subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", "PYTHONPATH": str(ROOT)},
        timeout=280,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


CONTRACT = "test_generator_contract.py"


@pytest.mark.parametrize(
    ("culprit", "told"),
    [
        ("Stripping", "generator 'stripping' strips its own output"),
        ("Unseeded", "generator 'unseeded' gives different results for equal seeds"),
        ("Crashing", "generator 'crashing' raised RuntimeError: the seventh prompt"),
        ("Hanging", "generator 'hanging' hangs: generate(12 prompts) did not return within 1 s"),
    ],
)
def test_culprits_are_named_in_guard_mode_and_the_other_checks_go_on(culprit, told):
    code, output = audit(f"{GENERATORS}:{culprit}", "--mode", "guard", "--call-limit", "1", module=CONTRACT)
    assert code == 1
    assert told in output
    assert "4 deselected" in output  # the embedded pair is not the user's own
    assert sum(output.count(f"\n{word} audits/") for word in ("FAILED", "PASSED")) == 4  # the other checks went on


@pytest.mark.slow
def test_a_perfect_generator_passes_guard_mode_and_hears_what_it_lacks():
    code, output = audit(f"{GENERATORS}:Lookup", "--mode", "guard")
    assert code == 0, output
    assert "no components(); add it" in output


@pytest.mark.slow
def test_a_pipeline_that_overwrites_a_perfect_draft_is_told_in_both_modes():
    code, output = audit(f"{GENERATORS}:Overwriting", "--mode", "guard", module="test_refinement_tension.py")
    assert code == 1
    assert "hazard present: refinement-tension, overwriting" in output
    code, output = audit(f"{GENERATORS}:Overwriting", select="custom and better", module="test_refinement_tension.py")
    assert code == 0, output
    assert "refinement-tension" in output


def test_a_target_that_cannot_be_loaded_fails_by_its_name(tmp_path):
    (tmp_path / "mine.py").write_text("def make():\n    raise OSError('no weights')\n", encoding="utf-8")
    code, output = audit("mine.py:make", module=CONTRACT, cwd=tmp_path)
    assert code == 1
    assert "--generator mine.py:make: the factory mine.py:make raised OSError: no weights" in output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--benchmark", "nonsense"], "--benchmark nonsense: unknown; known: humaneval"),
        (["--call-limit", "0"], "invalid _seconds value"),
    ],
)
def test_options_that_cannot_be_used_are_refused(arguments, told):
    code, output = audit(f"{GENERATORS}:Lookup", *arguments, module=CONTRACT)
    assert code == pytest.ExitCode.USAGE_ERROR
    assert told in output


PROBE = """
import sys

def pytest_unconfigure():
    print("loaded:", sorted({"torch", "transformers", "tokenizers"} & set(sys.modules)))
"""


@pytest.mark.slow
def test_a_second_run_of_the_embedded_pair_loads_no_model(tmp_path):
    (tmp_path / "told_modules.py").write_text(PROBE, encoding="utf-8")
    chosen = "nano and (contract or alignment or template or refinement_tension or batch or end_rule or planted)"
    command = [sys.executable, "-m", "pytest", str(ROOT / "audits"), "-k", chosen, "--limit", "3", "-s"]
    command += ["-p", "told_modules", "-o", f"cache_dir={tmp_path / 'cache'}", f"--rootdir={ROOT}"]
    loaded = []
    for _ in range(2):
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])},
            timeout=280,
            check=False,
        )
        assert " passed" in done.stdout, done.stdout + done.stderr
        loaded.append(done.stdout.rpartition("loaded: ")[2].splitlines()[0])
    assert "torch" in loaded[0]
    assert loaded[1] == "[]"
