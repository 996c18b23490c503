"""The choices of parallel speculative decoding (``psd.py``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from specref_core.decoding.unmask_policies import Scheduled, UnmaskPolicy
from specref_core.errors import InputError


@dataclass(frozen=True, slots=True)
class PsdSettings:
    """How steps are chosen, drafted and accepted.

    Attributes:
        policy: what a step commits. The default follows the S-step schedule, as the undrafted sampler does.
        depth: d, drafted states beyond the next one; 0 drafts nothing. The paper recommends 3.
        acceptance: ``strict`` (the undrafted trajectory, lossless) or ``relaxed`` (agreement of tokens, order-free).
        drafting: the policy that guesses the steps to come; ``policy`` itself if not given. Confidences rise as a
            canvas fills, so a policy with a threshold is guessed well by the same policy with a lower one.
        alternatives: tokens that a draft tries where its step is least sure, the likeliest first. With more than 1 the
            drafts are a tree, which spends its states where they are likeliest to come true; with 1, a chain.
        floor: relaxed acceptance also asks that the model gives every drafted token at least this probability. 0 is the
            plain rule; higher values trade passes for fidelity.
        most_states: of a tree, rows of one canvas in a pass, at most; a chain has ``depth + 1``.
        early_end: stop once everything before the first end token of the answer is filled. The text is the same.
        recheck_ties: under strict acceptance, make choices that float noise could turn in a pass of the row alone.
    """

    policy: UnmaskPolicy = field(default_factory=Scheduled)
    depth: int = 3
    acceptance: Literal["strict", "relaxed"] = "strict"
    drafting: UnmaskPolicy | None = None
    early_end: bool = True
    recheck_ties: bool = True
    alternatives: int = 1
    most_states: int = 32
    floor: float = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.depth, bool) or not isinstance(self.depth, int) or self.depth < 0:
            raise InputError(f"depth={self.depth!r}: expected a whole number of drafted states, 0 or more")
        if self.acceptance not in ("strict", "relaxed"):
            raise InputError(f"acceptance={self.acceptance!r}: expected strict or relaxed")
        for name, what in (("most_states", "states a pass"), ("alternatives", "tokens to try, 1 or more")):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name}={value!r}: expected a positive number of {what}")
        if not 0 <= self.floor <= 1:
            raise InputError(f"floor={self.floor!r}: expected a probability between 0 and 1")
        for name, policy in (("policy", self.policy), ("drafting", self.guess)):
            if not callable(getattr(policy, "select", None)):
                raise InputError(f"{name}={policy!r}: expected an UnmaskPolicy, which has a select method")

    @property
    def guess(self) -> UnmaskPolicy:
        """The policy that drafts."""
        return self.policy if self.drafting is None else self.drafting

    @property
    def states(self) -> int:
        """States a pass, at most: a chain is bounded by its depth alone."""
        return self.depth + 1 if self.alternatives == 1 else self.most_states
