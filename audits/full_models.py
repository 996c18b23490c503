"""The full models: which pair is measured with which settings, whether it can be reached, and how it is opened.

Everything that can be refused is refused before a weight is read, and all of it at once: a person who lacks three
files should hear of three files. Long by the list of settings and by the sentences that say how to mend each.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audits.live_systems import KIND_OF, LiveBenchmark, LiveSystem
from audits.post_processing import choose
from protocols.execution.completion import PIPELINES
from specref_core.accelerators import cuda_devices, has_driver
from specref_core.errors import CheckpointError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DRAFTER, REFINER = "microsoft/phi-2", "GSAI-ML/LLaDA-8B-Instruct"
STEPS = (8, 16, 32, 64)
"""Columns of the paper's Table 1."""
BENCHMARKS = {
    "code": ("humaneval", "mbpp"),
    "answers": ("gsm8k", "math", "bbh"),
    "choices": ("arc_challenge", "hellaswag"),
}
"""Rows of the paper's Tables 1 and 2."""
DTYPES = ("auto", "bfloat16", "float16", "float32")
BACKENDS = ("auto", "transformers", "vllm")
QUANTIZATIONS = ("auto", "none", "4bit", "8bit")
_MBPP_TEST = range(11, 511)
_DOWNLOADS = {
    DRAFTER: "2.8 B parameters, 5.6 GB",
    REFINER: "8 B parameters, 16 GB",
}
_DEVICE = re.compile(r"auto|cpu|mps|(cuda|xpu)(:\d+)?")
_NAMED_BACKEND = re.compile(r"^(vllm|transformers):")  # vllm:PLACE names a backend beside the place
_GITHUB = "https://raw.githubusercontent.com"
_FILES = {
    "humaneval": (f"{_GITHUB}/openai/human-eval/master/data/HumanEval.jsonl.gz", "humaneval/HumanEval.jsonl.gz"),
    "mbpp": (f"{_GITHUB}/google-research/google-research/master/mbpp/mbpp.jsonl", "mbpp/mbpp.jsonl"),
    "gsm8k": (
        f"{_GITHUB}/openai/grade-school-math/master/grade_school_math/data/test.jsonl",
        "gsm8k/test.jsonl",
    ),
    "math": (
        "https://huggingface.co/datasets/hendrycks/competition_math (test split) as JSON lines",
        "math/test.jsonl",
    ),
    "bbh": (
        f"{_GITHUB}/suzgunmirac/BIG-Bench-Hard/main/bbh/boolean_expressions.json",
        "bbh/boolean_expressions.json",
    ),
    "arc_challenge": (
        "https://huggingface.co/datasets/allenai/ai2_arc (ARC-Challenge, test split) as JSON lines",
        "arc/ARC-Challenge-Test.jsonl",
    ),
    "hellaswag": (f"{_GITHUB}/rowanz/hellaswag/master/data/hellaswag_val.jsonl", "hellaswag/hellaswag_val.jsonl"),
}
"""Where each benchmark's public file is, and its place in a data folder."""


