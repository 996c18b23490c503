"""One line that names every choice which can move a number, in the manner of sacrebleu's signatures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

_UNSAFE = re.compile(r"[|:\n\r]")


@dataclass(frozen=True, slots=True)
class Signature:
    """Ordered key-value pairs, printed as ``benchmark:humaneval|data:1f3a…|n:164|…|version:0.1.0``.

    Build it with :meth:`of`; the package version is added there.
    """

    items: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, **choices: object) -> Signature:
        """Make a signature from choices in the order given; ``None`` leaves a choice out, ``_`` in a key becomes ``-``.

        Values may hold any text: ``|``, ``:`` and line breaks are written as ``%xx`` so that a signature can be parsed.
        """
        items = [(key.replace("_", "-"), _escape(_text(value))) for key, value in choices.items() if value is not None]
        return cls((*items, ("version", version("specref"))))

    @classmethod
    def parse(cls, text: str) -> Signature:
        """Read a printed signature back.

        Raises:
            InputError: a part is not ``key:value``.
        """
        items = []
        for part in text.split("|"):
            key, separator, value = part.partition(":")
            if not separator or not key:
                raise InputError(f"signature part {part!r} of {text!r} is not key:value")
            items.append((key, value))
        return cls(tuple(items))

    def __str__(self) -> str:
        return "|".join(f"{key}:{value}" for key, value in self.items)

    def as_dict(self) -> dict[str, str]:
        """Return the pairs as a dictionary, values still escaped."""
        return dict(self.items)

    def differences(self, other: Signature) -> dict[str, tuple[str | None, str | None]]:
        """Return every key whose value differs, with both values; ``None`` where one side lacks it."""
        mine, theirs = self.as_dict(), other.as_dict()
        keys = [*mine, *(key for key in theirs if key not in mine)]
        return {key: (mine.get(key), theirs.get(key)) for key in keys if mine.get(key) != theirs.get(key)}

    def require_comparable(self, other: Signature, *, named: Iterable[str] = ("system",)) -> None:
        """Refuse a comparison of two scores that differ in a choice the caller did not name.

        Raises:
            InputError: naming each unexpected difference.
        """
        allowed = set(named)
        unexpected = {key: pair for key, pair in self.differences(other).items() if key not in allowed}
        if unexpected:
            told = "; ".join(f"{key}: {a or 'absent'} against {b or 'absent'}" for key, (a, b) in unexpected.items())
            raise InputError(f"these scores are not comparable ({told}); name the difference if it is what you compare")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ",".join(_text(v) for v in value)
    return str(value)


def _escape(text: str) -> str:
    return _UNSAFE.sub(lambda match: f"%{ord(match.group()):02x}", text)
