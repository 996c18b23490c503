"""The judge on hostile and awkward programs, at the strongest isolation of the machine."""

# Programs and records stay on one line, however long.
# ruff: noqa: E501

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from protocols.execution.isolation import LEVELS, at_least
from protocols.execution.judge import Judge, Limits
from protocols.problems import CodeProblem
from protocols.score import Failure, Score
from specref_core.errors import InputError
from tests.protocols.execution.programs import ADD, ALL, LIMIT, MEMORY, RIGHT, TIME, WRONG, Case


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge(workers=2, limits=Limits(timeout=30.0)) as judge:
        yield judge


@pytest.fixture(scope="module")
def hasty() -> Iterator[Judge]:
    with Judge(workers=2, limits=Limits(timeout=LIMIT)) as judge:
        yield judge


def outcome(score: Score) -> str:
    return "pass" if score.correct else score.failure.value if score.failure else ""


@pytest.fixture(scope="module")
def verdicts(judge: Judge, hasty: Judge) -> dict[str, Score]:
    """Every program judged once, in parallel; those that hang or hoard under tighter limits, for the sake of time."""
    with Judge(workers=2, limits=Limits(timeout=30.0, memory=512 << 20)) as small:
        judges = {**dict.fromkeys(TIME, hasty), **dict.fromkeys(MEMORY, small)}
        found = {}
        for one in (judge, hasty, small):
            cases = [case for case in ALL if judges.get(case, judge) is one]
            scores = one.score_many((ADD, case.program) for case in cases)
            found.update(zip((case.name for case in cases), scores, strict=True))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_every_program_gets_its_verdict(case: Case, verdicts: dict[str, Score]) -> None:
    score = verdicts[case.name]
    assert outcome(score) in case.expected, score.detail
    assert score.extracted == case.program
    assert "\n" not in score.detail


# -- effects outside


def run(judge: Judge, body: str) -> Score:
    """Score a program whose function does ``body`` first and then answers rightly."""
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    return judge.score(ADD, f"import os, socket, signal, time\ndef add(x, y):\n{lines}\n    return x + y\n")


@pytest.fixture
def isolated(judge: Judge) -> Judge:
    if not at_least(judge.isolation, "landlock"):
        pytest.skip(f"isolation level {judge.isolation} only")
    return judge


def test_nothing_is_written_outside(isolated: Judge, tmp_path: Path) -> None:
    target = tmp_path / "written"
    tmp_path.chmod(0o777)
    run(isolated, f"try:\n    open({str(target)!r}, 'w').write('x')\nexcept OSError:\n    pass")
    run(isolated, f"import posix\ntry:\n    posix.mkdir({str(target)!r})\nexcept OSError:\n    pass")
    assert not target.exists()


def test_nothing_is_removed_outside(isolated: Judge, tmp_path: Path) -> None:
    target = tmp_path / "kept"
    target.write_text("x")
    tmp_path.chmod(0o777)
    run(isolated, f"import posix\ntry:\n    posix.unlink({str(target)!r})\nexcept OSError:\n    pass")
    assert target.exists()


