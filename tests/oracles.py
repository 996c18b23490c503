"""Slow and obvious versions of what the engine does fast: the tests and the benchmarks compare the two.

Each follows the published script's rules step by step (LLaDA's ``generate.py`` and ``eval_llada.py``), computes
everything everywhere, and has none of the engine's code.
"""

from __future__ import annotations

import json
from itertools import combinations
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


def official_denoise(
    model: Any,
    prompt: Tensor,
    *,
    steps: int,
    gen_length: int,
    block_length: int,
    mask_id: int,
    cfg_scale: float = 0.0,
    ban_eos: int | None = None,
    defer: tuple[int, int] | None = None,
    canvas: Tensor | None = None,
) -> Tensor:
    """LLaDA's greedy, low-confidence sampler: (batch, length) ids after the reverse process.

    Args:
        model: returns logits for the whole canvas.
        prompt: (batch, p) ids, all rows of one length.
        steps: over the whole canvas; a multiple of the number of blocks.
        gen_length: masks appended to the prompt; a multiple of ``block_length``.
        block_length: positions decoded together.
        mask_id: of the mask token.
        cfg_scale: classifier-free guidance.
        ban_eos: the token of ``logits_eos_inf``.
        defer: the two tokens of ``confidence_eos_eot_inf``.
        canvas: instead of masks, (batch, gen_length) ids some of which are masks: the script's loop on a warm start.
    """
    blocks = gen_length // block_length
    assert blocks * block_length == gen_length
    assert steps % blocks == 0
    if canvas is None:
        canvas = torch.full((len(prompt), gen_length), mask_id)
    x = torch.cat([prompt, canvas], dim=1)
    known_at_start = x != mask_id
    for block in range(blocks):
        begin = prompt.shape[1] + block * block_length
        end = begin + block_length
        in_block = (x[:, begin:end] == mask_id).sum(dim=1)
        for step in range(steps // blocks):
            logits = _guided(model, x, known_at_start, mask_id, cfg_scale)
            if ban_eos is not None:
                logits[:, :, ban_eos] = -torch.inf
            best = logits.argmax(dim=-1)
            if defer is not None:  # at temperature 0 the script's two assignments fall on one tensor
                logits[:, :, list(defer)] = -torch.inf
            confidence = functional.softmax(logits, dim=-1).gather(-1, best[..., None]).squeeze(-1)
            confidence[:, end:] = -torch.inf
            confidence[x != mask_id] = -torch.inf
            for row in range(len(x)):
                per_step, more = divmod(int(in_block[row]), steps // blocks)
                chosen = confidence[row].topk(per_step + (step < more)).indices
                x[row, chosen] = best[row, chosen]
    return x


def _guided(model: Any, x: Tensor, known_at_start: Tensor, mask_id: int, scale: float) -> Tensor:
    if scale == 0:
        return model(x).logits
    both = model(torch.cat([x, x.masked_fill(known_at_start, mask_id)])).logits
    conditional, unconditional = both.chunk(2)
    return unconditional + (scale + 1) * (conditional - unconditional)


def official_masks(length: int, batch: int) -> tuple[Tensor, Tensor]:
    """One batch of LLaDA's masks: (batch, length) bool, and (batch,) how many tokens each hides."""
    start = torch.randint(1, length + 1, ())
    counts = torch.linspace(float(start), start + (batch - 1) * (length / batch), steps=batch).round().long()
    counts = (counts - 1) % length + 1
    masks = torch.zeros(batch, length, dtype=torch.bool)
    for row, count in enumerate(counts):
        masks[row, torch.randperm(length)[:count]] = True
    return masks, counts


@torch.no_grad()
def official_log_likelihood(
    model: Any, prompt: Tensor, target: Tensor, *, samples: int, batch: int, mask_id: int
) -> tuple[float, list[float]]:
    """LLaDA's Monte Carlo estimate of log p(target | prompt), nats, and the estimates of its batches."""
    whole = torch.cat([prompt, target]).repeat(batch, 1)
    estimates = []
    for _ in range(samples // batch):
        masks, counts = official_masks(len(target), batch)
        hidden = torch.cat([torch.zeros(batch, len(prompt), dtype=torch.bool), masks], dim=1)
        logits = model(torch.where(hidden, mask_id, whole)).logits
        weight = (counts / len(target))[:, None].expand_as(hidden)
        losses = functional.cross_entropy(logits[hidden], whole[hidden], reduction="none") / weight[hidden]
        estimates.append(-float(losses.sum() / batch))
    return sum(estimates) / len(estimates), estimates


@torch.no_grad()
def bound_by_definition(model: Any, prompt: Tensor, target: Tensor, *, mask_id: int) -> float:
    """Return what every Monte Carlo scheme estimates, by its definition: all counts, all subsets, one at a time."""
    length = len(target)
    total = 0.0
    for count in range(1, length + 1):
        means = []
        for subset in combinations(range(length), count):
            hidden = target.clone()
            hidden[list(subset)] = mask_id
            logits = model(torch.cat([prompt, hidden])[None]).logits[0, len(prompt) :]
            losses = functional.cross_entropy(logits, target, reduction="none")
            means.append(sum(float(losses[j]) for j in subset) / count)
        total += sum(means) / len(means)
    return -total  # L * mean over counts = sum over counts


@torch.no_grad()
def logits_from_files(directory: Path, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """LLaDA's forward pass in plain tensor operations, from the checkpoint's own names: (batch, length, vocab)."""
    from safetensors.torch import load_file

    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    weights: dict[str, Tensor] = {}
    for file in sorted(directory.glob("*.safetensors")):
        weights |= load_file(file)
    heads, kv_heads = config["n_heads"], config["n_kv_heads"]
    size = config["d_model"] // heads

    def norm(x: Tensor, name: str) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + config["rms_norm_eps"]) * weights[name]

    angles = torch.arange(ids.shape[1])[:, None] * config["rope_theta"] ** (-torch.arange(0, size, 2) / size)
    cos, sin = angles.cos(), angles.sin()

    def rotate(x: Tensor) -> Tensor:  # (batch, heads, length, size): pairs are (i, i + size / 2)
        low, high = x[..., : size // 2], x[..., size // 2 :]
        return torch.cat([low * cos - high * sin, high * cos + low * sin], dim=-1)

    x = weights["model.transformer.wte.weight"][ids]
    for block in range(config["n_layers"]):
        prefix = f"model.transformer.blocks.{block}."
        h = norm(x, prefix + "attn_norm.weight")
        q, k, v = (
            (h @ weights[f"{prefix}{kind}_proj.weight"].T).unflatten(-1, (-1, size)).transpose(1, 2) for kind in "qkv"
        )
        k, v = (t.repeat_interleave(heads // kv_heads, dim=1) for t in (k, v))
        scores = rotate(q) @ rotate(k).transpose(-1, -2) / size**0.5
        if attention_mask is not None:
            scores = scores.masked_fill(~attention_mask.bool()[:, None, None], -torch.inf)
        mixed = (scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)
        x = x + mixed @ weights[prefix + "attn_out.weight"].T
        h = norm(x, prefix + "ff_norm.weight")
        gate = functional.silu(h @ weights[prefix + "ff_proj.weight"].T)
        x = x + (gate * (h @ weights[prefix + "up_proj.weight"].T)) @ weights[prefix + "ff_out.weight"].T
    head = "model.transformer.wte.weight" if config["weight_tying"] else "model.transformer.ff_out.weight"
    return norm(x, "model.transformer.ln_f.weight") @ weights[head].T
