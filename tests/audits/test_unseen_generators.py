"""``pytest audits/ --generator file.py:make --benchmark humaneval --limit 12`` on generators of every bad habit."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FACTORIES = Path(__file__).with_name("unseen_generators.py")
# One process imports what every run needs and forks for each: twenty runs cost a third of twenty interpreters.
RUNNER = """
import json, os, sys
import pytest, rich.table, scipy.stats
import audits.live_systems, audits.live_verdicts, protocols.measure, protocols.scoring
for place, arguments in enumerate(json.loads(sys.argv[1])):
    if not (child := os.fork()):
        file = os.open(f"{place}.txt", os.O_CREAT | os.O_WRONLY)
        os.dup2(file, 1), os.dup2(file, 2)
        code = pytest.main(arguments)
        sys.stdout.flush()
        os._exit(int(code))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def audit(folder, runs):
    """Run the audits of some targets and return exit code and output of each: runs are (target, mode, modules)."""
    common = [f"--rootdir={folder}", "-p", "audits.plugin", "-p", "no:cacheprovider", "-rA", "--import-mode=importlib"]
    common += ["--benchmark", "humaneval", "--limit", "12", "--call-limit", "2", "-k", "custom"]
    asked = []
    for place, (target, mode, modules) in enumerate(runs):
        chosen = [str(ROOT / "audits" / module) for module in modules]
        own = ["--generator", target, "--mode", mode, f"--basetemp={folder / f'run{place}'}"]
        asked.append([*chosen, *common, *own])
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, json.dumps(asked)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "COLUMNS": "250", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        timeout=880,
        check=False,
    )
    codes = [int(line) for line in done.stdout.split() if line.lstrip("-").isdigit()]
    assert len(codes) == len(runs), done.stdout + done.stderr
    return {
        run[:2]: (code, (folder / f"{place}.txt").read_text(encoding="utf-8"))
        for place, (run, code) in enumerate(zip(runs, codes, strict=True))
    }


NAMED = {
    "Strips": "generator 'strips' strips its own output: 12 of 12",
    "IgnoresSeed": "generator 'ignoresseed' gives different results for equal seeds: 12 of 12",
    "SeventhCall": "generator 'seventhcall' raised RuntimeError: out of luck",
    "Overwrites": None,
    "Perfect": None,
}
OTHERS = {
    "Dedents": "generator 'dedents' strips its own output: 12 of 12",
    "SeventhOfBatch": "generator 'seventhofbatch' raised IndexError",
    "SeventhProblem": r"generator 'seventhproblem' raised ValueError: not this one .*\(mine\.py, line \d+, in write\)",
    "Hangs": r"generator 'hangs' hangs: generate\(12 prompts\) did not return within 2 s",
    "TooFew": "generator 'toofew' returned 11 completions for 12 prompts",
    "Numbers": r"generator 'numbers' returned a int for prompt 0; wrap the text: Completion\(text\)",
    "Strings": r"generator 'strings' returned a str for prompt 0; wrap the text: Completion\(text\)",
    "Echoes": "generator 'echoes' returns the prompt too: 12 of 12",
    "Empty": "generator 'empty' writes nothing: all 12 completions are empty or blank",
    "Endless": "generator 'endless' ignores its budget: 12 of 12 completions are longer than 256 tokens can be",
    "Exits": "generator 'exits' raised SystemExit: 3",
    "takes": "mine.py:takes must be callable without arguments: missing a required argument: 'path'",
    "nothing": "mine.py has no 'nothing'; it offers: ",
}
MODULES = ("test_generator_contract.py", "test_refinement_tension.py", "test_step_sensitivity.py")
"""The contract, and two audits that must go on."""


@pytest.fixture(scope="module")
def told(tmp_path_factory, data_dir):
    """Return exit code and output by factory and mode."""
    folder = tmp_path_factory.mktemp("user")
    shutil.copy(FACTORIES, folder / "mine.py")
    (folder / "raises.py").write_text("raise OSError('no weights')\n", encoding="utf-8")
    (folder / "needs.py").write_text("import a_library_that_nobody_has\n", encoding="utf-8")
    runs = [(f"mine.py:{name}", mode, MODULES) for name in NAMED for mode in ("guard", "reproduce")]
    runs += [(f"mine.py:{name}", "guard", MODULES[:1]) for name in (*OTHERS, "FixedSeed")]
    runs += [(f"{name}.py:make", "guard", MODULES[:1]) for name in ("raises", "needs", "absent")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECREF_DATA", str(data_dir))
        return audit(folder, runs)


# Thirty runs in one fixture: seconds each on a quiet machine, and more on a busy one.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("mode", ["guard", "reproduce"])
@pytest.mark.parametrize("name", [name for name, words in NAMED.items() if words])
def test_a_broken_contract_is_told_in_both_modes_and_the_others_go_on(told, name, mode):
    code, output = told[f"mine.py:{name}", mode]
    assert code == 1
    assert NAMED[name] in output
    assert "step-swing" in output.partition("= verdicts =")[2]  # measured all the same


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_culprit_is_named(told, name):
    code, output = told[f"mine.py:{name}", "guard"]
    assert code == 1
    assert re.search(OTHERS[name], output), output
    assert "Traceback" not in output
    assert "direct cause of" not in output
    assert "raised GeneratorError" not in output


def test_a_crash_names_the_line_and_the_prompt(told):
    _, output = told["mine.py:SeventhProblem", "guard"]
    assert re.search(r"asked 12 prompts at once; alone it fails on HumanEval/\d+\)", output)


def test_a_perfect_generator_is_no_hazard(told):
    code, output = told["mine.py:Perfect", "guard"]
    assert code == 0, output
    assert "hazard present" not in output
    assert "FAILED" not in output
    code, output = told["mine.py:Perfect", "reproduce"]
    assert re.search(r"perfect pipeline, S=8 +100 ", output)
    assert " 0 reproduced" in output


def test_a_pipeline_that_overwrites_a_perfect_draft_is_a_hazard(told):
    code, output = told["mine.py:Overwrites", "guard"]
    assert code == 1
    assert "hazard present: refinement-tension, overwrites against its better component" in output
    _, output = told["mine.py:Overwrites", "reproduce"]
    assert re.search(r"refinement-tension +overwrites .*reproduced +-100 points", output)
    assert re.search(r"overwrites, humaneval +12 +12 +0 +0 +12 +12 +0 ", output)  # twelve right drafts made wrong


def test_a_seed_that_changes_nothing_is_told_and_no_fault(told):
    code, output = told["mine.py:FixedSeed", "guard"]
    assert code == 0, output
    assert "changes nothing (greedy, or ignored)" in output


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("raises.py", r"importing raises\.py raised OSError: no weights"),
        ("needs.py", r"importing needs\.py raised ModuleNotFoundError: No module named 'a_library_that_nobody_has'"),
        ("absent.py", r"no file 'absent\.py'"),
    ],
)
def test_what_cannot_be_loaded_fails_once_by_its_name(told, file, words):
    code, output = told[f"{file}:make", "guard"]
    assert code == 1
    assert re.search(f"--generator {file}:make: {words}", output)
    assert output.count("\nERROR ") == 1
