"""The ledger keeps every byte, refuses what is not a healthy ledger, and leaves a refused file untouched."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols import ledger_file
from protocols.ledger import Ledger, SampleKey, check_ledger
from protocols.score import Failure, Score
from specref_core.errors import LedgerError
from specref_core.generator import Completion, Cost, Draft, Trace

ANY_TEXT = st.text(st.sampled_from("\ud800\udcff\x00\r\n") | st.characters(exclude_categories=()), max_size=40)
COST = Cost(nominal_steps=8, forward_passes=7, row_forwards=7, drafted_tokens=11, seconds=0.1 + 0.2, flops=1e13 / 3)
TRACE = Trace(
    draft=Draft(text="a\x00\udc80é", token_ids=(1, 2), spans=((0, 1), (1, 4)), entropies=(0.1, 1 / 3), vocab_size=9),
    initial_tokens=("a", ""),
    scores=(0.5, 1 / 7),
    masked=(True, False),
    final_tokens=("b", "\ud83d"),
    committed_at=(3, 0),
)


def key(task_id: str = "t/0", **changes: object) -> SampleKey:
    parts: dict[str, object] = {
        "system": "toy",
        "fingerprint": "f",
        "benchmark": "humaneval",
        "data": "d",
        "task_id": task_id,
        "settings": "steps:8",
        "seed": 0,
    }
    return SampleKey(**{**parts, **changes})  # type: ignore[arg-type]


def fill(path: Path, n: int = 30) -> None:
    with Ledger(path) as ledger:
        for i in range(n):
            ledger.add_completions([(key(f"t/{i}"), Completion("x" * 500, COST))])
            ledger.add_score(key(f"t/{i}"), "raw", Score(correct=True, extracted="y" * 500))


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


class TestRoundTrip:
    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(ANY_TEXT, ANY_TEXT, ANY_TEXT, st.none() | ANY_TEXT, st.none() | st.sampled_from(Failure))
    def test_every_text_comes_back_as_it_was(self, task_id, text, detail, extracted, failure):
        with Ledger(None) as ledger:
            ledger.add_completions([(key(task_id), Completion(text))])
            score = Score(correct=failure is None, failure=failure, extracted=extracted, detail=detail)
            assert ledger.add_score(key(task_id), "raw", score) == score
            assert ledger.find_completion(key(task_id)) == Completion(text)
            assert ledger.find_score(key(task_id), "raw") == score

    def test_cost_and_trace_come_back_exactly(self, tmp_path):
        with Ledger(tmp_path / "l.db") as ledger:
            ledger.add_completions([(key(), Completion("x", COST, TRACE))])
        with Ledger(tmp_path / "l.db") as ledger:
            assert ledger.find_completion(key()) == Completion("x", COST, TRACE)

    def test_ten_megabytes(self, tmp_path):
        text = "é\x00" * 5_000_000
        with Ledger(tmp_path / "l.db") as ledger:
            ledger.add_completions([(key(), Completion(text))])
            found = ledger.find_completion(key())
            assert found is not None
            assert found.text == text

    def test_what_was_never_stored_is_none(self):
        with Ledger(None) as ledger:
            assert ledger.find_completion(key()) is None
            assert ledger.find_score(key(), "raw") is None

    def test_only_the_ledger_is_left_after_closing(self, tmp_path):
        fill(tmp_path / "l.db")
        assert [path.name for path in tmp_path.iterdir()] == ["l.db"]

    @pytest.mark.parametrize("name", ["with space.db", "100%?#&.db", "é.db"])
    def test_odd_file_names(self, tmp_path, name):
        fill(tmp_path / name, 1)
        assert (tmp_path / name).is_file()
        with Ledger(tmp_path / name, read_only=True) as ledger:
            assert ledger.counts() == (1, 1)

    def test_the_view_for_readers_of_sql(self, tmp_path):
        fill(tmp_path / "l.db", 2)
        with closing(sqlite3.connect(tmp_path / "l.db")) as connection:
            rows = connection.execute("SELECT task, scoring, correct FROM samples ORDER BY task").fetchall()
        assert rows == [("t/0", "raw", 1), ("t/1", "raw", 1)]


class TestKeys:
    @pytest.mark.parametrize(
        "change",
        [
            {"system": "b"},
            {"fingerprint": "g"},
            {"benchmark": "mbpp"},
            {"data": "e"},
            {"task_id": "t/1"},
            {"settings": "steps:16"},
            {"seed": 1},
        ],
    )
    def test_a_difference_in_any_part_is_another_row(self, change):
        with Ledger(None) as ledger:
            ledger.add_completions([(key(), Completion("x"))])
            assert ledger.find_completion(key(**change)) is None

    @given(st.lists(ANY_TEXT, min_size=6, max_size=6), st.lists(ANY_TEXT, min_size=6, max_size=6))
    def test_distinct_keys_have_distinct_digests(self, one, two):
        first, second = SampleKey(*one, 0), SampleKey(*two, 0)
        assert (first == second) == (first.digest == second.digest)

    def test_parts_cannot_run_into_each_other(self):
        assert key(system="ab", fingerprint="c").digest != key(system="a", fingerprint="bc").digest

    def test_the_first_row_stays(self):
        with Ledger(None) as ledger:
            ledger.add_completions([(key(), Completion("first"))])
            ledger.add_completions([(key(), Completion("second"))])
            assert ledger.find_completion(key()) == Completion("first")
            ledger.add_score(key(), "raw", Score(correct=True))
            assert ledger.add_score(key(), "raw", Score(correct=False, failure=Failure.TIMEOUT)).correct
            assert ledger.counts() == (1, 1)

    def test_scorings_of_one_completion_stand_beside_each_other(self):
        with Ledger(None) as ledger:
            ledger.add_completions([(key(), Completion("x"))])
            ledger.add_score(key(), "raw", Score(correct=True))
            ledger.add_score(key(), "strip", Score(correct=False, failure=Failure.INDENTATION))
            assert ledger.find_score(key(), "raw") == Score(correct=True)
            assert ledger.find_score(key(), "strip") == Score(correct=False, failure=Failure.INDENTATION)

    def test_a_score_without_its_completion_is_refused(self):
        with Ledger(None) as ledger, pytest.raises(LedgerError, match="no completion of 't/0'"):
            ledger.add_score(key(), "raw", Score(correct=True))


def _another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE scores (x)")


def _set_pragma(name: str, value: int):
    def change(path: Path) -> None:
        fill(path)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA {name} = {value}")

    return change


def _cut(share: float):
    def change(path: Path) -> None:
        fill(path)
        os.truncate(path, int(path.stat().st_size * share))

    return change


def _overwrite(start: int, length: int):
    def change(path: Path) -> None:
        fill(path)
        with path.open("r+b") as file:
            file.seek(start)
            file.write(b"\xa5" * length)

    return change


def _drop_table(path: Path) -> None:
    fill(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("DROP VIEW samples; DROP TABLE scores;")


REFUSED = {
    "text": (lambda path: path.write_text("hello, this is no database\n" * 20), "not a ledger"),
    "short text": (lambda path: path.write_text("hi"), "not a ledger"),
    "empty": (lambda path: path.touch(), "empty file"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "another program's database": (_another_program, "another program"),
    "newer version": (_set_pragma("user_version", 99), "format 99, newer"),
    "version zero": (_set_pragma("user_version", 0), "format number is 0"),
    "cut to 10 bytes": (_cut(10 / 40960), "damaged"),
    "cut to half": (_cut(0.5), "cut short"),
    "cut by a byte": (_cut(0.99999), "cut short"),
    "garbage in the second page": (_overwrite(4096, 4096), "damaged"),
    "garbage in the middle": (_overwrite(20000, 9000), "damaged"),
    "garbage in the schema": (_overwrite(100, 2000), "damaged"),
    "a missing table": (_drop_table, "damaged"),
}


class TestRefusals:
    @pytest.mark.parametrize("case", REFUSED)
    @pytest.mark.parametrize("read_only", [False, True])
    def test_a_refused_file_is_named_and_left_untouched(self, tmp_path, case, read_only):
        make, told = REFUSED[case]
        path = tmp_path / "l.db"
        make(path)
        before = snapshot(tmp_path)
        with pytest.raises(LedgerError, match=told) as caught:
            Ledger(path, read_only=read_only)
        assert "l.db" in str(caught.value)
        assert snapshot(tmp_path) == before

    @pytest.mark.parametrize("case", REFUSED)
    def test_the_check_before_a_long_start_refuses_the_same(self, tmp_path, case):
        make, told = REFUSED[case]
        path = tmp_path / "l.db"
        make(path)
        before = snapshot(tmp_path)
        with pytest.raises(LedgerError, match=told):
            check_ledger(path)
        assert snapshot(tmp_path) == before

    def test_the_check_makes_nothing(self, tmp_path):
        check_ledger(tmp_path / "l.db")
        assert not list(tmp_path.iterdir())
        fill(tmp_path / "l.db", 1)
        before = snapshot(tmp_path)
        check_ledger(tmp_path / "l.db")
        assert snapshot(tmp_path) == before

    def test_garbage_in_a_text_is_found_when_it_is_read(self, tmp_path):
        path = tmp_path / "l.db"
        with Ledger(path) as ledger:
            ledger.add_completions([(key(), Completion("needle" * 10))])
        path.write_bytes(path.read_bytes().replace(b"needleneedle", b"needlenoodle", 1))
        with Ledger(path) as ledger, pytest.raises(LedgerError, match="checksum"):
            ledger.find_completion(key())

    def test_a_forged_verdict_is_found_when_it_is_read(self, tmp_path):
        path = tmp_path / "l.db"
        with Ledger(path) as ledger:
            ledger.add_completions([(key(), Completion("x"))])
            ledger.add_score(key(), "raw", Score(correct=False, failure=Failure.WRONG_ANSWER))
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE scores SET correct = 1, failure = NULL")
            connection.commit()
        with Ledger(path) as ledger, pytest.raises(LedgerError, match="checksum"):
            ledger.find_score(key(), "raw")

    def test_a_damaged_ledger_with_a_log_beside_it_is_left_untouched(self, tmp_path):
        path = tmp_path / "l.db"
        fill(path)
        with Ledger(path) as ledger:
            ledger.add_completions([(key("late"), Completion("x"))])
            copy = tmp_path / "copy"
            copy.mkdir()
            for name in ("l.db", "l.db-wal"):
                (copy / name).write_bytes((tmp_path / name).read_bytes())
        _garble(copy / "l.db")
        before = snapshot(copy)
        with pytest.raises(LedgerError, match="damaged"):
            Ledger(copy / "l.db")
        after = snapshot(copy)
        assert {name: after[name] for name in before} == before

    def test_a_file_marked_read_only(self, tmp_path):
        path = tmp_path / "l.db"
        fill(path)
        path.chmod(0o444)
        before = snapshot(tmp_path)
        with pytest.raises(LedgerError, match="read-only"):
            Ledger(path)
        assert snapshot(tmp_path) == before
        with Ledger(path, read_only=True) as ledger:
            assert ledger.counts() == (30, 30)

    @pytest.mark.parametrize("exists", [True, False])
    def test_a_folder_marked_read_only(self, tmp_path, exists):
        path = tmp_path / "l.db"
        if exists:
            fill(path)
        before = snapshot(tmp_path)
        tmp_path.chmod(0o555)
        try:
            with pytest.raises(LedgerError, match=r"folder .* is read-only"):
                Ledger(path)
            assert snapshot(tmp_path) == before
        finally:
            tmp_path.chmod(0o755)

    def test_a_missing_folder(self, tmp_path):
        with pytest.raises(LedgerError, match="does not exist"):
            Ledger(tmp_path / "no" / "l.db")

    def test_reading_what_does_not_exist(self, tmp_path):
        with pytest.raises(LedgerError, match="no ledger"):
            Ledger(tmp_path / "l.db", read_only=True)
        assert not list(tmp_path.iterdir())

    def test_a_pipe_is_refused_without_waiting(self, tmp_path):
        os.mkfifo(tmp_path / "l.db")
        with pytest.raises(LedgerError, match="not a regular file"):
            Ledger(tmp_path / "l.db")

    def test_writing_through_a_read_only_ledger(self, tmp_path):
        fill(tmp_path / "l.db", 1)
        with Ledger(tmp_path / "l.db", read_only=True) as ledger, pytest.raises(LedgerError, match="for reading only"):
            ledger.add_completions([(key("new"), Completion("x"))])


def _garble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8192:16384] = b"\xa5" * 8192
    path.write_bytes(content)


class TestFullDisk:
    def test_sqlite_full_is_told_and_earlier_rows_are_safe(self, tmp_path):
        path = tmp_path / "l.db"
        fill(path, 5)
        with Ledger(path) as ledger:
            pages = ledger._connection.execute("PRAGMA page_count").fetchone()[0]
            ledger._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
            with pytest.raises(LedgerError, match="disk is full"):
                ledger.add_completions([(key("big"), Completion("x" * 1_000_000))])
            assert ledger.find_completion(key("t/4")) is not None
            ledger.add_completions([(key("small"), Completion("x"))])  # the ledger works on
        with Ledger(path) as ledger:
            assert ledger.counts() == (6, 5)
            assert ledger.find_completion(key("big")) is None

    @pytest.mark.parametrize("limit", [0, 2000, 60_000])
    def test_a_disk_that_takes_no_more(self, tmp_path, limit):
        """A limit on file size refuses writes as a full disk does, at the system call."""
        path = tmp_path / "l.db"
        if limit > 50_000:
            fill(path, 1)
        refused, told = _limited(path, limit)
        assert refused
        assert "disk" in told or "cannot be created" in told
        if limit > 50_000:
            with Ledger(path) as ledger:
                completions, scores = ledger.counts()
                assert completions >= 1
                assert scores == 1
        else:
            assert not list(tmp_path.iterdir())


def _write_until_refused(path, limit, queue):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        with Ledger(path) as ledger:
            for i in range(1000):
                ledger.add_completions([(key(f"more/{i}"), Completion("x" * 1000))])
    except LedgerError as error:
        queue.put((True, str(error)))
    else:
        queue.put((False, ""))


def _limited(path: Path, limit: int) -> tuple[bool, str]:
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=_write_until_refused, args=(path, limit, queue))
    process.start()
    process.join(60)
    return queue.get()


_WRITER = """
import sys, time
sys.path.insert(0, {root!r})
from protocols.ledger import Ledger, SampleKey
from protocols.score import Score
from specref_core.generator import Completion
ledger = Ledger(sys.argv[1])
for i in range(100000):
    key = SampleKey("toy", "f", "b", "d", f"{{sys.argv[2]}}/{{i}}", "", 0)
    ledger.add_completions([(key, Completion("x" * 3000))])
    ledger.add_score(key, "raw", Score(correct=True))
    print(i, flush=True)
