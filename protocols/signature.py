"""One line that names every choice which can move a number, in the manner of sacrebleu's signatures."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Signature:
    """Ordered key-value pairs, printed as ``benchmark:humaneval|data:1f3a…|n:164|…|version:0.1.0``.

    Build it with :meth:`of`; the package version is added there.
    """

    items: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, **choices: object) -> Signature:
        """Make a signature from choices in the order given; ``None`` leaves a choice out, ``_`` in a key becomes ``-``.

        Values may hold any text: ``|``, ``:``, ``%`` and whatever does not print are written as the ``%xx`` of their
        UTF-8 bytes, so that a signature stays one line, can be parsed, and differs wherever a value does.
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
        allowed = {key.replace("_", "-") for key in named}
        unexpected = {key: pair for key, pair in self.differences(other).items() if key not in allowed}
        if unexpected:
            told = "; ".join(f"{key}: {_shown(a)} against {_shown(b)}" for key, (a, b) in unexpected.items())
            raise InputError(f"these scores are not comparable ({told}); name the difference if it is what you compare")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    if isinstance(value, (list, tuple)):
        return ",".join(_text(v).replace(",", ";") for v in value)
    return str(value)


def _escape(text: str) -> str:
    return "".join(c if c.isprintable() and c not in "|:%" else _percent(c) for c in text)


def _percent(character: str) -> str:
    return "".join(f"%{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))


def _shown(value: str | None) -> str:
    return "absent" if value is None else value or "empty"
