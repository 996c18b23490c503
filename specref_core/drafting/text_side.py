"""What every drafter does with text: prompts become tokens, tokens become a draft, a stop string ends it.

The backends differ in how tokens are computed and in nothing else, so that two of them give the same draft wherever
they choose the same tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from specref_core.alignment import require_encodable
from specref_core.continuation import decode_continuation
from specref_core.errors import CheckpointError, InputError
from specref_core.generator import Draft

if TYPE_CHECKING:
    from collections.abc import Sequence


class TextSide:
    """The settings and the tokenizer of a drafter.

    Args:
        tokenizer: the model's fast tokenizer.
        vocab_size: |V|, rows of the output head, those without a token included.
        context_window: most tokens of prompt and draft together; ``None`` where the model sets no bound.
        end_ids: every id that ends a text.
        temperature: 0 drafts greedily; otherwise tokens are drawn from the tempered distribution.
        top_p: nucleus of the draw; entropies are always of the full, raw distribution.
        stop: strings that end a draft, which then stops before the first of them.

    Raises:
        CheckpointError: there is no tokenizer.
        InputError: a setting is out of range.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        vocab_size: int,
        context_window: int | None,
        end_ids: set[int],
        temperature: float,
        top_p: float,
        stop: Sequence[str],
    ) -> None:
        if tokenizer is None:
            raise CheckpointError("the drafter has no tokenizer; load it from the model's own directory")
        if not temperature >= 0:
            raise InputError(f"temperature={temperature!r}: expected 0 (greedy) or more")
        if not 0 < top_p <= 1:
            raise InputError(f"top_p={top_p!r}: expected more than 0 and at most 1")
        if isinstance(stop, str) or not all(stop):
            raise InputError(f"stop={stop!r}: expected a sequence of non-empty strings")
        self.tokenizer = tokenizer
        self.vocab_size = vocab_size
        self.context_window = context_window
        self.end_ids = end_ids
        self.temperature = temperature
        self.top_p = top_p
        self.stop = tuple(stop)

    def _encode_prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        encoded = []
        for i, prompt in enumerate(prompts):
            if not isinstance(prompt, str):
                raise InputError(f"prompt {i} is a {type(prompt).__name__}; expected str")
            require_encodable(prompt, f"prompt {i}")
            ids = list(self.tokenizer(prompt, verbose=False)["input_ids"]) if prompt else []
            if not ids:
                begin = getattr(self.tokenizer, "bos_token_id", None)
                if begin is None:
                    raise InputError(
                        f"prompt {i} is empty and the drafter's tokenizer has no begin token to start from"
                    )
                ids = [begin]
            if self.context_window is not None and len(ids) >= self.context_window:
                raise InputError(
                    f"prompt {i} has {len(ids)} tokens and the drafter's context window is {self.context_window}: "
                    "no room is left for a draft; shorten the prompt or take a drafter with a longer window"
                )
            encoded.append(ids)
        return encoded

    def _room(self, prompt_length: int, wanted: int) -> int:
        return wanted if self.context_window is None else min(wanted, self.context_window - prompt_length)

    def _stopped(self, tokens: Sequence[int]) -> bool:
        """Whether the last of these tokens completes a stop string."""
        if not self.stop:
            return False
        # A character has at most four byte tokens, so this many tokens hold any stop string that just ended.
        tail = tokens[-4 * max(map(len, self.stop)) - 1 :]
        return any(stop in decode_continuation(self.tokenizer, tail).text for stop in self.stop)

    def _hidden(self, tokens: Sequence[int]) -> set[int]:
        return self.end_ids if tokens and tokens[-1] in self.end_ids else set()

    def _as_draft(
        self, prompt: Sequence[int], tokens: Sequence[int], entropies: Sequence[float], log_probs: Sequence[float]
    ) -> Draft:
        """Return tokens that were drafted after a prompt as a draft, its text cut before the first stop string."""
        decoded = decode_continuation(self.tokenizer, tokens, context=prompt, hidden=self._hidden(tokens))
        text, spans = decoded.text, decoded.spans
        cuts = [place for place in (text.find(stop) for stop in self.stop) if place >= 0]
        if cuts:
            text, spans = text[: min(cuts)], np.minimum(spans, min(cuts))
        return self._draft(text, tokens, spans, entropies, log_probs)

    def _draft(
        self, text: str, tokens: Sequence[int], spans: Any, entropies: Sequence[float], log_probs: Sequence[float]
    ) -> Draft:
        return Draft(
            text=text,
            token_ids=tuple(tokens),
            spans=tuple((int(start), int(end)) for start, end in spans),
            entropies=tuple(entropies),
            vocab_size=self.vocab_size,
            log_probs=tuple(log_probs),
        )


def by_length(rows: Sequence[Sequence[int]]) -> list[int]:
    """Return the positions of rows so that those of like length come together and little is padded."""
    return sorted(range(len(rows)), key=lambda i: len(rows[i]))
