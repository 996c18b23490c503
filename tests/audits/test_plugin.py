"""What the audits add to pytest, seen from outside: real pytest runs on small test files."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from audits import distribution, plugin, recorded

ROOT = recorded.PATH.parent.parent
MODULE = """
import pytest
from audits.verdicts import Outcome, Verdict

def verdict(claim, outcome, system="s", benchmark="b"):
    return Verdict(claim=claim, system=system, benchmark=benchmark, outcome=Outcome(outcome), effect=12.0,
                   low=1.0, high=20.0, n=164, reason="because", n_needed=500 if outcome == "inconclusive" else None)

@pytest.mark.source("custom")
@pytest.mark.parametrize("outcome", ["reproduced", "not reproduced", "inconclusive"])
def test_own(outcome, record_verdict):
    record_verdict(verdict("strip-destroys", outcome, system=outcome))

@pytest.mark.source("custom")
def test_harmless(record_verdict):
    record_verdict(verdict("extract-keeps", "not reproduced", system="harmless"))
"""
RECORDED = """
import pytest
from audits import recorded
from audits.verdicts import Outcome, Verdict
recorded.load = lambda path=None: {("step-swing", "s", b): {"outcome": b} for b in
                                   ("reproduced", "not reproduced", "inconclusive")}

@pytest.mark.source("published")
@pytest.mark.parametrize(("on_record", "now"), [("reproduced", "reproduced"), ("not reproduced", "not reproduced"),
    ("inconclusive", "inconclusive"), ("reproduced", "not reproduced"), ("not reproduced", "reproduced"),
    ("reproduced", "inconclusive"), ("inconclusive", "reproduced"), ("unheard of", "reproduced")])
def test_recorded(on_record, now, record_verdict):
    record_verdict(Verdict(claim="step-swing", system="s", benchmark=on_record, outcome=Outcome(now), effect=1.0,
                           low=0.5, high=2.0, n=10))
