"""Audit of speculative decoding's exactness contract on the embedded pair: the faster sampler is the same sampler."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from audits import exactness
from audits.verdicts import Outcome
from fixtures.nano.tasks import CANVAS, TRAINED, training_pairs
from specref_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from audits.kept_results import KeptResults
    from audits.verdicts import Verdict

    Record = Callable[[Verdict], None]
    Row = Callable[[str, str, Mapping[str, str]], None]

pytestmark = [pytest.mark.source("nano"), pytest.mark.slow]

PROMPTS = 8
TEXTS = 18
TOKENS = 20
TEMPERATURE = 2.5
"""Trained models are sure of themselves: at 1, a lenient verifier changes too little to be seen."""
FAMILY = "arithmetic"
"""Where the block drafter is wrong most often, so that a verifier that trusts it shows."""
FACTOR = 2.0
VIOLATION = "a verifier that keeps drafts with min(1, 2p/q) instead of min(1, p/q)"
SYSTEM = "block-speculation"


@pytest.mark.parametrize("family", TRAINED)
def test_greedy_texts_are_the_targets_own(
    family: str, seed: int, kept: KeptResults, record_verdict: Record, record_row: Row
) -> None:
    """On every prompt; beside it what became of the drafts, position by position."""
    found = kept.recall(f"exactness|greedy|{family}|{seed}|{PROMPTS}", lambda: _greedy(family, seed))
    use = exactness.draft_use(found["made"], found["rounds"])
    record_row(
        "drafted tokens, greedy",
        family,
        {
            "acceptance length": f"{use.acceptance_length:.2f}",
            "accepted by position": " ".join(f"{100 * share:.0f}" for share in use.accepted) + " %",
            "right drafts wasted": f"{100 * use.wasted:.0f} %",
        },
    )
    verdict = exactness.greedy_verdict(found["alone"], found["made"], system=SYSTEM, benchmark=f"nano-{family}")
    record_verdict(verdict)


@pytest.mark.parametrize("verification", ["match", "rejection"])
def test_sampled_texts_have_the_targets_distribution(
    verification: str, seed: int, kept: KeptResults, record_verdict: Record, record_row: Row
) -> None:
    """Every verified token of short texts, against the target's probabilities at its place."""
    fit, shown = _fitted(verification, seed, kept)
    system = f"{SYSTEM}, {verification}"
    record_row(
        "verified tokens, sampled",
        system,
        {"tokens": str(fit.n), "p": f"{fit.p_value:.3f}", f"power against {FACTOR:g}p/q": f"{100 * shown:.0f} %"},
    )
    verdict = exactness.sampled_verdict(fit, shown, system=system, benchmark=f"nano-{FAMILY}", violation=VIOLATION)
    record_verdict(verdict)


def test_the_planted_violation_is_caught(seed: int, kept: KeptResults) -> None:
    """A verifier that keeps drafts twice too readily fails the same test on the same prompts."""
    fit, shown = _fitted("rejection", seed, kept, planted=FACTOR)
    assert fit.p_value < exactness.ALPHA
    assert shown >= exactness.POWER
    planted = exactness.sampled_verdict(fit, shown, system=SYSTEM, benchmark="nano", violation=VIOLATION)
    assert planted.outcome is Outcome.NOT_REPRODUCED


@contextmanager
def _lenient(factor: float) -> Iterator[None]:
    """Let the verifier keep drafts too readily."""
    from specref_core.decoding import block_speculation

    class Lenient(block_speculation.Sampling):
        def acceptance(self, p: float, q: float) -> float:
            return factor * super().acceptance(p, q)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(block_speculation, "Sampling", Lenient)
        yield


