"""Systems that audits run themselves: the embedded pair, or the generator that ``--generator`` names.

A system is measured cell by cell (part × benchmark × steps). Cells go to a ledger that all audits and all processes of
a run share, so that each is made once. The class is long because every audit asks it, and it alone knows the ledger.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from audits.guarded_generator import guard
from audits.post_processing import choose, workers
from audits.warm_starts import Drafts, WarmStart, missing_capabilities
from protocols.problems import AnswerProblem, CodeProblem
from specref_core.errors import GeneratorError, InputError
from specref_core.fingerprint import files_digest
from specref_core.generator import Budget, HasComponents, MonteCarlo
from specref_core.loading import check_generator, fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from audits.kept_results import KeptResults
    from protocols.measure import Status
    from protocols.problems import Problem
    from protocols.scores import Scores
    from specref_core.generator import Generator
    from specref_core.masking import MaskPolicy

T = TypeVar("T")
NANO_PROBLEMS = 72
"""Held-out problems a family for the embedded pair: 5 points are excluded where no pair is discordant."""
NANO_CANVASES, NANO_CALL = 9, 36
"""Canvases denoised together, whose activations stay in a processor's cache, and problems a call: few enough that two
processes share a cell evenly."""
NANO_BENCHMARKS = {"code": ("nano-code",), "answers": ("nano-arithmetic",), "choices": ("nano-choices",)}
CUSTOM_BENCHMARKS = {"code": ("humaneval",), "answers": ("gsm8k",), "choices": ("arc_challenge",)}
KIND_OF = {
    **dict.fromkeys(("humaneval", "mbpp", "nano-code"), "code"),
    **dict.fromkeys(("gsm8k", "math", "bbh", "nano-arithmetic", "nano-booleans"), "answers"),
    **dict.fromkeys(("arc_challenge", "hellaswag", "nano-choices"), "choices"),
}
"""What a benchmark's problems ask for: a program, an answer, or a choice."""
ROUNDS = 8
"""Mask draws of a likelihood, as many as the paper's protocol C."""
STEPS = (8, 64)
"""Nominal budgets that the live audits measure at: the fewest and the most of the paper's tables."""
PIPELINE, DRAFTER, REFINER = "pipeline", "drafter", "refiner"


class MissingCapabilityError(InputError):
    """The system lacks a method that an audit needs; the message says which one would enable it."""


@dataclass(frozen=True, slots=True)
class LiveBenchmark:
    """Problems to measure a system on.

    Attributes:
        name: of the benchmark.
        problems: in order.
        max_new_tokens: of one answer.
        shipped: whether these are the few records that come with SpecRef, for want of the benchmark's files.
    """

    name: str
    problems: tuple[Problem, ...]
    max_new_tokens: int
    shipped: bool = False

    @property
    def kind(self) -> str:
        """``code``, ``answers`` or ``choices``."""
        first = self.problems[0]
        return (
            "code" if isinstance(first, CodeProblem) else "answers" if isinstance(first, AnswerProblem) else "choices"
        )


