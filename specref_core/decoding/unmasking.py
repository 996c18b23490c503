"""Which of the hidden positions a step commits: confidences of predictions, and the choice among them.

Everything here is a pure function of tensors. Logits come in as ``(n, vocab)``, one row a hidden position, so that no
tensor of the whole canvas times the vocabulary ever exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from specref_core.decoding.float_noise import Margins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Generator, Tensor

# exp(64) times a vocabulary of 2**20 is far below the largest float32, and exp(-64) far above the smallest.
_EXP_IS_SAFE = 64.0


def predict(
    logits: Tensor,
    *,
    mask_token_id: int,
    banned: Sequence[int] = (),
    deferred: Sequence[int] = (),
    temperature: float = 0.0,
    generators: Sequence[Generator] = (),
    model_dtype: bool = False,
    margins: list[Margins] | None = None,
) -> tuple[Tensor, Tensor]:
    """Choose a token for every row and say how confident the model is in it.

    Args:
        logits: (n, vocab), nats; overwritten.
        mask_token_id: never chosen. It stays in the normaliser of the confidence, as in LLaDA's script, so that the
            order of commitments is the script's wherever the script does not itself choose the mask.
        banned: token ids that do not exist for this call (LLaDA's ``logits_eos_inf``).
        deferred: token ids that may be chosen but have confidence 0, so that they are committed last
            (``confidence_eos_eot_inf``, here for sampled tokens too).
        temperature: 0 chooses the likeliest token; T > 0 adds T times Gumbel noise, in float64.
        generators: for T > 0, one a row: the generator from which the row's vocabulary of noise is drawn, in row order.
        model_dtype: compute confidences as a softmax in the logits' own dtype, as the script does, not in float32.
        margins: a list to which is added how clear the choices were; nothing is measured where there is none.

    Returns:
        tokens (n,) int64 and confidences (n,) in [0, 1]: the un-noised probability of each token.
    """
    if banned:
        logits[:, list(banned)] = -torch.inf
    if model_dtype:
        return _predict_as_script(logits, mask_token_id, deferred, temperature, generators, margins=margins)
    logits = logits.float()
    mask_logit = logits[:, mask_token_id].clone()
    logits[:, mask_token_id] = -torch.inf
    likeliest = _argmax(logits)
    tokens = _token(logits, likeliest, temperature, generators, margins)
    top = torch.maximum(logits.gather(1, likeliest[:, None]).squeeze(1), mask_logit)
    chosen = logits.gather(1, tokens[:, None]).squeeze(1)
    if deferred:
        logits[:, list(deferred)] = -torch.inf
    # Subtracting the largest logit keeps exp in range. Where it already is, one pass over the vocabulary is saved.
    shift = torch.zeros_like(top) if bool((top.abs() < _EXP_IS_SAFE).all()) else top
    if shift is top:
        logits.sub_(top[:, None])
    normaliser = logits.exp_().sum(dim=-1) + (mask_logit - shift).exp()
    return tokens, _zero((chosen - shift).exp() / normaliser, tokens, deferred)


def likeliest(logits: Tensor, count: int, never: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the tokens that a draft may try at each row, the likeliest first.

    Args:
        logits: (n, vocab), nats.
        count: tokens a row, at most; fewer where the vocabulary is smaller.
        never: token ids that are never written.

    Returns:
        tokens (n, k) int64, and their probabilities (n, k) float32 among the tokens that may be written.
    """
    allowed = logits.float().clone()
    allowed[:, list(never)] = -torch.inf
    best = allowed.softmax(dim=-1).topk(min(count, logits.shape[1] - len(set(never))), dim=-1)
    return best.indices, best.values


def _argmax(logits: Tensor) -> Tensor:
    """Return the first position of each row's maximum; on the CPU with numpy, whose search is several times faster."""
    if logits.device.type == "cpu":
        return torch.from_numpy(logits.detach().numpy().argmax(axis=-1))
    return logits.argmax(dim=-1)


def _predict_as_script(
    logits: Tensor,
    mask_token_id: int,
    deferred: Sequence[int],
    temperature: float,
    generators: Sequence[Generator],
    *,
    margins: list[Margins] | None,
) -> tuple[Tensor, Tensor]:
    candidates = logits.clone()
    candidates[:, mask_token_id] = -torch.inf
    tokens = _token(candidates, candidates.argmax(dim=-1), temperature, generators, margins)
    if deferred:
        logits[:, list(deferred)] = -torch.inf
    confidence = logits.softmax(dim=-1).gather(1, tokens[:, None]).squeeze(1)
    return tokens, _zero(confidence, tokens, deferred)


def _zero(confidence: Tensor, tokens: Tensor, deferred: Sequence[int]) -> Tensor:
    for token in deferred:
        confidence = confidence.masked_fill(tokens == token, 0.0)
    return confidence


def _token(
    logits: Tensor,
    likeliest: Tensor,
    temperature: float,
    generators: Sequence[Generator],
    margins: list[Margins] | None,
) -> Tensor:
    """Return the likeliest tokens or draws, and note how clear they were where somebody asks."""
    if temperature > 0:
        tokens, gap = _gumbel_argmax(logits, temperature, generators)
    else:
        tokens = likeliest
    if margins is not None:
        finite = logits.masked_fill(logits == -torch.inf, 0.0)
        if temperature == 0:
            first = logits.gather(1, tokens[:, None])
            gap = (first - logits.scatter(1, tokens[:, None], -torch.inf).amax(dim=1, keepdim=True)).squeeze(1)
        margins.append(Margins(gap.float(), torch.maximum(finite.amax(dim=1), -finite.amin(dim=1)).float()))
    return tokens


def _gumbel_argmax(logits: Tensor, temperature: float, generators: Sequence[Generator]) -> tuple[Tensor, Tensor]:
    """Return argmax(logits + T * Gumbel) and its lead, in float64: float32 noise lowers the effective T (2409.02908).

    One row's noise at a time: the draws of a row then do not depend on how rows were grouped.
    """
    tokens = torch.empty(len(logits), dtype=torch.int64, device=logits.device)
    gap = torch.empty(len(logits), dtype=torch.float64, device=logits.device)
    for position, (row, generator) in enumerate(zip(logits, generators, strict=True)):
        noise = torch.rand(row.shape, dtype=torch.float64, device=row.device, generator=generator)
        noised = row.double() - temperature * torch.log(-torch.log(noise))
        tokens[position] = noised.argmax()
        best = noised.topk(min(2, len(noised))).values
        gap[position] = best[0] - best[-1] if len(best) > 1 else torch.inf
    return tokens, gap


def choose(confidence: Tensor, count: int) -> Tensor:
    """Return the indices of the ``count`` most confident entries; of equal ones, the lowest.

    Args:
        confidence: (n,) one row's confidences.
        count: how many, at most n.

    Returns:
        (count,) int64.
    """
    return confidence.sort(descending=True, stable=True).indices[:count]


def choose_as_script(confidence: Tensor, count: int, *, places: Tensor, length: int) -> Tensor:
    """Choose as LLaDA's script does: ``topk`` over the whole canvas, which settles ties in its own way.

    Args:
        confidence: (n,) one row's confidences.
        count: how many, at most n.
        places: (n,) int64 ascending, the canvas column of each.
        length: columns of the canvas.

    Returns:
        (count,) int64 indices into ``confidence``.
    """
    whole = confidence.new_full((length,), -torch.inf)
    whole[places] = confidence
    return torch.searchsorted(places, whole.topk(count).indices)
