"""Noise of Monte Carlo likelihoods: choices that change with the seed, and how many mask rounds would settle them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from audits.live_systems import DRAFTER, PIPELINE, REFINER, ROUNDS, MissingCapabilityError
from audits.live_verdicts import conclude_share
from audits.statistics import clopper_pearson, decide
from audits.statistics.bounded import mean_difference
from protocols.likelihoods import from_json
from protocols.multiple_choice import rank
from protocols.problems import ChoiceProblem
from specref_core.generator import HasLogLikelihood, MonteCarlo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audits.live_systems import LiveSystem
    from audits.verdicts import Verdict
    from protocols.multiple_choice import ChoiceScore
    from protocols.scores import Scores

SEED = 1
"""Of the repeat; the first measurement has seed 0."""
ROUNDS_SHOWN = (16, 32, 64, 128)
"""Other numbers of rounds that changes are foretold for, up to LLaDA's own 128."""
SETTLED = (0.05, 0.01)
"""Shares of changing choices that are asked for: one in twenty, one in a hundred."""
SINGLE_DRAWS = MonteCarlo(ROUNDS, 1)
"""As many rounds, each a draw of its own: then every estimate comes with a standard error."""
METRIC = "acc_norm"
NANO_REPEATED, NANO_ERRORS = 40, 24
"""Problems of the embedded pair that are measured again: its audits have seconds."""
MOST_REPEATED = 400
"""Problems of any other system that are measured again: two points of noise, whatever the benchmark's size."""


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
    scores = system.measure(role, benchmark, None)
    right = [sum(one.decision(METRIC).correct for one in side) for side in (first, second)]
    return conclude_share(
        changed,
        len(first),
        claim_id="decisions-flip",
        system=f"{_named(system, role)}, {ROUNDS} rounds",
        benchmark=benchmark,
        reason=f"{changed} of {len(first)} choices differ between two seeds, of which {right[0]} and {right[1]} are "
        f"right; {_settling(changed / len(first))}",
        signature=scores.signature,
    )


def repeated(system: LiveSystem, benchmark: str, role: str) -> tuple[list[ChoiceScore], list[ChoiceScore]]:
    """Rank the choices with two seeds and return both rankings of the problems that both hold."""
    first = NANO_REPEATED if system.source == "nano" else MOST_REPEATED
    again = ranking(system, benchmark, system.repeat(role, benchmark, seed=SEED, first=first))
    return ranking(system, benchmark, system.measure(role, benchmark, None))[: len(again)], again


def ranking(system: LiveSystem, benchmark: str, scores: Scores) -> list[ChoiceScore]:
    """Return the rankings behind a measurement's choices, in the order of the problems."""
    problems = {p.task_id: p for p in system.benchmark(benchmark).problems if isinstance(p, ChoiceProblem)}
    return [rank(problems[sample.task_id], from_json(sample.text)) for sample in scores.samples]


def choice(score: ChoiceScore) -> int:
    """Return the choice taken by the likelihood of a character."""
    return score.decision(METRIC).choice


def expected_share(seen: float, rounds: int) -> float:
    """Return the share of choices that would change at another number of rounds.

    Noise falls with the square root of the rounds, and so does the share of problems whose two best choices lie within
    it, where such gaps are spread evenly near 0. For noise as large as the gaps themselves the rule says too much.

    Args:
        seen: share that changed at :data:`audits.live_systems.ROUNDS` rounds.
        rounds: the other number.
    """
    return min(1.0, seen * math.sqrt(ROUNDS / rounds))


def rounds_to_settle(seen: float, *, below: float) -> int:
    """Return the rounds from which fewer than a share of the choices should change, by :func:`expected_share`."""
    return max(ROUNDS, math.ceil(ROUNDS * (seen / below) ** 2 - 1e-9))


def held(system: LiveSystem, benchmark: str) -> Verdict | None:
    """Judge whether the flip probabilities that decisions carry agree with the choices that do change.

    Returns:
        The verdict; ``None`` where the estimates come without standard errors.
    """
    role = ranked_part(system)
    few = NANO_ERRORS if system.source == "nano" else MOST_REPEATED
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


def figures(changed: int, n: int) -> Mapping[str, str]:
    """Return the percentage of choices that change: seen at the rounds measured, expected at others."""
    seen = clopper_pearson(changed, n)
    cells = {"n": str(n), f"seen at {ROUNDS}": f"{100 * changed / n:.0f} ({100 * seen.low:.0f}-{100 * seen.high:.0f})"}
    return {**cells, **{f"at {rounds}": f"{100 * expected_share(changed / n, rounds):.1f}" for rounds in ROUNDS_SHOWN}}


def _named(system: LiveSystem, role: str) -> str:
    return system.name if role == PIPELINE else f"{system.name}'s {role}"


def _settling(seen: float) -> str:
    if not seen:
        return "none would change at more"
    few, fewer = (f"{rounds_to_settle(seen, below=share):,}" for share in SETTLED)
    return f"about {few} rounds for one in twenty and {fewer} for one in a hundred"
