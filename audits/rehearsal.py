"""The gpu path rehearsed: everything that a run on the full models does, on tiny random models of the same formats.

What cannot be rehearsed without the real weights is what they say. All else is done for real: checkpoints in the hub's
layouts are read, damaged ones refused, drafts made by every backend that is installed, the three protocols scored into
a ledger, every live audit run on the pair, the paper's tables set beside the run's, and the report written.
"""

from __future__ import annotations

import contextlib
import json
import platform
import shutil
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audits.damaged_copies import refusals
from audits.full_models import BENCHMARKS, FullSettings, load_data, open_pair, unreachable
from audits.paper_tables import places
from audits.run_outcomes import Outcomes
from specref_core.accelerators import cuda_devices
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from specref_core.generator import Budget, Completion

CANVAS = 12
"""Tokens of a draft and canvas: enough for a mask of several tokens, few enough for seconds."""
PROTOCOLS = {"execution": "humaneval", "exact match": "gsm8k", "likelihood": "arc_challenge"}
_LAYOUT = {
    "humaneval": "humaneval/HumanEval.jsonl",
    "mbpp": "mbpp/mbpp.jsonl",
    "gsm8k": "gsm8k/test.jsonl",
    "math": "math/test.jsonl",
    "bbh": "bbh/boolean_expressions.json",
    "arc_challenge": "arc/ARC-Challenge-Test.jsonl",
    "hellaswag": "hellaswag/hellaswag_val.jsonl",
}
"""Where the benchmarks' files lie in a data folder, as their authors name them."""


class UnsoundError(Exception):
    """A part of the path does not do what it should; the message says which and how."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage as it went.

    Attributes:
        name: of the stage.
        seconds: it took, wall clock.
        sound: whether it did what it should.
        told: what was done, or what is wrong.
    """

    name: str
    seconds: float
    sound: bool
    told: str


