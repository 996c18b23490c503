"""What the report adds to pytest: ``--report``, ``--json``, and the collection of what the audits of a run found.

Each process tells what its live systems measured in an attribute of the test's report, which xdist carries to the
controller; only the controller writes. A run that fails or is interrupted still writes what it has.
"""

from __future__ import annotations

import signal
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from audits.claims import CLAIMS
from audits.json_output import check_target, write_json, write_text
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from audits.report.model import AuditOutcome, Report

_MEASURED = "specref_measured"
_AUDIT = "specref_audit"
_TOLD = pytest.StashKey[set[tuple[object, ...]]]()
_LIVE = ("live", "live_system")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that name the files."""
    group = parser.getgroup("specref", "SpecRef audits")
    group.addoption(
        "--report",
        type=Path,
        default=None,
        metavar="OUT.html",
        help="write a page with the verdicts, their figures and token views: one file, readable offline",
    )
    group.addoption(
        "--json",
        type=Path,
        default=None,
        metavar="OUT.json",
        help="write the same data as JSON (docs/report-schema.md); `specref report` makes the page from it",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Check that the files can be written, before anything is measured."""
    config.stash[_TOLD] = set()
    if hasattr(config, "workerinput"):
        return
    page, data = config.getoption("--report"), config.getoption("--json")
    if page is not None and data is not None and page.resolve() == data.resolve():
        raise pytest.UsageError(f"{page} is named for both --report and --json; name two files")
    try:
        if page is not None:
            check_target(page, what="report")
        if data is not None:
            check_target(data)
    except InputError as error:
        raise pytest.UsageError(str(error)) from error
    config.pluginmanager.register(_Recorder(config), "specref-report")
    if page is not None or data is not None:
        _end_in_order(config)


def _end_in_order(config: pytest.Config) -> None:
    """Treat a request to terminate, as a CI's time limit sends it, like Ctrl-C: what was found is still written."""
    if threading.current_thread() is not threading.main_thread():
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)

    def restore() -> None:
        signal.signal(signal.SIGTERM, before)

    config.add_cleanup(restore)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Put what an audit is, and what its system has measured by now, into the test's report."""
    report: Any = yield
    source = item.get_closest_marker("source")
    if source is not None:
        claims = item.get_closest_marker("claims")
        told = [] if claims is None else [str(name) for name in claims.args]
        setattr(report, _AUDIT, {"source": str(source.args[0]) if source.args else "", "claims": told})
    if call.when == "call":
        measured = _measured(item)
        if measured:
            setattr(report, _MEASURED, measured)
    return report  # type: ignore[no-any-return]  # the hook's result is handed on as it is


def _measured(item: pytest.Item) -> dict[str, Any] | None:
    """Return what the item's live system has measured since the last time, as plain data."""
    found = getattr(item, "funcargs", None) or {}
    given = next((found[name] for name in _LIVE if name in found), None)
    system = getattr(given, "system", given)
    if system is None or not hasattr(system, "cells"):
        return None
    from dataclasses import asdict

    from audits.report.collecting import harvest
    from audits.report.model import plain_data

    try:
        entries = [
            {"entry": type(entry).__name__, **plain_data(asdict(entry))}
            for entry in harvest(system, item.config.stash[_TOLD])
        ]
    except Exception as error:  # a foreign generator's trace may be anything; the audit's own result stands
        return {"entries": [], "ledger": "", "remark": f"{item.nodeid}: {type(error).__name__}: {error}"}
    ledger = "" if system.ledger is None else system.ledger.name
    return {"entries": entries, "ledger": ledger, "remark": ""} if entries else None


