"""Regrouped calls, and what the audit makes of generators that do or do not look at their neighbours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits import batch_invariance as audit
from audits.live_systems import LiveSystem
from audits.verdicts import Outcome
from specref_core import loading
from specref_core.errors import GeneratorError
from specref_core.generator import Budget, Completion
from tests.audits import generators

BUDGET = Budget(steps=8)


class Recording:
    """Answers by the prompt alone and remembers how it was asked."""

    name = "recording"

    def __init__(self):
        self.calls = []

    def generate(self, prompts, *, budget, seed):
        self.calls.append(list(prompts))
        return [Completion(f"{prompt}|{budget.steps}|{seed}") for prompt in prompts]


class Padded(generators.Lookup):
    """Long neighbours push a short answer out of its place."""

    name = "padded"

    def generate(self, prompts, *, budget, seed):  # noqa: ARG002 - what matters is the batch
        longest = max(map(len, prompts))
        return [Completion(self.known[prompt] + " " * (longest - len(prompt))) for prompt in prompts]


class TestRegrouped:
    @given(st.lists(st.text(max_size=5), max_size=30), st.sets(st.integers(0, 29)))
    def test_order_and_completions_are_those_of_the_prompts(self, prompts, alone):
        chosen = [prompts[i] for i in alone if i < len(prompts)]
        inner = Recording()
        found = audit.Regrouped(inner, chosen).generate(prompts, budget=BUDGET, seed=3)
        assert [c.text for c in found] == [f"{prompt}|8|3" for prompt in prompts]
        assert sorted(prompt for call in inner.calls for prompt in call) == sorted(prompts)
        assert all(len(call) == 1 for call in inner.calls if set(call) & set(chosen))
        assert all(len(call) <= (len(prompts) + 1) // 2 for call in inner.calls)

    def test_neighbours_come_backwards(self):
        inner = Recording()
        audit.Regrouped(inner, ["b"]).generate(list("abcde"), budget=BUDGET, seed=0)
        assert inner.calls == [["b"], ["e", "c"], ["d", "a"]]

    def test_names_and_fingerprints_tell_the_calls(self):
        inner = Recording()
        prints = {
            (regrouped.name, regrouped.fingerprint())
            for regrouped in (audit.Regrouped(inner, alone) for alone in ([], ["a"]))
        } | {(inner.name, loading.fingerprint(inner))}
        assert len({name for name, _ in prints}) == len({print_ for _, print_ in prints}) == 3

    def test_a_call_that_breaks_the_contract_is_the_generator_s_fault(self):
        with pytest.raises(GeneratorError, match="'short'"):
            audit.Regrouped(generators.Short(), []).generate(["a", "b"], budget=BUDGET, seed=0)


class TestVerdict:
    def system(self, generator, limit=None):
        return LiveSystem("custom", generator, ("nano-arithmetic",), limit=limit, call_limit=60.0)

    @pytest.mark.parametrize(
        ("generator", "outcome"),
        [
            (generators.Lookup, Outcome.NOT_REPRODUCED),
            (Padded, Outcome.REPRODUCED),
            (generators.Batchy, Outcome.REPRODUCED),
        ],
    )
    def test_who_looks_at_its_neighbours_is_told(self, generator, outcome):
        system = self.system(generator())
        verdict = audit.outputs_move(system, "nano-arithmetic")
        assert verdict.outcome is outcome
        assert verdict.n == 80
        assert ("first)" in verdict.reason) is (outcome is Outcome.REPRODUCED)
        assert audit.figures(system, "nano-arithmetic")["usual batch"] == "8"

    def test_few_problems_decide_nothing_and_say_how_many_would(self):
        verdict = audit.outputs_move(self.system(generators.Lookup(), limit=5), "nano-arithmetic")
        assert (verdict.outcome, verdict.n) == (Outcome.INCONCLUSIVE, 5)
        assert 60 < verdict.n_needed < 80

    def test_one_slow_call_is_timed_not_all_together(self):
        class Slow(generators.Lookup):
            name = "slow"

            def generate(self, prompts, *, budget, seed):
                import time

                time.sleep(0.3)
                return super().generate(prompts, budget=budget, seed=seed)

        system = LiveSystem("custom", Slow(), ("nano-arithmetic",), limit=12, call_limit=1.5)
        # Six calls of 0.3 s, all on behalf of one batch, are longer than the limit of one.
        assert audit.outputs_move(system, "nano-arithmetic").n == 12
