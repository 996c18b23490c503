"""Options and fixtures shared by the audits and the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that both the audits and the tests read."""
    group = parser.getgroup("specref")
    group.addoption(
        "--data-dir",
        type=Path,
        default=None,
        help="folder with benchmark files (humaneval/, mbpp/, …); default: $SPECREF_DATA, else ../shared/data",
    )


def find_data_dir(given: Path | None) -> Path | None:
    """Return the folder of benchmark files, or ``None`` where there is none."""
    named = given or (Path(os.environ["SPECREF_DATA"]) if os.environ.get("SPECREF_DATA") else None)
    if named is not None:
        if not named.is_dir():
            raise pytest.UsageError(f"data folder {named} does not exist")
        return named
    beside = ROOT.parent / "shared" / "data"
    return beside if beside.is_dir() else None


@pytest.fixture(scope="session")
def data_dir(request: pytest.FixtureRequest) -> Path:
    """Return the folder of real benchmark files; skips where there is none."""
    found = find_data_dir(request.config.getoption("--data-dir"))
    if found is None:
        pytest.skip("no benchmark files: give --data-dir or set SPECREF_DATA")
    return found
