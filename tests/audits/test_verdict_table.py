"""The table that ends a run."""

from __future__ import annotations

import pytest

from audits.verdict_table import effect_text, interval_text, render, render_rows, sort
from audits.verdicts import Outcome, Verdict


def verdict(claim="step-swing", system="s", **changes):
    fields = {"effect": 12.5, "low": 1.0, "high": 20.0, "n": 164, **changes}
    return Verdict(claim=claim, system=system, benchmark="HumanEval", outcome=Outcome.REPRODUCED, **fields).as_dict()


@pytest.mark.parametrize("width", [60, 80, 100, 140, 240])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_lost(width):
    text = render([verdict(system="a system with a very long name indeed, " * 2)], width=width, colour=False)
    assert max(map(len, text.splitlines())) <= width
    squeezed = "".join(text.split())
    for part in ("step-swing", "HumanEval", "reproduced", "+12.5points", "[+1,+20]", "164", "1verdict:1reproduced"):
        assert part in squeezed


def test_names_are_text_not_markup():
    text = render([verdict(system="[red]x[/red]")], width=140, colour=False)
    assert "[red]x[/red]" in text
    assert "\x1b" not in text
    assert "\x1b" in render([verdict()], width=140, colour=True)


def test_order_is_that_of_the_claims_and_a_repeated_verdict_counts_once():
    rows = sort([verdict("step-swing"), verdict("unheard-of"), verdict("strip-destroys"), verdict("step-swing", n=7)])
    assert [(row["claim"], row["n"]) for row in rows] == [
        ("strip-destroys", 164),
        ("step-swing", 7),
        ("unheard-of", 164),
    ]


def test_arithmetic_has_no_interval():
    found = verdict(effect=2.0, low=None, high=None, unit="cells")
    assert (effect_text(found), interval_text(found)) == ("2 cells", "-")
    assert effect_text(verdict(effect=None)) == "-"


def test_inconclusive_names_the_n():
    text = render([verdict(n_needed=4108)], width=140, colour=False)
    assert "n 4108 would decide" in " ".join(text.split())


def test_rows_of_one_title_share_a_table():
    rows = [
        {"title": "t", "name": "a", "cells": {"raw": "1.0"}},
        {"title": "t", "name": "b", "cells": {"raw": "2.0", "strip": "0.0"}},
        {"title": "u", "name": "c", "cells": {"other": "x"}},
    ]
    lines = [line.split() for line in render_rows(rows, width=80, colour=False).splitlines()]
    assert lines == [["t"], ["raw", "strip"], ["a", "1.0", "-"], ["b", "2.0", "0.0"], ["u"], ["other"], ["c", "x"]]
