"""What runs inside vLLM: the entropies of every step, and our own choice of the token.

vLLM hands out log-probabilities of the most likely tokens, which are no entropies (the twenty most likely tokens hold a
few percent of a flat distribution), and all of them only at a price. A logits processor sees the whole raw
distribution where it is made, before temperature and truncation. It also chooses the token there, by the rule and from
the stream of random numbers of the other backend, so that a sampled draft is the same draft under both.

Importing this module needs vLLM. The engine finds both classes by name, in whatever process it runs the model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from vllm.v1.sample.logits_processor import LogitsProcessor, process_dict_updates

from specref_core.drafting.distribution import choose, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

ARGUMENT = "specref"
"""Under which name a request's settings stand in its ``extra_args``: key, seed, temperature, top_p, forced token."""

# Steps whose numbers stay on the device before they are fetched together.
_STEPS_AT_ONCE = 64

# Filled by the processor and emptied by the extension, which live in one process: numbers by request and step.
_records: dict[str, dict[int, tuple[int, float, float]]] = {}
_pending: list[tuple[list[tuple[str, int]], Tensor]] = []


@dataclass(slots=True)
class _Request:
    """One prompt that is being continued."""

    key: str
    temperature: float
    top_p: float
    forced: int | None
    stream: np.random.Generator
    written: Sequence[int]  # vLLM's own list, always the latest
    uniforms: list[float] = field(default_factory=list)

    def uniform(self, step: int) -> float:
        """Return the step's number of the request's own stream, however often the step is computed."""
        while len(self.uniforms) <= step:
            self.uniforms.append(float(self.stream.random()))
        return self.uniforms[step]


class EntropyRecorder(LogitsProcessor):  # type: ignore[misc]  # vLLM is untyped where it is not installed
    """Records entropy, token and log-probability of every step of our requests, and makes the token the only choice."""

    def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None:
        del vllm_config, device, is_pin_memory
        self.requests: dict[int, _Request] = {}

    def is_argmax_invariant(self) -> bool:
        """Return False: then it runs for greedy requests too, and before temperature and truncation."""
        return False

    def update_state(self, batch_update: Any) -> None:
        """Follow requests that enter, leave or change their row."""
        process_dict_updates(self.requests, batch_update, _request)

    def apply(self, logits: Tensor) -> Tensor:
        """Record what the distributions say and leave one token in each.

        Args:
            logits: (rows, vocab) float32, raw; changed in place.
        """
        rows = sorted(row for row in self.requests if row < len(logits))
        if not rows:
            return logits
        requests = [self.requests[row] for row in rows]
        # A prompt computed in parts passes here after each part, at step 0 every time: the last one counts.
        steps = [len(request.written) for request in requests]
        own = logits[rows]
        log_p, entropy = read(own)
        finite = own.nan_to_num()  # damage is told by the entropy; nothing may fail in here
        tokens = torch.empty(len(rows), dtype=torch.int64, device=logits.device)
        for settings in {(request.temperature, request.top_p) for request in requests}:
            group = [i for i, request in enumerate(requests) if (request.temperature, request.top_p) == settings]
            uniform = torch.tensor([requests[i].uniform(steps[i]) for i in group], dtype=torch.float64)
            temperature, top_p = settings
            tokens[group] = choose(finite[group], temperature=temperature, top_p=top_p, uniform=uniform)
        for i, request in enumerate(requests):
            if request.forced is not None:
                tokens[i] = request.forced
        chosen = log_p.gather(-1, tokens[:, None])[:, 0]
        # float64 holds every token id.
        _pending.append(
            (
                [(request.key, step) for request, step in zip(requests, steps, strict=True)],
                torch.stack([tokens.double(), entropy.double(), chosen.double()]),
            )
        )
        if len(_pending) >= _STEPS_AT_ONCE:
            _fetch()
        logits[rows] = torch.full_like(own, -torch.inf).scatter_(-1, tokens[:, None], 0.0)
        return logits


class RecordReader:
    """Mixed into vLLM's worker, so that the driver can ask for what was recorded."""

    def take_records(self, keys: Iterable[str]) -> dict[str, list[tuple[int, float, float]]]:
        """Return and forget the (token, entropy, log-probability) of every step of some requests, in order."""
        _fetch()
        taken = {}
        for key in keys:
            by_step = _records.pop(key, {})
            taken[key] = [by_step[step] for step in sorted(by_step)]
        return taken


def _request(params: Any, _prompt: list[int] | None, written: list[int]) -> _Request | None:
    asked = (params.extra_args or {}).get(ARGUMENT)
    if asked is None:
        return None
    key, seed, temperature, top_p, forced = asked
    return _Request(key, temperature, top_p, forced, np.random.default_rng(seed), written)


def _fetch() -> None:
    for places, numbers in _pending:
        for (key, step), (token, entropy, log_prob) in zip(places, numbers.T.tolist(), strict=True):
            _records.setdefault(key, {})[step] = (int(token), entropy, log_prob)
    _pending.clear()
