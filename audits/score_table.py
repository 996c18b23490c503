"""Read a table of published scores from CSV and say exactly where it is wrong."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from audits.granularity import LARGEST_N, Percentage
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COLUMNS = ("system", "benchmark", "score", "n")
_SHOWN_PROBLEMS = 20
_WHOLE = re.compile(r"\d+", re.ASCII)
_THOUSANDS = re.compile(r"\d{1,3}([,.'\u2019 \u00a0\u202f]\d{3})+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cell:
    """One published score.

    Attributes:
        system: what was scored.
        benchmark: on what.
        score: percentage, with its printed decimals.
        n: problems.
        line: line of the file it was read from, 1-based.
    """

    system: str
    benchmark: str
    score: Percentage
    n: int
    line: int


def read_table(path: Path) -> list[Cell]:
    """Read a CSV file with the columns system, benchmark, score and n, in any order; other columns are ignored.

    Scores are percentages (``8.70`` or ``8.70%``) whose decimals are kept as printed. A system may stand on a benchmark
    more than once, as where another column tells its settings apart. ``164.0`` is read as the n 164.

    Raises:
        InputError: the file cannot be read, or rows are wrong; every problem is named with file, line and field.
    """
    rows = _rows(path)
    if not rows:
        raise InputError(f"{path} is empty; expected a header line {','.join(COLUMNS)} and one row a score")
    header_line, header = rows[0]
    places = _columns(path, header_line, header)
    if len(rows) == 1:
        raise InputError(f"{path} has a header and no rows; expected one row a score")
    cells: list[Cell] = []
    problems: list[str] = []
    for line, row in rows[1:]:
        if len(row) != len(header):
            problems.append(f"{path}, line {line}: {_count_complaint(row, header)}")
            continue
        fields = {name: row[place].strip() for name, place in places.items()}
        found = len(problems)
        problems += [
            f"{path}, line {line}, field {name}: is empty" for name in ("system", "benchmark") if not fields[name]
        ]
        score = n = None
        try:
            score = Percentage.parse(fields["score"])
        except InputError as error:
            problems.append(f"{path}, line {line}, field score: {error}")
        try:
            n = _size(fields["n"])
        except InputError as error:
            problems.append(f"{path}, line {line}, field n: {error}")
        if len(problems) > found or score is None or n is None:
            continue
        cells.append(Cell(fields["system"], fields["benchmark"], score, n, line))
    if problems:
        more = len(problems) - _SHOWN_PROBLEMS
        raise InputError("\n".join(problems[:_SHOWN_PROBLEMS] + ([f"and {more} more"] if more > 0 else [])))
    return cells


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return every row that is not blank with the line it starts in."""
    if not path.exists():
        raise InputError(f"{path} does not exist (looked for it at {path.absolute()})")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a CSV file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: byte {data[error.start]:#04x} is not UTF-8; save the file as UTF-8"
        ) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows = []
    line = 1
    try:
        for row in reader:
            if any(field.strip() for field in row):
                rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f'{path}, line {line}: not CSV ({error}); put fields that hold commas in double quotes, and write " as ""'
        ) from error
    return rows


def _columns(path: Path, line: int, header: Sequence[str]) -> dict[str, int]:
    names = [name.strip().lower() for name in header]
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        told = f"{path}, line {line}: no column {', '.join(missing)}; found {', '.join(names)}"
        for separator, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if len(names) == 1 and separator in names[0]:
                told += f". The fields seem to be separated by {word}; separate them by commas"
        if all(not _WHOLE.fullmatch(name) for name in names) is False:
            told += f". The first line must be the header {','.join(COLUMNS)}"
        raise InputError(told)
    for name in COLUMNS:
        if names.count(name) > 1:
            raise InputError(f"{path}, line {line}: column {name} stands {names.count(name)} times; expected it once")
    return {name: names.index(name) for name in COLUMNS}


def _count_complaint(row: Sequence[str], header: Sequence[str]) -> str:
    told = f"{len(row)} fields, the header has {len(header)}"
    if len(row) > len(header):
        told += "; decimal commas, thousands separators and commas in names split a field: quote it, write 33.00"
    elif len(row) == 1 and ";" in row[0]:
        told += "; separate fields by commas, not semicolons"
    return told


def _size(text: str) -> int:
    text = text.removesuffix(".0")  # what spreadsheets and data frames make of whole numbers
    if not _WHOLE.fullmatch(text):
        if not text:
            raise InputError("is empty; expected the number of problems")
        if _THOUSANDS.fullmatch(text):
            raise InputError(f"{text!r} has a thousands separator; write {re.sub(r'[^0-9]', '', text)}")
        raise InputError(f"{text!r} is not a whole number of problems, such as 164")
    # A number of a thousand digits need not be converted to be refused.
    if len(text.lstrip("0")) > len(str(LARGEST_N)) or not 1 <= int(text) <= LARGEST_N:
        shown = text if len(text) <= 24 else f"{text[:20]}…"
        raise InputError(f"{shown!r} is outside 1 to {LARGEST_N}")
    return int(text)
