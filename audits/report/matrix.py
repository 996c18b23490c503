"""The verdict matrix: for each source the claims against its benchmarks, outcomes counted by their word."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from audits.report.forest import outcome_class
from audits.verdicts import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from audits.report.model import ReportedClaim, ReportedVerdict

SOURCES = {
    "custom": "Your own generator or samples",
    "full": "The full models, run live",
    "nano": "The embedded pair, run live",
    "published": "Published tables, by arithmetic",
    "data": "Public benchmark files",
    "shipped": "Records that ship with SpecRef",
}
"""Sources in the order of the page."""

OTHERS = "other benchmarks"
"""The column of the benchmarks that one claim alone was tested on, where there are many columns."""
_COLUMNS = 8


@dataclass(frozen=True, slots=True)
class Chip:
    """How often one outcome occurs in a cell; ``where`` names the benchmark if the column does not."""

    outcome: str
    count: int
    told: str
    where: str = ""

    @property
    def kind(self) -> str:
        """The page's class for the outcome."""
        return outcome_class(self.outcome)


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """A claim and its cells, one a column."""

    claim: str
    statement: str
    hazard: bool
    cells: tuple[tuple[Chip, ...], ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """The verdicts of one source."""

    source: str
    title: str
    systems: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[MatrixRow, ...]

    @property
    def crowded(self) -> bool:
        """Whether the last column gathers several benchmarks."""
        return OTHERS in self.columns


def matrices(claims: Mapping[str, ReportedClaim], verdicts: Sequence[ReportedVerdict]) -> list[Matrix]:
    """Return a matrix for each source that has verdicts."""
    sources = sorted({v.source for v in verdicts}, key=lambda s: (_place(s), s))
    return [_matrix(source, claims, [v for v in verdicts if v.source == source]) for source in sources]


def source_title(source: str) -> str:
    """Return a source in a person's words."""
    return SOURCES.get(source, source)


def _matrix(source: str, claims: Mapping[str, ReportedClaim], verdicts: Sequence[ReportedVerdict]) -> Matrix:
    # Benchmarks that many claims were tested on come first; the odd ones of a single claim follow.
    spread = {b: len({v.claim for v in verdicts if v.benchmark == b}) for b in {v.benchmark for v in verdicts}}
    columns = tuple(sorted(spread, key=lambda b: (-spread[b], b.casefold(), b)))
    if len(columns) > _COLUMNS:
        columns = (*(b for b in columns if spread[b] > 1), OTHERS)
    rows = []
    for name in dict.fromkeys(v.claim for v in verdicts):
        found = claims.get(name)
        own = [v for v in verdicts if v.claim == name]
        cells = tuple(
            _other_chips([v for v in own if v.benchmark not in columns])
            if column == OTHERS
            else _chips([v for v in own if v.benchmark == column])
            for column in columns
        )
        rows.append(
            MatrixRow(name, "" if found is None else found.statement, found is not None and found.hazard, cells)
        )
    systems = tuple(dict.fromkeys(v.system for v in verdicts))
    return Matrix(source, source_title(source), systems, columns, tuple(rows))


def _chips(verdicts: Sequence[ReportedVerdict]) -> tuple[Chip, ...]:
    chips = []
    for outcome in Outcome:
        found = [v for v in verdicts if v.outcome == outcome.value]
        if found:
            chips.append(Chip(outcome.value, len(found), "; ".join(f"{v.system} (n = {v.n})" for v in found)))
    return tuple(chips)


def _other_chips(verdicts: Sequence[ReportedVerdict]) -> tuple[Chip, ...]:
    return tuple(
        replace(chip, where=benchmark)
        for benchmark in dict.fromkeys(v.benchmark for v in verdicts)
        for chip in _chips([v for v in verdicts if v.benchmark == benchmark])
    )


def _place(source: str) -> int:
    return list(SOURCES).index(source) if source in SOURCES else len(SOURCES)
