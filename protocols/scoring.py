"""How a benchmark's samples are produced and scored: one small seam behind which the three protocols stand.

A protocol turns problems into texts (a completion; for Protocol C the likelihoods, spelled as JSON) and texts into
verdicts. What either step depends on it names, so that the ledger can tell rows apart and a signature can be printed.
A new protocol is one more class with these four methods and a line in :func:`open_scorer`.
"""

from __future__ import annotations

import math
from collections import deque
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Protocol

from protocols.problems import AnswerProblem, ChoiceProblem, CodeProblem, Problem
from protocols.score import Score
from specref_core.errors import InputError, SpecRefError
from specref_core.generator import (
    Budget,
    Completion,
    Generator,
    MonteCarlo,
)
from specref_core.loading import generate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from protocols.exact_match import Grader
    from protocols.execution.judge import Judge


_LEVELS: dict[tuple[object, ...], str] = {}
"""Isolation levels that judges of this process reached, by their settings."""
_STARTS = 4  # a judge that cannot be kept alive so often is not the victim of chance


@dataclass(frozen=True, slots=True)
class ScoringSettings:
    """Every choice of the three protocols; a benchmark reads those of its own.

    Attributes:
        pipeline: from raw completion to program (``protocols.execution.completion.PIPELINES``).
        timeout: seconds a program may run, wall clock.
        require_isolation: refuse to run candidates below this isolation level.
        grader: ``strict`` or ``lenient``, for answers.
        monte_carlo: how likelihoods are estimated, for choices.
        choice_metric: ``acc_norm`` (log-likelihood a character) or ``acc`` (their sum), for choices.
        workers: judging processes; never moves a score.
    """

    pipeline: str = "extract"
    timeout: float = 10.0
    require_isolation: str | None = None
    grader: str = "lenient"
    monte_carlo: MonteCarlo = field(default_factory=MonteCarlo)
    choice_metric: str = "acc_norm"
    workers: int = 2

    def __post_init__(self) -> None:
        if not (math.isfinite(self.timeout) and self.timeout > 0):
            raise InputError(f"timeout={self.timeout!r}: expected a positive number of seconds")
        if self.choice_metric not in ("acc", "acc_norm"):
            raise InputError(f"choice_metric={self.choice_metric!r}: expected acc or acc_norm")
        if self.workers < 1:
            raise InputError(f"workers={self.workers!r}: expected at least one judging process")


class Scorer(Protocol):
    """One protocol, open for work."""

    def production_parts(self, budget: Budget) -> dict[str, object]:
        """Name what the produced text depends on, besides the generator, the problem and the seed."""
        ...

    def scoring_parts(self) -> dict[str, object]:
        """Name what the verdict on a text depends on, the protocol's own name first."""
        ...

    def produce(
        self, generator: Generator, problems: Sequence[Problem], *, budget: Budget, seed: int
    ) -> list[Completion]:
        """Have the generator answer every problem: one completion a problem, in order."""
        ...

    def score_many(self, items: Iterable[tuple[Problem, str]]) -> Iterator[Score]:
        """Judge texts, in order, each verdict as soon as it is known."""
        ...


@contextmanager
def open_scorer(problems: Sequence[Problem], settings: ScoringSettings) -> Iterator[Scorer]:
    """Start what scores these problems (judging processes, say) and stop it at the end.

    Raises:
        InputError: the problems are of several kinds or benchmarks, or a setting is unknown.
    """
    kind = check_scoring(problems, settings)
    if kind is CodeProblem:
        from protocols.execution.judge import Judge, Limits

        limits = Limits(timeout=settings.timeout)
        judge = Judge(workers=settings.workers, limits=limits, require_isolation=settings.require_isolation)
        # A machine's level is learned once a process; the judge itself starts when there is something to judge, and
        # says so if it reaches another level then.
        setting = (settings.workers, limits, settings.require_isolation)
        if setting not in _LEVELS:
            _LEVELS[setting] = _again(judge.start)
        with closing(judge):
            yield CodeScorer(judge, settings, _LEVELS[setting])
    elif kind is AnswerProblem:
        from protocols.exact_match import Grader

        with Grader(benchmark=problems[0].benchmark, grader=settings.grader, workers=settings.workers) as grader:
            yield AnswerScorer(grader)
    else:
        yield ChoiceScorer(settings)


def check_scoring(problems: Sequence[Problem], settings: ScoringSettings) -> type[Problem]:
    """Return the kind of the problems; refuse what no protocol can score, before anything is started.

    Raises:
        InputError: the problems are of several kinds or benchmarks, or a setting is unknown.
    """
    kinds = {type(problem) for problem in problems}
    if len(kinds) != 1:
        told = ", ".join(sorted(kind.__name__ for kind in kinds)) or "none"
        raise InputError(f"expected problems of one kind, got {told}; measure each benchmark by itself")
    kind = kinds.pop()
    if kind is CodeProblem:
        from protocols.execution.completion import PIPELINES

        if settings.pipeline not in PIPELINES:
            raise InputError(f"pipeline {settings.pipeline!r} is unknown; the known ones: {', '.join(PIPELINES)}")
    elif kind is AnswerProblem:
        from protocols.exact_match import GRADERS

        benchmarks = sorted({problem.benchmark for problem in problems})
        if len(benchmarks) != 1:
            raise InputError(f"answers of several benchmarks ({', '.join(benchmarks)}); measure each by itself")
        if settings.grader not in GRADERS:
            raise InputError(f"grader {settings.grader!r} is unknown; the known ones: {', '.join(GRADERS)}")
    return kind


