"""Block speculation against the target alone, token for token: any target, drafter, prompt, and ties on purpose.

The suite runs some hundred cases; ``SPECREF_CASES=1000`` in the environment makes them a thousand.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures.checkpoints import make_phi_checkpoint
from specref_core.block_speculator import BlockSpeculativeDrafter
from specref_core.decoding.block_speculation import could_turn
from specref_core.drafting.checkpoint import load_causal_lm
from specref_core.drafting.distribution import choose
from specref_core.drafting.transformers import TransformersDrafter
from specref_core.generator import Budget
from specref_core.models.block_drafter import BlockDrafter, BlockDrafterConfig

CASES = int(os.environ.get("SPECREF_CASES", "100"))
TIES = ["none", "none", "twins", "rounded", "flat", "blind"]


@cache
def _target(seed, ties, scale):
    with TemporaryDirectory() as folder:
        model, tokenizer = load_causal_lm(make_phi_checkpoint(Path(folder), seed=seed, scale=scale, hidden_size=16))
    head = model.get_output_embeddings()
    with torch.no_grad():
        if ties in ("twins", "rounded", "flat") and head.bias is not None:
            head.bias.zero_()
        if ties == "twins":  # every token twice
            head.weight[1::2] = head.weight[::2][: len(head.weight[1::2])]
        elif ties == "rounded":  # few values
            head.weight.copy_(head.weight.sign() * 0.25)
        elif ties == "flat":  # no opinion at all
            head.weight.zero_()
        elif ties == "blind":  # tokens see nothing of each other
            for layer in model.model.layers:
                layer.self_attn.dense.weight.zero_()
    return model, tokenizer


@cache
def _drafter(seed, ties, scale, block_size, trained):
    """A drafter far from its first weights; or one that knows the target's head, so that drafts come true."""
    target = _target(seed, ties, scale)[0]
    torch.manual_seed(seed)
    drafter = BlockDrafter(BlockDrafterConfig.for_target(target, features=1, block_size=block_size))
    with torch.no_grad():
        for parameter in drafter.parameters():
            parameter.add_((0.0 if trained else 0.4) * torch.randn_like(parameter))
    return drafter


@pytest.mark.slow
@pytest.mark.timeout(max(600, 5 * CASES))
@settings(max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
@given(
    target=st.tuples(st.integers(0, 4), st.sampled_from(TIES), st.sampled_from([0.1, 0.4, 1.0])),
    prompts=st.lists(st.text("ab cde(x):\n1", max_size=10), min_size=1, max_size=3),
    block=st.tuples(st.integers(2, 7), st.booleans()),
    tokens=st.integers(1, 14),
    how=st.sampled_from(
        [("match", 0.0, 1.0), ("rejection", 0.0, 1.0), ("match", 0.7, 1.0), ("match", 1.4, 0.8), ("match", 1.0, 0.05)]
    ),
    seed=st.integers(0, 99),
)
def test_speculation_writes_what_the_target_alone_writes(target, prompts, block, tokens, how, seed):  # noqa: PLR0917  # hypothesis names them
    verification, temperature, top_p = how
    sampling = {"temperature": temperature, "top_p": top_p}
    alone = TransformersDrafter(*_target(*target), batch_size=1, **sampling)
    fast = BlockSpeculativeDrafter(*_target(*target), _drafter(*target, *block), verification=verification, **sampling)
    budget = Budget(max_new_tokens=tokens)
    wanted, got = (drafter.draft(prompts, budget=budget, seed=seed) for drafter in (alone, fast))
    assert [draft.token_ids for draft in got] == [draft.token_ids for draft in wanted]
    assert [draft.text for draft in got] == [draft.text for draft in wanted]
    for mine, its in zip(got, wanted, strict=True):
        assert mine.log_probs == pytest.approx(its.log_probs, abs=1e-3)
        assert mine.entropies == pytest.approx(its.entropies, abs=1e-3)


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    temperature=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    top_p=st.sampled_from([1.0, 0.9, 0.3]),
    levels=st.sampled_from([0, 2, 6]),
)
def test_a_choice_that_noise_turns_is_found(seed, temperature, top_p, levels):
    """Logits that differ by noise, ties included, give one token wherever nothing is doubtful."""
    stream = np.random.default_rng(seed)
    logits = torch.from_numpy(stream.normal(0, 2, 12)).float()
    if levels:
        logits = (logits * levels / 4).round()
    uniform = stream.random()
    other = logits + torch.from_numpy(stream.uniform(-2e-6, 2e-6, 12)).float()
    number = torch.tensor([uniform], dtype=torch.float64)
    tokens = {int(choose(x[None], temperature=temperature, top_p=top_p, uniform=number)) for x in (logits, other)}
    assert len(tokens) == 1 or could_turn(logits, temperature, top_p, uniform)


@pytest.mark.parametrize(
    ("logits", "temperature", "uniform", "doubtful"),
    [
        ([1.0, 1.0, 0.0], 0.0, 0.5, True),
        ([1.0, 1.0 + 1e-6, 0.0], 0.0, 0.5, True),
        ([1.0, 1.1, 0.0], 0.0, 0.5, False),
        ([0.0, 5.0, 5.0], 0.0, 0.5, True),
        ([5.0, 0.0, 0.0], 1.0, 0.2, False),  # the tie is not what was drawn
        ([5.0, 0.0, 0.0], 1.0, 0.997, True),
        ([0.0, float("-inf"), float("-inf")], 1.0, 0.4, False),
        ([2.0, 1.0, 0.0], 1.0, 1 / (1 + 1 / 2.718281828459045 + 1 / 2.718281828459045**2), True),  # at the very edge
    ],
)
def test_doubt_by_example(logits, temperature, uniform, doubtful):
    assert could_turn(torch.tensor(logits), temperature, 1.0, uniform) is doubtful
    assert not could_turn(torch.tensor(logits).bfloat16(), temperature, 1.0, uniform)


def test_what_was_asked_again_is_counted():
    """A target without any opinion leaves every choice to noise: each is its own, and each costs a pass."""
    target = (0, "flat", 0.4)
    fast = BlockSpeculativeDrafter(*_target(*target), _drafter(*target, 4, False))
    [made] = fast.speculate(["abc"], budget=Budget(max_new_tokens=9), seed=0)
    assert made.forward_passes == 1 + len(made.rounds) + len(made.tokens)
    clear = (0, "none", 1.0)
    fast = BlockSpeculativeDrafter(*_target(*clear), _drafter(*clear, 4, False))
    [made] = fast.speculate(["abc"], budget=Budget(max_new_tokens=9), seed=0)
    assert made.forward_passes == 1 + len(made.rounds)
