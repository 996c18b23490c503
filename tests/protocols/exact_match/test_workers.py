"""Math-Verify processes: limits, replacement, and nothing left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from protocols.exact_match.workers import Equality, MathVerifyPool

SLOW = (r"\sum_{k=1}^{10^{7}} \frac{1}{k^{k}}", r"9^{9^{9^{9}}}+1")


def _pids(pool: MathVerifyPool) -> list[int]:
    return [worker._process.pid for worker in pool._all if worker._process is not None]


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_verdicts_limits_and_replacement() -> None:
    with MathVerifyPool(workers=1, timeout=1.0) as pool:
        assert _pids(pool) == []
        assert pool.compare("1", r"\int_0^1 2x dx") is Equality.EQUAL
        assert pool.compare("2", r"\int_0^1 2x dx") is Equality.DIFFERENT
        first = _pids(pool)
        start = time.monotonic()
        assert pool.compare(*SLOW) in (Equality.TIMEOUT, Equality.DIFFERENT, Equality.UNKNOWN)
        assert pool.compare("3", r"(9^{9^{9^{9}}})!") is Equality.TIMEOUT
        assert time.monotonic() - start < 60
        second = _pids(pool)
        assert second
        assert second != first
        assert not _alive(first[0])
        os.kill(second[0], signal.SIGKILL)
        time.sleep(0.1)
        assert pool.compare("1", r"\int_0^1 2x dx") is Equality.EQUAL
        third = _pids(pool)
    assert not any(_alive(pid) for pid in (*first, *second, *third))


def test_a_closed_pool_can_be_used_again() -> None:
    pool = MathVerifyPool(workers=1, timeout=5.0)
    assert pool.compare("1", "1") is Equality.EQUAL
    pool.close()
    pool.close()
    assert pool.compare("1", "1") is Equality.EQUAL
    pool.close()


def test_more_threads_than_workers_share_them() -> None:
    found = []
    with MathVerifyPool(workers=1, timeout=10.0) as pool:
        threads = [
            threading.Thread(target=lambda n=n: found.append((n, pool.compare(str(n), f"{n}+0")))) for n in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(_pids(pool)) == 1
    assert sorted(found) == [(n, Equality.EQUAL) for n in range(6)]


@pytest.mark.parametrize("text", ["\x00", "\n", "\ud800", '"', "\\", "}" * 50, "{" * 50, "\u2028", "$", "%", "\\text{"])
def test_awkward_text_never_breaks_the_channel(text: str, shared_pool: MathVerifyPool) -> None:
    shared_pool.compare("1", text)
    assert shared_pool.compare("1", "1") is Equality.EQUAL


@pytest.fixture(scope="module")
def shared_pool():
    with MathVerifyPool(workers=1, timeout=5.0) as pool:
        yield pool


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "grading.py"
    program.write_text(
        "import os, signal, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[3])!r})\n"
        "from protocols.exact_match.workers import MathVerifyPool\n"
        "pool = MathVerifyPool(workers=1, timeout=5.0)\n"
        "pool.compare('1', '1')\n"
        "print(pool._all[0]._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    pid = int(ended.stdout)
    deadline = time.monotonic() + 20
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(pid)
