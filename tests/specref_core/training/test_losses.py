"""The losses against closed forms, and the masks against their law."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from specref_core.errors import InputError
from specref_core.training.losses import (
    autoregressive,
    diffusion,
    hide_targets,
    masked_diffusion_loss,
    next_token_loss,
)

MASK = 9


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 9), length=st.integers(2, 20), seed=st.integers(0, 99), data=st.data())
def test_hidden_positions_lie_in_the_target_and_the_rest_is_untouched(rows, length, seed, data):
    starts = torch.tensor(data.draw(st.lists(st.integers(0, length - 1), min_size=rows, max_size=rows)))
    target = torch.arange(length)[None] >= starts[:, None]
    ids = torch.randint(0, MASK, (rows, length), generator=_generator(seed))
    batch = hide_targets(ids, target, mask_token_id=MASK, generator=_generator(seed))
    counts = batch.masked.sum(1)
    assert not (batch.masked & ~target).any()
    assert (counts >= 1).all()
    assert (counts <= target.sum(1)).all()
    assert torch.equal(batch.ids[~batch.masked], ids[~batch.masked])
    assert (batch.ids[batch.masked] == MASK).all()
    assert torch.allclose(batch.weights, target.sum(1) / counts)


def test_mask_counts_of_a_batch_are_stratified_over_all_counts():
    target = torch.ones(10, 10, dtype=torch.bool)
    batch = hide_targets(torch.zeros(10, 10, dtype=torch.long), target, mask_token_id=MASK, generator=_generator(3))
    assert sorted(batch.masked.sum(1).tolist()) == list(range(1, 11))


def test_mask_counts_are_uniform_and_positions_too():
    target = torch.ones(1, 4, dtype=torch.bool)
    ids = torch.zeros(1, 4, dtype=torch.long)
    draws = [hide_targets(ids, target, mask_token_id=MASK, generator=_generator(s)).masked for s in range(4000)]
    counts = torch.bincount(torch.stack([d.sum() for d in draws]), minlength=5)[1:] / 4000
    assert torch.allclose(counts, torch.full((4,), 0.25), atol=0.03)
    assert torch.allclose(torch.cat(draws).float().mean(0), torch.full((4,), 0.625), atol=0.03)


def test_a_row_without_target_is_refused():
    target = torch.tensor([[True, True], [False, False]])
    with pytest.raises(InputError, match="row 1"):
        hide_targets(torch.zeros(2, 2, dtype=torch.long), target, mask_token_id=MASK, generator=_generator())


def test_the_bound_of_a_uniform_model_is_log_vocab_whatever_is_hidden():
    """A model that knows nothing pays log V a token; the weights C/l must undo the share of hidden positions."""
    ids = torch.randint(0, 8, (6, 12), generator=_generator(1))
    target = torch.ones(6, 12, dtype=torch.bool)
    for seed in range(5):
        batch = hide_targets(ids, target, mask_token_id=MASK, generator=_generator(seed))
        loss = masked_diffusion_loss(torch.zeros(int(batch.masked.sum()), 8), ids, target, batch)
        assert float(loss) == pytest.approx(math.log(8), rel=1e-5)


def test_the_bound_by_hand():
    ids = torch.tensor([[0, 1, 1]])
    target = torch.tensor([[False, True, True]])
    batch = hide_targets(ids, target, mask_token_id=MASK, generator=_generator(0))
    hidden = int(batch.masked.sum())
    logits = torch.tensor([[0.0, 2.0]]).repeat(hidden, 1)
    nats = math.log(1 + math.exp(-2.0))
    assert float(masked_diffusion_loss(logits, ids, target, batch)) == pytest.approx(2 / hidden * hidden * nats / 2)


def test_next_token_loss_by_hand():
    ids = torch.tensor([[0, 1, 0]])
    counted = torch.tensor([[False, False, True]])
    assert float(next_token_loss(torch.tensor([[1.0, 0.0]]), ids, counted)) == pytest.approx(math.log(1 + math.exp(-1)))


class _Echo(nn.Module):
    """A network whose hidden state at a position is the one-hot of the token there, and whose head is a table."""

    def __init__(self, table: torch.Tensor, *, shift: bool) -> None:
        super().__init__()
        self.table = nn.Parameter(table)
        self.config = SimpleNamespace(mask_token_id=table.shape[0] - 1, prediction_shift=shift)

    def model(self, input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=nn.functional.one_hot(input_ids, self.table.shape[0]).float())

    def lm_head(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden @ self.table


def test_autoregressive_reads_the_token_before():
    table = torch.zeros(4, 4)
    table[0, 2] = 50.0  # after 0 comes 2
    ids = torch.tensor([[0, 2, 1]])
    right = torch.tensor([[False, True, False]])
    assert float(autoregressive(_Echo(table, shift=True), ids, right)) == pytest.approx(0, abs=1e-6)
    assert float(autoregressive(_Echo(table, shift=True), ids, ~right & (ids != 0))) == pytest.approx(math.log(4))


@pytest.mark.parametrize("shift", [True, False])
def test_diffusion_takes_the_state_before_under_a_shift_and_the_own_one_without(shift):
    table = torch.zeros(4, 4)
    table[0 if shift else 3, 2] = 50.0
    ids = torch.tensor([[0, 2]])
    target = torch.tensor([[False, True]])
    assert float(diffusion(_Echo(table, shift=shift), ids, target, _generator())) == pytest.approx(0, abs=1e-6)
    assert float(diffusion(_Echo(table, shift=not shift), ids, target, _generator())) == pytest.approx(math.log(4))


def test_a_shifted_model_cannot_predict_the_first_token():
    with pytest.raises(InputError, match="first token"):
        diffusion(
            _Echo(torch.zeros(4, 4), shift=True),
            torch.zeros(1, 2, dtype=torch.long),
            torch.ones(1, 2).bool(),
            _generator(),
        )
