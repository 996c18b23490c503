"""Generator × benchmark × budget × seeds → scores: streamed to a ledger, resumable, shared between processes.

Each round claims a batch of samples that nobody has scored, has the engine answer those without a stored completion,
stores the answers, and hands the batch to the scorer, which judges it while the next batches are generated. Whatever a
run stored, the next one finds: its result is read from the ledger alone, so that a run that was interrupted, shared,
spread over many workers or done at once gives the same scores.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from protocols.engines.engine import Engine, LocalEngine, Work
from protocols.ledger import Ledger, SampleKey
from protocols.score import Failure
from protocols.scores import SampleScore, Scores
from protocols.scoring import Scorer, ScoringSettings, check_scoring, open_scorer
from protocols.signature import Signature
from specref_core.errors import GeneratorError, InputError
from specref_core.generator import Budget

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from protocols.problems import Problem
    from specref_core.generator import Completion, Generator

    Progress = Callable[["Status"], None]

_WAIT_SECONDS = 0.05  # between looks at samples that another process is working on
_DOUBTFUL = (Failure.KILLED, Failure.UNDECIDED)
_BATCHES_AHEAD = 2  # a worker, generated and not yet scored: enough to keep both sides busy, few enough to lose little
_LONG_WAIT_SECONDS = 1.0  # for an engine's next batch, where nothing else can happen meanwhile


@dataclass(frozen=True, slots=True)
class Status:
    """How far one budget's measurement is.

    Attributes:
        budget: the budget being measured.
        done: samples scored, those found in the ledger included.
        correct: of these, the correct ones.
        planned: samples in all.
    """

    budget: Budget
    done: int
    correct: int
    planned: int


def measure(
    generator: Generator | Engine,
    benchmark: str | Sequence[Problem],
    *,
    budget: Budget | None = None,
    seeds: Sequence[int] = (0,),
    ledger: Ledger | str | os.PathLike[str] | None = None,
    settings: ScoringSettings | None = None,
    batch_size: int = 8,
    data_dir: Path | None = None,
    limit: int | None = None,
    traces: bool = False,
    progress: Progress | None = None,
) -> Scores:
    """Measure one generator on one benchmark at one budget.

    Args:
        generator: what is measured, in this process; or an open engine whose workers hold it (``protocols.engines``).
        benchmark: a known name, or the problems themselves (of one kind).
        budget: what one completion may cost.
        seeds: one completion a problem for each; ``generate`` receives the seed as it stands.
        ledger: an open ledger, the path of one, or ``None`` for one in memory.
        settings: the choices of the benchmark's protocol.
        batch_size: prompts a call of ``generate``; a contract-keeping generator's results do not depend on it.
        data_dir: where the benchmark's files are, for a benchmark given by name.
        limit: only the first so many problems, for a benchmark given by name.
        traces: keep each completion's trace, in the ledger too.
        progress: called for every sample that has its verdict, also from another thread.

    Raises:
        InputError: an argument cannot be used.
        GeneratorError: the generator broke its contract; every sample scored before it is in the ledger.
        LedgerError: the ledger cannot be used or written.
    """
    return sweep(
        generator,
        benchmark,
        budgets=[budget or Budget()],
        seeds=seeds,
        ledger=ledger,
        settings=settings,
        batch_size=batch_size,
        data_dir=data_dir,
        limit=limit,
        traces=traces,
        progress=progress,
    )[0]


def sweep(
    generator: Generator | Engine,
    benchmark: str | Sequence[Problem],
    *,
    budgets: Sequence[Budget],
    seeds: Sequence[int] = (0,),
    ledger: Ledger | str | os.PathLike[str] | None = None,
    settings: ScoringSettings | None = None,
    batch_size: int = 8,
    data_dir: Path | None = None,
    limit: int | None = None,
    traces: bool = False,
    progress: Progress | None = None,
    on_scores: Callable[[Scores], None] | None = None,
) -> list[Scores]:
    """Measure at several budgets, one after the other.

    Args:
        generator: as for :func:`measure`, like every argument not named below.
        benchmark: as there.
        budgets: in the order wanted.
        seeds: as there.
        ledger: as there.
        settings: as there.
        batch_size: as there.
        data_dir: as there.
        limit: as there.
        traces: as there.
        progress: as there.
        on_scores: called with each budget's scores as soon as they are complete, and, when the sweep ends early by
            any error or Ctrl-C, with what was scored of the budget at work before the error goes on its way.
    """
    from protocols.loaders import load_problems

    if isinstance(benchmark, str):
        problems: Sequence[Problem] = load_problems(benchmark, data_dir=data_dir, limit=limit)
    else:
        problems = list(benchmark)
    settings = settings or ScoringSettings()
    check_plan(problems, seeds, batch_size, settings)
    measured = []
    with ExitStack() as stack:
        book = ledger if isinstance(ledger, Ledger) else stack.enter_context(Ledger(ledger))
        scorer = stack.enter_context(open_scorer(problems, settings))
        engine = generator if isinstance(generator, Engine) else LocalEngine(generator, scorer.produce)
        for budget in budgets:
            run = _Run(engine, problems, budget, seeds, book, scorer, settings, batch_size, traces, progress)
            try:
                run.work()
            except BaseException:
                if on_scores is not None:
                    on_scores(run.scores())
                raise
            scores = run.scores()
            measured.append(scores)
            if on_scores is not None:
                on_scores(scores)
    return measured


@dataclass(slots=True)
class _Item:
    """One sample of a run."""

    problem: Problem
    key: SampleKey


@dataclass(slots=True)
class _Run:
    """One budget's measurement."""

    engine: Engine
    problems: Sequence[Problem]
    budget: Budget
    seeds: Sequence[int]
    ledger: Ledger
    scorer: Scorer
    settings: ScoringSettings
    batch_size: int
    traces: bool
    progress: Progress | None
    items: list[_Item] = field(default_factory=list)
    in_flight: dict[int, tuple[list[_Item], list[_Item]]] = field(default_factory=dict)
    under_way: deque[Future[None]] = field(default_factory=deque)
    scoring: str = ""
    stop: threading.Event = field(default_factory=threading.Event)
    tally: threading.Lock = field(default_factory=threading.Lock)
    done: int = 0
    correct: int = 0

    def __post_init__(self) -> None:
        from protocols.loaders import data_digest

        settings = "|".join(f"{k}:{v}" for k, v in self.scorer.production_parts(self.budget).items())
        self.scoring = str(Signature.of(**self.scorer.scoring_parts()))
        name, print_ = self.engine.name, self.engine.fingerprint
        digests = [data_digest([problem]) for problem in self.problems]
        self.items = [
            _Item(problem, SampleKey(name, print_, problem.benchmark, digest, problem.task_id, settings, int(seed)))
            for seed in self.seeds
            for problem, digest in zip(self.problems, digests, strict=True)
        ]

    def work(self) -> None:
        """Score every sample that has no verdict yet, or wait for the process that is at it."""
        pending = deque(item for item in self.items if not self._look(item))
        self._tell(0, 0)
        if not pending:
            return
        with ThreadPoolExecutor(1, thread_name_prefix="specref-scoring") as pool:
            try:
                while pending or self.in_flight or self.under_way:
                    self._round(pending, pool)
            except GeneratorError:
                for future in self.under_way:  # what was generated before is scored before the culprit is named
                    future.result()
                raise
            except BaseException:
                self.stop.set()
                for future in self.under_way:
                    future.cancel()
                raise
            finally:
                self.engine.forget()
                for item in self.items:
                    self.ledger.release(item.key)

    def _round(self, pending: deque[_Item], pool: ThreadPoolExecutor) -> None:
        """Start a batch while the engine has room; else take in whatever is ready first."""
        ahead = len(self.under_way) > _BATCHES_AHEAD * self.engine.width
        if pending and self.engine.capacity and not ahead and (batch := self._claim(pending)):
            self._start(batch, pool)
            return
        if self.in_flight or not self.engine.capacity:
            wait = _WAIT_SECONDS if self.under_way or pending else _LONG_WAIT_SECONDS
            if (made := self.engine.collect(timeout=wait)) is not None:
                self._store(*made, pool)
        elif self.under_way:
            self.under_way.popleft().result()
        elif pending:
            time.sleep(_WAIT_SECONDS)
        while self.under_way and self.under_way[0].done():
            self.under_way.popleft().result()

    def _start(self, batch: list[_Item], pool: ThreadPoolExecutor) -> None:
        """Have the engine answer what has no stored completion; score a batch that lacks none."""
        missing = [item for item in batch if self.ledger.find_completion(item.key) is None]
        if not missing:
            self.under_way.append(pool.submit(self._score, batch))
            return
        problems = tuple(item.problem for item in missing)
        work = Work(problems, self.budget, missing[0].key.seed, self.settings, self.traces)
        self.in_flight[work.number] = (batch, missing)
        self.engine.submit(work)

    def _store(self, work: Work, made: list[Completion], pool: ThreadPoolExecutor) -> None:
        batch, missing = self.in_flight.pop(work.number)
        self.ledger.add_completions((item.key, completion) for item, completion in zip(missing, made, strict=True))
        self.under_way.append(pool.submit(self._score, batch))

    def scores(self) -> Scores:
        """Read what was scored from the ledger."""
        samples = []
        for item in self.items:
            score = self.ledger.find_score(item.key, self.scoring)
            completion = self.ledger.find_completion(item.key) if score is not None else None
            if score is None or completion is None:
                continue
            trace = completion.trace if self.traces else None
            samples.append(
                SampleScore(item.problem.task_id, item.key.seed, completion.text, score, completion.cost, trace)
            )
        return Scores(
            system=self.engine.name,
            benchmark=_name(self.problems),
            budget=self.budget,
            samples=tuple(samples),
            planned=len(self.items),
            signature=self._signature(len(samples)),
        )

    def _signature(self, scored: int) -> Signature:
        from protocols.loaders import data_digest

        key = self.items[0].key
        own = self.scorer.scoring_parts()
        return Signature.of(
            system=f"{key.system}@{key.fingerprint}",
            benchmark=_name(self.problems),
            data=data_digest(self.problems),
            n=len(self.problems),
            scored=None if scored == len(self.items) else f"{scored} of {len(self.items)}",
            **own,
            **self.scorer.production_parts(self.budget),
            seeds=list(self.seeds),
        )

    def _look(self, item: _Item) -> bool:
        """Whether the ledger has the item's verdict."""
        score = self.ledger.find_score(item.key, self.scoring)
        if score is not None:
            self._tell(1, int(score.correct))
        return score is not None

    def _claim(self, pending: deque[_Item]) -> list[_Item]:
        """Take the next samples of one seed that nobody else is at; those that others are at stay pending."""
        batch: list[_Item] = []
        for _ in range(len(pending)):
            item = pending.popleft()
            if batch and (len(batch) == self.batch_size or item.key.seed != batch[0].key.seed):
                pending.appendleft(item)
                break
            if not self.ledger.claim(item.key):
                pending.append(item)
            elif self._look(item):  # somebody finished it in the meantime
                self.ledger.release(item.key)
            else:
                batch.append(item)
        return batch

    def _score(self, batch: list[_Item]) -> None:
        # Behind these two verdicts may stand an operator or the system's memory killer, who ended a program or a
        # grading process; only a second one counts.
        doubtful = self._judge(batch, settle=False)
        if doubtful and not self.stop.is_set():
            self._judge(doubtful, settle=True)

    def _judge(self, batch: list[_Item], *, settle: bool) -> list[_Item]:
        texts = []
        for item in batch:
            stored = self.ledger.find_completion(item.key)
            assert stored is not None
            texts.append((item.problem, stored.text))
        doubtful = []
        verdicts = self.scorer.score_many(texts)
        for item in batch:
            if self.stop.is_set():
                break
            score = next(verdicts)
            if score.failure in _DOUBTFUL and not settle:
                doubtful.append(item)
                continue
            kept = self.ledger.add_score(item.key, self.scoring, score)
            self.ledger.release(item.key)
            self._tell(1, int(kept.correct))
        return doubtful

    def _tell(self, done: int, correct: int) -> None:
        with self.tally:
            self.done += done
            self.correct += correct
            status = Status(self.budget, self.done, self.correct, len(self.items))
        if self.progress is not None:
            self.progress(status)


