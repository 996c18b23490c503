"""``--report`` and ``--json``, seen from outside: real pytest runs on small test files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audits.report.model import Report
from audits.report.sources import LAST_RUN, read_report

ROOT = Path(__file__).resolve().parents[2]
MODULE = """
import pytest
from audits.verdicts import Outcome, Verdict

@pytest.mark.source("custom")
@pytest.mark.parametrize("outcome", ["reproduced", "not reproduced", "inconclusive"])
def test_own(outcome, record_verdict, record_row):
    record_row("a title", outcome, {"column": "1"})
    record_verdict(Verdict(claim="strip-destroys", system=outcome, benchmark="b/c", outcome=Outcome(outcome),
                           effect=float("nan") if outcome == "inconclusive" else 12.0, low=1.0, high=20.0, n=164))

@pytest.mark.source("custom")
def test_raises():
    raise ValueError("boom <b>")

@pytest.mark.source("custom")
@pytest.mark.claims("strip-destroys", "step-swing")
def test_needs_more():
    pytest.skip("'mine' has no components(); add it")

@pytest.mark.source("custom")
def test_breaks_in_its_fixture(data_dir, no_such_fixture):
    pass

def test_of_something_else():
    pass
"""
LIVE = """
import pytest
from dataclasses import replace
from protocols.score import Failure, Score
from protocols.scores import SampleScore, Scores
from protocols.signature import Signature
from specref_core.generator import Budget, Cost, Draft, Trace

class System:
    source, name, ledger = "custom", "mine", None
    def __init__(self):
        self.cells = {}
    def benchmark(self, name):
        return type("B", (), {"problems": ()})
    def measure(self, role, steps, right, trace=None):
        samples = tuple(SampleScore(str(i), 0, "", Score(r, None if r else Failure.TIMEOUT),
                                    Cost(8, 8, 8, 0, 0.1, 1e9), trace) for i, r in enumerate(right))
        self.cells[role, "humaneval", steps] = Scores(role, "humaneval", Budget(steps), samples, 2, Signature(()))

SYSTEM = System()

@pytest.fixture
def live_system():
    return SYSTEM

@pytest.mark.source("custom")
def test_one(live_system):
    trace = Trace(None, ("a",), (0.5,), (True,), ("b",), (1,))
    live_system.measure("pipeline", 8, [True, False], TRACE)

@pytest.mark.source("custom")
def test_two(live_system):
    live_system.measure("drafter", None, [False, False])
"""
GOOD_TRACE = "TRACE = Trace(None, ('a',), (0.5,), (True,), ('b',), (1,))\n"
SLOW = """
import pathlib, time
import pytest
from audits.verdicts import Outcome, Verdict

@pytest.mark.source("custom")
def test_first(record_verdict):
    record_verdict(Verdict(claim="strip-destroys", system="s", benchmark="b", outcome=Outcome("reproduced"),
                           effect=12.0, low=1.0, high=20.0, n=164))

@pytest.mark.source("custom")
def test_second():
    pathlib.Path("started").touch()
    time.sleep(120)
