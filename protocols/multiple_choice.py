"""Protocol C: rank the choices of a problem by their likelihood, with the chance that noise decided.

``acc`` takes the choice of the largest summed log-likelihood; ``acc_norm`` divides each sum by the number of characters
of its choice, the delimiter not counted, as lm-evaluation-harness does. For models whose likelihood is a Monte Carlo
estimate both carry the probability that a run with another seed would have chosen differently.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from protocols.score import Failure, Score
from specref_core.errors import GeneratorError, InputError
from specref_core.generator import HasLogLikelihood, LikelihoodRequest, LogLikelihood, MonteCarlo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protocols.problems import ChoiceProblem
    from specref_core.generator import Generator

METRICS = ("acc", "acc_norm")
# Beyond nine standard errors a normal density holds less than 1e-18.
_WIDTH = 9.0
# Panels over the choice's density and over every rival's step, each with a Gauss-Legendre rule: good to 1e-9.
_DENSITY_PANELS = 48
_STEP_PANELS = 24
_NODES = 8
# A rival so much narrower than the choice is as good as exact.
_NARROWEST = 1e-7
# Fresh sets of estimates that are drawn where several rivals share their noise: good to half a point.
_DRAWS = 16_384


@dataclass(frozen=True, slots=True)
class Decision:
    """Which choice one metric takes.

    Attributes:
        choice: index of the choice taken; the lowest of the best where several tie.
        correct: whether it is the gold choice.
        tied: whether another choice has exactly the same value.
        flip_probability: probability that another Monte Carlo seed takes another choice; 0 where all values are exact,
            NaN where a standard error is unknown.
        runner_up: index of the second best choice; ``None`` for a single choice.
        pair_flip_probability: the same, with the runner-up as the only rival.
    """

    choice: int
    correct: bool
    tied: bool
    flip_probability: float
    runner_up: int | None
    pair_flip_probability: float


@dataclass(frozen=True, slots=True)
class ChoiceScore:
    """How the choices of one problem rank.

    Attributes:
        task_id: of the problem.
        gold: index of the right choice.
        acc: by summed log-likelihood.
        acc_norm: by log-likelihood per character.
        values: log p of every choice, nats.
        standard_errors: of ``values``, nats.
    """

    task_id: str
    gold: int
    acc: Decision
    acc_norm: Decision
    values: tuple[float, ...]
    standard_errors: tuple[float, ...]

    def decision(self, metric: str) -> Decision:
        """Return the decision by ``acc`` or ``acc_norm``.

        Raises:
            InputError: the metric is another.
        """
        if metric not in METRICS:
            raise InputError(f"metric={metric!r}: expected one of {', '.join(METRICS)}")
        return self.acc if metric == "acc" else self.acc_norm

    def score(self, metric: str = "acc_norm") -> Score:
        """Return one metric's decision as a score; ``extracted`` is the index of the choice taken."""
        taken = self.decision(metric)
        told = f"flip probability {taken.flip_probability:.3g}" + ("; tied, lowest index taken" if taken.tied else "")
        return Score(taken.correct, None if taken.correct else Failure.WRONG_ANSWER, str(taken.choice), told)


def split_boundary(context: str, continuation: str) -> tuple[str, str]:
    """Move blanks at the end of a context to the beginning of its continuation.

    Tokenizers join a blank to the word behind it, so a context that ends in one is not a prefix of the joint tokens.
    What the harnesses do, for every kind of white space.
    """
    stripped = context.rstrip()
    return stripped, context[len(stripped) :] + continuation


def choice_request(problem: ChoiceProblem) -> LikelihoodRequest:
    """Return the likelihood question of a problem: its context, and the delimiter and text of every choice.

    Raises:
        InputError: the problem has no choices, a blank one, or a gold index outside of them.
    """
    _check(problem)
    pairs = [split_boundary(problem.context, problem.delimiter + choice) for choice in problem.choices]
    return LikelihoodRequest(pairs[0][0], tuple(continuation for _, continuation in pairs))


def rank(problem: ChoiceProblem, estimates: Sequence[LogLikelihood]) -> ChoiceScore:
    """Rank the choices of a problem.

    Args:
        problem: the problem.
        estimates: one for each choice, in order; a value of minus infinity is allowed, NaN is not.

    Raises:
        InputError: the number of estimates is not that of the choices, or a value is NaN or plus infinity.
    """
    _check(problem)
    if len(estimates) != len(problem.choices):
        raise InputError(
            f"{problem.task_id}: {len(estimates)} estimates for {len(problem.choices)} choices; expected one a choice"
        )
    for index, estimate in enumerate(estimates):
        if math.isnan(estimate.value) or estimate.value == math.inf or estimate.standard_error < 0:
            raise InputError(
                f"{problem.task_id}: choice {index} has log-likelihood {estimate.value} ± {estimate.standard_error}; "
                "expected a number or minus infinity, and an error that is not negative"
            )
    values = [float(estimate.value) for estimate in estimates]
    errors = [float(estimate.standard_error) for estimate in estimates]
    rounds = [estimate.rounds for estimate in estimates]
    lengths = [len(choice) for choice in problem.choices]
    return ChoiceScore(
        problem.task_id,
        problem.gold,
        decide(values, errors, problem.gold, rounds=rounds),
        decide(
            [value / length for value, length in zip(values, lengths, strict=True)],
            [error / length for error, length in zip(errors, lengths, strict=True)],
            problem.gold,
            rounds=[[one / length for one in own] for own, length in zip(rounds, lengths, strict=True)],
        ),
        tuple(values),
        tuple(errors),
    )


