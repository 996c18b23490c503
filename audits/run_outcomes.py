"""What became of each audit of a pytest run: a plugin that tells results from breakage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from audits.claims import CLAIMS


@dataclass(slots=True)
class Outcomes:
    """What became of each audit of a pytest run; given to pytest as a plugin.

    Attributes:
        outcomes: test → ``passed``, ``failed`` or ``skipped``; the worst of its phases.
        verdicts: test → how many verdicts it recorded.
        skipped: test → why it was skipped.
        failures: test → how it failed.
        exit_code: pytest's.
    """

    outcomes: dict[str, str] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    exit_code: int = 0

    @property
    def count(self) -> int:
        """Audits that were run."""
        return len(self.outcomes)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note one phase of one test."""
        name = report.nodeid
        self.verdicts.setdefault(name, 0)
        if report.when == "call":
            self.verdicts[name] += sum(key == "specref-verdict" for key, _ in report.user_properties)
        if report.outcome == "passed":
            self.outcomes.setdefault(name, "passed")
            return
        self.outcomes[name] = report.outcome
        if report.outcome == "failed":
            self.failures[name] = str(report.longrepr)
        elif isinstance(report.longrepr, tuple):
            self.skipped[name] = str(report.longrepr[2])

    def unsound(self) -> list[str]:
        """Return a line for everything that broke; a verdict against a claim is a result and breaks nothing."""
        wrong = [
            f"{name}: {_last_line(told)}"
            for name, told in self.failures.items()
            if not (self.verdicts.get(name) and told.partition(", ")[0] in CLAIMS)
        ]
        if self.exit_code not in (0, 1):
            wrong.append(f"pytest ended with exit code {self.exit_code}")
        return wrong


def _last_line(told: str) -> str:
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
