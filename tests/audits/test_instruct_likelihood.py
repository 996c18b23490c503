"""Likelihood with and without a chat template, on synthetic instruct models and on a real tokenizer's template."""

from __future__ import annotations

import numpy as np
import pytest

from audits import instruct_likelihood
from audits.instruct_likelihood import ThroughTemplate
from audits.live_systems import LiveSystem, MissingCapabilityError, load_benchmark
from audits.verdicts import Outcome
from fixtures.nano import load_pair
from specref_core.errors import CheckpointError, GeneratorError
from specref_core.generator import HasChatPrompt, LikelihoodRequest, LogLikelihood
from specref_core.seeding import row_seed
from tests.audits import generators

REPRODUCED, NOT = Outcome.REPRODUCED, Outcome.NOT_REPRODUCED
HEAD, TAIL = "<user>", "<assistant>\n\n"


class Instruct(generators.Lookup):
    """Knows the right choices inside its template; outside of it the last choice reads best."""

    name = "instruct"
    deaf = False
    noise = 0.0

    def __init__(self):
        problems = load_benchmark("nano-choices", limit=80, seed=0, data_dir=None).problems
        self.gold = {problem.choices[problem.gold] for problem in problems}
        self.asked = []

    def chat_prompt(self, prompt):
        return f"{HEAD}{prompt.strip()}{TAIL}"

    def log_likelihood(self, requests, *, monte_carlo, seed):
        rows = []
        for request in requests:
            self.asked.append(request)
            inside = request.context.startswith(HEAD) and not self.deaf
            rng = np.random.default_rng(row_seed(seed, request.context, "noise"))
            row = []
            for place, text in enumerate(request.continuations):
                plain = text.strip()
                value = (plain in self.gold) if inside else place / 10
                value = len(plain) * (value + self.noise * rng.standard_normal() - 2)
                row.append(LogLikelihood(value, 0.0, monte_carlo.samples, len(plain)))
            rows.append(row)
        return rows


class Deaf(Instruct):
    name, deaf = "deaf", True


class Restless(Instruct):
    """The template moves nothing that the seed does not move as well."""

    name, deaf, noise = "restless", True, 5.0


class Base(Instruct):
    name = "base"

    def chat_prompt(self, prompt):  # noqa: ARG002 - a base model has no template
        return None


class Forgetful(Instruct):
    name = "forgetful"

    def chat_prompt(self, prompt):  # noqa: ARG002 - which is the fault
        return f"{HEAD}{TAIL}"


class Failing(Instruct):
    name = "failing"

    def chat_prompt(self, prompt):
        raise OSError(prompt[:8])


def system(pipeline, limit=80):
    return LiveSystem("custom", pipeline, ("nano-choices",), limit=limit, call_limit=60.0)


@pytest.mark.parametrize(("kind", "outcome"), [(Instruct, REPRODUCED), (Deaf, NOT)])
def test_a_template_that_matters_is_found_and_one_that_does_not_is_not(kind, outcome):
    verdict = instruct_likelihood.template_moves(system(kind()), "nano-choices")
    assert verdict.outcome is outcome
    assert ("80 with it" in verdict.reason) == (kind is Instruct)


def test_what_the_seed_moves_is_not_the_templates():
    verdict = instruct_likelihood.template_moves(system(Restless()), "nano-choices")
    assert verdict.outcome is not REPRODUCED
    assert abs(verdict.effect) < 15


def test_a_base_model_has_nothing_to_compare():
    assert instruct_likelihood.template_moves(system(Base(), 4), "nano-choices") is None


def test_a_generator_that_cannot_render_its_template_hears_what_to_add():
    class Plain(generators.Lookup):
        log_likelihood = Instruct.log_likelihood

    with pytest.raises(MissingCapabilityError, match=r"has no chat_prompt\(prompt\); add it"):
        instruct_likelihood.template_moves(system(Plain(), 4), "nano-choices")
    with pytest.raises(MissingCapabilityError, match=r"has no log_likelihood"):
        instruct_likelihood.template_moves(system(generators.Lookup(), 4), "nano-choices")


@pytest.mark.parametrize(
    ("kind", "told"), [(Forgetful, "does not hold the prompt"), (Failing, r"chat_prompt\(\) of 'failing' raised OSErr")]
)
def test_a_broken_template_is_the_generators_fault(kind, told):
    with pytest.raises(GeneratorError, match=told):
        instruct_likelihood.template_moves(system(kind(), 4), "nano-choices")


def test_the_bare_choice_is_the_assistants_turn():
    model = Instruct()
    request = LikelihoodRequest("Question: x\nAnswer:", (" one", " two"))
    variant = ThroughTemplate(model)
    model.log_likelihood = lambda requests, **_: requests
    (asked,) = variant.log_likelihood([request], monte_carlo=None, seed=0)
    assert asked == LikelihoodRequest("<user>Question: x\nAnswer:<assistant>", ("\n\none", "\n\ntwo"))


@pytest.mark.parametrize("benchmark", instruct_likelihood.PUBLISHED)
def test_the_papers_own_refiner_scores_lower_by_likelihood(benchmark):
    verdict = instruct_likelihood.published(benchmark)
    assert verdict.outcome is REPRODUCED
    assert verdict.high < -25


def test_real_tokenizers_render_their_own_template():
    try:
        pair = load_pair()
    except CheckpointError as error:
        pytest.skip(str(error))
    parts = [pair, *pair.components().values()]
    assert all(isinstance(part, HasChatPrompt) for part in parts)
    assert [part.chat_prompt("hello") for part in parts] == [None] * 3
    pair.refiner.tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}{% if add_generation_prompt %}<a>\n\n"
        "{% endif %}"
    )
    assert pair.chat_prompt(" hello ") == "<user>hello<a>\n\n"
    verdict = instruct_likelihood.template_moves(LiveSystem("custom", pair, ("nano-choices",), limit=3), "nano-choices")
    assert verdict.n == 3
