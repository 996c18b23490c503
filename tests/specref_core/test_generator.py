# ruff: noqa: ARG005 - stubs have the signature of the contract, whatever they use of it
from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specref_core.errors import InputError
from specref_core.generator import (
    Budget,
    Completion,
    Cost,
    Draft,
    Generator,
    HasComponents,
    HasDraft,
    HasFingerprint,
    HasLogLikelihood,
    HasProjection,
    HasRefine,
    MonteCarlo,
    Scaffold,
)

costs = st.builds(Cost, *[st.integers(0, 10**9)] * 4, *[st.integers(0, 10**9).map(float)] * 2)


class Ten:
    """The smallest generator: nothing else is compulsory."""

    name = "ten"

    def generate(self, prompts, *, budget, seed):
        return [Completion(f"{len(p)} {budget.max_new_tokens} {seed}") for p in prompts]


class TestCost:
    """Six figures that belong together."""

    @given(costs, costs, costs)
    def test_adds_figure_by_figure(self, a, b, c):
        assert a + b == b + a
        assert (a + b) + c == a + (b + c)
        assert a + Cost(0, 0, 0, 0, 0.0, 0.0) == a

    def test_none_can_be_left_out(self):
        with pytest.raises(TypeError):
            Cost(nominal_steps=1, forward_passes=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Budget(steps=0), "steps=0: a budget needs at least one"),
        (lambda: Budget(steps=-3), "steps=-3"),
        (lambda: Budget(steps=2.5), "steps=2.5: expected a whole number"),
        (lambda: Budget(steps="8"), "steps='8'"),
        (lambda: Budget(steps=True), "steps=True"),
        (lambda: Budget(max_new_tokens=0), "max_new_tokens=0"),
        (lambda: Budget(max_new_tokens=None), "max_new_tokens=None"),
        (lambda: MonteCarlo(samples=0), "samples=0"),
        (lambda: MonteCarlo(samples=10, batch=4), "samples=10, batch=4"),
        (lambda: MonteCarlo(batch=0), "batch=0"),
        (lambda: MonteCarlo(scheme="sobol"), "scheme='sobol'"),
        (lambda: Draft("a", (1,), ((0, 1),), (), 9), "1 tokens, 1 spans, 0 entropies"),
        (lambda: Draft("a", (1,), ((0, 1),), (0.5,), 9, (-0.1, -0.2)), "got 2 for 1 tokens"),
        (lambda: Scaffold("ab", np.zeros((2, 2), int), np.zeros(1, bool)), "one mask flag a span"),
        (lambda: Scaffold("ab", np.zeros((2, 3), int), np.zeros(2, bool)), "one mask flag a span"),
    ],
)
def test_impossible_values_are_refused_where_they_are_made(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("steps", [None, 1, np.int64(8)])
def test_possible_budgets_are_accepted(steps):
    assert Budget(steps=steps).steps == steps


def test_ten_lines_make_a_generator():
    assert isinstance(Ten(), Generator)


@pytest.mark.parametrize(
    "capability", [HasComponents, HasDraft, HasRefine, HasProjection, HasLogLikelihood, HasFingerprint]
)
def test_a_capability_is_its_method_and_nothing_else(capability):
    method = next(name for name in vars(capability) if not name.startswith("_"))
    assert not isinstance(Ten(), capability)
    able = type("Able", (Ten,), {method: lambda self: None})
    assert isinstance(able(), capability)


@pytest.mark.parametrize("kind", [Budget, Cost, Completion, MonteCarlo])
def test_data_is_frozen(kind):
    value = {Budget: Budget(), Cost: Cost(1, 1, 1, 1, 1.0, 1.0), Completion: Completion("a")}.get(kind, MonteCarlo())
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, dataclasses.fields(value)[0].name, None)
