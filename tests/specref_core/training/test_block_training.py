"""Training of a block drafter: batches, the shared trainer, and the replay of greedy verification."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fixtures.checkpoints import make_phi_checkpoint
from specref_core.decoding.block_speculation import speculate
from specref_core.drafting.transformers import TransformersDrafter
from specref_core.errors import InputError
from specref_core.generator import Budget
from specref_core.models.block_drafter import BlockDrafter, BlockDrafterConfig
from specref_core.training.block_losses import BlockLoss
from specref_core.training.block_training import block_training_loss, greedy_acceptance, read_texts
from specref_core.training.trainer import Trainer, TrainingPlan

PROMPTS = ["def f(x):", "One two", "a b c", "x = ", "\n\n", "if y"]


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    from specref_core.drafting.checkpoint import load_causal_lm

    model, tokenizer = load_causal_lm(make_phi_checkpoint(tmp_path_factory.mktemp("target"), scale=0.4, seed=3))
    return TransformersDrafter(model.requires_grad_(False), tokenizer)


@pytest.fixture(scope="module")
def texts(target):
    drafts = target.draft(PROMPTS, budget=Budget(max_new_tokens=14), seed=0)
    encoded = [list(target.tokenizer(prompt)["input_ids"]) for prompt in PROMPTS]
    return read_texts(target.model, _fresh(target), encoded, [d.token_ids for d in drafts], batch_size=4)


def _fresh(target, seed=0):
    torch.manual_seed(seed)
    return BlockDrafter(BlockDrafterConfig.for_target(target.model, features=2, block_size=4))


@pytest.fixture(scope="module")
def trained(target, texts):
    drafter = _fresh(target)
    trainer = Trainer(
        drafter,
        block_training_loss(target.model, BlockLoss(gamma=2.0, focal=0.3, chain=1.0), anchors=6),
        lambda _: (texts.take(torch.arange(6)), 1),
        TrainingPlan(steps=120, warmup=5, matrix_lr=1e-2, other_lr=1e-2),
    )
    trainer.run()
    return drafter.eval(), trainer.losses


def test_training_lowers_the_loss_and_leaves_the_target_alone(target, trained):
    _, losses = trained
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    assert all(p.grad is None for p in target.model.parameters())


def test_a_trained_drafter_is_accepted_more_often(target, texts, trained):
    before, after = (greedy_acceptance(target.model, d, texts).lengths.nanmean() for d in (_fresh(target), trained[0]))
    assert after > before + 0.5


def test_the_replay_equals_real_speculation(target, texts, trained):
    found = greedy_acceptance(target.model, trained[0], texts)
    rounds = 0
    for row in range(len(texts)):
        prompt = texts.ids[row, : texts.prompts[row]].tolist()
        room = int(texts.lengths[row] - texts.prompts[row])
        made = speculate(
            target.model,
            trained[0],
            prompt,
            room=room,
            stream=np.random.default_rng(0),
            stopped=lambda tokens: tokens[-1] in target.end_ids,
        )
        assert list(made.tokens) == texts.ids[row, texts.prompts[row] : texts.lengths[row]].tolist()
        assert len(made.rounds) == pytest.approx((room - 1) / float(found.lengths[row]))
        rounds += len(made.rounds)
    assert rounds == found.rounds


def test_shares_by_position_are_consistent(target, texts, trained):
    found = greedy_acceptance(target.model, trained[0], texts)
    assert (found.accepted <= found.right + 1e-12).all()
    assert found.accepted[0] == found.right[0]
    assert 0 <= found.wasted <= 1


def test_the_loss_looks_at_tokens_behind_anchors_in_the_continuation_only(target, texts):
    drafter = _fresh(target)
    compute = block_training_loss(target.model, BlockLoss(), anchors=40)

    def loss(batch):
        with torch.no_grad():
            return float(compute(drafter, batch, torch.Generator().manual_seed(1)))

    base = loss(texts)
    changed = texts.ids.clone()
    for row in range(len(texts)):
        changed[row, : texts.prompts[row]] = 5
        changed[row, texts.lengths[row] :] = 7
    assert loss(type(texts)(changed, texts.prompts, texts.lengths, texts.features)) == pytest.approx(base)
    changed = texts.ids.clone()
    changed[:, int(texts.prompts.max()) + 2] += 1
    assert loss(type(texts)(changed, texts.prompts, texts.lengths, texts.features)) != pytest.approx(base)


def test_padding_changes_no_feature(target, texts):
    for row in (0, 3):
        prompt = texts.ids[row, : texts.prompts[row]].tolist()
        rest = texts.ids[row, texts.prompts[row] : texts.lengths[row]].tolist()
        alone = read_texts(target.model, _fresh(target), [prompt], [rest])
        assert torch.allclose(alone.features[0], texts.features[row, : texts.lengths[row]], atol=1e-5)


@pytest.mark.parametrize(("prompts", "continuations"), [([], []), ([[]], [[1, 2]]), ([[1]], [[2]])])
def test_texts_that_teach_nothing_are_refused(target, prompts, continuations):
    with pytest.raises(InputError, match="expected texts"):
        read_texts(target.model, _fresh(target), prompts, continuations)
