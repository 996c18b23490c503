"""The engine on Ray: what was lost is made again, nothing twice, and every score is the local engine's."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from audits.cli import app
from protocols.engines import ray_cluster
from protocols.engines.ray_engine import RayEngine
from protocols.ledger import Ledger
from protocols.measure import measure, sweep
from protocols.problems import AnswerProblem, ChoiceProblem
from protocols.scoring import ScoringSettings
from specref_core.errors import GeneratorError, InputError, SpecRefError
from specref_core.generator import Budget, MonteCarlo
from specref_core.loading import load
from tests.protocols.fake_ray import Call, FakeRay

ROOT = Path(__file__).resolve().parents[2]
STRICT = ScoringSettings(grader="strict")
RANKED = ScoringSettings(monte_carlo=MonteCarlo(16, 8))
SOME = [AnswerProblem("gsm8k", f"t/{i}", f"question {i}", str(i % 4)) for i in range(13)]
MANY = [AnswerProblem("gsm8k", f"t/{i}", f"question {i}", str(i % 4)) for i in range(60)]
CHOICES = [ChoiceProblem("arc_challenge", f"c/{i}", f"Q {i}\nA:", ("wrong", "right"), int(i % 3 > 0)) for i in range(9)]

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'specref[cluster]'"
)

GENERATOR = """
import hashlib, os, threading, time, uuid
from specref_core.generator import Completion, Cost, LogLikelihood, Trace

TRACE = Trace(None, ("a",), (0.0,), (True,), ("b",), (1,))

class Toy:
    name = "toy"
    def fingerprint(self):
        return "toy-1"
    def generate(self, prompts, *, budget, seed):
        time.sleep(float(os.environ.get("TOY_DELAY", "0")) * len(prompts))
        if os.environ.get("TOY_LOG"):
            with open(os.environ["TOY_LOG"], "a") as log:
                log.write("".join(f"{prompt!r}\\n" for prompt in prompts))
        return [self.answer(prompt, seed, budget) for prompt in prompts]
    def answer(self, prompt, seed, budget):
        digest = hashlib.sha256(f"{prompt}{seed}{budget.steps}".encode()).digest()[0]
        return Completion(f"so \\ud800 #### {digest % 4}", Cost(budget.steps or 0, digest, 2, 3, 0.25, 1e9), TRACE)

class Likely(Toy):
    def log_likelihood(self, requests, *, monte_carlo, seed):
        return [[LogLikelihood(-10.0 * (not text.endswith("right")), 0.5, monte_carlo.samples + seed, 3)
                 for text in request.continuations] for request in requests]

class Raising(Toy):
    name = "raising"
    def answer(self, prompt, seed, budget):
        if prompt == "question 7":
            raise RuntimeError("out of luck")
        return super().answer(prompt, seed, budget)

class Ending(Toy):
    name = "ending"
    def answer(self, prompt, seed, budget):
        if prompt == "question 7":
            os._exit(3)
        return super().answer(prompt, seed, budget)

class Fickle(Likely):
    def __init__(self):
        self.id = uuid.uuid4().hex
    def fingerprint(self):
        return self.id

class Unsendable(Toy):
    def answer(self, prompt, seed, budget):
        return Completion("#### 1", threading.Lock())

class Short(Toy):
    def generate(self, prompts, *, budget, seed):
        return []

def make():
    return Toy()

def broken():
    raise OSError("no weights")

