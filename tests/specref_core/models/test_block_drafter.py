"""The block drafter: what a slot may see, and that it comes back from disk as it was."""

from __future__ import annotations

import pytest
import torch

from specref_core.errors import CheckpointError, InputError
from specref_core.models.block_drafter import BlockDrafter, BlockDrafterConfig, feature_layers

CONFIG = BlockDrafterConfig(hidden=16, heads=2, block_size=4, feature_layers=(0, 1), layers=2)


def _inputs(batch=2, blocks=3, length=9):
    generator = torch.Generator().manual_seed(0)
    anchors = torch.randn(batch, blocks, 16, generator=generator)
    starts = torch.tensor([[2, 5, 8]] * batch)[:, :blocks]
    return anchors, starts, torch.randn(batch, length, 16, generator=generator)


@pytest.fixture(scope="module")
def drafter():
    torch.manual_seed(0)
    return BlockDrafter(CONFIG).eval()


@torch.no_grad()
def test_a_block_sees_the_context_strictly_before_it(drafter):
    anchors, starts, context = _inputs()
    base = drafter(anchors, starts, context)
    assert base.shape == (2, 3, 3, 16)
    for column in range(9):
        changed = context.clone()
        changed[:, column] += 1.0
        touched = (drafter(anchors, starts, changed) - base).abs().amax(dim=(0, 2, 3)) > 1e-6
        assert touched.tolist() == [column < start for start in (2, 5, 8)]


@torch.no_grad()
def test_blocks_and_rows_do_not_see_each_other(drafter):
    anchors, starts, context = _inputs()
    base = drafter(anchors, starts, context)
    other = anchors.clone()
    other[0, 1] += 1.0
    touched = (drafter(other, starts, context) - base).abs().amax(dim=(2, 3)) > 1e-6
    assert touched.tolist() == [[False, True, False], [False, False, False]]
    alone = drafter(anchors[1:, 2:], starts[1:, 2:], context[1:, :8])
    assert torch.allclose(alone, base[1:, 2:], atol=1e-6)


@torch.no_grad()
def test_every_slot_sees_its_whole_block(drafter):
    x = torch.randn(1, 1, 4, 16)
    places = torch.arange(9)
    starts = torch.tensor([[5]])
    arguments = (torch.randn(1, 9, 16), places < starts[..., None], places, starts[..., None] + torch.arange(4))
    base = drafter.layers[0](x, *arguments)
    for slot in range(4):
        other = x.clone()
        other[0, 0, slot] += 1.0
        assert ((drafter.layers[0](other, *arguments) - base).abs().amax(dim=-1) > 1e-6).all()


@torch.no_grad()
def test_only_distances_count(drafter):
    anchors, _, context = _inputs(blocks=1)
    near = drafter(anchors, torch.tensor([[4], [4]]), context[:, :4])
    layer = drafter.layers[0]
    x = torch.randn(1, 1, 4, 16)
    everything = torch.ones(1, 1, 4, dtype=torch.bool)
    outs = [
        layer(x, context[:1, :4], everything, torch.arange(4) + shift, torch.arange(4)[None, None] + 4 + shift)
        for shift in (0, 7)
    ]
    assert torch.allclose(outs[0], outs[1], atol=1e-5)
    assert near.shape == (2, 1, 3, 16)


def test_an_empty_context_is_no_trouble(drafter):
    anchors, _, context = _inputs(blocks=1)
    out = drafter(anchors, torch.zeros(2, 1, dtype=torch.int64), context[:, :0])
    assert torch.isfinite(out).all()


@pytest.mark.parametrize(
    ("layers", "count", "chosen"),
    [
        (36, 5, (1, 9, 17, 25, 33)),
        (32, 1, (16,)),
        (32, 3, (1, 15, 29)),
        (4, 3, (1, 2, 3)),
        (2, 5, (0, 1)),
        (1, 1, (0,)),
    ],
)
def test_feature_layers_are_spread_as_published_or_the_deepest(layers, count, chosen):
    assert feature_layers(layers, count) == chosen


def test_the_configuration_fits_its_target(phi):
    config = BlockDrafterConfig.for_target(phi[0], features=2, block_size=5)
    assert (config.hidden, config.heads, config.block_size) == (32, 4, 5)
    assert config.feature_layers == (0, 1)


def test_it_comes_back_from_disk(drafter, tmp_path):
    drafter.save(tmp_path / "drafter")
    again = BlockDrafter.load(tmp_path / "drafter")
    assert again.config == CONFIG
    assert torch.equal(again(*_inputs()), drafter(*_inputs()))
    (tmp_path / "drafter" / "model.safetensors").write_bytes(b"half")
    with pytest.raises(CheckpointError, match="write it anew"):
        BlockDrafter.load(tmp_path / "drafter")
    with pytest.raises(CheckpointError, match="no block drafter"):
        BlockDrafter.load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"block_size": 1}, "block_size=1"),
        ({"heads": 3}, "heads"),
        ({"layers": 0}, "layers=0"),
        ({"feature_layers": ()}, "feature_layers"),
        ({"feature_layers": (-1,)}, "feature_layers"),
    ],
)
def test_sizes_that_cannot_be_are_named(change, told):
    sizes = {"hidden": 16, "heads": 2, "block_size": 4, "feature_layers": (0, 1), **change}
    with pytest.raises(InputError, match=told):
        BlockDrafterConfig(**sizes)


def test_a_target_with_fewer_layers_is_refused(drafter):
    with pytest.raises(InputError, match="another target"):
        drafter.read([torch.zeros(1, 2, 16)] * 2)
