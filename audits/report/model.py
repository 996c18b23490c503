"""What a report holds, and nothing about how it looks: plain frozen data that becomes JSON and comes back unchanged.

Every number is finite or ``None``; shares are in [0, 1] and effects in the unit that stands beside them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from audits.report.reading import parse
from specref_core.errors import InputError

SCHEMA = "specref.report"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Run:
    """The run that measured.

    Attributes:
        origin: ``audits`` for a run of the audits, ``ledger`` for a report made from stored samples alone.
        version: of this package.
        started: UTC, ISO 8601; empty where nobody knows it.
        seconds: wall clock from the first audit to the report; ``None`` for a ledger.
        mode: ``reproduce`` or ``guard``; empty for a ledger.
        seed: of the choice of problems; ``None`` for a ledger.
        limit: problems a benchmark that were asked for; ``None`` for each audit's own number.
        generator: the target of ``--generator``.
        complete: false where the run was interrupted, or stopped at a failure.
        exit_code: of the run; ``None`` for a ledger.
        remark: one sentence where there is something to say about the run as a whole.
        ledgers: names of the files that hold the samples.
    """

    origin: str
    version: str
    started: str = ""
    seconds: float | None = None
    mode: str = ""
    seed: int | None = None
    limit: int | None = None
    generator: str | None = None
    complete: bool = True
    exit_code: int | None = None
    remark: str = ""
    ledgers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportedClaim:
    """A claim as ``audits.claims`` has it; see there for the fields."""

    id: str
    statement: str
    source: str
    family: str
    direction: int
    margin: float
    unit: str
    needs: tuple[str, ...]
    decided_by: str
    hazard: bool


@dataclass(frozen=True, slots=True)
class ReportedVerdict:
    """A verdict as ``audits.verdicts`` has it; see there for the fields.

    Attributes:
        source: what was measured: ``published``, ``shipped``, ``nano``, ``data``, ``full`` or ``custom``.
    """

    claim: str
    system: str
    benchmark: str
    source: str
    outcome: str
    effect: float | None
    low: float | None
    high: float | None
    n: int
    p_value: float | None
    test: str
    unit: str
    reason: str
    n_needed: int | None
    signature: str


@dataclass(frozen=True, slots=True)
class AuditOutcome:
    """How one audit ended.

    Attributes:
        id: pytest's node id.
        claims: it decides, where it names them.
        source: as for a verdict.
        outcome: ``passed``, ``failed``, ``skipped``, ``xfailed`` or ``error``.
        reason: why, for every outcome but ``passed``.
    """

    id: str
    claims: tuple[str, ...]
    source: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of a table that an audit printed: title of the table, name of the row, column → text."""

    title: str
    name: str
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class MeanCost:
    """What one sample cost on average; ``None`` where a figure is not finite.

    Attributes:
        forward_passes: executed passes of the model that writes the final text.
        row_forwards: rows of those passes.
        drafted_tokens: tokens written by an AR drafter.
        seconds: wall clock.
        gflop: by formula, the drafter's included.
    """

    forward_passes: float | None
    row_forwards: float | None
    drafted_tokens: float | None
    seconds: float | None
    gflop: float | None


@dataclass(frozen=True, slots=True)
class Measurement:
    """One part of one system on one benchmark at one budget.

    Attributes:
        source: as for a verdict; ``ledger`` where a ledger does not say.
        system: the generator's name.
        part: ``pipeline``, ``drafter``, ``refiner`` or another choice of hidden tokens; empty where nobody knows it.
        benchmark: name.
        settings: what else the samples depend on, ``max_new_tokens:256`` say; empty where the signature says it alone.
        steps: nominal S; ``None`` for a part without steps.
        n: samples scored.
        planned: samples of a complete measurement.
        correct: of the scored ones.
        score: share correct; ``None`` where nothing was scored.
        low, high: its 95 % Wilson interval.
        cost: mean over the samples, where the generator says what it cost.
        failures: kind of failure → how often.
        signature: every choice that can move the number.
    """

    source: str
    system: str
    part: str
    benchmark: str
    settings: str
    steps: int | None
    n: int
    planned: int
    correct: int
    score: float | None
    low: float | None
    high: float | None
    cost: MeanCost | None
    failures: Mapping[str, int]
    signature: str


