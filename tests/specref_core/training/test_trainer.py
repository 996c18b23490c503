"""The trainer: schedules, exact resume, refusals."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from specref_core.errors import CheckpointError, InputError
from specref_core.training.trainer import Trainer, TrainingError, TrainingPlan

PLAN = TrainingPlan(steps=12, warmup=3, decay=0.5, save_every=4, seed=1)


def _model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def _batch(number: int):
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(number))
    return (rows, rows.sum(1, keepdim=True)), 6


def _loss(model, batch, generator):
    rows, aims = batch
    return (model(rows + 0.01 * torch.randn(rows.shape, generator=generator)) - aims).pow(2).mean()


def _trainer(plan=PLAN, checkpoint=None, model_seed=0, loss=_loss):
    return Trainer(_model(model_seed), loss, _batch, plan, checkpoint=checkpoint)


def _weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def test_equal_seeds_give_equal_losses_and_others_do_not():
    runs = [_trainer() for _ in range(2)] + [_trainer(replace(PLAN, seed=2))]
    for run in runs:
        run.run()
    assert runs[0].losses == runs[1].losses
    assert runs[0].losses != runs[2].losses


def test_the_loss_falls():
    trainer = _trainer(replace(PLAN, steps=150, matrix_lr=2e-2, other_lr=2e-2))
    trainer.run()
    assert sum(trainer.losses[-10:]) < 0.5 * sum(trainer.losses[:10])


@pytest.mark.parametrize("stop", [1, 4, 7, 11])
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path, stop):
    whole = _trainer()
    whole.run()
    first = _trainer(checkpoint=tmp_path / "run.pt")
    first.run(until=stop)
    second = _trainer(checkpoint=tmp_path / "run.pt", model_seed=5)
    assert second.resume()
    second.run()
    assert second.losses == whole.losses
    assert torch.equal(_weights(second), _weights(whole))
    assert second.tokens == whole.tokens == 12 * 6
    for name, value in whole.averaged.items():
        assert torch.equal(second.averaged[name], value)


def test_micro_batches_average_their_gradients():
    """Two micro-batches are one batch of twice the size when the loss is a mean over equal parts."""

    def noiseless(model, batch, _generator):
        return (model(batch[0]) - batch[1]).pow(2).mean()

    def joined(number):
        (a, x), n = _batch(2 * number)
        (b, y), m = _batch(2 * number + 1)
        return (torch.cat([a, b]), torch.cat([x, y])), n + m

    split = _trainer(replace(PLAN, micro_batches=2), loss=noiseless)
    whole = Trainer(_model(), noiseless, joined, PLAN)
    split.run()
    whole.run()
    assert split.tokens == whole.tokens
    assert torch.allclose(_weights(split), _weights(whole), atol=1e-5)


def test_nothing_to_resume_is_said():
    assert not _trainer().resume()


def test_no_checkpoint_file_is_no_checkpoint(tmp_path):
    assert not _trainer(checkpoint=tmp_path / "none.pt").resume()


def test_a_longer_run_may_resume_before_the_decay_and_not_after(tmp_path):
    longer = replace(PLAN, steps=40)
    early = _trainer(checkpoint=tmp_path / "run.pt")
    early.run(until=5)
    resumed = _trainer(longer, checkpoint=tmp_path / "run.pt")
    assert resumed.resume()
    resumed.run(until=8)
    whole = _trainer(longer)
    whole.run(until=8)
    assert resumed.losses == whole.losses

    late = _trainer(checkpoint=tmp_path / "late.pt")
    late.run(until=9)
    with pytest.raises(CheckpointError, match="steps: 12 against 40"):
        _trainer(longer, checkpoint=tmp_path / "late.pt").resume()


@pytest.mark.parametrize("change", [{"seed": 9}, {"matrix_lr": 1.0}, {"average": 0.5}, {"micro_batches": 2}])
def test_another_plan_is_refused_by_name(tmp_path, change):
    _trainer(checkpoint=tmp_path / "run.pt").run(until=2)
    with pytest.raises(CheckpointError, match=next(iter(change))):
        _trainer(replace(PLAN, **change), checkpoint=tmp_path / "run.pt").resume()


def test_a_damaged_checkpoint_is_refused_and_left(tmp_path):
    place = tmp_path / "run.pt"
    _trainer(checkpoint=place).run(until=2)
    place.write_bytes(place.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="cannot be read"):
        _trainer(checkpoint=place).resume()
    assert len(place.read_bytes()) == 100


def test_another_model_is_refused(tmp_path):
    _trainer(checkpoint=tmp_path / "run.pt").run(until=2)
    other = Trainer(nn.Linear(4, 1), _loss, _batch, PLAN, checkpoint=tmp_path / "run.pt")
    with pytest.raises(CheckpointError, match="does not fit"):
        other.resume()


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(tmp_path):
    place = tmp_path / "run.pt"
    _trainer(checkpoint=place).run(until=4)
    before = place.read_bytes()

    def broken(model, batch, generator):
        return _loss(model, batch, generator) * math.nan

    trainer = _trainer(checkpoint=place, loss=broken)
    trainer.resume()
    with pytest.raises(TrainingError, match="step 5"):
        trainer.run()
    assert place.read_bytes() == before


def test_the_rate_rises_stays_and_falls():
    plan = TrainingPlan(steps=100, warmup=10, decay=0.4)
    rates = [plan.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:60] == [1.0] * 51
    assert all(a > b for a, b in pairwise(rates[60:]))
    assert rates[99] == pytest.approx(1 / 40)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"save_every": 0}, {"micro_batches": 0}, {"decay": 1.5}])
def test_impossible_plans_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        TrainingPlan(**{"steps": 3, **wrong})


def test_progress_is_reported_each_step():
    seen = []
    _trainer().run(report=seen.append)
    assert [at.step for at in seen] == list(range(1, 13))
    assert seen[-1].tokens == 72
    assert all(at.steps == 12 for at in seen)


def test_the_average_is_loaded_on_request():
    trainer = _trainer()
    trainer.run()
    trainer.load_average()
    assert torch.equal(_weights(trainer), torch.cat([v.flatten() for v in trainer.averaged.values()]))


def test_a_time_limit_stops_between_steps_and_saves(tmp_path):
    trainer = _trainer(checkpoint=tmp_path / "run.pt")
    trainer.run(seconds=0.0)
    assert trainer.step == 0
    assert not trainer.done
    trainer.run(until=3)
    assert _trainer(checkpoint=tmp_path / "run.pt").resume()
    trainer.run()
    assert trainer.done
