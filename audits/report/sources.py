"""A report from what a run left behind: its JSON, its ledger, or the folder that holds both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audits.report import run_scores
from audits.report.collecting import examples, flow, latest, measurement
from audits.report.model import SCHEMA, Report, Run
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from audits.report.model import Example, Flow, Measurement
    from protocols.scores import SampleScore, Scores
    from protocols.stored_samples import StoredSample

LAST_RUN = "last-run.json"
"""The report that a run of the audits leaves beside its ledger, in pytest's cache."""
_SQLITE = b"SQLite format 3\0"


def read_report(path: Path) -> Report:
    """Read or rebuild a report.

    Args:
        path: a report's JSON; the JSON of ``specref run``; a ledger; or the folder with a run's :data:`LAST_RUN`. A
            ledger that the run beside it used gives that run's whole report, any other one what its samples tell:
            scores and examples, no verdicts.

    Raises:
        InputError: there is no such file, or it is no report.
        LedgerError: it is a damaged ledger.
    """
    if path.is_dir():
        if not (path / LAST_RUN).is_file():
            raise InputError(f"{path} is a folder without {LAST_RUN}; name a report's JSON or a ledger")
        return _from_json(path / LAST_RUN)
    try:
        with path.open("rb") as file:
            header = file.read(len(_SQLITE))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; name a report's JSON or a ledger") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    if header != _SQLITE:
        return _from_json(path)
    beside = path.resolve().parent / LAST_RUN
    if beside.is_file():
        try:
            report = _from_json(beside)
        except InputError:
            return from_ledger(path)  # what stands there is of another version; the ledger itself is sound
        if path.resolve().name in report.run.ledgers:
            return report
    return from_ledger(path)


def from_ledger(path: Path) -> Report:
    """Make a report of a ledger's samples.

    Raises:
        InputError: nothing in it was scored.
        LedgerError: it is damaged.
    """
    from importlib.metadata import version

    from protocols.stored_samples import stored_samples

    groups: dict[tuple[str, ...], list[StoredSample]] = {}
    for sample in stored_samples(path):
        key = sample.key
        cell: tuple[str, ...] = (key.system, key.fingerprint, key.benchmark, key.settings, sample.scoring)
        groups.setdefault(cell, []).append(sample)
    if not groups:
        raise InputError(f"ledger {path} holds no scored sample; there is nothing to report")
    names = _names(groups)
    drafts = _drafts(groups)
    told: list[Measurement | Flow | Example] = []
    shown_of: dict[str, list[tuple[Scores, Scores | None, str]]] = {}
    for cell, samples in groups.items():
        scores = _scores(names[cell], cell, samples)
        told.append(measurement(scores, source="ledger", system=names[cell], part="", settings=_without_steps(cell)))
        drafted = _drafter_of(scores, cell, drafts)
        if drafted is not None:
            moved = flow(scores, drafted, None, source="ledger", system=names[cell])
            if moved is not None:
                told.append(moved)
        # A generator that drafts only has nothing to show step by step.
        if any(sample.trace is not None and any(sample.trace.masked) for sample in scores.samples):
            shown_of.setdefault(cell[2], []).append((scores, drafted, names[cell]))
    for candidates in shown_of.values():
        # Where some pipelines' drafts were judged, theirs are the examples that tell something.
        judged = [entry for entry in candidates if entry[1] is not None]
        for scores, drafted, name in judged or candidates:
            told += examples(scores, drafted, source="ledger", system=name)
    measured, flows, shown = latest(told)
    remark = "Made from stored samples alone: a ledger holds no verdicts; `specref audit --report` makes them."
    run = Run(origin="ledger", version=version("specref"), remark=remark, ledgers=(path.name,))
    return Report(run=run, measurements=tuple(measured), flows=tuple(flows), examples=tuple(shown))


