"""Time the projection of token values between two tokenizations, against a plain loop over tokens.

Run ``python benchmarks/alignment_speed.py``. The baseline walks both token lists once with two indices, which is the
best a loop can do; a loop over all pairs would not end.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from specref_core.alignment import mend_spans, project


def two_pointer_loop(values: list[float], source: list[list[int]], target: list[list[int]]) -> list[float]:
    """Project by a loop: the overlap-weighted mean, for spans without gaps or overlaps."""
    result, i = [], 0
    for start, end in target:
        while source[i][1] <= start:
            i += 1
        total, weight, j = 0.0, 0, i
        while j < len(source) and source[j][0] < end:
            overlap = min(end, source[j][1]) - max(start, source[j][0])
            total += overlap * values[j]
            weight += overlap
            j += 1
        result.append(total / weight)
    return result


def random_tokens(rng: np.random.Generator, length: int, mean_length: float) -> np.ndarray:
    """Cut ``length`` characters into tokens of ``mean_length`` characters on average."""
    edges = np.unique(np.concatenate([[0, length], rng.integers(1, length, int(length / mean_length))]))
    return np.stack([edges[:-1], edges[1:]], axis=1)


def best_of(repeats: int, function, *arguments) -> tuple[float, object]:  # noqa: ANN001, ANN002 - any function
    """Return the fastest of some runs, seconds, and the last result."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        result = function(*arguments)
        times.append(time.perf_counter() - started)
    return min(times), result


def main() -> None:
    """Print seconds and ratios for texts of growing length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--characters", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    lengths = parser.parse_args().characters
    rng = np.random.default_rng(0)
    print("characters  source tokens  target tokens  project, s  loop, s  times faster  mend_spans, s")
    for length in lengths:
        source, target = random_tokens(rng, length, 3.0), random_tokens(rng, length, 3.6)
        values = rng.random(len(source))
        fast, projected = best_of(5, project, values, source, target)
        slow, looped = best_of(1, two_pointer_loop, values.tolist(), source.tolist(), target.tolist())
        np.testing.assert_allclose(projected, looped)
        mending, _ = best_of(3, mend_spans, source, "abcd " * (length // 5 + 1))
        print(
            f"{length:>10,}  {len(source):>13,}  {len(target):>13,}  {fast:>10.4f}  {slow:>7.3f}  "
            f"{slow / fast:>12.1f}  {mending:>13.4f}"
        )


if __name__ == "__main__":
    main()
