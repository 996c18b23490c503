"""What scoring one sample returns: right or not, why not, and what was extracted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Failure(str, Enum):
    """Why a sample is not correct. A closed set: every evaluator maps what it sees onto one of these."""

    SYNTAX = "syntax"
    """The program does not parse, for another reason than indentation."""
    INDENTATION = "indentation"
    """The program does not parse because of indentation or tabs."""
    NAME_ERROR = "name-error"
    """An undefined name was used, or the function asked for was never defined."""
    EXCEPTION = "exception"
    """The program raised something else."""
    WRONG_ANSWER = "wrong-answer"
    """It ran and answered, and the answer is not right."""
    TIMEOUT = "timeout"
    """It did not answer within the wall-clock limit; a late answer is a timeout too."""
    MEMORY = "memory"
    """It ran out of the memory it was given."""
    OUTPUT = "output"
    """It sent more, or something else, than an answer through the answer channel."""
    KILLED = "killed"
    """It died by a signal that the judge did not send."""
    EXITED = "exited"
    """It ended its own process before answering."""
    NO_ANSWER = "no-answer"
    """No answer could be found in the text."""
    UNDECIDED = "undecided"
    """The grader could not decide within its limits; counted as not correct and reported by itself."""

    @property
    def structural(self) -> bool:
        """Whether the failure is one of form (parse, indentation, undefined name), not of logic (paper section 4.1)."""
        return self in (Failure.SYNTAX, Failure.INDENTATION, Failure.NAME_ERROR)


@dataclass(frozen=True, slots=True)
class Score:
    """The verdict on one sample.

    Attributes:
        correct: whether it passed.
        failure: why not; ``None`` exactly when ``correct``.
        extracted: what was judged: the program, the answer, the choice; ``None`` where nothing was found.
        detail: one line for a person, the exception's text say.
    """

    correct: bool
    failure: Failure | None = None
    extracted: str | None = None
    detail: str = ""

    def __post_init__(self) -> None:
        if self.correct == (self.failure is not None):
            raise ValueError(f"correct={self.correct} with failure={self.failure}: exactly one of them must hold")