def _from_json(path: Path) -> Report:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path} is neither a report's JSON nor a ledger") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        told = "it is empty" if not text.strip() else f"no JSON: {error}"
        raise InputError(f"{path} is neither a report's JSON nor a ledger, or was cut short ({told})") from None
    if isinstance(data, dict) and data.get("schema") != SCHEMA and "schema" not in data:
        raise InputError(f"{path} is JSON of something else; expected a report ({SCHEMA}) or a ledger")
    try:
        if isinstance(data, dict) and data.get("schema") == run_scores.SCHEMA:
            return run_scores.from_scores(data)
        return Report.from_dict(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _names(groups: Iterable[tuple[str, ...]]) -> Mapping[tuple[str, ...], str]:
    """Name every cell's system; systems of one name and several fingerprints are told apart by them."""
    prints: dict[tuple[str, str], set[str]] = {}
    cells = list(groups)
    for system, fingerprint, benchmark, *_ in cells:
        prints.setdefault((system, benchmark), set()).add(fingerprint)
    return {cell: cell[0] if len(prints[cell[0], cell[2]]) == 1 else f"{cell[0]}@{cell[1][:12]}" for cell in cells}


def _scores(name: str, cell: tuple[str, ...], samples: list[StoredSample]) -> Scores:
    from protocols.scores import SampleScore, Scores
    from protocols.signature import Signature
    from specref_core.generator import Budget

    scored: list[SampleScore] = [
        SampleScore(s.key.task_id, s.key.seed, s.completion.text, s.score, s.completion.cost, s.completion.trace)
        for s in samples
    ]
    system, fingerprint, benchmark, settings, scoring = cell
    steps = _setting(settings, "steps")
    seeds = sorted({s.key.seed for s in samples})
    problems = len({(s.key.data, s.key.task_id) for s in samples})
    items: list[tuple[str, str]] = [*Signature.parse(scoring).items] if scoring else []
    items += [*Signature.parse(settings).items] if settings else []
    signature = Signature(
        (
            ("system", f"{system}@{fingerprint}"),
            ("benchmark", benchmark),
            ("n", str(problems)),
            *((key, value) for key, value in items if key != "version"),
            ("seeds", ",".join(map(str, seeds))),
            *((key, value) for key, value in items if key == "version"),
        )
    )
    return Scores(name, benchmark, Budget(steps=steps), tuple(scored), len(scored), signature)


def _setting(settings: str, name: str) -> int | None:
    for part in settings.split("|"):
        key, _, value = part.partition(":")
        if key == name and value.isdecimal() and int(value) > 0:
            return int(value)
    return None


def _without_steps(cell: tuple[str, ...]) -> str:
    """Return what tells the budgets and the scorings of one system apart, besides its steps."""
    kept = [part for part in cell[3].split("|") if not part.startswith("steps:")]
    scoring = [part for part in cell[4].split("|") if not part.startswith("version:")]
    return "|".join([*kept, *scoring])


_Drafts = dict[tuple[str, str, str], "dict[str, SampleScore]"]


def _drafts(groups: Mapping[tuple[str, ...], list[StoredSample]]) -> _Drafts:
    """Index the verdicts of completions that are an AR draft and nothing else, by how they were scored."""
    from protocols.scores import SampleScore

    found: _Drafts = {}
    for cell, samples in groups.items():
        for sample in samples:
            trace: Any = sample.completion.trace
            if trace is None or trace.draft is None or any(trace.masked):
                continue
            if sample.completion.text == trace.draft.text:
                key = sample.key
                where = (key.benchmark, cell[4], key.task_id)
                found.setdefault(where, {})[sample.completion.text] = SampleScore(
                    key.task_id, key.seed, sample.completion.text, sample.score
                )
    return found


def _drafter_of(scores: Scores, cell: tuple[str, ...], drafts: _Drafts) -> Scores | None:
    """Return the verdicts on a pipeline's drafts, where the ledger has one on every draft's text."""
    from dataclasses import replace

    if not any(sample.trace is not None and any(sample.trace.masked) for sample in scores.samples):
        return None  # this is the drafter itself
    found = []
    for sample in scores.samples:
        if sample.trace is None or sample.trace.draft is None:
            return None
        known = drafts.get((cell[2], cell[4], sample.task_id), {}).get(sample.trace.draft.text)
        if known is None:
            return None
        found.append(replace(known, seed=sample.seed))
    return replace(scores, samples=tuple(found)) if found else None
