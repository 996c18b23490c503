"""Math-Verify behind a hard limit: worker processes that are killed and replaced when an answer takes too long.

Math-Verify interrupts itself by SIGALRM, which works in a main thread only and cannot stop a long computation inside C
code. Here it runs in processes of its own, so it can be called from any thread and every comparison has an end.

The limit is processor time, so that a verdict does not depend on what else the machine does; a wall-clock limit a few
times as long stands behind it.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import selectors
import subprocess
import sys
import threading
import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specref_core.errors import SpecRefError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

# Wall seconds a comparison may take for each second of processor time it is granted.
_PATIENCE = 4.0
# Importing sympy takes about a second on an idle core, many on a loaded one; this is not the limit of a comparison.
_START_SECONDS = 120.0
_SERVE = "import sys; sys.path[:] = {path!r}; from protocols.exact_match.math_verify_worker import serve; serve()"


class Equality(Enum):
    """What a comparison of two answers found."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNKNOWN = "unknown"
    """One of the two could not be read."""
    TIMEOUT = "timeout"
    """No verdict within the limit, or the process died of the answer."""


class MathVerifyPool:
    """Up to ``workers`` Math-Verify processes, started when first needed; safe to call from many threads.

    Args:
        workers: most processes at a time.
        timeout: seconds of processor time for one comparison, after which its process is killed.
    """

    def __init__(self, *, workers: int, timeout: float) -> None:
        self._timeout = timeout
        self._slots: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._all = [_Worker() for _ in range(workers)]
        for worker in self._all:
            self._slots.put(worker)

    def compare(self, gold: str, answer: str) -> Equality:
        """Compare two answers; never takes longer than four times the timeout, a process's start apart."""
        worker = self._slots.get()
        try:
            return worker.compare(gold, answer, self._timeout)
        finally:
            self._slots.put(worker)

    def close(self) -> None:
        """End all processes; a later comparison starts new ones."""
        for worker in self._all:
            worker.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Worker:
    """One process and the two pipes to it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._ready = False
        self._pending = b""
        self._lock = threading.Lock()

    def compare(self, gold: str, answer: str, timeout: float) -> Equality:
        self._ask([gold, answer, timeout])
        reply = self._receive(timeout * _PATIENCE)
        if reply is None:
            # The next process imports sympy while nobody waits for it; not when the pool was closed meanwhile.
            if self.stop():
                self._launch()
            return Equality.TIMEOUT
        return Equality(json.loads(reply))

    def stop(self) -> bool:
        """End the process; return whether there was one to end."""
        with self._lock:
            process, self._process = self._process, None
        # A fork of this process shares the pipes; only the process that started the worker may end it.
        if process is None or self._owner != os.getpid():
            return False
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()
        return True

    def _ask(self, message: list[Any]) -> None:
        """Send a message to a process that is ready for it; one that died while idle is replaced."""
        for last_try in (False, True):
            self._launch()
            if self._ready or self._receive(_START_SECONDS) is not None:
                self._ready = True
                with contextlib.suppress(OSError):
                    self._send(message)
                    return
            self.stop()
            if last_try:
                raise SpecRefError(
                    "the Math-Verify process did not start; does `python -c 'import math_verify'` work here?"
                )

    def _launch(self) -> None:
        """Start the process unless it runs."""
        if self._process is not None and self._owner == os.getpid() and self._process.poll() is None:
            return
        self.stop()
        command = [sys.executable, "-I", "-c", _SERVE.format(path=[str(Path(entry).absolute()) for entry in sys.path])]
        self._pending, self._ready = b"", False
        self._owner = os.getpid()
        # Its own session: Ctrl-C ends the run, and the run ends its workers.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )

    def _send(self, message: list[Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        data = (json.dumps(message) + "\n").encode()
        while data:
            data = data[self._process.stdin.write(data) or 0 :]

    def _receive(self, timeout: float) -> bytes | None:
        """Return the next line, or ``None`` where the process died or took too long."""
        process = self._process
        if process is None or process.stdout is None:
            return None
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                left = deadline - time.monotonic()
                if left <= 0 or not selector.select(left):
                    return None
                data = os.read(process.stdout.fileno(), 65536)
                if not data:
                    return None
                self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return line
