from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audits.report.matrix import OTHERS, matrices
from audits.report.model import AuditOutcome, DraftToken, Position, Report, Run
from audits.report.page import render
from audits.report.token_view import token_view
from tests.audits.report_samples import CLAIM, HOSTILE, example, small_report, verdict


class Reader(HTMLParser):
    """Collects what a browser would see: elements with their attributes, and the text outside style and script."""

    def __init__(self, page):
        super().__init__()
        self.elements = []
        self.text = ""
        self.open = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page():
    return render(small_report())


@pytest.fixture(scope="module")
def seen(page):
    return Reader(page)


def test_the_page_is_well_formed_and_fetches_nothing(page, seen):
    assert seen.open == []
    for _, attributes in seen.elements:
        for name in ("src", "href", "action", "srcset", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    assert "default-src 'none'" in page
    assert not re.search(r"url\(|@import", page)


def test_hostile_text_is_shown_and_never_run(page, seen):
    assert len(seen.all("script")) == 1
    assert seen.all("img") == []
    assert "window.broken=1" in seen.text
    assert not [c for c in page if ord(c) < 32 and c not in "\n\t"]
    assert "\u202e" not in page


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(), max_size=60))
def test_any_text_leaves_the_page_as_it_is(text):
    plain = Reader(render(small_report(verdicts=(verdict(system="x", reason="x"),), examples=(example(prompt="x"),))))
    odd = Reader(
        render(small_report(verdicts=(verdict(system=text, reason=text),), examples=(example(prompt=text or "x"),)))
    )
    kept = ("table", "tr", "article", "svg", "details", "script", "section", "input")
    assert [t for t, _ in odd.elements if t in kept] == [t for t, _ in plain.elements if t in kept]


def test_every_part_is_there(seen):
    for told in (
        CLAIM.statement,
        CLAIM.decided_by,
        "section 4.4",
        "the effect is above 30 points",
        "system:nano|n:80",
        "of 80 problems: 32 at S=8, 77 at S=64",
        "n = 500 would decide at 80 % power",
        "26 kept right",
        "36 broken",
        "the refiner alone solves 0",
        "no components(); add it to enable this",
        "percent of 80",
        "1 passed",
        "hazard",
    ):
        assert told in seen.text, told
    ids = {attributes.get("id") for attributes in seen.all("section")}
    assert ids == {"verdicts", "failed", "claims", "compute", "flow", "tokens", "measured", "undecided"}
    links = {attributes["href"][1:] for attributes in seen.all("a")}
    assert links <= {a.get("id") for _, a in seen.elements}


def test_outcomes_are_told_by_word_and_by_colour(seen):
    chips = [a for tag, a in seen.elements if tag == "a" and "chip" in a.get("class", "")]
    assert {a["class"] for a in chips} == {"chip reproduced", "chip not-reproduced", "chip inconclusive"}
    for word in ("2 reproduced", "1 not reproduced", "1 inconclusive"):
        assert word in " ".join(seen.text.split())


def test_an_inconclusive_verdict_is_no_audit_without_one():
    v = verdict("inconclusive", reason="")
    skips = ("step-swing, nano on nano-code: inconclusive, +1 points", "no components(); add it")
    audits = tuple(AuditOutcome(f"t.py::{i}", (), "nano", "skipped", reason) for i, reason in enumerate(skips))
    seen = Reader(render(small_report(verdicts=(v,), audits=audits)))
    assert "t.py::1" in seen.text
    assert "t.py::0" not in seen.text


def test_an_interrupted_run_says_so():
    assert "did not get through" not in render(small_report())
    cut = replace(small_report(), run=Run(origin="audits", version="0", complete=False, exit_code=2))
    assert "did not get through" in render(cut)


@pytest.mark.parametrize("origin", ["audits", "ledger"])
def test_an_empty_report_is_a_page_too(origin):
    seen = Reader(render(Report(run=Run(origin=origin, version="0"))))
    assert seen.open == []
    assert "There are no verdicts" in seen.text


def test_a_claim_that_nobody_knows_is_shown_as_it_is():
    assert "tomorrow" in Reader(render(small_report(claims=(), verdicts=(verdict(claim="tomorrow"),)))).text


def test_matrix_cells_count_and_sources_stay_apart():
    rows = [verdict(system="a"), verdict(system="b"), verdict("inconclusive", system="c"), verdict(source="custom")]
    custom, nano = matrices({CLAIM.id: CLAIM}, rows)
    assert (custom.source, nano.source) == ("custom", "nano")  # the user's own first
    [row] = nano.rows
    assert [(chip.outcome, chip.count) for chip in row.cells[0]] == [("reproduced", 2), ("inconclusive", 1)]
    assert "a (n = 80); b (n = 80)" in row.cells[0][0].told


def test_odd_benchmarks_share_a_column_and_keep_their_names():
    rows = [verdict(benchmark=f"b{i}", claim=c) for i in range(4) for c in ("step-swing", "step-reversal")]
    rows += [verdict(benchmark=f"odd {i}") for i in range(6)]
    [matrix] = matrices({}, rows)
    assert matrix.columns == ("b0", "b1", "b2", "b3", OTHERS)
    swing = next(row for row in matrix.rows if row.claim == "step-swing")
    assert [chip.where for chip in swing.cells[-1]] == [f"odd {i}" for i in range(6)]


def test_token_view_tells_what_became_of_each_position():
    view = token_view(example())
    assert [p.kind for p in view.positions] == ["kept", "changed", "same", "written"]
    assert [p.step for p in view.positions] == [0, 3, 1, 2]
    assert view.positions[2].text == "↵\n"
    assert view.positions[1].hidden.startswith("░")
    assert view.last_step == 3
    assert view.counts == "1 positions kept, 3 hidden: 1 written as before, 1 changed, 1 written where nothing was"
    assert "wrong at the end (wrong-answer)" in view.verdict
    assert "“2”" in view.positions[1].hint
    assert "step 3" in view.positions[1].hint


def test_entropy_colours_share_a_scale_with_a_floor():
    view = token_view(example())
    assert [round(t.heat, 2) for t in view.draft] == [0.07, 1.0, 0.0, 0.0]
    assert "entropy 1.5 nats" in view.draft[1].hint
    assert "not told" in view.draft[2].hint
    calm = token_view(example(draft=(DraftToken("a", 0.01),)))
    assert calm.draft[0].heat == pytest.approx(0.1)


def test_nothing_hidden_and_no_draft_are_views_too():
    view = token_view(example(draft=(), positions=(Position("a", "a", None, masked=False, committed_at=0),)))
    assert (view.last_step, view.hidden, view.draft) == (0, 0, ())
    page = render(small_report(examples=(example(draft=(), positions=view.example.positions),)))
    assert 'max="0"' in page


def test_hostile_signatures_and_hints_do_not_leave_their_attributes():
    nasty = replace(example(), positions=(Position('" onclick="x', HOSTILE, 0.1, masked=True, committed_at=1),))
    seen = Reader(render(small_report(examples=(nasty,))))
    assert not any("onclick" in attributes or "onerror" in attributes for _, attributes in seen.elements)