@dataclass(frozen=True, slots=True)
class FullSettings:
    """What the gpu audits measure. The defaults are the paper's, where it says.

    Attributes:
        drafter: hub name or directory of a causal language model.
        refiner: hub name or directory in the LLaDA layout.
        drafter_revision: of a hub name.
        refiner_revision: of a hub name.
        device: ``auto`` (all CUDA devices there are, split between them), or a torch device as ``cuda:1`` or ``cpu``.
        dtype: of both models; the paper does not say.
        backend: of the drafter; ``auto`` is vLLM, as in the paper, where it is installed and there is a CUDA device.
        drafter_quantization: ``auto`` is 4 bits, as in the paper, where bitsandbytes is installed and there is a CUDA
            device.
        refiner_quantization: ``auto`` is none.
        steps: nominal S, rising.
        max_new_tokens: longest draft and canvas; ``None`` takes 512 for answers and 256 for code. The paper does not
            say.
        chat: wrap the refiner's prompts in its chat template, as its authors do. The paper does not say; without it
            both models continue the same text, as Algorithm 1 has it.
        post_processing: from completion to program; the paper cuts at three stop sequences (section 3.3).
        batch_size: prompts a call, and so the samples that a stopped run may lose; how many of them go through a model
            together follows from its free memory.
        overrides: any further setting of ``specref_core.specref.from_pretrained``, by name.
    """

    drafter: str = DRAFTER
    refiner: str = REFINER
    drafter_revision: str | None = None
    refiner_revision: str | None = None
    device: str = "auto"
    dtype: str = "bfloat16"
    backend: str = "auto"
    drafter_quantization: str = "auto"
    refiner_quantization: str = "auto"
    steps: tuple[int, ...] = STEPS
    max_new_tokens: int | None = None
    chat: bool = False
    post_processing: str = "stop-sequences"
    batch_size: int = 16
    overrides: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        for name, value, known in (
            ("dtype", self.dtype, DTYPES),
            ("backend", self.backend, BACKENDS),
            ("drafter quantization", self.drafter_quantization, QUANTIZATIONS),
            ("refiner quantization", self.refiner_quantization, QUANTIZATIONS),
            ("post-processing", self.post_processing, tuple(PIPELINES)),
        ):
            if value not in known:
                raise InputError(f"{name} {value!r} is unknown; expected one of {', '.join(known)}")
        if not _DEVICE.fullmatch(self.device):
            raise InputError(f"device {self.device!r} is unknown; expected auto, cuda, cuda:N, cpu, mps or xpu")
        if not self.steps or any(not isinstance(s, int) or s < 1 for s in self.steps):
            raise InputError(f"steps {self.steps!r}: expected whole numbers of at least 1, as 8,16,32,64")
        if sorted(set(self.steps)) != list(self.steps):
            raise InputError(f"steps {','.join(map(str, self.steps))}: expected each once, in rising order")
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens={self.max_new_tokens!r}: expected at least 1")
        if self.batch_size < 1:
            raise InputError(f"batch_size={self.batch_size!r}: expected at least 1 prompt a call")

    def describe(self) -> str:
        """Return every setting as ``name=value``, in one line."""
        shown = {f.name: getattr(self, f.name) for f in fields(self)}
        shown["steps"] = ",".join(map(str, self.steps))
        shown |= dict(shown.pop("overrides"))
        return " ".join(f"{name}={value}" for name, value in shown.items() if value is not None)


