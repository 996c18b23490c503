"""Log-likelihoods of given continuations: exact for left-to-right models, a Monte Carlo bound for masked ones.

The bound is LLaDA's (its ``eval_llada.py``): hide some target tokens, take the cross-entropy of the hidden ones, weight
by L over their number, average. ``systematic`` is that script; ``uniform`` estimates the same quantity without the
script's rounding and with less noise; ``exact`` enumerates all masks of a short target.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from specref_core.batching import Batches
from specref_core.errors import InputError
from specref_core.generator import LogLikelihood
from specref_core.mask_draws import all_masks, draw_masks
from specref_core.models.calling import features_at
from specref_core.seeding import row_seed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from specref_core.generator import LikelihoodRequest, MonteCarlo

_TOKENS_PER_PASS = {"cpu": 1536}
"""By device: on a CPU a pass is fastest while its activations stay in the cache."""
_TOKENS_ELSEWHERE = 4096
# Below this many independent batches the others say too little about a batch's own baseline.
_FEWEST_BATCHES = 4


def encode_pair(tokenizer: Any, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Split context and continuation into tokens the way the evaluation harnesses do.

    White space at the end of the context moves to the continuation, both are tokenized together, and the target is what
    comes after as many tokens as the context has by itself. Where a merge across the boundary would leave the target
    empty, its last token is the target.

    Returns:
        context ids and target ids.
    """
    kept = context.rstrip()
    continuation, context = context[len(kept) :] + continuation, kept
    whole: list[int] = tokenizer(context + continuation, add_special_tokens=False)["input_ids"]
    before: list[int] = tokenizer(context, add_special_tokens=False)["input_ids"] if context else []
    if continuation and whole and len(whole) <= len(before):
        return whole[:-1], whole[-1:]
    return before, whole[len(before) :]


@torch.no_grad()
def ar_log_likelihood(
    model: Any, tokenizer: Any, requests: Sequence[LikelihoodRequest], *, tokens_per_pass: int | None = None
) -> list[list[LogLikelihood]]:
    """Score every continuation of every request with a left-to-right model, exactly.

    An empty context is replaced by the model's beginning-of-text token, or its end-of-text token where it has none.

    Args:
        model: a causal language model of transformers.
        tokenizer: its tokenizer.
        requests: contexts with their continuations.
        tokens_per_pass: padded tokens of one batch; what suits the model's device if not given.

    Raises:
        InputError: a pair is longer than the model's context, or an empty context has no token to stand for it.
    """
    pairs = likelihood_pairs(model.config, tokenizer, requests, needs_context=True)
    values: dict[int, float] = {}
    scorable = [index for index, (_, target) in enumerate(pairs) if target]
    batches = Batches(max(1, len(scorable)), "pairs of context and continuation")

    def score(group: list[int]) -> list[float]:
        # Padding goes to the right, where a causal model cannot see it.
        rows = [torch.tensor(pairs[index][0] + pairs[index][1]) for index in group]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(model.device)
        first = min(len(pairs[index][0]) for index in group) - 1
        logits = model(ids[:, :-1], logits_to_keep=torch.arange(first, ids.shape[1] - 1, device=ids.device)).logits
        found = []
        for row, index in enumerate(group):
            context, target = pairs[index]
            start = len(context) - 1 - first
            at = logits[row, start : start + len(target)].clone()
            wanted = ids[row, len(context) : len(context) + len(target)].to(at.device)
            found.append(-float(_cross_entropy(at, wanted).double().sum()))
        return found

    for packed in _packed(
        [len(pairs[i][0]) + len(pairs[i][1]) for i in scorable], tokens_per_pass or _usual_tokens(model)
    ):
        values |= batches.run([scorable[place] for place in packed], score)
    scored = [LogLikelihood(values.get(i, 0.0), 0.0, 0, len(target)) for i, (_, target) in enumerate(pairs)]
    return regroup(scored, requests)