def test_files_outside_the_interpreter_cannot_be_read(isolated: Judge, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    tmp_path.chmod(0o777)
    score = run(isolated, f"open({str(secret)!r}).read()")
    assert score.failure is Failure.EXCEPTION


def test_loopback_cannot_be_reached(isolated: Judge) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        score = run(isolated, f"socket.create_connection(('127.0.0.1', {port}), 1).close()")
        assert score.failure is Failure.EXCEPTION
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()


def test_processes_outside_cannot_be_signalled(isolated: Judge) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as outside:
        run(isolated, f"try:\n    os.kill({outside.pid}, signal.SIGKILL)\nexcept OSError:\n    pass")
        run(
            isolated,
            "import posix\nfor pid in range(2, 400):\n    try:\n        posix.kill(os.getppid(), 9)\n    except OSError:\n        pass",
        )
        time.sleep(0.05)
        assert outside.poll() is None
        outside.kill()
    assert isolated.score(ADD, RIGHT).correct


def test_environment_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY_OF_A_TEST", "x")
    with Judge(workers=1) as fresh:
        assert run(fresh, "assert not dict(os.environ), os.environ").correct
        assert run(fresh, "import sys\nassert 'SECRET' not in str(os.environb)").correct


def test_nothing_is_left_alive() -> None:
    mark = f"specref-test-{os.getpid()}-{time.time_ns()}"
    with Judge(workers=1, limits=Limits(timeout=20.0)) as judge:
        body = f"""
if x == 2:
    for _ in range(5):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                import sys, ctypes
                ctypes.CDLL(None).prctl(15, {mark[-15:].encode()!r}, 0, 0, 0)
                time.sleep(100)
            os._exit(0)
"""
        assert run(judge, body).correct
        assert not _alive(mark[-15:])


def _alive(name: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            found += [str(entry)] if entry.read_text().strip() == name else []
    return found


def test_twenty_children_do_not_delay_the_verdict(judge: Judge) -> None:
    started = time.monotonic()
    score = run(
        judge,
        "if x == 2:\n    for _ in range(20):\n        if os.fork() == 0:\n            time.sleep(60)\n            os._exit(0)",
    )
    assert score.correct
    assert time.monotonic() - started < 15


def test_a_fork_bomb_is_survived(hasty: Judge) -> None:
    score = hasty.score(ADD, "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n")
    assert not score.correct
    assert hasty.score(ADD, RIGHT).correct


def test_a_candidate_finds_nothing_of_the_one_before() -> None:
    with Judge(workers=1) as one:
        run(one, "open('left', 'w').write('x')\nos.makedirs('a/b/c', exist_ok=True)\nos.chmod('a', 0)")
        assert run(one, "assert os.listdir('.') == [] or x, os.listdir('.')").correct


def test_a_full_folder_is_the_candidates_own_problem(judge: Judge) -> None:
    score = run(judge, "for i in range(100):\n    open(str(i), 'wb').write(b'x' * (32 << 20))")
    assert score.failure in (Failure.EXCEPTION, Failure.OUTPUT, Failure.TIMEOUT)
    assert judge.score(ADD, RIGHT).correct


def test_deep_folders_are_removed() -> None:
    for level in ("limits", "full"):
        with Judge(workers=1, limits=Limits(timeout=20.0), isolation_ceiling=level) as one:
            run(one, "if x == 2:\n    for _ in range(500):\n        os.mkdir('d')\n        os.chdir('d')")
            assert run(one, "assert os.listdir('.') == []").correct


# -- levels


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_judges_alike(level: str) -> None:
    with Judge(workers=1, limits=Limits(timeout=20.0), isolation_ceiling=level) as judge:
        scores = list(judge.score_many([(ADD, RIGHT), (ADD, WRONG), (ADD, "import os\nos._exit(0)"), (ADD, RIGHT)]))
        assert [outcome(score) for score in scores] == ["pass", "wrong-answer", "exited", "pass"]
        assert LEVELS.index(judge.isolation) <= LEVELS.index(level)


def test_a_level_that_cannot_be_reached_is_refused() -> None:
    with (
        pytest.raises(InputError, match=r"'limits'.*'full' is required"),
        Judge(workers=1, require_isolation="full", isolation_ceiling="limits"),
    ):
        pass


def test_the_level_is_known_after_closing_and_starts_nothing() -> None:
    judge = Judge(workers=1)
    with judge:
        level = judge.isolation
    assert judge.isolation == level
    assert not judge._idle


def test_an_unknown_level_lists_the_known() -> None:
    with pytest.raises(InputError, match="process, limits, landlock, namespaces, full"):
        Judge(require_isolation="total")


@pytest.mark.parametrize(
    "limits", [{"timeout": 0}, {"timeout": float("nan")}, {"memory": 1}, {"processes": 0}, {"timeout": -1.0}]
)
def test_limits_that_cannot_be_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Limits(**limits)  # type: ignore[arg-type]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_works_as_an_ordinary_user() -> None:
    python = next((p for p in (sys.executable, "/usr/bin/python3") if _usable_by_all(p)), None)
    if python is None:
        pytest.skip("no interpreter of 3.10 or later that an ordinary user may run")
    fields = tuple(getattr(ADD, name) for name in ADD.__slots__)
    script = (
        "from protocols.execution.judge import Judge\nfrom protocols.problems import CodeProblem\n"
        f"problem = CodeProblem(*{fields!r})\n"
        f"with Judge(workers=1) as judge:\n    print(judge.isolation, judge.score(problem, {RIGHT!r}).correct)\n"
    )
    root = Path(__file__).parents[3]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        for package in ("protocols", "specref_core"):  # the checkout may lie where others cannot look
            shutil.copytree(root / package, Path(folder, package), ignore=shutil.ignore_patterns("__pycache__"))
        done = subprocess.run(
            [python, "-c", f"import sys; sys.path.insert(0, {folder!r})\n{script}"],
            cwd="/", env={}, user=65534, group=65534, extra_groups=[], capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    level, correct = done.stdout.split()
    assert (level in LEVELS, correct) == (True, "True")


def _usable_by_all(python: str) -> bool:
    command = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 10))"]
    try:
        return subprocess.run(command, cwd="/", env={}, user=65534, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


# -- many at a time


def test_scores_come_in_order_and_items_are_drawn_lazily(judge: Judge) -> None:
    drawn = []

    def items() -> Iterator[tuple[CodeProblem, str]]:
        for number in range(40):
            drawn.append(number)
            yield ADD, RIGHT if number % 3 else WRONG

    scores = judge.score_many(items())
    first = next(scores)
    assert not first.correct
    assert len(drawn) < 40
    assert [score.correct for score in scores] == [bool(number % 3) for number in range(1, 40)]


def test_an_abandoned_run_leaves_the_judge_usable() -> None:
    with Judge(workers=2, limits=Limits(timeout=20.0)) as judge:
        scores = judge.score_many((ADD, RIGHT) for _ in range(10))
        next(scores)
        scores.close()  # type: ignore[attr-defined]
        assert judge.score(ADD, RIGHT).correct


def test_threads_share_a_judge() -> None:
    with Judge(workers=2, limits=Limits(timeout=20.0)) as judge:
        found: list[bool] = []
        threads = [threading.Thread(target=lambda: found.append(judge.score(ADD, RIGHT).correct)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [True] * 6


def test_a_lost_worker_is_replaced() -> None:
    with Judge(workers=1, limits=Limits(timeout=20.0)) as judge:
        assert judge.score(ADD, RIGHT).correct
        for which in (0, 1):
            os.kill(_children(judge._idle[0]._process.pid)[which], signal.SIGKILL)
            assert judge.score(ADD, RIGHT).correct
        judge._idle[0]._process.kill()
        assert judge.score(ADD, RIGHT).correct


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_no_process_outlives_a_closed_judge() -> None:
    judge = Judge(workers=2)
    with judge:
        found = [worker._process.pid for worker in judge._idle]
        for pid in found:  # grows on the way: children of children
            found.extend(_children(pid))
    assert len(found) >= 2 * 3
    time.sleep(0.1)
    for pid in found:
        stat = Path(f"/proc/{pid}/stat")
        assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_killed_run_takes_its_workers_and_candidates_along() -> None:
    name = f"sr{os.getpid()}{time.time_ns() % 10**6}"
    program = f"import ctypes, time\nctypes.CDLL(None).prctl(15, b{name!r}, 0, 0, 0)\ntime.sleep(600)\n"
    script = (
        "from protocols.execution.judge import Judge, Limits\nfrom tests.protocols.execution.programs import ADD\n"
        f"with Judge(workers=1, limits=Limits(timeout=600)) as judge:\n    judge.score(ADD, {program!r})\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[3]) as run:
        _until(lambda: bool(_alive(name)))
        run.kill()
    _until(lambda: not _alive(name))


def _until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_an_item_source_that_fails_passes_its_error_on(judge: Judge) -> None:
    def items() -> Iterator[tuple[CodeProblem, str]]:
        yield ADD, RIGHT
        raise KeyError("mine")

    scores = judge.score_many(items())
    with pytest.raises(KeyError, match="mine"):
        list(scores)
    assert judge.score(ADD, RIGHT).correct


# -- real data


def test_human_eval_canonical_solutions_pass_and_empty_bodies_do_not(judge: Judge, data_dir: Path) -> None:
    path = data_dir / "humaneval" / "HumanEval.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    problems = [
        CodeProblem(
            "humaneval",
            r["task_id"],
            r["prompt"],
            r["entry_point"],
            r["test"],
            "check",
            "",
            r["canonical_solution"],
            True,
        )
        for r in rows
    ]
    right = list(judge.score_many((p, p.prompt + p.reference) for p in problems))
    assert sum(score.correct for score in right) == 164
    assert not any(score.detail for score in right)
    assert not any(score.correct for score in judge.score_many((p, p.prompt + "    return None\n") for p in problems))
