"""A measurement's scores depend on the generator and the settings alone: not on batches, interruptions or company."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols import measure as module
from protocols.ledger import Ledger
from protocols.measure import Status, measure, sweep
from protocols.problems import AnswerProblem, ChoiceProblem, CodeProblem
from protocols.score import Failure, Score
from protocols.scoring import ScoringSettings
from specref_core.errors import GeneratorError, InputError, LedgerError
from specref_core.generator import Budget, Completion, Cost, LogLikelihood, MonteCarlo, Trace

ROOT = Path(__file__).resolve().parents[2]
STRICT = ScoringSettings(grader="strict")
SOME = [AnswerProblem("gsm8k", f"t/{i}", f"question {i}", str(i % 4)) for i in range(13)]
TRACE = Trace(None, ("a",), (0.0,), (True,), ("b",), (1,))


class Toy:
    """Answers by a hash of prompt, seed and steps; counts what it was asked."""

    def __init__(self, name: str = "toy", *, fails_at: str | None = None, salt: str = "") -> None:
        self.name = name
        self.fails_at = fails_at
        self.salt = salt
        self.asked: list[tuple[str, int, int | None]] = []
        self.batches: list[int] = []

    def fingerprint(self) -> str:
        return f"{self.name}-{self.salt}"

    def generate(self, prompts, *, budget, seed):
        if self.fails_at in prompts:
            raise RuntimeError("out of luck")
        self.batches.append(len(prompts))
        self.asked += [(prompt, seed, budget.steps) for prompt in prompts]
        return [self._answer(prompt, budget, seed) for prompt in prompts]

    def _answer(self, prompt, budget, seed):
        digest = hashlib.sha256(f"{prompt}{seed}{budget.steps}{self.salt}".encode()).digest()[0]
        return Completion(f"so #### {digest % 4}", Cost(budget.steps or 0, digest, 2, 3, 0.25, 1e9), TRACE)


class TestResults:
    def test_samples_come_seed_by_seed_in_the_order_of_the_problems(self):
        measured = measure(Toy(), SOME, seeds=(3, 1), settings=STRICT)
        assert [(s.task_id, s.seed) for s in measured.samples] == [(p.task_id, seed) for seed in (3, 1) for p in SOME]
        assert measured.n == measured.planned == 26
        assert 0 < measured.correct < 26

    def test_the_verdicts_are_those_of_the_texts(self):
        for sample, problem in zip(measure(Toy(), SOME, settings=STRICT).samples, SOME, strict=True):
            assert sample.score.correct == (sample.text == f"so #### {problem.gold}")

    def test_the_signature_names_every_choice(self):
        settings_ = ScoringSettings(grader="strict")
        told = measure(Toy(), SOME, budget=Budget(8, 64), seeds=(0, 2), settings=settings_).signature.as_dict()
        assert {"system", "benchmark", "data", "n", "protocol", "grader", "steps", "max-new-tokens", "seeds"} <= set(
            told
        )
        assert (told["n"], told["steps"], told["max-new-tokens"], told["seeds"]) == ("13", "8", "64", "0,2")
        assert told["system"] == "toy@toy-"

    def test_a_sweep_measures_each_budget(self):
        toy = Toy()
        measured = sweep(toy, SOME, budgets=[Budget(8), Budget(16)], settings=STRICT)
        assert [scores.budget.steps for scores in measured] == [8, 16]
        assert {steps for _, _, steps in toy.asked} == {8, 16}
        measured[0].signature.require_comparable(measured[1].signature, named=("steps",))

    @settings(max_examples=15, deadline=None)
    @given(st.integers(1, 30))
    def test_batches_do_not_change_results(self, batch_size):
        assert measure(Toy(), SOME, settings=STRICT, batch_size=batch_size) == measure(Toy(), SOME, settings=STRICT)

    def test_a_batch_has_one_seed_and_at_most_its_size(self):
        toy = Toy()
        measure(toy, SOME, seeds=(0, 1), settings=STRICT, batch_size=5)
        assert toy.batches == [5, 5, 3, 5, 5, 3]

    def test_progress_counts_up_to_the_end(self):
        seen: list[Status] = []
        measured = measure(Toy(), SOME, seeds=(0, 1), settings=STRICT, progress=seen.append)
        assert [status.done for status in seen] == sorted(status.done for status in seen)
        assert (seen[-1].done, seen[-1].correct, seen[-1].planned) == (26, measured.correct, 26)

    def test_traces_are_kept_only_when_asked_for(self):
        assert measure(Toy(), SOME[:1], settings=STRICT, traces=True).samples[0].trace == TRACE
        assert measure(Toy(), SOME[:1], settings=STRICT).samples[0].trace is None

    def test_a_benchmark_by_name(self, data_dir):
        measured = measure(Toy(), "gsm8k", data_dir=data_dir, limit=3, settings=STRICT)
        assert (measured.benchmark, measured.n) == ("gsm8k", 3)


class TestResuming:
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.integers(0, 12), st.integers(1, 6), st.integers(1, 6))
    def test_a_run_that_failed_anywhere_continues_to_the_same_scores(self, at, first_batch, second_batch):
        undisturbed = measure(Toy(), SOME, settings=STRICT)
        with Ledger(None) as ledger:
            failing, resuming = Toy(fails_at=f"question {at}"), Toy()
            with pytest.raises(GeneratorError):
                measure(failing, SOME, ledger=ledger, settings=STRICT, batch_size=first_batch)
            assert measure(resuming, SOME, ledger=ledger, settings=STRICT, batch_size=second_batch) == undisturbed
            assert sorted(failing.asked + resuming.asked) == sorted((p.prompt, 0, None) for p in SOME)

    def test_what_is_measured_is_not_asked_again(self, tmp_path):
        first = measure(Toy(), SOME, ledger=tmp_path / "l.db", settings=STRICT)
        again = Toy()
        assert measure(again, SOME, ledger=tmp_path / "l.db", settings=STRICT) == first
        assert not again.asked

    def test_another_grader_needs_no_new_completions(self):
        with Ledger(None) as ledger:
            measure(Toy(), SOME, ledger=ledger, settings=STRICT)
            again = Toy()
            measure(again, SOME, ledger=ledger, settings=ScoringSettings(grader="lenient"))
            assert not again.asked
            assert ledger.counts() == (13, 26)

    def test_a_smaller_run_shares_its_samples_with_a_larger_one(self):
        with Ledger(None) as ledger:
            measure(Toy(), SOME[:5], ledger=ledger, settings=STRICT)
            larger = Toy()
            measure(larger, SOME, ledger=ledger, settings=STRICT)
            assert len(larger.asked) == 8

    @pytest.mark.parametrize(
        ("other", "problems", "budget", "seeds"),
        [
            (Toy("other"), SOME, Budget(8), (0,)),
            (Toy(salt="new weights"), SOME, Budget(8), (0,)),
            (Toy(), [replace(p, prompt=p.prompt + "?") for p in SOME], Budget(8), (0,)),
            (Toy(), [replace(p, gold="9") for p in SOME], Budget(8), (0,)),
            (Toy(), SOME, Budget(16), (0,)),
            (Toy(), SOME, Budget(8, 64), (0,)),
            (Toy(), SOME, Budget(8), (1,)),
        ],
    )
    def test_nothing_is_shared_across_a_difference(self, other, problems, budget, seeds):
        with Ledger(None) as ledger:
            measure(Toy(), SOME, budget=Budget(8), ledger=ledger, settings=STRICT)
            other.asked.clear()
            measure(other, problems, budget=budget, seeds=seeds, ledger=ledger, settings=STRICT)
            assert len(other.asked) == 13

    def test_a_generator_that_contradicts_itself_is_held_to_its_first_word(self):
        class Fickle(Toy):
            def _answer(self, _prompt, _budget, _seed):
                return Completion(f"#### {random.randrange(10**9)}")

        with Ledger(None) as ledger:
            first = measure(Fickle(), SOME, ledger=ledger, settings=STRICT)
            assert measure(Fickle(), SOME, ledger=ledger, settings=STRICT) == first

    def test_a_full_disk_stops_the_run_and_keeps_what_was_stored(self, tmp_path):
        with Ledger(tmp_path / "l.db") as ledger:
            pages = ledger._connection.execute("PRAGMA page_count").fetchone()[0]
            ledger._connection.execute(f"PRAGMA max_page_count = {pages + 1}")
            long = [replace(p, prompt=p.prompt * 400) for p in SOME]
            with pytest.raises(LedgerError, match="disk is full"):
                measure(Echo(), long, ledger=ledger, settings=STRICT, batch_size=1)
        undisturbed = measure(Echo(), long, settings=STRICT)
        assert measure(Echo(), long, ledger=tmp_path / "l.db", settings=STRICT) == undisturbed

    def test_ctrl_c_leaves_what_was_scored(self):
        class Stopped(Toy):
            def generate(self, prompts, *, budget, seed):
                if "question 8" in prompts:
                    raise KeyboardInterrupt
                return super().generate(prompts, budget=budget, seed=seed)

        seen = []
        with Ledger(None) as ledger:
            with pytest.raises(KeyboardInterrupt):
                sweep(
                    Stopped(),
                    SOME,
                    budgets=[Budget()],
                    ledger=ledger,
                    settings=STRICT,
                    batch_size=2,
                    on_scores=seen.append,
                )
            assert len(seen) == 1
            assert not seen[0].complete
            assert seen[0].signature.as_dict()["scored"] == f"{seen[0].n} of 13"
            assert measure(Toy(), SOME, ledger=ledger, settings=STRICT) == measure(Toy(), SOME, settings=STRICT)


class Echo(Toy):
    def _answer(self, prompt, _budget, _seed):
        return Completion(prompt)


class TestCulprits:
    def test_a_failing_generator_is_named_with_its_prompts_and_loses_nothing(self):
        with Ledger(None) as ledger:
            with pytest.raises(GeneratorError, match=r"'toy' raised RuntimeError: out of luck .*t/9"):
                measure(Toy(fails_at="question 9"), SOME, ledger=ledger, settings=STRICT, batch_size=3)
            assert ledger.counts() == (9, 9)

    def test_too_few_completions(self):
        class Short(Toy):
            def generate(self, prompts, *, budget, seed):
                return super().generate(prompts, budget=budget, seed=seed)[1:]

        with pytest.raises(GeneratorError, match="7 completions for 8 prompts"):
            measure(Short(), SOME, settings=STRICT)

    @pytest.mark.parametrize(
        ("problems", "changes", "told"),
        [
            ([], {}, "no problems"),
            ([SOME[0], SOME[0]], {}, "'t/0' occurs twice"),
            (SOME, {"seeds": ()}, "seeds is empty"),
            (SOME, {"seeds": (1, 1)}, "repeat"),
            (SOME, {"seeds": (-1,)}, "seed -1"),
            (SOME, {"seeds": (0.5,)}, r"seed 0\.5"),
            (SOME, {"batch_size": 0}, "batch_size=0"),
            (SOME, {"settings": ScoringSettings(grader="kind")}, "kind"),
            ([SOME[0], ChoiceProblem("arc_challenge", "c", "q", ("a", "b"), 0)], {}, "one kind"),
            ([SOME[0], replace(SOME[1], benchmark="math")], {}, "several benchmarks"),
            ("nonsense", {}, "nonsense"),
        ],
    )
    def test_bad_arguments(self, problems, changes, told):
        with pytest.raises(InputError, match=told):
            measure(Toy(), problems, **{"settings": STRICT, **changes})

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"timeout": 0.0}, "timeout"),
            ({"timeout": float("nan")}, "timeout"),
            ({"timeout": float("inf")}, "timeout"),
            ({"choice_metric": "f1"}, "choice_metric"),
            ({"workers": 0}, "workers"),
        ],
    )
    def test_bad_settings(self, changes, told):
        with pytest.raises(InputError, match=told):
            ScoringSettings(**changes)

    def test_an_unknown_pipeline_lists_the_known_ones(self):
        problem = code_problems(1)
        with pytest.raises(InputError, match=r"pipeline 'x' is unknown.*extract"):
            measure(Toy(), problem, settings=ScoringSettings(pipeline="x"))


class TestDoubtfulVerdicts:
    """A program or a grader that died may be the victim of an operator; the second verdict counts."""

    @pytest.mark.parametrize("doubtful", [Failure.KILLED, Failure.UNDECIDED])
    @pytest.mark.parametrize("second", [Score(correct=True), Score(correct=False, failure=Failure.KILLED)])
    def test_a_doubtful_verdict_is_asked_for_twice(self, monkeypatch, second, doubtful):
        asked: list[int] = []

        class Fake:
            def production_parts(self, _budget):
                return {}

            def scoring_parts(self):
                return {"protocol": "fake"}

            def produce(self, generator, problems, *, budget, seed):
                return generator.generate([p.prompt for p in problems], budget=budget, seed=seed)

            def score_many(self, items):
                for problem, _ in items:
                    asked.append(int(problem.task_id[2:]))
                    first = problem.task_id == "t/3" and asked.count(3) == 1
                    killed = Score(correct=False, failure=doubtful)
                    yield killed if first else second if problem.task_id == "t/3" else Score(correct=True)

        @contextmanager
        def fake(_problems, _settings):
            yield Fake()

        monkeypatch.setattr(module, "open_scorer", fake)
        measured = measure(Toy(), SOME[:6])
        assert measured.samples[3].score == second
        assert sorted(asked) == [0, 1, 2, 3, 3, 4, 5]


class Likely(Toy):
    """Prefers the choice whose index its hash names."""

    value = 0.0

    def log_likelihood(self, requests, *, monte_carlo, seed):
        self.asked += [(request.context, seed, monte_carlo.samples) for request in requests]
        return [
            [
                LogLikelihood(self.value - 10.0 * (not text.endswith("right")), 0.5, 16, 3)
                for text in request.continuations
            ]
            for request in requests
        ]


CHOICES = [
    ChoiceProblem("arc_challenge", f"c/{i}", f"Question: {i}\nAnswer:", ("wrong", "right"), int(i % 3 > 0))
    for i in range(9)
]


class TestChoices:
    def test_choices_are_ranked_by_likelihood(self):
        measured = measure(Likely(), CHOICES)
        assert [sample.score.correct for sample in measured.samples] == [i % 3 > 0 for i in range(9)]
        told = measured.signature.as_dict()
        assert (told["metric"], told["mc"], told["mc-batch"], told["mc-scheme"]) == (
            "acc_norm",
            "128",
            "8",
            "systematic",
        )
        assert "flip probability" in measured.samples[0].score.detail

    def test_both_metrics_share_their_likelihoods(self):
        with Ledger(None) as ledger:
            measure(Likely(), CHOICES, ledger=ledger)
            again = Likely()
            measure(again, CHOICES, ledger=ledger, settings=ScoringSettings(choice_metric="acc"))
            assert not again.asked

    def test_another_estimate_is_another_measurement(self):
        with Ledger(None) as ledger:
            measure(Likely(), CHOICES, ledger=ledger)
            again = Likely()
            measure(again, CHOICES, ledger=ledger, settings=ScoringSettings(monte_carlo=MonteCarlo(16, 8)))
            assert len(again.asked) == 9

    def test_a_generator_without_likelihoods_is_told_the_method(self):
        with pytest.raises(InputError, match=r"log_likelihood\(requests"):
            measure(Toy(), CHOICES)

    def test_a_likelihood_that_is_no_number(self):
        class Broken(Likely):
            value = float("nan")

        with pytest.raises(GeneratorError, match="log-likelihood nan"):
            measure(Broken(), CHOICES)

    def test_too_few_estimates(self):
        class Short(Likely):
            def log_likelihood(self, requests, *, monte_carlo, seed):
                return [row[:1] for row in super().log_likelihood(requests, monte_carlo=monte_carlo, seed=seed)]

        with pytest.raises(GeneratorError, match="2 LogLikelihood, one a continuation"):
            measure(Short(), CHOICES)


def code_problems(n: int) -> list[CodeProblem]:
    return [
        CodeProblem(
            benchmark="toy",
            task_id=f"code/{i}",
            prompt=f'def f{i}(x):\n    """Add {i}."""\n',
            entry_point=f"f{i}",
            tests=f"def check(candidate):\n    assert candidate(1) == {i + 1}\n    assert candidate(5) == {i + 5}\n",
            test_style="check",
            setup="",
            reference=f"    return x + {i}\n",
            prompt_is_code=True,
        )
        for i in range(n)
    ]


_RUN = """
import os, sys, time
sys.path.insert(0, {root!r})
sys.path.insert(0, {root!r} + "/tests/protocols")
from test_measure import code_problems
from protocols.measure import measure
from protocols.scoring import ScoringSettings
from specref_core.generator import Budget, Completion, Cost

