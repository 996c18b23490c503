"""A system whose cells are written down instead of measured, for tests of what audits conclude from them."""

from __future__ import annotations

from audits.live_systems import MissingCapabilityError
from protocols.score import Failure, Score
from protocols.scores import SampleScore, Scores
from protocols.signature import Signature
from specref_core.generator import Budget, Cost

WRONG = Failure.WRONG_ANSWER


class WrittenSystem:
    """Cells by (role, benchmark, steps): a list of verdicts, ``True`` or the failure."""

    name = "written"

    def __init__(self, cells, traces=None, steps=(8, 64)):
        self.cells = cells
        self.steps = steps
        self.traces = traces or {}
        self.asked = []

    @property
    def fewest(self):
        return self.steps[0]

    @property
    def most(self):
        return self.steps[-1]

    def has_part(self, role):
        return any(key[0] == role for key in self.cells)

    def part(self, role):
        if not self.has_part(role):
            raise MissingCapabilityError(f"no {role}")
        return self

    def warm_start(self, rule):
        return rule if isinstance(rule, str) else rule.describe()

    def measure(self, role, benchmark, steps):
        self.part(role)
        self.asked.append((role, benchmark, steps))
        key = (role, benchmark, steps)
        verdicts = [None if v is True else WRONG if v is False else v for v in self.cells[key]]
        traces = self.traces.get(key, [None] * len(verdicts))
        samples = tuple(
            SampleScore(f"t/{i}", 0, "", Score(v is None, v), Cost(steps or 0, steps or 0, 1, 0, 0.1, 1e9), trace)
            for i, (v, trace) in enumerate(zip(verdicts, traces, strict=True))
        )
        signature = Signature.of(system=role, benchmark=benchmark, steps=steps)
        return Scores(role, benchmark, Budget(steps=steps), samples, len(samples), signature)


def shares(right, n=80):
    """Return ``right`` right verdicts and then wrong ones."""
    return [True] * right + [False] * (n - right)
