"""The judge's worker process: runs the tests, with a stand-in for the function under test, and reaches the verdict.

Forked by ``worker.py``. Tests and reference solutions come from the benchmark and are trusted with this process, though
not with its time or memory: an alarm ends it where they would hang. The program under test never enters it.

Names that tests need from the prompt or from the reference solution (``poly`` in HumanEval/32) are made by running both
here; the function under test is then replaced by its stand-in.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import time
from typing import Any

from protocols.execution import channel
from protocols.execution.isolation import FAILED_TO_START
from protocols.execution.remote import Candidate, Stop, WrongGuessError
from protocols.execution.testing import ALTERNATIVES, INSIDE, REMARKS, VALUES, Tests

_LIMIT = 1 << 30
_MEMORY = 4 << 30
_MOST_PROBLEMS = 2000
_DYING = 0.2
"""Seconds that a candidate whose channel closed is given to be dead by itself."""
_DOUBTFUL = ("wrong-answer", "exception", "output", "undecided")
"""Failures that may be the boundary's and not the program's; the reference solution can tell."""
_ATTEMPTS = 3
"""Starts of a candidate that ended as one does that could not be confined, which a starved machine can cause."""
_WRONG_GUESS = "wrong-guess"
_GRACE = 2.0
"""Seconds past the limit after which the operating system ends this process, should the tests themselves hang."""


class ZygoteLostError(Exception):
    """The zygote died; the judge starts a new pair."""


class Referee:
    """Judges one program after another."""

    def __init__(self, judge: socket.socket, control: socket.socket) -> None:
        self._judge = judge
        self._control = control
        self._known: dict[str, Tests | str] = {}

    def serve(self) -> None:
        """Answer the judge until it closes the socket."""
        while True:
            try:
                request = json.loads(channel.receive(self._judge, limit=_LIMIT))
            except channel.ChannelClosedError:
                return
            channel.send(self._judge, json.dumps(self._judged(request)).encode())

    def _judged(self, request: dict[str, Any]) -> dict[str, Any]:
        tests = self._prepared(request["problem"])
        if isinstance(tests, str):
            return {"failure": "undecided", "detail": tests}
        verdict = self._passed(tests, tests.mode, request["program"], request["timeout"])
        if verdict["failure"] in _DOUBTFUL and not tests.settled:
            self._settle(tests, request["timeout"])
            if tests.mode != VALUES:
                verdict = self._passed(tests, tests.mode, request["program"], request["timeout"])
        remark = REMARKS[tests.mode]
        if remark:
            verdict["detail"] = f"{verdict['detail']}; {remark}" if verdict["detail"] else remark
        return verdict

    def _prepared(self, problem: dict[str, Any]) -> Tests | str:
        key = json.dumps(problem, sort_keys=True)
        if key not in self._known:
            if len(self._known) >= _MOST_PROBLEMS:
                self._known.clear()
            try:
                self._known[key] = Tests(problem)
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                self._known[key] = f"the benchmark's own tests or reference do not parse: {_short(error)}"
        return self._known[key]

    def _settle(self, tests: Tests, timeout: float) -> None:
        """Ask the reference solution in which way these tests can run; without one, take what crosses."""
        tests.settled = True
        program = tests.program
        if not program or self._passed(tests, VALUES, program, timeout)["failure"] is None:
            return
        for mode in ALTERNATIVES:
            if self._passed(tests, mode, program, timeout)["failure"] is None:
                tests.mode = mode
                return

    def _passed(self, tests: Tests, mode: str, program: str, timeout: float) -> dict[str, Any]:
        verdict: dict[str, Any] = {}
        for own_name in tests.bindings():
            verdict = self._timed(tests, mode, program, timeout, own_name=own_name)
            if verdict["failure"] == _WRONG_GUESS:
                tests.plan = []
                verdict = self._timed(tests, mode, program, timeout, own_name=own_name)
            if verdict["failure"] is not None:
                break
        return verdict

    def _timed(self, tests: Tests, mode: str, program: str, timeout: float, *, own_name: bool) -> dict[str, Any]:
        verdict: dict[str, Any] = {}
        for _ in range(_ATTEMPTS):
            signal.setitimer(signal.ITIMER_REAL, timeout + _GRACE)
            verdict = self._tried(tests, mode, program, timeout, own_name=own_name)
            signal.setitimer(signal.ITIMER_REAL, 0)
            if not verdict["failed_to_start"]:
                break
        return verdict

    def _tried(self, tests: Tests, mode: str, program: str, timeout: float, *, own_name: bool) -> dict[str, Any]:
        """Run the tests once with a candidate process of their own."""
        mine, theirs = socket.socketpair()
        with mine, theirs:
            started = time.monotonic()
            self._ask_zygote({"do": "fork", "timeout": timeout}, theirs.fileno())
            theirs.close()
            candidate = Candidate(mine, self._control, started + timeout, self._judge)
            failure: str | None
            try:
                failure, detail = self._verdict(tests, candidate, program, timeout, mode=mode, own_name=own_name)
            except (RecursionError, MemoryError) as error:
                failure, detail = "output", f"the tests could not hold an answer: {_short(error)}"
        end = self._end(_DYING if failure == "died" else 0.0)
        if failure == "died":
            failure, detail = how_it_ended(end)
        unborn = failure == "exited" and end["natural"] and os.waitstatus_to_exitcode(end["ended"]) == FAILED_TO_START
        return {"failure": failure, "detail": detail, "failed_to_start": unborn}

    def _verdict(
        self, tests: Tests, candidate: Candidate, program: str, timeout: float, *, mode: str, own_name: bool
    ) -> tuple[str | None, str]:
        try:
            request = {
                "program": program,
                "setup": tests.setup if mode != INSIDE else "",
                "entry_point": tests.entry_point,
                "seconds": timeout,
            }
            candidate.load(request, tests.foreseen(mode=mode, own_name=own_name))
            tests.run(candidate, mode=mode, own_name=own_name)
        except BaseException as error:
            return _judgement(error, candidate)
        return (None, "") if candidate.stop is None else (candidate.stop.failure, candidate.stop.detail)

    # -- the zygote

    def _ask_zygote(self, message: dict[str, Any], descriptor: int | None = None) -> None:
        try:
            data = [json.dumps(message).encode()]
            if descriptor is None:
                self._control.send(data[0])
            else:
                socket.send_fds(self._control, data, [descriptor])
        except OSError as error:
            raise ZygoteLostError(str(error)) from None

    def _end(self, grace: float) -> dict[str, Any]:
        self._ask_zygote({"do": "end", "grace": grace})
        while True:
            data = self._control.recv(65536)
            if not data:
                raise ZygoteLostError("closed")
            answer = json.loads(data)
            if "ended" in answer:
                return dict(answer)


def _judgement(error: BaseException, candidate: Candidate) -> tuple[str, str]:
    """Return failure and detail for what ended the tests."""
    if isinstance(error, WrongGuessError):
        return _WRONG_GUESS, ""
    if candidate.stop is not None:
        return candidate.stop.failure, candidate.stop.detail
    if isinstance(error, Stop):
        return error.failure, error.detail
    if candidate.raised is not None and candidate.raised[0] is error:
        return kind_of(error), candidate.raised[1]
    if isinstance(error, AssertionError):
        return "wrong-answer", _short(error)
    if isinstance(error, MemoryError):
        return "output", "an answer too large to be compared"
    return "wrong-answer", f"the tests stumbled over an answer: {_short(error)}"


def kind_of(error: BaseException) -> str:
    """Return the failure kind of an exception that the candidate raised."""
    if isinstance(error, SystemExit):
        return "exited"
    if isinstance(error, MemoryError):
        return "memory"
    return "name-error" if isinstance(error, NameError) else "exception"


def how_it_ended(end: dict[str, Any]) -> tuple[str, str]:
    """Return failure and detail for a candidate whose channel closed before it answered."""
    if not end["natural"]:
        return "output", "it closed the answer channel"
    status = end["ended"]
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        if number == signal.SIGXCPU:
            return "timeout", "it used up its processor time"
        return ("output" if number == signal.SIGXFSZ else "killed"), f"died by {name}"
    return "exited", f"ended its process with exit code {os.WEXITSTATUS(status)}"


def _short(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {' '.join(str(error)[:300].split())}"
    except Exception:
        return type(error).__name__


def serve(judge: socket.socket, control: socket.socket) -> None:
    """Serve the judge on its socket, with the zygote on the control socket, until either closes."""
    control.set_inheritable(False)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    level = control.recv(65536)
    channel.send(judge, level)
    with contextlib.suppress(ZygoteLostError, channel.ChannelClosedError):
        Referee(judge, control).serve()
