"""The paper's Tables 1 to 3 measured again, beside the paper's own cells (``pytest audits/ -m gpu``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from audits import paper_tables as tables
from audits.full_plugin import CELL, LATENCY, settings_of
from audits.live_systems import DRAFTER, KIND_OF, PIPELINE, REFINER
from audits.query_latency import measure_latency

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from audits.live_plugin import Live
    from audits.verdicts import Verdict

    Record = Callable[[Verdict], None]
    Row = Callable[[str, str, Mapping[str, str]], None]

pytestmark = [pytest.mark.gpu, pytest.mark.source("full"), pytest.mark.timeout(0)]


@pytest.mark.claims("tables-as-published")
def test_tables_come_out_as_published(
    full: Live, request: pytest.FixtureRequest, record_verdict: Record, record_row: Row
) -> None:
    """Every cell of a benchmark's row, ours beside the paper's; the row's verdict follows from all of them."""
    cells = []
    for place in tables.places(full.benchmark, settings_of(request.config).steps):
        # A pipeline's likelihood is its refiner's, here as in the paper's Table 2.
        likelihood = KIND_OF[full.benchmark] == "choices"
        role = REFINER if likelihood and place.role == PIPELINE else place.role
        cell = tables.compare(place, full.measure(role, None if role == DRAFTER or likelihood else place.steps))
        request.node.user_properties.append((CELL, tables.plain(cell)))
        record_row(f"Table {cell.table}, paper and here, percent", f"{cell.row}, {cell.column}", cell.shown())
        cells.append(cell)
    verdict = tables.as_published(cells, system=full.system.name)
    if verdict is None:
        pytest.skip(f"the paper has no cell of {full.benchmark} at these step counts; its own are 8, 16, 32 and 64")
    record_verdict(verdict)


@pytest.mark.benchmarks(tables.LATENCY_BENCHMARK)
def test_seconds_a_query(full: Live, request: pytest.FixtureRequest, record_row: Row) -> None:
    """Table 3: one query at a time, standalone and warm-started, and the speed-up with its interval."""
    for steps in settings_of(request.config).steps:
        row = measure_latency(full.system, full.benchmark, steps, queries=request.config.getoption("--latency-queries"))
        request.node.user_properties.append((LATENCY, tables.plain(row)))
        record_row("Table 3, seconds a query, paper and here", f"{tables.ROWS[full.benchmark]}, S={steps}", row.shown())
