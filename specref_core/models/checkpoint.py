"""Is a checkpoint directory what it says it is? Checked from the files' headers, before any weight is read.

The library re-initialises a missing weight and goes on with a report; a model that is scored must not. Every problem
here is a ``CheckpointError`` that names the file or the key.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specref_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping

_TOKENIZER_FILE = "tokenizer.json"

# What a clone without git-lfs has in the place of a weight file begins so.
_LFS_POINTER = b"version https://git-lfs"

# What is fetched of a hub repository: never its code.
_WANTED = ("*.json", "*.safetensors", "*.jinja", "merges.txt", "vocab.txt", "*.model")


def locate(path_or_name: str | Path, *, revision: str | None = None) -> Path:
    """Return the directory of a checkpoint: a local one as it is, a hub name downloaded or from the cache.

    Raises:
        CheckpointError: there is no such directory and the hub has no such name, or cannot be reached.
    """
    local = Path(path_or_name).expanduser()
    if local.is_dir():
        return local
    text = str(path_or_name)
    if local.is_absolute() or text.startswith((".", "~")) or text.count("/") != 1:
        raise CheckpointError(f"{text}: no such directory; expected a checkpoint directory or a hub name owner/model")
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(text, revision=revision, allow_patterns=list(_WANTED))
    except Exception as error:
        raise CheckpointError(
            f"{text}: neither a directory here nor a checkpoint the hub would give ({type(error).__name__}: {error})"
        ) from error
    return Path(found)


def read_config(directory: Path, *, model_type: str) -> dict[str, Any]:
    """Return ``config.json``.

    Raises:
        CheckpointError: it is missing, damaged, or of another architecture.
    """
    config = _read_json(directory / "config.json")
    if config.get("model_type") != model_type:
        raise CheckpointError(
            f"{directory / 'config.json'}: model_type is {config.get('model_type')!r}, expected {model_type!r}"
        )
    return config


def check_weights(directory: Path, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Check that the safetensors files hold exactly the expected keys, each in its expected shape.

    Args:
        directory: the checkpoint.
        expected: shape by checkpoint key.

    Raises:
        CheckpointError: a shard is missing or damaged, a key is missing, unexpected or of another shape, or the index
            names another file than the one that holds a key.
    """
    found = weight_shapes(directory)
    if missing := sorted(expected.keys() - found.keys()):
        raise CheckpointError(f"{directory}: {len(missing)} weights are missing: {_some(missing)}")
    if unexpected := sorted(found.keys() - expected.keys()):
        raise CheckpointError(f"{directory}: {len(unexpected)} weights are unexpected: {_some(unexpected)}")
    for key, shape in expected.items():
        if found[key] != shape:
            raise CheckpointError(
                f"{directory}: {key} has shape {found[key]}, config.json asks for {shape}; "
                "one of them is another model's"
            )


def weight_shapes(directory: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight by its key, from the headers of the safetensors files.

    Raises:
        CheckpointError: a shard is missing or damaged, or the index names another file than the one that holds a key.
    """
    found: dict[str, tuple[int, ...]] = {}
    for file, promised in _shards(directory).items():
        shapes = _shapes(directory / file)
        if absent := sorted(promised - shapes.keys()):
            raise CheckpointError(f"{directory / file}: the index promises {_some(absent)} here, the file has it not")
        found |= shapes
    return found


def weights_dtype(directory: Path) -> str | None:
    """Return the torch name of the dtype that the first weight is stored in, or ``None`` without safetensors."""
    from safetensors import safe_open

    files = sorted(directory.glob("model*.safetensors"))
    if not files:
        return None
    with safe_open(files[0], framework="pt") as weights:
        stored = weights.get_slice(next(iter(weights.keys()))).get_dtype()
    return {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}.get(stored)


def load_tokenizer(directory: Path) -> Any:
    """Load the fast tokenizer of a checkpoint, without remote code.

    Raises:
        CheckpointError: its file is missing or cannot be read.
    """
    if not (directory / _TOKENIZER_FILE).is_file():
        raise CheckpointError(f"{directory}: no {_TOKENIZER_FILE}; save the fast tokenizer beside the weights")
    from transformers import PreTrainedTokenizerFast

    try:
        return PreTrainedTokenizerFast.from_pretrained(directory)
    except Exception as error:
        raise CheckpointError(
            f"{directory / _TOKENIZER_FILE}: cannot be read ({type(error).__name__}: {error})"
        ) from error


def _shards(directory: Path) -> dict[str, set[str]]:
    """Return the weight files and the keys that the index promises in each."""
    index, single = directory / "model.safetensors.index.json", directory / "model.safetensors"
    if single.is_file():  # the library prefers it too where both are there
        return {single.name: set()}
    if not index.is_file():
        raise CheckpointError(f"{directory}: neither {single.name} nor {index.name}; put the weights there")
    mapping = _read_json(index).get("weight_map")
    if not isinstance(mapping, dict) or not mapping or not all(isinstance(file, str) for file in mapping.values()):
        raise CheckpointError(f"{index}: no weight_map from keys to files; download it again")
    shards: dict[str, set[str]] = {}
    for key, file in mapping.items():
        shards.setdefault(file, set()).add(key)
    missing = sorted(file for file in shards if not (directory / file).is_file())
    if missing:
        others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise CheckpointError(
            f"{directory}: shard {missing[0]} is missing{others}; {index.name} names {len(shards)} shards"
        )
    return shards


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    try:
        with file.open("rb") as opened:
            pointer = opened.read(len(_LFS_POINTER)) == _LFS_POINTER
        if pointer:
            raise CheckpointError(f"{file}: a git-lfs pointer, not the weights; run git lfs pull in its repository")
        with safe_open(file, framework="pt") as weights:
            return {key: tuple(weights.get_slice(key).get_shape()) for key in weights.keys()}  # noqa: SIM118  # not a dict
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file}: not a readable safetensors file ({error}); download it again") from error


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{file.parent}: no {file.name}; expected a checkpoint directory of the hub") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: holds a {type(content).__name__}, expected an object")
    return content


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (" …" if len(keys) > 3 else "")
