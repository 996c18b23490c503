"""A written system whose samples also say what they cost and what they wrote."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from tests.audits.measured_cells import WrittenSystem


class ToldSystem(WrittenSystem):
    """Written cells with costs, texts and references of the problems, each a list by problem."""

    source = "custom"

    def __init__(self, cells, *, traces=None, costs=None, texts=None, references=(), steps=(8, 64)):
        super().__init__(cells, traces, steps)
        self.costs = costs or {}
        self.texts = texts or {}
        self.references = references

    def benchmark(self, name):  # noqa: ARG002 - one benchmark is written
        return SimpleNamespace(problems=[SimpleNamespace(reference=text) for text in self.references])

    def measure(self, role, benchmark, steps, *, first=None):
        scores, key = super().measure(role, benchmark, steps), (role, benchmark, steps)
        samples = list(scores.samples)
        for name, table in (("cost", self.costs), ("text", self.texts)):
            if key in table:
                samples = [replace(s, **{name: told}) for s, told in zip(samples, table[key], strict=True)]
        return replace(scores, samples=tuple(samples[:first]), planned=len(samples[:first]))
