from __future__ import annotations

import pytest

from protocols.ledger import Ledger, SampleKey
from protocols.score import Failure, Score
from protocols.stored_samples import stored_samples
from specref_core.errors import LedgerError
from specref_core.generator import Completion, Cost, Trace

TRACE = Trace(None, ("a",), (0.5,), (True,), ("b",), (1,))


def key(task, seed=0):
    return SampleKey("mine", "print", "gsm8k", "digest", task, "steps:8|max_new_tokens:48", seed)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.ledger"
    with Ledger(path) as book:
        for task, text in (("one", "  18\n"), ("two", "</script>\udcff\x00"), ("never scored", "x")):
            book.add_completions([(key(task), Completion(text, Cost(8, 8, 8, 0, 0.1, 1.0), TRACE))])
        book.add_score(key("one"), "strict", Score(correct=True))
        book.add_score(key("two"), "strict", Score(correct=False, failure=Failure.NO_ANSWER, detail="why"))
        book.add_score(key("two"), "lenient", Score(correct=True))
    return path


def test_every_scored_sample_comes_back_as_it_was_stored(path):
    before = path.read_bytes()
    found = list(stored_samples(path))
    assert [(s.key, s.scoring, s.score.correct) for s in found] == [
        (key("one"), "strict", True),
        (key("two"), "strict", False),
        (key("two"), "lenient", True),
    ]
    assert found[1].completion.text == "</script>\udcff\x00"
    assert found[1].score.detail == "why"
    assert found[0].completion.trace == TRACE
    assert path.read_bytes() == before


def test_a_ledger_that_is_being_written_can_be_read(path):
    with Ledger(path) as book:
        book.add_completions([(key("three", seed=1), Completion("y"))])
        book.add_score(key("three", seed=1), "strict", Score(correct=True))
        assert [s.key for s in stored_samples(path)][-1] == key("three", seed=1)


def test_a_missing_or_damaged_ledger_is_refused(tmp_path, path):
    with pytest.raises(LedgerError, match="no ledger"):
        list(stored_samples(tmp_path / "nowhere"))
    cut = tmp_path / "cut"
    cut.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(LedgerError, match="damaged"):
        list(stored_samples(cut))
    assert not (tmp_path / "nowhere").exists()
