"""Name the weights that a generator runs with, by their bytes."""

from __future__ import annotations

import hashlib
from typing import Any

# Bytes hashed at a time, so that a large tensor is not copied whole from its device.
_CHUNK = 1 << 28


def weights_digest(model: Any) -> str:
    """Return a digest of every parameter and buffer of a model: names, shapes, dtypes and bytes.

    Two models with one digest compute the same numbers. It reads all weights once: about a second a gigabyte.
    """
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}|{tuple(tensor.shape)}|{tensor.dtype}\n".encode())
        if tensor.device.type == "meta":  # offloaded by device_map; its bytes are not here to be read
            continue
        flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
        for start in range(0, flat.numel(), _CHUNK):
            digest.update(flat[start : start + _CHUNK].cpu().numpy())
    return digest.hexdigest()[:16]


def settings_digest(*parts: object) -> str:
    """Return a short digest of settings, by their ``repr``."""
    return hashlib.sha256("\n".join(map(repr, parts)).encode()).hexdigest()[:16]


def tokenizer_digest(tokenizer: Any) -> str:
    """Return a digest of a fast tokenizer's whole definition."""
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    return hashlib.sha256(backend.to_str().encode("utf-8", "surrogatepass")).hexdigest()[:16]
