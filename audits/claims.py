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
        decided_by="Holm over benchmarks; tables: Fisher exact, Newcombe; samples: exact McNemar, Tango",
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
        decided_by="tables: Fisher exact, Newcombe interval; samples: exact McNemar with Holm, Tango interval",
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
        decided_by="interval of highest minus lowest score: Newcombe for tables, Tango for samples",
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
        decided_by="pipeline minus refiner at the fewest and at the most steps, intervals of both",
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
        decided_by="a pair of systems in one order by likelihood and in the other by generation, both beyond noise",
        hazard=True,
    ),
    Claim(
        id="structure-lifts",
        statement="Kept structure lifts accuracy more than as many draft tokens kept at random.",
        source="finding 1; section 5, open question on scaffolds",
        family="scaffold-controls",
        direction=1,
        margin=0.0,
        unit="points",
        needs=("samples", "draft", "project", "refine"),
        decided_by="exact McNemar, Tango interval, at equal count of kept tokens",
        hazard=False,
    ),
    Claim(
        id="confident-tokens-lift",
        statement="Tokens kept for their low entropy lift accuracy more than as many tokens of structure.",
        source="finding 1, the other explanation: what is kept is the drafter's answer",
        family="scaffold-controls",
        direction=1,
        margin=0.0,
        unit="points",
        needs=("samples", "draft", "project", "refine"),
        decided_by="exact McNemar, Tango interval, at equal count of kept tokens",
        hazard=False,
    ),
    Claim(
        id="structural-failures",
        statement="At eight steps most failures of standalone diffusion on code are failures of form.",
        source="section 4.1",
        family="failures",
        direction=1,
        margin=50.0,
        unit="points",
        needs=("samples", "components"),
        decided_by="share of failures that do not parse, are badly indented or use undefined names, exact interval",
        hazard=False,
    ),
    Claim(
        id="answers-copied",
        statement="Most right answers of the pipeline were written by the drafter and never hidden from the refiner.",
        source="beyond the paper: an answer that survives the mask is no refinement",
        family="copied-answers",
        direction=1,
        margin=50.0,
        unit="points",
        needs=("samples", "traces"),
        decided_by="share of right answers whose tokens were all kept, exact interval",
        hazard=True,
    ),
    Claim(
        id="entropy-predicts-error",
        statement="A draft's entropy tells wrong drafts from right ones.",
        source="section 2.2, the premise of the mask",
        family="entropy",
        direction=1,
        margin=0.5,
        unit="area",
        needs=("samples", "traces"),
        decided_by="area under the ROC curve, Newcombe interval",
        hazard=False,
    ),
    Claim(
        id="adaptive-k-helps",
        statement="Hiding fewer tokens of confident drafts lifts accuracy over a fixed k.",
        source="section 5, lesson 3",
        family="adaptive-k",
        direction=1,
        margin=0.0,
        unit="points",
        needs=("samples", "draft", "project", "refine"),
        decided_by="exact McNemar, Tango interval",
        hazard=False,
    ),
    Claim(
        id="programs-never-end",
        statement="More than one in twenty generated programs never ends.",
        source="section 3.3, pitfall 2",
        family="termination",
        direction=1,
        margin=5.0,
        unit="points",
        needs=("samples",),
        decided_by="share of programs stopped at the time limit, exact interval",
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
    Claim(
        id="speculation-greedy-exact",
        statement="Greedy block speculation writes what the target alone writes, token for token.",
        source="arXiv 2606.11552, abstract: the rejection-sampling exactness contract",
        family="exactness",
        direction=0,
        margin=0.0,
        unit="prompts",
        needs=("generate",),
        decided_by="identity of token sequences on every prompt",
        hazard=False,
    ),
    Claim(
        id="speculation-sampled-exact",
        statement="Sampled block speculation writes texts from the target's own distribution.",
        source="arXiv 2606.11552, abstract: the rejection-sampling exactness contract",
        family="exactness",
        direction=0,
        margin=0.0,
        unit="share",
        needs=("generate",),
        decided_by="Pearson chi-square on short outputs, with 80 % power on a planted violation",
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
