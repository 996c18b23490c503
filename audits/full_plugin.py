"""What the gpu audits add to pytest: options for the full models, one skip without a device, one error without models.

``pytest audits/ -m gpu`` runs every live audit on the full pair, and the paper's tables beside it. What such a run will
cost is printed before it starts, and how far it is while it runs; every sample lies in a ledger, so that the same
command continues a run that was stopped.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from specref_core.errors import InputError, SpecRefError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from audits.full_models import FullSettings
    from audits.live_systems import LiveBenchmark, LiveSystem
    from protocols.measure import Status

CELL, LATENCY = "specref-paper-cell", "specref-paper-latency"
"""Names under which a test hands a measured cell, or a timed row, to the page."""
SCHEMA = "specref.paper-tables/1"
_SETTINGS: pytest.StashKey[FullSettings] = pytest.StashKey()
_BENCHMARKS: pytest.StashKey[dict[str, LiveBenchmark]] = pytest.StashKey()
_BEAT_SECONDS = 60.0
_PLAIN = (
    *("drafter", "refiner", "dtype", "device", "backend", "drafter_quantization", "refiner_quantization"),
    *("max_new_tokens", "batch_size", "post_processing"),
)
"""Options that are settings as they stand."""
_OTHERS = ("revision", "steps", "chat", "set", "ledger", "paper_tables")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the full models."""
    group = parser.getgroup("specref-full", "SpecRef audits of the full models (-m gpu)")
    add: Callable[..., None] = group.addoption
    add("--drafter", metavar="PLACE", help="hub name or directory of the drafter (microsoft/phi-2)")
    add("--refiner", metavar="PLACE", help="hub name or directory of the refiner (GSAI-ML/LLaDA-8B-Instruct)")
    add(
        "--revision",
        action="append",
        default=[],
        metavar="REV",
        help="of hub names, for both models, or drafter=REV and refiner=REV",
    )
    add("--steps", metavar="LIST", help="nominal denoising steps of the full models (8,16,32,64)")
    add("--dtype", metavar="NAME", help="auto, bfloat16 (default), float16 or float32")
    add("--device", metavar="NAME", help="auto: every CUDA device (default), or a torch device, cuda:1 or cpu, say")
    add("--backend", metavar="NAME", help="drafter's: transformers, vllm, or auto (vllm where it is installed)")
    add("--drafter-quantization", metavar="BITS", help="4bit, 8bit, none, or auto (4bit where bitsandbytes is)")
    add("--refiner-quantization", metavar="BITS", help="4bit, 8bit or none (default)")
    add(
        "--max-new-tokens", type=_positive, metavar="N", help="longest draft and canvas (512 for answers, 256 for code)"
    )
    add("--batch-size", type=_positive, metavar="N", help="prompts a call of the full models (16)")
    add("--chat", action="store_true", help="wrap the refiner's prompts in its chat template")
    add("--post-processing", metavar="NAME", help="from completion to program (stop-sequences, as in the paper)")
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other setting of specref_core.specref.from_pretrained: k=40, slack=8, block_length=32 …",
    )
    add("--ledger", type=Path, metavar="FILE", help="where samples of the full models are kept, for runs that continue")
    add(
        "--paper-tables",
        type=Path,
        metavar="FILE",
        help="write the paper's tables beside this run's: FILE.md and .json",
    )
    add(
        "--latency-queries",
        type=_positive,
        default=20,
        metavar="N",
        help="queries timed one at a time for Table 3 (20)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Check the options; without ``-m gpu`` there must be none, for they would change nothing."""
    given = [name for name in (*_PLAIN, *_OTHERS) if config.getoption(name) not in (None, [], False)]
    if wanted(config):
        config.stash[_SETTINGS] = _settings(config)
        config.pluginmanager.register(_Page(config), "specref-paper-tables")
    elif given:
        names = ", ".join("--" + name.replace("_", "-") for name in given)
        raise pytest.UsageError(f"{names}: for the full models only, which -m gpu asks for; add it")


def _settings(config: pytest.Config) -> FullSettings:
    """Read the options and check the files to be written."""
    from audits.full_models import FullSettings, parse_overrides, parse_revisions, parse_steps
    from audits.json_output import check_target

    option = config.getoption
    given: dict[str, Any] = {name: option(name) for name in _PLAIN if option(name) is not None}
    try:
        if option("steps") is not None:
            given["steps"] = parse_steps(option("steps"))
        drafter_revision, refiner_revision = parse_revisions(option("revision"))
        settings = FullSettings(
            **given,
            chat=option("chat"),
            drafter_revision=drafter_revision,
            refiner_revision=refiner_revision,
            overrides=parse_overrides(option("set")),
        )
        if (page := option("paper_tables")) is not None:
            for path in page_paths(page):
                check_target(path, what="paper tables")
        if (ledger := option("ledger")) is not None:
            check_target(ledger, what="ledger")
    except InputError as error:
        raise pytest.UsageError(str(error)) from error
    return settings


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for ``full`` once for each benchmark of the tables, or for those that ``benchmarks`` names."""
    if "full" not in metafunc.fixturenames:
        return
    from audits.live_systems import KIND_OF

    marker = metafunc.definition.get_closest_marker("benchmarks")
    names = [n for n in full_benchmarks(metafunc.config) if marker is None or {n, KIND_OF[n]} & set(marker.args)]
    metafunc.parametrize("full", names, indirect=True)


def wanted(config: pytest.Config) -> bool:
    """Tell whether this run may be about the full models: only ``-m gpu`` asks for them."""
    return "gpu" in config.getoption("markexpr")


def full_benchmarks(config: pytest.Config) -> tuple[str, ...]:
    """Return the benchmarks of the full models: those of ``--benchmark``, else the paper's seven."""
    from audits.full_models import BENCHMARKS

    known = tuple(name for names in BENCHMARKS.values() for name in names)
    named = config.getoption("--benchmark")
    return tuple(name for name in known if name in named) if named else known


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Look for models and data once, before the first audit; say everything that is missing, and what a run costs."""
    from audits import full_models as full

    if config.option.collectonly or not any(item.get_closest_marker("gpu") for item in items):
        return
    settings = config.stash[_SETTINGS]
    if full.missing_device(settings.device) is not None:
        return
    if (absent := full.absent_device(settings.device)) is not None:
        raise pytest.UsageError(absent)
    from audits.plugin import find_data_dir

    option = config.getoption
    data_dir = find_data_dir(option("--data-dir"))
    missing = full.unreachable(settings)
    benchmarks: dict[str, LiveBenchmark]
    benchmarks, without = full.load_data(
        full_benchmarks(config), settings, limit=option("--limit"), seed=option("--seed"), data_dir=data_dir
    )
    missing += without
    if missing:
        raise pytest.UsageError("the gpu audits lack\n  " + "\n  ".join(missing))
    config.stash[_BENCHMARKS] = benchmarks
    writer = config.pluginmanager.get_plugin("terminalreporter")
    if writer is not None:
        from audits.run_estimate import lines, plan, published_rates

        writer.section("full models", bold=True)
        for line in (settings.describe(), *lines(plan(benchmarks, settings.steps), published_rates())):
            writer.write_line(line)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip gpu audits without a device, all for one reason in one place, so that pytest prints one line of it."""
    if item.get_closest_marker("gpu") is None:
        return
    from audits.full_models import missing_device

    reason = missing_device(item.config.stash[_SETTINGS].device)
    if reason is not None:
        pytest.skip(reason)


def load_full(request: pytest.FixtureRequest, ledger: Path) -> LiveSystem:
    """Load the full pair; what is wrong with it ends the run at once, for it would be wrong in every audit."""
    from audits.full_models import full_system

    config = request.config
    writer = _writer(config)
    benchmarks: dict[str, LiveBenchmark] = config.stash[_BENCHMARKS]
    started = time.perf_counter()
    try:
        system = full_system(
            config.stash[_SETTINGS],
            benchmarks,
            ledger=config.getoption("--ledger") or ledger,
            limit=config.getoption("--limit"),
            seed=config.getoption("--seed"),
        )
    except SpecRefError as error:
        pytest.exit(f"the full models cannot be loaded: {error}", returncode=pytest.ExitCode.USAGE_ERROR)
    writer(f"\nfull models loaded in {time.perf_counter() - started:.0f} s; samples in {system.ledger}")
    _say_measured_hours(system, writer)
    system.progress = _Heartbeat(writer)
    return system


def settings_of(config: pytest.Config) -> FullSettings:
    """Return the settings of the full models in this run."""
    return config.stash[_SETTINGS]


def page_paths(given: Path) -> tuple[Path, Path]:
    """Return the Markdown and the JSON file of ``--paper-tables``."""
    stem = given.with_suffix("") if given.suffix in (".md", ".json") else given
    return stem.with_name(stem.name + ".md"), stem.with_name(stem.name + ".json")


class _Heartbeat:
    """Says now and then how far a cell is, and when it will be done at this pace."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._cell: tuple[object, ...] = ()
        self._started = self._last = 0.0
        self._first = 0

    def __call__(self, role: str, benchmark: str, status: Status) -> None:
        now = time.monotonic()
        cell = (role, benchmark, status.budget)
        if cell != self._cell:
            self._cell, self._started, self._last, self._first = cell, now, now, status.done
            return
        if now - self._last < _BEAT_SECONDS or status.done <= self._first:
            return
        self._last = now
        left = (now - self._started) / (status.done - self._first) * (status.planned - status.done)
        steps = "" if status.budget.steps is None else f" S={status.budget.steps}"
        self._write(
            f"\n{benchmark} {role}{steps}: {status.done:,} of {status.planned:,} problems, {status.correct} right, "
            f"{left / 60:,.0f} minutes left of this cell"
        )


class _Page:
    """Gathers the cells of the tables from the tests' reports and writes the page at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.cells: list[dict[str, Any]] = []
        self.latencies: list[dict[str, Any]] = []
        self.verdicts: list[dict[str, Any]] = []
        self._started = datetime.now(timezone.utc)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call":
            return
        found: Any
        for name, found in report.user_properties:
            if name == CELL:
                self.cells.append(found)
            elif name == LATENCY:
                self.latencies.append(found)
            elif name == "specref-verdict" and found["source"] == "full":
                self.verdicts.append(found)

    def pytest_sessionfinish(self) -> None:
        page = self._config.getoption("--paper-tables")
        if page is None or hasattr(self._config, "workerinput") or not (self.cells or self.latencies):
            return
        from audits.full_models import DRAFTER, REFINER
        from audits.json_output import write_json, write_text
        from audits.paper_tables_page import markdown

        settings = self._config.stash[_SETTINGS]
        about = [settings.describe(), *_machine(), f"started {self._started:%Y-%m-%d %H:%M} UTC"]
        if (settings.drafter, settings.refiner) != (DRAFTER, REFINER):
            about.insert(0, f"not the paper's models ({DRAFTER} and {REFINER}): the comparison is of two systems")
        text_path, json_path = page_paths(page)
        write_text(text_path, markdown(self.cells, self.latencies, self.verdicts, about=about), what="paper tables")
        data = {"cells": self.cells, "latencies": self.latencies, "verdicts": self.verdicts, "about": about}
        write_json(json_path, {"schema": SCHEMA, **data})
        writer = self._config.pluginmanager.get_plugin("terminalreporter")
        if writer is not None:
            writer.write_line(f"\npaper tables: {text_path}, {json_path}")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _machine() -> list[str]:
    """Name the devices and the libraries that a number may depend on."""
    import platform
    from importlib.metadata import version

    from specref_core.accelerators import cuda_devices

    devices = ", ".join(cuda_devices()) or f"no CUDA device, {platform.machine()} processor"
    return [devices, f"torch {version('torch')}, transformers {version('transformers')}"]


def _say_measured_hours(system: LiveSystem, write: Callable[[str], None]) -> None:
    """Time one batch of each part on this device and say the hours again."""
    from audits.run_estimate import hours, measured_rates, plan

    rates = measured_rates(system)
    if rates is not None:
        cells = plan({name: system.benchmark(name) for name in system.benchmarks}, system.steps)
        write(f"\n{rates.source}: about {hours(cells, rates):,.1f} hours in all, at most")


def _writer(config: pytest.Config) -> Callable[[str], None]:
    """Return a function that writes past pytest's capture."""
    terminal: Any = config.pluginmanager.get_plugin("terminalreporter")
    capture: Any = config.pluginmanager.get_plugin("capturemanager")

    def write(text: str) -> None:
        if terminal is None:
            return
        with _uncaptured(capture):
            terminal.write_line(text)

    return write


@contextmanager
def _uncaptured(capture: Any) -> Iterator[None]:
    if capture is None:
        yield
        return
    with capture.global_and_fixture_disabled():
        yield
