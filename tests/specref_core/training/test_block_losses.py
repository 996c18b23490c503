"""The block losses against closed forms, finite differences, and each other."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from specref_core.errors import InputError
from specref_core.training.block_losses import (
    BlockLoss,
    chain_loss,
    first_error_focal_loss,
    first_errors,
    position_weights,
    weighted_loss,
)

ALL = torch.ones(3, 5, dtype=torch.bool)


def _nats(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


@given(st.floats(0.2, 50), st.integers(1, 16))
def test_weights_fall_by_the_same_factor(gamma, slots):
    weights = position_weights(slots, gamma).tolist()
    assert weights == pytest.approx([math.exp(-(k - 1) / gamma) for k in range(1, slots + 1)], rel=1e-5)
    assert position_weights(slots, None).tolist() == [1.0] * slots


@pytest.mark.parametrize("c", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("slots", [1, 2, 7, 15])
def test_chain_loss_of_equal_probabilities_is_a_geometric_sum(c, slots):
    nats = torch.full((2, slots), -math.log(c) if c else math.inf, dtype=torch.float64)
    wanted = -sum(c**k for k in range(1, slots + 1)) / slots
    assert float(chain_loss(nats, torch.ones(2, slots, dtype=torch.bool))) == pytest.approx(wanted)


def test_chain_gradient_is_the_weight_of_what_depends_on_a_position():
    """The derivative by log p_j is -(1/J) sum over k >= j of the product up to k."""
    nats = _nats(1, 6).requires_grad_()
    chain_loss(nats, torch.ones(1, 6, dtype=torch.bool)).backward()
    reached = torch.exp(-nats.detach()[0].cumsum(0))
    wanted = torch.tensor([reached[j:].sum() / 6 for j in range(6)])  # by nats = -log p, hence the sign
    assert torch.allclose(nats.grad[0], wanted.double())


@pytest.mark.parametrize("loss", ["weighted", "focal", "chain"])
def test_gradients_equal_finite_differences(loss):
    right = torch.tensor([[True, False, True, True, True], [True] * 5, [False] * 5])
    valid = torch.tensor([[True] * 5, [True] * 5, [True, True, False, False, False]])
    weights = position_weights(5, 3.0).double()
    functions = {
        "weighted": lambda nats: weighted_loss(nats, weights, valid),
        "focal": lambda nats: first_error_focal_loss(nats, weights, right, valid),
        "chain": lambda nats: chain_loss(nats, valid),
    }
    assert torch.autograd.gradcheck(functions[loss], (_nats(3, 5).requires_grad_(),))


def test_the_whole_loss_equals_finite_differences_in_the_logits():
    logits = _nats(2, 4, 6).float().requires_grad_()
    labels = torch.randint(0, 6, (2, 4), generator=torch.Generator().manual_seed(1))
    valid = torch.tensor([[True] * 4, [True, True, False, False]])
    loss = BlockLoss(gamma=2.0, focal=0.5, chain=3.0)
    loss(logits, labels, valid).backward()
    for place in [(0, 0, 1), (0, 3, 2), (1, 1, 5), (1, 2, 0)]:
        step = torch.zeros_like(logits)
        step[place] = 1e-2
        with torch.no_grad():
            slope = (loss(logits + step, labels, valid) - loss(logits - step, labels, valid)) / 2e-2
        assert float(logits.grad[place]) == pytest.approx(float(slope), abs=2e-4)


def test_weighted_loss_is_a_weighted_mean():
    nats, weights = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1.0, 0.5])
    valid = torch.tensor([[True, True], [True, False]])
    assert float(weighted_loss(nats, weights, valid)) == pytest.approx((1 + 1 + 3) / 2.5)
    assert float(weighted_loss(nats, torch.ones(2), valid)) == pytest.approx(2.0)


def test_first_errors_are_the_first_valid_wrong_positions():
    right = torch.tensor([[1, 0, 0, 1], [1, 1, 1, 1], [0, 1, 0, 1], [1, 1, 0, 0]]).bool()
    valid = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    assert first_errors(right, valid).int().tolist() == [[0, 1, 0, 0], [0] * 4, [1, 0, 0, 0], [0] * 4]


def test_the_focal_term_looks_at_first_errors_only():
    nats, weights = _nats(3, 5), position_weights(5, 2.0).double()
    right = ALL.clone()
    right[0, 1:3], right[2, 4] = False, False
    wanted = (weights[1] * nats[0, 1] + weights[4] * nats[2, 4]) / (weights[1] + weights[4])
    assert float(first_error_focal_loss(nats, weights, right, ALL)) == pytest.approx(float(wanted))
    assert float(first_error_focal_loss(nats, weights, ALL, ALL)) == 0.0


@given(st.integers(0, 99), st.integers(1, 5))
def test_what_has_no_label_changes_nothing(seed, kept):
    generator = torch.Generator().manual_seed(seed)
    logits, labels = torch.randn(2, 5, 7, generator=generator), torch.randint(0, 7, (2, 5), generator=generator)
    valid = torch.arange(5)[None].expand(2, 5) < kept
    loss = BlockLoss(gamma=4.0, focal=0.3, chain=2.0)
    other = labels.masked_fill(~valid, -100)
    noisy = torch.where(valid[..., None], logits, 100 * torch.randn(2, 5, 7, generator=generator))
    assert torch.allclose(loss(logits, labels, valid), loss(noisy, other, valid))
    # a block without any label counts for nothing
    extra = (torch.cat([logits, logits]), torch.cat([labels, labels]), torch.cat([valid, valid & False]))
    assert torch.allclose(loss(*extra), loss(logits, labels, valid))


@given(st.integers(0, 50))
def test_the_chain_loss_is_minus_the_expected_accepted_share(seed):
    """Against a count of accepted prefixes when every position is right by an independent chance."""
    nats = _nats(1, 3, seed=seed)
    p = torch.exp(-nats[0]).tolist()
    expected = 0.0
    for outcome in range(8):
        right = [bool(outcome >> j & 1) for j in range(3)]
        chance = math.prod(p[j] if right[j] else 1 - p[j] for j in range(3))
        expected += chance * (right.index(False) if False in right else 3)
    assert float(chain_loss(nats, ALL[:1, :3])) == pytest.approx(-expected / 3)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: position_weights(3, 0.0), "gamma=0.0"),
        (lambda: BlockLoss(gamma=-1.0), "gamma=-1.0"),
        (lambda: BlockLoss(focal=-0.1), "focal=-0.1"),
        (lambda: BlockLoss(chain=math.inf), "chain=inf"),
        (lambda: BlockLoss()(torch.zeros(2, 3, 4), torch.zeros(2, 2).long(), ALL[:2, :2]), "blocks, slots, vocab"),
        (lambda: BlockLoss()(torch.zeros(1, 2, 4), torch.zeros(1, 2).long(), ALL[:1, :2] & False), "no block"),
    ],
)
def test_misuse_is_named(make, told):
    with pytest.raises(InputError, match=told):
        make()