def ends():
    os._exit(4)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch) -> Path:
    (tmp_path / "toy.py").write_text(GENERATOR)
    monkeypatch.chdir(tmp_path)
    for name in ("TOY_DELAY", "TOY_LOG", "RAY_ADDRESS", "SPECREF_DATA"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def local(target: str = "toy.py:make", problems=SOME, **choices):
    return measure(load(target), problems, **{"settings": STRICT, **choices})


def rows(path: Path) -> list[tuple[object, ...]]:
    """What a ledger holds, without the clock."""
    with contextlib.closing(sqlite3.connect(path)) as ledger:
        completions = ledger.execute("SELECT key, text, cost, trace FROM completions ORDER BY key").fetchall()
        scores = ledger.execute(
            "SELECT key, scoring, correct, failure, extracted, detail FROM scores "
            "JOIN completions ON completions.id = scores.completion ORDER BY key"
        ).fetchall()
    return [*completions, *scores]


class TestOnFakeWorkers:
    """The engine's decisions, each loss at the moment the test chooses."""

    @pytest.fixture
    def fake(self, place, monkeypatch):
        del place

        def install(*arguments, **choices) -> FakeRay:
            ray = FakeRay(*arguments, **choices)
            monkeypatch.setattr(ray_cluster, "import_ray", lambda: ray)
            return ray

        return install

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        seed=st.integers(0, 10**6),
        loss=st.sampled_from([0.0, 0.1, 0.3]),
        workers=st.integers(1, 5),
        batch_size=st.integers(1, 15),
    )
    def test_any_workers_batches_and_losses_give_the_scores_of_the_local_engine(
        self, fake, seed, loss, workers, batch_size
    ):
        chance = random.Random(seed)
        left = [4]  # fewer than an engine forgives one batch

        def dies(_call: Call) -> bool:
            if left[0] and chance.random() < loss:
                left[0] -= 1
                return True
            return False

        ray = fake(dies, random.Random(seed))
        with RayEngine("toy.py:Likely", workers=workers) as engine:
            measured = measure(engine, CHOICES, settings=RANKED, seeds=(0, 2), batch_size=batch_size)
            assert len(ray.living) == workers
        assert measured == local("toy.py:Likely", CHOICES, settings=RANKED, seeds=(0, 2))
        assert not ray.living
        asked = [task for batch in ray.answered for task in batch]
        assert len(asked) == 2 * len(CHOICES)  # what was answered once is not asked again

    def test_a_loss_is_told_and_the_batch_made_again(self, fake):
        told, killed = [], []

        def dies(call: Call) -> bool:
            if call.method == "answer" and not killed:
                killed.append([problem.task_id for problem in call.arguments[0].problems])
                return True
            return False

        ray = fake(dies)
        with RayEngine("toy.py:make", workers=2, notice=told.append) as engine:
            assert measure(engine, SOME, settings=STRICT, batch_size=4).complete
        assert len(told) == 1
        assert "lost a worker (process" in told[0]
        assert "the actor died); its batch of 4 is made again" in told[0]
        assert sum(list(batch) == killed[0] for batch in ray.answered) == 1

    def test_a_batch_that_always_kills_is_the_generators_fault_and_names_its_tasks(self, fake):
        tried = []

        def dies(call: Call) -> bool:
            hit = call.method == "answer" and "t/7" in {problem.task_id for problem in call.arguments[0].problems}
            tried.append(hit)
            return hit

        fake(dies)
        with RayEngine("toy.py:make", workers=1) as engine:
            with pytest.raises(GeneratorError, match=r"lost its worker 5 times at one batch.*t/6, t/7") as caught:
                measure(engine, SOME, settings=STRICT, batch_size=2)
            assert "smaller --batch-size" in str(caught.value)
            assert sum(tried) == 5
            assert measure(engine, SOME[8:], settings=STRICT).complete  # there is a worker again

    def test_a_generator_that_raises_is_not_asked_again(self, fake):
        ray = fake()
        with Ledger(None) as ledger:
            with (
                RayEngine("toy.py:Raising", workers=1) as engine,
                pytest.raises(
                    GeneratorError, match=r"'raising' raised RuntimeError: out of luck \(while answering t/6"
                ),
            ):
                measure(engine, SOME, settings=STRICT, batch_size=3, ledger=ledger)
            assert ledger.counts() == (6, 6)
        assert sum("t/7" in batch for batch in ray.answered) == 1

    def test_a_second_measurement_on_the_engine_of_one_that_failed(self, fake):
        fake()
        with RayEngine("toy.py:Raising", workers=3) as engine:
            with pytest.raises(GeneratorError):
                measure(engine, SOME, settings=STRICT, batch_size=2)
            others = SOME[8:]
            assert measure(engine, others, settings=STRICT, batch_size=2) == local("toy.py:Raising", others)

    @pytest.mark.parametrize(
        ("target", "kind", "told"),
        [
            ("toy.py:broken", GeneratorError, r"raised OSError: no weights \(in process"),
            ("toy.py:nobody", InputError, "offers"),
            ("nowhere.py:make", InputError, "no file"),
            ("toy", InputError, "expected pkg.mod:factory"),
        ],
    )
    def test_a_generator_that_cannot_be_loaded(self, fake, target, kind, told):
        ray = fake()
        with pytest.raises(kind, match=told), RayEngine(target, workers=2):
            pass
        assert not ray.living

    def test_workers_that_disagree(self, fake):
        ray = fake()
        with (
            pytest.raises(GeneratorError, match=r"toy@.* on one worker and toy@.* on another"),
            RayEngine("toy.py:Fickle", workers=3) as engine,
        ):
            measure(engine, CHOICES, settings=RANKED, batch_size=1, seeds=range(9))
        assert not ray.living

    def test_a_generator_that_never_survives_its_loading(self, fake):
        ray = fake(lambda call: call.method == "load")
        with (
            pytest.raises(GeneratorError, match="5 workers in a row ended while they loaded"),
            RayEngine("toy.py:make"),
        ):
            pass
        assert not ray.living

    def test_another_version_of_specref_on_a_node(self, fake, monkeypatch):
        fake()
        monkeypatch.setattr("protocols.engines.ray_engine.version", lambda _name: "99")
        with pytest.raises(SpecRefError, match="install the same version on every node"), RayEngine("toy.py:make"):
            pass

    def test_nobody_can_be_placed(self, fake):
        ray = fake()
        ray.places_nobody = True
        with pytest.raises(SpecRefError, match=r"could be placed for 0\.01 s"), RayEngine("toy.py:make", patience=0.01):
            pass
        assert not ray.living

    def test_every_worker_is_lost_and_none_comes_back(self, fake):
        ray = fake()

        def dies(call: Call) -> bool:
            ray.places_nobody = call.method == "answer"
            return ray.places_nobody

        ray.dies = dies
        with (
            Ledger(None) as ledger,
            RayEngine("toy.py:make", workers=1, patience=0.01) as engine,
            pytest.raises(SpecRefError, match="could be placed"),
        ):
            measure(engine, SOME, settings=STRICT, ledger=ledger)

    def test_what_the_worker_cannot_send(self, fake):
        ray = fake()
        with RayEngine("toy.py:make", workers=1) as engine:
            ray.actors[0].inner.answer = lambda _work: 1 / 0
            with pytest.raises(GeneratorError, match=r"failed with ZeroDivisionError.*while answering t/0"):
                measure(engine, SOME, settings=STRICT)

    def test_choices_and_traces(self, fake):
        fake()
        with RayEngine("toy.py:Likely", workers=2) as engine:
            on_ray = measure(engine, CHOICES, settings=RANKED, batch_size=2)
            assert on_ray == local("toy.py:Likely", CHOICES, settings=RANKED)
            assert on_ray.correct == 6
            traced = measure(engine, SOME, settings=STRICT, traces=True)
            assert traced == local(traces=True)
            assert traced.samples[0].trace is not None
            measure(engine, SOME, settings=STRICT, ledger="plain.db")
            assert {row[3] for row in rows(Path("plain.db"))[: len(SOME)]} == {None}

    def test_choices_need_likelihoods(self, fake):
        fake()
        with RayEngine("toy.py:make") as engine, pytest.raises(InputError, match="log_likelihood"):
            measure(engine, CHOICES)

    def test_a_sweep_and_a_ledger_that_has_it_all(self, fake):
        ray = fake()
        with Ledger(None) as ledger:
            budgets = [Budget(4), Budget(8)]
            with RayEngine("toy.py:make") as engine:
                first = sweep(engine, SOME, budgets=budgets, ledger=ledger, settings=STRICT)
            asked = len(ray.answered)
            with RayEngine("toy.py:make") as engine:
                assert sweep(engine, SOME, budgets=budgets, ledger=ledger, settings=STRICT) == first
            assert len(ray.answered) == asked
            assert sweep(load("toy.py:make"), SOME, budgets=budgets, ledger=ledger, settings=STRICT) == first

    @pytest.mark.parametrize(
        ("nodes", "choices", "actors", "gpus"),
        [
            ([{"CPU": 3.0}], {}, 3, 0.0),
            ([{"CPU": 16.0, "GPU": 4.0}], {}, 4, 1.0),
            ([{"CPU": 16.0, "GPU": 4.0}, {"CPU": 1.0, "GPU": 4.0}], {}, 5, 1.0),
            ([{"CPU": 16.0, "GPU": 4.0}], {"gpus_per_worker": 0.5}, 8, 0.5),
            ([{"CPU": 16.0, "GPU": 4.0}], {"gpus_per_worker": 0.4}, 8, 0.4),  # a worker's share is of one GPU
            ([{"CPU": 16.0, "GPU": 4.0}], {"gpus_per_worker": 2}, 2, 2),
            ([{"CPU": 16.0, "GPU": 4.0}], {"gpus_per_worker": 2, "workers": 1}, 1, 2),
            ([{"CPU": 2.0}], {"workers": 5}, 5, 0.0),  # a cluster that is not ours may grow
        ],
    )
    def test_workers_by_the_clusters_room(self, fake, nodes, choices, actors, gpus):
        ray = fake(nodes=[{"Alive": True, "Resources": resources} for resources in nodes])
        with RayEngine("toy.py:make", **choices) as engine:
            assert engine.width == actors
        assert {told["num_gpus"] for told in ray.options} == {gpus}

    def test_more_gpus_than_any_node_has(self, fake):
        ray = fake()
        with (
            pytest.raises(InputError, match=r"1 CPU and 1 GPUs.*3 CPUs and 0 GPUs on 1 node, which is room for 0"),
            RayEngine("toy.py:make", gpus_per_worker=1),
        ):
            pass
        assert not ray.actors

    @pytest.mark.parametrize("choices", [{"workers": 0}, {"gpus_per_worker": -1.0}, {"gpus_per_worker": 1.5}])
    def test_arguments_that_cannot_be(self, choices):
        with pytest.raises(InputError):
            RayEngine("toy.py:make", **choices)

    @pytest.mark.parametrize("gpus", [float("nan"), float("inf")])
    def test_numbers_that_are_none(self, gpus):
        with pytest.raises(InputError):
            RayEngine("toy.py:make", gpus_per_worker=gpus)

    def test_an_engine_that_is_not_open(self):
        with pytest.raises(InputError, match="with RayEngine"):
            measure(RayEngine("toy.py:make"), SOME, settings=STRICT)


