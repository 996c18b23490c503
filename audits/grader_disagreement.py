"""What an answer's score owes to the grader, and to the rule that takes the answer out of the text.

Everything here re-reads outputs that were generated once. Two graders of ``protocols.exact_match`` read the same
extracted answer; two extraction rules, those that lm-evaluation-harness reports side by side for GSM8K, read the same
output: the first ``####`` line, and the last number anywhere.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from audits.live_verdicts import conclude, right
from audits.metric_reversals import judge_orders
from audits.proxy_agreement import cells
from audits.statistics import Comparison, compare_paired, decide
from audits.statistics.bounded import bounded_mean
from protocols.exact_match import Grader
from protocols.problems import AnswerProblem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from audits.live_systems import LiveSystem
    from audits.verdicts import Verdict
    from protocols.scores import Scores

MARKER, LAST_NUMBER = "#### line", "last number"
_MARKED = re.compile(r"#### (-?[0-9.,]+)")
_NUMBER = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")
_NUMERIC_GOLD = re.compile(r"-?[\d,]+(\.\d+)?")
PUBLISHED = ("vllm dllm-plugin, pull request 45", "GSM8K", 832, 1319)
"""0.6308 by the last number and 0.0000 by the #### line, over the same 1,319 outputs of one masked diffusion model."""


def graded(system: LiveSystem, benchmark: str) -> tuple[dict[str, list[bool]], dict[str, list[bool]]]:
    """Return every part's outputs under the lenient grader, as they were scored, and under the strict one."""
    measured = cells(system, benchmark)
    golds = _golds(system, benchmark)
    strict = {}
    with Grader(benchmark=_form(system, benchmark), grader="strict", workers=1) as grader:
        for name, scores in measured.items():
            pairs = [(sample.text, golds[sample.task_id]) for sample in scores.samples]
            strict[name] = [score.correct for score in grader.grade_many(pairs)]
    return {name: right(scores) for name, scores in measured.items()}, strict


def disagreement(system: LiveSystem, benchmark: str) -> Verdict:
    """Judge the share of outputs that the two graders judge differently, all parts and budgets together."""
    lenient, strict = graded(system, benchmark)
    differs = [[a != b for a, b in zip(lenient[name], strict[name], strict=True)] for name in lenient]
    rows = list(zip(*differs, strict=True))
    only_strict = sum(b and not a for name in lenient for a, b in zip(lenient[name], strict[name], strict=True))
    total = sum(map(sum, differs))
    return decide(
        bounded_mean([sum(row) / len(row) for row in rows]),
        claim="graders-disagree",
        system=system.name,
        benchmark=benchmark,
        margin=0.05,
        direction=1,
        reason=f"of {sum(map(len, rows))} outputs {total - only_strict} are right for the lenient grader only, "
        f"{only_strict} for the strict one only",
        signature=_signature(system, benchmark),
        worthwhile=0.05,
    )


def reversal(system: LiveSystem, benchmark: str) -> Verdict | None:
    """Judge whether the strict grader puts two parts or budgets in another order; ``None`` where there is one only."""
    lenient, strict = graded(system, benchmark)
    if len(lenient) < 2:
        return None
    return judge_orders(
        lenient,
        strict,
        claim_id="graders-reverse",
        system=f"{system.name}'s parts",
        benchmark=benchmark,
        metrics=("the lenient grader", "the strict one"),
        signature=_signature(system, benchmark),
    )


def by_rule(output: str, rule: str) -> str | None:
    """Return the number that an extraction rule takes from an output, without ``$`` and ``,``; ``None`` for none.

    Args:
        output: the raw completion.
        rule: :data:`MARKER`, the first ``####`` line, or :data:`LAST_NUMBER`.
    """
    if rule == MARKER:
        found = _MARKED.search(output)
        text = found.group(1) if found else None
    else:
        every = _NUMBER.findall(output)
        text = every[-1] if every else None
    return None if text is None else _plain(text)


def extraction(system: LiveSystem, benchmark: str, name: str, scores: Scores) -> Verdict | None:
    """Compare the last number with the ``####`` line over one part's outputs.

    Returns:
        The verdict; ``None`` where a gold answer is no number.
    """
    flags = by_rules(system, benchmark, scores)
    if flags is None:
        return None
    marked = sum(by_rule(sample.text, MARKER) is not None for sample in scores.samples)
    return conclude(
        compare_paired(flags[LAST_NUMBER], flags[MARKER]),
        claim_id="extraction-decides",
        system=f"{system.name}'s {name}",
        benchmark=benchmark,
        reason=f"{sum(flags[LAST_NUMBER])} of {scores.n} right by the last number, {sum(flags[MARKER])} by the "
        f"#### line, {scores.correct} by the protocol's own rule; {marked} outputs have such a line",
        signature=scores.signature,
    )


def by_rules(system: LiveSystem, benchmark: str, scores: Scores) -> dict[str, list[bool]] | None:
    """Return (n,) by extraction rule: whether the number taken is the gold one; ``None`` where gold is no number."""
    golds = _golds(system, benchmark)
    if not all(_NUMERIC_GOLD.fullmatch(gold.strip()) for gold in golds.values()):
        return None
    return {
        rule: [by_rule(sample.text, rule) == _plain(golds[sample.task_id]) for sample in scores.samples]
        for rule in (LAST_NUMBER, MARKER)
    }


def published_extraction() -> Verdict:
    """Judge the public report: what one rule accepts of outputs of which the other accepts none."""
    system, benchmark, correct, n = PUBLISHED
    found: Comparison = compare_paired([True] * correct + [False] * (n - correct), [False] * n)
    return conclude(
        found,
        claim_id="extraction-decides",
        system=system,
        benchmark=benchmark,
        reason=f"{correct} of {n} right by the last number, none by the #### line, over the same outputs",
        signature=system,
    )


def figures(lenient: Sequence[bool], strict: Sequence[bool], rules: Mapping[str, Sequence[bool]]) -> Mapping[str, str]:
    """Return one part's accuracy under both graders and both extraction rules, in percent."""
    every = {"lenient": lenient, "strict": strict, **rules}
    return {"n": str(len(lenient)), **{name: f"{100 * sum(flags) / len(flags):.0f}" for name, flags in every.items()}}


def _golds(system: LiveSystem, benchmark: str) -> dict[str, str]:
    return {p.task_id: p.gold for p in system.benchmark(benchmark).problems if isinstance(p, AnswerProblem)}


def _form(system: LiveSystem, benchmark: str) -> str:
    return system.benchmark(benchmark).problems[0].benchmark if system.benchmark(benchmark).problems else benchmark


def _plain(number: str) -> str:
    return number.strip().replace("$", "").replace(",", "").rstrip(".")


def _signature(system: LiveSystem, benchmark: str) -> str:
    return str(next(reversed(cells(system, benchmark).values())).signature)
