"""The end token under a diffusion model: free, committed last, or never written, and what each makes of the score.

LLaDA's evaluation sets a switch a benchmark; its script forgets one of them when it samples (LLaDA issue 137). A score
that does not say which switch was on cannot be compared.
"""

from __future__ import annotations

from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

from audits.live_systems import PIPELINE, REFINER, MissingCapabilityError
from audits.live_verdicts import conclude, paired
from audits.statistics.judging import ALPHA
from specref_core import loading
from specref_core.errors import GeneratorError, InputError
from specref_core.generator import END_RULES, HasEndRule
from specref_core.loading import check_generator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from audits.live_systems import LiveSystem
    from audits.verdicts import Verdict
    from protocols.scores import SampleScore, Scores
    from specref_core.generator import Budget, Completion, Generator

NANO_PROBLEMS = 9
"""Problems for the embedded pair, whose most steps are dear: enough to see a rule that ruins every one of them."""


def swing(system: LiveSystem, benchmark: str) -> Verdict:
    """Compare the best with the worst rule; the interval allows for every pair they were chosen from."""
    cells = measured(system, benchmark)
    best = max(cells, key=lambda rule: cells[rule].correct)
    worst = min(cells, key=lambda rule: cells[rule].correct)
    level = 1 - ALPHA / len(list(combinations(cells, 2)))
    told = ", ".join(f"{scores.correct} {rule}" for rule, scores in cells.items())
    return conclude(
        paired(cells[best], cells[worst], level=level),
        claim_id="end-rule-swings",
        system=f"{_told(system)}, S={system.most}",
        benchmark=benchmark,
        reason=f"of {cells[best].n} problems: {told}; interval at {100 * level:.1f} % for the best of {len(cells)}",
        signature=cells[best].signature,
    )


def measured(system: LiveSystem, benchmark: str) -> Mapping[str, Scores]:
    """Measure the refiner, or a generator without parts, under every rule at the most steps.

    Raises:
        MissingCapabilityError: its end token cannot be treated by rule.
        GeneratorError: its ``with_end_rule`` raised, or returned no generator.
    """
    first = NANO_PROBLEMS if system.source == "nano" else None
    return {rule: system.measure(role, benchmark, system.most, first=first) for rule, role in _roles(system).items()}


def figures(scores: Scores) -> Mapping[str, str]:
    """Return one rule's score and, where traces tell, how its answers end."""
    low, high = scores.interval
    cells = {
        "right %": f"{100 * scores.value:.0f}",
        "95 %": f"{100 * low:.0f}-{100 * high:.0f}",
        "n": str(scores.n),
        "characters": f"{sum(len(sample.text) for sample in scores.samples) / scores.n:.0f}",
    }
    traced = [sample for sample in scores.samples if sample.trace is not None and sample.trace.final_tokens]
    if traced:
        behind = [behind_the_end(sample) for sample in traced]
        lengths = [len(sample.trace.final_tokens) for sample in traced if sample.trace is not None]
        cells["canvas behind the end"] = f"{100 * sum(behind) / sum(lengths):.0f} %"
        cells["end before the answer"] = f"{sum(map(ended_early, traced))} of {len(traced)}"
    return cells


def behind_the_end(sample: SampleScore) -> int:
    """Return how many canvas positions at the end hold no text: the end token and whatever follows it."""
    if sample.trace is None:
        return 0
    count = 0
    for piece in reversed(sample.trace.final_tokens):
        if piece:
            break
        count += 1
    return count


def ended_early(sample: SampleScore) -> bool:
    """Tell whether the end token was committed at an earlier step than the last token of the answer in front of it."""
    behind = behind_the_end(sample)
    if sample.trace is None or not behind:
        return False
    committed = sample.trace.committed_at
    end = len(committed) - behind
    return end > 0 and 0 < committed[end] < max(committed[:end])


class _Ruled:
    """A generator under one rule, named so that no two rules share a sample."""

    def __init__(self, inner: Generator, rule: str, origin: str) -> None:
        self.inner = inner
        self.name = f"{origin}, end token {rule}"
        self._rule = rule

    def generate(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Completion]:
        return self.inner.generate(prompts, budget=budget, seed=seed)

    def fingerprint(self) -> str:
        return f"{loading.fingerprint(self.inner)}+{self._rule}"


def _roles(system: LiveSystem) -> dict[str, str]:
    """Return the role of the part under each rule: its own role where the rule is what it does anyway."""
    own = REFINER if system.has_part(REFINER) else PIPELINE
    part = system.part(own)
    inner: Any = getattr(part, "inner", part)
    name = part.name
    if not isinstance(inner, HasEndRule):
        raise MissingCapabilityError(
            f"{name!r} has no with_end_rule(); add what specref_core.generator describes under HasEndRule to "
            "enable this"
        )
    timed = getattr(part, "timed", None)
    twins: dict[str, Generator] = {}
    for rule in END_RULES:
        twins[rule] = (
            _twin(inner, rule) if timed is None else timed(partial(_twin, inner, rule), f"with_end_rule({rule!r})")
        )
    mine = loading.fingerprint(part)
    usual = [rule for rule, twin in twins.items() if loading.fingerprint(twin) == mine]
    # A fingerprint that tells the rules apart saves one measurement; one that does not is no proof of anything.
    return {rule: own if usual == [rule] else system.add_part(_Ruled(twin, rule, name)) for rule, twin in twins.items()}


def _twin(inner: Any, rule: str) -> Generator:
    try:
        return check_generator(inner.with_end_rule(rule), f"with_end_rule({rule!r}) of {inner.name!r}")
    except GeneratorError:
        raise
    except InputError as error:
        raise MissingCapabilityError(f"{inner.name!r} refuses the end rule {rule!r}: {error}") from error
    except Exception as error:
        raise GeneratorError(
            f"with_end_rule({rule!r}) of {inner.name!r} raised {type(error).__name__}: {error}"
        ) from error


def _told(system: LiveSystem) -> str:
    return f"{system.name}'s refiner" if system.has_part(REFINER) else system.name
