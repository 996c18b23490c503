"""Muon for matrices with AdamW for the rest, in float32 so that it is fast and repeatable on any CPU.

``torch.optim.Muon`` orthogonalises in bfloat16, which a CPU without bfloat16 units runs a hundred times slower.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Coefficients of the quintic Newton-Schulz iteration (Jordan et al., 2024): five rounds bring singular values near 1.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ROUNDS = 5


def orthogonalize(matrices: Tensor) -> Tensor:
    """Return the nearest semi-orthogonal matrices, approximately.

    Args:
        matrices: (n, rows, columns) float32.

    Returns:
        (n, rows, columns) float32 whose singular values lie roughly in [0.7, 1.2].
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x: Tensor = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised; equal shapes are stacked and stepped together.

    The update is scaled by 0.2 * sqrt(max(rows, columns)), which gives it the root mean square of an AdamW update
    (Liu et al., 2025), so both optimisers can share a learning-rate schedule.

    Args:
        params: matrices only.
        lr: learning rate.
        momentum: Nesterov momentum.
        weight_decay: decoupled decay.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, *, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # no closure: the trainer has the loss
        """Apply one update."""
        if closure is not None:
            raise TypeError("Muon.step takes no closure")
        for group in self.param_groups:
            shapes: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes[parameter.shape].append(parameter)
            for shape, parameters in shapes.items():
                updates = []
                for parameter in parameters:
                    grad = parameter.grad
                    assert grad is not None
                    state = self.state[parameter]
                    if "momentum" not in state:
                        state["momentum"] = torch.zeros_like(parameter)
                    state["momentum"].lerp_(grad, 1 - group["momentum"])
                    updates.append(torch.lerp(grad, state["momentum"], group["momentum"]))
                scale = 0.2 * max(shape) ** 0.5
                for parameter, update in zip(parameters, orthogonalize(torch.stack(updates)), strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update, alpha=-group["lr"] * scale)


def make_optimizers(model: nn.Module, *, matrix_lr: float, other_lr: float) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices inside the blocks and AdamW for embeddings, head and norms."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        inside = parameter.ndim == 2 and "embed" not in name and "lm_head" not in name
        (matrices if inside else others).append(parameter)
    return [
        Muon(matrices, matrix_lr),
        torch.optim.AdamW(others, other_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]