def decide(
    values: Sequence[float],
    standard_errors: Sequence[float],
    gold: int,
    *,
    rounds: Sequence[Sequence[float]] | None = None,
) -> Decision:
    """Take the largest value, and say how firmly.

    Args:
        values: one a choice, any unit.
        standard_errors: of the values, in their unit; 0 for exact ones.
        gold: index of the right choice.
        rounds: the independent estimates behind every value, see :func:`flip_probability`.
    """
    choice = int(np.argmax(np.asarray(values)))
    rivals = [index for index in range(len(values)) if index != choice]
    runner_up = max(rivals, key=lambda index: values[index]) if rivals else None
    tied = runner_up is not None and values[runner_up] == values[choice]
    everyone = flip_probability(values, standard_errors, choice, rounds=rounds)
    pair = 0.0
    if runner_up is not None:
        two = [choice, runner_up]
        pair = flip_probability(
            [values[i] for i in two],
            [standard_errors[i] for i in two],
            0,
            rounds=None if rounds is None else [rounds[i] for i in two],
        )
    return Decision(choice, choice == gold, tied, everyone, runner_up, pair)


def flip_probability(
    values: Sequence[float],
    standard_errors: Sequence[float],
    choice: int,
    *,
    rounds: Sequence[Sequence[float]] | None = None,
) -> float:
    r"""Return the probability that fresh estimates would not put ``choice`` first.

    A fresh estimate differs from the one at hand by the noise of both, so its standard deviation around what was seen
    is :math:`\sqrt 2` standard errors. Where the rounds of all noisy values are known and equal in number, position i
    of each made with the same masks, the noise they share cancels, and the width of a difference is itself an
    estimate: differences follow Student's t with one degree of freedom less than rounds. Otherwise the estimates are
    taken as independent and normal, and the figure is an upper bound.

    Args:
        values: one a choice, any unit.
        standard_errors: of the values, in their unit; 0 for exact ones.
        choice: index of the one that is first.
        rounds: the independent estimates that each value is the mean of, in its unit; empty where not known.

    Returns:
        A probability; 0 where nothing is noisy, NaN where a standard error is NaN.
    """
    paired = _paired_rounds(values, standard_errors, choice, rounds)
    if paired is not None:
        return _paired_flip_probability(np.asarray(values, dtype=np.float64), paired, choice)
    means = np.asarray(values, dtype=np.float64)
    widths = np.sqrt(2.0) * np.asarray(standard_errors, dtype=np.float64)
    widths[widths < _NARROWEST * widths[choice]] = 0.0
    rivals = np.arange(len(means)) != choice
    possible = np.isfinite(means)
    if not possible[choice] or not (rivals & possible).any():
        return 0.0
    if np.isnan(widths[possible]).any():
        return math.nan
    rivals &= possible
    if not widths[possible].any():
        return 0.0
    noisy = rivals & (widths > 0)
    # Exact rivals are a threshold; equal to it counts as staying first, as the tie rule may or may not say.
    threshold = float(means[rivals & (widths == 0)].max(initial=-math.inf))
    if widths[choice] == 0:
        stays = float(np.prod(_below(means[choice], means[noisy], widths[noisy])))
    else:
        stays = _stays_first(means[choice], widths[choice], means[noisy], widths[noisy], threshold)
    return min(max(1.0 - stays, 0.0), 1.0)


def evaluate_choices(
    generator: Generator | HasLogLikelihood,
    problems: Sequence[ChoiceProblem],
    *,
    monte_carlo: MonteCarlo | None = None,
    seed: int = 0,
) -> list[ChoiceScore]:
    """Score multiple-choice problems by a generator's own likelihood.

    Args:
        generator: anything with ``log_likelihood``.
        problems: the problems.
        monte_carlo: how a masked model estimates; LLaDA's 128 samples by default.
        seed: of the masks.

    Raises:
        GeneratorError: the generator has no ``log_likelihood``, it raised, or returned something else than one
            estimate a choice.
    """
    name = repr(getattr(generator, "name", type(generator).__name__))
    if not isinstance(generator, HasLogLikelihood):
        raise GeneratorError(
            f"generator {name} cannot rank choices: it has no log_likelihood(requests, *, monte_carlo, seed) method"
        )
    requests = [choice_request(problem) for problem in problems]
    try:
        rows = generator.log_likelihood(requests, monte_carlo=monte_carlo or MonteCarlo(), seed=seed)
    except Exception as error:
        raise GeneratorError(f"generator {name} raised {type(error).__name__}: {error}") from error
    if not isinstance(rows, (list, tuple)) or len(rows) != len(requests):
        got = f"{len(rows)} rows" if isinstance(rows, (list, tuple)) else f"a {type(rows).__name__}"
        raise GeneratorError(f"generator {name}: log_likelihood returned {got} for {len(requests)} requests")
    for position, (row, request) in enumerate(zip(rows, requests, strict=True)):
        if len(row) != len(request.continuations) or not all(isinstance(e, LogLikelihood) for e in row):
            raise GeneratorError(
                f"generator {name}: log_likelihood returned {len(row)} estimates for request {position}; expected "
                f"{len(request.continuations)} LogLikelihood, one a continuation, in order"
            )
    return [rank(problem, row) for problem, row in zip(problems, rows, strict=True)]


