r"""Grade outputs against gold answers: the named graders, one answer at a time or many.

Two graders read the same extracted answer:

- ``strict``: equal strings after blanks, math delimiters, GSM8K's thousands comma and a final full stop are dropped.
- ``lenient``: equal in meaning: exact rationals, decimals, units, lists, intervals, matrices, text and expressions by
  rules of our own, and Math-Verify, in a process with a hard limit, for what these rules cannot read.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from protocols.exact_match.equivalence import compare_answers
from protocols.exact_match.extraction import Extraction, answer_form, extract_answer
from protocols.exact_match.normalize import strict_form
from protocols.exact_match.workers import Equality, MathVerifyPool
from protocols.score import Failure, Score
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

    from typing_extensions import Self

GRADERS = ("strict", "lenient")
# Raised with every change of a rule that can move a score.
_RULES_VERSION = "1"
# Answers longer than this are compared as strings only: none of MATH's gold answers has more than 160 characters.
_LONGEST_ANSWER = 2000
# Math-Verify's parser needs more than linear time; what is longer and unreadable to our rules is no answer.
_LONGEST_FORMULA = 400

_shared_pool: MathVerifyPool | None = None
_shared_lock = threading.Lock()


def _forget_pool() -> None:
    """Give a forked child a pool of its own: the parent's may have been in use at the fork."""
    global _shared_pool, _shared_lock
    _shared_pool, _shared_lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_pool)


def grade(output: str, gold: str, *, benchmark: str, grader: str = "lenient") -> Score:
    r"""Grade one output. For many, :class:`Grader` is faster.

    Args:
        output: the raw completion.
        gold: the extracted gold answer (``18``, ``\frac{1}{2}``, ``True``).
        benchmark: ``gsm8k``, ``math``, ``bbh``, or a name that contains one of them.
        grader: ``strict`` or ``lenient``.

    Raises:
        InputError: the benchmark or the grader is unknown.
    """
    _check(benchmark, grader)
    first = _first_pass(output, gold, benchmark, grader)
    return first if isinstance(first, Score) else _second_pass(first, gold, _pool())


class Grader:
    """Grades many outputs; a context manager, because it owns Math-Verify processes.

    Args:
        benchmark: ``gsm8k``, ``math``, ``bbh``, or a name that contains one of them.
        grader: ``strict`` or ``lenient``.
        workers: most Math-Verify processes at a time; none is started before it is needed.
        timeout: seconds of processor time Math-Verify may take for one answer; past it the answer is undecided.

    Attributes:
        name: the grader with its version, for the signature: ``lenient-1/math-verify-0.9.0``.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(self, *, benchmark: str, grader: str = "lenient", workers: int = 2, timeout: float = 5.0) -> None:
        _check(benchmark, grader)
        if workers < 1:
            raise InputError(f"workers={workers}: a grader needs at least one")
        if not timeout > 0:
            raise InputError(f"timeout={timeout}: expected a positive number of seconds")
        self.name = grader_name(grader)
        self._benchmark = benchmark
        self._grader = grader
        self._workers = workers
        self._pool = MathVerifyPool(workers=workers, timeout=timeout)

    def grade_many(self, items: Iterable[tuple[str, str]]) -> Iterator[Score]:
        """Grade pairs of output and gold answer; scores come in order and while the input is still being read."""
        window = 32 * self._workers
        pending: deque[Score | Future[Score]] = deque()
        threads = ThreadPoolExecutor(self._workers, thread_name_prefix="grader")
        try:
            for output, gold in items:
                first = _first_pass(output, gold, self._benchmark, self._grader)
                if isinstance(first, Score):
                    pending.append(first)
                else:
                    pending.append(threads.submit(_second_pass, first, gold, self._pool))
                while pending and (len(pending) >= window or _ready(pending[0])):
                    yield _result(pending.popleft())
            while pending:
                yield _result(pending.popleft())
        finally:
            # What still runs ends within the timeout; what waits is dropped.
            threads.shutdown(wait=False, cancel_futures=True)

    def grade(self, output: str, gold: str) -> Score:
        """Grade one output."""
        return next(self.grade_many([(output, gold)]))

    def close(self) -> None:
        """End the worker processes."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Disagreement:
    """How far the strict and the lenient grader differ over the same outputs.

    Attributes:
        n: outputs graded.
        lenient_only: positions that only the lenient grader accepts.
        strict_only: positions that only the strict grader accepts; a flaw of the lenient grader if there are any.
    """

    n: int
    lenient_only: tuple[int, ...]
    strict_only: tuple[int, ...]

    @property
    def count(self) -> int:
        """Outputs the two graders judge differently."""
        return len(self.lenient_only) + len(self.strict_only)

    @property
    def share(self) -> float:
        """Share of outputs the two graders judge differently; 0 for no outputs."""
        return self.count / self.n if self.n else 0.0