def parse_steps(text: str) -> tuple[int, ...]:
    """Read ``8,16,32,64``.

    Raises:
        InputError: it is no list of positive whole numbers, each once; they may come in any order.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"steps {text!r}: expected whole numbers of at least 1, as 8,16,32,64")
    numbers = [int(part) for part in parts]
    if len(set(numbers)) != len(numbers):
        raise InputError(f"steps {text!r}: a step count is given twice")
    return tuple(sorted(numbers))


def parse_revisions(given: Sequence[str]) -> tuple[str | None, str | None]:
    """Read the values of ``--revision``: ``REV`` for both models, or ``drafter=REV`` and ``refiner=REV``.

    Raises:
        InputError: a model is named that there is not, or twice.
    """
    found: dict[str, str] = {}
    for text in given:
        role, separator, revision = text.rpartition("=")
        roles = (role,) if separator else ("drafter", "refiner")
        for name in roles:
            if name not in ("drafter", "refiner") or not revision:
                raise InputError(f"revision {text!r}: expected REV, drafter=REV or refiner=REV")
            if name in found:
                raise InputError(f"revision {text!r}: the {name}'s is given twice")
            found[name] = revision
    return found.get("drafter"), found.get("refiner")


def parse_overrides(given: Sequence[str]) -> tuple[tuple[str, Any], ...]:
    """Read the values of ``--set``: ``NAME=VALUE``, the value as JSON or as plain text.

    Raises:
        InputError: one has no name or no value.
    """
    found: dict[str, Any] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or not name.isidentifier() or not value:
            raise InputError(f"setting {text!r}: expected NAME=VALUE, as k=40 or block_length=32")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return tuple(found.items())


def missing_device(device: str) -> str | None:
    """Return why the gpu audits cannot run on this device, or ``None`` where they can."""
    if device != "auto" or cuda_devices():
        return None
    blind = " that torch can see (there is a driver; is this a CPU build of torch?)" if has_driver() else ""
    return (
        f"no CUDA device{blind} here: the gpu audits measure {DRAFTER} and {REFINER} on one; "
        "smaller models run with --device cpu --drafter DIR --refiner DIR, the same path in small: specref rehearse"
    )


def absent_device(device: str) -> str | None:
    """Return what is wrong with a CUDA device that was named by hand, or ``None``."""
    if not device.startswith("cuda"):
        return None
    found = cuda_devices()
    number = int(device.partition(":")[2] or 0)
    if number < len(found):
        return None
    there = ", ".join(f"cuda:{index} ({name})" for index, name in enumerate(found)) or "none"
    return f"--device {device}: torch sees no such device; the CUDA devices here: {there}"


def unreachable(settings: FullSettings) -> list[str]:
    """Return a sentence for every model that is neither a directory here, nor in the hub's cache, nor on the hub.

    A checkpoint that the hub has is downloaded here, with the hub's own progress bars.
    """
    drafter = _NAMED_BACKEND.sub("", settings.drafter)
    wanted = (
        ("drafter", drafter, settings.drafter_revision),
        ("refiner", settings.refiner, settings.refiner_revision),
    )
    return [told for role, place, revision in wanted if (told := _unreachable(role, place, revision)) is not None]


def load_full_benchmark(
    name: str, *, limit: int | None, seed: int, data_dir: Path | None, max_new_tokens: int | None
) -> LiveBenchmark:
    """Load a benchmark whole, as the paper measured it, or a seeded subset; never the records that ship here.

    Args:
        name: one of :data:`BENCHMARKS`.
        limit: how many problems; ``None`` and 0 mean all.
        seed: of the choice.
        data_dir: folder with the public files; the hub is asked for a benchmark that is not there.
        max_new_tokens: of one answer; ``None`` takes the usual number.

    Raises:
        InputError: it is neither there nor on the hub, or its file is broken.
    """
    from protocols.loaders import known_benchmark, load_problems

    there = data_dir is not None and any(
        next(data_dir.glob(pattern), None) is not None for pattern in known_benchmark(name).local
    )
    problems: Any = load_problems(name, data_dir=data_dir if there else None)
    if name == "mbpp":
        # The authors' file holds all 974 tasks; the split that is tested everywhere is numbers 11 to 510.
        tested = [p for p in problems if int(p.task_id.rpartition("/")[2]) in _MBPP_TEST]
        problems = tested if len(problems) > len(_MBPP_TEST) and tested else problems
    problems = choose(problems, limit=limit or 0, seed=seed)
    usual = 512 if KIND_OF[name] == "answers" else 256
    return LiveBenchmark(name, tuple(problems), max_new_tokens or usual)


def load_data(
    names: Sequence[str], settings: FullSettings, *, limit: int | None, seed: int, data_dir: Path | None
) -> tuple[dict[str, LiveBenchmark], list[str]]:
    """Load every benchmark; return them and a sentence for each that cannot be had."""
    from protocols.loaders import hub_answers, known_benchmark

    loaded: dict[str, LiveBenchmark] = {}
    missing: list[str] = []
    hub: bool | None = None
    for name in names:
        source = known_benchmark(name)
        there = data_dir is not None and any(next(data_dir.glob(p), None) is not None for p in source.local)
        try:
            if not there:
                hub = hub_answers() if hub is None else hub
                if not hub:
                    raise InputError(name)  # noqa: TRY301  # what to do is said below
            loaded[name] = load_full_benchmark(
                name, limit=limit, seed=seed, data_dir=data_dir, max_new_tokens=settings.max_new_tokens
            )
        except InputError as error:
            if there:  # its file is broken: the error says where
                missing.append(f"data {name}: {error}")
                continue
            url, place = _FILES[name]
            told = f"data {name}: download {url} to {data_dir or 'DIR'}/{place}"
            missing.append(told if data_dir else f"{told} and give --data-dir DIR")
    return loaded, missing


def backend_of(settings: FullSettings) -> str:
    """Return the drafter's backend, ``auto`` resolved."""
    if settings.backend != "auto":
        return settings.backend
    named = _NAMED_BACKEND.match(settings.drafter)
    if named:
        return named.group(1)
    on_cuda = settings.device.startswith(("auto", "cuda"))
    return "vllm" if on_cuda and find_spec("vllm") is not None and cuda_devices() else "transformers"


