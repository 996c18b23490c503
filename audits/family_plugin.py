"""Which tests of a run belong to one claim family on one source, and what the others of a family say.

The size of a family is that of the audit modules, whatever ``-k`` or ``-n`` leaves of them to this process, so that a
verdict does not depend on what else was asked for.
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from audits.claims import claim
from specref_core.errors import SpecRefError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from audits.verdicts import Verdict

Members = dict[tuple[str, str], dict[str, pytest.Function]]
_MEMBERS = pytest.StashKey[Members]()


def pytest_configure(config: pytest.Config) -> None:
    """Start with no family known."""
    config.stash[_MEMBERS] = {}


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(collector: pytest.Collector) -> Iterator[None]:
    """Note every live audit under its claims' families, before any choice among them."""
    made: Any = yield
    for item in made if isinstance(made, list) else [made]:
        if isinstance(item, pytest.Function):
            source, claims = item.get_closest_marker("source"), item.get_closest_marker("claims")
            if source is None or claims is None:
                continue
            for id_ in claims.args:
                family = collector.config.stash[_MEMBERS].setdefault((claim(id_).family, source.args[0]), {})
                family[item.nodeid] = item
    return made  # type: ignore[no-any-return]  # pytest's own type of this hook's result is object


@pytest.fixture
def correct_in_family(request: pytest.FixtureRequest) -> Callable[[Verdict], Verdict]:
    """Return the function that holds a live verdict against its family; other verdicts are returned as they are."""

    def correct(verdict: Verdict) -> Verdict:
        from audits.claim_families import corrected  # scipy underneath: not for every process that only collects

        marker = request.node.get_closest_marker("source")
        if marker is None or request.node.get_closest_marker("claims") is None:
            return verdict
        family = request.config.stash[_MEMBERS].get((claim(verdict.claim).family, marker.args[0]), {})
        others = [item for nodeid, item in family.items() if nodeid != request.node.nodeid]
        return corrected(verdict, len(others) + 1, lambda: _evidence_of(others, request))

    return correct


def _evidence_of(items: list[pytest.Function], request: pytest.FixtureRequest) -> list[float] | None:
    """Return the p-values of other tests, made from cells that are shared; one that cannot be made counts for nothing.

    ``None`` where a test needs something that only its own run provides.
    """
    from audits.claim_families import evidence

    found: list[float] = []
    for item in items:
        told: list[Verdict] = []
        try:
            arguments = _arguments(item, request, told.append)
        except (pytest.FixtureLookupError, AttributeError, KeyError):
            return None
        with suppress(pytest.skip.Exception, pytest.fail.Exception, SpecRefError):
            item.obj(**arguments)
        found += [p for p in map(evidence, told) if p is not None]
    return found


def _arguments(
    item: pytest.Function, request: pytest.FixtureRequest, record: Callable[[Verdict], None]
) -> dict[str, Any]:
    """Return what a test asks for: its own parameters, this test's system, and a verdict that goes nowhere."""
    own: Any = request.node.funcargs
    system = own["live"].system if "live" in own else own.get("live_system")
    given: dict[str, Any] = {}
    for name in inspect.signature(item.obj).parameters:
        if name == "record_verdict":
            given[name] = record
        elif name == "record_row":
            given[name] = lambda *_: None
        elif name == "live_system":
            given[name] = system
        elif name == "live":
            place: Any = item.callspec.params["live"]  # source, benchmark and the audit's benchmarks
            given[name] = replace(own["live"], benchmark=place[1], family=place[2])
        elif hasattr(item, "callspec") and name in item.callspec.params:
            given[name] = item.callspec.params[name]
        else:
            given[name] = request.getfixturevalue(name)
    return given