def disagreement(outputs: Sequence[str], golds: Sequence[str], benchmark: str, *, workers: int = 2) -> Disagreement:
    """Grade the same outputs strictly and leniently and return where the two differ.

    Raises:
        InputError: the sequences differ in length, or the benchmark is unknown.
    """
    if len(outputs) != len(golds):
        raise InputError(f"{len(outputs)} outputs but {len(golds)} gold answers; expected one gold an output")
    verdicts: dict[str, list[bool]] = {}
    for name in GRADERS:
        with Grader(benchmark=benchmark, grader=name, workers=workers) as grader:
            verdicts[name] = [score.correct for score in grader.grade_many(zip(outputs, golds, strict=True))]
    pairs = list(zip(verdicts["strict"], verdicts["lenient"], strict=True))
    return Disagreement(
        len(pairs),
        tuple(i for i, (strict, lenient) in enumerate(pairs) if lenient and not strict),
        tuple(i for i, (strict, lenient) in enumerate(pairs) if strict and not lenient),
    )


def grader_name(grader: str) -> str:
    """Return a grader's name with the versions of everything that decides."""
    rules = f"{grader}-{_RULES_VERSION}"
    return f"{rules}/math-verify-{version('math-verify')}" if grader == "lenient" else rules


def _check(benchmark: str, grader: str) -> None:
    answer_form(benchmark)
    if grader not in GRADERS:
        raise InputError(f"grader={grader!r}: expected one of {', '.join(GRADERS)}")


def _first_pass(output: str, gold: str, benchmark: str, grader: str) -> Score | Extraction:
    """Decide everything that needs no worker process; what does comes back as its extraction."""
    found = extract_answer(output, benchmark=benchmark)
    if found.answer is None:
        return Score(False, Failure.NO_ANSWER, None, found.detail)
    form = answer_form(benchmark)
    if strict_form(found.answer, form=form) == strict_form(gold, form=form):
        return Score(True, None, found.answer, found.detail)
    if grader == "strict":
        return _wrong(found, "")
    if form == "bbh":
        same = found.answer.strip().lower() == gold.strip().lower()
        return Score(True, None, found.answer, found.detail) if same else _wrong(found, "")
    if max(len(found.answer), len(gold)) > _LONGEST_ANSWER:
        return Score(
            False, Failure.UNDECIDED, found.answer, f"an answer of {len(found.answer)} characters is not compared"
        )
    verdict = compare_answers(gold, found.answer)
    if verdict is Equality.EQUAL:
        return Score(True, None, found.answer, found.detail)
    if verdict is Equality.DIFFERENT:
        return _wrong(found, "")
    if max(len(found.answer), len(gold)) > _LONGEST_FORMULA:
        return Score(False, Failure.UNDECIDED, found.answer, "a formula too long for Math-Verify")
    return found


def _second_pass(found: Extraction, gold: str, pool: MathVerifyPool) -> Score:
    assert found.answer is not None
    verdict = pool.compare(gold, found.answer)
    if verdict is Equality.EQUAL:
        return Score(True, None, found.answer, found.detail)
    if verdict is Equality.TIMEOUT:
        return Score(False, Failure.UNDECIDED, found.answer, "Math-Verify gave no verdict within its limit")
    return _wrong(found, "the answer could not be read" if verdict is Equality.UNKNOWN else "")


def _wrong(found: Extraction, why: str) -> Score:
    return Score(False, Failure.WRONG_ANSWER, found.answer, "; ".join(part for part in (found.detail, why) if part))


def _ready(entry: Score | Future[Score]) -> bool:
    return isinstance(entry, Score) or entry.done()


def _result(entry: Score | Future[Score]) -> Score:
    return entry if isinstance(entry, Score) else entry.result()


def _pool() -> MathVerifyPool:
    """Return the process-wide pool behind :func:`grade`, so that single calls share one warm worker."""
    global _shared_pool
    with _shared_lock:
        if _shared_pool is None:
            _shared_pool = MathVerifyPool(workers=1, timeout=5.0)
            atexit.register(_shared_pool.close)
        return _shared_pool
