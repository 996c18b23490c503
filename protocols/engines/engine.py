"""What a measurement asks of an engine, and the engine that is this process.

An engine takes batches of problems and gives their completions back, in any order. It knows neither the ledger nor the
verdicts: whoever runs the measurement is the one writer, whatever number of workers an engine has.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from specref_core.errors import GeneratorError
from specref_core.loading import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Protocol

    from typing_extensions import Self

    from protocols.problems import Problem
    from protocols.scoring import ScoringSettings
    from specref_core.generator import Budget, Completion, Generator

    class Produce(Protocol):
        """The production half of a protocol: one completion a problem, in order."""

        def __call__(
            self, generator: Generator, problems: Sequence[Problem], *, budget: Budget, seed: int
        ) -> list[Completion]:
            """Answer every problem."""
            ...


_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Work:
    """One batch to be answered.

    Attributes:
        problems: what is asked, of one kind.
        budget: what one completion may cost.
        seed: the generator's seed, one for the batch.
        settings: what production depends on besides (Monte Carlo draws, for choices).
        traces: whether completions keep their trace.
        number: tells two batches apart, in this process.
    """

    problems: tuple[Problem, ...]
    budget: Budget
    seed: int
    settings: ScoringSettings
    traces: bool = False
    number: int = field(default_factory=_numbers.__next__)

    @property
    def told(self) -> str:
        """The batch's tasks, for a message; a few of them where they are many."""
        return ", ".join(problem.task_id for problem in self.problems[:4]) + (", …" if len(self.problems) > 4 else "")

    def blame(self, error: GeneratorError) -> GeneratorError:
        """Return the generator's error with the tasks that it failed at."""
        return GeneratorError(f"{error} (while answering {self.told}; earlier samples are kept)")


def keep_traces(completions: Sequence[Completion], *, traces: bool) -> list[Completion]:
    """Return the completions, without their traces where these are not wanted."""
    return list(completions) if traces else [replace(completion, trace=None) for completion in completions]


class Engine(ABC):
    """Something that answers batches; a context manager, where it holds workers."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The generator's name."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """What the generator runs with (``specref_core.loading.fingerprint``)."""

    @property
    @abstractmethod
    def width(self) -> int:
        """How many batches are answered at once when all goes well."""

    @property
    @abstractmethod
    def capacity(self) -> int:
        """How many more batches would be answered at once if they were submitted now."""

    @abstractmethod
    def submit(self, work: Work) -> None:
        """Take a batch."""

    @abstractmethod
    def collect(self, *, timeout: float) -> tuple[Work, list[Completion]] | None:
        """Return one answered batch, each once; ``None`` when none was ready in time.

        Args:
            timeout: seconds to wait at most. An engine that generates in the caller's thread takes what it takes.

        Raises:
            GeneratorError: the generator raised or broke its contract; the message names it and the tasks.
            SpecRefError: the batch cannot be answered for another reason, which the message names.
        """

    @abstractmethod
    def forget(self) -> None:
        """Drop every batch that was submitted and not collected."""

    def close(self) -> None:
        """Give back whatever the engine holds."""
        self.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class LocalEngine(Engine):
    """The generator in this process: one batch at a time, answered while ``collect`` is called.

    Args:
        generator: what answers.
        produce: how a problem becomes a question to it (``protocols.scoring.Scorer.produce``).
    """

    def __init__(self, generator: Generator, produce: Produce) -> None:
        self._generator = generator
        self._produce = produce
        self._fingerprint: str | None = None
        self._work: Work | None = None

    @property
    def name(self) -> str:
        """The generator's name."""
        return self._generator.name

    @property
    def fingerprint(self) -> str:
        """What the generator runs with, read once: weights are large."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self._generator)
        return self._fingerprint

    @property
    def width(self) -> int:
        """One."""
        return 1

    @property
    def capacity(self) -> int:
        """One, until a batch waits."""
        return int(self._work is None)

    def submit(self, work: Work) -> None:
        """Take the batch that the next ``collect`` answers."""
        assert self._work is None
        self._work = work

    def collect(self, *, timeout: float) -> tuple[Work, list[Completion]] | None:
        """Answer the submitted batch.

        Raises:
            GeneratorError: the generator raised or broke its contract.
        """
        del timeout
        work, self._work = self._work, None
        if work is None:
            return None
        try:
            made = self._produce(self._generator, work.problems, budget=work.budget, seed=work.seed)
        except GeneratorError as error:
            raise work.blame(error) from error
        return work, keep_traces(made, traces=work.traces)

    def forget(self) -> None:
        """Drop the batch that waits."""
        self._work = None
