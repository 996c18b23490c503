"""The ledger as a file: how one is made, and how a damaged or foreign one is recognised before anything touches it.

Every check reads: the header bytes first, without SQLite, then the structure through a read-only connection. Only a
file that passed them is opened for writing, so that a refusal leaves it byte for byte as it was found.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from pathlib import Path
from typing import NoReturn

from specref_core.errors import LedgerError

VERSION = 1
APPLICATION_ID = 0x53526566  # "SRef", in the header of every ledger

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
# Above this size only the table of verdicts is walked, whose pages hold no completions: opening stays below a second.
_FULL_CHECK_BYTES = 64 * 2**20

_SCHEMA = """
CREATE TABLE completions (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    system TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    benchmark TEXT NOT NULL,
    data TEXT NOT NULL,
    task TEXT NOT NULL,
    seed TEXT NOT NULL,
    settings TEXT NOT NULL,
    text BLOB NOT NULL,
    cost TEXT,
    trace BLOB,
    made_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    checksum BLOB NOT NULL
);
CREATE TABLE scores (
    id INTEGER PRIMARY KEY,
    completion INTEGER NOT NULL REFERENCES completions(id),
    scoring TEXT NOT NULL,
    correct INTEGER NOT NULL,
    failure TEXT,
    extracted BLOB,
    detail BLOB NOT NULL,
    scored_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    checksum BLOB NOT NULL,
    UNIQUE (completion, scoring)
);
CREATE VIEW samples AS
    SELECT system, fingerprint, benchmark, data, task, seed, settings, scoring, correct, failure,
           CAST(detail AS TEXT) AS detail, CAST(text AS TEXT) AS text, cost, scored_at
    FROM scores JOIN completions ON completions.id = scores.completion;
