"""The forms in which a correct solution is written."""

from __future__ import annotations

import ast
from dataclasses import replace

import pytest

from audits.output_forms import CONTINUATION_FORMS, PRINCIPAL, PROGRAM_FORMS, forms_for
from protocols.loaders import shipped_problems

CONTINUED = shipped_problems("humaneval")
WHOLE = shipped_problems("mbpp")


def parses(program):
    try:
        ast.parse(program)
    except SyntaxError:
        return False
    return True


@pytest.mark.parametrize("form", CONTINUATION_FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("problem", CONTINUED, ids=lambda problem: problem.task_id)
def test_continuations_hold_the_reference(form, problem):
    text = form.write(problem)
    lines = [line.strip() for line in problem.reference.splitlines() if line.strip()]
    assert all(line in text for line in lines)
    if form.stands:
        assert parses(problem.prompt + text)


@pytest.mark.parametrize("form", PROGRAM_FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("problem", WHOLE, ids=lambda problem: problem.task_id)
def test_programs_hold_the_reference(form, problem):
    text = form.write(problem).replace("\r\n", "\n")
    assert problem.reference.replace("\r\n", "\n").strip("\n") in text
    assert parses(text) == form.stands


def test_restated_function_begins_with_a_line_break_so_that_the_stop_string_matches():
    restated = next(form for form in CONTINUATION_FORMS if form.name == "restated function")
    for problem in CONTINUED:
        assert "\ndef " in restated.write(problem)


def test_windows_line_ends_are_not_doubled():
    crlf = next(form for form in PROGRAM_FORMS if form.name == "program, CRLF")
    problem = replace(WHOLE[0], reference="a = 1\r\nb = 2\n")
    assert crlf.write(problem) == "a = 1\r\nb = 2\r\n"


def test_forms_follow_the_kind_of_problem():
    assert forms_for(CONTINUED[0]) is CONTINUATION_FORMS
    assert forms_for(WHOLE[0]) is PROGRAM_FORMS
    assert set(PRINCIPAL) <= {form.name for form in CONTINUATION_FORMS + PROGRAM_FORMS}
