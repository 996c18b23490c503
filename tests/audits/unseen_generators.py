"""Generators that nobody who wrote the audits had in mind; a test copies this file and audits each factory."""

from __future__ import annotations

import os
import random
import textwrap
import time
from pathlib import Path

from audits.live_systems import load_benchmark
from specref_core.generator import Completion

folder = os.environ.get("SPECREF_DATA")
loaded = load_benchmark("humaneval", limit=12, seed=0, data_dir=Path(folder) if folder else None)
KNOWN = {problem.prompt: problem.reference for problem in loaded.problems}


class Knows:
    """Every factory is a kind of this one."""

    def __init__(self):
        self.asked = 0

    @property
    def name(self):
        return type(self).__name__.lower()

    def generate(self, prompts, *, budget, seed):
        return [Completion(self.write(prompt, budget, seed)) for prompt in prompts]

    def write(self, prompt, budget, seed):
        del budget, seed
        return KNOWN[prompt]


class Perfect(Knows):
    pass


class Strips(Knows):
    def write(self, *asked):
        return super().write(*asked).strip()


class Dedents(Knows):
    def write(self, *asked):
        return textwrap.dedent(super().write(*asked))


class IgnoresSeed(Knows):
    def write(self, *asked):
        return super().write(*asked) + f"    # {random.SystemRandom().random()}\n"


class FixedSeed(Knows):
    def write(self, prompt, budget, seed):
        del seed
        return super().write(prompt, budget, 0) + f"    # {random.Random(prompt).random()}\n"


class Wrong(Knows):
    def write(self, *_):
        return "    return None\n"


class Overwrites(Wrong):
    def components(self):
        return {"drafter": Perfect(), "refiner": Wrong()}


class SeventhCall(Knows):
    def write(self, *asked):
        self.asked += 1
        if self.asked == 7:
            raise RuntimeError("out of luck")
        return super().write(*asked)


class SeventhOfBatch(Knows):
    def generate(self, prompts, *, budget, seed):
        return [Completion(self.write([KNOWN[p]][place // 6], budget, seed)) for place, p in enumerate(prompts)]

    def write(self, text, *_):
        return text


class SeventhProblem(Knows):
    def write(self, prompt, *rest):
        if list(KNOWN).index(prompt) == 6:
            raise ValueError("not this one")
        return super().write(prompt, *rest)


class Hangs(Knows):
    def write(self, *_):
        time.sleep(900)


class TooFew(Knows):
    def generate(self, prompts, **asked):
        return super().generate(prompts, **asked)[1:]


class Numbers(Knows):
    def write(self, *_):
        return 7


class Strings(Knows):
    def generate(self, prompts, *, budget, seed):
        return [self.write(prompt, budget, seed) for prompt in prompts]


class Echoes(Knows):
    def write(self, prompt, *rest):
        return prompt + super().write(prompt, *rest)


class Empty(Knows):
    def write(self, *_):
        return ""


class Endless(Knows):
    def write(self, *asked):
        return super().write(*asked) + "    # and so on\n" * 4_000


class Exits(Knows):
    def write(self, *_):
        raise SystemExit(3)


def takes(path):
    """A factory with an argument."""
    return path
