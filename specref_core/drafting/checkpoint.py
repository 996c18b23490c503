"""Load a causal language model and its tokenizer, or say by name what is wrong with the directory."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from specref_core.errors import CheckpointError
from specref_core.models.checkpoint import locate, weight_shapes
from specref_core.models.quantization import quantization_config
from specref_core.models.vocabulary import check_end_tokens, end_ids

if TYPE_CHECKING:
    from collections.abc import Iterable

# Buffers that old checkpoints carry and today's classes compute.
_COMPUTED = re.compile(r"(inv_freq|masked_bias|attn\.bias|attention\.bias)$")

_VOCABULARY_FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model")


class CausalLMFiles(NamedTuple):
    """A drafter's directory that was found sound, with nothing heavy read from it.

    Attributes:
        folder: where it is.
        config: its configuration.
        tokenizer: its fast tokenizer.
    """

    folder: Path
    config: Any
    tokenizer: Any


def check_causal_lm(place: str | Path, *, revision: str | None = None) -> CausalLMFiles:
    """Check a drafter's directory by its configuration, its tokenizer and the headers of its weight files.

    Args:
        place: a directory in the hub's layout, or a hub name.
        revision: of a hub name.

    Raises:
        CheckpointError: see :func:`load_causal_lm`.
    """
    import transformers

    folder = locate(place, revision=revision)
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} has no config.json: it is not a checkpoint directory")
    if not any((folder / name).is_file() for name in _VOCABULARY_FILES):
        raise CheckpointError(f"{folder} has no tokenizer ({', '.join(_VOCABULARY_FILES[:2])}): copy it there")
    try:
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # the library raises whatever a damaged field leads to
        raise CheckpointError(_unloadable(folder, "config.json", error)) from error
    if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        raise CheckpointError(f"{folder} is a {config.model_type!r} checkpoint; the drafter must be a causal LM")
    generation_end(folder)
    tokenizer = _load_tokenizer(folder)
    _check_vocabulary(folder, config, tokenizer)
    _check_weight_files(folder, config)
    return CausalLMFiles(folder, config, tokenizer)


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
        quantization: ``None`` or one of :data:`specref_core.models.quantization.QUANTIZATIONS`; needs bitsandbytes.
        revision: of a hub name.

    Returns:
        The model in evaluation mode, and its fast tokenizer.

    Raises:
        CheckpointError: a file is missing or damaged, a weight is missing, superfluous or of another shape, the model
            is no causal language model, or the tokenizer is missing, slow, larger than the vocabulary or another
            model's.
    """
    import transformers

    packing = quantization_config(quantization)
    folder, config, tokenizer = check_causal_lm(place, revision=revision)
    try:
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            device_map=device_map,
            quantization_config=packing,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # safetensors, torch and transformers each raise their own kinds here
        raise CheckpointError(_unloadable(folder, "the weights", error)) from error
    model, report = loaded
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        _refuse_keys(folder, config, kind.replace("_", " "), report.get(kind) or ())
    return model.eval(), tokenizer


def generation_end(folder: Path) -> Any:
    """Return ``eos_token_id`` of generation_config.json, ``None`` where there is no such file or entry.

    Raises:
        CheckpointError: the file is damaged; the library would go on without it, and drafts would not end.
    """
    file = folder / "generation_config.json"
    if not file.is_file():
        return None
    try:
        return json.loads(file.read_text(encoding="utf-8")).get("eos_token_id")
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{file} is damaged ({error}): copy it again") from error


