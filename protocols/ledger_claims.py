"""Claims on samples, so that processes that share a ledger share its work instead of doing it twice.

A claim is a lock of one byte in an empty file beside the ledger, at an offset drawn from the sample's key. The kernel
gives it back the moment its process dies, however it dies: there is no lease to wait for and nothing to clean up.
Claims only save work. Where locks are not to be had (no ``fcntl``, some network disks) every claim succeeds, samples
may be made twice, and the ledger keeps the first of two equal rows.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]  # the module itself is the flag

_REFUSED = (BlockingIOError, PermissionError)  # POSIX lets a system answer "locked" with either


class Claims:
    """The claims that this process holds.

    Locks belong to the process: its threads do not exclude one another.
    """

    def __init__(self, ledger: Path) -> None:
        self._path = ledger.with_name(ledger.name + "-claims")
        self._descriptor: int | None = None
        if fcntl is not None:
            with contextlib.suppress(OSError):
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def take(self, key: bytes) -> bool:
        """Claim a sample; ``False`` when another living process has it."""
        if self._descriptor is None:
            return True
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _offset(key))
        except _REFUSED:
            return False
        except OSError:
            return True  # no locks on this disk
        return True

    def release(self, key: bytes) -> None:
        """Give a claim back; one that is not held is none to give."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, _offset(key))

    def close(self) -> None:
        """Give every claim back, and remove the file when no other process has a claim in it."""
        if self._descriptor is None:
            return
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pass  # somebody is at work
        else:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None


def _offset(key: bytes) -> int:
    return int.from_bytes(key[:7], "big")  # below 2**56, the file stays empty
