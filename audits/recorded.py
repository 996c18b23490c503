"""The recorded verdicts of the sources that ship with the repository, reviewed as a diff when they change.

The record holds conclusions, never measurements: every run measures anew and is compared with it.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audits.json_output import write_json
from audits.verdicts import Outcome
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from audits.verdicts import Verdict

PATH = Path(__file__).resolve().parent / "recorded_verdicts.json"
SCHEMA = "specref.recorded-verdicts"
VERSION = 1
_DIGITS = 6
Key = tuple[str, str, str]


@cache
def load(path: Path = PATH) -> Mapping[Key, dict[str, Any]]:
    """Return the recorded verdicts by claim, system and benchmark; empty where there is no record yet.

    Raises:
        InputError: the file is not a record of this version.
    """
    if not path.exists():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if (data["schema"], data["version"]) != (SCHEMA, VERSION):
            raise InputError(
                f"{path} is {data['schema']} version {data['version']}; expected {SCHEMA} version {VERSION}"
            )
        entries = {(e["claim"], e["system"], e["benchmark"]): e for e in data["verdicts"]}
        for entry in entries.values():
            Outcome(entry["outcome"])
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is damaged ({error}); restore it or rewrite it with: specref audit --record"
        ) from error
    return entries


def recorded_outcome(verdict: Verdict, path: Path = PATH) -> Outcome | None:
    """Return the outcome on record for a verdict's key, or ``None``."""
    entry = load(path).get(verdict.key)
    return None if entry is None else Outcome(entry["outcome"])


def save(measured: Iterable[Mapping[str, Any]], *, complete: bool, path: Path = PATH) -> list[str]:
    """Write the record and say what changed.

    Args:
        measured: verdicts of this run as ``Verdict.as_dict`` gives them, with the key ``source`` added.
        complete: whether every audit ran; then entries that were not measured are dropped, except those that need
            benchmark files (source ``data``) which this machine does not have.
        path: of the record.

    Returns:
        One line a change.
    """
    before = dict(load(path))
    measured = list(measured)
    files = {e["benchmark"] for e in measured if e["source"] == "data"}
    kept = {
        key: e for key, e in before.items() if not complete or (e["source"] == "data" and e["benchmark"] not in files)
    }
    new = {(e["claim"], e["system"], e["benchmark"]): _plain(e) for e in measured}
    after = {**kept, **new}
    write_json(path, {"schema": SCHEMA, "version": VERSION, "verdicts": [after[key] for key in sorted(after)]})
    load.cache_clear()
    changes = []
    for key in sorted({*before, *after}):
        old, now = (side.get(key, {}).get("outcome", "absent") for side in (before, after))
        if old != now:
            changes.append(f"{' · '.join(key)}: {old} → {now}")
    return changes


def _plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Round what differs between platforms in the last digits, and leave out what differs between machines."""
    return {
        name: float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
        for name, value in entry.items()
        if name != "signature"
    }
