"""Answers behind role headers, thoughts, quote marks and session prompts; what looks like one of those and is code."""

from __future__ import annotations

import pytest

from protocols.execution.wrapping import answer_text, unquoted

BODY = "    return x + 2\n"


@pytest.mark.parametrize(
    "opening",
    [
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|im_start|>assistant\n",
        "<start_of_turn>model\n",
        "<|assistant|>\n",
        "[/INST]\n",
        "\n <s><pad>",
        "<s>[/INST]",
        "<think>\nhm\n</think>\n",
        "<|im_start|>assistant\n<think>\nhm\n</think>\n\n",
        "hm, it's\n\n</think>\n",
        '<think>say """ or\n</think>\n',
        "<reasoning>hm</reasoning>\n",
        "[THINK]hm[/THINK]\n",
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>",
    ],
)
def test_what_stands_before_an_answer_goes_and_its_first_blanks_stay(opening: str) -> None:
    assert answer_text(opening + BODY).lstrip("\n") == BODY


@pytest.mark.parametrize(
    "text",
    [
        "    x = x.split('</think>')[1]\n    return x\n",
        'def f(x):\n    """Drop all up to </think>\n    and return the rest."""\n    return x\n',
        "def f(x):\n    '''\n    </think>\n    '''\n    return x\n",
        "    return x\n</think>\n",
        " \n    return x\n",
        "",
    ],
)
def test_an_answer_that_only_mentions_them_is_left_alone(text: str) -> None:
    assert answer_text(text) == text


def test_line_ends_become_those_of_python() -> None:
    assert answer_text("a\r\nb\rc\n") == "a\nb\nc\n"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (">>> def f(x):\n...     return x\n...\n>>> f(1)\n1\n", "def f(x):\n    return x\n\nf(1)\n"),
        ("So:\n  >>> async def f(x):\n  ...     return x\n", "async def f(x):\n    return x\n"),
        ("So:\n\n> def f(x):\n>     return x\n", "def f(x):\n    return x\n"),
        ("> ```\n> def f(x):\n>     return x\n>\n", "```\ndef f(x):\n    return x\n\n"),
        (">>> f(1)\n1\n\ndef f(x):\n    return x\n", None),
        (">>> def g(x):\n...     return x\n", None),
        ("if x\n> y:\n", None),
    ],
)
def test_quote_marks_go_where_only_they_hold_the_function(text: str, plain: str | None) -> None:
    assert unquoted(text, "f") == plain