class _Recorder:
    """Collects what the reports of a session carry and writes it at its end; lives in the controller only."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._started = datetime.now(timezone.utc)
        self._clock = time.monotonic()
        self._verdicts: list[dict[str, Any]] = []
        self._rows: list[dict[str, Any]] = []
        self._entries: list[dict[str, Any]] = []
        self._audits: dict[str, AuditOutcome] = {}
        self._ledgers: set[str] = set()
        self._remarks: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        from audits.plugin import PROPERTY, ROW

        if report.when == "call":
            properties: list[tuple[str, Any]] = list(report.user_properties)
            self._rows += [value for name, value in properties if name == ROW]
            self._verdicts += [value for name, value in properties if name == PROPERTY]
        measured = getattr(report, _MEASURED, None)
        if measured:
            self._entries += measured["entries"]
            self._ledgers |= {measured["ledger"]} - {""}
            self._remarks += [measured["remark"]] if measured["remark"] else []
        audit = getattr(report, _AUDIT, None)
        if audit is not None:
            self._note(report, audit)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Generator[None, None, None]:
        yield
        option = self._config.getoption
        page, data = option("--report"), option("--json")
        if option("collectonly") or not (self._audits or page or data):
            return
        report = self.report(exitstatus, cut_short=bool(session.shouldstop or session.shouldfail))
        self._leave_behind(report)
        writer: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        try:
            if data is not None:
                write_json(data, report.as_dict())
            if page is not None:
                from audits.report.page import render

                write_text(page, render(report), what="report")
        except InputError as error:
            if writer is not None:
                writer.write_line(f"specref: {error}", red=True)
            if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
            return
        for path in (page, data):
            if path is not None and writer is not None:
                writer.write_line(f"report: {path}")

    def report(self, exitstatus: int, *, cut_short: bool = False) -> Report:
        """Return the report of what is known by now."""
        from importlib.metadata import version

        from audits.report.collecting import latest
        from audits.report.model import Example, Flow, Measurement, Report, ReportedVerdict, Run, TableRow, plain_data
        from audits.report.reading import parse
        from audits.verdict_table import sort

        kinds: dict[str, type[Measurement | Flow | Example]] = {
            kind.__name__: kind for kind in (Measurement, Flow, Example)
        }
        measured, flows, examples = latest(parse(kinds[e["entry"]], e, e["entry"]) for e in self._entries)
        option = self._config.getoption
        broken = exitstatus in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR)
        generator = option("--generator")
        return Report(
            run=Run(
                origin="audits",
                version=version("specref"),
                started=self._started.strftime("%Y-%m-%dT%H:%M:%SZ"),
                seconds=round(time.monotonic() - self._clock, 1),
                mode=option("--mode"),
                seed=option("--seed"),
                limit=option("--limit"),
                generator=None if generator is None else str(generator),
                complete=not (cut_short or broken),
                exit_code=int(exitstatus),
                remark="; ".join(self._remarks),
                ledgers=tuple(sorted(self._ledgers)),
            ),
            claims=reported_claims(),
            verdicts=tuple(parse(ReportedVerdict, plain_data(v), "verdict") for v in sort(self._verdicts)),
            audits=tuple(self._audits[name] for name in sorted(self._audits)),
            tables=tuple(parse(TableRow, plain_data(row), "row") for row in _unique(self._rows)),
            measurements=tuple(measured),
            flows=tuple(flows),
            examples=tuple(examples),
        )

    def _note(self, report: pytest.TestReport, audit: dict[str, Any]) -> None:
        """Keep how an audit ended: its call, or what went wrong around it."""
        from audits.report.model import AuditOutcome, plain_text

        if report.when != "call" and report.passed:
            return
        outcome: str = report.outcome
        if hasattr(report, "wasxfail"):
            outcome = "xfailed" if report.skipped else "failed"
        elif report.failed and report.when != "call":
            outcome = "error"
        known = self._audits.get(report.nodeid)
        if known is not None and known.outcome in ("failed", "error"):
            return  # an error behind a failure does not hide it
        self._audits[report.nodeid] = AuditOutcome(
            id=plain_text(_short_id(report.nodeid)),
            claims=tuple(audit["claims"]),
            source=audit["source"],
            outcome=outcome,
            reason="" if outcome == "passed" else plain_text(_reason(report)),
        )

    def _leave_behind(self, report: Report) -> None:
        """Keep the report beside the ledger, so that `specref report` can make the page later; no cache, no copy."""
        from audits.report.sources import LAST_RUN

        cache = getattr(self._config, "cache", None)
        if cache is None or not self._audits:
            return
        try:
            write_json(cache.mkdir("specref-audits") / LAST_RUN, report.as_dict())
        except (OSError, InputError):
            return  # a cache that cannot be written is pytest's to complain of


def reported_claims() -> tuple[Any, ...]:
    """Return all claims, in the order of the report."""
    from dataclasses import asdict

    from audits.report.model import ReportedClaim
    from audits.report.reading import parse

    return tuple(parse(ReportedClaim, asdict(claim), claim.id) for claim in CLAIMS.values())


def _short_id(nodeid: str) -> str:
    """Return a node id without its folders; parameters may hold paths of their own and stay as they are."""
    file, separator, test = nodeid.partition("::")
    return f"{file.rpartition('/')[2]}{separator}{test}"


def _unique(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({(row["title"], row["name"]): row for row in rows}.values())


def _reason(report: pytest.TestReport) -> str:
    told = report.longrepr
    if isinstance(told, tuple):  # a skip: file, line, reason
        text = str(told[2]).removeprefix("Skipped: ")
    else:
        crash = getattr(told, "reprcrash", None)
        text = str(crash.message if crash is not None else told)
    if getattr(report, "wasxfail", ""):
        text = str(report.wasxfail).removeprefix("reason: ")
    return text.strip().removeprefix("Failed: ")
