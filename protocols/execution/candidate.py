"""The candidate's side of the channel: load a program, answer calls, in a process that is about to be killed.

Nothing here is trusted: the program can read and change all of it. What it sends is a claim about *values*, which the
judge compares itself; only the mode ``inside`` lets this process report a verdict, and such a score says so.
"""

from __future__ import annotations

import builtins
import contextlib
import json
import linecache
import os
import resource
import signal
import socket
import struct
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from protocols.execution.literals import Decoder, Encoder, NotPlainError

MODULE = "solution"
"""The program's ``__name__``: not ``__main__``, so that such a block stays silent, as under the field's harnesses."""

PROGRAM_FILE = "<program>"
TESTS_FILE = "<tests>"
FAILED_TO_START = 113

_HEADER = struct.Struct(">I")
_MOST_ITEMS = 64
_MAX_FRAME = 16 << 20


class TimeLimitReached(BaseException):
    """The courtesy alarm: tells the program that its time is over, past any ``except Exception``."""


def warm() -> None:
    """Run the code paths that every candidate runs, so that a fork finds them ready."""
    Decoder().value(Encoder().text([1, (2.0, "x"), {"k": {3}}]))
    compile("def f(x):\n    return x", PROGRAM_FILE, "exec")


def live(channel: socket.socket, timeout: float, memory: int) -> NoReturn:
    """Answer frames until the judge kills this process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGALRM, _on_alarm)
    os.environ.clear()
    sys.setrecursionlimit(1000)
    _Candidate(channel, timeout, memory).serve()


def _on_alarm(_number: int, frame: types.FrameType | None) -> None:
    while frame is not None and frame.f_code.co_filename != PROGRAM_FILE:
        frame = frame.f_back
    raise TimeLimitReached(f"line {frame.f_lineno} of the program" if frame else "")


class _Candidate:
    def __init__(self, channel: socket.socket, timeout: float, memory: int) -> None:
        self._channel = channel
        self._timeout = timeout
        self._memory = memory
        self._held: list[Any] = []
        self._module = types.ModuleType(MODULE)

    def serve(self) -> NoReturn:
        do: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "load": self._load,
            "call": self._call,
            "evaluate": self._evaluate,
            "next": self._next,
            "get": self._get,
            "inside": self._inside,
        }
        out_of_memory = json.dumps({"failure": "memory", "text": "MemoryError"}).encode()
        while True:
            request = self._receive()
            try:
                answer = json.dumps(do[request["do"]](request)).encode()
                if len(answer) > _MAX_FRAME:
                    answer = json.dumps(
                        {"failure": "output", "text": f"an answer of {len(answer)} characters, more than {_MAX_FRAME}"}
                    ).encode()
            except MemoryError:
                answer = out_of_memory
            except TimeLimitReached as late:
                answer = json.dumps({"failure": "timeout", "text": str(late)}).encode()
            except BaseException as error:
                answer = json.dumps(self._raised(error)).encode()
            self._channel.sendall(_HEADER.pack(len(answer)) + answer)

    def _receive(self) -> dict[str, Any]:
        (size,) = _HEADER.unpack(self._exactly(_HEADER.size))
        return dict(json.loads(self._exactly(size)))

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self._channel.recv(min(size - len(data), 1 << 20))
            if not part:
                os._exit(0)
            data += part
        return bytes(data)

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
        linecache.cache[PROGRAM_FILE] = (len(source), None, source.splitlines(keepends=True), PROGRAM_FILE)
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
        arguments, keywords = self._decoder().value(sent)
        target = self._held[request["target"]] if request["target"] >= 0 else self._module.__dict__[request["entry"]]
        return self._answer(target(*arguments, **keywords), sent, arguments, keywords)

    def _evaluate(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._answer(eval(compile(request["source"], TESTS_FILE, "eval"), self._module.__dict__))  # noqa: S307 - its own process

    def _next(self, request: dict[str, Any]) -> dict[str, Any]:
        """Some more items of a held iterator: more at a time as it goes on, since each message costs."""
        iterator: Iterator[Any] = self._held[request["target"]]
        items = []
        for _ in range(min(request["count"], _MOST_ITEMS)):
            try:
                items.append(next(iterator))
            except StopIteration:
                return {"value": self._encoder().text(items), "done": True}
        return {"value": self._encoder().text(items), "done": False}

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
            answer["value"] = "null" if "same" in answer else self._encoder().text(result)
            if sent is not None:
                after = self._encoder().text((arguments, keywords))
                if after != sent:
                    answer["arguments"] = after
        except NotPlainError as error:
            return {"failure": "output", "text": f"the answer cannot be sent: {error}"}
        return answer

    def _encoder(self) -> Encoder:
        return Encoder(self._hold)

    def _hold(self, value: Any) -> list[Any]:
        for number, held in enumerate(self._held):
            if held is value:
                break
        else:
            number = len(self._held)
            self._held.append(value)
        iterator = hasattr(type(value), "__next__")
        return ["h", number, "iterator" if iterator else "object", type(value).__name__, bool(value)]

    def _decoder(self) -> Decoder:
        return Decoder({"h": lambda tree: self._held[tree[0]], "g": lambda tree: iter(Decoder()._value(["l", *tree]))})

    def _raised(self, error: BaseException) -> dict[str, Any]:
        if isinstance(error, OSError) and error.errno == 12:
            return {"failure": "memory", "text": _one_line(error)}
        try:
            arguments = Encoder().text(list(error.args))
        except BaseException:
            arguments = '["l"]'
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
