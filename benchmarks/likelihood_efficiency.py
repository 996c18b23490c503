"""Noise for the time: Monte Carlo likelihoods against LLaDA's script, on the same random weights and real vocabulary.

Run:  python benchmarks/likelihood_efficiency.py [--lengths 8 32 64] [--samples 32] [--repeats 6]

For each target length the baseline (LLaDA's ``get_loglikelihood``, written out in tests/oracles.py: full head, one
target at a time) and the engine's two schemes score the same target with equally many draws, under several seeds.
Printed is the spread over seeds times the seconds of one estimate, and the baseline's over the engine's. The sharpness
of the weights decides how much of the spread lies between tokens and how much between contexts.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fixtures.checkpoints import make_llada_checkpoint
from specref_core.generator import LikelihoodRequest, MonteCarlo
from specref_core.likelihood import encode_pair, masked_log_likelihood
from specref_core.models.llada import load_llada
from tests.oracles import official_log_likelihood

if TYPE_CHECKING:
    from collections.abc import Callable

_TEXT = "The model reads both directions; 12 + 30 = 42 hens. Let x^2 + 3x = 10, so return numbers[i] or False. " * 4


def main() -> None:
    """Measure and print."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        model, tokenizer = load_llada(
            make_llada_checkpoint(
                Path(folder),
                hidden_size=options.width,
                layers=options.layers,
                heads=options.width // 64,
                mlp_size=3 * options.width,
                vocab_size=126464,
                scale=options.sharpness * options.width**-0.5,
            )
        )
    print(
        f"random LLaDA: {options.layers} layers of width {options.width}, vocabulary 126464, float32, "
        f"{torch.get_num_threads()} threads; {options.samples} draws in batches of {options.batch}, "
        f"{options.repeats} seeds, {options.clock} clock"
    )
    for length in options.lengths:
        context, target = _pair(tokenizer, options.prompt_length, length)
        prompt_ids, target_ids = encode_pair(tokenizer, context, target)
        request = LikelihoodRequest(context, (target,))

        def official(seed: int, prompt: list[int] = prompt_ids, ids: list[int] = target_ids) -> float:
            torch.manual_seed(seed)
            value, _ = official_log_likelihood(
                model,
                torch.tensor(prompt),
                torch.tensor(ids),
                samples=options.samples,
                batch=options.batch,
                mask_id=model.config.mask_token_id,
            )
            return value

        def engine(seed: int, scheme: str, request: LikelihoodRequest = request) -> float:
            choices = MonteCarlo(options.samples, options.batch, scheme)
            return float(masked_log_likelihood(model, tokenizer, [request], monte_carlo=choices, seed=seed)[0][0].value)

        measured = _race(
            {
                "official script": official,
                "engine, systematic": lambda seed, score=engine: score(seed, "systematic"),
                "engine, uniform": lambda seed, score=engine: score(seed, "uniform"),
            },
            options,
        )
        print(f"target of {len(target_ids)} tokens after {len(prompt_ids)}:")
        base = measured["official script"]
        for name, (seconds, spread, mean) in measured.items():
            ratio = base[0] * base[1] / (seconds * spread)
            print(
                f"  {name}: mean {mean:.2f} nats, standard error {spread:.3f}, {seconds:.2f} s; "
                f"standard error x seconds {ratio:.2f} times better than the official script (asked: 2)"
            )


def _pair(tokenizer: Any, prompt: int, length: int) -> tuple[str, str]:
    """Return a context and a target of about as many tokens as asked."""
    ids = tokenizer(_TEXT, add_special_tokens=False)["input_ids"]
    return tokenizer.decode(ids[:prompt]), tokenizer.decode(ids[prompt : prompt + length])


def _race(
    runs: dict[str, Callable[[int], float]], options: argparse.Namespace
) -> dict[str, tuple[float, float, float]]:
    """Run the contestants in turn; return seconds an estimate, spread over seeds and mean of each."""
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    values: dict[str, list[float]] = {name: [] for name in runs}
    for seed in range(options.repeats):
        for name, run in runs.items():
            start = clock()
            values[name].append(run(seed))
            seconds[name].append(clock() - start)
    return {
        name: (statistics.median(seconds[name]), float(np.std(values[name], ddof=1)), float(np.mean(values[name])))
        for name in runs
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--sharpness", type=float, default=1.0)
    parser.add_argument("--prompt-length", type=int, default=48)
    parser.add_argument("--lengths", type=int, nargs="+", default=[8, 32, 64])
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: seconds of processor time")
    return parser.parse_args()


if __name__ == "__main__":
    main()
