"""What the judge's tests hold instead of the candidate: every use of it is a question to the other process."""

from __future__ import annotations

import builtins
import json
import marshal
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from protocols.execution import channel
from protocols.execution.literals import Decoder, Encoder, NotPlainError, as_text

_TRACE_GRACE = 0.1
"""Seconds after the deadline in which the candidate may still say where it was; the verdict is a timeout already."""

_EXCEPTIONS = {
    name: kind for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, BaseException)
}


_CLAIMS = frozenset(
    ("syntax", "indentation", "name-error", "exception", "wrong-answer", "timeout", "memory", "output", "exited")
)
"""The failures that a candidate may report of itself."""


def _claim(answer: dict[str, Any]) -> tuple[str, str]:
    failure = answer["failure"]
    known = isinstance(failure, str) and failure in _CLAIMS
    return (failure if known else "output"), str(answer.get("text", ""))[:500]


class Stop(BaseException):
    """Ends the tests: the verdict on the candidate is known. Not an Exception, so that no test can swallow it."""

    def __init__(self, failure: str, detail: str) -> None:
        super().__init__(failure, detail)
        self.failure = failure
        self.detail = detail


class WrongGuessError(BaseException):
    """The tests asked something else than the plan foresaw; they must run again without it."""


class Candidate:
    """The judge's end of one candidate's channel.

    Args:
        link: the socket to the candidate.
        control: the socket on which the zygote reports that the candidate died.
        deadline: time of ``time.monotonic`` after which every answer is late.
        judge: whoever asked for the verdict; when that side is gone, this process ends.

    Attributes:
        classes: where exception classes that are not built in are looked up by name: the tests' own namespace.
        stop: the verdict that ended the tests, once there is one; it stands even if a test catches :class:`Stop`.
        raised: the last exception that the candidate raised, as rebuilt here, and what it said of itself.
        calls: how many calls were asked.
        strange: whether some value was not plain, so that the tests may have failed for that reason only.
    """

    def __init__(
        self, link: socket.socket, control: socket.socket, deadline: float, judge: socket.socket | None = None
    ) -> None:
        self._link = link
        self._control = control
        self._deadline = deadline
        self.classes: dict[str, Any] = {}
        self._decode = Decoder({"h": self._inward}).of_tree
        self._poll = select.poll()
        self._poll.register(link, select.POLLIN)
        self._poll.register(control, select.POLLIN)
        if judge is not None:
            self._poll.register(judge, 0)  # reports only that the other side is gone
        self._judge = judge
        self._plan: deque[str] = deque()
        self._ahead: deque[dict[str, Any]] = deque()
        self._more = False
        self.stop: Stop | None = None
        self.raised: tuple[BaseException, str] | None = None
        self.calls = 0
        self.strange = ""

    def load(self, request: dict[str, Any], plan: list[Any]) -> None:
        """Send the program, and the calls that the tests are expected to make first.

        Raises:
            Stop: it did not load.
        """
        self._plan = deque(as_text(tree) for tree in plan)
        self._take_ahead(self.ask({**request, "do": "load", "plan": plan}))

    def _take_ahead(self, answer: dict[str, Any]) -> None:
        answers = answer.get("answers")
        if type(answers) is not list or not all(type(item) is dict for item in answers):
            raise self._stop("output", "what came through the answer channel is no answer")
        self._ahead += answers
        self._more = answer.get("more") is True

    def _planned(self) -> dict[str, Any]:
        """Return the answer to the next call of the plan."""
        while not self._ahead:
            if not self._more:
                raise self._stop("output", "a call was left without an answer")
            self._take_ahead(self._answer())
        return self._checked(self._ahead.popleft())

    # -- what the tests use

    def function(self, entry_point: str) -> Callable[..., Any]:
        """Return the function that the tests call."""

        def candidate(*arguments: Any, **keywords: Any) -> Any:
            return self._call(-1, entry_point, arguments, keywords)

        candidate.__name__ = candidate.__qualname__ = entry_point
        return candidate

    def evaluate(self, source: str) -> Any:
        """Evaluate a call as written, in the candidate's process; only its result crosses."""
        self.calls += 1
        return self._result(self.ask({"do": "evaluate", "source": source}), ())

    def _call(self, target: int, entry: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        self.calls += 1
        try:
            sent = Encoder(self._outward).tree((arguments, keywords))
        except NotPlainError as error:
            self.strange = f"an argument cannot cross: {error}"
            raise self._stop("undecided", self.strange) from None
        if self._plan:
            if target >= 0 or as_text(sent) != self._plan.popleft():
                raise WrongGuessError
            answer = self._planned()
        else:
            answer = self.ask({"do": "call", "target": target, "entry": entry, "arguments": sent})
        return self._result(answer, arguments, keywords)

    @staticmethod
    def _outward(value: Any) -> list[Any]:
        if type(value) is Remote:
            return ["h", value._specref_number]  # noqa: SLF001 - a name that no program's attribute is likely to have
        if hasattr(type(value), "__next__"):
            return ["g", *Encoder().tree(list(value))[1:]]
        raise NotPlainError(f"a {type(value).__name__} is not a plain value")

    # -- what crosses

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return the answer.

        Raises:
            Stop: the candidate died, was late, or sent something that is no answer.
        """
        if self.stop is not None:
            raise self.stop
        while self._more:  # it is still busy with the plan
            self._take_ahead(self._answer())
        try:
            channel.send(self._link, marshal.dumps(request), deadline=self._deadline)
        except channel.ClockError:
            raise self._stop("timeout", "") from None
        except channel.ChannelClosedError:
            raise self._stop("died", "") from None
        return self._checked(self._answer())

    def _answer(self) -> dict[str, Any]:
        try:
            self._wait()
            answer = json.loads(channel.receive(self._link, deadline=self._deadline))
        except channel.ClockError:
            raise self._stop("timeout", self._where()) from None
        except channel.FrameTooLargeError as error:
            raise self._stop("output", f"the answer announces {error}") from None
        except channel.ChannelClosedError:
            raise self._stop("died", "") from None
        except (ValueError, RecursionError, MemoryError):
            raise self._stop("output", "what came through the answer channel is no answer") from None
        if time.monotonic() > self._deadline:
            raise self._stop("timeout", "a late answer")
        if type(answer) is not dict:
            raise self._stop("output", "what came through the answer channel is no answer")
        return answer

    def _checked(self, answer: dict[str, Any]) -> dict[str, Any]:
        if "failure" in answer:
            raise self._stop(*_claim(answer))
        if "raised" in answer:
            raise self._exception(answer)
        return answer

    def _wait(self) -> None:
        """Wait until there is something to read, the candidate is dead, or time is over."""
        left = self._deadline - time.monotonic()
        ready = [descriptor for descriptor, _ in self._poll.poll(max(0.0, left) * 1000)]
        if self._judge is not None and self._judge.fileno() in ready:
            os._exit(0)  # nobody waits for this verdict any more; the zygote and the candidate end with this process
        if not ready:
            raise channel.ClockError
        if self._link.fileno() not in ready:
            raise channel.ChannelClosedError("died")

    def _where(self) -> str:
        try:
            answer = json.loads(channel.receive(self._link, deadline=time.monotonic() + _TRACE_GRACE, limit=65536))
            return str(answer["text"])[:200] if answer["failure"] == "timeout" else ""
        except Exception:
            return ""

    def _stop(self, failure: str, detail: str) -> Stop:
        self.stop = Stop(failure, detail)
        return self.stop

    def _exception(self, answer: dict[str, Any]) -> BaseException:
        text = str(answer.get("text", ""))[:500]
        names = answer["raised"] if type(answer["raised"]) is list else []
        kinds = (self.classes.get(name, _EXCEPTIONS.get(name)) for name in names if type(name) is str)
        kind = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseException)), RuntimeError)
        if issubclass(
            kind, (Stop, KeyboardInterrupt, GeneratorExit, StopIteration)
        ):  # these would end a loop of the tests
            kind = RuntimeError
        try:
            arguments = self._decode(answer["arguments"])
            error = kind(*arguments)
        except Exception:
            error = RuntimeError(text)
            if issubclass(kind, Exception):
                error = kind.__new__(kind)
        self.raised = (error, text)
        return error

    def _result(
        self, answer: dict[str, Any], arguments: tuple[Any, ...], keywords: dict[str, Any] | None = None
    ) -> Any:
        try:
            if "arguments" in answer:
                after, after_keywords = self._decode(answer["arguments"])
                for mine, theirs in zip(arguments, after, strict=False):
                    bring_up_to_date(mine, theirs)
                for name, mine in (keywords or {}).items():
                    bring_up_to_date(mine, after_keywords.get(name))
            if "same" in answer:
                return arguments[answer["same"]]
            return self._decode(answer["value"])
        except (NotPlainError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise self._stop("output", f"the answer is not a plain value: {error}") from None

    def _inward(self, tree: list[Any]) -> Any:
        number, kind, name, truth = tree
        if type(number) is not int or number < 0:
            raise NotPlainError("no such object")
        self.strange = f"an answer holds a {str(name)[:60]}, which is not a plain value"
        return self._items(number) if kind == "iterator" else Remote(self, number, str(name)[:60], truth is not False)

    def _items(self, number: int) -> Iterator[Any]:
        count = 1
        while True:
            answer = self.ask({"do": "next", "target": number, "count": count})
            items = self._result(answer, ())
            if type(items) is not list:
                raise self._stop("output", "items of an iterator that are no list")
            yield from items
            if answer.get("done") is not False or not items:
                return
            count *= 2

    def get(self, number: int, name: str) -> Any:
        """Return an attribute of an object that the candidate holds."""
        return self._result(self.ask({"do": "get", "target": number, "name": name}), ())

    def call(self, number: int, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Call an object that the candidate holds."""
        return self._call(number, "", arguments, keywords)


class Remote:
    """An object that stays with the candidate. It equals only itself, whatever it says; its attributes can be used."""

    __slots__ = ("_specref_candidate", "_specref_name", "_specref_number", "_specref_truth")

    def __init__(self, candidate: Candidate, number: int, name: str, truth: bool) -> None:
        self._specref_candidate = candidate
        self._specref_number = number
        self._specref_name = name
        self._specref_truth = truth

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Call the object where it is."""
        return self._specref_candidate.call(self._specref_number, arguments, keywords)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._specref_candidate.get(self._specref_number, name)

    def __iter__(self) -> Iterator[Any]:
        found: Iterator[Any] = self._specref_candidate.get(self._specref_number, "__iter__")()
        return found

    def __len__(self) -> int:
        return int(self._specref_candidate.get(self._specref_number, "__len__")())

    def __getitem__(self, key: Any) -> Any:
        return self._specref_candidate.get(self._specref_number, "__getitem__")(key)

    def __bool__(self) -> bool:
        return self._specref_truth

    def __repr__(self) -> str:
        return f"<a {self._specref_name} of the candidate>"


def bring_up_to_date(mine: Any, theirs: Any) -> None:
    """Give a mutable argument the content that the candidate left in its copy; inner objects stay where they match."""
    if type(mine) is not type(theirs):
        return
    if isinstance(mine, list):
        if len(mine) == len(theirs):
            for position, (inner, other) in enumerate(zip(mine, theirs, strict=True)):
                mine[position] = _kept(inner, other)
        else:
            mine[:] = theirs
    elif isinstance(mine, dict):
        fresh = {key: _kept(mine[key], value) if key in mine else value for key, value in theirs.items()}
        mine.clear()
        mine.update(fresh)
    elif isinstance(mine, set):
        mine.clear()
        mine.update(theirs)
    elif isinstance(mine, bytearray):
        mine[:] = theirs
    elif isinstance(mine, tuple):
        for inner, other in zip(mine, theirs, strict=False):
            bring_up_to_date(inner, other)
    elif hasattr(mine, "extend") and hasattr(mine, "clear"):  # deque
        mine.clear()
        mine.extend(theirs)


def _kept(mine: Any, theirs: Any) -> Any:
    if type(mine) is type(theirs) and isinstance(mine, (list, dict, set, bytearray, tuple)):
        bring_up_to_date(mine, theirs)
        return mine if mine == theirs else theirs
    return theirs
