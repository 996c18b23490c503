"""One seed a prompt, the same wherever the prompt stands and whatever shares its batch."""

from __future__ import annotations

import hashlib


def row_seed(seed: int, prompt: str, purpose: str) -> int:
    """Derive the seed of one prompt's random choices.

    Args:
        seed: the run's seed.
        prompt: the text that is continued.
        purpose: what the numbers are for (``draft``, ``refine``), so that two stages never share a stream.

    Returns:
        An integer in [0, 2**63), which numpy's and torch's generators accept.
    """
    digest = hashlib.sha256(f"{seed}\0{purpose}\0".encode() + prompt.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1
