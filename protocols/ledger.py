"""One durable row for every completion and every verdict, keyed so that two measurements never share one by mistake.

A completion is stored before it is scored, and a verdict as soon as it is known: a run that is killed loses the samples
in flight and nothing else, and a completion is scored under another pipeline without being generated again. Of two rows
with one key the first stays, and everybody reads that one back: processes that share a ledger agree on every number.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import zlib
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from protocols import ledger_file
from protocols.ledger_claims import Claims
from protocols.score import Failure, Score
from specref_core.errors import LedgerError
from specref_core.generator import Completion, Cost, Draft, Trace

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from typing_extensions import Self

_BUSY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class SampleKey:
    """Everything that a completion depends on.

    Attributes:
        system: the generator's name.
        fingerprint: what it runs with (``specref_core.loading.fingerprint``).
        benchmark: the benchmark's name.
        data: digest of the problem itself, so that a run with ``--limit`` shares its rows with the full one.
        task_id: the problem's name.
        settings: the budget and whatever else production depends on, as signature text.
        seed: the generator's seed.
    """

    system: str
    fingerprint: str
    benchmark: str
    data: str
    task_id: str
    settings: str
    seed: int

    @property
    def digest(self) -> bytes:
        """32 bytes that differ whenever any part differs."""
        return hashlib.sha256(_join(astuple(self))).digest()


class Ledger:
    """A ledger file, or one in memory; a context manager, safe for the threads of one process and for many processes.

    Args:
        path: the file; made when it does not exist. ``None`` keeps everything in memory.
        read_only: never write; the file must exist.

    Raises:
        LedgerError: the file is not a ledger, is damaged, read-only or of a newer version; it is left as it was found.
    """

    def __init__(self, path: str | os.PathLike[str] | None, *, read_only: bool = False) -> None:
        self.path = None if path is None else Path(path).resolve()
        self.read_only = read_only
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._claims: Claims | None = None
        if self.path is None:
            self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            ledger_file.lay_out(self._connection)
            return
        self._connection = _open(self.path, read_only=read_only)
        if not read_only:
            self._claims = Claims(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was stored is already safe."""
        if os.getpid() != self._process:
            return  # a fork's copy: the parent's connection must not be touched
        if self._claims is not None:
            self._claims.close()
        self._connection.close()

    def find_completion(self, key: SampleKey) -> Completion | None:
        """Return the stored completion, byte for byte, or ``None``.

        Raises:
            LedgerError: the row is damaged.
        """
        row = self._row("SELECT text, cost, trace, checksum, key FROM completions WHERE key = ?", (key.digest,))
        if row is None:
            return None
        text, cost, trace, checksum, digest = row
        self._check(checksum, digest, text, cost, trace)
        return Completion(
            text=_text(text),
            cost=None if cost is None else Cost(*json.loads(cost)),
            trace=None if trace is None else _unpack_trace(trace),
        )

    def add_completions(self, entries: Iterable[tuple[SampleKey, Completion]]) -> None:
        """Store completions together, durably; a key that already has one keeps it.

        Raises:
            LedgerError: the disk is full, the file became read-only or damaged; rows stored earlier are safe.
        """
        rows: list[tuple[object, ...]] = []
        for key, completion in entries:
            text = _bytes(completion.text)
            cost = None if completion.cost is None else json.dumps(_numbers(completion.cost))
            trace = None if completion.trace is None else _pack_trace(completion.trace)
            digest = key.digest
            readable = (key.system, key.fingerprint, key.benchmark, key.data, key.task_id, str(key.seed), key.settings)
            shown = tuple(part.encode("utf-8", "backslashreplace").decode() for part in readable)
            rows.append((digest, *shown, text, cost, trace, _checksum(digest, text, cost, trace)))
        self._write(
            "INSERT INTO completions (key, system, fingerprint, benchmark, data, task, seed, settings, text, cost, "
            "trace, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
            rows,
        )

    def find_score(self, key: SampleKey, scoring: str) -> Score | None:
        """Return the stored verdict on a completion under the scoring choices that ``scoring`` spells, or ``None``.

        Raises:
            LedgerError: the row is damaged.
        """
        row = self._row(
            "SELECT correct, failure, extracted, detail, s.checksum, key FROM scores s "
            "JOIN completions c ON c.id = s.completion WHERE c.key = ? AND s.scoring = ?",
            (key.digest, scoring),
        )
        if row is None:
            return None
        correct, failure, extracted, detail, checksum, digest = row
        self._check(checksum, digest, scoring, correct, failure, extracted, detail)
        return Score(
            correct=bool(correct),
            failure=None if failure is None else Failure(failure),
            extracted=None if extracted is None else _text(extracted),
            detail=_text(detail),
        )

    def add_score(self, key: SampleKey, scoring: str, score: Score) -> Score:
        """Store a verdict, durably, and return the one that is kept: the first.

        Raises:
            LedgerError: the completion was never stored, the disk is full, the file became read-only or damaged.
        """
        digest = key.digest
        extracted = None if score.extracted is None else _bytes(score.extracted)
        failure = None if score.failure is None else score.failure.value
        detail, correct = _bytes(score.detail), int(score.correct)
        checksum = _checksum(digest, scoring, correct, failure, extracted, detail)
        self._write(
            "INSERT INTO scores (completion, scoring, correct, failure, extracted, detail, checksum) "
            "SELECT id, ?, ?, ?, ?, ?, ? FROM completions WHERE key = ? ON CONFLICT (completion, scoring) DO NOTHING",
            [(scoring, correct, failure, extracted, detail, checksum, digest)],
        )
        kept = self.find_score(key, scoring)
        if kept is None:
            raise LedgerError(f"no completion of {key.task_id!r} is stored that this score could belong to")
        return kept

    def counts(self) -> tuple[int, int]:
        """Return how many completions and how many scores are stored."""
        row = self._row("SELECT (SELECT count(*) FROM completions), (SELECT count(*) FROM scores)", ())
        return (0, 0) if row is None else (int(row[0]), int(row[1]))

    def claim(self, key: SampleKey) -> bool:
        """Claim a sample for this process; ``False`` when another living process works on it."""
        return self._claims is None or self._claims.take(key.digest)

    def release(self, key: SampleKey) -> None:
        """Give a claim back."""
        if self._claims is not None:
            self._claims.release(key.digest)

    def _row(self, statement: str, values: tuple[object, ...]) -> tuple[Any, ...] | None:
        self._same_process()
        try:
            with self._lock:
                row: tuple[Any, ...] | None = self._connection.execute(statement, values).fetchone()
        except sqlite3.Error as error:
            self._refuse(error)
        return row

    def _write(self, statement: str, rows: list[tuple[object, ...]]) -> None:
        self._same_process()
        if self.read_only:
            raise LedgerError(f"ledger {self.path} was opened for reading only")
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany(statement, rows)
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._refuse(error)
            finally:
                if self._connection.in_transaction:
                    self._connection.rollback()

    def _check(self, checksum: bytes, *parts: object) -> None:
        if checksum != _checksum(*parts):
            raise ledger_file.damaged(self.path or Path("(in memory)"), "a row does not match its checksum")

    def _refuse(self, error: sqlite3.Error) -> NoReturn:
        ledger_file.refuse(self.path or Path("(in memory)"), error)

    def _same_process(self) -> None:
        if os.getpid() != self._process:
            raise LedgerError(f"ledger {self.path} was opened in another process; open it again after a fork")


