"""Measure what each post-processing pipeline does to completions that are correct, and judge it."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from audits.claims import claim
from audits.output_forms import forms_for
from audits.statistics import Comparison, clopper_pearson, decide, mcnemar_exact, n_needed_share
from protocols.execution.completion import PIPELINES, build_program, pipeline_version
from protocols.execution.judge import Judge, Limits
from protocols.loaders import data_digest
from protocols.signature import Signature
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from audits.verdicts import Verdict
    from protocols.problems import CodeProblem

USUAL_PROBLEMS = 80
"""Seeded subset where no ``--limit`` is given: with none lost of 80, a loss of 5 points is excluded (72 would do)."""
CLAIM_OF = {
    "strip": "strip-destroys",
    "dedent": "dedent-destroys",
    "stop-sequences": "stop-sequences-destroy",
    "extract": "extract-keeps",
}
"""Which claim speaks of which pipeline."""


@dataclass(frozen=True, slots=True)
class Passed:
    """Which completions pass, by pipeline.

    Attributes:
        benchmark: name.
        passed: pipeline → (n,) whether each completion passes, in one order for all pipelines.
        digest: of the problems, for signatures.
        isolation: level the programs ran under, for signatures.
        timeout: seconds a program.
    """

    benchmark: str
    passed: Mapping[str, tuple[bool, ...]]
    digest: str
    isolation: str
    timeout: float

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Passed:
        """Return what ``dataclasses.asdict`` and JSON made of it."""
        return cls(**{**data, "passed": {pipeline: tuple(each) for pipeline, each in data["passed"].items()}})

    @property
    def n(self) -> int:
        """How many completions were judged."""
        return len(next(iter(self.passed.values())))

    def share(self, pipeline: str) -> float:
        """Return the share that passes, in [0, 1]."""
        return sum(self.passed[pipeline]) / self.n


def choose(problems: Sequence[CodeProblem], *, limit: int | None, seed: int) -> list[CodeProblem]:
    """Return a seeded subset in the order of the benchmark.

    Args:
        problems: all of them.
        limit: how many; 0 for all, ``None`` for the audit's own number.
        seed: of the draw.
    """
    wanted = USUAL_PROBLEMS if limit is None else limit
    if wanted == 0 or wanted >= len(problems):
        return list(problems)
    chosen = sorted(random.Random(seed).sample(range(len(problems)), wanted))
    return [problems[index] for index in chosen]


def measure(
    completions: Sequence[tuple[CodeProblem, str]],
    judge: Judge,
    *,
    known: dict[tuple[str, str, str], bool] | None = None,
) -> Passed:
    """Judge every completion under every pipeline; programs that several pipelines agree on run once.

    Args:
        completions: of one benchmark, at least one.
        judge: that runs the programs.
        known: results by benchmark, task id and program that need not be run again; new ones are added.

    Raises:
        InputError: there is nothing to measure.
    """
    if not completions:
        raise InputError("no completions: there is nothing to post-process")
    programs = {name: [build_program(problem, text, name) for problem, text in completions] for name in PIPELINES}
    known = {} if known is None else known
    wanted = {
        (problem.benchmark, problem.task_id, program): problem
        for built in programs.values()
        for (problem, _), program in zip(completions, built, strict=True)
    }
    new = {key: problem for key, problem in wanted.items() if key not in known}
    scores = judge.score_many((problem, program) for (_, _, program), problem in new.items())
    for key, score in zip(new, scores, strict=True):
        known[key] = score.correct
    problems = list({problem.task_id: problem for problem, _ in completions}.values())
    return Passed(
        benchmark=completions[0][0].benchmark,
        passed={
            name: tuple(
                known[problem.benchmark, problem.task_id, program]
                for (problem, _), program in zip(completions, built, strict=True)
            )
            for name, built in programs.items()
        },
        digest=data_digest(problems),
        isolation=judge.isolation,
        timeout=judge.limits.timeout,
    )


def measure_form(
    problems: Sequence[CodeProblem], form: str, judge: Judge, *, known: dict[tuple[str, str, str], bool] | None = None
) -> Passed:
    """Write every problem's reference in one output form and judge it under every pipeline; see :func:`measure`.

    Raises:
        InputError: no problem, or no such form for this kind of problem.
    """
    if not problems:
        raise InputError("no problems: there is nothing to write")
    forms = {known.name: known for known in forms_for(problems[0])}
    if form not in forms:
        raise InputError(f"no output form {form!r} for {problems[0].benchmark}; known: {', '.join(forms)}")
    return measure([(problem, forms[form].write(problem)) for problem in problems], judge, known=known)


def judge_pipeline(measured: Passed, pipeline: str, *, system: str, correct: Sequence[bool]) -> Verdict | None:
    """Judge the share of correct completions that a pipeline loses.

    Args:
        measured: what passes.
        pipeline: whose loss; a key of :data:`CLAIM_OF`.
        system: what the completions are, for the verdict.
        correct: (n,) which completions are correct, in the order of ``measured``.

    Returns:
        The verdict, or ``None`` where no completion is correct and nothing can be lost.
    """
    kept = [passed for passed, right in zip(measured.passed[pipeline], correct, strict=True) if right]
    if not kept:
        return None
    lost, n = len(kept) - sum(kept), len(kept)
    interval = clopper_pearson(lost, n)
    comparison = Comparison(
        effect=lost / n,
        low=interval.low,
        high=interval.high,
        p_value=mcnemar_exact(lost, 0),
        n=n,
        test="exact McNemar, Clopper-Pearson interval",
    )
    about = claim(CLAIM_OF[pipeline])
    signature = Signature.of(
        benchmark=measured.benchmark,
        data=measured.digest,
        n=n,
        system=system,
        pipeline=pipeline_version(pipeline),
        timeout=measured.timeout,
        isolation=measured.isolation,
    )
    return decide(
        comparison,
        claim=about.id,
        system=system,
        benchmark=measured.benchmark,
        margin=about.margin / 100,
        direction=about.direction,
        n_needed=n_needed_share(lost / n, about.margin / 100),
        reason=f"{pipeline} loses {lost} of {n} correct completions",
        signature=str(signature),
    )


def correct_as_they_stand(measured: Passed) -> tuple[bool, ...]:
    """Return which completions pass untouched.

    Only these can be destroyed by a transform. Of references in their plainest form these are the ones that count as
    correct at all: one that fails its own tests (on this machine, in this time) says nothing about post-processing.
    """
    return measured.passed["raw"]


def correct_somehow(measured: Passed) -> tuple[bool, ...]:
    """Return which completions pass under at least one pipeline."""
    return tuple(any(column) for column in zip(*measured.passed.values(), strict=True))


def workers() -> int:
    """Return how many programs to run at a time: the processors, shared with xdist's other workers."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, count // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def new_judge() -> Judge:
    """Return the judge of the post-processing audit: the paper's ten seconds a program."""
    return Judge(workers=workers(), limits=Limits(timeout=10.0))