def _again(start: Callable[[], str]) -> str:
    """Start the judge, once more where its processes are killed while they start."""
    for _ in range(_STARTS - 1):
        try:
            return start()
        except SpecRefError as error:  # noqa: PERF203 - a start takes far longer than the handler
            if type(error) is not SpecRefError:  # one of its own kinds: wrong input, say
                raise
    return start()


def continue_prompts(
    generator: Generator, problems: Sequence[Problem], *, budget: Budget, seed: int
) -> list[Completion]:
    """Have the generator continue every problem's prompt.

    The seed is passed on as it stands: a generator draws each prompt's randomness from the seed and the prompt, so
    that no batch, order or interruption can change a completion.
    """
    prompts = [problem.prompt for problem in problems if not isinstance(problem, ChoiceProblem)]
    return generate(generator, prompts, budget=budget, seed=seed)


def produce(
    generator: Generator, problems: Sequence[Problem], *, budget: Budget, seed: int, settings: ScoringSettings
) -> list[Completion]:
    """Do the production half of whatever protocol the problems have: for a process that generates and does not judge.

    Raises:
        InputError: the generator lacks what the protocol needs.
        GeneratorError: it broke its contract.
    """
    if isinstance(problems[0], ChoiceProblem):
        return ChoiceScorer(settings).produce(generator, problems, budget=budget, seed=seed)
    return continue_prompts(generator, problems, budget=budget, seed=seed)


@dataclass(frozen=True, slots=True)
class CodeScorer:
    """Protocol A: the completion becomes a program, the program is executed."""

    judge: Judge
    settings: ScoringSettings
    isolation: str

    def production_parts(self, budget: Budget) -> dict[str, object]:
        """Name the budget."""
        return asdict(budget)

    def scoring_parts(self) -> dict[str, object]:
        """Name the pipeline, the time limit and the isolation in force."""
        from protocols.execution.completion import pipeline_version

        return {
            "protocol": "execution",
            "pipeline": pipeline_version(self.settings.pipeline),
            "timeout": self.settings.timeout,
            "isolation": self.isolation,
        }

    def produce(
        self, generator: Generator, problems: Sequence[Problem], *, budget: Budget, seed: int
    ) -> list[Completion]:
        """Continue the prompts."""
        return continue_prompts(generator, problems, budget=budget, seed=seed)

    def score_many(self, items: Iterable[tuple[Problem, str]]) -> Iterator[Score]:
        """Build each program and run it; a judge whose processes were killed is started again."""
        from protocols.execution.completion import build_program

        todo = deque(items)

        def programs() -> Iterator[tuple[CodeProblem, str]]:
            for problem, text in tuple(todo):
                assert isinstance(problem, CodeProblem)
                yield problem, build_program(problem, text, self.settings.pipeline)

        lost = 0
        while todo:
            if (level := _again(self.judge.start)) != self.isolation:
                raise SpecRefError(
                    f"the judge reaches isolation level {level!r} after {self.isolation!r} in this process; run again"
                )
            try:
                for score in self.judge.score_many(programs()):
                    todo.popleft()
                    yield score
            except SpecRefError as error:
                lost += 1
                if type(error) is not SpecRefError or lost == _STARTS:
                    raise
                self.judge.close()


@dataclass(frozen=True, slots=True)
class AnswerScorer:
    """Protocol B: the answer is taken from the completion and compared with the reference."""

    grader: Grader

    def production_parts(self, budget: Budget) -> dict[str, object]:
        """Name the budget."""
        return asdict(budget)

    def scoring_parts(self) -> dict[str, object]:
        """Name the grader and its version."""
        return {"protocol": "exact-match", "grader": self.grader.name}

    def produce(
        self, generator: Generator, problems: Sequence[Problem], *, budget: Budget, seed: int
    ) -> list[Completion]:
        """Continue the prompts."""
        return continue_prompts(generator, problems, budget=budget, seed=seed)

    def score_many(self, items: Iterable[tuple[Problem, str]]) -> Iterator[Score]:
        """Grade each output."""

        def outputs() -> Iterator[tuple[str, str]]:
            for problem, text in items:
                assert isinstance(problem, AnswerProblem)
                yield text, problem.gold

        return self.grader.grade_many(outputs())


@dataclass(frozen=True, slots=True)
class ChoiceScorer:
    """Protocol C: the choices are ranked by likelihood."""

    settings: ScoringSettings

    def production_parts(self, budget: Budget) -> dict[str, object]:
        """Name the estimate; a likelihood has no other budget."""
        del budget
        estimate = self.settings.monte_carlo
        return {"mc": estimate.samples, "mc_batch": estimate.batch, "mc_scheme": estimate.scheme}

    def scoring_parts(self) -> dict[str, object]:
        """Name the metric."""
        return {"protocol": "likelihood", "metric": self.settings.choice_metric}

    def produce(
        self, generator: Generator, problems: Sequence[Problem], *, budget: Budget, seed: int
    ) -> list[Completion]:
        """Estimate the likelihood of every choice; the text of the completion is their JSON.

        Raises:
            InputError: the generator has no likelihoods.
            GeneratorError: they are not what the contract says.
        """
        del budget
        from protocols.likelihoods import estimate_likelihoods, to_json
        from protocols.multiple_choice import choice_request

        requests = [choice_request(problem) for problem in problems if isinstance(problem, ChoiceProblem)]
        rows = estimate_likelihoods(generator, requests, monte_carlo=self.settings.monte_carlo, seed=seed)
        return [Completion(to_json(row)) for row in rows]

    def score_many(self, items: Iterable[tuple[Problem, str]]) -> Iterator[Score]:
        """Rank the choices."""
        from protocols.likelihoods import from_json
        from protocols.multiple_choice import rank

        for problem, text in items:
            assert isinstance(problem, ChoiceProblem)
            yield rank(problem, from_json(text)).score(self.settings.choice_metric)