def masked_log_likelihood(
    model: Any,
    tokenizer: Any,
    requests: Sequence[LikelihoodRequest],
    *,
    monte_carlo: MonteCarlo,
    seed: int,
    cfg_scale: float = 0.0,
    tokens_per_pass: int | None = None,
) -> list[list[LogLikelihood]]:
    """Estimate the likelihood bound of every continuation of every request with a masked model.

    The continuations of a request share their masks. A request's estimate depends on the seed and on its context, not
    on the requests beside it. Targets of one token are exact under every scheme.

    Args:
        model: a masked language model, ``LladaForMaskedLM`` say.
        tokenizer: its tokenizer.
        requests: contexts with their continuations.
        monte_carlo: samples, batch and scheme.
        seed: of the masks.
        cfg_scale: classifier-free guidance, as in LLaDA's script; 0 is off.
        tokens_per_pass: padded tokens of one batch; what suits the model's device if not given.

    Raises:
        InputError: a pair is longer than the model's context, or a target too long for ``scheme="exact"``.
    """
    pairs = likelihood_pairs(
        model.config, tokenizer, requests, needs_context=bool(getattr(model.config, "prediction_shift", False))
    )
    masks: list[NDArray[np.bool_]] = []
    for request, own in zip(requests, regroup(pairs, requests), strict=True):
        masks += _request_masks(
            [len(target) for _, target in own], monte_carlo, row_seed(seed, request.context, "likelihood")
        )
    # Equal masks are computed once: short targets have fewer masks than draws.
    distinct = [np.unique(drawn, axis=0, return_inverse=True) for drawn in masks]
    losses = masked_cross_entropies(
        model,
        [(*pair, unique) for pair, (unique, _) in zip(pairs, distinct, strict=True)],
        cfg_scale=cfg_scale,
        tokens_per_pass=tokens_per_pass,
    )
    scored = [
        _estimate(loss[which], drawn, monte_carlo)
        for loss, drawn, (_, which) in zip(losses, masks, distinct, strict=True)
    ]
    return regroup(scored, requests)


def log_likelihood_of_masks(losses: NDArray[np.float64], masks: NDArray[np.bool_], *, batch: int) -> LogLikelihood:
    """Return the estimate that given masks make: LLaDA's formula.

    Args:
        losses: (samples, L), cross-entropy of each masked token, nats; ignored elsewhere.
        masks: (samples, L), none of them empty.
        batch: draws that were stratified together; the standard error is that of the mean over batches.
    """
    counts = masks.sum(axis=1)
    draws = np.where(masks, losses, 0.0).sum(axis=1) * masks.shape[1] / counts
    return _summary(-draws.reshape(-1, batch).mean(axis=1), len(masks), masks.shape[1])


@torch.no_grad()
def masked_cross_entropies(
    model: Any,
    targets: Sequence[tuple[Sequence[int], Sequence[int], NDArray[np.bool_]]],
    *,
    cfg_scale: float = 0.0,
    tokens_per_pass: int | None = None,
) -> list[NDArray[np.float64]]:
    """Return the cross-entropy of every hidden target token under given masks.

    Args:
        model: a masked language model.
        targets: context ids, target ids and masks (n, L) of each.
        cfg_scale: classifier-free guidance; the unconditional input hides the context.
        tokens_per_pass: padded tokens of one batch; what suits the model's device if not given.

    Returns:
        for each target (n, L) float64, nats; 0 where the token is not hidden.
    """
    losses = [np.zeros(masks.shape) for _, _, masks in targets]
    rows = [(index, draw) for index, (_, _, masks) in enumerate(targets) for draw in range(len(masks))]
    sizes = [len(context) + len(target) for context, target, _ in targets]
    batches = Batches(max(1, len(rows)), "masked rows")

    def score(group: list[int]) -> list[NDArray[np.float64]]:
        picked = [rows[place] for place in group]
        longest = max(sizes[index] for index, _ in picked)
        ids = torch.full((len(picked), longest), model.config.mask_token_id)
        hidden, real, prompt = (torch.zeros(ids.shape, dtype=torch.bool) for _ in range(3))
        for row, (index, draw) in enumerate(picked):
            context, target, masks = targets[index]
            ids[row, : sizes[index]] = torch.tensor([*context, *target])
            hidden[row, len(context) : sizes[index]] = torch.from_numpy(masks[draw])
            real[row, : sizes[index]] = True
            prompt[row, : len(context)] = True
        found = _hidden_losses(model, ids, hidden=hidden, real=real, prompt=prompt, cfg_scale=cfg_scale)
        by_row = torch.split(found, hidden.sum(dim=1).tolist())
        return [loss.numpy() for loss in by_row]

    for packed in _packed([sizes[index] for index, _ in rows], tokens_per_pass or _usual_tokens(model)):
        for place, loss in batches.run(packed, score).items():
            index, draw = rows[place]
            losses[index][draw, targets[index][2][draw]] = loss
    return losses