@dataclass(slots=True)
class Rehearsal:
    """A rehearsal in a folder that holds everything it writes.

    Attributes:
        folder: empty; models, data, ledgers, logs and pages are written there.
        limit: problems a benchmark.
        steps: nominal S, rising.
        device: ``auto`` or a torch device; ``None`` takes CUDA devices where there are some, else the processor.
        dtype: of the models.
        data_dir: folder with benchmark files; what is not there comes from the records that ship.
        report: whether to write the report too, where it is installed.
        say: called with each stage as it ends.
    """

    folder: Path
    limit: int = 2
    steps: tuple[int, ...] = (2, 4)
    device: str | None = None
    dtype: str = "float32"
    data_dir: Path | None = None
    report: bool = True
    say: Callable[[Stage], None] = lambda _stage: None
    stages: list[Stage] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether every stage so far did what it should."""
        return bool(self.stages) and all(stage.sound for stage in self.stages)

    @property
    def settings(self) -> FullSettings:
        """What a user would give as options for these models."""
        return FullSettings(
            drafter=str(self.folder / "models" / "drafter"),
            refiner=str(self.folder / "models" / "refiner"),
            device=self.device or ("auto" if cuda_devices() else "cpu"),
            dtype=self.dtype,
            backend="transformers",
            drafter_quantization="none",
            steps=self.steps,
            max_new_tokens=CANVAS,
        )

    def run(self) -> list[Stage]:
        """Run every stage in turn; one that fails does not stop the others, unless they need what it makes."""
        # Libraries warn of what is broken on purpose and draw bars. One file holds all of it until the end, because
        # they keep the stream that they found at first.
        with (
            (self.folder / "libraries.log").open("w", encoding="utf-8") as file,
            contextlib.redirect_stdout(file),
            contextlib.redirect_stderr(file),
        ):
            self._run()
        return self.stages

    def _run(self) -> None:
        if self._stage("machine", self._machine) and self._stage("models and data", self._prepare):
            self._stage("damaged copies", self._refusals)
            self._stage("drafter backends", self._backends)
            self._stage("protocols", self._protocols)
            if self._stage("audits", self._audits):
                self._stage("paper's tables", self._tables)
                self._stage("report", self._report)
                self._stage("same command again", self._again)

    def _stage(self, name: str, work: Callable[[], str]) -> bool:
        started = time.perf_counter()
        try:
            told, sound = work(), True
        except UnsoundError as error:
            told, sound = str(error), False
        except Exception as error:  # whatever a part raises is what the rehearsal is for
            told, sound = f"{type(error).__name__}: {error}", False
        stage = Stage(name, time.perf_counter() - started, sound, told)
        self.stages.append(stage)
        self.say(stage)
        return sound

    def _machine(self) -> str:
        devices = ", ".join(cuda_devices()) or f"no CUDA device; {platform.machine()} processor"
        names = ("torch", "transformers", "vllm", "bitsandbytes", "ray", "datasets")
        found = [f"{name} {_version(name) or 'not installed'}" for name in names]
        return f"{devices}; {', '.join(found)}; running on {self.settings.device}, {self.dtype}"

    def _prepare(self) -> str:
        from fixtures.checkpoints import make_llada_checkpoint, make_phi_checkpoint

        models = self.folder / "models"
        make_phi_checkpoint(models / "drafter", hidden_size=160, heads=2)  # heads of 80, Phi-2's: vLLM has few sizes
        make_llada_checkpoint(models / "refiner")
        copied = [name for name in _LAYOUT if lay_out(name, self.data_dir, self._data)]
        missing = unreachable(self.settings)
        benchmarks, without = load_data(tuple(_LAYOUT), self.settings, limit=self.limit, seed=0, data_dir=self._data)
        if missing or without:
            raise UnsoundError("; ".join([*missing, *without]))
        problems = sum(len(benchmark.problems) for benchmark in benchmarks.values())
        shipped = [name for name in _LAYOUT if name not in copied]
        return (
            f"two random checkpoints in the hub's layouts; {problems} problems of {len(benchmarks)} benchmarks, "
            f"public files: {', '.join(copied) or 'none'}; records that ship: {', '.join(shipped) or 'none'}"
        )

    def _refusals(self) -> str:
        folder = self.folder / "damaged"
        refused, accepted = refusals(self.folder / "models", folder)
        if accepted:
            raise UnsoundError("; ".join(accepted))
        absent = FullSettings(drafter=str(folder / "absent"), refiner=str(folder / "absent too"))
        told = unreachable(absent)
        if len(told) != 2 or not all("absent" in line for line in told):
            raise UnsoundError(f"two absent directories were told as {told}")
        return f"{refused} refused by name before a weight was read, and two absent directories in one message"

    def _backends(self) -> str:
        from dataclasses import replace

        from specref_core.generator import Budget

        variants = {"transformers": self.settings}
        if find_spec("vllm") is not None:
            # On CUDA its attention kernels are for 16 bits, whose noise may choose another token; there drafts are made
            # and not compared.
            variants["vllm"] = replace(
                self.settings, backend="vllm", dtype="bfloat16" if cuda_devices() else self.dtype
            )
        if find_spec("bitsandbytes") is not None:
            variants["transformers, 4 bits"] = replace(self.settings, drafter_quantization="4bit")
        texts, left_out = (
            {},
            [f"{name} (not installed)" for name in ("vllm", "bitsandbytes") if find_spec(name) is None],
        )
        for name, settings in variants.items():
            try:
                pipeline = open_pair(settings)
            except InputError as error:
                if name == "transformers" or cuda_devices():
                    raise
                left_out.append(f"{name} (not without a GPU: {str(error).splitlines()[0]})")
                continue
            (made,) = pipeline.generate(["def add(a, b):\n"], budget=Budget(steps=2, max_new_tokens=CANVAS), seed=0)
            if made.trace is None or made.trace.draft is None or made.cost is None:
                raise UnsoundError(f"{name}: a completion without trace, draft or cost")
            if not all(entropy >= 0 for entropy in made.trace.draft.entropies):
                raise UnsoundError(f"{name}: entropies {made.trace.draft.entropies}")
            texts[name] = made.trace.draft.text
        same = "vllm" in texts and variants["vllm"].dtype == self.dtype == "float32"
        if same and texts["vllm"] != texts["transformers"]:
            raise UnsoundError(f"greedy drafts differ: transformers {texts['transformers']!r}, vllm {texts['vllm']!r}")
        rest = f"; not rehearsed: {', '.join(left_out)}" if left_out else ""
        return f"drafted and refined with {', '.join(texts)}{rest}"

    def _protocols(self) -> str:
        from protocols.measure import measure
        from protocols.scoring import ScoringSettings
        from specref_core.generator import Budget, MonteCarlo

        benchmarks, _ = load_data(
            tuple(PROTOCOLS.values()), self.settings, limit=self.limit, seed=0, data_dir=self._data
        )
        counted = Counted(open_pair(self.settings))
        budget = Budget(steps=self.steps[0], max_new_tokens=CANVAS)
        settings = ScoringSettings(monte_carlo=MonteCarlo(2, 2))
        told = []
        for protocol, name in PROTOCOLS.items():
            ledger = self.folder / "protocols.ledger"
            problems = benchmarks[name].problems
            first = measure(counted, problems, budget=budget, settings=settings, ledger=ledger)
            calls = counted.calls
            second = measure(counted, problems, budget=budget, settings=settings, ledger=ledger)
            if counted.calls != calls:
                raise UnsoundError(f"{protocol}: a second run answered {name} again in spite of its ledger")
            if (first.correct, first.n, str(first.signature)) != (second.correct, second.n, str(second.signature)):
                raise UnsoundError(f"{protocol}: the ledger gave other scores than the run that wrote it")
            told.append(f"{protocol} {first.correct}/{first.n} ({name})")
        return f"{', '.join(told)}; each read back from its ledger without a call"

    def _audits(self) -> str:
        pages = ["--paper-tables", str(self._page)]
        if self.report and find_spec("audits.report") is not None:
            pages += ["--report", str(self.folder / "report.html"), "--json", str(self.folder / "report.json")]
        outcome = self._pytest("audits.log", *pages)
        wrong = outcome.unsound()
        if wrong:
            raise UnsoundError(f"{len(wrong)} of {outcome.count} audits broke: {'; '.join(wrong[:5])} (audits.log)")
        verdicts = sum(bool(found) for found in outcome.verdicts.values())
        modules = {nodeid.partition("::")[0] for nodeid in outcome.outcomes}
        if not verdicts or not outcome.count:
            raise UnsoundError("no audit came to a verdict (audits.log)")
        skipped = [reason for reason in outcome.skipped.values() if "inconclusive" not in reason]
        return (
            f"{outcome.count} audits of {len(modules)} modules on the pair: {verdicts} came to a verdict, "
            f"{len(skipped)} said why they cannot"
        )

    def _tables(self) -> str:
        from audits.full_plugin import page_paths

        text, data = page_paths(self._page)
        cells = json.loads(data.read_text(encoding="utf-8"))["cells"]
        found = {(cell["benchmark"], cell["column"]) for cell in cells}
        names = [name for group in BENCHMARKS.values() for name in group]
        wanted = {(name, place.label) for name in names for place in places(name, self.steps)}
        if found != wanted:
            raise UnsoundError(f"cells missing from {data.name}: {sorted(wanted - found)[:5]}")
        if "Table 3" not in text.read_text(encoding="utf-8"):
            raise UnsoundError(f"{text.name} has no Table 3")
        return f"{len(cells)} cells and Table 3 beside the paper's, in {text.name} and {data.name}"

    def _report(self) -> str:
        if not self.report:
            return "not asked for"
        if find_spec("audits.report") is None:
            return "not installed"
        pages = [self.folder / "report.html", self.folder / "report.json"]
        for page in pages:
            if not page.is_file() or not page.stat().st_size:
                raise UnsoundError(f"{page.name} was not written (audits.log)")
        json.loads(pages[1].read_text(encoding="utf-8"))
        return ", ".join(f"{page.name} {page.stat().st_size // 1024} KiB" for page in pages)

    def _again(self) -> str:
        before = self._ledger.read_bytes()
        outcome = self._pytest("again.log", "-k", "come_out_as_published")
        if wrong := outcome.unsound():
            raise UnsoundError(f"{'; '.join(wrong[:5])} (again.log)")
        if self._ledger.read_bytes() != before:
            raise UnsoundError("the tables were measured again in spite of the ledger")
        return f"{outcome.count} rows of the tables from the ledger alone; not a byte was added to it"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _page(self) -> Path:
        return self.folder / "paper-tables"

    @property
    def _ledger(self) -> Path:
        return self.folder / "full.ledger"

    def _pytest(self, log: str, *more: str) -> Outcomes:
        """Run the gpu audits as a user would, in this process, and return what became of each."""
        import pytest

        from audits.commands.audit import pytest_arguments

        settings = self.settings
        options: Mapping[str, object] = {
            "--drafter": settings.drafter,
            "--refiner": settings.refiner,
            "--device": settings.device,
            "--dtype": settings.dtype,
            "--backend": settings.backend,
            "--drafter-quantization": settings.drafter_quantization,
            "--steps": ",".join(map(str, self.steps)),
            "--limit": self.limit,
            "--max-new-tokens": CANVAS,
            "--latency-queries": 2,
            "--data-dir": self._data,
            "--ledger": self._ledger,
            "--basetemp": self.folder / "pytest",
        }
        arguments = [*pytest_arguments([]), "-m", "gpu", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts="]
        arguments += [part for name, value in options.items() for part in (name, str(value))]
        outcomes = Outcomes()
        with (
            (self.folder / log).open("w", encoding="utf-8") as file,
            contextlib.redirect_stdout(file),
            contextlib.redirect_stderr(file),
        ):
            outcomes.exit_code = int(pytest.main([*arguments, "-rs", *more], plugins=[outcomes]))
        return outcomes


class Counted:
    """A generator that counts how often it is asked, with the capabilities and the identity of the one it hides."""

    def __init__(self, hidden: Any) -> None:
        self.name: str = hidden.name
        self.calls = 0
        self._hidden = hidden

    def generate(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Completion]:
        """Answer as the hidden one."""
        self.calls += 1
        made: list[Completion] = self._hidden.generate(prompts, budget=budget, seed=seed)
        return made

    def log_likelihood(self, requests: Any, *, monte_carlo: Any, seed: int) -> Any:
        """Score as the hidden one."""
        self.calls += 1
        return self._hidden.log_likelihood(requests, monte_carlo=monte_carlo, seed=seed)

    def fingerprint(self) -> str:
        """Name what the hidden one runs with."""
        return str(self._hidden.fingerprint())


def lay_out(name: str, source: Path | None, folder: Path) -> bool:
    """Put a benchmark's file into a data folder under its authors' name; return whether it is a public file."""
    from importlib.resources import as_file, files

    from protocols.loaders import known_benchmark

    benchmark = known_benchmark(name)
    found = [] if source is None else [p for pattern in benchmark.local for p in sorted(source.glob(pattern))]
    if source is not None and found:
        target = folder / found[0].relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found[0], target)
        return True
    target = folder / _LAYOUT[name]
    target.parent.mkdir(parents=True, exist_ok=True)
    with as_file(files("fixtures.problems") / benchmark.shipped) as path:
        shutil.copyfile(path, target)
    return False


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
