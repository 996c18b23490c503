"""Wrong tokens of a draft: told from the nearest right text, and what entropies and masks know of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits import token_errors as audit
from audits.live_systems import MissingCapabilityError
from audits.verdicts import Outcome
from specref_core.generator import Draft, Trace
from tests.audits.measured_cells import shares
from tests.audits.told_cells import ToldSystem

REPRODUCED, NOT, OPEN = Outcome.REPRODUCED, Outcome.NOT_REPRODUCED, Outcome.INCONCLUSIVE
texts = st.text(alphabet="abc 12=", min_size=1, max_size=40)


def flagged(text, *right):
    found = audit.wrong_characters(text, right)
    return None if found is None else "".join("^" if flag else "." for flag in found)


class TestCharacters:
    @pytest.mark.parametrize(
        ("draft", "right", "wrong"),
        [
            ("2 + 2 = 5 so", "2 + 2 = 4 so", "........^...."),
            ("2 + 2 = 45 so", "2 + 2 = 4 so", ".........^...."),
            ("2 + 2 = so", "2 + 2 = 4 so", "........^.."),  # what is missing stands before the next character
            ("2 + 2 = ", "2 + 2 = 4", "........^"),
            ("5 = 2 + 2", "4 = 2 + 2", "^........."),
        ],
    )
    def test_what_must_change(self, draft, right, wrong):
        assert flagged(draft, right) == wrong

    @given(texts, texts)
    def test_a_shortest_edit_touches_no_more_than_it_must(self, text, other):
        found = audit.must_change(text, other)
        assert len(found) == len(text) + 1
        assert bool(found.any()) is (text != other)
        # What is left alone is a part of both texts, in order.
        rest = iter(other)
        assert all(c in rest for c in np.array(list(text))[~found[: len(text)]])
        assert found.sum() <= max(len(text), len(other))

    def test_the_nearest_right_text_counts(self):
        assert flagged("x = 1 + 2", "y = 7 * 7", "x = 1 + 3") == "........^."

    @pytest.mark.parametrize("right", [(), ("quite another thing",), ("",)])
    def test_drafts_that_resemble_no_right_text_are_not_judged(self, right):
        assert audit.wrong_characters("2 + 2 = 5", right) is None

    @given(texts)
    def test_a_right_text_has_no_wrong_character(self, text):
        assert not audit.wrong_characters(text, [text]).any()

    @given(texts, st.data())
    def test_a_changed_character_is_found_and_is_all_that_is(self, text, data):
        place = data.draw(st.integers(0, len(text) - 1))
        broken = text[:place] + "#" + text[place + 1 :]
        found = audit.wrong_characters(broken, [text])
        if found is None:  # too short, or of one character so often that its runs match badly
            return
        assert found[place]
        assert found[: len(text)].sum() == 1


class TestTokens:
    def test_a_token_is_wrong_where_one_of_its_characters_is(self):
        wrong = np.array([0, 0, 1, 0, 0, 0], dtype=bool)
        spans = np.array([[0, 2], [2, 4], [4, 5], [5, 5]])
        assert audit.wrong_tokens(wrong, spans).tolist() == [False, True, False, False]

    def test_a_missing_end_is_the_last_token_s(self):
        wrong = np.array([0, 0, 0, 1], dtype=bool)
        assert audit.wrong_tokens(wrong, np.array([[0, 2], [2, 3], [3, 3]])).tolist() == [False, True, False]

    def test_no_tokens(self):
        assert audit.wrong_tokens(np.zeros(1, dtype=bool), np.zeros((0, 2), dtype=np.int64)).tolist() == []


RIGHT, WRONG = "2 + 2 = 4", "2 + 2 = 5"


def draft_of(text, entropies=None):
    """Return a draft with a token a character."""
    n = len(text)
    return Draft(text, (0,) * n, tuple((i, i + 1) for i in range(n)), tuple(entropies or [0.1] * n), 600)


def drafter_trace(draft):
    n = len(draft.text)
    return Trace(draft, tuple(draft.text), (0.0,) * n, (False,) * n, tuple(draft.text), (0,) * n)


def run_trace(draft, hidden, after):
    n = len(draft.text)
    masked = tuple(i in hidden for i in range(n))
    return Trace(draft, tuple(draft.text), (0.0,) * n, masked, tuple(after), (0,) * n)


def system_of(drafts, runs, *, right=None, references=(RIGHT,)):
    """Return a system with one draft a problem and the pipeline's trace of it, alike at both budgets."""
    n = len(drafts)
    verdicts = right or [draft.text == RIGHT for draft in drafts]
    cells = {("drafter", "b", None): verdicts}
    traces = {("drafter", "b", None): [drafter_trace(draft) for draft in drafts]}
    for steps in (8, 64):
        cells["pipeline", "b", steps] = shares(0, n)
        traces["pipeline", "b", steps] = runs
    return ToldSystem(cells, traces=traces, references=list(references) * n)


