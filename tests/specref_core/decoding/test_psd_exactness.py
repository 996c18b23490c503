"""Strict PSD against the undrafted sampler, token for token: any model, canvas, policy, batch, and ties on purpose.

The suite runs some hundred cases. For a thousand: ``SPECREF_CASES=1000 pytest`` on this file and on
``test_speculation_exactness.py``.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures.checkpoints import make_llada_checkpoint
from specref_core.decoding.denoise import DenoiseSettings, denoise
from specref_core.decoding.psd import PsdSettings, psd
from specref_core.decoding.unmask_policies import Factor, FixedCount, Hierarchy, LeftToRight, Scheduled, Threshold
from specref_core.models.llada import load_llada

CASES = int(os.environ.get("SPECREF_CASES", "150"))
# How a model is made to tie: not at all; two tokens of one row; every token twice; few values; no opinion at all;
# positions that see nothing of each other.
TIES = ["none", "none", "two tokens", "twins", "rounded", "flat", "blind"]


@cache
def _model(seed, ties, scale, shift):
    with TemporaryDirectory() as folder:
        model = load_llada(
            make_llada_checkpoint(
                Path(folder), seed=seed, scale=scale, prediction_shift=shift, hidden_size=16, mlp_size=32, layers=1
            )
        ).model
    head = model.lm_head.weight
    with torch.no_grad():
        if ties == "two tokens":
            head[40:] = 0
            head[7] = head[31]
        elif ties == "twins":
            head[1::2] = head[::2][: len(head[1::2])]
        elif ties == "rounded":
            head.copy_(head.sign() * 0.25)
        elif ties == "flat":
            head.zero_()
        elif ties == "blind":
            for layer in model.model.layers:
                layer.self_attn.o_proj.weight.zero_()
    return model


class Noisy:
    """A model whose logits round differently in every size of batch, more than those of any real one do."""

    def __init__(self, model):
        self.model, self.config, self.device = model, model.config, model.device

    def __call__(self, input_ids, **inputs):
        out = self.model(input_ids, **inputs)
        if len(input_ids) > 1:
            generator = torch.Generator().manual_seed(len(input_ids))
            noise = 2 * torch.rand(out.logits.shape, generator=generator) - 1
            out.logits = out.logits + 8e-6 * noise * out.logits.abs().amax(dim=-1, keepdim=True).clamp_min(1)
        return out


@st.composite
def models(draw):
    """A small model, how it ties, and whether batches are noisier than this machine makes them."""
    model = _model(
        draw(st.integers(0, 5)),
        draw(st.sampled_from(TIES)),
        draw(st.sampled_from([0.05, 0.3, 1.0])),
        draw(st.booleans()),
    )
    return Noisy(model) if draw(st.booleans()) else model


@st.composite
def canvases(draw):
    """Ids, hidden positions, attention and prompt masks: warm starts, blanks, rows alike, padding on either side."""
    rows, length = draw(st.integers(1, 3)), draw(st.integers(1, 12))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    ids = torch.randint(0, draw(st.sampled_from([3, 300])), (rows, length), generator=generator)
    masked = torch.rand(rows, length, generator=generator) < draw(st.sampled_from([0.3, 0.7, 1.0]))
    attention = torch.ones(rows, length, dtype=torch.bool)
    for row in range(rows):
        if draw(st.booleans()):
            cut = draw(st.integers(0, length - 1))
            attention[row, slice(None, cut) if draw(st.booleans()) else slice(length - cut, None)] = False
    if draw(st.booleans()):  # rows alike, which only a batch could tell apart
        ids[:], masked[:], attention[:] = ids[0].clone(), masked[0].clone(), attention[0].clone()
    masked &= attention
    prompt = None
    if draw(st.booleans()):
        start = draw(st.integers(0, length))
        prompt = torch.arange(length)[None].expand(rows, -1) < start
        masked &= ~prompt
    return ids, masked, attention, prompt


POLICIES = st.one_of(
    st.just(Scheduled()),
    st.builds(FixedCount, st.integers(1, 4)),
    st.builds(LeftToRight, st.integers(1, 3)),
    st.builds(Threshold, st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.9, 1.0])),
    st.builds(Factor, st.sampled_from([0.5, 1.0, 1.9])),
    st.sampled_from([Hierarchy(), Hierarchy(0.0, 0.1), Hierarchy(0.05, 0.3)]),
)
PROCESSES = st.builds(
    DenoiseSettings,
    steps=st.integers(1, 14),
    block_length=st.none() | st.integers(1, 9),
    temperature=st.sampled_from([0.0, 0.0, 0.0, 0.8]),
    remasking=st.sampled_from(["low_confidence", "low_confidence", "random"]),
    cfg_scale=st.sampled_from([0.0, 0.0, 1.5]),
    ban_eos=st.booleans(),
    defer_eos=st.booleans(),
    confidence_dtype=st.sampled_from(["float32", "float32", "model"]),
)
DRAFTS = st.builds(
    PsdSettings,
    depth=st.integers(0, 6),
    drafting=st.none() | POLICIES,
    alternatives=st.sampled_from([1, 1, 2, 3, 400]),
    most_states=st.sampled_from([1, 4, 12]),
)
run = settings(max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)


@pytest.mark.slow
@pytest.mark.timeout(max(600, 5 * CASES))
@run
@given(models(), canvases(), PROCESSES, POLICIES, DRAFTS)
def test_strict_psd_is_the_undrafted_sampler(model, canvas, process, policy, drafts):
    """As the batch is, and as each of its rows alone."""
    ids, masked, attention, prompt = canvas
    speculation = replace(drafts, policy=policy)
    seeds = [5 + row for row in range(len(ids))]

    def sampled(sampler, row=None, **more):
        part = slice(None) if row is None else slice(row, row + 1)
        return sampler(
            model,
            ids[part],
            masked[part],
            attention_mask=attention[part],
            prompt_mask=None if prompt is None else prompt[part],
            settings=process,
            seeds=seeds[part],
            **more,
        )

    def plain(row=None):
        """The sampler itself where the policy is its own, else the policy without drafts."""
        if isinstance(policy, Scheduled):
            return sampled(denoise, row)
        return sampled(psd, row, speculation=PsdSettings(policy=policy, depth=0))

    fast, together = sampled(psd, speculation=speculation), plain()
    assert torch.equal(fast.ids, together.ids)
    assert torch.equal(fast.committed_at, together.committed_at)
    for row in range(len(ids)):
        alone = plain(row)
        assert torch.equal(fast.ids[row : row + 1], alone.ids)
        assert torch.equal(fast.committed_at[row : row + 1], alone.committed_at)


@settings(max_examples=25, deadline=None)
@given(models(), canvases(), POLICIES, st.integers(0, 4), st.sampled_from([0, 5, 40]))
def test_an_early_end_changes_nothing_before_it(model, canvas, policy, depth, end):
    """With an early end the answer is the same up to its first end token, and nothing stays hidden."""
    ids, masked, attention, prompt = canvas
    shared = {"attention_mask": attention, "prompt_mask": prompt, "end_token_ids": [end]}
    early = psd(model, ids, masked, speculation=PsdSettings(policy, depth), **shared)
    late = psd(model, ids, masked, speculation=PsdSettings(policy, depth=0, early_end=False), **shared)
    for row in range(len(ids)):
        columns = range(ids.shape[1])
        first = next((i for i in columns if masked[row, i]), len(columns))
        inside = [i for i in columns if attention[row, i] and (i >= first if prompt is None else not prompt[row, i])]
        stop = next((i for i in inside if int(early.ids[row, i]) == end), len(columns) - 1)
        assert torch.equal(early.ids[row, : stop + 1], late.ids[row, : stop + 1])
    assert (early.ids[masked] != model.config.mask_token_id).all()
    assert (early.forward_passes <= late.forward_passes + early.committed_at.amax(dim=1).clamp_min(1)).all()


def test_rows_without_any_context_are_filled_alike_in_every_batch():
    """All positions of such a row are one to the model; only float noise tells them apart."""
    model = Noisy(_model(0, "none", 0.3, shift=False))
    ids = torch.full((4, 9), model.config.mask_token_id)
    options = DenoiseSettings(steps=9)
    alone = denoise(model, ids[:1], settings=options)
    together = denoise(model, ids, settings=options)
    fast = psd(model, ids, settings=options, speculation=PsdSettings(depth=3))
    for row in range(4):
        assert torch.equal(together.ids[row], alone.ids[0])
        assert torch.equal(together.committed_at[row], alone.committed_at[0])
        assert torch.equal(fast.committed_at[row], alone.committed_at[0])
    assert (together.row_forwards > together.forward_passes).any()  # what was seen again is counted
    assert together.forward_passes.tolist() == [9] * 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_narrow_dtype_is_never_asked_again(dtype):
    """All its choices are within its noise; it would always be asked again."""
    model = _model(1, "none", 0.3, shift=True)
    try:
        model.to(dtype)
        ids = torch.full((2, 8), model.config.mask_token_id)
        ids[:, 0] = 5
        out = denoise(model, ids, settings=DenoiseSettings(steps=7))
        assert out.row_forwards.tolist() == out.forward_passes.tolist() == [7, 7]
        fast = psd(model, ids, settings=DenoiseSettings(steps=7))
        assert (fast.ids != model.config.mask_token_id).all()
    finally:
        model.to(torch.float32)
        _model.cache_clear()
