"""Generators that audits must tell for what they are; each factory is a target for ``--generator``."""

from __future__ import annotations

import random
import time

from audits.live_systems import load_benchmark
from specref_core.generator import Completion


class Lookup:
    """Knows every reference of two of the embedded pair's families."""

    name = "perfect"

    def __init__(self):
        loaded = [load_benchmark(b, limit=None, seed=0, data_dir=None) for b in ("nano-code", "nano-arithmetic")]
        self.known = {problem.prompt: problem.reference for benchmark in loaded for problem in benchmark.problems}

    def generate(self, prompts, *, budget, seed):  # noqa: ARG002 - a perfect generator needs neither
        return [Completion(self.write(prompt)) for prompt in prompts]

    def write(self, prompt):
        return self.known[prompt]


class Stripping(Lookup):
    name = "stripping"

    def write(self, prompt):
        return self.known[prompt].strip()


class Unseeded(Lookup):
    name = "unseeded"
    source = random.SystemRandom()

    def write(self, prompt):
        return self.known[prompt] + f"# {self.source.random()}\n"


class Crashing(Lookup):
    name = "crashing"
    asked = 0

    def write(self, prompt):
        self.asked += 1
        if self.asked == 7:
            raise RuntimeError("the seventh prompt")
        return self.known[prompt]


class Hanging(Lookup):
    name = "hanging"

    def write(self, prompt):
        time.sleep(600)
        return self.known[prompt]


class Short(Lookup):
    name = "short"

    def generate(self, prompts, *, budget, seed):
        return super().generate(prompts, budget=budget, seed=seed)[:-1]


class Wordless(Lookup):
    name = "wordless"

    def write(self, prompt):  # noqa: ARG002 - whatever the prompt
        return 7


class Batchy(Lookup):
    name = "batchy"

    def generate(self, prompts, *, budget, seed):  # noqa: ARG002 - what matters is the batch
        return [Completion(f"{self.known[prompt]}# {place}\n") for place, prompt in enumerate(prompts)]


class Wrong(Lookup):
    name = "wrong"

    def write(self, prompt):  # noqa: ARG002 - whatever the prompt
        return "    return None\n"


class Overwriting(Wrong):
    """A pipeline whose refiner overwrites a perfect draft."""

    name = "overwriting"

    def components(self):
        return {"drafter": Lookup(), "refiner": Wrong()}
