"""Audit 1: what post-processing does to code that is correct (paper, section 3.3, pitfall 1).

References of the benchmarks are written in the forms in which models hand them over, sent through every pipeline, and
run. A transform can only destroy what passes as it stands; extraction has to keep every form.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import pytest

from audits import post_processing as audit
from audits.output_forms import CONTINUATION_FORMS, PRINCIPAL, PROGRAM_FORMS
from audits.plugin import find_data_dir
from protocols.loaders import data_digest, load_problems, shipped_problems
from protocols.problems import CodeProblem
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from audits.kept_results import KeptResults
    from audits.verdicts import Verdict

    Measure = Callable[[str, str, str], audit.Passed]

FORMS = {"humaneval": CONTINUATION_FORMS, "mbpp": PROGRAM_FORMS}
TRANSFORMS = ("strip", "dedent", "stop-sequences")


class Case(NamedTuple):
    """One output form of one benchmark from one source."""

    source: str
    benchmark: str
    form: str
    stands: bool

    @property
    def system(self) -> str:
        """Name for verdicts and tables."""
        return f"{self.form} ({NAMED[self.source]})"


NAMED = {"shipped": "shipped records", "data": "benchmark files"}
CASES = [
    Case(source, benchmark, form.name, form.stands)
    for source in NAMED
    for benchmark, forms in FORMS.items()
    for form in forms
    if source == "data" or form.name in PRINCIPAL
]


def _each(cases: Iterable[Case]) -> pytest.MarkDecorator:
    """Parametrize a test over cases, each marked with its source."""
    return pytest.mark.parametrize(
        "case",
        [
            pytest.param(case, marks=pytest.mark.source(case.source), id=f"{case.source}-{case.benchmark}-{case.form}")
            for case in cases
        ],
    )


@pytest.fixture(scope="module")
def measured(request: pytest.FixtureRequest, kept: KeptResults, limit: int | None, seed: int) -> Iterator[Measure]:
    """Yield the function that measures one output form once: source, benchmark, form → what passes."""
    data_dir = find_data_dir(request.config.getoption("--data-dir"))
    known: dict[tuple[str, str, str], bool] = {}
    judge = audit.new_judge()  # its workers start with the first program, if there is any to run

    @cache
    def problems(source: str, benchmark: str) -> list[CodeProblem]:
        return audit.choose(_problems(source, benchmark, data_dir), limit=limit, seed=seed)

    @cache
    def measure(source: str, benchmark: str, form: str) -> audit.Passed:
        chosen = problems(source, benchmark)
        key = f"post-processing|{benchmark}|{form}|{data_digest(chosen)}"
        return audit.Passed.from_dict(
            kept.recall(key, lambda: asdict(audit.measure_form(chosen, form, judge, known=known)))
        )

    yield measure
    judge.close()


@pytest.mark.parametrize("pipeline", TRANSFORMS)
@_each(case for case in CASES if case.stands)
def test_transform_destroys_correct_code(
    case: Case, pipeline: str, measured: Measure, record_verdict: Callable[[Verdict], None]
) -> None:
    """Strip, dedent and the paper's stop strings, on every form that passes as it stands."""
    found = measured(case.source, case.benchmark, case.form)
    correct = audit.correct_as_they_stand(found)
    verdict = audit.judge_pipeline(found, pipeline, system=case.system, correct=correct)
    if verdict is None:
        pytest.fail(f"no reference of {case.benchmark} passes in the form {case.form!r}; there is nothing to destroy")
    record_verdict(verdict)


@_each(CASES)
def test_extraction_keeps_correct_code(
    case: Case,
    measured: Measure,
    record_verdict: Callable[[Verdict], None],
    record_row: Callable[[str, str, Mapping[str, str]], None],
) -> None:
    """The control: extraction has to find the same answer in every form."""
    found = measured(case.source, case.benchmark, case.form)
    plainest = FORMS[case.benchmark][0].name
    correct = audit.correct_as_they_stand(measured(case.source, case.benchmark, plainest))
    title = f"percent of {found.n} correct solutions that pass, {case.benchmark} ({NAMED[case.source]})"
    record_row(title, case.form, {name: f"{100 * found.share(name):.1f}" for name in found.passed})
    verdict = audit.judge_pipeline(found, "extract", system=case.system, correct=correct)
    if verdict is None:
        pytest.fail(f"no reference of {case.benchmark} passes its own tests")
    record_verdict(verdict)


def _problems(source: str, benchmark: str, data_dir: Path | None) -> list[CodeProblem]:
    if source == "shipped":
        found = shipped_problems(benchmark)
    else:
        if data_dir is None:
            pytest.skip("no benchmark files: give --data-dir or set SPECREF_DATA")
        try:
            found = load_problems(benchmark, data_dir=data_dir)
        except InputError as error:
            pytest.skip(str(error))
    return [problem for problem in found if isinstance(problem, CodeProblem)]
