"""From plain data to dataclasses, checked against their annotations: the dataclasses are the schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from specref_core.errors import InputError

T = TypeVar("T")
_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}


def parse(kind: type[T], data: object, place: str) -> T:
    """Make a dataclass of plain data.

    Fields that the class does not have are passed over, so that a report of a later release with additions can be read.

    Args:
        kind: a dataclass whose fields are texts, numbers, flags, ``None``, tuples of one kind, mappings from text, or
            such dataclasses.
        data: as JSON gives it.
        place: what the error calls it, ``report.verdicts[3]`` say.

    Raises:
        InputError: naming the place, what stands there and what was expected.
    """
    if not isinstance(data, Mapping):
        raise _unexpected(place, data, "an object")
    hints = _hints(kind)  # type: ignore[arg-type]  # a class is hashable; mypy doubts it for a type variable
    values = {}
    for field in fields(kind):  # type: ignore[arg-type]  # every caller gives a dataclass
        if field.name in data:
            values[field.name] = _value(hints[field.name], data[field.name], f"{place}.{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"{place}: field {field.name!r} is missing; the file is cut short or not a report")
    return kind(**values)


def _value(kind: Any, data: object, place: str) -> Any:
    origin = get_origin(kind)
    if origin in (UnionType, Union):
        if data is None and type(None) in get_args(kind):
            return None
        return _value(next(part for part in get_args(kind) if part is not type(None)), data, place)
    if origin is tuple:
        if not isinstance(data, (list, tuple)):
            raise _unexpected(place, data, "a list")
        inner = get_args(kind)[0]
        return tuple(_value(inner, entry, f"{place}[{i}]") for i, entry in enumerate(data))
    if origin is Mapping:
        if not isinstance(data, Mapping):
            raise _unexpected(place, data, "an object")
        inner = get_args(kind)[1]
        return {str(name): _value(inner, entry, f"{place}.{name}") for name, entry in data.items()}
    if is_dataclass(kind):
        assert isinstance(kind, type)
        return parse(kind, data, place)
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if not isinstance(data, kind) or (kind is int and isinstance(data, bool)):
        raise _unexpected(place, data, _NAMES[kind])
    return data


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _unexpected(place: str, data: object, expected: str) -> InputError:
    shown = repr(data)
    return InputError(f"{place} is {shown if len(shown) <= 60 else shown[:57] + '…'}; expected {expected}")
