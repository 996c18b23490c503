"""The judge: a pool of warm worker pairs that score programs against their problems' tests.

Each worker (``worker.py``) is a pair of processes. The *referee* (``referee.py``) holds the tests and compares answers;
the *zygote* (``zygote.py``) forks one confined candidate for each program. The judge gives out work, watches the clock
once more, and replaces a pair that was lost.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from protocols.execution import channel, isolation
from protocols.problems import CodeProblem
from protocols.score import Failure, Score
from specref_core.errors import InputError, SpecRefError

_HERE = Path(__file__).resolve().parent
_START_SECONDS = 60.0
_ENDING_SECONDS = 10.0
_RUNS = 10  # of one program and its reference solution at most, in all ways and bindings
_SLACK = 10.0
"""Seconds beyond a referee's own clock after which the judge gives up on the referee."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use.

    Attributes:
        timeout: seconds of wall clock for the whole check, from start to last answer (10 s in the paper).
        memory: bytes of address space of the candidate's process.
        processes: processes and threads at a time.
    """

    timeout: float = 10.0
    memory: int = 2 << 30
    processes: int = 64

    def __post_init__(self) -> None:
        if not 0 < self.timeout <= 86_400:
            raise InputError(f"timeout {self.timeout!r}: expected seconds above 0 and at most 86400")
        if self.memory < 64 << 20:
            raise InputError(f"memory {self.memory!r}: expected at least {64 << 20} bytes, which the interpreter needs")
        if self.processes < 1:
            raise InputError(f"processes {self.processes!r}: expected 1 or more")


class _WorkerLostError(Exception):
    """A pair died or fell silent."""


class _Worker:
    """One referee with its zygote."""

    def __init__(self, limits: Limits, ceiling: str) -> None:
        self._limits = limits
        self._folder = tempfile.mkdtemp(prefix="specref-")
        os.chmod(self._folder, 0o700)
        self.socket, judge_end = socket.socketpair()
        settings = {"memory": limits.memory, "processes": limits.processes, "ceiling": ceiling, "folder": self._folder}
        with judge_end:
            self._process = _spawn(judge_end, settings)
        self.level = ""

    def ready(self) -> str:
        """Wait until the pair works and return its isolation level."""
        try:
            told = json.loads(channel.receive(self.socket, deadline=time.monotonic() + _START_SECONDS))
        except (channel.ChannelClosedError, channel.ClockError, ValueError):
            raise _WorkerLostError("a worker did not start") from None
        if told["level"] is None:
            raise _WorkerLostError(str(told["why"]))
        self.level = told["level"]
        return self.level

    def send(self, problem: CodeProblem, program: str) -> None:
        """Give the pair a program to judge."""
        request = {"problem": _fields(problem), "program": program, "timeout": self._limits.timeout}
        deadline = time.monotonic() + self._limits.timeout + _SLACK
        try:
            channel.send(self.socket, json.dumps(request).encode(), deadline=deadline)
        except (channel.ChannelClosedError, channel.ClockError):
            raise _WorkerLostError("a worker is gone") from None

    def receive(self, deadline: float) -> dict[str, Any]:
        """Return the verdict."""
        try:
            return dict(json.loads(channel.receive(self.socket, deadline=deadline)))
        except (channel.ChannelClosedError, channel.FrameTooLargeError):
            raise _WorkerLostError("closed") from None
        except channel.ClockError:
            raise _WorkerLostError("silent") from None

    def close(self) -> None:
        """End the pair; everything the candidate left dies with it."""
        self.socket.close()  # the worker's first process sees that, and ends the other two
        try:
            self._process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _spawn(judge_end: socket.socket, settings: dict[str, Any]) -> subprocess.Popen[bytes]:
    descriptor = judge_end.fileno()
    script = str(_HERE / "worker.py")
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-X", "utf8", script, str(descriptor), json.dumps(settings)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=None if os.environ.get("SPECREF_DEBUG") else subprocess.DEVNULL,
        env={},
        cwd="/",
        pass_fds=[descriptor],
        start_new_session=True,
    )


_FIELDS = tuple(field.name for field in dataclasses.fields(CodeProblem))


def _fields(problem: CodeProblem) -> dict[str, Any]:
    return {name: getattr(problem, name) for name in _FIELDS}


@dataclass(slots=True)
class _Task:
    """One item under way."""

    number: int
    problem: CodeProblem
    program: str
    deadline: float
    attempts: int = 1


class Judge:
    """A pool of workers; use it as a context manager.

    Args:
        workers: how many programs run at a time; by default one for each processor this process may use.
        limits: what one program may use.
        require_isolation: the weakest level of :data:`protocols.execution.isolation.LEVELS` to accept.
        isolation_ceiling: the strongest level to use, for tests and for comparison.

    Raises:
        InputError: an unknown level, or the machine cannot give the one required.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        limits: Limits = Limits(),
        require_isolation: str | None = None,
        isolation_ceiling: str = isolation.FULL,
    ) -> None:
        for level in (require_isolation, isolation_ceiling):
            if level is not None and level not in isolation.LEVELS:
                raise InputError(f"isolation level {level!r} is unknown; the levels are {', '.join(isolation.LEVELS)}")
        count = workers if workers is not None else len(os.sched_getaffinity(0))
        if count < 1:
            raise InputError(f"workers {count!r}: expected 1 or more")
        self.limits = limits
        self._count = count
        self._required = require_isolation
        self._ceiling = isolation_ceiling
        self._idle: deque[_Worker] = deque()
        self._freed = threading.Condition()
        self._level = ""  # while the workers run
        self._reached = ""  # once they ran, also after close()

    @property
    def isolation(self) -> str:
        """The isolation level in force, the weakest of all workers'; it belongs into every signature."""
        return self._reached or self.start()

    def start(self) -> str:
        """Start the workers where they do not run yet, and return the isolation level in force.

        Raises:
            SpecRefError: their processes were killed while they started.
            InputError: the machine does not reach the level required.
        """
        self._start()
        return self._reached

    def __enter__(self) -> Judge:  # noqa: PYI034 - typing.Self is not in Python 3.10
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every worker that is not at work."""
        with self._freed:
            while self._idle:
                self._idle.popleft().close()
            self._level = ""

    def _start(self) -> None:
        with self._freed:
            if self._level:
                return
            workers: list[_Worker] = []
            try:
                workers.extend(_Worker(self.limits, self._ceiling) for _ in range(self._count))
                levels = [worker.ready() for worker in workers]
                level = min(levels, key=isolation.LEVELS.index)
                self._refuse_below(level)
            except _WorkerLostError as error:
                _close_all(workers)
                raise SpecRefError(f"the processes that run programs could not be started: {error}") from None
            except BaseException:
                _close_all(workers)
                raise
            self._idle.extend(workers)
            self._level = self._reached = level

    def _refuse_below(self, level: str) -> None:
        if self._required is not None and not isolation.at_least(level, self._required):
            raise InputError(
                f"this machine gives candidates the isolation level {level!r}, and {self._required!r} is required; "
                f"the levels are {', '.join(isolation.LEVELS)}, weakest first"
            )

    def score(self, problem: CodeProblem, program: str) -> Score:
        """Return the verdict on one program: the full source text, already built from the completion."""
        return next(self.score_many([(problem, program)]))

    def score_many(self, items: Iterable[tuple[CodeProblem, str]]) -> Iterator[Score]:
        """Yield the verdicts in the order of the items, as they come; items are drawn as workers become free."""
        self._start()
        run = _Run(self, iter(items))
        try:
            yield from run.scores()
        finally:
            run.release()

    def take(self, *, wait: bool) -> _Worker | None:
        """Take an idle worker out of the pool; ``None`` where there is none and ``wait`` is false."""
        with self._freed:
            while wait and not self._idle:
                self._freed.wait()
            return self._idle.popleft() if self._idle else None

    def give(self, worker: _Worker) -> None:
        """Put a worker back."""
        with self._freed:
            if self._level:
                self._idle.append(worker)
                self._freed.notify()
            else:
                worker.close()

    def replace(self, worker: _Worker) -> _Worker:
        """Return a new worker instead of one that was lost or is still busy."""
        worker.close()
        fresh = _Worker(self.limits, self._ceiling)
        try:
            level = fresh.ready()
        except _WorkerLostError as error:
            fresh.close()
            raise SpecRefError(f"a process that runs programs could not be replaced: {error}") from None
        if self._level and not isolation.at_least(level, self._level):
            fresh.close()
            raise SpecRefError(f"a new process reaches isolation level {level!r} only, after {self._level!r}")
        return fresh


def _close_all(workers: list[_Worker]) -> None:
    for worker in workers:
        with contextlib.suppress(Exception):
            worker.close()


class _Run:
    """One pass of ``score_many`` over its items."""

    def __init__(self, judge: Judge, items: Iterator[tuple[CodeProblem, str]]) -> None:
        self._judge = judge
        self._items = enumerate(items)
        self._busy: dict[_Worker, _Task] = {}
        self._free: list[_Worker] = []
        self._done: dict[int, Score] = {}
        self._selector = selectors.DefaultSelector()
        self._drained = False
        self._ahead = 256  # verdicts kept back at most while an earlier one is waited for

    def scores(self) -> Iterator[Score]:
        due = 0
        while True:
            while due in self._done:
                yield self._done.pop(due)
                due += 1
            self._hand_out(due)
            if not self._busy:
                return
            self._collect()

    def _hand_out(self, due: int) -> None:
        while not self._drained:
            if len(self._done) + len(self._busy) > self._ahead and due in (t.number for t in self._busy.values()):
                return
            worker = self._free.pop() if self._free else self._judge.take(wait=not self._busy)
            if worker is None:
                return
            try:
                number, (problem, program) = next(self._items)
            except StopIteration:
                self._drained = True
                self._judge.give(worker)
                return
            except BaseException:
                self._judge.give(worker)
                raise
            self._assign(worker, _Task(number, problem, program, 0.0))

    def _assign(self, worker: _Worker, task: _Task) -> None:
        task.deadline = time.monotonic() + _RUNS * self._judge.limits.timeout + _SLACK
        try:
            worker.send(task.problem, task.program)
        except _WorkerLostError:
            self._lost(worker, task)
            return
        self._busy[worker] = task
        self._selector.register(worker.socket, selectors.EVENT_READ, worker)

    def _collect(self) -> None:
        nearest = min(task.deadline for task in self._busy.values())
        ready = [key.data for key, _ in self._selector.select(max(0.0, nearest - time.monotonic()))]
        now = time.monotonic()
        for worker in ready or [w for w, task in self._busy.items() if task.deadline <= now]:
            task = self._busy.pop(worker)
            self._selector.unregister(worker.socket)
            try:
                verdict = worker.receive(now + 5.0 if ready else now)
            except _WorkerLostError:
                self._lost(worker, task)
                continue
            self._done[task.number] = _score(task.program, verdict)
            self._free.append(worker)

    def _lost(self, worker: _Worker, task: _Task) -> None:
        """Replace a lost pair; a program gets a second pair, and the blame when it loses that too."""
        started = task.deadline - _RUNS * self._judge.limits.timeout - _SLACK
        hung = time.monotonic() - started >= self._judge.limits.timeout
        fresh = self._judge.replace(worker)
        if hung:
            self._done[task.number] = Score(False, Failure.TIMEOUT, task.program, "the tests themselves did not end")
        elif task.attempts > 1:
            self._done[task.number] = Score(
                False, Failure.KILLED, task.program, "the process around it was lost, twice"
            )
        else:
            task.attempts += 1
            self._assign(fresh, task)
            return
        self._free.append(fresh)

    def release(self) -> None:
        """Give the workers back; those still at work are replaced when they are next needed."""
        self._selector.close()
        for worker in self._free:
            self._judge.give(worker)
        for worker in list(self._busy):
            self._judge.give(self._judge.replace(worker))
        self._free.clear()
        self._busy.clear()


def _score(program: str, verdict: dict[str, Any]) -> Score:
    if verdict["failure"] is None:
        return Score(True, None, program, str(verdict["detail"]))
    return Score(False, Failure(verdict["failure"]), program, str(verdict["detail"]))
