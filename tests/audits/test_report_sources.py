from __future__ import annotations

import json
import sqlite3

import pytest
from typer.testing import CliRunner

from audits.cli import app
from audits.commands.run import SCHEMA
from audits.report.model import Report, Run
from audits.report.page import render
from audits.report.sources import LAST_RUN, read_report
from protocols.ledger import Ledger, SampleKey
from protocols.score import Failure, Score
from protocols.scores import SampleScore, Scores
from protocols.signature import Signature
from protocols.stored_samples import stored_samples
from specref_core.errors import InputError, LedgerError
from specref_core.generator import Budget, Completion, Cost, Draft, Trace
from tests.audits.report_samples import HOSTILE, small_report

SCORING = "protocol:exact-match|grader:strict|version:0.1.0"


def add(ledger, system, task, text, correct, *, steps=None, trace=None, fingerprint="f"):
    key = SampleKey(system, fingerprint, "nano-arithmetic", "d" + task, task, f"steps:{steps}|max_new_tokens:48", 0)
    passes = steps or 3
    ledger.add_completions([(key, Completion(text, Cost(steps or 0, passes, passes, 3, 0.1, 1e9), trace))])
    ledger.add_score(key, SCORING, Score(correct, None if correct else Failure.WRONG_ANSWER))


@pytest.fixture
def ledger(tmp_path):
    """A ledger of four problems: a drafter, a pipeline over its drafts and a refiner."""
    path = tmp_path / "runs.ledger"
    with Ledger(path) as book:
        for i, (before, after) in enumerate([(True, True), (True, False), (False, True), (False, False)]):
            draft = Draft(f"draft {i}", (1, 2), ((0, 5), (5, 7)), (0.1, 0.9), 600)
            kept = Trace(draft, ("draft", f" {i}"), (0.0, 0.1), (False, False), ("draft", f" {i}"), (0, 0))
            refined = Trace(draft, ("draft", f" {i}"), (0.0, 0.1), (False, True), ("draft", " x"), (0, 1))
            add(book, "drafter", str(i), draft.text, before, trace=kept)
            add(book, "hybrid", str(i), "draft x", after, steps=8, trace=refined)
            add(book, "refiner", str(i), HOSTILE, after, steps=8)
    return path


def write(path, report):
    path.write_text(json.dumps(report.as_dict()), encoding="utf-8")
    return path


def test_a_ledger_tells_accuracy_flow_and_examples(ledger):
    before = ledger.read_bytes()
    report = read_report(ledger)
    assert ledger.read_bytes() == before
    assert report.run.origin == "ledger"
    assert [(m.system, m.steps, m.correct, m.n) for m in report.measurements] == [
        ("drafter", None, 2, 4),
        ("hybrid", 8, 2, 4),
        ("refiner", 8, 2, 4),
    ]
    [flow] = report.flows
    assert (flow.system, flow.kept_right, flow.broken, flow.fixed, flow.kept_wrong) == ("hybrid", 1, 1, 1, 1)
    assert [e.kind for e in report.examples] == ["broken", "fixed", "kept right", "kept wrong"]
    assert report.measurements[1].signature.startswith("system:hybrid@f|benchmark:nano-arithmetic|n:4|")
    assert "grader:strict" in report.measurements[1].signature
    assert "no verdicts" in render(report)


def test_without_the_drafters_verdicts_there_is_no_flow(tmp_path):
    path = tmp_path / "a.ledger"
    trace = Trace(Draft("d", (1,), ((0, 1),), (0.1,), 9), ("d",), (0.1,), (True,), ("x",), (1,))
    with Ledger(path) as book:
        add(book, "hybrid", "0", "x", True, steps=8, trace=trace)
    report = read_report(path)
    assert report.flows == ()
    assert [e.kind for e in report.examples] == ["right"]


def test_two_models_of_one_name_are_told_apart(tmp_path):
    path = tmp_path / "a.ledger"
    with Ledger(path) as book:
        add(book, "mine", "0", "x", True, steps=8, fingerprint="one")
        add(book, "mine", "0", "x", False, steps=8, fingerprint="two")
    assert [m.system for m in read_report(path).measurements] == ["mine@one", "mine@two"]


def test_the_json_of_a_run_tells_its_scores(tmp_path):
    samples = tuple(
        SampleScore(str(i), 0, "", Score(i < 3, None if i < 3 else Failure.TIMEOUT), Cost(8, 8, 8, 2, 0.1, 2e9))
        for i in range(4)
    )
    scores = Scores("mine", "gsm8k", Budget(8), samples, 4, Signature.of(system="mine"))
    empty = Scores("mine", "gsm8k", Budget(16), (), 4, Signature.of(system="mine"))
    path = tmp_path / "scores.json"
    data = {"schema": SCHEMA, "scores": [s.as_dict() for s in (scores, empty)]}
    path.write_text(json.dumps(data), encoding="utf-8")
    report = read_report(path)
    first, second = report.measurements
    assert (first.system, first.steps, first.correct, first.n, first.score) == ("mine", 8, 3, 4, 0.75)
    assert (first.cost.forward_passes, first.cost.gflop) == (8.0, 2.0)
    assert first.failures == {"timeout": 1}
    assert (second.n, second.score, second.cost) == (0, None, None)
    assert not report.run.complete
    assert "executed forward passes" in render(report)