def _hidden_losses(
    model: Any, ids: Tensor, *, hidden: Tensor, real: Tensor, prompt: Tensor, cfg_scale: float
) -> Tensor:
    """Return the cross-entropy at every hidden position, (n,) float64 in row-major order, from one pass."""
    inputs, copies = [ids.masked_fill(hidden, model.config.mask_token_id)], 1
    if cfg_scale > 0:
        inputs, copies = [inputs[0], inputs[0].masked_fill(prompt, model.config.mask_token_id)], 2
    features, head, at_once = features_at(
        model,
        torch.cat(inputs).to(model.device),
        hidden.repeat(copies, 1).to(model.device),
        attention_mask=real.repeat(copies, 1).to(model.device),
    )
    wanted = ids[hidden]
    losses = []
    for start in range(0, len(wanted), at_once):
        part = slice(start, min(start + at_once, len(wanted)))
        logits = head(features[part])
        if cfg_scale > 0:
            unconditional = head(features[part.start + len(wanted) : part.stop + len(wanted)])
            logits = unconditional + (cfg_scale + 1) * (logits - unconditional)
        losses.append(_cross_entropy(logits, wanted[part].to(logits.device)).double().cpu())
    return torch.cat(losses)


def _cross_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return (n,) float32 cross-entropies of (n, vocab) logits, which are overwritten, so no copy is made of them."""
    logits = logits.float()
    chosen = logits.gather(-1, wanted[:, None]).squeeze(-1)
    top = logits.amax(dim=-1)
    return logits.sub_(top[:, None]).exp_().sum(dim=-1).log() + top - chosen


def _request_masks(lengths: Sequence[int], monte_carlo: MonteCarlo, seed: int) -> list[NDArray[np.bool_]]:
    """Return the masks of each continuation; a target of one token has one mask, an empty target none."""
    if monte_carlo.scheme == "exact":
        return [all_masks(length)[0] if length else np.zeros((0, 0), dtype=bool) for length in lengths]
    drawn = draw_masks([max(length, 1) for length in lengths], monte_carlo, np.random.default_rng(seed))
    return [
        masks[: min(length, 1), :length] if length < 2 else masks for masks, length in zip(drawn, lengths, strict=True)
    ]


def _estimate(losses: NDArray[np.float64], masks: NDArray[np.bool_], monte_carlo: MonteCarlo) -> LogLikelihood:
    """Return the estimate from the losses of all draws."""
    length = masks.shape[1]
    if length == 0:
        return LogLikelihood(0.0, 0.0, 0, 0)
    if length == 1 or monte_carlo.scheme == "exact":
        weights = all_masks(length)[1]
        return LogLikelihood(-float(weights @ losses.sum(axis=1)), 0.0, 0, length)
    if monte_carlo.scheme == "uniform" and len(masks) // monte_carlo.batch >= _FEWEST_BATCHES:
        return _with_baselines(losses, masks, monte_carlo.batch)
    return log_likelihood_of_masks(losses, masks, batch=monte_carlo.batch)


def _with_baselines(losses: NDArray[np.float64], masks: NDArray[np.bool_], batch: int) -> LogLikelihood:
    """Estimate with a control variate: each batch is compared with what the other batches lead one to expect.

    A token's cross-entropy is predicted as its own level plus a common slope in the share of hidden tokens, both fitted
    to the other batches only. The prediction's expectation over masks is known exactly, so subtracting the prediction
    and adding its expectation leaves the estimate unbiased, whatever the fit; what the fit explains is no longer noise.
    """
    rounds, length = len(masks) // batch, masks.shape[1]
    hidden = masks.reshape(rounds, batch, length)
    loss = np.where(hidden, losses.reshape(hidden.shape), 0.0)
    counts = hidden.sum(axis=2, keepdims=True)
    share = np.where(hidden, counts / length, 0.0)

    def others(values: NDArray[Any]) -> NDArray[np.float64]:
        """Sum over the draws of all batches but one: (rounds, L)."""
        own: NDArray[np.float64] = values.sum(axis=1, dtype=np.float64)
        total: NDArray[np.float64] = own.sum(axis=0) - own
        return total

    seen = others(hidden)
    times = np.maximum(seen, 1)
    mean_loss, mean_share = others(loss) / times, others(share) / times
    covariance = (others(loss * share) - times * mean_loss * mean_share).sum(axis=1)
    variance = (others(share**2) - times * mean_share**2).sum(axis=1)
    slope = np.divide(covariance, variance, out=np.zeros(rounds), where=variance > 1e-12)[:, None]
    level = mean_loss - slope * mean_share
    unseen = np.broadcast_to(
        level.sum(axis=1, keepdims=True) / np.maximum((seen > 0).sum(axis=1, keepdims=True), 1), level.shape
    )
    level = np.where(seen > 0, level, unseen)

    predicted = np.where(hidden, level[:, None] + slope[..., None] * share, 0.0)
    residual = ((loss - predicted).sum(axis=2, keepdims=True) * length / counts).mean(axis=(1, 2))
    expected = level.sum(axis=1) + length * slope[:, 0] * (length + 1) / (2 * length)
    return _summary(-(residual + expected), len(masks), length)


def _summary(batches: NDArray[np.float64], samples: int, tokens: int) -> LogLikelihood:
    """Return mean and standard error of independent batch estimates."""
    error = float(batches.std(ddof=1) / math.sqrt(len(batches))) if len(batches) > 1 else math.nan
    return LogLikelihood(float(batches.mean()), error, samples, tokens, tuple(batches.tolist()))


def likelihood_pairs(
    config: Any, tokenizer: Any, requests: Sequence[LikelihoodRequest], *, needs_context: bool
) -> list[tuple[list[int], list[int]]]:
    """Return context and target ids of every continuation of every request, in order.

    Args:
        config: of the model, for its window and its begin token.
        tokenizer: the model's.
        requests: contexts with their continuations.
        needs_context: put a begin token where a context is empty.

    Raises:
        InputError: a pair does not fit the window, or an empty context has no token to stand for it.
    """
    longest = getattr(config, "max_position_embeddings", None)
    pairs = []
    for request in requests:
        for continuation in request.continuations:
            context, target = encode_pair(tokenizer, request.context, continuation)
            if not context and needs_context:
                context = [_prefix_token(config, tokenizer)]
            if longest is not None and len(context) + len(target) > longest:
                raise InputError(
                    f"context and continuation are {len(context)} + {len(target)} tokens, the model takes {longest}; "
                    f"shorten the context that begins {request.context[:40]!r}"
                )
            pairs.append((context, target))
    return pairs


def _prefix_token(config: Any, tokenizer: Any) -> int:
    """Return the token that stands for an empty context."""
    for found in (tokenizer.bos_token_id, config.eos_token_id, tokenizer.eos_token_id):
        if isinstance(found, list) and found:
            return int(found[0])
        if isinstance(found, int):
            return found
    raise InputError("an empty context needs a beginning- or end-of-text token, and the tokenizer has neither")


def _usual_tokens(model: Any) -> int:
    return _TOKENS_PER_PASS.get(getattr(getattr(model, "device", None), "type", ""), _TOKENS_ELSEWHERE)


def _packed(lengths: Sequence[int], tokens_per_pass: int) -> Iterator[list[int]]:
    """Yield groups of indices, of like lengths, whose padded size stays within a number of tokens."""
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if group and (len(group) + 1) * lengths[index] > tokens_per_pass:
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def regroup(flat: Sequence[Any], requests: Sequence[LikelihoodRequest]) -> list[list[Any]]:
    """Cut a flat sequence into one list a request."""
    remaining = iter(flat)
    return [list(itertools.islice(remaining, len(request.continuations))) for request in requests]