class Slow:
    name = "slow"
    def fingerprint(self):
        return "slow"
    def generate(self, prompts, *, budget, seed):
        out = []
        for prompt in prompts:
            time.sleep(float(sys.argv[2]))
            with open(sys.argv[1] + ".asked", "a") as log:
                log.write(prompt.split("(")[0] + " " + str(seed) + chr(10))
            i = int(prompt.split("(")[0][5:])
            # Every third is wrong, every seventh crashes.
            body = "return x + %d" % (i + (i % 3 == 0))
            body = "import os; os.kill(os.getpid(), 11)" if i % 7 == 6 else body
            out.append(Completion("    " + body, Cost(0, 1, 1, 2, 0.0, 1.0)))
        return out

print("start", flush=True)
scores = measure(Slow(), code_problems(24), seeds=(0, 1), ledger=sys.argv[1], batch_size=3,
                 settings=ScoringSettings(workers=2))
for sample in scores.samples:
    print(sample.task_id, sample.seed, sample.score.correct, sample.score.failure, sample.cost)
print(scores.signature)
"""


def start(ledger: Path, delay: float = 0.01) -> subprocess.Popen[str]:
    program = _RUN.format(root=str(ROOT))
    return subprocess.Popen(
        [sys.executable, "-c", program, str(ledger), str(delay)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def family(root: int) -> set[int]:
    """Return every living descendant of a process."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    found, grown = {root}, True
    while grown:
        new = {pid for pid, parent in parents.items() if parent in found} - found
        grown = bool(new)
        found |= new
    return found - {root}


