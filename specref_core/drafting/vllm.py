"""Drafting under vLLM: the drafts of the transformers backend, many at a time.

Tokenizing, stop strings, the choice of each token and its entropy are our own code, shared with the other backend, so
that the same checkpoint gives the same draft under both up to float noise. vLLM computes the logits and schedules.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from specref_core.cost import ModelShape, generation_flops
from specref_core.drafting.checkpoint import CausalLMFiles, check_causal_lm, generation_end
from specref_core.drafting.distribution import not_numbers
from specref_core.drafting.text_side import TextSide
from specref_core.errors import CheckpointError, GeneratorError, InputError
from specref_core.fingerprint import settings_digest, tokenizer_digest
from specref_core.generator import LogLikelihood
from specref_core.likelihood import likelihood_pairs, regroup
from specref_core.models.checkpoint import weights_dtype
from specref_core.models.vocabulary import end_ids
from specref_core.seeding import row_seed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from specref_core.generator import Budget, Draft, LikelihoodRequest, MonteCarlo

# Of these versions the logits processor's interface was read; the next ones have another.
_VERSIONS = ((0, 27), (0, 31))

_PROCESSOR = "specref_core.drafting.vllm_worker:EntropyRecorder"
_EXTENSION = "specref_core.drafting.vllm_worker.RecordReader"

# Bytes hashed at a time.
_CHUNK = 1 << 24


class VllmDrafter(TextSide):
    """A causal language model served by vLLM that drafts and knows how sure it was of each token.

    Args:
        engine: a ``vllm.LLM`` started with our processor and extension, as :meth:`from_pretrained` starts it.
        files: the checkpoint that it serves.
        identity: names the weights and how they are computed.
        context_window: most tokens of prompt and draft together.
        temperature: 0 drafts greedily; otherwise tokens are drawn from the tempered distribution.
        top_p: nucleus of the draw; entropies are always of the full, raw distribution.
        stop: strings that end a draft, which then stops before the first of them; none by default.
    """

    def __init__(
        self,
        engine: Any,
        files: CausalLMFiles,
        *,
        identity: str,
        context_window: int | None,
        temperature: float = 0.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
    ) -> None:
        super().__init__(
            files.tokenizer,
            vocab_size=int(files.config.get_text_config().vocab_size),
            context_window=context_window,
            end_ids=end_ids(
                generation_end(files.folder),
                getattr(files.config, "eos_token_id", None),
                getattr(files.tokenizer, "eos_token_id", None),
            ),
            temperature=temperature,
            top_p=top_p,
            stop=stop,
        )
        self.engine = engine
        self.config = files.config
        self._identity = identity

    @classmethod
    def from_pretrained(
        cls,
        place: str | Path,
        *,
        dtype: str = "auto",
        quantization: str | None = None,
        revision: str | None = None,
        devices: int = 1,
        memory_share: float = 0.4,
        context_window: int | None = None,
        engine_options: Mapping[str, Any] | None = None,
        temperature: float = 0.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
    ) -> VllmDrafter:
        """Check a checkpoint directory, then start vLLM with it.

        Args:
            place: a directory in the hub's layout, or a hub name.
            dtype: ``auto`` (the checkpoint's), or a torch dtype's name.
            quantization: ``None`` or ``4bit`` (bitsandbytes, quantized as it loads; needs a 16-bit dtype).
            revision: of a hub name.
            devices: GPUs that the model is split over.
            memory_share: of each GPU's memory, for weights and key-value cache together. What is left is the
                refiner's, so the drafter must be loaded first.
            context_window: most tokens of prompt and draft; the model's own if not given. A shorter one saves memory.
            engine_options: further arguments of ``vllm.LLM``, which win over ours.
            temperature: see the class.
            top_p: see the class.
            stop: see the class.

        Raises:
            InputError: vLLM is missing, of another version or cannot start here, or a setting cannot be used.
            CheckpointError: see :func:`specref_core.drafting.checkpoint.load_causal_lm`; found before vLLM starts.
        """
        version = require_vllm()
        if not 0 < memory_share <= 1:
            raise InputError(f"memory_share={memory_share!r}: expected more than 0 and at most 1")
        if devices < 1:
            raise InputError(f"devices={devices!r}: expected at least one")
        files = check_causal_lm(place, revision=revision)
        own_window = getattr(files.config.get_text_config(), "max_position_embeddings", None)
        if context_window is not None and not 1 < context_window <= (own_window or context_window):
            raise InputError(f"context_window={context_window!r}: expected at most {own_window}, the model's own")
        window = context_window or own_window
        dtype = _dtype(files, dtype)
        options: dict[str, Any] = {
            "model": str(files.folder),
            "tokenizer": str(files.folder),
            "dtype": dtype,
            "tensor_parallel_size": devices,
            "gpu_memory_utilization": memory_share,
            "logits_processors": [_PROCESSOR],
            "worker_extension_cls": _EXTENSION,
            "generation_config": "vllm",  # nothing of the checkpoint's sampling defaults
            "enable_prefix_caching": False,  # a prompt met again must give the draft it gave before
            "disable_log_stats": True,
            "trust_remote_code": False,
        }
        if window is not None:
            options["max_model_len"] = window
        if devices == 1:
            options["distributed_executor_backend"] = "uni"
        if quantization is not None:
            _require_quantization(quantization, dtype, version)
            options["quantization"] = "bitsandbytes"
        options |= engine_options or {}
        # The engine runs in this process unless the user says otherwise: nothing is left behind when it is killed, and
        # the caller's script needs no __main__ guard.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        from vllm import LLM

        try:
            engine = LLM(**options)
        except Exception as error:  # whatever the engine's start runs into: memory, drivers, kernels
            raise InputError(
                f"vLLM could not start with {files.folder} ({type(error).__name__}: {_first_line(error)}); "
                f"it was given memory_share={memory_share}, devices={devices}, dtype={dtype!r}. "
                "Change these, or take the transformers backend"
            ) from error
        served = int(engine.llm_engine.model_config.max_model_len)
        identity = settings_digest(_files_digest(files.folder), "vllm", version, dtype, quantization, devices)
        return cls(
            engine,
            files,
            identity=identity,
            context_window=served if window is None else min(window, served),
            temperature=temperature,
            top_p=top_p,
            stop=stop,
        )

    def draft(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Draft]:
        """Continue every prompt by at most ``budget.max_new_tokens`` tokens; see ``TransformersDrafter.draft``.

        Raises:
            InputError: a prompt fills the context window, or is empty and there is no begin token.
            CheckpointError: the model's logits are not numbers.
        """
        from vllm import SamplingParams

        encoded = self._encode_prompts(prompts)
        # vLLM's own detokenizer ends a request early; where the text ends is decided below, by our decoding.
        texts = {"stop": list(self.stop), "detokenize": True} if self.stop else {"detokenize": False}
        params = [
            SamplingParams(
                temperature=0.0,  # the processor leaves one token to choose
                max_tokens=self._room(len(ids), budget.max_new_tokens),
                stop_token_ids=sorted(self.end_ids),
                ignore_eos=True,  # stop_token_ids are all of them
                skip_special_tokens=True,
                extra_args=_argument(row_seed(seed, prompt, "draft"), self.temperature, self.top_p),
                **texts,
            )
            for prompt, ids in zip(prompts, encoded, strict=True)
        ]
        drafts = []
        for ids, (_, steps) in zip(encoded, self._run(encoded, params), strict=True):
            kept = steps[: self._length([token for token, _, _ in steps])]
            tokens, entropies, log_probs = (list(column) for column in zip(*kept, strict=True))
            drafts.append(self._as_draft(ids, tokens, [max(0.0, entropy) for entropy in entropies], log_probs))
        return drafts

    def log_likelihood(
        self, requests: Sequence[LikelihoodRequest], *, monte_carlo: MonteCarlo, seed: int
    ) -> list[list[LogLikelihood]]:
        """Score every continuation of every request exactly; ``monte_carlo`` and ``seed`` change nothing."""
        del monte_carlo, seed
        from vllm import SamplingParams

        pairs = likelihood_pairs(self.config, self.tokenizer, requests, needs_context=True)
        scorable = [index for index, (_, target) in enumerate(pairs) if target]
        rows = [[*pairs[index][0], *pairs[index][1]] for index in scorable]
        longest = max(map(len, rows), default=0)
        if self.context_window is not None and longest > self.context_window:
            raise InputError(
                f"a context and its continuation are {longest} tokens, the drafter takes {self.context_window}; "
                "shorten the context or give a larger context_window"
            )
        # The last token is not fed but forced, so that a pair may fill the window.
        params = [
            SamplingParams(
                temperature=0.0,
                max_tokens=1,
                prompt_logprobs=0 if len(pairs[index][1]) > 1 else None,
                ignore_eos=True,
                detokenize=False,
                extra_args=_argument(0, 0.0, 1.0, forced=row[-1]),
            )
            for index, row in zip(scorable, rows, strict=True)
        ]
        values: dict[int, float] = {}
        for index, row, (output, steps) in zip(
            scorable, rows, self._run([row[:-1] for row in rows], params), strict=True
        ):
            inner = range(len(pairs[index][0]), len(row) - 1)
            values[index] = sum(float(output.prompt_logprobs[i][row[i]].logprob) for i in inner) + steps[0][2]
        scored = [LogLikelihood(values.get(i, 0.0), 0.0, 0, len(target)) for i, (_, target) in enumerate(pairs)]
        return regroup(scored, requests)

    def flops(self, prompt: str, draft: Draft) -> float:
        """Return the operations of one cached generation, by the formulas of :mod:`specref_core.cost`."""
        shape = ModelShape.of(self.config)
        return generation_flops(shape, prompt=len(self._encode_prompts([prompt])[0]), generated=len(draft.token_ids))

    def fingerprint(self) -> str:
        """Name weights, tokenizer and settings, and vLLM's version: its kernels' noise is not the library's."""
        choices = (self.temperature, self.top_p, self.stop, self.context_window)
        return settings_digest(self._identity, tokenizer_digest(self.tokenizer), *choices)

    def close(self) -> None:
        """Stop the engine and give its memory back."""
        core = getattr(getattr(self.engine, "llm_engine", None), "engine_core", None)
        if core is not None:
            core.shutdown()

    def _run(self, rows: list[list[int]], params: list[Any]) -> list[tuple[Any, list[tuple[int, float, float]]]]:
        """Return what vLLM says of every row, and the (token, entropy, log-probability) of each of its steps."""
        if not rows:
            return []
        keys = [one.extra_args[_argument_name()][0] for one in params]
        try:
            outputs = self.engine.generate([{"prompt_token_ids": row} for row in rows], params, use_tqdm=False)
        except Exception as error:  # a kernel, a driver, memory: whatever the engine runs into
            with suppress(Exception):
                self._records(keys)
            raise GeneratorError(
                f"vLLM failed with {len(rows)} prompts ({type(error).__name__}: {_first_line(error)}); if it goes on, "
                "take backend='transformers'"
            ) from error
        records = self._records(keys)
        # Sorted by request: what a call that was interrupted left running comes before what this one asked for.
        outputs = outputs[-len(rows) :]
        found = []
        for key, output in zip(keys, outputs, strict=True):
            written, steps = list(output.outputs[0].token_ids), records.get(key, [])
            # A step may have been computed ahead of a stop; it is not part of the output.
            if [token for token, _, _ in steps[: len(written)]] != written or not written:
                raise GeneratorError(
                    f"vLLM returned {len(written)} tokens and the processor recorded {len(steps)} others; this version "
                    "of vLLM runs logits processors otherwise than known: take the transformers backend"
                )
            kept = steps[: len(written)]
            if any(entropy != entropy for _, entropy, _ in kept):  # noqa: PLR0124  # NaN
                raise CheckpointError(not_numbers())
            found.append((output, kept))
        return found

    def _records(self, keys: list[str]) -> dict[str, list[tuple[int, float, float]]]:
        """Return and forget what was recorded of requests; of a split model's ranks, those that sample have it."""
        records: dict[str, list[tuple[int, float, float]]] = {}
        for part in self.engine.collective_rpc("take_records", args=(keys,)):
            records |= {key: steps for key, steps in part.items() if steps}
        return records

    def _length(self, tokens: list[int]) -> int:
        """Return how many tokens of a draft there are by our own rules."""
        if self.stop:
            for count in range(1, len(tokens) + 1):
                if tokens[count - 1] in self.end_ids or self._stopped(tokens[:count]):
                    return count
        return len(tokens)


def require_vllm() -> str:
    """Return vLLM's version.

    Raises:
        InputError: it is not installed, cannot be imported here, or is a version that was not made for.
    """
    if find_spec("vllm") is None:
        raise InputError(
            "the vllm backend needs vLLM: pip install 'specref[vllm]' (Linux and CUDA 13); or take "
            "backend='transformers'"
        )
    try:
        import vllm
    except Exception as error:  # a CUDA build on a machine without CUDA fails on a shared library
        raise InputError(
            f"vLLM is installed and cannot be imported here ({type(error).__name__}: {_first_line(error)}); "
            "its wheels need CUDA. Take backend='transformers'"
        ) from error
    from packaging.version import Version

    version = str(vllm.__version__)
    lowest, limit = _VERSIONS
    if not lowest <= Version(version).release[:2] < limit:
        raise InputError(
            f"vLLM {version} is installed; its interface is known from {lowest[0]}.{lowest[1]} to below "
            f"{limit[0]}.{limit[1]}: pip install 'specref[vllm]'"
        )
    return version


def _argument_name() -> str:
    from specref_core.drafting.vllm_worker import ARGUMENT

    return ARGUMENT


def _argument(seed: int, temperature: float, top_p: float, *, forced: int | None = None) -> dict[str, Any]:
    """Return a request's ``extra_args``: plain data, since they may travel to another process."""
    return {_argument_name(): [uuid4().hex, seed, temperature, top_p, forced]}


def _dtype(files: CausalLMFiles, asked: str) -> str:
    """Return the dtype to compute in; ``auto`` is the checkpoint's, where vLLM's own ``auto`` narrows float32."""
    if asked != "auto":
        return asked
    named = getattr(files.config, "dtype", None)
    return weights_dtype(files.folder) or "auto" if named is None else str(named).removeprefix("torch.")


def _require_quantization(asked: str, dtype: str, version: str) -> None:
    if asked != "4bit":
        raise InputError(f"quantization={asked!r}: under vLLM expected None or 4bit")
    if find_spec("bitsandbytes") is None:
        raise InputError("quantization='4bit' needs bitsandbytes: pip install 'specref[vllm]'")
    from packaging.version import Version

    if Version(version).release >= (0, 28) and find_spec("vllm_bnb_plugin") is None:
        raise InputError(f"quantization='4bit' under vLLM {version} needs its plugin: pip install vllm-bnb-plugin")
    if dtype not in ("float16", "bfloat16", "half"):
        raise InputError(f"quantization='4bit' under vLLM needs a 16-bit dtype, got {dtype!r}: give dtype='bfloat16'")


def _files_digest(folder: Path) -> str:
    """Return a digest of the files that vLLM computes from: about a second for every gigabyte."""
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin"), folder / "config.json"]):
        digest.update(f"{file.name}\n".encode())
        with file.open("rb") as opened:
            while part := opened.read(_CHUNK):
                digest.update(part)
    return digest.hexdigest()[:16]


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "") or "no message"
