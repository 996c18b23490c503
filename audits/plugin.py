"""What the audits add to pytest: options, markers, the fixture ``record_verdict`` and the table of verdicts.

A test measures, judges and hands its verdict over; the verdict decides whether the test passes. Sources that ship with
the repository are compared with their recorded verdicts. Verdicts travel in the reports' ``user_properties``, so that
they reach the terminal from xdist's workers too.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from audits import recorded
from audits.claims import claim
from audits.verdict_table import effect_text, interval_text, render, render_rows
from audits.verdicts import Outcome, Verdict
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

pytest_plugins = ["audits.full_plugin", "audits.live_plugin", "audits.report.recording", "audits.family_plugin"]

AUDITS = Path(__file__).resolve().parent
MODES = ("reproduce", "guard")
RECORDED_SOURCES = ("published", "shipped", "nano", "data")
"""Sources whose verdicts are on record; ``data`` are public benchmark files, which only some machines have."""
SOURCES = (*RECORDED_SOURCES, "full", "custom")
_COLLECTIONS = (50_000, 20, 50)
"""Thresholds of the garbage collector: what torch and transformers import, half a million objects, stays, and looking
through it at Python's own rhythm takes two seconds a process."""
PROPERTY = "specref-verdict"
ROW = "specref-row"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that the audits and the tests read."""
    group = parser.getgroup("specref", "SpecRef audits")
    group.addoption(
        "--data-dir",
        type=Path,
        default=None,
        help="folder with benchmark files (humaneval/, mbpp/, …); default: $SPECREF_DATA, else ../shared/data",
    )
    group.addoption(
        "--limit",
        type=_count,
        default=None,
        metavar="N",
        help="problems a benchmark, 0 for all; default: each audit's own seeded subset",
    )
    group.addoption("--seed", type=int, default=0, metavar="N", help="seed of subsets, models and bootstraps (0)")
    group.addoption(
        "--samples",
        type=Path,
        default=None,
        metavar="PATH",
        help="sample file of another harness, or a folder of them, to audit",
    )
    group.addoption(
        "--mode",
        choices=MODES,
        default="reproduce",
        help="reproduce: pass when a claim holds; guard: pass when its hazard is absent from your own samples",
    )
    group.addoption(
        "--record", action="store_true", help="rewrite the recorded verdicts of the shipped sources; review the diff"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, so that an installed copy without its pyproject.toml knows them, and check the options."""
    config.addinivalue_line("markers", "gpu: needs the full models on a CUDA device; deselected unless -m gpu is given")
    config.addinivalue_line("markers", "slow: takes more than ten seconds on two cores")
    config.addinivalue_line("markers", f"source(name): what an audit measures, one of {', '.join(SOURCES)}")
    samples = config.getoption("--samples")
    if samples is not None and not samples.exists():
        raise pytest.UsageError(f"--samples {samples} does not exist (looked for it at {samples.absolute()})")
    if config.getoption("--mode") == "guard":
        if config.getoption("--record"):
            raise pytest.UsageError("--record writes what reproduce mode concludes; leave --mode guard out")
        if samples is None and config.getoption("--generator") is None:
            raise pytest.UsageError(
                "--mode guard looks at your own outputs only: name them with --samples PATH, or --generator TARGET"
            )
    config.pluginmanager.register(_Verdicts(config), "specref-verdicts")
    gc.set_threshold(*_COLLECTIONS)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give out the tests of ``--dist loadgroup`` in groups of our own."""
    if config.getoption("dist") != "loadgroup":
        return None
    from audits.distribution import ByMeasurement

    return ByMeasurement(config, log)


def pytest_unconfigure() -> None:
    """Spare pytest, which collects five times now, and the interpreter a look through everything that was imported."""
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what this run does not ask for.

    That is what needs the full models unless ``-m`` speaks of it, what needs ``--samples`` where there are none, and in
    guard mode what is not the user's own.
    """
    full = "gpu" in config.getoption("markexpr")
    guard = config.getoption("--mode") == "guard"
    own = config.getoption("--samples") is not None

    def unwanted(item: pytest.Item) -> bool:
        if item.get_closest_marker("gpu") and not full:
            return True
        if "sample_file" in getattr(item, "fixturenames", ()) and not own:
            return True
        source = item.get_closest_marker("source")
        return guard and source is not None and source.args[0] in RECORDED_SOURCES

    left_out = [item for item in items if unwanted(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every audit that asks for ``sample_file`` once for each file of ``--samples``."""
    if "sample_file" not in metafunc.fixturenames:
        return
    given: Path | None = metafunc.config.getoption("--samples")
    if given is None:
        metafunc.parametrize("sample_file", [None], ids=["no samples given"])
        return
    from audits.user_samples import sample_files

    try:
        files = sample_files(given)
    except InputError as error:
        raise pytest.UsageError(str(error)) from error
    metafunc.parametrize("sample_file", files, ids=[str(file) for file in files])


def find_data_dir(given: Path | None) -> Path | None:
    """Return the folder of benchmark files: the one given, ``$SPECREF_DATA``, ``../shared/data``, or ``None``.

    Raises:
        pytest.UsageError: a folder was named and does not exist.
    """
    named = given or (Path(os.environ["SPECREF_DATA"]) if os.environ.get("SPECREF_DATA") else None)
    if named is not None:
        if not named.is_dir():
            raise pytest.UsageError(f"data folder {named} does not exist")
        return named
    beside = AUDITS.parent.parent / "shared" / "data"
    return beside if beside.is_dir() else None


@pytest.fixture(scope="session")
def data_dir(request: pytest.FixtureRequest) -> Path:
    """Return the folder of real benchmark files; skips where there is none."""
    found = find_data_dir(request.config.getoption("--data-dir"))
    if found is None:
        pytest.skip("no benchmark files: give --data-dir or set SPECREF_DATA")
    return found


@pytest.fixture(scope="session")
def limit(request: pytest.FixtureRequest) -> int | None:
    """Return ``--limit``: problems a benchmark, 0 for all, ``None`` for the audit's own choice."""
    found: int | None = request.config.getoption("--limit")
    return found


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """Return ``--seed``."""
    found: int = request.config.getoption("--seed")
    return found


@pytest.fixture
def record_verdict(
    request: pytest.FixtureRequest, correct_in_family: Callable[[Verdict], Verdict]
) -> Callable[[Verdict], None]:
    """Return the function that ends an audit: it records a verdict, then passes, skips, xfails or fails the test.

    The test carries ``@pytest.mark.source(name)``. Own sources, reproduce mode: reproduced passes, not reproduced
    fails; guard mode the other way round; inconclusive skips in both. Recorded sources: equal to the record passes
    (reproduced), xfails (not reproduced) or skips (inconclusive); different from the record fails.
    """
    marker = request.node.get_closest_marker("source")
    if marker is None or not marker.args or marker.args[0] not in SOURCES:
        raise pytest.UsageError(f"{request.node.nodeid}: mark it with source(name), one of {', '.join(SOURCES)}")
    source: str = marker.args[0]
    config = request.config

    def record(verdict: Verdict) -> None:
        verdict = correct_in_family(verdict)
        hazard = claim(verdict.claim).hazard
        request.node.user_properties.append((PROPERTY, {**verdict.as_dict(), "source": source}))
        if config.getoption("--mode") == "guard":
            _guard(verdict, hazard=hazard)
        elif source not in RECORDED_SOURCES:
            _conclude(verdict, expected=Outcome.REPRODUCED)
        elif config.getoption("--record"):
            _conclude(verdict, expected=verdict.outcome)
        else:
            usual = config.getoption("--limit") is None and config.getoption("--seed") == 0
            _compare(verdict, recorded.recorded_outcome(verdict), usual=usual or source == "published")

    return record


@pytest.fixture
def record_row(request: pytest.FixtureRequest) -> Callable[[str, str, Mapping[str, str]], None]:
    """Return the function that adds a row to a table printed above the verdicts: title, row name, column → text."""

    def record(title: str, name: str, cells: Mapping[str, str]) -> None:
        request.node.user_properties.append((ROW, {"title": title, "name": name, "cells": dict(cells)}))

    return record


class _Verdicts:
    """Collects the verdicts of a session and prints them at its end; under xdist only the controller prints."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._found: list[dict[str, Any]] = []
        self._rows: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self._rows += [value for name, value in report.user_properties if name == ROW]  # type: ignore[misc]  # as below
            self._found += [value for name, value in report.user_properties if name == PROPERTY]  # type: ignore[misc]  # the values are ours

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, exitstatus: int) -> Generator[None, None, None]:
        # Outermost, so that the table stands below pytest's own summary: it is what the run was for.
        yield
        writer = self._config.pluginmanager.get_plugin("terminalreporter")
        if not (self._found or self._rows) or writer is None or hasattr(self._config, "workerinput"):
            return
        width = writer._tw.fullwidth  # noqa: SLF001  # pytest offers the width nowhere else
        if self._rows:
            writer.section("measured", bold=True)
            writer.write_line(render_rows(self._rows, width=width, colour=writer.hasmarkup))
        if not self._found:
            return
        writer.section("verdicts", bold=True)
        writer.write_line(render(self._found, width=width, colour=writer.hasmarkup))
        if self._config.getoption("--record"):
            self._record(writer, exitstatus)

    def _record(self, writer: pytest.TerminalReporter, exitstatus: int) -> None:
        if exitstatus != 0:
            writer.write_line("nothing recorded: a test failed")
            return
        measured = [verdict for verdict in self._found if verdict["source"] in RECORDED_SOURCES]
        changes = recorded.save(measured, complete=self._complete())
        writer.write_line(f"recorded {len(measured)} verdicts in {recorded.PATH}; {len(changes)} outcomes changed")
        for change in changes:
            writer.write_line(f"  {change}")

    def _complete(self) -> bool:
        option = self._config.getoption
        narrowed = option("keyword") or option("markexpr") or option("--limit") is not None or option("--seed") != 0
        return not narrowed and {Path(argument).resolve() for argument in self._config.args} == {AUDITS}


def _guard(verdict: Verdict, *, hazard: bool) -> None:
    if not hazard:
        pytest.skip(f"{verdict.claim} names no hazard to guard against")
    if verdict.outcome is Outcome.REPRODUCED:
        pytest.fail(f"hazard present: {_told(verdict)}", pytrace=False)
    if verdict.outcome is Outcome.INCONCLUSIVE:
        pytest.skip(_told(verdict))


def _compare(verdict: Verdict, expected: Outcome | None, *, usual: bool) -> None:
    """Hold a verdict against the record; with an unusual seed or limit only a contradiction of two decisions counts."""
    mend = "if that is right, run: specref audit --record, and review the diff"
    if expected is None:
        pytest.fail(f"no verdict on record for {_told(verdict)}; {mend}", pytrace=False)
    undecided = Outcome.INCONCLUSIVE in (verdict.outcome, expected)
    if verdict.outcome is not expected and (usual or not undecided):
        pytest.fail(f"recorded as {expected.value}, now {_told(verdict)}; {mend}", pytrace=False)
    _conclude(verdict, expected=verdict.outcome)


def _conclude(verdict: Verdict, *, expected: Outcome) -> None:
    if verdict.outcome is Outcome.INCONCLUSIVE:
        pytest.skip(_told(verdict))
    if verdict.outcome is not expected:
        pytest.fail(_told(verdict), pytrace=False)
    if verdict.outcome is Outcome.NOT_REPRODUCED:
        # pytest.xfail(), without a traceback that nobody is shown and that takes longer to write than the verdict.
        raise pytest.xfail.Exception(_told(verdict), pytrace=False)


def _told(verdict: Verdict) -> str:
    """Return the verdict as one sentence."""
    data = verdict.as_dict()
    told = f"{verdict.claim}, {verdict.system} on {verdict.benchmark}: {verdict.outcome.value}"
    told += f", {effect_text(data)}"
    if verdict.low is not None:
        told += f" {interval_text(data)}"
    told += f", n={verdict.n}"
    if verdict.p_value is not None:
        told += f", p={verdict.p_value:.2g}" if verdict.p_value else ", p<1e-300"
    if verdict.n_needed:
        told += f"; {verdict.n_needed} would decide at 80 % power"
    return f"{told}. {verdict.reason}" if verdict.reason else told


def _count(text: str) -> int:
    count = int(text)
    if count < 0:
        raise ValueError(text)
    return count