def _check_weight_files(folder: Path, config: Any) -> None:
    """Compare the headers of the weight files with the model, where its names are those of the files."""
    if not list(folder.glob("model*.safetensors*")) and (pickled := sorted(folder.glob("pytorch_model*.bin*"))):
        _check_pickled(folder, pickled)
        return
    found = weight_shapes(folder)
    if getattr(config, "quantization_config", None) is not None:
        return  # packed weights have other names and shapes
    import torch
    import transformers
    from transformers import conversion_mapping

    renamed: Any = conversion_mapping.get_checkpoint_conversion_mapping
    try:
        with torch.device("meta"):
            build: Any = transformers.AutoModelForCausalLM.from_config
            model = build(config, trust_remote_code=False)
    except Exception as error:  # whatever the model's own constructor makes of a field
        raise CheckpointError(_unloadable(folder, "config.json", error)) from error
    expected = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    if renamed(config.model_type) or 2 * len(expected.keys() & found.keys()) < len(found):
        return  # the library renames as it loads; what it could not place, it reports then
    tied = set(getattr(model, "_tied_weights_keys", None) or ()) if config.tie_word_embeddings else set()
    absent = {name for name in expected.keys() - found.keys() - tied if not _ignored(model, "missing", name)}
    extra = {name for name in found.keys() - expected.keys() if not _ignored(model, "unexpected", name)}
    _refuse_keys(folder, config, "missing keys", absent)
    _refuse_keys(folder, config, "unexpected keys", {name for name in extra if not _COMPUTED.search(name)})
    for name, shape in expected.items():
        if found.get(name, shape) != shape:
            raise CheckpointError(
                f"{folder}: the weights' {name} has shape {found[name]}, config.json asks for {shape}; "
                "one of them is another model's"
            )


def _ignored(model: Any, kind: str, name: str) -> bool:
    """Whether the model's class says that a key may be missing, or unexpected."""
    patterns = getattr(model, f"_keys_to_ignore_on_load_{kind}", None) or ()
    return any(re.search(pattern, name) for pattern in patterns)


def _refuse_keys(folder: Path, config: Any, kind: str, found: Iterable[object]) -> None:
    keys = sorted(str(key) for key in found)
    if keys:
        shown = ", ".join(keys[:4]) + (", …" if len(keys) > 4 else "")
        raise CheckpointError(f"{folder}: {len(keys)} {kind} for {config.model_type!r}: {shown}")


def _check_pickled(folder: Path, files: list[Path]) -> None:
    """Check that the shards of an old checkpoint are there; what is in them cannot be told without reading them."""
    for index in (file for file in files if file.name.endswith(".index.json")):
        try:
            shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{index} is damaged ({error!r}): copy it again") from error
        missing = [shard for shard in shards if not (folder / shard).is_file()]
        if missing:
            raise CheckpointError(
                f"{folder}: {len(missing)} of {len(shards)} shards are missing: {', '.join(missing[:4])}"
            )


def _check_vocabulary(folder: Path, config: Any, tokenizer: Any) -> None:
    """Check that the tokenizer can be this model's: no id past its rows, and its end token is one."""
    vocabulary = tokenizer.get_vocab()
    if not vocabulary:
        raise CheckpointError(f"{folder}: the tokenizer is empty; copy tokenizer.json again")
    highest, rows = max(vocabulary.values()), config.get_text_config().vocab_size
    if highest >= rows:
        raise CheckpointError(
            f"{folder}: the tokenizer has ids up to {highest} and the model a vocabulary of {rows}; "
            "one of them belongs to another checkpoint"
        )
    named = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("eos_token_id")
    if any(i >= rows for i in end_ids(named)):
        raise CheckpointError(f"{folder / 'config.json'}: eos_token_id={named}, expected ids below {rows}")
    check_end_tokens(folder, named, tokenizer)


def _load_tokenizer(folder: Path) -> Any:
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # the Rust reader raises plain Exception for a damaged tokenizer.json
        raise CheckpointError(_unloadable(folder, "the tokenizer", error)) from error
    if not getattr(tokenizer, "is_fast", False):
        raise CheckpointError(f"{folder}: {type(tokenizer).__name__} has no character offsets; add a tokenizer.json")
    return tokenizer


def _unloadable(folder: Path, part: str, error: Exception) -> str:
    first = next(iter(str(error).strip().splitlines()), "") or "no message"
    return f"{folder}: {part} cannot be loaded ({type(error).__name__}: {first}); copy the file again"
