"""What live audits add to pytest: the options that name a generator, and the fixtures that hand out what is measured.

An audit that asks for ``live`` runs once for each pair of system and benchmark, ``live_system`` once for each system.
The marker ``benchmarks(kind, …)`` chooses the kinds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from audits import full_plugin
from audits.claims import claim
from audits.guarded_generator import raised_at
from audits.kept_results import KeptResults
from specref_core.errors import CheckpointError, GeneratorError, InputError, SpecRefError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from audits.live_systems import LiveSystem
    from protocols.scores import Scores

CALL_LIMIT = 120.0
_GENERATIVE = ("code", "answers")
_SYSTEMS = pytest.StashKey[dict[str, "LiveSystem | SpecRefError"]]()


@dataclass(frozen=True, slots=True)
class Live:
    """One system on one benchmark.

    Attributes:
        system: that is measured.
        benchmark: name.
        family: all benchmarks that the audit runs this system on, for corrections over them.
    """

    system: LiveSystem
    benchmark: str
    family: tuple[str, ...]

    def measure(self, role: str, steps: int | None) -> Scores:
        """Measure a part of the system on this benchmark."""
        return self.system.measure(role, self.benchmark, steps)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of live audits."""
    group = parser.getgroup("specref", "SpecRef audits")
    group.addoption(
        "--generator",
        default=None,
        metavar="TARGET",
        help="your own generator to audit: pkg.mod:factory or path/to/file.py:factory",
    )
    group.addoption(
        "--benchmark",
        action="append",
        default=[],
        metavar="NAME",
        help="benchmark for --generator or -m gpu, may be repeated; default: humaneval, gsm8k and arc_challenge",
    )
    group.addoption(
        "--call-limit",
        type=_seconds,
        default=CALL_LIMIT,
        metavar="SECONDS",
        help=f"wall clock that one call of --generator may take ({CALL_LIMIT:g})",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker and check the names of benchmarks."""
    config.addinivalue_line(
        "markers", "claims(id, ...): claims that a live audit decides; guard mode runs hazards only"
    )
    config.addinivalue_line("markers", "benchmarks(kind, ...): kinds of benchmarks of a live audit")
    config.stash[_SYSTEMS] = {}
    named = config.getoption("--benchmark")
    if named and config.getoption("--generator") is None and not full_plugin.wanted(config):
        raise pytest.UsageError("--benchmark chooses what --generator is measured on: name a generator too (or -m gpu)")
    if named:
        from audits.live_systems import KIND_OF

        for name in named:
            if name not in KIND_OF:
                raise pytest.UsageError(f"--benchmark {name}: unknown; known: {', '.join(KIND_OF)}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run live audits on the embedded pair, on the generator of ``--generator``, and under ``-m gpu`` the full pair."""
    own = metafunc.config.getoption("--generator") is not None
    sources = ["nano", *(["custom"] if own else []), *(["full"] if full_plugin.wanted(metafunc.config) else [])]
    if "live_system" in metafunc.fixturenames:
        systems = [pytest.param(source, marks=_marks(source), id=source) for source in sources]
        metafunc.parametrize("live_system", systems, indirect=True)
    if "live" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("benchmarks")
        kinds = _GENERATIVE if marker is None else marker.args
        cells = [
            pytest.param((source, name, names), marks=_marks(source), id=f"{source}-{name}")
            for source in sources
            for names in [_benchmarks(metafunc.config, source, kinds)]
            for name in names
        ]
        metafunc.parametrize("live", cells, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the contract first, so that what breaks it is named before it spoils a measurement; choose by mode.

    In guard mode the audits of claims that name no hazard are left out: their measurements decide nothing there.
    """
    items.sort(key=lambda item: "test_generator_contract.py" not in item.nodeid)
    if config.getoption("--mode") != "guard":
        return

    def harmless(item: pytest.Item) -> bool:
        marker = item.get_closest_marker("claims")
        return marker is not None and not any(claim(id_).hazard for id_ in marker.args)

    left_out = [item for item in items if harmless(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def live(request: pytest.FixtureRequest) -> Live:
    """Return one system on one benchmark; skips where the embedded pair's weights are absent."""
    source, benchmark, family = request.param
    return Live(_system(request, source), benchmark, family)


@pytest.fixture
def live_system(request: pytest.FixtureRequest) -> LiveSystem:
    """Return one system; skips where the embedded pair's weights are absent."""
    return _system(request, request.param)


@pytest.fixture(scope="session")
def kept(request: pytest.FixtureRequest) -> KeptResults:
    """Return results of earlier runs of the same code on the embedded pair, which need not be computed again."""
    return KeptResults(_lasting_folder(request))


@pytest.fixture
def full(request: pytest.FixtureRequest) -> Live:
    """Return the full pair on one benchmark of the paper's tables."""
    return Live(_system(request, "full"), request.param, full_plugin.full_benchmarks(request.config))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """End an audit whose system lacks a method as a skip, and one whose generator broke its contract by its name."""
    if not {"live", "live_system", "full"} & set(pyfuncitem.fixturenames):
        return (yield)
    from audits.live_systems import MissingCapabilityError

    try:
        return (yield)
    # "from None": the message tells who and where; a chain of our own frames would bury it.
    except MissingCapabilityError as error:
        raise pytest.skip.Exception(str(error)) from None
    except GeneratorError as error:
        raise pytest.fail.Exception(f"{error}{raised_at(error)}", pytrace=False) from None
    except InputError as error:
        if "has no log_likelihood(" in str(error):
            raise pytest.skip.Exception(f"{error}; add it to enable this") from None
        raise pytest.fail.Exception(str(error), pytrace=False) from None


def _marks(source: str) -> list[pytest.MarkDecorator]:
    # Hours on the full models are no hang: no time limit there.
    return [pytest.mark.source(source), *([pytest.mark.gpu, pytest.mark.timeout(0)] if source == "full" else [])]


def _benchmarks(config: pytest.Config, source: str, kinds: tuple[str, ...]) -> tuple[str, ...]:
    from audits.live_systems import CUSTOM_BENCHMARKS, KIND_OF, NANO_BENCHMARKS

    if source == "nano":
        return tuple(name for kind in kinds for name in NANO_BENCHMARKS[kind])
    if source == "full":
        return tuple(name for name in full_plugin.full_benchmarks(config) if KIND_OF[name] in kinds)
    named = config.getoption("--benchmark")
    if not named:
        return tuple(name for kind in kinds for name in CUSTOM_BENCHMARKS[kind])
    return tuple(dict.fromkeys(name for name in named if KIND_OF[name] in kinds))


def _system(request: pytest.FixtureRequest, source: str) -> LiveSystem:
    """Load a system once a process; what went wrong then fails the first audit, and the others skip."""
    known = request.config.stash[_SYSTEMS]
    first = source not in known
    if first:
        try:
            known[source] = _load(request, source)
        except SpecRefError as error:
            known[source] = error
    found = known[source]
    if isinstance(found, CheckpointError) and source == "nano":
        pytest.skip(str(found))
    if isinstance(found, SpecRefError):
        told = f"--generator {request.config.getoption('--generator')}: {found}"
        if not first:
            pytest.skip(f"{told} (failed above)")
        pytest.fail(f"{told}{raised_at(found)}", pytrace=False)
    return found


def _load(request: pytest.FixtureRequest, source: str) -> LiveSystem:
    from audits.live_systems import code_digest, custom_system, nano_system
    from audits.plugin import find_data_dir

    option = request.config.getoption
    if source == "nano":
        folder = _lasting_folder(request)
        ledger = folder / f"nano-{code_digest()}.ledger"
        return nano_system(ledger=ledger, limit=option("--limit"), seed=option("--seed"), kept=KeptResults(folder))
    if source == "full":
        return full_plugin.load_full(request, _lasting_folder(request) / f"full-{code_digest()}.ledger")
    return custom_system(
        option("--generator"),
        benchmarks=option("--benchmark"),
        # What a user's generator depends on beyond its own file nobody can see, so its samples last for one run only.
        ledger=_passing_folder(request) / "generator.ledger",
        limit=option("--limit"),
        seed=option("--seed"),
        data_dir=find_data_dir(option("--data-dir")),
        call_limit=option("--call-limit"),
    )


def _lasting_folder(request: pytest.FixtureRequest) -> Path:
    """Return pytest's cache folder, which later runs find again; a passing one where there is none to write to."""
    cache = getattr(request.config, "cache", None)
    if cache is not None:
        try:
            folder: Path = cache.mkdir("specref-audits")
        except OSError:
            pass
        else:
            if os.access(folder, os.W_OK):
                return folder
    return _passing_folder(request)


def _passing_folder(request: pytest.FixtureRequest) -> Path:
    """Return a folder that all processes of this run share, and no other run."""
    factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value
