"""Muon's orthogonalisation and update."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from specref_core.training.muon import Muon, make_optimizers, orthogonalize


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 4, 16), (2, 16, 4)])
def test_singular_values_come_near_one(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalize(matrices))
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_stacking_changes_nothing():
    matrices = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(1))
    alone = torch.cat([orthogonalize(m[None]) for m in matrices])
    assert torch.allclose(orthogonalize(matrices), alone, atol=1e-5)


def test_an_update_has_the_size_of_adamw_s():
    parameter = nn.Parameter(torch.zeros(32, 64))
    parameter.grad = torch.randn(32, 64, generator=torch.Generator().manual_seed(2)) * 1e-4
    Muon([parameter], lr=1.0).step()
    assert float(parameter.detach().pow(2).mean().sqrt()) == pytest.approx(0.2, rel=0.25)


def test_weight_decay_shrinks_what_the_gradient_leaves():
    parameter = nn.Parameter(torch.ones(2, 2))
    parameter.grad = torch.zeros(2, 2)
    Muon([parameter], lr=0.1, weight_decay=0.5).step()
    assert torch.allclose(parameter, torch.full((2, 2), 0.95))


def test_it_descends():
    torch.manual_seed(0)
    model = nn.Linear(6, 6, bias=False)
    aim = torch.eye(6)
    optimizer = Muon(model.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        loss = (model.weight - aim).pow(2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]


def test_embeddings_head_and_norms_go_to_adamw():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed_tokens = nn.Embedding(4, 4)
            self.q_proj = nn.Linear(4, 4, bias=False)
            self.norm = nn.LayerNorm(4, bias=False)
            self.lm_head = nn.Linear(4, 4, bias=False)

    net = Net()
    muon, adamw = make_optimizers(net, matrix_lr=1e-3, other_lr=1e-3)
    assert [p is net.q_proj.weight for group in muon.param_groups for p in group["params"]] == [True]
    assert sum(len(group["params"]) for group in adamw.param_groups) == 3


def test_a_closure_is_refused():
    with pytest.raises(TypeError, match="closure"):
        Muon([nn.Parameter(torch.zeros(2, 2))], lr=1.0).step(lambda: None)
