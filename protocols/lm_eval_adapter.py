"""Any SpecRef generator as a model of lm-evaluation-harness, and its command line with that model registered.

Releases of lm-eval that discover plugins find the class by the entry point ``lm_eval.models``; then the harness's own
``lm_eval --model specref …`` works. For the others (0.4.13 among them) ``python -m protocols.lm_eval_adapter`` is the
harness's command line, option for option, after the registration.

What the harness cannot express is added where it allows: it knows one log-likelihood a call and no error of it, so the
Monte Carlo error of masked models stands in the results file under ``config`` and, estimate by estimate, in the file
that the model argument ``likelihoods`` names.
"""

from __future__ import annotations

import json
import logging
import math
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from lm_eval.api.model import LM
    from lm_eval.api.registry import register_model
except ImportError as missing:
    raise ImportError("the adapter needs lm-evaluation-harness: pip install 'specref[harness]'") from missing

from protocols.likelihoods import estimate_likelihoods
from protocols.multiple_choice import flip_probability, split_boundary
from specref_core.errors import InputError, SpecRefError
from specref_core.generator import Budget, Generator, LikelihoodRequest, LogLikelihood, MonteCarlo
from specref_core.loading import check_generator, fingerprint, generate, load

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_log = logging.getLogger(__name__)
_SAMPLING = ("temperature", "top_p", "top_k")