def check_ledger(path: str | os.PathLike[str]) -> None:
    """Refuse a path that no ledger can be opened or made at, without making one: for a check before a long start.

    Raises:
        LedgerError: as :class:`Ledger` would.
    """
    place = Path(path).resolve()
    if place.exists():
        ledger_file.inspect(place)
        ledger_file.require_writable(place)
    else:
        ledger_file.require_writable_folder(place)


def _open(path: Path, *, read_only: bool) -> sqlite3.Connection:
    if not path.exists():
        if read_only:
            raise LedgerError(f"no ledger {path}")
        ledger_file.create(path)
    ledger_file.inspect(path)
    if not read_only:
        ledger_file.require_writable(path)
    quiet = read_only and not path.with_name(path.name + "-wal").exists()
    try:
        connection = sqlite3.connect(
            ledger_file.uri(path, mode="ro" if read_only else "rw", immutable=quiet),
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        # FULL: a committed row survives the loss of power, not only of the process.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        ledger_file.refuse(path, error)
    return connection


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogatepass")


def _join(parts: Iterable[object]) -> bytes:
    """Spell parts so that different parts never spell alike: each with its type and length before it."""
    spelled = bytearray()
    for part in parts:
        value = part if isinstance(part, bytes) else _bytes(str(part))
        spelled += f"{type(part).__name__}:{len(value)}:".encode() + value
    return bytes(spelled)


def _checksum(*parts: object) -> bytes:
    return hashlib.blake2b(_join(parts), digest_size=8).digest()


def _numbers(cost: Cost) -> list[float]:
    # Numbers of numpy and torch have no JSON of their own.
    return [float(v) if isinstance(v, float) or v != int(v) else int(v) for v in astuple(cost)]


def _pack_trace(trace: Trace) -> bytes:
    return zlib.compress(_bytes(json.dumps(asdict(trace), ensure_ascii=False, default=lambda number: number.item())))


def _unpack_trace(stored: bytes) -> Trace:
    plain = json.loads(_text(zlib.decompress(stored)))
    draft = plain.pop("draft")
    if draft is not None:
        draft = Draft(
            text=draft["text"],
            token_ids=tuple(draft["token_ids"]),
            spans=tuple((start, end) for start, end in draft["spans"]),
            entropies=tuple(draft["entropies"]),
            vocab_size=draft["vocab_size"],
            log_probs=tuple(draft.get("log_probs", ())),
        )
    return Trace(draft=draft, **{name: tuple(values) for name, values in plain.items()})