"""


def start(folder, module, *arguments):
    (folder / "test_it.py").write_text(module, encoding="utf-8")
    # A shell's background jobs ignore the interrupt, and so would their children.
    heed = "import signal, sys, pytest; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code = f"{heed}sys.exit(pytest.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "test_it.py", "-p", "audits.plugin", f"--rootdir={folder}", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "140", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder, env=environment
    )


def run(folder, module, *arguments):
    process = start(folder, module, *arguments)
    output, _ = process.communicate(timeout=200)
    return process.returncode, output


@pytest.fixture(scope="module", params=[(), ("-p", "xdist", "-n", "2")], ids=["one process", "two workers"])
def written(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    code, output = run(folder, MODULE, "--report", "r.html", "--json", "r.json", *request.param)
    assert code == 1, output
    assert "report: r.html" in output
    return folder


def test_the_report_holds_verdicts_rows_and_how_audits_ended(written):
    report = read_report(written / "r.json")
    assert {(v.system, v.outcome, v.source, v.n) for v in report.verdicts} == {
        (outcome, outcome, "custom", 164) for outcome in ("reproduced", "not reproduced", "inconclusive")
    }
    assert [v.effect for v in report.verdicts if v.outcome == "inconclusive"] == [None]  # it was NaN
    assert {row.name for row in report.tables} == {"reproduced", "not reproduced", "inconclusive"}
    ended = {audit.id.partition("::")[2]: audit for audit in report.audits}
    assert {name: audit.outcome for name, audit in ended.items()} == {
        "test_own[reproduced]": "passed",
        "test_own[not reproduced]": "failed",
        "test_own[inconclusive]": "skipped",
        "test_raises": "failed",
        "test_needs_more": "skipped",
        "test_breaks_in_its_fixture": "error",
    }
    assert ended["test_raises"].reason == "ValueError: boom <b>"
    assert ended["test_needs_more"].reason == "'mine' has no components(); add it"
    assert ended["test_needs_more"].claims == ("strip-destroys", "step-swing")
    assert (report.run.exit_code, report.run.complete, report.run.mode) == (1, True, "reproduce")


def test_the_page_is_written_too_and_can_be_made_again(written):
    page = (written / "r.html").read_text(encoding="utf-8")
    assert "strip-destroys" in page
    assert "ValueError: boom &lt;b&gt;" in page
    assert "no components(); add it" in page.replace("&#39;", "'")
    left = written / ".pytest_cache" / "d" / "specref-audits"
    assert read_report(left) == read_report(written / "r.json")
    assert (left / LAST_RUN).exists()


@pytest.mark.parametrize("trace", [GOOD_TRACE, "TRACE = Trace(None, 3, None, 'x', ('b',), (1,))\n"])
def test_what_live_systems_measured_reaches_the_report(tmp_path, trace):
    code, output = run(tmp_path, LIVE + trace, "--json", "r.json", "-p", "no:cacheprovider")
    assert code == 0, output
    report = read_report(tmp_path / "r.json")
    assert [(m.part, m.correct, m.n) for m in report.measurements] == [("drafter", 0, 2), ("pipeline", 1, 2)]
    assert [(f.fixed, f.kept_wrong) for f in report.flows] == [(1, 1)]
    assert [e.kind for e in report.examples] == (["fixed", "kept wrong"] if trace is GOOD_TRACE else [])
    assert not (tmp_path / ".pytest_cache").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--report", "no/where.html"), "does not exist"),
        (("--json", "."), "is a folder"),
        (("--report", "same", "--json", "same"), "named for both"),
    ],
)
def test_a_path_that_cannot_be_written_ends_the_run_before_it_starts(tmp_path, arguments, told):
    code, output = run(tmp_path, SLOW, *arguments)
    assert code == 4
    assert told in output
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_writes_what_it_has(tmp_path, sent):
    process = start(tmp_path, SLOW, "--report", "r.html", "--json", "r.json")
    deadline = time.monotonic() + 100
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(sent)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 2, output
    report = Report.from_dict(json.loads((tmp_path / "r.json").read_text(encoding="utf-8")))
    assert [v.outcome for v in report.verdicts] == ["reproduced"]
    assert not report.run.complete
    assert "did not get through" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_run_that_stops_at_a_failure_is_not_complete(tmp_path):
    code, _ = run(tmp_path, MODULE, "--json", "r.json", "-x", "-k", "own")
    assert code == 1
    report = read_report(tmp_path / "r.json")
    assert len(report.audits) == 2
    assert not report.run.complete


def test_a_run_of_no_audits_says_so_and_an_unasked_one_leaves_nothing(tmp_path):
    code, _ = run(tmp_path, "def test_a(): pass\n", "--report", "r.html")
    assert code == 0
    assert "There are no verdicts" in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert not (tmp_path / ".pytest_cache" / "d").exists()
    code, _ = run(tmp_path, MODULE, "--collect-only", "--json", "c.json", "-k", "own")
    assert code == 0
    assert not (tmp_path / "c.json").exists()


def test_a_disk_that_fills_at_the_end_is_told_and_fails_the_run(tmp_path):
    module = "def test_it():\n    import shutil\n    shutil.rmtree('out')\n"
    (tmp_path / "out").mkdir()
    code, output = run(tmp_path, module, "--json", "out/r.json")
    assert code == 1
    assert "out/r.json cannot be written" in output
