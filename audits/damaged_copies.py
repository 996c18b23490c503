"""Copies of good checkpoints, damaged as downloads and hands damage them: each must be refused by name."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from specref_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def refusals(good: Path, folder: Path) -> tuple[int, list[str]]:
    """Damage a copy of each checkpoint in each way and try to load it.

    Args:
        good: folder with the checkpoints ``drafter`` and ``refiner``, each in several shards.
        folder: where the copies lie for a moment; it must not exist, and does not afterwards.

    Returns:
        How many were refused by name, and a sentence for each that was not.
    """
    refused, wrong = 0, []
    for role in ("drafter", "refiner"):
        for name, (damage, culprits) in DAMAGES.items():
            copy = folder / f"{role}, {name}"
            shutil.copytree(good / role, copy)
            damage(copy)
            told = _told(role, copy)
            # The copy's own name holds such words too.
            if told is not None and any(word in told.replace(str(copy), "") for word in culprits):
                refused += 1
            else:
                wrong.append(f"{role} with {name}: {told or 'loaded as if nothing were wrong'}")
            shutil.rmtree(copy)
    folder.rmdir()
    return refused, wrong


def _lose_a_shard(folder: Path) -> None:
    max(folder.glob("model-*.safetensors")).unlink()


def _cut_a_shard(folder: Path) -> None:
    shard = min(folder.glob("model-*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:100])


def _lose_the_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def _break_the_configuration(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": ', encoding="utf-8")


def _shrink_the_vocabulary(folder: Path) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config |= {key: 64 for key in ("vocab_size", "embedding_size") if key in config}
    file.write_text(json.dumps(config), encoding="utf-8")


def _rename_a_key(folder: Path) -> None:
    for file in (*folder.glob("*.safetensors"), folder / "model.safetensors.index.json"):
        file.write_bytes(file.read_bytes().replace(b"q_proj", b"x_proj"))  # as long as before, so that offsets stand


DAMAGES: Mapping[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "missing shard": (_lose_a_shard, ("shard", "safetensors")),
    "cut shard": (_cut_a_shard, ("safetensors", "weights")),
    "no tokenizer": (_lose_the_tokenizer, ("tokenizer",)),
    "broken configuration": (_break_the_configuration, ("config.json",)),
    "wrong key": (_rename_a_key, ("q_proj", "x_proj")),
    "wrong vocabulary": (_shrink_the_vocabulary, ("vocabulary", "tokenizer", "shape", "token")),
}
"""What is done to a copy, and words of which the refusal must hold one."""


def _told(role: str, copy: Path) -> str | None:
    """Load a checkpoint; return the refusal, or ``None`` where there was none."""
    try:
        if role == "drafter":
            from specref_core.drafting.checkpoint import load_causal_lm

            load_causal_lm(copy)
        else:
            from specref_core.models.llada import load_llada

            load_llada(copy)
    except CheckpointError as error:
        return str(error)
    return None
