"""Warm starts built from a pipeline's capabilities, here from a pipeline without a model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits.warm_starts import WarmStart, missing_capabilities
from specref_core.generator import Budget, Completion, Draft, Projection
from specref_core.masking import MaskPolicy

TEXT = "    for x in data:\n        total = total + x\n    return total\n"


class Wordwise:
    """Drafts one text, cuts it into characters, and writes ``?`` over whatever is hidden."""

    name = "wordwise"

    def __init__(self, text=TEXT):
        self.text = text

    def draft(self, prompts, *, budget, seed):  # noqa: ARG002 - one text for all
        ids = tuple(range(len(self.text)))
        spans = tuple((i, i + 1) for i in ids)
        return [Draft(self.text, ids, spans, tuple(i / 100 for i in ids), 512) for _ in prompts]

    def project(self, draft):
        spans = np.array(draft.spans, dtype=np.int64).reshape(-1, 2)
        return Projection(spans, np.array(draft.entropies) / np.log(512))

    def refine(self, prompts, scaffolds, *, budget, seed):  # noqa: ARG002 - the scaffold is all it needs
        return [
            Completion("".join("?" if hidden else c for c, hidden in zip(s.text, s.masked, strict=True)))
            for s in scaffolds
        ]


def made(rule, text=TEXT, prompts=("p",)):
    return [c.text for c in WarmStart(Wordwise(text), rule).generate(list(prompts), budget=Budget(steps=8), seed=0)]


@settings(deadline=None)  # a busy machine says nothing about the law
@given(st.text(alphabet="for(x):\n +1ab", max_size=60))
def test_all_controls_keep_the_same_number_of_tokens(text):
    kept = {
        rule: len(text) - made(rule, text)[0].count("?") for rule in ("structure", "content", "random", "low-entropy")
    }
    assert len(set(kept.values())) == 1
    assert next(iter(kept.values())) <= round(0.4 * len(text)) + 1


def test_each_control_keeps_its_own_kind():
    assert made("all") == [TEXT]
    assert set(made("none")[0]) == {"?"}
    assert set(made("content")[0]) <= set("xdatol=+ ?")
    assert made("low-entropy")[0].rstrip("?") == TEXT[: len(made("low-entropy")[0].rstrip("?"))]


def test_random_choices_depend_on_seed_and_prompt_only():
    assert made("random", prompts=["a", "b"]) == made("random", prompts=["a"]) + made("random", prompts=["b"])
    assert made("random", prompts=["a"]) != made("random", prompts=["b"])


def test_a_policy_hides_what_it_says():
    assert made(MaskPolicy(k=100))[0] == "?" * len(TEXT)
    assert made(MaskPolicy(k=0, math=False))[0] == TEXT


def test_rules_have_their_own_rows_in_a_ledger():
    rules = ("random", "structure", MaskPolicy(), MaskPolicy(k=20))
    assert len({WarmStart(Wordwise(), rule).fingerprint() for rule in rules}) == 4
    assert WarmStart(Wordwise(), "random").fingerprint() != WarmStart(Wordwise("other"), "random").fingerprint()


@pytest.mark.parametrize(("without", "missing"), [("draft", ["draft"]), ("refine", ["refine"])])
def test_missing_methods_are_named(without, missing):
    kind = type("Partly", (), {k: v for k, v in vars(Wordwise).items() if k != without and not k.startswith("__")})
    assert missing_capabilities(kind()) == missing
    assert missing_capabilities(Wordwise()) == []


def test_warm_starts_of_one_pipeline_draft_a_batch_once_and_another_batch_anew():
    asked = []

    class Counting(Wordwise):
        def draft(self, prompts, *, budget, seed):
            asked.append((tuple(prompts), budget.steps, seed))
            return super().draft(prompts, budget=budget, seed=seed)

    pipeline, drafts = Counting(), {}
    calls = [(["a"], 8, 0), (["a"], 8, 0), (["b"], 8, 0), (["a"], 64, 0), (["a"], 8, 1)]
    for prompts, steps, seed in calls:
        for rule in ("random", "structure"):
            WarmStart(pipeline, rule, drafts).generate(prompts, budget=Budget(steps=steps), seed=seed)
    assert asked == [(("a",), 8, 0), (("b",), 8, 0), (("a",), 64, 0), (("a",), 8, 1)]
    WarmStart(pipeline, "random").generate(["a"], budget=Budget(steps=8), seed=0)
    assert len(asked) == 5  # without a common place it drafts for itself
