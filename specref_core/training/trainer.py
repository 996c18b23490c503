"""One small trainer: warm-up, constant rate, linear decay, weight averaging, checkpoints that resume exactly.

A step is a pure function of the state, the seed and the step's number: a run that was interrupted and resumed ends with
the weights of one that was not. Before the decay begins, a run does not depend on how long it will be.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from specref_core.errors import CheckpointError, InputError, SpecRefError
from specref_core.training import parallel
from specref_core.training.muon import make_optimizers


class TrainingError(SpecRefError):
    """Training cannot go on: the loss is no longer a number."""


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How long and how fast to train.

    Attributes:
        steps: optimiser steps in all.
        matrix_lr: peak learning rate of Muon.
        other_lr: peak learning rate of AdamW.
        warmup: steps of linear warm-up.
        decay: share of the steps, at the end, over which the rate falls linearly to zero.
        average: decay of the exponential moving average of the weights, which is what is evaluated and shipped.
        clip: largest gradient norm.
        micro_batches: batches whose gradients are averaged in one step; several processes may share them.
        seed: of the weights, the data and the masks.
        save_every: steps between checkpoints.
    """

    steps: int
    matrix_lr: float = 3e-3
    other_lr: float = 2e-3
    warmup: int = 100
    decay: float = 0.4
    average: float = 0.998
    clip: float = 1.0
    micro_batches: int = 1
    seed: int = 0
    save_every: int = 200

    def __post_init__(self) -> None:
        for name in ("steps", "save_every", "micro_batches"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}: expected a positive number")
        if not 0 <= self.decay <= 1:
            raise InputError(f"decay={self.decay}: expected a share between 0 and 1")

    def rate(self, step: int) -> float:
        """Return the factor on the peak learning rates at a 0-based step."""
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        left = (self.steps - step) / max(1, math.ceil(self.steps * self.decay))
        return min(rise, 1.0, left)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands, for whoever prints it.

    Attributes:
        step: steps done.
        steps: steps in all.
        loss: of the last step, nats a token.
        tokens: tokens seen since the beginning, fill included.
        seconds: spent in all runs together.
    """

    step: int
    steps: int
    loss: float
    tokens: int
    seconds: float


Loss = Callable[[nn.Module, Any, torch.Generator], Tensor]
"""Loss of one batch: (model, batch, generator of the step) -> scalar."""


class Trainer:
    """Train one model on batches that are a function of the step's number.

    Args:
        model: the network; its parameters are changed in place.
        loss: see :data:`Loss`.
        batch_at: returns a micro-batch by its 0-based number and its number of tokens; equal numbers, equal batches.
            Step s takes the numbers from s * micro_batches on.
        plan: length, rates, seed.
        checkpoint: file of the run's state, ``None`` for none. The log lies beside it, one JSON line a saved step.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        batch_at: Callable[[int], tuple[Any, int]],
        plan: TrainingPlan,
        *,
        checkpoint: Path | None = None,
    ) -> None:
        self.model, self.plan, self.checkpoint = model, plan, checkpoint
        self.step = self.tokens = 0
        self.seconds = 0.0
        self.losses: list[float] = []
        self.averaged = {name: p.detach().clone() for name, p in model.named_parameters()}
        self._loss, self._batch_at = loss, batch_at
        self._optimizers = make_optimizers(model, matrix_lr=plan.matrix_lr, other_lr=plan.other_lr)
        self._peaks = [[group["lr"] for group in o.param_groups] for o in self._optimizers]

    def run(
        self,
        *,
        until: int | None = None,
        seconds: float | None = None,
        report: Callable[[Progress], None] | None = None,
    ) -> None:
        """Train to the end of the plan, to step ``until`` or for ``seconds``; save on the way and at the end.

        Raises:
            TrainingError: the loss is not finite. The last checkpoint is left as it was.
        """
        end = self.plan.steps if until is None else min(until, self.plan.steps)
        self.model.train()
        before, begun = self.seconds, time.monotonic()
        unsaved = False
        while self.step < end and (seconds is None or time.monotonic() - begun < seconds):
            loss = self._one_step()
            self.step += 1
            self.seconds = before + time.monotonic() - begun
            self.losses.append(loss)
            unsaved = self.step % self.plan.save_every != 0
            if not unsaved:
                self.save()
            if report:
                report(Progress(self.step, self.plan.steps, loss, self.tokens, self.seconds))
        if unsaved:
            self.save()

    @property
    def done(self) -> bool:
        """Whether the plan is fulfilled."""
        return self.step >= self.plan.steps

    def save(self) -> None:
        """Write the state in one rename, so that an interruption leaves the old or the new one, never half."""
        if self.checkpoint is None or parallel.rank() > 0:
            return
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(),
            "averaged": self.averaged,
            "optimizers": [o.state_dict() for o in self._optimizers],
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "losses": self.losses,
            "plan": asdict(self.plan),
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.checkpoint)  # noqa: PTH105  # the atomic call, by its name
        recent = self.losses[-self.plan.save_every :]
        line = {"step": self.step, "loss": sum(recent) / len(recent), "tokens": self.tokens, "seconds": self.seconds}
        with self.checkpoint.with_suffix(".log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")

    def resume(self) -> bool:
        """Load the checkpoint if there is one; return whether there was.

        A plan may change its length between runs as long as the decay has not begun; all else must be equal.

        Raises:
            CheckpointError: the file is damaged, or belongs to another plan or model.
        """
        if self.checkpoint is None or not self.checkpoint.exists():
            return False
        try:
            state = torch.load(self.checkpoint, weights_only=True)
            saved = TrainingPlan(**state["plan"])
            differing = _differing(saved, self.plan, int(state["step"]))
        except Exception as error:
            raise CheckpointError(
                f"{self.checkpoint} cannot be read ({type(error).__name__}: {error}); delete it to start again"
            ) from error
        if differing:
            raise CheckpointError(
                f"{self.checkpoint} was made with another plan ({differing}); use the same settings, or another folder"
            )
        try:
            self.model.load_state_dict(state["model"])
            for optimizer, saved_state in zip(self._optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved_state)
            self.averaged = {name: p.to(self.averaged[name].device) for name, p in state["averaged"].items()}
            self.step, self.tokens, self.seconds = state["step"], state["tokens"], state["seconds"]
            self.losses = list(state["losses"])
        except Exception as error:
            raise CheckpointError(
                f"{self.checkpoint} does not fit this model ({type(error).__name__}: {error}); use another folder"
            ) from error
        return True

    def load_average(self) -> None:
        """Put the averaged weights into the model."""
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(self.averaged[name])

    def _one_step(self) -> float:
        for optimizer, peaks in zip(self._optimizers, self._peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * self.plan.rate(self.step)
        count = self.plan.micro_batches
        values, tokens = [], []
        for number in parallel.share(range(self.step * count, (self.step + 1) * count)):
            generator = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + number)
            batch, size = self._batch_at(number)
            loss = self._loss(self.model, batch, generator) / count
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward untyped
            values.append(float(loss.detach()))
            tokens.append(size)
        value, size = parallel.reduce_gradients(self.model, sum(values), sum(tokens))
        if not math.isfinite(value):
            raise TrainingError(f"the loss is {value} at step {self.step + 1}; lower the learning rates and resume")
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.clip)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.tokens += size
        # The average starts short, so that early checkpoints are not dominated by the first weights.
        keep = min(self.plan.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                self.averaged[name].lerp_(parameter, 1 - keep)
        return value


def _differing(saved: TrainingPlan, now: TrainingPlan, step: int) -> str:
    """Name the settings of two plans that make them different runs, given the steps already done."""
    before, after = asdict(saved), asdict(now)
    for plan in (before, after):
        plan.pop("save_every")
    undecayed = all(
        plan.rate(s) >= min(1.0, (s + 1) / max(1, plan.warmup)) for plan in (saved, now) for s in (step - 1,)
    )
    if undecayed:
        for plan in (before, after):
            plan.pop("steps"), plan.pop("decay")
    return ", ".join(f"{key}: {before[key]} against {after[key]}" for key in before if before[key] != after[key])