def _paired_rounds(
    values: Sequence[float], errors: Sequence[float], choice: int, rounds: Sequence[Sequence[float]] | None
) -> np.ndarray | None:
    """Return (rounds, choices), exact choices constant; ``None`` where the rounds are not complete."""
    if rounds is None or not math.isfinite(values[choice]):
        return None
    noisy = {len(own) for own, value, error in zip(rounds, values, errors, strict=True) if error and value > -math.inf}
    if len(noisy) != 1 or min(noisy) < 2:
        return None
    count = min(noisy)
    columns = [
        own if error and value > -math.inf else [value] * count
        for own, value, error in zip(rounds, values, errors, strict=True)
    ]
    return np.asarray(columns, dtype=np.float64).T


def _paired_flip_probability(values: np.ndarray, rounds: np.ndarray, choice: int) -> float:
    """Return the probability that some rival is ahead of the choice when all rounds are drawn again."""
    from scipy.special import stdtr

    rivals = np.flatnonzero((np.arange(len(values)) != choice) & np.isfinite(values))
    if not len(rivals):
        return 0.0
    count = len(rounds)
    leads = values[choice] - values[rivals]
    differences = rounds[:, [choice]] - rounds[:, rivals]
    noise = (differences - differences.mean(axis=0)) * math.sqrt(2.0 / (count * (count - 1)))
    widths = np.sqrt((noise**2).sum(axis=0))
    scale = np.abs(rounds).max()
    noisy = widths > _NARROWEST * scale  # what is left below that is rounding: the same noise on both sides
    if not noisy.any():
        return 0.0
    leads, noise, widths = leads[noisy], noise[:, noisy], widths[noisy]
    each = stdtr(count - 1, -leads / widths)
    if len(each) == 1:
        return float(each[0])
    # All rivals together: drawn, with a generator of its own so that equal estimates give equal figures, and held
    # between what the likeliest rival alone and all of them one by one would give, which are exact.
    random = np.random.default_rng(0)
    common = np.sqrt((count - 1) / random.chisquare(count - 1, size=(_DRAWS, 1)))
    behind = (leads + random.standard_normal((_DRAWS, count)) @ noise * common < 0).any(axis=1)
    return float(np.clip(behind.mean(), each.max(), min(each.sum(), 1.0)))


def _check(problem: ChoiceProblem) -> None:
    if not problem.choices or any(not choice for choice in problem.choices):
        raise InputError(f"{problem.task_id}: choices {problem.choices!r}; expected at least one, none of them empty")
    if not 0 <= problem.gold < len(problem.choices):
        raise InputError(f"{problem.task_id}: gold={problem.gold} is no index of {len(problem.choices)} choices")


def _below(x: float, means: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Return the probability that each normal variable lies below ``x``."""
    return np.array([0.5 * math.erfc((m - x) / (w * math.sqrt(2.0))) for m, w in zip(means, widths, strict=True)])


def _stays_first(mean: float, width: float, means: np.ndarray, widths: np.ndarray, threshold: float) -> float:
    """Integrate the density of the choice's fresh value times the probability that all others lie below it."""
    from scipy.special import ndtr

    low, high = max(mean - _WIDTH * width, threshold), mean + _WIDTH * width
    if low >= high:
        return 0.0
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    steps = (means[:, None] + widths[:, None] * np.linspace(-_WIDTH, _WIDTH, _STEP_PANELS + 1)).ravel()
    edges = np.unique(np.clip(np.concatenate([np.linspace(low, high, _DENSITY_PANELS + 1), steps]), low, high))
    half = (edges[1:] - edges[:-1]) / 2
    x = ((edges[1:] + edges[:-1]) / 2)[:, None] + half[:, None] * nodes[None, :]
    density = np.exp(-0.5 * ((x - mean) / width) ** 2) / (width * math.sqrt(2 * math.pi))
    below = np.ones_like(x)
    for other, spread in zip(means, widths, strict=True):
        below *= ndtr((x - other) / spread)
    return float((density * below * weights[None, :] * half[:, None]).sum())
