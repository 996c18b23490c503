"""Every scored sample of a ledger, for a reader who does not know what was measured."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from protocols import ledger_file
from protocols.ledger import Ledger, SampleKey

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from protocols.score import Score
    from specref_core.generator import Completion


@dataclass(frozen=True, slots=True)
class StoredSample:
    """One scored completion: its key, the scoring choices as signature text, the completion and its verdict."""

    key: SampleKey
    scoring: str
    completion: Completion
    score: Score


def stored_samples(path: str | os.PathLike[str]) -> Iterator[StoredSample]:
    """Read a ledger's scored samples in the order of their completions, without writing to it.

    Raises:
        LedgerError: there is no such ledger, or it is damaged.
    """
    place = Path(path).resolve()
    with Ledger(place, read_only=True) as ledger:
        for system, fingerprint, benchmark, data, task, settings, seed, scoring in _rows(place):
            key = SampleKey(system, fingerprint, benchmark, data, task, settings, int(seed))
            completion, score = ledger.find_completion(key), ledger.find_score(key, scoring)
            if completion is not None and score is not None:
                yield StoredSample(key, scoring, completion, score)


def _rows(place: Path) -> list[tuple[str, ...]]:
    quiet = not place.with_name(f"{place.name}-wal").exists()
    try:
        connection = sqlite3.connect(ledger_file.uri(place, mode="ro", immutable=quiet), uri=True, timeout=60)
        try:
            return connection.execute(
                "SELECT system, fingerprint, benchmark, data, task, settings, seed, scoring "
                "FROM scores JOIN completions ON completions.id = scores.completion ORDER BY completions.id, scores.id"
            ).fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        ledger_file.refuse(place, error)
