"""Read files of JSON records, plain or gzip, and say exactly where a record is broken.

One reader serves the benchmark files and the sample files of other harnesses: JSON lines or one JSON array, with or
without a byte order mark, blank lines or Windows line ends.
"""

from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


class Row(NamedTuple):
    """One record and where it stands."""

    place: str
    """``FILE, line 3`` for JSON lines, ``FILE, record 3`` for an array."""
    line: int
    """1-based line of JSON lines, 1-based position in an array."""
    fields: dict[str, Any]

    def text(self, *names: str, default: str | None = None) -> str:
        """Return the first of the named fields that is present; it must be a string.

        Raises:
            InputError: none is present and there is no default, or the value is not a string.
        """
        for name in names:
            if name in self.fields:
                value: str = self.typed(name, str)
                return value
        if default is not None:
            return default
        raise self.missing(*names)

    def typed(self, name: str, kind: type, *, of: type | None = None) -> Any:
        """Return a field that must have the given type (and, for a list, elements of the type ``of``).

        Raises:
            InputError: absent, or of another type.
        """
        if name not in self.fields:
            raise self.missing(name)
        value = self.fields[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise InputError(f"{self.place}: field {name!r} is {_json_type(value)}; expected {_KINDS[kind]}")
        if of is not None:
            elements: Any = value
            for position, element in enumerate(elements):
                if not isinstance(element, of):
                    raise InputError(
                        f"{self.place}: field {name!r}[{position}] is {_json_type(element)}; expected {_KINDS[of]}"
                    )
        return value

    def missing(self, *names: str) -> InputError:
        """Return the error for an absent field; the caller raises it."""
        wanted = " or ".join(repr(name) for name in names)
        there = ", ".join(sorted(self.fields)[:20]) or "none"
        return InputError(f"{self.place}: field {wanted} is missing (fields there: {there})")


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the records of a file in order.

    Args:
        path: JSON lines or one JSON array of objects, UTF-8, gzip recognised by content and not by name.

    Raises:
        InputError: no such file, a directory, not readable, not UTF-8, truncated gzip, or a record that is not a JSON
            object; the message names file, line and column.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected a file of JSON lines")
    if not path.exists():
        raise InputError(f"no file {path} (looked for {path.absolute()})")
    try:
        yield from _read(path)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {path}: {error}") from error


def _read(path: Path) -> Iterator[Row]:
    with path.open("rb") as probe:
        compressed = probe.read(2) == _GZIP_MAGIC
    with gzip.open(path, "rb") if compressed else path.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            data = raw.removeprefix(_BOM) if number == 1 else raw
            if number == 1 and data.lstrip()[:1] == b"[":
                yield from _read_array(path, data + stream.read())
                return
            if not data.strip():
                continue
            if number == 1 and data.strip() == b"{":  # one object over many lines, as editors write it
                data += stream.read()
            place = f"{path}, line {number}"
            record = _parse(data.rstrip(), place)
            if not isinstance(record, dict):
                raise InputError(f"{place}: {_json_type(record)}; expected a JSON object")
            yield Row(place, number, record)


def _read_array(path: Path, data: bytes) -> Iterator[Row]:
    for number, record in enumerate(_parse(data, str(path)), start=1):
        place = f"{path}, record {number}"
        if not isinstance(record, dict):
            raise InputError(f"{place}: {_json_type(record)}; expected a JSON object")
        yield Row(place, number, record)


def _parse(data: bytes, place: str) -> Any:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{place}: not UTF-8 (byte {error.start + 1}: {data[error.start]:#04x})") from error
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{place}: not JSON ({error.msg}, {where})") from error
    except (RecursionError, ValueError) as error:
        raise InputError(f"{place}: not usable JSON ({error})") from error


_KINDS: dict[type, str] = {
    str: "a string",
    int: "an integer",
    list: "a list",
    dict: "an object",
    bool: "true or false",
    float: "a number",
}


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    return _KINDS.get(type(value), type(value).__name__)
