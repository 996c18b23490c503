"""A claim tested on one system and one benchmark: what was concluded, and on what evidence."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum


class Outcome(str, Enum):
    """What a test of a claim concluded. Both decided outcomes need evidence; everything else is inconclusive."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one claim on one system and one benchmark, with its evidence.

    Attributes:
        claim: the claim's id in ``audits.claims``.
        system: what was tested; ``published`` tables are named by paper and column.
        benchmark: on what.
        outcome: reproduced, not reproduced, or inconclusive.
        effect: the effect's size, in the unit that ``unit`` names.
        low: lower end of the 95 % interval of the effect; ``None`` where arithmetic decides without one.
        high: upper end.
        n: problems, cells or pairs the effect was measured on.
        p_value: of the test named in ``test``; ``None`` where arithmetic decides.
        test: the name of the test or rule that decided.
        unit: ``points``, ``share``, ``nats``, ``seconds``, ``cells`` …
        reason: one sentence for a person.
        n_needed: for an inconclusive verdict, the n that would decide at 80 % power; ``None`` elsewhere.
        signature: the signature of the measurement, or the name of the table it was read from.
    """

    claim: str
    system: str
    benchmark: str
    outcome: Outcome
    effect: float | None
    low: float | None
    high: float | None
    n: int
    p_value: float | None = None
    test: str = ""
    unit: str = "points"
    reason: str = ""
    n_needed: int | None = None
    signature: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What identifies a verdict in the record: claim, system, benchmark."""
        return (self.claim, self.system, self.benchmark)

    def as_dict(self) -> dict[str, object]:
        """Return plain data for JSON; the outcome becomes its text."""
        return {**asdict(self), "outcome": self.outcome.value}
