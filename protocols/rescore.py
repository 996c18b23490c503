"""Score other harnesses' sample files again: every pipeline or grader over the same outputs, a verdict a sample."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from protocols.execution.completion import PIPELINES, build_program, pipeline_version, require_pipeline
from protocols.loaders import DATA_VARIABLE, data_digest, known_benchmark, load_problems, shipped_problems
from protocols.problems import AnswerProblem, CodeProblem, Problem
from protocols.samples import Sample, read_samples, resolve, samples_digest
from protocols.scores import SampleScore, Scores
from protocols.signature import Signature
from specref_core.errors import InputError
from specref_core.generator import Budget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from protocols.score import Score

SCHEMA = "specref.rescore/1"
CODE_BENCHMARKS = ("humaneval", "mbpp")
ANSWER_BENCHMARKS = ("gsm8k", "math", "bbh")


@dataclass(frozen=True, slots=True)
class Material:
    """A checked sample file with its problems: all that rescoring needs, nothing started yet.

    Attributes:
        name: the file's name.
        samples: in the order of the file.
        problems: each sample's problem.
        data: digest of the benchmark's problems, for the signature.
        pipelines: pipelines (code) or graders (answers), by name, in the order they will be reported.
    """

    name: str
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...]
    data: str
    pipelines: tuple[str, ...]

    @property
    def benchmark(self) -> str:
        """The benchmark all samples belong to."""
        return self.problems[0].benchmark

    @property
    def uneven(self) -> bool:
        """Whether some tasks have more samples than others, so that the share of samples is no mean over tasks."""
        return len(set(Counter(problem.task_id for problem in self.problems).values())) > 1


@dataclass(frozen=True, slots=True)
class Rescoring:
    """The outcome: one :class:`Scores` a pipeline, all over the same samples in the order of the file."""

    signature: Signature
    pipelines: tuple[tuple[str, Scores], ...]

    def as_dict(self) -> dict[str, object]:
        """Return what ``--json`` holds; ``score``, ``low`` and ``high`` are shares of the samples, in [0, 1]."""
        rows = []
        for name, scores in self.pipelines:
            low, high = scores.interval
            rows.append(
                {
                    "pipeline": name,
                    "n": scores.n,
                    "correct": scores.correct,
                    "score": scores.value,
                    "low": low,
                    "high": high,
                    "tasks": len(scores.by_task()),
                    "failures": {failure.value: count for failure, count in scores.failures.items()},
                    "signature": str(scores.signature),
                }
            )
        samples = [
            {
                "task_id": sample.task_id,
                "pipeline": name,
                "correct": sample.score.correct,
                "failure": sample.score.failure.value if sample.score.failure else None,
                "detail": sample.score.detail,
            }
            for of_one_line in zip(*(scores.samples for _, scores in self.pipelines), strict=True)
            for (name, _), sample in zip(self.pipelines, of_one_line, strict=True)
        ]
        return {
            "schema": SCHEMA,
            "version": self.signature.as_dict()["version"],
            "signature": str(self.signature),
            "samples": samples,
            "pipelines": rows,
        }


def prepare(
    path: Path,
    benchmark: str,
    *,
    pipelines: Sequence[str] = (),
    data_dir: Path | None = None,
    shipped: bool = False,
    limit: int | None = None,
) -> Material:
    """Read and check everything before anything runs.

    Args:
        path: the sample file (see :func:`protocols.samples.read_samples`).
        benchmark: ``humaneval``, ``mbpp``, ``gsm8k``, ``math`` or ``bbh``.
        pipelines: pipelines of ``protocols.execution.completion`` for code, graders of ``protocols.exact_match`` for
            answers; all of them where none is named.
        data_dir: where the benchmark's files are; not needed where every row carries its problem or its gold answer.
        shipped: judge against the hand-made records that come with SpecRef.
        limit: take only the first so many samples.

    Raises:
        InputError: whatever is wrong with the file, a row, the benchmark, a pipeline or the data, by name.
    """
    known_benchmark(benchmark)
    if benchmark not in (*CODE_BENCHMARKS, *ANSWER_BENCHMARKS):
        raise InputError(
            f"{benchmark} is scored by likelihood, not from outputs; "
            f"known here: {', '.join((*CODE_BENCHMARKS, *ANSWER_BENCHMARKS))}"
        )
    names = tuple(dict.fromkeys(pipelines)) or _all_pipelines(benchmark)
    _check_pipelines(benchmark, names)
    samples = read_samples(path, benchmark, limit=limit)
    problems = _problems_of(samples, benchmark, data_dir, shipped=shipped)
    resolved = resolve(samples, problems)
    used = problems or list({problem.task_id: problem for problem in resolved}.values())
    return Material(path.name, tuple(samples), tuple(resolved), data_digest(used), names)


def rescore(
    material: Material,
    *,
    timeout: float | None = None,
    workers: int | None = None,
    require_isolation: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Rescoring:
    """Score every sample through every pipeline.

    Args:
        material: from :func:`prepare`.
        timeout: seconds a program may run (10 by default), or Math-Verify may take for one answer (5 by default).
        workers: judging processes; by default two for answers, one a processor for code.
        require_isolation: refuse to run programs below this level.
        progress: called with the number of verdicts so far and the number of all.

    Raises:
        InputError: a limit out of range, or the isolation is not to be had.
    """
    total = len(material.samples) * len(material.pipelines)
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    code = material.benchmark in CODE_BENCHMARKS
    open_scores = _executed if code else _graded
    with open_scores(material, timeout, workers, require_isolation) as (stream, parts):
        verdicts: list[Score] = []
        for score in stream:
            # The program itself is not kept: six pipelines over a file of long outputs would fill the memory.
            verdicts.append(replace(score, extracted=None))
            advance()
    shared: dict[str, object] = {
        "system": material.name,
        "samples": samples_digest(material.samples),
        "benchmark": material.benchmark,
        "data": material.data,
        "n": len(material.samples),
    }
    count = len(material.pipelines)
    results = []
    for position, name in enumerate(material.pipelines):
        key, value = ("pipeline", pipeline_version(name)) if code else ("grader", _grader_name(name))
        samples = tuple(
            SampleScore(task_id=problem.task_id, seed=0, text=sample.completion, score=score)
            for problem, sample, score in zip(
                material.problems, material.samples, verdicts[position::count], strict=True
            )
        )
        signature = Signature.of(**shared, **{"protocol": parts["protocol"], key: value, **parts})
        results.append((name, Scores(material.name, material.benchmark, Budget(), samples, len(samples), signature)))
    versions = [pipeline_version(n) if code else _grader_name(n) for n in material.pipelines]
    whole = Signature.of(
        **shared, **{"protocol": parts["protocol"], "pipelines" if code else "graders": versions, **parts}
    )
    return Rescoring(whole, tuple(results))


@contextmanager
def _executed(
    material: Material, timeout: float | None, workers: int | None, require_isolation: str | None
) -> Iterator[tuple[Iterator[Score], dict[str, object]]]:
    """Open Protocol A: verdicts sample by sample, pipelines within a sample."""
    from protocols.execution.judge import Judge, Limits

    limits = Limits() if timeout is None else Limits(timeout=timeout)
    # Most pipelines leave most completions alone; equal programs for one task are run once.
    order: list[tuple[str, bytes]] = []

    def programs() -> Iterator[tuple[CodeProblem, str]]:
        seen: set[tuple[str, bytes]] = set()
        for sample, problem in zip(material.samples, material.problems, strict=True):
            assert isinstance(problem, CodeProblem)
            for name in material.pipelines:
                program = _program(sample, problem, name)
                digest = hashlib.sha256(program.encode("utf-8", "surrogatepass")).digest()
                key = (problem.task_id, digest)
                order.append(key)
                if key not in seen:
                    seen.add(key)
                    yield problem, program

    with Judge(workers=workers, limits=limits, require_isolation=require_isolation) as judge:
        parts: dict[str, object] = {
            "protocol": "execution",
            "timeout": limits.timeout,
            "isolation": judge.isolation,
        }
        yield _in_order(judge.score_many(programs()), order), parts


def _in_order(judged: Iterator[Score], order: Sequence[tuple[str, bytes]]) -> Iterator[Score]:
    """Yield one verdict for every entry of ``order``, which grows while ``judged`` is being read."""
    known: dict[tuple[str, bytes], Score] = {}
    position = 0
    for score in judged:
        while order[position] in known:
            yield known[order[position]]
            position += 1
        known[order[position]] = score
        yield score
        position += 1
    for key in order[position:]:
        yield known[key]


def _program(sample: Sample, problem: CodeProblem, pipeline: str) -> str:
    # `extract` wants the prompt in any case: its imports and helpers may be missing from a program given as whole.
    alone = sample.whole_program and pipeline != "extract"
    return build_program(replace(problem, prompt_is_code=False) if alone else problem, sample.completion, pipeline)


@contextmanager
def _graded(
    material: Material, timeout: float | None, workers: int | None, require_isolation: str | None
) -> Iterator[tuple[Iterator[Score], dict[str, object]]]:
    """Open Protocol B: verdicts sample by sample, graders within a sample."""
    from protocols.exact_match import Grader

    if require_isolation is not None:
        raise InputError(f"--require-isolation is for programs; {material.benchmark} runs none")
    seconds = 5.0 if timeout is None else timeout
    graders = [
        Grader(benchmark=material.benchmark, grader=name, workers=workers or 2, timeout=seconds)
        for name in material.pipelines
    ]

    def pairs() -> Iterator[tuple[str, str]]:
        for sample, problem in zip(material.samples, material.problems, strict=True):
            assert isinstance(problem, AnswerProblem)
            yield sample.completion, problem.gold

    try:
        streams = [grader.grade_many(pairs()) for grader in graders]
        yield (
            (score for scores in zip(*streams, strict=True) for score in scores),
            {"protocol": "exact-match", "timeout": seconds},
        )
    finally:
        for grader in graders:
            grader.close()


def _all_pipelines(benchmark: str) -> tuple[str, ...]:
    if benchmark in CODE_BENCHMARKS:
        return tuple(PIPELINES)
    from protocols.exact_match import GRADERS

    return GRADERS


def _check_pipelines(benchmark: str, names: Sequence[str]) -> None:
    known = _all_pipelines(benchmark)
    for name in names:
        if benchmark in CODE_BENCHMARKS:
            require_pipeline(name)
        elif name not in known:
            raise InputError(f"unknown grader {name!r} for {benchmark}; known: {', '.join(known)}")


def _grader_name(name: str) -> str:
    from protocols.exact_match import grader_name

    return grader_name(name)


def _problems_of(samples: Sequence[Sample], benchmark: str, data_dir: Path | None, *, shipped: bool) -> list[Problem]:
    """Load the benchmark where a sample needs it; rows that carry their problem or gold are judged by that."""
    if shipped:
        return shipped_problems(benchmark)
    asked_for = data_dir is not None or bool(os.environ.get(DATA_VARIABLE))
    needed = any(sample.problem is None for sample in samples)
    by_id = any(sample.task_id is not None for sample in samples)
    if needed or (by_id and asked_for):
        return load_problems(benchmark, data_dir=data_dir)
    return list({s.problem.task_id: s.problem for s in samples if s.task_id is not None and s.problem}.values())