def judge(system):
    drafts, unlike = audit.judged_drafts(system, "b")
    return (
        drafts,
        unlike,
        audit.hides_right(system, "b", drafts, unlike),
        audit.entropy_finds(system, "b", drafts, unlike),
    )


class TestVerdicts:
    @pytest.mark.parametrize(("hidden", "outcome"), [(range(9), REPRODUCED), ([8], NOT), ([7, 8], OPEN)])
    def test_hidden_tokens_that_were_right(self, hidden, outcome):
        draft = draft_of(WRONG)
        drafts, unlike, verdict, _ = judge(system_of([draft] * 40, [run_trace(draft, hidden, RIGHT)] * 40))
        assert (len(drafts), unlike) == (40, 0)
        assert verdict.outcome is outcome

    @pytest.mark.parametrize(("at", "outcome"), [(8, REPRODUCED), (0, NOT)])
    def test_entropy_that_points_at_the_error_or_elsewhere(self, at, outcome):
        entropies = [2.0 if i == at else 0.1 + 0.01 * i for i in range(9)]
        entropies[8] = 2.0 if at == 8 else 0.01
        drafts = [draft_of(WRONG, entropies), draft_of(RIGHT, [0.3] * 9)] * 20
        verdict = judge(system_of(drafts, [None] * 40))[3]
        assert verdict.outcome is outcome
        assert verdict.n == 360

    def test_entropy_that_knows_nothing_is_not_called_a_finding(self, monkeypatch):
        monkeypatch.setattr(audit, "RESAMPLES", 200)
        rng, found = np.random.default_rng(0), []
        for _ in range(40):
            drafts = [draft_of(WRONG, rng.exponential(1, 9).tolist()) for _ in range(20)]
            found.append(judge(system_of(drafts, [None] * 20))[3].outcome)
        assert found.count(REPRODUCED) <= 3

    def test_right_texts_of_the_system_itself_are_known(self):
        draft = draft_of(WRONG)
        system = system_of([draft], [run_trace(draft, [8], RIGHT)], references=("",))
        assert audit.judged_drafts(system, "b")[1] == 1
        system.cells["pipeline", "b", 64] = [True]
        system.texts = {("pipeline", "b", 64): [RIGHT]}
        assert audit.judged_drafts(system, "b")[1] == 0

    def test_nothing_to_tell_is_no_verdict(self):
        right = system_of([draft_of(RIGHT)] * 3, [None] * 3)
        assert judge(right)[2:] == (None, None)  # no trace of a mask, no wrong token
        without = ToldSystem(
            {
                ("drafter", "b", None): shares(1, 2),
                ("pipeline", "b", 8): shares(1, 2),
                ("pipeline", "b", 64): shares(1, 2),
            },
            references=[RIGHT] * 2,
        )
        assert judge(without) == ([], 0, None, None)

    def test_a_pipeline_that_started_from_another_draft_is_not_followed(self):
        other = run_trace(draft_of(RIGHT), range(9), RIGHT)
        assert judge(system_of([draft_of(WRONG)] * 2, [other] * 2))[2] is None

    def test_without_a_drafter_the_method_is_named(self):
        with pytest.raises(MissingCapabilityError):
            audit.judged_drafts(ToldSystem({("pipeline", "b", 8): shares(1, 2)}), "b")


def test_figures_follow_the_tokens():
    draft = draft_of(WRONG)
    system = system_of([draft] * 2, [run_trace(draft, [0, 1, 8], "3 + 2 = 4"), run_trace(draft, [0], WRONG)])
    drafts, _ = audit.judged_drafts(system, "b")
    assert audit.figures(system, drafts) == {
        "tokens": "18",
        "wrong": "11 %",
        "hidden": "22 %",
        "of hidden: right before": "75 %",
        "of wrong: kept": "50 %",
        "of hidden right: changed, S=8": "33 %",
        "of hidden right: changed, S=64": "33 %",
    }
    assert audit.figures(system, []) == {}
