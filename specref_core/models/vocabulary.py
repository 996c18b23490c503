"""Does a tokenizer belong to a model? Told from the few tokens that both must know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specref_core.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

_PUBLISHED_MASK = "<|mdm_mask|>"


def end_ids(*named: Any) -> set[int]:
    """Return every id that ends a text, whichever of the checkpoint's files says so.

    Args:
        *named: ``eos_token_id`` as each file has it: an id, a list of them, or ``None``.
    """
    return {int(i) for entry in named if entry is not None for i in (entry if isinstance(entry, list) else [entry])}


def check_end_tokens(directory: Path, named: Any, tokenizer: Any) -> None:
    """Check that what ends a text in the configuration is no word of the tokenizer.

    Args:
        directory: the checkpoint, for the message.
        named: ``eos_token_id`` of config.json; ``None`` where it names none.
        tokenizer: the checkpoint's.

    Raises:
        CheckpointError: none of the ids is a special or added token.
    """
    ends = end_ids(named)
    if ends and not any(is_marked(tokenizer, i) for i in ends):
        words = [tokenizer.convert_ids_to_tokens(i) for i in sorted(ends)]
        raise CheckpointError(
            f"{directory}: config.json ends texts with {sorted(ends)}, which the tokenizer reads as {words}, no end "
            "token; one of them belongs to another checkpoint"
        )


def check_mask_token(directory: Path, mask_token_id: int, tokenizer: Any) -> None:
    """Check that the mask token is no word of the tokenizer: a text that holds the word would be hidden by itself.

    Raises:
        CheckpointError: it is one.
    """
    word = tokenizer.convert_ids_to_tokens(mask_token_id) if mask_token_id < len(tokenizer) else None
    if word is not None and not is_marked(tokenizer, mask_token_id):
        raise CheckpointError(
            f"{directory}: mask_token_id={mask_token_id} is the word {word!r} of the tokenizer, which texts may hold; "
            "config.json or the tokenizer is another checkpoint's"
        )


def mask_of(tokenizer: Any) -> int | None:
    """Return the mask token of a tokenizer that names one, or that has the published one's."""
    named = tokenizer.mask_token_id
    return tokenizer.get_vocab().get(_PUBLISHED_MASK) if named is None else int(named)


def is_marked(tokenizer: Any, token_id: int) -> bool:
    """Whether a token is special, or was added to the words."""
    return token_id in tokenizer.all_special_ids or token_id in tokenizer.added_tokens_decoder
