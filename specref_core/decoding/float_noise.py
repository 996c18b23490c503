"""Which choices float noise could turn: the same row rounds differently in batches of different sizes.

Matrix products of another shape add in another order, so a float32 logit of a row in a batch differs from that of the
row alone by about 1e-6 of its size. Where two positions, or two tokens, are nearer to each other than that, the batch
decides by chance. A sampler that finds such a choice makes it again in a pass of the row alone, whose bits do not
depend on anybody else. Everything here is a pure function of tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

# Of the largest logit's size. Random models of two layers differed by 2e-7 to 7e-6 of it, in the worst of twelve by
# 2.5e-5 in a single entry; trained weights (the embedded refiner, canvases of 90) by nothing at all.
LOGIT_NOISE = 2e-5
# Of a float32 probability: the exponential, the sum below it and the quotient, four units in the last place together.
ROUNDING = 2.0**-21


@dataclass(frozen=True, slots=True, eq=False)
class Margins:
    """How clear the choice of some tokens was.

    Attributes:
        gap: (n,) float, by how much the chosen token's (noised) logit leads the next one's, nats.
        size: (n,) float32, the largest absolute logit.
    """

    gap: Tensor
    size: Tensor

    def split(self, counts: list[int]) -> list[Margins]:
        """Return the margins of consecutive rows, ``counts`` of them each."""
        return [
            Margins(*parts) for parts in zip(torch.split(self.gap, counts), torch.split(self.size, counts), strict=True)
        ]

    def noise(self) -> Tensor:
        """Return (n,) float32, by how much a logit may be off, nats."""
        return LOGIT_NOISE * self.size.clamp_min(1.0)


def could_turn(
    select: Callable[[Tensor], Tensor], confidence: Tensor, margins: Margins, *, random_order: bool = False
) -> bool:
    """Return whether float noise could change which positions a step commits, or which tokens it writes there.

    Args:
        select: the step's rule, from (n,) confidences to the chosen indices.
        confidence: (n,) as predicted.
        margins: of the same positions.
        random_order: confidences are random numbers, which carry no noise.
    """
    chosen = torch.zeros_like(confidence, dtype=torch.bool)
    chosen[select(confidence)] = True
    noise = margins.noise().to(confidence.device)
    if bool((margins.gap.to(confidence.device) <= 2 * noise)[chosen].any()):
        return True
    if random_order:
        return False
    # d log c = (1 - c) times the difference of two logits' errors.
    off = 2 * noise * confidence * (1 - confidence) + ROUNDING * confidence
    # The worst for a rule that prefers confidence is to lower all it chose and raise all it did not; the other two are
    # for rules that compare with a threshold.
    for moved in (torch.where(chosen, -off, off), off, -off):
        again = torch.zeros_like(chosen)
        again[select(confidence + moved)] = True
        if not torch.equal(again, chosen):
            return True
    return False
