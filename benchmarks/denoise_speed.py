"""Speed of the reverse process against the official sampler, on the same random weights with LLaDA's real vocabulary.

Run:  python benchmarks/denoise_speed.py [--steps 64] [--gen-length 64] [--prompt-length 64] [--repeats 3]

Prints, each as a ratio of medians measured in this run:
- standalone: LLaDA's ``generate.py`` (as written out in tests/oracles.py: full canvas, full head, every step) against
  the engine, same S, and whether the outputs are equal;
- warm start: the engine from nothing against the engine from a draft of the same length of which 60 % is masked;
- overhead: the engine against the bare forward passes it makes, head included at the same positions.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fixtures.checkpoints import make_llada_checkpoint
from specref_core.cost import ModelShape, denoise_flops, forward_flops
from specref_core.decoding.denoise import DenoiseSettings, denoise
from specref_core.models.llada import load_llada
from tests.oracles import official_denoise

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def main() -> None:
    """Measure and print."""
    options = _options()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        model, _ = load_llada(
            make_llada_checkpoint(
                Path(folder),
                hidden_size=options.width,
                layers=options.layers,
                heads=options.width // 64,
                mlp_size=3 * options.width,
                vocab_size=126464,
                scale=options.width**-0.5,
            )
        )
    mask, shape = model.config.mask_token_id, ModelShape.of(model.config)
    prompt = torch.randint(0, 126464, (1, options.prompt_length))
    blank = torch.cat([prompt, torch.full((1, options.gen_length), mask)], dim=1)
    print(
        f"random LLaDA: {options.layers} layers of width {options.width}, vocabulary 126464, float32, "
        f"{torch.get_num_threads()} threads; prompt {options.prompt_length}, canvas {options.gen_length}, "
        f"S = {options.steps}; medians of {options.repeats}, {options.clock} clock"
    )
    for block in sorted({options.gen_length, options.block_length}):
        settings = DenoiseSettings(steps=options.steps, block_length=block)
        seconds, results = _race(
            {
                "official": lambda block=block: official_denoise(
                    model,
                    prompt,
                    steps=options.steps,
                    gen_length=options.gen_length,
                    block_length=block,
                    mask_id=mask,
                ),
                "engine": lambda settings=settings: denoise(model, blank, settings=settings),
            },
            options,
        )
        ours = results["engine"]
        cost = denoise_flops(
            shape, length=blank.shape[1], row_forwards=int(ours.row_forwards.sum()), head_rows=int(ours.head_rows.sum())
        )
        full = options.steps * forward_flops(shape, length=blank.shape[1])
        print(
            f"standalone, block {block}: official sampler {seconds['official']:.2f} s, engine {seconds['engine']:.2f} s"
        )
        print(
            f"  speed-up over the official sampler: {seconds['official'] / seconds['engine']:.2f} (asked: 1.5), "
            f"in operations {full / cost:.2f}; outputs equal: {bool((results['official'] == ours.ids).all())}"
        )

    settings = DenoiseSettings(steps=options.steps)
    for length in sorted({options.gen_length, options.draft_length}):
        draft = torch.cat([prompt, torch.randint(0, 126464, (1, length))], dim=1)
        masked = torch.zeros_like(draft, dtype=torch.bool)
        masked[0, torch.randperm(length)[: round(0.6 * length)] + options.prompt_length] = True
        seconds, results = _race(
            {
                "standalone": lambda: denoise(model, blank, settings=settings),
                "warm": lambda draft=draft, masked=masked: denoise(model, draft, masked, settings=settings),
                "bare": lambda: _bare(model, blank, settings),
            },
            options,
        )
        print(f"warm start, k = 60 % of a draft of {length}, against a standalone canvas of {options.gen_length}:")
        for name in ("standalone", "warm"):
            print(f"  {name} engine {seconds[name]:.2f} s in {int(results[name].forward_passes)} passes")
        print(f"  speed-up over the standalone engine: {seconds['standalone'] / seconds['warm']:.2f} (asked: 2.5)")
        overhead = seconds["standalone"] / seconds["bare"] - 1
        print(f"  overhead of the standalone engine over its bare forward passes: {overhead:+.1%} (asked: below 5 %)")


def _race(runs: dict[str, Callable[[], Any]], options: argparse.Namespace) -> tuple[dict[str, float], dict[str, Any]]:
    """Run the contestants in turn, so that a busy machine slows all of them; return median seconds and results."""
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    results = {}
    for _ in range(options.repeats):
        for name, run in runs.items():
            start = clock()
            with torch.no_grad():
                results[name] = run()
            seconds[name].append(clock() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}, results


def _bare(model: Any, canvas: Tensor, settings: DenoiseSettings) -> None:
    """Make the passes of a standalone run without choosing anything: each with its head, mask after mask."""
    hidden = canvas == model.config.mask_token_id
    places = hidden[0].nonzero().flatten()
    per_step = -(-len(places) // settings.steps)
    for first in range(0, len(places), per_step):
        model(canvas, head_positions=hidden)
        hidden[0, places[first : first + per_step]] = False


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--prompt-length", type=int, default=64)
    parser.add_argument("--gen-length", type=int, default=64)
    parser.add_argument("--draft-length", type=int, default=48)
    parser.add_argument("--block-length", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: seconds of processor time")
    return parser.parse_args()


if __name__ == "__main__":
    main()
