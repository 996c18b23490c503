"""Audit of speculative decoding's exactness contract on the embedded pair: the faster sampler is the same sampler."""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from audits import exactness
from audits.verdicts import Outcome
from fixtures.nano.tasks import CANVAS, TRAINED, training_pairs
from specref_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from audits.verdicts import Verdict

    Record = Callable[[Verdict], None]
    Row = Callable[[str, str, Mapping[str, str]], None]

pytestmark = [pytest.mark.source("nano"), pytest.mark.slow]

PROMPTS = 8
SAMPLES = 200
TEMPERATURE = 1.0
FAMILY = "arithmetic"
"""Where the block drafter is wrong most often, so that a verifier that trusts it shows."""
VIOLATION = "a verifier that keeps every draft"
SYSTEM = "block-speculation"


@pytest.mark.parametrize("family", TRAINED)
def test_greedy_texts_are_the_targets_own(family: str, seed: int, record_verdict: Record, record_row: Row) -> None:
    """On every prompt; beside it what became of the drafts, position by position."""
    from specref_core.drafting.transformers import TransformersDrafter
    from specref_core.generator import Budget

    fast = _speculator()
    prompts = _prompts(family, seed, PROMPTS)
    budget = Budget(max_new_tokens=CANVAS[family])
    alone = TransformersDrafter(fast.model, fast.tokenizer).draft(prompts, budget=budget, seed=0)
    made = fast.speculate(prompts, budget=budget, seed=0)
    use = exactness.draft_use(
        [m.tokens for m in made], [[(r.start, r.drafted, r.accepted) for r in m.rounds] for m in made]
    )
    record_row(
        "drafted tokens, greedy",
        family,
        {
            "acceptance length": f"{use.acceptance_length:.2f}",
            "accepted by position": " ".join(f"{100 * share:.0f}" for share in use.accepted) + " %",
            "right drafts wasted": f"{100 * use.wasted:.0f} %",
        },
    )
    verdict = exactness.greedy_verdict(
        [draft.token_ids for draft in alone], [m.tokens for m in made], system=SYSTEM, benchmark=f"nano-{family}"
    )
    record_verdict(verdict)


@pytest.mark.parametrize("verification", ["match", "rejection"])
def test_sampled_texts_have_the_targets_distribution(verification: str, seed: int, record_verdict: Record) -> None:
    """Two tokens, the second of which was drafted, against the target's exact probabilities."""
    true, violated = _distributions(seed)
    fit = exactness.goodness_of_fit(_sampled(verification, seed), true)
    shown = exactness.power(true, violated, SAMPLES)
    verdict = exactness.sampled_verdict(
        fit, shown, system=f"{SYSTEM}, {verification}", benchmark=f"nano-{FAMILY}", violation=VIOLATION
    )
    record_verdict(verdict)


def test_the_planted_violation_is_caught(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verifier that trusts the drafter fails the same test on the same prompt."""
    from specref_core.decoding import block_speculation

    def lenient(self: Any, logits: Any, proposal: Any, draft: int) -> tuple[bool, int]:
        del self, logits, proposal
        return True, draft

    monkeypatch.setattr(block_speculation._Sampling, "verified", lenient)  # noqa: SLF001  # the flaw is planted inside
    true, violated = _distributions(seed)
    fit = exactness.goodness_of_fit(_sampled("rejection", seed), true)
    assert fit.p_value < exactness.ALPHA
    assert exactness.power(true, violated, SAMPLES) >= exactness.POWER
    planted = exactness.sampled_verdict(fit, 1.0, system=SYSTEM, benchmark="nano", violation=VIOLATION)
    assert planted.outcome is Outcome.NOT_REPRODUCED


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


def _prompt(seed: int) -> str:
    return _prompts(FAMILY, seed, 1)[0]


def _sampled(verification: str, seed: int) -> Counter[tuple[int, int]]:
    """Return how often each pair of first tokens was written; a third is asked for, so that the second is drafted."""
    from specref_core.generator import Budget

    fast, prompt = _speculator(verification, TEMPERATURE), _prompt(seed)
    drawn: Counter[tuple[int, int]] = Counter()
    for number in range(SAMPLES):
        made = fast.speculate([prompt], budget=Budget(max_new_tokens=3), seed=1_000 * seed + number)[0]
        first, second = (*made.tokens, -1)[:2]  # a text that ends with its first token has no second
        drawn[first, second] += 1
    return drawn


@cache
def _distributions(seed: int) -> tuple[dict[tuple[int, int], float], dict[tuple[int, int], float]]:
    """Return the exact distribution of the first two tokens: the target's, and that under the planted violation."""
    import torch

    from specref_core.decoding.block_speculation import truncated

    fast = _speculator("rejection", TEMPERATURE)
    ids = fast.tokenizer(_prompt(seed))["input_ids"]
    with torch.inference_mode():
        out = fast.model(torch.tensor([ids]), output_hidden_states=True)
        p1 = truncated(out.logits[0, -1], TEMPERATURE, 1.0)
        # First tokens too rare to be seen are left out: what follows them belongs to the outcomes that nobody names.
        firsts = [i for i in (p1 > 1e-5).nonzero().flatten().tolist() if i not in fast.end_ids]
        true = {(i, -1): float(p1[i]) for i in fast.end_ids}
        violated = dict(true)
        context = fast.block_drafter.read(out.hidden_states)
        embed, head = fast.model.get_input_embeddings(), fast.model.get_output_embeddings()
        starts = torch.full((1, len(firsts)), len(ids))
        proposals = head(fast.block_drafter(embed(torch.tensor([firsts])), starts, context)[0, :, 0])
        for at in range(0, len(firsts), 64):
            some = firsts[at : at + 64]
            logits = fast.model(torch.tensor([[*ids, first] for first in some])).logits[:, -1]
            for first, target, proposal in zip(some, logits, proposals[at : at + 64], strict=True):
                p, q = (truncated(row, TEMPERATURE, 1.0) for row in (target, proposal))
                true |= {(first, second): value for second, value in enumerate((p1[first] * p).tolist())}
                violated |= {(first, second): value for second, value in enumerate((p1[first] * q).tolist())}
    return true, violated
