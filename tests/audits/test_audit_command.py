"""``specref audit`` is pytest with the audits, from any folder, with pytest's exit codes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from audits.commands.audit import AUDITS, pytest_arguments


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-c", "from audits.cli import main; main()", "audit", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "130", "PYTHONPATH": str(AUDITS.parent)},
        timeout=200,
        check=False,
    )


def test_runs_from_another_folder_and_passes_options_on(tmp_path):
    done = run("-k", "published and cost", "-p", "no:cacheprovider", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 xfailed" in done.stdout
    assert "step-cost" in done.stdout.partition("= verdicts =")[2]


def test_exit_code_is_pytests(tmp_path):
    done = run("-k", "nosuchaudit", "-p", "no:cacheprovider", cwd=tmp_path)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], False),
        (["-k", "x", "--samples", __file__.replace(".py", ".jsonl")], False),
        (["--samples", str(AUDITS.parent)], False),
        ([str(AUDITS)], True),
        ([f"{AUDITS / 'test_published_tables.py'}::test_standalone_latency_is_linear"], True),
    ],
)
def test_values_of_options_are_not_taken_for_test_files(arguments, named):
    assert (str(AUDITS) in pytest_arguments(arguments)) is not named