@cache
def _speculator(verification: Any = "match", temperature: float = 0.0) -> Any:
    from fixtures.nano import drafter_dir
    from fixtures.nano.ladder import block_drafter_dir
    from specref_core.block_speculator import BlockSpeculativeDrafter
    from specref_core.drafting.checkpoint import load_causal_lm
    from specref_core.models.block_drafter import BlockDrafter

    try:
        model, tokenizer = load_causal_lm(drafter_dir(), dtype="float32")
        drafter = BlockDrafter.load(block_drafter_dir())
    except CheckpointError as error:
        pytest.skip(str(error))
    return BlockSpeculativeDrafter(model, tokenizer, drafter, verification=verification, temperature=temperature)


def _prompts(family: str, seed: int, count: int) -> list[str]:
    return [prompt for prompt, _ in islice(training_pairs(family, f"exactness|{seed}", "test"), count)]


def _greedy(family: str, seed: int) -> dict[str, Any]:
    """Return the target's own tokens a prompt, the speculated ones, and what was drafted in every round."""
    from specref_core.drafting.transformers import TransformersDrafter
    from specref_core.generator import Budget

    fast = _speculator()
    prompts = _prompts(family, seed, PROMPTS)
    budget = Budget(max_new_tokens=CANVAS[family])
    alone = TransformersDrafter(fast.model, fast.tokenizer).draft(prompts, budget=budget, seed=0)
    made = fast.speculate(prompts, budget=budget, seed=0)
    return {
        "alone": [list(draft.token_ids) for draft in alone],
        "made": [list(one.tokens) for one in made],
        "rounds": [[[r.start, list(r.drafted), r.accepted] for r in one.rounds] for one in made],
    }


def _fitted(
    verification: str, seed: int, kept: KeptResults, planted: float | None = None
) -> tuple[exactness.Fit, float]:
    """Return the fit of the verified tokens, and the power of its test; from an earlier run of the same code if any."""

    def compute() -> dict[str, Any]:
        with nullcontext() if planted is None else _lenient(planted):
            tokens = _verified(verification, seed)
        return {
            "fit": asdict(exactness.uniformity(tokens, seed)),
            "power": float(exactness.power_against(tokens, FACTOR)),
        }

    settings = f"{verification}|{seed}|{FAMILY}|{TEXTS}|{TOKENS}|{TEMPERATURE}|{FACTOR}|{planted}"
    found = kept.recall(f"exactness|sampled|{settings}", compute)
    return exactness.Fit(**found["fit"]), found["power"]


def _verified(verification: str, seed: int) -> list[exactness.VerifiedToken]:
    """Write short texts, and return every token that was written at a drafted position with its two distributions."""
    import torch

    from specref_core.decoding.block_speculation import truncated
    from specref_core.generator import Budget

    fast = _speculator(verification, TEMPERATURE)
    embed, head = fast.model.get_input_embeddings(), fast.model.get_output_embeddings()
    found = []
    for prompt in _prompts(FAMILY, seed, TEXTS):
        made = fast.speculate([prompt], budget=Budget(max_new_tokens=TOKENS), seed=seed)[0]
        ids = fast.tokenizer(prompt)["input_ids"]
        with torch.inference_mode():
            out = fast.model(torch.tensor([[*ids, *made.tokens]]), output_hidden_states=True)
            anchors = torch.tensor([[made.tokens[one.start - 1] for one in made.rounds]], dtype=torch.int64)
            starts = torch.tensor([[len(ids) + one.start - 1 for one in made.rounds]], dtype=torch.int64)
            proposals = head(fast.block_drafter(embed(anchors), starts, fast.block_drafter.read(out.hidden_states)))[0]
        for one, proposal in zip(made.rounds, proposals, strict=True):
            # The first refused draft was looked at too; what stands behind it was not.
            for slot in range(min(one.accepted + 1, len(one.drafted), len(made.tokens) - one.start)):
                at = one.start + slot
                target = truncated(out.logits[0, len(ids) + at - 1], TEMPERATURE, 1.0)
                drafter = truncated(proposal[slot], TEMPERATURE, 1.0)
                found.append(exactness.VerifiedToken(made.tokens[at], target.numpy(), drafter.numpy()))
    return found