@dataclass(slots=True)
class LiveSystem:
    """A generator under audit, its parts, its benchmarks and where its samples are kept.

    Attributes:
        source: ``nano`` or ``custom``.
        pipeline: the generator itself.
        benchmarks: names it is measured on, all kinds.
        ledger: the file that samples are kept in; ``None`` keeps them in memory.
        limit: problems a benchmark; 0 for all, ``None`` for the usual number.
        seed: of the choice of problems.
        data_dir: folder with benchmark files.
        call_limit: seconds that one call may take; ``None`` for a generator that is trusted to come back.
        batch_size: prompts a call.
        post_processing: from completion to program.
        steps: nominal budgets that it is measured at, in rising order.
        progress: called with role, benchmark and status for every sample that has its verdict, for long runs.
        kept: measurements other than samples that runs of the same code share; ``None`` for a system that may be
            another one in the next run.
    """

    source: str
    pipeline: Generator
    benchmarks: tuple[str, ...]
    ledger: Path | None = None
    limit: int | None = None
    seed: int = 0
    data_dir: Path | None = None
    call_limit: float | None = None
    batch_size: int = 8
    post_processing: str = "extract"
    steps: tuple[int, ...] = STEPS
    progress: Callable[[str, str, Status], None] | None = None
    kept: KeptResults | None = None
    _cells: dict[tuple[str, str, int | None], Scores] = field(default_factory=dict)
    _repeats: dict[tuple[object, ...], Scores] = field(default_factory=dict)
    _parts: dict[str, Generator] = field(default_factory=dict)
    _drafts: Drafts = field(default_factory=dict)
    _problems: dict[str, LiveBenchmark] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The generator's own name."""
        return self.pipeline.name

    @property
    def fewest(self) -> int:
        """The fewest steps it is measured at: where a warm start has to help."""
        return self.steps[0]

    @property
    def most(self) -> int:
        """The most steps it is measured at: where neither part can be helped by more."""
        return self.steps[-1]

    @property
    def cells(self) -> Mapping[tuple[str, str, int | None], Scores]:
        """What this process has measured so far, by part, benchmark and nominal steps."""
        return self._cells

    def recall(self, key: str, compute: Callable[[], T]) -> T:
        """Return a measurement of this system that an earlier run has kept, or make it.

        Args:
            key: names what it depends on beyond the system, its problems and the code.
            compute: makes it, as plain data that JSON keeps as it is.
        """
        if self.kept is None:
            return compute()
        return self.kept.recall(f"{key}|{fingerprint(self.pipeline)}|{self.limit}|{self.seed}", compute)

    def of_kind(self, *kinds: str) -> tuple[str, ...]:
        """Return the benchmarks of these kinds."""
        return tuple(name for name in self.benchmarks if KIND_OF[name] in kinds)

    def benchmark(self, name: str) -> LiveBenchmark:
        """Return the problems of a benchmark.

        Raises:
            InputError: there is no such benchmark, or its file is broken.
        """
        if name not in self._problems:
            self._problems[name] = load_benchmark(
                name, limit=self.limit, seed=self.seed, data_dir=self.data_dir, source=self.source
            )
        return self._problems[name]

    def add_benchmark(self, benchmark: LiveBenchmark) -> None:
        """Measure on these problems wherever the benchmark's name is asked for."""
        self._problems[benchmark.name] = benchmark

    def part(self, role: str) -> Generator:
        """Return the pipeline or one of its components, guarded where the system is not trusted.

        Raises:
            MissingCapabilityError: the generator does not hand out this component.
            GeneratorError: its ``components`` raised or returned no mapping of generators.
        """
        if role not in self._parts:
            self._parts[role] = self._guarded(self.pipeline if role == PIPELINE else self._component(role))
        return self._parts[role]

    def has_part(self, role: str) -> bool:
        """Tell whether the generator is made of parts and has this one."""
        try:
            self.part(role)
        except MissingCapabilityError:
            return False
        return True

    def warm_start(self, rule: MaskPolicy | str) -> str:
        """Add the pipeline with another choice of hidden tokens as a part and return its role.

        Raises:
            MissingCapabilityError: the pipeline lacks a method that this needs.
        """
        missing = missing_capabilities(self.pipeline)
        if missing:
            told = ", ".join(f"{name}()" for name in missing)
            raise MissingCapabilityError(
                f"{self.name!r} has no {told}; add what specref_core.generator describes under Has… to enable this"
            )
        return self.add_part(WarmStart(self.pipeline, rule, self._drafts))

    def add_part(self, part: Generator, *, guarded: bool = False) -> str:
        """Add a variant of the pipeline or of a component, known by its name, and return its role.

        Args:
            part: the variant.
            guarded: whether it calls guarded parts only, several a call, so that a clock of its own would be too short.
        """
        self._parts.setdefault(part.name, part if guarded else self._guarded(part))
        return part.name

    def measure(self, role: str, benchmark: str, steps: int | None, *, first: int | None = None) -> Scores:
        """Measure one cell, or return it as measured before.

        Args:
            role: ``pipeline``, a component's, or one that :meth:`warm_start` or :meth:`add_part` returned.
            benchmark: name.
            steps: nominal S; ``None`` for a part without steps.
            first: measure the first so many problems only.

        Raises:
            MissingCapabilityError: the system has no such part.
            GeneratorError: the generator broke its contract.
        """
        if first is not None:
            part_of = (role, benchmark, steps, first)
            if part_of not in self._repeats:
                self._repeats[part_of] = self._measure(role, benchmark, steps, first=first)
            return self._repeats[part_of]
        key = (role, benchmark, steps)
        if key not in self._cells:
            self._cells[key] = self._measure(role, benchmark, steps)
        return self._cells[key]

    def repeat(
        self, role: str, benchmark: str, *, seed: int, monte_carlo: MonteCarlo | None = None, first: int | None = None
    ) -> Scores:
        """Rank the choices of a benchmark with another seed, or with other mask draws.

        Args:
            role: as for :meth:`measure`.
            benchmark: one of choices.
            seed: of the mask draws; :meth:`measure` uses 0.
            monte_carlo: mask draws; those of :meth:`measure` by default.
            first: measure the first so many problems only.

        Raises:
            MissingCapabilityError: the system has no such part.
            GeneratorError: the generator broke its contract.
        """
        key = (role, benchmark, seed, monte_carlo, first)
        if key not in self._repeats:
            self._repeats[key] = self._measure(role, benchmark, None, seed=seed, monte_carlo=monte_carlo, first=first)
        return self._repeats[key]

    def _measure(
        self,
        role: str,
        benchmark: str,
        steps: int | None,
        *,
        seed: int = 0,
        monte_carlo: MonteCarlo | None = None,
        first: int | None = None,
    ) -> Scores:
        from protocols.measure import measure
        from protocols.scoring import ScoringSettings

        part, chosen = self.part(role), self.benchmark(benchmark)
        attempt = partial(
            measure,
            part,
            chosen.problems[:first],
            budget=Budget(steps=steps, max_new_tokens=chosen.max_new_tokens),
            seeds=(seed,),
            ledger=self.ledger,
            settings=ScoringSettings(
                pipeline=self.post_processing,
                workers=workers(),
                monte_carlo=monte_carlo or MonteCarlo(ROUNDS, ROUNDS),
            ),
            traces=True,
            progress=None if self.progress is None else partial(self.progress, role, benchmark),
        )
        try:
            return attempt(batch_size=self.batch_size)
        except GeneratorError as error:
            if self.call_limit is None or self.batch_size == 1 or "hangs" in str(error):
                raise
            attempt(batch_size=1)
            # It broke its contract, so this audit fails; the samples it gave one by one are there for the others.
            raise GeneratorError(f"{error}; asked one by one it answers, and other audits use these samples") from error

    def _component(self, role: str) -> Generator:
        if not isinstance(self.pipeline, HasComponents):
            raise MissingCapabilityError(
                f"{self.name!r} has no components(); add it and return {{'drafter': …, 'refiner': …}} to enable this"
            )
        try:
            parts: Any = self.pipeline.components()
            found = parts.get(role)
        except Exception as error:
            raise GeneratorError(f"components() of {self.name!r} raised {type(error).__name__}: {error}") from error
        if found is not None:
            return check_generator(found, f"components()[{role!r}] of {self.name!r}")
        raise MissingCapabilityError(
            f"components() of {self.name!r} names {', '.join(map(repr, parts)) or 'nothing'}; "
            f"return a {role!r} too to enable this"
        )

    def _guarded(self, part: Generator) -> Generator:
        return part if self.call_limit is None else guard(part, limit=self.call_limit)


