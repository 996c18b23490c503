"""Noise of Monte Carlo likelihoods: choices that change with the seed, and how many mask rounds would settle them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from audits.live_systems import DRAFTER, PIPELINE, REFINER, ROUNDS, MissingCapabilityError
from audits.live_verdicts import conclude_share
from audits.statistics import clopper_pearson, decide
from audits.statistics.bounded import mean_difference
from protocols.multiple_choice import rank
from protocols.problems import ChoiceProblem
from specref_core.generator import HasLogLikelihood, LogLikelihood, MonteCarlo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from audits.live_systems import LiveSystem
    from audits.verdicts import Verdict
    from protocols.multiple_choice import ChoiceScore
    from protocols.scores import Scores

SEED = 1
"""Of the repeat; the first measurement has seed 0."""
ROUNDS_SHOWN = (8, 16, 32, 64, 128, 256, 512, 1024)
SETTLED = 0.01
"""Share of changing choices below which rounds count as enough: one in a hundred."""
SINGLE_DRAWS = MonteCarlo(ROUNDS, 1)
"""As many rounds, each a draw of its own: then every estimate comes with a standard error."""
METRIC = "acc_norm"
NANO_REPEATED, NANO_ERRORS = 40, 24
"""Problems of the embedded pair that are measured again: its audits have seconds."""
_SIMULATED = 2000


def ranked_part(system: LiveSystem) -> str:
    """Return the part whose likelihoods are estimates: the refiner, or else the generator itself.

    Raises:
        MissingCapabilityError: neither can score given continuations.
    """
    for role in (REFINER, PIPELINE, DRAFTER):
        if system.has_part(role) and isinstance(system.part(role), HasLogLikelihood):
            return role
    raise MissingCapabilityError(
        f"{system.name!r} has no log_likelihood(requests, *, monte_carlo, seed); add it to enable this"
    )


def flips(system: LiveSystem, benchmark: str) -> Verdict:
    """Judge the share of choices that differ between two seeds."""
    role = ranked_part(system)
    first, second = repeated(system, benchmark, role)
    changed = sum(choice(a) != choice(b) for a, b in zip(first, second, strict=True))
    settled = rounds_to_settle(expected_flips(*(per_character(system, benchmark, side) for side in (first, second))))
    scores = system.measure(role, benchmark, None)
    right = [sum(one.decision(METRIC).correct for one in side) for side in (first, second)]
    return conclude_share(
        changed,
        len(first),
        claim_id="decisions-flip",
        system=f"{_named(system, role)}, {ROUNDS} rounds",
        benchmark=benchmark,
        reason=f"{changed} of {len(first)} choices differ between two seeds, of which {right[0]} and {right[1]} are "
        f"right; by the spread between them {_rounds(settled)} for fewer than one in a hundred to change",
        signature=scores.signature,
    )


def repeated(system: LiveSystem, benchmark: str, role: str) -> tuple[list[ChoiceScore], list[ChoiceScore]]:
    """Rank the choices with two seeds and return both rankings of the problems that both hold."""
    first = NANO_REPEATED if system.source == "nano" else None
    again = ranking(system, benchmark, system.repeat(role, benchmark, seed=SEED, first=first))
    return ranking(system, benchmark, system.measure(role, benchmark, None))[: len(again)], again


def ranking(system: LiveSystem, benchmark: str, scores: Scores) -> list[ChoiceScore]:
    """Return the rankings behind a measurement's choices, in the order of the problems."""
    problems = {p.task_id: p for p in system.benchmark(benchmark).problems if isinstance(p, ChoiceProblem)}
    return [
        rank(problems[sample.task_id], [LogLikelihood(*estimate) for estimate in json.loads(sample.text)])
        for sample in scores.samples
    ]


def choice(score: ChoiceScore) -> int:
    """Return the choice taken by the likelihood of a character."""
    return score.decision(METRIC).choice


def per_character(system: LiveSystem, benchmark: str, scores: Sequence[ChoiceScore]) -> list[NDArray[np.float64]]:
    """Return for each problem (choices,) the estimates that are compared: nats a character."""
    lengths = {
        p.task_id: np.array([len(text) for text in p.choices])
        for p in system.benchmark(benchmark).problems
        if isinstance(p, ChoiceProblem)
    }
    return [np.asarray(score.values) / lengths[score.task_id] for score in scores]


