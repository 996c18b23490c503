"""The exactness contract of speculative decoding: a faster sampler must not be another sampler.

Greedy: the text is that of the target alone, prompt for prompt. Sampled: short outputs have the target's distribution,
by a goodness-of-fit test that counts as evidence only with the power to see a small violation. The functions here see
token counts and probabilities, never a model.

A table of outcomes would be a weak test: most texts are seen once. So every verified token is turned into one number
that is uniform whatever stands before it (the randomized probability integral transform of the target's distribution at
its place), and the test asks whether these numbers are uniform. Tokens are ranked by how much more the target wants
them than the drafter does: a verifier that trusts its drafter too much, by whatever rule, then pushes the numbers up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from audits.verdicts import Outcome, Verdict
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

ALPHA = 0.001
"""A true contract fails this test once in a thousand runs of other seeds."""
POWER = 0.8
LEAST_EXPECTED = 5.0
"""Outcomes expected less often share one cell, as the chi-square approximation asks."""
_OTHERS = object()
BINS = 8
"""Cells of equal probability into which transformed tokens fall."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A goodness-of-fit test of samples against a known distribution.

    Attributes:
        n: samples.
        cells: outcomes told apart; the rare ones are one cell.
        distance: total variation between samples and distribution over those cells, in [0, 1].
        p_value: of Pearson's test; 0 where an impossible outcome was seen.
        impossible: samples that the distribution gives no chance.
    """

    n: int
    cells: int
    distance: float
    p_value: float
    impossible: int


def goodness_of_fit(counts: Mapping[Any, int], probabilities: Mapping[Any, float]) -> Fit:
    """Test whether samples come from a distribution.

    Args:
        counts: how often each outcome was seen.
        probabilities: of outcomes; what is left to 1 belongs to outcomes that are not named.

    Raises:
        InputError: there are no samples, or the probabilities are none.
    """
    n = sum(counts.values())
    total = math.fsum(probabilities.values())
    if n < 1 or total > 1 + 1e-6 or any(not p >= 0 for p in probabilities.values()):
        raise InputError(f"{n} samples against probabilities that add up to {total!r}: expected samples, and at most 1")
    common = [outcome for outcome, p in probabilities.items() if n * p >= LEAST_EXPECTED]
    rare = max(0.0, 1 - math.fsum(probabilities[outcome] for outcome in common))
    observed = np.array([*(counts.get(o, 0) for o in common), n - sum(counts.get(o, 0) for o in common)], dtype=float)
    expected = np.array([*(n * probabilities[o] for o in common), n * rare])
    whole = total > 1 - 1e-9
    impossible = sum(c for o, c in counts.items() if c and whole and probabilities.get(o, 0.0) == 0)
    distance = float(np.abs(observed - expected).sum() / (2 * n))
    if rare * n < LEAST_EXPECTED and len(common) > 0:  # too thin for a cell of its own: it joins the least common one
        least = int(np.argmin(expected[:-1]))
        observed[least], expected[least] = observed[least] + observed[-1], expected[least] + expected[-1]
        observed, expected = observed[:-1], expected[:-1]
    if len(expected) < 2:
        return Fit(n, len(expected), distance, 0.0 if impossible else 1.0, impossible)
    p_value = float(scipy.stats.chisquare(observed, expected * n / expected.sum()).pvalue)
    return Fit(n, len(expected), distance, 0.0 if impossible else p_value, impossible)


def power(
    probabilities: Mapping[Any, float],
    violated: Mapping[Any, float],
    n: int,
    *,
    alpha: float = ALPHA,
    rounds: int = 400,
    seed: int = 0,
) -> float:
    """Return how often the test rejects when samples come from another distribution, by simulation.

    Args:
        probabilities: what the test holds true.
        violated: where the samples come from.
        n: samples a test.
        alpha: level of the test.
        rounds: simulated tests.
        seed: of the simulation.
    """
    named = {o: p for o, p in probabilities.items() if n * p >= LEAST_EXPECTED}  # the others share a cell anyway
    outcomes = list(named)
    chances = np.array([*(violated.get(o, 0.0) for o in outcomes), 0.0])
    chances[-1] = max(0.0, 1 - chances.sum())
    drawn = np.random.default_rng(seed).multinomial(n, chances / chances.sum(), size=rounds)
    rejected = sum(
        goodness_of_fit(dict(zip([*outcomes, _OTHERS], row.tolist(), strict=True)), named).p_value < alpha
        for row in drawn
    )
    return rejected / rounds


@dataclass(frozen=True, slots=True, eq=False)
class VerifiedToken:
    """A token that was written at a drafted position, and what the two models gave there.

    Attributes:
        token: what was written.
        target: (vocab,) float64, the target's probabilities, from which it should be drawn.
        drafter: (vocab,) float64, the drafter's.
    """

    token: int
    target: NDArray[np.float64]
    drafter: NDArray[np.float64]


def lenient(target: NDArray[np.float64], drafter: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """Return what is written by a verifier that keeps drafts with probability ``min(1, factor * p / q)``.

    Args:
        target: (vocab,) p.
        drafter: (vocab,) q, from which drafts are drawn.
        factor: 1 is exact, more trusts the drafter too much.

    Returns:
        (vocab,) float64 probabilities.
    """
    kept = np.minimum(drafter, factor * target)
    rest = np.maximum(target - drafter, 0.0)
    total = rest.sum()
    law: NDArray[np.float64] = kept + (1 - kept.sum()) * (rest / total if total > 0 else target)
    return law


def _ranking(one: VerifiedToken) -> NDArray[np.int64]:
    """Return the tokens, those first that the target wants most beyond the drafter."""
    # log p - log q without the tokens that neither can write
    with np.errstate(divide="ignore", invalid="ignore"):
        wanted = np.log(one.target) - np.log(one.drafter)
    ranking: NDArray[np.int64] = np.argsort(-np.nan_to_num(wanted, nan=-np.inf), kind="stable")
    return ranking


def transformed(one: VerifiedToken, uniform: float) -> float:
    """Return a number in [0, 1) that is uniform if the token was drawn from the target's distribution.

    Args:
        one: the token and its place.
        uniform: in [0, 1), independent of everything, which spreads the token over its own probability.
    """
    order = _ranking(one)
    place = int(np.flatnonzero(order == one.token)[0])
    below = float(one.target[order[:place]].sum())
    return min(below + uniform * float(one.target[one.token]), 1 - 2**-53)


def cell_shares(one: VerifiedToken, violated: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (BINS,) how likely each cell is at this place if tokens come from another distribution.

    Args:
        one: the place; its token does not matter.
        violated: (vocab,) probabilities of the tokens, none of them where the target's is 0.
    """
    order = _ranking(one)
    exact, other = (np.append(0.0, np.cumsum(p[order])) for p in (one.target, violated))
    edges = np.linspace(0, 1, BINS + 1)
    shares: NDArray[np.float64] = np.diff(np.interp(edges, exact / exact[-1], other / other[-1]))
    return shares


