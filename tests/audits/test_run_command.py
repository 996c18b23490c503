"""``specref run``: what a person types, from the first sample to the file that other programs read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from audits.cli import app
from protocols.ledger import Ledger
from protocols.signature import Signature
from specref_core.errors import GeneratorError, InputError, LedgerError

ROOT = Path(__file__).resolve().parents[2]

GENERATOR = """
import hashlib, os, time
from specref_core.generator import Completion, Cost

class Toy:
    name = "toy"
    def fingerprint(self):
        return "toy-1"
    def generate(self, prompts, *, budget, seed):
        time.sleep(float(os.environ.get("TOY_DELAY", "0")) * len(prompts))
        if os.environ.get("TOY_FAILS") and any(os.environ["TOY_FAILS"] in prompt for prompt in prompts):
            raise RuntimeError("out of luck")
        print("noise of a library")
        return [self.answer(prompt, seed, budget) for prompt in prompts]
    def answer(self, prompt, seed, budget):
        digest = hashlib.sha256(f"{prompt}{seed}{budget.steps}".encode()).digest()[0]
        return Completion(f"so #### {digest % 3}", Cost(budget.steps or 0, 4, 4, 2, 0.0, 1e9))

def make():
    return Toy()

def broken():
    raise OSError("no weights")

nothing = 3
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch) -> Path:
    (tmp_path / "toy.py").write_text(GENERATOR)
    (tmp_path / "gsm8k").mkdir()
    rows = [{"question": f"What is {i} mod 3?", "answer": f"It is so. #### {i % 3}"} for i in range(20)]
    (tmp_path / "gsm8k" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    for name in ("TOY_DELAY", "TOY_FAILS", "SPECREF_DATA"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


BASE = ("--generator", "toy.py:make", "--benchmark", "gsm8k", "--data-dir", ".", "--grader", "strict")


def invoke(*arguments: str):
    return CliRunner().invoke(app, ["run", *BASE, *arguments])


def start(*arguments: str, delay: float = 0.05) -> subprocess.Popen[str]:
    # A test run in the background ignores Ctrl-C, and what it starts inherits that.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"{heed}; import sys; from audits.cli import main; sys.argv[0] = 'specref'; main()"
    return subprocess.Popen(
        [sys.executable, "-c", program, "run", *BASE, *arguments],
        env={**os.environ, "TOY_DELAY": str(delay), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def content(path: Path) -> dict[str, object]:
    return json.loads(path.read_text())


class TestRun:
    def test_table_signatures_and_json(self, place):
        done = invoke("--steps", "8,16", "--seeds", "0,1", "--ledger", "l.db", "--json", "out.json")
        assert done.exit_code == 0, done.output
        told = content(place / "out.json")
        assert told["schema"] == "specref.run/1"
        assert [scores["budget"]["steps"] for scores in told["scores"]] == [8, 16]
        for scores in told["scores"]:
            assert (scores["n"], scores["planned"], len(scores["samples"])) == (40, 40, 40)
            assert scores["correct"] == sum(sample["correct"] for sample in scores["samples"])
            assert scores["low"] < scores["score"] < scores["high"]
            assert scores["signature"] in done.stdout
            assert Signature.parse(scores["signature"]).as_dict()["n"] == "20"
        assert "toy on gsm8k" in done.stdout

    def test_a_second_run_continues_and_tells_the_same(self, place, monkeypatch):
        first = invoke("--ledger", "l.db", "--json", "one.json")
        monkeypatch.setenv("TOY_FAILS", "mod")
        second = invoke("--ledger", "l.db", "--json", "two.json")
        assert (first.exit_code, second.exit_code) == (0, 0), second.output
        assert content(place / "one.json") == content(place / "two.json")

    def test_limit_and_no_ledger(self, place):
        done = invoke("--limit", "3", "--json", "out.json")
        assert done.exit_code == 0
        assert content(place / "out.json")["scores"][0]["n"] == 3
        assert sorted(entry.name for entry in place.iterdir() if not entry.name.startswith("__")) == [
            "gsm8k",
            "out.json",
            "toy.py",
        ]

    def test_a_failing_generator_is_told_after_what_was_measured(self, place, monkeypatch):
        monkeypatch.setenv("TOY_FAILS", "is 12 mod")
        done = invoke("--ledger", "l.db", "--batch-size", "4", "--json", "out.json")
        assert isinstance(done.exception, GeneratorError)
        assert "'toy' raised RuntimeError: out of luck" in str(done.exception)
        assert "12/20" in done.stdout
        assert not (place / "out.json").exists()
        monkeypatch.delenv("TOY_FAILS")
        assert invoke("--ledger", "l.db").exit_code == 0
        with Ledger(place / "l.db", read_only=True) as ledger:
            assert ledger.counts() == (20, 20)


REFUSED = {
    "no such module": (("--generator", "nowhere.mod:make"), InputError, "nowhere"),
    "no such file": (("--generator", "nowhere.py:make"), InputError, "nowhere.py"),
    "no such factory": (("--generator", "toy.py:nobody"), InputError, "offers"),
    "not a factory": (("--generator", "toy.py:nothing"), InputError, "not callable"),
    "no colon": (("--generator", "toy.py"), InputError, "expected pkg.mod:factory"),
    "a factory that raises": (("--generator", "toy.py:broken"), GeneratorError, "no weights"),
    "unknown benchmark": (("--benchmark", "nonsense"), InputError, "nonsense"),
    "steps that are no numbers": (("--steps", "8,x"), InputError, "'x' is not a whole number"),
    "an empty step": (("--steps", "8,,16"), InputError, "'' is not a whole number"),
    "steps twice": (("--steps", "8,8"), InputError, "given twice"),
    "no steps at all": (("--steps", "0"), InputError, "at least one"),
    "a negative seed": (("--seeds", "-1"), InputError, "seed -1"),
    "seeds twice": (("--seeds", "1,1"), InputError, "repeat"),
    "no seeds": (("--seeds", ""), InputError, "seeds is empty"),
    "unknown grader": (("--grader", "kind"), InputError, "kind"),
    "unknown metric": (("--metric", "f1"), InputError, "f1"),
    "a broken estimate": (("--monte-carlo", "128"), InputError, "samples,batch,scheme"),
    "an impossible estimate": (("--monte-carlo", "10,4,uniform"), InputError, "multiple of batch"),
    "no time": (("--timeout", "0"), InputError, "timeout"),
    "a ledger in no folder": (("--ledger", "no/l.db"), LedgerError, "does not exist"),
    "a ledger that is none": (("--ledger", "toy.py"), LedgerError, "not a ledger"),
    "JSON in no folder": (("--json", "no/out.json"), InputError, "does not exist"),
    "JSON over a folder": (("--json", "gsm8k"), InputError, "is a folder"),
}


class TestRefusals:
    @pytest.mark.parametrize("case", REFUSED)
    def test_bad_input_is_refused_before_anything_is_written(self, place, case):
        arguments, kind, told = REFUSED[case]
        before = {entry: entry.read_bytes() for entry in place.rglob("*") if entry.is_file()}
        done = invoke(*arguments, "--ledger", "l.db") if "--ledger" not in arguments else invoke(*arguments)
        assert isinstance(done.exception, kind), done.output
        assert told in str(done.exception)
        after = {entry: entry.read_bytes() for entry in place.rglob("*") if entry.is_file()}
        assert {entry: was for entry, was in after.items() if entry.suffix != ".pyc"} == before


@pytest.mark.slow
class TestInterrupted:
    def test_ctrl_c_shows_what_was_done_and_the_next_run_finishes(self, place):
        run = start("--ledger", "l.db", "--batch-size", "2", "--json", "part.json", delay=2.0)
        self._wait_for_samples(place / "l.db", 4)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=60)
        assert run.returncode == 130, err
        assert "stopped: run again with --ledger l.db" in err
        assert "Traceback" not in err
        part = content(place / "part.json")["scores"][0]
        assert 4 <= part["n"] < 20
        assert f"{part['n']}/20" in out
        assert invoke("--ledger", "l.db", "--json", "whole.json").exit_code == 0
        whole = content(place / "whole.json")["scores"][0]
        assert part["samples"] == whole["samples"][: part["n"]]

    def test_kill_9_and_the_next_run_tells_what_an_undisturbed_one_tells(self, place):
        assert invoke("--seeds", "0,1", "--json", "undisturbed.json").exit_code == 0
        for samples in (3, 17):
            run = start("--ledger", "l.db", "--batch-size", "2", "--seeds", "0,1")
            self._wait_for_samples(place / "l.db", samples)
            run.kill()
            run.communicate()
        done = invoke("--ledger", "l.db", "--seeds", "0,1", "--json", "resumed.json")
        assert done.exit_code == 0
        assert content(place / "resumed.json") == content(place / "undisturbed.json")

    @staticmethod
    def _wait_for_samples(path: Path, count: int) -> None:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if path.exists():
                with Ledger(path) as ledger:
                    if ledger.counts()[1] >= count:
                        return
            time.sleep(0.05)
        raise AssertionError("the run stored nothing")
