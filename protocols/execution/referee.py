"""The judge's worker process: runs the tests, with a stand-in for the function under test, and reaches the verdict.

Run as a script with ``python -I -S``; its arguments are the descriptors of the socket to the judge and of the control
socket to the zygote. Tests and reference solutions come from the benchmark and are trusted with this process, though not
with its time or memory: an alarm ends it where they would hang. The program under test never enters it.

Names that tests need from the prompt or from the reference solution (``poly`` in HumanEval/32) are made by running both
here; the function under test is then replaced by its stand-in.
"""

# ruff: noqa: PTH - pathlib stays out of the process that candidates are forked from

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
import time
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from protocols.execution import channel
from protocols.execution.remote import Candidate, Stop
from protocols.execution.testing import Tests

_LIMIT = 1 << 30
_MEMORY = 4 << 30
_GRACE = 2.0
"""Seconds past the limit after which the operating system ends this process, should the tests themselves hang."""


class ZygoteLostError(Exception):
    """The zygote died; the judge starts a new pair."""


class Referee:
    """Judges one program after another."""

    def __init__(self, judge: socket.socket, control: socket.socket) -> None:
        self._judge = judge
        self._control = control
        self._known: dict[str, Tests] = {}

    def serve(self) -> None:
        """Answer the judge until it closes the socket."""
        while True:
            try:
                request = json.loads(channel.receive(self._judge, limit=_LIMIT))
            except channel.ChannelClosedError:
                return
            signal.setitimer(signal.ITIMER_REAL, 2 * request["timeout"] + _GRACE)
            answer = self._judged(request)
            signal.setitimer(signal.ITIMER_REAL, 0)
            channel.send(self._judge, json.dumps(answer).encode())

    def _judged(self, request: dict[str, Any]) -> dict[str, Any]:
        key = json.dumps(request["problem"], sort_keys=True)
        tests = self._known.get(key)
        if tests is None:
            if len(self._known) > 2000:
                self._known.clear()
            tests = self._known[key] = Tests(request["problem"])
        timeout = float(request["timeout"])
        verdict: dict[str, Any] = {}
        for trial in tests.trials():
            verdict = self._tried(tests, trial, request["program"], timeout)
            if not verdict["correct"]:
                break
        return verdict

    def _tried(self, tests: Tests, trial: str, program: str, timeout: float) -> dict[str, Any]:
        """Run the tests once in the way named ``trial`` with a candidate of its own."""
        mine, theirs = socket.socketpair()
        try:
            started = time.monotonic()
            self._ask_zygote({"do": "fork", "timeout": timeout}, theirs.fileno())
            theirs.close()
            candidate = Candidate(mine, self._control, started + timeout)
            failure, detail = self._verdict(tests, trial, candidate, program, timeout)
        finally:
            mine.close()
            theirs.close()
        died = failure == "died"
        end = self._end(0.2 if died else 0.0)
        if died:
            failure, detail = how_it_ended(end)
        return {
            "correct": failure is None,
            "failure": failure,
            "detail": detail,
            "mode": trial,
            "strange": candidate.strange,
        }

    def _verdict(
        self, tests: Tests, trial: str, candidate: Candidate, program: str, timeout: float
    ) -> tuple[str | None, str]:
        try:
            candidate.ask(
                {
                    "do": "load",
                    "program": program,
                    "setup": tests.setup,
                    "entry_point": tests.entry_point,
                    "seconds": timeout,
                }
            )
            tests.run(trial, candidate)
        except Stop:
            pass
        except AssertionError as error:
            if candidate.raised is None or candidate.raised[0] is not error:
                return ("wrong-answer", _short(error)) if candidate.stop is None else _of(candidate.stop)
            return "exception", candidate.raised[1]
        except BaseException as error:
            if candidate.stop is None:
                if candidate.raised is not None and candidate.raised[0] is error:
                    return kind_of(error), candidate.raised[1]
                if isinstance(error, MemoryError):
                    return "output", "an answer too large to be compared"
                return "wrong-answer", f"the tests stumbled over an answer: {_short(error)}"
        return (None, "") if candidate.stop is None else _of(candidate.stop)

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


def _of(stop: Stop) -> tuple[str, str]:
    return stop.failure, stop.detail


def _short(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {' '.join(str(error)[:300].split())}"
    except Exception:
        return type(error).__name__


def main() -> None:
    """Serve the judge on the first descriptor with the zygote on the second."""
    judge, control = (socket.socket(fileno=int(argument)) for argument in sys.argv[1:3])
    for connection in (judge, control):
        connection.set_inheritable(False)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the judge's to handle
    level = control.recv(65536)
    channel.send(judge, level)
    try:
        Referee(judge, control).serve()
    except (ZygoteLostError, channel.ChannelClosedError):
        return


if __name__ == "__main__":
    main()