def uniformity(tokens: Sequence[VerifiedToken], seed: int) -> Fit:
    """Test whether verified tokens come from the target's distributions at their places.

    Args:
        tokens: any number, of any texts: given what stands before it, each is a draw of its own.
        seed: of the numbers that spread tokens over their probabilities.
    """
    spread = np.random.default_rng(seed).random(len(tokens))
    counts = np.zeros(BINS, dtype=int)
    for one, uniform in zip(tokens, spread, strict=True):
        counts[int(BINS * transformed(one, float(uniform)))] += 1
    fit = goodness_of_fit(dict(enumerate(counts.tolist())), dict.fromkeys(range(BINS), 1 / BINS))
    impossible = sum(one.target[one.token] == 0 for one in tokens)
    return replace(fit, impossible=impossible, p_value=0.0) if impossible else fit


def power_against(tokens: Sequence[VerifiedToken], factor: float, *, seed: int = 0) -> float:
    """Return how often the test would see a verifier that trusts its drafter too much, at these very places.

    Args:
        tokens: the places; their tokens do not matter.
        factor: of the violation, see ``lenient``.
        seed: of the simulated tests.
    """
    shares = np.mean([cell_shares(one, lenient(one.target, one.drafter, factor)) for one in tokens], axis=0)
    flat = dict.fromkeys(range(BINS), 1 / BINS)
    return power(flat, dict(enumerate(shares.tolist())), len(tokens), seed=seed)


