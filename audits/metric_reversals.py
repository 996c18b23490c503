"""Whether a second metric over the same outputs puts two systems in another order than the first, with evidence.

A reversal needs evidence on both sides: the first metric puts one system ahead beyond noise, and the second metric the
other. Among m systems there are m(m-1)/2 chances for it, so that Holm's correction runs over all pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from audits.claims import claim
from audits.live_verdicts import WORTHWHILE
from audits.statistics import Comparison, compare_paired, holm, n_needed_scaling
from audits.statistics.bounded import mean_difference
from audits.statistics.judging import ALPHA
from audits.verdicts import Outcome, Verdict
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Pair:
    """Two systems under two metrics.

    Attributes:
        ahead: the system that leads by the first metric; where it ties them, the one that trails by the second.
        behind: the other.
        lead: of ``ahead`` by the first metric, 0 or more.
        overtaken: lead of ``behind`` by the second metric: positive where the order is reversed.
        shift: what changing the metric adds to ``behind`` and takes from ``ahead``, halved: the mean of both leads. It
            knows what they do not, how often the metrics differ at all.
    """

    ahead: str
    behind: str
    lead: Comparison
    overtaken: Comparison
    shift: Comparison

    @property
    def p_value(self) -> float:
        """Of the weaker of the two leads: both must be real. 1 where the order is not reversed."""
        if self.lead.effect <= 0 or self.overtaken.effect <= 0:
            return 1.0
        return max(self.lead.p_value, self.overtaken.p_value)

    @property
    def size(self) -> float:
        """The smaller of the two leads: how far the order is reversed; negative where it is not."""
        return min(self.lead.effect, self.overtaken.effect)

    def excluded(self, worthwhile: float) -> bool:
        """Tell whether a reversal by that much, in either direction, is outside the intervals."""
        sides = (self.lead, self.overtaken, self.shift)
        this_way = min(side.high for side in sides) <= worthwhile
        other_way = min(-side.low for side in sides) <= worthwhile
        return this_way and other_way


def compare_orders(first: Mapping[str, Sequence[bool]], second: Mapping[str, Sequence[bool]]) -> list[Pair]:
    """Compare every two systems under both metrics, problem by problem.

    Args:
        first: by system, (n,) whether each output is right by the metric that is trusted.
        second: the same outputs by the other metric.

    Raises:
        InputError: the metrics were not taken of the same systems, or there are fewer than two.
    """
    if set(first) != set(second) or len(first) < 2:
        raise InputError(f"systems {sorted(first)} and {sorted(second)}: expected the same ones, at least two")
    pairs = []
    for one, other in combinations(first, 2):
        lead = compare_paired(first[one], first[other])
        overtaken = compare_paired(second[other], second[one])
        rows = zip(first[one], first[other], second[one], second[other], strict=True)
        shift = mean_difference([((a - b) - (x - y)) / 2 for a, b, x, y in rows])
        if lead.effect < 0 or (lead.effect == 0 and overtaken.effect < 0):
            pairs.append(Pair(other, one, lead.reversed(), overtaken.reversed(), shift.reversed()))
        else:
            pairs.append(Pair(one, other, lead, overtaken, shift))
    return pairs


def judge_orders(
    first: Mapping[str, Sequence[bool]],
    second: Mapping[str, Sequence[bool]],
    *,
    claim_id: str,
    system: str,
    benchmark: str,
    metrics: tuple[str, str],
    signature: object,
) -> Verdict:
    """Judge whether the second metric reverses the order of any two systems.

    Reproduced: some pair is reversed, both leads clear 0 and the pair's p-value survives Holm. Not reproduced: no pair
    can be reversed by :data:`audits.live_verdicts.WORTHWHILE` or more. The verdict's effect is the lead, by the second
    metric, of the system that trails by the first, in the pair that is most reversed (or nearest to it).

    Args:
        first: as for :func:`compare_orders`.
        second: as there.
        claim_id: of the claim, its direction is +1 and its margin 0.
        system: what was tested.
        benchmark: on what.
        metrics: names of the two metrics for the reason.
        signature: of the measurement.
    """
    pairs = compare_orders(first, second)
    adjusted = holm([pair.p_value for pair in pairs])
    worst = min(range(len(pairs)), key=lambda i: (adjusted[i], -pairs[i].size))
    pair = pairs[worst]
    reversed_pairs = [i for i, p in enumerate(pairs) if p.lead.low > 0 and p.overtaken.low > 0 and adjusted[i] <= ALPHA]
    if reversed_pairs:
        outcome = Outcome.REPRODUCED
    elif all(p.excluded(WORTHWHILE) for p in pairs):
        outcome = Outcome.NOT_REPRODUCED
    else:
        outcome = Outcome.INCONCLUSIVE
        # What keeps the question open is the pair whose reversal is least excluded.
        if pair.size <= 0:
            pair = max((p for p in pairs if not p.excluded(WORTHWHILE)), key=lambda p: p.size)
    return Verdict(
        claim=claim_id,
        system=system,
        benchmark=benchmark,
        outcome=outcome,
        effect=100 * pair.overtaken.effect,
        low=100 * pair.overtaken.low,
        high=100 * pair.overtaken.high,
        n=pair.overtaken.n,
        p_value=pair.p_value,
        test=f"exact McNemar under both metrics, Holm over {len(pairs)} pairs, Tango interval",
        unit=claim(claim_id).unit,
        reason=f"{pair.ahead} {_leading(pair)} by {metrics[0]}; the effect "
        f"is the lead of {pair.behind} by {metrics[1]}; {len(reversed_pairs)} of {len(pairs)} pairs reversed",
        n_needed=_needed(pair) if outcome is Outcome.INCONCLUSIVE else None,
        signature=str(signature),
    )


def _leading(pair: Pair) -> str:
    if pair.lead.effect == 0:
        return f"ties with {pair.behind}"
    return f"leads {pair.behind} by {100 * pair.lead.effect:.0f} points"


def _needed(pair: Pair) -> int:
    """Return the n at which the wider of the two leads would be decided."""
    found = [
        n_needed_scaling(side.effect, side.low, side.high, side.n, floor=WORTHWHILE) or 0
        for side in (pair.lead, pair.overtaken)
    ]
    return max(pair.lead.n + 1, *found)
