"""What arithmetic says about a table of scores: impossible cells, the sizes that would fit them, and noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

from audits.granularity import Percentage, fitting_sizes, nearest_count, nearest_values, possible_counts
from audits.statistics import fisher_exact, holm, newcombe_interval
from fixtures.published import BenchmarkSize, benchmark_sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audits.score_table import Cell

SCHEMA = "specref.check-table"
SCHEMA_VERSION = 1
ALPHA = 0.05
LARGEST_SIZE_TRIED = 20_000
"""With two printed decimals every percentage fits every n from 10,000 on; larger sizes explain nothing."""
MANY_SYSTEMS = 60
"""Beyond this many systems on one benchmark only neighbours in the ranking are compared."""


@dataclass(frozen=True, slots=True)
class CheckedCell:
    """A cell with what arithmetic says about it.

    Attributes:
        cell: as read.
        possible: whether some count of n rounds to the score.
        nearest: the printable scores next to it, the score itself where possible.
        fitting_n: sizes up to ``min(10 n, 20000)`` that the score fits; only n itself where possible.
    """

    cell: Cell
    possible: bool
    nearest: tuple[Percentage, ...]
    fitting_n: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CheckedBenchmark:
    """The impossible cells of one benchmark together.

    Attributes:
        benchmark: name.
        impossible: how many of its cells are impossible.
        common_n: sizes that fit all of them; empty where none is impossible.
        known_n: those among them that are the size of a usual subset of the benchmark, or a round number.
    """

    benchmark: str
    impossible: int
    common_n: tuple[int, ...]
    known_n: tuple[BenchmarkSize, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """Two systems on one benchmark, taken as unpaired because a table does not say who solved what.

    Attributes:
        first: the higher score.
        second: the lower one.
        difference: points, first minus second as printed.
        low: lower end of Newcombe's 95 % interval, points.
        high: upper end.
        p_value: Fisher's exact test, two-sided.
        p_holm: adjusted over the benchmark's differences.
        noise: whether ``p_holm`` is 0.05 or more.
    """

    first: Cell
    second: Cell
    difference: float
    low: float
    high: float
    p_value: float
    p_holm: float
    noise: bool


@dataclass(frozen=True, slots=True)
class TableCheck:
    """Everything that ``specref check-table`` says, in the order of the file."""

    cells: tuple[CheckedCell, ...]
    benchmarks: tuple[CheckedBenchmark, ...]
    differences: tuple[Difference, ...]

    def as_dict(self) -> dict[str, object]:
        """Return the check as JSON data of schema ``specref.check-table`` version 1."""
        return {
            "schema": SCHEMA,
            "version": SCHEMA_VERSION,
            "cells": [
                {
                    "system": checked.cell.system,
                    "benchmark": checked.cell.benchmark,
                    "score": float(checked.cell.score),
                    "printed": str(checked.cell.score),
                    "n": checked.cell.n,
                    "line": checked.cell.line,
                    "possible": checked.possible,
                    "nearest": [float(value) for value in checked.nearest],
                    "fitting_n": list(checked.fitting_n),
                }
                for checked in self.cells
            ],
            "benchmarks": [
                {
                    "benchmark": group.benchmark,
                    "impossible": group.impossible,
                    "common_n": list(group.common_n),
                    "known_n": [{"benchmark": k.benchmark, "n": k.n, "part": k.part} for k in group.known_n],
                }
                for group in self.benchmarks
            ],
            "differences": [
                {
                    "benchmark": pair.first.benchmark,
                    "first": pair.first.system,
                    "second": pair.second.system,
                    "first_line": pair.first.line,
                    "second_line": pair.second.line,
                    "first_score": float(pair.first.score),
                    "second_score": float(pair.second.score),
                    "first_n": pair.first.n,
                    "second_n": pair.second.n,
                    "difference": pair.difference,
                    "low": pair.low,
                    "high": pair.high,
                    "p_value": pair.p_value,
                    "p_holm": pair.p_holm,
                    "noise": pair.noise,
                }
                for pair in self.differences
            ],
        }


def check_cell(cell: Cell) -> CheckedCell:
    """Check one cell against its n."""
    if possible_counts(cell.score, cell.n):
        return CheckedCell(cell, possible=True, nearest=(cell.score,), fitting_n=(cell.n,))
    return CheckedCell(
        cell,
        possible=False,
        nearest=tuple(nearest_values(cell.score, cell.n)),
        fitting_n=_fitting(cell.score, min(10 * cell.n, LARGEST_SIZE_TRIED)),
    )


def check_table(cells: Sequence[Cell]) -> TableCheck:
    """Check every cell, every benchmark and every pair of systems on the same benchmark.

    Args:
        cells: of one table, in any order; benchmarks are told apart by their exact name.
    """
    checked = tuple(check_cell(cell) for cell in cells)
    names = list(dict.fromkeys(cell.benchmark for cell in cells))
    return TableCheck(
        cells=checked,
        benchmarks=tuple(_check_benchmark(name, [c for c in checked if c.cell.benchmark == name]) for name in names),
        differences=tuple(
            pair for name in names for pair in differences([cell for cell in cells if cell.benchmark == name])
        ),
    )


def differences(cells: Sequence[Cell]) -> list[Difference]:
    """Compare the systems of one benchmark pairwise; with more than 60 systems only neighbours in the ranking.

    An impossible score counts as the count nearest to it. A row that stands there twice counts once.

    Args:
        cells: all of one benchmark.
    """
    cells = list({(cell.system, cell.score, cell.n): cell for cell in reversed(cells)}.values())[::-1]
    ranked = sorted(cells, key=lambda cell: cell.score.value, reverse=True)
    if len(cells) > MANY_SYSTEMS:
        pairs = list(pairwise(ranked))
    else:
        pairs = [(a, b) if a.score.value >= b.score.value else (b, a) for a, b in combinations(cells, 2)]
    counted = [(nearest_count(a.score, a.n), a.n, nearest_count(b.score, b.n), b.n) for a, b in pairs]
    p_values = [_fisher(*counts) for counts in counted]
    found = []
    for (first, second), counts, p_value, adjusted in zip(pairs, counted, p_values, holm(p_values), strict=True):
        interval = newcombe_interval(*counts).scaled(100)
        found.append(
            Difference(
                first=first,
                second=second,
                difference=float(first.score.value - second.score.value),
                low=interval.low,
                high=interval.high,
                p_value=p_value,
                p_holm=adjusted,
                noise=adjusted >= ALPHA,
            )
        )
    return found


def known_sizes(sizes: Sequence[int], benchmark: str) -> tuple[BenchmarkSize, ...]:
    """Return the sizes among those given that are a usual subset of ``benchmark``, or a round number."""
    wanted = set(sizes)
    return tuple(
        known
        for known in benchmark_sizes()
        if known.n in wanted and (known.benchmark == "Any" or _same(known.benchmark, benchmark))
    )


def _check_benchmark(name: str, cells: Sequence[CheckedCell]) -> CheckedBenchmark:
    impossible = [checked for checked in cells if not checked.possible]
    if not impossible:
        return CheckedBenchmark(name, 0, (), ())
    common = set(impossible[0].fitting_n).intersection(*(checked.fitting_n for checked in impossible[1:]))
    ordered = tuple(sorted(common))
    return CheckedBenchmark(name, len(impossible), ordered, known_sizes(ordered, name))


def _same(known: str, asked: str) -> bool:
    plain = "".join(character for character in asked.lower() if character.isalnum())
    return plain.startswith("".join(character for character in known.lower() if character.isalnum()))


@cache
def _fitting(score: Percentage, largest: int) -> tuple[int, ...]:
    return tuple(fitting_sizes(score, largest))


@cache
def _fisher(first: int, first_n: int, second: int, second_n: int) -> float:
    return fisher_exact(first, first_n, second, second_n)
