"""The candidate's side of the channel: load a program, answer calls, in a process that is about to be killed.

Nothing here is trusted: the program can read and change all of it. What it sends is a claim about *values*, which the
judge compares itself; only the mode ``inside`` lets this process report a verdict, and such a score says so.
"""

from __future__ import annotations

import builtins
import contextlib
import itertools
import marshal
import os
import resource
import signal
import socket
import struct
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from protocols.execution.literals import Decoder, Encoder, NotPlainError, as_text

MODULE = "solution"
"""The program's ``__name__``: not ``__main__``, so that such a block stays silent, as under the field's harnesses."""

PROGRAM_FILE = "<program>"
TESTS_FILE = "<tests>"

_REHEARSAL: tuple[dict[str, Any], ...] = (
    {
        "do": "load",
        "program": """
from typing import List
import math


def f(numbers: List[float], text: str = "") -> bool:
    \"\"\" A program of the usual size, so that a rehearsal touches the memory that the real ones will.
    >>> f([1.0, 2.0])
    \"\"\"
    seen = {}
    for index, number in enumerate(sorted(set(numbers))):
        seen[str(number)] = [index * other + len(text.split(",")) for other in range(20) if other % 2 == 0]
    return {"".join(reversed(key)): tuple(value) for key, value in seen.items() if math.floor(len(key)) > 0}
""",
        "setup": "",
        "entry_point": "f",
        "seconds": 60.0,
        "plan": [Encoder().tree((([3.5, 0.5, 1.0],), {}))],
    },
    *(
        {"do": "call", "target": -1, "entry": "f", "arguments": Encoder().tree((([1.5, 2.5, 9.0, 4.0], text), {}))}
        for text in ("", "a,b,c", "word " * 20)
    ),
)

_HEADER = struct.Struct(">I")
_MOST_ITEMS = 64
_MAX_FRAME = 16 << 20
_TICK = 0.02
"""Seconds of running ahead after which the answers so far are sent."""
_FIXED = frozenset((type(None), bool, int, float, complex, str, bytes, range))
_OUT_OF_MEMORY = {"failure": "memory", "text": "MemoryError"}


class TimeLimitReached(BaseException):
    """The courtesy alarm: tells the program that its time is over, past any ``except Exception``."""


def rehearse() -> None:
    """Do what a candidate does, in this process, with a harmless program of the usual size."""
    mine, theirs = socket.socketpair()
    with mine, theirs:
        candidate = _Candidate(theirs, 60.0, 1 << 40)
        for request in _REHEARSAL:
            data = marshal.dumps(request)
            mine.sendall(_HEADER.pack(len(data)) + data)
            candidate.serve_one()
            mine.recv(65536)
    signal.setitimer(signal.ITIMER_REAL, 0)
    sys.modules.pop(MODULE, None)


