"""Load a benchmark's problems: local files in the public formats, the hub, or the records that ship with SpecRef."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.error
import urllib.request
from dataclasses import asdict
from importlib.resources import as_file, files
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from protocols import records
from protocols.json_lines import Row, read_rows
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from protocols.problems import Problem

DATA_VARIABLE = "SPECREF_DATA"
"""The environment variable that names the data folder where ``--data-dir`` does not."""

_HUB_PROBE_SECONDS = 5.0


class Benchmark(NamedTuple):
    """Where a benchmark is found and how its records are read."""

    read: Callable[[Row, int], Problem]
    """One record and its 0-based position → one problem."""
    local: tuple[str, ...]
    """Glob patterns below the data folder, best first; the first that matches anything is used."""
    hub: tuple[str, str | None, str]
    """Dataset, configuration and split on the hub."""
    shipped: str
    """The file of hand-made records in ``fixtures/problems``."""


BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType(
    {
        "humaneval": Benchmark(
            records.humaneval,
            ("humaneval/[Hh]uman[Ee]val.jsonl*", "[Hh]uman[Ee]val.jsonl*", "[Hh]uman[Ee]val/*.jsonl*"),
            ("openai/openai_humaneval", None, "test"),
            "humaneval.jsonl",
        ),
        "mbpp": Benchmark(
            records.mbpp,
            ("mbpp/mbpp.jsonl*", "mbpp.jsonl*", "mbpp/*.jsonl*", "mbpp/sanitized-mbpp.json", "sanitized-mbpp.json"),
            ("google-research-datasets/mbpp", "full", "test"),
            "mbpp.jsonl",
        ),
        "gsm8k": Benchmark(
            records.gsm8k,
            ("gsm8k/test.jsonl*", "gsm8k_test.jsonl*", "gsm8k.jsonl*", "gsm8k/*.jsonl*"),
            ("openai/gsm8k", "main", "test"),
            "gsm8k.jsonl",
        ),
        "math": Benchmark(
            records.math,
            ("math/test.jsonl*", "math/*.jsonl*", "math_test.jsonl*", "math*.jsonl*", "MATH/test/*/*.json"),
            ("HuggingFaceH4/MATH-500", None, "test"),
            "math.jsonl",
        ),
        "bbh": Benchmark(
            records.bbh,
            ("bbh/boolean_expressions.json*", "boolean_expressions.json*", "bbh/bbh/boolean_expressions.json"),
            ("lukaemon/bbh", "boolean_expressions", "test"),
            "bbh.json",
        ),
        "arc_challenge": Benchmark(
            records.arc_challenge,
            ("arc/ARC-Challenge-[Tt]est*.jsonl*", "ARC-Challenge-[Tt]est*.jsonl*", "ARC-Challenge/*Test.jsonl*"),
            ("allenai/ai2_arc", "ARC-Challenge", "test"),
            "arc_challenge.jsonl",
        ),
        "hellaswag": Benchmark(
            records.hellaswag,
            ("hellaswag/hellaswag_val.jsonl*", "hellaswag_val.jsonl*", "hellaswag/*.jsonl*"),
            ("Rowan/hellaswag", None, "validation"),
            "hellaswag.jsonl",
        ),
    }
)


def known_benchmark(name: str) -> Benchmark:
    """Return the benchmark of that name.

    Raises:
        InputError: unknown; the message lists the known ones.
    """
    try:
        return BENCHMARKS[name]
    except KeyError:
        raise InputError(f"unknown benchmark {name!r}; known: {', '.join(BENCHMARKS)}") from None


def load_problems(
    benchmark: str, *, data_dir: Path | None = None, limit: int | None = None, shipped: bool = False
) -> list[Problem]:
    """Load problems in the order of their source.

    Args:
        benchmark: a key of :data:`BENCHMARKS`.
        data_dir: folder with the public files, directly or in a folder named after the benchmark. Without it
            ``$SPECREF_DATA`` is used, and without that the hub, through ``datasets``.
        limit: take only the first so many.
        shipped: take the few hand-made records that come with SpecRef instead; ``data_dir`` is ignored.

    Raises:
        InputError: unknown benchmark, nothing found (with every place looked at), or a broken record (with file, line
            and field).
    """
    source = known_benchmark(benchmark)
    if limit is not None and limit < 1:
        raise InputError(f"limit={limit}: expected a positive number of problems")
    if shipped:
        return shipped_problems(benchmark)[:limit]
    folder = data_dir or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
    rows = _hub_rows(benchmark, source) if folder is None else _local_rows(benchmark, source, folder)
    return _problems(source, rows, f"no {benchmark} record in {folder or source.hub[0]}", limit)


def shipped_problems(benchmark: str) -> list[Problem]:
    """Load the hand-made records of ``fixtures/problems``: a few of each benchmark's format, nobody's test data."""
    source = known_benchmark(benchmark)
    with as_file(files("fixtures.problems") / source.shipped) as path:
        return _problems(source, _unfold(read_rows(path)), f"{path} is empty", None)


def data_digest(problems: Iterable[Problem]) -> str:
    """Return 12 hex digits that change with any field of any problem or with their order, for the signature."""
    digest = hashlib.sha256()
    for problem in problems:
        digest.update(json.dumps(asdict(problem), sort_keys=True).encode())
        digest.update(b"\n")
    return digest.hexdigest()[:12]


def _problems(source: Benchmark, rows: Iterable[Row], empty: str, limit: int | None) -> list[Problem]:
    problems: list[Problem] = []
    places: dict[str, str] = {}
    for index, row in enumerate(rows):
        if limit is not None and index >= limit:
            break
        problem = source.read(row, index)
        if problem.task_id in places:
            raise InputError(f"{row.place}: task id {problem.task_id!r} was used before ({places[problem.task_id]})")
        places[problem.task_id] = row.place
        problems.append(problem)
    if not problems:
        raise InputError(empty)
    return problems


def _local_rows(benchmark: str, source: Benchmark, folder: Path) -> Iterator[Row]:
    if folder.is_file():
        found: Sequence[Path] = [folder]
    elif not folder.is_dir():
        raise InputError(f"no data folder {folder} (looked for {folder.absolute()})")
    else:
        found = next((hits for pattern in source.local if (hits := sorted(folder.glob(pattern)))), [])
    if not found:
        looked = ", ".join(str(folder / pattern) for pattern in source.local)
        raise InputError(f"no {benchmark} data below {folder}; looked for {looked}")
    # A folder of one-record files (MATH as its authors publish it) is read whole; otherwise the first file is it.
    chosen = found if "*/*" in str(source.local) and len(found) > 1 and found[0].suffix == ".json" else found[:1]
    for path in chosen:
        yield from _unfold(read_rows(path))


def _unfold(rows: Iterator[Row]) -> Iterator[Row]:
    """Yield the examples inside a BIG-Bench Hard file, and any other record as it is."""
    for row in rows:
        if "examples" not in row.fields:
            yield row
            continue
        for number, example in enumerate(row.typed("examples", list, of=dict), start=1):
            yield Row(f"{row.place}, example {number}", number, example)


def _hub_rows(benchmark: str, source: Benchmark) -> Iterator[Row]:
    name, configuration, split = source.hub
    other_ways = (
        f"give --data-dir or set ${DATA_VARIABLE} to a folder with the public files, or use the shipped records"
    )
    if not hub_answers():
        raise InputError(f"{benchmark}: the hub is not reachable from here; {other_ways}")
    try:
        import datasets

        rows: Any = datasets.load_dataset(name, configuration, split=split)
        for number, fields in enumerate(rows, start=1):
            yield Row(f"{name} ({split}), row {number}", number, dict(fields))
    except Exception as error:
        raise InputError(
            f"{benchmark}: loading {name} from the hub failed ({type(error).__name__}: {error}); {other_ways}"
        ) from error


def hub_answers() -> bool:
    """Tell within seconds whether the hub, or its cache where the hub is switched off, can be asked at all."""
    # `datasets` retries for half a minute before it admits that there is no network; one short request tells at once.
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return True  # its cache is asked instead, and a miss fails at once
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        request = urllib.request.Request(endpoint, method="HEAD")  # noqa: S310  # the user's own endpoint
        urllib.request.urlopen(request, timeout=_HUB_PROBE_SECONDS).close()  # noqa: S310  # same
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True