def expected_flips(
    first: Sequence[NDArray[np.float64]], second: Sequence[NDArray[np.float64]], *, seed: int = 0
) -> dict[int, float]:
    """Predict what share of choices would change between two seeds at other numbers of rounds.

    Two measurements of one problem differ by noise alone. What their difference has in common for all choices moves no
    decision and is taken out; the rest is the noise, normal and with a variance that falls as one over the rounds. The
    true values are taken to lie around the mean of both measurements with the noise that mean has.

    Args:
        first: for each problem (choices,) estimates at :data:`audits.live_systems.ROUNDS` rounds.
        second: the same with another seed.
        seed: of the simulation.

    Returns:
        By number of rounds the expected share of problems whose choice changes.
    """
    rng = np.random.default_rng(seed)
    totals = dict.fromkeys(ROUNDS_SHOWN, 0.0)
    for one, other in zip(first, second, strict=True):
        possible = np.isfinite(one) & np.isfinite(other)
        if possible.sum() < 2:
            continue
        a, b = one[possible], other[possible]
        difference = a - b - (a - b).mean()
        noise = float(np.sqrt((difference**2).sum() / (2 * (len(a) - 1))))
        if noise == 0:
            continue
        shape = (_SIMULATED, len(a))
        truth = (a + b) / 2 + noise / np.sqrt(2) * rng.standard_normal(shape)
        draws = rng.standard_normal((2, *shape))
        for rounds in ROUNDS_SHOWN:
            taken = (truth + noise * np.sqrt(ROUNDS / rounds) * draws).argmax(axis=2)
            totals[rounds] += float((taken[0] != taken[1]).mean())
    return {rounds: total / max(1, len(first)) for rounds, total in totals.items()}


def rounds_to_settle(expected: Mapping[int, float]) -> int | None:
    """Return the fewest rounds at which choices hardly change; ``None`` where no number looked at is enough."""
    return next((rounds for rounds, share in sorted(expected.items()) if share < SETTLED), None)


def held(system: LiveSystem, benchmark: str) -> Verdict | None:
    """Judge whether the flip probabilities that decisions carry agree with the choices that do change.

    Returns:
        The verdict; ``None`` where the estimates come without standard errors.
    """
    role = ranked_part(system)
    few = NANO_ERRORS if system.source == "nano" else None
    measured = [system.repeat(role, benchmark, seed=s, monte_carlo=SINGLE_DRAWS, first=few) for s in (0, SEED)]
    first, second = (ranking(system, benchmark, scores) for scores in measured)
    told = [score.decision(METRIC).flip_probability for score in first]
    if np.isnan(told).any():
        return None
    changed = [choice(a) != choice(b) for a, b in zip(first, second, strict=True)]
    seen = clopper_pearson(sum(changed), len(changed))
    return decide(
        mean_difference([p - c for p, c in zip(told, changed, strict=True)]),
        claim="flip-probability-holds",
        system=f"{_named(system, role)}, {ROUNDS} single draws",
        benchmark=benchmark,
        margin=0.10,
        direction=0,
        reason=f"{sum(told):.1f} changes expected, {sum(changed)} of {len(changed)} seen "
        f"({100 * seen.low:.0f}-{100 * seen.high:.0f} %); the effect is expected minus seen",
        signature=str(measured[0].signature),
        worthwhile=0.05,
    )


def figures(expected: Mapping[int, float], observed: float) -> Mapping[str, str]:
    """Return the share of choices that change, in percent: seen at the rounds measured, expected at others."""
    cells = {f"seen at {ROUNDS}": f"{100 * observed:.0f}"}
    return {**cells, **{str(rounds): f"{100 * share:.1f}" for rounds, share in expected.items()}}


def _named(system: LiveSystem, role: str) -> str:
    return system.name if role == PIPELINE else f"{system.name}'s {role}"


def _rounds(settled: int | None) -> str:
    return f"more than {ROUNDS_SHOWN[-1]} rounds are needed" if settled is None else f"{settled} rounds are enough"
