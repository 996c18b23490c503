"""Protocol B: extract the answer a text gives and decide whether it equals the gold answer."""

from __future__ import annotations

from protocols.exact_match.extraction import Extraction, extract_answer, gold_answer
from protocols.exact_match.grading import GRADERS, Disagreement, Grader, disagreement, grade, grader_name

__all__ = [
    "GRADERS",
    "Disagreement",
    "Extraction",
    "Grader",
    "disagreement",
    "extract_answer",
    "gold_answer",
    "grade",
    "grader_name",
]