def live(channel: socket.socket, timeout: float, memory: int) -> NoReturn:
    """Answer frames until the judge kills this process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.environ:
        os.environ.clear()
    candidate = _Candidate(channel, timeout, memory)
    signal.signal(signal.SIGALRM, candidate.on_alarm)
    candidate.serve()


class _Candidate:
    def __init__(self, channel: socket.socket, timeout: float, memory: int) -> None:
        self._channel = channel
        self._timeout = timeout
        self._memory = memory
        self._held: list[Any] = []
        self._pending: list[dict[str, Any]] = []
        self._after_tick = 0.0
        self._encode = Encoder(self._hold).tree
        self._decode = Decoder(
            {"h": lambda tree: self._held[tree[0]], "g": lambda tree: iter(Decoder().of_tree(["l", *tree]))}
        ).of_tree
        self._module = types.ModuleType(MODULE)

        self._do: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "load": self._load,
            "call": self._call,
            "evaluate": self._evaluate,
            "next": self._next,
            "get": self._get,
            "inside": self._inside,
        }

    def serve(self) -> NoReturn:
        while True:
            self.serve_one()

    def serve_one(self) -> None:
        """Read one request, do it, answer."""
        request = self._receive()
        answer = self._attempt(request)
        if "loaded" in answer:
            self._run_ahead(request["plan"], request["entry_point"])
        else:
            self._send(answer)

    def _attempt(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._do[request["do"]](request)
        except MemoryError:
            return _OUT_OF_MEMORY
        except TimeLimitReached as late:
            return {"failure": "timeout", "text": str(late)}
        except BaseException as error:
            return self._raised(error)

    def _run_ahead(self, plan: list[Any], entry: str) -> None:
        """Make the calls that the tests are expected to make, and send the answers together.

        What is answered must not wait for a call that never ends: an alarm sends what there is, and from then on each
        answer goes by itself.
        """
        if plan and signal.getsignal(signal.SIGALRM) == self.on_alarm:  # else the program has its own use for it
            left = signal.setitimer(signal.ITIMER_REAL, _TICK)[0]
            self._after_tick = max(left - _TICK, 0.001)
        for number, arguments in enumerate(plan):
            answer = self._attempt({"do": "call", "target": -1, "entry": entry, "arguments": arguments})
            self._pending.append(answer)
            if "failure" in answer:
                break
            if not self._after_tick and number < len(plan) - 1:
                self._flush(more=True)
        if self._after_tick:
            signal.setitimer(signal.ITIMER_REAL, self._after_tick)
            self._after_tick = 0.0
        self._flush(more=False)

    def on_alarm(self, _number: int, frame: types.FrameType | None) -> None:
        if self._after_tick:
            signal.setitimer(signal.ITIMER_REAL, self._after_tick)
            self._after_tick = 0.0
            self._flush(more=True)
            return
        while frame is not None and frame.f_code.co_filename != PROGRAM_FILE:
            frame = frame.f_back
        raise TimeLimitReached(f"line {frame.f_lineno} of the program" if frame else "")

    def _flush(self, *, more: bool) -> None:
        answers, self._pending = self._pending, []
        self._send({"loaded": True, "answers": answers, "more": more})

    def _send(self, answer: dict[str, Any]) -> None:
        data = as_text(answer).encode()
        if len(data) > _MAX_FRAME:
            failure = {"failure": "output", "text": f"an answer of {len(data)} characters, more than {_MAX_FRAME}"}
            data = as_text(
                {"loaded": True, "answers": [failure], "more": False} if "answers" in answer else failure
            ).encode()
        self._channel.sendall(_HEADER.pack(len(data)) + data)

    def _receive(self) -> dict[str, Any]:
        data = self._channel.recv(65536)
        while len(data) < _HEADER.size:
            data += self._more(_HEADER.size - len(data))
        (size,) = _HEADER.unpack(data[: _HEADER.size])
        if len(data) < _HEADER.size + size:
            parts = bytearray(data)
            while len(parts) < _HEADER.size + size:
                parts += self._more(_HEADER.size + size - len(parts))
            data = bytes(parts)
        request: dict[str, Any] = marshal.loads(data[_HEADER.size :])  # noqa: S302 - from the judge, which is trusted
        return request

    def _more(self, size: int) -> bytes:
        part = self._channel.recv(min(size, 1 << 20))
        if not part:
            os._exit(0)
        return part

    # -- requests

    def _load(self, request: dict[str, Any]) -> dict[str, Any]:
        signal.setitimer(signal.ITIMER_REAL, request["seconds"])
        source = request["program"]
        try:
            code = compile(source, PROGRAM_FILE, "exec", dont_inherit=True)
        except IndentationError as error:
            return {"failure": "indentation", "text": _one_line(error)}
        except (SyntaxError, ValueError, RecursionError, OverflowError) as error:
            return {"failure": "syntax", "text": _one_line(error)}
        except MemoryError:
            # The parser also says MemoryError when its own stack of nested expressions is full.
            used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            return {"failure": "memory" if used > self._memory // 2 else "syntax", "text": "MemoryError while parsing"}
        sys.modules[MODULE] = self._module
        space = self._module.__dict__
        space["__builtins__"] = builtins
        space["__file__"] = PROGRAM_FILE
        try:
            exec(code, space)
        except SystemExit as error:
            return {"failure": "exited", "text": f"SystemExit({_safe(error.code)}) while the program was loading"}
        if request["setup"]:
            with contextlib.suppress(Exception):
                exec(compile(request["setup"], TESTS_FILE, "exec", dont_inherit=True), space)
        if request["entry_point"] not in space:
            return {"failure": "name-error", "text": f"the program defines no {request['entry_point']}"}
        return {"loaded": True}

    def _call(self, request: dict[str, Any]) -> dict[str, Any]:
        sent = request["arguments"]
        arguments, keywords = self._decode(sent)
        target = self._held[request["target"]] if request["target"] >= 0 else self._module.__dict__[request["entry"]]
        return self._answer(target(*arguments, **keywords), sent, arguments, keywords)

    def _evaluate(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._answer(eval(compile(request["source"], TESTS_FILE, "eval"), self._module.__dict__))  # noqa: S307 - its own process

    def _next(self, request: dict[str, Any]) -> dict[str, Any]:
        """Some more items of a held iterator: more at a time as it goes on, since each message costs."""
        iterator: Iterator[Any] = self._held[request["target"]]
        wanted = min(request["count"], _MOST_ITEMS)
        items = list(itertools.islice(iterator, wanted))
        return {"value": self._encode(items), "done": len(items) < wanted}

    def _get(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._answer(getattr(self._held[request["target"]], request["name"]))

    def _inside(self, request: dict[str, Any]) -> dict[str, Any]:
        """The older mode: the tests run here, beside the program."""
        space = self._module.__dict__
        try:
            exec(compile(request["setup"], TESTS_FILE, "exec", dont_inherit=True), space)
            exec(compile(request["tests"], TESTS_FILE, "exec", dont_inherit=True), space)
            if request["check"]:
                space["check"](space[request["entry_point"]])
        except AssertionError as error:
            trace = error.__traceback__
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            if trace is not None and trace.tb_frame.f_code.co_filename == TESTS_FILE:
                return {"failure": "wrong-answer", "text": _one_line(error)}
            raise
        return {"passed": True}

    # -- answers

    def _answer(
        self, result: Any, sent: str | None = None, arguments: Any = (), keywords: Any = None
    ) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        for position, argument in enumerate(arguments):
            if argument is result and isinstance(result, (list, dict, set, bytearray)):
                answer["same"] = position
                break
        try:
            answer["value"] = None if "same" in answer else self._encode(result)
            if sent is not None and (keywords or any(type(argument) not in _FIXED for argument in arguments)):
                after = self._encode((arguments, keywords))
                if as_text(after) != as_text(sent):
                    answer["arguments"] = after
        except NotPlainError as error:
            return {"failure": "output", "text": f"the answer cannot be sent: {error}"}
        return answer

    def _hold(self, value: Any) -> list[Any]:
        number = next((n for n, held in enumerate(self._held) if held is value), len(self._held))
        if number == len(self._held):
            self._held.append(value)
        iterator = hasattr(type(value), "__next__")
        return ["h", number, "iterator" if iterator else "object", type(value).__name__, bool(value)]

    def _raised(self, error: BaseException) -> dict[str, Any]:
        if isinstance(error, OSError) and error.errno == 12:
            return {"failure": "memory", "text": _one_line(error)}
        try:
            arguments = Encoder().tree(list(error.args))
        except BaseException:
            arguments = ["l"]
        names = [kind.__name__ for kind in type(error).__mro__]
        return {"raised": names, "arguments": arguments, "text": _one_line(error)}


def _one_line(error: BaseException) -> str:
    where = ""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == PROGRAM_FILE:
            where = f" (line {trace.tb_lineno} of the program)"
        trace = trace.tb_next
    return f"{type(error).__name__}: {_safe(error)}"[:300] + where


def _safe(value: Any) -> str:
    try:
        return " ".join(str(value)[:1000].split())
    except BaseException:
        return "…"