"""


def _writer(path: Path, name: str) -> subprocess.Popen[str]:
    root = str(Path(__file__).resolve().parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER.format(root=root), str(path), name], stdout=subprocess.PIPE, text=True
    )


class TestManyProcesses:
    def test_kill_loses_no_row_that_was_reported(self, tmp_path):
        path = tmp_path / "l.db"
        for attempt in range(4):
            with _writer(path, f"run{attempt}") as process:
                assert process.stdout is not None
                for _ in range(5 + 17 * attempt):
                    last = int(process.stdout.readline())
                process.kill()
            with Ledger(path) as ledger:
                for i in range(last + 1):
                    done = key(f"run{attempt}/{i}", benchmark="b", settings="")
                    assert ledger.find_score(done, "raw") == Score(correct=True)

    def test_writers_do_not_disturb_each_other(self, tmp_path):
        path = tmp_path / "l.db"
        writers = [_writer(path, f"run{i}") for i in range(3)]
        for writer in writers:
            assert writer.stdout is not None
            for _ in range(40):
                assert writer.stdout.readline()
        for writer in writers:
            writer.kill()
            writer.communicate()
        with Ledger(path) as ledger:
            completions, scores = ledger.counts()
        assert scores >= 120
        assert completions - scores <= 3

    def test_a_ledger_is_made_once_by_many(self, tmp_path):
        path = tmp_path / "l.db"
        problems: list[BaseException] = []

        def make() -> None:
            try:
                Ledger(path).close()
            except BaseException as error:
                problems.append(error)

        threads = [threading.Thread(target=make) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not problems
        with Ledger(path) as ledger:
            assert ledger.counts() == (0, 0)

    def test_a_copy_of_a_fork_is_refused(self, tmp_path):
        with Ledger(tmp_path / "l.db") as ledger:
            context = multiprocessing.get_context("fork")
            queue = context.SimpleQueue()
            process = context.Process(target=_use_in_fork, args=(ledger, queue))
            process.start()
            process.join(60)
            assert "another process" in queue.get()


def _use_in_fork(ledger, queue):
    try:
        ledger.counts()
    except LedgerError as error:
        queue.put(str(error))


_CLAIMER = """
import sys
sys.path.insert(0, {root!r})
from protocols.ledger import Ledger, SampleKey
ledger = Ledger(sys.argv[1])
print(ledger.claim(SampleKey("toy", "f", "b", "d", "t", "", 0)), flush=True)
sys.stdin.read()
"""


class TestClaims:
    def _claimer(self, path: Path) -> tuple[subprocess.Popen[str], str]:
        root = str(Path(__file__).resolve().parents[2])
        process = subprocess.Popen(
            [sys.executable, "-c", _CLAIMER.format(root=root), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    def test_a_claim_excludes_other_processes_until_its_holder_dies(self, tmp_path):
        path = tmp_path / "l.db"
        holder, got = self._claimer(path)
        assert got == "True"
        wanted = key("t", benchmark="b", settings="")
        with Ledger(path) as ledger:
            assert not ledger.claim(wanted)
            assert ledger.claim(key("other"))
            holder.kill()
            holder.communicate()
            assert ledger.claim(wanted)

    def test_a_released_claim_can_be_taken(self, tmp_path):
        path = tmp_path / "l.db"
        with Ledger(path) as ledger:
            wanted = key("t", benchmark="b", settings="")
            assert ledger.claim(wanted)
            ledger.release(wanted)
            other, got = self._claimer(path)
            assert got == "True"
            other.communicate()

    def test_without_a_place_for_locks_every_claim_succeeds(self, tmp_path):
        (tmp_path / "l.db-claims").mkdir()
        with Ledger(tmp_path / "l.db") as ledger:
            assert ledger.claim(key())
            ledger.release(key())


def test_a_large_ledger_opens_without_walking_its_texts(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger_file, "_FULL_CHECK_BYTES", 1000)
    fill(tmp_path / "l.db")
    with Ledger(tmp_path / "l.db") as ledger:
        assert ledger.counts() == (30, 30)
