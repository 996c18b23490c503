"""Likelihood on an instruct model: choices ranked after the plain context, and after the model's own chat template.

An instruct model was trained to answer inside its template; harnesses rank choices outside of it unless told otherwise.
The wrapper here moves each context into the template and scores the bare choice as the assistant's turn, without the
delimiter that stands before it in running text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audits.likelihood_noise import METRIC, MOST_REPEATED, SEED, choice, ranked_part, ranking
from audits.live_systems import PIPELINE, ROUNDS, MissingCapabilityError
from audits.live_verdicts import conclude
from audits.statistics import compare_paired, compare_unpaired, decide
from fixtures.published import llada_scores, specref_score
from protocols.multiple_choice import split_boundary
from specref_core import loading
from specref_core.errors import GeneratorError
from specref_core.generator import HasChatPrompt, LikelihoodRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audits.live_systems import LiveSystem
    from audits.verdicts import Verdict
    from specref_core.generator import Budget, Completion, Generator, LogLikelihood, MonteCarlo

PUBLISHED = ("ARC-Challenge", "HellaSwag")


class ThroughTemplate:
    """A generator whose likelihood questions are asked through its chat template.

    Args:
        inner: with ``log_likelihood`` and ``chat_prompt``.
    """

    def __init__(self, inner: Generator) -> None:
        self.inner: Any = getattr(inner, "inner", inner)  # the variant is put behind a clock of its own
        self.name = f"{inner.name} through its chat template"

    def generate(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Completion]:
        """Continue every prompt as the assistant's turn."""
        done: list[Completion] = self.inner.generate(
            [self.render(prompt) for prompt in prompts], budget=budget, seed=seed
        )
        return done

    def log_likelihood(
        self, requests: Sequence[LikelihoodRequest], *, monte_carlo: MonteCarlo, seed: int
    ) -> list[list[LogLikelihood]]:
        """Score every continuation as the assistant's turn; white space before it belonged to the running text."""
        asked = []
        for request in requests:
            pairs = [split_boundary(self.render(request.context), text.lstrip()) for text in request.continuations]
            asked.append(LikelihoodRequest(pairs[0][0], tuple(text for _, text in pairs)))
        rows: list[list[LogLikelihood]] = self.inner.log_likelihood(asked, monte_carlo=monte_carlo, seed=seed)
        return rows

    def render(self, context: str) -> str:
        """Return a context as the user's turn, the assistant's opened.

        Raises:
            GeneratorError: the template lost the context.
        """
        rendered = self.inner.chat_prompt(context)
        if not isinstance(rendered, str) or context.strip() not in rendered:
            raise GeneratorError(
                f"chat_prompt() of {self.inner.name!r} returned {rendered!r:.80}, which does not hold the prompt "
                f"{context.strip()!r:.60}"
            )
        return rendered

    def fingerprint(self) -> str:
        """Name the generator and the template."""
        return f"{loading.fingerprint(self.inner)}+chat"


def template_moves(system: LiveSystem, benchmark: str) -> Verdict | None:
    """Judge how many choices the template changes, beyond those that the seed changes.

    Returns:
        The verdict; ``None`` where the model has no chat template.

    Raises:
        MissingCapabilityError: the generator has no likelihoods, or cannot render its template.
    """
    role = ranked_part(system)
    part = system.part(role)
    inner: Any = getattr(part, "inner", part)
    if not isinstance(inner, HasChatPrompt):
        raise MissingCapabilityError(
            f"{system.name!r} has no chat_prompt(prompt); add it and return the prompt as its chat template writes it, "
            "or None where it has none, to enable this"
        )
    if not system.recall("chat template", lambda: _has_template(inner)):
        return None
    templated = system.add_part(ThroughTemplate(part))
    scores = system.measure(role, benchmark, None)
    cells = {
        "template": system.repeat(templated, benchmark, seed=0, first=MOST_REPEATED),
        "seed": system.repeat(role, benchmark, seed=SEED, first=MOST_REPEATED),
    }
    ranked = {name: ranking(system, benchmark, found) for name, found in cells.items()}
    ranked["plain"] = ranking(system, benchmark, scores)[: len(ranked["template"])]
    taken = {name: [choice(one) for one in found] for name, found in ranked.items()}
    right = {name: sum(one.decision(METRIC).correct for one in found) for name, found in ranked.items()}
    by_template = [a != b for a, b in zip(taken["plain"], taken["template"], strict=True)]
    by_seed = [a != b for a, b in zip(taken["plain"], taken["seed"], strict=True)]
    return conclude(
        compare_paired(by_template, by_seed),
        claim_id="template-moves-choices",
        system=f"{system.name if role == PIPELINE else f'{system.name} {role}'}, {ROUNDS} rounds",
        benchmark=benchmark,
        reason=f"the template changes {sum(by_template)} of {len(by_seed)} choices, the seed {sum(by_seed)}; "
        f"{right['plain']} right without the template, {right['template']} with it",
        signature=scores.signature,
    )


def published(benchmark: str) -> Verdict:
    """Compare the paper's likelihood score of the Instruct model with what its authors report by generation."""
    by_likelihood = specref_score(benchmark, "refiner", 64)
    value, n = float(by_likelihood.printed), by_likelihood.n
    reported = [row for row in llada_scores() if row.benchmark == benchmark and "Instruct" in row.model]
    nearest = min(reported, key=lambda row: abs(float(row.printed) - value))
    counts = [round(share * n / 100) for share in (value, float(nearest.printed))]
    return decide(
        compare_unpaired(counts[0], n, counts[1], n),
        claim="instruct-likelihood-below-generation",
        system="LLaDA-8B-Instruct",
        benchmark=benchmark,
        direction=-1,
        reason=f"{by_likelihood.printed} by likelihood in Table 2, {nearest.printed} by generation in LLaDA's EVAL.md, "
        "the nearest of its figures; taken for two samples of the same size",
        signature="SpecRef paper, Table 2, against LLaDA's EVAL.md",
    )


def _has_template(inner: Any) -> bool:
    """Ask for one prompt.

    Raises:
        GeneratorError: ``chat_prompt`` raised.
    """
    try:
        return inner.chat_prompt("Question: is this a question?\nAnswer:") is not None
    except Exception as error:
        raise GeneratorError(f"chat_prompt() of {inner.name!r} raised {type(error).__name__}: {error}") from error