def quantization_of(settings: FullSettings) -> tuple[str | None, str | None]:
    """Return the quantization of drafter and refiner, ``auto`` resolved."""
    on_cuda = settings.device.startswith(("auto", "cuda"))
    four_bits = on_cuda and find_spec("bitsandbytes") is not None and bool(cuda_devices())
    drafter = settings.drafter_quantization
    if drafter == "auto":
        drafter = "4bit" if four_bits else "none"
    refiner = "none" if settings.refiner_quantization == "auto" else settings.refiner_quantization
    return (None if drafter == "none" else drafter), (None if refiner == "none" else refiner)


def open_pair(settings: FullSettings, *, name: str = "specref") -> Any:
    """Load both models as a pipeline.

    Raises:
        CheckpointError: a checkpoint cannot be reached, or is damaged.
        InputError: a setting cannot be used here.
    """
    from specref_core.specref import from_pretrained

    drafter, refiner = quantization_of(settings)
    options: dict[str, Any] = {"chat": settings.chat, "backend": backend_of(settings), **dict(settings.overrides)}
    return from_pretrained(
        settings.drafter,
        settings.refiner,
        name=name,
        drafter_quantization=drafter,
        drafter_revision=settings.drafter_revision,
        refiner_quantization=refiner,
        refiner_revision=settings.refiner_revision,
        dtype=settings.dtype,
        device_map="auto" if settings.device == "auto" else {"": settings.device},
        **options,
    )


def full_system(
    settings: FullSettings,
    benchmarks: Mapping[str, LiveBenchmark],
    *,
    ledger: Path | None,
    limit: int | None,
    seed: int,
) -> LiveSystem:
    """Open the pair as a system for the live audits.

    Args:
        settings: which pair, and how.
        benchmarks: by name, from :func:`load_data`.
        ledger: file that every sample is kept in, for runs that continue.
        limit: as asked for, for the record.
        seed: of the choice of problems.

    Raises:
        CheckpointError: a checkpoint cannot be reached, or is damaged.
        InputError: a setting cannot be used here.
    """
    system = LiveSystem(
        source="full",
        pipeline=open_pair(settings, name=f"{Path(settings.drafter).name} + {Path(settings.refiner).name}"),
        benchmarks=tuple(benchmarks),
        ledger=ledger,
        limit=limit,
        seed=seed,
        batch_size=settings.batch_size,
        post_processing=settings.post_processing,
        steps=settings.steps,
    )
    for benchmark in benchmarks.values():
        system.add_benchmark(benchmark)
    return system


def _unreachable(role: str, place: str, revision: str | None) -> str | None:
    from specref_core.models.checkpoint import locate

    local = Path(place).expanduser()
    if local.is_dir():
        return None if (local / "config.json").is_file() else f"{role} {place}: the directory has no config.json"
    looks_like_hub = place.count("/") == 1 and not local.is_absolute() and not place.startswith((".", "~"))
    size = f" ({_DOWNLOADS[place]})" if place in _DOWNLOADS else ""
    if not looks_like_hub:
        return f"{role} {place}: no such directory; expected one in the hub's layout, or a hub name owner/model"
    if _cached(place, revision):
        return None
    from protocols.loaders import hub_answers

    remedy = (
        f"download it{size} where there is a network, hf download {place} --local-dir DIR, and give --{role} DIR; "
        "or copy the hub's cache and set HF_HOME"
    )
    if _switched_off() or not hub_answers():
        off = "switched off (HF_HUB_OFFLINE)" if _switched_off() else "not reachable"
        return f"{role} {place}: not here, and the hub is {off}; {remedy}"
    try:
        locate(place, revision=revision)
    except CheckpointError as error:
        first = str(error).splitlines()[0]
        return f"{role} {place}{f' at {revision}' if revision else ''}: {remedy} [{first}]"
    return None


def _switched_off() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _cached(place: str, revision: str | None) -> bool:
    """Tell whether the hub's cache has a configuration of this model; missing weights are named when it is loaded."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(place, "config.json", revision=revision), str)
