"""Systems under audit: what they load, measure once, and say they lack."""

from __future__ import annotations

import pytest

from audits.kept_results import KeptResults
from audits.live_systems import KIND_OF, LiveSystem, MissingCapabilityError, code_digest, load_benchmark
from specref_core.errors import CheckpointError, GeneratorError, InputError
from tests.audits import generators


class Counting(generators.Lookup):
    name = "counting"
    calls = 0

    def generate(self, prompts, *, budget, seed):
        self.calls += len(prompts)
        return super().generate(prompts, budget=budget, seed=seed)

    def fingerprint(self):
        return "counting"


def system(pipeline, **more):
    return LiveSystem("custom", pipeline, ("nano-arithmetic",), limit=6, call_limit=60.0, **more)


def test_a_cell_is_measured_once_a_process_and_once_a_ledger(tmp_path):
    first, second = Counting(), Counting()
    ledger = tmp_path / "run.ledger"
    one = system(first, ledger=ledger)
    scores = one.measure("pipeline", "nano-arithmetic", 8)
    assert (scores.correct, scores.n, first.calls) == (6, 6, 6)
    assert one.measure("pipeline", "nano-arithmetic", 8) is scores
    again = system(second, ledger=ledger).measure("pipeline", "nano-arithmetic", 8)
    assert (again.correct, second.calls) == (6, 0)
    assert first.calls == 6


def test_missing_parts_and_methods_are_named():
    plain = system(generators.Lookup())
    assert not plain.has_part("drafter")
    with pytest.raises(MissingCapabilityError, match=r"'perfect' has no components\(\); add it"):
        plain.part("drafter")
    with pytest.raises(MissingCapabilityError, match=r"'perfect' has no draft\(\), project\(\), refine\(\)"):
        plain.warm_start("structure")
    with pytest.raises(MissingCapabilityError, match="names 'drafter', 'refiner'; return a 'judge' too"):
        system(generators.Overwriting()).part("judge")


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"drafter": object()}, r"components\(\)\['drafter'\] of 'odd' returned a object without a name"),
        (None, r"components\(\) of 'odd' raised AttributeError"),
    ],
)
def test_components_that_are_no_generators_are_the_generators_fault(parts, told):
    class Odd(generators.Lookup):
        name = "odd"

        def components(self):
            return parts

    with pytest.raises(GeneratorError, match=told):
        system(Odd()).part("drafter")


def test_every_benchmark_loads_without_benchmark_files():
    for name, kind in KIND_OF.items():
        loaded = load_benchmark(name, limit=3, seed=0, data_dir=None)
        assert loaded.kind == kind
        assert loaded.problems
        assert loaded.shipped == (not name.startswith("nano-"))


def test_files_are_preferred_and_damage_is_not_passed_over(tmp_path):
    (tmp_path / "gsm8k").mkdir()
    file = tmp_path / "gsm8k" / "test.jsonl"
    file.write_text('{"question": "1+1?", "answer": "2\\n#### 2"}\n', encoding="utf-8")
    assert not load_benchmark("gsm8k", limit=None, seed=0, data_dir=tmp_path).shipped
    file.write_text("{damaged\n", encoding="utf-8")
    with pytest.raises(InputError):
        load_benchmark("gsm8k", limit=None, seed=0, data_dir=tmp_path)
    with pytest.raises(InputError, match="unknown benchmark 'nothing'"):
        load_benchmark("nothing", limit=None, seed=0, data_dir=None)


def test_seed_and_limit_choose_the_problems():
    ids = [
        tuple(p.task_id for p in load_benchmark("nano-code", limit=limit, seed=seed, data_dir=None).problems)
        for limit, seed in ((5, 0), (8, 0), (5, 1))
    ]
    assert ids[1][:5] == ids[0]
    assert set(ids[2]) != set(ids[0])


def test_missing_weights_are_one_known_error(monkeypatch, tmp_path):
    from audits.live_systems import nano_system
    from fixtures import nano

    monkeypatch.setattr(nano, "_HERE", tmp_path)
    with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
        nano_system(ledger=None, limit=None, seed=0)


@pytest.mark.parametrize("other", [{}, {"limit": 7}, {"seed": 1}, {"pipeline": generators.Lookup()}])
def test_a_measurement_is_recalled_by_its_key_and_the_system(tmp_path, other):
    made = []

    def recalled(key="one", **more):
        live = system(more.pop("pipeline", Counting()), kept=KeptResults(tmp_path))
        for name, value in more.items():
            setattr(live, name, value)
        return live.recall(key, lambda: made.append(key) or [1.5, None])

    assert recalled() == recalled() == [1.5, None]
    assert len(made) == 1
    recalled(**other)
    assert len(made) == (2 if other else 1)
    recalled("another key")
    assert made[-1] == "another key"


def test_nothing_is_recalled_of_a_system_that_may_have_changed():
    made = []
    live = system(Counting())
    for _ in range(2):
        live.recall("one", lambda: made.append(1))
    assert len(made) == 2


def test_the_code_has_one_digest():
    assert len(code_digest()) == 12
    assert int(code_digest(), 16) >= 0


class Batchless(Counting):
    """Fails on every batch of more than one prompt."""

    name = "batchless"

    def generate(self, prompts, **asked):
        if len(prompts) > 1:
            raise MemoryError("too many")
        return super().generate(prompts, **asked)


def test_a_batch_that_fails_fails_once_and_leaves_its_samples_to_the_others(tmp_path):
    under = system(Batchless(), ledger=tmp_path / "run.ledger")
    with pytest.raises(GeneratorError, match=r"'batchless' raised MemoryError: too many .*asked one by one it answers"):
        under.measure("pipeline", "nano-arithmetic", 8)
    assert under.measure("pipeline", "nano-arithmetic", 8).correct == 6
    assert under.pipeline.calls == 6


def test_a_prompt_that_fails_alone_too_fails_every_audit(tmp_path):
    class Picky(Counting):
        name = "picky"

        def write(self, prompt):
            if prompt == list(self.known)[80]:  # of the second family
                raise ValueError("not this one")
            return super().write(prompt)

    under = system(Picky(), ledger=tmp_path / "run.ledger")
    for _ in range(2):
        with pytest.raises(GeneratorError, match=r"'picky' raised ValueError: not this one \(while answering \S+; "):
            under.measure("pipeline", "nano-arithmetic", 8)
