"""A stand-in for vLLM: the part of its interface that the drafter uses, over a model of transformers, without a cache.

It is unkind where vLLM may be: prompts pass the processor once too often (chunked prefill), rows change places between
steps, few requests run at once, and a request may run a step too far (asynchronous scheduling).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import torch


@dataclass
class SamplingParams:
    temperature: float = 1.0
    max_tokens: int = 16
    stop: list = field(default_factory=list)
    stop_token_ids: list = field(default_factory=list)
    ignore_eos: bool = False
    detokenize: bool = True
    skip_special_tokens: bool = True
    prompt_logprobs: int | None = None
    extra_args: dict | None = None


@dataclass
class Update:
    batch_size: int
    removed: list
    added: list
    moved: list


class LLM:
    """``vllm.LLM`` as far as it is used."""

    started: list = []  # noqa: RUF012  # the tests look at what engines were started with
    seats = 3

    def __init__(self, **options: Any) -> None:
        from specref_core.drafting import vllm_worker
        from specref_core.drafting.checkpoint import load_causal_lm

        self.started.append(options)
        self.model, self.tokenizer = load_causal_lm(options["model"], dtype=options["dtype"])
        self.processor = vllm_worker.EntropyRecorder(None, torch.device("cpu"), False)
        self.reader = vllm_worker.RecordReader()
        self.llm_engine = SimpleNamespace(
            model_config=SimpleNamespace(max_model_len=options.get("max_model_len", 2048)),
            engine_core=SimpleNamespace(shutdown=lambda: self.started.append("shut down")),
        )

    @torch.inference_mode()
    def generate(self, prompts: list, params: list, *, use_tqdm: bool) -> list:
        assert not use_tqdm
        waiting = [
            SimpleNamespace(number=i, prompt=p["prompt_token_ids"], params=one, written=[])
            for i, (p, one) in enumerate(zip(prompts, params, strict=True))
        ]
        finished: dict[int, Any] = {}
        seats: list[Any] = [None] * self.seats
        turn = 0
        while waiting or any(seats):
            turn += 1
            added = []
            for seat, request in enumerate(seats):
                if request is None and waiting:
                    seats[seat] = new = waiting.pop(0)
                    added.append((seat, new.params, new.prompt, new.written))
            self.processor.update_state(Update(len(seats), [], added, []))
            if turn % 2:  # two requests change places
                seats[0], seats[-1] = seats[-1], seats[0]
                self.processor.update_state(Update(len(seats), [], [], [(0, len(seats) - 1, "swap")]))
            logits = torch.zeros(len(seats), self.model.config.vocab_size)
            for seat, request in enumerate(seats):
                if request is not None:
                    logits[seat] = self.model(torch.tensor([[*request.prompt, *request.written]])).logits[0, -1].float()
            if added:  # an earlier chunk of the prompt, whose sample is thrown away
                self.processor.apply(torch.randn_like(logits))
            chosen = self.processor.apply(logits).argmax(dim=-1).tolist()
            gone = []
            for seat, request in enumerate(seats):
                if request is None:
                    continue
                request.written.append(chosen[seat])
                if self._done(request):
                    gone.append(seat)
            if gone:  # one step too far
                logits = torch.randn_like(logits)
                self.processor.apply(logits)
            for seat in gone:
                finished[seats[seat].number], seats[seat] = seats[seat], None
            self.processor.update_state(Update(len(seats), gone, [], []))
        return [self._output(finished[i]) for i in range(len(prompts))]

    def collective_rpc(self, method: str, args: tuple) -> list:
        return [getattr(self.reader, method)(*args), {}]  # a second rank that does not sample

    def _done(self, request: Any) -> bool:
        text = self.tokenizer.decode(request.written, skip_special_tokens=True) if request.params.detokenize else ""
        return (
            request.written[-1] in request.params.stop_token_ids
            or len(request.written) >= request.params.max_tokens
            or any(stop in text for stop in request.params.stop)
        )

    def _output(self, request: Any) -> Any:
        scores = None
        if request.params.prompt_logprobs is not None:
            log_p = self.model(torch.tensor([request.prompt])).logits[0].float().log_softmax(-1)
            scores = [None] + [
                {token: SimpleNamespace(logprob=log_p[i, token].item())} for i, token in enumerate(request.prompt[1:])
            ]
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=tuple(request.written))], prompt_logprobs=scores)


def process_dict_updates(entries: dict, update: Any, new: Any) -> bool:
    for index, params, prompt, written in update.added:
        if (state := new(params, prompt, written)) is not None:
            entries[index] = state
    for index in update.removed:
        entries.pop(index, None)
    for one, other, _ in update.moved:
        first, second = entries.pop(one, None), entries.pop(other, None)
        entries.update({i: e for i, e in ((other, first), (one, second)) if e is not None})
    return True


def install(monkeypatch: Any, *, version: str = "0.30.0") -> None:
    """Put the stand-in where ``import vllm`` finds it."""
    top, inner = ModuleType("vllm"), ModuleType("vllm.v1.sample.logits_processor")
    top.__version__, top.LLM, top.SamplingParams = version, LLM, SamplingParams
    inner.LogitsProcessor, inner.process_dict_updates = object, process_dict_updates
    for name in ("vllm.v1", "vllm.v1.sample"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "vllm", top)
    monkeypatch.setitem(sys.modules, "vllm.v1.sample.logits_processor", inner)
    monkeypatch.delitem(sys.modules, "specref_core.drafting.vllm_worker", raising=False)
    monkeypatch.setattr("specref_core.drafting.vllm.find_spec", lambda _: True)
