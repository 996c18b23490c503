"""Weights in 4 or 8 bits, quantized by bitsandbytes as they are loaded."""

from __future__ import annotations

import importlib.util
from typing import Any

from specref_core.errors import InputError

QUANTIZATIONS = ("4bit", "8bit")
"""bitsandbytes' 4-bit normal float with double quantization, computed in bfloat16, or its 8-bit integers."""


def quantization_config(kind: str | None) -> Any:
    """Return what ``from_pretrained`` of the library takes, ``None`` for ``None``.

    Raises:
        InputError: there is no such kind, or bitsandbytes is not installed.
    """
    if kind is None:
        return None
    if kind not in QUANTIZATIONS:
        raise InputError(f"quantization={kind!r}: expected {', '.join(QUANTIZATIONS)} or None")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(f"quantization={kind!r} needs bitsandbytes: pip install 'specref[quantized]'")
    import torch
    import transformers

    bits: Any = transformers.BitsAndBytesConfig
    if kind == "8bit":
        return bits(load_in_8bit=True)
    return bits(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
