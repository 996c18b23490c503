"""Name what a generator runs with by its bytes: weights in memory, files, settings."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

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


def files_digest(folders: Iterable[Path], *, suffixes: Sequence[str], without: Sequence[str] = ()) -> str:
    """Return a digest of files: what they are called inside their folder, and their bytes.

    Args:
        folders: searched to any depth, in this order.
        suffixes: of the files that count, each with its dot.
        without: names of files that do not count.
    """
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.suffix in suffixes and p.name not in without):
            digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
        digest.update(b"\0")
    return digest.hexdigest()[:16]
