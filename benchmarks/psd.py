"""PSD on the embedded refiner: tokens a forward by policy, depth and acceptance, against the undrafted greedy sampler.

Run:  python -m benchmarks.psd [--split dev] [--problems 200] [--families code arithmetic] [--warm] [--json FILE]

Greedy commits one token a forward, as in the PSD paper. TPF counts hidden tokens filled before the end of the answer; a
batched pass is one forward, whose rows are counted beside it. Accuracy is compared problem by problem, with the 95 %
interval of the paired difference; *within* says that it lies in the 95 % interval of greedy's own accuracy, *above* and
*below* that it does not.
``--warm`` refines the embedded drafter's drafts (``specref+psd``). Settings were chosen on dev problems.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from audits.statistics.paired import compare_paired
from audits.statistics.proportions import wilson
from fixtures.nano import drafter_dir, refiner_dir
from fixtures.nano.tasks import CANVAS, TRAINED, problems
from protocols.measure import measure
from protocols.scoring import ScoringSettings
from specref_core.decoding.psd import PsdSettings
from specref_core.decoding.unmask_policies import Factor, FixedCount, Hierarchy, LeftToRight, Threshold
from specref_core.drafting.transformers import TransformersDrafter
from specref_core.generator import Budget
from specref_core.psd_refiner import PsdRefiner, filled
from specref_core.specref import SpecRef
from specref_core.standalone import RefinerSettings, StandaloneRefiner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protocols.problems import Problem
    from protocols.scores import Scores
    from specref_core.decoding.unmask_policies import UnmaskPolicy
    from specref_core.generator import Generator

# What a step commits, and what drafts guess with.
POLICIES: dict[str, tuple[UnmaskPolicy, UnmaskPolicy]] = {
    "one a step": (FixedCount(1), FixedCount(1)),
    "left to right": (LeftToRight(), LeftToRight()),
    "threshold 0.9": (Threshold(0.9), Threshold(0.6)),
    "threshold 0.7": (Threshold(0.7), Threshold(0.4)),
    "factor 1": (Factor(1.0), Factor(2.0)),
    "hierarchy": (Hierarchy(), Hierarchy(0.2, 0.8)),
}
DEPTHS = (3, 7)  # the paper recommends 3
TREES = ((4, 32), (8, 64))  # alternatives, states
TREE_DEPTH = 31


@dataclass(frozen=True, slots=True)
class Line:
    """One system on one family.

    Attributes:
        family: of problems.
        system: policy, depth and acceptance.
        n: problems.
        tokens_per_forward: over all problems together.
        passes: forward passes a problem.
        row_forwards: rows a problem.
        seconds: a problem.
        accuracy: share solved.
        difference: to greedy, problem by problem.
        low: of its 95 % interval.
        high: of its 95 % interval.
        place: where the accuracy lies, *within* greedy's own 95 % interval, *above* or *below* it.
    """

    family: str
    system: str
    n: int
    tokens_per_forward: float
    passes: float
    row_forwards: float
    seconds: float
    accuracy: float
    difference: float
    low: float
    high: float
    place: str

    def __str__(self) -> str:
        return (
            f"  {self.system:<34} TPF {self.tokens_per_forward:5.2f}  passes {self.passes:5.1f}  rows "
            f"{self.row_forwards:6.1f}  {1000 * self.seconds:6.0f} ms  accuracy {100 * self.accuracy:5.1f}  greedy "
            f"{100 * self.difference:+.1f} [{100 * self.low:+.1f}, {100 * self.high:+.1f}]  "
            f"{self.place}"
        )


def systems() -> Iterator[tuple[str, PsdSettings | None]]:
    """Yield names and settings; greedy, which is the undrafted sampler, first."""
    yield "greedy", None
    for name, (policy, guess) in POLICIES.items():
        yield f"{name}, undrafted", PsdSettings(policy, depth=0)
        for acceptance in ("strict", "relaxed"):
            if acceptance == "relaxed" and policy == guess == LeftToRight():
                continue  # with one token a step in a known order both rules ask the same
            for depth in DEPTHS:
                yield f"{name}, {acceptance}, chain of {depth}", PsdSettings(policy, depth, acceptance, guess)
            for alternatives, states in TREES:
                tree = PsdSettings(policy, TREE_DEPTH, acceptance, guess, alternatives=alternatives, most_states=states)
                yield f"{name}, {acceptance}, tree of {states}", tree
        if isinstance(policy, Threshold):
            careful = PsdSettings(policy, DEPTHS[-1], "relaxed", guess, floor=policy.threshold)
            yield f"{name}, relaxed, chain of {DEPTHS[-1]}, floor {policy.threshold:g}", careful


def main() -> None:
    """Measure and print, family by family."""
    options = _options()
    torch.set_num_threads(1)
    refiner = StandaloneRefiner.from_pretrained(options.refiner or refiner_dir(), dtype="float32")
    drafter = TransformersDrafter.from_pretrained(drafter_dir(), dtype="float32") if options.warm else None
    chosen = [(name, how) for name, how in systems() if how is None or any(part in name for part in options.only)]
    lines: list[Line] = []
    for family in options.families:
        records = problems(family, options.split, options.seed, options.problems)
        start = "warm start" if drafter else "from nothing"
        print(f"{family}, {options.split}, seed {options.seed}, n = {len(records)}, {start}, float32, 1 thread:")
        greedy: Scores | None = None
        for name, how in chosen:
            scores = measured(_system(refiner, drafter, how, options.batch), family, records, options.batch)
            greedy = greedy or scores
            lines.append(_line(family, name, scores, greedy))
            print(lines[-1], flush=True)
    if options.json:
        content = {"split": options.split, "seed": options.seed, "warm": options.warm, "lines": [*map(asdict, lines)]}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def measured(system: Generator, family: str, records: list[Problem], batch: int) -> Scores:
    """Return the scores of one system; S is the canvas, so that the schedule commits one token a step."""
    return measure(
        system,
        records,
        budget=Budget(steps=CANVAS[family], max_new_tokens=CANVAS[family]),
        settings=ScoringSettings(pipeline="raw", timeout=2.0),
        batch_size=batch,
        traces=True,
    )


def _system(
    loaded: StandaloneRefiner, drafter: TransformersDrafter | None, how: PsdSettings | None, batch: int
) -> Generator:
    settings = RefinerSettings(batch_size=batch)
    refiner = (
        StandaloneRefiner(loaded.model, loaded.tokenizer, settings)
        if how is None
        else PsdRefiner(loaded.model, loaded.tokenizer, settings, psd=how)
    )
    return refiner if drafter is None else SpecRef(drafter, refiner, name=f"specref+{refiner.name}")


def _line(family: str, name: str, scores: Scores, greedy: Scores) -> Line:
    right, base = ([sample.score.correct for sample in some.samples] for some in (scores, greedy))
    difference, own = compare_paired(right, base), wilson(sum(base), len(base))
    passes = sum(sample.cost.forward_passes for sample in scores.samples)
    return Line(
        family,
        name,
        scores.n,
        sum(filled(sample.trace) for sample in scores.samples) / max(1, passes),
        passes / scores.n,
        scores.cost.row_forwards / scores.n,
        scores.cost.seconds / scores.n,
        scores.value,
        difference.effect,
        difference.low,
        difference.high,
        "below" if scores.value < own.low else "above" if scores.value > own.high else "within",
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=200, help="a family")
    parser.add_argument("--split", choices=("dev", "test"), default="dev", help="dev while anything is being chosen")
    parser.add_argument("--seed", type=int, default=20_261_122, help="of the problems")
    parser.add_argument("--families", nargs="+", choices=TRAINED, default=["code", "arithmetic"])
    parser.add_argument("--batch", type=int, default=1, help="canvases a pass; 1 for honest seconds a problem")
    parser.add_argument("--warm", action="store_true", help="refine the embedded drafter's drafts: specref+psd")
    parser.add_argument("--only", nargs="+", default=[""], help="systems whose name has one of these, beside greedy")
    parser.add_argument("--refiner", type=Path, help="another refiner's folder")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    return parser.parse_args()


if __name__ == "__main__":
    main()
