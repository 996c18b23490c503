"""Every claim that an audit decides: what it says, where it stands, and when it counts as reproduced."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim, in the words of this project.

    Attributes:
        id: stable name, as verdicts carry it.
        statement: one sentence.
        source: place in the SpecRef paper, or the public report behind it.
        family: claims tested together; Holm's correction is applied inside a family's tests on one source.
        direction: +1 where the claim says its effect is positive, -1 where negative, 0 where it says they agree.
        margin: smallest effect the claim speaks of, in ``unit``; for direction 0 the tolerance.
        unit: of effect and margin.
        needs: what a source must offer, ``scores``, ``samples``, ``latency``, or a capability's method.
        decided_by: the test or rule, in a few words.
        hazard: whether the claim names something that can hurt a user's score; guard mode tests these only.
    """

    id: str
    statement: str
    source: str
    family: str
    direction: int
    margin: float
    unit: str
    needs: tuple[str, ...]
    decided_by: str
    hazard: bool


_ALL = (
    Claim(
        id="strip-destroys",
        statement="Stripping a completion destroys correct code without an error that anybody sees.",
        source="section 3.3, pitfall 1; section 5, lesson 1",
        family="post-processing",
        direction=1,
        margin=5.0,
        unit="points",
        needs=("samples",),
        decided_by="share of correct completions lost, exact interval",
        hazard=True,
    ),
    Claim(
        id="dedent-destroys",
        statement="Dedenting a completion destroys correct code without an error that anybody sees.",
        source="section 3.3, pitfall 1; section 5, lesson 1",
        family="post-processing",
        direction=1,
        margin=5.0,
        unit="points",
        needs=("samples",),
        decided_by="share of correct completions lost, exact interval",
        hazard=True,
    ),
    Claim(
        id="stop-sequences-destroy",
        statement="Cutting at the paper's own three stop strings destroys correct code.",
        source="section 3.3, pitfall 1 (the remedy)",
        family="post-processing",
        direction=1,
        margin=5.0,
        unit="points",
        needs=("samples",),
        decided_by="share of correct completions lost, exact interval",
        hazard=True,
    ),
    Claim(
        id="extract-keeps",
        statement="Extracting the answer keeps correct code, whatever the form of the output.",
        source="control of section 3.3, pitfall 1",
        family="post-processing",
        direction=0,
        margin=5.0,
        unit="points",
        needs=("samples",),
        decided_by="share of correct completions lost, exact interval within the margin",
        hazard=False,
    ),
    Claim(
        id="possible-scores",
        statement="Every printed percentage is a whole number of the benchmark's problems.",
        source="Tables 1 and 2",
        family="arithmetic",
        direction=0,
        margin=0.0,
        unit="cells",
        needs=("scores",),
        decided_by="granularity (GRIM), exact arithmetic",
        hazard=False,
    ),
    Claim(
        id="derived-figures",
        statement="The differences and speed-ups in the text follow from the tables.",
        source="abstract, section 4.1, Table 3",
        family="arithmetic",
        direction=0,
        margin=0.0,
        unit="points",
        needs=("scores", "latency"),
        decided_by="interval arithmetic over the printed decimals",
        hazard=False,
    ),
    Claim(
        id="above-at-every-step",
        statement="The pipeline scores above standalone diffusion at every step count.",
        source="section 4.2 and Table 1",
        family="arithmetic",
        direction=1,
        margin=0.0,
        unit="points",
        needs=("scores",),
        decided_by="smallest printed difference",
        hazard=False,
    ),
    Claim(
        id="scaffold-lift",
        statement="At eight steps a warm start lifts accuracy over standalone diffusion.",
        source="finding 1; section 4.1",
        family="scaffold-lift",
        direction=1,
        margin=0.0,
        unit="points",
        needs=("scores",),
        decided_by="Fisher exact with Holm over benchmarks, Newcombe interval",
        hazard=False,
    ),
    Claim(
        id="refinement-tension",
        statement="The pipeline scores below its own better component.",
        source="finding 2; section 4.2; section 5, lesson 3",
        family="refinement-tension",
        direction=-1,
        margin=0.0,
        unit="points",
        needs=("scores",),
        decided_by="Fisher exact, Newcombe interval",
        hazard=True,
    ),
    Claim(
        id="step-swing",
        statement="Accuracy of one model swings by more than 30 points across step counts.",
        source="section 4.4; section 5, lesson 5",
        family="steps",
        direction=1,
        margin=30.0,
        unit="points",
        needs=("scores",),
        decided_by="Newcombe interval of highest minus lowest score",
        hazard=True,
    ),
    Claim(
        id="step-reversal",
        statement="Which of two systems is better depends on the step count chosen for the comparison.",
        source="section 4.4; section 5, lesson 5",
        family="steps",
        direction=1,
        margin=0.0,
        unit="points",
        needs=("scores",),
        decided_by="pipeline minus refiner at the fewest and at the most steps, both exact tests",
        hazard=True,
    ),
    Claim(
        id="rankings-differ",
        statement="Likelihood and generation rank drafter and refiner differently.",
        source="finding 3; section 4.3; section 5, lesson 4",
        family="rankings",
        direction=-1,
        margin=0.0,
        unit="points",
        needs=("scores",),
        decided_by="drafter minus refiner by generation, Fisher exact, where likelihood ranks the drafter first",
        hazard=True,
    ),
    Claim(
        id="step-cost",
        statement="A refinement step costs as much as a standalone step, as the cost L*C_AR + S*C_D says.",
        source="section 2.4 against Table 3",
        family="cost",
        direction=0,
        margin=0.25,
        unit="ratio",
        needs=("latency",),
        decided_by="least squares of seconds on steps, Student-t interval",
        hazard=False,
    ),
    Claim(
        id="drafter-share",
        statement="The drafter takes less than 1 % of the generation time.",
        source="section 3.1 against Table 3",
        family="cost",
        direction=-1,
        margin=0.0,
        unit="seconds",
        needs=("latency",),
        decided_by="intercept of least squares, Student-t interval",
        hazard=False,
    ),
    Claim(
        id="latency-is-linear",
        statement="Standalone latency is proportional to the number of steps.",
        source="section 2.4 and Table 3",
        family="cost",
        direction=0,
        margin=0.05,
        unit="share",
        needs=("latency",),
        decided_by="intercept of least squares as a share of the shortest latency",
        hazard=False,
    ),
    Claim(
        id="baseline-as-published",
        statement="The standalone baseline scores within 2.5 points of what the model's own authors report.",
        source="Table 1, S=64, against LLaDA's EVAL.md",
        family="cross-paper",
        direction=0,
        margin=2.5,
        unit="points",
        needs=("scores",),
        decided_by="difference to the nearest of the authors' scores, Newcombe interval",
        hazard=False,
    ),
)

CLAIMS: Mapping[str, Claim] = MappingProxyType({claim.id: claim for claim in _ALL})
"""All claims by id, in the order of the report."""


def claim(id_: str) -> Claim:
    """Return a claim by id.

    Raises:
        InputError: no claim has this id.
    """
    if id_ not in CLAIMS:
        raise InputError(f"no claim {id_!r}; known claims: {', '.join(CLAIMS)}")
    return CLAIMS[id_]