def greedy_verdict(
    alone: Sequence[Sequence[int]],
    speculated: Sequence[Sequence[int]],
    *,
    system: str,
    benchmark: str,
    claim: str = "speculation-greedy-exact",
) -> Verdict:
    """Return whether every text is the plain sampler's own; one difference breaks the contract.

    Args:
        alone: tokens of the target, or of the undrafted sampler, by prompt.
        speculated: tokens of the faster one.
        system: what was tested.
        benchmark: on which prompts.
        claim: ``speculation-greedy-exact`` or ``psd-strict-exact``.

    Raises:
        InputError: there are not as many of the one as of the other, or none.
    """
    if len(alone) != len(speculated) or not alone:
        raise InputError(f"{len(alone)} and {len(speculated)} texts: expected one of each a prompt, and a prompt")
    different = [i for i, (a, b) in enumerate(zip(alone, speculated, strict=True)) if tuple(a) != tuple(b)]
    whose = "the undrafted sampler's" if claim == "psd-strict-exact" else "the target's own"
    reason = f"{len(alone) - len(different)} of {len(alone)} greedy texts are {whose}, token for token"
    if different:
        reason += f"; the first that is not belongs to prompt {different[0]}"
    return Verdict(
        claim=claim,
        system=system,
        benchmark=benchmark,
        outcome=Outcome.NOT_REPRODUCED if different else Outcome.REPRODUCED,
        effect=float(len(different)),
        low=None,
        high=None,
        n=len(alone),
        test="identity of token sequences",
        unit="prompts",
        reason=reason,
    )


def sampled_verdict(fit: Fit, shown_power: float, *, system: str, benchmark: str, violation: str) -> Verdict:
    """Return whether sampled texts have the target's distribution.

    A fit that is not rejected is evidence only where the same number of samples shows the planted violation with a
    power of 80 %; else the verdict is inconclusive.

    Args:
        fit: of the samples.
        shown_power: against the planted violation.
        system: what was tested.
        benchmark: on which prompts.
        violation: the planted one, in words.
    """
    told = f"the test sees {violation} with a power of {100 * shown_power:.0f} %"
    if fit.p_value < ALPHA:
        outcome, needed = Outcome.NOT_REPRODUCED, None
        told = f"{fit.impossible} impossible outcomes; {told}" if fit.impossible else told
    elif shown_power >= POWER:
        outcome, needed = Outcome.REPRODUCED, None
    else:
        # The noncentrality grows with n; this is a floor, not a promise.
        outcome, needed = Outcome.INCONCLUSIVE, math.ceil(fit.n * POWER / max(shown_power, 0.05))
    return Verdict(
        claim="speculation-sampled-exact",
        system=system,
        benchmark=benchmark,
        outcome=outcome,
        effect=fit.distance,
        low=None,
        high=None,
        n=fit.n,
        p_value=fit.p_value,
        test="Pearson chi-square of transformed tokens",
        unit="share",
        reason=told,
        n_needed=needed,
    )


@dataclass(frozen=True, slots=True)
class DraftUse:
    """What became of drafted tokens.

    Attributes:
        acceptance_length: tokens written a round, the target's own included.
        accepted: share of rounds that kept the draft at each position, of those that had one there.
        right: share of rounds whose draft there was the token that was written in the end.
        wasted: share of right drafts that stood behind a first error.
        rounds: verified blocks.
    """

    acceptance_length: float
    accepted: tuple[float, ...]
    right: tuple[float, ...]
    wasted: float
    rounds: int


def draft_use(texts: Sequence[Sequence[int]], rounds: Sequence[Sequence[tuple[int, Sequence[int], int]]]) -> DraftUse:
    """Return what became of the drafts of some greedy texts.

    Args:
        texts: the tokens written.
        rounds: of each text: index of the first draft among the tokens, the drafts, how many were kept. Drafts behind
            the end of the text are neither right nor wrong.
    """
    slots = max((len(drafts) for some in rounds for _, drafts, _ in some), default=0)
    there, right, accepted = np.zeros(slots), np.zeros(slots), np.zeros(slots)
    written = count = 0
    for text, some in zip(texts, rounds, strict=True):
        for start, drafts, kept in some:
            inside = min(len(drafts), len(text) - start)
            there[:inside] += 1
            accepted[: min(kept, inside)] += 1
            right[:inside] += [a == b for a, b in zip(drafts[:inside], text[start:], strict=False)]
            written += min(kept + 1, len(text) - start)
            count += 1
    agreed = float(right.sum())
    return DraftUse(
        acceptance_length=written / count if count else math.nan,
        accepted=tuple((accepted / np.maximum(there, 1)).tolist()),
        right=tuple((right / np.maximum(there, 1)).tolist()),
        wasted=(agreed - float(accepted.sum())) / agreed if agreed else 0.0,
        rounds=count,
    )
