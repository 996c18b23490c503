"""Load a causal language model and its tokenizer, or say by name what is wrong with the directory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from specref_core.errors import CheckpointError, InputError
from specref_core.models.checkpoint import locate

if TYPE_CHECKING:
    from pathlib import Path

QUANTIZATIONS = ("4bit", "8bit")
"""What ``quantization`` may name: bitsandbytes' 4-bit normal float with double quantization, or its 8-bit integers."""


def load_causal_lm(
    place: str | Path,
    *,
    dtype: str = "auto",
    device_map: Any = None,
    quantization: str | None = None,
    revision: str | None = None,
) -> tuple[Any, Any]:
    """Load an AR model for drafting.

    Args:
        place: a directory in the hub's layout, or a hub name.
        dtype: ``auto`` (the checkpoint's), or a torch dtype's name.
        device_map: as in ``from_pretrained``; ``auto`` spreads the model over the devices there are.
        quantization: ``None`` or one of :data:`QUANTIZATIONS`; needs bitsandbytes.
        revision: of a hub name.

    Returns:
        The model in evaluation mode, and its fast tokenizer.

    Raises:
        CheckpointError: a file is missing or damaged, a weight is missing, superfluous or of another shape, the model
            is no causal language model, or the tokenizer is missing, slow, or larger than the vocabulary.
    """
    import transformers

    folder = locate(place, revision=revision)
    _check_files(folder)
    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # the library raises whatever a damaged field leads to
        raise CheckpointError(_unloadable(folder, "config.json", error)) from error
    if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        raise CheckpointError(f"{folder} is a {config.model_type!r} checkpoint; the drafter must be a causal LM")
    tokenizer = _load_tokenizer(folder)
    highest = max(tokenizer.get_vocab().values(), default=-1)
    rows = config.get_text_config().vocab_size
    if highest >= rows:
        raise CheckpointError(
            f"{folder}: the tokenizer has ids up to {highest} and the model a vocabulary of {rows}; "
            "one of them belongs to another checkpoint"
        )
    quantization_config = _quantization_config(quantization)
    try:
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            device_map=device_map,
            quantization_config=quantization_config,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # safetensors, torch and transformers each raise their own kinds here
        raise CheckpointError(_unloadable(folder, "the weights", error)) from error
    model, report = loaded
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        keys = sorted(str(key) for key in report.get(kind) or ())
        if keys:
            shown = ", ".join(keys[:4]) + (", …" if len(keys) > 4 else "")
            raise CheckpointError(f"{folder}: {len(keys)} {kind.replace('_', ' ')} for {config.model_type!r}: {shown}")
    return model.eval(), tokenizer


def _check_files(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} has no config.json: it is not a checkpoint directory")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json")):
        raise CheckpointError(f"{folder} has no tokenizer (tokenizer.json, tokenizer_config.json): copy it there")
    for index in (*folder.glob("*.safetensors.index.json"), *folder.glob("pytorch_model*.bin.index.json")):
        try:
            shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{index} is damaged ({error!r}): copy it again") from error
        missing = [shard for shard in shards if not (folder / shard).is_file()]
        if missing:
            raise CheckpointError(f"{folder} lacks {len(missing)} of {len(shards)} shards: {', '.join(missing[:4])}")


def _load_tokenizer(folder: Path) -> Any:
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # the Rust reader raises plain Exception for a damaged tokenizer.json
        raise CheckpointError(_unloadable(folder, "the tokenizer", error)) from error
    if not getattr(tokenizer, "is_fast", False):
        raise CheckpointError(f"{folder}: {type(tokenizer).__name__} has no character offsets; add a tokenizer.json")
    return tokenizer


def _quantization_config(quantization: str | None) -> Any:
    if quantization is None:
        return None
    if quantization not in QUANTIZATIONS:
        raise InputError(f"quantization={quantization!r}: expected None or one of {', '.join(QUANTIZATIONS)}")
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None:
        raise InputError(f"quantization={quantization!r} needs bitsandbytes: pip install 'specref[quantized]'")
    import torch
    import transformers

    bits: Any = transformers.BitsAndBytesConfig
    if quantization == "8bit":
        return bits(load_in_8bit=True)
    return bits(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def _unloadable(folder: Path, part: str, error: Exception) -> str:
    first = next(iter(str(error).strip().splitlines()), "") or "no message"
    return f"{folder}: {part} cannot be loaded ({type(error).__name__}: {first}); copy the file again"
