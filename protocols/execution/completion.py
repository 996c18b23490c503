"""From a raw completion to the program that the judge runs, through a named post-processing pipeline.

Every pipeline but ``extract`` is one that published evaluations use; they are here because audit 1 measures what each
of them destroys. ``extract`` is the one to use.
"""

from __future__ import annotations

import textwrap
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from protocols.execution.extract import extract_program
from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from protocols.problems import CodeProblem

PAPER_STOP_SEQUENCES = ("\ndef", "\nclass", "\nif __name__")
"""The three stop strings of the SpecRef paper's code protocol."""

EXTRACT_VERSION = 2
"""Changes whenever ``extract`` may turn some completion into another program; it stands in the signature."""


def _program(problem: CodeProblem, completion: str) -> str:
    return problem.prompt + completion if problem.prompt_is_code else completion


def _until_stop_sequence(completion: str) -> str:
    ends = [end for stop in PAPER_STOP_SEQUENCES if (end := completion.find(stop)) >= 0]
    return completion[: min(ends)] if ends else completion


Pipeline: TypeAlias = "Callable[[CodeProblem, str], str]"
"""A problem and a raw completion → full source text."""

PIPELINES: Mapping[str, Pipeline] = MappingProxyType(
    {
        "raw": _program,
        "stop-sequences": lambda problem, text: _program(problem, _until_stop_sequence(text)),
        "strip": lambda problem, text: _program(problem, text.strip()),
        "dedent": lambda problem, text: _program(problem, textwrap.dedent(text)),
        "strip+dedent": lambda problem, text: _program(problem, textwrap.dedent(text.strip())),
        "extract": extract_program,
    }
)
"""Every post-processing pipeline by name."""


def require_pipeline(name: str) -> Pipeline:
    """Return the pipeline of that name.

    Raises:
        InputError: unknown; the message lists the known ones.
    """
    try:
        return PIPELINES[name]
    except KeyError:
        raise InputError(f"unknown pipeline {name!r}; known: {', '.join(PIPELINES)}") from None


def build_program(problem: CodeProblem, completion: str, pipeline: str) -> str:
    """Return the full source text that a completion stands for.

    Args:
        problem: what was asked.
        completion: the raw continuation; any text at all, also one that no program can come from.
        pipeline: a key of :data:`PIPELINES`.

    Raises:
        InputError: the pipeline is unknown. No completion raises.
    """
    return require_pipeline(pipeline)(problem, completion)


def pipeline_version(name: str) -> str:
    """Name a pipeline for the signature, with the choices hidden in it: its stop strings, its version."""
    if name == "stop-sequences":
        return f"{name}[{','.join(stop.lstrip() for stop in PAPER_STOP_SEQUENCES)}]"
    return f"{name}.{EXTRACT_VERSION}" if name == "extract" else name
