"""The refiner with parallel speculative decoding: the same model and canvases, fewer passes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specref_core.decoding.psd import PsdSettings, psd
from specref_core.errors import InputError
from specref_core.fingerprint import settings_digest
from specref_core.standalone import RefinerSettings, StandaloneRefiner

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from specref_core.decoding.denoise import Denoised
    from specref_core.generator import Completion, Trace


class PsdRefiner(StandaloneRefiner):
    """A masked diffusion model decoded by PSD, alone or as the refiner of a ``SpecRef`` pipeline.

    Costs are read with care: a batched pass is one of ``forward_passes``, its states are counted by ``row_forwards``.
    ``Trace.committed_at`` counts steps of the policy.

    Args:
        model: as :class:`StandaloneRefiner`'s.
        tokenizer: its fast tokenizer.
        settings: how it is run; S matters to the default policy only.
        psd: how steps are chosen, drafted and accepted.
        name: how it is called in tables.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        settings: RefinerSettings | None = None,
        *,
        psd: PsdSettings | None = None,
        name: str = "psd",
    ) -> None:
        super().__init__(model, tokenizer, settings, name=name)
        self.psd = psd or PsdSettings()

    @classmethod
    def from_pretrained(
        cls,
        place: str | Path,
        settings: RefinerSettings | None = None,
        *,
        psd: PsdSettings | None = None,
        name: str = "psd",
        **loading: Any,
    ) -> PsdRefiner:
        """Load a refiner in the LLaDA layout; ``loading`` goes to :func:`specref_core.models.llada.load_llada`."""
        from specref_core.models.llada import load_llada

        model, tokenizer = load_llada(place, **loading)
        return cls(model, tokenizer, settings, psd=psd, name=name)

    def fingerprint(self) -> str:
        """Name weights, tokenizer, and the settings of refiner and speculation."""
        return settings_digest(super().fingerprint(), self.psd)

    def _reverse(self, ids: Tensor, masked: Tensor, **how: Any) -> Denoised:
        return psd(self.model, ids, masked, speculation=self.psd, end_token_ids=self.end_ids, **how)


def tokens_per_forward(completion: Completion) -> float:
    """Return TPF: hidden positions filled before the end of the answer, a forward pass of the denoiser.

    A batched pass is one pass, as in the PSD paper, so TPF alone says nothing about time; ``Cost.row_forwards`` and
    ``Cost.seconds`` do. Where nothing had to be filled there was no pass, and TPF is NaN.

    Raises:
        InputError: the completion has no cost or no trace.
    """
    cost, trace = completion.cost, completion.trace
    if cost is None or trace is None:
        raise InputError("TPF needs a completion with cost and trace, as SpecRef's own generators give")
    return filled(trace) / cost.forward_passes if cost.forward_passes else float("nan")


def filled(trace: Trace) -> int:
    """Return how many hidden positions before the end of the answer were filled."""
    end = max((i + 1 for i, piece in enumerate(trace.final_tokens) if piece), default=0)
    return sum(trace.masked[:end])