def load_benchmark(
    name: str, *, limit: int | None, seed: int, data_dir: Path | None, source: str = "custom"
) -> LiveBenchmark:
    """Load a benchmark's problems for a live system.

    Args:
        name: a key of :data:`KIND_OF`.
        limit: how many; 0 for all, ``None`` for the usual number.
        seed: of the choice.
        data_dir: folder with the public files; without the benchmark's file the shipped records are used.
        source: ``nano`` takes the embedded pair's usual number.

    Raises:
        InputError: an unknown name, or a broken file.
    """
    from protocols.loaders import known_benchmark, load_problems, shipped_problems

    if name not in KIND_OF:
        raise InputError(f"unknown benchmark {name!r}; known: {', '.join(KIND_OF)}")
    if name.startswith("nano-"):
        return _nano_benchmark(name.removeprefix("nano-"), limit=limit, seed=seed, source=source)
    there = data_dir is not None and any(
        next(data_dir.glob(pattern), None) is not None for pattern in known_benchmark(name).local
    )
    problems: Any = load_problems(name, data_dir=data_dir) if there else shipped_problems(name)
    if there:
        problems = choose(problems, limit=limit, seed=seed)
    return LiveBenchmark(name, tuple(problems), 512 if KIND_OF[name] == "answers" else 256, not there)