def alive(pids: set[int]) -> set[int]:
    found = set()
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            found.add(pid)
    return found


def gone(pids: set[int], seconds: float = 10.0) -> set[int]:
    """Wait for processes to end and return those that did not."""
    end = time.monotonic() + seconds
    while (left := alive(pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return left


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("undisturbed") / "l.db"
    out, err = start(path, 0).communicate(timeout=120)
    assert "code/23" in out, err
    return out


@pytest.mark.slow
class TestKill:
    def test_kill_9_of_the_run_at_random_moments(self, tmp_path, undisturbed):
        chance = random.Random(11)
        path = tmp_path / "l.db"
        stored = []
        for _ in range(4):
            run = start(path, 0.02)
            assert run.stdout is not None
            run.stdout.readline()
            time.sleep(chance.uniform(0.3, 1.2))
            children = family(run.pid)
            run.kill()
            run.communicate()
            assert not gone(children), "processes outlived a killed run"
            with Ledger(path) as ledger:
                stored.append(ledger.counts())
        out, err = start(path, 0).communicate(timeout=120)
        assert out == undisturbed, err
        assert stored == sorted(stored)
        assert stored[0] < (48, 48), "no kill came before the end"
        with Ledger(path, read_only=True) as ledger:
            assert ledger.counts() == (48, 48)

    def test_kill_9_of_random_workers(self, tmp_path, undisturbed):
        """A run replaces the workers it loses, or ends with an error and is continued; no verdict is the killer's."""
        chance = random.Random(12)
        path = tmp_path / "l.db"
        killed, out = 0, ""
        for _ in range(4):
            run = start(path, 0.03)
            while run.poll() is None and killed < 8:
                time.sleep(chance.uniform(0.05, 0.3))
                if children := sorted(family(run.pid)):
                    with suppress(ProcessLookupError):
                        os.kill(chance.choice(children), signal.SIGKILL)
                        killed += 1
            out, err = run.communicate(timeout=120)
            if run.returncode == 0:
                break
            assert "SpecRefError" in err
        assert killed > 3
        assert out == undisturbed

    def test_several_runs_share_a_ledger_and_its_work(self, tmp_path, undisturbed):
        path = tmp_path / "l.db"
        runs = [start(path, 0.02) for _ in range(3)]
        outputs = [run.communicate(timeout=120) for run in runs]
        for out, err in outputs:
            assert out == undisturbed, err
        asked = (tmp_path / "l.db.asked").read_text().splitlines()
        assert len(asked) == len(set(asked)) == 48
        assert [entry.name for entry in tmp_path.iterdir() if entry.name != "l.db.asked"] == ["l.db"]

    def test_a_run_takes_over_from_one_that_was_killed(self, tmp_path, undisturbed):
        path = tmp_path / "l.db"
        first = start(path, 0.05)
        assert first.stdout is not None
        first.stdout.readline()
        time.sleep(0.5)
        second = start(path, 0.0)
        time.sleep(0.3)
        first.kill()
        first.communicate()
        out, err = second.communicate(timeout=120)
        assert out == undisturbed, err