class TestAddress:
    @staticmethod
    @contextlib.contextmanager
    def _server(answer: bytes | None):
        """A port where something answers: these bytes, or (``None``) never anything."""
        with socket.create_server(("127.0.0.1", 0)) as server:

            def serve():
                with contextlib.suppress(OSError):
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(100)
                        if answer is not None:
                            connection.sendall(answer)
                        else:
                            connection.recv(1)

            threading.Thread(target=serve, daemon=True).start()
            yield f"127.0.0.1:{server.getsockname()[1]}"

    @pytest.mark.parametrize("prefix", ["", "ray://"])
    def test_a_server_of_the_protocol_passes(self, prefix):
        with self._server(bytes(3) + b"\x04" + bytes(5)) as address:
            ray_cluster.probe(prefix + address)

    @pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"xx"])
    def test_another_server_is_refused(self, answer):
        with self._server(answer) as address, pytest.raises(InputError, match="not a Ray head node"):
            ray_cluster.probe(address)

    def test_a_silent_server_is_refused_in_time(self, monkeypatch):
        monkeypatch.setattr(ray_cluster, "_PROBE_SECONDS", 0.2)
        with self._server(None) as address, pytest.raises(InputError, match="no Ray cluster answers there"):
            ray_cluster.probe(address)

    def test_a_closed_port_is_refused_at_once(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with pytest.raises(InputError, match=f"127.0.0.1:{port}: no Ray cluster answers"):
            ray_cluster.probe(f"127.0.0.1:{port}")

    @pytest.mark.parametrize("address", ["", "head", "head:", ":6379", "head:x", "head:0", "head:70000", "ray://head"])
    def test_no_address_at_all(self, address):
        with pytest.raises(InputError, match="expected host:port"):
            ray_cluster.probe(address)

    def test_a_name_that_no_host_has(self):
        with pytest.raises(InputError, match="no Ray cluster answers"):
            ray_cluster.probe("no-such-host.invalid:6379")

    def test_an_empty_address_is_not_the_default(self):
        with pytest.raises(InputError, match="--address is empty"):
            ray_cluster.connect(" ")

    def test_ray_is_missing(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "ray", None)
        with pytest.raises(InputError, match=r"pip install 'specref\[cluster\]'"):
            ray_cluster.connect(None)

    @given(
        st.lists(st.tuples(st.integers(0, 64), st.integers(0, 8)), max_size=4),
        st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.5, 1.0, 2.0, 4.0]),
    )
    def test_room_never_promises_more_than_there_is(self, nodes, gpus):
        told = [{"Alive": True, "Resources": {"CPU": float(cpu), "GPU": float(gpu)}} for cpu, gpu in nodes]
        fits = ray_cluster.room(told, gpus=gpus)
        assert fits <= sum(cpu for cpu, _ in nodes)
        assert fits * gpus <= sum(gpu for _, gpu in nodes) + 1e-3
        assert ray_cluster.room([{**node, "Alive": False} for node in told], gpus=gpus) == 0
        assert ray_cluster.room(told, gpus=0.0) == sum(cpu for cpu, _ in nodes)


