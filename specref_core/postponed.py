"""A pipeline that is loaded when it is first asked to make something.

A run that finds all its samples in a ledger needs of a pipeline its name, its fingerprint and what it can do; loading
two models for that takes longer than everything else. So these generators know the three without torch, and ask the
pipeline itself, made once by :func:`specref_core.specref.from_pretrained`, for whatever else is wanted of them.
"""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from specref_core.errors import InputError
from specref_core.fingerprint import files_digest, settings_digest
from specref_core.generator import END_RULES
from specref_core.masking import MaskPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from specref_core.generator import (
        Budget,
        Completion,
        Draft,
        Generator,
        LikelihoodRequest,
        LogLikelihood,
        MonteCarlo,
        Projection,
        Scaffold,
    )

_CHECKPOINT = (".json", ".jinja", ".safetensors", ".model", ".txt", ".py")
"""Suffixes of the files of a checkpoint that can change what it writes."""


def postponed(drafter: Path, refiner: Path, *, name: str = "specref", **settings: Any) -> PostponedSpecRef:
    """Return the pipeline of two checkpoint directories, not loaded yet.

    Its fingerprint is another than the loaded pipeline's, for it is made of files: those of both checkpoints, the
    settings as they are given here, and the source of this package, which holds the settings that are not given.

    Args:
        drafter: directory of a causal LM.
        refiner: directory of a checkpoint in the LLaDA layout.
        name: how it is called in tables.
        **settings: for :func:`specref_core.specref.from_pretrained`, which refuses what it does not know when the
            pipeline is loaded.
    """

    def load() -> Any:
        from specref_core.specref import from_pretrained

        return from_pretrained(drafter, refiner, name=name, **settings)

    told = {"ban_eos": False, "defer_eos": False, **settings}
    told.pop("batch_size", None)  # which changes nothing that is written
    return PostponedSpecRef(_Once(load), drafter, refiner, name=name, settings=told)


@cache
def _code_digest() -> str:
    return files_digest([Path(__file__).resolve().parent], suffixes=(".py",))


class _Once:
    """A function that is called once, by the first who needs its result."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: list[Any] = []
        self._lock = Lock()

    def __call__(self) -> Any:
        with self._lock:
            if not self._made:
                self._made.append(self._make())
        return self._made[0]


class _Postponed:
    """What the pipeline and its parts have in common."""

    def __init__(self, made: _Once, *folders: Path, name: str, settings: Mapping[str, object]) -> None:
        self.name = name
        self._made = made
        self._folders = folders
        self._settings = dict(settings)
        self._fingerprint: str | None = None

    def generate(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Completion]:
        """Continue every prompt."""
        done: list[Completion] = self._made().generate(prompts, budget=budget, seed=seed)
        return done

    def log_likelihood(
        self, requests: Sequence[LikelihoodRequest], *, monte_carlo: MonteCarlo, seed: int
    ) -> list[list[LogLikelihood]]:
        """Score continuations."""
        found: list[list[LogLikelihood]] = self._made().log_likelihood(requests, monte_carlo=monte_carlo, seed=seed)
        return found

    def chat_prompt(self, prompt: str) -> str | None:
        """Return the prompt as the chat template writes it; ``None`` where there is no template."""
        text: str | None = self._made().chat_prompt(prompt)
        return text

    def fingerprint(self) -> str:
        """Name the files, the settings and the code."""
        if self._fingerprint is None:
            files = files_digest(self._folders, suffixes=_CHECKPOINT)
            self._fingerprint = settings_digest(_code_digest(), files, sorted(self._settings.items()))
        return self._fingerprint

    def _ruled(self, rule: str) -> tuple[_Once, dict[str, object]]:
        """Return how to make the twin under an end rule, weights shared, and its settings."""
        if rule not in END_RULES:
            raise InputError(f"end rule {rule!r}: expected one of {', '.join(END_RULES)}")
        settings = {**self._settings, "ban_eos": rule == "banned", "defer_eos": rule == "deferred"}
        return _Once(lambda: self._made().with_end_rule(rule)), settings


class PostponedDrafter(_Postponed):
    """The drafter of a pipeline that may not be loaded yet."""

    def draft(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Draft]:
        """Draft every prompt."""
        drafts: list[Draft] = self._made().draft(prompts, budget=budget, seed=seed)
        return drafts


class PostponedRefiner(_Postponed):
    """The refiner of a pipeline that may not be loaded yet."""

    def refine(
        self, prompts: Sequence[str], scaffolds: Sequence[Scaffold], *, budget: Budget, seed: int
    ) -> list[Completion]:
        """Fill the hidden tokens of every scaffold."""
        done: list[Completion] = self._made().refine(prompts, scaffolds, budget=budget, seed=seed)
        return done

    def with_end_rule(self, rule: str) -> PostponedRefiner:
        """Return this refiner, weights shared, under another treatment of the end token.

        Raises:
            InputError: there is no such rule. That the model has no end token is found when it is loaded.
        """
        made, settings = self._ruled(rule)
        return PostponedRefiner(made, *self._folders, name=f"{self.name}, end token {rule}", settings=settings)


class PostponedSpecRef(PostponedRefiner):
    """The pipeline: made by :func:`postponed`.

    Attributes:
        name: how it is called in tables.
        policy: which draft tokens are hidden.
    """

    def __init__(self, made: _Once, drafter: Path, refiner: Path, *, name: str, settings: Mapping[str, object]) -> None:
        super().__init__(made, drafter, refiner, name=name, settings=settings)
        chosen: dict[str, Any] = {f.name: settings[f.name] for f in fields(MaskPolicy) if f.name in settings}
        self.policy = MaskPolicy(**chosen)

    def draft(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Draft]:
        """Return the drafts that ``generate`` starts from."""
        drafts: list[Draft] = self._made().draft(prompts, budget=budget, seed=seed)
        return drafts

    def project(self, draft: Draft) -> Projection:
        """Return the refiner's tokens of a draft and the score of each."""
        seen: Projection = self._made().project(draft)
        return seen

    def components(self) -> Mapping[str, Generator]:
        """Return the drafter alone and the refiner alone, of the same pipeline."""
        drafter, refiner = self._folders
        return {
            "drafter": PostponedDrafter(
                _Once(lambda: self._made().drafter), drafter, name="drafter", settings=self._settings
            ),
            "refiner": PostponedRefiner(
                _Once(lambda: self._made().refiner), refiner, name="refiner", settings=self._settings
            ),
        }

    def with_end_rule(self, rule: str) -> PostponedSpecRef:
        """Return this pipeline, weights shared, whose refiner treats the end token by another rule.

        Raises:
            InputError: there is no such rule. That the model has no end token is found when it is loaded.
        """
        made, settings = self._ruled(rule)
        drafter, refiner = self._folders
        return PostponedSpecRef(made, drafter, refiner, name=f"{self.name}, end token {rule}", settings=settings)