@dataclass(frozen=True, slots=True)
class Flow:
    """What a pipeline made of its drafts, problem by problem.

    Attributes:
        source, system, benchmark, steps: which measurement.
        kept_right: problems right before and after.
        broken: right before, wrong after.
        fixed: wrong before, right after.
        kept_wrong: wrong before and after.
        refiner_right: problems that the refiner alone solves at the same steps, where it was measured.
        oracle_right: problems that drafter or refiner solves, where both were measured.
        signature: of the pipeline's measurement.
    """

    source: str
    system: str
    benchmark: str
    steps: int | None
    kept_right: int
    broken: int
    fixed: int
    kept_wrong: int
    refiner_right: int | None
    oracle_right: int | None
    signature: str

    @property
    def n(self) -> int:
        """Problems."""
        return self.kept_right + self.broken + self.fixed + self.kept_wrong


@dataclass(frozen=True, slots=True)
class DraftToken:
    """A token of the AR draft: its text and the entropy of the distribution it was drawn from, nats."""

    text: str
    entropy: float | None


@dataclass(frozen=True, slots=True)
class Position:
    """A position of the refiner's canvas.

    Attributes:
        initial: text before the first step, empty where there was none.
        final: text at the end, empty from the end token on.
        score: m_i of Eq. 6, in [0, 1].
        masked: whether it was hidden before the first step.
        committed_at: 1-based executed step that wrote it; 0 where it was kept.
    """

    initial: str
    final: str
    score: float | None
    masked: bool
    committed_at: int


@dataclass(frozen=True, slots=True)
class Example:
    """One problem, token by token.

    Attributes:
        source, system, benchmark, steps: which measurement.
        task_id: the problem.
        kind: ``kept right``, ``broken``, ``fixed`` or ``kept wrong``; ``right`` or ``wrong`` where the draft was not
            judged.
        prompt: what the generator saw; empty where only the ledger is left.
        expected: the reference answer, where the benchmark has a short one.
        answer: what was read from the text, where it is short.
        failure: why it is wrong; empty where it is right.
        draft: tokens of the AR draft; empty for a generator that starts from nothing.
        positions: of the refiner's canvas.
    """

    source: str
    system: str
    benchmark: str
    steps: int | None
    task_id: str
    kind: str
    prompt: str
    expected: str
    answer: str
    failure: str
    draft: tuple[DraftToken, ...]
    positions: tuple[Position, ...]

    @property
    def right(self) -> bool:
        """Whether the final text is right."""
        return not self.failure

    @property
    def last_step(self) -> int:
        """The last executed step that wrote something."""
        return max((position.committed_at for position in self.positions), default=0)


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the page shows and the JSON holds."""

    run: Run
    claims: tuple[ReportedClaim, ...] = ()
    verdicts: tuple[ReportedVerdict, ...] = ()
    audits: tuple[AuditOutcome, ...] = ()
    tables: tuple[TableRow, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    flows: tuple[Flow, ...] = ()
    examples: tuple[Example, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """Return plain data for JSON: no NaN, no infinity, no character that UTF-8 cannot hold."""
        plain: dict[str, object] = plain_data({"schema": SCHEMA, "version": VERSION, **asdict(self)})
        return plain

    @classmethod
    def from_dict(cls, data: object) -> Report:
        """Read what :meth:`as_dict` returned.

        Raises:
            InputError: the data are no report of this version, or a field is missing or of the wrong kind.
        """
        if not isinstance(data, Mapping) or data.get("schema") != SCHEMA:
            found = data.get("schema") if isinstance(data, Mapping) else type(data).__name__
            raise InputError(f"this is no report: its schema is {found!r}; expected {SCHEMA!r}")
        if data.get("version") != VERSION:
            raise InputError(
                f"this report has version {data.get('version')!r} of its schema; this package reads version {VERSION}: "
                "use the package version that wrote it, or run the audits again"
            )
        return parse(cls, {name: value for name, value in data.items() if name not in ("schema", "version")}, "report")


def plain_data(value: Any) -> Any:
    """Return data that JSON and every transport can carry: numbers finite or ``None``, texts without lone surrogates.

    Numbers of numpy and the like become Python's own.
    """
    if isinstance(value, Mapping):
        return {plain_text(str(name)): plain_data(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_data(inner) for inner in value]
    if isinstance(value, str):
        return plain_text(value)
    if value is None or isinstance(value, bool):
        return value
    if hasattr(value, "item") and not isinstance(value, (int, float)):
        return plain_data(value.item())
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return plain_text(str(value))


def plain_text(text: str) -> str:
    """Spell lone surrogates, which UTF-8 cannot hold, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