BASE = ("--generator", "toy.py:make", "--benchmark", "gsm8k", "--data-dir", ".", "--grader", "strict")


def command(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    # A test run in the background ignores Ctrl-C, and what it starts inherits that.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"{heed}; import sys; from audits.cli import main; sys.argv[0] = 'specref'; main()"
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return subprocess.Popen(
        [sys.executable, "-c", program, "run", *BASE, *arguments],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


class TestCommand:
    @pytest.fixture(autouse=True)
    def _data(self, place):
        (place / "gsm8k").mkdir()
        problems = [{"question": f"What is {i} mod 3?", "answer": f"It is so. #### {i % 3}"} for i in range(20)]
        (place / "gsm8k" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (("--engine", "spark"), "expected local or ray"),
            (("--address", "auto"), "belong to --engine ray"),
            (("--gpus-per-worker", "1"), "belong to --engine ray"),
            (("--engine", "ray", "--gpus-per-worker", "-1"), "gpus_per_worker=-1.0"),
        ],
    )
    def test_options_that_do_not_fit_are_refused_before_anything_is_written(self, place, arguments, told):
        done = CliRunner().invoke(app, ["run", *BASE, *arguments, "--ledger", "l.db"])
        assert isinstance(done.exception, InputError), done.output
        assert told in str(done.exception)
        assert not (place / "l.db").exists()

    @needs_ray
    def test_an_address_where_nobody_is(self, place):
        start = time.monotonic()
        run = command("--engine", "ray", "--address", "127.0.0.1:1", "--ledger", "l.db")
        _, err = run.communicate(timeout=120)
        assert run.returncode == 2
        assert "--address 127.0.0.1:1: no Ray cluster answers there" in err
        assert "Traceback" not in err
        assert time.monotonic() - start < 60  # a Ray of its own waits three minutes
        assert not (place / "l.db").exists()

    @needs_ray
    @pytest.mark.slow
    def test_kill_9_leaves_nobody_and_the_next_run_continues(self, place):
        log = place / "asked.log"
        ray = ("--engine", "ray", "--workers", "2", "--batch-size", "2")
        run = command(*ray, "--ledger", "l.db", TOY_DELAY="0.2", TOY_LOG=str(log))
        wait_for_samples(place / "l.db", 4)
        run.kill()
        run.communicate()
        # Whatever a dead run had in flight may be asked again; what it stored is not.
        with Ledger(place / "l.db", read_only=True) as ledger:
            stored = ledger.counts()[0]
        assert 4 <= stored < 20
        # Nobody is left to end the cluster's own helpers: they look for their parent every now and then.
        wait_until_nobody(run.pid, but=("DashboardAgent", "RuntimeEnvAgent"))
        log.unlink()
        run = command(*ray, "--ledger", "l.db", "--json", "ray.json", TOY_LOG=str(log))
        _, err = run.communicate(timeout=240)
        assert run.returncode == 0, err
        assert len(log.read_text().splitlines()) == 20 - stored
        assert CliRunner().invoke(app, ["run", *BASE, "--json", "local.json", "--ledger", "own.db"]).exit_code == 0
        assert (place / "ray.json").read_text() == (place / "local.json").read_text()
        assert rows(place / "l.db") == rows(place / "own.db")

    @needs_ray
    @pytest.mark.slow
    def test_ctrl_c_shows_what_was_done_and_leaves_nobody(self, place):
        run = command("--engine", "ray", "--workers", "2", "--batch-size", "2", "--ledger", "l.db", TOY_DELAY="1")
        wait_for_samples(place / "l.db", 2)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=120)
        assert run.returncode == 130, err
        assert "stopped: run again with --ledger l.db" in err
        assert "Traceback" not in err
        assert "/20" in out
        wait_until_nobody(run.pid)