"""


@pytest.fixture
def run(tmp_path):
    """Run pytest on a module in an empty folder and return outcome counts, output and exit code."""

    def runner(module, *arguments):
        (tmp_path / "test_it.py").write_text(module, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", str(tmp_path / "test_it.py"), "-p", "audits.plugin", "-rA"]
        done = subprocess.run(
            [*command, "-p", "no:cacheprovider", f"--rootdir={tmp_path}", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={
                "PATH": "/usr/bin:/bin",
                "COLUMNS": "140",
                "PYTHONPATH": str(ROOT),
                # Other plugins double the time a process needs to start.
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            },
            timeout=200,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return runner


def outcomes(output):
    """Return test id → PASSED, FAILED, SKIPPED or XFAIL from the summary lines of -rA."""
    found = {}
    for line in output.splitlines():
        word, _, rest = line.partition(" ")
        if word in ("PASSED", "FAILED", "XFAIL") and "::" in rest:
            found[rest.partition("::")[2].partition(" - ")[0]] = word
    return found


def test_reproduce_mode_on_own_sources_and_the_table_at_the_end(run):
    code, output = run(MODULE)
    assert code == 1
    assert outcomes(output) == {
        "test_own[reproduced]": "PASSED",
        "test_own[not reproduced]": "FAILED",
        "test_harmless": "FAILED",
    }
    assert "500 would decide at 80 % power. because" in output
    end = output.partition("= verdicts =")[2].splitlines()
    assert end[1].split() == ["claim", "system", "benchmark", "verdict", "effect", "95", "%", "interval", "n"]
    first = "strip-destroys inconclusive b inconclusive (n 500 would decide) +12 points [+1, +20] 164"
    assert end[2].split() == first.split()
    assert [line for line in end if line][-1] == "4 verdicts: 1 reproduced, 2 not reproduced, 1 inconclusive"


def test_guard_mode_turns_hazards_around_and_skips_what_is_none(run, tmp_path):
    (tmp_path / "samples.jsonl").touch()
    code, output = run(MODULE, "--mode", "guard", "--samples", "samples.jsonl")
    assert code == 1
    assert outcomes(output) == {"test_own[reproduced]": "FAILED", "test_own[not reproduced]": "PASSED"}
    assert "hazard present: strip-destroys" in output
    assert "extract-keeps names no hazard" in output


def test_recorded_sources_are_held_against_the_record(run):
    code, output = run(RECORDED)
    assert code == 1
    assert outcomes(output) == {
        "test_recorded[reproduced-reproduced]": "PASSED",
        "test_recorded[not reproduced-not reproduced]": "XFAIL",
        "test_recorded[reproduced-not reproduced]": "FAILED",
        "test_recorded[not reproduced-reproduced]": "FAILED",
        "test_recorded[reproduced-inconclusive]": "FAILED",
        "test_recorded[inconclusive-reproduced]": "FAILED",
        "test_recorded[unheard of-reproduced]": "FAILED",
    }
    assert "recorded as reproduced, now step-swing" in output
    assert "no verdict on record" in output


def test_guard_mode_leaves_recorded_sources_out(run, tmp_path):
    (tmp_path / "samples.jsonl").touch()
    code, output = run(RECORDED, "--mode", "guard", "--samples", "samples.jsonl")
    assert code == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "8 deselected" in output


def test_verdicts_travel_from_xdist_workers(run):
    _, alone = run(MODULE)
    _, shared = run(MODULE, "-p", "xdist.plugin", "-n", "2")
    assert alone.partition("= verdicts =")[2] == shared.partition("= verdicts =")[2] != ""


def test_gpu_tests_run_only_when_asked(run):
    module = "import pytest\n@pytest.mark.gpu\ndef test_full(): pass\ndef test_small(): pass\n"
    assert outcomes(run(module)[1]) == {"test_small": "PASSED"}
    _, output = run(module, "-m", "gpu")
    assert "test_small" not in outcomes(output)
    assert outcomes(output) == {"test_full": "PASSED"} or "no CUDA device" in output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--mode", "guard"), "name them with --samples"),
        (("--mode", "guess"), "invalid choice"),
        (("--samples", "nothing"), "does not exist"),
        (("--limit", "-1"), "invalid"),
        (("--record", "--mode", "guard", "--samples", "."), "leave --mode guard out"),
    ],
)
def test_wrong_options_are_usage_errors(run, arguments, told):
    code, output = run(MODULE, *arguments)
    assert code == pytest.ExitCode.USAGE_ERROR
    assert told in output


def test_a_source_must_be_named(run):
    code, output = run("def test_it(record_verdict): pass")
    assert code == 1
    assert "mark it with source(name)" in output


def test_the_record_is_this_projects_own():
    data = json.loads(recorded.PATH.read_text(encoding="utf-8"))
    assert data["schema"] == recorded.SCHEMA


def test_collecting_the_audits_loads_no_heavy_library():
    program = (
        "import sys, pytest\n"
        "assert pytest.main(['audits', '--collect-only', '-qq', '-p', 'no:cacheprovider']) == 0\n"
        "heavy = {'scipy.stats', 'scipy.optimize', 'torch', 'transformers', 'datasets', 'matplotlib', 'sympy'}\n"
        "print(f'loaded: {sorted(heavy & set(sys.modules))}')"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
    )
    assert shown.stdout.splitlines()[-1] == "loaded: []", shown.stderr


def test_an_expected_failure_keeps_no_traceback(run):
    _, output = run(RECORDED, "--xfail-tb")
    assert "XFAILURES" in output
    assert "def test_recorded" not in output


def test_tests_of_one_measurement_stay_together():
    scheduler = object.__new__(distribution.ByMeasurement)
    assert {path.name for path in recorded.PATH.parent.glob("test_*.py")} >= distribution.TOGETHER
    together, apart = (f"audits/{file}::test_a[x/y::z]" for file in ("test_post_processing.py", "test_other.py"))
    assert scheduler._split_scope(together) == "audits/test_post_processing.py"
    assert scheduler._split_scope(apart) == apart


@pytest.mark.parametrize(("dist", "ours"), [("loadgroup", True), ("load", False), ("loadfile", False)])
def test_groups_are_given_out_where_groups_are_asked_for(monkeypatch, dist, ours):
    monkeypatch.setattr(distribution, "ByMeasurement", lambda config, log: (config, log))
    config = SimpleNamespace(getoption={"dist": dist}.__getitem__)
    assert plugin.pytest_xdist_make_scheduler(config, "log") == ((config, "log") if ours else None)
