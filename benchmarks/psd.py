"""PSD on the embedded refiner: tokens a forward, row-forwards and seconds, against the undrafted greedy sampler.

Run:  python benchmarks/psd.py [--problems 100] [--split test] [--families arithmetic ...] [--warm]

Greedy commits one token a forward, as in the PSD paper. Accuracy is compared problem by problem, with the exact 95 %
interval of the paired difference; TPF counts tokens before the end of the answer, and a batched pass is one forward.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from audits.statistics.paired import compare_paired
from fixtures.nano import drafter_dir, refiner_dir
from fixtures.nano.tasks import CANVAS, TRAINED, problems
from protocols.measure import measure
from protocols.scoring import ScoringSettings
from specref_core.decoding.psd import PsdSettings
from specref_core.decoding.unmask_policies import Factor, FixedCount, Hierarchy, Threshold
from specref_core.drafting.transformers import TransformersDrafter
from specref_core.generator import Budget
from specref_core.psd_refiner import PsdRefiner
from specref_core.specref import SpecRef
from specref_core.standalone import RefinerSettings, StandaloneRefiner

if TYPE_CHECKING:
    from specref_core.generator import Generator, Trace

# Depth 3 is the paper's recommendation. Drafts under a threshold are guessed with a lower one.
SYSTEMS = {
    "greedy": None,
    "strict, one a step, depth 3": PsdSettings(FixedCount(1), depth=3),
    "strict, one a step, depth 7": PsdSettings(FixedCount(1), depth=7),
    "threshold 0.9, undrafted": PsdSettings(Threshold(0.9), depth=0),
    "strict, threshold 0.9, depth 3": PsdSettings(Threshold(0.9), depth=3, drafting=Threshold(0.6)),
    "relaxed, one a step, depth 7": PsdSettings(FixedCount(1), depth=7, acceptance="relaxed"),
    "relaxed, threshold 0.9, depth 3": PsdSettings(Threshold(0.9), 3, "relaxed", Threshold(0.6)),
    "relaxed, threshold 0.9, depth 7": PsdSettings(Threshold(0.9), 7, "relaxed", FixedCount(2)),
    "relaxed, factor 1, depth 3": PsdSettings(Factor(1.0), 3, "relaxed", Factor(2.0)),
    "relaxed, hierarchy, depth 3": PsdSettings(Hierarchy(), 3, "relaxed", Hierarchy(0.2, 0.8)),
}


def main() -> None:
    """Measure and print, family by family."""
    options = _options()
    torch.set_num_threads(1)
    loaded = StandaloneRefiner.from_pretrained(refiner_dir(), dtype="float32")
    drafter = TransformersDrafter.from_pretrained(drafter_dir(), dtype="float32") if options.warm else None
    for family in options.families:
        records = problems(family, options.split, options.seed, options.problems)
        print(f"{family}, {options.split} split, n = {len(records)}, canvas {CANVAS[family]}, float32, 1 thread:")
        greedy: list[bool] = []
        base = 0.0
        for name, speculation in SYSTEMS.items():
            if options.only and not any(part in name for part in ("greedy", *options.only)):
                continue
            settings = RefinerSettings(batch_size=options.batch)
            refiner = (
                StandaloneRefiner(loaded.model, loaded.tokenizer, settings)
                if speculation is None
                else PsdRefiner(loaded.model, loaded.tokenizer, settings, psd=speculation)
            )
            system: Generator = (
                refiner if drafter is None else SpecRef(drafter, refiner, name=f"specref+{refiner.name}")
            )
            scores = measure(
                system,
                records,
                # S is the canvas: the schedule commits one token a step, which is greedy decoding.
                budget=Budget(steps=CANVAS[family], max_new_tokens=CANVAS[family]),
                settings=ScoringSettings(pipeline="raw", timeout=2.0),
                batch_size=options.batch,
                traces=True,
            )
            right = [sample.score.correct for sample in scores.samples]
            greedy, base = (greedy, base) if greedy else (right, scores.cost.seconds)
            difference = compare_paired(right, greedy)
            written = sum(_written(sample.trace) for sample in scores.samples)
            cost = scores.cost
            print(
                f"  {name:<32} TPF {written / cost.forward_passes:5.2f}  passes {cost.forward_passes / scores.n:5.1f}  "
                f"row-forwards {cost.row_forwards / scores.n:6.1f}  {cost.seconds / scores.n * 1000:6.0f} ms "
                f"(x{base / cost.seconds:.2f})  accuracy {100 * scores.value:5.1f}  against greedy "
                f"{100 * difference.effect:+.1f} [{100 * difference.low:+.1f}, "
                f"{100 * difference.high:+.1f}]",
                flush=True,
            )


def _written(trace: Trace) -> int:
    """Return how many hidden positions before the end of the answer were filled."""
    end = max((i + 1 for i, piece in enumerate(trace.final_tokens) if piece), default=0)
    return sum(trace.masked[:end])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--split", choices=("dev", "test"), default="test")
    parser.add_argument("--seed", type=int, default=20_261_122)
    parser.add_argument("--families", nargs="+", choices=TRAINED, default=list(TRAINED))
    parser.add_argument("--batch", type=int, default=1, help="canvases a pass; 1 for honest seconds a problem")
    parser.add_argument("--warm", action="store_true", help="refine the embedded drafter's drafts: specref+psd")
    parser.add_argument("--only", nargs="+", help="systems whose name contains one of these, beside greedy")
    return parser.parse_args()


if __name__ == "__main__":
    main()
