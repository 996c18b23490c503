r"""Grade MATH's gold solutions against themselves: how many a second, and how many come out right.

Three runs in one process order, each on one core:

- ``as written``: every solution against its own gold answer, as a run of a perfect model would be graded;
- ``respelled``: the answer written another way (``\dfrac``, ``\left(``, ``7.0``), so that string equality decides
  nothing;
- ``Math-Verify``: the named baseline, ``parse`` and ``verify`` called plainly on the same respelled answers.

Usage: ``python benchmarks/grading_throughput.py FOLDER_WITH_math_500.jsonl [--repeat 3]``
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from protocols.exact_match import Grader, gold_answer

if TYPE_CHECKING:
    from collections.abc import Callable


def respell(answer: str) -> str:
    """Write an answer in another way that means the same and that any LaTeX reader knows."""
    if re.fullmatch(r"-?\d+", answer):
        return f"{answer}.0"
    text = answer.replace("\\frac", "\\dfrac").replace("(", "\\left(").replace(")", "\\right)")
    return text if text != answer else f"{{{answer}}}"


def timed(items: list[tuple[str, str]], run: Callable[[list[tuple[str, str]]], int]) -> tuple[int, float]:
    """Return how many were right, and seconds."""
    start = time.perf_counter()
    right = run(items)
    return right, time.perf_counter() - start


def ours(items: list[tuple[str, str]]) -> int:
    """Grade with the lenient grader and one worker."""
    with Grader(benchmark="math", workers=1) as grader:
        return sum(score.correct for score in grader.grade_many(items))


def plain_math_verify(items: list[tuple[str, str]]) -> int:
    """Grade with Math-Verify in this process."""
    from math_verify import parse, verify

    return sum(bool(verify(parse(f"${gold}$"), parse(output))) for output, gold in items)


def main() -> None:
    """Print a table of rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in (arguments.folder / "math_500.jsonl").read_text().splitlines()]
    golds = [gold_answer(row["solution"], benchmark="math") for row in rows]
    written = [(row["solution"], gold) for row, gold in zip(rows, golds, strict=True)]
    respelled = [(f"so $\\boxed{{{respell(gold)}}}$", gold) for gold in golds]
    plain_math_verify(respelled[:5])  # importing sympy is nobody's rate
    runs = {
        "as written, lenient": (written, ours),
        "respelled, lenient": (respelled, ours),
        f"respelled, Math-Verify {version('math-verify')} plain": (respelled, plain_math_verify),
    }
    rates: dict[str, float] = {}
    print(f"{len(golds)} gold solutions, one core, medians of {arguments.repeat}")
    for name, (items, run) in runs.items():
        found = [timed(items, run) for _ in range(arguments.repeat)]
        rates[name] = len(items) / statistics.median(seconds for _, seconds in found)
        print(f"{name:45s} {found[0][0]:4d} right  {rates[name]:9.1f} a second")
    first, second, baseline = rates.values()
    print(f"ratio to plain Math-Verify: as written {first / baseline:.1f}, respelled {second / baseline:.1f}")


if __name__ == "__main__":
    main()