def _nano_benchmark(family: str, *, limit: int | None, seed: int, source: str) -> LiveBenchmark:
    from audits.post_processing import USUAL_PROBLEMS
    from fixtures.nano.evaluate import TEST_SEED
    from fixtures.nano.tasks import CANVAS, problems

    usual = NANO_PROBLEMS if source == "nano" else USUAL_PROBLEMS
    drawn = problems(family, "test", TEST_SEED + seed, limit or usual)
    return LiveBenchmark(f"nano-{family}", tuple(drawn), CANVAS[family])


def nano_system(*, ledger: Path | None, limit: int | None, seed: int, kept: KeptResults | None = None) -> LiveSystem:
    """Return the embedded pair, whose models are loaded when an audit first needs what no earlier run has kept.

    Raises:
        CheckpointError: its weights are not there.
    """
    from fixtures.nano import postponed_pair

    _share_processors()
    return LiveSystem(
        source="nano",
        # On these weights a batch's logits are those of the row alone, and the audit of batch invariance watches it.
        pipeline=postponed_pair(
            name="nano", batch_size=NANO_CANVASES, recheck_ties=False, backend_options={"batch_size": NANO_CALL}
        ),
        benchmarks=tuple(name for names in NANO_BENCHMARKS.values() for name in names),
        ledger=ledger,
        limit=limit,
        seed=seed,
        kept=kept,
        batch_size=NANO_CALL,
        post_processing="raw",
    )


def custom_system(
    target: str,
    *,
    benchmarks: Sequence[str],
    ledger: Path | None,
    limit: int | None,
    seed: int,
    data_dir: Path | None,
    call_limit: float,
) -> LiveSystem:
    """Load the generator that a user names.

    Args:
        target: ``pkg.mod:factory`` or ``path/to/file.py:factory``.
        benchmarks: names; empty for the usual ones.
        ledger: as for :class:`LiveSystem`.
        limit: as there.
        seed: as there.
        data_dir: as there.
        call_limit: as there.

    Raises:
        InputError: the target cannot be loaded.
        GeneratorError: what it made is no generator.
    """
    from specref_core.loading import load

    _share_processors()
    return LiveSystem(
        source="custom",
        pipeline=load(target),
        benchmarks=tuple(benchmarks) or tuple(name for names in CUSTOM_BENCHMARKS.values() for name in names),
        ledger=ledger,
        limit=limit,
        seed=seed,
        data_dir=data_dir,
        call_limit=call_limit,
    )


@cache
def code_digest() -> str:
    """Return 12 digits that change with any source file that makes or scores text: other code makes its own samples."""
    import fixtures
    import protocols
    import specref_core

    folders = [Path(str(package.__file__)).parent for package in (specref_core, protocols, fixtures)]
    return files_digest(folders, suffixes=(".py",))[:12]


def _share_processors() -> None:
    """Give each of xdist's workers its share of the threads, before the first library that counts them is imported."""
    if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", str(workers()))
