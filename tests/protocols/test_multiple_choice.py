"""Ranking by likelihood: metrics, ties, boundaries and the probability of a flip."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.multiple_choice import (
    METRICS,
    choice_request,
    decide,
    evaluate_choices,
    flip_probability,
    rank,
    split_boundary,
)
from protocols.problems import ChoiceProblem
from protocols.score import Failure
from specref_core.errors import GeneratorError, InputError
from specref_core.generator import LogLikelihood, MonteCarlo


def problem(choices: tuple[str, ...] = ("ab", "abcdefgh"), gold: int = 1, **changes: str) -> ChoiceProblem:
    return ChoiceProblem(
        **{"benchmark": "arc_challenge", "task_id": "q1", "context": "Question: q\nAnswer:", **changes},
        choices=choices,
        gold=gold,
    )


def exact(*values: float) -> list[LogLikelihood]:
    return [LogLikelihood(value, 0.0, 0, 1) for value in values]


def test_acc_sums_and_acc_norm_divides_by_characters() -> None:
    ranked = rank(problem(), exact(-4.0, -8.0))
    assert (ranked.acc.choice, ranked.acc.correct) == (0, False)
    assert (ranked.acc_norm.choice, ranked.acc_norm.correct) == (1, True)
    assert ranked.acc.flip_probability == ranked.acc_norm.flip_probability == 0.0
    assert ranked.score("acc").failure is Failure.WRONG_ANSWER
    assert ranked.score("acc_norm").correct
    assert ranked.score().extracted == "1"


def test_length_is_in_characters_without_the_delimiter() -> None:
    # With the delimiter counted the second would win: -3/3 < -5/6 and -3/2 < -5/5 … but 2 and 5 characters decide.
    wide = rank(problem(("éé", "a" * 5)), exact(-2.0, -5.1))
    assert wide.acc_norm.choice == 0
    assert rank(problem(("éé", "a" * 5)), exact(-2.1, -5.0)).acc_norm.choice == 1


@pytest.mark.parametrize(
    ("context", "continuation", "expected"),
    [
        ("Answer:", " 18", ("Answer:", " 18")),
        ("Answer: ", "18", ("Answer:", " 18")),
        ("Answer:\n", "18", ("Answer:", "\n18")),
        ("Answer: \t\n ", " 18", ("Answer:", " \t\n  18")),
        ("", "18", ("", "18")),
        ("  ", "18", ("", "  18")),
        ("a b", "", ("a b", "")),
        ("a\u00a0", "b", ("a", "\u00a0b")),
    ],
)
def test_blanks_at_the_boundary_belong_to_the_continuation(
    context: str, continuation: str, expected: tuple[str, str]
) -> None:
    assert split_boundary(context, continuation) == expected


@given(st.text(), st.text())
def test_the_boundary_rule_keeps_the_text(context: str, continuation: str) -> None:
    head, tail = split_boundary(context, continuation)
    assert head + tail == context + continuation
    assert head == head.rstrip()


def test_request_has_the_delimiter_once_and_moves_blanks() -> None:
    assert choice_request(problem()).continuations == (" ab", " abcdefgh")
    moved = choice_request(problem(context="x "))
    assert (moved.context, moved.continuations) == ("x", ("  ab", "  abcdefgh"))
    assert choice_request(problem(delimiter="")).continuations == ("ab", "abcdefgh")


def test_ties_take_the_lowest_index_and_are_told() -> None:
    tied = rank(problem(("ab", "cd", "ef"), 2), exact(-3.0, -1.0, -1.0))
    assert (tied.acc.choice, tied.acc.tied, tied.acc.flip_probability) == (1, True, 0.0)
    assert "tied" in tied.score("acc").detail
    assert not rank(problem(), exact(-1.0, -2.0)).acc.tied


def test_minus_infinity_is_a_value() -> None:
    assert rank(problem(), exact(-math.inf, -5.0)).acc.choice == 1
    nothing = rank(problem(), exact(-math.inf, -math.inf))
    assert (nothing.acc.choice, nothing.acc.tied, nothing.acc.flip_probability) == (0, True, 0.0)


@pytest.mark.parametrize(
    ("choices", "gold", "estimates"),
    [
        (("a", "b"), 0, exact(-1.0)),
        (("a", "b"), 0, exact(-1.0, math.nan)),
        (("a", "b"), 0, exact(-1.0, math.inf)),
        (("a", "b"), 0, [LogLikelihood(-1.0, -0.1, 8, 1), *exact(-1.0)]),
        (("a", "b"), 2, exact(-1.0, -1.0)),
        (("a", ""), 0, exact(-1.0, -1.0)),
        ((), 0, []),
    ],
)
def test_what_cannot_be_ranked_is_refused(choices: tuple[str, ...], gold: int, estimates: list[LogLikelihood]) -> None:
    with pytest.raises(InputError, match="q1"):
        rank(problem(choices, gold), estimates)


def test_unknown_metric_is_refused() -> None:
    with pytest.raises(InputError, match="acc, acc_norm"):
        rank(problem(), exact(-1.0, -2.0)).score("f1")


values = st.lists(st.floats(-50, -0.1), min_size=2, max_size=5)


@settings(deadline=None)  # the first call imports scipy
@given(values, st.randoms(use_true_random=False), st.data())
def test_ranking_is_equivariant_under_permutation(numbers: list[float], random: object, data: st.DataObject) -> None:
    errors = data.draw(st.lists(st.floats(0, 3), min_size=len(numbers), max_size=len(numbers)))
    order = list(range(len(numbers)))
    random.shuffle(order)
    plain = decide(numbers, errors, 0)
    shuffled = decide([numbers[i] for i in order], [errors[i] for i in order], order.index(0))
    if not plain.tied:
        assert order[shuffled.choice] == plain.choice
        assert shuffled.correct is plain.correct
        assert shuffled.flip_probability == pytest.approx(plain.flip_probability, abs=1e-6)


@settings(deadline=None)
@given(values, st.floats(-20, 20), st.floats(0.1, 10))
def test_decision_survives_a_shift_and_a_positive_factor(numbers: list[float], shift: float, factor: float) -> None:
    gaps = sorted(numbers)
    if min((b - a for a, b in itertools.pairwise(gaps)), default=0.0) < 1e-6:
        return
    errors = [1.0] * len(numbers)
    changed = decide([factor * (v + shift) for v in numbers], [factor] * len(numbers), 0)
    plain = decide(numbers, errors, 0)
    assert changed.choice == plain.choice
    assert changed.flip_probability == pytest.approx(plain.flip_probability, abs=1e-6)


@given(st.lists(st.integers(1, 30), min_size=2, max_size=5), st.floats(0.01, 5))
def test_equal_likelihood_a_character_ties_whatever_the_lengths(lengths: list[int], rate: float) -> None:
    choices = tuple(chr(97 + i) * length for i, length in enumerate(lengths))
    ranked = rank(problem(choices, 0), exact(*(-rate * length for length in lengths)))
    normed = [-rate * length / length for length in lengths]
    assert ranked.acc_norm.choice == int(np.argmax(normed))
    assert ranked.acc.choice == int(np.argmin(lengths))


@settings(deadline=None)
@given(values, st.lists(st.floats(0, 5), min_size=5, max_size=5))
def test_flip_probability_is_a_probability_and_all_rivals_flip_no_less_than_one(
    numbers: list[float], errors: list[float]
) -> None:
    taken = decide(numbers, errors[: len(numbers)], 0)
    assert 0.0 <= taken.flip_probability <= 1.0
    if not taken.tied:
        assert taken.pair_flip_probability <= taken.flip_probability + 1e-6


@pytest.mark.parametrize(
    ("numbers", "errors"),
    [
        ([-1.0, -2.0], [0.5, 0.5]),
        ([-1.0, -1.2, -1.3, -4.0], [0.3, 0.1, 0.8, 2.0]),
        ([-1.0, -1.1, -1.2], [0.2, 0.0, 0.2]),
        ([-1.0, -1.1, -1.2], [0.0, 0.5, 0.2]),
        ([-1.0, -1.0, -1.0], [0.4, 0.4, 0.4]),
        ([-1.0, -1.001, -60.0], [1e-3, 1e-3, 10.0]),
    ],
)
def test_flip_probability_agrees_with_simulation(numbers: list[float], errors: list[float]) -> None:
    draws = np.random.default_rng(0).normal(numbers, np.sqrt(2) * np.array(errors), size=(400_000, len(numbers)))
    simulated = float((draws.argmax(axis=1) != 0).mean())
    assert flip_probability(numbers, errors, 0) == pytest.approx(simulated, abs=0.004)


def test_flip_probability_is_calibrated_for_another_seed() -> None:
    random = np.random.default_rng(1)
    predicted, flipped = [], []
    for _ in range(2000):
        truth = random.uniform(-12, 0, size=4)
        errors = random.uniform(0.2, 1.5, size=4)
        first, second = random.normal(truth, errors), random.normal(truth, errors)
        predicted.append(flip_probability(list(first), list(errors), int(first.argmax())))
        flipped.append(first.argmax() != second.argmax())
    assert np.mean(predicted) == pytest.approx(np.mean(flipped), abs=0.025)


def _shared_noise(random, truth, count, *, shared, own):
    """Estimates whose rounds share most of their noise, as continuations that share masks do."""
    common = random.normal(0, shared, size=(count, 1)) * random.uniform(0.8, 1.2, size=len(truth))
    rounds = truth + common + random.normal(0, own, size=(count, len(truth)))
    return rounds.mean(axis=0), rounds.std(axis=0, ddof=1) / np.sqrt(count), rounds.T


@pytest.mark.parametrize("choices", [2, 4])
@pytest.mark.parametrize("count", [4, 16])
def test_flip_probability_is_calibrated_where_noise_is_shared(choices: int, count: int) -> None:
    random = np.random.default_rng(2)
    predicted, alone, flipped = [], [], []
    for _ in range(1500):
        truth = random.uniform(-6, 0, size=choices)
        first, errors, rounds = _shared_noise(random, truth, count, shared=6.0, own=1.5)
        second, *_ = _shared_noise(random, truth, count, shared=6.0, own=1.5)
        best = int(first.argmax())
        predicted.append(flip_probability(list(first), list(errors), best, rounds=rounds.tolist()))
        alone.append(flip_probability(list(first), list(errors), best))
        flipped.append(first.argmax() != second.argmax())
    assert np.mean(predicted) == pytest.approx(np.mean(flipped), abs=0.03)
    assert np.mean(alone) > np.mean(flipped) + 0.05  # the bound without the rounds


@pytest.mark.parametrize(
    ("values", "errors", "rounds", "expected"),
    [
        # The same noise on both sides: no seed can turn them.
        ([-1.0, -2.0], [0.5, 0.5], [[-2.0, 0.0], [-3.0, -1.0]], 0.0),
        # One exact value: the other's noise alone. t with one degree of freedom at 1 / (sqrt 2 * 1) = 0.304.
        ([-1.0, -2.0], [0.0, 1.0], [[], [-3.0, -1.0]], 0.3041),
        # Minus infinity never comes first.
        ([-1.0, -math.inf], [0.5, 0.0], [[-2.0, 0.0], []], 0.0),
    ],
)
def test_shared_rounds_in_closed_form(values, errors, rounds, expected) -> None:
    assert flip_probability(values, errors, 0, rounds=rounds) == pytest.approx(expected, abs=1e-4)


def test_rounds_that_do_not_fit_together_are_left_aside() -> None:
    values, errors = [-1.0, -2.0], [0.5, 0.5]
    alone = flip_probability(values, errors, 0)
    for rounds in ([[], []], [[-2.0, 0.0], [-2.0]], [[-1.0], [-2.0]], [[-2.0, 0.0], []]):
        assert flip_probability(values, errors, 0, rounds=rounds) == alone


def test_unknown_standard_errors_give_an_unknown_flip_probability() -> None:
    assert math.isnan(flip_probability([-1.0, -2.0], [math.nan, 0.1], 0))
    assert flip_probability([-1.0], [1.0], 0) == 0.0


class Stub:
    """A model whose likelihoods are a fixed function of the text."""

    name = "stub"

    def __init__(self, answer: object = None) -> None:
        self.answer = answer

    def log_likelihood(self, requests, *, monte_carlo, seed):
        assert isinstance(monte_carlo, MonteCarlo)
        assert isinstance(seed, int)
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return self.answer
        return [[LogLikelihood(-len(c), 0.0, 0, 1) for c in request.continuations] for request in requests]


def test_evaluation_asks_once_and_ranks_every_problem() -> None:
    scores = evaluate_choices(Stub(), [problem(), problem(gold=0)], monte_carlo=MonteCarlo(8, 8), seed=3)
    assert [score.acc.correct for score in scores] == [False, True]
    assert evaluate_choices(Stub(), []) == []
    assert all(score.decision(metric).choice == 0 for score in scores for metric in METRICS[:1])


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        (object(), "no log_likelihood"),
        (Stub(RuntimeError("out of memory")), "out of memory"),
        (Stub([]), "0 rows for 1 requests"),
        (Stub(7), "a int"),
        (Stub([[LogLikelihood(-1.0, 0.0, 0, 1)]]), "1 estimates for request 0"),
        (Stub([[-1.0, -2.0]]), "LogLikelihood"),
    ],
)
def test_a_generator_that_breaks_its_contract_is_named(generator: object, message: str) -> None:
    with pytest.raises(GeneratorError, match=message):
        evaluate_choices(generator, [problem()])