def _name(problems: Sequence[Problem]) -> str:
    return "+".join(sorted({problem.benchmark for problem in problems}))


def check_plan(problems: Sequence[Problem], seeds: Sequence[int], batch_size: int, settings: ScoringSettings) -> None:
    """Refuse a measurement that cannot be made, before a model is loaded or a file is written.

    Raises:
        InputError: naming the argument.
    """
    if not problems:
        raise InputError("there are no problems to measure")
    seen: set[tuple[str, str]] = set()
    for problem in problems:
        if (identity := (problem.benchmark, problem.task_id)) in seen:
            raise InputError(f"task id {problem.task_id!r} occurs twice in {problem.benchmark}; a sample needs a name")
        seen.add(identity)
    if not seeds:
        raise InputError("seeds is empty; give at least one")
    for seed in seeds:
        if isinstance(seed, bool) or not hasattr(seed, "__index__") or seed < 0:
            raise InputError(f"seed {seed!r}: expected a whole number that is not negative")
    if len(set(seeds)) != len(seeds):
        raise InputError(f"seeds {list(seeds)} repeat; equal seeds give equal samples, which are no new evidence")
    if batch_size < 1:
        raise InputError(f"batch_size={batch_size!r}: expected at least one prompt a batch")
    check_scoring(problems, settings)
