"""What the driver of a run on many workers can take in: samples written a second, batches sent and answered a second.

Both are the one process that docs/scale.md asks about: however many workers there are, every sample goes through its
ledger and every batch through its loop. The generators here answer at once, so that nothing else is measured.

    python benchmarks/scale_cost.py                  # the ledger's writer
    python benchmarks/scale_cost.py --ray --workers 2    # and the driver's loop, on a Ray started here

Printed are wall and CPU seconds: on a machine that does other work, too, the CPU rate is the one to carry elsewhere.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from protocols.engines.engine import Work
from protocols.engines.ray_engine import RayEngine
from protocols.ledger import Ledger, SampleKey
from protocols.problems import AnswerProblem
from protocols.score import Score
from protocols.scoring import ScoringSettings
from specref_core.generator import Budget, Completion, Cost

COST = Cost(64, 64, 64, 128, 6.79, 1e14)


class AtOnce:
    """Answers every prompt with a text of the usual length, without thinking."""

    name = "at-once"

    def fingerprint(self) -> str:
        """Nothing of it can change."""
        return "at-once"

    def generate(self, prompts: list[str], *, budget: Budget, seed: int) -> list[Completion]:
        """Answer."""
        del budget, seed
        return [Completion("    return x\n" * 40, COST) for _ in prompts]


def make() -> AtOnce:
    """Return the generator; Ray's workers load it by this name."""
    return AtOnce()


def write(samples: int, batch: int) -> None:
    """Store completions by the batch and verdicts one by one, as a measurement does."""
    score = Score(correct=True, extracted="def f(x):\n" + "    return x\n" * 40)
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".scale-") as folder, Ledger(Path(folder) / "l") as ledger:
        completion = Completion("    return x\n" * 40, COST)
        for start in range(0, samples, batch):
            keys = [
                SampleKey("at-once", "at-once", "gsm8k", f"{i:016x}", f"gsm8k/{i}", "steps:64|max-new-tokens:256", 0)
                for i in range(start, min(start + batch, samples))
            ]
            for key in keys:
                ledger.claim(key)
                ledger.find_score(key, "protocol:execution")
                ledger.find_completion(key)
            ledger.add_completions((key, completion) for key in keys)
            for key in keys:
                ledger.find_completion(key)
                ledger.add_score(key, "protocol:execution", score)
                ledger.release(key)


def stream(engine: RayEngine, batches: int, batch: int) -> None:
    """Send batches to workers that answer at once, and take every answer in."""
    problems = tuple(AnswerProblem("gsm8k", f"gsm8k/{i}", "question " * 60, "1") for i in range(batch))
    sent = taken = 0
    while taken < batches:
        while sent < batches and engine.capacity:
            engine.submit(Work(problems, Budget(64), 0, ScoringSettings()))
            sent += 1
        taken += engine.collect(timeout=1.0) is not None


def timed(run: Callable[[], None], rounds: int) -> tuple[float, float]:
    """Return the medians of wall and CPU seconds."""
    walls, cpus = [], []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(cpus)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ray", action="store_true", help="also the driver's loop; needs specref[cluster]")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    samples, batch = arguments.samples, arguments.batch_size
    wall, cpu = timed(lambda: write(samples, batch), arguments.rounds)
    print(f"ledger writer: {samples / wall:.0f} samples/s wall, {samples / cpu:.0f} a CPU second (batches of {batch})")
    if arguments.ray:
        target = f"{Path(__file__).resolve()}:make"
        with RayEngine(target, workers=arguments.workers, gpus_per_worker=0) as engine:
            batches = samples // batch
            wall, cpu = timed(lambda: stream(engine, batches, batch), arguments.rounds)
        print(
            f"driver's loop: {batches / wall:.0f} batches/s wall, {batches / cpu:.0f} a CPU second "
            f"(batches of {batch}, {arguments.workers} workers)"
        )


if __name__ == "__main__":
    main()
