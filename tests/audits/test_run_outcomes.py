"""Results against breakage in a pytest run."""

from __future__ import annotations

from types import SimpleNamespace

from audits.run_outcomes import Outcomes

VERDICT = ("specref-verdict", {})


def told(outcomes, name, when, outcome, longrepr="", *properties):
    outcomes.pytest_runtest_logreport(
        SimpleNamespace(nodeid=name, when=when, outcome=outcome, longrepr=longrepr, user_properties=list(properties))
    )


def test_a_verdict_against_a_claim_breaks_nothing():
    seen = Outcomes(exit_code=1)
    told(seen, "a", "setup", "passed")
    told(seen, "a", "call", "failed", "scaffold-lift, pair on gsm8k: not reproduced, -4 points", VERDICT)
    told(seen, "a", "teardown", "passed")
    assert seen.unsound() == []
    assert seen.outcomes == {"a": "failed"}
    assert seen.verdicts == {"a": 1}


def test_a_failure_without_a_verdict_is_breakage():
    seen = Outcomes(exit_code=1)
    told(seen, "a", "call", "failed", "def test():\n    boom\nE   ZeroDivisionError: division by zero")
    assert seen.unsound() == ["a: E   ZeroDivisionError: division by zero"]


def test_a_crash_after_a_verdict_is_breakage():
    seen = Outcomes(exit_code=1)
    told(seen, "a", "call", "failed", "Traceback …\nKeyError: 'x'", VERDICT)
    assert seen.unsound() == ["a: KeyError: 'x'"]


def test_a_broken_fixture_is_breakage():
    seen = Outcomes(exit_code=1)
    told(seen, "a", "setup", "failed", "E   OSError: gone")
    assert seen.unsound() == ["a: E   OSError: gone"]


def test_pytest_that_could_not_run_is_breakage():
    assert Outcomes(exit_code=3).unsound() == ["pytest ended with exit code 3"]
    assert Outcomes(exit_code=0).unsound() == []


def test_skips_keep_their_reason():
    seen = Outcomes()
    told(seen, "a", "setup", "skipped", ("file.py", 3, "Skipped: no parts"))
    assert seen.skipped == {"a": "Skipped: no parts"}
    assert seen.outcomes == {"a": "skipped"}
    assert seen.count == 1


def test_a_failure_that_only_speaks_of_a_claim_is_breakage():
    seen = Outcomes(exit_code=1)
    told(seen, "a", "call", "failed", "scaffold-lift, pair on gsm8k: no verdict was recorded")
    assert seen.unsound()