def wait_for_samples(path: Path, count: int) -> None:
    end = time.monotonic() + 240
    while time.monotonic() < end:
        if path.exists():
            with Ledger(path) as ledger:
                if ledger.counts()[1] >= count:
                    return
        time.sleep(0.05)
    raise AssertionError("the run stored nothing")


def wait_until_nobody(session: int, but: tuple[str, ...] = ()) -> None:
    """Wait for every process of a run, its cluster's included, to be gone."""
    end = time.monotonic() + 60
    while left := [line for line in _members(session) if not any(name in line for name in but)]:
        assert time.monotonic() < end, f"left behind: {left}"
        time.sleep(0.2)


def _members(session: int) -> list[str]:
    """Living processes of the session that a run leads."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            command_line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if stat[0] != "Z" and int(stat[3]) == session:
                found.append(f"{entry.name} {command_line[:80]}")
    return found


@needs_ray
@pytest.mark.slow
@pytest.mark.usefixtures("place")
class TestOnRay:
    """Real workers, on one cluster of this machine."""

    @pytest.fixture(scope="class", autouse=True)
    @staticmethod
    def _cluster():
        import ray

        cluster = ray_cluster.connect(ray_cluster.LOCAL, cpus=4)
        yield
        assert cluster.own
        ray.shutdown()

    @pytest.mark.parametrize(("workers", "batch_size"), [(1, 3), (4, 8), (3, 1)])
    def test_workers_and_batches_do_not_change_a_byte(self, place, workers, batch_size):
        with RayEngine("toy.py:make", workers=workers) as engine:
            on_ray = measure(engine, MANY, settings=STRICT, ledger="ray.db", batch_size=batch_size, traces=True)
        assert on_ray == local(problems=MANY, ledger="local.db", batch_size=5, traces=True)
        assert rows(place / "ray.db") == rows(place / "local.db")

    def test_a_worker_killed_at_work_costs_a_retry_and_no_result(self, place, monkeypatch):
        monkeypatch.setenv("TOY_DELAY", "0.05")
        told, killed = [], []
        with RayEngine(self._with_delay(place), workers=3, notice=told.append) as engine:

            def kill(status) -> None:
                if status.done in (10, 30) and len(killed) < 2:
                    killed.append(engine.places[len(killed)].pid)
                    os.kill(killed[-1], signal.SIGKILL)

            on_ray = measure(engine, MANY, settings=STRICT, ledger="ray.db", batch_size=4, progress=kill)
            assert not set(killed) & {place.pid for place in engine.places}
        assert len(killed) == 2
        assert sum("is made again" in line for line in told) >= 1
        assert on_ray == local(self._with_delay(place), MANY, ledger="local.db")
        assert rows(place / "ray.db") == rows(place / "local.db")
        with Ledger(place / "ray.db", read_only=True) as ledger:
            assert ledger.counts() == (60, 60)

    @staticmethod
    def _with_delay(place: Path) -> str:
        # Workers have the environment of the cluster's start, not of the test.
        (place / "slow.py").write_text(GENERATOR.replace('os.environ.get("TOY_DELAY", "0")', "0.05"))
        return "slow.py:make"

    def test_a_pair_of_models_in_each_worker(self, place):
        from fixtures.nano.tasks import CANVAS, problems

        some = problems("booleans", "dev", 1, 6)
        choices = {"settings": STRICT, "budget": Budget(8, CANVAS["booleans"]), "seeds": (0, 1)}
        with RayEngine("fixtures.nano:load_pair", workers=2) as engine:
            on_ray = measure(engine, some, ledger="ray.db", batch_size=2, **choices)
        here = local("fixtures.nano:load_pair", some, ledger="local.db", batch_size=6, **choices)
        assert on_ray.signature == here.signature
        assert [(s.task_id, s.seed, s.text, s.score) for s in on_ray.samples] == [
            (s.task_id, s.seed, s.text, s.score) for s in here.samples
        ]
        assert [row[0] for row in rows(place / "ray.db")] == [row[0] for row in rows(place / "local.db")]

    def test_a_generator_that_raises(self, place):
        with (
            RayEngine("toy.py:Raising", workers=2) as engine,
            pytest.raises(GeneratorError, match=r"raised RuntimeError: out of luck \(while answering t/6, t/7"),
        ):
            measure(engine, SOME, settings=STRICT, batch_size=2, ledger="l.db")
        with Ledger(place / "l.db", read_only=True) as ledger:
            assert ledger.counts()[0] >= 2

    def test_a_generator_that_ends_its_process(self):
        with (
            RayEngine("toy.py:Ending", workers=1) as engine,
            pytest.raises(GeneratorError, match=r"'ending' lost its worker 5 times at one batch.*answering t/6, t/7"),
        ):
            measure(engine, SOME, settings=STRICT, batch_size=2)

    def test_a_factory_that_ends_its_process(self):
        with pytest.raises(GeneratorError, match="ended while they loaded"), RayEngine("toy.py:ends", workers=1):
            pass

    def test_completions_that_cannot_be_sent(self):
        with (
            RayEngine("toy.py:Unsendable", workers=1) as engine,
            pytest.raises(GeneratorError, match="sent between processes"),
        ):
            measure(engine, SOME[:1], settings=STRICT)

    def test_too_few_completions(self):
        with RayEngine("toy.py:Short", workers=1) as engine, pytest.raises(GeneratorError, match="0 completions for"):
            measure(engine, SOME, settings=STRICT)

    def test_closing_ends_the_workers(self):
        with RayEngine("toy.py:make", workers=2) as engine:
            measure(engine, SOME, settings=STRICT)
            pids = [place.pid for place in engine.places]
        end = time.monotonic() + 30
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            assert time.monotonic() < end
            time.sleep(0.1)

    def test_no_gpu_for_a_worker_that_wants_one(self):
        with pytest.raises(InputError, match="room for 0"), RayEngine("toy.py:make", gpus_per_worker=1):
            pass


@needs_ray
@pytest.mark.slow
class TestNodes:
    """Two nodes that this machine plays, reached by their head's address."""

    def test_a_lost_node_costs_a_retry_and_no_result(self, place):
        from ray.cluster_utils import Cluster

        (place / "slow.py").write_text(GENERATOR.replace('os.environ.get("TOY_DELAY", "0")', "0.1"))
        os.environ.setdefault("RAY_agent_register_timeout_ms", "100000")
        told, lost = [], []
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        try:
            second = cluster.add_node(num_cpus=1)
            with RayEngine("slow.py:make", address=cluster.address, notice=told.append) as engine:
                assert engine.width == 2

                def lose(status) -> None:
                    if status.done >= 20 and len(engine.places) == 2 and not lost:
                        lost.append(second)
                        cluster.remove_node(second, allow_graceful=False)

                on_ray = measure(engine, MANY, settings=STRICT, ledger="ray.db", batch_size=4, progress=lose)
                assert lost
        finally:
            cluster.shutdown()
        assert any(line.startswith("lost a worker") for line in told)
        assert on_ray == local("slow.py:make", MANY, ledger="local.db")
        assert rows(place / "ray.db") == rows(place / "local.db")