"""


def create(path: Path) -> None:
    """Make an empty ledger at ``path``; it appears there complete or not at all, and an existing file is kept.

    Raises:
        LedgerError: the folder is missing or read-only, or its disk is full.
    """
    require_writable_folder(path)
    made = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
        os.close(handle)
        made = Path(name)
        made.chmod(0o666 & ~_umask())
        connection = sqlite3.connect(made, isolation_level=None)
        try:
            lay_out(connection)
            # On file systems without shared memory SQLite keeps its rollback journal, which is as durable, only slower.
            connection.execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()
        _put_in_place(made, path)
    except (OSError, sqlite3.Error) as error:
        raise LedgerError(f"ledger {path} cannot be created: {error}; nothing was left behind") from error
    finally:
        if made is not None:
            made.unlink(missing_ok=True)


def lay_out(connection: sqlite3.Connection) -> None:
    """Make the tables of an empty ledger, in one transaction."""
    numbers = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
    connection.executescript(f"BEGIN; {_SCHEMA} {numbers} COMMIT;")


def inspect(path: Path) -> None:
    """Refuse a file that is not a healthy ledger of this version, without changing it.

    Raises:
        LedgerError: naming what the file is and how to mend it.
    """
    if path.is_dir():
        raise LedgerError(f"ledger {path} is a folder; name a file in it, {path / 'ledger.db'} say")
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise LedgerError(f"ledger {path} is not a regular file; name another one")
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
        size = path.stat().st_size
    except OSError as error:
        raise LedgerError(f"ledger {path} cannot be read: {error.strerror or error}") from error
    _inspect_header(path, header, size)
    # Without a write-ahead log nobody has the file open, and SQLite need not make one in order to look.
    quiet = not _wal(path).exists()
    try:
        _inspect_structure(path, immutable=quiet)
    except LedgerError:
        if not quiet or not _wal(path).exists():
            raise
        _inspect_structure(path, immutable=False)  # somebody began to write in the meantime


def require_writable(path: Path) -> None:
    """Refuse a ledger that is marked read-only.

    The mode bits count for the superuser too: who took every write bit away meant it.

    Raises:
        LedgerError: the file or its folder is read-only.
    """
    if not path.stat().st_mode & 0o222 or not os.access(path, os.W_OK):
        raise LedgerError(f"ledger {path} is read-only; make it writable (chmod u+w) or name another --ledger")
    require_writable_folder(path)


def require_writable_folder(path: Path) -> None:
    """Refuse a ledger whose folder cannot take SQLite's log beside it.

    Raises:
        LedgerError: the folder is missing or read-only.
    """
    folder = path.parent
    if not folder.is_dir():
        raise LedgerError(f"ledger {path}: the folder {folder} does not exist; create it first")
    if not folder.stat().st_mode & 0o222 or not os.access(folder, os.W_OK | os.X_OK):
        raise LedgerError(
            f"ledger {path}: the folder {folder} is read-only, and the log beside the ledger must be written there; "
            "make it writable or name another --ledger"
        )


def uri(path: Path, *, mode: str, immutable: bool = False) -> str:
    """Return the SQLite address of ``path``, with every odd character of its name escaped."""
    return f"{path.absolute().as_uri()}?mode={mode}{'&immutable=1' if immutable else ''}"


def damaged(path: Path, what: str) -> LedgerError:
    """Return the error for a ledger that can be read no further, with the way to mend it."""
    return LedgerError(
        f"ledger {path} is damaged ({what}); it was left as it is. Set it aside (mv {path.name} {path.name}.damaged, "
        f"{path.name}-wal and {path.name}-shm with it where they exist) and run again, or restore a copy; "
        f"`sqlite3 {path.name}.damaged .recover` reads what is left of it"
    )


def _inspect_header(path: Path, header: bytes, size: int) -> None:
    if size == 0:
        raise LedgerError(
            f"ledger {path} is an empty file: a ledger cut to nothing, or a placeholder; remove it, or name a file "
            "that does not exist yet"
        )
    if not header.startswith(_MAGIC):
        if len(header) < len(_MAGIC) and _MAGIC.startswith(header):
            raise damaged(path, f"cut to {size} bytes")
        raise LedgerError(f"{path} is not a ledger (nor any SQLite database); name another --ledger")
    if len(header) < _HEADER_BYTES:
        raise damaged(path, f"cut to {size} bytes")
    application, version = int.from_bytes(header[68:72], "big"), int.from_bytes(header[60:64], "big")
    if application != APPLICATION_ID:
        raise LedgerError(f"{path} is an SQLite database of another program, not a ledger; name another --ledger")
    _inspect_version(path, version)
    page = int.from_bytes(header[16:18], "big") or 1
    page = 65536 if page == 1 else page  # the format writes 65536 as 1
    pages = int.from_bytes(header[28:32], "big")
    # Pages still in the log may be missing from the file itself.
    if size < page * pages and not (_wal(path).exists() and _wal(path).stat().st_size):
        raise damaged(path, f"cut short: {size} of {page * pages} bytes are there")


def _inspect_version(path: Path, version: int) -> None:
    if version > VERSION:
        raise LedgerError(
            f"ledger {path} has format {version}, newer than the format {VERSION} of this SpecRef; "
            "update SpecRef or name another --ledger"
        )
    if version < VERSION:
        raise damaged(path, f"its format number is {version}")


def _inspect_structure(path: Path, *, immutable: bool) -> None:
    connection = None
    try:
        connection = sqlite3.connect(uri(path, mode="ro", immutable=immutable), uri=True, timeout=60)
        _inspect_version(path, int(connection.execute("PRAGMA user_version").fetchone()[0]))
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        if missing := {"completions", "scores", "samples"} - names:
            raise damaged(path, f"no table {min(missing)!r}")
        whole = path.stat().st_size <= _FULL_CHECK_BYTES
        found = connection.execute(f"PRAGMA quick_check({'1' if whole else 'scores'})").fetchone()[0]
        if found != "ok":
            raise damaged(path, str(found).replace("\n", " "))
    except sqlite3.Error as error:
        refuse(path, error)
    finally:
        if connection is not None:
            connection.close()


def refuse(path: Path, error: sqlite3.Error) -> NoReturn:
    """Turn an error of SQLite into one that says what is wrong with the ledger and how to mend it.

    Raises:
        LedgerError: always.
    """
    told = str(error)
    if "malformed" in told or "not a database" in told or "disk image" in told:
        raise damaged(path, told) from error
    if "full" in told:
        hint = "the disk is full; free some space and run again: what was stored before is safe"
    elif "I/O error" in told:
        hint = "the disk refused a write or a read (full, over quota, or a network disk); run again when it is mended"
    elif "readonly" in told:
        hint = "it is read-only; make the file and its folder writable or name another --ledger"
    elif "locked" in told or "busy" in told:
        hint = "another process has held it locked for a minute; stop that process or name another --ledger"
    elif "unable to open" in told:
        hint = "it cannot be opened; check the rights of the file and its folder"
    else:
        hint = "SQLite refused"
    raise LedgerError(f"ledger {path}: {hint} ({told})") from error


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current


def _put_in_place(made: Path, path: Path) -> None:
    try:
        os.link(made, path)
    except FileExistsError:
        return  # another process was first; its ledger is as empty as this one
    except OSError:
        if not path.exists():  # a file system without hard links
            made.rename(path)