def test_stored_samples_come_back_as_they_were(ledger):
    found = list(stored_samples(ledger))
    assert len(found) == 12
    assert found[2].completion.text == HOSTILE
    assert (found[0].key.system, found[0].key.task_id, found[0].score.correct) == ("drafter", "0", True)
    assert found[1].completion.trace.committed_at == (0, 1)


def test_a_reports_json_gives_the_report_and_the_same_page(tmp_path):
    report = small_report()
    found = read_report(write(tmp_path / "r.json", report))
    assert found == report
    assert render(found) == render(report)


def test_the_folder_of_a_run_and_its_ledger_give_the_runs_report(ledger):
    folder = ledger.parent
    report = small_report(run=Run(origin="audits", version="0", ledgers=(ledger.name,)))
    write(folder / LAST_RUN, report)
    assert read_report(folder) == report
    assert read_report(ledger) == report


@pytest.mark.parametrize(
    "beside", [json.dumps(small_report().as_dict()), "{}", '{"schema": "specref.report", "version": 99}', "cut sho"]
)
def test_a_last_run_that_used_another_ledger_or_cannot_be_read_does_not_stand_in(ledger, beside):
    (ledger.parent / LAST_RUN).write_text(beside, encoding="utf-8")
    assert read_report(ledger).run.origin == "ledger"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is empty"),
        (b"\n \n", "it is empty"),
        (b"system,benchmark\n", "neither a report's JSON nor a ledger"),
        (json.dumps(small_report().as_dict()).encode()[:900], "cut short"),
        (b"\xff\xfe\x00", "neither a report's JSON nor a ledger"),
        (b'{"cells": []}', "JSON of something else"),
        (b"[1, 2]", "this is no report"),
        (b'{"schema": "specref.recorded-verdicts", "version": 1}', "its schema is 'specref.recorded-verdicts'"),
        (b'{"schema": "specref.run/1", "scores": [{}]}', "scores.scores[0]: field 'system' is missing"),
        (b"[" * 100000, "neither a report's JSON nor a ledger"),
        (json.dumps(small_report().as_dict()).replace("56.25", "NaN").encode(), "NaN is no number"),
    ],
)
def test_a_foreign_or_truncated_file_is_refused(tmp_path, content, told):
    path = tmp_path / "source"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_report(path)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_damaged_empty_or_foreign_ledger_is_refused(tmp_path, ledger):
    cut = tmp_path / "cut.ledger"
    cut.write_bytes(ledger.read_bytes()[:5000])
    with pytest.raises(LedgerError, match="damaged"):
        read_report(cut)
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE t (x)")
    with pytest.raises(LedgerError, match="another program"):
        read_report(foreign)
    empty = tmp_path / "empty.ledger"
    Ledger(empty).close()
    with pytest.raises(InputError, match="no scored sample"):
        read_report(empty)


@pytest.mark.parametrize("name", ["nowhere.json", "nowhere/at/all.ledger"])
def test_a_missing_file_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="does not exist"):
        read_report(tmp_path / name)
    with pytest.raises(InputError, match="folder without"):
        read_report(tmp_path)


def run(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_the_command_writes_both(tmp_path, ledger):
    page, data, again = tmp_path / "o.html", tmp_path / "o.json", tmp_path / "again.html"
    done = run(ledger, "--html", page, "--json", data)
    assert done.exit_code == 0, done.output
    assert "0 verdicts, 3 measurements, 4 token views" in done.output
    assert run(data, "--html", again).exit_code == 0
    assert again.read_text(encoding="utf-8") == page.read_text(encoding="utf-8")
    assert Report.from_dict(json.loads(data.read_text(encoding="utf-8"))) == read_report(ledger)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "nothing to write"),
        (("--html", "{source}"), "is the file that is read"),
        (("--json", "{source}"), "is the file that is read"),
        (("--html", "{folder}/o", "--json", "{folder}/o"), "named for both"),
        (("--html", "{folder}"), "is a folder"),
        (("--html", "{folder}/no/o.html"), "does not exist"),
    ],
)
def test_the_command_refuses_before_it_reads(tmp_path, arguments, told):
    source = write(tmp_path / "r.json", small_report())
    before = source.read_bytes()
    done = run(source, *(a.format(source=source, folder=tmp_path) for a in arguments))
    assert done.exit_code != 0
    assert told in str(done.exception)
    assert isinstance(done.exception, InputError)  # main() ends these with exit code 2
    assert source.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]
