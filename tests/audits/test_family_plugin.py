"""A verdict does not depend on which tests of its family this run was asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = """
import pytest
from audits.live_verdicts import conclude
from audits.statistics import compare_paired

def judged(b, c):
    found = compare_paired([True] * b + [False] * (80 - b), [False] * b + [True] * c + [False] * (80 - b - c))
    return conclude(found, claim_id="structure-lifts", system=f"{b}-{c}", benchmark="x", reason="", signature="")

pytestmark = [pytest.mark.source("custom"), pytest.mark.claims("structure-lifts")]

@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_control(counts, tmp_path, record_verdict, record_row):
    if counts is None:
        pytest.skip("a method is missing")
    record_verdict(judged(*counts))
"""


def outcomes(folder, counts, *arguments):
    """Run tests of one family on discordant counts and return what the table says of each."""
    module = folder / "test_family.py"
    module.write_text(MODULE.replace("COUNTS", repr(counts)), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", str(module), f"--rootdir={folder}", "-q"]
    done = subprocess.run(
        [*command, "-p", "audits.plugin", "-p", "no:cacheprovider", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PATH": "", "COLUMNS": "180", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        timeout=250,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("structure-lifts ")]
    assert lines, done.stdout + done.stderr
    return {line.split()[1]: "inconclusive" if "inconclusive" in line else "reproduced" for line in lines}


@pytest.mark.parametrize(
    ("counts", "middle"),
    [
        ([(9, 1), (12, 0), (3, 3)], "reproduced"),  # Holm's second step
        ([(9, 1), (10, 2), (3, 3)], "inconclusive"),  # both at about 0.03
        ([(9, 1), (10, 2), None], "reproduced"),  # a test that cannot be made is no test: 2 x 0.02, not 3 x
    ],
)
def test_choosing_one_test_does_not_change_its_verdict(tmp_path, counts, middle):
    alone = outcomes(tmp_path, counts, "-k", "counts0 or 9")
    assert alone["9-1"] == middle


def test_workers_and_one_process_agree(tmp_path):
    counts = [(9, 1), (10, 2), (3, 3), (14, 1)]
    assert outcomes(tmp_path, counts, "-n", "2") == outcomes(tmp_path, counts, "-n", "0")