@register_model("specref")  # type: ignore[untyped-decorator, unused-ignore]  # lm-eval ships no types
class SpecRefLM(LM):  # type: ignore[misc, unused-ignore]  # same
    """A generator behind the harness's interface.

    Args:
        generator: ``pkg.mod:factory`` or ``file.py:factory`` (as ``--model_args`` can say it), or a generator.
        steps: nominal denoising steps; left out, the generator chooses.
        max_new_tokens: most tokens of a completion, where the task does not say ``max_gen_toks``.
        seed: of the generations and of the Monte Carlo masks.
        mc: mask draws a continuation.
        mc_batch: draws stratified together.
        mc_scheme: ``systematic``, ``uniform`` or ``exact``.
        batch_size: prompts a call of the generator.
        likelihoods: a file to write every likelihood estimate with its standard error to, one JSON object a line.
        device: ignored; the harness passes one to every model, and here the factory decides where its model lives.
        max_batch_size: ignored, for the same reason.
    """

    def __init__(
        self,
        generator: str | Generator,
        *,
        steps: int | None = None,
        max_new_tokens: int = 256,
        seed: int = 0,
        mc: int = 128,
        mc_batch: int = 8,
        mc_scheme: str = "systematic",
        batch_size: int | str = 8,
        likelihoods: str | None = None,
        device: str | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        del device, max_batch_size
        self.generator = (
            load(generator) if isinstance(generator, str) else check_generator(generator, "generator argument")
        )
        self.budget = Budget(steps=steps, max_new_tokens=max_new_tokens)
        self.seed = seed
        self.monte_carlo = MonteCarlo(samples=mc, batch=mc_batch, scheme=mc_scheme)
        self.batch = _batch(batch_size)
        self.likelihoods = None if likelihoods is None else Path(likelihoods)
        if self.likelihoods is not None and not self.likelihoods.absolute().parent.is_dir():
            raise InputError(f"likelihoods={likelihoods}: the folder does not exist; create it first")
        self._contexts: dict[str, list[LogLikelihood]] = {}
        self._warned: set[str] = set()

    @property
    def tokenizer_name(self) -> str:
        """What the harness's request cache tells models apart by: the generator's fingerprint."""
        return f"specref-{fingerprint(self.generator)}"

    def get_model_info(self) -> dict[str, Any]:
        """Return what the harness writes into its results: generator, budget, and the likelihoods' error."""
        info: dict[str, Any] = {
            "specref_generator": self.generator.name,
            "specref_fingerprint": fingerprint(self.generator),
            "specref_budget": asdict(self.budget),
            "specref_seed": self.seed,
        }
        if self._contexts:
            info["specref_monte_carlo"] = asdict(self.monte_carlo)
            info["specref_likelihood_error"] = self.likelihood_error()
        return info

    def likelihood_error(self) -> dict[str, float | int | None]:
        """Summarize the stochastic error of every likelihood estimated so far.

        Returns:
            ``estimates``, their ``mean_standard_error`` and ``max_standard_error`` in nats (``None`` where one batch of
            masks gives none), and ``expected_flips``: the share of contexts whose best continuation another seed would
            be expected to change (``protocols.multiple_choice.flip_probability``).
        """
        estimates = [estimate for row in self._contexts.values() for estimate in row]
        errors = [estimate.standard_error for estimate in estimates]
        known = bool(errors) and not any(math.isnan(error) for error in errors)
        flips = [_flip(row) for row in self._contexts.values() if len(row) > 1]
        return {
            "estimates": len(estimates),
            "mean_standard_error": sum(errors) / len(errors) if known else None,
            "max_standard_error": max(errors) if known else None,
            "expected_flips": sum(flips) / len(flips) if known and flips else None,
        }

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Continue each context and cut at the first of its stop strings.

        A context that occurs k times (the harness's ``repeats``) gets k seeds, counted up from :attr:`seed`.
        """
        groups: dict[tuple[int, int], list[int]] = {}
        occurrences: Counter[str] = Counter()
        prepared: list[tuple[str, list[str]]] = []
        for position, request in enumerate(requests):
            context, options = request.args[0], dict(request.args[1])
            self._note_sampling(options)
            most = int(options.get("max_gen_toks") or self.budget.max_new_tokens)
            prepared.append((context, _stops(options.get("until"))))
            again = occurrences[context]
            occurrences[context] += 1
            groups.setdefault((most, self.seed + again), []).append(position)
        texts = [""] * len(requests)
        for (most, seed), positions in groups.items():
            budget = Budget(steps=self.budget.steps, max_new_tokens=most)
            for some in _batches(positions, self.batch, quiet=disable_tqdm):
                prompts = [prepared[position][0] for position in some]
                completions = generate(self.generator, prompts, budget=budget, seed=seed)
                for position, completion in zip(some, completions, strict=True):
                    texts[position] = _cut(completion.text, prepared[position][1])
                    self.cache_hook.add_partial("generate_until", requests[position].args, texts[position])
        return texts

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Estimate log p(continuation | context) of each request; continuations of one context share their masks.

        The second value of each pair, whether the continuation is the greedy one, is ``False``: a masked model has no
        greedy continuation without decoding it. Metrics that read it (``acc`` of tasks with a single continuation)
        mean nothing here, and a warning says so.

        Raises:
            InputError: the generator has no likelihoods.
            GeneratorError: it returned something else than one estimate a continuation.
        """
        self._warn("is_greedy is not computed and reported as False; do not read metrics that are built on it")
        rows: dict[str, list[int]] = {}
        pairs = [split_boundary(*request.args) for request in requests]
        for position, (context, _) in enumerate(pairs):
            rows.setdefault(context, []).append(position)
        found: list[tuple[float, bool]] = [(math.nan, False)] * len(requests)
        for contexts in _batches(list(rows), self.batch, quiet=disable_tqdm):
            asked = [
                LikelihoodRequest(context, tuple(pairs[position][1] for position in rows[context]))
                for context in contexts
            ]
            answers = estimate_likelihoods(self.generator, asked, monte_carlo=self.monte_carlo, seed=self.seed)
            for request, estimates in zip(asked, answers, strict=True):
                self._keep(request, estimates)
                for position, estimate in zip(rows[request.context], estimates, strict=True):
                    found[position] = (float(estimate.value), False)
                    self.cache_hook.add_partial("loglikelihood", requests[position].args, found[position])
        error = self.likelihood_error()
        if error["max_standard_error"]:
            _log.warning("log-likelihoods are Monte Carlo estimates: %s", json.dumps(error))
        return found

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Refuse: a whole document's likelihood, window by window, is defined for left-to-right models only.

        Raises:
            InputError: always.
        """
        del requests, disable_tqdm
        raise InputError(
            f"{self.generator.name!r}: perplexity tasks (loglikelihood_rolling) score a document window by window from "
            "left to right, which a masked or hybrid generator does not define; choose tasks of generate_until or "
            "loglikelihood"
        )

    def _keep(self, request: LikelihoodRequest, estimates: list[LogLikelihood]) -> None:
        self._contexts[request.context] = list(estimates)
        if self.likelihoods is not None:
            with self.likelihoods.open("a", encoding="utf-8") as file:
                for continuation, estimate in zip(request.continuations, estimates, strict=True):
                    row = {"context": request.context, "continuation": continuation, **asdict(estimate)}
                    file.write(json.dumps(row) + "\n")

    def _note_sampling(self, options: dict[str, Any]) -> None:
        if options.get("do_sample"):
            asked = ", ".join(name for name in ("do_sample", *_SAMPLING) if name in options)
            self._warn(f"{asked} of the task are ignored: the generator decides how it samples")

    def _warn(self, told: str) -> None:
        if told not in self._warned:
            self._warned.add(told)
            _log.warning("%s", told)


def main() -> None:
    """Run the harness's command line with the model ``specref`` registered."""
    from lm_eval.__main__ import cli_evaluate

    try:
        cli_evaluate()
    except SpecRefError as error:
        sys.stderr.write(f"specref: {error}\n")
        sys.exit(2)


def _flip(row: Sequence[LogLikelihood]) -> float:
    values = [estimate.value for estimate in row]
    errors = [estimate.standard_error for estimate in row]
    return flip_probability(values, errors, values.index(max(values)), rounds=[estimate.rounds for estimate in row])


def _stops(until: Any) -> list[str]:
    return [until] if isinstance(until, str) else [stop for stop in until or [] if stop]


def _cut(text: str, stops: Iterable[str]) -> str:
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]


def _batch(batch_size: int | str) -> int:
    if isinstance(batch_size, str) and batch_size.startswith("auto"):
        return 8
    try:
        size = int(batch_size)
    except ValueError:
        size = 0
    if size < 1:
        raise InputError(f"batch_size={batch_size!r}: expected a positive number of prompts")
    return size


def _batches(entries: list[Any], size: int, *, quiet: bool) -> Iterable[list[Any]]:
    from tqdm import tqdm  # type: ignore[import-untyped, unused-ignore]  # the harness's own bar; it ships no types

    with tqdm(total=len(entries), disable=quiet, desc="specref") as bar:
        for start in range(0, len(entries), size):
            yield entries[start : start + size]
            bar.update(len(entries[start : start + size]))


if __name__ == "__main__":
    main()
